//! How busy a node is with others: when whoever asks of it is told, and how much longer an ask takes for that. A hint and no more: it fades,
//! and it never keeps an only source from being asked.

use std::time::Duration;

use crate::time::Instant;
use crate::wire::Load;

/// Time between two looks at what there may be to tell.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// What stays as it is, is told again so often, so that it is not forgotten.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A change that is worth telling is more than this part of what was told.
const CHANGE_PART: u64 = 4;

/// What was told counts half after so long, and half of that after as long again.
const HALF_LIFE: Duration = Duration::from_millis(250);

const _: () = assert!(
    AGAIN_AFTER.as_millis() < HALF_LIFE.as_millis(),
    "what stays is told again before it fades"
);

/// What a node sends to one peer before another has its turn, about.
const TURN_BYTES: u64 = 256 << 10;

/// The giving half, of one connection. It has no timer: who waits for something is heard of often enough, and nobody else is told.
#[derive(Debug, Default)]
pub struct LoadTeller {
    look_at: Instant,
    told: Option<(Instant, Load)>,
}

impl LoadTeller {
    /// Something happens on a connection whose peer waits for what it has asked. What to tell it, where it is time to look at the load and
    /// that is news.
    pub fn on_turn(&mut self, now: Instant, load: impl FnOnce() -> Load) -> Option<Load> {
        if now < self.look_at {
            return None;
        }
        self.look_at = now + LOOK_EVERY;
        let load = load();
        let is_news = match self.told {
            None => load.peers > 0,
            Some((at, told)) => {
                let has_changed = is_another(told.peers, load.peers) || is_another(told.queued_bytes, load.queued_bytes);
                has_changed || (load.peers > 0 && now.since(at) >= AGAIN_AFTER)
            }
        };
        is_news.then(|| {
            self.told = Some((now, load));
            load
        })
    }
}

fn is_another(told: u64, now: u64) -> bool {
    now.abs_diff(told) > told / CHANGE_PART
}

/// The asking half: what a peer said last.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToldLoad {
    at: Instant,
    load: Load,
}

impl ToldLoad {
    pub(super) fn new(now: Instant, load: Load) -> Self {
        Self { at: now, load }
    }

    /// How much later than we think what is asked of the peer comes because of others. They are served alike, so until `own_bytes` are here,
    /// which is all that we wait for from it, each of the others has got as much, and all of them no more than they wait for.
    ///
    /// `own_rate`: what the peer has sent us, over all paths, in bytes per second; zero where nothing is known. It can do that and what it
    /// says it does. Where that has fallen because of the others, they are not counted again.
    pub(super) fn delay(&self, now: Instant, own_bytes: u64, own_rate: u64) -> Duration {
        let each = own_bytes.max(TURN_BYTES);
        let before_us = self.load.queued_bytes.min(self.load.peers.saturating_mul(each));
        let nanos = |bytes: u128, rate: u64| bytes * 1_000_000_000 / u128::from(rate.max(1));
        let shared = nanos(
            u128::from(own_bytes) + u128::from(before_us),
            self.load.bytes_per_s.max(own_rate),
        );
        let known = if own_rate > 0 { nanos(own_bytes.into(), own_rate) } else { 0 };
        let halvings = now.since(self.at).as_nanos() / HALF_LIFE.as_nanos();
        let faded = shared.saturating_sub(known) >> halvings.min(u128::from(u128::BITS - 1));
        Duration::from_nanos(u64::try_from(faded).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn load(queued_mb: u64, peers: u64) -> Load {
        Load {
            queued_bytes: queued_mb * MB,
            peers,
            bytes_per_s: 100 * MB,
        }
    }

    /// Has a turn each millisecond with a load that is `load(ms)`. The moments at which it was told.
    fn told(teller: &mut LoadTeller, from_ms: u64, to_ms: u64, load: impl Fn(u64) -> Load) -> Vec<u64> {
        let is_told = |ms: &u64| teller.on_turn(at(*ms), || load(*ms)).is_some();
        (from_ms..to_ms).filter(is_told).collect()
    }

    #[test]
    fn nothing_is_told_until_others_are_there_and_their_end_once() {
        let mut teller = LoadTeller::default();
        assert_eq!(told(&mut teller, 0, 500, |_| load(0, 0)), []);
        assert_eq!(told(&mut teller, 500, 900, |_| load(8, 1)), [500, 600, 700, 800]);
        assert_eq!(told(&mut teller, 900, 2000, |_| load(0, 0)), [900]);
    }

    #[test]
    fn a_change_is_told_at_the_next_look_and_a_small_one_is_none() {
        let mut teller = LoadTeller::default();
        let grows = |ms| load(if ms < 40 { 8 } else { 16 }, 1);
        assert_eq!(told(&mut teller, 0, 100, grows), [0, 50]);
        let trembles = |ms| load(16 + ms % 3, 1);
        assert_eq!(told(&mut teller, 100, 400, trembles), [150, 250, 350]);
        let is_wild = |ms: u64| load(1 << (ms / 25 % 2 * 6), 1);
        let moments = told(&mut teller, 400, 900, is_wild);
        assert!(
            moments.windows(2).all(|pair| pair[1] - pair[0] >= 25) && moments.len() <= 20,
            "however it changes: {moments:?}"
        );
    }

    #[test]
    fn others_delay_an_ask_by_as_much_as_they_get_meanwhile_and_less_and_less() {
        let told = ToldLoad::new(at(0), load(8, 2));
        let check = |ms: u64, own_bytes: u64, own_rate: u64, expect_ms: u64| {
            let delay = told.delay(at(ms), own_bytes, own_rate);
            assert_eq!(delay.as_millis() as u64, expect_ms, "at {ms} ms, {own_bytes} bytes");
        };
        check(0, MB, 100 * MB, 20);
        check(0, 2 * MB, 100 * MB, 40);
        check(0, 100 * MB, 100 * MB, 80);
        check(0, MB, 200 * MB, 10);
        check(0, MB, 50 * MB, 10);
        check(0, MB, 33 * MB, 0);
        check(0, MB, 0, 30);
        check(0, 0, 100 * MB, 5);
        for (ms, expect_ms) in [(249, 80), (250, 40), (500, 20), (1000, 5), (100_000_000, 0)] {
            check(ms, 100 * MB, 100 * MB, expect_ms);
        }
        let absurd = Load {
            queued_bytes: u64::MAX,
            peers: u64::MAX,
            bytes_per_s: 0,
        };
        assert!(ToldLoad::new(at(0), absurd).delay(at(0), MB, 0) > Duration::from_secs(1 << 30));
    }
}
