//! The match between waiting chunks and sources with room.

use std::time::Duration;

use super::{ASKS_PER_CHUNK_MAX, AskState, Scheduler, Spot};
use crate::chunk::{ChunkRef, LEN_UNKNOWN, ReleaseId};
use crate::limits::CHUNK_BYTES_MAX;
use crate::peer::{PathId, PeerId, Source};
use crate::swarm::backoff::Trouble;
use crate::swarm::peers::Likely;
use crate::swarm::queue::Line;
use crate::swarm::source::{Room, SourceState};
use crate::swarm::timers::Timer;
use crate::swarm::{Action, AskId, Class};
use crate::time::Instant;
use crate::wire::Referral;

/// Chunks that are looked at for the next one to ask.
const PICK_WINDOW: usize = 16;

/// A class that was held back by others than its rate makes up for so long of it, so that timers that come late cost no bytes.
const CATCH_UP: Duration = Duration::from_millis(50);

/// With so few holders there is nothing to spread, and disks and lookahead like the order they were wanted in.
const FEW_HOLDERS: usize = 2;

/// What many owe comes within so long, in seconds, or no more is asked of those that are not quick. In a large swarm a peer may have others before us
/// for one.
const AHEAD_S: u64 = 2;

/// And what a quick one owes within so long, in seconds.
const QUICK_S: u64 = 1;

/// So few sources do not get in each other's way, nor do so few asks.
const MANY_SOURCES: usize = 4;
const MANY_ASKS: usize = 8;

/// While many owe more than comes, a source of which nothing is known is tried so often.
const TRIAL_EVERY: Duration = Duration::from_secs(1);

/// Where there are so many times more paths than peers who may have a release, those are looked up one by one.
const FEW_PART: usize = 8;

/// So often a chunk that somebody waits for may be left to others.
const LEFT_MAX: u32 = 4;

/// An ask that is silent this many times longer than it was expected to take is asked elsewhere too.
const fn overdue_factor(class: Class) -> u32 {
    match class {
        Class::Deadline => 2,
        Class::Bulk | Class::Heal => 4,
    }
}

/// Whether in-flight bytes leave room for one more chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    Free,
    /// Only in exchange for an ask of the same chunk that is in doubt: so silent sources cannot starve the others.
    Swap,
}

/// What speaks for asking a source for a chunk. Earlier ones are asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Having {
    /// It says that it holds the chunk, and has not all of the release: who has all has other chunks to give.
    Part,
    /// It has all of the release.
    All,
    /// It may hold it.
    Perhaps,
    /// It has said what it holds, and not this; so only where there is nobody else.
    Hardly,
}

/// A source that may have a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) source: Source,
    likely: Likely,
    room: Room,
    /// Its bit among those who hold a chunk, if it has said what it holds.
    bit: Option<u64>,
    /// It is in another zone.
    pub(super) is_far: bool,
}

impl Candidate {
    /// Whether it has said what it holds.
    pub(super) fn tells(&self) -> bool {
        self.bit.is_some()
    }
}

/// Whom to ask for a chunk now.
pub(super) enum Choice {
    Ask(Source),
    /// A source that may have it will have room again; another may be asked then, if not before.
    Wait(Option<Instant>),
    /// No source can be asked before then, or before something happens.
    Park(Option<Instant>),
}

impl Scheduler {
    /// Makes the most urgent ask that can go out now. Whether there was one.
    pub(super) fn make_ask(&mut self, now: Instant) -> bool {
        self.is_held_back = false;
        for class in [Class::Deadline, Class::Bulk, Class::Heal] {
            if !self.keeps_pace(now, class) {
                continue;
            }
            // Mostly all have as much to do as they can, and who has what need not be looked at.
            let is_open = |state: &SourceState| state.room(now, class, &self.config) == Room::Open;
            if !self.queues.has(class) || !self.sources.values().any(is_open) {
                continue;
            }
            self.is_held_back = class != Class::Deadline && self.is_overcommitted();
            let budget = self.budget(class);
            let last_served = self.turn.get(&class).copied();
            for release in self.queues.releases(class, last_served) {
                if self.make_ask_of(now, class, release, budget) {
                    self.turn.insert(class, release);
                    return true;
                }
            }
        }
        false
    }

    /// Whether the class has kept to its rate, so that more may be asked. If not, a timer is set for when it has.
    pub(super) fn keeps_pace(&mut self, now: Instant, class: Class) -> bool {
        let pace = self.paces[class as usize];
        if pace > now {
            self.timers.set(pace, Timer::Pace(class));
        }
        pace <= now
    }

    /// Whether many sources owe more than comes: much is begun and little finished, as over a line that is much slower than theirs, where they get in
    /// each other's way. What suspect ones owe does not count: it may never come.
    fn is_overcommitted(&self) -> bool {
        let Some(ahead) = self.throughput.within(AHEAD_S).filter(|ahead| self.inflight_bytes > *ahead) else {
            return false;
        };
        let owing = self
            .sources
            .values()
            .filter(|state| !state.asks.is_empty() && !state.is_suspect());
        let (mut sources, mut asks, mut bytes) = (0, 0, 0);
        for state in owing {
            sources += 1;
            asks += state.asks.len();
            bytes += self.owed_bytes(state);
        }
        sources >= MANY_SOURCES && asks > MANY_ASKS && bytes > ahead
    }

    /// Bytes of the chunks that a source owes, with those that have come of them.
    fn owed_bytes(&self, state: &SourceState) -> u64 {
        state.asks.iter().map(|ask| u64::from(self.asks[ask].bytes)).sum()
    }

    /// Whether one more chunk may be asked of a source though many owe more than comes: it brings it soon. One that nothing is known of is tried now and
    /// then.
    fn is_quick(&self, now: Instant, state: &SourceState) -> bool {
        match state.throughput.within(QUICK_S) {
            Some(soon) => self.owed_bytes(state) + state.window.chunk_bytes() <= soon,
            None => state.asks.is_empty() && now >= self.trial_at,
        }
    }

    /// The last eighth of the in-flight bytes is kept for deadlines.
    pub(super) fn budget(&self, class: Class) -> Budget {
        let all = self.config.inflight_bytes_max;
        let limit = if class == Class::Deadline { all } else { all - all / 8 };
        match self.inflight_bytes + u64::from(CHUNK_BYTES_MAX) <= limit {
            true => Budget::Free,
            false => Budget::Swap,
        }
    }

    fn make_ask_of(&mut self, now: Instant, class: Class, release: ReleaseId, budget: Budget) -> bool {
        let candidates = self.candidates(now, class, &[release]);
        if !candidates.iter().any(|c| c.room == Room::Open) {
            return false;
        }
        if budget == Budget::Free && class != Class::Deadline {
            if self.make_ask_of_parts(now, class, release, &candidates) {
                return true;
            }
            // Those with room have told all they have, and are asked for nothing else as long as others may have it.
            let has_told = |c: &Candidate| c.likely == Likely::Perhaps && c.tells();
            let mut open = candidates.iter().filter(|c| c.room == Room::Open);
            let is_trusted = |c: &Candidate| !self.sources[&c.source].is_doubtful();
            if open.all(|c| has_told(c) && is_trusted(c)) && !candidates.iter().all(has_told) {
                return false;
            }
        }
        let lines: &[Line] = match budget {
            Budget::Free => &[Line::Again, Line::Fresh, Line::Held],
            Budget::Swap => &[Line::Again],
        };
        lines
            .iter()
            .any(|line| self.make_ask_in(now, class, release, *line, budget, &candidates))
    }

    /// Asks somebody who holds a part of the release for the rarest of some chunks that it holds.
    fn make_ask_of_parts(&mut self, now: Instant, class: Class, release: ReleaseId, candidates: &[Candidate]) -> bool {
        let open = candidates
            .iter()
            .filter(|c| c.room == Room::Open && c.likely == Likely::Perhaps)
            .filter(|c| c.bit.is_some_and(|bit| self.haves.may_offer(bit)));
        let mut open: Vec<(Duration, Source)> = open
            .map(|c| (c.source, &self.sources[&c.source]))
            .filter(|(_, state)| !state.is_doubtful())
            .map(|(source, _)| (self.estimated_finish(now, &source, 0), source))
            .collect();
        open.sort_unstable();
        let near = candidates.iter().filter(|c| !c.is_far && c.room != Room::Mute);
        let (mut near_mask, mut has_all_near) = (0, false);
        for candidate in near {
            near_mask |= candidate.bit.unwrap_or(0);
            has_all_near |= candidate.likely == Likely::Complete;
        }
        for (_, source) in open {
            let is_far = self.crossing.is_far(&source.peer);
            let chunks = &self.chunks;
            let waits = |chunk: &ChunkRef| matches!(chunks.get(chunk), Some(state) if matches!(state.spot, Spot::Queued(_)));
            let sample = self.haves.sample(&source.peer, PICK_WINDOW, &mut self.rng, waits);
            let fits = |chunk: &ChunkRef| {
                let state = &self.chunks[chunk];
                state.class == class
                    && state.releases.contains(&release)
                    && state.backoffs.blocked_until(now, &source.peer).is_none()
                    && state.asks.iter().all(|ask| self.asks[ask].source.peer != source.peer)
                    && !(is_far && {
                        let has_near = has_all_near || self.haves.mask(chunk.id.into()) & near_mask != 0;
                        self.kept_near(now, *chunk, has_near).is_some()
                    })
            };
            if let Some(chunk) = sample.into_iter().find(fits) {
                self.ask(now, chunk, source);
                return true;
            }
        }
        false
    }

    /// Chunks of one line to try, best first: as they were wanted, or where there are many holders, the rarest of some.
    fn heads(&mut self, class: Class, release: ReleaseId, line: Line, holders: usize) -> Vec<ChunkRef> {
        if class == Class::Deadline || (holders <= FEW_HOLDERS && !self.haves.has_any()) {
            return self.queues.head(class, release, line, PICK_WINDOW);
        }
        let mut chunks = self.queues.sample(class, release, line, PICK_WINDOW, &mut self.rng);
        self.haves.sort_rarest_first(&mut chunks);
        chunks.dedup();
        chunks
    }

    /// Looks at the head of one line; again as long as that parks chunks, each of which pays for itself.
    fn make_ask_in(
        &mut self,
        now: Instant,
        class: Class,
        release: ReleaseId,
        line: Line,
        budget: Budget,
        candidates: &[Candidate],
    ) -> bool {
        let holders = candidates.chunk_by(|a, b| a.source.peer == b.source.peer).count();
        loop {
            let mut has_parked = false;
            for chunk in self.heads(class, release, line, holders) {
                if !matches!(self.chunks[&chunk].spot, Spot::Queued(_)) {
                    // It was parked a moment ago.
                    continue;
                }
                let swap = match budget {
                    Budget::Free => None,
                    Budget::Swap => match self.doubted_ask(chunk) {
                        None => continue,
                        doubted => doubted,
                    },
                };
                match self.choose(now, class, candidates, chunk) {
                    Choice::Ask(source) => {
                        if let Some(doubted) = swap {
                            self.withdraw(now, chunk, doubted);
                        }
                        self.ask(now, chunk, source);
                        return true;
                    }
                    Choice::Wait(wake) => {
                        if let Some(wake) = wake {
                            self.timers.set(wake, Timer::Pace(class));
                        }
                    }
                    Choice::Park(wake) => {
                        self.park(chunk, line, wake);
                        has_parked = true;
                    }
                }
            }
            if !has_parked {
                return false;
            }
        }
    }

    fn doubted_ask(&self, chunk: ChunkRef) -> Option<AskId> {
        self.chunks[&chunk].asks.iter().copied().find(|ask| self.asks[ask].is_doubted)
    }

    /// The sources that may have a chunk of these releases: those that claim some of it or that a link names, no strangers.
    pub(super) fn candidates(&self, now: Instant, class: Class, releases: &[ReleaseId]) -> Vec<Candidate> {
        let mut candidates = match releases {
            [release] => self.candidates_among(now, class, releases, self.peers.likely(*release)),
            _ => self.candidates_among(now, class, releases, self.peers.all_likely(releases).into_iter()),
        };
        if class != Class::Deadline && !self.has_far_room(&candidates) {
            let open = candidates.iter_mut().filter(|c| c.is_far && c.room == Room::Open);
            open.for_each(|candidate| candidate.room = Room::Full);
        }
        if self.is_held_back {
            let open = candidates.iter_mut().filter(|c| c.room == Room::Open);
            open.filter(|c| !self.is_quick(now, &self.sources[&c.source]))
                .for_each(|candidate| candidate.room = Room::Full);
        }
        candidates
    }

    /// The sources of these peers, which come in order. Both are walked side by side, as this is done several times a chunk; where the peers are
    /// few beside all that there are paths to, each is looked up.
    fn candidates_among(
        &self,
        now: Instant,
        class: Class,
        releases: &[ReleaseId],
        likely: impl ExactSizeIterator<Item = (PeerId, Likely)>,
    ) -> Vec<Candidate> {
        let are_few = likely.len() * FEW_PART < self.sources.len();
        let mut candidates = Vec::with_capacity(likely.len().min(self.sources.len()));
        let mut sources = self.sources.range(..).peekable();
        for (peer, likely) in likely {
            if are_few {
                sources = self.sources.range(Source { peer, path: PathId(0) }..).peekable();
            }
            while sources.next_if(|(source, _)| source.peer < peer).is_some() {}
            let mut of_peer = None;
            while let Some((source, state)) = sources.next_if(|(source, _)| source.peer == peer) {
                let (bit, is_far) = *of_peer.get_or_insert_with(|| (self.haves.bit(&peer), self.crossing.is_far(&peer)));
                if self.ways.uses(releases, peer, state) {
                    candidates.push(Candidate {
                        source: *source,
                        likely,
                        room: state.room(now, class, &self.config),
                        bit,
                        is_far,
                    });
                }
            }
        }
        candidates
    }

    /// The source for a chunk: those of peers that do not owe it already and those that rather have it first, then the least estimated
    /// finish, ties at random. Another path to a peer that owes it is better than none: it may be the path that is slow, not the peer.
    pub(super) fn choose(&mut self, now: Instant, class: Class, candidates: &[Candidate], chunk: ChunkRef) -> Choice {
        let state = &self.chunks[&chunk];
        let of_all;
        let candidates = match state.releases.len() {
            1 => candidates,
            _ => {
                of_all = self.candidates(now, class, &state.releases);
                &of_all
            }
        };
        let holders = self.haves.mask(chunk.id.into());
        let having = |candidate: &Candidate| match (candidate.likely, candidate.bit.map(|bit| holders & bit != 0)) {
            (Likely::Complete, _) => Having::All,
            (Likely::Perhaps, Some(true)) if class == Class::Deadline => Having::All,
            (Likely::Perhaps, Some(true)) => Having::Part,
            (Likely::Perhaps, None) => Having::Perhaps,
            (Likely::Perhaps, Some(false)) => Having::Hardly,
        };
        let candidates: Vec<(Having, &Candidate)> = candidates.iter().map(|candidate| (having(candidate), candidate)).collect();
        let has_better = candidates.iter().any(|(having, _)| *having < Having::Hardly);
        let lacks = |peer: &PeerId| {
            let has_said_so =
                matches!(state.backoffs.last(peer), Some((trouble, _)) if !matches!(trouble, Trouble::Elsewhere { .. }));
            has_said_so && state.backoffs.blocked_until(now, peer).is_some()
        };
        // What was left to others before somebody waited for it is asked at once.
        let leaves = |peer: &PeerId| {
            let said = state.backoffs.last(peer);
            class == Class::Deadline && matches!(said, Some((Trouble::Elsewhere { urgent: false }, _)))
        };
        let gives = |(having, candidate): &(Having, &Candidate)| {
            let is_near = !candidate.is_far && candidate.room != Room::Mute;
            is_near && *having < Having::Perhaps && !lacks(&candidate.source.peer)
        };
        let mut wake: Option<Instant> = None;
        let has_far = class != Class::Deadline && candidates.iter().any(|(_, candidate)| candidate.is_far);
        let is_kept = has_far && {
            let kept = self.kept_near(now, chunk, candidates.iter().any(gives));
            wake = kept.flatten();
            kept.is_some()
        };
        let mut must_wait = false;
        let mut open = Vec::new();
        for (having, candidate) in candidates {
            let source = candidate.source;
            if (has_better && having == Having::Hardly) || (is_kept && candidate.is_far) {
                continue;
            }
            if candidate.room == Room::Mute || state.asks.iter().any(|ask| self.asks[ask].source == source) {
                continue;
            }
            if let Some(until) = state.backoffs.blocked_until(now, &source.peer)
                && !leaves(&source.peer)
            {
                wake = Some(wake.map_or(until, |wake| wake.min(until)));
            } else if candidate.room == Room::Full {
                must_wait = true;
            } else {
                let at = &self.sources[&source];
                let owes = |ask: &AskState| ask.is_doubted && ask.source.peer == source.peer;
                let rank = (
                    at.is_doubtful(),
                    state.asks.iter().any(|ask| owes(&self.asks[ask])),
                    having >= Having::Perhaps,
                    candidate.is_far,
                    having,
                    self.estimated_finish(now, &source, chunk.len.into()),
                );
                open.push((rank, source));
            }
        }
        let Some((mut worst, _)) = open.iter().min().copied() else {
            return if must_wait { Choice::Wait(wake) } else { Choice::Park(wake) };
        };
        worst.5 += worst.5 / 8;
        open.retain(|(rank, _)| *rank <= worst);
        let tie = if open.len() > 1 { self.rng.below(open.len()) } else { 0 };
        Choice::Ask(open[tie].1)
    }

    /// How long until `bytes` more would be here from the source, if they were asked now.
    pub(super) fn estimated_finish(&self, now: Instant, source: &Source, bytes: u64) -> Duration {
        let finish = self.sources[source].window.estimated_finish(bytes);
        let Some(told) = self.loads.get(&source.peer) else {
            return finish;
        };
        let (mut own_bytes, mut own_rate) = (bytes, 0);
        for (_, state) in self.sources_of(source.peer) {
            own_bytes += state.window.outstanding();
            own_rate += state.window.rate();
        }
        // All paths to a peer are as much later, so which of them is the best does not change.
        finish + told.delay(now, own_bytes, own_rate)
    }

    pub(super) fn ask(&mut self, now: Instant, chunk: ChunkRef, source: Source) {
        self.leave_spot(chunk);
        let ask = AskId(self.next_ask);
        self.next_ask += 1;
        let bytes = if chunk.len == LEN_UNKNOWN {
            CHUNK_BYTES_MAX
        } else {
            chunk.len
        };
        self.inflight_bytes += u64::from(bytes);
        assert!(
            self.inflight_bytes <= self.inflight_bytes_bound,
            "in-flight bytes are bounded"
        );

        let state = self.chunks.get_mut(&chunk).expect("queued chunks are known");
        let is_hedge = !state.asks.is_empty();
        state.asks.push(ask);
        let (place, class) = (state.place, state.class);
        self.tally.asks[class as usize] += 1;
        self.tally.hedges += u64::from(is_hedge);
        self.throughput.on_ask(now);
        self.hedge_bytes += if is_hedge { u64::from(bytes) } else { 0 };
        if let rate @ 1.. = self.config.rates[class as usize] {
            let pace = &mut self.paces[class as usize];
            let nanos = u64::from(bytes) * 1_000_000_000 / rate;
            *pace = (*pace).max(now - CATCH_UP) + Duration::from_nanos(nanos);
        }
        let tells = |peer: &PeerId, likely: Likely| likely == Likely::Perhaps && self.haves.has_told(peer);
        let may_be_left = || {
            let likely = self.peers.all_likely(&state.releases);
            state.backoffs.times_left() < LEFT_MAX && likely.into_iter().any(|(peer, likely)| tells(&peer, likely))
        };
        let referral = match class {
            // Who has a part passes on what it says it holds: others ask it for that because they were sent there.
            _ if self.haves.has_told(&source.peer) => Referral::Never,
            Class::Deadline if may_be_left() => Referral::WhenBusy,
            Class::Deadline => Referral::Never,
            Class::Bulk | Class::Heal => Referral::WhenGiven,
        };
        assert!(state.asks.len() <= ASKS_PER_CHUNK_MAX, "asks of a chunk are bounded");

        let at = self.sources.get_mut(&source).expect("chosen among the sources");
        if self.is_held_back && at.throughput.within(QUICK_S).is_none() {
            self.trial_at = now + TRIAL_EVERY;
        }
        let expected = at.window.stall_time(&self.config) + at.window.estimated_finish(bytes.into());
        let patience = expected * overdue_factor(class);
        at.on_ask(now, ask, bytes, &self.config);
        self.time_stall(source);

        let overdue_at = now + patience;
        self.timers.set(overdue_at, Timer::Overdue(ask));
        let new = AskState {
            chunk,
            source,
            class,
            is_hedge,
            bytes,
            asked_at: now,
            heard_at: now,
            patience,
            overdue_at,
            came: 0,
            is_arrived: false,
            is_doubted: false,
            is_on_word: false,
            told_at: None,
        };
        self.asks.insert(ask, new);
        self.actions.push_back(Action::Ask {
            ask,
            source,
            chunk,
            place,
            class,
            referral,
        });
        self.tell_near(now, ask);
    }
}
