//! Waiting for a condition, with a deadline. The only place of the judge that lets time pass.

use std::thread;
use std::time::{Duration, Instant};

/// Longest pause between two looks at a condition: short against what is waited for, long against the cost of a look.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Asks `probe` until it gives something, and returns that.
///
/// # Panics
/// When `patience` has passed: the message names `what`.
pub fn until<T>(patience: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(patience, probe).unwrap_or_else(|| panic!("waited {patience:?} in vain for: {what}"))
}

/// Asks `probe` until it gives something; `None` when `patience` has passed.
pub fn within<T>(patience: Duration, probe: impl FnMut() -> Option<T>) -> Option<T> {
    poll(patience, PAUSE_MAX, probe)
}

/// As `within`, looking every millisecond: for what is being timed.
pub fn closely<T>(patience: Duration, probe: impl FnMut() -> Option<T>) -> Option<T> {
    poll(patience, Duration::from_millis(1), probe)
}

fn poll<T>(patience: Duration, pause_max: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        // A pause between two looks, for what the kernel offers no event for.
        thread::sleep(pause);
        pause = (pause * 2).min(pause_max);
    }
}
