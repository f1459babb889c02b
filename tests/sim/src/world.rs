//! The simulation: what happens when, and to whom. A node is told what it would be told by its hub, and its choices are carried out as
//! the hub and the shards would carry them out.

mod act;
mod give;
mod links;

use std::collections::BinaryHeap;
use std::time::Duration;

use ares_core::chunk::ChunkTag;
use ares_core::rng::Rng;
use ares_core::swarm::{AskId, Refusal, Scheduler};
use ares_core::time::Instant;
use ares_core::wire::{ClaimState, Coming};

use crate::names;
use crate::net::{Asked, Conn, ConnId, FlowId, Piece, Turns};
use crate::node::{Make, Node, PUBLISHER};
use crate::report::{Report, Tallies};
use crate::scenario::{Fault, Scenario, Temper};

/// Hashing and writing a chunk.
const VERIFY: Duration = Duration::from_millis(2);

/// Something that happens.
#[derive(Debug)]
enum Event {
    Join(u32),
    /// One reader leaves and another comes.
    Churn,
    Parted,
    Rejoined,
    /// A node's deadline.
    Wake(u32),
    /// A handshake is over, one way or the other.
    Dialed(ConnId),
    DialFailed(ConnId),
    Redial {
        node: u32,
        peer: u32,
    },
    /// A frame reaches the end `to`.
    Claim {
        conn: ConnId,
        to: usize,
        state: ClaimState,
    },
    Have {
        conn: ConnId,
        to: usize,
        chunks: Vec<ChunkTag>,
    },
    Coming {
        conn: ConnId,
        to: usize,
        coming: Coming,
    },
    Told {
        conn: ConnId,
        to: usize,
        peers: Vec<u32>,
        are_gates: bool,
    },
    /// An ask reaches the end that is to answer it.
    Asked(FlowId, Asked),
    Cancelled(FlowId, AskId),
    Refused(FlowId, AskId, Refusal),
    /// A piece has left its sender.
    Sent(Piece),
    /// One piece may cross to the other zone.
    Crossed(usize),
    Arrived(Piece),
    Delivered(Piece),
    Lost(Piece),
    Verified {
        node: u32,
        ask: AskId,
        chunk: u32,
        is_right: bool,
    },
    /// The ends find a connection silent, and then gone.
    Silent(ConnId),
    Gone(ConnId),
}

impl Event {
    /// What tells it from others that happen at the same moment.
    fn trace(&self) -> u64 {
        let flow = |flow: &FlowId, ask: &AskId| (u64::from(flow.conn.0) << 1 | flow.side as u64) << 32 ^ ask.0;
        let (kind, what) = match self {
            Self::Churn => (1, 0),
            Self::Parted => (2, 0),
            Self::Rejoined => (3, 0),
            Self::Join(node) => (4, u64::from(*node)),
            Self::Wake(node) => (5, u64::from(*node)),
            Self::Dialed(conn) => (6, u64::from(conn.0)),
            Self::DialFailed(conn) => (7, u64::from(conn.0)),
            Self::Redial { node, peer } => (8, u64::from(*node) << 32 | u64::from(*peer)),
            Self::Claim { conn, to, state } => (9, u64::from(conn.0) << 3 | (*to as u64) << 2 | *state as u64),
            Self::Have { conn, to, chunks }
            | Self::Coming {
                conn,
                to,
                coming: Coming { coming: chunks, .. },
            } => {
                let all = chunks
                    .iter()
                    .fold(0, |all: u64, tag| all.rotate_left(7) ^ u64::from_be_bytes(tag.to_bytes()));
                (10, all ^ u64::from(conn.0) << 1 ^ *to as u64)
            }
            Self::Told { conn, to, peers, .. } => {
                let all = peers.iter().fold(0, |all: u64, peer| all.rotate_left(7) ^ u64::from(*peer));
                (11, all ^ u64::from(conn.0) << 33 ^ (*to as u64) << 32)
            }
            Self::Asked(id, asked) => (12, flow(id, &asked.ask) ^ u64::from(asked.chunk).rotate_left(48)),
            Self::Cancelled(id, ask) => (13, flow(id, ask)),
            Self::Refused(id, ask, refusal) => (14 + *refusal as u64, flow(id, ask)),
            Self::Sent(piece) => (20, flow(&piece.flow, &piece.ask)),
            Self::Crossed(zone) => (21, *zone as u64),
            Self::Arrived(piece) => (22, flow(&piece.flow, &piece.ask)),
            Self::Delivered(piece) => (23, flow(&piece.flow, &piece.ask)),
            Self::Lost(piece) => (24, flow(&piece.flow, &piece.ask)),
            Self::Verified { node, ask, .. } => (25, u64::from(*node) << 32 ^ ask.0),
            Self::Silent(conn) => (26, u64::from(conn.0)),
            Self::Gone(conn) => (27, u64::from(conn.0)),
        };
        what.rotate_left(8) ^ kind
    }
}

struct Due {
    at: Instant,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The heap gives out its greatest: the earliest, and of those at one moment the one that was settled first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// See the module.
pub(crate) struct World {
    scenario: Scenario,
    now: Instant,
    events: BinaryHeap<Due>,
    next_event: u64,
    nodes: Vec<Node>,
    conns: Vec<Conn>,
    /// Out of each zone.
    crossing: Option<Vec<Turns>>,
    is_parted: bool,
    /// Readers that are there or will be and do not have all yet.
    missing: u32,
    next_reader: u32,
    /// Whether somebody else than the publisher has had the chunk.
    is_out: Vec<bool>,
    rng: Rng,
    bound: Duration,
    tallies: Tallies,
}

/// Runs a scenario to its end.
pub fn run(scenario: &Scenario) -> Report {
    let started = std::time::Instant::now();
    let mut world = World::new(scenario.clone());
    while world.missing > 0
        && let Some(due) = world.events.pop()
        && due.at.since(Instant::ZERO) <= world.scenario.time_max
    {
        world.now = due.at;
        world.tallies.on_event(due.at, due.event.trace());
        world.on_event(due.event);
    }
    Report::new(&world.scenario, &world.nodes, world.tallies, started.elapsed())
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let mut world = Self {
            now: Instant::ZERO,
            events: BinaryHeap::new(),
            next_event: 0,
            nodes: Vec::new(),
            conns: Vec::new(),
            crossing: scenario
                .between_zones
                .map(|rate| (0..scenario.zones).map(|_| Turns::new(rate)).collect()),
            is_parted: false,
            missing: 0,
            next_reader: 0,
            is_out: vec![false; scenario.chunks as usize],
            rng: Rng::new(scenario.seed),
            bound: scenario.bound(),
            tallies: Tallies::default(),
            scenario,
        };
        world.add_node(Temper::Honest, world.scenario.publisher);
        world.nodes[PUBLISHER as usize].joined_at = Some(Instant::ZERO);
        let (readers, within) = (world.scenario.readers, world.scenario.join_within);
        for reader in 0..readers {
            let node = world.add_reader();
            world.after(within * reader / readers, Event::Join(node));
        }
        if let Some([from, until]) = world.scenario.parted {
            world.after(from, Event::Parted);
            world.after(until, Event::Rejoined);
        }
        if let Some(every) = world.churn_every() {
            world.after(every, Event::Churn);
        }
        world
    }

    fn add_reader(&mut self) -> u32 {
        let reader = self.next_reader;
        self.next_reader += 1;
        let (temper, line) = (self.scenario.temper_of(reader), self.scenario.line_of(reader));
        self.missing += u32::from(temper.is_reader());
        self.add_node(temper, line)
    }

    fn add_node(&mut self, temper: Temper, line: crate::scenario::Line) -> u32 {
        let number = self.nodes.len() as u32;
        let [least, most] = self.scenario.latency;
        let spread_us = (most - least).as_micros() as usize + 1;
        self.nodes.push(Node::new(Make {
            number,
            temper,
            line,
            latency: least + Duration::from_micros(self.rng.below(spread_us) as u64),
            seed: self.rng.next(),
            config: self.scenario.scheduler,
            chunks: self.scenario.chunks,
            width: self.scenario.width,
            zones: self.scenario.zones,
            is_zoned: self.scenario.between_zones.is_some() && self.scenario.fault != Fault::NoZones,
        }));
        number
    }

    fn churn_every(&self) -> Option<Duration> {
        let leaving = self.scenario.readers * self.scenario.churn_percent_per_minute;
        (leaving > 0).then(|| Duration::from_secs(60) * 100 / leaving)
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.next_event += 1;
        let number = self.next_event;
        self.events.push(Due { at, number, event });
    }

    fn node(&mut self, number: u32) -> &mut Node {
        &mut self.nodes[number as usize]
    }

    fn conn(&mut self, id: ConnId) -> &mut Conn {
        &mut self.conns[id.0 as usize]
    }

    /// Tells a node's scheduler something, on the clock of the machine that simulates.
    fn schedule<T>(&mut self, node: u32, event: impl FnOnce(&mut Scheduler, Instant) -> T) -> T {
        let started = std::time::Instant::now();
        let result = event(&mut self.nodes[node as usize].scheduler, self.now);
        self.tallies.scheduler_time += started.elapsed();
        result
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Join(node) => self.on_join(node),
            Event::Churn => self.on_churn(),
            Event::Parted => self.on_parted(),
            Event::Rejoined => self.is_parted = false,
            Event::Wake(node) => {
                self.node(node).wake_at = None;
                self.act(node);
            }
            Event::Dialed(conn) => self.on_dialed(conn),
            Event::DialFailed(conn) => self.on_dial_failed(conn),
            Event::Redial { node, peer } => self.dial(node, peer),
            Event::Claim { conn, to, state } => self.on_claim(conn, to, state),
            Event::Have { conn, to, chunks } => self.on_have(conn, to, &chunks),
            Event::Coming { conn, to, coming } => self.on_coming(conn, to, &coming),
            Event::Told {
                conn,
                to,
                peers,
                are_gates,
            } => self.on_told(conn, to, peers, are_gates),
            Event::Asked(flow, asked) => self.on_asked(flow, asked),
            Event::Cancelled(flow, ask) => self.on_cancelled(flow, ask),
            Event::Refused(flow, ask, refusal) => self.on_refused(flow, ask, refusal),
            Event::Sent(piece) => self.on_sent(piece),
            Event::Crossed(zone) => self.on_crossed(zone),
            Event::Arrived(piece) => self.on_arrived(piece),
            Event::Delivered(piece) => self.on_delivered(piece),
            Event::Lost(piece) => self.on_lost(piece),
            Event::Verified {
                node,
                ask,
                chunk,
                is_right,
            } => self.on_verified(node, ask, chunk, is_right),
            Event::Silent(conn) => self.on_silent(conn),
            Event::Gone(conn) => self.on_gone(conn),
        }
    }

    fn on_join(&mut self, node: u32) {
        let now = self.now;
        self.node(node).joined_at = Some(now);
        self.hint(node, PUBLISHER);
        self.want(node);
        self.act(node);
    }

    fn on_churn(&mut self) {
        let first = self.scenario.readers as usize;
        let is_over = self.nodes[1..=first].iter().all(|node| !node.is_reading());
        let there: Vec<u32> = self.nodes[1..]
            .iter()
            .filter(|node| node.joined_at.is_some() && !node.is_gone)
            .map(|node| node.number)
            .collect();
        if is_over || there.is_empty() {
            return;
        }
        let leaving = there[self.rng.below(there.len())];
        // Half of them say goodbye.
        let is_killed = self.rng.below(2) == 0;
        self.leave(leaving, is_killed);
        let node = self.add_reader();
        self.on_join(node);
        if let Some(every) = self.churn_every() {
            self.after(every, Event::Churn);
        }
    }

    fn on_verified(&mut self, node: u32, ask: AskId, chunk: u32, is_right: bool) {
        if self.node(node).is_gone {
            return;
        }
        if !is_right {
            self.schedule(node, |scheduler, now| scheduler.on_bad(now, ask));
            return self.act(node);
        }
        let (now, len) = (self.now, self.scenario.chunk_bytes);
        let id = names::chunk(chunk, len).id;
        if self.node(node).hold(chunk) {
            self.tallies.chunks += 1;
            self.node(node).sharing.on_held(now, names::release(), id.into(), len.into());
            self.on_out(chunk);
        }
        self.schedule(node, |scheduler, now| scheduler.on_verified(now, id));
        self.act(node);
        if self.node(node).is_complete() && self.node(node).done_at.is_none() {
            self.node(node).done_at = Some(now);
            self.missing -= 1;
            self.node(node).sharing.on_complete(&names::release());
            let conns: Vec<ConnId> = self.node(node).conns.values().copied().collect();
            conns.into_iter().for_each(|conn| self.tell_claim(node, conn));
        }
    }

    /// Somebody else than the publisher has the chunk.
    fn on_out(&mut self, chunk: u32) {
        if std::mem::replace(&mut self.is_out[chunk as usize], true) {
            return;
        }
        self.tallies.chunks_out += 1;
        if self.tallies.chunks_out == self.scenario.chunks {
            self.tallies.copy_out_at = self.now;
            if self.scenario.publisher_leaves {
                self.leave(PUBLISHER, true);
            }
        }
    }
}
