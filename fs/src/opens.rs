//! Counts who has which file open, and so decides how the next open goes: by the kernel's page cache, or straight to the backing
//! file (FUSE passthrough). The kernel allows one of the two at a time for an inode and answers EIO to the other, also while a file
//! that was closed is still mapped. It says so only when the last user is gone (RELEASE), and that is what is counted.

use std::collections::HashMap;

/// Open files by inode number. `B` is what stands for a backing file.
#[derive(Debug)]
pub(crate) struct Opens<B> {
    files: HashMap<u64, Opened<B>>,
}

#[derive(Debug)]
struct Opened<B> {
    count: u64,
    how: How<B>,
}

/// How an open file is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum How<B> {
    /// By the page cache, and by requests to us where that has nothing.
    Cached,
    /// By the kernel itself, from this.
    Passed(B),
}

impl<B> Default for Opens<B> {
    fn default() -> Self {
        Self { files: HashMap::new() }
    }
}

impl<B> Opens<B> {
    /// One more has `ino` open. How it goes is decided by those that have, or else by whether there is a backing file.
    pub(crate) fn on_open(&mut self, ino: u64, backing: impl FnOnce() -> Option<B>) -> &How<B> {
        let opened = self.files.entry(ino).or_insert_with(|| Opened {
            count: 0,
            how: backing().map_or(How::Cached, How::Passed),
        });
        opened.count += 1;
        &opened.how
    }

    /// One fewer has. Gives the backing file back with the last.
    pub(crate) fn on_release(&mut self, ino: u64) -> Option<B> {
        let opened = self.files.get_mut(&ino)?;
        opened.count = opened.count.saturating_sub(1);
        if opened.count > 0 {
            return None;
        }
        match self.files.remove(&ino)?.how {
            How::Cached => None,
            How::Passed(backing) => Some(backing),
        }
    }

    /// What is open: its number, how often, and how.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64, &How<B>)> {
        self.files.iter().map(|(ino, opened)| (*ino, opened.count, &opened.how))
    }

    /// So it was when somebody else counted.
    pub(crate) fn restore(&mut self, ino: u64, count: u64, how: How<B>) {
        self.files.insert(ino, Opened { count, how });
    }

    /// Nobody has anything open any more, whatever was counted.
    pub(crate) fn clear(&mut self) {
        self.files.clear();
    }
}

impl<B> Drop for Opens<B> {
    /// Where a connection ends before its last file is closed, the kernel goes on reading that file: its backing is never given back.
    fn drop(&mut self) {
        self.files.drain().for_each(|(_, opened)| std::mem::forget(opened));
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn an_inode_is_open_in_one_way_at_a_time_and_its_backing_ends_with_the_last() {
        let backing = Rc::new(());
        let mut opens = Opens::default();
        let whole = || Some(backing.clone());
        let uses = || Rc::strong_count(&backing) - 1;
        assert_eq!(opens.on_open(1, || None), &How::Cached);
        assert_eq!(
            opens.on_open(1, whole),
            &How::Cached,
            "it became whole, but is open by the page cache"
        );
        assert!(opens.on_release(1).is_none());
        assert_eq!(opens.on_open(1, whole), &How::Cached, "one of two was closed");
        assert!(opens.on_release(1).is_none());
        assert!(opens.on_release(1).is_none());
        assert_eq!((opens.on_open(1, whole), uses()), (&How::Passed(Rc::new(())), 1));
        assert_eq!(opens.on_open(1, || panic!("the same backing")), &How::Passed(Rc::new(())));
        assert_eq!(opens.on_open(2, || None), &How::Cached, "another inode");
        assert!(opens.on_release(1).is_none());
        assert!(opens.on_release(1).is_some());
        assert_eq!(uses(), 0);
        assert!(opens.on_release(1).is_none(), "never opened");
        assert_eq!(opens.on_open(1, || None), &How::Cached);
    }

    #[test]
    fn what_may_still_be_read_is_not_given_back() {
        let backing = Rc::new(());
        let mut opens = Opens::default();
        opens.on_open(1, || Some(backing.clone()));
        opens.clear();
        assert_eq!(Rc::strong_count(&backing), 1);
        opens.on_open(1, || Some(backing.clone()));
        drop(opens);
        assert_eq!(Rc::strong_count(&backing), 2);
    }
}
