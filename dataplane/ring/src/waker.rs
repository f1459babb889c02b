//! Wakes a ring from another thread. It carries no message: the sender first puts its message where the ring's thread looks after
//! [`crate::Outcome::Woken`], then calls [`Waker::wake`].
//!
//! # Why no wake-up is lost
//!
//! `pending` is only changed by `swap(.., AcqRel)`, so all changes have one order and each reads the one before it.
//!
//! ```text
//!  sender:  put message -> swap(true)  == false -> write eventfd
//!                                      == true  -> nothing to do
//!  ring:    eventfd read completes -> swap(false) -> Outcome::Woken -> look for messages
//! ```
//!
//! A sender that reads `false` writes, and a write is never lost: the ring always has one read of the eventfd in flight or queued. A sender
//! that reads `true` comes, in that one order, after another sender's swap and before the ring's next `swap(false)`, which that other
//! sender's write brings about. The ring's swap acquires what the chain of swaps before it released (each is a read-modify-write, so the
//! release sequence is unbroken), hence the look for messages after it sees this sender's message too.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

struct Shared {
    eventfd: OwnedFd,
    pending: AtomicBool,
}

/// Wakes one ring; cheap to clone, usable from any thread. Using it after the ring is gone does nothing.
#[derive(Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

impl Waker {
    /// One that no ring listens to. A ring makes its own: [`crate::Ring::waker`].
    pub fn new() -> io::Result<Self> {
        let eventfd = crate::sys::eventfd()?;
        Ok(Waker {
            shared: Arc::new(Shared {
                eventfd,
                pending: AtomicBool::new(false),
            }),
        })
    }

    /// Makes the ring's thread see [`crate::Outcome::Woken`] soon. Calls before the ring woke up coalesce and cost no system call.
    pub fn wake(&self) {
        if !self.shared.pending.swap(true, Ordering::AcqRel) {
            crate::sys::eventfd_add_one(self.shared.eventfd.as_fd());
        }
    }

    /// The ring has read the eventfd: from here on a wake writes again. Must come before the look for messages.
    pub(crate) fn rearm(&self) {
        self.shared.pending.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.eventfd.as_fd()
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Waker({})", self.shared.eventfd.as_raw_fd())
    }
}

#[cfg(test)]
mod tests;
