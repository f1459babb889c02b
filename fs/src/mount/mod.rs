//! A release mounted on a directory, from the mount to its end. All I/O of this crate is in here: system calls, the helper
//! program, threads, the clock.

mod answer;
mod attach;
mod device;
mod error;
mod fallback;
mod giving;
mod helper;
mod info;
mod left;
mod place;
mod ring;
mod session;
mod wire;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ares_core::chunk::{ReleaseId, VerifiedChunk};
use ares_core::manifest::{Name, Root, Top};
use ares_core::profile::{PROFILE_XATTR, Profile};

pub use self::error::{MountError, ShowError, UnmountError};
pub use self::helper::{help_to_mount, unmount_by_helper};
pub use self::left::{Agreed, Left, Lending, OpenFile, Showing, Slot};
pub use self::place::{FSTYPE, stale};
use crate::lookahead::WINDOW_MAX;
use crate::machine::{Machine, Settings};
use crate::shown::Refusal;
use crate::{Descriptors, LastEio, MountOptions, Prefetch, Source, Transport, Tuned};

/// How far the kernel reads ahead of a sequential reader, in KiB, where we may say so.
const READAHEAD_KIB: u32 = 4096;
/// How long an unmount waits for the kernel to let go of the connection. It is out of sight before that.
const PARTING: Duration = Duration::from_secs(2);

/// A mounted release. Dropping it unmounts.
pub struct Mount {
    dir: PathBuf,
    /// Device number of the mount; `None` where /proc does not tell.
    device: Option<(u32, u32)>,
    transport: Transport,
    /// As it is now; the patience is known.
    tuned: Mutex<Tuned>,
    prefetch: Prefetch,
    shared: Arc<session::Shared>,
    /// Where requests come from, if somebody else can go on with that.
    channel: Option<Arc<device::Channel>>,
    life: Arc<Life>,
    /// Unmounting is done by one thread at a time.
    unmounting: Mutex<()>,
}

/// How a mount came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was unmounted, by us or from outside.
    Unmounted,
    /// It was taken out of sight while somebody still had files of it open; their reads end with EIO.
    Detached,
    /// Another process goes on with it.
    Left,
    /// The kernel broke off: a line for the log.
    Lost(String),
}

/// What `unmount` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// Nobody used it.
    Idle,
    /// Somebody did: it was taken out of sight, and reads of files still open end with EIO.
    Busy,
}

/// Whether the mount lives, and who waits for its end.
#[derive(Default)]
struct Life {
    ended: Mutex<Option<Ended>>,
    changed: Condvar,
}

impl Mount {
    /// Mounts a directory of names on `dir` that has none yet: `show` gives it some.
    pub fn start_empty(dir: &Path, options: &MountOptions) -> Result<Self, MountError> {
        let dir = place::prepare(dir, options.cover)?;
        Self::start_shared(&dir, options, Arc::new(session::Shared::many(options)))
    }

    /// Mounts the release whose root chunk this is on `dir`. Chunks are taken from `source` as they are needed.
    pub fn start(root: &VerifiedChunk, source: Arc<dyn Source>, dir: &Path, options: &MountOptions) -> Result<Self, MountError> {
        let release = ReleaseId(root.id());
        let root = Root::parse(root)?;
        let dir = place::prepare(dir, options.cover)?;
        let settings = Settings {
            release,
            patience: options.patience,
            cache_bytes: options.cache_bytes,
            profile: profile(&root, &options.prefetch),
        };
        let name = file_name(&options.name, release);
        let shared = session::Shared::new(settings, &root, name, source, options);
        Self::start_shared(&dir, options, Arc::new(shared))
    }

    fn start_shared(dir: &Path, options: &MountOptions, shared: Arc<session::Shared>) -> Result<Self, MountError> {
        let connection = attach::attach(dir, &options.source, options.access)?;
        let started = Self::serve(dir, options, connection, shared);
        if started.is_err()
            && let Err(error) = attach::detach(dir)
        {
            tracing::warn!(dir = %dir.display(), %error, "the failed mount cannot be detached");
        }
        started
    }

    fn serve(dir: &Path, options: &MountOptions, connection: OwnedFd, shared: Arc<session::Shared>) -> Result<Self, MountError> {
        let failed = |error| MountError::Session { dir: dir.into(), error };
        let device = info::at(dir)
            .filter(|line| line.fstype == place::FSTYPE)
            .map(|line| line.device);
        let session = Session::greet(&shared, connection, options).map_err(failed)?;
        let mount = Self::run(dir, device, session, options, shared)?;
        if let Some(device) = device {
            attach::raise_readahead(device, READAHEAD_KIB);
        }
        tracing::info!(dir = %dir.display(), transport = ?mount.transport, "mounted");
        Ok(mount)
    }

    /// Answers requests from now on.
    fn run(
        dir: &Path,
        device: Option<(u32, u32)>,
        session: Session,
        options: &MountOptions,
        shared: Arc<session::Shared>,
    ) -> Result<Self, MountError> {
        let failed = |error| MountError::Session { dir: dir.into(), error };
        let (transport, channel) = (session.transport(), session.channel());
        if let Session::Own { channel, .. } = &session {
            match giving::Giving::start(channel) {
                Ok(giving) => shared.set_giving(giving),
                Err(error) => tracing::warn!(%error, "small files are asked for one by one"),
            }
        }
        let life = Arc::new(Life::default());
        let worker = shared.clone();
        thread::Builder::new()
            .name("ares-fs-worker".into())
            .spawn(move || worker.work())
            .map_err(failed)?;
        let (end, last) = (life.clone(), shared.clone());
        let spawned = thread::Builder::new().name("ares-fs".into()).spawn(move || {
            let ended = match session.run(&last) {
                Ok(device::Over::Left) => return,
                Ok(device::Over::Ended) => Ended::Unmounted,
                Err(error) => Ended::Lost(format!("the FUSE connection failed: {error}")),
            };
            last.stop();
            end.set(ended);
        });
        if let Err(error) = spawned {
            shared.stop();
            return Err(failed(error));
        }
        Ok(Self {
            dir: dir.into(),
            transport,
            tuned: Mutex::new(Tuned {
                patience: Some(options.patience),
                cache_bytes: options.cache_bytes,
                lookahead_bytes: WINDOW_MAX,
            }),
            prefetch: options.prefetch.clone(),
            device,
            shared,
            channel,
            life,
            unmounting: Mutex::default(),
        })
    }

    /// Shows the release whose root chunk this is under `name`, with the mount's patience. Where something else has the name, it is given to this
    /// one if `replaces`, for whoever opens anything from now on; what is open stays what it is. A release of a single file is a directory
    /// with one file that is called `file`. Gives a number that no other has in the life of the mount.
    pub fn show(
        &self,
        name: &[u8],
        root: &VerifiedChunk,
        file: &str,
        source: Arc<dyn Source>,
        replaces: bool,
    ) -> Result<u64, ShowError> {
        let named = || String::from_utf8_lossy(name).into_owned();
        let release = ReleaseId(root.id());
        let parsed = Root::parse(root)?;
        let tuned = self.tuned().shared();
        let settings = Settings {
            release,
            patience: self.patience(),
            cache_bytes: tuned.cache_bytes,
            profile: profile(&parsed, &self.prefetch),
        };
        let name = Name::new(name.to_vec()).map_err(|_| ShowError::BadName { name: named() })?;
        let mut machine = Machine::new(settings, &parsed, file_name(file, release));
        machine.tune(&tuned);
        let shown = self.shared.show(&name, machine, source, replaces);
        shown.map_err(|refusal| match refusal {
            Refusal::One => ShowError::NoNames { dir: self.dir.clone() },
            Refusal::Taken => ShowError::Taken {
                dir: self.dir.clone(),
                name: name.to_string(),
            },
            Refusal::Full => ShowError::Full { dir: self.dir.clone() },
            Refusal::TooLarge => ShowError::TooLarge,
        })
    }

    /// Shows `name` no more; what is open of it stays. `false` where there is none.
    pub fn hide(&self, name: &[u8]) -> bool {
        self.shared.hide(name)
    }

    /// Obeys this from the next request on, in all that it shows.
    pub fn tune(&self, tuned: Tuned) {
        let mut known = self.tuned();
        *known = Tuned {
            patience: tuned.patience.or(known.patience),
            ..tuned
        };
        self.shared.tune(&known);
    }

    fn tuned(&self) -> MutexGuard<'_, Tuned> {
        self.tuned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patience(&self) -> Duration {
        self.tuned().patience.unwrap_or_default()
    }

    /// Where it is mounted: absolute and without links.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How it speaks with the kernel: as it was told to, or as it can.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// How long the request has waited that has waited longest; zero where none waits.
    pub fn longest_wait(&self) -> Duration {
        self.shared.longest_wait()
    }

    /// The last answer of EIO, if there was one.
    pub fn last_eio(&self) -> Option<LastEio> {
        self.shared.last_eio()
    }

    /// What was read so far and what came first, of the release or of the one that `name` leads to: as far as the kernel has asked for it.
    /// `None` where there is none.
    pub fn recorded(&self, name: Option<&[u8]>) -> Option<Profile> {
        self.shared.recorded(name)
    }

    /// Waits until it is unmounted, by us or from outside.
    pub fn wait(&self) -> Ended {
        let ended = self.life.lock();
        let ended = self.life.changed.wait_while(ended, |ended| ended.is_none());
        ended
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .unwrap_or(Ended::Unmounted)
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.life.lock().clone()
    }

    /// Unmounts. Whoever still uses it gets EIO from then on; what waits for bytes is answered, so that nothing hangs. Never waits
    /// longer than a few seconds.
    pub fn unmount(&self) -> Result<Unmounted, UnmountError> {
        let _one = self.unmounting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ended().is_some() {
            return Ok(Unmounted::Idle);
        }
        // It may have been moved, or somebody may have unmounted it and mounted something else there.
        let (dir, minor) = match self.device {
            None => (self.dir.clone(), 0),
            Some(device) => match info::read().into_iter().rfind(|line| line.device == device) {
                Some(line) => (line.dir, device.1),
                None => return Ok(self.part(Unmounted::Busy)),
            },
        };
        if let Some(top) = info::at(&dir)
            && self.device.is_some_and(|device| top.device != device)
        {
            let (fstype, from) = (top.fstype, top.source);
            return Err(UnmountError::Covered { dir, fstype, from });
        }
        match attach::detach_idle(&dir) {
            Ok(()) => Ok(self.part(Unmounted::Idle)),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                tracing::info!(dir = %dir.display(), "unmounting although it is in use");
                self.shared.close();
                match attach::detach_busy(&dir, minor) {
                    Ok(()) => Ok(self.part(Unmounted::Busy)),
                    Err(error) => Err(UnmountError::Refused { dir, error }),
                }
            }
            Err(error) => Err(UnmountError::Refused { dir, error }),
        }
    }

    /// The mount is out of sight: lets the kernel finish, for a while.
    fn part(&self, how: Unmounted) -> Unmounted {
        let still = self.life.lock();
        let still = self.life.changed.wait_timeout_while(still, PARTING, |ended| ended.is_none());
        let (mut ended, _) = still.unwrap_or_else(PoisonError::into_inner);
        if how == Unmounted::Idle {
            self.shared.forget_opens();
        }
        if ended.is_none() {
            // Its threads go with the last file that somebody has open, or with this process.
            *ended = Some(Ended::Detached);
            self.life.changed.notify_all();
            drop(ended);
            self.shared.stop();
        }
        how
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            tracing::error!(%error, "left mounted");
        }
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut mount = f.debug_struct("Mount");
        mount
            .field("dir", &self.dir)
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}

/// A connection whose first words are said.
enum Session {
    Own {
        channel: Arc<device::Channel>,
        queues: Option<ring::Queues>,
        threads: usize,
        descriptors: Descriptors,
    },
    Fuser(fuser::Session<fallback::Session>),
}

impl Session {
    fn greet(shared: &Arc<session::Shared>, connection: OwnedFd, options: &MountOptions) -> io::Result<Self> {
        let threads = options.threads.max(1);
        if options.transport == Transport::Fuser {
            return Ok(Self::Fuser(fallback::greet(shared, connection, threads)?));
        }
        let (channel, queues) = device::greet(shared, connection, options.transport == Transport::Ring)?;
        Ok(Self::Own {
            channel,
            queues,
            threads,
            descriptors: options.descriptors,
        })
    }

    /// Which it came to be.
    fn transport(&self) -> Transport {
        match self {
            Self::Own { queues: Some(_), .. } => Transport::Ring,
            Self::Own { queues: None, .. } => Transport::Device,
            Self::Fuser(_) => Transport::Fuser,
        }
    }

    /// Answers requests until the connection is over.
    fn run(self, shared: &Arc<session::Shared>) -> io::Result<device::Over> {
        match self {
            Self::Own {
                channel,
                queues,
                threads,
                descriptors,
            } => device::serve(shared, channel, queues, threads, descriptors),
            Self::Fuser(session) => session.run().map(|()| device::Over::Ended),
        }
    }
}

impl Life {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, ended: Ended) {
        self.lock().get_or_insert(ended);
        self.changed.notify_all();
    }
}

/// What is to be fetched ahead of a release's readers.
fn profile(root: &Root, prefetch: &Prefetch) -> Profile {
    let (Top::Dir { meta, .. } | Top::File { meta, .. }) = &root.top;
    let attached = meta.xattrs.iter().find(|xattr| xattr.key == PROFILE_XATTR);
    match (prefetch, attached) {
        (Prefetch::This(profile), _) => profile.clone(),
        (Prefetch::OfRelease, Some(xattr)) => Profile::parse(&xattr.value).unwrap_or_else(|error| {
            tracing::warn!(%error, "the release's access profile is malformed: nothing is fetched ahead");
            Profile::default()
        }),
        (Prefetch::OfRelease, None) | (Prefetch::Nothing, _) => Profile::default(),
    }
}

/// What the file of a single-file release is called: as the link says, where that can be a name.
fn file_name(called: &str, release: ReleaseId) -> Name {
    let named = Name::new(called.as_bytes().to_vec());
    // 64 hex digits are always a name.
    named.unwrap_or_else(|_| Name::new(release.to_string().into_bytes()).expect("hex digits are a name"))
}

#[cfg(test)]
mod tests;
