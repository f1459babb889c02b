//! What a program is handed by the one that was there before: open descriptors beside input, output and errors, and which signals it ignores at first.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first that is none of input, output and errors.
const FIRST: RawFd = 3;

/// From now on the process ignores a signal, and so does what it becomes by execve(2), which has handlers begin at their defaults.
///
/// # Errors
/// Where there is no such signal, or it cannot be ignored.
pub fn ignore(signal: i32) -> io::Result<()> {
    // SAFETY: to ignore a signal no handler of ours is run, so whatever it interrupts is left as it is.
    let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
    if before == libc::SIG_ERR {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

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

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn what_is_ignored_stays_so_in_the_next_program() {
        let is_ended_by_it = || {
            let status = Command::new("sh").args(["-c", "kill -USR2 $$"]).status().unwrap();
            !status.success()
        };
        assert!(is_ended_by_it());
        super::ignore(libc::SIGUSR2).unwrap();
        assert!(!is_ended_by_it());
        assert!(super::ignore(libc::SIGKILL).is_err());
    }
}
