//! The store as its users see it: put, read, reopen, hand over. What crashes, full disks and foreign hands do to it is in the files below.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use ares_core::chunk::{ChunkId, ReleaseId};
use ares_core::store::layout;

use super::testing::{TempDir, bytes_of, chunk, named, take, verified};
use super::*;

mod crash;
mod disk;
mod in_place;
mod room;

fn place(blob: u64, blob_bytes: u64, offset: u64) -> BlobPlace {
    BlobPlace {
        blob: ChunkId::of(&blob.to_le_bytes()),
        blob_bytes,
        offset,
    }
}

#[test]
fn the_store_can_be_shared_by_threads() {
    fn check<T: Send + Sync>() {}
    check::<Store>();
    check::<Extent>();
}

#[test]
fn what_was_put_is_read_and_is_still_there_after_reopening() {
    let dir = TempDir::new();
    let packed: Vec<_> = (0..50).map(|n| chunk(n, 1 + 997 * n as usize)).collect();
    let parts: Vec<_> = (100..108).map(|n| chunk(n, 5000)).collect();
    let check = |store: &Arc<Store>, when: &str| {
        for c in packed.iter().chain(&parts) {
            assert!(store.has(&c.id()), "{when}");
            assert_eq!(store.read(named(c)).expect(when).bytes(), c.bytes(), "{when}");
            let extent = store.locate(&c.id()).expect(when);
            assert!(extent.still_valid());
            assert_eq!(extent.len as usize, c.bytes().len());
        }
        let totals = store.totals();
        assert_eq!(totals.chunks, 58, "{when}");
        let bytes = packed.iter().chain(&parts).map(|c| c.bytes().len() as u64).sum::<u64>();
        assert_eq!(
            (totals.own_bytes, totals.in_place_bytes, totals.objects),
            (bytes, 0, 2),
            "{when}"
        );
        assert_eq!(
            (totals.gone_objects, totals.bad_chunks, totals.intake_stopped),
            (0, 0, None),
            "{when}"
        );
    };
    {
        let store = Store::open(dir.path()).unwrap();
        let writer = store.writer();
        for c in &packed {
            writer.put(c, None).unwrap();
            writer.put(c, None).unwrap();
        }
        // In an order that is not theirs; the last byte makes the blob whole.
        for n in [3, 0, 7, 1, 6, 2, 5, 4] {
            let place = place(1, 40_000, n * 5000);
            assert!(!store.has_at(&place, &named(&parts[n as usize])));
            assert!(store.lend(&place.blob).is_none());
            writer.put(&parts[n as usize], Some(place)).unwrap();
            assert!(store.has_at(&place, &named(&parts[n as usize])));
        }
        let file = store.lend(&place(1, 40_000, 0).blob).expect("it is whole").file;
        assert_eq!(
            fs::read(file.path()).unwrap(),
            parts.iter().flat_map(|c| c.bytes().to_vec()).collect::<Vec<_>>()
        );
        check(&store, "while it was open");
        store.flush().unwrap();
    }
    for round in 0..2 {
        let store = Store::open(dir.path()).unwrap();
        check(&store, &format!("reopened {round}"));
        let path = dir.path().join(layout::blob(&place(1, 40_000, 0).blob));
        assert!(path.exists(), "a whole blob has its final name");
    }
    let store = Store::open(dir.path()).unwrap();
    assert!(matches!(store.read(named(&chunk(999, 10))), Err(ReadError::NotHeld(_))));
    let mut seen = 0;
    let verified = store.verify(&mut |_| {
        seen += 1;
        true
    });
    assert_eq!((verified.chunks, verified.lost_chunks, seen), (58, 0, 58));
    assert_eq!(store.verify(&mut |done| done.chunks < 3).chunks, 3, "it can be ended early");
}

#[test]
fn zeros_of_a_blob_are_holes_that_read_as_zeros() {
    let dir = TempDir::new();
    let store = Store::open(dir.path()).unwrap();
    let writer = store.writer();
    let zeros = verified(vec![0; 1 << 20]);
    let data = chunk(1, 1 << 16);
    let bytes = 64 << 20;
    for n in 0..63 {
        writer.put(&zeros, Some(place(1, bytes, n << 20))).unwrap();
    }
    writer
        .put(&verified(vec![0; (1 << 20) - (1 << 16)]), Some(place(1, bytes, 63 << 20)))
        .unwrap();
    let last = place(1, bytes, bytes - (1 << 16));
    writer.put(&data, Some(last)).unwrap();
    let file = store.lend(&last.blob).expect("whole").file;
    let meta = fs::metadata(file.path()).unwrap();
    assert_eq!(meta.len(), bytes);
    assert!(meta.blocks() * 512 < 1 << 20, "{} bytes on disk", meta.blocks() * 512);
    assert_eq!(store.read(named(&zeros)).unwrap().bytes(), zeros.bytes());
    assert_eq!(store.read(named(&data)).unwrap().bytes(), data.bytes());
    // In a pack they are bytes like others.
    let small = verified(vec![0; 100]);
    writer.put(&small, None).unwrap();
    assert_eq!(store.read(named(&small)).unwrap().bytes(), small.bytes());
}

#[test]
fn an_equal_chunk_at_another_place_is_copied_and_not_fetched() {
    let dir = TempDir::new();
    let (a, b) = (chunk(1, 3000), chunk(2, 2000));
    let at = |offset| place(1, 8000, offset);
    {
        let store = Store::open(dir.path()).unwrap();
        let writer = store.writer();
        assert_eq!(writer.fill(named(&a), at(0)).unwrap(), Filled::NotHeld);
        writer.put(&a, Some(at(0))).unwrap();
        assert!(!store.has_at(&at(5000), &named(&a)));
        assert_eq!(writer.fill(named(&a), at(5000)).unwrap(), Filled::Copied);
        assert_eq!(writer.fill(named(&a), at(5000)).unwrap(), Filled::There);
        writer.put(&b, None).unwrap();
        assert_eq!(writer.fill(named(&b), at(3000)).unwrap(), Filled::Copied);
    }
    let store = Store::open(dir.path()).unwrap();
    let file = store.lend(&at(0).blob).expect("all three places count").file;
    assert_eq!(
        fs::read(file.path()).unwrap(),
        [&a.bytes()[..], &b.bytes()[..], &a.bytes()[..]].concat()
    );
}

#[test]
fn a_place_that_does_not_fit_its_blob_is_refused() {
    let dir = TempDir::new();
    let store = Store::open(dir.path()).unwrap();
    let writer = store.writer();
    let c = chunk(1, 100);
    let check = |place: BlobPlace, expect: &str| {
        let error = writer.put(&c, Some(place)).expect_err(expect).to_string();
        assert!(error.contains(expect), "{error}");
        assert!(!store.has(&c.id()));
    };
    check(place(1, 99, 0), "100 bytes at 0 do not lie within its 99 bytes");
    check(place(1, 1000, 901), "do not lie within");
    check(place(1, u64::MAX, u64::MAX - 10), "do not lie within");
    check(place(1, u64::MAX, 0), "more than one file may have");
    check(place(1, 1 << 62, 0), "more than one file may have");
    writer.put(&c, Some(place(2, 1000, 0))).unwrap();
    let error = writer.put(&chunk(2, 100), Some(place(2, 2000, 100))).unwrap_err().to_string();
    assert!(error.contains("within its 2000 bytes (it is known to have 1000)"), "{error}");
}

#[test]
fn a_chunk_whose_bytes_rotted_is_forgotten_and_can_be_put_again() {
    let dir = TempDir::new();
    let store = Store::open(dir.path()).unwrap();
    let writer = store.writer();
    let (packed, whole) = (chunk(1, 1000), chunk(2, 1000));
    writer.put(&packed, None).unwrap();
    writer.put(&whole, Some(place(1, 1000, 0))).unwrap();
    for (c, at) in [(&packed, None), (&whole, Some(place(1, 1000, 0)))] {
        let extent = store.locate(&c.id()).unwrap();
        let mut bytes = fs::read(extent.file.path()).unwrap();
        bytes[extent.offset as usize + 500] ^= 1;
        fs::write(extent.file.path(), &bytes).unwrap();
        match store.read(named(c)) {
            Err(ReadError::Bad { offset, .. }) => assert_eq!(offset, extent.offset),
            other => panic!("{other:?}"),
        }
        assert!(!store.has(&c.id()));
        if let Some(at) = at {
            assert!(!store.has_at(&at, &named(c)));
            assert!(store.lend(&at.blob).is_none());
            assert!(dir.path().join(layout::blob_partial(&at.blob)).exists(), "no longer whole");
        }
        writer.put(c, at).unwrap();
        assert_eq!(store.read(named(c)).unwrap().bytes(), c.bytes());
    }
    assert!(store.lend(&place(1, 1000, 0).blob).is_some());
    assert_eq!(store.totals().bad_chunks, 2);
    // A zero chunk that was rotten is really zeros again, not a hole that is none.
    let zeros = verified(vec![0; 8192]);
    let at = place(3, 8192, 0);
    writer.put(&zeros, Some(at)).unwrap();
    fs::write(store.lend(&at.blob).unwrap().file.path(), vec![7; 8192]).unwrap();
    assert!(matches!(store.read(named(&zeros)), Err(ReadError::Bad { .. })));
    writer.put(&zeros, Some(at)).unwrap();
    assert_eq!(store.read(named(&zeros)).unwrap().bytes(), zeros.bytes());
    // A receiver that found a chunk bad says so.
    store.forget(&zeros.id());
    assert!(!store.has(&zeros.id()));
    store.forget(&zeros.id());
    // A file cut short.
    let extent = store.locate(&packed.id()).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(extent.file.path())
        .unwrap()
        .set_len(extent.offset)
        .unwrap();
    assert!(matches!(store.read(named(&packed)), Err(ReadError::Short { .. })));
}

#[test]
fn files_of_the_store_that_vanish_cost_only_their_chunks() {
    let dir = TempDir::new();
    let (a, b, c) = (chunk(1, 100), chunk(2, 100), chunk(3, 100));
    {
        let store = Store::open(dir.path()).unwrap();
        let writer = store.writer();
        writer.put(&a, None).unwrap();
        writer.put(&b, Some(place(1, 100, 0))).unwrap();
    }
    fs::remove_dir_all(dir.path().join(layout::PACKS)).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.locate(&a.id()).is_none());
    assert!(!store.has(&a.id()));
    assert_eq!(store.totals().gone_objects, 1);
    assert_eq!(store.read(named(&b)).unwrap().bytes(), b.bytes());
    let writer = store.writer();
    writer.put(&a, None).unwrap();
    writer.put(&c, None).unwrap();
    assert_eq!(store.read(named(&a)).unwrap().bytes(), a.bytes());
}

#[test]
fn many_writers_at_once_lose_nothing() {
    let dir = TempDir::new();
    let bytes = 400 * 2000;
    {
        let store = Store::open(dir.path()).unwrap();
        std::thread::scope(|s| {
            for t in 0..4u64 {
                let store = &store;
                s.spawn(move || {
                    let writer = store.writer();
                    // Every thread puts everything, each from its own start: all collide with all.
                    for k in 0..400 {
                        let n = (k + t * 100) % 400;
                        writer.put(&chunk(n, 2000), Some(place(1, bytes, n * 2000))).unwrap();
                        writer.put(&chunk(1000 + n, 500), None).unwrap();
                        if k % 100 == 0 {
                            store.flush().unwrap();
                        }
                    }
                });
            }
        });
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.totals().chunks, 800);
    assert_eq!(store.verify(&mut |_| true).lost_chunks, 0);
    assert!(store.lend(&place(1, bytes, 0).blob).is_some());
}

#[test]
fn releases_are_remembered_in_order_with_their_state() {
    let dir = TempDir::new();
    let id = |n: u64| ReleaseId(ChunkId::of(&n.to_le_bytes()));
    {
        let store = Store::open(dir.path()).unwrap();
        store.add_release(id(2), "two", 20, 2).unwrap();
        store.add_release(id(1), &"\u{fc}".repeat(2000), 10, 1).unwrap();
        store.mark_complete(id(2)).unwrap();
        store.mark_complete(id(99)).unwrap();
        store.add_release(id(2), "zwei", 20, 2).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    let releases = store.releases();
    let two = ReleaseInfo {
        release: id(2),
        name: "zwei".to_owned(),
        bytes: 20,
        entries: 2,
        state: ReleaseState::Complete,
    };
    assert_eq!(releases[0], two);
    assert_eq!(releases[1].name.len(), 1024, "cut at a character");
    assert_eq!((releases.len(), releases[1].state), (2, ReleaseState::Partial));
    let states = [2, 1, 99].map(|n| store.release_state(id(n)));
    assert_eq!(states, [Some(ReleaseState::Complete), Some(ReleaseState::Partial), None]);
}

#[test]
fn the_state_directory_and_its_files_are_private() {
    let dir = TempDir::new();
    let state = dir.path().join("a/b");
    let store = Store::open(&state).unwrap();
    let writer = store.writer();
    writer.put(&chunk(1, 10), None).unwrap();
    writer.put(&chunk(2, 10), Some(place(1, 10, 0))).unwrap();
    store.flush().unwrap();
    let mut todo = vec![state];
    let mut files = 0;
    while let Some(path) = todo.pop() {
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o077, 0, "{}", path.display());
        match meta.is_dir() {
            true => todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path())),
            false => files += 1,
        }
    }
    assert_eq!(files, 4, "lock, journal, one pack, one blob");
}

#[test]
fn a_pack_goes_on_where_it_ended() {
    let dir = TempDir::new();
    for round in 0..3 {
        let store = Store::open(dir.path()).unwrap();
        store.writer().put(&chunk(round, 1000), None).unwrap();
        let extent = store.locate(&chunk(round, 1000).id()).unwrap();
        assert_eq!(extent.offset, round * 1000);
    }
    assert_eq!(fs::read_dir(dir.path().join(layout::PACKS)).unwrap().count(), 1);
    let expect: Vec<u8> = (0..3).flat_map(|n| bytes_of(n, 1000)).collect();
    assert_eq!(fs::read(dir.path().join(layout::PACKS).join("00000000")).unwrap(), expect);
}
