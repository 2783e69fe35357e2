//! Whole numbers in order, a few hundred at a time: as fast as a CPU compares, because nothing branches on what is compared.
//!
//! A sort of 200 numbers guesses a branch wrong at every second of them, and that takes longer than all the rest. With AVX-512
//! the numbers go through a network of minima and maxima, eight columns side by side; elsewhere the standard library sorts.

#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::simd::Simd;

/// Sorts numbers, smallest first.
pub fn sort(simd: Simd, numbers: &mut [u64]) {
    #[cfg(target_arch = "x86_64")]
    if simd.is_avx512() && numbers.len() <= avx512::MOST && numbers.len() >= avx512::LEAST {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        return unsafe { avx512::sort(numbers) };
    }
    let _ = simd;
    numbers.sort_unstable();
}

/// Keeps the `count` smallest, above 0, of numbers that are told apart by more than the bits of `fine`; and all that differ
/// from the largest of these in no more than those bits, and maybe some more. Returns the largest number that would have been
/// kept. The order is any.
pub fn keep_smallest(simd: Simd, numbers: &mut Vec<u64>, count: usize, fine: u64) -> u64 {
    if numbers.len() <= count {
        return u64::MAX;
    }
    #[cfg(target_arch = "x86_64")]
    if simd.is_avx512() {
        // SAFETY: as above.
        return unsafe { avx512::keep_smallest(numbers, count, fine) };
    }
    let _ = simd;
    let most = *numbers.select_nth_unstable(count - 1).1 | fine;
    numbers.retain(|number| *number <= most);
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        }
    }

    #[test]
    fn every_path_sorts_every_length() {
        let mut random = random(7);
        for len in 0..700 {
            for below in [3, 1000, u64::MAX] {
                let mut numbers: Vec<u64> = (0..len).map(|_| random() % below).collect();
                if len % 5 == 1 {
                    numbers[len / 2] = u64::MAX;
                }
                let mut expected = numbers.clone();
                expected.sort_unstable();
                for simd in Simd::available() {
                    let mut found = numbers.clone();
                    sort(simd, &mut found);
                    assert_eq!(found, expected, "{len} {}", simd.name());
                }
            }
        }
    }

    #[test]
    fn every_path_keeps_the_smallest_and_their_likes() {
        let mut random = random(9);
        for len in [1usize, 2, 63, 64, 65, 300, 1000, 4000] {
            for (count, below) in [(1, 5), (200, 1 << 30), (200, 1 << 4), (500, 40), (500, 1)] {
                let coarse = (0..len).map(|_| random() % below);
                let placed = (0u64..).zip(coarse);
                let numbers: Vec<u64> = placed.map(|(at, own)| own << 12 | at).collect();
                let mut sorted = numbers.clone();
                sorted.sort_unstable();
                let last = sorted[count.min(len) - 1] | 0xfff;
                for simd in Simd::available() {
                    let mut found = numbers.clone();
                    let most = keep_smallest(simd, &mut found, count, 0xfff);
                    assert!(most >= last, "{len} {count} {below} {}", simd.name());
                    found.sort_unstable();
                    let expected = sorted.iter().filter(|number| **number <= most);
                    assert!(found.iter().eq(expected), "{len} {count} {below}");
                    assert_eq!(most & 0xfff, 0xfff);
                }
            }
        }
    }
}
