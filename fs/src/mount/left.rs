//! A mount that goes from one process to another, as a program does that is replaced by a newer one: what has to be known of it, how it is left, and
//! how it is gone on with. Whoever reads it waits meanwhile, and is told nothing.
//!
//! ```text
//! leave:  threads take no more requests ──> what was taken is answered, for a while ──> the kernel is told to ask the rest again ──> the descriptor
//! resume: the descriptor ──> ask again ──> threads take requests; inodes that the kernel knows are found by their numbers (`view::locate`)
//! ```
//! Where the kernel cannot be told so (before Linux 6.9), all is answered first, which the mount's patience bounds.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ares_core::chunk::{ChunkId, ReleaseId, VerifiedChunk};
use ares_core::manifest::{Name, Root};
use serde::{Deserialize, Serialize};

use super::session::Shared;
use super::{Ended, Mount, MountError, Session, device, file_name};
use crate::machine::{Machine, Settings};
use crate::options::shared_cache_bytes;
use crate::{MountOptions, Source, Transport};

/// How long answers that are on their way are waited for where the kernel can ask again.
const SETTLING: Duration = Duration::from_millis(500);

/// A mount that somebody has left and nobody has taken over yet. When it is dropped before that, the mount is dead.
#[derive(Debug)]
pub struct Left {
    /// The connection to the kernel.
    pub connection: OwnedFd,
    /// What was agreed on over it.
    pub agreed: Agreed,
}

/// What whoever goes on with a connection has to know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// Names the connection in /sys/fs/fuse/connections as long as it lives: the minor number of the mount's device.
    pub minor: u32,
    /// Whether the kernel asks again what was taken and not answered.
    pub resends: bool,
    /// Whether it tells of opens.
    pub tells_of_opens: bool,
    /// What it was told that inode numbers are valid with.
    pub generation: u32,
    /// In a directory of names, the number that what is shown next gets: none is given twice, as the kernel may still know what had it.
    pub next: u64,
    /// What is open where it does.
    pub opens: Vec<OpenFile>,
}

/// A file that somebody has open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFile {
    /// Its inode number.
    pub ino: u64,
    /// How often it is open.
    pub count: u64,
    /// `None` where it is read by the page cache.
    pub lending: Option<Lending>,
}

/// A file of the store that the kernel reads by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lending {
    /// What the kernel knows it by.
    pub id: u32,
    /// Identity of the blob.
    pub blob: [u8; 32],
    /// Its length.
    pub bytes: u64,
}

/// What a mount that is gone on with shows.
pub enum Showing {
    /// One release.
    One {
        /// Its root.
        root: VerifiedChunk,
        /// Where its chunks come from.
        source: Arc<dyn Source>,
    },
    /// Releases under names, and those that had one and are still open.
    Many(Vec<Slot>),
}

/// A release of several that a mount shows.
pub struct Slot {
    /// As `Mount::show` called it.
    pub number: u64,
    /// `None` where none leads to it any more.
    pub name: Option<Vec<u8>>,
    /// Its root.
    pub root: VerifiedChunk,
    /// What its file is called where it is a single one.
    pub file: String,
    /// Where its chunks come from.
    pub source: Arc<dyn Source>,
}

impl Mount {
    /// What has to be known of it by whoever goes on with it now, if that can be: not of one that has ended, nor where requests come in another
    /// way than by /dev/fuse.
    pub fn agreed(&self) -> Option<Agreed> {
        let (_, minor) = self.device?;
        self.channel.as_ref().filter(|_| self.ended().is_none())?;
        Some(Agreed {
            minor,
            resends: self.shared.resends(),
            tells_of_opens: self.shared.is_told_of_opens(),
            generation: self.shared.generation(),
            next: self.shared.next_slot(),
            opens: self.shared.open_files(),
        })
    }

    /// Another descriptor of the connection; as long as there is one, the mount does not die with this process.
    pub fn connection(&self) -> Option<std::io::Result<OwnedFd>> {
        self.channel.as_ref().map(|channel| channel.hand_out())
    }

    /// Leaves it as it is for another process, or for `resume`. `None`, and nothing has changed, where that cannot be. Takes half a second at
    /// most, or before Linux 6.9 the mount's patience.
    pub fn leave(&self) -> Option<Left> {
        let _one = self.unmounting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.agreed()?;
        let channel = self.channel.as_ref()?;
        let connection = channel.hand_out();
        let connection = connection
            .inspect_err(|error| tracing::error!(%error, "the mount cannot be left"))
            .ok()?;
        self.shared.finish_giving();
        self.shared.roster.clear();
        if self.shared.resends() {
            self.shared.settle(SETTLING);
        } else {
            self.shared.settle(self.patience() + SETTLING);
        }
        self.shared.abandon();
        if self.shared.resends()
            && let Err(error) = channel.ask_again()
        {
            tracing::warn!(%error, "requests that are not answered are lost");
        }
        let agreed = self.agreed()?;
        self.life.set(Ended::Left);
        tracing::info!(dir = %self.dir.display(), "left for whoever goes on with it");
        Some(Left { connection, agreed })
    }

    /// Goes on with a mount that was left. `dir` is where it is.
    pub fn resume(left: Left, showing: Showing, dir: &Path, options: &MountOptions) -> Result<Self, MountError> {
        let settings = |root: &Root, release, cache_bytes| Settings {
            release,
            patience: options.patience,
            cache_bytes,
            profile: super::profile(root, &options.prefetch),
        };
        let mut shared = match showing {
            Showing::One { root: chunk, source } => {
                let (root, release) = (Root::parse(&chunk)?, ReleaseId(chunk.id()));
                let settings = settings(&root, release, options.cache_bytes);
                Shared::new(settings, &root, file_name(&options.name, release), source, options)
            }
            Showing::Many(slots) => {
                let mut shared = Shared::many(options);
                for slot in slots {
                    let (root, release) = (Root::parse(&slot.root)?, ReleaseId(slot.root.id()));
                    let settings = settings(&root, release, shared_cache_bytes(options.cache_bytes));
                    let machine = Machine::new(settings, &root, file_name(&slot.file, release));
                    let name = slot.name.and_then(|name| Name::new(name).ok());
                    shared.show_again(slot.number, name.as_ref(), machine, slot.source);
                }
                shared
            }
        };
        let Left { connection, agreed } = left;
        let channel = Arc::new(device::Channel::over(connection));
        shared.take_over(&agreed, &channel);
        let shared = Arc::new(shared);
        if agreed.resends
            && let Err(error) = channel.ask_again()
        {
            // It has ended meanwhile, which whoever reads from it is told.
            tracing::debug!(%error, "the kernel does not ask again");
        }
        let session = Session::Own {
            channel,
            queues: None,
            threads: options.threads.max(1),
            descriptors: options.descriptors,
        };
        // The first number of a device that belongs to a mount and to no disk.
        let device = Some((0, agreed.minor));
        let mount = Self::run(dir, device, session, options, shared)?;
        tracing::info!(dir = %dir.display(), "taken over");
        Ok(mount)
    }

    /// The numbers of the releases of several that it shows or that somebody has still open.
    pub fn slots(&self) -> Vec<u64> {
        self.shared.slots()
    }
}

impl OpenFile {
    pub(super) fn blob(&self) -> Option<(Lending, ChunkId)> {
        self.lending.map(|lending| (lending, ChunkId::from_bytes(lending.blob)))
    }
}

impl Session {
    /// Where the requests come from, if others can go on with that.
    pub(super) fn channel(&self) -> Option<Arc<device::Channel>> {
        match self {
            Self::Own { channel, .. } if self.transport() == Transport::Device => Some(channel.clone()),
            Self::Own { .. } | Self::Fuser(_) => None,
        }
    }
}
