//! What is counted: hedges and what they cost, switches and how long the first byte took, what is wanted and since when.

use super::*;
use crate::path::health::Pulse;
use crate::swarm::tally::{Outstanding, SwitchCause};

const LEN: u32 = 1000;

fn at(at_ms: u64) -> Instant {
    Instant::ZERO + ms(at_ms)
}

/// These many sources, all of which hold the release, and the first wants chunks of a class; the first source is asked for all of them.
fn scheduler(sources: usize, class: Class, wants: u32) -> (Scheduler, Vec<AskId>) {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    let up = |scheduler: &mut Scheduler, number: usize| {
        scheduler.on_source_up(at(0), source(number), ms(1));
        scheduler.on_claim(at(0), release(), source(number).peer, ClaimState::Complete);
    };
    up(&mut scheduler, 0);
    (0..wants).for_each(|number| want(&mut scheduler, number, class));
    let asks = asks(&mut scheduler, at(0));
    assert!(asks.iter().all(|(_, asked)| *asked == source(0)));
    (1..sources).for_each(|number| up(&mut scheduler, number));
    (scheduler, asks.into_iter().map(|(ask, _)| ask).collect())
}

fn want(scheduler: &mut Scheduler, number: u32, class: Class) {
    let want = Want {
        chunk: chunk(number, LEN),
        place: None,
        class,
        release: release(),
        patience: ms(60_000),
        unreached: Unreached::Wait,
    };
    scheduler.on_want(at(0), WantKey(number.into()), want);
}

/// The asks that go out now.
fn asks(scheduler: &mut Scheduler, now: Instant) -> Vec<(AskId, Source)> {
    std::iter::from_fn(|| scheduler.poll(now))
        .filter_map(|action| match action {
            Action::Ask { ask, source, .. } => Some((ask, source)),
            _ => None,
        })
        .collect()
}

/// As `asks`, at each deadline until something is asked.
fn next_asks(scheduler: &mut Scheduler) -> (Instant, Vec<(AskId, Source)>) {
    loop {
        let now = scheduler.deadline().expect("a want that is open has a deadline");
        let asks = asks(scheduler, now);
        if !asks.is_empty() {
            return (now, asks);
        }
    }
}

#[test]
fn a_hedge_wins_if_it_brings_the_chunk_and_what_the_other_had_brought_is_waste() {
    for is_won in [true, false] {
        let (mut scheduler, first) = scheduler(2, Class::Bulk, 1);
        scheduler.on_progress(at(0), first[0], 300);
        let (now, hedge) = next_asks(&mut scheduler);
        assert_eq!(hedge.len(), 1, "of another source");
        scheduler.on_progress(now, hedge[0].0, 20);
        scheduler.on_arrived(now, if is_won { hedge[0].0 } else { first[0] });
        scheduler.on_verified(now, chunk(0, LEN).id);
        let tally = scheduler.tally();
        assert_eq!((tally.hedges, tally.hedge_wins), (1, u64::from(is_won)));
        assert_eq!(tally.wasted_bytes, if is_won { 300 } else { 20 });
        assert_eq!(tally.came_bytes, [0, u64::from(LEN) + tally.wasted_bytes, 0]);
        assert_eq!(tally.asks, [0, 2, 0]);
    }
}

/// What happens to the first source.
fn befall(scheduler: &mut Scheduler, now: Instant, cause: SwitchCause) {
    match cause {
        SwitchCause::Silent => scheduler.on_pulse(now, source(0), Pulse::Suspect),
        SwitchCause::Lost => scheduler.on_source_down(now, source(0), "cut".to_owned()),
        SwitchCause::Stalled => {}
    }
}

#[test]
fn a_switch_is_counted_once_by_its_cause_and_timed_until_the_first_byte_from_another_source() {
    for cause in SwitchCause::ALL {
        let (mut scheduler, _) = scheduler(2, Class::Bulk, 3);
        befall(&mut scheduler, at(0), cause);
        let (now, again) = match cause {
            SwitchCause::Stalled => next_asks(&mut scheduler),
            SwitchCause::Silent | SwitchCause::Lost => (at(0), asks(&mut scheduler, at(0))),
        };
        assert_eq!(again.len(), 3, "{cause:?}");
        let mut expect = [0; SwitchCause::ALL.len()];
        expect[cause as usize] = 1;
        assert_eq!(scheduler.tally().switches, expect);
        assert_eq!(scheduler.tally().first_bytes.count(), 0, "{cause:?}: nothing has come");
        for (after, (ask, _)) in (7..).zip(&again) {
            scheduler.on_progress(now + ms(after), *ask, 1);
        }
        assert_eq!(scheduler.tally().first_bytes.sum(), ms(7), "{cause:?}: of the first alone");
        // What befalls it next changes nothing for what it does not owe any more.
        again.iter().for_each(|(ask, _)| scheduler.on_arrived(now + ms(20), *ask));
        (0..3).for_each(|number| scheduler.on_verified(now + ms(20), chunk(number, LEN).id));
        scheduler.on_source_down(now + ms(30), source(0), "cut".to_owned());
        assert_eq!(scheduler.tally().switches, expect, "{cause:?}");
    }
}

#[test]
fn where_nobody_else_is_or_nothing_is_owed_there_is_no_switch_and_what_comes_after_all_is_none() {
    let switches = |scheduler: &Scheduler| scheduler.tally().switches.iter().sum::<u64>();
    let (mut alone, _) = scheduler(1, Class::Bulk, 1);
    alone.on_pulse(at(0), source(0), Pulse::Suspect);
    assert_eq!(switches(&alone), 0);
    let (mut idle, _) = scheduler(2, Class::Bulk, 0);
    idle.on_source_down(at(0), source(0), "cut".to_owned());
    assert_eq!(switches(&idle), 0);

    let (mut scheduler, first) = scheduler(2, Class::Bulk, 1);
    scheduler.on_pulse(at(0), source(0), Pulse::Suspect);
    let again = asks(&mut scheduler, at(0));
    scheduler.on_progress(at(1), first[0], 1);
    scheduler.on_pulse(at(1), source(0), Pulse::Well);
    scheduler.on_progress(at(2), again[0].0, 1);
    assert_eq!((switches(&scheduler), scheduler.tally().first_bytes.count()), (1, 0));
}

#[test]
fn what_is_wanted_is_counted_by_class_with_the_age_of_the_oldest() {
    let (mut scheduler, _) = scheduler(1, Class::Deadline, 2);
    let bulk = Want {
        chunk: chunk(7, LEN),
        place: None,
        class: Class::Bulk,
        release: release(),
        patience: ms(60_000),
        unreached: Unreached::Wait,
    };
    scheduler.on_want(at(50), WantKey(7), bulk);
    let outstanding = |wants, oldest_ms| Outstanding {
        wants,
        oldest: ms(oldest_ms),
    };
    assert_eq!(
        scheduler.outstanding(at(60)),
        [outstanding(2, 60), outstanding(1, 10), outstanding(0, 0)]
    );
    // Somebody waits for what was bulk: it is as old as that.
    let urgent = Want {
        class: Class::Deadline,
        ..bulk
    };
    scheduler.on_want(at(70), WantKey(8), urgent);
    scheduler.on_verified(at(70), chunk(0, LEN).id);
    scheduler.on_verified(at(70), chunk(1, LEN).id);
    assert_eq!(
        scheduler.outstanding(at(75)),
        [outstanding(2, 5), outstanding(0, 0), outstanding(0, 0)]
    );
}

/// One source is late and another could be asked: as long as there is room for hedges it is, and one that is silent is left in any case.
#[test]
fn without_room_for_hedges_only_what_a_silent_source_owes_is_asked_elsewhere() {
    let late = |hedge_bytes_max: u64| {
        let (mut scheduler, first) = scheduler(2, Class::Deadline, 1);
        scheduler.reconfigure(at(0), |config| {
            config.hedge_bytes_max = hedge_bytes_max;
            // Late, and not yet stalled.
            config.stall_floor = ms(20_000);
        });
        scheduler.on_progress(at(0), first[0], 300);
        scheduler
    };
    let (now, hedges) = next_asks(&mut late(64 << 20));
    assert_eq!(hedges.len(), 1);
    for (pulse, is_left) in [(Pulse::Quiet, false), (Pulse::Suspect, true)] {
        let mut scheduler = late(0);
        while let Some(due) = scheduler.deadline().filter(|due| *due <= now) {
            assert_eq!(asks(&mut scheduler, due), []);
        }
        scheduler.on_pulse(now, source(0), pulse);
        assert_eq!(
            !asks(&mut scheduler, now).is_empty(),
            is_left,
            "{pulse:?}, though it was doubted before"
        );
    }
}

/// Chunks that are asked for now. Each comes at once.
fn answered(scheduler: &mut Scheduler, now: Instant) -> usize {
    let mut count = 0;
    while let Some(action) = scheduler.poll(now) {
        if let Action::Ask { ask, chunk, .. } = action {
            scheduler.on_progress(now, ask, chunk.len);
            scheduler.on_arrived(now, ask);
            scheduler.on_verified(now, chunk.id);
            count += 1;
        }
    }
    count
}

#[test]
fn a_rate_holds_back_its_class_and_no_other_and_ends_when_it_is_lifted() {
    for (class, other) in [(Class::Bulk, Class::Heal), (Class::Heal, Class::Bulk)] {
        let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
        let rate = 10 * u64::from(LEN);
        scheduler.reconfigure(at(0), |config| config.rates[class as usize] = rate);
        scheduler.on_source_up(at(0), source(0), ms(1));
        scheduler.on_claim(at(0), release(), source(0).peer, ClaimState::Complete);
        (0..30).for_each(|number| want(&mut scheduler, number, class));
        assert_eq!(answered(&mut scheduler, at(0)), 1);
        for (number, class) in [(100, other), (101, Class::Deadline)] {
            want(&mut scheduler, number, class);
            assert_eq!(answered(&mut scheduler, at(0)), 1, "{class:?} has no rate");
        }
        let within_a_second: usize = (1..=1000).map(|now_ms| answered(&mut scheduler, at(now_ms))).sum();
        assert_eq!(within_a_second, 10);
        scheduler.reconfigure(at(1000), |config| config.rates[class as usize] = 0);
        assert_eq!(answered(&mut scheduler, at(1000)), 30 - 11, "all the rest");
    }
}

/// Every 10 ms one may be asked; who looks every 13 ms asks as much.
#[test]
fn what_is_asked_late_is_made_up_for() {
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    scheduler.reconfigure(at(0), |config| config.rates[Class::Bulk as usize] = 100 * u64::from(LEN));
    scheduler.on_source_up(at(0), source(0), ms(1));
    scheduler.on_claim(at(0), release(), source(0).peer, ClaimState::Complete);
    (0..300).for_each(|number| want(&mut scheduler, number, Class::Bulk));
    let count: usize = (0..100).map(|look| answered(&mut scheduler, at(13 * look))).sum();
    assert_eq!(count, 1 + 99 * 13 / 10);
    // But nothing that was not asked for long.
    assert_eq!(answered(&mut scheduler, at(10_000)), 1 + 5);
}

/// A source that sends nothing of what it owes is left after the silence that is said now, not the one that was said when it was asked.
#[test]
fn a_silent_source_is_left_after_the_silence_that_is_said_now() {
    let (mut scheduler, _) = scheduler(2, Class::Bulk, 1);
    scheduler.reconfigure(at(0), |config| config.stall_floor = ms(60_000));
    while let Some(due) = scheduler.deadline().filter(|due| *due <= at(1000)) {
        assert_eq!(asks(&mut scheduler, due), []);
    }
    scheduler.reconfigure(at(1000), |config| config.stall_floor = ms(1200));
    let (now, asked) = next_asks(&mut scheduler);
    assert_eq!((now, asked.len(), asked[0].1), (at(1200), 1, source(1)));
}

#[test]
fn a_source_is_asked_for_as_much_at_a_time_as_is_said_now() {
    const MB: u32 = 1 << 20;
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), 0);
    scheduler.on_source_up(at(0), source(0), ms(1000));
    let stats = SourceStats {
        rtt: ms(1000),
        rttvar: ms(1),
        rate_bytes_per_s: Some(1 << 30),
    };
    scheduler.on_source_stats(at(0), source(0), stats);
    scheduler.on_claim(at(0), release(), source(0).peer, ClaimState::Complete);
    for number in 0..60 {
        let want = Want {
            chunk: chunk(number, MB),
            place: None,
            class: Class::Bulk,
            release: release(),
            patience: ms(60_000),
            unreached: Unreached::Wait,
        };
        scheduler.on_want(at(0), WantKey(number.into()), want);
    }
    let mut owed = 0;
    for max in [8, 40, 20] {
        scheduler.reconfigure(at(0), |config| config.window_bytes_max = max * u64::from(MB));
        let before = owed;
        owed += asks(&mut scheduler, at(0)).len() as u64;
        // What is under way comes. The last that go out leave room for a chunk that somebody waits for.
        assert_eq!(owed, before.max(max - 1), "{max} MiB");
    }
}
