//! The end of a transfer: when nothing waits any more, a fast source takes over what a slow one would finish last.

use std::time::Duration;

use super::assign::{Budget, Choice};
use super::{AskState, Scheduler};
use crate::time::Instant;

/// The other source must be this many times sooner: estimates are rough, and a chunk must not go back and forth.
const SOONER: u32 = 2;

/// And by so much: less is not worth a cancelled ask.
const GAIN_MIN: Duration = Duration::from_millis(20);

impl Scheduler {
    /// Asks the last chunk of the source that will finish last elsewhere, if that is much sooner. Whether it did.
    pub(super) fn steal(&mut self, now: Instant) -> bool {
        if !self.queues.is_empty() {
            return false;
        }
        let busy = self
            .sources
            .iter()
            .filter(|(_, state)| !state.asks.is_empty() && !state.is_suspect());
        let last = busy.max_by_key(|(_, state)| state.window.estimated_finish(0));
        let Some((finish, ask)) = last.and_then(|(_, state)| Some((state.window.estimated_finish(0), *state.asks.last()?)))
        else {
            return false;
        };
        let AskState { chunk, came, bytes, .. } = self.asks[&ask];
        let class = self.chunks[&chunk].class;
        if !self.keeps_pace(now, class) {
            return false;
        }
        let wanted = &self.chunks[&chunk];
        if wanted.asks.len() > 1 || self.budget(class) != Budget::Free || (came > 0 && !self.has_hedge_room()) {
            return false;
        }
        let candidates = self.candidates(now, class, &wanted.releases);
        let Choice::Ask(other) = self.choose(now, class, &candidates, chunk) else {
            return false;
        };
        // As it would be there once it is asked: what is not known to be short counts as long, or it went back and forth.
        let sooner = self.estimated_finish(now, &other, bytes.into());
        if self.sources[&other].is_doubtful() || sooner * SOONER + GAIN_MIN > finish {
            return false;
        }
        // What has begun may still win; its loser costs a part of one chunk per slow source.
        if came == 0 {
            self.withdraw(now, chunk, ask);
        }
        self.ask(now, chunk, other);
        true
    }
}
