//! The order of 32-byte names: keys of peers, hashes of chunks.

use std::cmp::Ordering;

/// By the bytes, eight at a time and without a call: maps by name are looked into many times for every chunk.
pub(crate) fn cmp_names(a: &[u8; 32], b: &[u8; 32]) -> Ordering {
    fn words(name: &[u8; 32]) -> impl Iterator<Item = u64> {
        name.as_chunks().0.iter().map(|word| u64::from_be_bytes(*word))
    }
    words(a).cmp(words(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn it_is_that_of_the_bytes() {
        let mut rng = Rng::new(1);
        for step in 0..10_000 {
            let a: [u8; 32] = std::array::from_fn(|_| rng.below(256) as u8);
            let mut b = a;
            if rng.below(5) > 0 {
                b[rng.below(32)] = rng.below(256) as u8;
            }
            assert_eq!(cmp_names(&a, &b), a.cmp(&b), "step {step}");
        }
    }
}
