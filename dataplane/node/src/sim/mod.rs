//! Whole nodes in virtual time. Hub, dialer, scheduler, shard, QUIC, TLS, health, congestion control, worker and store are the real ones;
//! only the kernel is replaced, by links that can be slow, noisy, cut and healed. The same seed gives the same run, to the nanosecond, so
//! bounds are exact and what fails can be looked at again.
//!
//! ```text
//!   reader 10.0.1.2 ──── way 1 ──── 10.0.1.1 server        each way has a link for each direction and server,
//!          10.0.2.2 ──── way 2 ──── 10.0.2.1               the reader has a NAT on each of its own
//!          10.0.1.2 ──── way 1 ──── 10.0.1.3 second server ..
//! ```
//!
//! Other readers are beside it on way 1, each of one server, who may have a link that all it sends on way 1 must pass.
//!
//! Threads are infinitely fast here, and so are disks: what is seen is what the network and our machines do to each other.

mod link;
mod net;
mod node;
mod record;
mod swarm;
mod tests;
mod wants;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId};
use ares_core::knobs::{Knob, Setting, Settings};
use ares_core::path::Mode;
use ares_core::swarm::Class;
use ares_core::time::Instant;

use self::link::{Link, LinkSpec};
use self::net::{Event, Net};
use self::node::{Node, NodeSpec, READER_HOST, ip_of};
use self::record::Record;
use self::wants::Wants;
use crate::api::Sink;
use crate::clock::Clock;
use crate::mailbox::ToHub;
use crate::store::testing::{chunk, named};

/// Chunks of the one release.
const CHUNKS: usize = 32;
const CHUNK_BYTES: usize = 256 << 10;

/// Wants that wait at once, so that every window can be filled.
const WANTS_MAX: usize = 24;

const _: () = assert!(WANTS_MAX <= CHUNKS);

/// Events at one moment. More are a circle that a real node would spin in.
const SPINS_MAX: usize = 10_000;

/// Hosts of the servers; the reader is between them.
const SERVER_HOSTS: [u8; 2] = [1, 3];

/// Hosts of other readers.
const OTHER_HOSTS: [u8; 6] = [5, 6, 7, 8, 9, 10];

const READER: usize = 0;

/// Directions of a way, as the reader sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dir {
    In,
    Out,
}

const BOTH: [Dir; 2] = [Dir::In, Dir::Out];

/// Where a link begins and ends.
fn ends_of(server: usize, way: usize, dir: Dir) -> (IpAddr, IpAddr) {
    let ip = |host| ip_of(way as u8 + 1, host);
    let (reader, server) = (ip(READER_HOST), ip(SERVER_HOSTS[server]));
    match dir {
        Dir::In => (server, reader),
        Dir::Out => (reader, server),
    }
}

/// What a run begins with.
#[derive(Clone, Debug)]
struct Setup {
    seed: u64,
    mode: Mode,
    /// Both directions of each, the same for each server.
    ways: Vec<LinkSpec>,
    servers: usize,
    /// Chunks that the reader wants at once: so many fill every window, few leave a path or a peer with all that is asked.
    wants_max: usize,
    /// What all that a server sends on way 1 must pass.
    uplink: Option<LinkSpec>,
    /// The server that each other reader knows.
    others: Vec<usize>,
}

impl Setup {
    /// One server, all ways used.
    fn of(ways: &[LinkSpec]) -> Self {
        Self {
            seed: 1,
            mode: Mode::Aggregate,
            ways: ways.to_vec(),
            servers: 1,
            wants_max: WANTS_MAX,
            uplink: None,
            others: Vec::new(),
        }
    }
}

/// The reader, its servers and what lies between.
struct World {
    now: Instant,
    net: Net,
    /// The reader first, then servers, then other readers.
    nodes: Vec<Node>,
    release: ReleaseId,
    record: Record,
    /// Of each node that is a reader.
    wants: BTreeMap<usize, Wants>,
    /// Events at this very moment so far.
    spins: usize,
    /// The reader's shard cries wolf and nobody hears it.
    is_deaf: bool,
    /// Nor does anybody hear how busy the servers are.
    is_deaf_to_load: bool,
}

impl World {
    fn new(setup: &Setup) -> Self {
        let clock = Clock::new();
        let mut settings = Settings::default();
        settings.set(Setting::parse(Knob::PathMode, setup.mode.name()).expect("one of its words"));
        let others = &OTHER_HOSTS[..setup.others.len()];
        let hosts = [&[READER_HOST], &SERVER_HOSTS[..setup.servers], others].concat();
        let node = |host: &u8| {
            let spec = NodeSpec {
                host: *host,
                ways: if others.contains(host) { 1 } else { setup.ways.len() as u8 },
                settings: settings.clone(),
                seed: setup.seed,
                sink: Sink::Discard,
                knows_lanes: !others.contains(host),
            };
            Node::new(clock, spec)
        };
        let mut world = Self {
            now: Instant::ZERO,
            net: Net::new(setup.seed),
            nodes: hosts.iter().map(node).collect(),
            release: ReleaseId(ChunkId::of(b"release")),
            record: Record::default(),
            wants: BTreeMap::new(),
            spins: 0,
            is_deaf: false,
            is_deaf_to_load: false,
        };
        world.lay_links(setup);
        let chunks = world.stock(setup.servers);
        let servers: Vec<usize> = (0..setup.servers).collect();
        let wants_max = setup.wants_max.min(WANTS_MAX);
        world
            .wants
            .insert(READER, Wants::new(world.release, &chunks, Class::Bulk, wants_max));
        world.hint(READER, &servers);
        for (other, server) in (1 + setup.servers..).zip(&setup.others) {
            // In bulk one would be left to the others, who keep nothing.
            world
                .wants
                .insert(other, Wants::new(world.release, &chunks, Class::Deadline, WANTS_MAX));
            world.hint(other, &[*server]);
        }
        world
    }

    fn lay_links(&mut self, setup: &Setup) {
        for (way, spec) in (1..).zip(&setup.ways) {
            for host in &SERVER_HOSTS[..setup.servers] {
                self.lay_link(way, READER_HOST, *host, *spec);
            }
        }
        for (host, server) in OTHER_HOSTS.iter().zip(&setup.others) {
            self.lay_link(1, *host, SERVER_HOSTS[*server], setup.ways[0]);
        }
        for (host, spec) in SERVER_HOSTS.iter().zip(setup.uplink.iter().cycle()) {
            self.net.uplinks.insert(ip_of(1, *host), Link::new(*spec));
        }
    }

    fn lay_link(&mut self, way: u8, host: u8, server: u8, spec: LinkSpec) {
        for ends in [(host, server), (server, host)] {
            let ends = (ip_of(way, ends.0), ip_of(way, ends.1));
            self.net.links.insert(ends, Link::new(spec));
        }
    }

    /// Gives all chunks to each server.
    fn stock(&mut self, servers: usize) -> Vec<ChunkRef> {
        let servers = &self.nodes[1..=servers];
        let mut chunks = Vec::new();
        for seed in 0..CHUNKS {
            let chunk = chunk(seed as u64, CHUNK_BYTES);
            for server in servers {
                server.store.writer().put(&chunk, None).expect("there is room");
            }
            chunks.push(named(&chunk));
        }
        for server in servers {
            let bytes = (CHUNKS * CHUNK_BYTES) as u64;
            server
                .store
                .add_release(self.release, "release", bytes, 1)
                .expect("a good disk");
            server.store.mark_complete(self.release).expect("a good disk");
        }
        chunks
    }

    /// Tells a reader of the first address of these servers; the others are for it to find out.
    fn hint(&self, reader: usize, servers: &[usize]) {
        let hints = servers.iter().map(|server| self.nodes[1 + server].at()).collect();
        self.nodes[reader].tell(ToHub::Hints {
            release: self.release,
            hints,
        });
    }

    /// One direction of a way to the first server; the first way is 0.
    fn link(&mut self, way: usize, dir: Dir) -> &mut Link {
        self.link_of(0, way, dir)
    }

    fn link_of(&mut self, server: usize, way: usize, dir: Dir) -> &mut Link {
        self.net.links.get_mut(&ends_of(server, way, dir)).expect("it was laid")
    }

    /// Bytes that have come over a way from a server.
    fn brought(&self, server: usize, way: usize) -> u64 {
        self.net.links[&ends_of(server, way, Dir::In)].carried_bytes
    }

    fn cut(&mut self, way: usize, dirs: &[Dir]) {
        dirs.iter().for_each(|dir| self.link(way, *dir).is_cut = true);
    }

    fn heal(&mut self, way: usize) {
        BOTH.iter().for_each(|dir| self.link(way, *dir).is_cut = false);
    }

    /// The NAT before the reader's end of a way gives it other ports.
    fn rebind(&mut self, way: usize) {
        self.net.rebind(ip_of(way as u8 + 1, READER_HOST));
    }

    /// The reader wants so many chunks beside those that wait.
    fn want(&mut self, chunks: u64) {
        self.want_at(READER, chunks);
    }

    fn want_at(&mut self, reader: usize, chunks: u64) {
        self.wants.get_mut(&reader).expect("it is a reader").to_want = chunks;
        self.turn(reader);
    }

    /// All other readers want chunks without end.
    fn others_want_all(&mut self) {
        let others: Vec<usize> = self.wants.keys().copied().filter(|reader| *reader != READER).collect();
        others.into_iter().for_each(|other| self.want_at(other, u64::MAX));
    }

    /// The reader wants chunks without end.
    fn want_all(&mut self) {
        self.want(u64::MAX);
    }

    /// What waits is still to come.
    fn want_no_more(&mut self) {
        self.want_at(READER, 0);
    }

    fn is_done(&self) -> bool {
        let wants = &self.wants[&READER];
        wants.to_want == 0 && wants.waiting.is_empty()
    }

    fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Goes on for this time, or until then. Whether then came.
    fn run_until(&mut self, time: Duration, then: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + time;
        if self.now == Instant::ZERO {
            (0..self.nodes.len()).for_each(|node| self.turn(node));
        }
        while !then(self) {
            let Some((at, event)) = self.net.next(end) else {
                self.now = end;
                return false;
            };
            self.spins = if at > self.now { 0 } else { self.spins + 1 };
            assert!(self.spins < SPINS_MAX, "time stands still at {at:?}");
            self.now = at;
            self.on_event(event);
        }
        true
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Arrive(datagram) => {
                if let Some(datagram) = self.net.arrive(self.now, datagram)
                    && let Some(node) = self.nodes.iter().position(|node| node.ips.contains(&datagram.to.ip()))
                {
                    self.nodes[node].on_datagram(self.now, datagram);
                    self.turn(node);
                }
            }
            Event::AtSwitch(datagram) => self.net.switch(self.now, datagram),
            Event::Wake(node) => {
                if self.nodes[node].is_woken(self.now) {
                    self.turn(node);
                }
            }
        }
    }

    fn turn(&mut self, node: usize) {
        loop {
            let (now, is_deaf, is_deaf_to_load, record) = (self.now, self.is_deaf, self.is_deaf_to_load, &mut self.record);
            self.nodes[node].turn(now, &mut self.net, |message| {
                if node == READER {
                    record.on_message(now, message);
                }
                let is_unheard = match message {
                    ToHub::Pulse { .. } => is_deaf,
                    ToHub::Load { .. } => is_deaf_to_load,
                    _ => false,
                };
                !is_unheard
            });
            let Some(wants) = self.wants.get_mut(&node) else { break };
            let has_more = wants.go_on(&self.nodes[node], |result| {
                if node == READER {
                    record.on_chunk(now, result);
                }
            });
            if !has_more {
                break;
            }
        }
        self.nodes[node].plan_wake(self.now, node, &mut self.net);
    }

    /// Bytes of the chunks that the first server was asked for over a way and that have not come whole.
    fn owed(&mut self, way: usize) -> u64 {
        let now = self.now;
        let remote = ends_of(0, way, Dir::Out).1;
        let paths = self.nodes[READER].figures(now);
        let on_way = paths.iter().filter(|path| path.remote.ip() == remote);
        on_way.map(|path| path.inflight_bytes).sum()
    }
}
