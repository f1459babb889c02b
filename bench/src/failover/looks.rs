//! What was seen of a transfer, look by look, and what follows from it: gaps, rates, and when a path was in use again.

use std::time::{Duration, Instant};

/// Bytes that must have come since the last growth to be one: a journal's page is none.
const GROWTH_BYTES: u64 = 16 << 10;

/// Stretch over which a path's use is judged.
const USE: Duration = Duration::from_millis(200);

/// Share of a path's rate that counts as use.
const USE_SHARE: f64 = 0.2;

/// One look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// When.
    pub at: Instant,
    /// Bytes that the reader has.
    pub bytes: u64,
    /// Bytes that each path has carried to the reader, headers and duplicates included.
    pub carried: [u64; 2],
}

/// The times at which bytes came, each with how many there were.
fn growths(looks: &[Look]) -> impl Iterator<Item = (Instant, u64)> {
    let mut had = 0;
    looks.iter().filter_map(move |look| {
        let grown = look.bytes >= had + GROWTH_BYTES;
        if grown {
            had = look.bytes;
        }
        grown.then_some((look.at, look.bytes))
    })
}

/// The longest time without growth that touches this stretch; with `open_end` also what has lasted since the last growth.
pub(super) fn longest_gap(looks: &[Look], from: Instant, until: Instant, open_end: bool) -> Duration {
    let end = looks.last().filter(|_| open_end).map(|look| look.at);
    let mut times: Vec<Instant> = growths(looks).map(|(at, _)| at).collect();
    times.extend(end);
    let gaps = times.windows(2).filter(|pair| pair[1] > from && pair[0] < until);
    gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Bytes a second from the first growth after `from` to the last one.
pub(super) fn rate_since(looks: &[Look], from: Instant) -> Option<f64> {
    let mut after = growths(looks).filter(|(at, _)| *at >= from);
    let (first, had) = after.next()?;
    let (last, has) = after.last()?;
    Some((has - had) as f64 / (last - first).as_secs_f64())
}

/// The path that carried more of the last second.
pub(super) fn busier(looks: &[Look]) -> usize {
    let Some(last) = looks.last() else { return 0 };
    let before = looks.iter().rev().find(|look| last.at - look.at >= Duration::from_secs(1));
    let carried = [0, 1].map(|path| last.carried[path] - before.map_or(0, |look| look.carried[path]));
    usize::from(carried[1] > carried[0])
}

/// How long after `healed` a path of this rate was in use again.
pub(super) fn back_after(looks: &[Look], healed: Instant, path: usize, mbit_per_s: u32) -> Option<Duration> {
    let wanted = f64::from(mbit_per_s) * 1e6 / 8.0 * USE.as_secs_f64() * USE_SHARE;
    let after: Vec<&Look> = looks.iter().filter(|look| look.at >= healed).collect();
    let mut begins = 0;
    for look in &after {
        while look.at - after[begins].at > USE {
            begins += 1;
        }
        if (look.carried[path] - after[begins].carried[path]) as f64 >= wanted {
            return Some(look.at - healed);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Looks at these times (ms) with so many times 64 KiB, carried by the second path.
    fn looks(seen: &[(u32, u64)]) -> (Instant, Vec<Look>) {
        let start = Instant::now();
        let look = |&(ms, blocks): &(u32, u64)| Look {
            at: start + ms * MS,
            bytes: blocks << 16,
            carried: [0, blocks << 16],
        };
        (start, seen.iter().map(look).collect())
    }

    #[test]
    fn a_gap_is_the_time_between_growths_around_the_stretch() {
        let (start, seen) = looks(&[(0, 1), (10, 2), (20, 2), (60, 3), (65, 4), (70, 5), (300, 5)]);
        for (from, until, open_end, expect) in [
            (0, 70, false, 50),
            (0, 9, false, 10),
            (61, 70, false, 5),
            (61, 300, true, 230),
            (0, 300, false, 50),
        ] {
            let gap = longest_gap(&seen, start + from * MS, start + until * MS, open_end);
            assert_eq!(gap, expect * MS, "{from} to {until}");
        }
    }

    #[test]
    fn a_rate_is_that_between_growths() {
        let (start, seen) = looks(&[(0, 1), (100, 2), (200, 2), (1_100, 12), (9_000, 12)]);
        assert_eq!(rate_since(&seen, start + 50 * MS), Some(655_360.0));
        assert_eq!(rate_since(&seen, start + 1_000 * MS), None);
    }

    #[test]
    fn a_path_is_back_when_it_carries_a_fifth_of_its_rate() {
        // A fifth of 8 Mbit/s for 200 ms are 40,000 bytes.
        let (start, seen) = looks(&[(0, 0), (100, 0), (500, 0), (600, 0), (650, 1), (700, 2)]);
        assert_eq!(back_after(&seen, start + 100 * MS, 1, 8), Some(550 * MS));
        assert_eq!(back_after(&seen, start + 100 * MS, 0, 8), None);
        assert_eq!(back_after(&seen, start + 100 * MS, 1, 800), None);
    }

    #[test]
    fn the_busier_path_is_that_of_the_last_second() {
        let (_, mut seen) = looks(&[(0, 0), (1_000, 9), (2_500, 10)]);
        seen[2].carried[0] = 2 << 16;
        assert_eq!(busier(&seen), 0);
        assert_eq!(busier(&seen[..2]), 1);
    }
}
