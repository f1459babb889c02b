//! What it means that several sources are paths to one peer.

use super::*;
use crate::path::health::Pulse;

/// A path to the first peer.
fn path(number: u64) -> Source {
    Source {
        peer: source(0).peer,
        path: PathId(number),
    }
}

/// These sources are up, after a round trip of each, and all their peers hold the release.
fn scheduler(sources: &[(Source, u64)]) -> Scheduler {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    for (source, rtt_ms) in sources {
        scheduler.on_source_up(Instant::ZERO, *source, ms(*rtt_ms));
        scheduler.on_claim(Instant::ZERO, release(), source.peer, ClaimState::Complete);
    }
    scheduler
}

fn want(number: u32) -> Want {
    Want {
        chunk: chunk(number, 1000),
        place: None,
        class: Class::Bulk,
        release: release(),
        patience: ms(60_000),
        unreached: Unreached::Wait,
    }
}

/// Lets time pass until `count` asks have gone out. Where they went.
fn asked(scheduler: &mut Scheduler, count: usize) -> Vec<Source> {
    let mut now = Instant::ZERO;
    let mut asked = Vec::new();
    loop {
        while let Some(action) = scheduler.poll(now) {
            match action {
                Action::Ask { source, .. } => asked.push(source),
                Action::Fail { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
        if asked.len() >= count {
            return asked;
        }
        now = scheduler.deadline().expect("a want that is open has a deadline");
    }
}

#[test]
fn a_chunk_is_asked_over_a_second_path_to_its_peer_once_it_is_overdue_on_the_first() {
    let mut scheduler = scheduler(&[(path(1), 1), (path(2), 1)]);
    scheduler.on_want(Instant::ZERO, WantKey(0), want(0));
    let first = asked(&mut scheduler, 1);
    assert_eq!(scheduler.poll(Instant::ZERO), None, "once is enough");
    let second = asked(&mut scheduler, 1);
    assert!(first != second && first[0].peer == second[0].peer, "{first:?} {second:?}");
}

#[test]
fn what_a_peer_owes_is_asked_of_another_peer_before_another_path() {
    let mut scheduler = scheduler(&[(path(1), 1), (path(2), 1), (source(7), 100)]);
    scheduler.on_want(Instant::ZERO, WantKey(0), want(0));
    let order = asked(&mut scheduler, 3);
    assert_eq!(order[0].peer, path(1).peer, "the nearest");
    assert_eq!(order[1], source(7), "{order:?}");
    assert_eq!(order[2].peer, path(1).peer, "better than none");
    assert!(order[0] != order[2], "{order:?}");
}

#[test]
fn a_peer_has_left_when_its_last_path_is_gone() {
    let mut scheduler = scheduler(&[(path(1), 1), (path(2), 1)]);
    let mut reason_after_loss_of = |number| {
        scheduler.on_source_down(Instant::ZERO, path(number), format!("path {number} was cut"));
        scheduler.departures()
    };
    assert_eq!(reason_after_loss_of(1), "");
    assert_eq!(reason_after_loss_of(2), "; peer 0101010101 left: path 2 was cut");
}

#[test]
fn paths_to_one_peer_are_one_holder_and_asked_in_order() {
    let paths: Vec<(Source, u64)> = (0..4).map(|number| (path(number), 1)).collect();
    let mut scheduler = scheduler(&paths);
    (0..50).for_each(|number| scheduler.on_want(Instant::ZERO, WantKey(number.into()), want(number)));
    let mut chunks = Vec::new();
    while let Some(action) = scheduler.poll(Instant::ZERO) {
        if let Action::Ask { chunk, .. } = action {
            chunks.push(chunk);
        }
    }
    let in_order: Vec<ChunkRef> = (0..50).map(|number| want(number).chunk).collect();
    assert_eq!(chunks, in_order);
}

/// All asks that go out now.
fn asks_now(scheduler: &mut Scheduler, now: Instant) -> Vec<(ChunkRef, Source)> {
    std::iter::from_fn(|| scheduler.poll(now))
        .filter_map(|action| match action {
            Action::Ask { chunk, source, .. } => Some((chunk, source)),
            _ => None,
        })
        .collect()
}

#[test]
fn while_a_path_is_quiet_only_what_somebody_waits_for_is_asked_elsewhere_and_nothing_more_of_it() {
    let mut scheduler = scheduler(&[(path(1), 1)]);
    let now = Instant::ZERO;
    let deadline = Want {
        class: Class::Deadline,
        ..want(0)
    };
    scheduler.on_want(now, WantKey(0), deadline);
    scheduler.on_want(now, WantKey(1), want(1));
    assert_eq!(asks_now(&mut scheduler, now).len(), 2);
    scheduler.on_source_up(now, path(2), ms(30));
    assert_eq!(asks_now(&mut scheduler, now), [], "once is enough");
    scheduler.on_pulse(now, path(1), Pulse::Quiet);
    assert_eq!(asks_now(&mut scheduler, now), [(deadline.chunk, path(2))]);
    scheduler.on_want(now, WantKey(2), want(2));
    assert_eq!(
        asks_now(&mut scheduler, now),
        [(want(2).chunk, path(2))],
        "though it is farther"
    );
}

#[test]
fn what_was_asked_over_a_suspect_path_is_asked_elsewhere_at_once_and_it_is_asked_nothing_until_it_is_well() {
    let mut scheduler = scheduler(&[(path(1), 1)]);
    let now = Instant::ZERO;
    (0..3).for_each(|number| scheduler.on_want(now, WantKey(number.into()), want(number)));
    assert_eq!(asks_now(&mut scheduler, now).len(), 3);
    scheduler.on_source_up(now, source(7), ms(30));
    scheduler.on_claim(now, release(), source(7).peer, ClaimState::Complete);
    scheduler.on_pulse(now, path(1), Pulse::Suspect);
    let again: Vec<(ChunkRef, Source)> = (0..3).map(|number| (want(number).chunk, source(7))).collect();
    assert_eq!(asks_now(&mut scheduler, now), again);
    scheduler.on_source_down(now, source(7), "cut".to_owned());
    scheduler.on_want(now, WantKey(3), want(3));
    assert_eq!(asks_now(&mut scheduler, now), [], "silent as it is");
    scheduler.on_pulse(now, path(1), Pulse::Well);
    assert_eq!(
        asks_now(&mut scheduler, now),
        [(want(3).chunk, path(1))],
        "the others are still asked there"
    );
}

#[test]
fn a_suspicion_that_was_wrong_leaves_nothing_behind() {
    let mut scheduler = scheduler(&[(path(1), 1)]);
    let now = Instant::ZERO;
    scheduler.on_want(now, WantKey(0), want(0));
    assert_eq!(asks_now(&mut scheduler, now).len(), 1);
    for pulse in [Pulse::Quiet, Pulse::Suspect, Pulse::Well] {
        scheduler.on_pulse(now, path(1), pulse);
        assert_eq!(asks_now(&mut scheduler, now), [], "nobody else could be asked");
    }
    scheduler.on_source_up(now, path(2), ms(1));
    assert_eq!(asks_now(&mut scheduler, now), [], "it is on its way");
}

/// A peer that acknowledges pings, late at times, and never answers: its transport says again and again that it is well after all. What it
/// owes goes to a slow peer, which takes it little by little.
#[test]
fn a_peer_that_lives_and_sends_nothing_holds_nothing_back() {
    for pulse in [Pulse::Quiet, Pulse::Suspect] {
        let mut scheduler = scheduler(&[(path(1), 1), (source(7), 1)]);
        for (source, rate) in [(path(1), 100_000), (source(7), 1_000_000)] {
            let stats = SourceStats {
                rtt: ms(1),
                rttvar: ms(1),
                rate_bytes_per_s: Some(rate),
            };
            scheduler.on_source_stats(Instant::ZERO, source, stats);
        }
        let big = |n| Want {
            chunk: chunk(n, 200_000),
            ..want(n)
        };
        (0..30).for_each(|n| scheduler.on_want(Instant::ZERO, WantKey(n.into()), big(n)));
        let (mut owed, mut done) = (VecDeque::new(), 0);
        for at_ms in 0..10_000 {
            let now = Instant::ZERO + ms(at_ms);
            match at_ms % 160 {
                20 => scheduler.on_pulse(now, path(1), pulse),
                21 => scheduler.on_pulse(now, path(1), Pulse::Well),
                _ => {}
            }
            if at_ms % 200 == 0
                && let Some((ask, chunk)) = owed.pop_front()
            {
                scheduler.on_arrived(now, ask);
                scheduler.on_verified(now, chunk);
            }
            while let Some(action) = scheduler.poll(now) {
                match action {
                    Action::Ask { ask, chunk, source, .. } if source != path(1) => owed.push_back((ask, chunk.id)),
                    Action::Cancel { ask, .. } => owed.retain(|(owed, _)| *owed != ask),
                    Action::Done { .. } => done += 1,
                    _ => {}
                }
            }
        }
        assert_eq!(done, 30, "{pulse:?}");
    }
}
