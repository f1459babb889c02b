//! Which of the ways to one peer carry what is asked of it. Chooses among what it is shown, and opens and closes nothing.

use std::net::IpAddr;
use std::time::Duration;

use super::LaneId;
use super::health::Pulse;
use crate::time::Instant;

/// How the ways to a peer are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// All of them at once, each as much as it delivers.
    #[default]
    Aggregate,
    /// One, the heaviest; another only while that one is silent.
    Standby,
    /// The one with the shortest round trip.
    LowestLatency,
}

impl Mode {
    /// All of them, in the order in which `as usize` numbers them.
    pub const ALL: [Self; 3] = [Self::Aggregate, Self::Standby, Self::LowestLatency];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aggregate => "aggregate",
            Self::Standby => "standby",
            Self::LowestLatency => "lowest-latency",
        }
    }
}

/// What paths share that break together: the lane they leave from, as far as it is known, and the peer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// `None` where the kernel chooses.
    pub lane: Option<LaneId>,
    /// Where it leads.
    pub remote: IpAddr,
}

/// What is known of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayFigures {
    /// Which.
    pub way: Way,
    /// How much its lane counts (`lanes.weight` of the config file).
    pub weight: u32,
    /// Shortest smoothed round-trip time of its paths.
    pub rtt: Duration,
    /// How the path fares that fares best.
    pub pulse: Pulse,
}

/// A way is the faster one if it is by so much: estimates differ from packet to packet, and a switch is worth nothing by itself.
const FASTER_MIN: Duration = Duration::from_millis(10);
const FASTER_PART: u32 = 5;

/// How long a better way must have been well before it takes over from one that is well too.
const BACK_AFTER: Duration = Duration::from_secs(1);

/// The choice for one peer.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// By mode; none for `Aggregate`, which uses all.
    chosen: [Option<Way>; Mode::ALL.len()],
    /// Since when another way has been better, and which.
    better: [Option<(Way, Instant)>; Mode::ALL.len()],
}

impl Policy {
    /// Looks at all ways to the peer, in the order in which they were opened. Whether the choice of some mode has changed.
    pub fn on_ways(&mut self, now: Instant, ways: &[WayFigures]) -> bool {
        let before = self.chosen;
        for mode in [Mode::Standby, Mode::LowestLatency] {
            self.judge(now, mode, ways);
        }
        self.chosen != before
    }

    /// Whether chunks may be asked over the way.
    pub fn uses(&self, mode: Mode, way: &Way) -> bool {
        self.chosen[mode as usize].is_none_or(|chosen| chosen == *way)
    }

    fn judge(&mut self, now: Instant, mode: Mode, ways: &[WayFigures]) {
        let at = mode as usize;
        let current = self.chosen[at].and_then(|chosen| ways.iter().find(|figures| figures.way == chosen));
        // Among equals the one that was opened first.
        let best = ways.iter().min_by(|one, other| rank(mode, one).cmp(&rank(mode, other)));
        let (Some(best), Some(current)) = (best, current) else {
            self.chosen[at] = best.map(|best| best.way);
            self.better[at] = None;
            return;
        };
        if current.pulse > best.pulse {
            self.chosen[at] = Some(best.way);
        } else if is_better(mode, best, current) {
            match self.better[at] {
                Some((way, since)) if way == best.way => {
                    if now.since(since) < BACK_AFTER {
                        return;
                    }
                    self.chosen[at] = Some(best.way);
                }
                _ => {
                    self.better[at] = Some((best.way, now));
                    return;
                }
            }
        }
        self.better[at] = None;
    }
}

/// The least is the best.
fn rank(mode: Mode, figures: &WayFigures) -> (Pulse, u32, Duration) {
    match mode {
        Mode::Aggregate | Mode::Standby => (figures.pulse, u32::MAX - figures.weight, Duration::ZERO),
        Mode::LowestLatency => (figures.pulse, 0, figures.rtt),
    }
}

/// Whether it is worth leaving `current`, which fares no worse.
fn is_better(mode: Mode, best: &WayFigures, current: &WayFigures) -> bool {
    match mode {
        Mode::Aggregate => false,
        Mode::Standby => best.weight > current.weight,
        Mode::LowestLatency => best.rtt + FASTER_MIN.min(current.rtt / FASTER_PART) < current.rtt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(last: u8) -> Way {
        Way {
            lane: None,
            remote: [10, 0, last, 1].into(),
        }
    }

    fn ways<const N: usize>(figures: [(u8, u32, u64, Pulse); N]) -> Vec<WayFigures> {
        figures
            .map(|(last, weight, rtt_ms, pulse)| WayFigures {
                way: way(last),
                weight,
                rtt: Duration::from_millis(rtt_ms),
                pulse,
            })
            .to_vec()
    }

    fn used(policy: &Policy, mode: Mode) -> Vec<u8> {
        (0..4).filter(|last| policy.uses(mode, &way(*last))).collect()
    }

    const NOW: Instant = Instant::ZERO;

    #[test]
    fn all_ways_are_used_or_one() {
        let mut policy = Policy::default();
        assert_eq!(used(&policy, Mode::Standby), [0, 1, 2, 3], "nothing is known");
        assert!(policy.on_ways(
            NOW,
            &ways([(1, 1, 30, Pulse::Well), (2, 1, 5, Pulse::Well), (3, 2, 50, Pulse::Well)])
        ));
        assert_eq!(used(&policy, Mode::Aggregate), [0, 1, 2, 3]);
        assert_eq!(used(&policy, Mode::Standby), [3], "the heaviest");
        assert_eq!(used(&policy, Mode::LowestLatency), [2], "the nearest");
        assert!(policy.on_ways(NOW, &ways([(1, 1, 30, Pulse::Well)])));
        assert_eq!(
            (used(&policy, Mode::Standby), used(&policy, Mode::LowestLatency)),
            (vec![1], vec![1])
        );
    }

    #[test]
    fn the_standby_takes_over_at_the_first_silence_and_gives_back_to_a_heavier_one_after_a_while() {
        for (weight, back) in [(2, true), (1, false)] {
            let mut policy = Policy::default();
            let both = |pulse| ways([(1, weight, 1, pulse), (2, 1, 1, Pulse::Well)]);
            policy.on_ways(NOW, &both(Pulse::Well));
            assert_eq!(used(&policy, Mode::Standby), [1]);
            assert!(policy.on_ways(NOW, &both(Pulse::Quiet)));
            assert_eq!(used(&policy, Mode::Standby), [2]);
            assert!(!policy.on_ways(NOW, &both(Pulse::Well)), "not at once");
            assert_eq!(policy.on_ways(NOW + BACK_AFTER, &both(Pulse::Well)), back, "weight {weight}");
        }
    }

    #[test]
    fn a_way_that_is_hardly_faster_or_not_for_long_is_not_worth_a_switch() {
        for (current_ms, other_ms, expect) in [(50, 45, false), (50, 39, true), (5, 4, false), (5, 3, true), (200, 185, true)] {
            let mut policy = Policy::default();
            policy.on_ways(NOW, &ways([(1, 1, current_ms, Pulse::Well)]));
            let both = ways([(1, 1, current_ms, Pulse::Well), (2, 1, other_ms, Pulse::Well)]);
            assert!(!policy.on_ways(NOW, &both), "not at once");
            let changed = policy.on_ways(NOW + BACK_AFTER, &both);
            assert_eq!(changed, expect, "{other_ms} ms where it was {current_ms}");
            let mut policy = Policy::default();
            policy.on_ways(NOW, &ways([(1, 1, current_ms, Pulse::Well)]));
            policy.on_ways(NOW, &both);
            policy.on_ways(NOW, &ways([(1, 1, 1, Pulse::Well), (2, 1, other_ms, Pulse::Well)]));
            assert!(!policy.on_ways(NOW + BACK_AFTER, &both), "it was slower meanwhile");
        }
    }

    #[test]
    fn where_all_are_silent_one_is_used_all_the_same() {
        let mut policy = Policy::default();
        policy.on_ways(NOW, &ways([(1, 1, 1, Pulse::Suspect), (2, 1, 1, Pulse::Suspect)]));
        assert_eq!(used(&policy, Mode::Standby), [1]);
    }
}
