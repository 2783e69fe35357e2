//! Two generations of a filter: over an endless stream the newest keys stay known and the false-positive rate stays put.
//!
//! Keys go into the current generation; when it holds as many as it was made for, it becomes the previous one and the
//! one before is emptied. A key is present if either generation has it. Rotation counts keys, never time: the same keys in
//! the same order always give the same bits.

use super::SplitBlockBloom;
use crate::error::CoreError;
use crate::simd::Simd;

/// Remembers at least the last `capacity` distinct keys and at most twice as many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotatingBloom {
    current: SplitBlockBloom,
    previous: SplitBlockBloom,
    capacity: usize,
    held: usize,
    rotations: u64,
}

impl RotatingBloom {
    /// Two generations of `capacity` keys each.
    pub fn with_capacity(capacity: usize, bits_per_key: f64) -> Self {
        let generation = || SplitBlockBloom::with_capacity(capacity, bits_per_key);
        Self::of(generation(), generation(), capacity)
    }

    /// [`Self::with_capacity`] of a size that a caller chose. Errors: it does not fit into memory.
    pub fn try_with_capacity(capacity: usize, bits_per_key: f64) -> Result<Self, CoreError> {
        let generation = || SplitBlockBloom::try_with_capacity(capacity, bits_per_key);
        Ok(Self::of(generation()?, generation()?, capacity))
    }

    fn of(current: SplitBlockBloom, previous: SplitBlockBloom, capacity: usize) -> Self {
        Self {
            current,
            previous,
            capacity: capacity.max(1),
            held: 0,
            rotations: 0,
        }
    }

    /// Adds keys in order; `present` takes for each whether it may have been there before.
    pub fn test_and_insert_many(&mut self, simd: Simd, hashes: &[u64], present: &mut [bool]) {
        let mut known = [false; 4 * super::AHEAD];
        let (mut hashes, mut present) = (hashes, present);
        while !hashes.is_empty() && !present.is_empty() {
            if self.held == self.capacity {
                self.rotate();
            }
            // So many keys cannot fill the generation before the last of them.
            let count = (self.capacity - self.held)
                .min(known.len())
                .min(hashes.len())
                .min(present.len());
            let (now, later) = present.split_at_mut(count);
            let known = &mut known[..count];
            self.current
                .test_and_insert_many(simd, &hashes[..count], now);
            self.held += now.iter().filter(|seen| !**seen).count();
            if self.rotations > 0 {
                self.previous.contains_many(simd, &hashes[..count], known);
                now.iter_mut()
                    .zip(known)
                    .for_each(|(seen, known)| *seen |= *known);
            }
            (hashes, present) = (&hashes[count..], later);
        }
    }

    /// Adds a key; whether it may have been there before.
    pub fn test_and_insert(&mut self, hash: u64) -> bool {
        if self.held == self.capacity {
            self.rotate();
        }
        let known = self.rotations > 0 && self.previous.contains(hash);
        let present = self.current.test_and_insert(hash);
        self.held += usize::from(!present);
        present || known
    }

    /// Whether the key may be in either generation; `false` is certain.
    pub fn contains(&self, hash: u64) -> bool {
        self.current.contains(hash) || self.previous.contains(hash)
    }

    /// [`Self::contains`] of every key into `present`.
    pub fn contains_many(&self, simd: Simd, hashes: &[u64], present: &mut [bool]) {
        let mut known = [false; 4 * super::AHEAD];
        for (hashes, present) in hashes
            .chunks(known.len())
            .zip(present.chunks_mut(4 * super::AHEAD))
        {
            let known = &mut known[..hashes.len()];
            self.current.contains_many(simd, hashes, present);
            self.previous.contains_many(simd, hashes, known);
            present
                .iter_mut()
                .zip(known)
                .for_each(|(seen, known)| *seen |= *known);
        }
    }

    fn rotate(&mut self) {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.clear();
        self.held = 0;
        self.rotations += 1;
    }

    /// How often the generations have moved on.
    pub fn rotations(&self) -> u64 {
        self.rotations
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.current.memory() + self.previous.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bloom::mix;
    use proptest::prelude::*;

    #[test]
    fn the_last_keys_stay_known_and_older_ones_go() {
        let mut filter = RotatingBloom::with_capacity(1000, 16.0);
        let hashes: Vec<u64> = (0..10_000).map(mix).collect();
        let mut present = vec![false; hashes.len()];
        filter.test_and_insert_many(Simd::best(), &hashes, &mut present);
        assert!(filter.rotations() >= 9, "{}", filter.rotations());
        assert!(hashes[9_000..].iter().all(|hash| filter.contains(*hash)));
        let old = hashes[..7_000].iter().filter(|h| filter.contains(**h));
        assert!(old.count() < 70);
    }

    proptest! {
        #[test]
        fn a_batch_is_its_keys_one_by_one(keys in prop::collection::vec(0u64..300, 0..900), capacity in 1usize..200) {
            let hashes: Vec<u64> = keys.iter().map(|key| mix(*key)).collect();
            let mut single = RotatingBloom::with_capacity(capacity, 16.0);
            let mut batch = single.clone();
            let expected: Vec<bool> = hashes.iter().map(|hash| single.test_and_insert(*hash)).collect();
            let mut present = vec![false; hashes.len()];
            batch.test_and_insert_many(Simd::best(), &hashes, &mut present);
            prop_assert_eq!(&present, &expected);
            prop_assert_eq!(&batch, &single);
            batch.contains_many(Simd::best(), &hashes, &mut present);
            prop_assert!(hashes.iter().zip(&present).all(|(hash, seen)| single.contains(*hash) == *seen));
        }
    }
}
