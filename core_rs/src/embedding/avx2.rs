//! The scan with AVX2.
//!
//! Codes are widened to 16 bits and multiplied with VPMADDWD, which is exact; VPMADDUBSW, one step shorter, would
//! saturate. Up to four queries share the widening.

use std::arch::x86_64::*;
use std::iter::StepBy;
use std::ops::Range;

use crate::topk::TopK;

use super::portable::offer;
use super::query::QueryGroup;
use super::scan::Part;
use super::store::{LANES, Line};

/// See `portable::scan`.
#[target_feature(enable = "avx2")]
pub(super) fn scan(
    part: Part<'_>,
    blocks: StepBy<Range<usize>>,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
) {
    for block in blocks {
        let lanes = part.allowed(block);
        if lanes == 0 {
            continue;
        }
        match group.len {
            1 => queries::<1>(part, block, lanes, group, 0, tops),
            2 => queries::<2>(part, block, lanes, group, 0, tops),
            len => {
                for first in (0..len).step_by(4) {
                    queries::<4>(part, block, lanes, group, first, tops);
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn queries<const Q: usize>(
    part: Part<'_>,
    block: usize,
    lanes: u32,
    group: &QueryGroup,
    first: usize,
    tops: &mut [TopK<'_>],
) {
    let lines = &part.store.lines_from(block)[..part.store.groups()];
    let dots = dots::<Q>(lines, &group.wide[first..], group.len);
    for (q, mut dots) in dots.into_iter().enumerate() {
        for dot in &mut dots {
            *dot += group.starts[first + q];
        }
        let scales = part.store.scales(block);
        offer(
            &dots,
            scales,
            group.scales[first + q],
            lanes,
            block,
            &mut tops[first + q],
        );
    }
}

/// Sums of biased codes times query codes for Q queries, whose words for one line stand `stride` after those of the last.
#[inline]
#[target_feature(enable = "avx2")]
fn dots<const Q: usize>(lines: &[Line], wide: &[i64], stride: usize) -> [[i32; LANES]; Q] {
    let mut out = [[0; LANES]; Q];
    for half in 0..2 {
        // Two registers for eight vectors: two neighbouring sums make a dot product.
        let mut sums = [[_mm256_setzero_si256(); 2]; Q];
        for (g, line) in lines.iter().enumerate() {
            let Some(words) = wide
                .get(g * stride..)
                .and_then(|words| words.first_chunk::<Q>())
            else {
                break;
            };
            let codes = [half * 32, half * 32 + 16].map(|at| widen(line, at));
            for q in 0..Q {
                let query = _mm256_set1_epi64x(words[q]);
                for i in 0..2 {
                    sums[q][i] = _mm256_add_epi32(sums[q][i], _mm256_madd_epi16(codes[i], query));
                }
            }
        }
        for q in 0..Q {
            let pairs = _mm256_hadd_epi32(sums[q][0], sums[q][1]);
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
            let eight = &mut out[q][half * 8..half * 8 + 8];
            // SAFETY: the slice has room for the eight values.
            unsafe { _mm256_storeu_si256(eight.as_mut_ptr().cast(), ordered) };
        }
    }
    out
}

/// 16 unsigned codes of a line, from byte `at` (at most 48), as 16-bit numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(line: &Line, at: usize) -> __m256i {
    let sixteen = &line.0[at..at + 16];
    // SAFETY: the slice has the 16 bytes.
    _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(sixteen.as_ptr().cast()) })
}

/// See `portable::block_dots`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn block_dots(lines: &[Line], wide: &[i64], start: i32) -> [i32; LANES] {
    let [mut sums] = dots::<1>(lines, wide, 1);
    for sum in &mut sums {
        *sum += start;
    }
    sums
}
