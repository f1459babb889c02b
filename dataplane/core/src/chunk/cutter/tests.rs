//! Boundaries: the same whatever the windows, where the rule says, and where they were before an edit.

use std::collections::BTreeSet;

use super::*;
use crate::chunk::ChunkId;

fn random(len: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn cut(class: SizeClass, bytes: &[u8], window: usize) -> Vec<u64> {
    let mut cutter = Cutter::new(class);
    let mut cuts = Vec::new();
    bytes.chunks(window).for_each(|window| cutter.on_window(window, &mut cuts));
    cutter.finish(&mut cuts);
    cuts
}

/// The rule of the head of the file, word by word: shares nothing with the search and the queue.
fn by_the_rule(class: SizeClass, bytes: &[u8]) -> Vec<u64> {
    let ranks: Vec<(usize, u64)> = (RANKED..=bytes.len())
        .filter(|&end| test(bytes, end - 1) == 0)
        .map(|end| (end, rank(&bytes[end - RANKED..end])))
        .collect();
    let (min, max) = (class.min() as usize, class.max() as usize);
    let mut cuts = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let landmark = ranks
            .iter()
            .find(|&&(end, rank)| end > start && class.is_landmark(&Anchor { end: end as u64, rank }));
        start = if let Some((end, _)) = landmark.filter(|(end, _)| *end <= start + max) {
            *end
        } else if bytes.len() - start <= max {
            bytes.len()
        } else {
            let allowed = ranks.iter().filter(|(end, _)| (start + min..=start + max).contains(end));
            allowed
                .min_by_key(|(end, rank)| (*rank, usize::MAX - end))
                .map_or(start + max, |(end, _)| *end)
        };
        cuts.push(start as u64);
    }
    cuts
}

/// Data that are hard on a cutter: without entropy, with period, with runs.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let len = 3 << 20;
    let noise = random(len, 1);
    let mut runs = noise.clone();
    runs[500_000..1_500_000].fill(0);
    // An anchor's own 16 bytes over and over: every 16th place is one, of equal rank.
    let anchor = (LOOKBACK..len).find(|&at| test(&noise, at) == 0).expect("noise has anchors");
    let dense = noise[anchor - TAPS..=anchor].iter().copied().cycle().take(len).collect();
    vec![
        ("noise", noise),
        ("runs of zeros", runs),
        ("dense anchors", dense),
        ("zeros", vec![0; len]),
        (
            "text",
            b"The same line of text, over and over again. "
                .iter()
                .copied()
                .cycle()
                .take(len)
                .collect(),
        ),
        ("counters", (0..len as u32 / 4).flat_map(u32::to_le_bytes).collect()),
        ("short", random(20_000, 2)),
        ("one byte", vec![7]),
        ("nothing", Vec::new()),
    ]
}

#[test]
fn boundaries_do_not_depend_on_windows() {
    for (name, bytes) in samples() {
        for class in [SizeClass::Small, SizeClass::Medium] {
            let expect = by_the_rule(class, &bytes);
            for window in [1 << 30, 1 << 20, 65_536, 4097, 100] {
                assert_eq!(cut(class, &bytes, window), expect, "{name} in windows of {window}");
            }
        }
    }
    let short = random(200_000, 3);
    for window in [1, 2, 15, 31, 32, 33] {
        assert_eq!(
            cut(SizeClass::Small, &short, window),
            by_the_rule(SizeClass::Small, &short),
            "windows of {window}"
        );
    }
}

#[test]
fn windows_searched_apart_find_the_same_anchors() {
    let bytes = random(1 << 20, 4);
    let mut whole = Vec::new();
    anchors(&bytes, 0, 0, &mut whole);
    assert!((150..400).contains(&whole.len()), "{} anchors in 1 MiB", whole.len());
    let mut apart = Vec::new();
    for from in (0..bytes.len()).step_by(100_000).collect::<Vec<_>>().into_iter().rev() {
        let back = from.min(LOOKBACK);
        let mut found = Vec::new();
        anchors(
            &bytes[from - back..(from + 100_000).min(bytes.len())],
            back,
            from as u64,
            &mut found,
        );
        apart.splice(0..0, found);
    }
    assert_eq!(apart, whole);
}

#[test]
fn chunks_keep_their_bounds_and_their_average() {
    for class in [SizeClass::Small, SizeClass::Medium, SizeClass::Large] {
        let bytes = random(class.average() as usize * 300, 5);
        let cuts = cut(class, &bytes, 1 << 20);
        let lens: Vec<u64> = std::iter::once(0)
            .chain(cuts.iter().copied())
            .zip(&cuts)
            .map(|(start, end)| end - start)
            .collect();
        let (last, others) = lens.split_last().unwrap();
        assert!(others.iter().all(|&len| len <= class.max()));
        let short = others.iter().filter(|&&len| len < class.min()).count();
        assert!(
            short * 20 < lens.len(),
            "{short} of {} chunks end early at a landmark",
            lens.len()
        );
        assert!(*last <= class.max());
        let average = bytes.len() as u64 / lens.len() as u64;
        assert!(
            average * 10 > class.average() * 9 && average * 10 < class.average() * 12,
            "{class:?}: {average}"
        );
    }
}

#[test]
fn an_edit_moves_the_chunks_around_it_and_no_others() {
    let bytes = random(16 << 20, 6);
    let chunks = |bytes: &[u8]| -> Vec<(ChunkId, usize)> {
        let mut start = 0;
        let cuts = cut(SizeClass::Small, bytes, 1 << 20);
        cuts.iter()
            .map(|&end| {
                (
                    ChunkId::of(&bytes[std::mem::replace(&mut start, end as usize)..end as usize]),
                    end as usize,
                )
            })
            .collect()
    };
    let old: BTreeSet<ChunkId> = chunks(&bytes).into_iter().map(|(id, _)| id).collect();
    let mut moved = 0;
    let edits = [
        (0, 1, 0),
        (1 << 20, 1, 0),
        (5_000_000, 0, 1),
        (9_999_999, 5000, 0),
        (12_345_678, 0, 40_000),
        (16_000_000, 3, 3),
    ];
    for (at, insert, remove) in edits {
        let mut edited = bytes.clone();
        edited.splice(at..at + remove, random(insert, 7));
        moved += chunks(&edited).iter().filter(|(id, _)| !old.contains(id)).count();
    }
    assert!(moved <= 3 * edits.len(), "{moved} chunks moved by {} edits", edits.len());
}

#[test]
fn every_processor_cuts_alike() {
    // The vector code of this processor against the plain one: `anchors` takes the best, `call` without dispatch none.
    let bytes = random(1 << 20, 8);
    let (mut best, mut plain) = (Vec::new(), Vec::new());
    anchors(&bytes, 0, 0, &mut best);
    pulp::NullaryFnOnce::call(Search {
        bytes: &bytes,
        at: LOOKBACK,
        base: 0,
        found: &mut plain,
    });
    assert_eq!(best, plain);
}

#[test]
fn cuts_keep_their_places() {
    // Golden: releases that were published are cut like this. Another result is another `CutterId`, never another number here.
    let check = |class: SizeClass, bytes: &[u8], first: &[u64], count: usize, all: &str| {
        let cuts = cut(class, bytes, 1 << 20);
        let told: Vec<u8> = cuts.iter().flat_map(|cut| cut.to_le_bytes()).collect();
        assert_eq!(
            (&cuts[..first.len()], cuts.len(), &*ChunkId::of(&told).to_string()),
            (first, count, all),
            "{class:?}"
        );
    };
    let noise = random(32 << 20, 9);
    check(
        SizeClass::Small,
        &noise,
        &[],
        465,
        "bc3dcd0dfe3855594ca86028d75563631b5151764f2e4587acc4bf6bdf06a06b",
    );
    check(
        SizeClass::Medium,
        &noise,
        &[],
        116,
        "48faad43eb54dea771f863cdc3ffc99fb5373181c8ef966ab8790a8e66c45e41",
    );
    check(
        SizeClass::Large,
        &noise,
        &[],
        63,
        "0482701d322f4af0139ed83e6f4dbfabe5af4c5f04669401997c6072a74e1712",
    );
    let counters: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    check(
        SizeClass::Small,
        &counters,
        &[],
        117,
        "52a1e2c1cf11fff7fbaba9381bdec78fc0424a5190cb24beb9fc6647d2b76366",
    );
}

#[test]
fn a_part_from_a_landmark_on_is_cut_as_in_the_whole() {
    let bytes = random(16 << 20, 10);
    let class = SizeClass::Small;
    let whole = cut(class, &bytes, 1 << 20);
    let mut found = Vec::new();
    anchors(&bytes, 0, 0, &mut found);
    let landmarks: Vec<Anchor> = found.iter().copied().filter(|anchor| class.is_landmark(anchor)).collect();
    assert!((16..64).contains(&landmarks.len()), "{} landmarks", landmarks.len());
    for landmark in landmarks {
        let mut cuts = vec![landmark.end];
        let mut chooser = Chooser::from_landmark(class, landmark.end);
        let behind: Vec<Anchor> = found.iter().copied().filter(|anchor| anchor.end > landmark.end).collect();
        chooser.on_window(&behind, bytes.len() as u64, &mut cuts);
        chooser.finish(bytes.len() as u64, &mut cuts);
        assert_eq!(
            cuts,
            whole[whole.binary_search(&landmark.end).expect("a landmark is a boundary")..]
        );
    }
}
