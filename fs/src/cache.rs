//! A cache bounded in bytes: what was used longest ago goes first. Used for content chunks and for parsed manifest nodes.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values by key, each with a weight in bytes.
pub(crate) struct Cache<K, V> {
    bytes_max: u64,
    bytes: u64,
    /// Counts uses; the lowest stamp was used longest ago.
    clock: u64,
    slots: HashMap<K, Slot<V>>,
    order: BTreeMap<u64, K>,
}

struct Slot<V> {
    value: V,
    weight: u64,
    stamp: u64,
}

impl<K: Copy + Eq + Hash, V> Cache<K, V> {
    /// An empty cache that keeps at most `bytes_max`.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            clock: 0,
            slots: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// The value, which thereby becomes the last to go.
    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        let slot = self.slots.get_mut(key)?;
        self.clock += 1;
        self.order.remove(&slot.stamp);
        slot.stamp = self.clock;
        self.order.insert(slot.stamp, *key);
        Some(&slot.value)
    }

    /// Keeps at most so many from now on.
    pub(crate) fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
        self.shrink_to(bytes_max);
    }

    /// Keeps nothing any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    /// Whether it is here; does not count as a use.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.slots.contains_key(key)
    }

    /// Keeps a value. One that outweighs the whole cache is not kept.
    pub(crate) fn insert(&mut self, key: K, value: V, weight: u64) {
        self.remove(&key);
        if weight > self.bytes_max {
            return;
        }
        self.shrink_to(self.bytes_max - weight);
        self.clock += 1;
        let stamp = self.clock;
        self.bytes += weight;
        self.order.insert(stamp, key);
        self.slots.insert(key, Slot { value, weight, stamp });
    }

    fn shrink_to(&mut self, bytes: u64) {
        while self.bytes > bytes {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some(slot) = self.slots.remove(&oldest) {
                self.bytes -= slot.weight;
            }
        }
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let slot = self.slots.remove(key)?;
        self.order.remove(&slot.stamp);
        self.bytes -= slot.weight;
        Some(slot.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(cache: &Cache<u32, u32>) -> Vec<u32> {
        let mut keys: Vec<u32> = cache.slots.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_the_weight_stays_bounded() {
        let mut cache = Cache::new(10);
        for key in 0..3 {
            cache.insert(key, key * 10, 3);
        }
        assert_eq!(cache.get(&0), Some(&0));
        cache.insert(3, 30, 3);
        assert_eq!(keys(&cache), [0, 2, 3]);
        cache.insert(2, 21, 6);
        assert_eq!((keys(&cache), cache.bytes), (vec![2, 3], 9));
        cache.insert(4, 40, 11);
        assert_eq!(keys(&cache), [2, 3], "too heavy to keep");
        assert_eq!(cache.remove(&2), Some(21));
        assert_eq!((cache.bytes, cache.order.len()), (3, 1));
        cache.set_bytes_max(2);
        assert_eq!((keys(&cache), cache.bytes), (vec![], 0));
        cache.set_bytes_max(6);
        cache.insert(5, 50, 6);
        assert_eq!(keys(&cache), [5]);
    }
}
