//! A view that is left for another process, and one that was had by another before.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ares_core::manifest::Name;

use super::{Call, NEVER, Passed, Shared};
use crate::Source;
use crate::machine::Machine;
use crate::mount::answer::Backing;
use crate::mount::device::{self, Channel};
use crate::mount::left::{Agreed, Lending, OpenFile};
use crate::opens::How;

impl Shared {
    /// Waits until all that was asked is answered, `patience` at most. Nothing may be asked meanwhile.
    pub(in super::super) fn settle(&self, patience: Duration) {
        let waited = self
            .calm
            .wait_timeout_while(self.lock(), patience, |state| state.looks_at != NEVER);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends the worker, and answers nothing any more.
    pub(in super::super) fn abandon(&self) {
        let mut inbox = self.inbox();
        inbox.stopped = true;
        inbox.arrived.clear();
        self.wake.notify_all();
    }

    /// Shows what was shown before, as whoever had the connection before did.
    pub(in super::super) fn show_again(
        &mut self,
        slot: u64,
        name: Option<&Name>,
        machine: Machine<Call>,
        source: Arc<dyn Source>,
    ) {
        self.lock().shown.show_again(slot, name, machine, source);
    }

    /// Releases of several that are shown, or that the kernel has not forgotten.
    pub(in super::super) fn slots(&self) -> Vec<u64> {
        self.lock().shown.slots()
    }

    /// The number that what is shown next gets, of several.
    pub(in super::super) fn next_slot(&self) -> u64 {
        self.lock().shown.next()
    }

    /// What is open, as far as the kernel tells.
    pub(in super::super) fn open_files(&self) -> Vec<OpenFile> {
        let lending = |passed: &Passed| {
            let Backing::Own(backing) = &passed.backing else { return None };
            Some(Lending {
                id: backing.id,
                blob: *passed.blob.as_bytes(),
                bytes: passed.bytes,
            })
        };
        let opens = self.opens();
        let files = opens.iter().map(|(ino, count, how)| OpenFile {
            ino,
            count,
            lending: match how {
                How::Cached => None,
                How::Passed(passed) => lending(passed),
            },
        });
        files.collect()
    }

    /// What the kernel is told that inode numbers are valid with.
    pub(in super::super) fn generation(&self) -> u32 {
        self.owner.generation
    }

    /// Somebody had the connection before, who agreed on that with the kernel. What is shown must be so by now.
    pub(in super::super) fn take_over(&mut self, agreed: &Agreed, channel: &Arc<Channel>) {
        self.resends.store(agreed.resends, Ordering::Relaxed);
        self.told_of_opens.store(agreed.tells_of_opens, Ordering::Relaxed);
        self.owner.generation = agreed.generation;
        self.lock().shown.begin_at(agreed.next);
        for file in &agreed.opens {
            let how = file.blob().map(|(lending, blob)| {
                let source = self.lock().of(file.ino).ok().map(|(_, tree)| tree.source.clone());
                let lease = source.and_then(|source| source.backing(blob, lending.bytes));
                How::Passed(Passed {
                    backing: Backing::Own(device::Backing::lent(channel, lending.id)),
                    blob,
                    bytes: lending.bytes,
                    // Where it was given away, the kernel has what it was.
                    _lease: lease.map_or_else(|| Box::new(()) as Box<_>, |backing| backing.lease),
                })
            });
            self.opens().restore(file.ino, file.count, how.unwrap_or(How::Cached));
        }
    }
}
