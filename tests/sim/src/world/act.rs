//! What a node decides, carried out; and what it hears of others. As `hub/mod.rs` of the node does it.

use ares_core::chunk::ChunkTag;
use ares_core::limits::HAVE_CHUNKS_MAX;
use ares_core::peer::{PeerAt, PeerId};
use ares_core::swarm::{Action, Class, Refusal, Unreached, Want, WantKey};
use ares_core::wire::{ClaimState, Coming, Peers};

use super::*;
use crate::net::ConnState;
use crate::node::Incoming;
use crate::scenario::Fault;

/// How long nothing at all of the release may come.
const PATIENCE: Duration = Duration::from_secs(600);

impl World {
    /// Lets a node's machines choose until they have nothing more to do.
    pub(super) fn act(&mut self, node: u32) {
        if self.node(node).is_gone {
            return;
        }
        while let Some(action) = self.schedule(node, |scheduler, now| scheduler.poll(now)) {
            self.carry_out(node, action);
        }
        self.share(node);
        let due = self.node(node).deadline();
        if let Some(at) = due
            && self.node(node).wake_at.is_none_or(|wake_at| at < wake_at)
        {
            self.node(node).wake_at = Some(at);
            self.at(at.max(self.now), Event::Wake(node));
        }
    }

    fn carry_out(&mut self, node: u32, action: Action) {
        match action {
            Action::Ask {
                ask,
                source,
                chunk,
                referral,
                ..
            } => {
                let chunk = names::chunk_of(chunk.id.into());
                let flow = self.flow_to(node, ConnId(source.path.0 as u32));
                self.node(node).incoming.insert(ask, Incoming { flow, chunk, came: 0 });
                let asked = Asked { ask, chunk, referral };
                self.tallies.asks += 1;
                let latency = self.conn(flow.conn).latency;
                self.after(latency, Event::Asked(flow, asked));
            }
            Action::Crossing {
                release,
                chunk,
                is_coming,
            } => {
                let now = self.now;
                self.node(node).sharing.on_crossing(now, release, chunk, is_coming);
            }
            Action::Cancel { ask, source } => {
                self.node(node).incoming.remove(&ask);
                let flow = self.flow_to(node, ConnId(source.path.0 as u32));
                self.tallies.cancels += 1;
                let latency = self.conn(flow.conn).latency;
                self.after(latency, Event::Cancelled(flow, ask));
            }
            Action::Done { want, .. } => {
                // Who reads on has wanted the chunk before it waited for it.
                if want.0 < u64::from(self.scenario.chunks) {
                    self.node(node).wanted_bytes -= u64::from(self.scenario.chunk_bytes);
                }
                self.want(node);
            }
            Action::Fail { .. } => self.tallies.failed_wants += 1,
            Action::Drop { peer, .. } => {
                let dropped = names::node_of(&peer);
                self.tallies.dropped.insert(dropped);
                if let Some(conn) = self.node(node).conns.get(&dropped).copied() {
                    self.close(conn);
                }
            }
        }
    }

    /// What the other end of a connection sends to this one.
    fn flow_to(&mut self, node: u32, conn: ConnId) -> FlowId {
        let side = usize::from(self.conn(conn).ends[0] == node);
        FlowId { conn, side }
    }

    /// Wants more of the release, as a download does that walks through it.
    pub(super) fn want(&mut self, node: u32) {
        if !self.node(node).temper.is_reader() {
            return;
        }
        if let Some(ahead) = self.scenario.reads_ahead {
            return self.read_on(node, ahead);
        }
        let len = self.scenario.chunk_bytes;
        let wanted_max = match self.scenario.fault {
            Fault::InOrder => u64::from(len),
            _ => self.scenario.wanted_bytes_max,
        };
        while self.node(node).wanted_bytes < wanted_max && self.node(node).next_want < self.scenario.chunks {
            let number = self.node(node).next_want;
            self.node(node).next_want += 1;
            self.want_chunk(node, number, Class::Bulk);
        }
    }

    fn want_chunk(&mut self, node: u32, number: u32, class: Class) {
        let len = self.scenario.chunk_bytes;
        let key = match class {
            Class::Deadline => number + self.scenario.chunks,
            Class::Bulk | Class::Heal => {
                self.node(node).wanted_bytes += u64::from(len);
                number
            }
        };
        let want = Want {
            chunk: names::chunk(number, len),
            place: None,
            class,
            release: names::release(),
            patience: PATIENCE,
            unreached: Unreached::Wait,
        };
        self.schedule(node, |scheduler, now| scheduler.on_want(now, WantKey(key.into()), want));
    }

    /// Waits for the first chunk that is not here, and wants so many bytes behind it.
    fn read_on(&mut self, node: u32, ahead: u64) {
        let chunks = self.scenario.chunks;
        let mut at = self.node(node).reads_at;
        while at < chunks && self.node(node).holds(at) {
            at += 1;
        }
        let is_news = std::mem::replace(&mut self.node(node).reads_at, at) != at || at == 0 && self.node(node).next_want == 0;
        let until = chunks.min(at + 1 + (ahead / u64::from(self.scenario.chunk_bytes)) as u32);
        while self.node(node).next_want < until {
            let number = self.node(node).next_want;
            self.node(node).next_want += 1;
            self.want_chunk(node, number, Class::Bulk);
        }
        if is_news && at < chunks {
            self.want_chunk(node, at, Class::Deadline);
        }
    }

    /// Says what is held here and who else is there.
    fn share(&mut self, node: u32) {
        let now = self.now;
        for (peer, coming) in self.node(node).sharing.poll_coming(now) {
            self.say(node, names::node_of(&peer), |conn, to| Event::Coming { conn, to, coming });
        }
        let is_partial = !self.node(node).is_complete();
        let may_lag = is_partial && self.scenario.fault != Fault::NoFurther;
        for (_, further) in self.node(node).sharing.poll_lag(now, |_| may_lag) {
            self.hint(node, names::node_of(&further.peer));
        }
        let at = &mut self.nodes[node as usize];
        if at.sharing.deadline().is_none_or(|due| due > now) {
            return;
        }
        let scheduler = &at.scheduler;
        let haves = at
            .sharing
            .poll_have(now, |_| is_partial, |peer, chunk| scheduler.is_held_by(peer, chunk));
        let told = at.sharing.poll_peers(now);
        let is_mute = at.temper != Temper::Honest || self.scenario.fault == Fault::NoHaves;
        for (peer, have) in haves {
            if !is_mute {
                let chunks = have.chunks;
                self.say(node, names::node_of(&peer), |conn, to| Event::Have { conn, to, chunks });
            }
        }
        for tell in told {
            for (peers, are_gates) in [(&tell.gates, true), (&tell.others, false)] {
                let met = peers.iter().map(names::node_of);
                let peers: Vec<u32> = met
                    .filter(|other| self.nodes[node as usize].conns.contains_key(other))
                    .collect();
                if !peers.is_empty() {
                    self.say(node, names::node_of(&tell.peer), |conn, to| Event::Told {
                        conn,
                        to,
                        peers,
                        are_gates,
                    });
                }
            }
        }
    }

    /// Sends a frame to a peer that is connected.
    fn say(&mut self, node: u32, peer: u32, frame: impl FnOnce(ConnId, usize) -> Event) {
        if let Some(id) = self.node(node).conns.get(&peer).copied() {
            let conn = self.conn(id);
            let (to, latency) = (usize::from(conn.ends[0] == node), conn.latency);
            self.tallies.frames += 1;
            self.after(latency, frame(id, to));
        }
    }

    /// Tells a peer what is here of the release, unless it was told the same.
    pub(super) fn tell_claim(&mut self, node: u32, id: ConnId) {
        let state = self.node(node).claim();
        let conn = self.conn(id);
        let side = usize::from(conn.ends[1] == node);
        if conn.told[side].replace(state) == Some(state) {
            return;
        }
        let peer = conn.ends[1 - side];
        self.say(node, peer, |conn, to| Event::Claim { conn, to, state });
        if self.node(node).temper.is_liar() {
            let all: Vec<ChunkTag> = (0..self.scenario.chunks)
                .map(|number| names::chunk(number, 0).id.into())
                .collect();
            for chunks in all.chunks(HAVE_CHUNKS_MAX) {
                let chunks = chunks.to_vec();
                self.say(node, peer, |conn, to| Event::Have { conn, to, chunks });
            }
        }
    }

    /// The node at the end `to` of a connection and the other one, if what is said there still comes through.
    fn ends_of(&mut self, id: ConnId, to: usize) -> Option<(u32, u32)> {
        let conn = self.conn(id);
        (conn.state == ConnState::Up).then(|| (conn.ends[to], conn.ends[1 - to]))
    }

    pub(super) fn on_claim(&mut self, conn: ConnId, to: usize, state: ClaimState) {
        let Some((node, by)) = self.ends_of(conn, to) else { return };
        let (now, peer, release) = (self.now, names::peer(by), names::release());
        self.schedule(node, |scheduler, now| scheduler.on_claim(now, release, peer, state));
        self.node(node).sharing.on_claim(now, release, peer, state);
        if self.conn(conn).told[to].is_none() {
            self.tell_claim(node, conn);
        }
        self.act(node);
    }

    pub(super) fn on_have(&mut self, conn: ConnId, to: usize, chunks: &[ChunkTag]) {
        let Some((node, by)) = self.ends_of(conn, to) else { return };
        let peer = names::peer(by);
        if self.node(node).sharing.has_part(&names::release(), &peer) {
            let news = self.schedule(node, |scheduler, now| scheduler.on_have(now, peer, chunks));
            self.node(node).sharing.on_chunks_told(&names::release(), &peer, news);
            self.act(node);
        }
    }

    pub(super) fn on_coming(&mut self, conn: ConnId, to: usize, coming: &Coming) {
        if let Some((node, by)) = self.ends_of(conn, to) {
            let peer = names::peer(by);
            self.schedule(node, |scheduler, now| {
                scheduler.on_not_coming(now, peer, &coming.not_coming);
                scheduler.on_coming(now, peer, coming.release, &coming.coming);
            });
            self.act(node);
        }
    }

    pub(super) fn on_told(&mut self, conn: ConnId, to: usize, peers: Vec<u32>, are_gates: bool) {
        let Some((node, by)) = self.ends_of(conn, to) else { return };
        let release = names::release();
        let at = &mut self.nodes[node as usize];
        if !at.sharing.is_member(&release, &names::peer(by)) || !at.is_seeking() {
            return;
        }
        let others = peers.into_iter().filter(|other| *other != node).map(names::peer);
        let others: Vec<PeerId> = others.filter(|other| !at.scheduler.is_dropped(other)).collect();
        if are_gates {
            at.scheduler.on_gates_named(self.now, release, &others);
        }
        let peers = others.into_iter().map(|peer| PeerAt { peer, addrs: Vec::new() }).collect();
        let told = Peers { release, peers };
        let links = match are_gates {
            true => at.sharing.on_gates_told(told),
            false => at.sharing.on_told(self.now, told),
        };
        for link in links {
            self.hint(node, names::node_of(&link.peer));
        }
        self.act(node);
    }

    pub(super) fn on_refused(&mut self, flow: FlowId, ask: AskId, refusal: Refusal) {
        let Some((node, _)) = self.ends_of(flow.conn, 1 - flow.side) else {
            return;
        };
        if self.node(node).incoming.remove(&ask).is_some() {
            self.tallies.on_refusal(refusal);
            self.schedule(node, |scheduler, now| scheduler.on_refused(now, ask, refusal));
            self.act(node);
        }
    }
}
