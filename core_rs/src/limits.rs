//! What the machine itself can do: loops that move bytes or multiply and nothing else. A kernel is compared with them to
//! see how much of the machine it uses; nothing of the engine depends on them.

use crate::bloom::prefetch;
use crate::huge_pages;
use crate::simd::Simd;

/// One cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line([u64; 8]);

/// Reads all words front to back: 8 bytes each from wherever they are.
///
/// The 16-byte loads of plain Rust: memory is slower than they are, so wider ones add nothing.
pub fn stream(words: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    let (blocks, rest) = words.as_chunks::<32>();
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter()
        .chain(rest)
        .fold(0, |sum, word| sum.wrapping_add(*word))
}

/// Lines that are visited in no order, each read and written once per visit.
#[derive(Debug)]
pub struct Lines(Vec<Line>);

impl Lines {
    /// So many bytes, rounded up to lines.
    pub fn with_bytes(bytes: usize) -> Self {
        Self(huge_pages::filled(Line([0; 8]), bytes.div_ceil(64).max(1)))
    }

    /// Visits `visits` lines, fetched ahead as far as helps.
    pub fn visit(&mut self, visits: u64) {
        const AHEAD: u64 = 32;
        let count = self.0.len() as u64;
        let place =
            |i: u64| (((i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) * count) >> 32) as usize;
        for start in (0..visits).step_by(AHEAD as usize) {
            let end = (start + AHEAD).min(visits);
            for i in start..end {
                prefetch(&self.0[place(i)]);
            }
            for i in start..end {
                let Line(words) = &mut self.0[place(i)];
                words[0] = words[0].wrapping_add(i);
            }
        }
    }
}

/// Does at least `wanted` multiply-adds of bytes into 32-bit sums with all operands in registers; how many it did, and
/// the sums so that none is left out.
pub fn multiply_adds(simd: Simd, wanted: u64) -> (u64, i32) {
    #[cfg(target_arch = "x86_64")]
    if simd.is_avx512() {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        return unsafe { x86::vnni(wanted) };
    }
    #[cfg(target_arch = "x86_64")]
    if simd.is_avx2() {
        // SAFETY: as above.
        return unsafe { x86::avx2(wanted) };
    }
    let rounds = wanted.div_ceil(64);
    let (a, mut sums) = (std::hint::black_box([3i8; 64]), [0i32; 64]);
    for _ in 0..rounds {
        let b = std::hint::black_box(a);
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum = sum.wrapping_add(i32::from(a) * i32::from(b));
        }
    }
    (
        rounds * 64,
        sums.iter().fold(0, |all, sum| all.wrapping_add(*sum)),
    )
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_add_epi32, _mm256_extract_epi32, _mm256_madd_epi16, _mm256_set1_epi16,
        _mm256_setzero_si256, _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_reduce_add_epi32,
        _mm512_set1_epi8, _mm512_setzero_si512,
    };
    use std::hint::black_box;

    /// Independent sums: more than latency x throughput of any processor of today.
    const SUMS: usize = 12;

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn vnni(wanted: u64) -> (u64, i32) {
        let each = (SUMS * 64) as u64;
        let rounds = wanted.div_ceil(each);
        let (a, b) = (
            black_box(_mm512_set1_epi8(3)),
            black_box(_mm512_set1_epi8(5)),
        );
        let mut sums = [_mm512_setzero_si512(); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        let all = sums.into_iter().fold(_mm512_setzero_si512(), |all, sum| {
            _mm512_add_epi32(all, sum)
        });
        (rounds * each, _mm512_reduce_add_epi32(all))
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(wanted: u64) -> (u64, i32) {
        let each = (SUMS * 16) as u64;
        let rounds = wanted.div_ceil(each);
        let mut sums = [_mm256_setzero_si256(); SUMS];
        let (mut a, b) = (_mm256_set1_epi16(3), black_box(_mm256_set1_epi16(5)));
        for _ in 0..rounds {
            a = black_box(a);
            for sum in &mut sums {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(a, b));
            }
        }
        let all = sums.into_iter().fold(_mm256_setzero_si256(), |all, sum| {
            _mm256_add_epi32(all, sum)
        });
        (rounds * each, _mm256_extract_epi32::<0>(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_do_what_they_count() {
        let words: Vec<u64> = (0..1000).collect();
        assert_eq!(stream(&words), 499_500);
        for simd in Simd::available() {
            let (done, sum) = multiply_adds(simd, 10_000);
            assert!(done >= 10_000 && sum != 0);
        }
        let mut lines = Lines::with_bytes(64);
        lines.visit(10);
        assert_eq!(lines.0[0].0[0], 45);
    }
}
