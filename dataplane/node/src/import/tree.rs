//! Directories: listed, planned, and built when all in them is done.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ares_core::limits::{DIR_DEPTH_MAX, PACKED_BYTES_MAX};
use ares_core::manifest::{Cut, DirBuilder, DirRef, Entry, EntryKind, Meta, Name, Planner, Shape, Top, Xattr};
use ares_core::store::Guard;
use bytes::Bytes;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::big::BigJob;
use super::look::{self, Attributed, Attributes, Look};
use super::small::SmallJob;
use super::work::{Job, TRIES_MAX, Worker};
use super::{ImportError, LeftOut, Troubled};

/// A directory that is being published.
pub(super) struct Dir {
    /// The directory around it and its place there; `None` for the top.
    around: Option<(Arc<Dir>, usize)>,
    depth: usize,
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
    meta: Meta,
    /// Jobs of this directory that have not ended. Whoever ends the last one goes on with the directory.
    jobs: AtomicUsize,
    state: Mutex<State>,
}

/// What changes while a directory is published.
#[derive(Default)]
struct State {
    listing: Arc<Listing>,
    tries: u32,
    /// A name that was not what the listing says, so that it is to be listed again.
    trouble: Option<Trouble>,
    left_out: BTreeMap<Name, LeftOut>,
}

struct Trouble {
    name: Name,
    what: LeftOut,
}

/// The entries of a directory as it was listed, by name.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) slots: Vec<Slot>,
}

/// An entry: what it was found as, and what it is published as once that is done.
pub(super) struct Slot {
    pub(super) name: Name,
    pub(super) meta: Meta,
    pub(super) found: Found,
    pub(super) done: OnceLock<(Meta, EntryKind)>,
}

pub(super) enum Found {
    Dir(Guard),
    Symlink(Bytes),
    File(Look),
}

impl Found {
    fn shape(&self) -> Shape {
        match self {
            Self::Dir(_) => Shape::Dir,
            Self::Symlink(target) => Shape::Symlink(target.len() as u64),
            Self::File(look) => Shape::File(look.guard.size),
        }
    }

    /// Whether it is still what it was found as; then what was done for it stands.
    fn is_same(&self, now: &Self) -> bool {
        match (self, now) {
            (Self::Dir(a), Self::Dir(b)) => (a.dev, a.ino) == (b.dev, b.ino),
            (Self::File(a), Self::File(b)) => a.guard == b.guard,
            _ => false,
        }
    }
}

/// Lists a directory that was found, or is the top.
pub(super) enum DirJob {
    Top {
        path: PathBuf,
    },
    Below {
        around: Arc<Dir>,
        listing: Arc<Listing>,
        slot: usize,
    },
}

impl DirJob {
    pub(super) fn run(self, worker: &mut Worker<'_>) -> Result<(), ImportError> {
        let opened = match self {
            Self::Top { path } => {
                let fd = File::open(&path).map_err(|e| ImportError::unreadable(&path, "open the directory", e))?;
                Some(Dir::new(None, path, fd.into(), 0)?)
            }
            Self::Below { around, listing, slot } => {
                let name = &listing.slots[slot].name;
                let path = around.path.join(look::as_path(name));
                match look::open_at(around.fd.as_fd(), name, FileType::Directory) {
                    Ok(fd) => Some(Dir::new(Some((around.clone(), slot)), path, fd, around.depth + 1)?),
                    Err(error) => {
                        around.trouble(worker, name, "open the directory", error)?;
                        worker.end_job_of(&around)?;
                        None
                    }
                }
            }
        };
        if let Some(dir) = opened {
            list(worker, &Arc::new(dir))?;
        }
        if worker.work.unlisted.fetch_sub(1, Relaxed) == 1 {
            worker.work.progress.walked.store(true, Relaxed);
        }
        Ok(())
    }
}

impl Dir {
    fn new(around: Option<(Arc<Self>, usize)>, path: PathBuf, fd: OwnedFd, depth: usize) -> Result<Self, ImportError> {
        if depth > DIR_DEPTH_MAX {
            return Err(ImportError::Deep {
                path,
                limit: DIR_DEPTH_MAX,
            });
        }
        let unreadable = |e| ImportError::unreadable(&path, "look at the directory", e);
        let look = look::look(&fd).map_err(unreadable)?;
        // Too many attributes are warned of where the directory was found; the top has no such place, and no such attributes in practice.
        let xattrs = match look::xattrs(&Attributed::Open(fd.as_fd())).map_err(unreadable)? {
            Attributes::Fit(xattrs) => xattrs,
            Attributes::TooMany => Vec::new(),
        };
        let (meta, jobs, state) = (look.meta(xattrs), AtomicUsize::new(0), Mutex::default());
        Ok(Self {
            around,
            depth,
            path,
            fd,
            meta,
            jobs,
            state,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path_of(&self, name: &Name) -> PathBuf {
        self.path.join(look::as_path(name))
    }

    /// The entry is not what was listed: gone, replaced, of another size. The directory will be listed again.
    pub(super) fn changed(&self, name: &Name) {
        self.state().trouble = Some(Trouble {
            name: name.clone(),
            what: LeftOut::Changed,
        });
    }

    /// The entry cannot be read. That it is gone or another kind now is a change like any other.
    pub(super) fn trouble(
        &self,
        worker: &Worker<'_>,
        name: &Name,
        what: &'static str,
        error: io::Error,
    ) -> Result<(), ImportError> {
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::STALE) => self.changed(name),
            Some(Errno::ACCESS | Errno::PERM) if worker.work.options.troubled == Troubled::Skip => {
                self.state().trouble = Some(Trouble {
                    name: name.clone(),
                    what: LeftOut::Unreadable,
                });
            }
            _ => return Err(ImportError::unreadable(&self.path_of(name), what, error)),
        }
        Ok(())
    }
}

/// Lists a directory and pushes the jobs in it.
fn list(worker: &mut Worker<'_>, dir: &Arc<Dir>) -> Result<(), ImportError> {
    worker.at(&dir.path);
    let names = look::names(dir.fd.as_fd()).map_err(|e| ImportError::unreadable(&dir.path, "list the directory", e))?;
    let before = std::mem::take(&mut dir.state().listing);
    let mut slots = Vec::with_capacity(names.len());
    for name in names {
        let Some((meta, found)) = find(worker, dir, &name)? else {
            continue;
        };
        let done = OnceLock::new();
        if let Some(known) = known_of(&before, &name, &found) {
            let _ = done.set(known);
        }
        slots.push(Slot { name, meta, found, done });
    }
    count_found(worker, &before, &slots);
    drop(before);

    let listing = Arc::new(Listing { slots });
    let jobs = plan(dir, &listing);
    let dirs = jobs.iter().filter(|job| matches!(job, Job::Dir(_))).count();
    worker.work.unlisted.fetch_add(dirs, Relaxed);
    #[cfg(test)]
    if let Some(on_listed) = worker.work.on_listed {
        on_listed(&dir.path);
    }
    dir.state().listing = listing;
    // One more than pushed, for this one: the others may end before all of them are pushed.
    dir.jobs.store(jobs.len() + 1, Relaxed);
    worker.work.pool.push(jobs);
    worker.end_job_of(dir)
}

/// What was done for an entry when the directory was listed before, and still stands. Packs are made anew: they may be others now.
fn known_of(before: &Listing, name: &Name, found: &Found) -> Option<(Meta, EntryKind)> {
    let at = before.slots.binary_search_by(|slot| slot.name.cmp(name)).ok()?;
    let slot = &before.slots[at];
    let is_pack = matches!(found, Found::File(look) if look.guard.size <= PACKED_BYTES_MAX);
    (!is_pack && slot.found.is_same(found)).then(|| slot.done.get().cloned())?
}

fn count_found(worker: &Worker<'_>, before: &Listing, now: &[Slot]) {
    let sum = |slots: &[Slot]| {
        let sizes = slots.iter().filter_map(|slot| {
            if let Found::File(look) = &slot.found {
                Some(look.guard.size)
            } else {
                None
            }
        });
        sizes.fold((0_u64, 0_u64), |(files, bytes), size| (files + 1, bytes.wrapping_add(size)))
    };
    let ((files, bytes), (files_before, bytes_before)) = (sum(now), sum(&before.slots));
    let progress = worker.work.progress;
    progress.files_found.fetch_add(files.wrapping_sub(files_before), Relaxed);
    progress.bytes_found.fetch_add(bytes.wrapping_sub(bytes_before), Relaxed);
}

/// What stands under a name; `None` for what is not published, or vanished since the directory was listed.
fn find(worker: &Worker<'_>, dir: &Dir, name: &Name) -> Result<Option<(Meta, Found)>, ImportError> {
    let work = worker.work;
    let unreadable = |what, error| ImportError::unreadable(&dir.path_of(name), what, error);
    let leave_out = |what| {
        work.progress.warn(dir.path_of(name), what);
        Ok(None)
    };
    if let Some(&what) = dir.state().left_out.get(name) {
        return leave_out(what);
    }
    let look = match look::look_at(dir.fd.as_fd(), name) {
        Ok(look) => look,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable("look at it", error)),
    };
    let found = match look.kind {
        FileType::Directory if work.without.contains(&(look.guard.dev, look.guard.ino)) => return leave_out(LeftOut::Excluded),
        FileType::Directory => Found::Dir(look.guard),
        FileType::RegularFile => Found::File(look),
        FileType::Symlink => match look::target(dir.fd.as_fd(), name) {
            Ok(target) => return Ok(Some((look.meta(Vec::new()), Found::Symlink(target)))),
            // Gone, or something else by now.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => return Ok(None),
            Err(error) => return Err(unreadable("read the link", error)),
        },
        FileType::Fifo => return leave_out(LeftOut::Fifo),
        FileType::Socket => return leave_out(LeftOut::Socket),
        FileType::BlockDevice | FileType::CharacterDevice => return leave_out(LeftOut::Device),
        FileType::Unknown => return leave_out(LeftOut::Unknown),
    };
    let xattrs = xattrs_of(worker, dir, name)?;
    Ok(Some((look.meta(xattrs), found)))
}

fn xattrs_of(worker: &Worker<'_>, dir: &Dir, name: &Name) -> Result<Vec<Xattr>, ImportError> {
    let path = dir.path_of(name);
    match look::xattrs(&Attributed::Path(&path)) {
        Ok(Attributes::Fit(xattrs)) => Ok(xattrs),
        Ok(Attributes::TooMany) => {
            worker.work.progress.warn(path, LeftOut::Attributes);
            Ok(Vec::new())
        }
        // What may not be read fails, or is left out, when it is opened. A path too long for the kernel has attributes nobody can set.
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidFilename) => Ok(Vec::new()),
        Err(error) => Err(ImportError::unreadable(&path, "read the attributes", error)),
    }
}

/// The jobs of a listing. The last is taken first: small files, then big ones, then directories, so that few directories are open.
fn plan(dir: &Arc<Dir>, listing: &Arc<Listing>) -> Vec<Job> {
    let (mut dirs, mut bigs, mut smalls) = (Vec::new(), Vec::new(), Vec::new());
    let mut planner = Planner::default();
    let mut from = 0;
    let mut small = |slots: Range<usize>| {
        let is_small = |slot: &Slot| matches!(&slot.found, Found::File(look) if look.guard.size <= PACKED_BYTES_MAX);
        if listing.slots[slots.clone()].iter().any(is_small) {
            smalls.push(Job::Small(SmallJob {
                dir: dir.clone(),
                listing: listing.clone(),
                slots,
            }));
        }
    };
    for (at, slot) in listing.slots.iter().enumerate() {
        match &slot.found {
            _ if slot.done.get().is_some() => {}
            Found::Dir(_) => dirs.push(Job::Dir(DirJob::Below {
                around: dir.clone(),
                listing: listing.clone(),
                slot: at,
            })),
            Found::File(look) if look.guard.size > PACKED_BYTES_MAX => {
                bigs.push(Job::Open(BigJob::below(dir.clone(), listing.clone(), at)));
            }
            Found::Symlink(target) => {
                let _ = slot.done.set((slot.meta.clone(), EntryKind::Symlink(target.clone())));
            }
            Found::File(_) => {}
        }
        if planner.push(&slot.name, &slot.meta, slot.found.shape()) != Cut::None {
            small(from..at + 1);
            from = at + 1;
        }
    }
    small(from..listing.slots.len());
    dirs.reverse();
    bigs.reverse();
    smalls.reverse();
    dirs.extend(bigs);
    dirs.extend(smalls);
    dirs
}

/// A job of a directory has ended. After the last one the directory is built, and with it a job of the one around it has ended.
pub(super) fn end_job(worker: &mut Worker<'_>, dir: &Arc<Dir>) -> Result<(), ImportError> {
    let mut dir = dir.clone();
    loop {
        if dir.jobs.fetch_sub(1, AcqRel) > 1 {
            return Ok(());
        }
        if is_to_be_listed_again(worker, &dir)? {
            return list(worker, &dir);
        }
        let node = build(worker, &dir)?;
        let Some((around, slot)) = dir.around.clone() else {
            worker.work.end(Ok(Top::Dir {
                meta: dir.meta.clone(),
                node,
            }));
            return Ok(());
        };
        let _ = around.state().listing.slots[slot]
            .done
            .set((dir.meta.clone(), EntryKind::Dir(node)));
        dir = around;
    }
}

fn is_to_be_listed_again(worker: &Worker<'_>, dir: &Dir) -> Result<bool, ImportError> {
    let mut state = dir.state();
    let Some(Trouble { name, what }) = state.trouble.take() else {
        return Ok(false);
    };
    state.tries += 1;
    if what == LeftOut::Unreadable || state.tries >= TRIES_MAX {
        if worker.work.options.troubled == Troubled::Fail {
            return Err(ImportError::Changed {
                path: dir.path_of(&name),
                tries: TRIES_MAX,
            });
        }
        state.left_out.insert(name, what);
        state.tries = 0;
    }
    Ok(true)
}

fn build(worker: &mut Worker<'_>, dir: &Dir) -> Result<DirRef, ImportError> {
    let listing = std::mem::take(&mut dir.state().listing);
    let mut builder = DirBuilder::new();
    let mut stored = Ok(());
    let mut out = |chunk| {
        if stored.is_ok() {
            stored = worker.put(&chunk);
        }
    };
    let unfit = |error| ImportError::Entry {
        path: dir.path.clone(),
        error,
    };
    for slot in &listing.slots {
        let (meta, kind) = slot.done.get().cloned().expect("every job of the directory has ended well");
        builder
            .push(
                Entry {
                    name: slot.name.clone(),
                    meta,
                    kind,
                },
                &mut out,
            )
            .map_err(unfit)?;
    }
    let node = builder.finish(&mut out).map_err(unfit)?;
    stored?;
    Ok(node)
}
