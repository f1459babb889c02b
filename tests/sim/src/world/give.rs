//! Asks answered, and the answers' way over the lines. As the shards of the node do it.

use ares_core::swarm::BUSY_MIN;
use ares_core::wire::Referral;

use super::*;
use crate::net::{ConnState, Flow, Loaded, time_of};
use crate::scenario::Fault;

/// Bytes of answers brought from the disk for one connection, beyond which no more are: what comes behind them is decided later.
const LOADED_BYTES: u64 = 256 << 10;

/// What a node says to an ask.
enum Answer {
    Bytes,
    Refusal(Refusal),
    Nothing,
}

impl World {
    fn flow(&mut self, id: FlowId) -> &mut Flow {
        &mut self.conn(id.conn).flows[id.side]
    }

    fn is_up(&mut self, id: FlowId) -> bool {
        self.conn(id.conn).state == ConnState::Up
    }

    pub(super) fn on_asked(&mut self, id: FlowId, asked: Asked) {
        if self.is_up(id) {
            self.flow(id).asks.push_back(asked);
            self.load(id);
        }
    }

    pub(super) fn on_cancelled(&mut self, id: FlowId, ask: AskId) {
        if self.is_up(id) {
            self.flow(id).cancel(ask);
            self.load(id);
        }
    }

    /// Brings what is asked next, as far as it is soon to be sent and it is this flow's turn.
    fn load(&mut self, id: FlowId) {
        self.load_in_turn(id);
        let (now, sender) = (self.now, self.conn(id.conn).ends[id.side]);
        while let Some(next) = self.node(sender).giving.poll(now) {
            self.load_in_turn(next);
        }
    }

    fn load_in_turn(&mut self, id: FlowId) {
        let (now, len) = (self.now, self.scenario.chunk_bytes);
        let sender = self.conn(id.conn).ends[id.side];
        while self.flow(id).loaded_bytes() < LOADED_BYTES {
            let is_in_turn = |asked: &Asked| asked.referral == Referral::WhenGiven;
            let may_give = !self.flow(id).asks.front().is_some_and(is_in_turn) || self.node(sender).giving.may_give(now, id);
            let asks = &mut self.flow(id).asks;
            let next = asks.iter().position(|asked| may_give || !is_in_turn(asked));
            let Some(asked) = next.and_then(|at| asks.remove(at)) else {
                break;
            };
            match self.answer(id, asked) {
                Answer::Bytes => self.flow(id).loaded.push_back(Loaded {
                    ask: asked.ask,
                    left: len,
                }),
                Answer::Refusal(refusal) => {
                    let latency = self.conn(id.conn).latency;
                    self.after(latency, Event::Refused(id, asked.ask, refusal));
                }
                Answer::Nothing => {}
            }
        }
        if self.flow(id).is_idle() {
            self.node(sender).giving.on_given(&id);
        }
        self.take_turn(id);
    }

    fn answer(&mut self, id: FlowId, asked: Asked) -> Answer {
        let ends = self.conn(id.conn).ends;
        let (now, may_refer) = (self.now, self.scenario.fault != Fault::NoSpread);
        let at = &self.nodes[ends[id.side] as usize];
        match at.temper {
            Temper::Stalls => Answer::Nothing,
            Temper::WrongBytes => Answer::Bytes,
            Temper::FalseHaves => Answer::Refusal(Refusal::NotHeld),
            Temper::FreeRider => Answer::Refusal(Refusal::Busy),
            Temper::Honest if !at.holds(asked.chunk) => Answer::Refusal(Refusal::NotHeld),
            Temper::Honest
                if asked.referral == Referral::WhenGiven && self.loaded_bytes(ends[id.side]) >= self.scenario.busy_bytes =>
            {
                Answer::Refusal(Refusal::Busy)
            }
            Temper::Honest => {
                let is_busy = asked.referral == Referral::WhenBusy && self.is_busy(ends[id.side]);
                let at = self.node(ends[id.side]);
                let peer = names::peer(ends[1 - id.side]);
                let tag = names::chunk(asked.chunk, 0).id.into();
                let has_given = may_refer && asked.referral != Referral::Never && at.spread.on_give(now, peer, tag);
                match has_given && (is_busy || asked.referral == Referral::WhenGiven) {
                    true => Answer::Refusal(Refusal::Elsewhere),
                    false => Answer::Bytes,
                }
            }
        }
    }

    /// What a node sends to each of its peers.
    fn flows_of(&self, node: u32) -> impl Iterator<Item = &Flow> {
        let conns = self.nodes[node as usize].conns.values();
        conns.map(move |id| {
            let conn = &self.conns[id.0 as usize];
            &conn.flows[usize::from(conn.ends[1] == node)]
        })
    }

    /// What a node has brought from the disk for all its peers and not sent.
    fn loaded_bytes(&self, node: u32) -> u64 {
        self.flows_of(node).map(Flow::loaded_bytes).sum()
    }

    /// Whether many wait for answers of a node.
    fn is_busy(&self, node: u32) -> bool {
        let waiting = self.flows_of(node).filter(|flow| !(flow.asks.is_empty() && flow.is_idle()));
        waiting.take(BUSY_MIN + 1).count() > BUSY_MIN
    }

    /// A flow that can send something gets its turn at the line, or first where the zones meet.
    fn take_turn(&mut self, id: FlowId) {
        let conn = self.conn(id.conn);
        let (sender, is_crossing) = (conn.ends[id.side], conn.is_crossing);
        let flow = &mut conn.flows[id.side];
        if flow.is_in_turn || !flow.can_send() {
            return;
        }
        flow.is_in_turn = true;
        let has_crossed = flow.has_crossed;
        let zone = self.node(sender).zone;
        match &mut self.crossing {
            Some(crossing) if is_crossing && !has_crossed => {
                crossing[zone].queue.push_back(id);
                self.cross(zone);
            }
            _ => {
                self.node(sender).outlet.queue.push_back(id);
                self.send(sender);
            }
        }
    }

    /// Lets the next flow send a piece to the other zone, if no other piece is crossing.
    fn cross(&mut self, zone: usize) {
        let Some(crossing) = &mut self.crossing else { return };
        let turns = &mut crossing[zone];
        if turns.is_busy {
            return;
        }
        let Some(id) = turns.queue.pop_front() else { return };
        turns.is_busy = true;
        let time = time_of(self.scenario.piece_bytes, turns.rate);
        self.after(time, Event::Crossed(zone));
        let flow = self.flow(id);
        flow.is_in_turn = false;
        flow.has_crossed = true;
        self.take_turn(id);
    }

    pub(super) fn on_crossed(&mut self, zone: usize) {
        if let Some(crossing) = &mut self.crossing {
            crossing[zone].is_busy = false;
        }
        self.cross(zone);
    }

    /// Sends the next piece, if none is being sent.
    fn send(&mut self, sender: u32) {
        let piece_bytes = self.scenario.piece_bytes;
        while !self.node(sender).outlet.is_busy
            && let Some(id) = self.node(sender).outlet.queue.pop_front()
        {
            let flow = self.flow(id);
            flow.is_in_turn = false;
            flow.has_crossed = false;
            if let Some((ask, bytes)) = flow.take_piece(piece_bytes) {
                let outlet = &mut self.node(sender).outlet;
                outlet.is_busy = true;
                let time = time_of(bytes, outlet.rate);
                self.after(time, Event::Sent(Piece { flow: id, ask, bytes }));
            }
        }
    }

    pub(super) fn on_sent(&mut self, piece: Piece) {
        let conn = self.conn(piece.flow.conn);
        let (sender, latency) = (conn.ends[piece.flow.side], conn.latency);
        let outlet = &mut self.node(sender).outlet;
        outlet.is_busy = false;
        outlet.sent_bytes += u64::from(piece.bytes);
        self.node(sender).giving.on_bytes(piece.bytes.into());
        if self.is_up(piece.flow) {
            let is_lost = self.rng.below(1_000_000) < self.scenario.loss_ppm as usize;
            match is_lost {
                true => self.after(latency * 3, Event::Lost(piece)),
                false => self.after(latency, Event::Arrived(piece)),
            }
            self.load(piece.flow);
        }
        self.send(sender);
    }

    pub(super) fn on_lost(&mut self, piece: Piece) {
        if self.is_up(piece.flow) {
            self.flow(piece.flow).on_lost(piece.ask, piece.bytes);
            self.take_turn(piece.flow);
        }
    }

    pub(super) fn on_arrived(&mut self, piece: Piece) {
        if self.is_up(piece.flow) {
            let receiver = self.conn(piece.flow.conn).ends[1 - piece.flow.side];
            let now = self.now;
            let at = self.node(receiver).inlet.on_piece(now, piece.bytes);
            self.at(at, Event::Delivered(piece));
        }
    }

    pub(super) fn on_delivered(&mut self, piece: Piece) {
        let Piece { flow, ask, bytes } = piece;
        if !self.is_up(flow) {
            return;
        }
        self.flow(flow).on_way -= 1;
        match self.flow(flow).is_idle() {
            true => self.load(flow),
            false => self.take_turn(flow),
        }
        let conn = self.conn(flow.conn);
        let (sender, receiver) = (conn.ends[flow.side], conn.ends[1 - flow.side]);
        let is_crossing = conn.is_crossing;
        let tenth = self.now.since(Instant::ZERO).as_nanos() * 10 / self.bound.as_nanos();
        self.tallies.on_delivered(tenth as usize, bytes, is_crossing);
        let len = self.scenario.chunk_bytes;
        let Some(incoming) = self.node(receiver).incoming.get_mut(&ask) else {
            return;
        };
        incoming.came += bytes;
        let (is_whole, chunk) = (incoming.came == len, incoming.chunk);
        self.schedule(receiver, |scheduler, now| scheduler.on_progress(now, ask, bytes));
        if is_whole {
            self.node(receiver).incoming.remove(&ask);
            self.schedule(receiver, |scheduler, now| scheduler.on_arrived(now, ask));
            let verified = Event::Verified {
                node: receiver,
                ask,
                chunk,
                is_right: self.node(sender).temper != Temper::WrongBytes,
            };
            self.after(VERIFY, verified);
        }
        self.act(receiver);
    }
}
