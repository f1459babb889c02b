//! How often others were refused something, and when that is worth a line in the log: strangers do not fill it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::Instant;

/// Seconds from one line to the next.
const SAY_EVERY_S: u64 = 60;

/// See the module. Any thread may count.
#[derive(Debug, Default)]
pub struct Refusals {
    count: AtomicU64,
    /// Seconds, plus one; 0 for never.
    said_at: AtomicU64,
}

impl Refusals {
    /// What such a line says of those that it stands for.
    pub const UNSAID: &str = "others for the next minute are counted alone";

    /// One more. Whether it is time to say so.
    pub fn on_refused(&self, now: Instant) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed);
        let now = now.since(Instant::ZERO).as_secs() + 1;
        let said = |at: u64| (at == 0 || now >= at + SAY_EVERY_S).then_some(now);
        self.said_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, said).is_ok()
    }

    /// How many so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_are_counted_and_one_a_minute_is_said() {
        let refusals = Refusals::default();
        let said: Vec<u64> = (0..200)
            .filter(|s| refusals.on_refused(Instant::ZERO + Duration::from_secs(*s)))
            .collect();
        assert_eq!(said, [0, 60, 120, 180]);
        assert_eq!(refusals.count(), 200);
    }
}
