//! The life of an ask once it is out: heard, silent, doubted, given up, cancelled; and what that does to its source.

use super::{AskState, LATE_MAX, Lost, Scheduler};
use crate::chunk::ChunkRef;
use crate::limits::CHUNK_BYTES_MAX;
use crate::path::health::Pulse;
use crate::peer::Source;
use crate::swarm::backoff::Trouble;
use crate::swarm::queue::Line;
use crate::swarm::source::{SourceState, Stall};
use crate::swarm::tally::SwitchCause;
use crate::swarm::timers::Timer;
use crate::swarm::{Action, AskId, Class};
use crate::time::Instant;

impl Scheduler {
    /// Once overdue it is asked elsewhere too; twice overdue it is given up, so that a source that forgot it is asked again. At once, where somebody
    /// waits for it now and it was asked ahead of need: see `hasten`.
    pub(super) fn on_overdue(&mut self, now: Instant, ask: AskId) {
        let Some(state) = self.asks.get_mut(&ask) else {
            return;
        };
        let due = state.heard_at + state.patience * if state.is_doubted { 2 } else { 1 };
        let is_late = state.came == 0 && self.chunks[&state.chunk].class < state.class;
        if due > now || !(state.is_doubted || is_late) {
            state.overdue_at = if due > now { due } else { due + state.patience };
            self.timers.set(state.overdue_at, Timer::Overdue(ask));
            if due <= now {
                self.doubt(ask);
            }
            return;
        }
        let source = state.source;
        let lost = if is_late {
            Lost::Elsewhere
        } else {
            let silent_ms = now.since(state.heard_at).as_millis();
            Lost::Trouble(Trouble::Failed(format!("nothing of it came for {silent_ms} ms")))
        };
        self.actions.push_back(Action::Cancel { ask, source });
        self.lose_ask(now, ask, lost);
    }

    /// Somebody waits for the chunk now. An ask that was made before may stand in line at its source, behind what others want ahead of need: where
    /// nothing of it has come once a path's silence would be suspicious, it is taken back and made anew.
    pub(super) fn hasten(&mut self, chunk: ChunkRef) {
        for ask in &self.chunks[&chunk].asks {
            let Some(state) = self.asks.get_mut(ask).filter(|state| state.came == 0 && !state.is_arrived) else {
                continue;
            };
            let Some(source) = self.sources.get(&state.source) else {
                continue;
            };
            state.patience = state.patience.min(source.window.stall_time(&self.config));
            self.timers.clear(state.overdue_at, Timer::Overdue(*ask));
            state.overdue_at = state.overdue_at.min(state.asked_at + state.patience);
            self.timers.set(state.overdue_at, Timer::Overdue(*ask));
        }
    }

    pub(super) fn on_stall(&mut self, now: Instant, source: Source) {
        let Some(state) = self.sources.get_mut(&source) else {
            return;
        };
        state.is_timed = false;
        let was_suspect = state.is_suspect();
        match state.check_stall(now, &self.config) {
            Stall::Idle => {}
            Stall::LookAgain(at) => {
                state.is_timed = true;
                self.timers.set(at, Timer::Stall(source));
            }
            Stall::Stalled => {
                let asks = state.asks.clone();
                self.is_stirred |= self.is_held_back;
                if !was_suspect {
                    self.on_switch(now, source, &asks, SwitchCause::Stalled);
                }
                asks.into_iter().for_each(|ask| self.doubt(ask));
                self.judge_ways(now, source.peer);
                self.refuse_all_lacked(now);
            }
        }
    }

    /// The transport says how a path fares. While it is quiet, only what somebody waits for is asked elsewhere too: the others can wait
    /// for the ping. Once it is suspect all is, and as soon as it is well, what was not asked elsewhere by then is not.
    pub fn on_pulse(&mut self, now: Instant, source: Source, pulse: Pulse) {
        let Some((asks, was_suspect)) = self
            .sources
            .get(&source)
            .map(|state| (state.asks.clone(), state.is_suspect()))
        else {
            return;
        };
        self.at_source(now, source, |state| state.on_pulse(pulse));
        self.judge_ways(now, source.peer);
        match pulse {
            Pulse::Well => {
                self.switches.on_well(source);
                asks.into_iter().for_each(|ask| self.trust(ask));
                self.look_again(now);
            }
            Pulse::Quiet => {
                let is_waited_for = |ask: &AskId| self.chunks[&self.asks[ask].chunk].class == Class::Deadline;
                let urgent: Vec<AskId> = asks.into_iter().filter(is_waited_for).collect();
                urgent.into_iter().for_each(|ask| self.doubt_on_word(ask));
            }
            Pulse::Suspect => {
                if !was_suspect {
                    self.on_switch(now, source, &asks, SwitchCause::Silent);
                }
                asks.into_iter().for_each(|ask| self.doubt_on_word(ask));
                self.refuse_all_lacked(now);
            }
        }
    }

    /// As `doubt`, until the transport says that all is well.
    fn doubt_on_word(&mut self, ask: AskId) {
        let AskState {
            is_doubted, is_on_word, ..
        } = self.asks[&ask];
        self.doubt(ask);
        self.asks.get_mut(&ask).expect("looked at above").is_on_word = !is_doubted || is_on_word;
    }

    /// The transport says that all is well. A peer that acknowledges everything and sends nothing is doubted all the same.
    fn trust(&mut self, ask: AskId) {
        let Some(state) = self.asks.get_mut(&ask).filter(|state| state.is_on_word) else {
            return;
        };
        state.is_doubted = false;
        state.is_on_word = false;
        let chunk = state.chunk;
        self.leave_spot(chunk);
    }

    /// Bytes of an ask came.
    pub(super) fn on_bytes(&mut self, now: Instant, ask: AskId, bytes: u32) {
        let state = &self.asks[&ask];
        let source = state.source;
        self.tally.came_bytes[state.class as usize] += u64::from(bytes);
        self.is_stirred |= self.throughput.on_bytes(now, bytes) && self.is_held_back;
        self.end_switch(now, ask);
        self.on_bytes_from(now, ask);
        self.on_life(now, source, |state| state.on_bytes(now, bytes));
    }

    /// `event` happens to the source and says whether it was suspect until now.
    pub(super) fn on_life(&mut self, now: Instant, source: Source, event: impl FnOnce(&mut SourceState) -> bool) {
        if self.at_source(now, source, event) == Some(true) {
            self.time_stall(source);
            self.judge_ways(now, source.peer);
            self.look_again(now);
        }
    }

    /// `event` happens to the source; where that changes its room, asks may go out.
    pub(super) fn at_source<T>(&mut self, now: Instant, source: Source, event: impl FnOnce(&mut SourceState) -> T) -> Option<T> {
        let state = self.sources.get_mut(&source)?;
        let room = |state: &SourceState| [Class::Deadline, Class::Bulk].map(|class| state.room(now, class, &self.config));
        let before = room(state);
        let result = event(state);
        self.is_stirred |= room(state) != before;
        Some(result)
    }

    /// Sets the stall timer of a source that has asks, unless it is set.
    pub(super) fn time_stall(&mut self, source: Source) {
        if let Some(state) = self
            .sources
            .get_mut(&source)
            .filter(|state| !state.is_timed && !state.asks.is_empty())
        {
            state.is_timed = true;
            self.timers.set(state.stall_due(&self.config), Timer::Stall(source));
        }
    }

    pub(super) fn time_stall_anew(&mut self, source: Source) {
        if let Some(state) = self.sources.get_mut(&source) {
            // The former timer finds that it is not due, or does the same.
            state.is_timed = false;
        }
        self.time_stall(source);
    }

    /// Whether what a source owes and is late with may be asked of another, too: what a suspect one owes always may.
    fn may_hedge(&self, owed_by: Source) -> bool {
        let is_lost = self.sources.get(&owed_by).is_none_or(SourceState::is_suspect);
        is_lost || self.has_hedge_room()
    }

    pub(super) fn has_hedge_room(&self) -> bool {
        self.hedge_bytes + u64::from(CHUNK_BYTES_MAX) <= self.config.hedge_bytes_max
    }

    /// An ask is silent for too long: its chunk is asked elsewhere too.
    pub(super) fn doubt(&mut self, ask: AskId) {
        let Some(state) = self.asks.get_mut(&ask).filter(|state| !state.is_arrived) else {
            return;
        };
        state.is_on_word = false;
        let was_doubted = std::mem::replace(&mut state.is_doubted, true);
        let (chunk, source) = (state.chunk, state.source);
        // One that was doubted while there was no room for a hedge has none yet.
        let is_hedged = was_doubted && self.chunks[&chunk].asks.len() > 1;
        if !is_hedged && self.may_hedge(source) {
            self.enqueue(chunk, Line::Again);
        }
    }

    /// An ask ended without its chunk.
    pub(super) fn lose_ask(&mut self, now: Instant, ask: AskId, lost: Lost) {
        let Some(state) = self.remove_ask(now, ask) else {
            return;
        };
        let Some(chunk) = self.chunks.get_mut(&state.chunk) else {
            return;
        };
        chunk.asks.retain(|known| *known != ask);
        self.tell_near_of_end(&state);
        let Some(chunk) = self.chunks.get_mut(&state.chunk) else {
            return;
        };
        let line = match &lost {
            Lost::Trouble(Trouble::Elsewhere { .. }) => Line::Fresh,
            Lost::Trouble(_) | Lost::Elsewhere => Line::Again,
        };
        if let Lost::Trouble(trouble) = lost {
            chunk.backoffs.note(now, state.source.peer, trouble);
        }
        // Another ask that nobody doubts may still bring it.
        if chunk.asks.iter().all(|other| self.asks[other].is_doubted) {
            self.unpark(state.chunk);
            self.enqueue(state.chunk, line);
        }
        self.refuse_if_lacked(now, state.chunk);
    }

    /// Forgets an ask, and gives back what it held. Its chunk's list is the caller's.
    pub(super) fn remove_ask(&mut self, now: Instant, ask: AskId) -> Option<AskState> {
        let state = self.asks.remove(&ask)?;
        self.timers.clear(state.overdue_at, Timer::Overdue(ask));
        self.inflight_bytes -= u64::from(state.bytes);
        self.hedge_bytes -= if state.is_hedge { u64::from(state.bytes) } else { 0 };
        if !state.is_arrived {
            self.end_at_source(now, ask, state.source, state.bytes - state.came);
        }
        self.is_stirred = true;
        if self.asks.is_empty() {
            self.throughput.on_idle(now);
        }
        Some(state)
    }

    pub(super) fn end_at_source(&mut self, now: Instant, ask: AskId, source: Source, rest: u32) {
        let config = self.config;
        let resume = self
            .at_source(now, source, |state| state.on_ask_end(now, ask, rest, &config))
            .flatten();
        if let Some(at) = resume {
            self.timers.set(at, Timer::Resume(source));
        }
    }

    pub(super) fn cancel_ask(&mut self, now: Instant, ask: AskId) {
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
    pub(super) fn withdraw(&mut self, now: Instant, chunk: ChunkRef, ask: AskId) {
        if let Some(state) = self.chunks.get_mut(&chunk) {
            state.asks.retain(|known| *known != ask);
            self.tally.wasted_bytes += u64::from(self.asks[&ask].came);
            if self.asks[&ask].told_at.is_some() {
                self.say_crossing(chunk, false);
            }
            self.cancel_ask(now, ask);
        }
    }
}
