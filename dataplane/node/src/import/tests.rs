//! Real files are published and read back from the store alone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::sync::atomic::AtomicU32;
use std::time::{Duration, SystemTime};

use ares_core::chunk::{ChunkRef, Cutter, SizeClass};
use ares_core::manifest::{Content, Meta, Walk, WalkItem, WalkStep};

use super::*;

struct Lab {
    dir: tempfile::TempDir,
    store: Arc<Store>,
}

impl Lab {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(dir: tempfile::TempDir) -> Self {
        let store = Store::open(&dir.path().join("state")).unwrap();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn publish(&self, name: &str) -> Published {
        publish(
            &self.store,
            &self.path(name),
            &PublishOptions::default(),
            &ImportProgress::new(),
        )
        .unwrap()
    }

    /// Publishes, with something done behind the publisher's back whenever it has listed a directory.
    fn publish_while(
        &self,
        name: &str,
        troubled: Troubled,
        on_listed: &(dyn Fn(&Path) + Sync),
    ) -> (Result<Top, ImportError>, ImportProgress) {
        let (options, progress) = (
            PublishOptions {
                troubled,
                ..Default::default()
            },
            ImportProgress::new(),
        );
        let first = Job::Dir(DirJob::Top { path: self.path(name) });
        let mut work = Work::new(&self.store, &options, &progress, 2, Vec::new(), first);
        work.on_listed = Some(on_listed);
        let top = run(work, 2);
        (top, progress)
    }

    /// What a reader of the release would see, by path.
    fn read(&self, release: ReleaseId) -> BTreeMap<Vec<u8>, Seen> {
        let extent = self.store.locate(&release.0).expect("a published root is held");
        let root = self
            .store
            .read(ChunkRef {
                id: release.0,
                len: extent.len,
            })
            .unwrap();
        self.read_top(&Root::parse(&root).unwrap())
    }

    fn read_top(&self, root: &Root) -> BTreeMap<Vec<u8>, Seen> {
        let mut walk = Walk::new(root, 4);
        let mut seen = BTreeMap::new();
        let mut at: Vec<Vec<u8>> = Vec::new();
        let mut last = Vec::new();
        let path = |at: &[Vec<u8>], name: Option<&ares_core::manifest::Name>| {
            let names = at.iter().map(Vec::as_slice).chain(name.map(|name| name.as_bytes()));
            names.filter(|name| !name.is_empty()).collect::<Vec<_>>().join(&b'/')
        };
        loop {
            match walk.poll().unwrap() {
                WalkStep::Node(node) => walk.on_node(self.store.read(node).unwrap()),
                WalkStep::Wait => panic!("every node was given at once"),
                WalkStep::Done => return seen,
                WalkStep::Item(WalkItem::Enter { name, meta }) => {
                    seen.insert(path(&at, name.as_ref()), Seen { meta, what: What::Dir });
                    at.push(name.map(|name| name.as_bytes().to_vec()).unwrap_or_default());
                }
                WalkStep::Item(WalkItem::Leave) => drop(at.pop()),
                WalkStep::Item(WalkItem::Symlink { name, meta, target }) => {
                    seen.insert(
                        path(&at, name.as_ref()),
                        Seen {
                            meta,
                            what: What::Link(target.to_vec()),
                        },
                    );
                }
                WalkStep::Item(WalkItem::File { name, meta, file }) => {
                    last = path(&at, name.as_ref());
                    let bytes = match file.content {
                        Content::Inline(bytes) => bytes.to_vec(),
                        Content::Packed { pack, offset } => {
                            self.store.read(pack).unwrap().bytes()[offset as usize..][..file.bytes as usize].to_vec()
                        }
                        Content::Chunks(_) | Content::List(_) => Vec::new(),
                    };
                    seen.insert(
                        last.clone(),
                        Seen {
                            meta,
                            what: What::File(bytes, file.b3),
                        },
                    );
                }
                WalkStep::Item(WalkItem::Chunk { chunk, place }) => {
                    let Some(Seen {
                        what: What::File(bytes, _),
                        ..
                    }) = seen.get_mut(&last)
                    else {
                        panic!()
                    };
                    assert_eq!(place.offset, bytes.len() as u64);
                    bytes.extend_from_slice(self.store.read(chunk).unwrap().bytes());
                }
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    meta: Meta,
    what: What,
}

#[derive(Clone, PartialEq, Eq)]
enum What {
    Dir,
    Link(Vec<u8>),
    File(Vec<u8>, Option<[u8; 32]>),
}

impl std::fmt::Debug for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dir => f.write_str("Dir"),
            Self::Link(target) => write!(f, "Link({})", target.escape_ascii()),
            Self::File(bytes, b3) => write!(f, "File({} bytes {}, {b3:?})", bytes.len(), blake3::hash(bytes)),
        }
    }
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

const TIME: Duration = Duration::new(1_600_000_000, 123_456_789);

fn set_time(path: &Path, time: SystemTime) {
    OpenOptions::new().read(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Makes a tree with one of everything, written in the given order. Files above the size that is packed come in all classes of reading.
fn make(top: &Path, backwards: bool) {
    let mut files: Vec<(OsString, Vec<u8>)> = vec![
        ("empty".into(), Vec::new()),
        ("tiny".into(), b"tiny".to_vec()),
        ("inline-most".into(), noise(512, 1)),
        ("packed-least".into(), noise(513, 2)),
        ("packed-most".into(), noise(65_536, 3)),
        ("cut-least".into(), noise(65_537, 4)),
        ("one-window".into(), noise(1 << 20, 5)),
        ("two-windows".into(), noise((1 << 20) + 1, 6)),
        ("shared".into(), noise(20_000_000, 7)),
        ("zeros".into(), vec![0; 9_000_000]),
        (OsString::from_vec(b"\xff\xfe not utf-8".to_vec()), b"x".to_vec()),
        ("n".repeat(255).into(), b"long name".to_vec()),
        ("new\nline".into(), b"y".to_vec()),
    ];
    files.extend((0..300).map(|i| (format!("sub/dir-{}/file-{i}", i % 7).into(), noise(i * 40, 100 + i as u64))));
    let dirs = ["sub", "empty-dir", "sub/empty-dir"].map(PathBuf::from).into_iter();
    let dirs: Vec<PathBuf> = dirs.chain((0..7).map(|i| format!("sub/dir-{i}").into())).collect();
    dirs.iter().for_each(|dir| fs::create_dir_all(top.join(dir)).unwrap());
    if backwards {
        files.reverse();
    }
    for (name, bytes) in &files {
        let path = top.join(name);
        fs::write(&path, bytes).unwrap();
        let mode = if name.as_bytes().starts_with(b"t") { 0o4755 } else { 0o640 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        set_time(&path, SystemTime::UNIX_EPOCH + TIME);
    }
    symlink("/nowhere/at/all", top.join("absolute-link")).unwrap();
    symlink("../..", top.join("sub/link")).unwrap();
    for link in ["absolute-link", "sub/link"] {
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 },
            last_modification: rustix::fs::Timespec { tv_sec: -5, tv_nsec: 1 },
        };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, top.join(link), &times, flags).unwrap();
    }
    for dir in dirs.iter().chain([&PathBuf::new()]) {
        set_time(&top.join(dir), SystemTime::UNIX_EPOCH + TIME);
    }
}

#[test]
fn a_published_tree_reads_back_as_it_was() {
    let lab = Lab::new();
    make(&lab.path("tree"), false);
    let published = lab.publish("tree");
    assert_eq!(published.name, "tree");
    let seen = lab.read(published.release);
    assert_eq!(seen.len() as u64, published.entries + 1);
    let mut bytes = 0;
    for (name, Seen { meta, what }) in &seen {
        let path = lab.path("tree").join(std::ffi::OsStr::from_bytes(name));
        let on_disk = fs::symlink_metadata(&path).unwrap();
        assert_eq!(
            (i64::from(meta.mtime.nanos), meta.mtime.secs),
            (on_disk.mtime_nsec(), on_disk.mtime()),
            "{path:?}"
        );
        assert_eq!(u32::from(meta.mode), on_disk.mode() & 0o777, "{path:?}");
        match what {
            What::Dir => assert!(on_disk.is_dir()),
            What::Link(target) => assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), target),
            What::File(content, b3) => {
                bytes += content.len() as u64;
                assert!(*content == fs::read(&path).unwrap(), "{path:?}");
                assert_eq!(*b3, None);
            }
        }
    }
    assert_eq!(bytes, published.bytes);
    let releases = lab.store.releases();
    assert_eq!(releases.len(), 1);
    assert_eq!((releases[0].release, &*releases[0].name), (published.release, "tree"));
    assert_eq!(releases[0].state, ares_core::store::ReleaseState::Complete);
    // Large files stay where they are.
    let totals = lab.store.totals();
    assert!(
        totals.in_place_bytes > 20_000_000 && totals.own_bytes < 6_000_000,
        "{totals:?}"
    );
}

#[test]
fn the_same_tree_is_the_same_release_however_it_is_read() {
    let lab = Lab::new();
    make(&lab.path("one"), false);
    make(&lab.path("two"), true);
    let expect = lab.publish("one").release;
    for (name, threads, large_files) in [
        ("two", 1, LargeFiles::InPlace),
        ("two", 2, LargeFiles::Copy),
        ("one", 7, LargeFiles::InPlace),
    ] {
        let options = PublishOptions {
            threads,
            large_files,
            ..Default::default()
        };
        let fresh = Lab::new();
        let again = publish(&fresh.store, &lab.path(name), &options, &ImportProgress::new()).unwrap();
        assert_eq!(again.release, expect, "{name} by {threads} threads, {large_files:?}");
        assert_eq!(fresh.read(expect), lab.read(expect));
        assert_eq!(fresh.store.totals().in_place_bytes == 0, large_files == LargeFiles::Copy);
    }
}

#[test]
fn a_single_file_is_a_release_whatever_its_size() {
    let lab = Lab::new();
    for size in [0, 1, 512, 513, 65_536, 65_537, 3 << 20, 17_000_000] {
        let bytes = noise(size, size as u64);
        fs::write(lab.path("file"), &bytes).unwrap();
        let published = lab.publish("file");
        assert_eq!((published.bytes, published.entries), (size as u64, 1));
        let seen = lab.read(published.release);
        let Some(Seen {
            what: What::File(read, _),
            ..
        }) = seen.get(&b""[..])
        else {
            panic!("{seen:?}")
        };
        assert!(*read == bytes, "{size} bytes");
    }
}

/// Ends of the chunks of a published file, in order.
fn cuts_of(lab: &Lab, release: ReleaseId) -> Vec<u64> {
    let extent = lab.store.locate(&release.0).unwrap();
    let root = lab
        .store
        .read(ChunkRef {
            id: release.0,
            len: extent.len,
        })
        .unwrap();
    let mut walk = Walk::new(&Root::parse(&root).unwrap(), 1);
    let mut cuts = Vec::new();
    loop {
        match walk.poll().unwrap() {
            WalkStep::Node(node) => walk.on_node(lab.store.read(node).unwrap()),
            WalkStep::Item(WalkItem::Chunk { chunk, place }) => cuts.push(place.offset + u64::from(chunk.len)),
            WalkStep::Item(_) => {}
            WalkStep::Wait => panic!("every node was given at once"),
            WalkStep::Done => return cuts,
        }
    }
}

#[test]
fn parts_join_to_the_cuts_of_the_whole_file() {
    let lab = Lab::new();
    let len = 24_000_000;
    let mut runs = noise(len, 8);
    runs[2_000_000..7_500_000].fill(0);
    runs[9_000_000..9_000_040].fill(0);
    runs[20_000_000..].fill(0);
    let text = b"The same line of text, over and over again. ".repeat(len / 44);
    for (name, bytes) in [
        ("noise", noise(len, 9)),
        ("runs", runs),
        ("text", text),
        // Chains beside each other for ever: every chunk is as long as the one before.
        ("period", noise(200_000, 10).into_iter().cycle().take(len).collect()),
        ("zeros", vec![0; len]),
    ] {
        let mut cutter = Cutter::new(SizeClass::Small, 0);
        let mut expect = Vec::new();
        cutter.on_bytes(&bytes, 0, &mut expect);
        cutter.finish(bytes.len() as u64, &mut expect);
        for sparse in [false, true] {
            let path = lab.path(name);
            if sparse {
                // Whole pages of zeros become holes.
                let file = fs::File::create(&path).unwrap();
                file.set_len(bytes.len() as u64).unwrap();
                for (at, page) in bytes
                    .chunks(4096)
                    .enumerate()
                    .filter(|(_, page)| page.iter().any(|&b| b != 0))
                {
                    file.write_all_at(page, at as u64 * 4096).unwrap();
                }
            } else {
                fs::write(&path, &bytes).unwrap();
            }
            assert!(cuts_of(&lab, lab.publish(name).release) == expect, "{name}, sparse: {sparse}");
        }
    }
}

#[test]
fn holes_are_not_read_and_make_no_difference() {
    let lab = Lab::new();
    for (name, sparse) in [("sparse", true), ("full", false)] {
        fs::create_dir(lab.path(name)).unwrap();
        let path = lab.path(name).join("disk.img");
        let file = fs::File::create(&path).unwrap();
        let size = 40_000_000_u64;
        if sparse {
            file.set_len(size).unwrap();
        } else {
            fs::write(&path, vec![0; size as usize]).unwrap();
        }
        for (at, len) in [
            (0, 100_000),
            (10_000_000, 7),
            (20_971_489, 31),
            (30_000_000, 3_000_000),
            (size - 5, 5),
        ] {
            file.write_all_at(&noise(len, at), at).unwrap();
        }
        set_time(&path, SystemTime::UNIX_EPOCH + TIME);
        set_time(&lab.path(name), SystemTime::UNIX_EPOCH + TIME);
    }
    let blocks = |name: &str| lab.path(name).join("disk.img").metadata().unwrap().blocks();
    assert!(blocks("sparse") < blocks("full") / 4, "the filesystem of the test has holes");
    assert_eq!(lab.publish("sparse").release, lab.publish("full").release);
}

#[test]
fn a_file_of_holes_beyond_all_measure_is_named() {
    // tmpfs holds files that long; ext4 does not.
    let lab = Lab::at(tempfile::tempdir_in("/dev/shm").unwrap());
    fs::create_dir(lab.path("tree")).unwrap();
    for name in ["disk.img", "tree/disk.img"] {
        fs::File::create(lab.path(name)).unwrap().set_len((16 << 40) + 1).unwrap();
    }
    for name in ["disk.img", "tree"] {
        let options = PublishOptions::default();
        let error = publish(&lab.store, &lab.path(name), &options, &ImportProgress::new()).unwrap_err();
        assert!(
            matches!(
                error,
                ImportError::Large {
                    bytes: 17_592_186_044_417,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(lab.store.releases().len(), 0);
    }
}

#[test]
fn a_file_hash_is_recorded_where_it_is_asked_for() {
    let lab = Lab::new();
    make(&lab.path("tree"), false);
    let options = PublishOptions {
        file_hash: FileHash::Record,
        ..Default::default()
    };
    let published = publish(&lab.store, &lab.path("tree"), &options, &ImportProgress::new()).unwrap();
    for (name, seen) in lab.read(published.release) {
        if let What::File(bytes, b3) = seen.what {
            assert_eq!(b3, Some(*blake3::hash(&bytes).as_bytes()), "{}", name.escape_ascii());
        }
    }
}

#[test]
fn what_is_no_file_is_left_out_with_a_warning() {
    let lab = Lab::new();
    let tree = lab.path("tree");
    fs::create_dir_all(tree.join("state/inner")).unwrap();
    fs::write(tree.join("state/inner/file"), "x").unwrap();
    fs::write(tree.join("file"), "x").unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    let options = PublishOptions {
        without: vec![tree.join("state")],
        ..Default::default()
    };
    let progress = ImportProgress::new();
    let published = publish(&lab.store, &tree, &options, &progress).unwrap();
    assert_eq!(published.entries, 1);
    let (mut warnings, count) = progress.warnings();
    warnings.sort_by(|a, b| a.path.cmp(&b.path));
    let expect = [
        ("fifo", LeftOut::Fifo),
        ("socket", LeftOut::Socket),
        ("state", LeftOut::Excluded),
    ];
    assert_eq!(
        warnings,
        expect.map(|(name, what)| Warning {
            path: tree.join(name),
            what
        })
    );
    assert_eq!(count, 3);
    let counts = progress.counts();
    assert_eq!((counts.files_found, counts.bytes_found, counts.walked), (1, 1, true));
    assert_eq!((counts.files_done, counts.bytes_done), (1, 1));
}

#[test]
fn what_is_not_there_or_no_file_is_named() {
    let lab = Lab::new();
    let check = |path: &Path, expect: &str| {
        let error = publish(&lab.store, path, &PublishOptions::default(), &ImportProgress::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: {expect}", path.display()));
    };
    check(&lab.path("nothing"), "cannot find it: No such file or directory (os error 2)");
    check(
        Path::new("/dev/null"),
        "is a device; only a directory or a regular file can be published",
    );
    assert_eq!(lab.store.releases(), []);
}

#[test]
fn files_that_change_once_are_read_again() {
    let lab = Lab::new();
    let tree = lab.path("tree");
    fs::create_dir(&tree).unwrap();
    for name in [
        "grows",
        "shrinks",
        "vanishes",
        "is-replaced",
        "is-touched",
        "large-grows",
        "large-shrinks",
        "large-vanishes",
        "stays",
    ] {
        let size = if name.starts_with("large") { 3_000_000 } else { 5000 };
        fs::write(tree.join(name), noise(size, 1)).unwrap();
    }
    let calls = AtomicU32::new(0);
    let (top, _) = lab.publish_while("tree", Troubled::Fail, &|_| {
        if calls.fetch_add(1, Relaxed) > 0 {
            return;
        }
        for name in ["grows", "large-grows"] {
            OpenOptions::new()
                .append(true)
                .open(tree.join(name))
                .unwrap()
                .write_all(b"more")
                .unwrap();
        }
        for name in ["shrinks", "large-shrinks"] {
            OpenOptions::new()
                .write(true)
                .open(tree.join(name))
                .unwrap()
                .set_len(700)
                .unwrap();
        }
        for name in ["vanishes", "large-vanishes"] {
            fs::remove_file(tree.join(name)).unwrap();
        }
        fs::remove_file(tree.join("is-replaced")).unwrap();
        fs::create_dir(tree.join("is-replaced")).unwrap();
        set_time(&tree.join("is-touched"), SystemTime::UNIX_EPOCH);
    });
    let root = Root {
        cutter: CutterId::CURRENT,
        top: top.unwrap(),
    };
    let seen = lab.read_top(&root);
    let names: Vec<_> = seen.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    assert_eq!(
        names,
        [
            "",
            "grows",
            "is-replaced",
            "is-touched",
            "large-grows",
            "large-shrinks",
            "shrinks",
            "stays"
        ]
    );
    for (name, seen) in &seen {
        if let What::File(bytes, _) = &seen.what {
            assert!(
                *bytes == fs::read(tree.join(std::ffi::OsStr::from_bytes(name))).unwrap(),
                "{}",
                name.escape_ascii()
            );
        }
    }
    assert_eq!(seen[&b"is-touched"[..]].meta.mtime.secs, 0);
}

#[test]
fn a_file_that_never_holds_still_is_named_or_left_out() {
    // Each time its directory was listed, and before it is read, it gets another size, or turns into what is not cut.
    let check = |size: usize, meddle: &(dyn Fn(&Path) + Sync)| {
        let lab = Lab::new();
        let tree = lab.path("tree");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("stays"), b"x").unwrap();
        let path = tree.join("troubled");
        fs::write(&path, noise(size, 1)).unwrap();
        let on_listed = |_: &Path| meddle(&path);

        let (top, _) = lab.publish_while("tree", Troubled::Fail, &on_listed);
        let text = top.unwrap_err().to_string();
        assert!(
            text.starts_with(&format!(
                "{}: changed or vanished each of the 3 times it was read",
                path.display()
            )),
            "{text}"
        );

        fs::write(&path, noise(size, 1)).unwrap();
        let (top, progress) = lab.publish_while("tree", Troubled::Skip, &on_listed);
        let seen = lab.read_top(&Root {
            cutter: CutterId::CURRENT,
            top: top.unwrap(),
        });
        assert_eq!(
            seen.keys().map(|n| n.escape_ascii().to_string()).collect::<Vec<_>>(),
            ["", "stays"]
        );
        assert_eq!(
            progress.warnings().0,
            [Warning {
                path: path.clone(),
                what: LeftOut::Changed
            }]
        );
    };
    let times = AtomicU32::new(0);
    check(5000, &|path| {
        fs::write(path, noise(5001 + times.fetch_add(1, Relaxed) as usize, 1)).unwrap()
    });
    // Listed as large, small when it is opened, and the other way round.
    let flips = |path: &Path| {
        let was_large = path.metadata().is_ok_and(|meta| meta.len() > 65_536);
        fs::write(path, noise(if was_large { 600 } else { 100_000 }, 1)).unwrap();
    };
    check(100_000, &flips);
}

#[test]
fn a_cancelled_publish_leaves_no_release() {
    let lab = Lab::new();
    make(&lab.path("tree"), false);
    let progress = ImportProgress::new();
    progress.cancel();
    let error = publish(&lab.store, &lab.path("tree"), &PublishOptions::default(), &progress).unwrap_err();
    assert!(matches!(error, ImportError::Cancelled), "{error}");
    assert_eq!(lab.store.releases(), []);

    let progress = ImportProgress::new();
    let options = PublishOptions::default();
    let mut work = Work::new(
        &lab.store,
        &options,
        &progress,
        2,
        Vec::new(),
        Job::Dir(DirJob::Top { path: lab.path("tree") }),
    );
    let cancel = |_: &Path| progress.cancel();
    work.on_listed = Some(&cancel);
    assert!(matches!(run(work, 2), Err(ImportError::Cancelled)));
}

#[test]
fn publishing_again_stores_only_what_changed() {
    let lab = Lab::new();
    let tree = lab.path("tree");
    make(&tree, false);
    let first = lab.publish("tree");
    let before = lab.store.totals();
    let again = lab.publish("tree");
    assert_eq!(again.release, first.release);
    assert_eq!(lab.store.totals().own_bytes, before.own_bytes);

    fs::write(tree.join("sub/dir-3/file-3"), b"edited").unwrap();
    let edited = lab.publish("tree");
    assert_ne!(edited.release, first.release);
    let grown = lab.store.totals().own_bytes - before.own_bytes;
    assert!((1..400_000).contains(&grown), "{grown} bytes more");
}

#[test]
fn a_deep_tree_is_published_or_refused_by_name() {
    let lab = Lab::new();
    let mut path = lab.path("deep");
    (0..900).for_each(|_| path.push("d"));
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("file"), b"x").unwrap();
    assert_eq!(lab.publish("deep").entries, 901);
}
