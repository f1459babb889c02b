//! Threads whose open descriptors are their own. One that may wait in the kernel for long, where nothing ends that, keeps nothing else open meanwhile:
//! when its process is killed, what the others have is closed all the same, locks of files among it.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};

/// The first that is none of input, output and errors.
const FIRST: u32 = 3;

/// The one descriptor that such a thread has, beside input, output and errors. It stays on its thread and is closed with it.
#[derive(Debug)]
pub struct Kept {
    fd: RawFd,
    _stays: PhantomData<*const ()>,
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open in this thread's own table, which nothing else takes it from, and this is on no other thread.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// Starts a thread that has of all open descriptors a copy of `keep`. `work` must use no other descriptor, nor bring one to its end: it would stay open for all
/// others.
///
/// # Errors
/// Where there can be no thread, or the kernel has none of it (before Linux 5.9, or by a filter of system calls).
pub fn spawn(name: &str, keep: BorrowedFd<'_>, work: impl FnOnce(Kept) + Send + 'static) -> io::Result<JoinHandle<()>> {
    let fd = keep.as_raw_fd();
    let keep = u32::try_from(fd).map_err(|_| io::ErrorKind::InvalidInput)?;
    let (told, is_apart) = sync_channel(1);
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let apart = stand_apart();
        let is_so = apart.is_ok();
        // Whoever waits for it is there until it is told.
        let _ = told.send(apart);
        // The others are let go of after that: the last word about a file may have to wait for whoever has it, and that may be who waits for us.
        if is_so && close_others(keep).is_ok() {
            let _stays = PhantomData;
            work(Kept { fd, _stays });
        }
    })?;
    // A thread that says nothing has panicked.
    is_apart.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
    Ok(thread)
}

/// Gives the calling thread a table of its own, with a copy of every descriptor.
fn stand_apart() -> io::Result<()> {
    // No number is so high. unshare(2) does the same, and is what containers forbid.
    close(u32::MAX, u32::MAX, libc::CLOSE_RANGE_UNSHARE)
}

/// Leaves only `keep` in it.
fn close_others(keep: u32) -> io::Result<()> {
    close(keep + 1, u32::MAX, 0)?;
    if keep > FIRST { close(FIRST, keep - 1, 0) } else { Ok(()) }
}

/// To be called with a flag for a table of the thread's own first.
fn close(first: u32, last: u32, flags: u32) -> io::Result<()> {
    let [first, last, flags] = [first, last, flags].map(libc::c_ulong::from);
    // SAFETY: what is closed is open in a table that this thread alone has, and this thread has just begun and uses nothing of it.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if closed == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;

    #[test]
    fn such_a_thread_has_one_descriptor_and_the_others_all_of_theirs() {
        let other = fs::File::open("/dev/null").unwrap();
        let (mut end, begin) = io::pipe().unwrap();
        let (told, had) = sync_channel(1);
        let (go_on, wait) = sync_channel::<()>(1);
        let work = move |kept: Kept| {
            // The listing itself takes one.
            let list = fs::read_dir("/proc/thread-self/fd").unwrap();
            let beyond = list.filter(|fd| fd.as_ref().unwrap().file_name().len() > 1 || fd.as_ref().unwrap().file_name() > *"2");
            told.send((beyond.count(), kept.as_fd().try_clone_to_owned().is_ok()))
                .unwrap();
            assert!(wait.recv().is_err(), "nothing is sent");
        };
        let thread = spawn("apart", begin.as_fd(), work).unwrap();
        assert_eq!(had.recv(), Ok((2, true)));
        assert!(other.metadata().is_ok());
        drop(begin);
        drop(go_on);
        thread.join().unwrap();
        // The last copy went with the thread.
        assert_eq!(end.read(&mut [0]).unwrap(), 0);
    }
}
