//! One path: a QUIC connection, the conversation on its control stream, its asks and its answers. Turns QUIC's events into the
//! machines' and tells the shard what came of it; owns no socket and no ring.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ares_core::admission::{Admission, Role, TurnedAway};
use ares_core::chunk::{ChunkId, ReleaseId};
use ares_core::knobs::Congestion;
use ares_core::path::Lane;
use ares_core::path::health::{self, Health, Pulse};
use ares_core::peer::{Address, PathId, PeerId, SocketId};
use ares_core::swarm::{LoadTeller, SourceStats};
use ares_core::time;
use ares_core::wire::{
    self, AskItem, ClaimState, CloseCode, Coming, Exchange, ExchangeLimits, Frame, Have, Hello, Load, Peers, Referral, WireError,
};
use bytes::Bytes;
use quinn_proto::{
    Connection, ConnectionError, ConnectionHandle, Dir, Event, ReadError, Side, StreamEvent, StreamId, TransportErrorCode,
    VarInt, WriteError,
};

use super::asking::{Asking, Outcome};
use super::gate::Gate;
use super::meter::{Carried, Meter};
use super::serving::Serving;
use crate::api::{PathFigures, PeerBytes};
use crate::backlog::{Backlog, Part};
use crate::clock::Clock;
use crate::mailbox::{End, PathAsk};
use crate::pacer::Pacers;
use crate::quic::Precedence;
use crate::{congestion, quic, tls};

/// One path.
pub(super) struct Conn {
    pub(super) path: PathId,
    pub(super) socket: SocketId,
    pub(super) handle: ConnectionHandle,
    pub(super) quic: Connection,
    pub(super) asking: Asking,
    pub(super) serving: Serving,
    /// What waits here for the peer, as others are told of it; from when its key is proven.
    part: Option<Part>,
    teller: LoadTeller,
    pub(super) gate: Gate,
    /// What `gate` was last set by.
    paced_by: Option<PacedBy>,
    /// What the peer may send before it is read, where its lane or it has a cap.
    receive_window: Option<u64>,
    remote: SocketAddr,
    /// Where all its datagrams leave from, if not from where the kernel says.
    lane: Option<Lane>,
    /// Where its datagrams come to.
    local: Option<IpAddr>,
    meter: Meter,
    /// What `take_moved` has told of.
    told: PeerBytes,
    served_bytes: u64,
    exchange: Exchange,
    control: Option<StreamId>,
    control_out: Bytes,
    peer: Option<PeerId>,
    /// Whom this side dialed.
    expected: Option<PeerId>,
    phase: Phase,
    health: Health,
    /// When the peer was pinged first since it last answered.
    pinged_at: Option<Instant>,
    is_sought: bool,
    /// The node's own zone, and whether the peer says that it is in another.
    zone: String,
    is_far: bool,
    /// When either side last asked the other for something, or took some of it.
    used_at: time::Instant,
    /// Why this side closed it; the reason QUIC gives for an own close says nothing.
    closed_because: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The TLS handshake is awaited.
    Opening,
    /// Chunks may be asked.
    Up,
    /// `Said::Down` has been told.
    Down,
}

/// What decides which caps a connection obeys.
struct PacedBy {
    pacers: Pacers,
    local: Option<IpAddr>,
    peer: Option<PeerId>,
    asks: bool,
}

/// What a connection has to tell.
#[derive(Debug)]
pub(super) enum Said {
    /// The handshake is done.
    Up { peer: PeerId },
    /// The handshake is done, and the peer is not let in.
    TurnedAway { peer: PeerId, why: TurnedAway },
    /// It is over.
    Down { end: End },
    /// The peer, which this side dialed, told which UDP ports its shards have.
    Ports { peer: PeerId, ports: Vec<u16>, nonce: u64 },
    /// The peer told where it can be reached.
    Addresses { peer: PeerId, addresses: Vec<Address> },
    /// The peer told how much of a release it has.
    Claim {
        peer: PeerId,
        release: ReleaseId,
        state: ClaimState,
    },
    /// The peer told which chunks it has too.
    Have { peer: PeerId, have: Have },
    /// The peer told in which zone it is.
    Zone { peer: PeerId, zone: String },
    /// The peer told what it has asked of other zones.
    Coming { peer: PeerId, coming: Coming },
    /// The peer told how busy it is with others.
    Load { peer: PeerId, load: Load },
    /// The peer told who else takes part in a release.
    Peers { by: PeerId, told: Peers },
    /// The peer told who fetches for this zone.
    Gates { by: PeerId, told: Peers },
    /// The peer found our bytes wrong.
    SawBad { peer: PeerId, chunk: ChunkId },
    /// The path fares better or worse.
    Pulse { peer: PeerId, pulse: Pulse },
    /// The peer broke the protocol. The connection is being closed.
    Violation { peer: Option<PeerId>, error: WireError },
    /// What became of an ask.
    Ask(Outcome),
}

impl Conn {
    pub(super) fn new(
        path: PathId,
        socket: SocketId,
        handle: ConnectionHandle,
        quic: Connection,
        lane: Option<Lane>,
        hello: Hello,
        now: time::Instant,
    ) -> Self {
        Self {
            path,
            socket,
            handle,
            remote: quic.remote_address(),
            local: quic.local_ip(),
            meter: Meter::default(),
            told: PeerBytes::default(),
            served_bytes: 0,
            quic,
            lane,
            asking: Asking::default(),
            serving: Serving::default(),
            gate: Gate::default(),
            paced_by: None,
            receive_window: None,
            part: None,
            teller: LoadTeller::default(),
            zone: hello.zone.clone(),
            is_far: false,
            exchange: Exchange::new(now, ExchangeLimits::default(), hello),
            control: None,
            control_out: Bytes::new(),
            peer: None,
            expected: None,
            phase: Phase::Opening,
            health: Health::new(now, Duration::ZERO),
            pinged_at: None,
            is_sought: false,
            used_at: now,
            closed_because: None,
        }
    }

    /// The identity proven in the handshake, once it is done.
    pub(super) fn peer(&self) -> Option<PeerId> {
        self.peer
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Where it leaves from, if this side has chosen.
    pub(super) fn lane(&self) -> Option<&Lane> {
        self.lane.as_ref()
    }

    /// The address of ours that it has, where that is known.
    pub(super) fn local_ip(&self) -> Option<IpAddr> {
        self.lane.as_ref().map(|lane| lane.ip).or(self.local)
    }

    /// A packet of so many bytes came over it, to this address.
    pub(super) fn on_heard(&mut self, now: time::Instant, local: Option<IpAddr>, bytes: usize) {
        self.health.on_heard(now);
        self.gate.on_received(now, bytes);
        self.local = local.or(self.local);
    }

    /// Looks, once in a while, at how much it carries. Whether it has looked now.
    pub(super) fn measure(&mut self, now: Instant) -> bool {
        let is_due = self.meter.is_due(now);
        if is_due {
            let total = self.carried();
            self.meter.on_mark(now, total);
        }
        is_due
    }

    /// What it has carried since this was last asked, but for what was fetched: that is known once it is verified.
    pub(super) fn take_moved(&mut self) -> PeerBytes {
        let Carried { rx_bytes, tx_bytes } = self.carried();
        let total = PeerBytes {
            fetched_bytes: 0,
            served_bytes: self.served_bytes,
            rx_bytes,
            tx_bytes,
        };
        let told = std::mem::replace(&mut self.told, total);
        total.since(&told)
    }

    fn carried(&self) -> Carried {
        let stats = self.quic.stats();
        Carried {
            rx_bytes: stats.udp_rx.bytes,
            tx_bytes: stats.udp_tx.bytes,
        }
    }

    /// Whether the peer is in another zone.
    pub(super) fn is_far(&self) -> bool {
        self.is_far
    }

    pub(super) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// When it was last of use to either side. A peer that asks and then takes nothing of the answer is of no use.
    pub(super) fn used_at(&self, now: time::Instant) -> time::Instant {
        if self.asking.is_idle() { self.used_at } else { now }
    }

    /// Chunk bytes handed to QUIC since this was last asked.
    pub(super) fn take_served_bytes(&mut self, now: time::Instant) -> u64 {
        let bytes = self.serving.take_served_bytes();
        if bytes > 0 {
            self.used_at = now;
        }
        self.served_bytes += bytes;
        bytes
    }

    /// Asks the peer for a chunk.
    pub(super) fn ask(&mut self, now: time::Instant, ask: PathAsk) {
        self.used_at = now;
        self.asking.push(ask);
    }

    /// This side wants something of the peer, whoever opened the connection: from now on it may send us much. Whether that is news.
    pub(super) fn seek(&mut self) -> bool {
        if self.is_sought {
            return false;
        }
        self.is_sought = true;
        self.quic.set_receive_window(quic::receive_window(true, self.receive_window));
        true
    }

    /// This side has dialed the peer, and TLS takes nobody else: its caps hold from the first byte on.
    pub(super) fn expect(&mut self, peer: PeerId, pacers: &Pacers) {
        self.expected = Some(peer);
        self.pace(pacers);
    }

    /// Obeys from now on what these have for its lane and its peer.
    pub(super) fn pace(&mut self, pacers: &Pacers) {
        let (local, peer, asks) = (self.local_ip(), self.peer.or(self.expected), self.is_sought);
        let is_same = |by: &PacedBy| by.pacers.are(pacers) && (by.local, by.peer, by.asks) == (local, peer, asks);
        if !self.paced_by.as_ref().is_some_and(is_same) {
            self.gate.set(pacers.of(local, peer.as_ref()), asks);
            let pacers = pacers.clone();
            self.paced_by = Some(PacedBy {
                pacers,
                local,
                peer,
                asks,
            });
        }
        // In steps, so that it changes with the distance and not with each measurement.
        let rtt = match self.phase {
            Phase::Opening => Duration::ZERO,
            _ => Duration::from_millis((self.quic.rtt().as_millis() as u64).next_power_of_two()),
        };
        let ahead_bytes = self.gate.ahead_bytes(rtt);
        if self.receive_window != ahead_bytes {
            self.quic
                .set_receive_window(quic::receive_window(self.is_sought, ahead_bytes));
            self.receive_window = ahead_bytes;
        }
    }

    /// Whether this side has ever wanted something of the peer.
    pub(super) fn is_sought(&self) -> bool {
        self.is_sought
    }

    /// The next chunk to bring from the store for it, and when its peer may be sent to others for it. `share_bytes`: what it may have in memory
    /// for its answers; `is_turn`: whether it is its turn to be given what others may have.
    pub(super) fn next_load(
        &mut self,
        share_bytes: u64,
        is_turn: impl FnOnce() -> bool,
    ) -> Option<(StreamId, AskItem, Referral)> {
        let ahead_bytes = 2 * self.congestion_window();
        self.serving.next_load(ahead_bytes, share_bytes, is_turn)
    }

    /// Lets QUIC keep for retransmission what the path takes, and no more than the share.
    pub(super) fn bound_send_window(&mut self, share_bytes: u64) {
        let window = quic::send_window(self.congestion_window(), share_bytes);
        self.quic.set_send_window(window);
    }

    /// Counts what waits here for the peer, and tells it, where it waits for something, how busy the node is with others. `served_bytes`: what
    /// has gone out to all of them since the node began.
    pub(super) fn tell_load(&mut self, now: time::Instant, backlog: &Arc<Backlog>, served_bytes: &AtomicU64) {
        let Some(peer) = self.peer.filter(|_| self.phase == Phase::Up) else {
            self.part = None;
            return;
        };
        let part = self.part.get_or_insert_with(|| backlog.join(peer));
        part.set(self.serving.queued_bytes(), self.serving.is_owing());
        if !self.serving.is_answering() {
            return;
        }
        let load = || part.others(now, served_bytes.load(Ordering::Relaxed));
        if let Some(load) = self.teller.on_turn(now, load) {
            self.exchange.send(&Frame::Load(load));
            self.write_control();
        }
    }

    /// Judges by what came whether the path still works. Whether the peer is to be pinged now.
    pub(super) fn check_health(&mut self, now: Instant, clock: &Clock, said: &mut Vec<Said>) -> bool {
        let Some(peer) = self.peer.filter(|_| self.phase == Phase::Up) else {
            return false;
        };
        let health_now = clock.at(now);
        self.health.on_expecting(health_now, !self.asking.is_idle());
        // Whatever was acknowledged of what was sent since. Acknowledgements are repeated, so that one comes is not enough.
        if let Some(pinged_at) = self.pinged_at
            && congestion::last_acked(self.quic.congestion_state()).is_some_and(|sent| sent >= pinged_at)
        {
            self.pinged_at = None;
            self.health.on_answer(health_now);
        }
        let mut is_ping_due = false;
        while let Some(action) = self.health.poll(health_now) {
            match action {
                health::Action::Ping => is_ping_due = true,
                health::Action::Tell(pulse) => said.push(Said::Pulse { peer, pulse }),
            }
        }
        if is_ping_due {
            self.pinged_at.get_or_insert(now);
        }
        is_ping_due
    }

    /// Fresh figures of the path, for the scheduler.
    pub(super) fn source_stats(&mut self) -> SourceStats {
        let rtt = self.quic.rtt();
        let rttvar = congestion::rttvar(self.quic.congestion_state()).unwrap_or(rtt / 2);
        self.health.on_rtt(rtt, rttvar);
        SourceStats {
            rtt,
            rttvar,
            rate_bytes_per_s: None,
        }
    }

    /// When something is due though nothing comes.
    pub(super) fn deadline(&mut self, clock: &Clock) -> Option<Instant> {
        let health = self.health.deadline().filter(|_| self.phase == Phase::Up);
        let reads = self.gate.reads_at().filter(|_| self.phase == Phase::Up);
        let own = [health, reads].into_iter().flatten().min();
        let own = own.map(|at| clock.instant(at));
        [self.quic.poll_timeout(), own].into_iter().flatten().min()
    }

    /// What may be in flight, in bytes. The window that the controller shows to QUIC is narrower between bursts.
    fn congestion_window(&self) -> u64 {
        self.quic.congestion_state().metrics().congestion_window
    }

    /// Queues a control frame.
    pub(super) fn send(&mut self, frame: &Frame) {
        self.exchange.send(frame);
    }

    /// Ends the connection and tells the peer why.
    pub(super) fn close(&mut self, now: Instant, code: CloseCode, why: &str) {
        if self.closed_because.is_none() {
            self.closed_because = Some(why.to_owned());
            self.quic
                .close(now, VarInt::from_u32(code.code()), Bytes::copy_from_slice(why.as_bytes()));
        }
    }

    /// Takes all events QUIC has, moves control bytes and opens streams for asks.
    pub(super) fn drive(&mut self, now: Instant, clock: &Clock, admission: &mut Admission, said: &mut Vec<Said>) {
        // QUIC tells of every frame that has come, and the first reading takes all there is.
        let mut read = None;
        while let Some(event) = self.quic.poll() {
            match event {
                Event::Stream(StreamEvent::Readable { id }) if read.replace(id) == Some(id) => {}
                Event::Connected => self.on_connected(now, clock, admission, said),
                Event::ConnectionLost { reason } => self.on_lost(reason, said),
                Event::Stream(event) => self.on_stream(now, clock, event, said),
                Event::HandshakeDataReady | Event::DatagramReceived | Event::DatagramsUnblocked => {}
            }
        }
        if self.quic.is_closed() && self.phase != Phase::Down {
            // Closed by this side: QUIC reports a loss only for what it did not do itself.
            self.phase = Phase::Down;
            let why = self.closed_because.clone().unwrap_or_else(|| "closed".to_owned());
            said.push(Said::Down { end: End::Because(why) });
        }
        if self.phase == Phase::Down {
            return;
        }
        while let Some(id) = self.gate.next_held(clock.at(now)) {
            self.read_answer(now, id, said);
        }
        self.poll_exchange(now, said);
        self.write_control();
        if self.phase == Phase::Up {
            self.asking.open_runs(&mut self.quic);
        }
    }

    /// Whether what is not here is fetched for this peer, where it is for any.
    pub(super) fn may_pull(&self, admission: &Admission) -> bool {
        self.peer.is_some_and(|peer| admission.access().is(&peer, Role::Edge))
    }

    /// Whether the peer may have the release, if it is one.
    pub(super) fn may_have(&self, admission: &Admission, release: ReleaseId) -> bool {
        self.peer.is_some_and(|peer| admission.access().may_have(&peer, &release))
    }

    fn on_connected(&mut self, now: Instant, clock: &Clock, admission: &mut Admission, said: &mut Vec<Said>) {
        self.peer = tls::proven_peer(self.quic.crypto_session());
        let Some(peer) = self.peer else {
            // The verifier lets no other key pass; without one there is nobody to speak to.
            self.close(now, CloseCode::Dropped, "no Ed25519 key was proven");
            return;
        };
        if let Err(why) = admission.on_proven(self.path, peer) {
            let code = match why {
                TurnedAway::Key => CloseCode::Dropped,
                TurnedAway::Full { .. } | TurnedAway::Net { .. } | TurnedAway::Peer { .. } | TurnedAway::Rate => {
                    CloseCode::Crowded
                }
            };
            self.close(now, code, &why.to_string());
            said.push(Said::TurnedAway { peer, why });
            return;
        }
        if self.quic.side() == Side::Client {
            let Some(id) = self.quic.streams().open(Dir::Bi) else {
                self.violate(now, WireError::ControlEnded, said);
                return;
            };
            self.talk_on(id);
        }
        // Asks need not wait for the peer's hello: ALPN has settled the version, and a round trip to the first byte is saved.
        self.phase = Phase::Up;
        self.health = Health::new(clock.at(now), self.quic.rtt());
        said.push(Said::Up { peer });
    }

    fn on_lost(&mut self, reason: ConnectionError, said: &mut Vec<Said>) {
        if self.phase != Phase::Down {
            self.phase = Phase::Down;
            let own = self.closed_because.clone().map(End::Because);
            said.push(Said::Down {
                end: own.unwrap_or_else(|| explain(&reason)),
            });
        }
    }

    fn on_stream(&mut self, now: Instant, clock: &Clock, event: StreamEvent, said: &mut Vec<Said>) {
        match event {
            StreamEvent::Opened { dir: Dir::Bi } => {
                while let Some(id) = self.quic.streams().accept(Dir::Bi) {
                    if self.control.is_none() {
                        // The dialer's first stream is the conversation.
                        self.talk_on(id);
                    } else {
                        self.used_at = clock.at(now);
                        self.serving.on_opened(id);
                    }
                    self.on_readable(now, clock, id, said);
                }
            }
            StreamEvent::Readable { id } => self.on_readable(now, clock, id, said),
            StreamEvent::Writable { .. } => {
                // What is short comes first: chunks fill whatever room there is, and would keep it from them.
                self.write_control();
                self.asking.on_writable(&mut self.quic);
                self.serving.on_writable(&mut self.quic);
            }
            StreamEvent::Stopped { id, .. } if Some(id) == self.control => self.violate(now, WireError::ControlEnded, said),
            StreamEvent::Stopped { id, .. } => self.serving.on_stopped(id, &mut self.quic),
            StreamEvent::Finished { id } => self.serving.on_finished(id),
            // Unidirectional streams are not allowed; available streams are looked at when there is need.
            StreamEvent::Opened { dir: Dir::Uni } | StreamEvent::Available { .. } => {}
        }
    }

    fn talk_on(&mut self, id: StreamId) {
        quic::prefer(&mut self.quic, id, Precedence::Control);
        self.control = Some(id);
    }

    fn on_readable(&mut self, now: Instant, clock: &Clock, id: StreamId, said: &mut Vec<Said>) {
        let verdict = if Some(id) == self.control {
            self.read_control(clock.at(now), id);
            Ok(())
        } else if self.asking.owns(id) {
            if self.gate.admits(clock.at(now), id) {
                self.read_answer(now, id, said);
            }
            Ok(())
        } else {
            self.serving.on_readable(id, &mut self.quic)
        };
        if let Err(error) = verdict {
            self.violate(now, error, said);
        }
    }

    fn read_answer(&mut self, now: Instant, id: StreamId, said: &mut Vec<Said>) {
        let mut outcomes = Vec::new();
        let verdict = self.asking.on_readable(id, &mut self.quic, &mut outcomes);
        said.extend(outcomes.into_iter().map(Said::Ask));
        if let Err(error) = verdict {
            self.violate(now, error, said);
        }
    }

    fn read_control(&mut self, now: time::Instant, id: StreamId) {
        let mut stream = self.quic.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return };
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => self.exchange.on_bytes(now, &chunk.bytes),
                Ok(None) | Err(ReadError::Reset(_)) => {
                    self.exchange.on_fin();
                    break;
                }
                Err(ReadError::Blocked) => break,
            }
        }
        // Whether credit should go out at once is answered by the poll_transmit that follows every event.
        let _ = chunks.finalize();
    }

    fn poll_exchange(&mut self, now: Instant, said: &mut Vec<Said>) {
        while let Some(event) = self.exchange.poll() {
            let Some(peer) = self.peer else { return };
            match event {
                wire::Event::Ready(hello) => {
                    tracing::debug!(peer = %peer.short(), agent = hello.agent, zone = hello.zone, "hello");
                    self.is_far = hello.zone != self.zone;
                    if !hello.zone.is_empty() {
                        said.push(Said::Zone { peer, zone: hello.zone });
                    }
                    if self.quic.side() == Side::Client {
                        said.push(Said::Ports {
                            peer,
                            ports: hello.ports,
                            nonce: hello.nonce,
                        });
                    }
                }
                wire::Event::Claim { release, state } => said.push(Said::Claim { peer, release, state }),
                wire::Event::Have(have) => said.push(Said::Have { peer, have }),
                wire::Event::Coming(coming) => said.push(Said::Coming { peer, coming }),
                wire::Event::Peers(told) => said.push(Said::Peers { by: peer, told }),
                wire::Event::Gates(told) => said.push(Said::Gates { by: peer, told }),
                wire::Event::Load(load) => said.push(Said::Load { peer, load }),
                wire::Event::Addresses(addresses) => said.push(Said::Addresses { peer, addresses }),
                wire::Event::Bad { chunk } => said.push(Said::SawBad { peer, chunk }),
                wire::Event::Bye { reason, .. } => {
                    self.close(now, CloseCode::Goodbye, &format!("the peer said goodbye: {reason}"));
                }
                wire::Event::Violation(error) => self.violate(now, error, said),
            }
        }
    }

    fn violate(&mut self, now: Instant, error: WireError, said: &mut Vec<Said>) {
        // What a closing connection still coughs up is not held against the peer.
        if self.closed_because.is_none() && !self.quic.is_closed() {
            self.close(now, error.close_code(), &error.to_string());
            said.push(Said::Violation { peer: self.peer, error });
        }
    }

    fn write_control(&mut self) {
        /// Frames handed to the stream at a time.
        const PIECE_BYTES_MAX: usize = 16 << 10;
        let Some(id) = self.control else { return };
        loop {
            if self.control_out.is_empty() {
                self.control_out = self.exchange.take_output(PIECE_BYTES_MAX);
            }
            if self.control_out.is_empty() {
                return;
            }
            match self
                .quic
                .send_stream(id)
                .write_chunks(std::slice::from_mut(&mut self.control_out))
            {
                Ok(_) => {}
                Err(WriteError::Blocked | WriteError::Stopped(_) | WriteError::ClosedStream) => return,
            }
        }
    }

    /// Figures for `status`, of a path that this shard drives.
    pub(super) fn figures(&self, now: Instant, shard: usize) -> PathFigures {
        let stats = self.quic.stats();
        let per_s = self.meter.per_s(now, self.carried());
        PathFigures {
            path: self.path.0,
            shard,
            remote: self.remote,
            local: self.local_ip(),
            rtt_ms: self.quic.rtt().as_secs_f64() * 1e3,
            mtu: stats.path.current_mtu,
            rx_bytes: stats.udp_rx.bytes,
            tx_bytes: stats.udp_tx.bytes,
            rx_bytes_per_s: per_s.rx_bytes,
            tx_bytes_per_s: per_s.tx_bytes,
            lost_packets: stats.path.lost_packets,
            loss_percent: 100.0 * stats.path.lost_packets as f64 / stats.path.sent_packets.max(1) as f64,
            inflight_bytes: self.asking.inflight_bytes(),
            congestion: congestion::kind_of(self.quic.congestion_state()).map_or("", Congestion::name),
        }
    }
}

/// Why a connection was lost, in words that name the guilty.
fn explain(reason: &ConnectionError) -> End {
    End::Because(match reason {
        ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
            return End::Crowded;
        }
        ConnectionError::TimedOut => "nothing came from it any more (timed out)".to_owned(),
        ConnectionError::ApplicationClosed(close) => {
            format!(
                "the peer closed the connection: {} (code {})",
                String::from_utf8_lossy(&close.reason),
                close.error_code
            )
        }
        ConnectionError::Reset => return End::Restarted,
        ConnectionError::VersionMismatch => "the peer speaks another version of QUIC".to_owned(),
        other => other.to_string(),
    })
}
