//! Places in short arrays, and hints to the cache: what every fold does once per event or draw.
//!
//! Whole blocks are compared at once without a branch inside, which the compiler turns into vector code on every CPU.

#[cfg(target_arch = "x86_64")]
use crate::simd::Simd;

const BLOCK: usize = 16;

/// Place of the first `wanted`. O(n), about 16 elements a cycle or two.
#[inline]
pub fn find(haystack: &[u32], wanted: u32) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if Simd::chosen().is_avx512() {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        return unsafe { find_avx512(haystack, wanted) };
    }
    find_portable(haystack, wanted)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn find_avx512(haystack: &[u32], wanted: u32) -> Option<usize> {
    use std::arch::x86_64::{
        _mm512_cmpeq_epi32_mask, _mm512_loadu_si512, _mm512_mask_cmpeq_epi32_mask,
        _mm512_maskz_loadu_epi32, _mm512_set1_epi32,
    };
    let wanted = _mm512_set1_epi32(wanted.cast_signed());
    let (blocks, rest) = haystack.as_chunks::<BLOCK>();
    let (pairs, odd) = blocks.as_chunks::<2>();
    let equal = |block: &[u32; BLOCK]| {
        // SAFETY: a block has the 64 bytes that are read; no alignment is asked for.
        _mm512_cmpeq_epi32_mask(unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }, wanted)
    };
    for (p, [first, second]) in pairs.iter().enumerate() {
        let hits = u32::from(equal(first)) | u32::from(equal(second)) << BLOCK;
        if hits != 0 {
            return Some(p * 2 * BLOCK + hits.trailing_zeros() as usize);
        }
    }
    let mut hits = odd.first().map_or(0, |block| u32::from(equal(block)));
    let inside = (1u16 << rest.len()) - 1;
    // SAFETY: only the places inside `rest` are read.
    let block = unsafe { _mm512_maskz_loadu_epi32(inside, rest.as_ptr().cast()) };
    let last = _mm512_mask_cmpeq_epi32_mask(inside, block, wanted);
    hits |= u32::from(last) << (odd.len() * BLOCK);
    (hits != 0).then(|| pairs.len() * 2 * BLOCK + hits.trailing_zeros() as usize)
}

fn find_portable(haystack: &[u32], wanted: u32) -> Option<usize> {
    let (blocks, rest) = haystack.as_chunks::<BLOCK>();
    for (b, block) in blocks.iter().enumerate() {
        let hit = block
            .iter()
            .fold(false, |hit, entry| hit | (*entry == wanted));
        if hit {
            return block
                .iter()
                .position(|entry| *entry == wanted)
                .map(|at| b * BLOCK + at);
        }
    }
    let start = blocks.len() * BLOCK;
    rest.iter()
        .position(|entry| *entry == wanted)
        .map(|at| start + at)
}

/// Place of the first pair that begins with `wanted`. O(n), without a branch inside a block.
#[inline]
pub fn find_first(pairs: &[[u32; 2]], wanted: u32) -> Option<usize> {
    let (blocks, rest) = pairs.as_chunks::<BLOCK>();
    for (b, block) in blocks.iter().enumerate() {
        let hits = block.iter().map(|pair| pair[0] == wanted);
        if hits.fold(false, |any, hit| any | hit) {
            let at = block.iter().position(|pair| pair[0] == wanted);
            return at.map(|at| b * BLOCK + at);
        }
    }
    let at = rest.iter().position(|pair| pair[0] == wanted);
    at.map(|at| blocks.len() * BLOCK + at)
}

/// Asks for the cache line that holds `slice[at]`. Nothing happens for a place outside the slice.
#[inline(always)]
pub fn prefetch<T>(slice: &[T], at: usize) {
    prefetch_at(slice.as_ptr().wrapping_add(at).cast());
}

/// [`prefetch`] of one of many at once: to the second cache. Requests to the first one fall when too many are under way, and what has
/// come to the second is hardly a wait.
#[inline(always)]
pub fn prefetch_of_many<T>(slice: &[T], at: usize) {
    let place = slice.as_ptr().wrapping_add(at);
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch is a hint that reads nothing and cannot fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

#[inline(always)]
fn prefetch_at(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint that reads nothing and cannot fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Asks for all lines of a value.
#[inline(always)]
pub fn prefetch_all<T>(value: &T) {
    let bytes = std::ptr::from_ref(value).cast::<u8>();
    (0..size_of::<T>())
        .step_by(64)
        .for_each(|at| prefetch_at(bytes.wrapping_add(at)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_of_any_length() {
        for len in 0..100usize {
            let entries: Vec<u32> = (0..len as u32).map(|i| i % 40).collect();
            for wanted in 0..45 {
                let expected = entries.iter().position(|e| *e == wanted);
                assert_eq!(find(&entries, wanted), expected, "{wanted} of {len}");
                assert_eq!(find_portable(&entries, wanted), expected);
                let pairs: Vec<[u32; 2]> = entries.iter().map(|e| [*e, 100 - *e]).collect();
                assert_eq!(find_first(&pairs, wanted), expected, "{wanted} of {len}");
            }
            prefetch(&entries, len + 1000);
        }
    }
}
