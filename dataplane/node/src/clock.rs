//! The one translation between the operating system's monotonic clock and the machines' idea of time.

use std::time;

use ares_core::time::Instant;

/// A node's start; all its threads share one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: time::Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: time::Instant::now(),
        }
    }

    /// Now, as the machines see it.
    pub(crate) fn now(&self) -> Instant {
        self.at(time::Instant::now())
    }

    /// An operating-system instant, as the machines see it.
    pub(crate) fn at(&self, instant: time::Instant) -> Instant {
        Instant::ZERO + instant.saturating_duration_since(self.start)
    }

    /// The other way round, for what waits with the operating system.
    pub(crate) fn instant(&self, at: Instant) -> time::Instant {
        self.start + at.since(Instant::ZERO)
    }

    /// How long ago the start was.
    pub(crate) fn uptime(&self) -> time::Duration {
        self.start.elapsed()
    }
}
