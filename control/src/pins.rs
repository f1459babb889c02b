//! The releases that a daemon keeps whole: which of them is to be fetched next and when, and how far each is. The store remembers what
//! was pinned; `keeper` does the fetching.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ares_core::chunk::ReleaseId;
use ares_core::link::Link;
use ares_node::download::DownloadProgress;
use ares_node::store::{PinnedBy, Store};
use serde::Serialize;

use crate::cancel::Cancel;

/// Pause after a release could not be had: the first one, and what it doubles up to.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// A whole release is looked through again after so long: what the disk has lost meanwhile is fetched.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// The pins of a daemon.
pub(crate) struct Pins {
    schedule: Mutex<Schedule>,
    changed: Condvar,
}

/// A release to be brought in.
pub(crate) struct Turn {
    pub(crate) link: Link,
    pub(crate) progress: Arc<DownloadProgress>,
    pub(crate) stop: Cancel,
}

/// How far a pinned release is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// It is not whole, and will be tried again.
    Waiting,
    /// It is being fetched, or looked through.
    Fetching,
    /// All of it was found to be here.
    Whole,
}

impl Stage {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Waiting, Self::Fetching, Self::Whole];

    /// What it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Fetching => "fetching",
            Self::Whole => "whole",
        }
    }
}

/// A pin as `ares status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PinState {
    pub(crate) release: String,
    pub(crate) name: String,
    pub(crate) by: PinnedBy,
    pub(crate) state: Stage,
    /// File bytes found to be here in this try or the last one.
    pub(crate) held_bytes: u64,
    /// File bytes in all; 0 while that is not known.
    pub(crate) bytes: u64,
    /// Tries that failed since the last that did not.
    pub(crate) failed_tries: u32,
    /// Why the last one did.
    pub(crate) why: Option<String>,
}

impl Pins {
    /// Those that the store remembers, and those of the config file that it was told.
    pub(crate) fn open(store: &Store) -> Self {
        let mut schedule = Schedule::default();
        for pin in store.pins() {
            match pin.link.parse() {
                Ok(link) => schedule.on_pinned(Instant::now(), link, pin.by),
                // Of a later version, perhaps. It is kept all the same.
                Err(error) => tracing::warn!(release = %pin.release, %error, "a pinned release cannot be fetched: pin it again"),
            }
        }
        Self {
            schedule: Mutex::new(schedule),
            changed: Condvar::new(),
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        // Entries are inserted and removed whole.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command has pinned the release: it is tried at once.
    pub(crate) fn on_pinned(&self, link: Link) {
        self.schedule().on_pinned(Instant::now(), link, PinnedBy::Command);
        self.changed.notify_one();
    }

    /// It need not be kept any more.
    pub(crate) fn on_unpinned(&self, release: ReleaseId) {
        self.schedule().on_unpinned(release);
    }

    /// The config file pins these now, and not those any more.
    pub(crate) fn reconfigure(&self, store: &Store, old: &BTreeMap<ReleaseId, Link>, new: &BTreeMap<ReleaseId, Link>) {
        store.pin_configured(new.iter().map(|(release, link)| (*release, link.to_string())).collect());
        let commanded: Vec<ReleaseId> = store.pins().into_iter().map(|pin| pin.release).collect();
        let mut schedule = self.schedule();
        for release in old.keys().filter(|release| !new.contains_key(release)) {
            schedule.on_unpinned(*release);
            // What a command has pinned, too, stays pinned by that.
            if commanded.contains(release) {
                schedule.on_pinned(Instant::now(), old[release].clone(), PinnedBy::Command);
            }
        }
        for (release, link) in new.iter().filter(|(release, link)| old.get(release) != Some(link)) {
            schedule.on_pinned(Instant::now(), link.clone(), PinnedBy::Config);
            if let Some(entry) = schedule.entries.get_mut(release) {
                entry.by = PinnedBy::Config;
            }
        }
        drop(schedule);
        self.changed.notify_one();
    }

    /// How all of them are.
    pub(crate) fn list(&self) -> Vec<PinState> {
        self.schedule().entries.values().map(Entry::state).collect()
    }

    /// Waits for the next one to fetch. `None` when the daemon stops.
    pub(crate) fn next(&self) -> Option<Turn> {
        let mut schedule = self.schedule();
        loop {
            if schedule.is_over {
                return None;
            }
            let now = Instant::now();
            if let Some(turn) = schedule.take(now) {
                return Some(turn);
            }
            let sleep = schedule.next_at().map_or(LOOK_AGAIN, |at| at.saturating_duration_since(now));
            let waited = self.changed.wait_timeout(schedule, sleep);
            schedule = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What became of a turn.
    pub(crate) fn on_end(&self, release: ReleaseId, result: Result<(), String>) {
        self.schedule().on_end(Instant::now(), release, result);
        self.changed.notify_one();
    }

    /// Nothing is fetched any more, and what is under way ends soon.
    pub(crate) fn end(&self) {
        let mut schedule = self.schedule();
        schedule.is_over = true;
        schedule.entries.values().for_each(|entry| entry.stop.cancel());
        self.changed.notify_all();
    }
}

/// Decides which is next.
#[derive(Default)]
struct Schedule {
    entries: BTreeMap<ReleaseId, Entry>,
    is_over: bool,
}

struct Entry {
    link: Link,
    by: PinnedBy,
    stage: Stage,
    /// When it is its turn, unless it has it.
    next_at: Instant,
    failed_tries: u32,
    why: Option<String>,
    progress: Arc<DownloadProgress>,
    stop: Cancel,
}

impl Schedule {
    fn on_pinned(&mut self, now: Instant, link: Link, by: PinnedBy) {
        let entry = self.entries.entry(link.release).or_insert_with(|| Entry {
            link: link.clone(),
            by,
            stage: Stage::Waiting,
            next_at: now,
            failed_tries: 0,
            why: None,
            progress: Arc::default(),
            stop: Cancel::new(),
        });
        entry.link = link;
        entry.next_at = now;
    }

    fn on_unpinned(&mut self, release: ReleaseId) {
        if let Some(entry) = self.entries.remove(&release) {
            entry.stop.cancel();
        }
    }

    fn take(&mut self, now: Instant) -> Option<Turn> {
        let waiting = self.entries.values_mut().filter(|entry| entry.stage != Stage::Fetching);
        let next = waiting
            .min_by_key(|entry| entry.next_at)
            .filter(|entry| entry.next_at <= now)?;
        next.stage = Stage::Fetching;
        next.progress = Arc::default();
        next.stop = Cancel::new();
        Some(Turn {
            link: next.link.clone(),
            progress: Arc::clone(&next.progress),
            stop: next.stop.clone(),
        })
    }

    fn next_at(&self) -> Option<Instant> {
        let waiting = self.entries.values().filter(|entry| entry.stage != Stage::Fetching);
        waiting.map(|entry| entry.next_at).min()
    }

    fn on_end(&mut self, now: Instant, release: ReleaseId, result: Result<(), String>) {
        let Some(entry) = self.entries.get_mut(&release).filter(|entry| entry.stage == Stage::Fetching) else {
            return;
        };
        match result {
            Ok(()) => {
                entry.stage = Stage::Whole;
                entry.failed_tries = 0;
                entry.why = None;
                entry.next_at = now + LOOK_AGAIN;
            }
            Err(why) => {
                let pause = PAUSE_MIN.saturating_mul(1 << entry.failed_tries.min(16)).min(PAUSE_MAX);
                entry.stage = Stage::Waiting;
                entry.failed_tries += 1;
                entry.why = Some(why);
                entry.next_at = now + pause;
            }
        }
    }
}

impl Entry {
    fn state(&self) -> PinState {
        PinState {
            release: self.link.release.to_string(),
            name: self.link.name.clone(),
            by: self.by,
            state: self.stage,
            held_bytes: self.progress.bytes_done.load(Relaxed),
            bytes: self.progress.bytes_total.load(Relaxed),
            failed_tries: self.failed_tries,
            why: self.why.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ares_core::chunk::ChunkId;

    fn link(n: u8) -> Link {
        Link {
            release: ReleaseId(ChunkId::of(&[n])),
            name: n.to_string(),
            peers: Vec::new(),
            inside: Vec::new(),
        }
    }

    fn take(schedule: &mut Schedule, now: Instant) -> Option<String> {
        schedule.take(now).map(|turn| turn.link.name)
    }

    #[test]
    fn who_waits_longest_is_next_and_who_failed_waits_longer_each_time() {
        let mut schedule = Schedule::default();
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        schedule.on_pinned(after(1), link(1), PinnedBy::Command);
        schedule.on_pinned(after(0), link(2), PinnedBy::Config);
        assert_eq!(take(&mut schedule, after(2)).as_deref(), Some("2"));
        assert_eq!(take(&mut schedule, after(2)).as_deref(), Some("1"));
        assert_eq!(take(&mut schedule, after(2)), None, "each once at a time");
        schedule.on_end(after(2), link(2).release, Ok(()));
        let mut now = after(10);
        for pause in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            schedule.on_end(now, link(1).release, Err("nobody".to_owned()));
            let state = schedule.entries[&link(1).release].state();
            assert_eq!((state.state, state.why.as_deref()), (Stage::Waiting, Some("nobody")));
            let due = now + Duration::from_secs(pause);
            assert_eq!(schedule.next_at(), Some(due));
            assert_eq!(take(&mut schedule, due - Duration::from_millis(1)), None);
            now = due;
            assert_eq!(take(&mut schedule, now).as_deref(), Some("1"));
        }
        schedule.on_end(now, link(1).release, Err("nobody".to_owned()));
        schedule.on_pinned(now, link(1), PinnedBy::Command);
        assert_eq!(take(&mut schedule, now).as_deref(), Some("1"), "who asks again need not wait");
        schedule.on_end(now, link(1).release, Ok(()));
        assert_eq!(schedule.entries[&link(1).release].state().failed_tries, 0);
        assert_eq!(
            take(&mut schedule, now + LOOK_AGAIN).as_deref(),
            Some("2"),
            "what is whole is looked through again"
        );
    }

    #[test]
    fn what_is_no_longer_pinned_is_stopped_and_its_end_is_nobodys() {
        let mut schedule = Schedule::default();
        let now = Instant::now();
        schedule.on_pinned(now, link(1), PinnedBy::Command);
        let turn = schedule.take(now).expect("it is its turn");
        schedule.on_unpinned(link(1).release);
        assert!(turn.stop.is_cancelled());
        schedule.on_pinned(now, link(1), PinnedBy::Command);
        schedule.on_end(now, link(1).release, Err("cancelled".to_owned()));
        assert_eq!(schedule.entries[&link(1).release].state().failed_tries, 0);
        assert!(schedule.take(now).is_some_and(|turn| !turn.stop.is_cancelled()));
    }
}
