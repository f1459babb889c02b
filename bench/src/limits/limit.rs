//! One row: work that can be done again and again, what it is called, and what it bounds.

use std::time::{Duration, Instant};

use crate::error::Result;

/// Processor work is repeated for so long: a tick of the scheduler is little beside it.
const SAMPLE_TIME: Duration = Duration::from_millis(100);

/// A row and what was measured for it.
pub(crate) struct Limit {
    /// What is done.
    pub what: String,
    /// Which library or interface does it; empty where there is no choice.
    pub by: &'static str,
    /// What of ours cannot be faster.
    pub bounds: &'static str,
    /// One for each run.
    pub samples: Vec<Sample>,
    work: Box<dyn FnMut() -> Result<Sample>>,
}

/// Bytes moved, and what that took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Payload, without headers and tags.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
    /// Processor time, where two processes share the work.
    pub cpu: Option<Sides>,
}

/// Processor time of the two processes of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides {
    /// User and kernel, seconds.
    pub sender_s: f64,
    /// Likewise.
    pub receiver_s: f64,
}

impl Limit {
    /// A row that `work` samples.
    pub(crate) fn new(
        what: impl Into<String>,
        by: &'static str,
        bounds: &'static str,
        work: impl FnMut() -> Result<Sample> + 'static,
    ) -> Self {
        Self {
            what: what.into(),
            by,
            bounds,
            samples: Vec::new(),
            work: Box::new(work),
        }
    }

    /// Does the work once more.
    pub(crate) fn sample(&mut self) -> Result<Sample> {
        let sample = (self.work)()?;
        self.samples.push(sample);
        Ok(sample)
    }
}

impl Sample {
    /// One thread did it all.
    pub(crate) fn of_one(bytes: u64, took: Duration) -> Self {
        Self {
            bytes,
            seconds: took.as_secs_f64(),
            cpu: None,
        }
    }

    /// 10^9 bytes.
    pub(crate) fn gb(&self) -> f64 {
        self.bytes as f64 / 1e9
    }

    /// 10^9 bytes a second.
    pub(crate) fn gb_per_s(&self) -> f64 {
        self.gb() / self.seconds
    }

    /// Wall time of 1,024 bytes, ns.
    pub(crate) fn ns_per_kib(&self) -> f64 {
        self.seconds * 1e9 / (self.bytes as f64 / 1024.0)
    }
}

/// Times `pass`, which moves `bytes`, until it ran for [`SAMPLE_TIME`]; `prepare` comes before each pass and is not counted.
pub(crate) fn repeat<T>(bytes: usize, state: &mut T, prepare: impl Fn(&mut T), pass: impl Fn(&mut T)) -> Sample {
    let mut spent = Duration::ZERO;
    let mut passes = 0;
    while spent < SAMPLE_TIME {
        prepare(state);
        let started = Instant::now();
        pass(state);
        spent += started.elapsed();
        passes += 1;
    }
    Sample::of_one(bytes as u64 * passes, spent)
}
