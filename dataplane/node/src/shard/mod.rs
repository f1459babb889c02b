//! One thread, one ring, its sockets and its connections. The loop: reap what the kernel finished, turn it into QUIC events,
//! let connections speak, hand what they want sent or read to the ring, sleep in the one system call that submits it all.

mod asking;
mod conn;
mod gate;
mod incoming;
mod loads;
mod meter;
mod sends;
mod serving;
mod shares;
mod sought;
mod submit;
mod tag;
mod telling;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ares_core::admission::{Access, Admission, AdmissionLimits};
use ares_core::chunk::ReleaseId;
use ares_core::knobs::{Congestion, Knob, Setting, Settings};
use ares_core::path::{Lane, LaneLost};
use ares_core::peer::{PathId, PeerId, SocketId, Source};
use ares_core::swarm::{Class, Giving, Spread};
use ares_core::wire::{AnswerHead, AskItem, Hello, PROTOCOL_VERSION, Referral};
use ares_ring::{Buffer, Completion, Datagrams, Op, OpError, Outcome, Ring, SocketError, Target, UdpSocket};
use crossbeam::channel::{Receiver, Sender, TryRecvError};
use quinn_proto::{ClientConfig, ConnectionHandle, DatagramEvent, EcnCodepoint, Endpoint, ServerConfig};

use self::conn::Conn;
use self::loads::Loads;
use self::sends::{Sends, Sent};
use self::shares::Shares;
use self::sought::Sought;
pub(crate) use self::submit::Submit;
use self::tag::Tag;
use self::telling::{count_moved, tell_all};
use crate::backlog::Backlog;
use crate::clock::Clock;
use crate::congestion::Chosen;
use crate::counters::{Totals, add};
use crate::lanes::{self, Routes};
use crate::mailbox::{CloseReason, End, Job, ToHub, ToShard, Tune};
use crate::node::StartError;
use crate::pacer::{self, Pacers};
use crate::path_ids::PathIds;
use crate::quic;
use crate::store::Store;
use crate::tls::{Tls, TlsError};

/// How often the hub hears the figures of a path that is being asked.
const STATS_INTERVAL: Duration = Duration::from_millis(100);

/// How long closing connections may take to tell their peers when the node stops.
const FAREWELL_MAX: Duration = Duration::from_millis(200);

/// Bursts one connection may send before the next one has its turn.
const BURSTS_PER_TURN: usize = 4;

/// Connections that a shard gives a chunk at a time, at least: fewer would be idle while one of them hears what to ask next.
const WIDTH_MIN: usize = 4;

/// What a shard needs from the rest of the node.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) clock: Clock,
    pub(crate) sockets: Vec<UdpSocket>,
    /// UDP ports of all shards, by socket.
    pub(crate) ports: Vec<Vec<u16>>,
    pub(crate) inbox: Receiver<ToShard>,
    pub(crate) hub: Sender<ToHub>,
    pub(crate) jobs: Sender<Job>,
    pub(crate) store: Arc<Store>,
    pub(crate) spread: Arc<Mutex<Spread>>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) tls: Tls,
    pub(crate) nonce: u64,
    pub(crate) zone: String,
    /// Lets a restarted node tell peers at once that their connections are gone (RFC 9000 section 10.3).
    pub(crate) reset_secret: [u8; 32],
    pub(crate) path_ids: Arc<PathIds>,
    pub(crate) access: Access,
    /// At the start.
    pub(crate) settings: Settings,
    pub(crate) routes: Routes,
    /// Whether what is not here may be fetched for who asks for it.
    pub(crate) is_edge: bool,
}

impl Parts {
    /// Whether this node has given the chunk to others and has to give what they have not. As it will give this one too if not, it is asked
    /// once a chunk.
    fn has_given(&self, now: Instant, conn: &Conn, item: &AskItem) -> bool {
        let Some(peer) = conn.peer() else { return false };
        let mut spread = self.spread.lock().unwrap_or_else(PoisonError::into_inner);
        spread.on_give(self.clock.at(now), peer, item.id.into())
    }
}

/// The shard's state.
pub(crate) struct Shard<S = Ring> {
    parts: Parts,
    ring: S,
    endpoint: Endpoint,
    sockets: Vec<Bound>,
    congestion: Arc<Chosen>,
    conns: BTreeMap<usize, Conn>,
    /// Those of them that others opened.
    admission: Admission,
    sought: Sought,
    by_path: BTreeMap<PathId, usize>,
    /// Connections that something happened to since they were last driven, in order.
    dirty: VecDeque<usize>,
    is_dirty: BTreeSet<usize>,
    timers: BTreeSet<(Instant, usize)>,
    timer_of: BTreeMap<usize, Instant>,
    loads: Loads,
    giving: Giving<usize>,
    shares: Shares,
    pacers: Pacers,
    sends: Sends,
    /// Answers the endpoint gives by itself (version negotiation, retry, stateless reset).
    scratch: Vec<u8>,
    next_stats: Instant,
    /// Held while peers that are not asked any more have not heard all.
    draining: Option<Sender<Infallible>>,
    stopping: Option<Instant>,
}

/// A socket that something can be sent from.
pub(crate) struct Bound {
    socket: Target,
    local: SocketAddr,
    /// For connections that others open, by the MTU of their link.
    server: BTreeMap<u32, Arc<ServerConfig>>,
}

impl Bound {
    pub(crate) fn new(socket: Target, local: SocketAddr) -> Self {
        Self {
            socket,
            local,
            server: BTreeMap::new(),
        }
    }
}

impl Shard {
    /// One that the kernel serves.
    pub(crate) fn start(parts: Parts, mut ring: Ring) -> Result<Self, StartError> {
        let mut sockets = Vec::new();
        for socket in &parts.sockets {
            sockets.push(Bound::new(Target::Slot(ring.register(socket)?), socket.local_addr()));
        }
        Self::new(Instant::now(), parts, ring, sockets, None).map_err(StartError::Tls)
    }

    /// Runs until told to stop, or until nobody is left who could tell. A ring that the kernel refuses to serve ends the thread
    /// with a log line; the hub hears that its paths are down.
    pub(crate) fn run(mut self) {
        self.work();
        for path in self.by_path.keys() {
            self.tell(ToHub::PathDown {
                path: *path,
                end: End::Because("its shard has stopped".to_owned()),
            });
        }
    }

    fn work(&mut self) {
        loop {
            let now = Instant::now();
            if self.stopping.is_some_and(|at| at <= now || self.conns.is_empty()) {
                return;
            }
            let timeout = self.next_wake(now);
            if let Err(error) = self.ring.enter(Some(timeout)) {
                tracing::error!(shard = self.parts.index, %error, "the kernel refused to serve the ring; the shard stops");
                return;
            }
            let now = Instant::now();
            while let Some(completion) = self.ring.reap() {
                self.on_completion(now, completion);
            }
            self.turn(now);
        }
    }
}

impl<S: Submit> Shard<S> {
    /// One that `ring` serves, with these sockets. `seed`: of what QUIC draws; `None` takes it from the operating system.
    pub(crate) fn new(
        now: Instant,
        parts: Parts,
        mut ring: S,
        sockets: Vec<Bound>,
        seed: Option<[u8; 32]>,
    ) -> Result<Self, TlsError> {
        let default = ServerConfig::with_crypto(Arc::new(parts.tls.server()?));
        let mut config = quic::endpoint_config(&parts.reset_secret);
        config.rng_seed(seed);
        for (index, bound) in sockets.iter().enumerate() {
            let socket = bound.socket.clone();
            ring.submit(Op::Receive { socket }, Tag::Receive(SocketId(index as u16)).encode());
        }
        Ok(Self {
            endpoint: Endpoint::new(Arc::new(config), Some(Arc::new(default)), true, None),
            sockets,
            congestion: Arc::new(Chosen::new(Congestion::of(parts.settings.get(Knob::Congestion)))),
            conns: BTreeMap::new(),
            admission: {
                let mut admission = Admission::new(AdmissionLimits::of(&parts.settings));
                admission.set_access(parts.access.clone());
                admission
            },
            sought: Sought::default(),
            by_path: BTreeMap::new(),
            dirty: VecDeque::new(),
            is_dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
            timer_of: BTreeMap::new(),
            loads: Loads::default(),
            giving: Giving::new(width_of(parts.settings.count(Knob::GivePeers), &parts.ports)),
            shares: Shares::new(parts.settings.bytes(Knob::ServeWindow)),
            pacers: Pacers::default(),
            sends: Sends::default(),
            scratch: Vec::new(),
            next_stats: now + STATS_INTERVAL,
            draining: None,
            stopping: None,
            ring,
            parts,
        })
    }

    /// What is to be done between two sleeps, behind what the ring has brought.
    pub(crate) fn turn(&mut self, now: Instant) {
        loop {
            match self.parts.inbox.try_recv() {
                Ok(message) => self.on_message(now, message),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) if self.stopping.is_some() => break,
                Err(TryRecvError::Disconnected) => self.on_message(now, ToShard::Stop),
            }
        }
        self.fire_timers(now);
        self.drive_all(now);
        self.report_stats(now);
        if self.draining.is_some() && !self.conns.values().any(|conn| conn.serving.is_owing()) {
            self.draining = None;
        }
    }

    /// How long to sleep if nothing comes.
    pub(crate) fn next_wake(&self, now: Instant) -> Duration {
        if !self.dirty.is_empty() && self.sends.has_room() {
            return Duration::ZERO;
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let stats = (!self.by_path.is_empty()).then_some(self.next_stats);
        let wake = [timer, stats, self.stopping].into_iter().flatten().min();
        wake.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(now))
    }

    /// Takes what the ring has brought. `turn` follows.
    pub(crate) fn on_completion(&mut self, now: Instant, completion: Completion) {
        let tag = Tag::decode(completion.tag);
        match (completion.outcome, tag) {
            (Outcome::Received(datagrams), Some(Tag::Receive(id))) => self.on_datagrams(now, id, datagrams),
            (Outcome::ReceiveEnded(error), Some(Tag::Receive(id))) => {
                if self.stopping.is_none() {
                    tracing::error!(%error, socket = id.0, "receiving on a socket ended; trying again");
                    let socket = self.sockets[usize::from(id.0)].socket.clone();
                    self.ring.submit(Op::Receive { socket }, Tag::Receive(id).encode());
                }
            }
            (Outcome::Sent { payload, result }, tag) => {
                if let (Some(error), Some(Tag::Send(path))) = (self.sends.on_sent(payload, result), tag) {
                    self.on_no_way(now, path, &error);
                }
            }
            (Outcome::Read { buf, result }, Some(Tag::Load(id))) => {
                let Some(load) = self.loads.on_read(id, buf, result, &self.parts.store) else {
                    return;
                };
                let Some(conn) = self.conn_of(load.path) else { return };
                conn.serving.on_loaded(load.stream, load.item, load.result, &mut conn.quic);
            }
            (Outcome::Woken, _) => {}
            (outcome, _) => tracing::error!(?outcome, tag = completion.tag, "a completion that nobody asked for"),
        }
    }

    fn on_datagrams(&mut self, now: Instant, id: SocketId, mut datagrams: Datagrams) {
        let ecn = datagrams.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn.bits()));
        let (remote, local_ip) = (datagrams.remote, datagrams.local_ip);
        let is_sought = self.sought.has(remote);
        let heard_at = self.parts.clock.at(now);
        while let Some(datagram) = sought::take(&mut datagrams, is_sought) {
            self.scratch.clear();
            let bytes = datagram.len() + sends::headers_bytes(remote);
            match self.endpoint.handle(now, remote, local_ip, ecn, datagram, &mut self.scratch) {
                Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                    if let Some(conn) = self.conns.get_mut(&handle.0) {
                        conn.quic.handle_event(event);
                        // What comes from elsewhere QUIC drops: no path migrates.
                        if remote == conn.remote() {
                            conn.on_heard(heard_at, local_ip, bytes);
                        }
                        self.mark_dirty(handle.0);
                    }
                }
                Some(DatagramEvent::NewConnection(incoming)) => self.on_incoming(now, id, incoming),
                Some(DatagramEvent::Response(transmit)) => self.respond(id, &transmit),
                None => {}
            }
        }
    }

    /// The kernel could not send for a connection. One that has a lane is over: its lane is lost, and the news of that is on its way.
    fn on_no_way(&mut self, now: Instant, path: PathId, error: &OpError) {
        let conn = self.by_path.get(&path).and_then(|handle| self.conns.get(handle));
        if let Some(lane) = conn.and_then(Conn::lane) {
            let why = CloseReason::LaneLost(LaneLost::NoWay {
                ip: lane.ip,
                interface: lane.name.clone(),
                why: error.to_string(),
            });
            self.close(now, path, &why);
        }
    }

    fn respond(&mut self, id: SocketId, transmit: &quinn_proto::Transmit) {
        let socket = self.sockets[usize::from(id.0)].socket.clone();
        self.sends.respond(&mut self.ring, socket, transmit, &self.scratch);
    }

    fn close(&mut self, now: Instant, path: PathId, why: &CloseReason) {
        if let Some(conn) = self.conn_of(path) {
            let (code, text) = why.for_peer();
            conn.close(now, code, &text);
        }
    }

    fn insert(
        &mut self,
        now: Instant,
        path: PathId,
        id: SocketId,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        lane: Option<Lane>,
    ) {
        let hello = Hello {
            version: PROTOCOL_VERSION,
            features: 0,
            agent: concat!("ares/", env!("CARGO_PKG_VERSION")).to_owned(),
            nonce: self.parts.nonce,
            ports: self.parts.ports[usize::from(id.0)].clone(),
            zone: self.parts.zone.clone(),
        };
        let mut conn = Conn::new(path, id, handle, quic, lane, hello, self.parts.clock.at(now));
        conn.pace(&self.pacers);
        self.conns.insert(handle.0, conn);
        self.by_path.insert(path, handle.0);
        self.mark_dirty(handle.0);
    }

    fn on_message(&mut self, now: Instant, message: ToShard) {
        match message {
            ToShard::Dial {
                path,
                peer,
                remote,
                from,
            } => {
                if let Err(why) = self.dial(now, path, peer, remote, from) {
                    let end = End::Because(why);
                    self.tell(ToHub::PathDown { path, end });
                }
            }
            ToShard::Ask(ask) => {
                let asked_at = self.parts.clock.at(now);
                self.seek(ask.path);
                match self.conn_of(ask.path) {
                    Some(conn) => conn.ask(asked_at, ask),
                    None => self.tell(ToHub::AskFailed {
                        ask: ask.ask,
                        why: "its path is gone".to_owned(),
                    }),
                }
            }
            ToShard::Cancel { path, ask } => {
                if let Some(conn) = self.conn_of(path) {
                    conn.asking.cancel(ask, &mut conn.quic);
                }
            }
            ToShard::Say { path, frame } => {
                if let Some(conn) = self.conn_of(path) {
                    conn.send(&frame);
                }
            }
            ToShard::Close { path, why } => self.close(now, path, &why),
            ToShard::Pulled { path, chunk, refusal } => {
                if let Some(conn) = self.conn_of(path) {
                    conn.serving.on_pulled(chunk, refusal, &mut conn.quic);
                }
            }
            ToShard::Paths(reply) => {
                self.conns.values_mut().for_each(|conn| count_moved(&self.parts, conn));
                let up = self.conns.values().filter(|conn| conn.is_up());
                let paths = up
                    .filter_map(|conn| Some((conn.peer()?, conn.figures(now, self.parts.index))))
                    .collect();
                // Whoever asked may have gone; that is theirs to know.
                let _ = reply.send(paths);
            }
            ToShard::Tune(Tune { setting, done }) => {
                // Whoever asked may have gone; that is theirs to know.
                let _ = done.send(self.tune(setting));
            }
            ToShard::Pace(pacers) => {
                self.pacers = pacers;
                let handles: Vec<usize> = self.conns.keys().copied().collect();
                handles.into_iter().for_each(|handle| self.mark_dirty(handle));
            }
            ToShard::Access(access) => self.on_access(now, access),
            ToShard::Drain(drained) => {
                self.draining = Some(drained);
                self.conns.values_mut().for_each(|conn| conn.serving.close());
            }
            ToShard::Stop => {
                self.stopping = Some(now + FAREWELL_MAX);
                let handles: Vec<usize> = self.conns.keys().copied().collect();
                for handle in handles {
                    if let Some(conn) = self.conns.get_mut(&handle) {
                        let (code, text) = CloseReason::Stopping.for_peer();
                        conn.close(now, code, &text);
                    }
                    self.mark_dirty(handle);
                }
            }
        }
    }

    /// Obeys a setting; on an error as before.
    fn tune(&mut self, setting: Setting) -> Result<(), SocketError> {
        match setting.knob() {
            Knob::Congestion => self.congestion.choose(Congestion::of(setting)),
            Knob::SocketReceiveBuffer => self.resize(Buffer::Receive, setting.value())?,
            Knob::SocketSendBuffer => self.resize(Buffer::Send, setting.value())?,
            Knob::ServeWindow => self.shares.set_whole_bytes(setting.value()),
            Knob::GivePeers => self
                .giving
                .set_width_min(width_of(setting.value() as usize, &self.parts.ports)),
            Knob::Connections | Knob::ConnectionsPerAddress | Knob::ConnectionsPerKey | Knob::ConnectionsIdle => {
                self.parts.settings.set(setting);
                self.admission.set_limits(AdmissionLimits::of(&self.parts.settings));
            }
            // The hub's; the store's; `control`'s.
            Knob::GetWindow | Knob::SourceWindow | Knob::HedgeWindow | Knob::BulkRate | Knob::HealRate | Knob::StallTimeout => {}
            Knob::PathMode | Knob::DialTimeout | Knob::Links => {}
            Knob::StoreQuota | Knob::StoreFree | Knob::StoreEvict | Knob::ScrubRate => {}
            Knob::LogLevel | Knob::ReadPatience | Knob::MountCache | Knob::Lookahead => {}
        }
        Ok(())
    }

    /// The kernel's cap is the same for all sockets, so where it is too low the first one says so and none is changed.
    fn resize(&self, buffer: Buffer, bytes: u64) -> Result<(), SocketError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.parts.sockets.iter().try_for_each(|socket| socket.resize(buffer, bytes))
    }

    fn dial(&mut self, now: Instant, path: PathId, peer: PeerId, remote: SocketAddr, from: Option<Lane>) -> Result<(), String> {
        let at = self.sockets.iter().position(|socket| match &from {
            Some(lane) => lanes::sends_from(socket.local.ip(), lane.ip),
            None => socket.local.is_ipv4() == remote.is_ipv4() && reaches(socket.local, remote),
        });
        let at = at.ok_or_else(|| {
            let bound: Vec<String> = self.sockets.iter().map(|socket| socket.local.to_string()).collect();
            format!("no local address can reach it (bound: {})", bound.join(", "))
        })?;
        let crypto = self.parts.tls.client(peer).map_err(|error| error.to_string())?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        let mtu = match &from {
            Some(lane) => (self.parts.routes.lane_mtu)(lane, remote),
            None => (self.parts.routes.link_mtu)(Some(self.sockets[at].local.ip()), remote),
        };
        let [_, down] = self.pacers.of(from.as_ref().map(|lane| lane.ip), Some(&peer));
        let ahead_bytes = pacer::ahead_bytes(&down, Duration::ZERO);
        let window = quic::receive_window(true, ahead_bytes);
        config.transport_config(quic::transport_config(mtu, window, &self.congestion));
        // No certificates, so the name is never looked at; TLS wants one.
        let (handle, quic) = self
            .endpoint
            .connect(now, config, remote, "ares")
            .map_err(|error| error.to_string())?;
        self.insert(now, path, SocketId(at as u16), handle, quic, from);
        let pacers = self.pacers.clone();
        if let Some(conn) = self.conn_of(path) {
            conn.expect(peer, &pacers);
        }
        self.seek(path);
        Ok(())
    }

    /// From now on this side wants something over the connection.
    fn seek(&mut self, path: PathId) {
        let Some(conn) = self.by_path.get(&path).and_then(|handle| self.conns.get_mut(handle)) else {
            return;
        };
        if conn.seek() {
            self.sought.add(conn.remote());
        }
    }

    fn conn_of(&mut self, path: PathId) -> Option<&mut Conn> {
        let handle = *self.by_path.get(&path)?;
        self.mark_dirty(handle);
        self.conns.get_mut(&handle)
    }

    fn mark_dirty(&mut self, handle: usize) {
        if self.is_dirty.insert(handle) {
            self.dirty.push_back(handle);
        }
    }

    fn fire_timers(&mut self, now: Instant) {
        while let Some(&(at, handle)) = self.timers.first() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            self.timer_of.remove(&handle);
            if let Some(conn) = self.conns.get_mut(&handle) {
                conn.quic.handle_timeout(now);
                self.mark_dirty(handle);
            }
        }
    }

    /// Lets every connection that something happened to act, each in its turn, as long as there are buffers to send from.
    fn drive_all(&mut self, now: Instant) {
        let mut turns = self.dirty.len();
        while turns > 0 {
            turns -= 1;
            let Some(handle) = self.dirty.pop_front() else { return };
            self.is_dirty.remove(&handle);
            self.drive(now, handle);
        }
        let now = self.parts.clock.at(now);
        while let Some(next) = self.giving.poll(now) {
            self.mark_dirty(next);
        }
    }

    fn drive(&mut self, now: Instant, handle: usize) {
        let mut said = Vec::new();
        let clock_now = self.parts.clock.at(now);
        let Some(conn) = self.conns.get_mut(&handle) else { return };
        let share_bytes = self.shares.each_bytes();
        conn.bound_send_window(share_bytes);
        conn.pace(&self.pacers);
        loop {
            while let Some(event) = conn.quic.poll_endpoint_events() {
                let drained = event.is_drained();
                if let Some(answer) = self.endpoint.handle_event(conn.handle, event) {
                    conn.quic.handle_event(answer);
                }
                if drained {
                    // What ended it (idle timeout, stateless reset) is told along with this last event.
                    conn.drive(now, &self.parts.clock, &mut self.admission, &mut said);
                    tell_all(&self.parts, conn, &mut said);
                    self.forget(handle);
                    return;
                }
            }
            conn.drive(now, &self.parts.clock, &mut self.admission, &mut said);
            while let Some((stream, item, referral)) = conn.next_load(share_bytes, || self.giving.may_give(clock_now, handle)) {
                if !conn.may_have(&self.admission, ReleaseId(item.id)) {
                    telling::on_refused_release(&self.parts, conn);
                    conn.serving.on_loaded(stream, item, Err(AnswerHead::NotHeld), &mut conn.quic);
                    continue;
                }
                let is_busy = self.parts.backlog.is_busy();
                let is_elsewhere = || match referral {
                    Referral::Never => false,
                    Referral::WhenBusy => self.parts.has_given(now, conn, &item) && is_busy,
                    Referral::WhenGiven => self.parts.has_given(now, conn, &item),
                };
                let started = self
                    .loads
                    .start(&mut self.ring, &self.parts.store, conn.path, stream, item, is_elsewhere);
                match started {
                    Ok(()) => {}
                    Err(AnswerHead::NotHeld) if self.parts.is_edge && !self.parts.store.has(&item.id) => {
                        if !conn.may_pull(&self.admission) {
                            telling::on_refused_pull(&self.parts, conn);
                            conn.serving.on_loaded(stream, item, Err(AnswerHead::NotHeld), &mut conn.quic);
                            continue;
                        }
                        let mut items = conn.serving.on_absent(stream, item);
                        items.retain(|item| !self.parts.store.has(&item.id));
                        let class = match referral {
                            Referral::WhenGiven => Class::Bulk,
                            Referral::Never | Referral::WhenBusy => Class::Deadline,
                        };
                        let path = conn.path;
                        // As with all that is told to the hub.
                        let _ = self.parts.hub.send(ToHub::Pull { path, items, class });
                    }
                    Err(refusal) => conn.serving.on_loaded(stream, item, Err(refusal), &mut conn.quic),
                }
            }
            if said.is_empty() {
                break;
            }
            tell_all(&self.parts, conn, &mut said);
        }
        self.shares.note(handle, conn.serving.is_answering());
        let served_bytes = &self.parts.totals.served_bytes;
        let bytes = conn.take_served_bytes(clock_now);
        add(served_bytes, bytes);
        self.giving.on_bytes(bytes);
        if !conn.serving.is_giving() {
            self.giving.on_given(&handle);
        }
        conn.tell_load(clock_now, &self.parts.backlog, served_bytes);
        let socket = &self.sockets[usize::from(conn.socket.0)].socket;
        if conn.check_health(now, &self.parts.clock, &mut said) {
            // Two packets: the second is acknowledged at once.
            conn.quic.ping();
            let clock = &self.parts.clock;
            self.sends.transmit(&mut self.ring, socket, conn, now, clock, BURSTS_PER_TURN);
            conn.quic.ping();
        }
        tell_all(&self.parts, conn, &mut said);
        let clock = &self.parts.clock;
        let sent = self.sends.transmit(&mut self.ring, socket, conn, now, clock, BURSTS_PER_TURN);
        let timer = conn.deadline(clock);
        let opens_at = conn
            .gate
            .opens_at()
            .filter(|_| sent == Sent::Allowed)
            .map(|at| clock.instant(at));
        if sent == Sent::Part {
            self.mark_dirty(handle);
        }
        self.set_timer(handle, [timer, opens_at].into_iter().flatten().min());
    }

    fn set_timer(&mut self, handle: usize, at: Option<Instant>) {
        if self.timer_of.get(&handle).copied() == at {
            return;
        }
        if let Some(old) = self.timer_of.remove(&handle) {
            self.timers.remove(&(old, handle));
        }
        if let Some(at) = at {
            self.timer_of.insert(handle, at);
            self.timers.insert((at, handle));
        }
    }

    fn forget(&mut self, handle: usize) {
        self.set_timer(handle, None);
        self.shares.note(handle, false);
        self.giving.on_gone(&handle);
        if let Some(mut conn) = self.conns.remove(&handle) {
            count_moved(&self.parts, &mut conn);
            self.by_path.remove(&conn.path);
            let is_of_others = self.admission.on_gone(conn.path);
            if is_of_others && conn.peer().is_none() && self.stopping.is_none() {
                telling::on_failed_handshake(&self.parts, conn.remote(), "no key was proven");
            }
            if conn.is_sought() {
                self.sought.remove(conn.remote());
            }
        }
    }

    fn report_stats(&mut self, now: Instant) {
        if now < self.next_stats {
            return;
        }
        self.next_stats = now + STATS_INTERVAL;
        for conn in self.conns.values_mut() {
            if conn.measure(now) {
                count_moved(&self.parts, conn);
            }
        }
        for conn in self.conns.values_mut().filter(|conn| conn.is_up() && conn.is_sought()) {
            let Some(peer) = conn.peer() else { continue };
            let source = Source { peer, path: conn.path };
            let stats = conn.source_stats();
            // The hub outlives the shards: it ends only after telling them to stop.
            let _ = self.parts.hub.send(ToHub::Stats { source, stats });
        }
    }

    fn tell(&self, message: ToHub) {
        // The hub outlives the shards: it ends only after telling them to stop.
        let _ = self.parts.hub.send(message);
    }
}

/// How many peers a shard gives a chunk at a time at least, where the node gives so many; `ports`: of all shards, at each address.
fn width_of(peers: usize, ports: &[Vec<u16>]) -> usize {
    let shards = ports.first().map_or(1, Vec::len);
    (peers / shards.max(1)).max(WIDTH_MIN)
}

/// Whether a socket bound to `local` can send to `remote` at all.
fn reaches(local: SocketAddr, remote: SocketAddr) -> bool {
    local.ip().is_unspecified() || local.ip().is_loopback() == remote.ip().is_loopback()
}
