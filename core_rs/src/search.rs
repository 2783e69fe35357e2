//! Places in short arrays, and hints to the cache: what every fold does once per event or draw.
//!
//! Whole blocks are compared at once without a branch inside, which the compiler turns into vector code on every CPU.

const BLOCK: usize = 16;

/// Place of the first `wanted`. O(n), about 16 elements per two cycles.
#[inline]
pub fn find(haystack: &[u32], wanted: u32) -> Option<usize> {
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
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint that reads nothing and cannot fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(slice.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, at);
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
                let pairs: Vec<[u32; 2]> = entries.iter().map(|e| [*e, 100 - *e]).collect();
                assert_eq!(find_first(&pairs, wanted), expected, "{wanted} of {len}");
            }
            prefetch(&entries, len + 1000);
        }
    }
}
