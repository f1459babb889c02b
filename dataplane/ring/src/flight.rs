//! An operation in flight: everything the kernel reads or writes for it, at addresses that stay put until its completion, and the
//! submission entry that says so to the kernel. It never submits.

use crate::msg::{Control, Name, Origin, SEGMENTS_MAX, SEND_BYTES_MAX, encode_addr};
use crate::op::{Op, OpError, OpKind, Outcome, SyncScope, Target};
use bytes::{Bytes, BytesMut};
use io_uring::{opcode, squeue, types};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::ptr;

/// One read or write is cut to this; the rest follows by itself.
const TRANSFER_BYTES_MAX: usize = 1 << 30;

/// An operation from `submit` to its last completion.
pub(crate) struct Flight {
    pub(crate) tag: u64,
    pub(crate) target: Target,
    pub(crate) work: Work,
    /// Asked to end: it is not continued or re-armed any more.
    pub(crate) cancelled: bool,
}

pub(crate) enum Work {
    Receive,
    Send {
        header: Box<SendHeader>,
        payload: Vec<u8>,
    },
    Read {
        buf: BytesMut,
        offset: u64,
        len: usize,
        done: usize,
    },
    Write {
        bytes: Bytes,
        offset: u64,
        done: usize,
    },
    Sync {
        scope: SyncScope,
    },
    Wake {
        counter: BytesMut,
    },
}

/// What sendmsg points at beside the payload. Boxed and recycled by the ring, so its address holds while its owner moves.
pub(crate) struct SendHeader {
    message: libc::msghdr,
    payload: libc::iovec,
    name: Name,
    control: Control,
}

/// Headers of finished sends, as many as were ever in flight at once. Boxed: the kernel has a header's address while it moves between
/// here and the slab.
pub(crate) type SpareHeaders = Vec<Box<SendHeader>>;

impl SendHeader {
    fn new(to: SocketAddr, control: Control) -> Self {
        // SAFETY: msghdr is a C struct of integers and pointers, for all of which zero is a value.
        let message = unsafe { std::mem::zeroed() };
        SendHeader {
            message,
            payload: libc::iovec {
                iov_base: ptr::null_mut(),
                iov_len: 0,
            },
            name: encode_addr(to),
            control,
        }
    }

    /// Points the message at its parts, where they are now.
    fn link(&mut self, payload: &[u8]) -> *const libc::msghdr {
        self.payload = libc::iovec {
            iov_base: payload.as_ptr().cast_mut().cast(),
            iov_len: payload.len(),
        };
        self.message.msg_iov = &raw mut self.payload;
        self.message.msg_iovlen = 1;
        self.message.msg_name = self.name.bytes().as_ptr().cast_mut().cast();
        self.message.msg_namelen = self.name.bytes().len() as u32;
        self.message.msg_control = self.control.bytes().as_ptr().cast_mut().cast();
        self.message.msg_controllen = self.control.bytes().len() as _;
        &raw const self.message
    }
}

/// Builds an entry on a plain or a registered file, which are different types to the `io-uring` crate.
macro_rules! on {
    ($target:expr, |$fd:ident| $build:expr) => {
        match $target {
            Target::Slot(slot) => {
                let $fd = types::Fixed(slot.index());
                $build
            }
            Target::Open(file) => {
                let $fd = types::Fd(file.as_fd().as_raw_fd());
                $build
            }
        }
    };
}

impl Flight {
    /// Takes an operation apart. `spare` is a box for a send to use again.
    pub(crate) fn new(op: Op, tag: u64, spare: &mut SpareHeaders) -> Flight {
        let (target, work) = match op {
            Op::Receive { socket } => (socket, Work::Receive),
            Op::Send {
                socket,
                to,
                from,
                ecn,
                segment_bytes,
                payload,
            } => {
                let segment_bytes = check_send(to.ip(), from, segment_bytes, &payload);
                let header = SendHeader::new(to, Control::new(from, to.ip(), ecn, segment_bytes));
                let header = match spare.pop() {
                    Some(mut used) => {
                        *used = header;
                        used
                    }
                    None => Box::new(header),
                };
                (socket, Work::Send { header, payload })
            }
            Op::Read {
                file,
                offset,
                mut buf,
                len,
            } => {
                buf.reserve(len);
                (
                    file,
                    Work::Read {
                        buf,
                        offset,
                        len,
                        done: 0,
                    },
                )
            }
            Op::Write { file, offset, bytes } => (file, Work::Write { bytes, offset, done: 0 }),
            Op::Sync { file, scope } => (file, Work::Sync { scope }),
        };
        Flight {
            tag,
            target,
            work,
            cancelled: false,
        }
    }

    pub(crate) fn kind(&self) -> OpKind {
        match self.work {
            Work::Receive => OpKind::Receive,
            Work::Send { .. } => OpKind::Send,
            Work::Read { .. } => OpKind::Read,
            Work::Write { .. } => OpKind::Write,
            Work::Sync { .. } => OpKind::Sync,
            Work::Wake { .. } => OpKind::Wake,
        }
    }

    /// What to submit for the part that is not done yet. The pointers in it stay valid while `self` is neither changed nor dropped;
    /// moving it is fine, since all of them lead to the heap.
    pub(crate) fn entry(&mut self, receive: *const libc::msghdr, group: u16) -> squeue::Entry {
        let target = &self.target;
        match &mut self.work {
            Work::Receive => on!(target, |fd| opcode::RecvMsgMulti::new(fd, receive, group).build()),
            Work::Send { header, payload } => {
                let message = header.link(payload);
                on!(target, |fd| opcode::SendMsg::new(fd, message).build())
            }
            Work::Read { buf, offset, len, done } => {
                let left = &mut buf.spare_capacity_mut()[*done..*len];
                let (to, bytes) = (left.as_mut_ptr().cast(), left.len().min(TRANSFER_BYTES_MAX) as u32);
                on!(target, |fd| opcode::Read::new(fd, to, bytes)
                    .offset(*offset + *done as u64)
                    .build())
            }
            Work::Write { bytes, offset, done } => {
                let left = &bytes[*done..];
                let (from, bytes) = (left.as_ptr(), left.len().min(TRANSFER_BYTES_MAX) as u32);
                on!(target, |fd| opcode::Write::new(fd, from, bytes)
                    .offset(*offset + *done as u64)
                    .build())
            }
            Work::Sync { scope } => {
                let flags = match scope {
                    SyncScope::Data => types::FsyncFlags::DATASYNC,
                    SyncScope::Everything => types::FsyncFlags::empty(),
                };
                on!(target, |fd| opcode::Fsync::new(fd).flags(flags).build())
            }
            Work::Wake { counter } => {
                let to = counter.spare_capacity_mut().as_mut_ptr().cast();
                on!(target, |fd| opcode::Read::new(fd, to, 8).build())
            }
        }
    }

    /// Notes the kernel's answer to a read or write. `true`: it must be submitted again for the rest.
    pub(crate) fn advance(&mut self, result: i32) -> bool {
        let Ok(more @ 1..) = usize::try_from(result) else {
            return false;
        };
        let (done, len) = match &mut self.work {
            Work::Read { len, done, .. } => (done, *len),
            Work::Write { bytes, done, .. } => (done, bytes.len()),
            Work::Receive | Work::Send { .. } | Work::Sync { .. } | Work::Wake { .. } => return false,
        };
        *done += more;
        assert!(*done <= len, "the kernel moves at most what it was asked to");
        *done < len && !self.cancelled
    }

    /// The outcome after the kernel's last answer.
    pub(crate) fn finish(self, result: i32, spare: &mut SpareHeaders) -> Outcome {
        let kind = self.kind();
        let answer = usize::try_from(result).map_err(|_| OpError::from_errno(kind, -result));
        match self.work {
            Work::Receive => {
                let error = answer.err().unwrap_or(OpError::Cancelled { op: kind });
                Outcome::ReceiveEnded(error)
            }
            Work::Send { header, payload } => {
                spare.push(header);
                Outcome::Sent { payload, result: answer }
            }
            Work::Read { mut buf, done, len, .. } => {
                let held = buf.len();
                assert!(done <= len, "checked in advance");
                // SAFETY: the kernel initialised `done` bytes behind the first `held`; `done <= len` and `new` reserved `len`, and the
                // operation has ended, so the buffer is ours alone again.
                unsafe { buf.set_len(held + done) };
                let result = match answer {
                    // Cut short by a cancel between two parts, not by the end of the file.
                    Ok(1..) if done < len => Err(OpError::Cancelled { op: kind }),
                    Ok(_) => Ok(done),
                    Err(error) => Err(error),
                };
                Outcome::Read { buf, result }
            }
            Work::Write { bytes, done, .. } => {
                let asked = bytes.len();
                let result = match answer {
                    Ok(_) if done == asked => Ok(()),
                    Ok(0) => Err(OpError::NoProgress { done, asked }),
                    Ok(_) => Err(OpError::Cancelled { op: kind }),
                    Err(error) => Err(error),
                };
                Outcome::Written { bytes, result }
            }
            Work::Sync { .. } => Outcome::Synced {
                result: answer.map(drop),
            },
            Work::Wake { .. } => Outcome::Woken,
        }
    }
}

/// Asserts the limits of one send; answers the segment size to tell the kernel, none for a single datagram.
fn check_send(to: IpAddr, from: Option<Origin>, segment_bytes: Option<u16>, payload: &[u8]) -> Option<u16> {
    assert!(
        payload.len() <= SEND_BYTES_MAX,
        "a send of {} bytes, above SEND_BYTES_MAX",
        payload.len()
    );
    if let Some(from) = from {
        assert_eq!(from.ip.is_ipv4(), to.is_ipv4(), "a send from {} to {to}: one family", from.ip);
    }
    let segment = usize::from(segment_bytes?);
    assert!(segment > 0, "a segment has bytes");
    let segments = payload.len().div_ceil(segment);
    assert!(segments <= SEGMENTS_MAX, "a send of {segments} segments, above SEGMENTS_MAX");
    segment_bytes.filter(|_| segments > 1)
}
