//! What happened, as it is counted for people. Nothing here changes what is asked.

use std::collections::BTreeSet;

use super::{Scheduler, named};
use crate::chunk::ChunkId;
use crate::peer::Source;
use crate::swarm::tally::{Outstanding, SwitchCause, Tally};
use crate::swarm::{AskId, Class};
use crate::time::Instant;

impl Scheduler {
    /// Totals since the start.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What is wanted now, by class, in the order of `Class::ALL`. Looks at every wanted chunk.
    pub fn outstanding(&self, now: Instant) -> [Outstanding; Class::ALL.len()] {
        let mut outstanding = [Outstanding::default(); Class::ALL.len()];
        for chunk in self.chunks.values() {
            let of_class = &mut outstanding[chunk.class as usize];
            of_class.wants += chunk.wants.len() as u64;
            of_class.oldest = of_class.oldest.max(now.since(chunk.urgent_at));
        }
        outstanding
    }

    /// What the source owes is asked of others from now on, where there are any.
    pub(super) fn on_switch(&mut self, now: Instant, source: Source, owed: &BTreeSet<AskId>, cause: SwitchCause) {
        let mut others = self.sources.iter().filter(|(other, _)| **other != source);
        if owed.is_empty() || !others.any(|(_, state)| !state.is_suspect()) {
            return;
        }
        self.tally.switches[cause as usize] += 1;
        let id = self.switches.begin(now, source);
        for ask in owed {
            if let Some(chunk) = self.chunks.get_mut(&self.asks[ask].chunk) {
                chunk.switch = Some(id);
            }
        }
    }

    /// Bytes of the ask came: the first since a switch, if another source owed its chunk before.
    pub(super) fn end_switch(&mut self, now: Instant, ask: AskId) {
        if !self.switches.are_awaited() {
            return;
        }
        let state = &self.asks[&ask];
        let switch = self.chunks.get(&state.chunk).and_then(|chunk| chunk.switch);
        if let Some(took) = switch.and_then(|id| self.switches.on_bytes(now, id, state.source)) {
            self.tally.first_bytes.observe(took);
        }
    }

    /// The chunk has come: which of its asks brought it, and what the others cost.
    pub(super) fn tally_race(&mut self, chunk: ChunkId) {
        for state in self.chunks.range(named(chunk, chunk)).map(|(_, state)| state) {
            let asks = || state.asks.iter().map(|ask| &self.asks[ask]);
            let winner = asks().position(|ask| ask.is_arrived);
            let lost = asks().enumerate().filter(|(at, _)| Some(*at) != winner);
            self.tally.wasted_bytes += lost.map(|(_, ask)| u64::from(ask.came)).sum::<u64>();
            let is_won_by_hedge = winner.is_some_and(|at| self.asks[&state.asks[at]].is_hedge);
            self.tally.hedge_wins += u64::from(is_won_by_hedge);
        }
    }
}
