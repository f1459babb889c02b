//! Modes: which of the ways to one peer chunks are asked over.

use std::ops::Range;

use super::*;
use crate::path::health::Pulse;
use crate::path::{Mode, Way};

fn way(last: u8) -> Way {
    Way {
        lane: None,
        remote: [10, 0, last, 1].into(),
    }
}

fn path(number: u64) -> Source {
    Source {
        peer: source(0).peer,
        path: PathId(number),
    }
}

fn other_release() -> ReleaseId {
    ReleaseId(ChunkId::from_bytes([8; 32]))
}

/// Two paths over the first way and one over the second, which is nearer.
fn scheduler() -> Scheduler {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    for (number, last, rtt_ms) in [(1, 1, 40), (2, 1, 40), (3, 2, 5)] {
        scheduler.on_source_up(Instant::ZERO, path(number), ms(rtt_ms));
        scheduler.on_way(Instant::ZERO, path(number), way(last), 1);
    }
    for release in [release(), other_release()] {
        scheduler.on_claim(Instant::ZERO, release, path(1).peer, ClaimState::Complete);
    }
    scheduler
}

/// Wants these chunks and says over which paths they are asked.
fn asked(scheduler: &mut Scheduler, now: Instant, numbers: Range<u32>, release: ReleaseId) -> BTreeSet<u64> {
    for number in numbers {
        let want = Want {
            chunk: chunk(number, 100_000),
            place: None,
            class: Class::Bulk,
            release,
            patience: ms(60_000),
            unreached: Unreached::Wait,
        };
        scheduler.on_want(now, WantKey(number.into()), want);
    }
    let actions = std::iter::from_fn(|| scheduler.poll(now));
    actions
        .filter_map(|action| match action {
            Action::Ask { source, .. } => Some(source.path.0),
            _ => None,
        })
        .collect()
}

#[test]
fn a_mode_says_over_which_ways_chunks_are_asked_also_for_one_release() {
    let all = BTreeSet::from([1, 2, 3]);
    for (mode, expect) in [
        (Mode::Aggregate, all.clone()),
        (Mode::Standby, BTreeSet::from([1, 2])),
        (Mode::LowestLatency, BTreeSet::from([3])),
    ] {
        let mut s = scheduler();
        s.on_mode(Instant::ZERO, None, mode);
        assert_eq!(asked(&mut s, Instant::ZERO, 0..20, release()), expect, "{mode:?}");
        let mut s = scheduler();
        s.on_mode(Instant::ZERO, Some(release()), mode);
        assert_eq!(
            asked(&mut s, Instant::ZERO, 0..20, release()),
            expect,
            "{mode:?} for a release"
        );
        let mut s = scheduler();
        s.on_mode(Instant::ZERO, Some(release()), mode);
        assert_eq!(asked(&mut s, Instant::ZERO, 0..20, other_release()), all, "not for another");
        let mut s = scheduler();
        assert_eq!(s.on_mode(Instant::ZERO, Some(release()), mode), Mode::Aggregate);
        assert_eq!(s.on_mode(Instant::ZERO, Some(release()), Mode::Aggregate), mode);
        assert_eq!(asked(&mut s, Instant::ZERO, 0..20, release()), all, "and back");
    }
}

#[test]
fn the_standby_is_asked_as_soon_as_all_paths_of_the_way_in_use_are_silent() {
    let mut s = scheduler();
    let now = Instant::ZERO;
    s.on_mode(now, None, Mode::Standby);
    s.on_pulse(now, path(1), Pulse::Quiet);
    assert_eq!(
        asked(&mut s, now, 0..8, release()),
        BTreeSet::from([2]),
        "one of them still lives"
    );
    s.on_pulse(now, path(2), Pulse::Quiet);
    assert_eq!(asked(&mut s, now, 100..108, release()), BTreeSet::from([3]));
    s.on_source_down(now, path(3), "cut".to_owned());
    s.on_pulse(now, path(1), Pulse::Well);
    assert!(
        asked(&mut s, now, 200..220, release()).contains(&1),
        "the last way is used whatever it is"
    );
}
