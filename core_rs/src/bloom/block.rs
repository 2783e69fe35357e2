//! One 256-bit block: eight lanes, one bit of each lane per key. A block is one AVX2 register, so wider registers have
//! nothing to add; the portable form is what the AVX2 form is tested against.

use super::{AHEAD, AlignedBlock, place, prefetch};
use crate::simd::Simd;

/// One block.
pub type Block = [u32; 8];

/// The salts of the Parquet specification; part of the state's format.
const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// Sets a key's bits in a block.
#[inline]
pub fn block_insert(block: &mut Block, hash: u32) {
    #[cfg(target_arch = "x86_64")]
    if Simd::chosen().has_avx2() {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        unsafe { avx2::test_and_insert(block, hash) };
        return;
    }
    portable::test_and_insert(block, hash);
}

/// Whether all of a key's bits are set in a block.
#[inline]
pub fn block_contains(block: &Block, hash: u32) -> bool {
    #[cfg(target_arch = "x86_64")]
    if Simd::chosen().has_avx2() {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        return unsafe { avx2::contains(block, hash) };
    }
    portable::contains(block, hash)
}

/// Whether all of a key's bits are set in any of the blocks: what the bits are is worked out once.
pub fn any_contains(blocks: &[Block], hash: u32) -> bool {
    #[cfg(target_arch = "x86_64")]
    if Simd::chosen().has_avx2() {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        return unsafe { avx2::any_contains(blocks, hash) };
    }
    blocks.iter().any(|block| portable::contains(block, hash))
}

/// Sets a key's bits; whether all of them were set before.
#[inline]
pub(super) fn test_and_insert(block: &mut Block, hash: u32) -> bool {
    #[cfg(target_arch = "x86_64")]
    if Simd::chosen().has_avx2() {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        return unsafe { avx2::test_and_insert(block, hash) };
    }
    portable::test_and_insert(block, hash)
}

mod portable {
    use super::{Block, SALTS};

    fn mask(hash: u32) -> Block {
        SALTS.map(|salt| 1 << (hash.wrapping_mul(salt) >> 27))
    }

    pub(super) fn test_and_insert(block: &mut Block, hash: u32) -> bool {
        let present = contains(block, hash);
        for (lane, bits) in block.iter_mut().zip(mask(hash)) {
            *lane |= bits;
        }
        present
    }

    pub(super) fn contains(block: &Block, hash: u32) -> bool {
        let mut missing = 0;
        for (lane, bits) in block.iter().zip(mask(hash)) {
            missing |= bits & !lane;
        }
        missing == 0
    }
}

/// See [`super::SplitBlockBloom::test_and_insert_many`].
pub(super) fn test_and_insert_many(
    simd: Simd,
    blocks: &mut [AlignedBlock],
    hashes: &[u64],
    present: &mut [bool],
) {
    #[cfg(target_arch = "x86_64")]
    if simd.has_avx2() {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        return unsafe { avx2::test_and_insert_many(blocks, hashes, present) };
    }
    insert_loop(blocks, hashes, present, portable::test_and_insert);
}

/// See [`super::SplitBlockBloom::contains_many`].
pub(super) fn contains_many(
    simd: Simd,
    blocks: &[AlignedBlock],
    hashes: &[u64],
    present: &mut [bool],
) {
    #[cfg(target_arch = "x86_64")]
    if simd.has_avx2() {
        // SAFETY: as above.
        return unsafe { avx2::contains_many(blocks, hashes, present) };
    }
    contains_loop(blocks, hashes, present, portable::contains);
}

#[inline(always)]
fn insert_loop(
    blocks: &mut [AlignedBlock],
    hashes: &[u64],
    present: &mut [bool],
    step: impl Fn(&mut Block, u32) -> bool,
) {
    let count = blocks.len();
    for (hashes, present) in hashes.chunks(AHEAD).zip(present.chunks_mut(AHEAD)) {
        for hash in hashes {
            prefetch(&blocks[place(count, *hash)]);
        }
        for (hash, present) in hashes.iter().zip(present) {
            *present = step(&mut blocks[place(count, *hash)].0, *hash as u32);
        }
    }
}

#[inline(always)]
fn contains_loop(
    blocks: &[AlignedBlock],
    hashes: &[u64],
    present: &mut [bool],
    step: impl Fn(&Block, u32) -> bool,
) {
    let count = blocks.len();
    for (hashes, present) in hashes.chunks(AHEAD).zip(present.chunks_mut(AHEAD)) {
        for hash in hashes {
            prefetch(&blocks[place(count, *hash)]);
        }
        for (hash, present) in hashes.iter().zip(present) {
            *present = step(&blocks[place(count, *hash)].0, *hash as u32);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{AlignedBlock, Block, SALTS, contains_loop, insert_loop};
    use std::arch::x86_64::{
        __m256i, _mm256_loadu_si256, _mm256_mullo_epi32, _mm256_or_si256, _mm256_set1_epi32,
        _mm256_sllv_epi32, _mm256_srli_epi32, _mm256_storeu_si256, _mm256_testc_si256,
    };

    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask(hash: u32) -> __m256i {
        // SAFETY: eight lanes are read from an array of eight.
        let salts = unsafe { _mm256_loadu_si256(SALTS.as_ptr().cast()) };
        let shifts = _mm256_srli_epi32::<27>(_mm256_mullo_epi32(
            _mm256_set1_epi32(hash.cast_signed()),
            salts,
        ));
        _mm256_sllv_epi32(_mm256_set1_epi32(1), shifts)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn test_and_insert(block: &mut Block, hash: u32) -> bool {
        let bits = mask(hash);
        let place: *mut __m256i = block.as_mut_ptr().cast();
        // SAFETY: a block is 32 bytes, which `block` borrows mutably; no alignment is asked for.
        let held = unsafe { _mm256_loadu_si256(place) };
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(place, _mm256_or_si256(held, bits)) };
        _mm256_testc_si256(held, bits) != 0
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn contains(block: &Block, hash: u32) -> bool {
        // SAFETY: a block is 32 bytes, which `block` borrows; no alignment is asked for.
        let held = unsafe { _mm256_loadu_si256(block.as_ptr().cast()) };
        _mm256_testc_si256(held, mask(hash)) != 0
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn any_contains(blocks: &[Block], hash: u32) -> bool {
        let bits = mask(hash);
        blocks.iter().any(|block| {
            // SAFETY: as in `contains`.
            let held = unsafe { _mm256_loadu_si256(block.as_ptr().cast()) };
            _mm256_testc_si256(held, bits) != 0
        })
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn test_and_insert_many(
        blocks: &mut [AlignedBlock],
        hashes: &[u64],
        present: &mut [bool],
    ) {
        insert_loop(blocks, hashes, present, |block, hash| {
            test_and_insert(block, hash)
        });
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn contains_many(blocks: &[AlignedBlock], hashes: &[u64], present: &mut [bool]) {
        contains_loop(blocks, hashes, present, |block, hash| contains(block, hash));
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn avx2_and_portable_agree(start in any::<Block>(), sparse in any::<Block>(), hashes in prop::collection::vec(any::<u64>(), 1..200)) {
            prop_assume!(std::is_x86_feature_detected!("avx2"));
            // Half-filled blocks, so that both answers occur.
            let start = [start, sparse.map(|lane| lane & (lane >> 1) & (lane >> 3)), [0; 8], [u32::MAX; 8]].map(AlignedBlock);
            let (mut ours, mut twin) = (start, start);
            let (mut present, mut expected) = (vec![false; hashes.len()], vec![false; hashes.len()]);
            // SAFETY: AVX2 was detected above.
            unsafe { avx2::contains_many(&ours, &hashes, &mut present) };
            contains_loop(&twin, &hashes, &mut expected, portable::contains);
            prop_assert_eq!(&present, &expected);
            // SAFETY: AVX2 was detected above.
            unsafe { avx2::test_and_insert_many(&mut ours, &hashes, &mut present) };
            insert_loop(&mut twin, &hashes, &mut expected, portable::test_and_insert);
            prop_assert_eq!(&present, &expected);
            prop_assert_eq!(ours, twin);
        }
    }
}
