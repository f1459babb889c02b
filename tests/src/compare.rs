//! Whether two trees are the same for their readers: names, kinds, modes, times, contents, link targets, user attributes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{lgetxattr, llistxattr};

use crate::lab::Node;

/// Differences listed before the rest is only counted.
const LISTED_MAX: usize = 20;

/// Largest list of attribute names, or value, that is compared: the kernel's own limit (xattr(7)), bytes.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// The two trees must be the same, the directory at the top apart (a `get` into a directory that is there keeps its own mode and time).
///
/// # Panics
/// Where they differ; the message lists how.
pub fn assert_same(want: &Path, got: &Path) {
    let differences = differences(want, got);
    assert!(
        differences.is_empty(),
        "{} and {} differ:\n{}",
        want.display(),
        got.display(),
        summary(&differences)
    );
}

/// As `assert_same`, and the system's own `diff -r`, which shares no code with it, must agree.
///
/// # Panics
/// Where the trees differ.
pub fn assert_same_and_diff_clean(node: &Node, want: &Path, got: &Path) {
    assert_same(want, got);
    let mut diff = node.command("diff");
    diff.args(["-r", "--no-dereference"]).args([want, got]);
    let outcome = node.run(diff);
    assert!(outcome.status.success(), "{}", outcome.describe());
}

fn summary(differences: &[String]) -> String {
    let mut listed = differences[..differences.len().min(LISTED_MAX)].join("\n");
    if differences.len() > LISTED_MAX {
        listed.push_str(&format!("\n.. and {} more", differences.len() - LISTED_MAX));
    }
    listed
}

/// Every difference between two trees, or two files, one line each.
pub fn differences(want: &Path, got: &Path) -> Vec<String> {
    let mut found = Vec::new();
    match (fs::symlink_metadata(want), fs::symlink_metadata(got)) {
        (Ok(a), Ok(b)) if a.is_dir() && b.is_dir() => compare_dirs(want, got, &mut found),
        (Ok(a), Ok(b)) => compare_entries((want, &a), (got, &b), &mut found),
        (a, b) => found.push(format!("cannot look: {a:?}, {b:?}")),
    }
    found
}

fn compare_dirs(want: &Path, got: &Path, found: &mut Vec<String>) {
    // A queue rather than recursion: trees under test nest as deep as the format allows.
    let mut queue = vec![(want.to_owned(), got.to_owned())];
    while let Some((want, got)) = queue.pop() {
        let (wanted, given) = match (list(&want), list(&got)) {
            (Ok(a), Ok(b)) => (a, b),
            (a, b) => {
                found.push(format!("{}: cannot list: {:?}, {:?}", got.display(), a.err(), b.err()));
                continue;
            }
        };
        found.extend(
            given
                .keys()
                .filter(|n| !wanted.contains_key(*n))
                .map(|n| format!("{}: must not be there", got.join(n).display())),
        );
        for (name, a) in &wanted {
            let (from, to) = (want.join(name), got.join(name));
            let Some(b) = given.get(name) else {
                found.push(format!("{}: is missing", to.display()));
                continue;
            };
            compare_entries((&from, a), (&to, b), found);
            if a.is_dir() && b.is_dir() {
                queue.push((from, to));
            }
        }
    }
}

fn list(dir: &Path) -> io::Result<BTreeMap<OsString, Metadata>> {
    fs::read_dir(dir)?
        .map(|entry| entry.and_then(|e| Ok((e.file_name(), e.metadata()?))))
        .collect()
}

fn compare_entries((want, a): (&Path, &Metadata), (got, b): (&Path, &Metadata), found: &mut Vec<String>) {
    let mut differ = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
        found.push(format!("{}: {what}: must be {a:?}, is {b:?}", got.display()));
    };
    if a.file_type() != b.file_type() {
        differ("kind", &a.file_type(), &b.file_type());
        return;
    }
    if a.mode() & 0o777 != b.mode() & 0o777 {
        differ("mode", &Octal(a.mode() & 0o777), &Octal(b.mode() & 0o777));
    }
    if (a.mtime(), a.mtime_nsec()) != (b.mtime(), b.mtime_nsec()) {
        differ("mtime", &(a.mtime(), a.mtime_nsec()), &(b.mtime(), b.mtime_nsec()));
    }
    if a.is_symlink() {
        let (a, b) = (fs::read_link(want), fs::read_link(got));
        if a.as_ref().ok() != b.as_ref().ok() {
            differ("target", &a, &b);
        }
    } else if a.is_file() && a.len() != b.len() {
        differ("size", &a.len(), &b.len());
    } else if a.is_file() {
        match first_difference(want, got) {
            Ok(None) => {}
            Ok(Some(offset)) => differ(
                "content",
                &"the same bytes",
                &format!("another one at {offset} of {}", a.len()),
            ),
            Err(e) => differ("content", &"readable", &e),
        }
    }
    let (a, b) = (attributes(want), attributes(got));
    if a != b {
        differ("user attributes", &a, &b);
    }
}

/// Permission bits as people write them.
struct Octal(u32);

impl std::fmt::Debug for Octal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Where two files of equal size differ first.
fn first_difference(want: &Path, got: &Path) -> io::Result<Option<u64>> {
    let (mut want, mut got) = (File::open(want)?, File::open(got)?);
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut offset = 0;
    loop {
        let len = read_full(&mut want, &mut a)?;
        let same = read_full(&mut got, &mut b[..len.max(1)])?;
        if let Some(at) = (0..len.min(same)).find(|i| a[*i] != b[*i]) {
            return Ok(Some(offset + at as u64));
        }
        if len != same {
            return Ok(Some(offset + len.min(same) as u64));
        }
        if len == 0 {
            return Ok(None);
        }
        offset += len as u64;
    }
}

fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// `user.*` attributes; ours about the release (`user.ares.*`) are no part of the tree.
fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = Vec::with_capacity(XATTR_BYTES_MAX);
    if llistxattr(path, rustix::buffer::spare_capacity(&mut names)).is_err() {
        return BTreeMap::new();
    }
    let users = names
        .split(|b| *b == 0)
        .filter(|n| n.starts_with(b"user.") && !n.starts_with(b"user.ares."));
    users
        .map(|name| {
            let mut value = Vec::with_capacity(XATTR_BYTES_MAX);
            let read = lgetxattr(
                path,
                std::ffi::OsStr::from_bytes(name),
                rustix::buffer::spare_capacity(&mut value),
            );
            (name.to_vec(), if read.is_ok() { value } else { b"unreadable".to_vec() })
        })
        .collect()
}

/// Bytes of disk a file takes, holes not counted.
pub fn allocated_bytes(path: &Path) -> u64 {
    // st_blocks counts units of 512 bytes whatever the filesystem's block (stat(2)).
    fs::symlink_metadata(path).map_or(0, |m| m.blocks() * 512)
}

/// Every regular file below `dir`, symlinks not followed.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut queue = vec![PathBuf::from(dir)];
    let mut files = Vec::new();
    while let Some(dir) = queue.pop() {
        for (name, meta) in list(&dir).unwrap_or_default() {
            if meta.is_dir() {
                queue.push(dir.join(name));
            } else if meta.is_file() {
                files.push(dir.join(name));
            }
        }
    }
    files
}

/// Bytes of all regular files below `dir`, as `du --apparent-size` counts them, each name once.
pub fn tree_bytes(dir: &Path) -> u64 {
    files_below(dir)
        .iter()
        .filter_map(|f| fs::symlink_metadata(f).ok())
        .map(|m| m.len())
        .sum()
}

/// Copies a tree with everything `assert_same` looks at, by the system's own tool.
///
/// # Panics
/// Where `cp` refuses.
pub fn copy_tree(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg("--").args([from, to]).status();
    assert!(
        copied.is_ok_and(|s| s.success()),
        "cp -a {} {} failed",
        from.display(),
        to.display()
    );
}
