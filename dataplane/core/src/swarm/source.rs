//! One source: what is asked of it, whether it is silent, and how long it is left alone.

use std::collections::BTreeSet;
use std::time::Duration;

use super::backoff::doubled;
use super::throughput::Throughput;
use super::window::Window;
use super::{AskId, Class, SchedulerConfig};
use crate::path::Way;
use crate::path::health::Pulse;
use crate::time::Instant;

/// Wait after a busy answer, and after too many misses in a row.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
/// Chunks in a row that a source may lack before bulk asks to it slow down: it is likely to lack the next one too.
const MISSES_MAX: u32 = 16;
/// A suspect source without asks is tried with one after its stall time, doubled each time up to this.
const PROBE_LONGEST: Duration = Duration::from_secs(2);

/// Whether asks may go to a source now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// One more ask may go out.
    Open,
    /// It will have room again, by progress or by its resume timer.
    Full,
    /// It is silent: nothing is expected from it.
    Mute,
}

#[derive(Debug)]
pub(super) struct SourceState {
    pub(super) window: Window,
    /// While it owes something.
    pub(super) throughput: Throughput,
    /// Asks whose bytes have not all come.
    pub(super) asks: BTreeSet<AskId>,
    /// Last sign of life, or when it was asked something after having had nothing to do.
    alive_at: Instant,
    /// Whether a stall timer is set.
    pub(super) is_timed: bool,
    /// The way it takes and how much that counts, where it is known.
    pub(super) way: Option<(Way, u32)>,
    /// What its transport says.
    pub(super) pulse: Pulse,
    /// `Some` while it sends nothing, whether its transport lives or not: times it was probed since.
    suspect: Option<u32>,
    probe_at: Instant,
    busy_until: Instant,
    busy_times: u32,
    miss_until: Instant,
    misses: u32,
}

impl SourceState {
    pub(super) fn new(now: Instant, rtt: Duration) -> Self {
        Self {
            window: Window::new(now, rtt),
            throughput: Throughput::default(),
            asks: BTreeSet::new(),
            alive_at: now,
            is_timed: false,
            way: None,
            pulse: Pulse::Well,
            suspect: None,
            probe_at: now,
            busy_until: now,
            busy_times: 0,
            miss_until: now,
            misses: 0,
        }
    }

    pub(super) fn room(&self, now: Instant, class: Class, config: &SchedulerConfig) -> Room {
        if self.pulse == Pulse::Suspect {
            return Room::Mute;
        }
        if self.suspect.is_some() {
            return match self.asks.is_empty() && now >= self.probe_at {
                true => Room::Open,
                false => Room::Mute,
            };
        }
        let is_paused = now < self.busy_until || (class != Class::Deadline && now < self.miss_until);
        let is_full = self.asks.len() >= config.source_asks_max || !self.window.has_room(class, config);
        if is_paused || is_full { Room::Full } else { Room::Open }
    }

    /// Whether nothing is expected from it.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.is_some() || self.pulse == Pulse::Suspect
    }

    /// Whether another source is to be preferred.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_suspect() || self.pulse == Pulse::Quiet
    }

    pub(super) fn on_pulse(&mut self, pulse: Pulse) {
        self.pulse = pulse;
    }

    /// How long nothing has come from it though asked.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.since(self.alive_at)
    }

    pub(super) fn on_ask(&mut self, now: Instant, ask: AskId, bytes: u32, config: &SchedulerConfig) {
        if self.asks.is_empty() {
            self.alive_at = now;
        }
        self.asks.insert(ask);
        self.throughput.on_ask(now);
        self.window.on_ask(now, bytes.into(), config);
    }

    /// An ask ended or is whole; `rest` bytes of it never came. When to resume, if a suspect source has nothing left to be heard by.
    pub(super) fn on_ask_end(&mut self, now: Instant, ask: AskId, rest: u32, config: &SchedulerConfig) -> Option<Instant> {
        self.asks.remove(&ask);
        if self.asks.is_empty() {
            self.throughput.on_idle(now);
        }
        self.window.give_back(rest.into());
        let probes = self.suspect.as_mut().filter(|_| self.asks.is_empty())?;
        self.probe_at = now + doubled(self.window.stall_time(config), *probes, PROBE_LONGEST);
        *probes += 1;
        Some(self.probe_at)
    }

    /// Bytes came. Whether it was suspect until now.
    pub(super) fn on_bytes(&mut self, now: Instant, bytes: u32) -> bool {
        self.window.on_progress(now, bytes.into());
        self.throughput.on_bytes(now, bytes);
        self.busy_times = 0;
        self.misses = 0;
        self.on_life(now)
    }

    /// It answered something. Whether it was suspect until now.
    pub(super) fn on_life(&mut self, now: Instant) -> bool {
        self.alive_at = now;
        self.suspect.take().is_some()
    }

    /// It lacked a chunk. When to resume, if it is left alone for a while.
    pub(super) fn on_miss(&mut self, now: Instant) -> Option<Instant> {
        self.misses += 1;
        let over = self.misses.checked_sub(MISSES_MAX)?;
        self.miss_until = now + doubled(PAUSE_FIRST, over, PAUSE_LONGEST);
        Some(self.miss_until)
    }

    /// It was too busy. When to resume; asks that were out together count as one.
    pub(super) fn on_busy(&mut self, now: Instant) -> Instant {
        if now >= self.busy_until {
            self.busy_until = now + doubled(PAUSE_FIRST, self.busy_times, PAUSE_LONGEST);
            self.busy_times += 1;
        }
        self.busy_until
    }

    /// When it will have been silent for too long.
    pub(super) fn stall_due(&self, config: &SchedulerConfig) -> Instant {
        self.alive_at + self.window.stall_time(config)
    }

    /// Whether it has stalled, or when to look again.
    pub(super) fn check_stall(&mut self, now: Instant, config: &SchedulerConfig) -> Stall {
        let due = self.stall_due(config);
        if self.asks.is_empty() {
            Stall::Idle
        } else if due > now {
            Stall::LookAgain(due)
        } else {
            self.suspect.get_or_insert(0);
            Stall::Stalled
        }
    }
}

/// What a stall timer found.
pub(super) enum Stall {
    Idle,
    LookAgain(Instant),
    Stalled,
}
