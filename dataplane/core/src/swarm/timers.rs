//! What is due when. Timers whose reason has passed are removed by their owner or ignored when they fire.

use std::collections::BTreeSet;

use super::{AskId, Class, WantKey};
use crate::chunk::ChunkRef;
use crate::peer::Source;
use crate::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A want's patience ends.
    Patience(WantKey),
    /// A parked chunk may be asked again.
    Wake(ChunkRef),
    /// An ask takes suspiciously long.
    Overdue(AskId),
    /// A source with asks outstanding may have stalled.
    Stall(Source),
    /// A source that was left alone may be asked again.
    Resume(Source),
    /// Parked chunks may be looked at again.
    Look,
    /// More may be asked of a class that has a rate.
    Pace(Class),
}

#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(super) fn clear(&mut self, at: Instant, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// The next timer that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let first = self.0.first().copied().filter(|(at, _)| *at <= now)?;
        self.0.remove(&first);
        Some(first.1)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }
}
