//! How a node fares, in numbers alone: as many of them, whatever there is of peers, paths and releases. What `Handle::figures` gives.

use std::collections::BTreeMap;
use std::time::Duration;

use ares_core::swarm::{Class, FetchError, Outstanding, Tally};

use crate::api::{Counters, PathState};

/// One moment of a node. Arrays by class are in the order of `Class::ALL`.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Since the node's start.
    pub uptime: Duration,
    /// Messages that wait for the hub.
    pub queued_messages: usize,
    /// Totals since the start.
    pub counters: Counters,
    /// Chunk bytes that came from peers and were verified, by class.
    pub fetched_bytes: [u64; Class::ALL.len()],
    /// Bytes of chunks that somebody here wanted and that were here.
    pub reused_bytes: u64,
    /// Wants that ended in an error, in the order of `FetchError::CAUSES`.
    pub failed_wants: [u64; FetchError::CAUSES.len()],
    /// What the scheduler has done.
    pub tally: Tally,
    /// What is wanted, by class.
    pub outstanding: [Outstanding; Class::ALL.len()],
    /// Peers that there is a path to.
    pub peers: usize,
    /// Peers that are not spoken to any more, as far as they are remembered.
    pub dropped_peers: usize,
    /// Paths that are open, in the order of `PathState::ALL`.
    pub paths: [usize; PathState::ALL.len()],
    /// What became of paths.
    pub path_events: PathEvents,
    /// UDP payload by the name of the interface; `other` for what is known of none, and for the rest where there are many.
    pub interfaces: BTreeMap<String, Traffic>,
    /// UDP payload from and to peers of the own zone, and of all others.
    pub zones: [Traffic; 2],
    /// Releases of which all is held.
    pub complete_releases: usize,
    /// Releases that some is held of.
    pub partial_releases: usize,
}

/// What became of paths since the node's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathEvents {
    /// Handshakes done.
    pub opened: u64,
    /// Times that one answered no pings any more.
    pub suspected: u64,
    /// Times that one of these was heard again.
    pub recovered: u64,
    /// Open paths that ended, in the order of `Loss::ALL`.
    pub lost: [u64; Loss::ALL.len()],
}

/// Why an open path ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its interface went down, or its address is gone.
    Lane,
    /// Nothing came over it any more while another one to the peer lived.
    Silent,
    /// The peer is not at its address any more, it says.
    Withdrawn,
    /// The peer has restarted.
    Restarted,
    /// Either side closed it, or all was silent until it timed out.
    Ended,
}

impl Loss {
    /// All of them, in the order in which `as usize` numbers them.
    pub const ALL: [Self; 5] = [Self::Lane, Self::Silent, Self::Withdrawn, Self::Restarted, Self::Ended];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lane => "lane",
            Self::Silent => "silent",
            Self::Withdrawn => "withdrawn",
            Self::Restarted => "restarted",
            Self::Ended => "ended",
        }
    }
}

/// UDP payload that came and went, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// That came.
    pub rx_bytes: u64,
    /// That went.
    pub tx_bytes: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.rx_bytes += more.rx_bytes;
        self.tx_bytes += more.tx_bytes;
    }
}
