//! Buffers of the publish workers, used again and again: a fresh megabyte costs 256 page faults.

use std::sync::Arc;

use ares_core::chunk::SizeClass;
use ares_core::limits::CHUNK_BYTES_MAX;
use crossbeam::queue::ArrayQueue;

/// Bytes of a big file that are read at once: they are searched while they are in the core's own cache.
pub(super) const STEP: usize = 256 << 10;

/// Room for the longest chunk that is not yet ended and a step; or for a pack and the byte that tells that a file
/// grew. Small enough that all of it stays in a core's own cache (2 MiB on current servers), where it is hashed.
const BUFFER_BYTES: usize = 1536 << 10;

const _: () = assert!(SizeClass::Large.max() as usize + STEP <= BUFFER_BYTES);
const _: () = assert!((CHUNK_BYTES_MAX as usize) < BUFFER_BYTES);

/// Those not in use, up to a number that is plenty for the workers.
pub(super) struct Buffers {
    free: ArrayQueue<Box<[u8]>>,
}

/// One buffer, ours until it is dropped; then it goes back.
pub(super) struct Buffer {
    /// Empty only while it is dropped.
    bytes: Box<[u8]>,
    /// How much of it `as_ref` shows.
    pub(super) len: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    pub(super) fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            free: ArrayQueue::new(threads * 4),
        })
    }

    pub(super) fn take(self: &Arc<Self>) -> Buffer {
        let bytes = self.free.pop().unwrap_or_else(|| vec![0; BUFFER_BYTES].into());
        Buffer {
            bytes,
            len: 0,
            home: self.clone(),
        }
    }
}

impl Buffer {
    /// All of it, to be written to.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // More than fit were in use at once: this one is freed.
        let _ = self.home.free.push(std::mem::take(&mut self.bytes));
    }
}
