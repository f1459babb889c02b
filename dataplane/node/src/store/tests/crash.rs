//! What a crash leaves is opened again: kill -9 of a real process at random moments, journals cut at every byte, files handed over half-way.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

const CHILD: &str = "ARES_TEST_STORE_CHILD";
const BLOB_CHUNKS: u64 = 4000;

fn child_chunk(n: u64) -> VerifiedChunk {
    chunk(n, 1 + (n as usize * 7919) % 20_000)
}

fn child_place(n: u64) -> Option<BlobPlace> {
    n.is_multiple_of(2).then(|| place(7, BLOB_CHUNKS * 20_000, n / 2 * 20_000))
}

/// Not a test of its own: the process that is killed by the one below. Puts chunks for ever and prints the number of each that is journalled.
#[test]
fn child_that_puts_until_killed() {
    let Ok(state) = std::env::var(CHILD) else { return };
    let store = Store::open(Path::new(&state)).unwrap();
    let writer = store.writer();
    let from = store.totals().chunks;
    for n in from..2 * BLOB_CHUNKS {
        writer.put(&child_chunk(n), child_place(n)).unwrap();
        if n % 3 == 0 {
            store.settle().unwrap();
            println!("journalled {n}");
        }
        if n % 400 == 399 {
            store.flush().unwrap();
        }
    }
}

#[test]
fn kill_9_at_any_moment_loses_nothing_that_was_journalled() {
    let dir = TempDir::new();
    let state = dir.path().join("s");
    let mut journalled = Vec::new();
    let mut random = u64::from(std::process::id());
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "store::tests::crash::child_that_puts_until_killed",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(CHILD, &state)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 1 + (random >> 33) as usize % 150;
        let mut heard = 0;
        for line in lines.map_while(Result::ok) {
            let Some(n) = line.split("journalled ").nth(1).and_then(|n| n.parse::<u64>().ok()) else {
                continue;
            };
            journalled.push(n);
            heard += 1;
            if heard == wanted {
                child.kill().unwrap(); // the pipe may still hold lines: they count, too
            }
        }
        let status = child.wait().unwrap();
        assert!(heard >= wanted, "round {round}: the child ended by itself: {status}");
        let store = Store::open(&state).unwrap();
        for n in &journalled {
            assert!(
                store.has(&child_chunk(*n).id()),
                "round {round} (seed {}): chunk {n} is lost",
                std::process::id()
            );
        }
        let verified = store.verify(&mut |_| true);
        assert_eq!(
            verified.lost_chunks, 0,
            "round {round}: a chunk was believed whose bytes are not there"
        );
        assert!(verified.chunks >= journalled.len() as u64);
        let at = child_place(0).unwrap();
        assert!(store.has_at(&at, &named(&child_chunk(0))));
    }
}

#[test]
fn two_opens_of_one_state_directory_are_told_apart() {
    let dir = TempDir::new();
    let store = Store::open(dir.path()).unwrap();
    let Err(error) = Store::open(dir.path()) else {
        panic!("opened twice")
    };
    match &error {
        StoreError::Locked { holder, .. } => assert_eq!(*holder, Some(std::process::id())),
        other => panic!("{other}"),
    }
    assert!(
        error
            .to_string()
            .contains(&format!("in use by process {}", std::process::id())),
        "{error}"
    );
    drop(store);
    Store::open(dir.path()).unwrap();
}

/// The journal a closed store left.
fn journal_of(state: &Path) -> Vec<u8> {
    fs::read(state.join(layout::JOURNAL)).unwrap()
}

#[test]
fn a_journal_cut_at_any_byte_opens_and_goes_on() {
    let dir = TempDir::new();
    let state = dir.path().join("s");
    let chunks: Vec<_> = (0..4).map(|n| chunk(n, 100)).collect();
    {
        let store = Store::open(&state).unwrap();
        let writer = store.writer();
        chunks.iter().for_each(|c| writer.put(c, None).unwrap());
    }
    let journal = journal_of(&state);
    let mut held_before = 0;
    for cut in 0..=journal.len() {
        fs::write(state.join(layout::JOURNAL), &journal[..cut]).unwrap();
        let held = {
            let store = Store::open(&state).unwrap();
            let held = chunks.iter().filter(|c| store.has(&c.id())).count();
            assert!(held >= held_before, "cut at {cut}: more bytes, fewer chunks");
            // Behind a torn tail the journal goes on.
            store.add_release(ReleaseId(chunks[0].id()), "after", 1, 1).unwrap();
            held
        };
        held_before = held;
        let store = Store::open(&state).unwrap();
        assert_eq!(
            chunks.iter().filter(|c| store.has(&c.id())).count(),
            held,
            "cut at {cut}: reopened once more"
        );
        assert_eq!(store.releases().len(), 1);
    }
    assert_eq!(held_before, 4);
}

#[test]
fn a_damaged_journal_is_kept_aside_and_what_stands_before_is_believed() {
    let dir = TempDir::new();
    let chunks: Vec<_> = (0..2).map(|n| chunk(n, 100)).collect();
    let mut lengths = Vec::new();
    for c in &chunks {
        let store = Store::open(dir.path()).unwrap();
        store.writer().put(c, None).unwrap();
        drop(store);
        lengths.push(journal_of(dir.path()).len());
    }
    let mut journal = journal_of(dir.path());
    journal[lengths[0] + 20] ^= 4;
    fs::write(dir.path().join(layout::JOURNAL), &journal).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!((store.has(&chunks[0].id()), store.has(&chunks[1].id())), (true, false));
    assert_eq!(
        fs::read(dir.path().join(layout::JOURNAL_DAMAGED)).unwrap(),
        &journal[lengths[0]..]
    );
}

#[test]
fn a_journal_that_is_not_ours_is_refused_and_left_alone() {
    let check = |spoil: &dyn Fn(&mut Vec<u8>), expect: &str| {
        let dir = TempDir::new();
        {
            let store = Store::open(dir.path()).unwrap();
            store.writer().put(&chunk(1, 10), None).unwrap();
        }
        let mut journal = journal_of(dir.path());
        spoil(&mut journal);
        fs::write(dir.path().join(layout::JOURNAL), &journal).unwrap();
        let Err(error) = Store::open(dir.path()) else {
            panic!("opened: {expect}")
        };
        assert!(error.to_string().contains(expect), "{error}");
        assert!(error.to_string().contains("journal"), "{error}");
        assert_eq!(journal_of(dir.path()), journal, "left as it was");
        assert!(dir.path().join(layout::PACKS).join("00000000").exists());
    };
    check(&|j| *j = b"SQLite format 3\0".to_vec(), "not an Ares journal");
    check(&|j| j[8] = 9, "format version 9, and this ares reads version 1");
}

#[test]
fn after_a_power_cut_only_what_was_synced_is_believed() {
    let dir = TempDir::new();
    let (synced, unsynced) = (chunk(1, 100), chunk(2, 100));
    {
        let store = Store::open(dir.path()).unwrap();
        let writer = store.writer();
        writer.put(&synced, None).unwrap();
        store.flush().unwrap();
        writer.put(&unsynced, None).unwrap();
        store.settle().unwrap();
        // What the disk holds at this moment; the flush at the end comes too late for it.
        fs::copy(dir.path().join(layout::JOURNAL), dir.path().join("then")).unwrap();
    }
    let then = fs::read(dir.path().join("then")).unwrap();
    let check = |journal: &[u8], expect: bool| {
        fs::write(dir.path().join(layout::JOURNAL), journal).unwrap();
        for _ in 0..2 {
            let store = Store::open(dir.path()).unwrap();
            assert!(store.has(&synced.id()));
            assert_eq!(store.has(&unsynced.id()), expect);
        }
    };
    check(&then, true);
    // The same journal, written under another boot of the machine.
    let this_boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let this_boot = u128::from_str_radix(&this_boot.trim().replace('-', ""), 16)
        .unwrap()
        .to_be_bytes();
    check(
        &rewritten(&then, |r| match r {
            Record::Boot(boot) if boot.0 == this_boot => Record::Boot(ares_core::store::BootId([0; 16])),
            other => other,
        }),
        false,
    );
}

/// The same records, changed one by one, in a journal of their own. Lengths stay the same, so the Syncs still say what they said.
fn rewritten(journal: &[u8], change: impl Fn(Record) -> Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = ares_core::store::Encoder::start([1; 16], &mut bytes);
    for record in ares_core::store::records(journal).expect("a journal of ours") {
        encoder.push(&change(record), &mut bytes);
    }
    assert_eq!(bytes.len(), journal.len());
    bytes
}

#[test]
fn a_blob_that_was_being_handed_over_is_found_wherever_a_crash_left_it() {
    let dir = TempDir::new();
    let state = dir.path().join("s");
    let dest = dir.path().join("out");
    let c = chunk(1, 5000);
    let at = place(1, 5000, 0);
    let before = {
        let store = Store::open(&state).unwrap();
        store.writer().put(&c, Some(at)).unwrap();
        store.flush().unwrap();
        let before = store.totals().journal_bytes as usize;
        assert_eq!(take(&store, &at.blob, &dest, &mut |_| Ok(())).unwrap(), Taken::Moved);
        before
    };
    let journal = journal_of(&state);
    let own = state.join(layout::blob(&at.blob));
    let (mut lost, mut stayed) = (0, 0);
    for cut in before..=journal.len() {
        // The rename happened: wherever the journal ends, the chunk is at its destination or is not held.
        fs::write(state.join(layout::JOURNAL), &journal[..cut]).unwrap();
        let store = Store::open(&state).unwrap();
        match store.read(named(&c)) {
            Ok(_) => assert_eq!(store.locate(&c.id()).unwrap().file.path(), fs::canonicalize(&dest).unwrap()),
            Err(ReadError::NotHeld(_)) => lost += 1,
            Err(other) => panic!("cut at {cut}: {other}"),
        }
        drop(store);
        // It had not happened yet: before the InPlace record the file is under its own name.
        fs::write(state.join(layout::JOURNAL), &journal[..cut]).unwrap();
        fs::rename(&dest, &own).unwrap();
        let store = Store::open(&state).unwrap();
        if store.read(named(&c)).is_ok() {
            assert_eq!(store.locate(&c.id()).unwrap().file.path(), fs::canonicalize(&own).unwrap());
            stayed += 1;
        }
        drop(store);
        fs::rename(&own, &dest).unwrap();
    }
    // The guard has the ctime of the first rename, so behind the whole InPlace record the moved-back file is another one: as it must be.
    assert!(lost > 0, "before the Moving record is whole, the file is missed");
    assert!(
        stayed > lost,
        "a file under its own name is found also behind the Moving record"
    );
}

#[test]
fn a_leftover_of_an_unfinished_rewrite_is_ignored() {
    let dir = TempDir::new();
    {
        let store = Store::open(dir.path()).unwrap();
        store.writer().put(&chunk(1, 10), None).unwrap();
    }
    fs::write(dir.path().join(layout::JOURNAL_NEW), b"half a journal").unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.has(&chunk(1, 10).id()));
}

#[test]
fn a_long_history_is_rewritten_and_says_the_same() {
    let dir = TempDir::new();
    let c = chunk(1, 10);
    {
        let store = Store::open(dir.path()).unwrap();
        store.writer().put(&c, None).unwrap();
        let name = "n".repeat(1000);
        for k in 0..5000 {
            store.add_release(ReleaseId(c.id()), &name, k, 1).unwrap();
        }
        store.flush().unwrap();
        assert!(store.totals().journal_bytes > 5_000_000);
    }
    for _ in 0..2 {
        let store = Store::open(dir.path()).unwrap();
        assert!(store.totals().journal_bytes < 2000, "{}", store.totals().journal_bytes);
        assert_eq!(store.read(named(&c)).unwrap().bytes(), c.bytes());
        assert_eq!(store.releases()[0].bytes, 4999);
    }
}

#[test]
fn without_being_asked_chunks_are_journalled_and_synced_soon() {
    let dir = TempDir::new();
    let store = Store::open(dir.path()).unwrap();
    store.writer().put(&chunk(1, 10), None).unwrap();
    let within = |limit: Duration, what: &str, holds: &dyn Fn(&[Record]) -> bool| {
        let start = std::time::Instant::now();
        while !holds(&ares_core::store::records(&journal_of(dir.path())).unwrap()) {
            assert!(start.elapsed() < limit, "{what} is not in the journal after {limit:?}");
            std::thread::yield_now();
        }
    };
    // Ten times what is promised: the machine may be busy.
    within(Duration::from_millis(500), "the chunk", &|r| {
        r.iter().any(|r| matches!(r, Record::Held { .. }))
    });
    within(Duration::from_secs(10), "its Sync", &|r| {
        matches!(r.last(), Some(Record::Sync { .. }))
    });
    // Nothing to do, nothing written.
    let len = journal_of(dir.path()).len();
    store.flush().unwrap();
    assert_eq!(journal_of(dir.path()).len(), len);
}

#[test]
fn unsynced_chunks_of_a_killed_process_are_synced_by_the_next() {
    let dir = TempDir::new();
    let c = chunk(1, 10);
    {
        let store = Store::open(dir.path()).unwrap();
        store.writer().put(&c, None).unwrap();
        store.settle().unwrap();
        fs::copy(dir.path().join(layout::JOURNAL), dir.path().join("then")).unwrap();
    }
    fs::copy(dir.path().join("then"), dir.path().join(layout::JOURNAL)).unwrap();
    drop(Store::open(dir.path()).unwrap());
    let records = ares_core::store::records(&journal_of(dir.path())).unwrap();
    assert!(matches!(records.last(), Some(Record::Sync { .. })), "{records:?}");
    // A file of ours without its bytes would have been caught by the hash; with them it is read.
    let file = fs::File::open(dir.path().join(layout::PACKS).join("00000000")).unwrap();
    let mut bytes = [0; 10];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes[..], &c.bytes()[..]);
}
