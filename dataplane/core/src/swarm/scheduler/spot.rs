//! Where a wanted chunk waits: in the queues of its releases, or parked until a source can be asked.

use super::{ASKS_PER_CHUNK_MAX, LOOK_PACE, Scheduler, Spot};
use crate::chunk::{ChunkRef, ReleaseId};
use crate::swarm::Class;
use crate::swarm::queue::Line;
use crate::swarm::timers::Timer;
use crate::time::Instant;

impl Scheduler {
    /// Puts a chunk in the queues of its releases, unless it waits already or has all the asks it may have.
    pub(super) fn enqueue(&mut self, chunk: ChunkRef, line: Line) {
        let Some(state) = self.chunks.get_mut(&chunk) else {
            return;
        };
        if state.spot != Spot::Asked || state.asks.len() >= ASKS_PER_CHUNK_MAX {
            return;
        }
        let is_held = state.class != Class::Deadline && self.haves.holders(chunk.id.into()) > 0;
        let line = match line {
            Line::Again => Line::Again,
            Line::Fresh | Line::Held if is_held => Line::Held,
            Line::Fresh | Line::Held => Line::Fresh,
        };
        let offset = state.place.map_or(0, |place| place.offset);
        let ticket = self.queues.ticket(state.class, line, state.urgent_at, offset);
        state.spot = Spot::Queued(ticket);
        for release in &state.releases {
            self.queues.insert(ticket, *release, chunk);
        }
        self.haves.on_queued(chunk);
        self.is_stirred = true;
    }

    /// A chunk that is wanted already is wanted more urgently, or for one more release.
    pub(super) fn promote(&mut self, now: Instant, chunk: ChunkRef, class: Class, release: ReleaseId) {
        let line = self.leave_spot(chunk);
        let Some(state) = self.chunks.get_mut(&chunk) else {
            return;
        };
        let is_urgent = class < state.class;
        if is_urgent {
            state.class = class;
            state.urgent_at = now;
        }
        if !state.releases.contains(&release) {
            state.releases.push(release);
        }
        if let Some(line) = line {
            self.enqueue(chunk, line);
        }
        if is_urgent {
            self.hasten(chunk);
        }
    }

    pub(super) fn park(&mut self, chunk: ChunkRef, line: Line, wake: Option<Instant>) {
        self.leave_spot(chunk);
        if let Some(state) = self.chunks.get_mut(&chunk) {
            state.spot = Spot::Parked { line, wake };
            self.parked.insert(chunk);
            if let Some(at) = wake {
                self.timers.set(at, Timer::Wake(chunk));
            }
        }
    }

    pub(super) fn unpark(&mut self, chunk: ChunkRef) {
        if self.parked.contains(&chunk)
            && let Some(line) = self.leave_spot(chunk)
        {
            self.enqueue(chunk, line);
        }
    }

    /// Something happened that may help any parked chunk: a source, a claim. It is looked at now, or a little later with whatever else
    /// happens until then: others make it happen, and it costs us more than them.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.is_stirred = true;
        if now >= self.look_at {
            self.look(now);
        } else if !self.is_look_due {
            self.is_look_due = true;
            self.timers.set(self.look_at, Timer::Look);
        }
    }

    /// Lets every parked chunk be asked again.
    pub(super) fn look(&mut self, now: Instant) {
        self.is_look_due = false;
        self.look_at = now + LOOK_PACE * self.parked.len() as u32;
        for chunk in std::mem::take(&mut self.parked) {
            if let Some(line) = self.leave_spot(chunk) {
                self.enqueue(chunk, line);
            }
        }
        self.is_stirred = true;
    }

    /// Takes a chunk out of its queues or its parking place. The line it stood in, if it waited.
    pub(super) fn leave_spot(&mut self, chunk: ChunkRef) -> Option<Line> {
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
