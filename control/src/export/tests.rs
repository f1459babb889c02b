//! What is written is what was published, and nothing else is touched: hostile trees, things in the way, second runs, full disks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use ares_core::chunk::{CutterId, ReleaseId};
use ares_core::link::Link;
use ares_core::manifest::{DirBuilder, DirRef, Entry, ListBuilder, Mtime, Root, Top};

use super::*;

/// A release in memory, and a store that hands out no file.
#[derive(Default)]
struct Release {
    chunks: BTreeMap<ChunkId, VerifiedChunk>,
}

impl Chunks for Release {
    fn root(&self, release: ReleaseId) -> Result<VerifiedChunk, Failure> {
        Ok(self.chunks[&release.0].clone())
    }

    fn node(&self, chunk: ChunkRef) -> Result<VerifiedChunk, Failure> {
        Ok(self.chunks[&chunk.id].clone())
    }

    fn placed(&self, chunk: ChunkRef, _: BlobPlace) -> Result<Bytes, Failure> {
        Ok(self.chunks[&chunk.id].bytes().clone())
    }
}

impl Blobs for Release {
    fn take(&self, _: &ChunkId, _: Dest<'_>, _: &mut dyn FnMut(&std::fs::File) -> std::io::Result<()>) -> Result<Took, Failure> {
        Ok(Took::MustCopy)
    }
}

/// What is published: names by path.
enum Tree {
    File(u16, Vec<u8>),
    Link(&'static str),
    Dir(u16, Vec<(&'static [u8], Tree)>),
}

fn meta(mode: u16) -> Meta {
    Meta {
        mode,
        mtime: Mtime {
            secs: 1_000_000_000,
            nanos: u32::from(mode),
        },
        xattrs: Vec::new(),
    }
}

fn name(bytes: &[u8]) -> Name {
    Name::new(bytes.to_vec()).unwrap()
}

fn verified(bytes: &[u8]) -> VerifiedChunk {
    VerifiedChunk::verify(ChunkId::of(bytes), Bytes::copy_from_slice(bytes)).unwrap()
}

impl Release {
    fn dir(&mut self, entries: &[(&[u8], Tree)]) -> DirRef {
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_by_key(|(n, _)| *n);
        let mut made = Vec::new();
        let mut builder = DirBuilder::new();
        for (n, tree) in sorted {
            let entry = |meta, kind| Entry {
                name: name(n),
                meta,
                kind,
            };
            let mut out = |chunk: VerifiedChunk| made.push(chunk);
            match tree {
                Tree::File(mode, bytes) if bytes.len() <= 64 << 10 => {
                    builder
                        .push_small(name(n), meta(*mode), Bytes::copy_from_slice(bytes), None, &mut out)
                        .unwrap();
                }
                Tree::File(mode, bytes) => {
                    let mut list = ListBuilder::new();
                    for piece in bytes.chunks(100_000) {
                        let chunk = verified(piece);
                        let refer = ChunkRef {
                            id: chunk.id(),
                            len: piece.len() as u32,
                        };
                        out(chunk);
                        list.push(refer, &mut out);
                    }
                    let (size, content) = list.finish(&mut out);
                    let file = File {
                        bytes: size,
                        content,
                        b3: None,
                    };
                    builder.push(entry(meta(*mode), EntryKind::File(file)), &mut out).unwrap();
                }
                Tree::Link(target) => {
                    let kind = EntryKind::Symlink(Bytes::from_static(target.as_bytes()));
                    builder.push(entry(meta(0o777), kind), &mut out).unwrap();
                }
                Tree::Dir(mode, entries) => {
                    let dir = self.dir(entries);
                    builder
                        .push(entry(meta(*mode), EntryKind::Dir(dir)), &mut |c| made.push(c))
                        .unwrap();
                }
            }
        }
        let dir = builder.finish(&mut |c| made.push(c)).unwrap();
        self.chunks.extend(made.into_iter().map(|c| (c.id(), c)));
        dir
    }

    fn of(entries: &[(&[u8], Tree)]) -> (Self, Link) {
        let mut release = Self::default();
        let node = release.dir(entries);
        let root = Root {
            cutter: CutterId::CURRENT,
            top: Top::Dir { meta: meta(0o750), node },
        };
        let chunk = root.encode();
        let link = Link {
            release: ReleaseId(chunk.id()),
            name: "sample".into(),
            peers: Vec::new(),
            inside: Vec::new(),
        };
        release.chunks.insert(chunk.id(), chunk);
        (release, link)
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            chunks: self,
            blobs: self,
            pace: &Unhurried,
        }
    }

    /// Gets `inside` to `dest`.
    fn get(&self, link: &Link, inside: &str, dest: &Path, overwrite: Overwrite) -> Result<Counters, Failure> {
        let found = crate::tree::find(self, link.release, inside.as_bytes())?;
        let place = Place::open(dest, &found, link)?;
        let counters = Counters::default();
        run(self.sources(), &found, place, overwrite, &counters, &Cancel::new())?;
        Ok(counters)
    }
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u64)
        .flat_map(|n| (n / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[..1].to_vec())
        .collect()
}

fn sample() -> Vec<(&'static [u8], Tree)> {
    let big = [noise(150_000), vec![0; 1_000_000], noise(70_000)].concat();
    let below: Vec<(&'static [u8], Tree)> = vec![
        (b"empty", Tree::Dir(0o555, vec![])),
        (
            b"locked",
            Tree::Dir(0o500, vec![(b"x".as_slice(), Tree::File(0o400, b"x".to_vec()))]),
        ),
        (b"small", Tree::File(0o755, noise(3000))),
    ];
    vec![
        (b"big", Tree::File(0o640, big)),
        (b"dir", Tree::Dir(0o711, below)),
        (b"link", Tree::Link("../../etc/passwd")),
        (b"nothing", Tree::File(0o644, vec![])),
        (b"odd \xff\n", Tree::File(0o600, b"odd".to_vec())),
    ]
}

fn same(dir: &Path, entries: &[(&[u8], Tree)]) {
    let mut listed: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    listed.sort();
    let expect: Vec<_> = entries.iter().map(|(n, _)| std::ffi::OsStr::from_bytes(n)).collect();
    assert_eq!(listed, expect, "{}", dir.display());
    for (n, tree) in entries {
        let path = dir.join(std::ffi::OsStr::from_bytes(n));
        let there = fs::symlink_metadata(&path).unwrap();
        let mode = match tree {
            Tree::File(mode, bytes) => {
                assert!(fs::read(&path).unwrap() == *bytes, "{}", path.display());
                *mode
            }
            Tree::Link(target) => {
                assert_eq!(fs::read_link(&path).unwrap(), Path::new(target));
                0o777
            }
            Tree::Dir(mode, entries) => {
                same(&path, entries);
                *mode
            }
        };
        assert_eq!(there.mode() & 0o7777, u32::from(mode), "{}", path.display());
        assert_eq!(
            (there.mtime(), there.mtime_nsec()),
            (1_000_000_000, i64::from(mode)),
            "{}",
            path.display()
        );
    }
}

#[test]
fn what_is_written_is_what_was_published_and_a_second_run_writes_nothing() {
    let (release, link) = Release::of(&sample());
    let base = tempfile::tempdir().unwrap();
    let dest = base.path().join("made/on/the/way");
    let counters = release.get(&link, "", &dest, Overwrite::Refuse).unwrap();
    same(&dest, &sample());
    let top = fs::metadata(&dest).unwrap();
    assert_eq!(
        (top.mode() & 0o777, top.mtime()),
        (0o750, 1_000_000_000),
        "a directory of our own is the release's"
    );
    assert_eq!((counters.unchanged.into_inner(), counters.entries.into_inner()), (0, 9));
    assert!(
        fs::metadata(dest.join("big")).unwrap().blocks() * 512 < 600_000,
        "zeros are a hole"
    );

    let stamp = |n: &str| {
        fs::symlink_metadata(dest.join(n))
            .map(|m| (m.ino(), m.ctime(), m.ctime_nsec()))
            .unwrap()
    };
    let before = ["big", "dir/small", "nothing"].map(stamp);
    let counters = release.get(&link, "", &dest, Overwrite::Refuse).unwrap();
    same(&dest, &sample());
    let after = ["big", "dir/small", "nothing"].map(stamp);
    assert_eq!(before, after, "what is equal is not touched, not even its change time");
    assert_eq!(counters.unchanged.into_inner(), 6);
}

#[test]
fn a_place_inside_lands_like_a_release_of_its_own() {
    let (release, link) = Release::of(&sample());
    let base = tempfile::tempdir().unwrap();
    let at = |n: &str| base.path().join(n);
    release.get(&link, "dir", &at("dir"), Overwrite::Refuse).unwrap();
    assert_eq!(fs::read(at("dir/small")).unwrap(), noise(3000));
    release.get(&link, "dir/small", &at("renamed"), Overwrite::Refuse).unwrap();
    assert_eq!(fs::read(at("renamed")).unwrap(), noise(3000));
    fs::create_dir(at("into")).unwrap();
    release.get(&link, "dir/small", &at("into"), Overwrite::Refuse).unwrap();
    release.get(&link, "link", &at("into"), Overwrite::Refuse).unwrap();
    assert_eq!(fs::read(at("into/small")).unwrap(), noise(3000));
    assert_eq!(fs::read_link(at("into/link")).unwrap(), Path::new("../../etc/passwd"));
    for (inside, words) in [
        ("nowhere", "no such entry"),
        ("big/x", "not a directory"),
        ("link/x", "a symlink"),
    ] {
        let failure = release.get(&link, inside, &at("never"), Overwrite::Refuse).unwrap_err();
        assert!(failure.kind == Kind::NotFound && failure.message.contains(words), "{failure}");
        assert!(!at("never").exists());
    }
}

#[test]
fn nothing_is_reached_through_a_symlink_that_is_in_the_way() {
    let base = tempfile::tempdir().unwrap();
    let outside = base.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("small"), "mine").unwrap();
    let dest = base.path().join("dest");
    fs::create_dir(&dest).unwrap();
    // As an older release could have left it.
    symlink(&outside, dest.join("dir")).unwrap();
    symlink(outside.join("small"), dest.join("nothing")).unwrap();
    let (release, link) = Release::of(&sample());
    for overwrite in [Overwrite::Refuse, Overwrite::Replace] {
        let failure = release.get(&link, "", &dest, overwrite).unwrap_err();
        assert_eq!(failure.kind, Kind::Disk, "{failure}");
        assert!(failure.message.contains("dest/dir"), "{failure}");
    }
    fs::remove_file(dest.join("dir")).unwrap();
    let failure = release.get(&link, "", &dest, Overwrite::Refuse).unwrap_err();
    assert!(
        failure.message.contains("nothing") && failure.message.contains("symlink"),
        "{failure}"
    );
    release.get(&link, "", &dest, Overwrite::Replace).unwrap();
    same(&dest, &sample());
    assert_eq!(fs::read(outside.join("small")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn what_differs_is_refused_and_replaced_only_when_told() {
    type Obstacle = fn(&Path);
    let rows: [(&str, &str, bool, Obstacle); 7] = [
        ("big", "other bytes", true, |p| {
            let mut bytes = [noise(150_000), vec![0; 1_000_000], noise(70_000)].concat();
            bytes[1_180_000] ^= 1;
            fs::write(p, bytes).unwrap();
        }),
        ("big", "other bytes", true, |p| fs::write(p, "short").unwrap()),
        ("dir/small", "other bytes", true, |p| fs::write(p, vec![7; 3000]).unwrap()),
        ("dir/small", "a directory", false, |p| fs::create_dir(p).unwrap()),
        ("big", "a directory", false, |p| fs::create_dir(p).unwrap()),
        ("link", "leads elsewhere", true, |p| symlink("elsewhere", p).unwrap()),
        ("nothing", "pipe", false, |p| {
            rustix::fs::mknodat(rustix::fs::CWD, p, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
    ];
    let (release, link) = Release::of(&sample());
    for (at, words, is_replaceable, obstacle) in rows {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("dir")).unwrap();
        let path = base.path().join(at);
        obstacle(&path);
        let before = fs::symlink_metadata(&path).unwrap();
        let failure = release.get(&link, "", base.path(), Overwrite::Refuse).unwrap_err();
        assert!(failure.message.contains(at) && failure.message.contains(words), "{failure}");
        let after = fs::symlink_metadata(&path).unwrap();
        assert_eq!(
            (before.ino(), before.mtime_nsec()),
            (after.ino(), after.mtime_nsec()),
            "{at} is untouched"
        );
        let second = release.get(&link, "", base.path(), Overwrite::Replace);
        assert_eq!(second.is_ok(), is_replaceable, "{at}: {words}");
        if is_replaceable {
            same(base.path(), &sample());
        }
    }
}

#[test]
fn a_place_that_will_not_do_is_told_before_anything_is_written() {
    let (release, link) = Release::of(&sample());
    let base = tempfile::tempdir().unwrap();
    let file = base.path().join("file");
    fs::write(&file, "keep").unwrap();
    for (dest, inside) in [(file.clone(), ""), (file.join("below"), ""), (file.join("below"), "big")] {
        let failure = release.get(&link, inside, &dest, Overwrite::Replace).unwrap_err();
        assert!(failure.message.contains(&*file.to_string_lossy()), "{failure}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"keep");
    // A stranger's link names the file that lands in a directory.
    for (hostile, is_fine) in [("../escape", false), ("..", false), ("", false), ("good", true)] {
        let mut single = Release::default();
        let node = single.dir(&[(b"f", Tree::File(0o644, b"bytes".to_vec()))]);
        let Ok(Some(entry)) = ({
            let seen = RefCell::new(None);
            crate::tree::entries(&single, node, &mut |e| {
                *seen.borrow_mut() = Some(e);
                Ok(())
            })
            .map(|()| seen.into_inner())
        }) else {
            panic!("one entry")
        };
        let EntryKind::File(file) = entry.kind else { panic!("a file") };
        let root = Root {
            cutter: CutterId::CURRENT,
            top: Top::File { meta: meta(0o644), file },
        };
        let chunk = root.encode();
        let link = Link {
            release: ReleaseId(chunk.id()),
            name: hostile.into(),
            ..link.clone()
        };
        single.chunks.insert(chunk.id(), chunk);
        let dir = base.path().join("into");
        fs::create_dir_all(&dir).unwrap();
        let got = single.get(&link, "", &dir, Overwrite::Refuse);
        assert_eq!(got.is_ok(), is_fine, "{hostile:?}");
    }
    assert_eq!(fs::read(base.path().join("into/good")).unwrap(), b"bytes");
    assert!(!base.path().join("escape").exists());
}

#[test]
fn a_run_that_was_cut_short_leaves_no_half_file_and_is_taken_up() {
    let (release, link) = Release::of(&sample());
    let base = tempfile::tempdir().unwrap();
    // The chunk at the end of `big` cannot be had: as if the network were cut there.
    let missing = ChunkId::of(&[noise(150_000), vec![0; 1_000_000], noise(70_000)].concat()[1_200_000..]);
    struct Cut<'a>(&'a Release, ChunkId);
    impl Chunks for Cut<'_> {
        fn root(&self, release: ReleaseId) -> Result<VerifiedChunk, Failure> {
            self.0.root(release)
        }
        fn node(&self, chunk: ChunkRef) -> Result<VerifiedChunk, Failure> {
            self.0.node(chunk)
        }
        fn placed(&self, chunk: ChunkRef, place: BlobPlace) -> Result<Bytes, Failure> {
            if chunk.id == self.1 {
                return Err(Failure::new(Kind::Network, "cut"));
            }
            self.0.placed(chunk, place)
        }
    }
    let found = crate::tree::find(&release, link.release, b"").unwrap();
    let place = Place::open(base.path(), &found, &link).unwrap();
    let cut = Cut(&release, missing);
    let failure = run(
        Sources {
            chunks: &cut,
            ..release.sources()
        },
        &found,
        place,
        Overwrite::Refuse,
        &Counters::default(),
        &Cancel::new(),
    )
    .unwrap_err();
    assert_eq!(failure.message, "cut");
    assert!(!base.path().join("big").exists());
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0, "no draft stays behind");
    release.get(&link, "", base.path(), Overwrite::Refuse).unwrap();
    same(base.path(), &sample());
    // What a killed run left is swept, what a living one has in the making is not.
    let dead = base.path().join("dir/.ares-draft-4294967290-0");
    let alive = base.path().join(format!(".ares-draft-{}-99999", std::process::id()));
    for draft in [&dead, &alive] {
        fs::write(draft, "half").unwrap();
    }
    release.get(&link, "", base.path(), Overwrite::Refuse).unwrap();
    assert_eq!((dead.exists(), alive.exists()), (false, true));
    fs::remove_file(alive).unwrap();
    // Directories without the right to write are entered again, too.
    fs::set_permissions(base.path().join("dir/locked"), fs::Permissions::from_mode(0o500)).unwrap();
    release.get(&link, "", base.path(), Overwrite::Refuse).unwrap();
}

/// A download that never gets anywhere; calls back whenever it is asked.
struct Stuck<'a>(&'a (dyn Fn() + Sync));

impl Pace for Stuck<'_> {
    fn held(&self, _: u64) -> Result<u64, Failure> {
        (self.0)();
        Ok(0)
    }
}

#[test]
fn who_waits_for_the_network_hears_of_a_file_that_failed_and_of_the_user() {
    let tree: [(&[u8], Tree); 2] = [
        (b"a", Tree::File(0o644, b"tiny".to_vec())),
        (b"b", Tree::File(0o644, noise(9000))),
    ];
    let (release, link) = Release::of(&tree);
    let run_stuck = |dest: &Path, cancel: &Cancel, asked: &(dyn Fn() + Sync)| {
        let found = crate::tree::find(&release, link.release, b"").unwrap();
        let place = Place::open(dest, &found, &link).unwrap();
        let stuck = Stuck(asked);
        let sources = Sources {
            pace: &stuck,
            ..release.sources()
        };
        run(sources, &found, place, Overwrite::Refuse, &Counters::default(), cancel).unwrap_err()
    };
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("a"), "mine").unwrap();
    let failure = run_stuck(base.path(), &Cancel::new(), &std::thread::yield_now);
    assert!(failure.message.contains("/a exists already"), "{failure}");

    let base = tempfile::tempdir().unwrap();
    let cancel = Cancel::new();
    let failure = run_stuck(base.path(), &cancel, &|| cancel.cancel());
    assert_eq!(failure.kind, Kind::Interrupted);
    assert!(!base.path().join("b").exists());
}

#[test]
fn many_files_in_many_closed_directories_end_with_their_modes_and_times() {
    let files = |n: u8| -> Vec<(&'static [u8], Tree)> {
        let names: [&'static [u8]; 6] = [b"a", b"b", b"c", b"d", b"e", b"f"];
        let file = |m: usize| Tree::File(0o400, vec![n; 1 + m * 700]);
        names.iter().enumerate().map(|(m, name)| (*name, file(m))).collect()
    };
    let names: &'static [[u8; 2]] = Box::leak((0..200_u8).map(|n| [b'A' + n / 16, b'A' + n % 16]).collect());
    let tree: Vec<(&'static [u8], Tree)> = names
        .iter()
        .zip(0..)
        .map(|(name, n)| (name.as_slice(), Tree::Dir(0o555, files(n))))
        .collect();
    let (release, link) = Release::of(&tree);
    let base = tempfile::tempdir().unwrap();
    let dest = base.path().join("dest");
    let counters = release.get(&link, "", &dest, Overwrite::Refuse).unwrap();
    same(&dest, &tree);
    assert_eq!(counters.entries.into_inner(), 200 * 7);
}
