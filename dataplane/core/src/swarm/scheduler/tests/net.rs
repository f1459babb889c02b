//! A tiny network in virtual time: sources with a rate and a delay, some of them liars, stalled, dying or without the chunk.
//! Drives the real scheduler and checks what must hold after every single action.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;

/// How a source behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Temper {
    Honest,
    /// Sends wrong bytes for one chunk in four.
    Liar,
    /// Sends nothing from then on, and never says so.
    SilentFrom(Duration),
    /// Sends nothing within these times.
    SilentWithin(Duration, Duration),
    /// Its connection is lost then.
    DiesAt(Duration),
    /// It connects only then.
    ComesAt(Duration),
    /// Has one chunk in so many.
    Sparse(u8),
    /// Lacks everything until then.
    FillsAt(Duration),
    /// Says busy until then.
    BusyUntil(Duration),
    /// Resets one ask in four.
    Flaky,
    /// Never answers one ask in eight.
    Forgetful,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) rate: u64,
    pub(super) delay: Duration,
    pub(super) temper: Temper,
    pub(super) claim: ClaimState,
}

#[derive(Clone, Debug)]
enum Event {
    Up(usize),
    Down(usize),
    /// The ask reaches its source.
    AskArrives(usize, AskId),
    /// The source sends the next piece of what it was asked first.
    Send(usize),
    /// A piece reaches us.
    Piece(usize, AskId, u32),
    Refused(AskId, Refusal),
    Reset(AskId),
    Verified(AskId, bool),
    Want(WantKey, Want),
    Cancel(WantKey),
    /// An operator sets another bound on the bytes in flight.
    Bound(u64),
}

#[derive(Debug)]
struct Asked {
    source: usize,
    chunk: ChunkRef,
    came: u32,
    is_arrived: bool,
}

#[derive(Default, Debug)]
struct Server {
    queue: VecDeque<(AskId, u32)>,
    is_sending: bool,
    is_up: bool,
}

pub(super) struct Net {
    pub(super) scheduler: Scheduler,
    pub(super) now: Instant,
    peers: Vec<Peer>,
    servers: Vec<Server>,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    asks: BTreeMap<AskId, Asked>,
    pub(super) ends: BTreeMap<WantKey, Result<Instant, FetchError>>,
    pub(super) dropped: BTreeSet<PeerId>,
    /// Chunk bytes that came from each source.
    pub(super) came: Vec<u64>,
    pub(super) asked: Vec<u64>,
    /// Everything the scheduler did, hashed.
    pub(super) trace: u64,
    pub(super) events_count: u64,
    pub(super) wants: u64,
    inflight_bytes_bound: u64,
    rng: Rng,
}

const PIECE: u32 = 32 << 10;

pub(super) fn release() -> ReleaseId {
    ReleaseId(ChunkId::from_bytes([9; 32]))
}

pub(super) fn source(index: usize) -> Source {
    Source {
        peer: PeerId::from_bytes([index as u8 + 1; 32]),
        path: crate::peer::PathId(index as u64),
    }
}

impl Net {
    pub(super) fn new(seed: u64, peers: &[Peer]) -> Self {
        let mut net = Self {
            scheduler: Scheduler::new(SchedulerConfig::default(), seed),
            now: Instant::ZERO,
            peers: peers.to_vec(),
            servers: peers.iter().map(|_| Server::default()).collect(),
            events: BTreeMap::new(),
            next_event: 0,
            asks: BTreeMap::new(),
            ends: BTreeMap::new(),
            dropped: BTreeSet::new(),
            came: vec![0; peers.len()],
            asked: vec![0; peers.len()],
            trace: 0,
            events_count: 0,
            wants: 0,
            inflight_bytes_bound: SchedulerConfig::default().inflight_bytes_max,
            rng: Rng::new(seed ^ 0x5eed),
        };
        for (index, peer) in peers.iter().enumerate() {
            let up = if let Temper::ComesAt(at) = peer.temper {
                at
            } else {
                Duration::ZERO
            };
            net.at(up, Event::Up(index));
            if let Temper::DiesAt(at) = peer.temper {
                net.at(at, Event::Down(index));
            }
        }
        net
    }

    pub(super) fn want(&mut self, after: Duration, chunk: ChunkRef, class: Class, patience: Duration) -> WantKey {
        let key = WantKey(self.wants);
        self.wants += 1;
        self.at(
            after,
            Event::Want(
                key,
                Want {
                    chunk,
                    place: None,
                    class,
                    release: release(),
                    patience,
                    unreached: Unreached::Wait,
                },
            ),
        );
        key
    }

    pub(super) fn cancel(&mut self, after: Duration, key: WantKey) {
        self.at(after, Event::Cancel(key));
    }

    pub(super) fn bound(&mut self, after: Duration, bytes: u64) {
        self.at(after, Event::Bound(bytes));
    }

    /// Wants `count` different chunks of random lengths up to `len_max` at once.
    pub(super) fn want_many(&mut self, count: u32, len_max: u32, patience: Duration) {
        for n in 0..count {
            let len = 1 + (self.rng.next() % u64::from(len_max)) as u32;
            self.want(Duration::ZERO, chunk(n, len), Class::Bulk, patience);
        }
    }

    /// Runs until nothing is left to happen.
    pub(super) fn run(&mut self) -> &mut Self {
        self.drain();
        loop {
            let event_at = self.events.first_key_value().map(|(key, _)| key.0);
            let due = self.scheduler.deadline();
            let Some(next) = [event_at, due].into_iter().flatten().min() else {
                break;
            };
            assert!(next >= self.now || due == Some(next), "time goes on");
            assert!(self.events_count < 5_000_000, "the network never comes to rest");
            self.now = self.now.max(next);
            if event_at == Some(next)
                && let Some((_, event)) = self.events.pop_first()
            {
                self.events_count += 1;
                self.on_event(event);
            }
            self.drain();
            assert!(
                self.scheduler.deadline().is_none_or(|at| at > self.now),
                "a deadline that is due was polled away"
            );
        }
        assert_eq!(self.ends.len() as u64, self.wants, "every want ends");
        assert!(self.scheduler.chunks.is_empty() && self.scheduler.asks.is_empty() && self.scheduler.parked.is_empty());
        assert_eq!(self.scheduler.inflight_bytes, 0);
        assert!(
            self.scheduler
                .sources
                .values()
                .all(|s| s.window.outstanding() == 0 && s.asks.is_empty())
        );
        self
    }

    pub(super) fn failures(&self) -> impl Iterator<Item = &FetchError> {
        self.ends.values().filter_map(|end| end.as_ref().err())
    }

    pub(super) fn took(&self) -> Duration {
        let last = self.ends.values().filter_map(|end| end.as_ref().ok()).max();
        last.map_or(Duration::ZERO, |at| at.since(Instant::ZERO))
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now + after, self.next_event), event);
    }

    fn is_silent(&self, index: usize) -> bool {
        let now = self.now.since(Instant::ZERO);
        match self.peers[index].temper {
            Temper::SilentFrom(at) => now >= at,
            Temper::SilentWithin(from, to) => now >= from && now < to,
            _ => !self.servers[index].is_up,
        }
    }

    fn on_event(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Up(index) => {
                let Peer { delay, claim, .. } = self.peers[index];
                self.servers[index].is_up = true;
                self.scheduler.on_source_up(now, source(index), delay * 2);
                self.scheduler.on_claim(now, release(), source(index).peer, claim);
            }
            Event::Down(index) => {
                self.servers[index] = Server::default();
                self.asks.retain(|_, asked| asked.source != index || asked.is_arrived);
                self.scheduler
                    .on_source_down(now, source(index), "connection lost".to_owned());
            }
            Event::AskArrives(index, ask) => self.on_ask_arrives(index, ask),
            Event::Send(index) => self.on_send(index),
            Event::Piece(index, ask, bytes) => self.on_piece(index, ask, bytes),
            Event::Refused(ask, refusal) => {
                if self.asks.remove(&ask).is_some() {
                    self.scheduler.on_refused(now, ask, refusal);
                }
            }
            Event::Bound(bytes) => {
                let before = self.scheduler.inflight_bytes;
                self.scheduler.reconfigure(now, |config| config.inflight_bytes_max = bytes);
                self.inflight_bytes_bound = bytes.max(before);
            }
            Event::Reset(ask) => {
                if self.asks.remove(&ask).is_some() {
                    self.scheduler.on_failed(now, ask, "stream reset".to_owned());
                }
            }
            Event::Verified(ask, is_good) => {
                let Some(asked) = self.asks.remove(&ask) else {
                    return;
                };
                match is_good {
                    true => self.scheduler.on_verified(now, asked.chunk.id),
                    false => self.scheduler.on_bad(now, ask),
                }
            }
            Event::Want(key, want) => self.scheduler.on_want(now, key, want),
            Event::Cancel(key) => self.scheduler.on_cancel(now, key),
        }
    }

    fn on_ask_arrives(&mut self, index: usize, ask: AskId) {
        let Peer { temper, delay, .. } = self.peers[index];
        let now = self.now.since(Instant::ZERO);
        if self.is_silent(index) {
            if let Temper::SilentWithin(_, to) = temper {
                self.at(to - now, Event::AskArrives(index, ask)); // sent again by the transport
            }
            return;
        }
        let Some(asked) = self.asks.get(&ask) else {
            return;
        };
        let dice = self.rng.next();
        match temper {
            Temper::Sparse(n) if asked.chunk.id.as_bytes()[0] % n != 0 => {
                self.at(delay, Event::Refused(ask, Refusal::NotHeld));
            }
            Temper::FillsAt(at) if now < at => self.at(delay, Event::Refused(ask, Refusal::NotHeld)),
            Temper::BusyUntil(at) if now < at => self.at(delay, Event::Refused(ask, Refusal::Busy)),
            Temper::Flaky if dice.is_multiple_of(4) => self.at(delay, Event::Reset(ask)),
            Temper::Forgetful if dice.is_multiple_of(8) => {}
            _ => {
                self.servers[index].queue.push_back((ask, asked.chunk.len));
                if !self.servers[index].is_sending {
                    self.servers[index].is_sending = true;
                    self.send_next(index);
                }
            }
        }
    }

    /// The time it takes to put the next piece on the wire passes before it is sent.
    fn send_next(&mut self, index: usize) {
        let asks = &self.asks;
        self.servers[index].queue.retain(|(ask, _)| asks.contains_key(ask));
        match self.servers[index].queue.front() {
            None => self.servers[index].is_sending = false,
            Some((_, left)) => {
                let nanos = u64::from((*left).min(PIECE)) * 1_000_000_000 / self.peers[index].rate;
                self.at(Duration::from_nanos(nanos), Event::Send(index));
            }
        }
    }

    fn on_send(&mut self, index: usize) {
        if self.is_silent(index) {
            // A silent source holds on to its queue and goes on later.
            if let Temper::SilentWithin(_, to) = self.peers[index].temper {
                self.at((Instant::ZERO + to).since(self.now), Event::Send(index));
            }
            return;
        }
        if let Some((ask, left)) = self.servers[index].queue.front_mut() {
            let bytes = (*left).min(PIECE);
            let ask = *ask;
            *left -= bytes;
            if *left == 0 {
                self.servers[index].queue.pop_front();
            }
            self.at(self.peers[index].delay, Event::Piece(index, ask, bytes));
        }
        self.send_next(index);
    }

    fn on_piece(&mut self, index: usize, ask: AskId, bytes: u32) {
        let Some(asked) = self.asks.get_mut(&ask) else {
            return;
        };
        asked.came += bytes;
        self.came[index] += u64::from(bytes);
        self.scheduler.on_progress(self.now, ask, bytes);
        if asked.came == asked.chunk.len {
            asked.is_arrived = true;
            self.scheduler.on_arrived(self.now, ask);
            let is_bad = self.peers[index].temper == Temper::Liar && self.rng.below(4) == 0;
            self.at(Duration::from_micros(300), Event::Verified(ask, !is_bad));
        }
    }

    fn drain(&mut self) {
        while let Some(action) = self.scheduler.poll(self.now) {
            for byte in format!("{:?}{action:?}", self.now).bytes() {
                self.trace = self.trace.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte);
            }
            self.on_action(action);
        }
        if self.is_checked() {
            self.check_limits();
        }
    }

    /// Looking at all asks after each event is too slow where there are thousands: then every so many events.
    fn is_checked(&self) -> bool {
        self.events_count.is_multiple_of(1 + self.asks.len() as u64 / 16)
    }

    fn on_action(&mut self, action: Action) {
        match action {
            Action::Crossing { .. } => panic!("all are in one zone"),
            Action::Ask { ask, source, chunk, .. } => {
                let index = source.path.0 as usize;
                assert!(self.servers[index].is_up, "only what is up is asked");
                assert!(!self.dropped.contains(&source.peer), "a dropped peer is not asked");
                let is_checked = self.is_checked();
                let same = |asked: &&Asked| asked.chunk == chunk && !asked.is_arrived;
                let others: Vec<usize> = self
                    .asks
                    .values()
                    .filter(|_| is_checked)
                    .filter(same)
                    .map(|asked| asked.source)
                    .collect();
                assert!(others.len() < 3, "at most three asks for a chunk");
                assert!(!others.contains(&index), "no source is asked twice at once");
                self.asks.insert(
                    ask,
                    Asked {
                        source: index,
                        chunk,
                        came: 0,
                        is_arrived: false,
                    },
                );
                self.asked[index] += 1;
                self.at(self.peers[index].delay, Event::AskArrives(index, ask));
            }
            Action::Cancel { ask, source } => {
                let asked = self.asks.remove(&ask).expect("only asks in flight are cancelled");
                assert_eq!(asked.source, source.path.0 as usize);
            }
            Action::Done { want } => {
                let twice = self.ends.insert(want, Ok(self.now));
                assert!(twice.is_none(), "{want:?} ends once");
            }
            Action::Fail { want, error } => {
                let twice = self.ends.insert(want, Err(error));
                assert!(twice.is_none(), "{want:?} ends once");
            }
            Action::Drop { peer, .. } => {
                self.dropped.insert(peer);
                for index in (0..self.peers.len()).filter(|i| source(*i).peer == peer) {
                    self.servers[index] = Server::default();
                    self.asks.retain(|_, asked| asked.source != index || asked.is_arrived);
                }
            }
        }
    }

    fn check_limits(&self) {
        let config = SchedulerConfig::default();
        let mut at_source = vec![(0, 0); self.peers.len()];
        for asked in self.asks.values().filter(|asked| !asked.is_arrived) {
            at_source[asked.source].0 += u64::from(asked.chunk.len - asked.came);
            at_source[asked.source].1 += 1;
        }
        for (index, (bytes, asks)) in at_source.into_iter().enumerate() {
            assert!(
                bytes <= config.window_bytes_max,
                "source {index} has {bytes} bytes outstanding"
            );
            assert!(asks <= config.source_asks_max);
            assert_eq!(
                self.scheduler.inflight_bytes(&source(index)),
                bytes,
                "both sides count the same"
            );
        }
        assert!(self.scheduler.inflight_bytes <= self.inflight_bytes_bound);
    }
}

/// The `n`th chunk; its bytes do not matter here.
pub(super) fn chunk(n: u32, len: u32) -> ChunkRef {
    ChunkRef {
        id: ChunkId::of(&n.to_le_bytes()),
        len,
    }
}
