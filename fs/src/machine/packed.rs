//! Small files lie in packs with what is beside them in their directory. Whoever reads one after the other is given the rest of a pack at once, for
//! the kernel to keep, and the next packs are fetched ahead: a question to us for each file takes longer than a small file.

use ares_core::chunk::ChunkRef;
use ares_core::manifest::{Content, EntryKind};
use ares_core::time::Instant;
use bytes::Bytes;

use super::{Action, Machine, Need};
use crate::read;
use crate::shelf::Pins;
use crate::view::{Found, Spot};

/// How many entries further than what was read or given last the next read may be and still go on from there: directories, and files
/// that are in no pack.
const GAP_MAX: u64 = 16;
/// Packs fetched ahead.
const PACKS_AHEAD: usize = 2;

/// Where the reader of small files is that read last.
#[derive(Debug, Default)]
pub(super) struct Packed {
    read: u64,
    /// Up to here the kernel was given all that is in packs.
    given: u64,
    goes_on: bool,
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
            self.packed.given = 0;
            return;
        }
        let Ok(Found::Here((Spot { leaf, index, .. }, _))) = self.locate(ino, &mut Pins::default()) else {
            return;
        };
        let bytes = self.chunks.get(&pack.id).cloned();
        let (mut files, mut next): (Vec<(u64, Bytes)>, Vec<ChunkRef>) = (Vec::new(), Vec::new());
        for (at, entry) in leaf.entries().iter().enumerate().skip(index + 1) {
            let EntryKind::File(file) = &entry.kind else { continue };
            let Content::Packed { pack: of, offset } = &file.content else {
                continue;
            };
            if *of == pack {
                let neighbour = ino + leaf.begin(at) - leaf.begin(index);
                let offset = u64::from(*offset);
                let part = bytes
                    .as_ref()
                    .and_then(|bytes| read::slice(bytes, offset..offset + file.bytes));
                if neighbour > self.packed.given
                    && let Some(part) = part
                {
                    self.packed.given = neighbour;
                    files.push((neighbour, part));
                }
            } else if next.last() != Some(of) {
                if next.len() == PACKS_AHEAD {
                    break;
                }
                next.push(*of);
            }
        }
        if !files.is_empty() {
            self.actions.push_back(Action::Give(files));
        }
        for chunk in next {
            self.fetch_bulk(now, Need { chunk, place: None });
        }
    }
}
