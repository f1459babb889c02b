//! Counts the commands of other processes that this one's daemon carries out. A process that is a daemon only in passing must not
//! end under them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many there are.
#[derive(Default)]
pub(super) struct Guests(AtomicUsize);

/// One of them; leaves when dropped, also by a panic.
pub(super) struct Guest<'a>(&'a AtomicUsize);

impl Guests {
    /// One more.
    pub(super) fn enter(&self) -> Guest<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Guest(&self.0)
    }

    /// How many now.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
