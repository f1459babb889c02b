//! Open descriptors that a program was started with, beside input, output and errors.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first that is none of input, output and errors.
const FIRST: RawFd = 3;

/// Takes those that have these numbers into possession; programs that are started from here do not get them. Only the first call gives any: what has
/// such a number later may be somebody else's. To be called with what whoever started the program promised this very process.
///
/// # Errors
/// Where one is not open, or named twice, or input, output or errors: whoever promised it was mistaken.
pub fn take(numbers: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    for (at, &fd) in numbers.iter().enumerate() {
        if fd < FIRST || numbers[..at].contains(&fd) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the kernel is given numbers alone; of one that is not open it says so.
        let set = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        if set == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: each is open and named once, and nobody here has it: this runs once, with what was there before the program began.
    Ok(numbers.iter().map(|&fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}
