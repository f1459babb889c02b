//! Threads that wait in a system call and can be made to return from it: by a signal whose handler does nothing and that no system call is begun
//! again after. A blocked read(2) has no other way out that costs its every call nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

/// What is sent. Its default action is nothing, so one that comes too late is lost.
const SIGNAL: libc::c_int = libc::SIGURG;
/// A thread may have looked whether it is to leave just before it was sent the signal, and wait since: it is sent another.
const AGAIN: Duration = Duration::from_millis(1);

/// Those of one kind, which leave when they are called.
#[derive(Debug, Default)]
pub struct Roster {
    threads: Mutex<Vec<libc::pthread_t>>,
    left: Condvar,
    is_called: AtomicBool,
}

/// The calling thread is on the roster as long as this lives. It stays on its thread.
#[derive(Debug)]
pub struct Present<'a> {
    roster: &'a Roster,
    thread: libc::pthread_t,
    _stays: std::marker::PhantomData<*const ()>,
}

impl Roster {
    /// Puts the calling thread on it; `None` where all have been called to leave.
    pub fn enter(&self) -> Option<Present<'_>> {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(handle);
        // SAFETY: it has no arguments and cannot fail.
        let thread = unsafe { libc::pthread_self() };
        let mut threads = self.threads();
        if self.is_called() {
            return None;
        }
        threads.push(thread);
        Some(Present {
            roster: self,
            thread,
            _stays: std::marker::PhantomData,
        })
    }

    /// Whether all are to leave. To be asked before each system call, and when one was interrupted.
    pub fn is_called(&self) -> bool {
        self.is_called.load(Ordering::Relaxed)
    }

    /// Calls all and waits until they have left: as long as the one takes whose work between two system calls takes longest.
    pub fn clear(&self) {
        let mut threads = self.threads();
        self.is_called.store(true, Ordering::Relaxed);
        while !threads.is_empty() {
            for &thread in &*threads {
                // SAFETY: a thread takes itself off the roster before it ends, which needs the lock that is held here.
                unsafe { libc::pthread_kill(thread, SIGNAL) };
            }
            let waited = self.left.wait_timeout(threads, AGAIN);
            threads = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn threads(&self) -> MutexGuard<'_, Vec<libc::pthread_t>> {
        // It is changed whole.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.roster.threads().retain(|thread| *thread != self.thread);
        self.roster.left.notify_all();
    }
}

/// Has the signal interrupt system calls of whichever thread gets it, and do nothing else.
fn handle() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: all zeros is a valid sigaction: the default action, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the kernel reads one sigaction, which lives on this stack for the whole call; its handler may run at any time, as it does nothing.
    let set = unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0, "SIGURG can be handled");
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_waits_in_a_system_call_leaves_when_it_is_called() {
        let roster = Roster::default();
        let (silent, mut heard) = UnixStream::pair().expect("sockets");
        std::thread::scope(|scope| {
            let (entered, is_in) = mpsc::channel();
            let roster = &roster;
            let waits = scope.spawn(move || {
                let present = roster.enter().expect("nobody was called yet");
                entered.send(()).expect("somebody waits");
                let mut interrupted = 0;
                while !roster.is_called() {
                    let read = heard.read(&mut [0]).expect_err("nobody says anything");
                    assert_eq!(read.kind(), std::io::ErrorKind::Interrupted);
                    interrupted += 1;
                }
                drop(present);
                interrupted
            });
            is_in.recv().expect("a thread on the roster");
            roster.clear();
            waits.join().expect("it left");
        });
        assert!(roster.enter().is_none(), "none comes after the call");
        drop(silent);
    }
}
