//! A simulated node: the machines of core, what it holds, and its line.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ares_core::peer::PeerId;
use ares_core::swarm::{AskId, Giving, Scheduler, SchedulerConfig, Sharing, Spread, Zone};
use ares_core::time::Instant;
use ares_core::wire::ClaimState;

use crate::names;
use crate::net::{ConnId, FlowId, Inlet, Turns};
use crate::scenario::{Line, Temper};

/// The publisher's number.
pub(crate) const PUBLISHER: u32 = 0;

/// See the module.
pub(crate) struct Node {
    pub(crate) number: u32,
    pub(crate) temper: Temper,
    pub(crate) line: Line,
    pub(crate) latency: Duration,
    pub(crate) zone: usize,
    /// What it says of that.
    pub(crate) told_zone: Zone,
    pub(crate) scheduler: Scheduler,
    pub(crate) sharing: Sharing,
    pub(crate) spread: Spread,
    pub(crate) giving: Giving<FlowId>,
    held: Vec<bool>,
    pub(crate) held_count: u32,
    /// By the peer's number.
    pub(crate) conns: BTreeMap<u32, ConnId>,
    pub(crate) dialing: BTreeSet<u32>,
    /// Peers that the link or others named.
    pub(crate) hinted: BTreeSet<u32>,
    pub(crate) incoming: BTreeMap<AskId, Incoming>,
    pub(crate) outlet: Turns,
    pub(crate) inlet: Inlet,
    pub(crate) next_want: u32,
    /// The chunk that whoever reads on waits for.
    pub(crate) reads_at: u32,
    pub(crate) wanted_bytes: u64,
    /// When an event for its deadline is due.
    pub(crate) wake_at: Option<Instant>,
    pub(crate) joined_at: Option<Instant>,
    pub(crate) done_at: Option<Instant>,
    pub(crate) is_gone: bool,
}

/// An ask of this node that is out.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) flow: FlowId,
    pub(crate) chunk: u32,
    pub(crate) came: u32,
}

/// What a node is like, before it is there.
pub(crate) struct Make {
    pub(crate) number: u32,
    pub(crate) temper: Temper,
    pub(crate) line: Line,
    pub(crate) latency: Duration,
    pub(crate) seed: u64,
    pub(crate) config: SchedulerConfig,
    pub(crate) chunks: u32,
    pub(crate) width: usize,
    pub(crate) zones: u32,
    /// Whether it knows in which of them it is.
    pub(crate) is_zoned: bool,
}

impl Node {
    pub(crate) fn new(make: Make) -> Self {
        let has_all = make.number == PUBLISHER;
        let zone = make.number % make.zones;
        let mut scheduler = Scheduler::new(make.config, make.seed);
        scheduler.on_identity(&names::peer(make.number));
        let told = if make.is_zoned {
            Zone::of(&zone.to_string())
        } else {
            Zone::default()
        };
        Self {
            number: make.number,
            temper: make.temper,
            line: make.line,
            latency: make.latency,
            zone: zone as usize,
            told_zone: told,
            scheduler,
            sharing: Sharing::new(told),
            spread: Spread::default(),
            giving: Giving::new(make.width),
            held: vec![has_all; make.chunks as usize],
            held_count: if has_all { make.chunks } else { 0 },
            conns: BTreeMap::new(),
            dialing: BTreeSet::new(),
            hinted: BTreeSet::new(),
            incoming: BTreeMap::new(),
            outlet: Turns::new(make.line.up),
            inlet: Inlet::new(make.line),
            next_want: 0,
            reads_at: 0,
            wanted_bytes: 0,
            wake_at: None,
            joined_at: None,
            done_at: None,
            is_gone: false,
        }
    }

    pub(crate) fn holds(&self, chunk: u32) -> bool {
        self.held[chunk as usize]
    }

    /// Whether that is news.
    pub(crate) fn hold(&mut self, chunk: u32) -> bool {
        let is_news = !std::mem::replace(&mut self.held[chunk as usize], true);
        self.held_count += u32::from(is_news);
        is_news
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.held_count as usize == self.held.len()
    }

    pub(crate) fn claim(&self) -> ClaimState {
        match self.is_complete() {
            true => ClaimState::Complete,
            false => ClaimState::Partial,
        }
    }

    /// Whether it is there and wants the release.
    pub(crate) fn is_reading(&self) -> bool {
        self.is_seeking() && self.temper.is_reader()
    }

    /// Whether it is there and looks for peers: so do liars.
    pub(crate) fn is_seeking(&self) -> bool {
        self.joined_at.is_some() && !self.is_gone && !self.is_complete()
    }

    /// When its machines have something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.scheduler.deadline(), self.sharing.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(crate) fn peer(&self) -> PeerId {
        names::peer(self.number)
    }
}
