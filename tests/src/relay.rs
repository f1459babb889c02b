//! A slow link of our own making: a tun device in each of two network namespaces, and a thread that carries packets from one to the other
//! at a rate, after a delay, through a bounded queue, with losses or not at all. Everything may be changed while it runs.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::lab::inside;
use crate::rng::Rng;

/// What waits for its turn at the rate, at most; what comes on top is dropped.
pub const QUEUE: Duration = Duration::from_millis(50);

/// MTU of both devices, bytes.
const MTU: usize = 1500;

/// Pause between two rounds while packets come and go: the delay is longer by up to this, and a round carries several packets.
const GRAIN: Duration = Duration::from_micros(200);

/// Packets a device keeps until the next round: more than two GSO bursts of each connection, and than a loaded machine sleeps through.
const DEVICE_PACKETS: u32 = 4096;

/// Above the programs on the link: a link does not wait for a processor.
const NICENESS: i32 = -10;

/// What one direction of a link does to packets.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Megabits of IP packets a second, headers included.
    pub mbit_per_s: u32,
    /// From the end of the queue to the other side.
    pub delay: Duration,
    /// Up to this much more delay, uniformly; order is kept.
    pub jitter: Duration,
    /// Share of the packets that get lost, percent.
    pub loss_percent: f64,
    /// Of losses and jitter.
    pub seed: u64,
}

impl Shape {
    /// A rate and a one-way delay, and nothing that chance decides.
    pub fn new(mbit_per_s: u32, delay: Duration) -> Self {
        Self {
            mbit_per_s,
            delay,
            jitter: Duration::ZERO,
            loss_percent: 0.0,
            seed: 0,
        }
    }

    /// How long `len` bytes take at the rate.
    fn time_of(&self, len: usize) -> Duration {
        Duration::from_nanos(len as u64 * 8_000 / u64::from(self.mbit_per_s))
    }
}

/// Whether packets get through at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They do.
    Whole,
    /// None does, nor what was under way, and nobody is told.
    Cut,
    /// None does for `every`, from the change on; then all do for as long, and so on.
    Flapping {
        /// Half a period.
        every: Duration,
    },
}

/// Which end of a link packets go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// The first.
    First,
    /// The second.
    Second,
}

/// What has become of packets in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Delivered.
    pub packets: u64,
    /// Bytes of those, IP headers included.
    pub bytes: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
    /// Lost by chance or to a cut.
    pub lost: u64,
}

/// One direction: what is under way and when it is due. Knows no clock and no device.
#[derive(Debug)]
struct Line {
    shape: Shape,
    state: State,
    since: Instant,
    rng: Rng,
    /// When the last packet of the queue has left it.
    free_at: Instant,
    /// In the order of their delivery.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    tally: Tally,
}

impl Line {
    fn new(shape: Shape, now: Instant) -> Self {
        Self {
            shape,
            state: State::Whole,
            since: now,
            rng: Rng::new(shape.seed),
            free_at: now,
            under_way: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    fn set_state(&mut self, now: Instant, state: State) {
        self.state = state;
        self.since = now;
    }

    fn is_cut(&self, now: Instant) -> bool {
        match self.state {
            State::Whole => false,
            State::Cut => true,
            State::Flapping { every } => ((now - self.since).as_nanos() / every.as_nanos()).is_multiple_of(2),
        }
    }

    fn on_packet(&mut self, now: Instant, packet: &[u8]) {
        if self.is_cut(now) || self.rng.fraction() * 100.0 < self.shape.loss_percent {
            self.tally.lost += 1;
            return;
        }
        let begins = self.free_at.max(now);
        if begins - now > QUEUE {
            self.tally.overflowed += 1;
            return;
        }
        self.free_at = begins + self.shape.time_of(packet.len());
        let due = self.free_at + self.shape.delay + self.shape.jitter.mul_f64(self.rng.fraction());
        let due = self.under_way.back().map_or(due, |(before, _)| due.max(*before));
        self.under_way.push_back((due, packet.to_vec()));
    }

    /// The next packet that is due.
    fn poll(&mut self, now: Instant) -> Option<Vec<u8>> {
        while self.deadline()? <= now {
            let (_, packet) = self.under_way.pop_front()?;
            if !self.is_cut(now) {
                self.tally.packets += 1;
                self.tally.bytes += packet.len() as u64;
                return Some(packet);
            }
            self.tally.lost += 1;
        }
        None
    }

    fn deadline(&self) -> Option<Instant> {
        self.under_way.front().map(|(due, _)| *due)
    }
}

/// A link between two namespaces, for as long as it lives.
#[derive(Debug)]
pub struct Relay {
    /// Toward the first end, toward the second.
    lines: Arc<Mutex<[Line; 2]>>,
    /// Its end is what the thread ends by.
    alive: Option<io::PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Makes a device of this name in each of two named namespaces, up and without an address, and joins them; `shapes` are those toward
    /// the first and toward the second.
    ///
    /// # Errors
    /// Where the kernel refuses tun devices (root is needed, and /dev/net/tun).
    pub fn join(ends: [&str; 2], device: &str, shapes: [Shape; 2]) -> io::Result<Self> {
        let [first, second] = ends.map(|namespace| make_device(namespace, device));
        let devices = [first?, second?];
        let now = Instant::now();
        let lines = Arc::new(Mutex::new(shapes.map(|shape| Line::new(shape, now))));
        let (ended, alive) = io::pipe()?;
        let carried = lines.clone();
        let thread = thread::Builder::new().name(format!("relay {device}")).spawn(move || {
            // An ordinary user may not, and has a less exact link.
            let _ = rustix::process::nice(NICENESS);
            if let Err(e) = carry(&devices, &carried, &ended) {
                crate::scratch::say(&format!("a link between namespaces ended: {e}"));
            }
        })?;
        Ok(Self {
            lines,
            alive: Some(alive),
            thread: Some(thread),
        })
    }

    /// Changes whether packets get through.
    pub fn set_state(&self, toward: Toward, state: State) {
        locked(&self.lines)[toward as usize].set_state(Instant::now(), state);
    }

    /// Changes the share of packets that get lost.
    pub fn set_loss(&self, toward: Toward, percent: f64) {
        locked(&self.lines)[toward as usize].shape.loss_percent = percent;
    }

    /// What has become of packets so far.
    pub fn tally(&self, toward: Toward) -> Tally {
        locked(&self.lines)[toward as usize].tally
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(thread) = self.thread.take() {
            // It has said why, if it has failed.
            let _ = thread.join();
        }
    }
}

/// A thread that panicked while it held the lines has told; what it left is still counted.
fn locked(lines: &Mutex<[Line; 2]>) -> MutexGuard<'_, [Line; 2]> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a tun device in a namespace; it stays where it was made.
fn make_device(namespace: &str, device: &str) -> io::Result<SyncDevice> {
    let builder = DeviceBuilder::new().name(device).mtu(MTU as u16);
    let builder = builder.with(|linux| {
        linux.tx_queue_len(DEVICE_PACKETS);
    });
    let made = inside(namespace, || builder.build_sync())??;
    made.set_nonblocking(true)?;
    Ok(made)
}

/// Carries packets until the writer of `ended` is gone or a device is.
fn carry(devices: &[SyncDevice; 2], lines: &Mutex<[Line; 2]>, ended: &io::PipeReader) -> io::Result<()> {
    let [first, second] = devices;
    loop {
        let mut moved = false;
        let mut deadline = None;
        {
            let mut lines = locked(lines);
            let [toward_first, toward_second] = &mut *lines;
            for (line, from, to) in [(toward_first, second, first), (toward_second, first, second)] {
                moved |= carry_one_way(line, from, to)?;
                deadline = [deadline, line.deadline()].into_iter().flatten().min();
            }
        }
        let until_due = deadline.map(|due| due.saturating_duration_since(Instant::now()));
        let over = PollFd::new(ended, PollFlags::IN);
        // While packets come and go they are left to gather; else whatever is first is waited for.
        let is_over = if moved {
            wait(&mut [over], Some(GRAIN))?
        } else {
            let [first, second] = [first, second].map(|device| PollFd::new(device, PollFlags::IN));
            wait(&mut [over, first, second], until_due)?
        };
        if is_over {
            return Ok(());
        }
    }
}

/// What one direction has to do now; whether that was anything.
fn carry_one_way(line: &mut Line, from: &SyncDevice, to: &SyncDevice) -> io::Result<bool> {
    let mut packet = [0; MTU];
    let mut moved = false;
    for _ in 0..DEVICE_PACKETS {
        let len = match from.recv(&mut packet) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            received => received?,
        };
        line.on_packet(Instant::now(), &packet[..len]);
        moved = true;
    }
    while let Some(packet) = line.poll(Instant::now()) {
        // A device that is down takes nothing, as a cable that is pulled.
        let _ = to.send(&packet);
        moved = true;
    }
    Ok(moved)
}

/// Waits for one of the descriptors, at most `patience`; whether the first of them has hung up.
fn wait(awaited: &mut [PollFd<'_>], patience: Option<Duration>) -> io::Result<bool> {
    let timeout = patience.map(|left| Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    match poll(awaited, timeout.as_ref()) {
        Err(Errno::INTR) => Ok(false),
        polled => {
            polled?;
            Ok(!awaited[0].revents().is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A line and the time it began.
    fn line(shape: Shape) -> (Line, Instant) {
        let now = Instant::now();
        (Line::new(shape, now), now)
    }

    /// Everything that is delivered up to `until`, with its time in microseconds since `start`, looked at when due.
    fn delivered(line: &mut Line, start: Instant, until: Instant) -> Vec<(u128, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(due) = line.deadline().filter(|due| *due <= until) {
            all.extend(line.poll(due).map(|packet| ((due - start).as_micros(), packet)));
        }
        all
    }

    #[test]
    fn packets_leave_at_the_rate_and_arrive_after_the_delay_in_order() {
        let (mut line, start) = line(Shape::new(200, 5 * MS));
        for i in 0..100 {
            line.on_packet(start, &[i; 1500]);
        }
        // 1,500 bytes at 200 Mbit/s take 60 microseconds.
        let expect: Vec<_> = (0..100).map(|i| (5_000 + 60 * (u128::from(i) + 1), vec![i; 1500])).collect();
        assert_eq!(delivered(&mut line, start, start + 60 * MS), expect);
    }

    #[test]
    fn the_queue_is_bounded() {
        let (mut line, start) = line(Shape::new(200, MS));
        for _ in 0..2_000 {
            line.on_packet(start, &[0; 1500]);
        }
        // 50 ms are 833.3 packets; the one that begins before they are over is let in.
        assert_eq!(delivered(&mut line, start, start + 1_000 * MS).len(), 834);
        assert_eq!(line.tally.overflowed, 2_000 - 834);
    }

    #[test]
    fn jitter_keeps_order_and_never_shortens_the_delay() {
        let (mut line, start) = line(Shape {
            jitter: 3 * MS,
            seed: 7,
            ..Shape::new(1_000, 5 * MS)
        });
        for i in 0..200 {
            line.on_packet(start + i * MS, &[i as u8; 100]);
        }
        let all = delivered(&mut line, start, start + 1_000 * MS);
        let order: Vec<u8> = all.iter().map(|(_, packet)| packet[0]).collect();
        assert_eq!(order, (0..200).collect::<Vec<u8>>());
        for (i, (at, _)) in all.iter().enumerate() {
            let sent = 1_000 * i as u128;
            assert!((sent + 5_000..sent + 8_010).contains(at), "packet {i} at {at} us");
        }
    }

    #[test]
    fn as_many_are_lost_as_was_said() {
        let (mut line, start) = line(Shape {
            loss_percent: 1.0,
            seed: 9,
            ..Shape::new(1_000, MS)
        });
        for i in 0..100_000 {
            line.on_packet(start + i * MS, &[0; 100]);
            line.poll(start + i * MS);
        }
        assert!((900..1_100).contains(&line.tally.lost), "{:?}", line.tally);
    }

    #[test]
    fn a_cut_takes_what_is_under_way_and_what_comes_and_ends() {
        let (mut line, start) = line(Shape::new(1_000, 10 * MS));
        line.on_packet(start, b"under way");
        line.set_state(start + 5 * MS, State::Cut);
        line.on_packet(start + 6 * MS, b"into the cut");
        assert_eq!(line.poll(start + 12 * MS), None);
        line.set_state(start + 20 * MS, State::Whole);
        line.on_packet(start + 20 * MS, b"after it");
        assert_eq!(line.poll(start + 31 * MS), Some(b"after it".to_vec()));
        assert_eq!(line.tally.lost, 2);
    }

    #[test]
    fn flapping_takes_turns_and_begins_cut() {
        let (mut line, start) = line(Shape::new(1_000, Duration::ZERO));
        line.set_state(start, State::Flapping { every: 500 * MS });
        let through = [1, 499, 501, 999, 1_001, 1_501].map(|ms| {
            line.on_packet(start + ms * MS, b"x");
            line.poll(start + ms * MS + MS / 2).is_some()
        });
        assert_eq!(through, [false, false, true, true, false, true]);
    }
}
