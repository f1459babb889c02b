//! The journal as a function of bytes: golden bytes, every way to cut or damage it, and the index against a naive model.

use std::collections::BTreeSet;

use super::*;
use crate::chunk::{ChunkId, ChunkRef, ReleaseId};

const BOOT: BootId = BootId([7; 16]);
const OTHER_BOOT: BootId = BootId([8; 16]);

fn id(n: u64) -> ChunkId {
    ChunkId::of(&n.to_le_bytes())
}

fn held(n: u64, offset: u64, len: u32) -> HeldChunk {
    HeldChunk {
        chunk: ChunkRef { id: id(n), len },
        offset,
    }
}

fn blob(n: u64, bytes: u64) -> BlobRef {
    BlobRef { id: id(n), bytes }
}

fn guard(ino: u64) -> Guard {
    Guard {
        dev: 1,
        ino,
        size: 1 << 20,
        mtime_ns: -5,
        ctime_ns: 6,
    }
}

fn release(n: u64, name: &str, state: ReleaseState) -> ReleaseInfo {
    ReleaseInfo {
        release: ReleaseId(id(n)),
        name: name.to_owned(),
        bytes: 3,
        entries: 4,
        state,
    }
}

fn pin(n: u64, link: &str) -> Record {
    Record::Pin {
        release: ReleaseId(id(n)),
        link: link.to_owned(),
    }
}

/// A journal and where each of its records ends.
struct Written {
    bytes: Vec<u8>,
    ends: Vec<(usize, Record)>,
}

fn write(records: impl IntoIterator<Item = Record>) -> Written {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::start([9; 16], &mut bytes);
    let mut ends = Vec::new();
    for record in records {
        encoder.push(&record, &mut bytes);
        ends.push((bytes.len(), record));
    }
    Written { bytes, ends }
}

/// A journal with every kind of record, two Syncs (the second covers less than stands before it) and an unsynced end.
fn sample() -> Written {
    let head = vec![
        Record::Boot(BOOT),
        Record::Pack { object: ObjectNo(0) },
        Record::Held {
            object: ObjectNo(0),
            chunks: vec![held(1, 0, 10), held(2, 10, 20)],
        },
        Record::Blob {
            object: ObjectNo(1),
            blob: blob(100, 1000),
        },
        Record::Held {
            object: ObjectNo(1),
            chunks: vec![held(3, 0, 500)],
        },
        Record::Release(release(200, "r\u{e9}lease", ReleaseState::Partial)),
    ];
    let first_sync = Record::Sync {
        upto: write(head.clone()).bytes.len() as u64,
    };
    let middle = vec![
        Record::InPlace {
            object: ObjectNo(2),
            blob: blob(101, 1 << 20),
            guard: guard(50),
            path: b"/a/\xff".to_vec(),
        },
        Record::Held {
            object: ObjectNo(2),
            chunks: vec![held(1, 0, 10), held(4, 4096, 99)],
        },
        Record::Forget {
            object: ObjectNo(0),
            offset: 10,
            chunk: held(2, 10, 20).chunk,
        },
    ];
    let covered: Vec<_> = head
        .iter()
        .cloned()
        .chain([first_sync.clone()])
        .chain(middle.clone())
        .collect();
    let second_sync = Record::Sync {
        upto: write(covered).bytes.len() as u64,
    };
    let end = vec![
        Record::Held {
            object: ObjectNo(1),
            chunks: vec![held(5, 500, 500)],
        },
        second_sync,
        Record::Moving {
            object: ObjectNo(1),
            guard: guard(51),
            path: b"/b".to_vec(),
        },
        Record::InPlace {
            object: ObjectNo(1),
            blob: blob(100, 1000),
            guard: guard(51),
            path: b"/b".to_vec(),
        },
        Record::Gone { object: ObjectNo(2) },
        Record::Release(release(200, "r\u{e9}lease", ReleaseState::Complete)),
        Record::Blob {
            object: ObjectNo(3),
            blob: blob(102, 300),
        },
        Record::Covered {
            object: ObjectNo(3),
            ranges: vec![(0, 100), (200, 300)],
        },
        Record::Read {
            objects: [3, 0].map(ObjectNo).to_vec(),
        },
        pin(201, "ares:kept"),
        pin(202, "ares:let go"),
        pin(202, ""),
    ];
    write(head.into_iter().chain([first_sync]).chain(middle).chain(end))
}

/// The oracle: which chunks are held after `records`, by keeping a list of places.
fn model<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeSet<ChunkId> {
    let mut places: Vec<(ChunkId, ObjectNo, u64)> = Vec::new();
    for record in records {
        match record {
            Record::Held { object, chunks } => places.extend(chunks.iter().map(|h| (h.chunk.id, *object, h.offset))),
            Record::Forget { object, offset, chunk } => places.retain(|p| *p != (chunk.id, *object, *offset)),
            Record::Gone { object } => places.retain(|p| p.1 != *object),
            _ => {}
        }
    }
    places.into_iter().map(|p| p.0).collect()
}

fn held_by(index: &Index) -> BTreeSet<ChunkId> {
    (0..300).map(id).filter(|id| index.lookup(id).is_some()).collect()
}

/// What a journal cut at `cut` must say, counted from the records that are whole.
fn believed(written: &Written, cut: usize, boot: BootId) -> Vec<&Record> {
    let whole = written.ends.iter().filter(|(end, _)| *end <= cut);
    let upto = whole.clone().filter_map(|(_, r)| match r {
        Record::Sync { upto } => Some(*upto as usize),
        _ => None,
    });
    let trusted = if boot == BOOT { cut } else { upto.max().unwrap_or(0) };
    whole.filter(|(end, _)| *end <= trusted).map(|(_, r)| r).collect()
}

#[test]
fn each_record_has_its_golden_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let check = |record: Record, golden: &str| {
        let start = HEADER_BYTES;
        let bytes = write([record.clone()]).bytes;
        assert_eq!(hex(&bytes[start..]), golden.replace(' ', ""), "{record:?}");
        let mut replay = Replay::new(BOOT);
        replay.on_bytes(&bytes).expect("our own journal");
    };
    assert_eq!(hex(&write([]).bytes), GOLDEN_HEADER.replace(' ', ""));
    for (record, golden) in sample_of_each().into_iter().zip(GOLDEN_RECORDS) {
        check(record, golden);
    }
}

fn sample_of_each() -> Vec<Record> {
    let small = |n: u8| ChunkId::from_bytes([n; 32]);
    let blob = BlobRef {
        id: small(0xbb),
        bytes: 0x0102_0304_0506_0708,
    };
    let chunk = ChunkRef {
        id: small(0xcc),
        len: 0x0009_0a0b,
    };
    let info = ReleaseInfo {
        release: ReleaseId(small(0xdd)),
        name: "n".to_owned(),
        bytes: 2,
        entries: 3,
        state: ReleaseState::Complete,
    };
    let guard = Guard {
        dev: 1,
        ino: 2,
        size: 3,
        mtime_ns: -1,
        ctime_ns: 5,
    };
    let object = ObjectNo(0x11);
    vec![
        Record::Boot(BootId([0xaa; 16])),
        Record::Sync { upto: 0x28 },
        Record::Pack { object },
        Record::Blob { object, blob },
        Record::InPlace {
            object,
            blob,
            guard,
            path: b"/p".to_vec(),
        },
        Record::Held {
            object,
            chunks: vec![HeldChunk { chunk, offset: 0x0c }],
        },
        Record::Forget {
            object,
            offset: 0x0c,
            chunk,
        },
        Record::Gone { object },
        Record::Release(info),
        Record::Moving {
            object,
            guard,
            path: b"/p".to_vec(),
        },
        Record::Covered {
            object,
            ranges: vec![(1, 2)],
        },
        Record::Pin {
            release: ReleaseId(small(0xdd)),
            link: "ares:a".to_owned(),
        },
        Record::Published {
            release: ReleaseId(small(0xdd)),
        },
        Record::Read {
            objects: vec![object, ObjectNo(0x12)],
        },
    ]
}

/// Magic, version, zero, nonce, check.
const GOLDEN_HEADER: &str = "415245534a524e4c 01000000 00000000 09090909090909090909090909090909 e41848959ae9bd36";
/// Check, length, kind, then the fields of the body; each as the first record behind the header above.
#[rustfmt::skip]
const GOLDEN_RECORDS: [&str; 14] = [
    "616cabe56927df40 1000 01 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "b5e57e9c5dcd39dd 0800 02 2800000000000000",
    "4e34989962d81fab 0400 03 11000000",
    "532d88ded7f9498a 2c00 04 11000000 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 0807060504030201",
    "b3ff2dfd2551cfe3 5600 05 11000000 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 0807060504030201 010000000000000002000000000000000300000000000000ffffffffffffffff0500000000000000 2f70",
    "a30301ddb4154306 3000 06 11000000 cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc 0c00000000000000 0b0a0900",
    "90cc8a126796fe89 3000 07 11000000 0c00000000000000 cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc 0b0a0900",
    "ae9c92be8452a362 0400 08 11000000",
    "e8e415082d443f86 3200 09 dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd 0200000000000000 0300000000000000 01 6e",
    "12b3917c8f8a98dc 2e00 0a 11000000 010000000000000002000000000000000300000000000000ffffffffffffffff0500000000000000 2f70",
    "d1a9a09cbd4a662f 1400 0b 11000000 0100000000000000 0200000000000000",
    "eaf69ebc54fc0efe 2600 81 dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd 617265733a61",
    "1130a88078febcd0 2000 82 dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
    "dbe082a9ba04ef2b 0800 83 11000000 12000000",
];

#[test]
fn a_journal_cut_at_any_byte_says_exactly_what_was_wholly_written() {
    let written = sample();
    for cut in 0..=written.bytes.len() {
        for boot in [BOOT, OTHER_BOOT] {
            let (index, tail) = replay(&written.bytes[..cut], boot).expect("a part of a journal is no foreign file");
            let believed = believed(&written, cut, boot);
            assert_eq!(held_by(&index), model(believed.iter().copied()), "cut at {cut}");
            let whole_end = written.ends.iter().map(|(end, _)| *end).filter(|end| *end <= cut).max();
            let valid = whole_end.unwrap_or(if cut >= HEADER_BYTES { HEADER_BYTES } else { 0 });
            assert_eq!(tail.valid_bytes, valid as u64, "cut at {cut}");
            assert_eq!(tail.cut_bytes, (cut - valid) as u64, "cut at {cut}");
            let end = if cut == valid && cut > 0 {
                TailEnd::Clean
            } else {
                TailEnd::Torn
            };
            assert_eq!(tail.end, end, "cut at {cut}");
            assert_eq!(tail.encoder.is_some(), cut >= HEADER_BYTES);
        }
    }
}

#[test]
fn a_journal_read_in_pieces_says_the_same() {
    let written = sample();
    let whole = replay(&written.bytes, BOOT).unwrap();
    for piece in 1..100 {
        let mut replay = Replay::new(BOOT);
        written.bytes.chunks(piece).for_each(|bytes| replay.on_bytes(bytes).unwrap());
        let (index, tail) = replay.finish();
        assert_eq!(index, whole.0, "pieces of {piece}");
        assert_eq!(
            (tail.valid_bytes, tail.unsynced),
            (whole.1.valid_bytes, whole.1.unsynced.clone())
        );
    }
}

#[test]
fn one_damaged_byte_ends_the_journal_there_or_is_an_error_that_names_it() {
    let written = sample();
    for at in 0..written.bytes.len() {
        for flip in [0x01, 0x80] {
            let mut bytes = written.bytes.clone();
            bytes[at] ^= flip;
            match replay(&bytes, BOOT) {
                Ok((index, tail)) => {
                    let before = written.ends.iter().map(|(end, _)| *end).filter(|end| *end <= at).max();
                    let valid = before.unwrap_or(if at >= HEADER_BYTES { HEADER_BYTES } else { 0 });
                    assert_eq!(tail.valid_bytes, valid as u64, "byte {at}");
                    assert_ne!(tail.end, TailEnd::Clean, "byte {at}");
                    assert_eq!(held_by(&index), model(believed(&written, valid, BOOT)), "byte {at}");
                }
                Err(JournalError::Foreign(_)) => assert!(at < 8),
                Err(JournalError::Version { found }) => assert!((8..12).contains(&at) && found != VERSION),
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }
}

#[test]
fn a_reordered_tail_is_not_believed() {
    let written = sample();
    let n = written.ends.len();
    for i in 1..n - 1 {
        let (start, middle, end) = (written.ends[i - 1].0, written.ends[i].0, written.ends[i + 1].0);
        let parts = [
            &written.bytes[..start],
            &written.bytes[middle..end],
            &written.bytes[start..middle],
            &written.bytes[end..],
        ];
        let (_, tail) = replay(&parts.concat(), BOOT).unwrap();
        assert_eq!(
            (tail.valid_bytes, tail.end),
            (start as u64, TailEnd::Corrupt),
            "records {i} and {} swapped",
            i + 1
        );
        let without = [&written.bytes[..start], &written.bytes[middle..]].concat();
        let (_, tail) = replay(&without, BOOT).unwrap();
        assert_eq!(
            (tail.valid_bytes, tail.end),
            (start as u64, TailEnd::Corrupt),
            "record {i} missing"
        );
    }
    // The same records in a journal with another nonce are those of a file that was there before.
    let mut other = Vec::new();
    Encoder::start([1; 16], &mut other);
    other.extend_from_slice(&written.bytes[HEADER_BYTES..]);
    assert_eq!(replay(&other, BOOT).unwrap().1.valid_bytes, HEADER_BYTES as u64);
}

#[test]
fn what_is_no_journal_of_ours_is_named() {
    let check = |bytes: &[u8], expect: &str| {
        let error = replay(bytes, BOOT).expect_err("not ours").to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(b"SQLite format 3\0 and so on, longer than a header", "not an Ares journal");
    check(b"x", "not an Ares journal");
    let mut newer = sample().bytes;
    newer[8] = 2;
    check(&newer, "format version 2, and this ares reads version 1");
    // A newer ares wrote a record whose checksum is right and whose kind we do not know.
    check(&with_foreign_record(77), "record of kind 77 at byte 40");
    let (_, tail) = replay(&with_foreign_record(200), BOOT).expect("advisory kinds are skipped");
    assert_eq!(tail.end, TailEnd::Clean);
}

/// A journal whose only record is of a kind we do not know. Built by hand: the encoder cannot.
fn with_foreign_record(kind: u8) -> Vec<u8> {
    let mut bytes = write([]).bytes;
    let body = [3, 0, kind, 1, 2, 3];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[32..40]).update(&body);
    bytes.extend(&hasher.finalize().as_bytes()[..8]);
    bytes.extend(body);
    bytes
}

#[test]
fn chunks_believed_without_a_sync_are_told_so_that_they_get_one() {
    let written = sample();
    let (_, tail) = replay(&written.bytes, BOOT).unwrap();
    let unsynced: Vec<_> = tail.unsynced.values().flatten().map(|h| h.chunk.id).collect();
    assert_eq!(unsynced, [id(5)], "only what stands behind the last Sync's offset");
    let (_, tail) = replay(&written.bytes, OTHER_BOOT).unwrap();
    assert!(tail.unsynced.is_empty());
    assert_eq!(
        tail.dropped_records,
        12 - 1,
        "all behind the second Sync's offset but the Sync itself"
    );
    assert!(!tail.boot_is_current);
}

#[test]
fn a_journal_goes_on_behind_its_last_whole_record() {
    let written = sample();
    for cut in written.ends[0].0..=written.bytes.len() {
        let (_, tail) = replay(&written.bytes[..cut], BOOT).unwrap();
        let mut bytes = written.bytes[..tail.valid_bytes as usize].to_vec();
        let more = Record::Release(release(250, "more", ReleaseState::Partial));
        tail.encoder.expect("there is a header").push(&more, &mut bytes);
        let (index, tail) = replay(&bytes, BOOT).unwrap();
        assert_eq!(tail.end, TailEnd::Clean, "cut at {cut}");
        assert!(index.release(ReleaseId(id(250))).is_some());
    }
}

#[test]
fn a_rewritten_journal_says_the_same() {
    // Places in objects that are gone are looked through, and a rewrite leaves them out.
    let live = |index: &Index| IndexTotals {
        other_places: 0,
        ..index.totals()
    };
    for cut in 0..=sample().ends.len() {
        let mut index = Index::default();
        sample().ends[..cut]
            .iter()
            .for_each(|(_, record)| index.apply(record).unwrap());
        let again = write(std::iter::once(Record::Boot(BOOT)).chain(index.records()));
        let (rewritten, tail) = replay(&again.bytes, BOOT).unwrap();
        assert_eq!(tail.end, TailEnd::Clean);
        assert_eq!(held_by(&rewritten), held_by(&index), "after {cut} records");
        assert_eq!(live(&rewritten), live(&index), "after {cut} records");
        assert_eq!(rewritten.releases(), index.releases());
        assert_eq!(rewritten.pins(), index.pins());
        for blob in [100, 102] {
            let coverage = |i: &Index| i.blob(&id(blob)).map(|(_, _, c)| c.clone());
            assert_eq!(coverage(&rewritten), coverage(&index), "after {cut} records");
        }
    }
}

#[test]
fn records_that_contradict_the_index_change_nothing() {
    let mut index = Index::default();
    sample().ends.iter().for_each(|(_, record)| index.apply(record).unwrap());
    let check = |record: Record, expect: Nonsense| {
        let mut changed = index.clone();
        assert_eq!(changed.apply(&record), Err(expect), "{record:?}");
        assert_eq!(changed, index, "{record:?}");
    };
    let no = ObjectNo;
    check(Record::Pack { object: no(0) }, Nonsense::Again(no(0)));
    check(
        Record::Blob {
            object: no(9),
            blob: blob(102, 300),
        },
        Nonsense::Again(no(9)),
    );
    check(
        Record::Held {
            object: no(9),
            chunks: vec![held(1, 0, 1)],
        },
        Nonsense::Object(no(9)),
    );
    check(
        Record::Held {
            object: no(3),
            chunks: vec![held(1, 0, 1), held(2, 299, 2)],
        },
        Nonsense::Outside(no(3)),
    );
    check(
        Record::Held {
            object: no(1),
            chunks: vec![held(1, 1 << 20, 1)],
        },
        Nonsense::Outside(no(1)),
    );
    check(
        Record::Covered {
            object: no(3),
            ranges: vec![(0, 301)],
        },
        Nonsense::Outside(no(3)),
    );
    check(
        Record::Covered {
            object: no(0),
            ranges: vec![(0, 1)],
        },
        Nonsense::Object(no(0)),
    );
    check(
        Record::Moving {
            object: no(0),
            guard: guard(1),
            path: vec![],
        },
        Nonsense::Object(no(0)),
    );
    let replaced = Record::InPlace {
        object: no(3),
        blob: blob(102, 301),
        guard: guard(1),
        path: vec![],
    };
    check(replaced, Nonsense::Again(no(3)));
    check(Record::Gone { object: no(9) }, Nonsense::Object(no(9)));
}

#[test]
fn an_equal_chunk_elsewhere_steps_in_when_a_place_is_lost() {
    let mut index = Index::default();
    let mut apply = |record: Record| {
        index.apply(&record).unwrap();
        index.clone()
    };
    let no = ObjectNo;
    for object in [0, 1] {
        let path = format!("/release-{object}").into_bytes();
        apply(Record::InPlace {
            object: no(object),
            blob: blob(1, 99),
            guard: guard(u64::from(object)),
            path,
        });
        apply(Record::Held {
            object: no(object),
            chunks: vec![held(7, u64::from(object), 10)],
        });
    }
    apply(Record::Pack { object: no(2) });
    let at = |index: &Index| index.lookup(&id(7)).map(|e| (e.object.0, e.offset));
    assert_eq!(at(&apply(Record::Boot(BOOT))), Some((0, 0)), "the first place first");
    let own = apply(Record::Held {
        object: no(2),
        chunks: vec![held(7, 5, 10)],
    });
    assert_eq!(at(&own), Some((2, 5)), "a place of our own before the publisher's");
    assert_eq!(
        (own.totals().own_bytes, own.totals().in_place_bytes, own.totals().chunks),
        (10, 0, 1)
    );
    assert_eq!(
        at(&apply(Record::Forget {
            object: no(2),
            offset: 5,
            chunk: held(7, 5, 10).chunk
        })),
        Some((0, 0))
    );
    assert_eq!(at(&apply(Record::Gone { object: no(0) })), Some((1, 1)));
    assert_eq!(at(&apply(Record::Gone { object: no(1) })), None);
    assert_eq!(
        at(&apply(Record::Held {
            object: no(2),
            chunks: vec![held(7, 50, 10)]
        })),
        Some((2, 50))
    );
}

#[test]
fn pages_of_chunks_cover_each_once() {
    let mut index = Index::default();
    index.apply(&Record::Pack { object: ObjectNo(0) }).unwrap();
    let chunks = (0..100).map(|n| held(n, n * 10, 10)).collect();
    index
        .apply(&Record::Held {
            object: ObjectNo(0),
            chunks,
        })
        .unwrap();
    let mut seen = BTreeSet::new();
    let mut after = None;
    loop {
        let page = index.chunks_after(after, 7);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        assert!(page.iter().all(|c| seen.insert(c.id)));
    }
    assert_eq!(seen.len(), 100);
    assert_eq!(index.open_pack(), Some((ObjectNo(0), 1000)));
}

#[test]
fn own_bytes_add_up_and_a_sweep_changes_nothing_that_can_be_seen() {
    for seed in 0..300u64 {
        let mut random = crate::rng::Rng::new(seed);
        let mut next = |below: u64| random.next() % below;
        let mut index = Index::default();
        let blob = |n: u32| blob(u64::from(100 + n), 200);
        for n in 0..6 {
            let object = ObjectNo(n);
            let made = match n {
                0 | 1 => Record::Pack { object },
                2 | 3 => Record::Blob { object, blob: blob(n) },
                _ => Record::InPlace {
                    object,
                    blob: blob(n),
                    guard: guard(n.into()),
                    path: b"/a".to_vec(),
                },
            };
            index.apply(&made).expect("new");
        }
        let (mut has_been_written, mut is_gone) = ([false; 6], [false; 6]);
        for _ in 0..40 {
            let (object, n) = (ObjectNo(next(6) as u32), next(8));
            let place = held(n, 10 * n, 10);
            let record = match next(8) {
                0 => Record::Gone { object },
                1 | 2 => Record::Forget {
                    object,
                    offset: place.offset,
                    chunk: place.chunk,
                },
                _ => Record::Held {
                    object,
                    chunks: vec![place],
                },
            };
            index.apply(&record).expect("it fits");
            let at = object.0 as usize;
            is_gone[at] |= matches!(record, Record::Gone { .. });
            has_been_written[at] |= matches!(record, Record::Held { .. });
            let (places, _) = index.places_after(None, 100);
            // All lies in the first block of its file. A pack segment keeps it when nothing is left there; of a backing file each range has one.
            let begins_range = |(object, held): &(ObjectNo, HeldChunk)| {
                let is_before = |(other, before): &(ObjectNo, HeldChunk)| other == object && before.offset + 10 == held.offset;
                (2..4).contains(&object.0) && !places.iter().any(is_before)
            };
            let ranges = places.iter().filter(|place| begins_range(place)).count();
            let packs = (0..2).filter(|n| has_been_written[*n] && !is_gone[*n]).count();
            let own = 4096 * (ranges + packs) as u64;
            assert_eq!(index.own_bytes(), own, "seed {seed}");
            let each: u64 = (0..6).map(|n| index.own_bytes_of(ObjectNo(n))).sum();
            assert_eq!(each, own, "seed {seed}");

            let mut swept = index.clone();
            for n in 0..6 {
                swept.sweep(ObjectNo(n), (0..8).map(id));
            }
            for n in 0..8 {
                let found = |index: &Index| index.lookup(&id(n)).is_some();
                assert_eq!(found(&swept), found(&index), "seed {seed}, chunk {n}");
            }
            let sorted = |index: &Index| {
                let mut places = index.places_after(None, 100).0;
                places.sort_unstable_by_key(|(object, held)| (held.chunk.id, *object));
                places
            };
            assert_eq!(sorted(&swept), sorted(&index), "seed {seed}");
            assert_eq!(
                swept.totals().chunks,
                swept.chunks_after(None, 100).len() as u64,
                "seed {seed}"
            );
        }
    }
}
