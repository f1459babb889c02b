//! What a transfer must survive, and how well.

mod caps;
mod cuts;
mod loads;
mod quiet;
mod rates;
mod sound;

use super::record::Turn;
use super::*;

/// Seeds that each row of a test is run with, which no other row has.
const SEEDS: usize = 8;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A link as they are, for runs with many seeds: some jitter, and a datagram of 10,000 is lost.
fn uneven(mbit_per_s: u64, rtt_ms: u64) -> LinkSpec {
    LinkSpec {
        jitter: Duration::from_micros(rtt_ms * 50),
        loss_ppm: 100,
        ..LinkSpec::of(mbit_per_s, rtt_ms)
    }
}
