//! What can be asked of the kernel and how it answers. Types only: nothing here makes a system call.

use crate::file::FileSlot;
use crate::msg::{Datagrams, Ecn, Origin};
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

/// The file or socket an operation works on. Cloning is cheap.
#[derive(Clone)]
pub enum Target {
    /// Registered with this ring ([`crate::Ring::register`]): no reference counting per operation in the kernel.
    Slot(FileSlot),
    /// Any open file; the operation keeps it open until its completion.
    Open(Arc<dyn AsFd + Send + Sync>),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Slot(slot) => write!(f, "{slot:?}"),
            Target::Open(file) => write!(f, "{:?}", file.as_fd()),
        }
    }
}

impl From<FileSlot> for Target {
    fn from(slot: FileSlot) -> Self {
        Target::Slot(slot)
    }
}

impl<T: AsFd + Send + Sync + 'static> From<Arc<T>> for Target {
    fn from(file: Arc<T>) -> Self {
        Target::Open(file)
    }
}

/// What a [`Op::Sync`] must have brought to stable storage when it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncScope {
    /// The bytes and what is needed to find them (fdatasync).
    Data,
    /// Also times and other metadata (fsync).
    Everything,
}

/// One operation, owning every buffer it uses until its completion gives them back.
#[derive(Debug)]
pub enum Op {
    /// Receives datagrams until cancelled. Completes with [`Outcome::Received`] any number of times; running out of buffers re-arms it
    /// inside the ring (counted in [`crate::RingStats::receives_rearmed`]). Needs a ring with receive buffers.
    Receive {
        /// A socket bound by [`crate::UdpSocket::bind`], which asks for the control messages that are read here.
        socket: Target,
    },
    /// Sends one burst of datagrams to one address.
    Send {
        /// A UDP socket of the family of `to`.
        socket: Target,
        /// The destination.
        to: SocketAddr,
        /// Where to send from; `None` leaves it to the socket and the routing table.
        from: Option<Origin>,
        /// The ECN mark of every datagram.
        ecn: Option<Ecn>,
        /// Cut the payload into datagrams of this many bytes, the last one may be shorter (UDP GSO, at most [`crate::SEGMENTS_MAX`]).
        /// `None` sends one datagram.
        segment_bytes: Option<u16>,
        /// At most [`crate::SEND_BYTES_MAX`] bytes; comes back in [`Outcome::Sent`].
        payload: Vec<u8>,
    },
    /// Reads `len` bytes at `offset` and appends them to `buf`. Fewer come back only at the end of the file.
    Read {
        /// The file.
        file: Target,
        /// In bytes from the start of the file.
        offset: u64,
        /// Grown by `len` bytes of capacity before the read; what it holds already is kept.
        buf: BytesMut,
        /// How many bytes to read.
        len: usize,
    },
    /// Writes all of `bytes` at `offset`, or fails.
    Write {
        /// The file.
        file: Target,
        /// In bytes from the start of the file.
        offset: u64,
        /// Comes back in [`Outcome::Written`].
        bytes: Bytes,
    },
    /// Brings a file to stable storage. Covers only writes whose completion was reaped before this was submitted: the kernel may
    /// reorder operations in flight.
    Sync {
        /// The file.
        file: Target,
        /// How much of it.
        scope: SyncScope,
    },
}

/// The answer to one [`Op`] (for [`Op::Receive`], one of many).
#[derive(Debug)]
pub struct Completion {
    /// The tag given to [`crate::Ring::submit`], or [`crate::WAKE_TAG`].
    pub tag: u64,
    /// What happened, with the operation's buffers.
    pub outcome: Outcome,
    /// The operation goes on and will complete again. `false`: the ring has forgotten it.
    pub more: bool,
}

/// What became of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// Datagrams of one remote address, to be split by their stride.
    Received(Datagrams),
    /// The receive operation ended: cancelled, or the socket is broken. Nothing arrives until a new one is submitted.
    ReceiveEnded(OpError),
    /// A burst was handed to the network, or not.
    Sent {
        /// The payload, for reuse.
        payload: Vec<u8>,
        /// Bytes sent. A datagram socket takes all or nothing.
        result: Result<usize, OpError>,
    },
    /// A read ended.
    Read {
        /// The buffer, longer by the bytes read (also by those before an error).
        buf: BytesMut,
        /// Bytes read; fewer than asked only at the end of the file.
        result: Result<usize, OpError>,
    },
    /// A write ended.
    Written {
        /// The bytes, to be retried or dropped.
        bytes: Bytes,
        /// `Ok`: all of them are in the file (not yet durable).
        result: Result<(), OpError>,
    },
    /// A sync ended. After an error the kernel may have dropped dirty pages: what was written since the last good sync is unknown.
    Synced {
        /// `Ok`: durable.
        result: Result<(), OpError>,
    },
    /// A [`crate::Waker`] was used since the last time; look into the mailboxes.
    Woken,
}

/// The kind of an operation, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// [`Op::Receive`]
    Receive,
    /// [`Op::Send`]
    Send,
    /// [`Op::Read`]
    Read,
    /// [`Op::Write`]
    Write,
    /// [`Op::Sync`]
    Sync,
    /// The ring's own read of its wake-up counter.
    Wake,
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OpKind::Receive => "receive",
            OpKind::Send => "send",
            OpKind::Read => "read",
            OpKind::Write => "write",
            OpKind::Sync => "sync",
            OpKind::Wake => "wake-up read",
        })
    }
}

/// Why an operation did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// We asked for it, with [`crate::Ring::cancel`].
    #[error("{op} was cancelled")]
    Cancelled {
        /// Which operation.
        op: OpKind,
    },
    /// The kernel, the disk or the network refused; the errno says which.
    #[error("{op} failed: {source}")]
    Kernel {
        /// Which operation.
        op: OpKind,
        /// The errno.
        source: io::Error,
    },
    /// The kernel accepted a write and then took none of its bytes: the file or device takes no more.
    #[error("write stopped after {done} of {asked} bytes without an error: the file cannot grow further")]
    NoProgress {
        /// Bytes in the file.
        done: usize,
        /// Bytes asked.
        asked: usize,
    },
}

impl OpError {
    pub(crate) fn from_errno(op: OpKind, errno: i32) -> Self {
        match errno {
            libc::ECANCELED => OpError::Cancelled { op },
            _ => OpError::Kernel {
                op,
                source: io::Error::from_raw_os_error(errno),
            },
        }
    }

    /// The errno, where the kernel gave one: `ENOSPC`, `EMSGSIZE`, `ENETUNREACH` decide what the caller does next.
    pub fn errno(&self) -> Option<i32> {
        match self {
            OpError::Kernel { source, .. } => source.raw_os_error(),
            OpError::Cancelled { .. } => Some(libc::ECANCELED),
            OpError::NoProgress { .. } => None,
        }
    }
}
