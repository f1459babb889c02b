//! Little room: what goes, what stays, and what the journal says of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ares_core::knobs::{Knob, Setting, Settings};
use ares_core::manifest::{Content, Root, Walk, WalkItem, WalkStep};
use ares_core::store::Quota;

use super::*;
use crate::import::{ImportProgress, PublishOptions, publish};

const MIB: u64 = 1 << 20;
const QUOTA: u64 = 16 * MIB;

fn quota_of(own_bytes_max: u64) -> Quota {
    let mut settings = Settings::default();
    settings.set(Setting::clamped(Knob::StoreQuota, own_bytes_max));
    settings.set(Setting::clamped(Knob::StoreEvict, MIB));
    Quota::of(&settings)
}

fn small_store(dir: &TempDir) -> Arc<Store> {
    let store = Store::open(dir.path()).unwrap();
    store.set_quota(quota_of(QUOTA));
    store
}

/// Bytes that the store's own files take up.
fn disk_bytes(dir: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).unwrap().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes += disk_bytes(&entry.path()),
            Ok(meta) => bytes += meta.blocks() * 512,
            Err(_) => {} // gone meanwhile
        }
    }
    bytes
}

/// Puts so many chunks of a MiB that nobody wants.
fn flood(store: &Arc<Store>, from: u64, mib: u64) {
    let writer = store.writer();
    (from..from + mib).for_each(|n| writer.put(&chunk(1_000_000 + n, MIB as usize), None).unwrap());
}

/// A release of small files and a large one, made in a store of its own.
struct Made {
    _dir: TempDir,
    store: Arc<Store>,
    release: ReleaseId,
}

impl Made {
    fn new(seed: u64) -> Self {
        let dir = TempDir::new();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        for n in 0..40 {
            fs::write(tree.join(n.to_string()), bytes_of(seed + n, 20_000)).unwrap();
        }
        fs::write(tree.join("large"), bytes_of(seed, 3_000_000)).unwrap();
        let store = Store::open(&dir.path().join("state")).unwrap();
        let release = publish_in(&store, &tree);
        let _dir = dir;
        Self { _dir, store, release }
    }

    /// Its chunks in the order of the walk, each with its place.
    fn chunks(&self) -> Vec<(VerifiedChunk, Option<BlobPlace>)> {
        let root = self.store.read(self.release.root()).unwrap();
        let mut walk = Walk::new(&Root::parse(&root).unwrap(), 8);
        let mut chunks = vec![(root, None)];
        loop {
            match walk.poll().unwrap() {
                WalkStep::Node(node) => {
                    let node = self.store.read(node).unwrap();
                    chunks.push((node.clone(), None));
                    walk.on_node(node);
                }
                WalkStep::Item(WalkItem::Chunk { chunk, place }) => {
                    chunks.push((self.store.read(chunk).unwrap(), Some(place)));
                }
                WalkStep::Item(WalkItem::File { file, .. }) => {
                    if let Content::Packed { pack, .. } = file.content {
                        chunks.push((self.store.read(pack).unwrap(), None));
                    }
                }
                WalkStep::Item(_) => {}
                WalkStep::Wait => panic!("nodes come at once"),
                WalkStep::Done => return chunks,
            }
        }
    }

    /// As a download would.
    fn bring(&self, to: &Arc<Store>) {
        to.add_release(self.release, "made", 1, 1).unwrap();
        let writer = to.writer();
        self.chunks()
            .iter()
            .for_each(|(chunk, place)| writer.put(chunk, *place).unwrap());
    }

    fn is_all_in(&self, store: &Store) -> bool {
        let is_there = |(chunk, place): &(VerifiedChunk, Option<BlobPlace>)| {
            store.read(named(chunk)).is_ok_and(|read| read.bytes() == chunk.bytes())
                && place.is_none_or(|place| store.has_at(&place, &named(chunk)))
        };
        self.chunks().iter().all(is_there)
    }
}

fn publish_in(store: &Arc<Store>, tree: &Path) -> ReleaseId {
    publish(store, tree, &PublishOptions::default(), &ImportProgress::new())
        .unwrap()
        .release
}

#[test]
fn the_quota_holds_at_every_moment_and_what_was_not_read_for_longest_goes() {
    let dir = TempDir::new();
    let store = small_store(&dir);
    let writer = store.writer();
    let read_often = chunk(0, MIB as usize);
    writer.put(&read_often, None).unwrap();
    for n in 1..60 {
        let at = (n % 2 == 0).then(|| place(n, MIB, 0));
        writer.put(&chunk(n, MIB as usize), at).unwrap();
        assert!(store.read(named(&read_often)).is_ok(), "{n}");
        assert!(store.totals().quota_used_bytes <= QUOTA, "{n}: {:?}", store.totals());
        let used = disk_bytes(&dir.path().join("data"));
        assert!(used <= QUOTA + MIB, "{n}: {used} bytes on disk");
    }
    let held: Vec<u64> = (0..60).filter(|n| store.has(&chunk(*n, MIB as usize).id())).collect();
    assert!(held.len() >= 14, "no more goes than must: {held:?}");
    assert_eq!(held[0], 0);
    assert!(
        held[1..].windows(2).all(|pair| pair[0] + 1 == pair[1]) && held.last() == Some(&59),
        "{held:?}"
    );
    assert_eq!(store.totals().evicted_bytes, (60 - held.len() as u64) * MIB);
    drop((writer, store));
    let store = Store::open(dir.path()).unwrap();
    let again: Vec<u64> = (0..60)
        .filter(|n| store.read(named(&chunk(*n, MIB as usize))).is_ok())
        .collect();
    assert_eq!(again, held, "as it was before");
}

#[test]
fn what_is_pinned_or_was_made_here_stays_and_of_the_rest_it_is_said_that_it_is_not_whole() {
    let dir = TempDir::new();
    let store = small_store(&dir);
    let [pinned, configured, other] = [100, 200, 300].map(Made::new);
    let tree = dir.path().join("own");
    fs::create_dir(&tree).unwrap();
    (0..40).for_each(|n| fs::write(tree.join(n.to_string()), bytes_of(400 + n, 20_000)).unwrap());
    let own = publish_in(&store, &tree);
    store.pin(pinned.release, "ares:pinned").unwrap();
    store.pin_configured(BTreeMap::from([(configured.release, "ares:configured".to_owned())]));
    for made in [&pinned, &configured, &other] {
        made.bring(&store);
        assert!(store.mark_complete(made.release).unwrap());
    }
    assert_eq!(store.take_evicted(), Evicted::default(), "all of it fits");
    flood(&store, 0, 40);
    assert!(pinned.is_all_in(&store) && configured.is_all_in(&store));
    assert!(!other.is_all_in(&store));
    let again = publish_in(&store, &tree);
    assert_eq!(again, own);
    let state = |release| store.release_state(release).unwrap();
    let states = [pinned.release, configured.release, own, other.release].map(state);
    let whole = ReleaseState::Complete;
    assert_eq!(states, [whole, whole, whole, ReleaseState::Partial]);
    let evicted = store.take_evicted();
    assert_eq!(evicted.releases, [other.release], "once");
    let lost = |chunk: &VerifiedChunk| evicted.chunks.contains(&chunk.id().into());
    assert!(other.chunks().iter().any(|(chunk, _)| lost(chunk)));
    assert!(!pinned.chunks().iter().any(|(chunk, _)| lost(chunk)));
    assert_eq!(store.take_evicted(), Evicted::default());

    // Let go of, it goes as others do.
    store.unpin(pinned.release).unwrap();
    flood(&store, 100, 40);
    assert!(!pinned.is_all_in(&store) && configured.is_all_in(&store));
    drop(store);
    let store = small_store(&dir);
    assert_eq!(store.release_state(own), Some(whole));
    flood(&store, 200, 40);
    assert_eq!(store.release_state(own), Some(whole), "remembered");
}

#[test]
fn of_a_pinned_release_whose_manifest_is_not_all_here_what_is_known_stays() {
    let dir = TempDir::new();
    let store = small_store(&dir);
    let made = Made::new(100);
    store.pin(made.release, "ares:made").unwrap();
    let chunks = made.chunks();
    let root = &chunks[0].0;
    store.writer().put(root, None).unwrap();
    flood(&store, 0, 40);
    assert!(store.has(&root.id()));
    made.bring(&store);
    flood(&store, 50, 40);
    assert!(made.is_all_in(&store));
}

#[test]
fn who_brings_a_release_into_too_little_room_does_not_hear_that_it_is_whole() {
    let dir = TempDir::new();
    let store = small_store(&dir);
    let made = Made::new(100);
    made.bring(&store);
    flood(&store, 0, 40);
    assert!(!store.mark_complete(made.release).unwrap());
    assert_eq!(store.release_state(made.release), Some(ReleaseState::Partial));
    made.bring(&store);
    assert!(store.mark_complete(made.release).unwrap(), "now it is");
}

#[test]
fn what_is_lent_or_being_written_stays() {
    let dir = TempDir::new();
    let store = small_store(&dir);
    let writer = store.writer();
    let (whole, half) = (place(1, MIB, 0), place(2, 2 * MIB, 0));
    let bytes = chunk(1, MIB as usize);
    writer.put(&bytes, Some(whole)).unwrap();
    writer.put(&chunk(2, MIB as usize), Some(half)).unwrap();
    let lent = store.lend(&whole.blob).unwrap();
    flood(&store, 0, 40);
    assert!(store.has_at(&whole, &named(&bytes)) && store.has_at(&half, &named(&chunk(2, MIB as usize))));
    drop(lent);
    flood(&store, 50, 40);
    assert!(!store.has(&bytes.id()), "it was not read for longest");
    assert!(store.has_at(&half, &named(&chunk(2, MIB as usize))));
}

#[test]
fn who_reads_what_goes_reads_on_and_its_name_is_free_for_the_same_blob() {
    let dir = TempDir::new();
    let store = small_store(&dir);
    let writer = store.writer();
    let at = place(1, 2 * MIB, 0);
    let parts = [chunk(1, MIB as usize), chunk(2, MIB as usize)];
    let place_of = |part: usize| BlobPlace {
        offset: part as u64 * MIB,
        ..at
    };
    let put = |part: usize| writer.put(&parts[part], Some(place_of(part))).unwrap();
    (0..2).for_each(put);
    let reading = store.locate(&parts[1].id()).unwrap();
    // Journal and name of this moment, as a power cut might leave them.
    let then = fs::read(dir.path().join(layout::JOURNAL)).unwrap();
    flood(&store, 0, 40);
    assert!(!store.has(&parts[1].id()));
    put(0);
    let mut read = vec![0; MIB as usize];
    std::os::unix::fs::FileExt::read_exact_at(&reading.file.file, &mut read, reading.offset).unwrap();
    assert_eq!(&read[..], &parts[1].bytes()[..], "the old file, not the new one");
    assert!(store.lend(&at.blob).is_none(), "half of it is here");
    drop((writer, store));

    fs::write(dir.path().join(layout::JOURNAL), then).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.lend(&at.blob).is_none(), "its file does not say that it is whole");
    match store.read(named(&parts[1])) {
        Err(ReadError::Bad { .. } | ReadError::NotHeld(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn where_nothing_may_go_intake_stops_and_says_which_knob_and_goes_on_when_it_is_turned() {
    let dir = TempDir::new();
    let store = Store::open(dir.path()).unwrap();
    let made: Vec<Made> = (0..6).map(|n| Made::new(100 * (n + 1))).collect();
    for made in &made {
        store.pin(made.release, "ares:pinned").unwrap();
        made.bring(&store);
    }
    assert!(store.totals().quota_used_bytes > QUOTA);
    store.set_quota(quota_of(QUOTA));
    assert!(made.iter().all(|made| made.is_all_in(&store)), "only said, not done");
    let why = store.make_room().unwrap_err().to_string();
    assert!(why.contains("store-quota"), "{why}");
    assert!(made.iter().all(|made| made.is_all_in(&store)), "pins count for more");
    let new = chunk(1, 1000);
    let put = |store: &Arc<Store>| store.writer().put(&new, None);
    assert!(matches!(put(&store), Err(StoreError::Full { by: FullBy::Knobs, .. })));
    let why = store.totals().intake_stopped.unwrap();
    assert!(why.contains("store-quota"), "{why}");
    store.set_quota(quota_of(4 * QUOTA));
    let start = Instant::now();
    while put(&store).is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "intake does not go on");
        std::thread::yield_now();
    }
    assert_eq!(store.totals().intake_stopped, None);
}

#[test]
fn a_journal_of_mostly_history_is_written_anew_while_the_store_goes_on() {
    let dir = TempDir::new();
    let store = Store::open(dir.path()).unwrap();
    let release = ReleaseId(ChunkId::of(b"r"));
    let rename = |n: u64| {
        let name = format!("{n} {}", "x".repeat(1000));
        store.add_release(release, &name, n, 1).unwrap();
    };
    let chunks: Vec<_> = (0..3000).map(|n| chunk(n, 100)).collect();
    let at = |n: usize| (n.is_multiple_of(3)).then(|| place(n as u64 / 30, 1000, (n % 30 / 3 * 100) as u64));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let writer = store.writer();
            for (n, chunk) in chunks.iter().enumerate() {
                writer.put(chunk, at(n)).unwrap();
                if n % 10 == 0 {
                    store.forget(&chunks[n / 2].id());
                }
            }
        });
        let mut n = 0;
        let mut shrunk = 0;
        while !writing.is_finished() || shrunk < 3 {
            (n..n + 6000).for_each(rename);
            n += 6000;
            store.flush().unwrap();
            let before = store.totals().journal_bytes;
            store.shared.compact().unwrap();
            shrunk += u32::from(store.totals().journal_bytes < before / 4);
        }
        writing.join().unwrap();
        rename(n);
    });
    let held = |store: &Store| -> Vec<bool> { chunks.iter().map(|chunk| store.read(named(chunk)).is_ok()).collect() };
    let (before, releases) = (held(&store), store.releases());
    assert!(before.iter().any(|held| !held) && before.iter().filter(|held| **held).count() > 2500);
    store.settle().unwrap();
    let cut = fs::read(dir.path().join(layout::JOURNAL)).unwrap();
    drop(store);
    for journal in [None, Some(cut)] {
        if let Some(journal) = journal {
            fs::write(dir.path().join(layout::JOURNAL), journal).unwrap();
        }
        let store = Store::open(dir.path()).unwrap();
        assert!(!dir.path().join(layout::JOURNAL_DAMAGED).exists());
        assert_eq!((held(&store), store.releases()), (before.clone(), releases.clone()));
        let placed = chunks
            .iter()
            .enumerate()
            .filter(|(n, chunk)| before[*n] && at(*n).is_some_and(|place| !store.has_at(&place, &named(chunk))));
        assert_eq!(placed.count(), 0);
    }
}

#[test]
fn what_was_read_last_is_known_after_a_restart() {
    let dir = TempDir::new();
    let store = small_store(&dir);
    let blobs: Vec<VerifiedChunk> = (0..14).map(|n| chunk(n, MIB as usize)).collect();
    let writer = store.writer();
    for (n, blob) in blobs.iter().enumerate() {
        writer.put(blob, Some(place(n as u64, MIB, 0))).unwrap();
    }
    assert!(store.read(named(&blobs[2])).is_ok());
    drop((writer, store));
    let store = small_store(&dir);
    flood(&store, 0, 6);
    let held: Vec<usize> = (0..14).filter(|n| store.has(&blobs[*n].id())).collect();
    assert!(held.len() < 13 && held.contains(&2), "{held:?}");
    let gone = 14 - held.len();
    let oldest: Vec<usize> = (0..14).filter(|n| *n != 2).take(gone).collect();
    assert!(oldest.iter().all(|n| !held.contains(n)), "{held:?}");
}

#[test]
fn what_others_of_the_zone_have_goes_before_what_is_rare_there() {
    let [old, new] = [1000, 2000].map(Made::new);
    let goes = |nearby: &[&Made]| {
        let dir = TempDir::new();
        let store = small_store(&dir);
        old.bring(&store);
        new.bring(&store);
        store.set_whole_nearby(nearby.iter().map(|made| made.release).collect());
        flood(&store, 0, 9);
        let is_here = |made: &Made| {
            let mut of_blob = made.chunks().into_iter().filter(|(_, place)| place.is_some());
            of_blob.all(|(chunk, _)| store.has(&chunk.id()))
        };
        [&old, &new].map(|made| !is_here(made))
    };
    assert_eq!(goes(&[]), [true, false], "what was not used for longest");
    assert_eq!(goes(&[&new]), [false, true]);
    assert_eq!(goes(&[&old, &new]), [true, false]);
}
