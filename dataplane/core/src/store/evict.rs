//! What goes where room is needed: how much, and which objects, those first that were not read for longest. Knows no file.

use std::collections::BTreeMap;

use super::ObjectNo;
use crate::knobs::{Knob, Settings};
use crate::limits::{CHUNK_BYTES_MAX, PACK_SEGMENT_BYTES_MAX};
use crate::time::Instant;

/// Pack segments that a full store has at least, so that what goes with one of them is a small part of all.
const SEGMENTS_MIN: u64 = 16;

/// The least that a quota may be, in bytes.
pub const QUOTA_BYTES_MIN: u64 = SEGMENTS_MIN * CHUNK_BYTES_MAX as u64;

/// The most that it may be, which is none.
pub const QUOTA_BYTES_MAX: u64 = 1 << 50;

const _: () = assert!(
    PACK_SEGMENT_BYTES_MAX >= 64 * CHUNK_BYTES_MAX as u64,
    "a segment of few chunks wastes files, where there is room"
);

/// How much of the disk the store may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What files of our own take of the disk, in bytes, at most.
    pub own_bytes_max: u64,
    /// Bytes that stay free on the filesystem, at least.
    pub free_bytes_min: u64,
    /// Where one of both is reached, so much more than must goes at once: the next chunks find room.
    pub more_bytes: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self::of(&Settings::default())
    }
}

impl Quota {
    /// As the knobs stand.
    pub fn of(settings: &Settings) -> Self {
        Self {
            own_bytes_max: settings.bytes(Knob::StoreQuota),
            free_bytes_min: settings.bytes(Knob::StoreFree),
            more_bytes: settings.bytes(Knob::StoreEvict),
        }
    }

    /// Bytes that must go before `len` more may be written, where the store has `own` and the filesystem `free`; 0 where there is room.
    pub fn lacking(&self, own: u64, free: u64, len: u64) -> u64 {
        let beyond = own.saturating_add(len).saturating_sub(self.own_bytes_max);
        let below = match self.free_bytes_min {
            0 => 0,
            min => min.saturating_add(len).saturating_sub(free),
        };
        beyond.max(below)
    }

    /// What goes where `lacking` bytes must: no more than half of what may be there at all.
    pub fn to_evict(&self, lacking: u64) -> u64 {
        lacking + self.more_bytes.min(self.own_bytes_max / 2)
    }

    /// Where a pack segment ends, in bytes.
    pub fn segment_bytes(&self) -> u64 {
        (self.own_bytes_max / SEGMENTS_MIN).clamp(CHUNK_BYTES_MAX.into(), PACK_SEGMENT_BYTES_MAX)
    }
}

/// An object that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub object: ObjectNo,
    /// Bytes that go with it.
    pub bytes: u64,
    /// It is not whole: whoever was fetching it may go on.
    pub is_partial: bool,
    /// No other peer of the zone is known to have all that it is of.
    pub is_rare: bool,
    /// As [`Uses::last`] has it.
    pub used: u64,
}

/// Which of these go, so that `bytes` do or all that may: those used longest ago first, and of those never used the oldest; what others
/// of the zone have before what is rare there, and what is not whole only when all else is gone.
pub fn victims(mut candidates: Vec<Candidate>, bytes: u64) -> Vec<ObjectNo> {
    candidates.sort_unstable_by_key(|candidate| {
        let Candidate {
            object,
            is_partial,
            is_rare,
            used,
            ..
        } = *candidate;
        (is_partial, is_rare, used, object)
    });
    let mut gone = 0;
    let needed = candidates.iter().take_while(|candidate| {
        let is_needed = gone < bytes;
        gone += candidate.bytes;
        is_needed
    });
    needed.map(|candidate| candidate.object).collect()
}

/// When objects were used. What was not is older than all that was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    last: BTreeMap<ObjectNo, u64>,
    written: BTreeMap<ObjectNo, Instant>,
    count: u64,
    /// As much of it as was told by `take_news`.
    told: u64,
}

impl Uses {
    /// As they were before, the last one last.
    pub fn new(read: impl IntoIterator<Item = ObjectNo>) -> Self {
        let mut uses = Self::default();
        read.into_iter().for_each(|object| uses.on_read(object));
        uses.told = uses.count;
        uses
    }

    /// What was used since this was last asked, the last one last.
    pub fn take_news(&mut self) -> Vec<ObjectNo> {
        let told = std::mem::replace(&mut self.told, self.count);
        self.after(told)
    }

    /// All that was used, the last one last.
    pub fn in_order(&self) -> Vec<ObjectNo> {
        self.after(0)
    }

    fn after(&self, count: u64) -> Vec<ObjectNo> {
        let mut later: Vec<(u64, ObjectNo)> = self.last.iter().map(|(object, used)| (*used, *object)).collect();
        later.retain(|(used, _)| *used > count);
        later.sort_unstable();
        later.into_iter().map(|(_, object)| object).collect()
    }

    /// It is read.
    pub fn on_read(&mut self, object: ObjectNo) {
        self.count += 1;
        self.last.insert(object, self.count);
    }

    /// It is written to, which somebody reads soon.
    pub fn on_written(&mut self, now: Instant, object: ObjectNo) {
        self.on_read(object);
        self.written.insert(object, now);
    }

    /// The place of its last use in the order of all uses; 0 for none.
    pub fn last(&self, object: ObjectNo) -> u64 {
        self.last.get(&object).copied().unwrap_or(0)
    }

    /// When it was last written to.
    pub fn written_at(&self, object: ObjectNo) -> Option<Instant> {
        self.written.get(&object).copied()
    }

    /// It is gone.
    pub fn forget(&mut self, object: ObjectNo) {
        self.last.remove(&object);
        self.written.remove(&object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota {
        own_bytes_max: 1000,
        free_bytes_min: 50,
        more_bytes: 100,
    };

    #[test]
    fn what_must_go_is_what_does_not_fit_the_quota_or_the_disk() {
        let check = |own, free, len, expect| assert_eq!(QUOTA.lacking(own, free, len), expect, "{own} {free} {len}");
        check(0, 1 << 40, 1000, 0);
        check(1000, 1 << 40, 0, 0);
        check(1000, 1 << 40, 1, 1);
        check(1500, 1 << 40, 10, 510);
        check(0, 60, 10, 0);
        check(0, 59, 10, 1);
        check(995, 0, 10, 60);
        check(u64::MAX, 0, u64::MAX, u64::MAX);
        let boundless = Quota {
            free_bytes_min: 0,
            ..QUOTA
        };
        assert_eq!(boundless.lacking(0, 0, 10), 0, "a full disk says so itself");
        assert_eq!(QUOTA.to_evict(7), 107);
        let all = Quota {
            more_bytes: 5000,
            ..QUOTA
        };
        assert_eq!(all.to_evict(7), 507);
    }

    #[test]
    fn segments_are_a_small_part_of_the_quota() {
        let check = |own_bytes_max, expect| {
            let quota = Quota { own_bytes_max, ..QUOTA };
            assert_eq!(quota.segment_bytes(), expect);
        };
        check(QUOTA_BYTES_MIN, u64::from(CHUNK_BYTES_MAX));
        check(128 << 20, 8 << 20);
        check(QUOTA_BYTES_MAX, PACK_SEGMENT_BYTES_MAX);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_no_more_than_needed() {
        let mut uses = Uses::default();
        [3, 1, 2, 1].map(ObjectNo).iter().for_each(|object| uses.on_read(*object));
        let candidates = [1, 2, 3, 4, 5].map(|n| Candidate {
            object: ObjectNo(n),
            bytes: 10,
            is_partial: n == 4,
            is_rare: n == 5,
            used: uses.last(ObjectNo(n)),
        });
        let check = |bytes, expect: &[u32]| {
            let gone: Vec<u32> = victims(candidates.to_vec(), bytes).iter().map(|object| object.0).collect();
            assert_eq!(gone, expect, "{bytes}");
        };
        check(0, &[]);
        check(1, &[3]);
        check(20, &[3, 2]);
        check(21, &[3, 2, 1]);
        check(1000, &[3, 2, 1, 5, 4]);
        assert_eq!(uses.take_news(), [3, 2, 1].map(ObjectNo));
        uses.on_read(ObjectNo(2));
        assert_eq!((uses.take_news(), uses.take_news()), (vec![ObjectNo(2)], vec![]));
        let mut again = Uses::new([3, 1].map(ObjectNo));
        assert!(again.last(ObjectNo(1)) > again.last(ObjectNo(3)) && again.take_news().is_empty());
        uses.forget(ObjectNo(3));
        assert_eq!(uses.last(ObjectNo(3)), 0);
    }
}
