//! Decides which chunk is asked from which source, and when a want ends. (Signatures; the machine itself lands next.)
#![expect(
    unused_variables,
    dead_code,
    reason = "signatures land before the machine, for the node to build on"
)]

use std::time::Duration;

use super::{Action, AskId, FetchError, Refusal, SchedulerConfig, SourceStats, Want, WantKey};
use crate::chunk::{ChunkId, ReleaseId};
use crate::peer::{PeerId, Source};
use crate::time::Instant;
use crate::wire::{ClaimState, WireError};

/// The scheduler: wants, sources and measurements in, asks and endings out.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
}

impl Scheduler {
    /// An empty scheduler. The same seed and the same events give the same actions.
    pub fn new(config: SchedulerConfig, seed: u64) -> Self {
        config.check();
        Self { config }
    }

    /// A chunk is needed. Ends exactly once by `Done` or `Fail`, at the latest when its patience has passed.
    pub fn on_want(&mut self, now: Instant, key: WantKey, want: Want) {}

    /// The asker gave up: the want ends by `Fail(Cancelled)`, unless it has ended already.
    pub fn on_cancel(&mut self, now: Instant, key: WantKey) {}

    /// A path to a peer is ready for asks.
    pub fn on_source_up(&mut self, now: Instant, source: Source, rtt: Duration) {}

    /// The path is gone, with all its asks: they are asked elsewhere at once. No `Cancel` comes for them.
    pub fn on_source_down(&mut self, now: Instant, source: Source, why: String) {}

    /// The transport measured.
    pub fn on_source_stats(&mut self, now: Instant, source: Source, stats: SourceStats) {}

    /// The peer says how much of a release it holds.
    pub fn on_claim(&mut self, now: Instant, release: ReleaseId, peer: PeerId, state: ClaimState) {}

    /// A link says that the peer has the release; the peer's own claim overrides it.
    pub fn on_hint(&mut self, now: Instant, release: ReleaseId, peer: PeerId) {}

    /// So many more bytes of an ask came.
    pub fn on_progress(&mut self, now: Instant, ask: AskId, bytes: u32) {}

    /// All bytes of an ask came and are being verified.
    pub fn on_arrived(&mut self, now: Instant, ask: AskId) {}

    /// The chunk is verified and held, through whichever ask or from elsewhere: all its wants are done.
    pub fn on_verified(&mut self, now: Instant, chunk: ChunkId) {}

    /// An ask's bytes are not what they were asked as: its peer is dropped for good, the chunk asked elsewhere.
    pub fn on_bad(&mut self, now: Instant, ask: AskId) {}

    /// The source answered without bytes.
    pub fn on_refused(&mut self, now: Instant, ask: AskId, refusal: Refusal) {}

    /// The ask ended without an answer (stream reset, local limit); the source is still up.
    pub fn on_failed(&mut self, now: Instant, ask: AskId, why: String) {}

    /// The chunk was verified and the store did not take it: its wants fail.
    pub fn on_store_failed(&mut self, now: Instant, chunk: ChunkId, why: String) {}

    /// The peer broke the protocol (an `Exchange`, `AskReader` or `AnswerReader` said so): it is dropped for good.
    pub fn on_violation(&mut self, now: Instant, peer: PeerId, error: WireError) {}

    /// The node is stopping: every want ends by `Fail(error)`.
    pub fn on_shutdown(&mut self, now: Instant, error: FetchError) {}

    /// The next thing to do. To be called until `None` after every event and at every deadline.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        None
    }

    /// When `poll` has something to do though nothing happened; `None` if never.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether the peer was dropped: it is neither dialled nor let in.
    pub fn is_dropped(&self, peer: &PeerId) -> bool {
        false
    }

    /// Bytes asked from a source and not yet come.
    pub fn inflight_bytes(&self, source: &Source) -> u64 {
        0
    }
}
