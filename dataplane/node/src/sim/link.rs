//! One direction of a link: rate, delay, jitter, loss, a bounded queue that drops what does not fit, a switch to cut it and a flap. Decides
//! when a datagram arrives, if it does; knows nothing of what is in it.

use std::time::Duration;

use ares_core::rng::Rng;
use ares_core::time::Instant;

/// What IPv4 and UDP put before each payload, in bytes.
const HEADERS_BYTES: usize = 20 + 8;

/// What a link is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkSpec {
    /// Of IP packets.
    pub(super) mbit_per_s: u64,
    /// One way, of an empty link.
    pub(super) delay: Duration,
    /// Up to so much more, drawn for each datagram. None overtakes another.
    pub(super) jitter: Duration,
    /// Datagrams of a million that are lost, drawn for each.
    pub(super) loss_ppm: u32,
    /// What waits for the link at most.
    pub(super) queue_bytes: u64,
}

impl LinkSpec {
    /// A good link with this round trip, of which each direction is a half.
    pub(super) fn of(mbit_per_s: u64, rtt_ms: u64) -> Self {
        Self {
            mbit_per_s,
            delay: Duration::from_micros(rtt_ms * 500),
            jitter: Duration::ZERO,
            loss_ppm: 0,
            queue_bytes: 512 << 10,
        }
    }
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives then, unless the link is cut meanwhile.
    Arrives(Instant),
    /// The link is cut.
    Cut,
    /// Noise took it.
    Lost,
    /// The queue is full.
    Dropped,
}

/// The link and what is on it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) spec: LinkSpec,
    pub(super) is_cut: bool,
    /// It is down every other stretch of this length, the first one not.
    pub(super) flap: Option<Duration>,
    /// When all that waits has left.
    free_at: Instant,
    last_at: Instant,
    /// Bytes of payload that came out of it.
    pub(super) carried_bytes: u64,
}

impl Link {
    pub(super) fn new(spec: LinkSpec) -> Self {
        Self {
            spec,
            is_cut: false,
            flap: None,
            free_at: Instant::ZERO,
            last_at: Instant::ZERO,
            carried_bytes: 0,
        }
    }

    /// A datagram with so many bytes of payload is sent.
    pub(super) fn send(&mut self, now: Instant, payload_bytes: usize, rng: &mut Rng) -> Fate {
        let nanos = |bytes: u64| Duration::from_nanos(bytes * 8000 / self.spec.mbit_per_s);
        let bytes = (payload_bytes + HEADERS_BYTES) as u64;
        if self.is_down(now) {
            return Fate::Cut;
        }
        if self.free_at.since(now) + nanos(bytes) > nanos(self.spec.queue_bytes) {
            return Fate::Dropped;
        }
        self.free_at = self.free_at.max(now) + nanos(bytes);
        if rng.below(1_000_000) < self.spec.loss_ppm as usize {
            return Fate::Lost;
        }
        let jitter = Duration::from_nanos(rng.next() % (self.spec.jitter.as_nanos() as u64 + 1));
        self.last_at = self.last_at.max(self.free_at + self.spec.delay + jitter);
        Fate::Arrives(self.last_at)
    }

    /// The moment at which it would arrive. Whether it does.
    pub(super) fn arrive(&mut self, now: Instant, payload_bytes: usize) -> bool {
        if self.is_down(now) {
            return false;
        }
        self.carried_bytes += payload_bytes as u64;
        true
    }

    fn is_down(&self, now: Instant) -> bool {
        let is_odd = |every: Duration| (now.as_nanos() / every.as_nanos() as u64) % 2 == 1;
        self.is_cut || self.flap.is_some_and(is_odd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    /// 1,000 bytes of IP packet, which take 1 ms.
    const PAYLOAD: usize = 1000 - HEADERS_BYTES;

    fn slow() -> LinkSpec {
        LinkSpec {
            mbit_per_s: 8,
            queue_bytes: 5000,
            ..LinkSpec::of(8, 20)
        }
    }

    #[test]
    fn datagrams_leave_one_behind_the_other_and_a_full_queue_drops() {
        let mut link = Link::new(slow());
        let mut rng = Rng::new(1);
        let fates: Vec<Fate> = (0..6).map(|_| link.send(at_ms(0), PAYLOAD, &mut rng)).collect();
        let mut expect: Vec<Fate> = (11..=15).map(|ms| Fate::Arrives(at_ms(ms))).collect();
        expect.push(Fate::Dropped);
        assert_eq!(fates, expect);
        assert_eq!(
            link.send(at_ms(1), PAYLOAD, &mut rng),
            Fate::Arrives(at_ms(16)),
            "one has left"
        );
        assert_eq!(link.send(at_ms(90), PAYLOAD, &mut rng), Fate::Arrives(at_ms(101)));
    }

    #[test]
    fn jitter_delays_and_reorders_nothing_and_loss_is_as_often_as_it_should_be() {
        let jitter = Duration::from_millis(5);
        let mut link = Link::new(LinkSpec {
            jitter,
            loss_ppm: 100_000,
            ..slow()
        });
        let mut rng = Rng::new(7);
        let (mut lost, mut last, mut spread) = (0, Instant::ZERO, Duration::ZERO);
        for n in 0..10_000 {
            match link.send(at_ms(10 * n), PAYLOAD, &mut rng) {
                Fate::Arrives(at) => {
                    assert!(at >= last && at.since(at_ms(10 * n + 11)) <= jitter);
                    (last, spread) = (at, spread.max(at.since(at_ms(10 * n + 11))));
                }
                fate => {
                    assert_eq!(fate, Fate::Lost);
                    lost += 1;
                }
            }
        }
        assert!((900..1100).contains(&lost), "{lost} of 10,000");
        assert!(spread > jitter / 2, "{spread:?}");
    }

    #[test]
    fn a_cut_takes_what_is_on_its_way_too() {
        let mut link = Link::new(slow());
        let mut rng = Rng::new(1);
        assert_eq!(link.send(at_ms(0), PAYLOAD, &mut rng), Fate::Arrives(at_ms(11)));
        link.is_cut = true;
        assert!(!link.arrive(at_ms(11), PAYLOAD));
        assert_eq!(link.send(at_ms(11), PAYLOAD, &mut rng), Fate::Cut);
        link.is_cut = false;
        assert!(link.arrive(at_ms(12), PAYLOAD));
        link.flap = Some(Duration::from_millis(500));
        let carries = [0, 499, 500, 999, 1000].map(|ms| link.arrive(at_ms(ms), 1));
        assert_eq!(carries, [true, true, false, false, true]);
    }
}
