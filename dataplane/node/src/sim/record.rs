//! What a reader has seen in a run: when chunk bytes came, how its paths fared. Judged by the tests.

use std::time::Duration;

use ares_core::path::health::Pulse;
use ares_core::peer::PathId;
use ares_core::swarm::FetchError;
use ares_core::time::Instant;
use bytes::Bytes;

use crate::mailbox::ToHub;

/// What became of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Up,
    Pulse(Pulse),
    Down(String),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Chunk bytes that came at a moment, whole chunks or not, in order.
    pub(super) came: Vec<(Instant, u64)>,
    /// What became of which path, in order.
    pub(super) turns: Vec<(Instant, PathId, Turn)>,
    /// Bytes of the wants that have ended well.
    pub(super) right_bytes: u64,
}

impl Record {
    /// The reader's hub hears this.
    pub(super) fn on_message(&mut self, now: Instant, message: &ToHub) {
        let (path, turn) = match message {
            ToHub::Progress { bytes, .. } => return self.came.push((now, u64::from(*bytes))),
            ToHub::PathUp { source, .. } => (source.path, Turn::Up),
            ToHub::Pulse { source, pulse } => (source.path, Turn::Pulse(*pulse)),
            ToHub::PathDown { path, end } => (*path, Turn::Down(end.why().to_owned())),
            ToHub::BadChunk { why, .. } => panic!("{why}"),
            ToHub::Violation { error, .. } => panic!("{error}"),
            _ => return,
        };
        self.turns.push((now, path, turn));
    }

    /// A want has ended.
    pub(super) fn on_chunk(&mut self, now: Instant, result: &Result<Bytes, FetchError>) {
        match result {
            Ok(bytes) => self.right_bytes += bytes.len() as u64,
            Err(error) => panic!("at {now:?}: {error}"),
        }
    }

    /// All bytes that came, wanted or not.
    pub(super) fn bytes(&self) -> u64 {
        self.came.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Bytes that came between two moments.
    pub(super) fn bytes_between(&self, from: Instant, to: Instant) -> u64 {
        let within = self.came.iter().filter(|(at, _)| *at > from && *at <= to);
        within.map(|(_, bytes)| bytes).sum()
    }

    /// The longest time between two moments in which nothing came.
    pub(super) fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let mut last = from;
        let moments = self.came.iter().map(|(at, _)| *at).filter(|at| *at > from && *at < to);
        let gaps = moments.chain([to]).map(|at| at.since(std::mem::replace(&mut last, at)));
        gaps.max().unwrap_or_default()
    }

    /// How often a path was so.
    pub(super) fn count(&self, which: impl Fn(&Turn) -> bool) -> usize {
        self.turns.iter().filter(|(.., turn)| which(turn)).count()
    }
}
