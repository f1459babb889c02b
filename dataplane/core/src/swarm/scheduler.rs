//! Decides which chunk is asked from which source, and when a want ends. Never touches bytes, streams or the disk.
//!
//! ```text
//!            want                ask                    arrived, verified
//!  (none) --------> queued ----------------> asked --------------------------> (none)   every want of the chunk is done
//!                    ^  |  ^                  |  |
//!     a wait ends    |  |  |  refused, lost,  |  |  silent or overdue: queued as well, asked elsewhere too (up to 3 at once)
//!                    |  v  |  bad, failed     |  |
//!                   parked +------------------+--+      parked: every source was asked or is left alone for a while
//! ```
//!
//! Costs: each event and each action is O(log n) in wants, times the few sources that may have the chunk.

mod assign;
mod reason;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::backoff::{Backoffs, Trouble};
use super::peers::Peers;
use super::queue::{Line, Queues, Ticket};
use super::source::{SourceState, Stall};
use super::timers::{Timer, Timers};
use super::{Action, AskId, BlobPlace, Class, DropReason, FetchError, Refusal, SchedulerConfig, SourceStats, Want, WantKey};
use crate::chunk::{ChunkId, ChunkRef, LEN_UNKNOWN, ReleaseId};
use crate::limits::CHUNK_BYTES_MAX;
use crate::peer::{PeerId, Source};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::{ClaimState, WireError};

/// Simultaneous asks for one chunk: more is a flood.
const ASKS_PER_CHUNK_MAX: usize = 3;

/// Arrived asks remembered after their chunk came through another one, so that a liar is still named.
const LATE_MAX: usize = 64;

/// The scheduler: wants, sources and measurements in, asks and endings out.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    rng: Rng,
    wants: BTreeMap<WantKey, WantState>,
    chunks: BTreeMap<ChunkRef, ChunkState>,
    parked: BTreeSet<ChunkRef>,
    queues: Queues,
    asks: BTreeMap<AskId, AskState>,
    next_ask: u64,
    late: VecDeque<(AskId, ChunkId, PeerId)>,
    sources: BTreeMap<Source, SourceState>,
    peers: Peers,
    timers: Timers,
    actions: VecDeque<Action>,
    /// Bytes of all asks, until they are verified.
    inflight_bytes: u64,
    /// The release that was served last, per class: the next one has its turn.
    turn: BTreeMap<Class, ReleaseId>,
    /// Whether something happened that may let an ask go out.
    is_stirred: bool,
}

#[derive(Debug)]
struct WantState {
    chunk: ChunkRef,
    since: Instant,
    until: Instant,
}

/// A chunk that somebody wants.
#[derive(Debug)]
struct ChunkState {
    place: Option<BlobPlace>,
    class: Class,
    wants: BTreeSet<WantKey>,
    releases: Vec<ReleaseId>,
    asks: Vec<AskId>,
    backoffs: Backoffs,
    spot: Spot,
}

/// Whether a chunk waits to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    /// In the queue of each of its releases.
    Queued(Ticket),
    /// No source can be asked before `wake` (`None`: before something happens).
    Parked { line: Line, wake: Option<Instant> },
    /// Asked, and that is enough for now.
    Asked,
}

#[derive(Debug)]
struct AskState {
    chunk: ChunkRef,
    source: Source,
    /// Bytes it may bring: the chunk's length, or the most a chunk can have where that is unknown.
    bytes: u32,
    asked_at: Instant,
    heard_at: Instant,
    /// Time without a byte after which it is asked elsewhere too.
    patience: Duration,
    overdue_at: Instant,
    came: u32,
    is_arrived: bool,
    /// Silent or overdue: its chunk may be asked elsewhere too.
    is_doubted: bool,
}

/// What became of an ask that ended without its chunk.
enum Lost {
    /// The peer could not give it: leave it alone about this chunk for a while.
    Trouble(Trouble),
    /// Nothing to do with this chunk.
    Elsewhere,
}

impl Scheduler {
    /// An empty scheduler. The same seed and the same events give the same actions.
    pub fn new(config: SchedulerConfig, seed: u64) -> Self {
        config.check();
        Self {
            config,
            rng: Rng::new(seed),
            wants: BTreeMap::new(),
            chunks: BTreeMap::new(),
            parked: BTreeSet::new(),
            queues: Queues::default(),
            asks: BTreeMap::new(),
            next_ask: 0,
            late: VecDeque::new(),
            sources: BTreeMap::new(),
            peers: Peers::default(),
            timers: Timers::default(),
            actions: VecDeque::new(),
            inflight_bytes: 0,
            turn: BTreeMap::new(),
            is_stirred: false,
        }
    }

    /// A chunk is needed. Ends exactly once by `Done` or `Fail`, at the latest when its patience has passed.
    pub fn on_want(&mut self, now: Instant, key: WantKey, want: Want) {
        assert!(
            want.chunk.len <= CHUNK_BYTES_MAX,
            "no manifest names a chunk of {} bytes",
            want.chunk.len
        );
        let until = now + want.patience;
        let twice = self.wants.insert(
            key,
            WantState {
                chunk: want.chunk,
                since: now,
                until,
            },
        );
        assert!(twice.is_none(), "{key:?} was handed in twice");
        self.timers.set(until, Timer::Patience(key));
        let chunk = self.chunks.entry(want.chunk).or_insert_with(|| ChunkState {
            place: want.place,
            class: want.class,
            wants: BTreeSet::new(),
            releases: Vec::new(),
            asks: Vec::new(),
            backoffs: Backoffs::default(),
            spot: Spot::Asked,
        });
        let is_new = chunk.wants.is_empty();
        chunk.wants.insert(key);
        chunk.place = chunk.place.or(want.place);
        if is_new {
            chunk.releases.push(want.release);
            self.enqueue(want.chunk, Line::Fresh);
        } else if want.class < chunk.class || !chunk.releases.contains(&want.release) {
            self.promote(want.chunk, want.class, want.release);
        }
    }

    /// The asker gave up: the want ends by `Fail(Cancelled)`, unless it has ended already.
    pub fn on_cancel(&mut self, now: Instant, key: WantKey) {
        if self.wants.contains_key(&key) {
            self.end_want(now, key, FetchError::Cancelled);
        }
    }

    /// A path to a peer is ready for asks. A peer that was dropped is dropped again.
    pub fn on_source_up(&mut self, now: Instant, source: Source, rtt: Duration) {
        if let Some(why) = self.peers.dropped(&source.peer) {
            self.actions.push_back(Action::Drop {
                peer: source.peer,
                why: why.clone(),
            });
            return;
        }
        self.sources.entry(source).or_insert_with(|| SourceState::new(now, rtt));
        self.unpark_all();
    }

    /// The path is gone, with all its asks: they are asked elsewhere at once. No `Cancel` comes for them.
    pub fn on_source_down(&mut self, now: Instant, source: Source, why: String) {
        if let Some(state) = self.sources.remove(&source) {
            self.peers.on_departed(source.peer, why);
            self.lose_source(now, source, state);
        }
    }

    /// The transport measured.
    pub fn on_source_stats(&mut self, _now: Instant, source: Source, stats: SourceStats) {
        if let Some(state) = self.sources.get_mut(&source) {
            state.window.on_stats(stats);
            self.is_stirred = true;
        }
    }

    /// The peer says how much of a release it holds.
    pub fn on_claim(&mut self, _now: Instant, release: ReleaseId, peer: PeerId, state: ClaimState) {
        if self.peers.dropped(&peer).is_none() {
            self.peers.on_claim(release, peer, state);
            self.unpark_all();
        }
    }

    /// A link says that the peer has the release; the peer's own claim overrides it.
    pub fn on_hint(&mut self, _now: Instant, release: ReleaseId, peer: PeerId) {
        self.peers.on_hint(release, peer);
        self.unpark_all();
    }

    /// So many more bytes of an ask came.
    pub fn on_progress(&mut self, now: Instant, ask: AskId, bytes: u32) {
        if let Some(state) = self.asks.get_mut(&ask).filter(|state| !state.is_arrived) {
            let bytes = bytes.min(state.bytes - state.came);
            state.came += bytes;
            state.heard_at = now;
            let source = state.source;
            self.on_bytes(now, source, bytes);
        }
    }

    /// All bytes of an ask came and are being verified.
    pub fn on_arrived(&mut self, now: Instant, ask: AskId) {
        let Some(state) = self.asks.get_mut(&ask).filter(|state| !state.is_arrived) else {
            return;
        };
        let rest = state.bytes - state.came;
        let (came, absent) = if state.chunk.len == LEN_UNKNOWN {
            (0, rest)
        } else {
            (rest, 0)
        };
        state.came += came;
        state.is_arrived = true;
        let (source, overdue_at) = (state.source, state.overdue_at);
        self.timers.clear(overdue_at, Timer::Overdue(ask));
        self.on_bytes(now, source, came);
        self.end_at_source(now, ask, source, absent);
    }

    /// The chunk is verified and held, through whichever ask or from elsewhere: all its wants are done.
    pub fn on_verified(&mut self, now: Instant, chunk: ChunkId) {
        self.end_chunks(now, chunk, None);
    }

    /// An ask's bytes are not what they were asked as: its peer is dropped for good, the chunk asked elsewhere.
    pub fn on_bad(&mut self, now: Instant, ask: AskId) {
        let known = self.asks.get(&ask).map(|state| (state.chunk.id, state.source.peer));
        let late = || {
            self.late
                .iter()
                .find(|(late, ..)| *late == ask)
                .map(|(_, chunk, peer)| (*chunk, *peer))
        };
        if let Some((chunk, peer)) = known.or_else(late) {
            self.lose_ask(now, ask, Lost::Elsewhere);
            self.drop_peer(now, peer, DropReason::WrongBytes { chunk });
        }
    }

    /// The source answered without bytes.
    pub fn on_refused(&mut self, now: Instant, ask: AskId, refusal: Refusal) {
        let Some(source) = self.asks.get(&ask).map(|state| state.source) else {
            return;
        };
        self.on_life(source, |state| state.on_life(now));
        let resume = self.sources.get_mut(&source).and_then(|state| match refusal {
            Refusal::NotHeld | Refusal::Gone => state.on_miss(now),
            Refusal::Busy => Some(state.on_busy(now)),
        });
        if let Some(at) = resume {
            self.timers.set(at, Timer::Resume(source));
        }
        let lost = match refusal {
            Refusal::NotHeld => Lost::Trouble(Trouble::NotHeld),
            Refusal::Gone => Lost::Trouble(Trouble::Gone),
            Refusal::Busy => Lost::Elsewhere,
        };
        self.lose_ask(now, ask, lost);
    }

    /// The ask ended without an answer (stream reset, local limit); the source is still up.
    pub fn on_failed(&mut self, now: Instant, ask: AskId, why: String) {
        self.lose_ask(now, ask, Lost::Trouble(Trouble::Failed(why)));
    }

    /// The chunk was verified and the store did not take it: its wants fail.
    pub fn on_store_failed(&mut self, now: Instant, chunk: ChunkId, why: String) {
        self.end_chunks(now, chunk, Some(FetchError::Store { chunk, why }));
    }

    /// The peer broke the protocol (an `Exchange`, `AskReader` or `AnswerReader` said so): it is dropped for good.
    pub fn on_violation(&mut self, now: Instant, peer: PeerId, error: WireError) {
        self.drop_peer(now, peer, DropReason::Protocol(error));
    }

    /// The node is stopping: every want ends by `Fail(Shutdown)`.
    pub fn on_shutdown(&mut self, now: Instant) {
        while let Some(chunk) = self.chunks.keys().next().copied() {
            self.end_chunk(now, chunk, Some(&FetchError::Shutdown));
        }
    }

    /// The next thing to do. To be called until `None` after every event and at every deadline.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            if let Some(timer) = self.timers.take_due(now) {
                self.on_timer(now, timer);
                continue;
            }
            if !self.is_stirred {
                return None;
            }
            self.is_stirred = self.make_ask(now);
        }
    }

    /// When `poll` has something to do though nothing happened; `None` if never.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether the peer was dropped: it is neither dialled nor let in.
    pub fn is_dropped(&self, peer: &PeerId) -> bool {
        self.peers.dropped(peer).is_some()
    }

    /// Bytes asked from a source and not yet come.
    pub fn inflight_bytes(&self, source: &Source) -> u64 {
        self.sources.get(source).map_or(0, |state| state.window.outstanding())
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Patience(key) => self.on_patience(now, key),
            Timer::Wake(chunk) => self.unpark(chunk),
            Timer::Overdue(ask) => self.on_overdue(now, ask),
            Timer::Stall(source) => self.on_stall(now, source),
            Timer::Resume(_) => self.is_stirred = true,
        }
    }

    fn on_patience(&mut self, now: Instant, key: WantKey) {
        let want = &self.wants[&key];
        let waited_ms = now.since(want.since).as_millis() as u64;
        let error = FetchError::Deadline {
            chunk: want.chunk.id,
            waited_ms,
            why: self.reason(now, want.chunk),
        };
        self.end_want(now, key, error);
    }

    /// Once overdue it is asked elsewhere too; twice overdue it is given up, so that a source that forgot it is asked again.
    fn on_overdue(&mut self, now: Instant, ask: AskId) {
        let Some(state) = self.asks.get_mut(&ask) else {
            return;
        };
        let due = state.heard_at + state.patience * if state.is_doubted { 2 } else { 1 };
        if due > now || !state.is_doubted {
            state.overdue_at = if due > now { due } else { due + state.patience };
            self.timers.set(state.overdue_at, Timer::Overdue(ask));
            if due <= now {
                self.doubt(ask);
            }
            return;
        }
        let source = state.source;
        let why = format!("nothing of it came for {} ms", now.since(state.heard_at).as_millis());
        self.actions.push_back(Action::Cancel { ask, source });
        self.lose_ask(now, ask, Lost::Trouble(Trouble::Failed(why)));
    }

    fn on_stall(&mut self, now: Instant, source: Source) {
        let Some(state) = self.sources.get_mut(&source) else {
            return;
        };
        state.is_timed = false;
        match state.check_stall(now, &self.config) {
            Stall::Idle => {}
            Stall::LookAgain(at) => {
                state.is_timed = true;
                self.timers.set(at, Timer::Stall(source));
            }
            Stall::Stalled => {
                let asks: Vec<AskId> = state.asks.iter().copied().collect();
                asks.into_iter().for_each(|ask| self.doubt(ask));
            }
        }
    }

    fn on_bytes(&mut self, now: Instant, source: Source, bytes: u32) {
        self.on_life(source, |state| state.on_bytes(now, bytes));
    }

    /// `event` happens to the source and says whether it was suspect until now.
    fn on_life(&mut self, source: Source, event: impl FnOnce(&mut SourceState) -> bool) {
        if self.sources.get_mut(&source).is_some_and(event) {
            self.time_stall(source);
            self.unpark_all();
        }
        self.is_stirred = true;
    }

    /// Sets the stall timer of a source that has asks, unless it is set.
    fn time_stall(&mut self, source: Source) {
        if let Some(state) = self
            .sources
            .get_mut(&source)
            .filter(|state| !state.is_timed && !state.asks.is_empty())
        {
            state.is_timed = true;
            self.timers.set(state.stall_due(&self.config), Timer::Stall(source));
        }
    }

    /// An ask is silent for too long: its chunk is asked elsewhere too.
    fn doubt(&mut self, ask: AskId) {
        let Some(state) = self.asks.get_mut(&ask).filter(|state| !state.is_arrived && !state.is_doubted) else {
            return;
        };
        state.is_doubted = true;
        let chunk = state.chunk;
        self.enqueue(chunk, Line::Again);
    }

    /// An ask ended without its chunk.
    fn lose_ask(&mut self, now: Instant, ask: AskId, lost: Lost) {
        let Some(state) = self.remove_ask(now, ask) else {
            return;
        };
        let Some(chunk) = self.chunks.get_mut(&state.chunk) else {
            return;
        };
        chunk.asks.retain(|known| *known != ask);
        if let Lost::Trouble(trouble) = lost {
            chunk.backoffs.note(now, state.source.peer, trouble);
        }
        // Another ask that nobody doubts may still bring it.
        if chunk.asks.iter().all(|other| self.asks[other].is_doubted) {
            self.unpark(state.chunk);
            self.enqueue(state.chunk, Line::Again);
        }
    }

    /// Forgets an ask, and gives back what it held. Its chunk's list is the caller's.
    fn remove_ask(&mut self, now: Instant, ask: AskId) -> Option<AskState> {
        let state = self.asks.remove(&ask)?;
        self.timers.clear(state.overdue_at, Timer::Overdue(ask));
        self.inflight_bytes -= u64::from(state.bytes);
        if !state.is_arrived {
            self.end_at_source(now, ask, state.source, state.bytes - state.came);
        }
        self.is_stirred = true;
        Some(state)
    }

    fn end_at_source(&mut self, now: Instant, ask: AskId, source: Source, rest: u32) {
        let resume = self
            .sources
            .get_mut(&source)
            .and_then(|state| state.on_ask_end(now, ask, rest, &self.config));
        if let Some(at) = resume {
            self.timers.set(at, Timer::Resume(source));
        }
    }

    fn lose_source(&mut self, now: Instant, source: Source, state: SourceState) {
        for ask in state.asks {
            self.lose_ask(now, ask, Lost::Elsewhere);
        }
        if !self.sources.keys().any(|other| other.peer == source.peer) {
            self.peers.on_gone(&source.peer);
        }
        // Where the last likely peer left, unlikely ones are asked.
        self.unpark_all();
    }

    fn drop_peer(&mut self, now: Instant, peer: PeerId, why: DropReason) {
        if !self.peers.on_drop(peer, why.clone()) {
            return;
        }
        let sources: Vec<Source> = self.sources.keys().filter(|source| source.peer == peer).copied().collect();
        for source in sources {
            if let Some(state) = self.sources.remove(&source) {
                self.lose_source(now, source, state);
            }
        }
        self.actions.push_back(Action::Drop { peer, why });
    }

    /// Ends every want of a chunk, whatever length it was wanted with: `None` is success.
    fn end_chunks(&mut self, now: Instant, id: ChunkId, error: Option<FetchError>) {
        let range = ChunkRef { id, len: 0 }..=ChunkRef { id, len: u32::MAX };
        while let Some(chunk) = self.chunks.range(range.clone()).next().map(|(chunk, _)| *chunk) {
            self.end_chunk(now, chunk, error.as_ref());
        }
    }

    fn end_chunk(&mut self, now: Instant, chunk: ChunkRef, error: Option<&FetchError>) {
        self.leave_spot(chunk);
        let Some(state) = self.chunks.remove(&chunk) else {
            return;
        };
        for want in state.wants {
            self.forget_want(want, error.cloned());
        }
        for ask in state.asks {
            self.cancel_ask(now, ask);
        }
    }

    fn cancel_ask(&mut self, now: Instant, ask: AskId) {
        let Some(state) = self.remove_ask(now, ask) else {
            return;
        };
        if !state.is_arrived {
            self.actions.push_back(Action::Cancel {
                ask,
                source: state.source,
            });
            return;
        }
        if self.late.len() == LATE_MAX {
            self.late.pop_front();
        }
        self.late.push_back((ask, state.chunk.id, state.source.peer));
    }

    /// Cancels one ask of a chunk that stays wanted.
    fn withdraw(&mut self, now: Instant, chunk: ChunkRef, ask: AskId) {
        if let Some(state) = self.chunks.get_mut(&chunk) {
            state.asks.retain(|known| *known != ask);
            self.cancel_ask(now, ask);
        }
    }

    /// Ends one want; its chunk with it if nobody else wants it.
    fn end_want(&mut self, now: Instant, key: WantKey, error: FetchError) {
        let chunk = self.wants[&key].chunk;
        self.forget_want(key, Some(error));
        if let Some(state) = self.chunks.get_mut(&chunk) {
            state.wants.remove(&key);
            if state.wants.is_empty() {
                self.end_chunk(now, chunk, None);
            }
        }
    }

    fn forget_want(&mut self, key: WantKey, error: Option<FetchError>) {
        let Some(want) = self.wants.remove(&key) else {
            return;
        };
        self.timers.clear(want.until, Timer::Patience(key));
        self.actions.push_back(match error {
            None => Action::Done { want: key },
            Some(error) => Action::Fail { want: key, error },
        });
    }

    /// Puts a chunk in the queues of its releases, unless it waits already or has all the asks it may have.
    fn enqueue(&mut self, chunk: ChunkRef, line: Line) {
        let Some(state) = self.chunks.get_mut(&chunk) else {
            return;
        };
        if state.spot != Spot::Asked || state.asks.len() >= ASKS_PER_CHUNK_MAX {
            return;
        }
        let ticket = self.queues.ticket(state.class, line);
        state.spot = Spot::Queued(ticket);
        for release in &state.releases {
            self.queues.insert(ticket, *release, chunk);
        }
        self.is_stirred = true;
    }

    /// A chunk that is wanted already is wanted more urgently, or for one more release.
    fn promote(&mut self, chunk: ChunkRef, class: Class, release: ReleaseId) {
        let line = self.leave_spot(chunk);
        let Some(state) = self.chunks.get_mut(&chunk) else {
            return;
        };
        state.class = state.class.min(class);
        if !state.releases.contains(&release) {
            state.releases.push(release);
        }
        if let Some(line) = line {
            self.enqueue(chunk, line);
        }
    }

    fn park(&mut self, chunk: ChunkRef, line: Line, wake: Option<Instant>) {
        self.leave_spot(chunk);
        if let Some(state) = self.chunks.get_mut(&chunk) {
            state.spot = Spot::Parked { line, wake };
            self.parked.insert(chunk);
            if let Some(at) = wake {
                self.timers.set(at, Timer::Wake(chunk));
            }
        }
    }

    fn unpark(&mut self, chunk: ChunkRef) {
        if self.parked.contains(&chunk)
            && let Some(line) = self.leave_spot(chunk)
        {
            self.enqueue(chunk, line);
        }
    }

    /// Something happened that may help any parked chunk: rare (a source, a claim), and each was parked at the same cost.
    fn unpark_all(&mut self) {
        for chunk in std::mem::take(&mut self.parked) {
            if let Some(line) = self.leave_spot(chunk) {
                self.enqueue(chunk, line);
            }
        }
        self.is_stirred = true;
    }

    /// Takes a chunk out of its queues or its parking place. The line it stood in, if it waited.
    fn leave_spot(&mut self, chunk: ChunkRef) -> Option<Line> {
        let state = self.chunks.get_mut(&chunk)?;
        match std::mem::replace(&mut state.spot, Spot::Asked) {
            Spot::Asked => None,
            Spot::Queued(ticket) => {
                for release in &state.releases {
                    self.queues.remove(ticket, *release);
                }
                Some(ticket.line)
            }
            Spot::Parked { line, wake } => {
                self.parked.remove(&chunk);
                if let Some(at) = wake {
                    self.timers.clear(at, Timer::Wake(chunk));
                }
                Some(line)
            }
        }
    }
}
