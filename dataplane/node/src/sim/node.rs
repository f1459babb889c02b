//! One node without threads: the hub, the shard, the worker and the store are the real ones, and what they hand to each other, to the ring
//! and to the clock is carried here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ares_core::knobs::Settings;
use ares_core::path::{Lane, LaneRules};
use ares_core::peer::{PeerAt, PeerId};
use ares_core::time::Instant;
use ares_ring::{Completion, Datagrams, Op, Outcome, Target, Waker};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::BytesMut;
use crossbeam::channel::{Receiver, Sender, unbounded};

use super::net::{Datagram, Event, Net};
use crate::api::{NodeConfig, PathFigures, Sink};
use crate::clock::Clock;
use crate::hub::{self, Hub};
use crate::identity::Identity;
use crate::lanes::Routes;
use crate::mailbox::{Job, ShardPost, ToHub, ToShard};
use crate::shard::{self, Bound, Shard, Submit};
use crate::store::testing::TempDir;
use crate::store::{Store, StoreWriter};
use crate::tls::Tls;
use crate::worker::Worker;

/// Of the one socket of every node.
pub(super) const PORT: u16 = 7411;

/// Rounds of shard and hub until nothing is left to do at a moment. More are a circle that a real node would spin in.
const ROUNDS_MAX: usize = 10_000;

/// What a shard submits, in order.
type Ops = Sender<(Op, u64)>;

impl Submit for Ops {
    fn submit(&mut self, op: Op, tag: u64) {
        self.send((op, tag)).expect("the node outlives its shard");
    }
}

/// What a node is.
pub(super) struct NodeSpec {
    /// It has the address 10.0.`way`.`host` on each of so many ways, the first of which is 1.
    pub(super) host: u8,
    pub(super) ways: u8,
    pub(super) settings: Settings,
    pub(super) seed: u64,
    /// What becomes of what it fetches.
    pub(super) sink: Sink,
    /// Whether it knows its interfaces.
    pub(super) knows_lanes: bool,
}

/// See the module.
pub(super) struct Node {
    pub(super) peer: PeerId,
    pub(super) store: Arc<Store>,
    pub(super) ips: Vec<IpAddr>,
    hub: Hub,
    shard: Shard<Ops>,
    worker: Worker,
    writer: StoreWriter,
    clock: Clock,
    /// Of the shard's receiving, once it has begun.
    receive_tag: Option<u64>,
    ops: Receiver<(Op, u64)>,
    jobs: Receiver<Job>,
    to_hub: Receiver<ToHub>,
    to_shard: Sender<ToShard>,
    said: Sender<ToHub>,
    /// For when it is to be woken.
    wake: Option<Instant>,
    /// Goes last.
    _dir: TempDir,
}

/// The address of a host on a way.
pub(super) fn ip_of(way: u8, host: u8) -> IpAddr {
    [10, 0, way, host].into()
}

/// The host that dials.
pub(super) const READER_HOST: u8 = 2;

/// Routes of a machine with a cable in each subnet. Only who dials asks.
const ROUTES: Routes = Routes {
    source_for: |to| match to {
        IpAddr::V4(ip) => Some(ip_of(ip.octets()[2], READER_HOST)),
        IpAddr::V6(_) => None,
    },
    link_mtu: |_, _| 1500,
    lane_mtu: |_, _| 1500,
};

/// Of a machine that does not know its interfaces: ways differ in the peer's address alone.
const NO_ROUTES: Routes = Routes {
    source_for: |_| None,
    ..ROUTES
};

impl Node {
    pub(super) fn new(clock: Clock, spec: NodeSpec) -> Self {
        let routes = if spec.knows_lanes { ROUTES } else { NO_ROUTES };
        let dir = TempDir::new();
        let store = Store::open(dir.path()).expect("an empty store");
        let identity = identity_of(spec.host);
        let (said, to_hub) = unbounded::<ToHub>();
        let (jobs_post, jobs) = unbounded::<Job>();
        let (to_shard, shard_inbox) = unbounded::<ToShard>();
        let (ops_post, ops) = unbounded();
        let listen = vec![SocketAddr::from(([0, 0, 0, 0], PORT))];
        let config = NodeConfig {
            state: dir.path().to_owned(),
            listen: listen.clone(),
            shards: 1,
            workers: 1,
            access: Default::default(),
            lanes: LaneRules::default(),
            zone: String::new(),
            mdns: Default::default(),
            dht: Default::default(),
            edge: Default::default(),
            pins: Default::default(),
            sink: spec.sink,
            settings: spec.settings,
        };
        let shard = shard::Parts {
            index: 0,
            clock,
            sockets: Vec::new(),
            ports: vec![vec![PORT]],
            inbox: shard_inbox,
            hub: said.clone(),
            jobs: jobs_post.clone(),
            store: store.clone(),
            spread: Arc::default(),
            totals: Arc::default(),
            backlog: Arc::default(),
            tls: Tls::new(&identity).expect("a key"),
            nonce: spec.host.into(),
            zone: String::new(),
            reset_secret: [spec.host; 32],
            path_ids: Arc::default(),
            access: config.access.clone(),
            settings: config.settings.clone(),
            routes,
            is_edge: false,
        };
        let hub = hub::Parts {
            identity: identity.peer,
            clock,
            listen: listen.clone(),
            ports: shard.ports.clone(),
            inbox: to_hub.clone(),
            shards: vec![ShardPost {
                queue: to_shard.clone(),
                waker: Waker::new().expect("an eventfd"),
            }],
            jobs: jobs_post,
            want_ids: Arc::default(),
            readers: unbounded().0,
            store: store.clone(),
            totals: shard.totals.clone(),
            path_ids: shard.path_ids.clone(),
            routes,
            seed: spec.seed,
            config,
        };
        let worker = Worker {
            jobs: jobs.clone(),
            hub: said.clone(),
            store: store.clone(),
            sink: spec.sink,
            totals: shard.totals.clone(),
        };
        // Nobody looks at it: what is sent goes to the net.
        let socket = Target::Open(Arc::new(std::fs::File::open("/dev/null").expect("it is everywhere")));
        let start = clock.instant(Instant::ZERO);
        let mut seed = [spec.host; 32];
        seed[..8].copy_from_slice(&spec.seed.to_le_bytes());
        let shard = Shard::new(start, shard, ops_post, vec![Bound::new(socket, listen[0])], Some(seed));
        let ips: Vec<IpAddr> = (1..=spec.ways).map(|way| ip_of(way, spec.host)).collect();
        if spec.knows_lanes {
            let _ = said.send(ToHub::Lanes(ips.iter().map(|ip| lane_of(*ip)).collect()));
        }
        Self {
            peer: identity.peer,
            writer: store.writer(),
            store,
            ips,
            hub: Hub::new(Instant::ZERO, hub),
            shard: shard.expect("a key"),
            worker,
            clock,
            receive_tag: None,
            ops,
            jobs,
            to_hub,
            to_shard,
            said,
            wake: None,
            _dir: dir,
        }
    }

    /// Where others are told that it is.
    pub(super) fn at(&self) -> PeerAt {
        PeerAt {
            peer: self.peer,
            addrs: vec![(self.ips[0], PORT).into()],
        }
    }

    /// As by `Handle`.
    pub(super) fn tell(&self, message: ToHub) {
        self.said.send(message).expect("the node has the other end");
    }

    /// A datagram comes to one of its addresses. `turn` follows.
    pub(super) fn on_datagram(&mut self, now: Instant, datagram: Datagram) {
        let Some(tag) = self.receive_tag.filter(|_| datagram.to.port() == PORT) else {
            return;
        };
        let outcome = Outcome::Received(Datagrams {
            remote: datagram.from,
            local_ip: Some(datagram.to.ip()),
            ecn: datagram.ecn,
            stride: datagram.bytes.len(),
            data: datagram.bytes,
        });
        self.complete(now, tag, outcome);
    }

    /// Does all that is to be done now. `hear` says which of the messages to the hub are passed on.
    pub(super) fn turn(&mut self, now: Instant, net: &mut Net, mut hear: impl FnMut(&ToHub) -> bool) {
        let at = self.clock.instant(now);
        for _ in 0..ROUNDS_MAX {
            self.shard.turn(at);
            let mut is_quiet = true;
            while let Ok((op, tag)) = self.ops.try_recv() {
                is_quiet = false;
                self.carry_out(now, op, tag, net);
            }
            while let Ok(job) = self.jobs.try_recv() {
                self.worker.on_job(&self.writer, job);
            }
            while let Ok(message) = self.to_hub.try_recv() {
                if hear(&message) {
                    self.hub.on_message(now, message);
                }
            }
            self.hub.act(now);
            if is_quiet && self.to_shard.is_empty() && self.to_hub.is_empty() {
                return;
            }
        }
        panic!("at {now:?} it finds no rest");
    }

    /// Sees to it that this node, the `number`th, is woken when it has something to do though nothing comes.
    pub(super) fn plan_wake(&mut self, now: Instant, number: usize, net: &mut Net) {
        let shard = now + self.shard.next_wake(self.clock.instant(now));
        let next = self.hub.deadline().map_or(shard, |hub| hub.max(now).min(shard));
        if self.wake.is_none_or(|wake| next < wake) {
            self.wake = Some(next);
            net.plan(next, Event::Wake(number));
        }
    }

    /// A wake that was planned is due. Whether it still counts: an earlier one may have taken its place.
    pub(super) fn is_woken(&mut self, now: Instant) -> bool {
        self.wake.take_if(|at| *at <= now).is_some()
    }

    /// Its paths, as `ares paths` has them.
    pub(super) fn figures(&mut self, now: Instant) -> Vec<PathFigures> {
        let (reply, paths) = unbounded();
        self.to_shard
            .send(ToShard::Paths(reply))
            .expect("the shard has the other end");
        self.shard.turn(self.clock.instant(now));
        let paths = paths.recv().expect("the shard has answered");
        paths.into_iter().map(|(_, figures)| figures).collect()
    }

    fn carry_out(&mut self, now: Instant, op: Op, tag: u64, net: &mut Net) {
        match op {
            Op::Receive { .. } => self.receive_tag = Some(tag),
            Op::Send {
                to,
                from,
                ecn,
                segment_bytes,
                payload,
                ..
            } => {
                let near = |ip: &&IpAddr| matches!((ip, to.ip()), (IpAddr::V4(own), IpAddr::V4(to)) if own.octets()[..3] == to.octets()[..3]);
                let from = from.map(|from| from.ip).or(self.ips.iter().find(near).copied());
                let from = SocketAddr::new(from.expect("there is a way to whom it knows"), PORT);
                for bytes in payload.chunks(segment_bytes.map_or(payload.len(), usize::from)) {
                    let bytes = BytesMut::from(bytes);
                    net.send(now, Datagram { from, to, ecn, bytes });
                }
                let result = Ok(payload.len());
                self.complete(now, tag, Outcome::Sent { payload, result });
            }
            Op::Read {
                file,
                offset,
                mut buf,
                len,
            } => {
                let Target::Open(file) = file else {
                    unreachable!("no file is registered")
                };
                buf.resize(len, 0);
                let read = rustix::io::pread(&*file, &mut buf[..], offset).expect("a file of the store");
                buf.truncate(read);
                self.complete(now, tag, Outcome::Read { buf, result: Ok(read) });
            }
            Op::Write { .. } | Op::Sync { .. } => unreachable!("shards write nothing"),
        }
    }

    fn complete(&mut self, now: Instant, tag: u64, outcome: Outcome) {
        let completion = Completion {
            tag,
            outcome,
            more: false,
        };
        self.shard.on_completion(self.clock.instant(now), completion);
    }
}

fn lane_of(ip: IpAddr) -> Lane {
    let IpAddr::V4(v4) = ip else {
        unreachable!("lanes have IPv4 addresses")
    };
    let way = v4.octets()[2];
    Lane {
        interface: way.into(),
        name: format!("eth{way}"),
        ip,
        prefix_bits: 24,
        is_up: true,
    }
}

/// The same key in every run: peers are asked in the order of their keys where nothing else decides.
fn identity_of(host: u8) -> Identity {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[host; 32]).expect("32 bytes");
    let key = pair.public_key().as_ref().try_into().expect("32 bytes");
    Identity {
        pkcs8: pair.to_pkcs8v1().expect("a key").as_ref().to_vec(),
        peer: PeerId::from_bytes(key),
    }
}
