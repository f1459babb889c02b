//! One part of a big file: read step by step, searched and hashed while its bytes are in the core's own cache.
//!
//! Read by plain `pread`, not mapped: bytes that the kernel copied into a core's own cache are hashed at 10 GB/s, mapped ones, with their
//! page faults and misses, at 6; together 0.15 ns/B against 0.16 measured. And a mapped file that somebody truncates kills the process
//! (SIGBUS). At a step's size a system call is nothing beside the copy, which is the same through a ring.
//!
//! Holes of sparse files are neither read nor, where they are long, searched and hashed, with the same cuts as if they were.

use std::io;

use ares_core::chunk::{ChunkId, ChunkRef, Cutter, Meeting};

use super::big::Big;
use super::buffers::{Buffer, STEP};
use super::look;
use super::work::Worker;

/// Cuts and hashes from one place on until its cuts meet those of a later part.
pub(super) struct Part<'a, 'w> {
    big: &'a Big,
    worker: &'a Worker<'w>,
    chain: Chain,
    /// The part that follows the one in which the chain begins.
    next: u64,
    /// The file's bytes from `base` on, `buffer.len` of them: what is not yet hashed.
    buffer: Buffer,
    base: u64,
    cutter: Cutter,
    /// Cuts the next part's own chain, once it is reached.
    rival: Option<Cutter>,
    meeting: Meeting,
    /// The stretch around the place of reading, where the file has holes.
    stretch: Stretch,
    cuts: Vec<u64>,
    rivals_cuts: Vec<u64>,
}

/// Chunks that follow each other.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Where the first begins.
    pub(super) begin: u64,
    /// Where the last ends.
    pub(super) end: u64,
    pub(super) chunks: Vec<ChunkRef>,
    /// The part whose own chain has a chunk that begins at `end`. `None` at the end of the file, and where the chains of two parts never met.
    pub(super) next: Option<u64>,
}

/// Data or a hole, as far as is known.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    begin: u64,
    end: u64,
    is_hole: bool,
}

impl<'a, 'w> Part<'a, 'w> {
    /// A chain that begins at `begin`: a part's beginning, or the end of a chain that met no other.
    pub(super) fn new(big: &'a Big, worker: &'a Worker<'w>, begin: u64) -> Self {
        let data_end = if big.look.sparse { 0 } else { u64::MAX };
        let next = begin / big.part_bytes + 1;
        let mut meeting = Meeting::default();
        meeting.on_cuts(&[], &[next * big.part_bytes]);
        Self {
            big,
            worker,
            chain: Chain {
                begin,
                end: begin,
                ..Chain::default()
            },
            next,
            buffer: worker.work.buffers.take(),
            base: begin,
            cutter: Cutter::new(big.class, begin),
            rival: None,
            meeting,
            stretch: Stretch {
                begin: 0,
                end: data_end,
                is_hole: false,
            },
            cuts: Vec::new(),
            rivals_cuts: Vec::new(),
        }
    }

    /// The chain; `None` if the file is shorter than it was, or the work is in vain.
    pub(super) fn cut(mut self) -> io::Result<Option<Chain>> {
        loop {
            if self.big.is_in_vain(self.worker) || !self.step()? {
                return Ok(None);
            }
            if self.hash() || self.meet() || self.seen() >= self.give_up_at() || self.skip_hole() {
                return Ok(Some(self.chain));
            }
        }
    }

    fn seen(&self) -> u64 {
        self.base + self.buffer.len as u64
    }

    fn next_begin(&self) -> u64 {
        self.next * self.big.part_bytes
    }

    /// Chains through data with a period may run beside each other for ever. Then the next part's is of no use, and what follows is cut when
    /// all parts are done.
    fn give_up_at(&self) -> u64 {
        self.next_begin() + self.big.part_bytes
    }

    /// Takes the next bytes into the buffer. False if the file ends before.
    fn step(&mut self) -> io::Result<bool> {
        self.make_room();
        let at = self.seen();
        let mut until = (at + STEP as u64).min(self.big.look.guard.size);
        if self.big.look.sparse {
            self.find_stretch(at);
            until = until.min(self.stretch.end);
        }
        let (from, len) = (self.buffer.len, (until - at) as usize);
        let space = &mut self.buffer.space()[from..from + len];
        if self.stretch.is_hole {
            space.fill(0);
        } else if look::read_at(&self.big.file, space, at)? < len {
            return Ok(false);
        }
        self.buffer.len += len;
        self.count_done(at, until);
        Ok(true)
    }

    /// Counts what lies in the part: nothing behind it, and nothing where a chain goes on that met no other.
    fn count_done(&self, from: u64, to: u64) {
        let end = self.next_begin();
        if self.chain.begin + self.big.part_bytes == end {
            self.worker.count_done(0, to.min(end) - from.min(end));
        }
    }

    /// Moves what is still needed to the front of the buffer where the next step would not fit.
    fn make_room(&mut self) {
        let len = self.buffer.len;
        if len + STEP <= self.buffer.space().len() {
            return;
        }
        let needed = start_of_both(&self.cutter, self.rival.as_ref());
        let from = (needed - self.base) as usize;
        self.buffer.space().copy_within(from..len, 0);
        self.buffer.len = len - from;
        self.base = needed;
    }

    fn find_stretch(&mut self, at: u64) {
        if at < self.stretch.end {
            return;
        }
        let size = self.big.look.guard.size;
        let data = look::data_from(&self.big.file, at).unwrap_or(size).min(size);
        self.stretch = match data > at {
            true => Stretch {
                begin: at,
                end: data,
                is_hole: true,
            },
            false => Stretch {
                begin: at,
                end: look::hole_from(&self.big.file, at).clamp(at + 1, size),
                is_hole: false,
            },
        };
    }

    /// Ends and hashes the chunks that are certain by now. True at the end of the file.
    fn hash(&mut self) -> bool {
        let (size, seen) = (self.big.look.guard.size, self.seen());
        self.cuts.clear();
        self.rivals_cuts.clear();
        self.cutter.on_bytes(self.buffer.as_ref(), self.base, &mut self.cuts);
        if seen == size {
            self.cutter.clone().finish(size, &mut self.cuts);
        }
        for &end in &self.cuts {
            let (from, to) = ((self.chain.end - self.base) as usize, (end - self.base) as usize);
            let id = ChunkId::of(&self.buffer.as_ref()[from..to]);
            self.chain.push(ChunkRef {
                id,
                len: (to - from) as u32,
            });
        }
        seen == size
    }

    /// Whether the chain has come to a cut of the next part's chain, where it ends.
    fn meet(&mut self) -> bool {
        let begin = self.next_begin();
        if self.seen() >= begin {
            let rival = self.rival.get_or_insert_with(|| Cutter::new(self.big.class, begin));
            rival.on_bytes(self.buffer.as_ref(), self.base, &mut self.rivals_cuts);
        }
        let met = self.meeting.on_cuts(&self.cuts, &self.rivals_cuts);
        if let Some(met) = met {
            self.chain.cut_back(met);
            self.chain.next = Some(self.next);
        }
        met.is_some()
    }

    /// Longest chunks of zeros follow each other in a hole, where they have one name. True where the chain ends there.
    fn skip_hole(&mut self) -> bool {
        let Stretch { begin, end, is_hole } = self.stretch;
        if !is_hole || start_of_both(&self.cutter, self.rival.as_ref()) < begin {
            return false;
        }
        let until = end.min(match self.rival {
            None => self.next_begin(),
            Some(_) => self.give_up_at(),
        });
        let (mut cutter, mut rival) = (self.cutter.clone(), self.rival.clone());
        let count = cutter.on_zeros(until);
        let rivals_count = rival.as_mut().map_or(0, |rival| rival.on_zeros(until));
        let (seen, to) = (self.seen(), start_of_both(&cutter, rival.as_ref()));
        if to <= seen {
            return false;
        }
        let zeros = ChunkRef {
            id: self.big.zeros(),
            len: self.big.class.max() as u32,
        };
        (0..count).for_each(|_| self.chain.push(zeros));
        // Where their last cuts differ, so do those before.
        let last = |count: u64, cutter: &Cutter| (count > 0).then(|| cutter.start());
        self.cuts.clear();
        self.cuts.extend(last(count, &cutter));
        self.rivals_cuts.clear();
        self.rivals_cuts
            .extend(rival.as_ref().and_then(|rival| last(rivals_count, rival)));
        (self.cutter, self.rival) = (cutter, rival);
        (self.base, self.buffer.len) = (to, 0);
        self.count_done(seen, to);
        self.meet() || self.chain.end == self.big.look.guard.size
    }
}

/// The first byte that either has still use for.
fn start_of_both(cutter: &Cutter, rival: Option<&Cutter>) -> u64 {
    rival.map_or(u64::MAX, Cutter::start).min(cutter.start())
}

impl Chain {
    fn push(&mut self, chunk: ChunkRef) {
        self.chunks.push(chunk);
        self.end += u64::from(chunk.len);
    }

    /// Drops the chunks behind `end`, which is the end of one.
    fn cut_back(&mut self, end: u64) {
        while self.end > end {
            let Some(last) = self.chunks.pop() else {
                unreachable!("a chain is cut back to an end of its own")
            };
            self.end -= u64::from(last.len);
        }
    }
}
