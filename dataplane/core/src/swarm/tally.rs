//! What the scheduler has done since its start, in numbers for people, and how long a switch to another source took to bring something.
//! Decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Class;
use crate::histogram::Histogram;
use crate::peer::Source;
use crate::time::Instant;

/// Switches of which the first byte is awaited; the oldest is forgotten for a new one.
const AWAITED_MAX: usize = 64;

/// Why what a source owed is asked of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SwitchCause {
    /// Its path answers no pings.
    Silent,
    /// It acknowledges everything and sends nothing.
    Stalled,
    /// Its path has ended.
    Lost,
}

impl SwitchCause {
    /// All of them, in the order in which `as usize` numbers them.
    pub const ALL: [Self; 3] = [Self::Silent, Self::Stalled, Self::Lost];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Stalled => "stalled",
            Self::Lost => "lost",
        }
    }
}

/// Totals since the scheduler's start. Those by class are in the order of `Class::ALL`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Chunk bytes that came, verified or not, by the class they were asked in.
    pub came_bytes: [u64; Class::ALL.len()],
    /// Asks sent out.
    pub asks: [u64; Class::ALL.len()],
    /// Of these, asks for a chunk that was asked of another source already and had not come.
    pub hedges: u64,
    /// Hedges that brought the chunk before the ask they were for.
    pub hedge_wins: u64,
    /// Bytes that had come of asks when another one brought their chunk, or took their place.
    pub wasted_bytes: u64,
    /// Times that what a source owed was asked of others, by cause, in the order of `SwitchCause::ALL`. Only where there are others.
    pub switches: [u64; SwitchCause::ALL.len()],
    /// From each of these until the first byte of what was owed came from another source. Not of those that were needless in the end.
    pub first_bytes: Histogram,
}

/// Wants of one class that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outstanding {
    /// How many.
    pub wants: u64,
    /// How long the chunk that is wanted longest has been, in this class; zero where none is.
    pub oldest: Duration,
}

/// Name of a switch whose first byte is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SwitchId(u64);

/// Switches whose first byte is awaited.
#[derive(Debug, Default)]
pub(super) struct Switches {
    next: u64,
    awaited: BTreeMap<SwitchId, (Source, Instant)>,
}

impl Switches {
    /// From now on others are asked for what the source owes.
    pub(super) fn begin(&mut self, now: Instant, source: Source) -> SwitchId {
        if self.awaited.len() == AWAITED_MAX {
            self.awaited.pop_first();
        }
        let id = SwitchId(self.next);
        self.next += 1;
        self.awaited.insert(id, (source, now));
        id
    }

    /// Whether the first byte of some switch is awaited.
    pub(super) fn are_awaited(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Bytes of something came from `source` that is asked anew since the switch. How long that took, if it is the first from another source.
    pub(super) fn on_bytes(&mut self, now: Instant, id: SwitchId, source: Source) -> Option<Duration> {
        let (from, since) = *self.awaited.get(&id)?;
        if from == source {
            return None;
        }
        self.awaited.remove(&id);
        Some(now.since(since))
    }

    /// The source is well again: what it owes comes from it.
    pub(super) fn on_well(&mut self, source: Source) {
        self.awaited.retain(|_, (from, _)| *from != source);
    }

    /// Nothing is wanted any more.
    pub(super) fn clear(&mut self) {
        self.awaited.clear();
    }
}
