//! Files that are not ours: served where they are, noticed when they change, and backing files that become the user's.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;

/// A published file of three chunks of 4,000 bytes.
struct PublishedFile {
    path: PathBuf,
    chunks: Vec<VerifiedChunk>,
}

impl PublishedFile {
    fn make(path: PathBuf, seed: u64) -> Self {
        let chunks: Vec<_> = (0..3).map(|n| chunk(seed + n, 4000)).collect();
        fs::write(&path, chunks.iter().flat_map(|c| c.bytes().to_vec()).collect::<Vec<_>>()).unwrap();
        Self { path, chunks }
    }

    fn blob(&self) -> BlobRef {
        BlobRef {
            id: ChunkId::of(self.chunks[0].id().as_bytes()),
            bytes: 12_000,
        }
    }

    fn named(&self) -> Vec<(u64, ChunkRef)> {
        (0..).step_by(4000).zip(self.chunks.iter().map(named)).collect()
    }

    fn add(&self, store: &Store) -> Result<(), StoreError> {
        let guard = guard_of(&File::open(&self.path).unwrap()).unwrap();
        store.add_in_place(&self.path, guard, self.blob(), &self.named())
    }
}

#[test]
fn a_published_file_is_served_where_it_is_also_after_reopening() {
    let dir = TempDir::new();
    let file = PublishedFile::make(dir.path().join("f\u{e4} \n"), 0);
    {
        let store = Store::open(&dir.path().join("s")).unwrap();
        file.add(&store).unwrap();
        file.add(&store).unwrap();
        assert_eq!(store.totals().objects, 1, "publishing it again adds nothing");
    }
    let store = Store::open(&dir.path().join("s")).unwrap();
    for c in &file.chunks {
        assert_eq!(store.read(named(c)).unwrap().bytes(), c.bytes());
        let extent = store.locate(&c.id()).unwrap();
        assert_eq!(extent.file.path(), file.path);
        assert!(extent.still_valid());
    }
    assert_eq!((store.totals().in_place_bytes, store.totals().own_bytes), (12_000, 0));
    assert!(!dir.path().join("s").join(layout::PACKS).join("00000000").exists());
}

#[test]
fn a_file_that_changed_or_vanished_is_noticed_and_its_chunks_are_gone() {
    type Spoil = fn(&Path);
    let rows: [(&str, Spoil); 7] = [
        ("overwritten in place", |p| {
            let file = fs::OpenOptions::new().write(true).open(p).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"X", 5000).unwrap();
        }),
        ("truncated", |p| {
            fs::OpenOptions::new().write(true).open(p).unwrap().set_len(100).unwrap()
        }),
        ("removed", |p| fs::remove_file(p).unwrap()),
        ("replaced", |p| {
            let other = p.with_extension("new");
            fs::write(&other, vec![1; 12_000]).unwrap();
            fs::rename(&other, p).unwrap();
        }),
        ("moved away with its directory", |p| {
            fs::rename(p.parent().unwrap(), p.parent().unwrap().with_extension("away")).unwrap()
        }),
        ("replaced by a FIFO", |p| {
            fs::remove_file(p).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, p, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
        ("same bytes, other mtime", |p| {
            let file = File::open(p).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }),
    ];
    for (name, spoil) in rows {
        for cached in [false, true] {
            let dir = TempDir::new();
            fs::create_dir(dir.path().join("tree")).unwrap();
            let file = PublishedFile::make(dir.path().join("tree/f"), 0);
            let store = Store::open(&dir.path().join("s")).unwrap();
            file.add(&store).unwrap();
            let extent = cached.then(|| store.locate(&file.chunks[1].id()).unwrap());
            spoil(&file.path);
            if name == "moved away with its directory" && cached {
                continue; // an open file stays the same file wherever it is moved
            }
            match &extent {
                Some(extent) => assert!(!extent.still_valid(), "{name}"),
                None => assert!(store.locate(&file.chunks[1].id()).is_none(), "{name}"),
            }
            for c in &file.chunks {
                assert!(!store.has(&c.id()), "{name}, cached {cached}");
            }
            assert_eq!(store.totals().gone_objects, 1, "{name}, cached {cached}");
            assert_eq!(store.totals().chunks, 0);
            drop(store);
            let store = Store::open(&dir.path().join("s")).unwrap();
            assert!(!store.has(&file.chunks[0].id()), "{name}: it stays gone");
        }
    }
}

#[test]
fn a_changed_file_never_yields_wrong_bytes_to_a_reader() {
    let dir = TempDir::new();
    let file = PublishedFile::make(dir.path().join("f"), 0);
    let store = Store::open(&dir.path().join("s")).unwrap();
    file.add(&store).unwrap();
    assert!(store.read(named(&file.chunks[0])).is_ok());
    fs::write(&file.path, vec![9; 12_000]).unwrap();
    assert!(matches!(store.read(named(&file.chunks[0])), Err(ReadError::Changed { .. })));
    assert!(matches!(store.read(named(&file.chunks[1])), Err(ReadError::NotHeld(_))));
    // Published again as it is now: the new bytes are held.
    let again = PublishedFile::make(file.path.clone(), 50);
    again.add(&store).unwrap();
    assert_eq!(store.read(named(&again.chunks[2])).unwrap().bytes(), again.chunks[2].bytes());
}

#[test]
fn an_equal_chunk_of_another_release_steps_in() {
    let dir = TempDir::new();
    let first = PublishedFile::make(dir.path().join("v1"), 0);
    let second = PublishedFile::make(dir.path().join("v2"), 0);
    let store = Store::open(&dir.path().join("s")).unwrap();
    first.add(&store).unwrap();
    second.add(&store).unwrap();
    fs::remove_file(&first.path).unwrap();
    for c in &first.chunks {
        assert_eq!(store.read(named(c)).unwrap().bytes(), c.bytes());
    }
    drop(store);
    let store = Store::open(&dir.path().join("s")).unwrap();
    assert_eq!(store.locate(&first.chunks[0].id()).unwrap().file.path(), second.path);
}

#[test]
fn a_file_that_changed_while_it_was_hashed_is_refused() {
    let dir = TempDir::new();
    let file = PublishedFile::make(dir.path().join("f"), 0);
    let store = Store::open(&dir.path().join("s")).unwrap();
    let guard = guard_of(&File::open(&file.path).unwrap()).unwrap();
    let check = |path: &Path, expect: &str| {
        let error = store
            .add_in_place(path, guard, file.blob(), &file.named())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expect), "{error}");
        assert_eq!(store.totals().objects, 0);
    };
    check(&dir.path().join("absent"), "changed or vanished");
    std::os::unix::fs::symlink(&file.path, dir.path().join("link")).unwrap();
    check(&dir.path().join("link"), "changed or vanished");
    fs::OpenOptions::new()
        .append(true)
        .open(&file.path)
        .unwrap()
        .set_len(12_001)
        .unwrap();
    check(&file.path, "changed or vanished");
    let error = store
        .add_in_place(&file.path, guard, file.blob(), &[(9000, named(&file.chunks[0]))])
        .unwrap_err()
        .to_string();
    assert!(error.contains("do not lie within"), "{error}");
}

/// A store whose blob 1 is whole: two chunks of 5,000 bytes.
fn with_blob(state: &Path) -> (Arc<Store>, Vec<VerifiedChunk>, ChunkId) {
    let store = Store::open(state).unwrap();
    let chunks: Vec<_> = (0..2).map(|n| chunk(n, 5000)).collect();
    let writer = store.writer();
    for (n, c) in chunks.iter().enumerate() {
        writer.put(c, Some(place(1, 10_000, n as u64 * 5000))).unwrap();
    }
    (store, chunks, place(1, 10_000, 0).blob)
}

fn dress(file: &File) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(0o444))?;
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
}

#[test]
fn a_whole_blob_becomes_the_users_file_and_is_served_from_there() {
    let dir = TempDir::new();
    let state = dir.path().join("s");
    let (store, chunks, blob) = with_blob(&state);
    let served = store.locate(&chunks[0].id()).unwrap();
    let dest = dir.path().join("out");
    assert_eq!(take(&store, &blob, &dest, &mut dress).unwrap(), Taken::Moved);
    let meta = fs::metadata(&dest).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.len()), (0o444, 0, 10_000));
    assert!(!state.join(layout::blob(&blob)).exists());
    assert!(served.still_valid(), "who was reading reads on");
    assert!(store.lend(&blob).is_none());
    assert_eq!(
        take(&store, &blob, &dir.path().join("again"), &mut dress).unwrap(),
        Taken::MustCopy
    );
    let check = |store: &Store| {
        for c in &chunks {
            assert_eq!(store.read(named(c)).unwrap().bytes(), c.bytes());
            assert_eq!(store.locate(&c.id()).unwrap().file.path(), fs::canonicalize(&dest).unwrap());
        }
        assert_eq!((store.totals().own_bytes, store.totals().in_place_bytes), (0, 10_000));
    };
    check(&store);
    drop(store);
    let store = Store::open(&state).unwrap();
    check(&store);
    // A second download of it reads the first: nothing is copied into the store.
    let writer = store.writer();
    for (n, c) in chunks.iter().enumerate() {
        let at = place(1, 10_000, n as u64 * 5000);
        assert!(store.has_at(&at, &named(c)));
        assert!(!store.has_at(&place(2, 10_000, n as u64 * 5000), &named(c)), "another blob");
        assert_eq!(writer.fill(named(c), at).unwrap(), Filled::There);
    }
    assert_eq!((store.totals().own_bytes, store.totals().objects), (0, 1));
    assert_eq!(
        take(&store, &blob, &dir.path().join("two"), &mut dress).unwrap(),
        Taken::MustCopy
    );
    // The user removes it: once that is noticed, nothing is held, and a third download brings it anew.
    let served = store.locate(&chunks[0].id()).unwrap();
    fs::remove_file(&dest).unwrap();
    assert!(!served.still_valid());
    for (n, c) in chunks.iter().enumerate() {
        let at = place(1, 10_000, n as u64 * 5000);
        assert!(!store.has_at(&at, &named(c)));
        writer.put(c, Some(at)).unwrap();
        assert!(store.has_at(&at, &named(c)));
    }
    assert_eq!(
        take(&store, &blob, &dir.path().join("two"), &mut dress).unwrap(),
        Taken::Moved
    );
}

/// A download that was interrupted left half a backing file; then the same file was published. What is in place is not fetched or copied, so
/// the backing file never becomes whole: that is no error.
#[test]
fn a_published_file_counts_as_its_blob_wherever_a_chunk_of_it_recurs() {
    let dir = TempDir::new();
    let path = dir.path().join("f");
    let (a, b) = (chunk(1, 4000), chunk(2, 4000));
    fs::write(&path, [&a.bytes()[..], &b.bytes()[..], &a.bytes()[..]].concat()).unwrap();
    let at = |offset| place(1, 12_000, offset);
    let store = Store::open(&dir.path().join("s")).unwrap();
    let writer = store.writer();
    writer.put(&b, Some(at(4000))).unwrap();
    let error = take(&store, &at(0).blob, &dir.path().join("out"), &mut dress).unwrap_err();
    assert!(matches!(error, StoreError::Incomplete { .. }), "{error}");

    let chunks = [(0, named(&a)), (4000, named(&b)), (8000, named(&a))];
    let (id, bytes) = (at(0).blob, 12_000);
    let guard = guard_of(&File::open(&path).unwrap()).unwrap();
    store.add_in_place(&path, guard, BlobRef { id, bytes }, &chunks).unwrap();
    let held = |store: &Store| chunks.map(|(offset, chunk)| store.has_at(&at(offset), &chunk));
    assert_eq!(held(&store), [true; 3]);
    let taken = take(&store, &id, &dir.path().join("out"), &mut dress).unwrap();
    assert_eq!(taken, Taken::MustCopy);
    drop((writer, store));

    let store = Store::open(&dir.path().join("s")).unwrap();
    assert_eq!(held(&store), [true; 3]);
    fs::write(&path, b"changed").unwrap();
    assert!(store.locate(&a.id()).is_none());
    assert_eq!(held(&store), [false, true, false], "what the backing file has is still there");
    let error = take(&store, &id, &dir.path().join("out"), &mut dress).unwrap_err();
    assert!(matches!(error, StoreError::Incomplete { .. }), "{error}");
}

/// Who reads a backing file past the store believes what it says: it must not become somebody's to write to.
#[test]
fn what_is_lent_is_copied_and_not_handed_out() {
    let dir = TempDir::new();
    let (store, chunks, blob) = with_blob(&dir.path().join("s"));
    let (first, second) = (store.lend(&blob).expect("whole"), store.lend(&blob).expect("whole"));
    assert_eq!(first.bytes, fs::metadata(first.file.path()).unwrap().len());
    for lent in [first, second] {
        let out = dir.path().join("out");
        assert_eq!(take(&store, &blob, &out, &mut dress).unwrap(), Taken::MustCopy);
        assert!(!out.exists());
        drop(lent);
    }
    let dest = dir.path().join("out");
    assert_eq!(take(&store, &blob, &dest, &mut dress).unwrap(), Taken::Moved);
    assert!(store.lend(&blob).is_none(), "it is in place now");
    assert!(store.has(&chunks[0].id()));
}

#[test]
fn a_backing_file_that_is_not_what_it_was_is_not_lent() {
    let dir = TempDir::new();
    let (store, chunks, blob) = with_blob(&dir.path().join("s"));
    let path = store.lend(&blob).expect("whole").file.path().to_owned();
    fs::write(&path, b"short").unwrap();
    assert!(store.lend(&blob).is_none(), "it was cut");
    fs::write(&path, vec![7; 10_000]).unwrap();
    assert!(matches!(store.read(named(&chunks[0])), Err(ReadError::Bad { .. })));
    assert!(store.lend(&blob).is_none(), "a chunk of it was found bad");
}

/// Bytes that went bad on the disk show once the kernel has to fetch them from there, however often they were right before.
#[test]
fn what_was_found_right_is_hashed_again_where_it_comes_from_the_disk() {
    let dir = TempDir::new();
    let (store, chunks, _) = with_blob(&dir.path().join("s"));
    let at = |n: usize| place(1, 10_000, n as u64 * 5000);
    for _ in 0..2 {
        for (n, chunk) in chunks.iter().enumerate() {
            assert_eq!(store.read_warm(named(chunk), &at(n)).as_ref(), Some(chunk.bytes()));
        }
    }
    let path = store.lend(&at(0).blob).expect("whole").file.path().to_owned();
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(b"rot", 100).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert_eq!(store.read_warm(named(&chunks[0]), &at(0)), None);
    assert!(!store.has(&chunks[0].id()), "found bad");
    assert!(store.has(&chunks[1].id()));
}

#[test]
fn what_is_not_whole_or_not_there_is_not_read_warm() {
    let dir = TempDir::new();
    let (store, chunks, blob) = with_blob(&dir.path().join("s"));
    let first = named(&chunks[0]);
    assert_eq!(store.read_warm(first, &place(2, 10_000, 0)), None, "no such blob");
    for offset in [5001, 10_000, u64::MAX - 1] {
        assert_eq!(store.read_warm(first, &place(1, 10_000, offset)), None, "at {offset}");
    }
    assert!(store.has(&first.id), "nothing was lost by asking for nonsense");
    let dest = dir.path().join("out");
    assert_eq!(take(&store, &blob, &dest, &mut dress).unwrap(), Taken::Moved);
    assert_eq!(
        store.read_warm(first, &place(1, 10_000, 0)),
        None,
        "its owner may write to it"
    );
    let half = chunk(7, 5000);
    store.writer().put(&half, Some(place(3, 10_000, 0))).unwrap();
    assert_eq!(
        store.read_warm(named(&half), &place(3, 10_000, 0)),
        None,
        "half of it is here"
    );
}

#[test]
fn taking_what_cannot_be_taken_leaves_everything_as_it_was() {
    let dir = TempDir::new();
    let (store, chunks, blob) = with_blob(&dir.path().join("s"));
    fs::write(dir.path().join("taken"), b"mine").unwrap();
    let error = take(&store, &blob, &dir.path().join("taken"), &mut dress).unwrap_err();
    assert!(matches!(error, StoreError::DestinationExists(_)), "{error}");
    assert_eq!(fs::read(dir.path().join("taken")).unwrap(), b"mine");
    let error = take(&store, &blob, &dir.path().join("out"), &mut |_| {
        Err(io::ErrorKind::StorageFull.into())
    })
    .unwrap_err();
    assert!(matches!(error, StoreError::Disk { .. }), "{error}");
    let other_fs = Path::new("/dev/shm");
    if other_fs.is_dir() && fs::metadata(other_fs).unwrap().dev() != fs::metadata(dir.path()).unwrap().dev() {
        let dest = other_fs.join(format!("ares-test-{}", std::process::id()));
        assert_eq!(take(&store, &blob, &dest, &mut dress).unwrap(), Taken::MustCopy);
        assert!(!dest.exists());
    } else {
        println!("SKIPPED: no second filesystem at /dev/shm to be refused by");
    }
    store.writer().put(&chunk(9, 10), Some(place(9, 20, 0))).unwrap();
    let error = take(&store, &place(9, 20, 0).blob, &dir.path().join("out"), &mut dress).unwrap_err();
    assert!(matches!(error, StoreError::Incomplete { .. }), "{error}");
    assert_eq!(
        take(&store, &chunks[0].id(), &dir.path().join("out"), &mut dress).unwrap(),
        Taken::MustCopy
    );
    assert_eq!(store.read(named(&chunks[1])).unwrap().bytes(), chunks[1].bytes());
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_blob_lands_in_the_open_directory_whoever_takes_its_place() {
    let dir = TempDir::new();
    let (store, chunks, blob) = with_blob(&dir.path().join("s"));
    let at = |name: &str| dir.path().join(name);
    for name in ["dest", "outside"] {
        fs::create_dir(at(name)).unwrap();
    }
    let open = File::open(at("dest")).unwrap();
    let mut swap = |file: &File| {
        fs::rename(at("dest"), at("moved"))?;
        std::os::unix::fs::symlink(at("outside"), at("dest"))?;
        dress(file)
    };
    let dest = Dest {
        dir: open.as_fd(),
        name: OsStr::new("out"),
        path: &at("dest/out"),
    };
    assert_eq!(store.take_blob(&blob, dest, &mut swap).unwrap(), Taken::Moved);
    assert!(at("moved/out").is_file());
    assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 0);
    // It is not where the records say: its chunks are missed, and nothing else is read in its place.
    fs::write(at("outside/out"), vec![7; 10_000]).unwrap();
    assert!(chunks.iter().all(|c| store.locate(&c.id()).is_none()));
}

#[test]
fn thousands_of_published_files_are_served_with_few_open() {
    let dir = TempDir::new();
    let store = Store::open(&dir.path().join("s")).unwrap();
    fs::create_dir(dir.path().join("tree")).unwrap();
    let chunks: Vec<_> = (0..2000).map(|n| chunk(n, 10)).collect();
    for (n, c) in chunks.iter().enumerate() {
        let path = dir.path().join(format!("tree/{n}"));
        fs::write(&path, c.bytes()).unwrap();
        let guard = guard_of(&File::open(&path).unwrap()).unwrap();
        store
            .add_in_place(&path, guard, BlobRef { id: c.id(), bytes: 10 }, &[(0, named(c))])
            .unwrap();
    }
    for c in chunks.iter().chain(chunks.iter().rev()) {
        assert_eq!(store.read(named(c)).unwrap().bytes(), c.bytes());
    }
    let open = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|e| fs::read_link(e.ok()?.path()).ok());
    let open = open.filter(|path| path.starts_with(dir.path().join("tree"))).count();
    assert!(open <= 512, "{open} files open");
}

#[test]
fn what_a_crash_left_with_the_users_mode_is_still_ours() {
    let dir = TempDir::new();
    let (store, chunks, blob) = with_blob(&dir.path().join("s"));
    let path = store.lend(&blob).unwrap().file.path().to_owned();
    drop(store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let store = Store::open(&dir.path().join("s")).unwrap();
    assert_eq!(store.read(named(&chunks[0])).unwrap().bytes(), chunks[0].bytes());
}

#[test]
fn forgetting_one_place_keeps_the_others() {
    let dir = TempDir::new();
    let first = PublishedFile::make(dir.path().join("v1"), 0);
    let second = PublishedFile::make(dir.path().join("v2"), 0);
    let store = Store::open(&dir.path().join("s")).unwrap();
    first.add(&store).unwrap();
    second.add(&store).unwrap();
    let c = &first.chunks[0];
    let extent = store.locate(&c.id()).unwrap();
    fs::write(&first.path, b"changed").unwrap();
    assert!(!extent.still_valid());
    store.forget_at(&c.id(), &extent);
    assert_eq!(store.locate(&c.id()).unwrap().file.path(), second.path);
    let unknown = ChunkRef {
        id: c.id(),
        len: ares_core::chunk::LEN_UNKNOWN,
    };
    assert_eq!(store.read(unknown).unwrap().bytes(), c.bytes());
}
