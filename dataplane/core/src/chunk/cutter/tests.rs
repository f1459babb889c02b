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

fn cut_from(class: SizeClass, bytes: &[u8], start: u64, window: usize) -> Vec<u64> {
    let mut cutter = Cutter::new(class, start);
    let mut cuts = Vec::new();
    let mut seen = start as usize;
    while seen < bytes.len() {
        seen = (seen + window).min(bytes.len());
        let base = cutter.start();
        cutter.on_bytes(&bytes[base as usize..seen], base, &mut cuts);
    }
    cutter.finish(bytes.len() as u64, &mut cuts);
    cuts
}

fn cut(class: SizeClass, bytes: &[u8], window: usize) -> Vec<u64> {
    cut_from(class, bytes, 0, window)
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
        let allowed = || ranks.iter().filter(|(end, _)| (start + min..=start + max).contains(end));
        start = if let Some((end, _)) = allowed().find(|(_, rank)| class.is_low(*rank)) {
            *end
        } else if bytes.len() - start < max {
            bytes.len()
        } else {
            allowed()
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
    let anchor = (RANKED..len).find(|&at| test(&noise, at) == 0).expect("noise has anchors");
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
        assert!(others.iter().all(|len| (class.min()..=class.max()).contains(len)));
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
    // The vector code of this processor against the plain one: dispatched to the best there is, and called without.
    let bytes = random(4 << 20, 8);
    let search = |from: usize, open: &mut VecDeque<Anchor>, best: bool| {
        let search = Search {
            class: SizeClass::Large,
            bytes: &bytes,
            base: 0,
            at: from,
            until: bytes.len(),
            open,
        };
        if best {
            Arch::new().dispatch(search)
        } else {
            pulp::NullaryFnOnce::call(search)
        }
    };
    let (mut best, mut plain) = (VecDeque::new(), VecDeque::new());
    let (mut from, mut ends) = (RANKED, 0);
    loop {
        let end = search(from, &mut best, true);
        assert_eq!((end, &best), (search(from, &mut plain, false), &plain));
        let Some(end) = end else { break };
        (from, ends) = (end as usize, ends + 1);
    }
    assert!((10..60).contains(&ends), "{ends} low ranks in 4 MiB");
}

#[test]
fn cuts_keep_their_places() {
    // Golden: releases that were published are cut like this. Another result is another `CutterId`, never another number here.
    let check = |class: SizeClass, bytes: &[u8], count: usize, all: &str| {
        let cuts = cut(class, bytes, 1 << 20);
        let told: Vec<u8> = cuts.iter().flat_map(|cut| cut.to_le_bytes()).collect();
        assert_eq!((cuts.len(), &*ChunkId::of(&told).to_string()), (count, all), "{class:?}");
    };
    let noise = random(32 << 20, 9);
    check(
        SizeClass::Small,
        &noise,
        511,
        "d18dea14d270382e49d22cfeaf3ab5f4fc4a16d462dbf9f517a22f51f0eefe91",
    );
    check(
        SizeClass::Medium,
        &noise,
        131,
        "fd47f78e1b0a600a4ea63fe43b8b2705bedf3dcecc742e8960b2e45ddd40590e",
    );
    check(
        SizeClass::Large,
        &noise,
        65,
        "29ed0be31957c1a3731524f59f118aa6e853cbb3147a3d4441278608a68fc8c6",
    );
    let counters: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    check(
        SizeClass::Small,
        &counters,
        118,
        "621a46e703c478d28ac6e011b7dd89660fd745e233da2e3f3b1bdbcc95ea6f76",
    );
}

#[test]
fn a_chain_begun_elsewhere_meets_the_files_own() {
    let bytes = random(32 << 20, 10);
    let class = SizeClass::Small;
    let whole = cut(class, &bytes, 1 << 20);
    let mut distances: Vec<u64> = (1..64)
        .map(|part| {
            let start = part * 500_001;
            let other = cut_from(class, &bytes, start, 1 << 20);
            let mut meeting = Meeting::default();
            // One lags behind the other, as they do where they learn of cuts by windows.
            let step = whole.len() / 7;
            let mut met = None;
            for at in 0..8 {
                let some = |cuts: &[u64], from: usize| cuts[cuts.len().min(from)..cuts.len().min(from + step)].to_vec();
                met = met.or(meeting.on_cuts(&some(&whole, at * step), &some(&other, at * step)));
            }
            let met = met.expect("chains through noise meet");
            let behind = |cuts: &[u64]| cuts[cuts.binary_search(&met).expect("both cut there")..].to_vec();
            assert_eq!(behind(&whole), behind(&other));
            assert!(whole.iter().all(|cut| *cut >= met || !other.contains(cut)), "none before");
            met - start
        })
        .collect();
    distances.sort_unstable();
    assert!(distances[32] < class.average() * 6, "{distances:?}");
}

#[test]
fn zeros_that_are_skipped_are_cut_as_if_they_were_seen() {
    let class = SizeClass::Small;
    for (before, zeros) in [
        (0, 1_000_000),
        (100_003, 2_000_000),
        (300_000, 99_000),
        (7, 98_304 * 5),
        (98_304, 98_304),
    ] {
        let mut bytes = random(before, 11);
        bytes.resize(before + zeros, 0);
        bytes.extend(random(300_000, 12));
        let expect = cut(class, &bytes, 4096);
        let (mut cutter, mut cuts) = (Cutter::new(class, 0), Vec::new());
        let (hole, end) = (before as u64, (before + zeros) as u64);
        let mut seen = 0;
        while cutter.start() < hole && seen < end {
            seen = (seen + 4096).min(end);
            cutter.on_bytes(&bytes[..seen as usize], 0, &mut cuts);
        }
        let start = cutter.start();
        let count = if start >= hole { cutter.on_zeros(end) } else { 0 };
        cuts.extend((1..=count).map(|at| start + at * class.max()));
        cutter.on_bytes(&bytes, 0, &mut cuts);
        cutter.finish(bytes.len() as u64, &mut cuts);
        assert_eq!(cuts, expect, "{zeros} zeros behind {before} bytes");
    }
}
