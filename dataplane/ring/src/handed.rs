//! Open descriptors that a program was started with, and that it starts another with: those from 3 on, as systemd has it (sd_listen_fds(3)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first of them; below are input, output and errors.
const FIRST: RawFd = 3;

/// Takes `count` of them into possession; programs that are started from here do not get them. The first call does, later ones get none: they may be
/// somebody else's by then. To be called before anything is opened.
///
/// # Errors
/// Where one is not open: whoever promised so many was mistaken.
pub fn take(count: usize) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let end = RawFd::try_from(count).ok().and_then(|count| FIRST.checked_add(count));
    let end = end.ok_or(io::ErrorKind::InvalidInput)?;
    // All or none: what is not open now may be opened by somebody here later.
    for fd in FIRST..end {
        // SAFETY: the kernel is given numbers alone; of one that is not open it says so.
        let set = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        if set == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: each is open, and nobody has it: this runs once, and the caller has opened nothing before.
    Ok((FIRST..end).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}

/// Becomes another program, which is started with these, in order. What has these numbers here is lost: nothing of this program may be needed any
/// more. Returns only where that failed.
pub fn exec(command: &mut Command, handed: Vec<OwnedFd>) -> io::Error {
    match place(handed) {
        Ok(()) => command.exec(),
        Err(error) => error,
    }
}

fn place(handed: Vec<OwnedFd>) -> io::Result<()> {
    let end = FIRST + RawFd::try_from(handed.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // Out of the way first: one may have the place of another.
    let mut above = Vec::new();
    for fd in &handed {
        // SAFETY: the kernel is given numbers alone, and the descriptor is open as its owner is borrowed.
        let copy = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, end) };
        if copy == -1 {
            return Err(io::Error::last_os_error());
        }
        above.push(copy);
    }
    // None of these may be closed by an owner here once it has become another.
    std::mem::forget(handed);
    for (fd, copy) in (FIRST..).zip(above) {
        // SAFETY: the kernel is given numbers alone. Whoever has this one here uses it no more: see `exec`. The new one outlives an exec.
        if unsafe { libc::dup2(copy, fd) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
