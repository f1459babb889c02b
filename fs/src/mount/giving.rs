//! Gives the kernel files to keep that it has not asked for, on a thread of its own: the kernel has it wait there while somebody reads that very file, and
//! whoever answers readers must not wait for them.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use ares_ring::apart::{self, Kept};
use bytes::Bytes;
use rustix::io::Errno;

use super::device::{Channel, store};

/// Packs that wait for their turn; what comes on top is not given, and asked for by whoever wants it.
const WAITING_MAX: usize = 4;

/// That thread, which ends with this, and the way to it.
#[derive(Debug)]
pub(super) struct Giving {
    files: SyncSender<Vec<(u64, Bytes)>>,
    thread: JoinHandle<()>,
}

impl Giving {
    /// The thread has a descriptor of the connection to itself and no other: while the kernel has it wait nothing ends it, not even the end of the process. Then
    /// what the others had is closed all the same, so the store is free for the next process, which clears the mount away and so ends this thread.
    pub(super) fn start(channel: &Arc<Channel>) -> io::Result<Self> {
        let (files, gifts) = sync_channel(WAITING_MAX);
        // Without the right to open the device it has a copy of the one there is.
        let own = channel.another().map_or_else(|_| channel.clone(), Arc::new);
        let thread = apart::spawn("ares-fs-give", own.as_fd(), move |connection| give(&connection, &gifts))?;
        Ok(Self { files, thread })
    }

    /// Gives these files, by number, each whole. Does not wait.
    pub(super) fn give(&self, files: Vec<(u64, Bytes)>) {
        match self.files.try_send(files) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// Ends it once it has given what waits. Readers must be answered until then: a thread that the kernel has wait for a page cannot be killed, and
    /// a process that has one neither ends nor becomes another program.
    pub(super) fn finish(self) {
        drop(self.files);
        if self.thread.join().is_err() {
            tracing::error!("a thread has panicked");
        }
    }
}

fn give(connection: &Kept, gifts: &Receiver<Vec<(u64, Bytes)>>) {
    for files in gifts {
        // From the last: whoever reads comes from the first. Behind them, each file would be waited for that they ask for themselves.
        for (ino, bytes) in files.into_iter().rev() {
            match store(connection.as_fd(), ino, &bytes) {
                // Or the kernel does not know it.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NODEV | Errno::CONNABORTED) => return,
                Err(error) => {
                    tracing::debug!(%error, bytes = bytes.len(), "the kernel takes no file to keep");
                    break;
                }
            }
        }
    }
}
