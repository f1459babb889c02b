//! The receive buffers: which the kernel has, which the consumer has, and how an allocation comes back. It parses nothing.
//!
//! ```text
//!         provide                  kernel fills it, completion names its id
//!  pool ----------> kernel (slot) ------------------------------------------> consumer (Datagrams.data)
//!   ^                  ^  copied out: the same buffer goes straight back        |
//!   |                  +------------------------------------------------+       | every piece dropped
//!   +---- try_reclaim of the empty twin kept in `lent` <------------------------+
//! ```
//!
//! Whole buffers only: incremental consumption breaks multishot recvmsg (EFAULT on Linux 6.18).

use crate::msg::{NAME_BYTES, RECEIVE_BUFFER_BYTES, RECEIVE_CONTROL_BYTES, Received, Unusable};
use bytes::{Buf, BytesMut};
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The only buffer group of a ring.
pub(crate) const GROUP: u16 = 0;

/// Bursts up to this many bytes are copied into an allocation of their own, and the kernel gets its buffer back at once.
///
/// An ACK or a lone packet would otherwise hold 64 KiB for as long as somebody keeps a slice of it, as QUIC does with stream data that came
/// out of order: memory, not time, is the reason. Measured with 64 buffers taking turns (Linux 6.18, 2 vCPU): handing one over and
/// reclaiming it costs 50-100 ns whatever is in it, copying out 25 ns for an ACK, 190 ns for 1,452 B, 280 ns for 4 KiB, 2,100 ns for 32 KiB.
/// The difference is little beside the microsecond a lone packet costs elsewhere, and is felt with bursts.
pub const COPY_OUT_MAX: usize = 2048;

/// How many lent buffers are looked at before a new one is allocated: the oldest may be held long by a slow stream.
const RECLAIM_TRIES: usize = 4;

const PAGE_BYTES: usize = 4096;

/// Receive buffers and the ring through which the kernel takes them.
pub(crate) struct ReceivePool {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    /// Next entry to fill, modulo the entry count.
    tail: u16,
    /// By buffer id. While the kernel has it, nobody looks at the handle.
    slots: Vec<BytesMut>,
    /// Empty handles that share the allocation of a buffer the consumer has or had.
    lent: VecDeque<BytesMut>,
    /// The lengths every receive asks for; boxed because the kernel keeps its address while a receive is being prepared.
    template: Box<libc::msghdr>,
    pub(crate) allocated: u64,
    pub(crate) reclaimed: u64,
    pub(crate) copied_out: u64,
}

impl ReceivePool {
    /// `count` buffers, a power of two up to 32,768.
    pub(crate) fn new(count: u16) -> Self {
        assert!(count.is_power_of_two() && count <= 1 << 15, "checked by RingConfig");
        let bytes = size_of::<BufRingEntry>() * usize::from(count);
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("at most 512 KiB");
        // SAFETY: the layout has a size above zero, since count is at least 1.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: msghdr is a C struct of integers and pointers, for all of which zero is a value.
        let mut template: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        template.msg_namelen = NAME_BYTES as u32;
        template.msg_controllen = RECEIVE_CONTROL_BYTES as _;
        let mut pool = ReceivePool {
            entries,
            layout,
            tail: 0,
            slots: (0..count).map(|_| BytesMut::with_capacity(RECEIVE_BUFFER_BYTES)).collect(),
            lent: VecDeque::with_capacity(usize::from(count)),
            template,
            allocated: u64::from(count),
            reclaimed: 0,
            copied_out: 0,
        };
        for id in 0..count {
            pool.provide(id);
        }
        pool
    }

    /// Where the kernel finds the entries.
    pub(crate) fn ring_addr(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    pub(crate) fn count(&self) -> u16 {
        self.slots.len() as u16
    }

    pub(crate) fn template(&self) -> *const libc::msghdr {
        &raw const *self.template
    }

    /// Takes buffer `id`, of which the kernel has just filled `filled` bytes, and provides it or a fresh one again.
    pub(crate) fn take(&mut self, id: u16, filled: usize) -> Result<(Received, BytesMut), Unusable> {
        let mut buffer = std::mem::take(&mut self.slots[usize::from(id)]);
        assert!(buffer.is_empty(), "a provided buffer is empty");
        assert!(filled <= RECEIVE_BUFFER_BYTES, "the kernel fills at most what it was given");
        assert!(
            buffer.capacity() >= RECEIVE_BUFFER_BYTES,
            "every provided buffer has its full size"
        );
        // SAFETY: the kernel initialised the first `filled` bytes, which are within the capacity (both asserted above), and it gave the
        // buffer up with the completion that our caller has reaped.
        unsafe { buffer.set_len(filled) };
        let taken = Received::parse(&buffer).map(|received| {
            let payload = received.payload.clone();
            if payload.len() <= COPY_OUT_MAX {
                self.copied_out += 1;
                return (received, BytesMut::from(&buffer[payload]));
            }
            let mut rest = std::mem::take(&mut buffer);
            let mut twin = rest.split_off(payload.end);
            twin.clear();
            rest.advance(payload.start);
            if self.lent.len() == self.slots.len() {
                self.lent.pop_front();
            }
            self.lent.push_back(twin);
            (received, rest)
        });
        buffer.clear();
        self.slots[usize::from(id)] = if buffer.capacity() >= RECEIVE_BUFFER_BYTES {
            buffer
        } else {
            self.fresh()
        };
        self.provide(id);
        taken
    }

    fn fresh(&mut self) -> BytesMut {
        // The newest is the one just lent, certainly still held.
        for _ in 0..RECLAIM_TRIES.min(self.lent.len().saturating_sub(1)) {
            let Some(mut twin) = self.lent.pop_front() else { break };
            if twin.try_reclaim(RECEIVE_BUFFER_BYTES) {
                self.reclaimed += 1;
                return twin;
            }
            self.lent.push_back(twin);
        }
        self.allocated += 1;
        BytesMut::with_capacity(RECEIVE_BUFFER_BYTES)
    }

    /// Gives the buffer in slot `id` to the kernel.
    fn provide(&mut self, id: u16) {
        let buffer = &mut self.slots[usize::from(id)];
        let addr = buffer.spare_capacity_mut().as_mut_ptr() as u64;
        let index = usize::from(self.tail) & (self.slots.len() - 1);
        // SAFETY: index is below the number of entries allocated in `new`.
        let place = unsafe { self.entries.add(index) };
        // SAFETY: the entry lies behind the tail that the kernel has seen, or its buffer was used up: at most one entry per slot is
        // provided at a time and there are as many entries as slots, so the kernel does not read it before the store of the tail below.
        // Zeroed memory is a valid entry, and no other reference to it exists.
        let entry = unsafe { &mut *place.as_ptr() };
        entry.set_addr(addr);
        entry.set_len(RECEIVE_BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` points at the first of the entries allocated in `new`, zeroed, hence initialised.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail lies inside that allocation, aligned to two bytes, and is only ever accessed atomically: here and by the kernel.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the kernel must see the entry before the tail that covers it.
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for ReceivePool {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout. The ring drops its pool only after the kernel has let go of it (see `Ring::drop`,
        // which leaks it otherwise).
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) };
    }
}

#[cfg(test)]
mod tests;
