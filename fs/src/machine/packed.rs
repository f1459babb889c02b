//! Small files lie in packs with what is beside them in their directory. Whoever reads one after the other is given the rest of a pack at once, for
//! the kernel to keep, and the next packs are fetched ahead: a question to us for each file takes longer than a small file.

use ares_core::chunk::ChunkRef;
use ares_core::manifest::{Content, EntryKind};
use ares_core::time::Instant;

use super::{Action, Machine, Need};
use crate::read;
use crate::shelf::Pins;
use crate::view::{Found, Spot};

/// How many entries further than what was read or given last the next read may be and still go on from there: directories, and files
/// that are in no pack.
const GAP_MAX: u64 = 16;
/// Packs fetched ahead, of whoever goes on with a second and after each one more: twice as many each time. A reader is done with a pack long before the next has
/// come, so what is under way is what counts; and a network that pauses for a moment is not waited for where some are here.
const PACKS_AHEAD: usize = 2;
const PACKS_AHEAD_MAX: usize = 8;
/// Places looked at for them beyond the directory, or the part of a large one, that is read.
const PLACES_MAX: usize = 8;

/// Where the reader of small files is that read last.
#[derive(Debug, Default)]
pub(super) struct Packed {
    read: u64,
    /// Up to here the kernel was given all that is in packs.
    given: u64,
    goes_on: bool,
    /// How many packs are fetched ahead, where that is more than the least.
    ahead: usize,
}

impl<T> Machine<T> {
    /// The file `ino`, which is in `pack`, was read, or will be as soon as that is here. To be told twice changes nothing.
    pub(super) fn follow_packed(&mut self, now: Instant, ino: u64, pack: ChunkRef) {
        if self.packed.read != ino {
            let far = self.packed.read.max(self.packed.given) + GAP_MAX;
            self.packed.goes_on = (self.packed.read + 1..=far).contains(&ino);
            self.packed.read = ino;
        }
        if !self.packed.goes_on {
            (self.packed.given, self.packed.ahead) = (0, 0);
            return;
        }
        let Ok(Found::Here((spot, _))) = self.locate(ino, &mut Pins::default()) else {
            return;
        };
        self.give_rest(ino, &spot, pack);
        self.fetch_packs_behind(now, ino, spot, pack);
    }

    /// Gives the kernel what is left of `pack` behind the file `ino`, if that is here.
    fn give_rest(&mut self, ino: u64, Spot { leaf, index, .. }: &Spot, pack: ChunkRef) {
        let Some(bytes) = self.chunks.get(&pack.id).cloned() else {
            return;
        };
        let mut files = Vec::new();
        for (at, entry) in leaf.entries().iter().enumerate().skip(index + 1) {
            let EntryKind::File(file) = &entry.kind else { continue };
            let Content::Packed { pack: of, offset } = &file.content else {
                continue;
            };
            let neighbour = ino + leaf.begin(at) - leaf.begin(*index);
            let offset = u64::from(*offset);
            if *of == pack
                && neighbour > self.packed.given
                && let Some(part) = read::slice(&bytes, offset..offset + file.bytes)
            {
                self.packed.given = neighbour;
                files.push((neighbour, part));
            }
        }
        if !files.is_empty() {
            self.packed.ahead = (2 * self.packed.ahead.max(PACKS_AHEAD)).min(PACKS_AHEAD_MAX);
            self.actions.push_back(Action::Give(files));
        }
    }

    /// Fetches the packs that come behind `pack`: in the directory of the file `ino`, and in those that follow in the order of the release.
    fn fetch_packs_behind(&mut self, now: Instant, ino: u64, mut spot: Spot, pack: ChunkRef) {
        let (mut next, mut number) = (vec![pack], ino);
        let wanted = 1 + self.packed.ahead.max(PACKS_AHEAD);
        for _ in 0..PLACES_MAX {
            let leaf = &spot.leaf;
            let number_of = |at: usize| number + leaf.begin(at) - leaf.begin(spot.index);
            let mut inner = None;
            for (at, entry) in leaf.entries().iter().enumerate().skip(spot.index) {
                match &entry.kind {
                    EntryKind::Dir(dir) if inner.is_none() && dir.totals.entries > 0 => inner = Some(number_of(at) + 1),
                    EntryKind::File(file) => match &file.content {
                        Content::Packed { pack, .. } if next.len() < wanted && next.last() != Some(pack) => next.push(*pack),
                        _ => {}
                    },
                    _ => {}
                }
            }
            number = inner.unwrap_or_else(|| number_of(leaf.entries().len()));
            if next.len() == wanted {
                break;
            }
            match self.locate(number, &mut Pins::default()) {
                Ok(Found::Here((found, _))) => spot = found,
                Ok(Found::Lacking(node)) => {
                    next.push(node);
                    break;
                }
                // The end; what is malformed is reported when somebody reads that far.
                Ok(Found::Absent) | Err(_) => break,
            }
        }
        for chunk in next.into_iter().skip(1) {
            self.fetch_bulk(now, Need { chunk, place: None });
        }
    }
}
