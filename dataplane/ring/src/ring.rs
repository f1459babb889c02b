//! The ring of one thread: queues operations, enters the kernel once per loop, hands out completions. It retries what the kernel left
//! undone (short reads and writes, a receive that ran out of buffers) and decides nothing else.

use crate::buffer::{GROUP, ReceivePool};
use crate::file::{FileSlot, FileTable, Release};
use crate::flight::{Flight, SpareHeaders, Work};
use crate::msg::{Datagrams, Unusable};
use crate::op::{Completion, Op, Outcome, Target};
use crate::probe::{RingError, diagnose};
use crate::slot::{Key, NO_KEY, Slab};
use crate::sys::{self, RingFd};
use crate::waker::Waker;
use bytes::BytesMut;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tag of [`Outcome::Woken`]; not to be used for anything else.
pub const WAKE_TAG: u64 = u64::MAX;

/// How long a dropped ring waits for the kernel to let go of buffers before it leaks them. Reads and sends end at once when cancelled;
/// a write that a disk is already working on ends when the disk answers.
const DROP_WAIT: Duration = Duration::from_secs(2);

/// How large a ring is. The default suits a shard; a thread that only reads and writes files wants `receive_buffers: 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Submission entries, 1 to 32,768, rounded up to a power of two. More operations than this may be in flight.
    pub entries: u32,
    /// Completion entries, at least `entries`, up to 65,536, likewise. Beyond them the kernel keeps completions in a slower list.
    pub cq_entries: u32,
    /// Buffers of 64 KiB for [`Op::Receive`]: 0, or a power of two up to 32,768.
    pub receive_buffers: u16,
    /// Places for registered files, up to 32,768.
    pub file_slots: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        RingConfig {
            entries: 256,
            cq_entries: 2048,
            // A mebibyte, which stays in the processor's cache; what waits beyond waits in the socket.
            receive_buffers: 16,
            file_slots: 64,
        }
    }
}

impl RingConfig {
    const ENTRIES_MAX: u32 = 32_768;

    fn check(&self) -> Result<(), RingError> {
        let wrong = |field, value, must| Err(RingError::Config { field, value, must });
        let RingConfig {
            entries,
            cq_entries,
            receive_buffers,
            file_slots,
        } = *self;
        if !(1..=Self::ENTRIES_MAX).contains(&entries) {
            return wrong("entries", entries, "be 1 to 32,768");
        }
        if !(entries..=2 * Self::ENTRIES_MAX).contains(&cq_entries) {
            return wrong("cq_entries", cq_entries, "be at least `entries` and at most 65,536");
        }
        if receive_buffers != 0 && !receive_buffers.is_power_of_two() {
            return wrong(
                "receive_buffers",
                receive_buffers.into(),
                "be 0 or a power of two up to 32,768",
            );
        }
        if file_slots > Self::ENTRIES_MAX {
            return wrong("file_slots", file_slots, "be at most 32,768");
        }
        Ok(())
    }
}

/// Counters since the ring was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingStats {
    /// Calls of io_uring_enter.
    pub enters: u64,
    /// Completions reaped, also those the ring kept for itself.
    pub completions: u64,
    /// Times the receive buffers had run out (ENOBUFS) or the completion queue was full: datagrams waited in the socket buffer, or were
    /// lost if that was full as well. More receive buffers, or a faster consumer.
    pub receives_rearmed: u64,
    /// Datagrams thrown away because they were empty, cut short by the kernel, or not from an IP address.
    pub receives_unusable: u64,
    /// Receive buffers of 64 KiB allocated.
    pub buffers_allocated: u64,
    /// Receive buffers taken back from a consumer that had dropped them.
    pub buffers_reclaimed: u64,
    /// Bursts copied out because they were small ([`crate::COPY_OUT_MAX`]).
    pub bursts_copied_out: u64,
}

/// An io_uring and everything it has lent to the kernel. Belongs to the thread that made it.
///
/// Dropping it submits what is queued, cancels everything and waits up to two seconds for the kernel to let go; what it has not let go of
/// by then (a write to a hung disk) is leaked deliberately, since the kernel may still touch it.
pub struct Ring {
    uring: ManuallyDrop<IoUring>,
    fd: RingFd,
    flights: ManuallyDrop<Slab<Flight>>,
    receive: ManuallyDrop<Option<ReceivePool>>,
    files: FileTable,
    /// Entries that found the submission queue full, in order.
    backlog: VecDeque<squeue::Entry>,
    spare: SpareHeaders,
    waker: Waker,
    stats: RingStats,
    /// [`DROP_WAIT`], except in the test that wants the leak.
    drop_wait: Duration,
    /// SINGLE_ISSUER: the kernel refuses any other thread, and the registered descriptor belongs to this one.
    _not_send: PhantomData<*mut ()>,
}

impl Ring {
    /// Makes a ring for the calling thread. The error names what the kernel lacks or forbids, and the remedy.
    pub fn new(config: &RingConfig) -> Result<Ring, RingError> {
        config.check()?;
        // TASKRUN_FLAG: lets `enter` see without a call that nothing has happened. SUBMIT_ALL: one bad entry does not hold up the rest.
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(config.cq_entries)
            .build(config.entries)
            .map_err(|e| diagnose("io_uring_setup", e))?;
        if config.file_slots > 0 {
            uring
                .submitter()
                .register_files_sparse(config.file_slots)
                .map_err(|e| diagnose("register_files_sparse", e))?;
        }
        let receive = match config.receive_buffers {
            0 => None,
            count => Some(register_pool(&uring, ReceivePool::new(count))?),
        };
        let waker = Waker::new().map_err(|e| diagnose("eventfd", e))?;
        let fd = sys::register_ring_fd(uring.as_raw_fd());
        let mut ring = Ring {
            uring: ManuallyDrop::new(uring),
            fd,
            flights: ManuallyDrop::new(Slab::new()),
            receive: ManuallyDrop::new(receive),
            files: FileTable::new(config.file_slots),
            backlog: VecDeque::new(),
            spare: SpareHeaders::new(),
            waker: waker.clone(),
            stats: RingStats::default(),
            drop_wait: DROP_WAIT,
            _not_send: PhantomData,
        };
        let work = Work::Wake {
            counter: BytesMut::with_capacity(8),
        };
        ring.start(Flight {
            tag: WAKE_TAG,
            target: Target::Open(Arc::new(waker)),
            work,
            cancelled: false,
        });
        Ok(ring)
    }

    /// Queues an operation; `tag` comes back in its completions and names it for [`Ring::cancel`]. Nothing reaches the kernel before
    /// [`Ring::enter`], unless the submission queue is full: then it is flushed.
    ///
    /// How many operations may be in flight is for the caller to bound ([`Ring::in_flight`]); the ring holds their buffers.
    ///
    /// # Panics
    /// On a mistake of ours: a slot that was unregistered, a receive on a ring without receive buffers, a send above
    /// [`crate::SEND_BYTES_MAX`] or [`crate::SEGMENTS_MAX`] or between two families.
    pub fn submit(&mut self, op: Op, tag: u64) {
        let flight = Flight::new(op, tag, &mut self.spare);
        if let Target::Slot(slot) = flight.target {
            self.files.hold(slot);
        }
        assert!(
            !matches!(flight.work, Work::Receive) || self.receive.is_some(),
            "a receive needs RingConfig::receive_buffers"
        );
        self.start(flight);
    }

    /// Asks the kernel to end every operation with this tag; answers how many there are. Each still completes, as cancelled or as done if
    /// that came first. What is already on its way to a disk is not called back.
    pub fn cancel(&mut self, tag: u64) -> usize {
        let mut keys = Vec::new();
        for (key, flight) in self.flights.iter_mut() {
            if flight.tag == tag && !matches!(flight.work, Work::Wake { .. }) {
                flight.cancelled = true;
                keys.push(key);
            }
        }
        for key in &keys {
            let cancel = opcode::AsyncCancel::new(key.to_user_data()).build();
            self.push(cancel.user_data(NO_KEY).flags(squeue::Flags::SKIP_SUCCESS));
        }
        keys.len()
    }

    /// Submits everything queued and waits for a completion, in one system call. `None` waits without limit, `Some(ZERO)` only submits and
    /// looks. May return early without a completion for the caller.
    pub fn enter(&mut self, timeout: Option<Duration>) -> Result<(), RingError> {
        while self.refill() {
            self.call(0, None)?;
            if self.uring.submission().is_full() {
                break; // the kernel wants completions reaped first
            }
        }
        let wait_for = u32::from(timeout != Some(Duration::ZERO));
        let queue = self.uring.submission();
        let idle = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
        drop(queue);
        if wait_for == 0 && idle {
            return Ok(());
        }
        self.call(wait_for, timeout.filter(|_| wait_for > 0))
    }

    /// The next completion that is there, without a system call. Loop until `None`, then [`Ring::enter`].
    pub fn reap(&mut self) -> Option<Completion> {
        loop {
            let entry = self.uring.completion().next()?;
            self.stats.completions += 1;
            if entry.user_data() == NO_KEY {
                continue;
            }
            let key = Key::from_user_data(entry.user_data());
            if let Some(completion) = self.complete(key, entry.result(), entry.flags()) {
                return Some(completion);
            }
        }
    }

    /// Registers a file or socket, so that operations on it cost the kernel no reference counting.
    pub fn register(&mut self, file: &(impl AsFd + ?Sized)) -> Result<FileSlot, RingError> {
        let slots = self.files.slots();
        let slot = self.files.take().ok_or(RingError::SlotsFull { slots })?;
        match self
            .uring
            .submitter()
            .register_files_update(slot.index(), &[file.as_fd().as_raw_fd()])
        {
            Ok(_) => Ok(slot),
            Err(e) => {
                self.files.retire(slot);
                Err(diagnose("register_files_update", e))
            }
        }
    }

    /// Gives a slot back. Operations in flight on it go on; the kernel lets go of the file after the last one.
    pub fn unregister(&mut self, slot: FileSlot) {
        let release = self.files.retire(slot);
        self.clear_slot(release);
    }

    /// Wakes this ring from other threads.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Operations submitted and not completed.
    pub fn in_flight(&self) -> usize {
        self.flights.len() - 1 // the ring's own read of its wake-up counter
    }

    /// Counters since the ring was made.
    pub fn stats(&self) -> RingStats {
        let (allocated, reclaimed, copied) = match &*self.receive {
            Some(pool) => (pool.allocated, pool.reclaimed, pool.copied_out),
            None => (0, 0, 0),
        };
        RingStats {
            buffers_allocated: allocated,
            buffers_reclaimed: reclaimed,
            bursts_copied_out: copied,
            ..self.stats
        }
    }

    fn start(&mut self, flight: Flight) {
        let key = self.flights.insert(flight);
        self.queue(key);
    }

    /// Queues what is left to do of an operation in the slab.
    fn queue(&mut self, key: Key) {
        let template = self.receive.as_ref().map_or(ptr::null(), ReceivePool::template);
        let flight = self.flights.get_mut(key).expect("only operations in flight are queued");
        let entry = flight.entry(template, GROUP).user_data(key.to_user_data());
        self.push(entry);
    }

    fn push(&mut self, entry: squeue::Entry) {
        if !self.backlog.is_empty() || self.uring.submission().is_full() {
            // An error here is met again, and reported, by the next `enter`.
            let _ = self.call(0, None);
            self.refill();
        }
        self.backlog.push_back(entry);
        self.refill();
    }

    /// Moves the backlog into the submission queue; `true` if some of it found no place.
    fn refill(&mut self) -> bool {
        let mut queue = self.uring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: the entry was built by `Flight::entry` (or is a cancel, without pointers) from an operation that is in the slab and
            // stays there, unchanged, until its last completion is reaped; `Ring::drop` leaks the slab if that does not come.
            if unsafe { queue.push(entry) }.is_err() {
                return true;
            }
            self.backlog.pop_front();
        }
        false
    }

    fn call(&mut self, wait_for: u32, timeout: Option<Duration>) -> Result<(), RingError> {
        let to_submit = self.uring.submission().len() as u32;
        self.stats.enters += 1;
        match sys::enter(self.fd, to_submit, wait_for, timeout) {
            Ok(_) => Ok(()),
            // Time is up; a signal came; or completions must be reaped before more can be submitted. All are for the caller's loop.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => Ok(()),
            Err(source) => Err(RingError::Kernel {
                call: "io_uring_enter",
                source,
            }),
        }
    }

    /// Takes the kernel's answer to one operation; `None` where the ring deals with it by itself.
    fn complete(&mut self, key: Key, result: i32, flags: u32) -> Option<Completion> {
        let flight = self
            .flights
            .get_mut(key)
            .expect("the kernel completes only operations in flight");
        let tag = flight.tag;
        match flight.work {
            Work::Receive => return self.on_receive(key, result, flags),
            Work::Wake { .. } => {
                // In this order: a wake that comes between the two is caught by the read that is queued next.
                self.waker.rearm();
                self.queue(key);
                return Some(Completion {
                    tag,
                    outcome: Outcome::Woken,
                    more: true,
                });
            }
            Work::Send { .. } | Work::Read { .. } | Work::Write { .. } | Work::Sync { .. } => {}
        }
        if flight.advance(result) {
            self.queue(key);
            return None;
        }
        let outcome = self.end(key).finish(result, &mut self.spare);
        Some(Completion {
            tag,
            outcome,
            more: false,
        })
    }

    fn on_receive(&mut self, key: Key, result: i32, flags: u32) -> Option<Completion> {
        let flight = self.flights.get_mut(key).expect("checked by the caller");
        let (tag, cancelled) = (flight.tag, flight.cancelled);
        let datagrams = match (usize::try_from(result), cqueue::buffer_select(flags)) {
            (Ok(filled), Some(buffer)) => self.received(buffer, filled),
            _ => None,
        };
        if !cqueue::more(flags) {
            // Without an error the kernel stopped because its completion queue was full.
            let ran_out = result >= 0 || result == -libc::ENOBUFS;
            if !ran_out || cancelled {
                if let Some(datagrams) = datagrams {
                    // The end is told by a completion of its own: a no-op that answers for the operation.
                    self.push(opcode::Nop::new().build().user_data(key.to_user_data()));
                    return Some(Completion {
                        tag,
                        outcome: Outcome::Received(datagrams),
                        more: true,
                    });
                }
                let outcome = self
                    .end(key)
                    .finish(if ran_out { -libc::ECANCELED } else { result }, &mut self.spare);
                return Some(Completion {
                    tag,
                    outcome,
                    more: false,
                });
            }
            self.stats.receives_rearmed += 1;
            self.queue(key);
        }
        datagrams.map(|datagrams| Completion {
            tag,
            outcome: Outcome::Received(datagrams),
            more: true,
        })
    }

    fn received(&mut self, buffer: u16, filled: usize) -> Option<Datagrams> {
        let pool = self.receive.as_mut().expect("a ring that receives has a pool");
        match pool.take(buffer, filled) {
            Ok((header, data)) => Some(Datagrams {
                remote: header.remote,
                local_ip: header.local_ip,
                ecn: header.ecn,
                stride: header.stride,
                data,
            }),
            Err(Unusable::Empty | Unusable::Truncated | Unusable::Address) => {
                self.stats.receives_unusable += 1;
                None
            }
        }
    }

    fn end(&mut self, key: Key) -> Flight {
        let flight = self.flights.remove(key).expect("checked by the caller");
        if let Target::Slot(slot) = flight.target {
            let release = self.files.drop_hold(slot);
            self.clear_slot(release);
        }
        flight
    }

    fn clear_slot(&mut self, release: Release) {
        if let Release::Clear(index) = release {
            // A failure leaves a file open until the place is used again; there is nothing better to do about it.
            let _ = self.uring.submitter().register_files_update(index, &[-1]);
        }
    }
}

/// Tells the kernel where the receive buffers are. On failure the pool is freed: the kernel has not seen it.
fn register_pool(uring: &IoUring, pool: ReceivePool) -> Result<ReceivePool, RingError> {
    // SAFETY: the memory is page-aligned, holds `count` entries, and is freed only after the ring was closed with nothing in flight, or
    // never (`Ring::drop`).
    let registered = unsafe {
        uring
            .submitter()
            .register_buf_ring_with_flags(pool.ring_addr(), pool.count(), GROUP, 0)
    };
    registered.map(|()| pool).map_err(|e| diagnose("register_buf_ring", e))
}

impl Drop for Ring {
    fn drop(&mut self) {
        let cancel_all = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
        self.push(cancel_all.user_data(NO_KEY).flags(squeue::Flags::SKIP_SUCCESS));
        let deadline = Instant::now() + self.drop_wait;
        while self.flights.len() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.enter(Some(left)).is_err() {
                break;
            }
            for entry in self.uring.completion() {
                if entry.user_data() != NO_KEY && !cqueue::more(entry.flags()) {
                    self.flights.remove(Key::from_user_data(entry.user_data()));
                }
            }
        }
        if let RingFd::Registered(index) = self.fd {
            sys::unregister_ring_fd(self.uring.as_raw_fd(), index);
        }
        let let_go = self.flights.len() == 0;
        // SAFETY: dropped here only, and not used below.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
        if !let_go {
            return; // leaked: the kernel may still read or write these buffers, and takes receive buffers by itself
        }
        // SAFETY: dropped here only, not used below, and the kernel holds no address in it.
        unsafe { ManuallyDrop::drop(&mut self.flights) };
        // SAFETY: likewise; with no receive in flight and the ring closed, the kernel takes no more buffers.
        unsafe { ManuallyDrop::drop(&mut self.receive) };
    }
}

#[cfg(test)]
mod tests;
