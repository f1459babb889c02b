//! What a FUSE server asks of the kernel beside reading and writing /dev/fuse (include/uapi/linux/fuse.h): ioctls, and requests by io_uring.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

mod queue;

pub use queue::{Asked, OP_BYTES, Outbox, Queue};

/// `_IOR(229, 0, uint32_t)`
const CLONE: libc::Ioctl = 0x8004_e500_u32 as libc::Ioctl;
/// `_IOW(229, 1, struct fuse_backing_map)`
const BACKING_OPEN: libc::Ioctl = 0x4010_e501;
/// `_IOW(229, 2, uint32_t)`
const BACKING_CLOSE: libc::Ioctl = 0x4004_e502;

/// `struct fuse_backing_map`
#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

const _: () = assert!(size_of::<BackingMap>() == 16, "struct fuse_backing_map");

/// Joins `fresh`, a descriptor of /dev/fuse that nothing was done with yet, to the connection of `connected`. A request is answered through the
/// descriptor that it was read from.
pub fn join(fresh: BorrowedFd<'_>, connected: BorrowedFd<'_>) -> io::Result<()> {
    let source = connected.as_raw_fd();
    // SAFETY: the kernel reads one 32-bit integer, which lives on this stack for the whole call.
    let joined = unsafe { libc::ioctl(fresh.as_raw_fd(), CLONE, &raw const source) };
    answer(joined).map(drop)
}

/// Hands the kernel a file to read by itself (FUSE passthrough, Linux 6.9, CAP_SYS_ADMIN) and gives the number it knows it by.
pub fn open_backing(connection: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<u32> {
    let map = BackingMap {
        fd: file.as_raw_fd(),
        flags: 0,
        padding: 0,
    };
    // SAFETY: the kernel reads one BackingMap, which lives on this stack for the whole call; its layout is checked above.
    let id = unsafe { libc::ioctl(connection.as_raw_fd(), BACKING_OPEN, &raw const map) };
    answer(id)
}

/// No further open will name that file. Those that did go on reading it.
pub fn close_backing(connection: BorrowedFd<'_>, id: u32) -> io::Result<()> {
    // SAFETY: the kernel reads one 32-bit integer, which lives on this stack for the whole call.
    let closed = unsafe { libc::ioctl(connection.as_raw_fd(), BACKING_CLOSE, &raw const id) };
    answer(closed).map(drop)
}

fn answer(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::last_os_error())
}
