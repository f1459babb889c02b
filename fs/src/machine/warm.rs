//! Fetches ahead what a profile names, in its order and behind everything that somebody waits for: parts are looked for in the manifest, many
//! at a time, and their chunks are fetched, as many as keep a link of some length busy.

use std::collections::VecDeque;
use std::ops::Range;

use ares_core::chunk::ChunkId;
use ares_core::manifest::{EntryKind, File};
use ares_core::profile::{Part, Profile};
use ares_core::swarm::Class;
use ares_core::time::Instant;

use super::step::{Fault, LIST_NODES_MAX, Step, place};
use super::{CallId, Goal, Machine, Need};
use crate::inode::{Folder, ROOT};
use crate::request::{Reply, Request};
use crate::shelf::Pins;
use crate::view::{self, Found};

/// Parts that are looked for at a time: hides the round trips of their directories.
const SEARCHES_MAX: usize = 64;
/// Bytes under way, lookahead's among them: 40 ms of a Gbit/s and more.
const WARM_BYTES_MAX: u64 = 8 << 20;
/// Bytes of one part, and of all parts of a profile: a stranger may have written it.
const PART_BYTES_MAX: u64 = 64 << 20;
const PROFILE_FETCHED_BYTES_MAX: u64 = 1 << 30;

/// What is yet to be fetched.
#[derive(Debug, Default)]
pub(super) struct Warm {
    parts: VecDeque<Part>,
    searches: usize,
    chunks: VecDeque<Need>,
    /// That may still be fetched.
    bytes_left: u64,
}

impl Warm {
    pub(super) fn new(profile: &Profile) -> Self {
        Self {
            parts: profile.parts().iter().cloned().collect(),
            bytes_left: PROFILE_FETCHED_BYTES_MAX,
            ..Self::default()
        }
    }

    /// A part was found, or is not there.
    pub(super) fn on_searched(&mut self) {
        self.searches -= 1;
    }
}

impl<T> Machine<T> {
    /// That chunk is held: it was not fetched.
    pub(crate) fn on_held(&mut self, now: Instant, call: CallId, chunk: ChunkId) {
        if let Some(flight) = self.flights.get_mut(&chunk) {
            flight.calls.retain(|&(known, _)| known != call);
            // Whoever waits for its bytes has made a call of their own.
            if flight.calls.is_empty() {
                self.land(chunk);
            }
        }
        self.warm_on(now);
    }

    /// Fetches more of the profile, where less than enough is under way.
    pub(super) fn warm_on(&mut self, now: Instant) {
        while self.warm.searches < SEARCHES_MAX
            && self.bulk_bytes < WARM_BYTES_MAX
            && self.warm.chunks.is_empty()
            && let Some(part) = self.warm.parts.pop_front()
        {
            self.warm.searches += 1;
            let job = self.job(now, None, Request::Warm(part));
            self.run(now, job);
            self.warm_chunks(now);
        }
        self.warm_chunks(now);
    }

    fn warm_chunks(&mut self, now: Instant) {
        while self.bulk_bytes < WARM_BYTES_MAX
            && let Some(need) = self.warm.chunks.pop_front()
        {
            let id = need.chunk.id;
            let bytes = u64::from(need.chunk.len);
            if bytes > self.warm.bytes_left {
                self.stop_warming();
            } else if !self.chunks.contains(&id) && !self.flights.contains_key(&id) && !self.failed.contains_key(&id) {
                self.warm.bytes_left -= bytes;
                self.call(now, need, Class::Bulk, self.settings.patience, Goal::Held);
            }
        }
    }

    /// Fetches no more of it.
    pub(crate) fn stop_warming(&mut self) {
        self.warm.parts.clear();
        self.warm.chunks.clear();
    }

    /// Finds a part of the profile, and has its chunks fetched.
    pub(super) fn warm_part(&mut self, part: &Part, pins: &mut Pins) -> Result<Step, Fault> {
        let done = Ok(Step::Done(Reply::Absent));
        let mut folder = self.folder(ROOT)?;
        let mut file: Option<File> = None;
        for name in part.path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            if file.is_some() {
                return done;
            }
            match self.find_in(&folder, name, pins)? {
                Found::Lacking(node) => return Ok(Step::lacks(node)),
                Found::Absent => return done,
                Found::Here(spot) => match &spot.leaf.entries()[spot.index].kind {
                    EntryKind::Dir(dir) => folder = Folder::Tree(*dir),
                    EntryKind::File(found) => file = Some(found.clone()),
                    EntryKind::Symlink(_) => return done,
                },
            }
        }
        let Some(file) = file else { return done };
        let Range { start, end } = part.bytes;
        let range = start.min(file.bytes)..end.min(file.bytes).min(start.saturating_add(PART_BYTES_MAX));
        let (pieces, lacking) = view::pieces_in(&mut self.shelf(pins), &file, range, LIST_NODES_MAX)?;
        if !lacking.is_empty() {
            let node = |chunk| Need { chunk, place: None };
            return Ok(Step::Lacks(lacking.into_iter().map(node).collect()));
        }
        let blob = file.blob_id();
        let needs = pieces.iter().map(|piece| Need {
            chunk: piece.chunk,
            place: place(blob, &file, piece),
        });
        self.warm.chunks.extend(needs);
        done
    }
}
