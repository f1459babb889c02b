//! Peers that hold parts of a release and say which: who is asked for what.

use super::*;
use crate::swarm::Want;
use crate::wire::Referral;

/// A scheduler that knows one peer with all of the release and so many with none of it yet, and wants chunks `0..count`.
fn scheduler(parts: usize, count: u32) -> Scheduler {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 1);
    for index in 0..=parts {
        let state = if index == 0 {
            ClaimState::Complete
        } else {
            ClaimState::Partial
        };
        scheduler.on_source_up(Instant::ZERO, source(index), ms(1));
        scheduler.on_claim(Instant::ZERO, release(), source(index).peer, state);
        if index > 0 {
            scheduler.on_have(Instant::ZERO, source(index).peer, &[]);
        }
    }
    for n in 0..count {
        scheduler.on_want(Instant::ZERO, WantKey(n.into()), want(n));
    }
    scheduler
}

fn want(n: u32) -> Want {
    Want {
        chunk: chunk(n, 256 << 10),
        place: None,
        class: Class::Bulk,
        release: release(),
        patience: ms(3_000),
        unreached: Unreached::Wait,
    }
}

fn tag(n: u32) -> ChunkTag {
    want(n).chunk.id.into()
}

/// What is asked now: of whom, which chunk, and when it may be left to others.
fn asks(scheduler: &mut Scheduler, now: Instant) -> Vec<(AskId, Source, u32, Referral)> {
    let mut asks = Vec::new();
    while let Some(action) = scheduler.poll(now) {
        if let Action::Ask {
            ask,
            source,
            chunk,
            referral,
            ..
        } = action
        {
            let n = (0..).find(|n| want(*n).chunk == chunk).expect("one of ours");
            asks.push((ask, source, n, referral));
        }
    }
    asks
}

#[test]
fn who_has_all_is_asked_for_what_nobody_else_has() {
    let mut scheduler = scheduler(3, 64);
    for n in 0..60 {
        scheduler.on_have(Instant::ZERO, source(1 + n as usize % 3).peer, &[tag(n)]);
    }
    let asked = asks(&mut scheduler, Instant::ZERO);
    let of = |index: usize| asked.iter().filter(move |(_, at, ..)| *at == source(index));
    // The rarest of some that it looks at, which are most of those four.
    assert!(of(0).take(6).filter(|(_, _, n, _)| *n >= 60).count() >= 3, "{asked:?}");
    for index in 1..4 {
        assert!(of(index).count() > 0, "{asked:?}");
        assert!(
            of(index).all(|(_, _, n, _)| *n < 60 && *n as usize % 3 + 1 == index),
            "{asked:?}"
        );
    }
    for (_, at, _, referral) in &asked {
        assert_eq!(*referral == Referral::WhenGiven, *at == source(0), "{asked:?}");
    }
}

#[test]
fn of_what_a_peer_holds_the_rarest_comes_first() {
    let mut scheduler = scheduler(4, 0);
    for index in 1..=4 {
        scheduler.on_have(Instant::ZERO, source(index).peer, &[tag(0), tag(1), tag(2)]);
    }
    scheduler.on_have(Instant::ZERO, source(4).peer, &[tag(3)]);
    for n in 0..4 {
        scheduler.on_want(Instant::ZERO, WantKey(n), want(n as u32));
    }
    let asked = asks(&mut scheduler, Instant::ZERO);
    let first_of_4 = asked.iter().find(|(_, at, ..)| *at == source(4));
    assert!(matches!(first_of_4, Some((_, _, 3, _))), "{asked:?}");
}

#[test]
fn what_was_left_to_others_is_asked_of_them_as_soon_as_they_have_it() {
    let mut scheduler = scheduler(1, 1);
    let [(ask, at, _, Referral::WhenGiven)] = asks(&mut scheduler, Instant::ZERO)[..] else {
        panic!("one ask, of anyone")
    };
    assert_eq!(at, source(0), "the other has nothing yet");
    scheduler.on_refused(Instant::ZERO, ask, Refusal::Elsewhere);
    assert_eq!(asks(&mut scheduler, Instant::ZERO + ms(10)), [], "they do not have it yet");
    scheduler.on_have(Instant::ZERO + ms(20), source(1).peer, &[tag(0)]);
    let [(_, at, _, Referral::Never)] = asks(&mut scheduler, Instant::ZERO + ms(20))[..] else {
        panic!("one ask, and who has it is not to send us on")
    };
    assert_eq!(at, source(1));
}

#[test]
fn who_waits_for_what_was_left_to_others_has_it_asked_at_once_and_is_sent_on_a_few_times() {
    let mut scheduler = scheduler(1, 1);
    let at = |n| Instant::ZERO + ms(n);
    let [(ask, ..)] = asks(&mut scheduler, at(0))[..] else {
        panic!("one ask")
    };
    scheduler.on_refused(at(0), ask, Refusal::Elsewhere);
    assert_eq!(asks(&mut scheduler, at(10)), [], "nobody waits");
    let urgent = Want {
        class: Class::Deadline,
        ..want(0)
    };
    scheduler.on_want(at(10), WantKey(100), urgent);
    let mut now = at(10);
    for pause in [100, 200, 400] {
        let [(ask, to, _, Referral::WhenBusy)] = asks(&mut scheduler, now)[..] else {
            panic!("at once, and if it is busy, it may send us on")
        };
        assert_eq!(to, source(0));
        scheduler.on_refused(now, ask, Refusal::Elsewhere);
        assert_eq!(asks(&mut scheduler, now + ms(pause - 1)), [], "others may pass it on");
        now = now + ms(pause);
    }
    let [(_, to, _, Referral::Never)] = asks(&mut scheduler, now)[..] else {
        panic!("nobody has passed it on")
    };
    assert_eq!(to, source(0));
}

#[test]
fn however_many_send_on_who_waits_it_is_so_a_few_times_altogether() {
    let mut scheduler = scheduler(1, 0);
    for index in 2..50 {
        scheduler.on_source_up(Instant::ZERO, source(index), ms(1));
        scheduler.on_claim(Instant::ZERO, release(), source(index).peer, ClaimState::Complete);
    }
    let urgent = Want {
        class: Class::Deadline,
        ..want(0)
    };
    scheduler.on_want(Instant::ZERO, WantKey(0), urgent);
    for _ in 0..4 {
        let [(ask, _, _, Referral::WhenBusy)] = asks(&mut scheduler, Instant::ZERO)[..] else {
            panic!("there is another one to ask")
        };
        scheduler.on_refused(Instant::ZERO, ask, Refusal::Elsewhere);
    }
    let [(_, _, _, Referral::Never)] = asks(&mut scheduler, Instant::ZERO)[..] else {
        panic!("it was sent on enough")
    };
}

/// Who is full has room again some time; who sent it on is asked before that.
#[test]
fn who_waits_for_one_that_is_full_asks_who_sent_it_on_in_time() {
    let mut scheduler = scheduler(1, 0);
    scheduler.on_source_up(Instant::ZERO, source(2), ms(1));
    scheduler.on_claim(Instant::ZERO, release(), source(2).peer, ClaimState::Complete);
    let urgent = |n| Want {
        class: Class::Deadline,
        ..want(n)
    };
    // As much as is asked of both at a time.
    let mut count = 0;
    let mut asked = Vec::new();
    while asked.len() == count {
        scheduler.on_want(Instant::ZERO, WantKey(count as u64), urgent(count as u32));
        count += 1;
        asked.extend(asks(&mut scheduler, Instant::ZERO));
    }
    let (ask, at, ..) = asked[0];
    scheduler.on_refused(Instant::ZERO, ask, Refusal::Elsewhere);
    let others = asked[1..].iter().filter(|(_, to, ..)| *to == at);
    others.for_each(|(ask, ..)| scheduler.on_refused(Instant::ZERO, *ask, Refusal::Elsewhere));
    asks(&mut scheduler, Instant::ZERO);
    let due = scheduler.deadline().expect("something is waited for");
    assert!(due <= Instant::ZERO + ms(50), "{due:?}");
    let again = asks(&mut scheduler, Instant::ZERO + ms(50));
    assert!(again.iter().any(|(_, to, ..)| *to == at), "{again:?}");
}

#[test]
fn who_waits_and_knows_of_nobody_else_who_takes_part_is_not_sent_on() {
    let mut scheduler = scheduler(0, 0);
    let other = ReleaseId(chunk(1000, 1).id);
    scheduler.on_source_up(Instant::ZERO, source(5), ms(1));
    scheduler.on_claim(Instant::ZERO, other, source(5).peer, ClaimState::Partial);
    scheduler.on_have(Instant::ZERO, source(5).peer, &[]);
    let urgent = Want {
        class: Class::Deadline,
        ..want(0)
    };
    scheduler.on_want(Instant::ZERO, WantKey(0), urgent);
    let [(_, _, _, Referral::Never)] = asks(&mut scheduler, Instant::ZERO)[..] else {
        panic!("one ask")
    };
}

#[test]
fn where_the_others_never_have_it_who_left_it_to_them_is_asked_again() {
    let mut scheduler = scheduler(1, 1);
    let [(ask, ..)] = asks(&mut scheduler, Instant::ZERO)[..] else {
        panic!("one ask")
    };
    scheduler.on_refused(Instant::ZERO, ask, Refusal::Elsewhere);
    let [(_, at, ..)] = asks(&mut scheduler, Instant::ZERO + ms(1_000))[..] else {
        panic!("one ask")
    };
    assert_eq!(at, source(0));
}

#[test]
fn what_is_part_of_much_does_not_run_out_of_patience_while_the_rest_comes() {
    let mut scheduler = scheduler(0, 2);
    for second in 1..10 {
        let now = Instant::ZERO + ms(1_000 * second);
        scheduler.on_want(now, WantKey(100 + second), want(100));
        asks(&mut scheduler, now);
        scheduler.on_verified(now, want(100).chunk.id);
        while let Some(action) = scheduler.poll(now) {
            assert!(!matches!(action, Action::Fail { .. }), "{action:?} after {second} s");
        }
    }
    let ended =
        |scheduler: &mut Scheduler, now| std::iter::from_fn(|| scheduler.poll(now)).any(|a| matches!(a, Action::Fail { .. }));
    assert!(!ended(&mut scheduler, Instant::ZERO + ms(11_999)));
    assert!(
        ended(&mut scheduler, Instant::ZERO + ms(12_000)),
        "nothing has come for as long as it may take"
    );
}

#[test]
fn what_is_waited_for_does_not_stand_in_line_with_what_is_wanted_ahead_of_need() {
    let mut scheduler = scheduler(0, 2);
    let at = |n| Instant::ZERO + ms(n);
    let ahead = asks(&mut scheduler, at(0));
    let [(started, ..), (in_line, _, 1, Referral::WhenGiven)] = ahead[..] else {
        panic!("two asks: {ahead:?}")
    };
    for n in 0..2 {
        let waited_for = Want {
            class: Class::Deadline,
            ..want(n)
        };
        scheduler.on_want(at(10), WantKey(10 + u64::from(n)), waited_for);
    }
    scheduler.on_progress(at(20), started, 1000);
    assert_eq!(asks(&mut scheduler, at(20)), [], "it may come any moment");
    scheduler.on_progress(at(299), started, 1000);
    let mut actions = std::iter::from_fn(|| scheduler.poll(at(300)));
    assert!(
        actions.any(|action| matches!(action, Action::Cancel { ask, .. } if ask == in_line)),
        "nothing of it came"
    );
    let anew = actions.find_map(|action| match action {
        Action::Ask {
            chunk, class, referral, ..
        } => Some((chunk, class, referral)),
        _ => None,
    });
    assert_eq!(anew, Some((want(1).chunk, Class::Deadline, Referral::Never)));
}
