//! The network: lines, connections and what is on them. Knows pieces of answers and not what they mean.
//!
//! Each node's line sends one piece at a time, of the connections in turn that have something to send, and receives one at a time in the
//! order of arrival. A connection has a few pieces on the way and no more until one has arrived, so that a line which is full at the other
//! end leaves its turn to others: what comes out is near to max-min fair sharing and leaves no line idle that has something to send.
//!
//! How it is wrong: an acknowledgement takes no time and no bytes, and neither does a frame or an ask but for the latency; congestion
//! control is that bound on pieces and neither probes nor backs off; a loss delays one piece by a round trip and a half and slows down
//! nothing else; there are no headers (4 % of real bytes), handshakes take one and a half round trips of time and nothing else, and
//! processors and disks cost nothing but the fixed time of verifying.

use std::collections::VecDeque;
use std::time::Duration;

use ares_core::swarm::AskId;
use ares_core::time::Instant;
use ares_core::wire::{ClaimState, Referral};

use crate::scenario::Line;

/// A connection: an index into the list of all that ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId(pub(crate) u32);

/// What one end of a connection sends: `side` says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlowId {
    pub(crate) conn: ConnId,
    pub(crate) side: usize,
}

/// A connection between two nodes.
#[derive(Debug)]
pub(crate) struct Conn {
    /// The one that dialed first.
    pub(crate) ends: [u32; 2],
    /// One way.
    pub(crate) latency: Duration,
    pub(crate) is_crossing: bool,
    pub(crate) state: ConnState,
    pub(crate) flows: [Flow; 2],
    /// What each end was told last.
    pub(crate) told: [Option<ClaimState>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnState {
    Dialing,
    Up,
    /// Nothing comes through any more; the ends have not noticed yet.
    Cut,
    Down,
}

/// The sending half of one end of a connection.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// What was asked, first asked first.
    pub(crate) asks: VecDeque<Asked>,
    /// Of these, what is brought from the disk and not sent whole.
    pub(crate) loaded: VecDeque<Loaded>,
    pub(crate) on_way: u32,
    pub(crate) on_way_max: u32,
    /// It has its turn at the line, or waits for it where zones meet.
    pub(crate) is_in_turn: bool,
    /// It may send one piece to the other zone.
    pub(crate) has_crossed: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) ask: AskId,
    pub(crate) chunk: u32,
    pub(crate) referral: Referral,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    pub(crate) ask: AskId,
    pub(crate) left: u32,
}

/// Some bytes of an answer on their way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) flow: FlowId,
    pub(crate) ask: AskId,
    pub(crate) bytes: u32,
}

impl Flow {
    pub(crate) fn loaded_bytes(&self) -> u64 {
        self.loaded.iter().map(|loaded| u64::from(loaded.left)).sum()
    }

    /// Whether all that it was given is there.
    pub(crate) fn is_idle(&self) -> bool {
        self.loaded.is_empty() && self.on_way == 0
    }

    pub(crate) fn can_send(&self) -> bool {
        !self.loaded.is_empty() && self.on_way < self.on_way_max
    }

    /// The next piece of what was asked first.
    pub(crate) fn take_piece(&mut self, piece_bytes: u32) -> Option<(AskId, u32)> {
        if !self.can_send() {
            return None;
        }
        let first = self.loaded.front_mut()?;
        let (ask, bytes) = (first.ask, first.left.min(piece_bytes));
        first.left -= bytes;
        if first.left == 0 {
            self.loaded.pop_front();
        }
        self.on_way += 1;
        Some((ask, bytes))
    }

    /// A piece was lost: it is sent again before anything else.
    pub(crate) fn on_lost(&mut self, ask: AskId, bytes: u32) {
        self.on_way -= 1;
        match self.loaded.iter_mut().find(|loaded| loaded.ask == ask) {
            Some(loaded) => loaded.left += bytes,
            None => self.loaded.push_front(Loaded { ask, left: bytes }),
        }
    }

    /// Nobody needs the ask any more.
    pub(crate) fn cancel(&mut self, ask: AskId) {
        self.asks.retain(|asked| asked.ask != ask);
        self.loaded.retain(|loaded| loaded.ask != ask);
    }
}

/// A node's line, or what goes one way between zones: one piece at a time, of all that want in turn.
#[derive(Debug)]
pub(crate) struct Turns {
    pub(crate) rate: u64,
    pub(crate) queue: VecDeque<FlowId>,
    pub(crate) is_busy: bool,
    pub(crate) sent_bytes: u64,
}

impl Turns {
    pub(crate) fn new(rate: u64) -> Self {
        Self {
            rate,
            queue: VecDeque::new(),
            is_busy: false,
            sent_bytes: 0,
        }
    }
}

/// What a line receives: one piece at a time, first come, first served.
#[derive(Debug)]
pub(crate) struct Inlet {
    rate: u64,
    free_at: Instant,
}

impl Inlet {
    pub(crate) fn new(line: Line) -> Self {
        Self {
            rate: line.down,
            free_at: Instant::ZERO,
        }
    }

    /// A piece is at the line's far end. When it is here.
    pub(crate) fn on_piece(&mut self, now: Instant, bytes: u32) -> Instant {
        self.free_at = self.free_at.max(now) + time_of(bytes, self.rate);
        self.free_at
    }
}

/// How long so many bytes take at so many per second.
pub(crate) fn time_of(bytes: u32, rate: u64) -> Duration {
    Duration::from_nanos(u64::from(bytes) * 1_000_000_000 / rate)
}

/// Pieces that keep a connection busy between two lines: one at each end, and what is on the way between them.
pub(crate) fn on_way_max(up: u64, down: u64, latency: Duration, piece_bytes: u32) -> u32 {
    let between = latency.as_nanos() * u128::from(up.min(down)) / 1_000_000_000 / u128::from(piece_bytes);
    2 + between as u32 + 1
}
