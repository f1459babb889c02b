//! Records which parts of a release are read and what came first, as a profile: what a reader has to wait for when nothing is held. Of a
//! reader that reads on only the beginning counts, as lookahead serves the rest.

use std::collections::{HashMap, HashSet};

use ares_core::chunk::ChunkId;
use ares_core::manifest::{Content, File};
use ares_core::profile::{Part, Profile};

use crate::view::Piece;

/// How far a reader that reads on is recorded, in bytes.
const RUN_BYTES_MAX: u64 = 8 << 20;
/// Places in one file that are read on from at the same time: the kernel's requests come by several threads, and out of order.
const RUNS_MAX: usize = 4;

/// What was read so far. It ends when the profile is full.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    profile: Profile,
    seen: HashSet<ChunkId>,
    runs: HashMap<u64, Vec<Run>>,
    is_full: bool,
}

/// A reader of a file.
#[derive(Debug)]
struct Run {
    part: usize,
    start: u64,
    end: u64,
}

impl Recorder {
    /// These chunks have what was asked for of the file `ino`. To be told again changes nothing. A file without a path is left out.
    pub(crate) fn on_read(&mut self, ino: u64, file: &File, pieces: &[Piece], path: impl Fn() -> Option<Vec<u8>>) {
        for piece in pieces {
            if self.is_full {
                return;
            }
            let bytes = match &file.content {
                // Whoever needs the file needs its pack.
                Content::Packed { .. } => 0..file.bytes,
                _ => piece.start..piece.start + u64::from(piece.chunk.len),
            };
            let runs = self.runs.entry(ino).or_default();
            if let Some(run) = runs.iter_mut().find(|run| run.end == bytes.start) {
                run.end = bytes.end;
                if run.end - run.start <= RUN_BYTES_MAX && self.seen.insert(piece.chunk.id) {
                    self.profile.extend(run.part, run.end);
                }
                continue;
            }
            if !self.seen.insert(piece.chunk.id) {
                continue;
            }
            let Some(path) = path() else { continue };
            let (start, end) = (bytes.start, bytes.end);
            match self.profile.push(Part { path, bytes }) {
                Some(part) => {
                    runs.truncate(RUNS_MAX - 1);
                    runs.insert(0, Run { part, start, end });
                }
                None => {
                    *self = Self {
                        profile: std::mem::take(&mut self.profile),
                        is_full: true,
                        ..Self::default()
                    };
                }
            }
        }
    }

    /// What was recorded.
    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }
}

#[cfg(test)]
mod tests {
    use ares_core::chunk::ChunkRef;

    use super::*;

    #[test]
    fn what_is_read_first_stands_first_and_who_reads_on_is_one_part_of_bounded_length() {
        let file = |content| File {
            bytes: 1 << 30,
            content,
            b3: None,
        };
        let large = file(Content::Chunks(Vec::new()));
        let chunk = |n: u64| ChunkRef {
            id: ChunkId::of(&n.to_le_bytes()),
            len: 1 << 20,
        };
        let piece = |at: u64| Piece {
            chunk: chunk(at),
            start: at << 20,
        };
        let mut recorder = Recorder::default();
        let mut read = |ino: u64, at: u64| {
            recorder.on_read(ino, &large, &[piece(at + 1000 * ino)], || {
                Some(format!("f{ino}").into_bytes())
            })
        };
        for at in [5, 5, 0] {
            read(0, at);
        }
        for at in 0..100 {
            read(1, at);
            read(0, 1 + at);
        }
        let packed = file(Content::Packed {
            pack: chunk(9),
            offset: 77,
        });
        let packed = File { bytes: 10, ..packed };
        for name in ["p", "q"] {
            let pack = Piece {
                chunk: chunk(1 << 40),
                start: 0,
            };
            recorder.on_read(name.len() as u64 + 7, &packed, &[pack], || Some(name.into()));
        }
        let mib = |from: u64, to: u64, path: &str| format!("{}-{} {path}\n", from << 20, to << 20);
        let expect = [mib(5, 6, "f0"), mib(0, 8, "f0"), mib(1000, 1008, "f1"), "0-10 p\n".to_owned()].concat();
        assert_eq!(String::from_utf8_lossy(&recorder.profile().text()), expect);
    }
}
