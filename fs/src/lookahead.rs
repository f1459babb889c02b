//! Decides how far to read ahead of a reader. A reader that goes on where it stopped gets as much ahead as it has read, from
//! 1 MiB to 32 MiB, or to what an operator says; one that jumps gets nothing until it goes on again. Without it, every chunk costs a round trip: 5 ms per
//! chunk make 0.05 GB/s, with 16 MiB ahead 1.5 to 2.8 GB/s. With 32 MiB many who read the same have more to pass on to each other.
//!
//! And what such a reader is done with: the kernel holds it now, and memory that the next chunks can use at once need not be fetched
//! from the system, which clears it first (a fifth of the CPU time of a cold read through a full cache).

use std::collections::HashMap;
use std::ops::Range;

/// Least ahead of a sequential reader, in bytes.
const WINDOW_MIN: u64 = 1 << 20;
/// Most ahead of a sequential reader, in bytes, where nobody says another.
pub(crate) const WINDOW_MAX: u64 = 32 << 20;
/// How far from where the last read ended the next may be and still go on from there, in bytes: requests of the kernel's own
/// readahead come from several threads and out of order.
const SLACK: u64 = 1 << 20;
/// Files up to this size are fetched whole at the first read, in bytes: whoever reads a part will read the rest.
const WHOLE_MAX: u64 = 4 << 20;
/// Places in one file that are read at the same time and each get their own window.
const STREAMS_MAX: usize = 4;
/// Files followed at the same time; past that one of them starts anew.
const FILES_MAX: usize = 1024;

const _: () = assert!(WHOLE_MAX <= WINDOW_MAX);

/// Readers of all files.
#[derive(Debug)]
pub(crate) struct Lookahead {
    files: HashMap<u64, Vec<Stream>>,
    /// Most ahead of a sequential reader, in bytes; with less than `WINDOW_MIN` no more than that at the beginning either.
    window_max: u64,
}

impl Default for Lookahead {
    fn default() -> Self {
        Self {
            files: HashMap::new(),
            window_max: WINDOW_MAX,
        }
    }
}

/// One reader of one file.
#[derive(Clone, Copy, Debug)]
struct Stream {
    /// Where it started, and so how far it has come.
    start: u64,
    /// Furthest end of its reads.
    end: u64,
    /// How far to fetch ahead for it.
    target: u64,
    /// How far that was done.
    ahead: u64,
    /// How far it is done with what it read.
    done: u64,
}

/// What follows from a read; either may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    /// What to fetch next. What of that was really asked for is told by `on_fetched`.
    pub(crate) ahead: Range<u64>,
    /// What will not be read again soon; a chunk that reaches out of it at the end comes with the next.
    pub(crate) done: Range<u64>,
}

impl Lookahead {
    /// At most so many bytes ahead, from the next read on. What was asked for ahead comes.
    pub(crate) fn set_window_max(&mut self, bytes: u64) {
        self.window_max = bytes;
    }

    /// A read of `range` of the file `ino`, which has `size` bytes. To be told of the same read again changes nothing.
    pub(crate) fn on_read(&mut self, ino: u64, size: u64, range: Range<u64>) -> Advice {
        if self.files.len() >= FILES_MAX
            && !self.files.contains_key(&ino)
            && let Some(&other) = self.files.keys().next()
        {
            self.files.remove(&other);
        }
        let (least, most) = (WINDOW_MIN.min(self.window_max), self.window_max);
        let streams = self.files.entry(ino).or_default();
        let goes_on = |stream: &Stream| range.start <= stream.end + SLACK && range.start + SLACK >= stream.end;
        match streams.iter().position(goes_on) {
            // Readers that were active last stand first.
            Some(at) => streams[..=at].rotate_right(1),
            None => {
                streams.truncate(STREAMS_MAX - 1);
                streams.insert(0, Stream::begin(size, &range, most));
            }
        }
        let stream = &mut streams[0];
        stream.end = stream.end.max(range.end);
        let read = stream.end - stream.start;
        // The beginning of a file is the one place where a single read says that more will follow.
        if stream.start == 0 || read > range.end - range.start {
            let window = read.clamp(least, most);
            stream.target = stream.target.max(size.min(stream.end + window));
        }
        let mut advice = Advice {
            ahead: stream.ahead..stream.ahead,
            done: stream.done..stream.done,
        };
        // Both in steps of a quarter of the least window: that makes fewer, longer runs of chunks.
        if stream.target >= size || stream.target.saturating_sub(stream.ahead) >= WINDOW_MIN / 4 {
            advice.ahead.end = stream.target.max(stream.ahead);
        }
        // Requests for what lies less far back may still come.
        let done = stream.end.saturating_sub(SLACK);
        if done >= stream.done + WINDOW_MIN / 4 {
            stream.done = done;
            advice.done.end = done;
        }
        advice
    }

    /// Everything up to `end` was asked for on behalf of the reader that read last.
    pub(crate) fn on_fetched(&mut self, ino: u64, end: u64) {
        if let Some(stream) = self.files.get_mut(&ino).and_then(|streams| streams.first_mut()) {
            stream.ahead = stream.ahead.max(end);
        }
    }

    /// The kernel has forgotten the file.
    pub(crate) fn on_forgotten(&mut self, ino: u64) {
        self.files.remove(&ino);
    }
}

impl Stream {
    fn begin(size: u64, range: &Range<u64>, window_max: u64) -> Self {
        let (target, ahead) = if size <= WHOLE_MAX.min(window_max) {
            (size, 0)
        } else {
            (range.end, range.end)
        };
        Self {
            start: range.start,
            end: range.end,
            target,
            ahead,
            done: range.start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Reads at the given offsets (MiB, length 128 KiB) and returns the ends (MiB) of what was fetched ahead, 0 for nothing.
    fn ahead_after(size: u64, offsets_kib: &[u64]) -> Vec<u64> {
        let mut lookahead = Lookahead::default();
        let read = |&kib: &u64| {
            let range = lookahead.on_read(7, size, kib << 10..(kib + 128) << 10).ahead;
            lookahead.on_fetched(7, range.end);
            if range.is_empty() { 0 } else { range.end / MIB }
        };
        offsets_kib.iter().map(read).collect()
    }

    #[test]
    fn the_window_grows_with_what_was_read_and_collapses_on_a_seek() {
        let sequential: Vec<u64> = (0..1024).map(|i| i * 128).collect();
        let ends = ahead_after(1 << 30, &sequential);
        assert_eq!(ends[0], 1, "a reader from the start gets 1 MiB");
        let ahead_at = |read: usize| ends[..=read].iter().max().copied().unwrap_or(0) - (read as u64 + 1) / 8;
        assert!((24..=32).contains(&ahead_at(1023)), "{}", ahead_at(1023));
        assert!((1..=4).contains(&ahead_at(16)), "{}", ahead_at(16));
        let check = |size: u64, offsets_kib: &[u64], expect: &[u64]| {
            assert_eq!(ahead_after(size, offsets_kib), expect, "{size} {offsets_kib:?}");
        };
        check(1 << 30, &[500 << 10], &[0]);
        check(1 << 30, &[500 << 10, (500 << 10) + 128], &[0, 501]);
        check(1 << 30, &[9000, 100_000, 5000, 300_000, 70_000, 9000], &[0; 6]);
        check(3 * MIB, &[1024], &[3]);
        check(5 * MIB, &[4096], &[0]);
    }

    #[test]
    fn readers_of_one_file_do_not_disturb_each_other() {
        let mixed: Vec<u64> = (0..80).flat_map(|i| [i * 128, (512 << 10) + i * 128]).collect();
        let ends = ahead_after(1 << 30, &mixed);
        let low = ends.iter().filter(|&&end| end < 512).max();
        let high = ends.iter().max();
        assert!(low.is_some_and(|&end| end >= 15), "{low:?}");
        assert!(high.is_some_and(|&end| end >= 512 + 15), "{high:?}");
    }

    #[test]
    fn the_end_of_the_file_is_not_overrun() {
        let mut lookahead = Lookahead::default();
        let size = 5 * MIB + 17;
        for offset in (0..size).step_by(128 << 10) {
            let range = lookahead.on_read(1, size, offset..size.min(offset + (128 << 10))).ahead;
            assert!(range.end <= size, "{range:?}");
            lookahead.on_fetched(1, range.end);
        }
        assert!(lookahead.on_read(1, size, size..size).ahead.is_empty());
    }

    #[test]
    fn a_reader_is_done_with_what_lies_well_behind_it_and_only_if_it_goes_on() {
        let mut lookahead = Lookahead::default();
        let mut done = 0;
        for offset in (0..20 * MIB).step_by(128 << 10) {
            let advice = lookahead.on_read(1, 1 << 30, offset..offset + (128 << 10));
            if !advice.done.is_empty() {
                assert_eq!(advice.done.start, done, "without a gap");
                done = advice.done.end;
            }
            assert!(done + SLACK <= (offset + (128 << 10)).max(SLACK));
        }
        assert!(done > 18 * MIB, "{done}");
        for offset in [100 * MIB, 300 * MIB, 200 * MIB] {
            assert!(lookahead.on_read(1, 1 << 30, offset..offset + (128 << 10)).done.is_empty());
        }
    }
}
