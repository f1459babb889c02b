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

mod ask;
mod assign;
mod crossing;
mod reach;
mod reason;
mod spot;
mod steal;
mod tallied;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use self::crossing::Crossing;
use self::ways::Ways;
use super::backoff::{Backoffs, Trouble};
use super::haves::Haves;
use super::load::ToldLoad;
use super::peers::Peers;
use super::queue::{Line, Queues, Ticket};
use super::source::SourceState;
use super::tally::{SwitchCause, SwitchId, Switches, Tally};
use super::throughput::Throughput;
use super::timers::{Timer, Timers};
use super::{
    Action, AskId, BlobPlace, Class, DropReason, FetchError, Refusal, SchedulerConfig, SourceStats, Unreached, Want, WantKey,
};
use crate::chunk::{ChunkId, ChunkRef, ChunkTag, LEN_UNKNOWN, ReleaseId};
use crate::limits::CHUNK_BYTES_MAX;
use crate::peer::{PathId, PeerId, Source};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::{ClaimState, Load, WireError};

/// Simultaneous asks for one chunk: more is a flood.
const ASKS_PER_CHUNK_MAX: usize = 3;

/// Time between two looks at all parked chunks, for each of them: some twenty times what the look costs. So strangers who come, go and
/// claim without end take a twentieth of the thread and no more.
const LOOK_PACE: Duration = Duration::from_micros(50);

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
    /// When all of them may be looked at again, and whether there is reason to.
    look_at: Instant,
    is_look_due: bool,
    queues: Queues,
    asks: BTreeMap<AskId, AskState>,
    next_ask: u64,
    late: VecDeque<(AskId, ChunkId, PeerId)>,
    sources: BTreeMap<Source, SourceState>,
    peers: Peers,
    haves: Haves,
    /// How busy with others each peer said it is, of those that there are paths to.
    loads: BTreeMap<PeerId, ToldLoad>,
    ways: Ways,
    crossing: Crossing,
    timers: Timers,
    actions: VecDeque<Action>,
    /// Bytes of all asks, until they are verified.
    inflight_bytes: u64,
    /// They never come to be more: the setting, or what was in flight when it was lowered.
    inflight_bytes_bound: u64,
    /// Of these, bytes of chunks that were asked of another source already.
    hedge_bytes: u64,
    /// Of all sources together.
    throughput: Throughput,
    /// Whether what nobody waits for is asked of quick sources only, because many owe more than comes.
    is_held_back: bool,
    /// When one that nothing is known of may be tried all the same.
    trial_at: Instant,
    /// When each class will have kept to its rate, where it has one.
    paces: [Instant; Class::ALL.len()],
    /// When the last chunk of a release came; forgotten when nothing is wanted any more.
    came_at: BTreeMap<ReleaseId, Instant>,
    /// The release that was served last, per class: the next one has its turn.
    turn: BTreeMap<Class, ReleaseId>,
    /// Whether something happened that may let an ask go out.
    is_stirred: bool,
    tally: Tally,
    switches: Switches,
}

#[derive(Debug)]
struct WantState {
    chunk: ChunkRef,
    since: Instant,
    until: Instant,
    unreached: Unreached,
}

/// A chunk that somebody wants.
#[derive(Debug)]
struct ChunkState {
    place: Option<BlobPlace>,
    class: Class,
    /// Since when it is wanted by its class.
    urgent_at: Instant,
    wants: BTreeSet<WantKey>,
    releases: Vec<ReleaseId>,
    asks: Vec<AskId>,
    backoffs: Backoffs,
    spot: Spot,
    /// The last time that another source was turned to for it.
    switch: Option<SwitchId>,
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
    /// As it was asked.
    class: Class,
    /// The chunk was asked of another source already.
    is_hedge: bool,
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
    /// That is so only because of what the transport says, and until it says otherwise.
    is_on_word: bool,
    /// When near peers were told last that it is on its way from another zone.
    told_at: Option<Instant>,
}

/// Chunks with these names and those between, whatever length they are wanted with.
fn named(first: ChunkId, last: ChunkId) -> RangeInclusive<ChunkRef> {
    ChunkRef { id: first, len: 0 }..=ChunkRef { id: last, len: u32::MAX }
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
            inflight_bytes_bound: config.inflight_bytes_max,
            config,
            rng: Rng::new(seed),
            wants: BTreeMap::new(),
            chunks: BTreeMap::new(),
            parked: BTreeSet::new(),
            look_at: Instant::ZERO,
            is_look_due: false,
            queues: Queues::default(),
            asks: BTreeMap::new(),
            next_ask: 0,
            late: VecDeque::new(),
            sources: BTreeMap::new(),
            peers: Peers::default(),
            haves: Haves::default(),
            loads: BTreeMap::new(),
            ways: Ways::default(),
            crossing: Crossing::default(),
            timers: Timers::default(),
            actions: VecDeque::new(),
            inflight_bytes: 0,
            hedge_bytes: 0,
            throughput: Throughput::default(),
            is_held_back: false,
            trial_at: Instant::ZERO,
            paces: [Instant::ZERO; Class::ALL.len()],
            came_at: BTreeMap::new(),
            turn: BTreeMap::new(),
            is_stirred: false,
            tally: Tally::default(),
            switches: Switches::default(),
        }
    }

    /// A chunk is needed. Ends exactly once by `Done` or `Fail`: at the latest when its patience has passed, or for what is not waited for by
    /// itself, when nothing of its release has come for so long.
    pub fn on_want(&mut self, now: Instant, key: WantKey, want: Want) {
        assert!(
            want.chunk.len <= CHUNK_BYTES_MAX,
            "no manifest names a chunk of {} bytes",
            want.chunk.len
        );
        let until = now + want.patience;
        self.crossing.on_want(now, want.release);
        let twice = self.wants.insert(
            key,
            WantState {
                chunk: want.chunk,
                since: now,
                until,
                unreached: want.unreached,
            },
        );
        assert!(twice.is_none(), "{key:?} was handed in twice");
        self.timers.set(until, Timer::Patience(key));
        let chunk = self.chunks.entry(want.chunk).or_insert_with(|| ChunkState {
            place: want.place,
            class: want.class,
            urgent_at: now,
            wants: BTreeSet::new(),
            releases: Vec::new(),
            asks: Vec::new(),
            backoffs: Backoffs::default(),
            spot: Spot::Asked,
            switch: None,
        });
        let is_new = chunk.wants.is_empty();
        chunk.wants.insert(key);
        chunk.place = chunk.place.or(want.place);
        if is_new {
            chunk.releases.push(want.release);
            self.enqueue(want.chunk, Line::Fresh);
        } else if want.class < chunk.class || !chunk.releases.contains(&want.release) {
            self.promote(now, want.chunk, want.class, want.release);
        }
        self.refuse_if_lacked(now, want.chunk);
        if want.unreached == Unreached::GiveUp && self.peers.are_out_of_reach(now, want.release, now, want.patience) {
            self.give_up(now);
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
        self.peers.on_up(&source.peer);
        self.sources.entry(source).or_insert_with(|| SourceState::new(now, rtt));
        self.look_again(now);
    }

    /// The path is gone, with all its asks: they are asked elsewhere at once. No `Cancel` comes for them.
    pub fn on_source_down(&mut self, now: Instant, source: Source, why: String) {
        if let Some(state) = self.sources.remove(&source) {
            if self.sources_of(source.peer).next().is_none() {
                self.peers.on_departed(now, source.peer, why);
            }
            if !state.is_suspect() {
                self.on_switch(now, source, &state.asks, SwitchCause::Lost);
            }
            self.lose_source(now, source, state);
            self.judge_ways(now, source.peer);
            self.refuse_all_lacked(now);
        }
    }

    /// The transport measured.
    pub fn on_source_stats(&mut self, now: Instant, source: Source, stats: SourceStats) {
        self.at_source(now, source, |state| state.window.on_stats(stats));
        self.judge_ways(now, source.peer);
    }

    /// The peer says how busy it is with others.
    pub fn on_load(&mut self, now: Instant, peer: PeerId, load: Load) {
        if self.sources_of(peer).next().is_some() {
            self.loads.insert(peer, ToldLoad::new(now, load));
        }
    }

    /// The peer says how much of a release it holds.
    pub fn on_claim(&mut self, now: Instant, release: ReleaseId, peer: PeerId, state: ClaimState) {
        if self.peers.dropped(&peer).is_none() {
            let is_news = self.peers.on_claim(release, peer, state);
            self.on_word(now, is_news);
            if is_news && state == ClaimState::None {
                self.refuse_all_lacked(now);
            }
        }
    }

    /// The peer, who claims a part of a release, says that it holds these chunks too; none, when it begins to say so. How many of them are
    /// news.
    pub fn on_have(&mut self, now: Instant, peer: PeerId, chunks: &[ChunkTag]) -> usize {
        if self.peers.dropped(&peer).is_some() {
            return 0;
        }
        let is_first = !self.haves.has_told(&peer);
        let news = self.haves.on_have(peer, chunks);
        let count = news.len();
        for tag in news {
            let [first, last] = tag.names();
            let wanted: Vec<ChunkRef> = self.chunks.range(named(first, last)).map(|(chunk, _)| *chunk).collect();
            for chunk in wanted {
                match self.chunks[&chunk].spot {
                    Spot::Queued(ticket) if ticket.line == Line::Fresh && ticket.class != Class::Deadline => {
                        self.leave_spot(chunk);
                        self.enqueue(chunk, Line::Held);
                    }
                    Spot::Queued(_) => self.haves.on_queued_at(&peer, chunk),
                    Spot::Parked { .. } => self.unpark(chunk),
                    Spot::Asked => continue,
                }
                self.is_stirred = true;
            }
        }
        self.on_word(now, is_first);
        count
    }

    /// Whether the peer has said that it holds the chunk.
    pub fn is_held_by(&self, peer: &PeerId, chunk: ChunkTag) -> bool {
        self.haves.holds(peer, chunk) == Some(true)
    }

    /// A link says that the peer has the release; the peer's own claim overrides it.
    pub fn on_hint(&mut self, now: Instant, release: ReleaseId, peer: PeerId) {
        let is_news = self.peers.on_hint(release, peer);
        self.on_word(now, is_news);
    }

    /// The peer cannot be reached, and whoever named it for the release is not to be believed any longer.
    pub fn on_hint_gone(&mut self, release: ReleaseId, peer: PeerId) {
        self.peers.on_hint_gone(release, peer);
    }

    /// So many more bytes of an ask came.
    pub fn on_progress(&mut self, now: Instant, ask: AskId, bytes: u32) {
        if let Some(state) = self.asks.get_mut(&ask).filter(|state| !state.is_arrived) {
            let bytes = bytes.min(state.bytes - state.came);
            state.came += bytes;
            state.heard_at = now;
            self.on_bytes(now, ask, bytes);
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
        self.on_bytes(now, ask, came);
        self.end_at_source(now, ask, source, absent);
        self.is_stirred |= self.is_held_back;
    }

    /// The chunk is verified and held, through whichever ask or from elsewhere: all its wants are done.
    pub fn on_verified(&mut self, now: Instant, chunk: ChunkId) {
        for release in self.chunks.range(named(chunk, chunk)).flat_map(|(_, state)| &state.releases) {
            self.came_at.insert(*release, now);
        }
        self.tally_race(chunk);
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
        let Some((source, class)) = self.asks.get(&ask).map(|state| (state.source, state.class)) else {
            return;
        };
        self.on_life(now, source, |state| state.on_life(now));
        let resume = self.sources.get_mut(&source).and_then(|state| match refusal {
            Refusal::NotHeld | Refusal::Gone => state.on_miss(now),
            Refusal::Busy => Some(state.on_busy(now)),
            Refusal::Elsewhere => None,
        });
        if let Some(at) = resume {
            self.timers.set(at, Timer::Resume(source));
        }
        let lost = match refusal {
            Refusal::NotHeld => Lost::Trouble(Trouble::NotHeld),
            Refusal::Gone => Lost::Trouble(Trouble::Gone),
            Refusal::Busy => Lost::Elsewhere,
            Refusal::Elsewhere => Lost::Trouble(Trouble::Elsewhere {
                urgent: class == Class::Deadline,
            }),
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

    /// Other settings from now on. Asks that are out stay out; where they are more than may be, no more go out until they are fewer.
    pub fn reconfigure(&mut self, now: Instant, change: impl FnOnce(&mut SchedulerConfig)) {
        let before = self.config.stall_floor;
        change(&mut self.config);
        self.config.check();
        self.inflight_bytes_bound = self.config.inflight_bytes_max.max(self.inflight_bytes);
        self.paces = self.paces.map(|pace| pace.min(now));
        if self.config.stall_floor < before {
            // Who is looked after later than that now is looked after in time.
            let sources: Vec<Source> = self.sources.keys().copied().collect();
            for source in sources {
                self.time_stall_anew(source);
            }
        }
        self.is_stirred = true;
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
            self.is_stirred = self.make_ask(now) || self.steal(now);
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

    /// All that were dropped and are remembered, the last one last.
    pub fn dropped(&self) -> impl Iterator<Item = (PeerId, &DropReason)> {
        self.peers.all_dropped()
    }

    /// Whether a peer is connected that says it has all of the release.
    pub fn is_whole_elsewhere(&self, release: ReleaseId) -> bool {
        let mut holders = self.peers.who_has_all(release);
        holders.any(|peer| self.sources_of(peer).next().is_some())
    }

    /// The releases that the peer says it has something of.
    pub fn claims_of(&self, peer: &PeerId) -> impl Iterator<Item = (ReleaseId, ClaimState)> {
        self.peers.claims_of(peer)
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
            Timer::Resume(_) | Timer::Pace(_) => self.is_stirred = true,
            Timer::Look => self.look(now),
        }
    }

    /// What was said of a peer. Only news may help a parked chunk: a peer that repeats itself must not make us look at all of them again.
    fn on_word(&mut self, now: Instant, is_news: bool) {
        if is_news {
            self.look_again(now);
        }
    }

    fn on_patience(&mut self, now: Instant, key: WantKey) {
        let want = &self.wants[&key];
        let chunk = &self.chunks[&want.chunk];
        let came_at = chunk.releases.iter().filter_map(|release| self.came_at.get(release)).max();
        if let Some(came_at) = came_at.filter(|_| chunk.class != Class::Deadline) {
            let until = *came_at + want.until.since(want.since);
            if until > now {
                let want = self.wants.get_mut(&key).expect("looked at above");
                (want.since, want.until) = (*came_at, until);
                self.timers.set(until, Timer::Patience(key));
                return;
            }
        }
        let waited_ms = now.since(want.since).as_millis() as u64;
        let error = FetchError::Deadline {
            chunk: want.chunk.id,
            waited_ms,
            why: self.reason(now, want.chunk),
        };
        self.end_want(now, key, error);
    }

    /// The sources that are paths to this peer.
    fn sources_of(&self, peer: PeerId) -> impl Iterator<Item = (&Source, &SourceState)> {
        let path = |number| Source {
            peer,
            path: PathId(number),
        };
        self.sources.range(path(0)..=path(u64::MAX))
    }

    fn lose_source(&mut self, now: Instant, source: Source, state: SourceState) {
        for ask in state.asks {
            self.lose_ask(now, ask, Lost::Elsewhere);
        }
        if self.sources_of(source.peer).next().is_none() {
            self.peers.on_gone(&source.peer);
            self.haves.on_gone(&source.peer);
            self.loads.remove(&source.peer);
            if self.crossing.on_gone(&source.peer) {
                self.look_again(now);
            }
        }
    }

    fn drop_peer(&mut self, now: Instant, peer: PeerId, why: DropReason) {
        if !self.peers.on_drop(now, peer, why.clone()) {
            return;
        }
        let sources: Vec<Source> = self.sources_of(peer).map(|(source, _)| *source).collect();
        for source in sources {
            if let Some(state) = self.sources.remove(&source) {
                self.lose_source(now, source, state);
            }
        }
        self.judge_ways(now, peer);
        self.actions.push_back(Action::Drop { peer, why });
        self.give_up(now);
        self.refuse_all_lacked(now);
    }

    /// Ends every want of a chunk, whatever length it was wanted with: `None` is success.
    fn end_chunks(&mut self, now: Instant, id: ChunkId, error: Option<FetchError>) {
        while let Some(chunk) = self.chunks.range(named(id, id)).next().map(|(chunk, _)| *chunk) {
            if error.is_some() {
                self.tell_near_of_ends(chunk);
            }
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
        self.crossing.on_end(chunk.id.into());
        if self.chunks.is_empty() {
            self.crossing.on_idle();
            self.came_at.clear();
            self.switches.clear();
        }
    }

    /// Ends one want; its chunk with it if nobody else wants it.
    fn end_want(&mut self, now: Instant, key: WantKey, error: FetchError) {
        let chunk = self.wants[&key].chunk;
        self.forget_want(key, Some(error));
        if let Some(state) = self.chunks.get_mut(&chunk) {
            state.wants.remove(&key);
            if state.wants.is_empty() {
                self.tell_near_of_ends(chunk);
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
}
