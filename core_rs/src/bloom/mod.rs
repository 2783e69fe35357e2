//! Split-block Bloom filter (Apache Parquet's format after Putze et al., "Cache-, Hash- and Space-Efficient Bloom
//! Filters", JEA 2009): a key sets one bit in each of the eight 32-bit lanes of one 256-bit block, so a look-up touches
//! one cache line.
//!
//! * [`block`]: one block; the portable form and its AVX2 twin.
//! * [`SplitBlockBloom`]: a filter; single keys, and batches that fetch their blocks ahead.
//! * [`rotating`]: two generations, so that a filter over an endless stream keeps its false-positive rate.
//!
//! Keys are 64-bit hashes whose bits are all good: the upper half picks the block, the lower half the bits. [`mix`] makes
//! such a hash of any 64-bit number. A filter is never the last word on a repeat: [`crate::admission`] asks an exact table.

pub mod block;
pub mod rotating;

pub use block::{Block, any_contains, block_contains, block_insert};

use crate::error::CoreError;
use crate::huge_pages;
use crate::simd::Simd;

/// Keys whose blocks are fetched before the first of them is tested: enough to hide a miss to memory behind the work on
/// the others, few enough that their blocks stay in the first cache.
const AHEAD: usize = 64;

/// A block on its own half of a cache line: an unaligned one would touch two lines every other time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub(crate) struct AlignedBlock(pub(crate) Block);

/// Mixes any 64-bit number into a hash (the finaliser of MurmurHash3, a bijection: no two keys collide here).
#[inline]
pub fn mix(key: u64) -> u64 {
    let mut h = key;
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// Asks the processor to fetch the cache line of a value; changes nothing else.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address has no effect that a program could see, and SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// A filter over 64-bit hashes. At `bits_per_key` 10.5 about 1.0 % of absent keys are reported present, at 16 about 0.13 %:
/// more than evenly filled blocks would (0.7 and 0.06 %), because some blocks take more keys than others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitBlockBloom {
    blocks: Vec<AlignedBlock>,
}

impl SplitBlockBloom {
    /// Room for `keys` keys, at least one block.
    pub fn with_capacity(keys: usize, bits_per_key: f64) -> Self {
        Self {
            blocks: huge_pages::filled(AlignedBlock::default(), blocks(keys, bits_per_key)),
        }
    }

    /// [`Self::with_capacity`] of a size that a caller chose. Errors: it does not fit into memory.
    pub fn try_with_capacity(keys: usize, bits_per_key: f64) -> Result<Self, CoreError> {
        let blocks = blocks(keys, bits_per_key);
        let refused = |_| CoreError::Argument {
            field: "capacity",
            rule: format!("{keys} keys of {bits_per_key} bits do not fit into memory"),
        };
        huge_pages::try_filled(AlignedBlock::default(), blocks)
            .map(|blocks| Self { blocks })
            .map_err(refused)
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        place(self.blocks.len(), hash)
    }

    /// Adds a key.
    #[inline]
    pub fn insert(&mut self, hash: u64) {
        let at = self.place(hash);
        block_insert(&mut self.blocks[at].0, hash as u32);
    }

    /// Whether the key may have been added; `false` is certain.
    #[inline]
    pub fn contains(&self, hash: u64) -> bool {
        block_contains(&self.blocks[self.place(hash)].0, hash as u32)
    }

    /// Adds a key; whether it may have been there before.
    #[inline]
    pub fn test_and_insert(&mut self, hash: u64) -> bool {
        let at = self.place(hash);
        block::test_and_insert(&mut self.blocks[at].0, hash as u32)
    }

    /// Adds keys in order; `present` takes for each what [`Self::test_and_insert`] would return. The shorter of the two
    /// slices says how many. O(1) a key, one cache line each, fetched ahead.
    pub fn test_and_insert_many(&mut self, simd: Simd, hashes: &[u64], present: &mut [bool]) {
        block::test_and_insert_many(simd, &mut self.blocks, hashes, present);
    }

    /// [`Self::contains`] of every key into `present`, fetched ahead.
    pub fn contains_many(&self, simd: Simd, hashes: &[u64], present: &mut [bool]) {
        block::contains_many(simd, &self.blocks, hashes, present);
    }

    /// Fetches the block of a key that is about to be asked for.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.blocks[self.place(hash)]);
    }

    /// Empties the filter, keeping its size.
    pub fn clear(&mut self) {
        self.blocks.fill(AlignedBlock::default());
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.blocks.capacity() * size_of::<AlignedBlock>()
    }
}

fn blocks(keys: usize, bits_per_key: f64) -> usize {
    (keys as f64 * bits_per_key / 256.0).ceil().max(1.0) as usize
}

/// Lemire's multiply-shift: the upper half of a hash to one of `blocks`, keeping the order of the hashes.
#[inline(always)]
fn place(blocks: usize, hash: u64) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::stable_hash;
    use proptest::prelude::*;

    #[test]
    fn no_false_negative_and_few_false_positives() {
        let mut filter = SplitBlockBloom::with_capacity(10_000, 16.0);
        let key = |i: u32| stable_hash(&i.to_le_bytes());
        (0..10_000).for_each(|i| filter.insert(key(i)));
        assert!((0..10_000).all(|i| filter.contains(key(i))));
        let wrong = (10_000..110_000)
            .filter(|i| filter.contains(key(*i)))
            .count();
        assert!(wrong < 200, "{wrong} of 100,000");
    }

    proptest! {
        #[test]
        fn a_batch_is_its_keys_one_by_one(keys in prop::collection::vec(0u64..400, 0..400), capacity in 1usize..500) {
            let hashes: Vec<u64> = keys.iter().map(|key| mix(*key)).collect();
            let empty = SplitBlockBloom::with_capacity(capacity, 16.0);
            let mut single = empty.clone();
            let expected: Vec<bool> = hashes.iter().map(|hash| single.test_and_insert(*hash)).collect();
            for simd in Simd::available() {
                let mut batch = empty.clone();
                let mut present = vec![false; hashes.len()];
                batch.test_and_insert_many(simd, &hashes, &mut present);
                prop_assert_eq!(&present, &expected);
                prop_assert_eq!(&batch, &single);
                batch.contains_many(simd, &hashes, &mut present);
                prop_assert!(present.iter().all(|p| *p));
            }
        }
    }
}
