//! What it means that several sources are paths to one peer.

use super::*;

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
