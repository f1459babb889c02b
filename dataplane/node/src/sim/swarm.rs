//! A swarm of whole nodes on one switch, each of which sends and receives at most so fast: one has a release, and all others want it at the
//! same moment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId};
use ares_core::knobs::{Knob, Setting, Settings};
use ares_core::swarm::{Class, FetchError, Unreached, Want};
use ares_core::time::Instant;
use ares_core::wire::Peers;
use crossbeam::channel::{Receiver, Sender, unbounded};

use super::link::{Link, LinkSpec};
use super::net::{Event, Net};
use super::node::{Node, NodeSpec};
use crate::api::{Sink, WantId};
use crate::clock::Clock;
use crate::hub::Waiter;
use crate::mailbox::ToHub;
use crate::store::testing::{chunk, named};

/// What a run begins with.
struct Setup {
    seed: u64,
    readers: u8,
    chunks: u64,
    chunk_bytes: usize,
    mbit_per_s: u64,
    /// Chunks that a reader waits for at a time, in order, while all come as they may.
    urgent_max: u64,
    /// Of every node.
    settings: Settings,
}

impl Setup {
    fn bytes(&self) -> f64 {
        (self.chunks as usize * self.chunk_bytes) as f64
    }

    /// The least time in which all can have all, in seconds: that of one copy (Kumar, Ross 2006).
    fn bound(&self) -> f64 {
        self.bytes() * 8e-6 / self.mbit_per_s as f64
    }
}

/// The publisher, which is the first node, and the readers.
struct Swarm {
    now: Instant,
    net: Net,
    nodes: Vec<Node>,
    by_ip: BTreeMap<IpAddr, usize>,
    release: ReleaseId,
    chunks: Vec<ChunkRef>,
    /// How many of them each node has waited for or waits for.
    read: Vec<u64>,
    /// Chunks that each node still waits for.
    waiting: Vec<u64>,
    ended: (Sender<Ended>, Receiver<Ended>),
}

/// Who waited for a chunk, and what became of it.
type Ended = (usize, Class, Result<(), FetchError>);

const PUBLISHER: usize = 0;

impl Swarm {
    /// Where the publisher has all of the release, and all others begin to fetch it.
    fn new(setup: &Setup) -> Self {
        let mut swarm = Self::idle(setup);
        swarm.hint();
        (0..setup.chunks).for_each(|number| swarm.publish(number, setup.chunk_bytes));
        for reader in 1..swarm.nodes.len() {
            (0..setup.chunks).for_each(|number| swarm.want(reader, number, Class::Bulk));
            (0..setup.urgent_max).for_each(|_| swarm.read_on(reader));
            swarm.waiting[reader] = setup.chunks;
        }
        swarm.nodes[PUBLISHER]
            .store
            .mark_complete(swarm.release)
            .expect("a good disk");
        swarm
    }

    /// Where nobody has or wants anything yet.
    fn idle(setup: &Setup) -> Self {
        let clock = Clock::new();
        let node = |host: u8| {
            let spec = NodeSpec {
                host,
                ways: 1,
                settings: setup.settings.clone(),
                seed: setup.seed ^ (u64::from(host) << 32),
                sink: Sink::Store,
                knows_lanes: false,
            };
            Node::new(clock, spec)
        };
        let nodes: Vec<Node> = (1..=setup.readers + 1).map(node).collect();
        let link = LinkSpec {
            // 20 ms of it.
            queue_bytes: setup.mbit_per_s * 2_500,
            ..LinkSpec::of(setup.mbit_per_s, 1)
        };
        let mut net = Net::new(setup.seed);
        for node in &nodes {
            net.at_switch.insert(node.ips[0], [Link::new(link), Link::new(link)]);
        }
        let swarm = Self {
            now: Instant::ZERO,
            net,
            by_ip: nodes.iter().enumerate().map(|(n, node)| (node.ips[0], n)).collect(),
            release: ReleaseId(ChunkId::of(b"release")),
            chunks: Vec::new(),
            read: vec![0; nodes.len()],
            waiting: vec![0; nodes.len()],
            nodes,
            ended: unbounded(),
        };
        for node in &swarm.nodes {
            let added = node.store.add_release(swarm.release, "release", setup.bytes() as u64, 1);
            added.expect("a good disk");
        }
        swarm
    }

    /// Tells the readers of the publisher, and of nobody else.
    fn hint(&self) {
        for reader in &self.nodes[1..] {
            reader.tell(ToHub::Hints {
                release: self.release,
                hints: vec![self.nodes[PUBLISHER].at()],
            });
        }
    }

    /// The publisher has a chunk.
    fn publish(&mut self, number: u64, bytes: usize) {
        let chunk = chunk(number, bytes);
        self.nodes[PUBLISHER].store.writer().put(&chunk, None).expect("there is room");
        self.chunks.push(named(&chunk));
    }

    fn want(&self, reader: usize, number: u64, class: Class) {
        let ended = self.ended.0.clone();
        let held = move |result| ended.send((reader, class, result)).expect("the swarm has the other end");
        self.nodes[reader].tell(ToHub::Fetch {
            id: WantId(number | u64::from(class == Class::Deadline) << 32),
            want: Want {
                chunk: self.chunks[number as usize],
                place: None,
                class,
                release: self.release,
                patience: Duration::from_secs(30),
                unreached: Unreached::Wait,
            },
            waiter: Waiter::for_held(Box::new(held)),
        });
    }

    /// A reader waits for the next chunk that is not here, if there is one.
    fn read_on(&mut self, reader: usize) {
        let is_missing = |number: &u64| !self.nodes[reader].store.has(&self.chunks[*number as usize].id);
        let next = (self.read[reader]..self.chunks.len() as u64).find(is_missing);
        self.read[reader] = next.map_or(self.chunks.len() as u64, |number| number + 1);
        if let Some(number) = next {
            self.want(reader, number, Class::Deadline);
        }
    }

    /// Goes on until then, for this time at most. Whether then came.
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
            self.now = at;
            match event {
                Event::AtSwitch(datagram) => self.net.switch(self.now, datagram),
                Event::Arrive(datagram) => {
                    if let Some(datagram) = self.net.arrive(self.now, datagram) {
                        let node = self.by_ip[&datagram.to.ip()];
                        self.nodes[node].on_datagram(self.now, datagram);
                        self.turn(node);
                    }
                }
                Event::Wake(node) => {
                    if self.nodes[node].is_woken(self.now) {
                        self.turn(node);
                    }
                }
            }
        }
        true
    }

    fn turn(&mut self, node: usize) {
        self.nodes[node].turn(self.now, &mut self.net, |_| true);
        while let Ok((reader, class, result)) = self.ended.1.try_recv() {
            result.unwrap_or_else(|error| panic!("at {:?}: {error}", self.now));
            if class == Class::Deadline {
                self.read_on(reader);
                continue;
            }
            self.waiting[reader] -= 1;
            if self.waiting[reader] == 0 {
                let reader = &mut self.nodes[reader];
                reader.store.mark_complete(self.release).expect("a good disk");
                reader.tell(ToHub::Announce(self.release));
                reader.turn(self.now, &mut self.net, |_| true);
            }
        }
        self.nodes[node].plan_wake(self.now, node, &mut self.net);
    }

    fn all_have_all(&self) -> bool {
        self.waiting.iter().all(|waiting| *waiting == 0)
    }

    /// Whether each chunk is held by some reader.
    fn is_out(&self) -> bool {
        let held = |chunk: &ChunkRef| self.nodes[1..].iter().any(|reader| reader.store.has(&chunk.id));
        self.chunks.iter().all(held)
    }

    /// Bytes that a node has sent.
    fn sent(&self, node: usize) -> f64 {
        let [up, _] = &self.net.at_switch[&self.nodes[node].ips[0]];
        up.carried_bytes as f64
    }

    fn seconds(&self) -> f64 {
        self.now.since(Instant::ZERO).as_secs_f64()
    }
}

/// 64 MiB in the chunks that a file of this size has.
fn setup() -> Setup {
    Setup {
        seed: 1,
        readers: 8,
        chunks: 1024,
        chunk_bytes: 64 << 10,
        mbit_per_s: 100,
        urgent_max: 0,
        settings: Settings::default(),
    }
}

#[test]
fn all_have_all_in_little_more_than_one_copy_takes() {
    for seed in 1..=3 {
        let setup = Setup { seed, ..setup() };
        let mut swarm = Swarm::new(&setup);
        assert!(swarm.run_until(Duration::from_secs(60), Swarm::all_have_all), "seed {seed}");
        let (time, copies) = (swarm.seconds() / setup.bound(), swarm.sent(PUBLISHER) / setup.bytes());
        assert!(time < 1.25, "seed {seed}: {time:.3} of the bound");
        assert!(copies < 1.15, "seed {seed}: the publisher has sent {copies:.3} copies");
    }
}

/// As through mounts, of which the kernel reads 2 MiB ahead.
#[test]
fn who_reads_the_same_in_the_same_order_has_it_of_the_others_too() {
    for seed in 1..=2 {
        let setup = Setup {
            seed,
            urgent_max: 32,
            ..setup()
        };
        let mut swarm = Swarm::new(&setup);
        assert!(swarm.run_until(Duration::from_secs(60), Swarm::all_have_all), "seed {seed}");
        let (time, copies) = (swarm.seconds() / setup.bound(), swarm.sent(PUBLISHER) / setup.bytes());
        assert!(time < 1.5, "seed {seed}: {time:.3} of the bound");
        assert!(copies < 1.3, "seed {seed}: the publisher has sent {copies:.3} copies");
    }
}

#[test]
fn the_publisher_may_go_once_it_has_given_all() {
    let mut swarm = Swarm::new(&setup());
    while !swarm.is_out() {
        swarm.run_until(Duration::from_millis(10), |_| false);
        assert!(swarm.seconds() < 60.0, "it never gives all");
    }
    assert!(!swarm.all_have_all(), "it goes while they need each other");
    swarm.net.at_switch.remove(&swarm.nodes[PUBLISHER].ips[0]);
    assert!(swarm.run_until(Duration::from_secs(60), Swarm::all_have_all));
}

/// All others send ten times as fast as the line of one takes, and at once they get in each other's way there.
#[test]
fn half_of_a_slow_line_is_chunks_that_are_kept() {
    let setup = Setup {
        readers: 16,
        chunks: 800,
        mbit_per_s: 20,
        ..setup()
    };
    let mut swarm = Swarm::new(&setup);
    let reader = swarm.nodes.len() - 1;
    let line = LinkSpec {
        // 25 ms of it.
        queue_bytes: 2 * 3_125,
        ..LinkSpec::of(2, 1)
    };
    let ip = swarm.nodes[reader].ips[0];
    swarm.net.at_switch.insert(ip, [Link::new(line), Link::new(line)]);
    let kept = |swarm: &Swarm| {
        let held = swarm.chunks.iter().filter(|chunk| swarm.nodes[reader].store.has(&chunk.id));
        held.count() * setup.chunk_bytes
    };
    let carried = |swarm: &Swarm| swarm.net.at_switch[&ip][1].carried_bytes as f64;
    // The first seconds go to whom it has to know, and to chunks that are not whole yet.
    swarm.run_until(Duration::from_secs(5), |_| false);
    let before = (kept(&swarm), carried(&swarm));
    swarm.run_until(Duration::from_secs(15), |_| false);
    let part = (kept(&swarm) - before.0) as f64 / (carried(&swarm) - before.1);
    assert!(part > 0.5, "{part:.3} of what came");
}

/// The first node fetches what nobody has, knows forty that hold some, and goes to so many of them as one does.
#[test]
fn who_is_left_behind_by_the_others_goes_to_one_more_of_them() {
    let mut settings = Settings::default();
    settings.set(Setting::parse(Knob::Links, "1").expect("a right number"));
    let readers = 40;
    let mut swarm = Swarm::idle(&Setup {
        readers,
        settings,
        ..setup()
    });
    let [missing, held @ ..] =
        [0, 1, 2, 3].map(|part: u64| (0..60).map(|n| named(&chunk(60 * part + n, 64))).collect::<Vec<_>>());
    swarm.chunks = missing;
    swarm.want(0, 0, Class::Bulk);
    let peers = swarm.nodes[1..].iter().map(Node::at).collect();
    let all = Peers {
        release: swarm.release,
        peers,
    };
    let gone_to = |swarm: &mut Swarm| {
        swarm.nodes[0].tell(ToHub::Neighbours(all.clone()));
        swarm.nodes[0].turn(swarm.now, &mut swarm.net, |_| true);
        swarm.run_until(Duration::from_secs(3), |_| false);
        swarm.nodes[0].figures(swarm.now).len()
    };
    assert_eq!(gone_to(&mut swarm), 1);
    let before = gone_to(&mut swarm);
    assert!((10..20).contains(&before), "{before}: as it has few");
    // What they have when they begin to say so counts for nothing.
    for (n, chunks) in (0..).zip(&held) {
        for holder in &swarm.nodes[1..] {
            for chunk in chunks {
                let release = swarm.release;
                holder.tell(ToHub::Reused { release, chunk: *chunk });
            }
        }
        (1..swarm.nodes.len()).for_each(|holder| swarm.nodes[holder].turn(swarm.now, &mut swarm.net, |_| true));
        assert_eq!(gone_to(&mut swarm), before + n, "as all others have more than before");
        assert_eq!(gone_to(&mut swarm), before + n, "as they have what they had");
    }
}
