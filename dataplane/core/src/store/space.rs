//! Room on disk: when intake stops and tries again, when a journal is worth rewriting.

use std::time::Duration;

use crate::time::Instant;

/// First pause after the disk was full.
const PROBE_FIRST: Duration = Duration::from_millis(250);
/// Longest pause: a disk that got room again is noticed within this time.
const PROBE_MAX: Duration = Duration::from_secs(10);
/// A journal smaller than this is not worth rewriting, in bytes.
const COMPACT_BYTES_MIN: u64 = 4 << 20;

/// Whether chunks are taken in. Once the disk is full, one write at a time probes it, with pauses that grow.
#[derive(Clone, Debug, Default)]
pub struct Intake {
    stopped: Option<Stopped>,
}

#[derive(Clone, Debug)]
struct Stopped {
    since: Instant,
    probe_at: Instant,
    pause: Duration,
}

/// What a writer may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Write.
    Open,
    /// Write, and tell how it went: everybody else waits for it.
    Probe,
    /// Do not try: the disk was full a moment ago.
    Stopped,
}

impl Intake {
    /// Whether a writer may try now.
    pub fn admit(&mut self, now: Instant) -> Admit {
        match &mut self.stopped {
            None => Admit::Open,
            Some(stopped) if now >= stopped.probe_at => {
                stopped.probe_at = now + stopped.pause;
                Admit::Probe
            }
            Some(_) => Admit::Stopped,
        }
    }

    /// A write found the disk full. True if intake was running until now (say so once).
    pub fn on_full(&mut self, now: Instant) -> bool {
        let first = self.stopped.is_none();
        let pause = self.stopped.as_ref().map_or(PROBE_FIRST, |s| (s.pause * 2).min(PROBE_MAX));
        let since = self.stopped.as_ref().map_or(now, |s| s.since);
        self.stopped = Some(Stopped {
            since,
            probe_at: now + pause,
            pause,
        });
        first
    }

    /// A probe found room. How long intake was stopped, if it was.
    pub fn on_written(&mut self, now: Instant) -> Option<Duration> {
        self.stopped.take().map(|s| now.since(s.since))
    }

    /// Whether intake is stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }
}

/// Whether a journal of `journal_bytes`, of which `live_bytes` would remain, is worth rewriting: more than half of it is history.
pub fn worth_compacting(journal_bytes: u64, live_bytes: u64) -> bool {
    journal_bytes >= COMPACT_BYTES_MIN && journal_bytes / 2 > live_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_at_a_time_probes_a_full_disk_with_growing_pauses() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut intake = Intake::default();
        assert_eq!(intake.admit(at(0)), Admit::Open);
        assert!(intake.on_full(at(0)));
        assert_eq!(intake.admit(at(249)), Admit::Stopped);
        assert_eq!(intake.admit(at(250)), Admit::Probe);
        assert_eq!(intake.admit(at(250)), Admit::Stopped, "one at a time");
        assert!(!intake.on_full(at(250)), "said once");
        assert_eq!(intake.admit(at(749)), Admit::Stopped);
        assert_eq!(intake.admit(at(750)), Admit::Probe);
        for k in 0..20 {
            intake.on_full(at(1_000 + k));
        }
        assert_eq!(intake.admit(at(1_019 + 9_999)), Admit::Stopped);
        assert_eq!(intake.admit(at(1_019 + 10_000)), Admit::Probe);
        assert_eq!(intake.on_written(at(20_000)), Some(Duration::from_secs(20)));
        assert_eq!(intake.admit(at(20_000)), Admit::Open);
        assert_eq!(intake.on_written(at(20_000)), None);
    }

    #[test]
    fn a_journal_is_rewritten_when_most_of_it_is_history() {
        assert!(!worth_compacting(COMPACT_BYTES_MIN - 1, 0));
        assert!(worth_compacting(COMPACT_BYTES_MIN, 0));
        assert!(!worth_compacting(100 << 20, 60 << 20));
    }
}
