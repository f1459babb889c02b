//! A path in virtual time: cut, healed, flapping, idle, and events in any order. Sends no packet.

use super::*;
use crate::rng::Rng;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One path in virtual time: a peer that sends something every `every` as long as it is asked, over a link with a round trip of `rtt`.
struct Link {
    health: Health,
    now: Instant,
    rtt: Duration,
    every: Duration,
    next_send: Instant,
    /// Whether packets pass, from the peer and to it.
    brings: bool,
    takes: bool,
    /// What an answer waits beyond the round trip.
    queue: Duration,
    /// Acknowledgements under way.
    answers: VecDeque<Instant>,
    told: Vec<(Instant, Pulse)>,
    pings: usize,
}

impl Link {
    fn new(rtt: Duration, every: Duration) -> Self {
        let mut health = Health::new(Instant::ZERO, rtt);
        health.on_rtt(rtt, rtt / 8);
        Self {
            health,
            now: Instant::ZERO,
            rtt,
            every,
            next_send: Instant::ZERO + rtt,
            brings: true,
            takes: true,
            queue: Duration::ZERO,
            answers: VecDeque::new(),
            told: Vec::new(),
            pings: 0,
        }
    }

    fn expect(&mut self, is_expecting: bool) {
        self.health.on_expecting(self.now, is_expecting);
        self.next_send = self.now + self.rtt;
    }

    fn run(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        loop {
            while let Some(action) = self.health.poll(self.now) {
                match action {
                    Action::Ping => {
                        self.pings += 1;
                        if self.takes {
                            self.answers.push_back(self.now + self.rtt + self.queue);
                        }
                    }
                    Action::Tell(pulse) => self.told.push((self.now, pulse)),
                }
            }
            let send = self.health.is_expecting.then_some(self.next_send);
            let due = [self.health.deadline(), send, self.answers.front().copied()];
            let next = due.into_iter().flatten().min().unwrap_or(end);
            let due = self.health.deadline();
            assert!(due.is_none_or(|at| at > self.now), "a deadline that is due was polled away");
            if next >= end {
                self.now = end;
                return self;
            }
            self.now = next;
            if self.answers.front() == Some(&next) {
                self.answers.pop_front();
                if self.brings {
                    self.health.on_heard(next);
                    self.health.on_answer(next);
                }
            } else if send == Some(next) {
                self.next_send = next + self.every;
                if self.brings {
                    self.health.on_heard(next);
                }
            }
        }
    }

    fn pulses(&self) -> Vec<Pulse> {
        self.told.iter().map(|(_, pulse)| *pulse).collect()
    }
}

#[test]
fn silence_is_seen_within_a_round_trip_and_a_probe_timeout_whichever_way_is_cut() {
    for rtt in [1, 10, 40, 200] {
        for (brings, takes) in [(false, true), (true, false), (false, false)] {
            let mut link = Link::new(ms(rtt), ms(1));
            link.expect(true);
            link.run(ms(2000));
            assert_eq!(link.pulses(), [], "RTT {rtt} ms: all is well");
            let cut = link.now;
            (link.brings, link.takes) = (brings, takes);
            if !takes {
                // The peer hears no acknowledgement, and sends no more than its window.
                link.every = ms(10_000);
                link.next_send = link.now + ms(10_000);
            }
            link.run(ms(5000));
            assert_eq!(link.pulses(), [Pulse::Quiet, Pulse::Suspect], "RTT {rtt} ms");
            let took = link.told[1].0.since(cut);
            let bound = QUIET_MIN.max(ms(rtt)) + PROBE_MIN.max(ms(rtt) * 3 / 2) + ms(1);
            assert!(took <= bound, "RTT {rtt} ms: suspect after {took:?}, not within {bound:?}");
        }
    }
}

#[test]
fn a_path_that_is_idle_is_never_suspected_and_then_serves_at_once() {
    let mut link = Link::new(ms(10), ms(1));
    link.expect(true);
    link.run(ms(500)).expect(false);
    link.run(ms(600_000));
    assert_eq!((link.pulses(), link.pings, link.health.deadline()), (vec![], 0, None));
    link.expect(true);
    link.run(ms(500));
    assert_eq!(link.pulses(), []);
}

#[test]
fn a_thin_path_that_brings_large_bursts_is_not_suspect() {
    // 64 KiB at 16 Mbit/s, two of them queued, on a path whose round trip was measured before.
    let mut link = Link::new(ms(6), ms(33));
    link.queue = ms(66);
    link.expect(true);
    link.run(ms(200));
    link.told.clear();
    link.run(ms(60_000));
    assert_eq!(link.pulses(), [], "once its bursts are known");
}

#[test]
fn a_path_is_not_suspect_as_long_as_something_comes_but_right_behind_it() {
    // After a pause of a round trip comes a burst, and the answer to the ping behind it.
    let rtt = ms(40);
    let mut health = Health::new(Instant::ZERO, rtt);
    health.on_rtt(rtt, ms(2));
    health.on_expecting(Instant::ZERO, true);
    let mut now = Instant::ZERO;
    let mut arrive = |health: &mut Health, count: u64| {
        for _ in 0..count {
            now = now + ms(1);
            health.on_heard(now);
            while health.poll(now).is_some() {}
        }
        now
    };
    let now = arrive(&mut health, 400) + rtt;
    while health.poll(now).is_some() {}
    assert_eq!(health.pulse(), Pulse::Quiet);
    let now = arrive(&mut health, 200);
    assert_eq!(health.pulse(), Pulse::Quiet);
    while health.poll(now + QUIET_MIN).is_some() {}
    assert_eq!(health.pulse(), Pulse::Suspect, "nothing has answered");
}

#[test]
fn what_a_peer_repeats_that_hears_nothing_does_not_put_suspicion_off() {
    let mut health = Health::new(Instant::ZERO, ms(40));
    health.on_rtt(ms(40), ms(2));
    health.on_expecting(Instant::ZERO, true);
    let at = |time_ms| Instant::ZERO + ms(time_ms);
    for now in (0..=100).map(at) {
        health.on_heard(now);
        while health.poll(now).is_some() {}
    }
    let mut suspect_at = None;
    for time_ms in 101..300 {
        if time_ms == 140 {
            health.on_heard(at(time_ms));
        }
        while health.poll(at(time_ms)).is_some() {}
        if suspect_at.is_none() && health.pulse() == Pulse::Suspect {
            suspect_at = Some(time_ms);
        }
    }
    assert_eq!(suspect_at, Some(100 + 10 + 40 + 4 * 2), "the patience and a probe timeout");
}

#[test]
fn a_peer_that_is_slow_and_answers_pings_is_not_suspect_and_is_pinged_less_and_less() {
    let mut link = Link::new(ms(5), ms(60_000));
    link.expect(true);
    link.next_send = link.now + ms(60_000);
    link.run(ms(10_000));
    assert!(!link.pulses().contains(&Pulse::Suspect));
    assert_eq!(link.health.pulse(), Pulse::Well);
    let in_a_second = link.pings;
    assert!(in_a_second <= 10 * 8, "{in_a_second} pings in 10 s");
}

#[test]
fn a_healed_path_is_well_again_by_its_first_answer() {
    let mut link = Link::new(ms(10), ms(1));
    link.expect(true);
    link.run(ms(500));
    (link.brings, link.takes) = (false, false);
    link.run(ms(3000));
    (link.brings, link.takes) = (true, true);
    let healed = link.now;
    link.run(ms(1000));
    let (at, pulse) = *link.told.last().expect("told");
    assert_eq!(pulse, Pulse::Well);
    assert!(at.since(healed) <= PROBE_PAUSE_MAX + ms(10), "{:?}", at.since(healed));
}

#[test]
fn a_path_that_flaps_is_on_trial_longer_and_longer_and_forgiven_in_the_end() {
    let mut link = Link::new(ms(10), ms(1));
    link.expect(true);
    let mut well = Duration::ZERO;
    for round in 0..20 {
        let is_up = round % 2 == 0;
        (link.brings, link.takes) = (is_up, is_up);
        let (before, from) = (link.told.len(), link.now);
        link.run(ms(500));
        if let Some((at, Pulse::Well)) = link.told[before..].last() {
            well += link.now.since(*at);
        } else if link.told.len() == before && link.health.pulse() == Pulse::Well {
            well += link.now.since(from);
        }
    }
    assert!(well <= ms(1500), "of ten times up it was used {well:?}");
    (link.brings, link.takes) = (true, true);
    link.run(TRIAL_MAX + ms(500));
    assert_eq!(link.health.pulse(), Pulse::Well);
    link.run(FALL_MEMORY);
    link.brings = false;
    link.run(ms(500));
    link.brings = true;
    link.run(PROBE_PAUSE_MAX + ms(20));
    assert_eq!(link.health.pulse(), Pulse::Well, "the old falls are forgotten");
}

#[test]
fn what_is_no_longer_expected_is_no_longer_missed() {
    let mut link = Link::new(ms(40), ms(1));
    link.expect(true);
    link.run(ms(200));
    link.brings = false;
    link.run(ms(50));
    assert_eq!(link.health.pulse(), Pulse::Quiet);
    link.expect(false);
    link.run(ms(1000));
    assert_eq!(link.pulses(), [Pulse::Quiet, Pulse::Well]);
}

/// Whatever happens in whatever order: no panic, time goes on, pings are bounded.
#[test]
fn any_order_of_events_is_borne() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut health = Health::new(Instant::ZERO, ms(10));
        let mut now = Instant::ZERO;
        let mut pings = 0;
        for _ in 0..2000 {
            now = now + Duration::from_micros(rng.next() % 30_000);
            match rng.below(6) {
                0 => health.on_expecting(now, rng.below(2) == 0),
                1 => health.on_answer(now),
                2 => health.on_rtt(
                    Duration::from_micros(rng.next() % 400_000),
                    Duration::from_micros(rng.next() % 100_000),
                ),
                3 => {}
                _ => health.on_heard(now),
            }
            let mut polls = 0;
            while let Some(action) = health.poll(now) {
                pings += usize::from(action == Action::Ping);
                polls += 1;
                assert!(polls < 10, "seed {seed}: it never comes to rest");
            }
            assert!(health.deadline().is_none_or(|at| at > now), "seed {seed}");
        }
        assert!(
            pings as u128 <= now.as_nanos() as u128 / 10_000_000 + 1,
            "seed {seed}: {pings} pings"
        );
    }
}
