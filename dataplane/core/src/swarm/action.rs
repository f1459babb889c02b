//! What goes into the scheduler and what comes out: names of wants and asks, settings, measurements, choices.

use std::time::Duration;

use super::{BlobPlace, Class, FetchError};
use crate::chunk::{ChunkId, ChunkRef, ChunkTag, ReleaseId};
use crate::limits::{CHUNK_BYTES_MAX, INFLIGHT_BYTES_MAX};
use crate::peer::{PeerId, Source};
use crate::wire::{CloseCode, Referral, WireError};

/// Name of a want, given by whoever hands it in. Unique within a node's life, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WantKey(pub u64);

/// Name of one ask in flight, given by the scheduler. Unique within a node's life, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// What the node is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask `source` for `chunk`.
    Ask {
        /// Name of the ask, for every later word about it.
        ask: AskId,
        /// Whom and over which path.
        source: Source,
        /// What.
        chunk: ChunkRef,
        /// Where its bytes go once verified.
        place: Option<BlobPlace>,
        /// How urgent.
        class: Class,
        /// When the source may answer `Refusal::Elsewhere`, as others may have it as well.
        referral: Referral,
    },
    /// The chunk is asked of another zone, still on its way from there, or not any more: those of this one who take part in the release are
    /// to know.
    Crossing {
        /// The release.
        release: ReleaseId,
        /// What.
        chunk: ChunkTag,
        /// Whether it is to be waited for.
        is_coming: bool,
    },
    /// Nobody needs this ask any more: stop its stream and drop its bytes. It needs no answer.
    Cancel {
        /// The ask.
        ask: AskId,
        /// Where it was asked.
        source: Source,
    },
    /// The want's chunk is held. Each want ends exactly once, by this or by `Fail`.
    Done {
        /// The want.
        want: WantKey,
    },
    /// The want ends without its chunk.
    Fail {
        /// The want.
        want: WantKey,
        /// Why.
        error: FetchError,
    },
    /// Close every connection to the peer with `why.close_code()` and let it not come back. No ask of it is left.
    Drop {
        /// The peer.
        peer: PeerId,
        /// What it did.
        why: DropReason,
    },
}

/// Why a peer is not spoken to any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// It sent bytes that are not what their name says.
    #[error("it sent wrong bytes for chunk {chunk:?}")]
    WrongBytes {
        /// The chunk.
        chunk: ChunkId,
    },
    /// It broke the protocol.
    #[error("{0}")]
    Protocol(WireError),
}

impl DropReason {
    /// The code its connections are closed with.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::WrongBytes { .. } => CloseCode::WrongBytes,
            Self::Protocol(error) => error.close_code(),
        }
    }
}

/// How a source answered an ask, other than with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It does not have the chunk (yet).
    NotHeld,
    /// It has too much to do.
    Busy,
    /// It had the chunk and lost it.
    Gone,
    /// It has given the chunk to another peer, who will say so, and has other chunks to give that nobody has.
    Elsewhere,
}

/// What the transport measures of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceStats {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Its mean deviation (RFC 9002 section 5.3).
    pub rttvar: Duration,
    /// Delivery rate where the transport knows it, in bytes per second; the scheduler measures its own from progress.
    pub rate_bytes_per_s: Option<u64>,
}

/// Bytes that may be outstanding at any one source.
pub const SOURCE_BYTES_MAX: u64 = 16 << 20;

/// Settings of the scheduler.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerConfig {
    /// Bytes of all asks in flight, counted until they are verified.
    pub inflight_bytes_max: u64,
    /// Bytes that may be outstanding at a source of unknown rate, and the most at one of low rate.
    pub window_bytes_min: u64,
    /// Bytes that may be outstanding at any one source.
    pub window_bytes_max: u64,
    /// Bytes of asks in flight for chunks that another source owes and is late with. What a suspect source owes is asked elsewhere in any case.
    pub hedge_bytes_max: u64,
    /// Bytes that are asked a second, by class; 0: no limit. What somebody waits for has none.
    pub rates: [u64; Class::ALL.len()],
    /// Asks that may be outstanding at one source: its share of QUIC streams.
    pub source_asks_max: usize,
    /// Silence of a source with asks outstanding that is never a stall, however short its RTT.
    pub stall_floor: Duration,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            inflight_bytes_max: INFLIGHT_BYTES_MAX,
            window_bytes_min: 1 << 20,
            window_bytes_max: SOURCE_BYTES_MAX,
            hedge_bytes_max: INFLIGHT_BYTES_MAX,
            rates: [0; Class::ALL.len()],
            source_asks_max: 256,
            stall_floor: Duration::from_millis(300),
        }
    }
}

impl SchedulerConfig {
    /// Panics where a single chunk could not be asked: settings are ours, parsed by `control`.
    pub(super) fn check(&self) {
        assert!(
            self.window_bytes_min >= u64::from(CHUNK_BYTES_MAX),
            "a source's window must hold a chunk"
        );
        assert!(
            self.window_bytes_max >= self.window_bytes_min,
            "the largest window is at least the smallest"
        );
        assert!(
            self.window_bytes_max > 2 * u64::from(CHUNK_BYTES_MAX),
            "a bulk chunk must fit one source"
        );
        assert_eq!(self.rates[Class::Deadline as usize], 0, "nobody who waits is held back");
        assert!(
            self.inflight_bytes_max >= 2 * u64::from(CHUNK_BYTES_MAX),
            "a bulk and a deadline chunk must fit"
        );
        assert!(self.source_asks_max > 0, "a source must be asked something");
    }
}
