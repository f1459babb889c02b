//! The system calls that the `io-uring` crate does not offer in the shape needed here. One call per function, no policy.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

/// How `io_uring_enter` is told which ring: the `io-uring` crate remembers a registered index only inside a borrowed `Submitter`, which a
/// ring cannot store beside itself, hence this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingFd {
    /// An index into the calling thread's registered rings: saves the kernel a file lookup per call.
    Registered(u32),
    /// The plain descriptor, where the thread's 16 places are taken.
    Plain(RawFd),
}

#[repr(C)]
struct RsrcUpdate {
    offset: u32,
    resv: u32,
    data: u64,
}

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timeout: u64,
}

const _: () = assert!(size_of::<RsrcUpdate>() == 16, "struct io_uring_rsrc_update");
const _: () = assert!(size_of::<GetEventsArg>() == 24, "struct io_uring_getevents_arg");

/// Registers a ring with the calling thread; the plain descriptor when there is no place left.
pub(crate) fn register_ring_fd(ring: RawFd) -> RingFd {
    let mut update = RsrcUpdate {
        offset: u32::MAX,
        resv: 0,
        data: ring as u64,
    };
    // SAFETY: the kernel reads and writes one RsrcUpdate, which lives on this stack for the whole call; its layout is checked above.
    let registered = unsafe { libc::syscall(libc::SYS_io_uring_register, ring, REGISTER_RING_FDS, &raw mut update, 1u32) };
    match registered {
        1 => RingFd::Registered(update.offset),
        _ => RingFd::Plain(ring),
    }
}

/// Gives a thread's place back. Must run on the thread that registered it.
pub(crate) fn unregister_ring_fd(ring: RawFd, index: u32) {
    let update = RsrcUpdate {
        offset: index,
        resv: 0,
        data: 0,
    };
    // SAFETY: the kernel reads one RsrcUpdate, which lives on this stack for the whole call. A failure leaves the place taken, no more.
    unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring,
            UNREGISTER_RING_FDS,
            &raw const update,
            1u32,
        )
    };
}

/// Submits `to_submit` entries, runs deferred task work, and waits until `wait_for` completions are there or the timeout has passed.
/// The entries' memory was promised to the kernel when they were pushed, not here.
pub(crate) fn enter(ring: RingFd, to_submit: u32, wait_for: u32, timeout: Option<Duration>) -> io::Result<u32> {
    let (fd, flag) = match ring {
        RingFd::Registered(index) => (index as RawFd, ENTER_REGISTERED_RING),
        RingFd::Plain(fd) => (fd, 0),
    };
    let timespec = timeout.map(|t| Timespec {
        seconds: t.as_secs().try_into().unwrap_or(i64::MAX),
        nanoseconds: i64::from(t.subsec_nanos()),
    });
    let arg = GetEventsArg {
        sigmask: 0,
        sigmask_bytes: 0,
        min_wait_us: 0,
        timeout: timespec.as_ref().map_or(0, |t| ptr::from_ref(t) as u64),
    };
    let flags = flag | ENTER_GETEVENTS | ENTER_EXT_ARG;
    let bytes = size_of::<GetEventsArg>();
    // SAFETY: the kernel reads one GetEventsArg and, through it, at most one Timespec; both live on this stack for the whole call.
    let submitted = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            fd,
            to_submit,
            wait_for,
            flags,
            &raw const arg,
            bytes,
        )
    };
    match submitted {
        0.. => Ok(submitted as u32),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A counter that a ring can read and other threads can add to. Blocking, because io_uring answers EAGAIN on a non-blocking one instead
/// of waiting.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    owned(fd)
}

/// Adds one. Cannot block: that takes 2^64 - 2 additions between two reads, and only one is made.
pub(crate) fn eventfd_add_one(fd: BorrowedFd<'_>) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight bytes on this stack, read by the kernel during the call.
    let written = unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    debug_assert_eq!(written, 8, "an eventfd takes eight bytes or is not an eventfd");
}

/// Opens a socket, closed on exec.
pub(crate) fn socket(family: i32, kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    owned(fd)
}

/// Binds a socket to an address given in the kernel's layout.
pub(crate) fn bind(fd: BorrowedFd<'_>, addr: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `addr.len()` bytes of `addr` during the call and checks their content itself.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), addr.as_ptr().cast(), addr.len() as libc::socklen_t) };
    done(bound)
}

/// Sets a socket option to some bytes.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `value.len()` bytes of `value` during the call and checks length and content itself.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    done(set)
}

/// Reads a socket option that is an int.
pub(crate) fn int_option(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` = 4 bytes into `value` and one socklen_t into `len`, both on this stack.
    let got = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
    done(got).map(|()| value)
}

/// The soft limit on locked memory in bytes; `None` when unlimited or unknown.
pub(crate) fn memlock_limit_bytes() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the kernel writes one rlimit, which lives on this stack.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (got == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to our caller in this module and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn done(result: i32) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
