//! How far the sender may be ahead of the receiver: what a protocol's window would be, without its packets.

use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes under way: many bursts, and a fraction of the socket's buffer.
const WINDOW_BYTES: u64 = 2 << 20;

/// The receiver speaks up after so many bytes.
const STEP_BYTES: u64 = WINDOW_BYTES / 4;

/// Shared by both sides.
pub(crate) struct Window {
    arrived: Mutex<u64>,
    moved: Condvar,
}

impl Window {
    pub(crate) fn new() -> Self {
        Window {
            arrived: Mutex::new(0),
            moved: Condvar::new(),
        }
    }

    /// Whether the sender may have sent so many bytes in all.
    pub(crate) fn admits(&self, sent: u64) -> bool {
        sent <= *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) + WINDOW_BYTES
    }

    /// Waits until it may.
    pub(crate) fn wait(&self, sent: u64) {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = |arrived: &mut u64| sent > *arrived + WINDOW_BYTES;
        drop(self.moved.wait_while(arrived, closed));
    }

    /// The receiver's own count, told to the sender in steps and at the end.
    pub(crate) fn tell(&self, arrived: u64, told: &mut u64, total: u64) {
        if arrived - *told >= STEP_BYTES || arrived >= total {
            *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = arrived;
            self.moved.notify_one();
            *told = arrived;
        }
    }
}
