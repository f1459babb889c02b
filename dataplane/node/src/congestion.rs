//! How much a path may carry at once: by default CUBIC (RFC 9438), held to about twice what the path delivers in its shortest round trip,
//! as BBR holds its own (draft-ietf-ccwg-bbr, section 4.6.4.1). Which controller it is may change while the path is used.
//!
//! CUBIC alone grows until something overflows. On a fast and near path that is the receiver's socket buffer, megabytes behind what the
//! path needs: they cost losses, and caches, since every byte of them is gone from the processor's before it is used.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ares_core::knobs::Congestion;
use quinn_proto::RttEstimator;
use quinn_proto::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig, NewRenoConfig};

/// How long the threads of both sides may be kept waiting for a processor, beside the round trip.
const SERVICE: Duration = Duration::from_millis(1);

/// In flight on any path that loses nothing, however little it was seen to deliver, in bytes.
const BOUND_BYTES_MIN: u64 = 128 << 10;

/// What a new path may carry in its first round trip, in bytes: 32 packets, paced, as QUIC is deployed, where RFC 9002 section 7.2 has ten. A
/// path that takes over from one that died has a chunk to bring, and each doubling costs a round trip.
const INITIAL_WINDOW_BYTES: u64 = 32 * 1452;

/// What one send to the kernel may hold, in bytes (UDP GSO).
const BURST_BYTES: u64 = ares_ring::SEND_BYTES_MAX as u64;

/// Round trip within one network, whose queues hold a burst of each of many senders.
const NEAR: Duration = Duration::from_millis(2);

/// A window for which QUIC does not pace.
const UNPACED: u64 = 1 << 33;

/// Losses up to this part of what is delivered are none of congestion, as BBR has it (draft-ietf-ccwg-bbr, section 2.7, BBR.LossThresh),
/// counted over so many round trips.
const LOSS_PERCENT_MAX: u64 = 2;
const LOSS_ROUNDS: u32 = 8;

/// Round trips over which the best delivery rate counts.
const RATE_ROUNDS: usize = 10;

/// How long the shortest round trip counts, once and at most twice: a route may have become longer.
const RTT_MIN_LIFE: Duration = Duration::from_secs(10);

/// Which controller the paths of a shard have: those to come, and those that are there from their next packet on.
#[derive(Debug)]
pub(crate) struct Chosen(AtomicU8);

impl Chosen {
    pub(crate) fn new(kind: Congestion) -> Self {
        Self(AtomicU8::new(kind as u8))
    }

    pub(crate) fn choose(&self, kind: Congestion) {
        self.0.store(kind as u8, Relaxed);
    }

    fn kind(&self) -> Congestion {
        Congestion::ALL[usize::from(self.0.load(Relaxed))]
    }
}

impl ControllerFactory for Chosen {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let kind = self.kind();
        Box::new(Following {
            inner: controller(kind, now, current_mtu),
            kind,
            mtu: current_mtu,
            chosen: self,
            rttvar: None,
            last_acked: None,
        })
    }
}

fn cubic(now: Instant, mtu: u16) -> Box<dyn Controller> {
    let mut config = CubicConfig::default();
    config.initial_window(INITIAL_WINDOW_BYTES);
    Arc::new(config).build(now, mtu)
}

fn controller(kind: Congestion, now: Instant, mtu: u16) -> Box<dyn Controller> {
    let mut new: Box<dyn Controller> = match kind {
        Congestion::Cubic => Box::new(BoundedCubic {
            cubic: cubic(now, mtu),
            bound: Bound::new(now),
            losses: Losses::new(now),
            bursts: Bursts::default(),
        }),
        Congestion::NewReno => Arc::new(NewRenoConfig::default()).build(now, mtu),
        Congestion::Bbr => Arc::new(BbrConfig::default()).build(now, mtu),
    };
    // quinn-proto's windows begin at some packets of 1,200 bytes, and a path that has found out that it takes larger ones sends nothing
    // through a window smaller than one of them. This raises it to a few of its own.
    new.on_mtu_update(mtu);
    new
}

/// What a path follows now, where `path` is one of ours.
pub(crate) fn kind_of(path: &dyn Controller) -> Option<Congestion> {
    let following = path.clone_box().into_any().downcast::<Following>();
    following.ok().map(|following| following.kind)
}

/// The controller of one path. Another choice takes the place of it and begins as on a new path: what one has learnt is nothing that
/// another believes, and a few round trips teach it again.
struct Following {
    chosen: Arc<Chosen>,
    kind: Congestion,
    mtu: u16,
    inner: Box<dyn Controller>,
    rttvar: Option<Duration>,
    /// When the newest packet was sent that was acknowledged.
    last_acked: Option<Instant>,
}

/// When the newest packet was sent that was acknowledged on a path; `None` before the first, and where `path` is not one of ours. Copies
/// the controller's state, as `rttvar` does.
pub(crate) fn last_acked(path: &dyn Controller) -> Option<Instant> {
    let following = path.clone_box().into_any().downcast::<Following>();
    following.ok()?.last_acked
}

/// Mean deviation of a path's round-trip time (RFC 9002 section 5.3), which quinn-proto keeps to itself; `None` until something was
/// acknowledged, and where `path` is not one of ours. Copies the controller's state: not for every packet.
pub(crate) fn rttvar(path: &dyn Controller) -> Option<Duration> {
    let following = path.clone_box().into_any().downcast::<Following>();
    following.ok()?.rttvar
}

impl Controller for Following {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        let kind = self.chosen.kind();
        if kind != self.kind {
            self.inner = controller(kind, now, self.mtu);
            self.kind = kind;
        }
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        let deviation = now.saturating_duration_since(sent).abs_diff(rtt.get());
        self.rttvar = Some(self.rttvar.map_or(rtt.get() / 2, |rttvar| (rttvar * 3 + deviation) / 4));
        self.last_acked = self.last_acked.max(Some(sent));
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            chosen: self.chosen.clone(),
            inner: self.inner.clone_box(),
            ..*self
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

struct BoundedCubic {
    cubic: Box<dyn Controller>,
    bound: Bound,
    losses: Losses,
    bursts: Bursts,
}

impl BoundedCubic {
    /// What may be in flight, in bytes.
    fn bytes(&self) -> u64 {
        self.cubic.window().min(self.bound.bytes)
    }
}

impl Controller for BoundedCubic {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
        self.bursts.on_sent(bytes, self.bytes());
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.losses.on_ack(now, bytes, rtt.get());
        self.bursts.on_rtt(rtt.min());
        self.bound.on_ack(now, bytes, app_limited, rtt.get());
        // CUBIC must not grow out of sight: a loss takes it down from where it stands.
        let is_bound = self.cubic.window() >= self.bound.bytes;
        self.cubic.on_ack(now, sent, bytes, app_limited || is_bound, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        self.bursts.on_end_acks(in_flight, self.bytes());
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        // A mark (ECN, RFC 9002 section 7.1) comes without losses.
        let is_marked = lost_bytes == 0;
        if is_marked || is_persistent_congestion || self.losses.are_congestion(lost_bytes) {
            self.cubic
                .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.bursts.window(self.bytes())
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.cubic.metrics();
        metrics.congestion_window = self.bytes();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            cubic: self.cubic.clone_box(),
            bound: self.bound.clone(),
            losses: self.losses,
            bursts: self.bursts,
        })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

/// Whether what is lost is lost to congestion: a path over the air loses a little of everything, whatever its rate.
#[derive(Clone, Copy, Debug)]
struct Losses {
    round_start: Instant,
    acked_bytes: u64,
    lost_bytes: u64,
}

impl Losses {
    fn new(now: Instant) -> Self {
        Self {
            round_start: now,
            acked_bytes: 0,
            lost_bytes: 0,
        }
    }

    fn on_ack(&mut self, now: Instant, bytes: u64, rtt: Duration) {
        self.acked_bytes += bytes;
        if now.saturating_duration_since(self.round_start) >= LOSS_ROUNDS * rtt.max(SERVICE) {
            // What came before counts half, so that a loss at the start of a round is not one of few packets.
            self.acked_bytes /= 2;
            self.lost_bytes /= 2;
            self.round_start = now;
        }
    }

    fn are_congestion(&mut self, lost_bytes: u64) -> bool {
        self.lost_bytes += lost_bytes;
        self.lost_bytes * 100 > (self.acked_bytes + self.lost_bytes) * LOSS_PERCENT_MAX
    }
}

/// Sends whole bursts and does not pace them, on a near path whose window holds several. A window that opens by two packets at a time, as
/// acknowledgements come, would else be filled two packets at a time, each a system call here and there (Linux does the same for TCP,
/// tcp_tso_should_defer()). On a longer one pacing keeps bursts from overflowing some queue on the way.
#[derive(Clone, Copy, Debug)]
struct Bursts {
    /// Bytes in flight, or more: what is found lost is found out with the next acknowledgement.
    in_flight: u64,
    /// Whether one more burst fits.
    is_open: bool,
    is_near: bool,
}

impl Default for Bursts {
    fn default() -> Self {
        Self {
            in_flight: 0,
            is_open: true,
            is_near: false,
        }
    }
}

impl Bursts {
    fn on_sent(&mut self, bytes: u64, window: u64) {
        self.in_flight += bytes;
        self.is_open = self.in_flight + BURST_BYTES <= window;
    }

    fn on_rtt(&mut self, shortest: Duration) {
        self.is_near = shortest <= NEAR;
    }

    fn on_end_acks(&mut self, in_flight: u64, window: u64) {
        self.in_flight = in_flight;
        self.is_open = in_flight + BURST_BYTES <= window;
    }

    /// The window to show to QUIC, which looks at it before each burst and does not pace what is above `u32::MAX`. While no burst fits it
    /// is what is in flight; so bytes that are found lost make room.
    fn window(&self, window: u64) -> u64 {
        match (self.is_near && window >= 2 * BURST_BYTES, self.is_open) {
            (false, _) => window,
            (true, true) => UNPACED,
            (true, false) => self.in_flight.clamp(1, window),
        }
    }
}

/// Twice what the path delivers in its shortest round trip.
#[derive(Clone, Debug)]
struct Bound {
    /// Bytes in flight it allows.
    bytes: u64,
    round_start: Instant,
    round_bytes: u64,
    /// Whether in this round there was always something to send.
    round_is_full: bool,
    /// Delivery rates of the last rounds, newest last, in bytes per second.
    rates: VecDeque<u64>,
    /// The shortest smoothed round trip, of this life and of the one before.
    rtt_min: [Duration; 2],
    rtt_min_since: Instant,
}

impl Bound {
    fn new(now: Instant) -> Self {
        Self {
            bytes: BOUND_BYTES_MIN,
            round_start: now,
            round_bytes: 0,
            round_is_full: true,
            rates: VecDeque::with_capacity(RATE_ROUNDS),
            rtt_min: [Duration::MAX; 2],
            rtt_min_since: now,
        }
    }

    fn on_ack(&mut self, now: Instant, bytes: u64, app_limited: bool, rtt: Duration) {
        self.round_bytes += bytes;
        self.round_is_full &= !app_limited;
        let passed = now.saturating_duration_since(self.round_start);
        if passed < rtt.max(SERVICE) {
            return;
        }
        self.on_rtt(now, rtt);
        self.on_rate((u128::from(self.round_bytes) * 1_000_000_000 / passed.as_nanos()) as u64);
        self.round_start = now;
        self.round_bytes = 0;
        self.round_is_full = true;
    }

    fn on_rtt(&mut self, now: Instant, rtt: Duration) {
        if now.saturating_duration_since(self.rtt_min_since) >= RTT_MIN_LIFE {
            self.rtt_min = [rtt, self.rtt_min[0]];
            self.rtt_min_since = now;
        }
        self.rtt_min[0] = self.rtt_min[0].min(rtt);
    }

    fn on_rate(&mut self, rate: u64) {
        let best = self.rates.iter().copied().max().unwrap_or(0);
        // A round with too little to send says nothing about the path, unless it was the fastest.
        if self.round_is_full || rate > best {
            if self.rates.len() == RATE_ROUNDS {
                self.rates.pop_front();
            }
            self.rates.push_back(rate);
        }
        let best = self.rates.iter().copied().max().unwrap_or(0);
        let time = self.rtt_min[0].min(self.rtt_min[1]) + SERVICE;
        let bytes = 2 * u128::from(best) * time.as_nanos() / 1_000_000_000;
        self.bytes = u64::try_from(bytes).unwrap_or(u64::MAX).max(BOUND_BYTES_MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `bound` over a path that delivers what is in flight once a round trip, but no more than `rate` bytes per second.
    fn run(bound: &mut Bound, now: &mut Instant, rtt: Duration, rate: u64, rounds: usize) {
        for _ in 0..rounds {
            *now += rtt;
            let most = (u128::from(rate) * rtt.as_nanos() / 1_000_000_000) as u64;
            bound.on_ack(*now, bound.bytes.min(most), false, rtt);
        }
    }

    #[test]
    fn a_path_follows_the_choice_from_its_next_packet_on() {
        let now = Instant::now();
        let chosen = Arc::new(Chosen::new(Congestion::Cubic));
        let mut path = chosen.clone().build(now, 1200);
        let mtu = 65_488;
        path.on_mtu_update(mtu);
        for kind in [Congestion::Bbr, Congestion::NewReno, Congestion::Cubic, Congestion::Bbr] {
            chosen.choose(kind);
            path.on_sent(now, mtu.into(), 1);
            assert_eq!(kind_of(&*path), Some(kind));
            assert!(path.window() >= 2 * u64::from(mtu), "{kind:?} has {}", path.window());
            assert_eq!(kind_of(&*chosen.clone().build(now, 1200)), Some(kind), "a new one");
        }
    }

    #[test]
    fn a_path_is_filled_and_its_queue_is_not() {
        let mut now = Instant::now();
        for (rtt_ms, rate) in [(5, 1_000_000_000), (20, 125_000_000), (100, 1_000_000_000), (200, 12_500_000)] {
            let mut bound = Bound::new(now);
            let rtt = Duration::from_millis(rtt_ms);
            run(&mut bound, &mut now, rtt, rate, 60);
            let product = rate * rtt_ms / 1000;
            assert!(bound.bytes >= product, "{rtt_ms} ms, {rate} B/s: {} in flight", bound.bytes);
            assert!(bound.bytes <= (3 * product).max(BOUND_BYTES_MIN), "{} in flight", bound.bytes);
        }
    }

    #[test]
    fn a_longer_route_is_filled_again() {
        let mut now = Instant::now();
        let mut bound = Bound::new(now);
        run(&mut bound, &mut now, Duration::from_millis(10), 100_000_000, 60);
        run(&mut bound, &mut now, Duration::from_millis(160), 100_000_000, 400);
        assert!(bound.bytes >= 16_000_000, "{} in flight", bound.bytes);
    }

    #[test]
    fn a_few_losses_of_many_packets_are_not_congestion() {
        let rtt = Duration::from_millis(10);
        for (percent, expect) in [(0, false), (1, false), (4, true), (50, true)] {
            let mut now = Instant::now();
            let mut losses = Losses::new(now);
            let mut seen = false;
            for packet in 0..20_000 {
                now += Duration::from_micros(100);
                if packet % 100 < percent {
                    seen = losses.are_congestion(1452);
                } else {
                    losses.on_ack(now, 1452, rtt);
                }
            }
            assert_eq!(seen, expect, "{percent} %");
        }
        let mut losses = Losses::new(Instant::now());
        assert!(losses.are_congestion(1452), "nothing was delivered");
    }

    #[test]
    fn the_window_of_a_near_path_is_filled_by_whole_bursts_and_never_beyond() {
        let window = 4 * BURST_BYTES;
        let mut bursts = Bursts::default();
        assert_eq!(bursts.window(window), window, "how near it is nobody knows");
        bursts.on_rtt(NEAR);
        for _ in 0..4 {
            assert_eq!(bursts.window(window), UNPACED);
            bursts.on_sent(BURST_BYTES, window);
        }
        assert_eq!(bursts.window(window), window, "it is full");
        bursts.on_end_acks(window - 3000, window);
        assert_eq!(bursts.window(window), window - 3000, "what is in flight and no more");
        bursts.on_end_acks(window - BURST_BYTES, window);
        assert_eq!(bursts.window(window), UNPACED, "a burst fits");
        let narrow = 2 * BURST_BYTES - 1;
        bursts.on_end_acks(narrow - 3000, narrow);
        assert_eq!(bursts.window(narrow), narrow, "bursts would be all it carries");
        bursts.on_rtt(2 * NEAR);
        assert_eq!(bursts.window(window), window, "a long path is paced");
    }

    #[test]
    fn little_to_send_is_no_slow_path() {
        let mut now = Instant::now();
        let mut bound = Bound::new(now);
        let rtt = Duration::from_millis(50);
        run(&mut bound, &mut now, rtt, 100_000_000, 60);
        let filled = bound.bytes;
        for _ in 0..100 {
            now += rtt;
            bound.on_ack(now, 10_000, true, rtt);
        }
        assert_eq!(bound.bytes, filled);
    }
}
