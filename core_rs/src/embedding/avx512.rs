//! The scan with AVX-512 VNNI.
//!
//! For Q queries and B blocks at a time, Q x B registers hold the dot products of 16 vectors each; a line of codes is
//! loaded once for Q queries, a broadcast of four query codes once for B blocks. Registers are compared with a bound of the
//! query; only what passes is scored.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::topk::TopK;

use super::query::{MAX_GROUP, QueryGroup};
use super::scan::Part;
use super::store::{LANES, Line, PerLane};

/// See `portable::scan`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn scan(
    part: Part<'_>,
    blocks: Range<usize>,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
) {
    // 16 accumulators keep the two multipliers busy over the latency of VPDPBUSD and leave registers for operands.
    match group.len {
        1 => tiles::<1, 4>(part, blocks, group, tops),
        2 => tiles::<2, 4>(part, blocks, group, tops),
        4 => tiles::<4, 4>(part, blocks, group, tops),
        8 => tiles::<8, 2>(part, blocks, group, tops),
        _ => tiles::<16, 1>(part, blocks, group, tops),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tiles<const Q: usize, const B: usize>(
    part: Part<'_>,
    blocks: Range<usize>,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
) {
    let mut bounds = Bounds::new(group, tops);
    let mut block = blocks.start;
    while block + B <= blocks.end {
        let allowed: [u32; B] = std::array::from_fn(|b| part.allowed(block + b));
        if allowed.iter().all(|lanes| *lanes != 0) {
            tile::<Q, B>(part, block, &allowed, group, tops, &mut bounds);
        } else {
            for (b, lanes) in allowed.into_iter().enumerate() {
                if lanes != 0 {
                    tile::<Q, 1>(part, block + b, &[lanes], group, tops, &mut bounds);
                }
            }
        }
        block += B;
    }
    for block in block..blocks.end {
        let lanes = part.allowed(block);
        if lanes != 0 {
            tile::<Q, 1>(part, block, &[lanes], group, tops, &mut bounds);
        }
    }
}

/// For each query, what `dot * scale` must reach for a score to reach the floor. The comparison with it settles nearly
/// every lane; what passes is scored exactly.
#[repr(C, align(64))]
struct Bounds([f32; MAX_GROUP]);

impl Bounds {
    fn new(group: &QueryGroup, tops: &[TopK<'_>]) -> Self {
        let mut bounds = Self([f32::NEG_INFINITY; MAX_GROUP]);
        for (q, top) in tops.iter().enumerate() {
            bounds.set(q, top.floor(), group.scales[q]);
        }
        bounds
    }

    /// A score is `(dot * scale) * query_scale`: one rounding after the product that is compared, one more in the
    /// division; 2^-18 is more than both. That holds for normal numbers; close to subnormal ones, and for floors that are
    /// not positive, everything passes.
    fn set(&mut self, q: usize, floor: f32, query_scale: f32) {
        let bound = floor / query_scale;
        let usable = floor >= 1e-30 && bound >= 1e-30;
        self.0[q] = if usable {
            bound * (1.0 - 1.0 / 262_144.0)
        } else {
            f32::NEG_INFINITY
        };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile<const Q: usize, const B: usize>(
    part: Part<'_>,
    block: usize,
    allowed: &[u32; B],
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
    bounds: &mut Bounds,
) {
    let groups = part.store.groups();
    let lines = &part.store.lines_from(block)[..B * groups];
    let Some(starts) = group.starts.first_chunk::<Q>() else {
        return;
    };
    let mut dots = [[_mm512_setzero_si512(); Q]; B];
    for row in &mut dots {
        for (dot, start) in row.iter_mut().zip(starts) {
            *dot = _mm512_set1_epi32(*start);
        }
    }
    let (words, _) = group.words.as_chunks::<Q>();
    for (g, words) in words.iter().enumerate().take(groups) {
        let mut codes = [_mm512_setzero_si512(); B];
        for (b, codes) in codes.iter_mut().enumerate() {
            *codes = load(&lines[b * groups + g]);
        }
        for q in 0..Q {
            let query = _mm512_set1_epi32(words[q]);
            for b in 0..B {
                dots[b][q] = _mm512_dpbusd_epi32(dots[b][q], codes[b], query);
            }
        }
    }
    for b in 0..B {
        let scales = load_scales(part.store.scales(block + b));
        let mut passed = [0u16; Q];
        for q in 0..Q {
            let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dots[b][q]), scales);
            passed[q] = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(scaled, _mm512_set1_ps(bounds.0[q]));
        }
        if passed != [0; Q] {
            // A copy, so that the registers themselves need no address.
            let row = dots[b];
            settle(
                &row,
                &passed,
                scales,
                allowed[b],
                block + b,
                group,
                tops,
                bounds,
            );
        }
    }
}

/// Scores those dot products that may reach a floor, and offers the lanes that do.
#[cold]
#[inline(never)]
#[allow(clippy::too_many_arguments)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn settle<const Q: usize>(
    dots: &[__m512i; Q],
    passed: &[u16; Q],
    scales: __m512,
    allowed: u32,
    block: usize,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
    bounds: &mut Bounds,
) {
    for q in 0..Q {
        if passed[q] == 0 {
            continue;
        }
        let score = _mm512_mul_ps(
            _mm512_mul_ps(_mm512_cvtepi32_ps(dots[q]), scales),
            _mm512_set1_ps(group.scales[q]),
        );
        let floor = tops[q].floor();
        let reached = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(score, _mm512_set1_ps(floor));
        let lanes = u32::from(reached) & allowed;
        if lanes != 0 {
            hit(&mut tops[q], lanes, score, block);
            if tops[q].floor() > floor {
                bounds.set(q, tops[q].floor(), group.scales[q]);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn hit(top: &mut TopK<'_>, lanes: u32, score: __m512, block: usize) {
    let mut scores = [0.0; LANES];
    // SAFETY: the array has room for the 16 values.
    unsafe { _mm512_storeu_ps(scores.as_mut_ptr(), score) };
    top.offer_lanes(lanes, &scores, (block * LANES) as u32);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &Line) -> __m512i {
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_scales(scales: &PerLane) -> __m512 {
    // SAFETY: 16 floats, aligned to 64.
    unsafe { _mm512_load_ps(scales.0.as_ptr()) }
}

/// See `portable::block_dots`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn block_dots(lines: &[Line], words: &[i32], start: i32) -> [i32; LANES] {
    // Four chains, or the latency of VPDPBUSD would be waited for at every step. i32 sums do not mind the order.
    let mut sums = [_mm512_setzero_si512(); 4];
    sums[0] = _mm512_set1_epi32(start);
    let (line_rows, line_rest) = lines.as_chunks::<4>();
    let (word_rows, word_rest) = words.as_chunks::<4>();
    for (lines, words) in line_rows.iter().zip(word_rows) {
        for i in 0..4 {
            sums[i] = _mm512_dpbusd_epi32(sums[i], load(&lines[i]), _mm512_set1_epi32(words[i]));
        }
    }
    for (line, word) in line_rest.iter().zip(word_rest) {
        sums[0] = _mm512_dpbusd_epi32(sums[0], load(line), _mm512_set1_epi32(*word));
    }
    let sum = _mm512_add_epi32(
        _mm512_add_epi32(sums[0], sums[1]),
        _mm512_add_epi32(sums[2], sums[3]),
    );
    let mut dots = [0; LANES];
    // SAFETY: the array has room for the 16 values.
    unsafe { _mm512_storeu_si512(dots.as_mut_ptr().cast(), sum) };
    dots
}
