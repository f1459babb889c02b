//! When a command is told that nobody can be reached, and when it is worth waiting.

use super::*;
use crate::path::health::Pulse;

const PATIENCE: Duration = Duration::from_secs(30);

/// What happens, and at which second.
#[derive(Clone, Copy, Debug)]
enum Event {
    Up(usize),
    Down(usize),
    /// All addresses of the peer were dialled in vain.
    DialledInVain(usize),
    Claim(usize),
    ClaimPart(usize),
    Drop(usize),
    Needed(Unreached),
}
use Event::{Claim, ClaimPart, DialledInVain, Down, Drop, Needed, Up};

const GIVE_UP: Event = Needed(Unreached::GiveUp);

/// Links name the first `hints` peers. At which second the want ends, and how: every history must end it.
fn play(hints: usize, events: &[(u64, Event)]) -> (u64, FetchError) {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    for index in 0..hints {
        scheduler.on_hint(Instant::ZERO, release(), source(index).peer);
    }
    let mut events: VecDeque<(u64, Event)> = events.iter().copied().collect();
    loop {
        let next = events.front().map(|(secs, _)| Instant::ZERO + Duration::from_secs(*secs));
        let due = scheduler.deadline().into_iter().chain(next).min();
        let now = due.expect("a want that is open has a deadline");
        if next == Some(now) {
            let (_, event) = events.pop_front().expect("seen above");
            tell(&mut scheduler, now, event);
        }
        while let Some(action) = scheduler.poll(now) {
            if let Action::Fail { error, .. } = action {
                return (now.since(Instant::ZERO).as_secs(), error);
            }
        }
    }
}

fn tell(scheduler: &mut Scheduler, now: Instant, event: Event) {
    let why = || "lost".to_owned();
    match event {
        Up(index) => scheduler.on_source_up(now, source(index), ms(1)),
        Down(index) => scheduler.on_source_down(now, source(index), why()),
        DialledInVain(index) => scheduler.on_unreached(now, source(index).peer),
        Claim(index) => scheduler.on_claim(now, release(), source(index).peer, ClaimState::Complete),
        ClaimPart(index) => scheduler.on_claim(now, release(), source(index).peer, ClaimState::Partial),
        Drop(index) => scheduler.on_violation(now, source(index).peer, WireError::HelloTwice),
        Needed(unreached) => scheduler.on_want(
            now,
            WantKey(0),
            Want {
                chunk: chunk(0, 1000),
                place: None,
                class: Class::Deadline,
                release: release(),
                patience: PATIENCE,
                unreached,
            },
        ),
    }
}

#[test]
fn who_reaches_nobody_is_told_so_early() {
    let check = |hints: usize, events: &[(u64, Event)], secs: u64| {
        let (at, error) = play(hints, events);
        assert!(matches!(error, FetchError::Unreached { .. }), "{events:?}: {error}");
        assert_eq!(at, secs, "{events:?}: {error}");
    };
    check(1, &[(0, GIVE_UP), (5, DialledInVain(0)), (10, DialledInVain(0))], 10);
    // Every peer must have been tried twice.
    check(
        2,
        &[
            (0, GIVE_UP),
            (1, DialledInVain(0)),
            (2, DialledInVain(0)),
            (3, DialledInVain(1)),
            (9, DialledInVain(1)),
        ],
        9,
    );
    // What was tried before the want is no answer to it: the peer may have come up since.
    check(
        1,
        &[
            (0, DialledInVain(0)),
            (1, DialledInVain(0)),
            (2, GIVE_UP),
            (3, DialledInVain(0)),
            (4, DialledInVain(0)),
        ],
        4,
    );
    // A stranger that has nothing of it is nobody.
    check(
        1,
        &[(0, Up(1)), (0, GIVE_UP), (1, DialledInVain(0)), (2, DialledInVain(0))],
        2,
    );
    // It was there, but longer ago than anybody would wait.
    check(
        1,
        &[
            (0, Up(0)),
            (1, Down(0)),
            (60, GIVE_UP),
            (61, DialledInVain(0)),
            (62, DialledInVain(0)),
        ],
        62,
    );
    // It was dropped, and will not be spoken to again.
    check(1, &[(0, Up(0)), (1, GIVE_UP), (2, Drop(0))], 2);
    check(1, &[(0, Up(0)), (2, Drop(0)), (3, GIVE_UP)], 3);
    check(
        2,
        &[
            (0, Up(0)),
            (1, GIVE_UP),
            (2, Drop(0)),
            (3, DialledInVain(1)),
            (4, DialledInVain(1)),
        ],
        4,
    );
}

#[test]
fn who_may_still_be_served_waits_its_patience() {
    let check = |hints: usize, events: &[(u64, Event)], secs: u64| {
        let (at, error) = play(hints, events);
        assert!(matches!(error, FetchError::Deadline { .. }), "{events:?}: {error}");
        assert_eq!(at, secs, "{events:?}: {error}");
    };
    let twice = [(1, DialledInVain(0)), (2, DialledInVain(0)), (3, DialledInVain(0))];
    let with = |first: &[(u64, Event)]| [first, &twice].concat();
    // A mount's reader waits, whoever is there.
    check(1, &with(&[(0, Needed(Unreached::Wait))]), 30);
    // Once is not enough, nor is one peer of two, and who names nobody waits for whoever comes.
    check(1, &[(0, GIVE_UP), (5, DialledInVain(0))], 30);
    check(2, &with(&[(0, GIVE_UP)]), 30);
    check(0, &with(&[(0, GIVE_UP)]), 30);
    // A stranger claims it.
    check(1, &with(&[(0, Up(1)), (0, Claim(1)), (0, GIVE_UP)]), 30);
    // A transfer was under way a moment ago: its peer may be restarting.
    check(1, &with(&[(0, Up(0)), (0, GIVE_UP), (1, Down(0))]), 30);
    check(1, &with(&[(0, Up(0)), (0, Down(0)), (1, GIVE_UP)]), 31);
    // It came in between.
    check(
        1,
        &[
            (0, GIVE_UP),
            (1, DialledInVain(0)),
            (2, Up(0)),
            (3, Down(0)),
            (4, DialledInVain(0)),
            (5, DialledInVain(0)),
        ],
        30,
    );
}

/// The peer of a transfer dies: its later wants are told so no sooner than a patience after it was last there.
#[test]
fn a_transfer_waits_a_patience_from_when_its_peer_was_last_there() {
    let mut events = vec![(0, Up(0)), (10, Down(0)), (20, GIVE_UP)];
    events.extend((21..60).map(|secs| (secs, DialledInVain(0))));
    let (at, error) = play(1, &events);
    assert!(matches!(error, FetchError::Unreached { .. }), "{error}");
    assert_eq!(at, 40, "{error}");
}

#[test]
fn who_asks_for_others_is_told_at_once_when_nobody_is_left_to_ask() {
    let check = |events: &[(u64, Event)], expect: u64| {
        let (at, error) = play(1, events);
        assert!(matches!(error, FetchError::Lacked { .. }), "{events:?}: {error}");
        assert_eq!(at, expect, "{events:?}");
    };
    let refuse = Needed(Unreached::Refuse);
    check(&[(3, refuse)], 3);
    check(&[(0, Up(1)), (3, refuse)], 3);
    check(&[(0, Up(1)), (0, ClaimPart(1)), (3, refuse)], 3);
    check(&[(0, Up(0)), (3, refuse), (3, Down(0))], 3);
    check(
        &[(0, Up(0)), (0, Up(1)), (0, Claim(1)), (3, refuse), (3, Down(0)), (3, Drop(1))],
        3,
    );

    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    let now = Instant::ZERO;
    let ended = |scheduler: &mut Scheduler, refusal: Refusal| -> Vec<FetchError> {
        let mut errors = Vec::new();
        for _ in 0..10 {
            match scheduler.poll(now) {
                Some(Action::Ask { ask, .. }) => scheduler.on_refused(now, ask, refusal),
                Some(Action::Fail { error, .. }) => errors.push(error),
                Some(other) => panic!("{other:?}"),
                None => return errors,
            }
        }
        errors
    };
    for index in 0..2 {
        scheduler.on_source_up(now, source(index), ms(1));
        scheduler.on_claim(now, release(), source(index).peer, ClaimState::Complete);
    }
    tell(&mut scheduler, now, refuse);
    let errors = ended(&mut scheduler, Refusal::NotHeld);
    assert!(
        matches!(&errors[..], [FetchError::Lacked { why, .. }] if why.contains("lacks it")),
        "{errors:?}"
    );
    tell(&mut scheduler, now, refuse);
    assert_eq!(ended(&mut scheduler, Refusal::Busy), [], "it will have time");
}

#[test]
fn who_asks_for_others_is_told_when_the_last_who_may_have_it_falls_silent() {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    let now = Instant::ZERO;
    for index in 0..2 {
        scheduler.on_source_up(now, source(index), ms(1));
        scheduler.on_claim(now, release(), source(index).peer, ClaimState::Complete);
    }
    tell(&mut scheduler, now, Needed(Unreached::Refuse));
    let failed = |scheduler: &mut Scheduler| std::iter::from_fn(|| scheduler.poll(now)).any(|a| matches!(a, Action::Fail { .. }));
    assert!(!failed(&mut scheduler));
    scheduler.on_pulse(now, source(0), Pulse::Suspect);
    assert!(!failed(&mut scheduler), "the other one may have it");
    scheduler.on_pulse(now, source(1), Pulse::Suspect);
    assert!(failed(&mut scheduler));
}
