//! How many peers are given chunks at a time. A line that serves a hundred at once has sent the first chunk whole when it has sent a hundred,
//! and until then nobody can pass anything on; so few are served, the others wait in line, and each is given one chunk a turn.
//!
//! How few is found by trial: where twice as many are given more altogether, each of them takes less than the line has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::time::Instant;

/// So many are given a chunk at a time by a node, at least: enough to keep a line busy whose far ends are no slower, and as many as make
/// a small swarm.
pub const GIVING_MIN: usize = 16;

/// A turn is over after so long, whatever became of it: a peer that takes nothing keeps nobody from theirs.
const TURN_MAX: Duration = Duration::from_secs(5);

/// Time over which a rate means anything; for as long somebody must have waited, or few turns are not what bounds it.
const EPOCH: Duration = Duration::from_millis(500);

/// Time between two trials that changed nothing, and what it grows to.
const PAUSE_FIRST: Duration = Duration::from_secs(2);
const PAUSE_LONGEST: Duration = Duration::from_secs(60);

const WIDTH_MAX: usize = 1 << 16;

/// Whose turn it is. `K` names a connection.
#[derive(Debug)]
pub struct Giving<K> {
    width_min: usize,
    width: usize,
    /// Whose turn it is.
    turns: BTreeMap<K, Turn>,
    /// Who waits for a turn, first come first, and the same by name.
    waiting: VecDeque<K>,
    is_waiting: BTreeSet<K>,
    epoch_start: Instant,
    epoch_bytes: u64,
    trial: Option<Trial>,
    next_trial: Instant,
    pause: Duration,
    is_next_down: bool,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    since: Instant,
    /// A chunk was given in it.
    is_used: bool,
}

/// Another width for one epoch.
#[derive(Clone, Copy, Debug)]
struct Trial {
    width_before: usize,
    bytes_before: u64,
}

impl<K: Copy + Ord> Giving<K> {
    /// `width_min`: so many have their turn at a time at least.
    pub const fn new(width_min: usize) -> Self {
        Self {
            width_min,
            width: width_min,
            turns: BTreeMap::new(),
            waiting: VecDeque::new(),
            is_waiting: BTreeSet::new(),
            epoch_start: Instant::ZERO,
            epoch_bytes: 0,
            trial: None,
            next_trial: Instant::ZERO,
            pause: PAUSE_FIRST,
            is_next_down: false,
        }
    }

    /// So many have their turn at a time at least, from now on.
    pub fn set_width_min(&mut self, width_min: usize) {
        self.width_min = width_min;
        self.width = width_min;
        self.trial = None;
    }

    /// One that waits for chunks may be given the next one now. If not, it is in line from now on, and `poll` tells when.
    pub fn may_give(&mut self, now: Instant, to: K) -> bool {
        let is_room = self.turns.len() < self.width;
        match self.turns.get_mut(&to) {
            Some(turn) if !turn.is_used || self.waiting.is_empty() => {
                turn.is_used = true;
                return true;
            }
            None if is_room && self.waiting.is_empty() => {
                self.begin(now, to, true);
                return true;
            }
            _ => {}
        }
        if self.waiting.is_empty() {
            self.start_epoch(now);
        }
        if self.is_waiting.insert(to) {
            self.waiting.push_back(to);
        }
        false
    }

    /// It has all that it was given, or none of it is under way any more.
    pub fn on_given(&mut self, to: &K) {
        self.turns.remove(to);
    }

    /// It asks for nothing any more.
    pub fn on_gone(&mut self, to: &K) {
        self.turns.remove(to);
        if self.is_waiting.remove(to) {
            self.waiting.retain(|waiting| waiting != to);
        }
    }

    /// So much has left for all of them.
    pub fn on_bytes(&mut self, bytes: u64) {
        self.epoch_bytes += bytes;
    }

    /// Whose turn begins: it may be given one chunk.
    pub fn poll(&mut self, now: Instant) -> Option<K> {
        if self.waiting.is_empty() {
            return None;
        }
        self.turns.retain(|_, turn| now.since(turn.since) < TURN_MAX);
        if now.since(self.epoch_start) >= EPOCH {
            self.judge(now);
        }
        if self.turns.len() >= self.width {
            return None;
        }
        // Whoever has a turn already has the next one when that is over.
        let at = self.waiting.iter().position(|next| !self.turns.contains_key(next))?;
        let next = self.waiting.remove(at)?;
        self.is_waiting.remove(&next);
        self.begin(now, next, false);
        if self.waiting.is_empty() {
            // Nothing more is learnt. A line that is wide enough for all may stay so.
            let before = self.trial.take().map_or(0, |trial| trial.width_before);
            self.width = self.width.max(before);
        }
        Some(next)
    }

    /// Somebody has waited for a whole epoch.
    fn judge(&mut self, now: Instant) {
        let passed = now.since(self.epoch_start).as_nanos();
        let bytes = (u128::from(self.epoch_bytes) * EPOCH.as_nanos() / passed) as u64;
        if let Some(trial) = self.trial.take() {
            let is_better = match trial.width_before < self.width {
                true => bytes > trial.bytes_before + trial.bytes_before / 4,
                false => bytes > trial.bytes_before - trial.bytes_before / 10,
            };
            if is_better {
                self.pause = PAUSE_FIRST;
                self.next_trial = now;
            } else {
                self.width = trial.width_before;
                self.is_next_down = !self.is_next_down;
                self.next_trial = now + self.pause;
                self.pause = (self.pause * 2).min(PAUSE_LONGEST);
            }
        }
        if self.trial.is_none() && now >= self.next_trial {
            let width = match self.is_next_down {
                true => (self.width / 2).max(self.width_min),
                false => self.width.saturating_mul(2).min(WIDTH_MAX),
            };
            self.trial = (width != self.width).then_some(Trial {
                width_before: self.width,
                bytes_before: bytes,
            });
            self.is_next_down &= self.trial.is_some();
            self.width = width;
        }
        self.start_epoch(now);
    }

    fn begin(&mut self, now: Instant, whose: K, is_used: bool) {
        self.turns.insert(whose, Turn { since: now, is_used });
    }

    fn start_epoch(&mut self, now: Instant) {
        self.epoch_start = now;
        self.epoch_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    /// Whoever may be given something now, of those that ask.
    fn turns(giving: &mut Giving<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| giving.poll(now)).collect()
    }

    #[test]
    fn as_many_as_have_room_are_given_at_once_and_the_others_in_the_order_they_came() {
        let mut giving = Giving::new(2);
        assert!(giving.may_give(ms(0), 1) && giving.may_give(ms(0), 2));
        assert!(giving.may_give(ms(0), 1), "nobody waits, so it may have more");
        assert!(!giving.may_give(ms(0), 3) && !giving.may_give(ms(0), 4) && !giving.may_give(ms(0), 3));
        assert!(!giving.may_give(ms(1), 1), "others wait, so its next chunk is behind theirs");
        assert_eq!(turns(&mut giving, ms(1)), []);
        giving.on_given(&2);
        assert_eq!(turns(&mut giving, ms(2)), [3]);
        assert!(giving.may_give(ms(2), 3), "its turn");
        assert!(!giving.may_give(ms(2), 3), "is one chunk long");
        giving.on_given(&1);
        giving.on_given(&3);
        assert_eq!(turns(&mut giving, ms(3)), [4, 1]);
        giving.on_given(&4);
        assert_eq!(turns(&mut giving, ms(3)), [3]);
        giving.on_gone(&3);
        assert!(giving.may_give(ms(4), 5));
    }

    #[test]
    fn more_are_given_as_soon_as_more_may_be_and_no_more_where_fewer() {
        let mut giving = Giving::new(1);
        assert!(giving.may_give(ms(0), 1));
        (2..=6).for_each(|who| assert!(!giving.may_give(ms(0), who)));
        assert_eq!(turns(&mut giving, ms(1)), []);
        giving.set_width_min(3);
        assert_eq!(turns(&mut giving, ms(1)), [2, 3]);
        giving.set_width_min(2);
        giving.on_given(&1);
        assert_eq!(turns(&mut giving, ms(2)), [], "two have their turn");
        giving.on_given(&2);
        assert_eq!(turns(&mut giving, ms(2)), [4]);
    }

    #[test]
    fn who_goes_leaves_the_line_and_who_takes_nothing_keeps_nobody_waiting_for_long() {
        let mut giving = Giving::new(1);
        assert!(giving.may_give(ms(0), 1));
        assert!(!giving.may_give(ms(0), 2) && !giving.may_give(ms(0), 3));
        giving.on_gone(&2);
        assert_eq!(turns(&mut giving, ms(100)), []);
        let late = Instant::ZERO + TURN_MAX;
        assert_eq!(turns(&mut giving, late), [3]);
        assert!(giving.is_waiting.is_empty() && giving.waiting.is_empty());
    }

    /// A line of `line` bytes per millisecond, and so many that always want chunks and take `each` bytes per millisecond at most, for
    /// `seconds`. How many are given a chunk at a time at last, and which part of what could have left has.
    fn settle(line: u64, peers: u32, each: u64, seconds: u64) -> (usize, f64) {
        const CHUNK: u64 = 64 << 10;
        let mut giving = Giving::new(4);
        let mut left: BTreeMap<u32, u64> = BTreeMap::new();
        let mut sent = 0;
        for now in (0..seconds * 1000).map(ms) {
            for peer in (0..peers).filter(|peer| !left.contains_key(peer)).collect::<Vec<_>>() {
                if giving.may_give(now, peer) {
                    left.insert(peer, CHUNK);
                }
            }
            while let Some(peer) = giving.poll(now) {
                if !left.contains_key(&peer) && giving.may_give(now, peer) {
                    left.insert(peer, CHUNK);
                }
            }
            let rate = each.min(line / (left.len() as u64).max(1));
            for bytes in left.values_mut() {
                let moved = rate.min(*bytes);
                *bytes -= moved;
                sent += moved;
                giving.on_bytes(moved);
            }
            left.extract_if(.., |_, bytes| *bytes == 0)
                .for_each(|(peer, _)| giving.on_given(&peer));
        }
        let could = line.min(each * u64::from(peers)) * seconds * 1000;
        (giving.width, sent as f64 / could as f64)
    }

    #[test]
    fn as_few_are_given_at_a_time_as_the_line_takes() {
        // 10 MB/s, and those that could take all of it, a tenth, a two hundredth each.
        for (each, width) in [(10_000, 4..=8), (1_000, 8..=32), (50, 128..=WIDTH_MAX)] {
            let (settled, full) = settle(10_000, 200, each, 30);
            assert!(width.contains(&settled) && full > 0.85, "{each}: {settled} at a time, {full}");
        }
    }
}
