//! Which releases are looked for and told of by the DHT next, and when. Says nothing to anybody itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ares_core::chunk::ReleaseId;

/// Releases looked for, and told of, at a time. The one sought first is forgotten for a new one; of those held the latest count.
const SOUGHT_MAX: usize = 64;
pub(super) const TOLD_MAX: usize = 64;

/// Pause before it is looked for somebody again: the first one, and what it doubles up to.
const LOOK_MIN: Duration = Duration::from_secs(2);
const LOOK_MAX: Duration = Duration::from_secs(300);

/// What is stored is forgotten after two hours by those who store it, so it is told anew sooner; one that was not taken is tried again.
const TELL_EVERY: Duration = Duration::from_secs(1800);
const TELL_AGAIN_MIN: Duration = Duration::from_secs(2);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Look who has the release.
    Look(ReleaseId),
    /// Tell that this node has some of it.
    Tell(ReleaseId),
}

/// See the module.
#[derive(Default)]
pub(super) struct Plan {
    sought: BTreeMap<ReleaseId, Due>,
    told: BTreeMap<ReleaseId, Due>,
}

struct Due {
    at: Instant,
    pause: Duration,
    since: Instant,
}

impl Due {
    fn now(now: Instant, pause: Duration) -> Self {
        Self {
            at: now,
            pause,
            since: now,
        }
    }
}

impl Plan {
    /// Somebody wants the release.
    pub(super) fn on_sought(&mut self, now: Instant, release: ReleaseId) {
        self.sought.insert(release, Due::now(now, LOOK_MIN));
        if self.sought.len() > SOUGHT_MAX {
            let first = self.sought.iter().min_by_key(|(_, due)| due.since);
            let first = first.map(|(release, _)| *release);
            first.and_then(|release| self.sought.remove(&release));
        }
    }

    /// Releases for which this does not hold are no longer looked for.
    pub(super) fn retain_sought(&mut self, is_wanted: impl Fn(&ReleaseId) -> bool) {
        self.sought.retain(|release, _| is_wanted(release));
    }

    /// Whether somebody is looked for.
    pub(super) fn seeks(&self) -> bool {
        !self.sought.is_empty()
    }

    /// These are held here, at least in part; `TOLD_MAX` at most.
    pub(super) fn on_held(&mut self, now: Instant, releases: &[ReleaseId]) {
        self.told.retain(|release, _| releases.contains(release));
        for release in releases {
            self.told.entry(*release).or_insert_with(|| Due::now(now, TELL_AGAIN_MIN));
        }
    }

    /// The next thing to do now; `on_done` follows.
    pub(super) fn next(&self, now: Instant) -> Option<Task> {
        self.first().filter(|(at, _)| *at <= now).map(|(_, task)| task)
    }

    /// When there will be something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.first().map(|(at, _)| at)
    }

    /// Who looks goes before who tells: somebody waits for it.
    fn first(&self) -> Option<(Instant, Task)> {
        let look = self.sought.iter().map(|(release, due)| (due.at, Task::Look(*release)));
        let tell = self.told.iter().map(|(release, due)| (due.at, Task::Tell(*release)));
        look.chain(tell).min_by_key(|(at, _)| *at)
    }

    /// It was done, well or in vain.
    pub(super) fn on_done(&mut self, now: Instant, task: Task, is_well: bool) {
        let (due, longest) = match task {
            Task::Look(release) => (self.sought.get_mut(&release), LOOK_MAX),
            Task::Tell(release) => (self.told.get_mut(&release), TELL_EVERY),
        };
        let Some(due) = due else { return };
        if matches!(task, Task::Tell(_)) && is_well {
            (due.at, due.pause) = (now + TELL_EVERY, TELL_AGAIN_MIN);
            return;
        }
        due.at = now + due.pause;
        due.pause = (due.pause * 2).min(longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ares_core::chunk::ChunkId;

    fn release(n: usize) -> ReleaseId {
        ReleaseId(ChunkId::of(&n.to_le_bytes()))
    }

    #[test]
    fn it_is_looked_and_told_more_and_more_seldom() {
        let start = Instant::now();
        let mut plan = Plan::default();
        assert_eq!((plan.next(start), plan.deadline()), (None, None));
        plan.on_sought(start, release(1));
        let mut now = start;
        for pause in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(plan.next(now), Some(Task::Look(release(1))));
            plan.on_done(now, Task::Look(release(1)), true);
            assert_eq!(plan.next(now), None);
            now += Duration::from_secs(pause);
            assert_eq!(plan.deadline(), Some(now));
        }
        plan.retain_sought(|_| false);
        assert!(!plan.seeks());

        let tell = Task::Tell(release(2));
        plan.on_held(now, &[release(2)]);
        for pause in [2, 4] {
            assert_eq!(plan.next(now), Some(tell));
            plan.on_done(now, tell, false);
            now += Duration::from_secs(pause);
            assert_eq!(plan.deadline(), Some(now));
        }
        plan.on_done(now, tell, true);
        plan.on_held(now, &[release(2)]);
        assert_eq!(plan.deadline(), Some(now + TELL_EVERY), "it was told");
        plan.on_held(now, &[]);
        assert_eq!(plan.deadline(), None);
    }

    #[test]
    fn only_so_many_are_looked_for_and_the_first_is_forgotten() {
        let start = Instant::now();
        let mut plan = Plan::default();
        for n in 0..=SOUGHT_MAX {
            plan.on_sought(start + Duration::from_secs(n as u64), release(n));
        }
        assert_eq!(plan.sought.len(), SOUGHT_MAX);
        assert!(!plan.sought.contains_key(&release(0)) && plan.sought.contains_key(&release(SOUGHT_MAX)));
    }
}
