//! FUSE over io_uring (Linux 6.14, Documentation/filesystems/fuse/fuse-io-uring.rst): requests come as completions, an answer and the wish for
//! the next request are one submission. It knows how both lie in memory, and nothing of what they mean.
//!
//! ```text
//!             register            a request comes               the answer goes
//!  queue ───────────────> kernel ─────────────────> Asked ───────────────────────> kernel ..
//!                        (its memory)              (whoever holds it)   commit, on the queue's thread; from others by the outbox
//! ```
//! The kernel is told of the memory of each place once and for all, so it never moves; it reads and writes there only between a submission and
//! its completion.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use crate::waker::Waker;

const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;
/// Room for the header of a request or an answer.
const HEADER_BYTES: usize = 128;
/// Room for the fixed arguments of a request.
pub const OP_BYTES: usize = 128;
/// `user_data` of the read of the eventfd; places are small numbers.
const WAKE: u64 = u64::MAX;
/// Where `struct io_uring_sqe` has its `len`: the crate sets it for no command.
const SQE_LEN_AT: usize = 24;

/// `struct fuse_uring_req_header`
#[repr(C)]
struct Headers {
    /// `struct fuse_in_header`, or of an answer `struct fuse_out_header`.
    in_out: [u8; HEADER_BYTES],
    op: [u8; OP_BYTES],
    flags: u64,
    commit_id: u64,
    payload_bytes: u32,
    padding: u32,
    reserved: u64,
}

const _: () = assert!(size_of::<Headers>() == 288, "struct fuse_uring_req_header");
const _: () = assert!(
    size_of::<squeue::Entry128>() == 128,
    "an entry is what the kernel takes: it is written to"
);

/// Memory of one place. Boxed: it stays where it is while its owner changes.
struct Memory {
    headers: Headers,
    payload: Vec<u8>,
    iovecs: [libc::iovec; 2],
}

/// A request, with the room for its answer. Dropped without an answer its place is lost to the queue.
pub struct Asked {
    place: usize,
    /// The kernel's name of it.
    commit_id: u64,
    memory: Box<Memory>,
}

// SAFETY: the pointers in `iovecs` lead into the same box and are used by the kernel alone, which has no thread.
unsafe impl Send for Asked {}

/// One of a connection's queues: the kernel has one for each processor, and uses none before all have a place.
/// Belongs to the thread that made it.
pub struct Queue {
    uring: ManuallyDrop<IoUring<squeue::Entry128, cqueue::Entry>>,
    connection: OwnedFd,
    index: u16,
    /// Memory that the kernel has now, by places.
    lent: ManuallyDrop<Vec<Option<Box<Memory>>>>,
    /// Commands that go with the next wait.
    commands: Vec<squeue::Entry128>,
    /// What the eventfd's count is read to.
    count: ManuallyDrop<Box<[u8; 8]>>,
    outbox: Outbox,
    is_over: bool,
}

/// Where other threads leave answers.
#[derive(Clone)]
pub struct Outbox {
    waker: Waker,
    answers: Arc<Mutex<Vec<Asked>>>,
}

impl Outbox {
    /// The answer goes when the queue's thread comes by, which is woken for it. After the end of the queue it goes nowhere.
    pub fn put(&self, answered: Asked) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
        self.waker.wake();
    }
}

impl Asked {
    /// As much as there is room for of `struct fuse_in_header`, which begins with the length of all.
    pub fn header(&self) -> &[u8] {
        &self.memory.headers.in_out
    }

    /// The fixed arguments, and whatever was behind them.
    pub fn op(&self) -> &[u8; OP_BYTES] {
        &self.memory.headers.op
    }

    /// The other arguments.
    pub fn payload(&self) -> &[u8] {
        // The kernel says how many bytes it has written; our own room bounds what we believe.
        let len = (self.memory.headers.payload_bytes as usize).min(self.memory.payload.len());
        &self.memory.payload[..len]
    }

    /// Writes the answer: `struct fuse_out_header`, and what follows it. `false`, and nothing but zeros behind the header, where that is more than
    /// there is room for.
    pub fn answer(&mut self, header: &[u8], parts: &[&[u8]]) -> bool {
        let Memory { headers, payload, .. } = &mut *self.memory;
        headers.in_out[..header.len()].copy_from_slice(header);
        headers.payload_bytes = 0;
        let mut room = &mut payload[..];
        let mut bytes = 0;
        for part in parts {
            let Some((to, rest)) = room.split_at_mut_checked(part.len()) else {
                return false;
            };
            to.copy_from_slice(part);
            bytes += part.len();
            room = rest;
        }
        headers.payload_bytes = u32::try_from(bytes).expect("the room is below 4 GiB");
        true
    }
}

impl Queue {
    /// A queue of `depth` places for the processor `index`, with `payload_bytes` of room each, which the kernel wants to be no less than its
    /// largest request. Nothing is registered yet.
    pub fn new(connection: BorrowedFd<'_>, index: u16, depth: usize, payload_bytes: usize) -> io::Result<Self> {
        let entries = u32::try_from(depth + 1).map_err(io::Error::other)?;
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .build(entries.next_power_of_two())?;
        let memory = || {
            let headers = Headers {
                in_out: [0; HEADER_BYTES],
                op: [0; OP_BYTES],
                flags: 0,
                commit_id: 0,
                payload_bytes: 0,
                padding: 0,
                reserved: 0,
            };
            let empty = libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            };
            // Zeroed by the kernel when it is first touched: most places are never used for much.
            let payload = vec![0; payload_bytes];
            let mut memory = Box::new(Memory {
                headers,
                payload,
                iovecs: [empty; 2],
            });
            let Memory {
                headers,
                payload,
                iovecs,
            } = &mut *memory;
            iovecs[0] = libc::iovec {
                iov_base: std::ptr::from_mut(headers).cast(),
                iov_len: size_of::<Headers>(),
            };
            iovecs[1] = libc::iovec {
                iov_base: payload.as_mut_ptr().cast(),
                iov_len: payload.len(),
            };
            Some(memory)
        };
        let waker = Waker::new()?;
        Ok(Self {
            uring: ManuallyDrop::new(uring),
            connection: connection.try_clone_to_owned()?,
            index,
            lent: ManuallyDrop::new((0..depth).map(|_| memory()).collect()),
            commands: Vec::with_capacity(depth + 1),
            count: ManuallyDrop::new(Box::new([0; 8])),
            outbox: Outbox {
                waker,
                answers: Arc::default(),
            },
            is_over: false,
        })
    }

    /// For other threads.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Offers all places to the kernel, at the next wait. Once, when the connection has been agreed on.
    pub fn register(&mut self) {
        for place in 0..self.lent.len() {
            let memory = self.lent[place].as_ref().expect("no place is used before it is registered");
            let iovecs = memory.iovecs.as_ptr() as u64;
            let mut entry = self.command(REGISTER, 0, Some(iovecs)).user_data(place as u64);
            // SAFETY: an entry is the 128 bytes of `struct io_uring_sqe` (checked above), so four bytes at 24 are within it.
            let len = unsafe { (&raw mut entry).cast::<u8>().add(SQE_LEN_AT) };
            // SAFETY: they are its `len`, an aligned u32; nothing else refers to the entry.
            unsafe { len.cast::<u32>().write(memory.iovecs.len() as u32) };
            self.commands.push(entry);
        }
        self.listen();
    }

    /// Sends an answer, at the next wait, and is ready for another request there.
    pub fn commit(&mut self, answered: Asked) {
        let Asked {
            place,
            commit_id,
            memory,
        } = answered;
        let entry = self.command(COMMIT_AND_FETCH, commit_id, None).user_data(place as u64);
        assert!(self.lent[place].is_none(), "a place has one request at a time");
        self.lent[place] = Some(memory);
        self.commands.push(entry);
    }

    /// Submits what there is and waits for requests, which are put into `asked`, or for an answer of another thread. `false` when the connection is
    /// over and the kernel has let go of all places, or wants none of them; the error is that of the first registration that was refused.
    pub fn wait(&mut self, asked: &mut Vec<Asked>) -> io::Result<bool> {
        self.submit()?;
        match self.uring.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => return Ok(true),
            Err(error) => return Err(error),
        }
        let completions: Vec<(u64, i32)> = self.uring.completion().map(|cqe| (cqe.user_data(), cqe.result())).collect();
        let mut refused = None;
        for (place, result) in completions {
            if place == WAKE {
                self.outbox.waker.rearm();
                let answers = std::mem::take(&mut *self.outbox.answers.lock().unwrap_or_else(PoisonError::into_inner));
                answers.into_iter().for_each(|answered| self.commit(answered));
                self.listen();
                continue;
            }
            let place = place as usize;
            let memory = self.lent[place]
                .take()
                .expect("a completion is of a place that the kernel has");
            if result < 0 {
                let error = io::Error::from_raw_os_error(-result);
                // The request was taken back, or is over; the place is lost. Anything that is no such accident ends them all.
                if result != -libc::ENOENT {
                    self.is_over = true;
                    if !matches!(-result, libc::ENOTCONN | libc::ECONNABORTED | libc::ECANCELED) {
                        refused.get_or_insert(error);
                    }
                }
                continue;
            }
            asked.push(Asked {
                place,
                commit_id: memory.headers.commit_id,
                memory,
            });
        }
        match refused {
            Some(error) => Err(error),
            None => Ok(!self.is_over || !asked.is_empty() || self.lent.iter().any(Option::is_some)),
        }
    }

    fn submit(&mut self) -> io::Result<()> {
        for entry in self.commands.drain(..) {
            loop {
                let mut queue = self.uring.submission();
                // SAFETY: what the entry points at is in `lent` or `count` from before this until its completion is seen, and `Drop` leaks it
                // where that has not come.
                if unsafe { queue.push(&entry) }.is_ok() {
                    break;
                }
                drop(queue);
                self.uring.submit()?;
            }
        }
        Ok(())
    }

    /// Waits for the outbox, too.
    fn listen(&mut self) {
        let fd = types::Fd(self.outbox.waker.as_fd().as_raw_fd());
        let read = opcode::Read::new(fd, self.count.as_mut_ptr(), self.count.len() as u32);
        let read = squeue::Entry128::from(read.build()).user_data(WAKE);
        self.commands.push(read);
    }

    /// `struct fuse_uring_cmd_req` in an entry.
    fn command(&self, command: u32, commit_id: u64, addr: Option<u64>) -> squeue::Entry128 {
        let mut arguments = [0; 80];
        arguments[8..16].copy_from_slice(&commit_id.to_ne_bytes());
        arguments[16..18].copy_from_slice(&self.index.to_ne_bytes());
        let fd = types::Fd(self.connection.as_fd().as_raw_fd());
        opcode::UringCmd80::new(fd, command).cmd(arguments).addr(addr).build()
    }
}

impl Drop for Queue {
    /// What the kernel has not let go of it may still touch.
    fn drop(&mut self) {
        // SAFETY: not used again; the descriptor is closed, which cancels what is under way.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
        // The read of the eventfd is cancelled by that some time later: its eight bytes are left to it.
        if self.lent.iter().all(Option::is_none) {
            // SAFETY: not used again, and the kernel has none of it.
            unsafe { ManuallyDrop::drop(&mut self.lent) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries are built for a kernel that may not be there: their bytes are what it would read.
    #[test]
    fn commands_are_as_the_kernel_reads_them() {
        let connection = crate::sys::eventfd().expect("a descriptor");
        let mut queue = Queue::new(connection.as_fd(), 3, 2, 8192).expect("a ring");
        let fd = queue.connection.as_raw_fd();
        let bytes = |entry: &squeue::Entry128| {
            // SAFETY: an entry is 128 bytes of plain integers.
            unsafe { std::mem::transmute_copy::<squeue::Entry128, [u8; 128]>(entry) }
        };
        queue.register();
        let memory = queue.lent[1].as_ref().expect("not used yet");
        let register = bytes(&queue.commands[1]);
        // IORING_OP_URING_CMD
        assert_eq!(register[0], 46);
        assert_eq!(register[4..8], fd.to_ne_bytes());
        assert_eq!(register[8..12], REGISTER.to_ne_bytes());
        assert_eq!(register[16..24], (memory.iovecs.as_ptr() as u64).to_ne_bytes());
        assert_eq!(register[24..28], 2_u32.to_ne_bytes());
        assert_eq!(register[32..40], 1_u64.to_ne_bytes());
        assert_eq!(register[48..72], [[0; 8], [0; 8], [3, 0, 0, 0, 0, 0, 0, 0]].concat());
        assert_eq!((memory.iovecs[0].iov_len, memory.iovecs[1].iov_len), (288, 8192));
        let memory = queue.lent[0].take().expect("not used yet");
        queue.commit(Asked {
            place: 0,
            commit_id: 0x0102,
            memory,
        });
        let commit = bytes(queue.commands.last().expect("it was queued"));
        assert_eq!(commit[8..12], COMMIT_AND_FETCH.to_ne_bytes());
        assert_eq!(commit[32..40], [0; 8]);
        assert_eq!(commit[56..58], [2, 1]);
        assert_eq!(commit[64], 3);
    }

    /// The kernel has no such command for an eventfd: every place is refused, and nothing hangs.
    #[test]
    fn a_kernel_that_takes_no_place_ends_the_queue() {
        let connection = crate::sys::eventfd().expect("a descriptor");
        let mut queue = Queue::new(connection.as_fd(), 0, 4, 8192).expect("a ring");
        queue.register();
        let error = queue.wait(&mut Vec::new()).expect_err("no FUSE here");
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
    }

    #[test]
    fn an_answer_is_bounded_by_its_room() {
        let connection = crate::sys::eventfd().expect("a descriptor");
        let mut queue = Queue::new(connection.as_fd(), 0, 1, 8192).expect("a ring");
        let memory = queue.lent[0].take().expect("not used yet");
        let mut asked = Asked {
            place: 0,
            commit_id: 1,
            memory,
        };
        assert!(asked.answer(&[7; 16], &[&[1; 4000], &[2; 4192]]));
        assert_eq!((asked.header()[15], asked.payload().len()), (7, 8192));
        assert_eq!((asked.payload()[3999], asked.payload()[4000]), (1, 2));
        assert!(!asked.answer(&[7; 16], &[&[1; 4000], &[2; 4193]]));
        assert!(asked.payload().is_empty());
    }
}
