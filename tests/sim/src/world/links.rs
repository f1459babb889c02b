//! Who is connected to whom: dialing, losing, leaving. As `hub/dialer.rs` of the node does it, with one path to a peer.

use ares_core::path::health::Pulse;
use ares_core::peer::{PathId, Source};

use super::*;
use crate::net::{ConnState, Flow, on_way_max};

/// How long a peer that says nothing is waited for.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause before a peer that the link names is looked for again.
const REDIAL_AFTER: Duration = Duration::from_secs(1);

/// Silence until a path is suspect, and until it is given up.
const SUSPECT_AFTER: Duration = Duration::from_millis(100);
const GONE_AFTER: Duration = Duration::from_secs(3);

fn source(peer: u32, conn: ConnId) -> Source {
    Source {
        peer: names::peer(peer),
        path: PathId(conn.0.into()),
    }
}

impl World {
    /// The link or another peer names one for the release.
    pub(super) fn hint(&mut self, node: u32, peer: u32) {
        let release = names::release();
        self.node(node).hinted.insert(peer);
        self.schedule(node, |scheduler, now| scheduler.on_hint(now, release, names::peer(peer)));
        match self.node(node).conns.get(&peer).copied() {
            Some(conn) => self.tell_claim(node, conn),
            None => self.dial(node, peer),
        }
    }

    pub(super) fn dial(&mut self, node: u32, peer: u32) {
        let (at, other) = (&self.nodes[node as usize], &self.nodes[peer as usize]);
        let is_known = at.conns.contains_key(&peer) || at.dialing.contains(&peer) || other.dialing.contains(&node);
        if is_known || !at.is_seeking() || at.scheduler.is_dropped(&other.peer()) {
            return;
        }
        let latency = at.latency + other.latency;
        let piece_bytes = self.scenario.piece_bytes;
        let flow = |from: &Node, to: &Node| Flow {
            on_way_max: on_way_max(from.line.up, to.line.down, latency, piece_bytes),
            ..Flow::default()
        };
        let conn = Conn {
            ends: [node, peer],
            latency,
            is_crossing: at.zone != other.zone,
            state: ConnState::Dialing,
            flows: [flow(at, other), flow(other, at)],
            told: [None; 2],
        };
        let id = ConnId(self.conns.len() as u32);
        self.conns.push(conn);
        self.node(node).dialing.insert(peer);
        self.after(latency * 3, Event::Dialed(id));
    }

    pub(super) fn on_dialed(&mut self, id: ConnId) {
        let conn = &self.conns[id.0 as usize];
        let ([node, peer], latency) = (conn.ends, conn.latency);
        let (at, other) = (&self.nodes[node as usize], &self.nodes[peer as usize]);
        let is_out_of_reach = other.is_gone || (self.is_parted && conn.is_crossing);
        if at.is_gone || is_out_of_reach || other.scheduler.is_dropped(&at.peer()) {
            self.after(DIAL_TIMEOUT, Event::DialFailed(id));
            return;
        }
        self.conn(id).state = ConnState::Up;
        for (node, peer) in [(node, peer), (peer, node)] {
            let zone = self.node(peer).told_zone;
            let at = self.node(node);
            at.dialing.remove(&peer);
            at.conns.insert(peer, id);
            let is_far = at.sharing.on_zone(names::peer(peer), zone);
            self.schedule(node, |scheduler, now| {
                scheduler.on_source_up(now, source(peer, id), latency * 2);
                scheduler.on_zone(now, names::peer(peer), is_far);
            });
        }
        for (node, peer) in [(node, peer), (peer, node)] {
            if self.node(node).hinted.contains(&peer) {
                self.tell_claim(node, id);
            }
            self.act(node);
        }
    }

    pub(super) fn on_dial_failed(&mut self, id: ConnId) {
        let [node, peer] = self.conn(id).ends;
        self.conn(id).state = ConnState::Down;
        self.node(node).dialing.remove(&peer);
        if self.node(node).is_gone {
            return;
        }
        let key = names::peer(peer);
        self.schedule(node, |scheduler, now| scheduler.on_unreached(now, key));
        let now = self.now;
        let replaced = self.node(node).sharing.on_unreached(now, &key);
        if replaced.is_empty() {
            self.after(REDIAL_AFTER, Event::Redial { node, peer });
        }
        for (release, others) in replaced {
            self.node(node).hinted.remove(&peer);
            self.schedule(node, |scheduler, _| scheduler.on_hint_gone(release, key));
            for other in others {
                self.hint(node, names::node_of(&other.peer));
            }
        }
        self.act(node);
    }

    /// One end closes the connection, the other hears of it.
    pub(super) fn close(&mut self, id: ConnId) {
        self.cut(id);
        let latency = self.conn(id).latency;
        self.after(latency, Event::Gone(id));
    }

    /// Nothing comes through any more, and nobody says so.
    fn silence(&mut self, id: ConnId) {
        self.cut(id);
        self.after(SUSPECT_AFTER, Event::Silent(id));
        self.after(GONE_AFTER, Event::Gone(id));
    }

    fn cut(&mut self, id: ConnId) {
        let conn = self.conn(id);
        if conn.state == ConnState::Up {
            conn.state = ConnState::Cut;
            conn.flows = Default::default();
        }
    }

    /// The ends ping in vain.
    pub(super) fn on_silent(&mut self, id: ConnId) {
        if self.conn(id).state != ConnState::Cut {
            return;
        }
        let [a, b] = self.conn(id).ends;
        for (node, peer) in [(a, b), (b, a)] {
            self.schedule(node, |scheduler, now| {
                scheduler.on_pulse(now, source(peer, id), Pulse::Suspect);
            });
            self.act(node);
        }
    }

    /// Both ends know that the connection is gone.
    pub(super) fn on_gone(&mut self, id: ConnId) {
        let conn = self.conn(id);
        if std::mem::replace(&mut conn.state, ConnState::Down) == ConnState::Down {
            return;
        }
        let [a, b] = conn.ends;
        for (node, peer) in [(a, b), (b, a)] {
            let at = self.node(node);
            at.conns.remove(&peer);
            at.incoming.retain(|_, incoming| incoming.flow.conn != id);
            at.sharing.on_peer_gone(&names::peer(peer));
            let is_hinted = at.hinted.contains(&peer);
            self.schedule(node, |scheduler, now| {
                scheduler.on_source_down(now, source(peer, id), "gone".to_owned());
            });
            if is_hinted {
                self.dial(node, peer);
            }
            self.act(node);
        }
    }

    /// A node is not there any more: killed, or with a word to its peers.
    pub(super) fn leave(&mut self, node: u32, is_killed: bool) {
        if self.node(node).is_reading() {
            self.missing -= 1;
        }
        self.node(node).is_gone = true;
        let conns: Vec<ConnId> = self.node(node).conns.values().copied().collect();
        for conn in conns {
            match is_killed {
                true => self.silence(conn),
                false => self.close(conn),
            }
        }
    }

    pub(super) fn on_parted(&mut self) {
        self.is_parted = true;
        for number in 0..self.conns.len() as u32 {
            let conn = ConnId(number);
            if self.conn(conn).is_crossing && self.conn(conn).state == ConnState::Up {
                self.silence(conn);
            }
        }
    }
}
