//! What the rest of the program sees of a running node: how it is configured, asked for chunks, and looked at.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ares_core::admission::Access;
use ares_core::chunk::ReleaseId;
use ares_core::knobs::Settings;
use ares_core::path::LaneRules;
use ares_core::peer::PeerAt;
use ares_core::swarm::FetchError;
use bytes::Bytes;

/// Everything a node must know to start. Made by `control::config`, which has resolved files, environment and flags.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// State directory: identity, journal, data. Created (mode 0700) where absent; locked while the node lives.
    pub state: PathBuf,
    /// Local addresses to bind, one lane each. Empty: `0.0.0.0:0` and `[::]:0`.
    pub listen: Vec<SocketAddr>,
    /// Shard threads; a bulk transfer between two nodes uses up to four of each.
    pub shards: usize,
    /// Hash-and-write worker threads.
    pub workers: usize,
    /// Which keys may what.
    pub access: Access,
    /// Which of the machine's addresses paths may leave from, and links may name.
    pub lanes: LaneRules,
    /// Label of the zone that the node is in: peers with the same one are near, and what nobody near has crosses once. Empty: none.
    pub zone: String,
    /// Whether nodes of the local network are found.
    pub mdns: Mdns,
    /// Whether peers are found by the DHT.
    pub dht: DhtConfig,
    /// What is fetched because others ask for it.
    pub edge: EdgeConfig,
    /// Releases of which nothing has to make room as long as the node lives, and the link of each; beside those that commands have pinned.
    pub pins: BTreeMap<ReleaseId, String>,
    /// What becomes of chunks that came from peers.
    pub sink: Sink,
    /// What may be changed later by `Handle::tune`.
    pub settings: Settings,
}

/// What an edge fetches from others because it is asked for it, and passes on chunk by chunk. With nothing in it a node fetches only what
/// its own user wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeConfig {
    /// These releases, from those who are named for each, from the upstreams, and from whoever else takes part.
    pub releases: BTreeMap<ReleaseId, Vec<PeerAt>>,
    /// Whatever one of these peers says it has.
    pub upstreams: Vec<PeerAt>,
    /// Whatever peers say they have whose role is that of a publisher, though there be nothing else: an edge believes them in any case.
    pub of_publishers: bool,
}

impl EdgeConfig {
    /// Whether there is anything to be fetched for others.
    pub fn is_edge(&self) -> bool {
        !self.releases.is_empty() || !self.upstreams.is_empty() || self.of_publishers
    }
}

/// What becomes of a chunk that came from a peer and was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sink {
    /// It is kept in the store and served from there.
    #[default]
    Store,
    /// Whoever waits for its bytes gets them, and it is forgotten: for measuring what a path delivers, as iperf does, and for a relay that
    /// only passes bytes on. Nothing comes to be held, so a chunk wanted again crosses the network again; ask by `Handle::fetch`, not `hold`.
    Discard,
}

/// Whether this node finds others on the local network that take part in the same releases, and is found by them, by multicast DNS. Never
/// one that listens on loopback alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mdns {
    /// No.
    #[default]
    Off,
    /// From the first time on that it looks for a release.
    WhenSought,
    /// From the start.
    Always,
}

/// Whether and how this node finds others anywhere by the Mainline DHT, and is found by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DhtConfig {
    /// What it is used for.
    pub usage: DhtUse,
    /// `HOST:PORT` of nodes to begin with, none for the first one of a DHT of one's own; `None`: those of the public DHT.
    pub bootstrap: Option<Vec<String>>,
    /// UDP port to answer other nodes of the DHT on, from the start; `None`: any, and only once it is known to be reachable.
    pub port: Option<u16>,
}

/// What the DHT is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DhtUse {
    /// Nothing.
    #[default]
    Off,
    /// From the first time on that this node looks for a release, to find who has it.
    Look,
    /// That from the start, and to tell of what is here.
    Tell,
}

/// Called once with the chunk's verified bytes or the reason there are none; from a node thread, so it must not block.
pub type Done = Box<dyn FnOnce(Result<Bytes, FetchError>) + Send>;

/// Called once when the chunk is in the store at its place, or will not be; from a node thread, so it must not block.
pub type Held = Box<dyn FnOnce(Result<(), FetchError>) + Send>;

/// A want that was handed in and not yet answered; for `Handle::cancel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WantId(pub u64);

/// One moment of a node, for `ares status --json`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Status {
    /// This node's identity, 64 hex digits.
    pub peer: String,
    /// Addresses bound.
    pub listen: Vec<SocketAddr>,
    /// Seconds since start.
    pub uptime_s: f64,
    /// Connected peers and their paths, those first that most bytes went to and came from.
    pub peers: Vec<PeerStatus>,
    /// Peers that this node was told of and has no path to.
    pub away: Vec<AwayStatus>,
    /// Peers that are not spoken to any more, the last one last.
    pub dropped: Vec<DroppedStatus>,
    /// Releases this node knows.
    pub releases: Vec<ReleaseStatus>,
    /// Totals since start.
    pub counters: Counters,
    /// Store totals.
    pub store: StoreStatus,
}

/// A peer as `status` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PeerStatus {
    /// Its identity, 64 hex digits.
    pub peer: String,
    /// Label of the zone that it says it is in, if any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// What it is sent at most over all of them, in bytes per second.
    pub cap_up_bytes_per_s: Option<u64>,
    /// The same of what comes.
    pub cap_down_bytes_per_s: Option<u64>,
    /// Its connections.
    pub paths: Vec<PathStatus>,
    /// What came and went, also over paths that are gone.
    #[serde(flatten)]
    pub bytes: PeerBytes,
    /// Releases that it says it has something of.
    pub releases: Vec<ClaimStatus>,
}

/// Bytes to and from one peer since this node's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PeerBytes {
    /// Verified chunk bytes that came from it.
    pub fetched_bytes: u64,
    /// Chunk bytes sent to it.
    pub served_bytes: u64,
    /// Bytes of UDP payload received and sent.
    pub rx_bytes: u64,
    /// See `rx_bytes`.
    pub tx_bytes: u64,
}

/// How much of a release a peer says it has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ClaimStatus {
    /// 64 hex digits.
    pub release: String,
    /// All of it or some.
    pub state: Claimed,
    /// Chunks that it has named, where it has some. It leaves out what it knows to be here, so it has at least so many.
    pub chunks_told: Option<u64>,
    /// Verified chunk bytes of the release that came from it since this node's start.
    pub fetched_bytes: u64,
}

/// What a peer says of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claimed {
    /// It has every chunk.
    Complete,
    /// It takes part and has some chunks, or none yet.
    Partial,
}

/// A peer without a path, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AwayStatus {
    /// Its identity, 64 hex digits.
    pub peer: String,
    /// Where it is said to be, and where it was met.
    pub addrs: Vec<SocketAddr>,
    /// What last became of dialing it, by address.
    pub failures: Vec<DialFailure>,
}

/// Why a dial failed, or the path that came of it ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DialFailure {
    /// Where.
    pub addr: SocketAddr,
    /// In words.
    pub why: String,
}

/// A peer that was dropped, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DroppedStatus {
    /// Its identity, 64 hex digits.
    pub peer: String,
    /// What it did.
    pub why: String,
}

/// A path as `status` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PathStatus {
    /// What its shard measures.
    #[serde(flatten)]
    pub figures: PathFigures,
    /// Name of the interface that has the local address.
    pub interface: Option<String>,
    /// What its lane may send at most, in bytes per second, together with lanes like it.
    pub cap_up_bytes_per_s: Option<u64>,
    /// The same of what comes.
    pub cap_down_bytes_per_s: Option<u64>,
    /// How it fares.
    pub state: PathState,
    /// Its part (0 to 1) of what all paths to the peer have carried in the last seconds; none where that is nothing.
    pub share: Option<f64>,
    /// Seconds since it came up.
    pub age_s: f64,
    /// Seconds since it last became what it is: was opened, went silent, was heard again or took over from another.
    pub switched_s: f64,
    /// Which of these, and why.
    pub switched_why: String,
}

/// How a path fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathState {
    /// It carries something.
    Up,
    /// Something is expected over it and does not come.
    Suspect,
    /// It is kept and carries nothing.
    Standby,
}

impl PathState {
    /// All of them, in the order in which `as usize` numbers them.
    pub const ALL: [Self; 3] = [Self::Up, Self::Suspect, Self::Standby];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Standby => "standby",
        }
    }
}

/// What a shard measures of a path.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PathFigures {
    /// Number of the path within this node's life.
    pub path: u64,
    /// Shard that drives it.
    pub shard: usize,
    /// Remote address.
    pub remote: SocketAddr,
    /// Local address, where it is known: that of the lane, or the one datagrams come to.
    pub local: Option<IpAddr>,
    /// Smoothed round-trip time, milliseconds.
    pub rtt_ms: f64,
    /// Path MTU, bytes of UDP payload.
    pub mtu: u16,
    /// Bytes of UDP payload received and sent.
    pub rx_bytes: u64,
    /// See `rx_bytes`.
    pub tx_bytes: u64,
    /// The same for each of the last seconds.
    pub rx_bytes_per_s: u64,
    /// See `rx_bytes_per_s`.
    pub tx_bytes_per_s: u64,
    /// Packets of ours the congestion controller counted as lost.
    pub lost_packets: u64,
    /// Their part of all packets of ours, in percent.
    pub loss_percent: f64,
    /// Chunk bytes asked and not yet arrived.
    pub inflight_bytes: u64,
    /// What holds back sending, as the knob `congestion` names it.
    pub congestion: &'static str,
}

/// A release as `status` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ReleaseStatus {
    /// 64 hex digits.
    pub release: String,
    /// Name given at publish or by the link.
    pub name: String,
    /// Whether every chunk is held.
    pub complete: bool,
    /// Whether it is to be kept whole.
    pub pinned: bool,
    /// Bytes of all files.
    pub bytes: u64,
    /// Entries of all directories.
    pub entries: u64,
    /// Where not every chunk is held: how many are, as far as they came or were asked for since the node's start. So at least so many.
    pub seen_chunks: Option<u64>,
    /// Their bytes; manifest nodes count, so it may exceed `bytes`.
    pub seen_bytes: Option<u64>,
    /// Verified chunk bytes that came from peers since the node's start.
    pub fetched_bytes: u64,
    /// Connected peers that say they have all of it.
    pub peers_complete: usize,
    /// Connected peers that say they have a part.
    pub peers_partial: usize,
}

/// Totals since start.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Counters {
    /// Verified chunk bytes that came from peers.
    pub fetched_bytes: u64,
    /// Chunks that came from peers.
    pub fetched_chunks: u64,
    /// Chunk bytes sent to peers.
    pub served_bytes: u64,
    /// Chunks refused because their hash was wrong.
    pub bad_chunks: u64,
    /// Wants that ended in an error.
    pub failed_wants: u64,
    /// Chunks that an edge fetched because they were asked for.
    pub pulled_chunks: u64,
    /// Chunks that an edge was asked for and could not, or may not, fetch.
    pub refused_pulls: u64,
    /// Connections of others that were not let in: too many in all, from one address or with one key.
    pub refused_connections: u64,
    /// Idle connections of others that were closed for newcomers.
    pub evicted_connections: u64,
    /// Connections that were not let in for their key, of those refused.
    pub refused_keys: u64,
    /// Chunks that an edge was asked for by peers whom nothing is fetched for, of those pulls refused.
    pub refused_roles: u64,
    /// Asks for releases that are for others.
    pub refused_releases: u64,
    /// Connections of others that came to no key: altered or replayed on their way, or left.
    pub failed_handshakes: u64,
}

/// Store totals.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct StoreStatus {
    /// Chunks held.
    pub chunks: u64,
    /// Their bytes, in the store or in place.
    pub bytes: u64,
    /// Of these, bytes in files of the publisher, served where they are.
    pub in_place_bytes: u64,
    /// Of these, bytes in files of its own, where chunks that are there twice count twice: what `store-quota` bounds.
    pub quota_used_bytes: u64,
    /// Bytes that were taken away to make room, since the start.
    pub evicted_bytes: u64,
    /// Why no more chunks are taken (no room), if so.
    pub intake_stopped: Option<String>,
}

/// A release that this node knows and may serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its hash.
    pub release: ReleaseId,
    /// Name of the file or directory published.
    pub name: String,
    /// Bytes of all files.
    pub bytes: u64,
    /// Entries of all directories.
    pub entries: u64,
}
