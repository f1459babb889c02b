//! The mounts of a daemon: by mount point, each with what it shows, and those that are to be made again as soon as that works. Mounting itself is
//! fs's work.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ares_core::chunk::VerifiedChunk;
use ares_core::profile::Profile;
use ares_fs::{Agreed, LastEio, Left, Source, Tuned};

use crate::admin::proto::{Force, Overwrite, Reach};
use crate::error::Failure;
use crate::handed::Handed;
use crate::kept::{Kept, KeptFile, descriptor};
use crate::notify::{Keeping, Manager, Notify};

/// Pauses before one that could not be made is tried again: each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What the table needs of a mount.
pub(crate) trait Mounted: Send + Sync {
    /// Takes it away, also while it is used.
    fn end(&self);
    /// Takes it away as hard as told; EBUSY is a failure that says what to do.
    fn take_away(&self, force: Force) -> Result<(), Failure>;
    /// Whether the kernel has let go of it.
    fn is_over(&self) -> bool;
    /// How long the request has waited that has waited longest.
    fn longest_wait(&self) -> Duration;
    /// Why it last answered with EIO.
    fn last_eio(&self) -> Option<LastEio>;
    /// What was read so far, of the one release or of that under a name; `None` where there is none.
    fn recorded(&self, name: Option<&[u8]>) -> Option<Profile>;
    /// Shows a release under a name. Gives the mount's number for it.
    fn show(&self, name: &[u8], release: Showable, overwrite: Overwrite) -> Result<u64, Failure>;
    /// Obeys this from the next request on.
    fn tune(&self, tuned: Tuned);
    /// Shows a name no more; `false` where there is none.
    fn hide(&self, name: &[u8]) -> bool;
    /// The numbers of what it shows under names, or that is still open.
    fn slots(&self) -> Vec<u64>;
    /// What another process has to know of it now to go on with it; `None` where none can.
    fn agreed(&self) -> Option<Agreed>;
    /// Another descriptor of its connection; `None` where nobody can go on with it.
    fn connection(&self) -> Option<io::Result<OwnedFd>>;
    /// Leaves it for another process; `None` where none can go on with it.
    fn leave(&self) -> Option<Left>;
}

/// A release that can be shown under a name.
pub(crate) struct Showable {
    pub(crate) root: VerifiedChunk,
    /// What its file is called where it is a single one.
    pub(crate) file: String,
    pub(crate) source: Arc<dyn Source>,
}

/// One mount.
#[derive(Clone)]
pub(crate) struct MountEntry {
    /// 64 hex digits; `None` where it is a directory of names.
    pub(crate) release: Option<String>,
    /// As `df` shows it.
    pub(crate) name: String,
    /// Where its bytes come from.
    pub(crate) reach: Reach,
    /// What is shown under which name, in 64 hex digits.
    pub(crate) names: BTreeMap<Vec<u8>, String>,
    /// The mount itself.
    pub(crate) mount: Arc<dyn Mounted>,
    /// It was given one of its own.
    pub(crate) has_own_patience: bool,
    /// How it is made again by the next daemon; `None` where it ends with this one.
    pub(crate) kept: Option<Kept>,
}

/// A mount that is to be there and is not.
#[derive(Clone)]
pub(crate) struct Absent {
    pub(crate) kept: Kept,
    /// Why the last try failed; `None` before the first.
    pub(crate) why: Option<String>,
    /// It is there, and nobody answers: this is its connection.
    connection: Option<Arc<OwnedFd>>,
    tries: u32,
    /// How far the next try goes.
    within: Reach,
    /// `None` while it is being made.
    next_at: Option<Instant>,
}

/// What is to be done about one that is absent.
pub(crate) struct Next {
    pub(crate) kept: Kept,
    /// By which it is gone on with.
    pub(crate) connection: Option<Arc<OwnedFd>>,
    /// How far what it shows is looked for.
    pub(crate) within: Reach,
}

/// The table.
#[derive(Default)]
pub(crate) struct Mounts {
    state: Mutex<State>,
    changed: Condvar,
    /// `None` for a daemon that keeps none for the next.
    file: Option<KeptFile>,
    /// Who may keep connections for the next.
    notify: Arc<Notify>,
}

#[derive(Default)]
struct State {
    there: BTreeMap<PathBuf, MountEntry>,
    absent: BTreeMap<PathBuf, Absent>,
    /// None is made any more.
    is_closed: bool,
    /// What is said to be there stays as it was written down.
    is_over: bool,
}

impl Mounts {
    /// Those that the file names are to be made, or gone on with where their connections were handed over; and it is kept true from now on.
    pub(crate) fn remembered(file: KeptFile, handed: &Handed, notify: Arc<Notify>) -> Self {
        let kept = file.read().unwrap_or_else(|failure| {
            tracing::error!("no mounts are made again: {failure}");
            Vec::new()
        });
        let is_known = |name: &str| kept.iter().any(|kept| kept.descriptor().is_some_and(|known| known == name));
        for (name, _) in handed.iter() {
            if is_known(name) {
                notify.on_kept(name);
            } else {
                notify.let_go(name);
            }
        }
        let absent = kept.into_iter().map(|kept| {
            let connection = kept.descriptor().and_then(|name| handed.get(&name));
            (kept.dir.to_path(), Absent::new(kept, connection))
        });
        Self {
            state: Mutex::new(State {
                absent: absent.collect(),
                ..State::default()
            }),
            changed: Condvar::new(),
            file: Some(file),
            notify,
        }
    }

    /// Whether this daemon keeps mounts for the next.
    pub(crate) fn are_kept(&self) -> bool {
        self.file.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Entries are inserted and removed whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what is to be there. Not at the end, which is not the end of what is kept.
    fn write(&self, state: &mut State) {
        for entry in state.there.values_mut() {
            if let Some(kept) = &mut entry.kept {
                kept.forget_former(&*entry.mount);
            }
        }
        let Some(file) = self.file.as_ref().filter(|_| !state.is_over) else {
            return;
        };
        let there = state.there.values().filter_map(|entry| entry.kept.clone());
        let absent = state.absent.values().map(|absent| absent.kept.clone());
        if let Err(failure) = file.write(there.chain(absent).collect()) {
            tracing::error!("the next daemon will not make the same mounts again: {failure}");
        }
    }

    /// Has the connection of a mount kept for whoever comes next should this process be killed, where that is enough to go on with it: it is where
    /// the kernel asks again what was not answered, and does not tell of opens, which only this process counts.
    fn secure(&self, entry: &mut MountEntry) {
        let Some(kept) = &mut entry.kept else { return };
        if let Some(name) = kept.descriptor() {
            self.notify.let_go(&name);
        }
        let is_enough = |agreed: &Agreed| agreed.resends && !agreed.tells_of_opens && self.notify.manager() == Manager::Keeper;
        kept.agreed = entry.mount.agreed().filter(is_enough);
        let keeping = match (kept.descriptor(), entry.mount.connection()) {
            (Some(name), Some(Ok(connection))) => self.notify.keep(&name, &connection),
            (Some(name), Some(Err(e))) => {
                tracing::warn!("{name} cannot be kept: {e}");
                Keeping::Refused
            }
            _ => return,
        };
        if keeping == Keeping::Refused {
            kept.agreed = None;
            self.warn_of_room(
                &kept.dir.to_path(),
                "will be dead should this process be killed, and is made again by the next",
            );
        }
    }

    /// The manager has no room for the connection of one more mount.
    fn warn_of_room(&self, dir: &Path, what: &str) {
        let room = self.notify.room();
        tracing::warn!(
            "{} {what}: systemd keeps {room} connections (FileDescriptorStoreMax= and FDSTORE= of the service)",
            dir.display()
        );
    }

    /// Adds a mount at `dir`.
    pub(crate) fn add(&self, dir: PathBuf, mut entry: MountEntry) {
        self.secure(&mut entry);
        let mut state = self.state();
        let was_absent = state.absent.remove(&dir).is_some();
        let is_news = was_absent || entry.kept.is_some();
        state.there.insert(dir, entry);
        if is_news {
            self.write(&mut state);
        }
    }

    /// One that was to be made is. `false`, and not added, where nobody wants it any more.
    pub(crate) fn on_made(&self, dir: &Path, mut entry: MountEntry) -> bool {
        let mut state = self.state();
        let is_wanted = !state.is_over && state.absent.remove(dir).is_some();
        if is_wanted {
            self.secure(&mut entry);
            state.there.insert(dir.to_owned(), entry);
            self.write(&mut state);
        }
        is_wanted
    }

    /// The mount at `dir`.
    pub(crate) fn get(&self, dir: &Path) -> Option<MountEntry> {
        self.state().there.get(dir).cloned()
    }

    /// Changes what the mount at `dir` shows, and writes down what it is then. `None` where there is none.
    pub(crate) fn change<R>(
        &self,
        dir: &Path,
        change: impl FnOnce(&mut MountEntry) -> Result<R, Failure>,
    ) -> Option<Result<R, Failure>> {
        let mut state = self.state();
        let changed = change(state.there.get_mut(dir)?);
        if changed.is_ok() {
            self.write(&mut state);
        }
        Some(changed)
    }

    /// A mount that was to be made at `dir` need not be any more; one that waits there to be gone on with is taken away. `false` where none was.
    pub(crate) fn forget(&self, dir: &Path) -> bool {
        let mut state = self.state();
        let Some(absent) = state.absent.remove(dir) else {
            return false;
        };
        self.write(&mut state);
        drop(state);
        self.give_up(dir, &absent);
        true
    }

    /// Takes away what is there and waits to be gone on with, whoever uses it.
    fn give_up(&self, dir: &Path, absent: &Absent) {
        if absent.connection.is_some()
            && let Err(failure) = crate::unmount::unmount(dir, Force::Lazy)
        {
            tracing::warn!("left mounted: {failure}");
        }
        absent
            .kept
            .descriptor()
            .into_iter()
            .for_each(|name| self.notify.let_go(&name));
    }

    /// All mounts obey this from their next requests on.
    pub(crate) fn tune(&self, tuned: Tuned) {
        for entry in self.state().there.values() {
            let patience = tuned.patience.filter(|_| !entry.has_own_patience);
            entry.mount.tune(Tuned { patience, ..tuned });
        }
    }

    /// That mount has ended. `is_lost`: by nobody's wish, so that it is to be made again.
    pub(crate) fn on_ended(&self, dir: &Path, mount: &Arc<dyn Mounted>, is_lost: bool) {
        let mut state = self.state();
        // Another may be there by now.
        if !state.there.get(dir).is_some_and(|entry| Arc::ptr_eq(&entry.mount, mount)) {
            return;
        }
        let kept = state.there.remove(dir).and_then(|entry| entry.kept);
        kept.iter()
            .filter_map(Kept::descriptor)
            .for_each(|name| self.notify.let_go(&name));
        if let Some(kept) = kept.filter(|_| is_lost) {
            state.absent.insert(dir.to_owned(), Absent::new(kept, None));
            self.changed.notify_all();
        }
        self.write(&mut state);
    }

    /// Waits for the next one that is to be made, or to be gone on with. `None` when the daemon stops. Each is tried with what the store holds at first, so that
    /// none waits for others whose releases cannot be reached.
    pub(crate) fn next_absent(&self) -> Option<Next> {
        let mut state = self.state();
        loop {
            if state.is_closed {
                return None;
            }
            let now = Instant::now();
            let next = state
                .absent
                .values_mut()
                .filter(|absent| absent.next_at.is_some())
                .min_by_key(|absent| absent.next_at);
            let sleep = match next {
                Some(next) if next.next_at.is_some_and(|at| at <= now) => {
                    next.next_at = None;
                    return Some(Next {
                        kept: next.kept.clone(),
                        connection: next.connection.clone(),
                        within: next.within,
                    });
                }
                Some(next) => next.next_at.map_or(PAUSE_MAX, |at| at.saturating_duration_since(now)),
                None => PAUSE_MAX,
            };
            let waited = self.changed.wait_timeout(state, sleep);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// It could not be made.
    pub(crate) fn on_failed(&self, kept: &Kept, why: &str) {
        let dir = kept.dir.to_path();
        if let Some(absent) = self.state().absent.get_mut(&dir) {
            if absent.within == Reach::Store {
                absent.within = Reach::Swarm;
                absent.next_at = Some(Instant::now());
                return;
            }
            if absent.why.as_deref() != Some(why) {
                tracing::warn!("{} is not mounted again yet: {why}", dir.display());
            }
            let pause = PAUSE_MIN.saturating_mul(1 << absent.tries.min(16)).min(PAUSE_MAX);
            absent.tries += 1;
            absent.why = Some(why.to_owned());
            absent.next_at = Some(Instant::now() + pause);
        }
    }

    /// How many there are that others have not unmounted.
    pub(crate) fn count(&self) -> usize {
        self.list().len()
    }

    /// All, for `status`.
    pub(crate) fn list(&self) -> Vec<(PathBuf, MountEntry)> {
        let state = self.state();
        let there = state.there.iter().filter(|(_, entry)| !entry.mount.is_over());
        there.map(|(dir, entry)| (dir.clone(), entry.clone())).collect()
    }

    /// Those that are there and wait to be gone on with, by the minor numbers of their devices.
    pub(crate) fn connected(&self) -> Vec<u32> {
        let state = self.state();
        let connected = state.absent.values().filter(|absent| absent.connection.is_some());
        connected
            .filter_map(|absent| absent.kept.agreed.as_ref())
            .map(|agreed| agreed.minor)
            .collect()
    }

    /// Those that are to be made.
    pub(crate) fn absent(&self) -> Vec<(PathBuf, Absent)> {
        self.state()
            .absent
            .iter()
            .map(|(dir, absent)| (dir.clone(), absent.clone()))
            .collect()
    }

    /// Makes none any more.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Whether the next daemon gets the connection of that mount: from the manager, or by being this process.
    fn is_had_by_next(&self, entry: &MountEntry) -> bool {
        let (Some(kept), Some(agreed), Some(Ok(connection))) = (&entry.kept, entry.mount.agreed(), entry.mount.connection())
        else {
            return false;
        };
        if self.notify.manager() != Manager::Keeper {
            return true;
        }
        let keeping = self.notify.keep(&descriptor(&agreed), &connection);
        if keeping == Keeping::Refused {
            self.warn_of_room(&kept.dir.to_path(), "is unmounted, and made again by the next daemon");
        }
        keeping == Keeping::Kept
    }

    /// Leaves those that are kept for the next daemon, as far as it can go on with them and there is room for them, and takes the others away. To be called
    /// when none is being made any more. Their connections, which must not be closed before the next daemon has them.
    pub(crate) fn leave_all(&self) -> Handed {
        let mut state = self.state();
        let next_has: Vec<bool> = state.there.values().map(|entry| self.is_had_by_next(entry)).collect();
        let leave = |entry: &MountEntry, next_has: bool| next_has.then(|| entry.mount.leave())?;
        let left: Vec<Option<Left>> = std::thread::scope(|scope| {
            let all = state.there.values().zip(next_has);
            let leaving: Vec<_> = all
                .map(|(entry, next_has)| scope.spawn(move || leave(entry, next_has)))
                .collect();
            leaving
                .into_iter()
                .map(|leaving| leaving.join().unwrap_or_default())
                .collect()
        });
        let mut handed = Handed::default();
        for (entry, left) in state.there.values_mut().zip(left) {
            let (Some(kept), Some(left)) = (&mut entry.kept, left) else {
                entry.mount.end();
                if let Some(kept) = &mut entry.kept {
                    kept.descriptor().into_iter().for_each(|name| self.notify.let_go(&name));
                    kept.agreed = None;
                }
                continue;
            };
            kept.agreed = Some(left.agreed);
            handed.add(kept.descriptor().unwrap_or_default(), Arc::new(left.connection));
        }
        for absent in state.absent.values() {
            if let (Some(name), Some(connection)) = (absent.kept.descriptor(), &absent.connection) {
                handed.add(name, Arc::clone(connection));
            }
        }
        self.write(&mut state);
        state.is_over = true;
        handed
    }

    /// Takes all of them away, and makes none any more.
    pub(crate) fn end_all(&self) {
        let (all, absent) = {
            let mut state = self.state();
            (state.is_closed, state.is_over) = (true, true);
            (std::mem::take(&mut state.there), std::mem::take(&mut state.absent))
        };
        self.changed.notify_all();
        for (dir, entry) in all {
            tracing::info!("unmounting {}", dir.display());
            entry.mount.end();
            let name = entry.kept.as_ref().and_then(Kept::descriptor);
            name.into_iter().for_each(|name| self.notify.let_go(&name));
        }
        // What this daemon was to go on with, and did not come to.
        absent.iter().for_each(|(dir, absent)| self.give_up(dir, absent));
    }
}

impl Absent {
    fn new(mut kept: Kept, connection: Option<Arc<OwnedFd>>) -> Self {
        if connection.is_none() {
            // Whatever was agreed on is over.
            kept.agreed = None;
            kept.former.clear();
        }
        Self {
            kept,
            why: None,
            connection,
            tries: 0,
            within: Reach::Store,
            next_at: Some(Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::proto::Raw;

    #[test]
    fn no_mount_waits_for_another_whose_release_is_not_here() {
        let dir = tempfile::tempdir().unwrap();
        let kept = ["/a", "/b"].map(|dir| {
            let text = format!(
                r#"{{"dir":{:?},"link":null,"how":{{"audience":"owner","passthrough":"auto","transport":"dev","patience_ms":1,"name":null}}}}"#,
                dir
            );
            serde_json::from_str::<Kept>(&text).unwrap()
        });
        KeptFile::of(dir.path()).write(kept.to_vec()).unwrap();
        let mounts = Mounts::remembered(KeptFile::of(dir.path()), &Handed::default(), Arc::default());
        let next = || {
            let Next { kept, within, .. } = mounts.next_absent().unwrap();
            (kept, within)
        };
        let [(first, within), (second, also_within)] = [next(), next()];
        assert_eq!((within, also_within), (Reach::Store, Reach::Store));
        assert!(first != second, "each is tried with what is here");
        mounts.on_failed(&first, "not here");
        assert_eq!(
            mounts.absent().iter().filter(|(_, absent)| absent.why.is_some()).count(),
            0,
            "no news"
        );
        assert_eq!(next(), (first.clone(), Reach::Swarm));
        mounts.on_failed(&first, "nobody has it");
        let told: Vec<_> = mounts
            .absent()
            .into_iter()
            .filter_map(|(dir, absent)| Some((Raw::from(&*dir), absent.why?)))
            .collect();
        assert_eq!(told, [(first.dir, "nobody has it".to_owned())]);
    }
}
