//! Trees to publish: everything a filesystem can hold that people meet, and what only tests make. Seeded: one seed, one tree.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};

use crate::rng::Rng;

/// Seconds and nanoseconds of the times that trees get: before the epoch, the epoch, beyond 32 bits, and odd nanoseconds.
const TIMES: [(i64, i64); 6] = [
    (0, 0),
    (-1, 999_999_999),
    (1, 1),
    (1_700_000_000, 123_456_789),
    (4_294_967_296, 500_000_000),
    (951_827_696, 7),
];

/// Permission bits that trees get. An ordinary publisher must be able to read them all.
const MODES: [u32; 7] = [0o644, 0o600, 0o755, 0o444, 0o400, 0o777, 0o664];

/// Sizes around every limit of the format: inline, packed, cut, largest chunk.
const SIZES: [usize; 16] = [
    0, 1, 511, 512, 513, 4096, 16_384, 16_385, 65_535, 65_536, 65_537, 262_143, 262_145, 1_048_575, 1_048_577, 3_000_001,
];

/// Writes a tree whose entries differ in everything a reader could get wrong: about 12 MB, some 250 entries.
///
/// # Panics
/// Where the disk refuses.
pub fn odd(root: &Path, seed: u64) {
    let mut maker = Maker {
        rng: Rng::new(seed),
        times: Vec::new(),
    };
    maker
        .odd(root)
        .unwrap_or_else(|e| panic!("cannot make the odd tree at {}: {e}", root.display()));
}

/// Writes `files` small files (0 to 16 KiB) in directories of up to 50: the shape of a source tree.
///
/// # Panics
/// Where the disk refuses.
pub fn source(root: &Path, files: usize, seed: u64) {
    let mut maker = Maker {
        rng: Rng::new(seed),
        times: Vec::new(),
    };
    maker
        .source(root, files)
        .unwrap_or_else(|e| panic!("cannot make the source tree at {}: {e}", root.display()));
}

/// Writes one directory of `entries` files of a few bytes.
///
/// # Panics
/// Where the disk refuses.
pub fn wide(root: &Path, entries: usize) {
    let written = fs::create_dir_all(root)
        .and_then(|()| (0..entries).try_for_each(|i| fs::write(root.join(format!("entry-{i:06}")), format!("{i}"))));
    written.unwrap_or_else(|e| panic!("cannot make the wide directory at {}: {e}", root.display()));
}

/// Writes a file that no compressor shrinks.
///
/// # Panics
/// Where the disk refuses.
pub fn big_file(path: &Path, bytes: u64, seed: u64) {
    let write = || -> io::Result<()> {
        let mut file = File::create(path)?;
        let mut rng = Rng::new(seed);
        let mut block = vec![0; 1 << 20];
        let mut left = bytes;
        while left > 0 {
            let len = left.min(block.len() as u64) as usize;
            rng.fill(&mut block[..len]);
            file.write_all(&block[..len])?;
            left -= len as u64;
        }
        Ok(())
    };
    write().unwrap_or_else(|e| panic!("cannot write {} bytes to {}: {e}", bytes, path.display()));
}

/// Writes a file of `bytes` that is a hole but for a few written places.
///
/// # Panics
/// Where the disk refuses.
pub fn sparse_file(path: &Path, bytes: u64, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut write = || -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(bytes)?;
        for place in [0, bytes / 3, bytes / 2 + 12_345] {
            file.write_all_at(&rng.bytes(5_000), place)?;
        }
        Ok(())
    };
    write().unwrap_or_else(|e| panic!("cannot write the sparse file {}: {e}", path.display()));
}

/// Writes a file that is a hole but for a random page every 128 KiB: made at once however large, it takes a 32nd of its size, and no
/// stretch of 132 KiB is like another.
///
/// # Panics
/// Where the disk refuses.
pub fn dotted_file(path: &Path, bytes: u64, seed: u64) {
    const EVERY: usize = 128 << 10;
    let mut rng = Rng::new(seed);
    let mut write = || -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(bytes)?;
        (0..bytes.saturating_sub(4096))
            .step_by(EVERY)
            .try_for_each(|place| file.write_all_at(&rng.bytes(4096), place))
    };
    write().unwrap_or_else(|e| panic!("cannot write the dotted file {}: {e}", path.display()));
}

/// Sets the time of last change of a name itself, not of what a symlink points to.
pub fn set_mtime(path: &Path, (seconds, nanos): (i64, i64)) -> io::Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the permission bits of a name.
///
/// # Panics
/// Where the disk refuses.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap_or_else(|e| panic!("chmod {}: {e}", path.display()));
}

/// Names that break programs which think names are text, short, or polite.
pub fn odd_names() -> Vec<OsString> {
    let mut names: Vec<OsString> = [
        "plain",
        " leading blank",
        "trailing blank ",
        "two\nlines",
        "tab\there",
        "-rf",
        "--help",
        "quote'\"`",
        "back\\slash",
        "$HOME",
        "*",
        "?",
        "[a]",
        "a:b",
        "~",
        "...",
        "..a",
        ".hidden",
        "A",
        "a",
        "é",
        "e\u{301}",
        "日本語",
        "🦀",
        "\u{202e}desrever",
        "con",
        "nul.txt",
        "ares:link",
        "%2e%2e",
        "a#b",
        "\u{7f}",
    ]
    .map(OsString::from)
    .to_vec();
    names.push("n".repeat(255).into());
    names.push("ü".repeat(127).into());
    let bytes: [&[u8]; 5] = [b"\xff\xfe", b"caf\xe9", b"\x80", b"half \xe6\x97", &[0xf5; 255]];
    names.extend(bytes.map(|b| OsString::from_vec(b.to_vec())));
    names
}

struct Maker {
    rng: Rng,
    /// Times are set last: what is made in a directory changes the directory's own.
    times: Vec<(PathBuf, (i64, i64))>,
}

impl Maker {
    fn odd(&mut self, root: &Path) -> io::Result<()> {
        self.dir(root, 0o755)?;
        self.names(&root.join("names"))?;
        self.sizes(&root.join("sizes"))?;
        self.symlinks(&root.join("symlinks"))?;
        self.modes(&root.join("modes"))?;
        self.attributes(&root.join("attributes"))?;
        self.dir(&root.join("empty"), 0o755)?;
        self.dir(&root.join("empty/inside"), 0o711)?;
        self.deep(&root.join("deep"))?;
        self.twins(&root.join("twins"))?;
        let [dir, middle, hole] = ["sparse", "sparse/middle", "sparse/all-hole"].map(|n| root.join(n));
        self.dir(&dir, 0o755)?;
        sparse_file(&middle, 8 << 20, self.rng.word());
        File::create(&hole)?.set_len(3 << 20)?;
        for path in [middle, hole] {
            set_mode(&path, 0o644);
            self.note(path);
        }
        self.settle()
    }

    fn source(&mut self, root: &Path, files: usize) -> io::Result<()> {
        self.dir(root, 0o755)?;
        let mut dir = root.to_owned();
        for i in 0..files {
            if i % 50 == 0 {
                let part = root.join(format!("part-{:03}", i / 500));
                if i % 500 == 0 {
                    self.dir(&part, 0o755)?;
                }
                dir = part.join(format!("module-{:02}", i / 50 % 10));
                self.dir(&dir, 0o755)?;
            }
            let len = self.rng.below(16 << 10) as usize;
            self.file(&dir.join(format!("file-{i:05}.rs")), len, 0o644)?;
        }
        self.settle()
    }

    fn names(&mut self, dir: &Path) -> io::Result<()> {
        self.dir(dir, 0o755)?;
        for (i, name) in odd_names().iter().enumerate() {
            let path = dir.join(name);
            match i % 3 {
                0 => self.dir(&path, 0o755).and_then(|()| self.file(&path.join(name), 33, 0o644))?,
                1 => self.file(&path, 700, 0o644)?,
                _ => self.file(&path, 20, 0o600)?,
            }
        }
        Ok(())
    }

    fn sizes(&mut self, dir: &Path) -> io::Result<()> {
        self.dir(dir, 0o755)?;
        SIZES
            .iter()
            .try_for_each(|size| self.file(&dir.join(format!("bytes-{size}")), *size, 0o644))
    }

    fn symlinks(&mut self, dir: &Path) -> io::Result<()> {
        self.dir(dir, 0o755)?;
        let long = "../symlinks/".repeat(300);
        let targets: [&OsStr; 8] = [
            OsStr::new("plain"),
            OsStr::new("../sizes/bytes-513"),
            OsStr::new("nowhere/at all"),
            OsStr::new("/etc/hostname"),
            OsStr::new("link-4"),
            OsStr::new(".."),
            OsStr::from_bytes(b"\xff\xfe/caf\xe9"),
            OsStr::new(long.trim_end_matches('/')),
        ];
        for (i, target) in targets.iter().enumerate() {
            let path = dir.join(format!("link-{i}"));
            symlink(target, &path)?;
            self.note(path);
        }
        Ok(())
    }

    fn modes(&mut self, dir: &Path) -> io::Result<()> {
        self.dir(dir, 0o755)?;
        for mode in MODES {
            self.file(&dir.join(format!("file-{mode:o}")), 40, mode)?;
            // A directory the publisher could not enter could not be published.
            self.dir(&dir.join(format!("dir-{mode:o}")), mode | 0o500)?;
        }
        Ok(())
    }

    fn attributes(&mut self, dir: &Path) -> io::Result<()> {
        self.dir(dir, 0o755)?;
        self.file(&dir.join("file"), 100, 0o644)?;
        for (path, name, value) in [
            (dir.join("file"), "user.comment", b"two words".as_slice()),
            (dir.join("file"), "user.binary", b"\0\xff\n"),
            (dir.join("file"), "user.empty", b""),
            (dir.to_owned(), "user.of-a-directory", b"yes"),
        ] {
            // A filesystem without user attributes makes a tree without them: the comparison is the same.
            let _ = lsetxattr(&path, name, value, XattrFlags::empty());
        }
        Ok(())
    }

    fn deep(&mut self, dir: &Path) -> io::Result<()> {
        let mut path = dir.to_owned();
        self.dir(&path, 0o755)?;
        for level in 0..60 {
            path.push(format!("level-{level}"));
            self.dir(&path, 0o755)?;
        }
        self.file(&path.join("bottom"), 1000, 0o644)
    }

    /// Files with equal content: whole, and equal but for one byte in the middle.
    fn twins(&mut self, dir: &Path) -> io::Result<()> {
        self.dir(dir, 0o755)?;
        let mut content = self.rng.bytes(700_000);
        self.content(&dir.join("one"), &content, 0o644)?;
        self.content(&dir.join("same"), &content, 0o644)?;
        content[350_000] ^= 1;
        self.content(&dir.join("almost"), &content, 0o644)?;
        fs::hard_link(dir.join("one"), dir.join("hard"))
    }

    fn dir(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        fs::create_dir(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o200))?;
        self.note(path.to_owned());
        Ok(())
    }

    fn file(&mut self, path: &Path, len: usize, mode: u32) -> io::Result<()> {
        let content = self.rng.bytes(len);
        self.content(path, &content, mode)
    }

    fn content(&mut self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        fs::write(path, content)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        self.note(path.to_owned());
        Ok(())
    }

    fn note(&mut self, path: PathBuf) {
        let time = TIMES[self.rng.below(TIMES.len() as u64) as usize];
        self.times.push((path, time));
    }

    /// Sets the times that were noted, children before their directory.
    fn settle(&mut self) -> io::Result<()> {
        self.times.drain(..).rev().try_for_each(|(path, time)| set_mtime(&path, time))
    }
}
