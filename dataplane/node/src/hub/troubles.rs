//! When a pair that has failed may be dialed again, for the pairs of one peer of which another path lives. Decides times and dials nothing.

use std::time::Duration;

use ares_core::path::{LaneId, Pair};
use ares_core::time::Instant;

use crate::mailbox::End;

/// A path that has lived this long was a good one, and is looked for again and again when it is lost: it must be used within two seconds
/// of when its network heals, so a dial that a cut swallows is repeated about every second, and not for longer than people wait.
const LIVED_MIN: Duration = Duration::from_secs(2);
pub(super) const HEAL_EVERY: Duration = Duration::from_secs(1);
const HEAL_TIME: Duration = Duration::from_secs(60);

/// Pause before another way to the peer is tried again: the first one, and what it doubles up to.
const WAY_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The same for another port on a way that works. A firewall that lets only the first port through will do so tomorrow.
const PORT_PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Pairs that are remembered; of more, those that may be tried soonest are forgotten.
const TROUBLES_MAX: usize = 64;

/// What a path was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The peer is not reached otherwise.
    First,
    /// What breaks the paths in use shall not break it.
    Way,
    /// To be that way again, after its path was lost.
    Heal,
    /// Another core, over a way in use.
    Port,
}

impl Purpose {
    /// In words.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::First => "opened first",
            Self::Way => "opened as another way",
            Self::Heal => "opened again after it was lost",
            Self::Port => "opened for another core",
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Troubles {
    list: Vec<Trouble>,
}

struct Trouble {
    pair: Pair,
    retry_at: Instant,
    pause: Duration,
    /// Until then it is dialed again whatever else there is.
    heal_until: Instant,
}

impl Troubles {
    /// A path that was up for `lived` is down. `was_way`: no other path is left on its way.
    pub(super) fn on_lost(&mut self, now: Instant, pair: &Pair, lived: Duration, was_way: bool, end: &End) {
        let trouble = self.entry(pair);
        if lived < LIVED_MIN {
            // It began to fail when it was opened.
            let started = now - lived;
            return trouble.on_failed(now, started, if was_way { WAY_PAUSE } else { PORT_PAUSE }, end);
        }
        trouble.pause = Duration::ZERO;
        if was_way {
            trouble.heal_until = now + HEAL_TIME;
            trouble.retry_at = now;
        } else {
            trouble.on_failed(now, now, PORT_PAUSE, end);
        }
    }

    /// An attempt that began at `started` has failed.
    pub(super) fn on_failed(&mut self, now: Instant, pair: &Pair, started: Instant, purpose: Purpose, end: &End) {
        let pauses = if purpose == Purpose::Port { PORT_PAUSE } else { WAY_PAUSE };
        self.entry(pair).on_failed(now, started, pauses, end);
    }

    /// A lane has come up: what failed over it may be tried at once.
    pub(super) fn on_lane_up(&mut self, now: Instant, lane: LaneId) {
        let is_its = |trouble: &&mut Trouble| trouble.pair.from.as_ref().is_some_and(|from| from.id() == lane);
        self.list.iter_mut().filter(is_its).for_each(|trouble| trouble.retry_at = now);
    }

    /// Lost pairs to be dialed again now.
    pub(super) fn to_heal(&self, now: Instant) -> impl Iterator<Item = &Pair> {
        let is_due = move |trouble: &&Trouble| trouble.is_healing(now) && trouble.retry_at <= now;
        self.list.iter().filter(is_due).map(|trouble| &trouble.pair)
    }

    /// Whether a pair may be tried now as any other.
    pub(super) fn is_free(&self, now: Instant, pair: &Pair) -> bool {
        let trouble = self.list.iter().find(|trouble| is_same(&trouble.pair, pair));
        trouble.is_none_or(|trouble| !trouble.is_healing(now) && trouble.retry_at <= now)
    }

    /// When some pair may be tried that may not now.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let all = self.list.iter().map(|trouble| trouble.retry_at);
        all.filter(|at| *at > now).min()
    }

    fn entry(&mut self, pair: &Pair) -> &mut Trouble {
        let known = self.list.iter().position(|trouble| is_same(&trouble.pair, pair));
        let at = known.unwrap_or_else(|| {
            if self.list.len() >= TROUBLES_MAX {
                let soonest = (0..self.list.len()).min_by_key(|at| self.list[*at].retry_at);
                soonest.map(|at| self.list.swap_remove(at));
            }
            self.list.push(Trouble {
                pair: pair.clone(),
                retry_at: Instant::ZERO,
                pause: Duration::ZERO,
                heal_until: Instant::ZERO,
            });
            self.list.len() - 1
        });
        &mut self.list[at]
    }
}

impl Trouble {
    fn is_healing(&self, now: Instant) -> bool {
        self.heal_until > now
    }

    /// `pauses`: the first one, and what it doubles up to.
    fn on_failed(&mut self, now: Instant, started: Instant, pauses: (Duration, Duration), end: &End) {
        // Who is there and has no place for us is not helped by asking every second.
        if self.is_healing(now) && *end != End::Crowded {
            self.retry_at = now.max(started + HEAL_EVERY);
            return;
        }
        self.heal_until = Instant::ZERO;
        self.pause = (self.pause * 2).clamp(pauses.0, pauses.1);
        self.retry_at = now + self.pause;
    }
}

/// A lane that has another state is the same one.
fn is_same(one: &Pair, other: &Pair) -> bool {
    let lane = |pair: &Pair| pair.from.as_ref().map(|from| from.id());
    one.remote == other.remote && lane(one) == lane(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(port: u16) -> Pair {
        Pair {
            from: None,
            remote: ([10, 0, 0, 1], port).into(),
        }
    }

    fn at_ms(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn cut() -> End {
        End::Because("cut".to_owned())
    }

    /// Tries the pair whenever it may be, `times` times; each fails after `takes_ms`. The pauses between failure and next try, in seconds.
    fn pauses(troubles: &mut Troubles, from: Instant, takes_ms: u64, purpose: Purpose, times: usize) -> Vec<u64> {
        let mut now = from;
        let mut pauses = Vec::new();
        for _ in 0..times {
            let failed = now + Duration::from_millis(takes_ms);
            troubles.on_failed(failed, &pair(1), now, purpose, &cut());
            now = troubles.deadline(failed).unwrap_or(failed);
            pauses.push(now.since(failed).as_secs());
        }
        pauses
    }

    #[test]
    fn what_fails_is_left_alone_longer_and_longer() {
        let troubles = &mut Troubles::default();
        assert!(troubles.is_free(Instant::ZERO, &pair(1)));
        let ways = pauses(troubles, Instant::ZERO, 0, Purpose::Way, 8);
        assert_eq!(ways, [1, 2, 4, 8, 16, 32, 60, 60]);
        let ports = pauses(&mut Troubles::default(), Instant::ZERO, 0, Purpose::Port, 8);
        assert_eq!(ports, [10, 20, 40, 80, 160, 320, 600, 600]);
        assert!(troubles.is_free(Instant::ZERO, &pair(2)), "another port");
    }

    #[test]
    fn a_good_path_that_is_lost_is_dialed_every_second_for_a_minute() {
        for takes_ms in [0, 10, 1000] {
            let mut troubles = Troubles::default();
            troubles.on_lost(at_ms(5000), &pair(1), LIVED_MIN, true, &cut());
            let mut now = at_ms(5000);
            let mut dials = 0;
            while troubles.to_heal(now).next().is_some() {
                assert!(!troubles.is_free(now, &pair(1)), "it is healed, not tried as any other");
                let failed = now + Duration::from_millis(takes_ms);
                troubles.on_failed(failed, &pair(1), now, Purpose::Heal, &cut());
                dials += 1;
                now = troubles.deadline(failed).unwrap_or(failed);
            }
            assert_eq!(dials, 60, "each takes {takes_ms} ms");
            assert!(now.since(at_ms(5000)) >= HEAL_TIME);
        }
    }

    #[test]
    fn only_what_was_good_and_can_be_met_again_is_healed() {
        let check = |lived: Duration, was_way: bool, end: &End, heals: bool| {
            let mut troubles = Troubles::default();
            troubles.on_lost(at_ms(9000), &pair(1), lived, was_way, &cut());
            if troubles.to_heal(at_ms(9000)).next().is_some() {
                troubles.on_failed(at_ms(9000), &pair(1), at_ms(9000), Purpose::Heal, end);
            }
            let again = troubles.to_heal(at_ms(10_000)).count();
            assert_eq!(again == 1, heals, "{lived:?} {was_way} {end:?}");
        };
        check(LIVED_MIN, true, &cut(), true);
        check(LIVED_MIN, true, &End::Crowded, false);
        check(LIVED_MIN, false, &cut(), false);
        check(LIVED_MIN / 2, true, &cut(), false);
    }

    #[test]
    fn a_path_that_flaps_while_it_is_healed_is_still_healed() {
        let mut troubles = Troubles::default();
        troubles.on_lost(at_ms(5000), &pair(1), LIVED_MIN, true, &cut());
        troubles.on_lost(at_ms(6500), &pair(1), Duration::from_millis(500), true, &cut());
        assert_eq!(
            troubles.deadline(at_ms(6500)),
            Some(at_ms(7000)),
            "a second after it was opened"
        );
        assert_eq!(troubles.to_heal(at_ms(7000)).count(), 1);
    }

    #[test]
    fn few_pairs_are_remembered() {
        let mut troubles = Troubles::default();
        for port in 0..1000 {
            troubles.on_failed(at_ms(port.into()), &pair(port), at_ms(0), Purpose::Way, &cut());
        }
        assert_eq!(troubles.list.len(), TROUBLES_MAX);
        assert!(!troubles.is_free(at_ms(999), &pair(999)), "the last one is");
    }
}
