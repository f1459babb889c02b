//! Where operations in flight live: a slab whose keys go to the kernel as `user_data`. It knows nothing of what it holds.

/// Names one operation in flight. The generation makes the key of a finished operation differ from that of its successor in the same
/// place, so that a late cancel cannot hit the successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    pub(crate) fn to_user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_user_data(user_data: u64) -> Key {
        Key {
            index: user_data as u32,
            generation: (user_data >> 32) as u32,
        }
    }
}

/// The `user_data` of entries that have no operation behind them (cancels). No key is equal to it: see the limit in `insert`.
pub(crate) const NO_KEY: u64 = u64::MAX;

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Values under keys that are never reused (until a generation of 32 bits wraps).
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Slab {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.places.len()).ok().filter(|&index| index < u32::MAX);
            self.places.push(Place {
                generation: 0,
                value: None,
            });
            index.expect("fewer than 2^32 - 1 operations in flight: each holds memory")
        });
        let place = &mut self.places[index as usize];
        assert!(place.value.is_none(), "a free place is empty");
        place.value = Some(value);
        Key {
            index,
            generation: place.generation,
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation == key.generation {
            place.value.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.places.iter_mut().zip(0u32..).filter_map(|(place, index)| {
            let generation = place.generation;
            place.value.as_mut().map(|value| (Key { index, generation }, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_key_never_reaches_its_successor() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index, first.index, "the place is reused");
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn keys_survive_the_kernel() {
        for key in [
            Key { index: 0, generation: 0 },
            Key {
                index: u32::MAX - 1,
                generation: u32::MAX,
            },
            Key { index: 7, generation: 9 },
        ] {
            assert_eq!(Key::from_user_data(key.to_user_data()), key);
            assert_ne!(key.to_user_data(), NO_KEY);
        }
    }

    #[test]
    fn iteration_sees_what_is_held() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..5).map(|n| slab.insert(n)).collect();
        slab.remove(keys[1]);
        slab.remove(keys[3]);
        assert_eq!(
            slab.iter_mut().map(|(key, value)| (key, *value)).collect::<Vec<_>>(),
            [(keys[0], 0), (keys[2], 2), (keys[4], 4)]
        );
        assert_eq!(slab.len(), 3);
    }
}
