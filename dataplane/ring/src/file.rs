//! Which places of the kernel's registered-file table are taken, and when one may be given back: only after the last operation using it
//! has completed, because a queued operation names the place and not the file. Bookkeeping only, the ring makes the calls.

/// A file or socket registered with one ring. Means nothing to another ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileSlot {
    index: u32,
    generation: u32,
}

impl FileSlot {
    pub(crate) fn index(self) -> u32 {
        self.index
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Open,
    /// Unregistered by its owner, still used by operations in flight.
    Retiring,
}

#[derive(Clone, Copy, Default)]
struct Place {
    generation: u32,
    uses: u32,
    state: State,
}

/// The places of one ring.
pub(crate) struct FileTable {
    places: Vec<Place>,
    free: Vec<u32>,
}

/// What the ring must tell the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// Nothing: the place is still used.
    Keep,
    /// Empty the place with this index.
    Clear(u32),
}

impl FileTable {
    pub(crate) fn new(slots: u32) -> Self {
        FileTable {
            places: vec![Place::default(); slots as usize],
            free: (0..slots).rev().collect(),
        }
    }

    pub(crate) fn slots(&self) -> u32 {
        self.places.len() as u32
    }

    /// Takes a free place; `None` when all are taken.
    pub(crate) fn take(&mut self) -> Option<FileSlot> {
        let index = self.free.pop()?;
        let place = &mut self.places[index as usize];
        assert_eq!(place.state, State::Free);
        assert_eq!(place.uses, 0);
        place.state = State::Open;
        Some(FileSlot {
            index,
            generation: place.generation,
        })
    }

    /// An operation begins to use it.
    pub(crate) fn hold(&mut self, slot: FileSlot) {
        let place = self.place(slot);
        assert_eq!(
            place.state,
            State::Open,
            "an operation was submitted on {slot:?} after it was unregistered"
        );
        place.uses += 1;
    }

    /// An operation has completed.
    pub(crate) fn drop_hold(&mut self, slot: FileSlot) -> Release {
        let place = self.place(slot);
        assert!(place.uses > 0, "{slot:?} is given back more often than it was held");
        place.uses -= 1;
        self.release_if_done(slot)
    }

    /// The owner is done with it.
    pub(crate) fn retire(&mut self, slot: FileSlot) -> Release {
        let place = self.place(slot);
        assert_eq!(place.state, State::Open, "{slot:?} is unregistered twice");
        place.state = State::Retiring;
        self.release_if_done(slot)
    }

    fn release_if_done(&mut self, slot: FileSlot) -> Release {
        let place = self.place(slot);
        if place.state != State::Retiring || place.uses > 0 {
            return Release::Keep;
        }
        *place = Place {
            generation: place.generation.wrapping_add(1),
            ..Place::default()
        };
        self.free.push(slot.index);
        Release::Clear(slot.index)
    }

    fn place(&mut self, slot: FileSlot) -> &mut Place {
        let place = self
            .places
            .get_mut(slot.index as usize)
            .expect("a slot is used with the ring that gave it");
        assert_eq!(
            place.generation, slot.generation,
            "{slot:?} is used after it was unregistered"
        );
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_cleared_after_its_last_use_and_then_reused() {
        let mut table = FileTable::new(1);
        let slot = table.take().expect("one is free");
        assert_eq!(table.take(), None);
        table.hold(slot);
        table.hold(slot);
        assert_eq!(table.drop_hold(slot), Release::Keep);
        assert_eq!(table.retire(slot), Release::Keep);
        assert_eq!(table.take(), None, "still used");
        assert_eq!(table.drop_hold(slot), Release::Clear(0));
        let next = table.take().expect("free again");
        assert_eq!(next.index(), 0);
        assert_ne!(next, slot);
        assert_eq!(table.retire(next), Release::Clear(0));
    }

    #[test]
    #[should_panic(expected = "used after it was unregistered")]
    fn a_stale_slot_is_caught() {
        let mut table = FileTable::new(2);
        let slot = table.take().expect("free");
        table.retire(slot);
        table.hold(slot);
    }
}
