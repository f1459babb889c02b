//! Counts the commands of other processes that this one's daemon carries out. A process that is a daemon only in passing must not
//! end under them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many there are; `CLOSED` when none is let in any more.
#[derive(Default)]
pub(super) struct Guests(AtomicUsize);

const CLOSED: usize = usize::MAX;

/// One of them; leaves when dropped, also by a panic.
pub(super) struct Guest<'a>(&'a AtomicUsize);

impl Guests {
    /// One more; `None` when it came too late.
    pub(super) fn enter(&self) -> Option<Guest<'_>> {
        let one_more = |count| (count != CLOSED).then(|| count + 1);
        let entered = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        entered.is_ok().then(|| Guest(&self.0))
    }

    /// How many now.
    pub(super) fn count(&self) -> usize {
        match self.0.load(Ordering::SeqCst) {
            CLOSED => 0,
            count => count,
        }
    }

    /// Lets nobody in any more, unless somebody is there. Whether nobody was.
    pub(super) fn close(&self) -> bool {
        self.0.compare_exchange(0, CLOSED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Lets them in again.
    pub(super) fn open(&self) {
        let _ = self.0.compare_exchange(CLOSED, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_closes_when_nobody_is_there_and_then_nobody_comes_in() {
        let guests = Guests::default();
        let first = guests.enter();
        assert!(first.is_some() && !guests.close());
        assert!(guests.enter().is_some(), "still open");
        drop(first);
        assert!(guests.close() && guests.enter().is_none());
        assert_eq!(guests.count(), 0);
        guests.open();
        assert!(guests.enter().is_some());
    }
}
