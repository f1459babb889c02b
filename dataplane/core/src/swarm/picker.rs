//! Policy: which of the chunks at the head of a queue is asked next. A pure function, to be replaced by rarest-first.

use crate::rng::Rng;

/// How many chunks at the head of a queue are looked at.
pub(super) const PICK_WINDOW: usize = 16;

/// With so few holders there is nothing to spread, and disks and lookahead like the order they were wanted in.
const FEW_HOLDERS: usize = 2;

/// Index of the chunk to try first, out of `count >= 1` in the order they were wanted. `holders` counts the peers that may have them.
pub(super) fn pick(count: usize, holders: usize, rng: &mut Rng) -> usize {
    if holders <= FEW_HOLDERS { 0 } else { rng.below(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_holders_are_asked_in_order_and_many_at_random_within_the_window() {
        let mut rng = Rng::new(7);
        assert!((0..100).all(|_| pick(PICK_WINDOW, FEW_HOLDERS, &mut rng) == 0));
        let mut seen = [0; PICK_WINDOW];
        (0..1600).for_each(|_| seen[pick(PICK_WINDOW, FEW_HOLDERS + 1, &mut rng)] += 1);
        assert!(seen.iter().all(|n| (50..200).contains(n)), "{seen:?}");
    }
}
