//! What the threads of a node say to each other. One message a chunk, not a packet.
//!
//! The hub decides, shards talk to peers, workers hash and touch the disk. Who may wait for whom is what keeps them from waiting
//! in a circle: shards wait for workers (a slow disk slows the network), the hub waits for shards and workers, and nobody waits
//! for the hub. So the mailboxes of shards and workers are bounded queues, and the hub's is not; what is in it is bounded by what
//! its senders may have under way: asks by credit, wants by their callers, frames by the conversation's limits.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use ares_core::admission::Access;
use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId};
use ares_core::knobs::Setting;
use ares_core::path::health::Pulse;
use ares_core::path::{Lane, LaneLost, LaneRules, Mode};
use ares_core::peer::{Address, PathId, PeerAt, PeerId, Source};
use ares_core::swarm::{AskId, BlobPlace, Class, FetchError, Refusal, SourceStats, Want};
use ares_core::wire::{AnswerHead, AskItem, ClaimState, CloseCode, Coming, Frame, Have, Load, Peers, Referral, WireError};
use ares_ring::{SocketError, Waker};
use bytes::Bytes;
use crossbeam::channel::Sender;

use crate::api::{PathFigures, Status, WantId};
use crate::edge::Contents;
use crate::figures::Figures;
use crate::hub::Waiter;
use crate::pacer::Pacers;
use crate::store::Evicted;

/// Messages a mailbox holds before its senders wait.
pub(crate) const MAILBOX_MAX: usize = 8192;

/// To a shard, from the hub.
pub(crate) enum ToShard {
    /// Open a path: connect to `remote` and accept only `peer` there. All its datagrams leave from the lane; where there is none, from
    /// where the kernel says.
    Dial {
        path: PathId,
        peer: PeerId,
        remote: SocketAddr,
        from: Option<Lane>,
    },
    /// Ask a chunk over a path.
    Ask(PathAsk),
    /// The ask's bytes are no longer needed.
    Cancel { path: PathId, ask: AskId },
    /// Tell the peer this.
    Say { path: PathId, frame: Frame },
    /// End a path and say why.
    Close { path: PathId, why: CloseReason },
    /// A chunk that an answer over the path waits for is held now, or is refused like this.
    Pulled {
        path: PathId,
        chunk: ChunkId,
        refusal: Option<AnswerHead>,
    },
    /// Report every path's figures.
    Paths(Sender<Vec<(PeerId, PathFigures)>>),
    /// Obey another setting.
    Tune(Tune),
    /// Let lanes carry no more than these say.
    Pace(Pacers),
    /// Speak with these keys alone.
    Access(Access),
    /// As the hub was told.
    Drain(Sender<Infallible>),
    /// Close everything and end the thread.
    Stop,
}

/// A setting to obey, and where each shard says how that went. All have when the channel closes.
#[derive(Clone)]
pub(crate) struct Tune {
    pub(crate) setting: Setting,
    pub(crate) done: Sender<Result<(), SocketError>>,
}

/// Why this side ends a path.
#[derive(Clone, Debug)]
pub(crate) enum CloseReason {
    /// The node is stopping.
    Stopping,
    /// Another path to the same peer won.
    Redundant,
    /// Nothing comes over it any more, and another path to the same peer lives.
    Lapsed,
    /// Nobody asked anything over it for long, and others want its place.
    Idle,
    /// Nothing can leave from its lane any more.
    LaneLost(LaneLost),
    /// The peer sent wrong bytes or broke the protocol.
    Misbehaved { code: CloseCode, why: String },
}

impl CloseReason {
    /// What the peer is told.
    pub(crate) fn for_peer(&self) -> (CloseCode, Cow<'_, str>) {
        match self {
            Self::Stopping => (CloseCode::Goodbye, "the node is stopping".into()),
            Self::Redundant => (CloseCode::Goodbye, "another path is used".into()),
            Self::Lapsed => (CloseCode::Goodbye, "nothing comes over this path any more".into()),
            Self::Idle => (
                CloseCode::Goodbye,
                "nothing was asked for long, and others want the place".into(),
            ),
            Self::LaneLost(lost) => (CloseCode::Goodbye, lost.to_string().into()),
            Self::Misbehaved { code, why } => (*code, why.into()),
        }
    }
}

/// How a path, or the attempt to open one, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer is there and takes no more connections now: it will again.
    Crowded,
    /// The peer has lost all its connections, whether it said so on each or not.
    Restarted,
    /// For this reason.
    Because(String),
}

impl End {
    /// In words.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Crowded => "it takes no more connections now",
            Self::Restarted => "the peer has restarted (stateless reset)",
            Self::Because(why) => why,
        }
    }
}

/// One chunk asked over one path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathAsk {
    pub(crate) path: PathId,
    /// Whom the path leads to.
    pub(crate) peer: PeerId,
    pub(crate) ask: AskId,
    pub(crate) chunk: ChunkRef,
    pub(crate) place: Option<BlobPlace>,
    pub(crate) class: Class,
    /// When the peer may leave it to others.
    pub(crate) referral: Referral,
}

/// To a worker: from shards (bytes to check and keep), the hub and handles (bytes to bring from the disk).
pub(crate) enum Job {
    /// A chunk has arrived: verify it, hand it to those who wait, write it.
    Land { ask: PathAsk, bytes: Bytes },
    /// Read a held chunk; the rest of the want serves to fetch it should the disk have lost it.
    Read { id: WantId, want: Want, waiter: Waiter },
    /// Look whether the held bytes of a chunk are still right; forget them if not.
    Check(ChunkId),
    /// Take away what is over the quota.
    MakeRoom,
    /// A held chunk belongs at one more place.
    Fill {
        want: WantId,
        chunk: ChunkRef,
        place: BlobPlace,
    },
}

/// To the hub, from everybody.
pub(crate) enum ToHub {
    /// A path's handshake is done.
    PathUp {
        source: Source,
        remote: SocketAddr,
        shard: usize,
        rtt: Duration,
    },
    /// A path, or the attempt to open one, has ended.
    PathDown { path: PathId, end: End },
    /// The lanes that paths may leave from are now these: at the start, and when they have changed.
    Lanes(Vec<Lane>),
    /// The peer that this path was dialed to told which UDP ports its shards have, and which of its lives this is.
    Ports { source: Source, ports: Vec<u16>, nonce: u64 },
    /// A peer told over a path to `via` where it can be reached.
    Addresses {
        source: Source,
        via: SocketAddr,
        addresses: Vec<Address>,
    },
    /// A peer told how much of a release it has.
    Claim {
        path: PathId,
        peer: PeerId,
        release: ReleaseId,
        state: ClaimState,
    },
    /// A peer told which chunks of a release it has too.
    Have { peer: PeerId, have: Have },
    /// A peer told in which zone it is.
    Zone { peer: PeerId, zone: String },
    /// A peer told what it has asked of other zones.
    Coming { peer: PeerId, coming: Coming },
    /// These are the operator's rules for lanes from now on.
    LaneRules(LaneRules),
    /// A peer told how busy it is with others.
    Load { peer: PeerId, load: Load },
    /// A peer told who else takes part in a release.
    Peers { by: PeerId, told: Peers },
    /// A peer told who fetches for this zone.
    Gates { by: PeerId, told: Peers },
    /// A peer found bytes of ours wrong.
    PeerSawBad { peer: PeerId, chunk: ChunkId },
    /// A peer asks an edge for chunks that are not here. Each is answered by `ToShard::Pulled`.
    Pull {
        path: PathId,
        items: Vec<AskItem>,
        class: Class,
    },
    /// Which chunks a release has that an edge was asked for, or why that cannot be known.
    Contents {
        release: ReleaseId,
        contents: Result<Contents, String>,
    },
    /// Some bytes of an ask arrived.
    Progress { ask: AskId, bytes: u32 },
    /// All bytes of an ask arrived and are on their way to a worker.
    Arrived { ask: AskId },
    /// The peer declined an ask.
    Refused { ask: AskId, refusal: Refusal },
    /// An ask ended without an answer while its path lives.
    AskFailed { ask: AskId, why: String },
    /// A path over which something was asked fares better or worse.
    Pulse { source: Source, pulse: Pulse },
    /// Fresh figures of a path.
    Stats { source: Source, stats: SourceStats },
    /// A chunk's hash is right; those who wait for it can have it before it is written.
    Verified { peer: PeerId, chunk: ChunkId, bytes: Bytes },
    /// A chunk is in the store, at this place.
    Stored { chunk: ChunkId, place: Option<BlobPlace> },
    /// The bytes of an ask do not hash to its name.
    BadChunk { ask: PathAsk, why: String },
    /// A peer broke the protocol.
    Violation { peer: PeerId, error: WireError },
    /// A verified chunk could not be kept.
    StoreFailed { chunk: ChunkId, why: String },
    /// A held chunk was put, or could not be put, at one more place.
    Filled { want: WantId, result: Result<(), FetchError> },
    /// Somebody needs a chunk.
    Fetch { id: WantId, want: Want, waiter: Waiter },
    /// Somebody needed a chunk that was held, and has read it.
    Reused { release: ReleaseId, chunk: ChunkRef },
    /// A held chunk could not be read: ask peers for it.
    Lost { id: WantId, want: Want, waiter: Waiter },
    /// `Job::Check` is done.
    Checked(ChunkId),
    /// Nobody waits for that want any more.
    CancelWant(WantId),
    /// Peers that may have a release.
    Hints { release: ReleaseId, hints: Vec<PeerAt> },
    /// Peers of the local network that say they take part in a release.
    Neighbours(Peers),
    /// What this node holds of a release has changed.
    Announce(ReleaseId),
    /// Speak with these keys alone.
    Access(Access),
    /// Some of what was held has had to make room.
    Evicted(Evicted),
    /// Tell how things are.
    Status(Sender<Status>),
    /// Tell how things are, in numbers alone.
    Figures(Sender<Figures>),
    /// Obey another setting, and let all shards obey it.
    Tune(Tune),
    /// How the ways to the peers of one release are used from now on; the answer is how they were.
    Mode {
        release: ReleaseId,
        mode: Mode,
        old: Sender<Mode>,
    },
    /// Answer what peers have asked by now and no more; whoever waits for that hears when this is dropped.
    Drain(Sender<Infallible>),
    /// End the thread and all shards and workers.
    Stop,
}

/// The sending end of a shard's mailbox: a queue and the waker of the ring that the shard sleeps in.
#[derive(Clone)]
pub(crate) struct ShardPost {
    pub(crate) queue: Sender<ToShard>,
    pub(crate) waker: Waker,
}

impl ShardPost {
    /// Hands a message to the shard and wakes it. A message to a shard that has ended is dropped: its paths are down already.
    pub(crate) fn send(&self, message: ToShard) {
        if self.queue.send(message).is_ok() {
            self.waker.wake();
        }
    }
}
