//! The scan with AVX-512 VNNI.
//!
//! For Q queries and B blocks at a time, Q x B registers hold the dot products of 16 vectors each; a line of codes is
//! loaded once for Q queries, a broadcast of four query codes once for B blocks. Scores are made and compared in
//! registers; only lanes that reach the floor leave them.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::topk::TopK;

use super::query::QueryGroup;
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
    let mut block = blocks.start;
    while block + B <= blocks.end {
        let allowed: [u32; B] = std::array::from_fn(|b| part.allowed(block + b));
        if allowed.iter().all(|lanes| *lanes != 0) {
            tile::<Q, B>(part, block, &allowed, group, tops);
        } else {
            for (b, lanes) in allowed.into_iter().enumerate() {
                if lanes != 0 {
                    tile::<Q, 1>(part, block + b, &[lanes], group, tops);
                }
            }
        }
        block += B;
    }
    for block in block..blocks.end {
        let lanes = part.allowed(block);
        if lanes != 0 {
            tile::<Q, 1>(part, block, &[lanes], group, tops);
        }
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
) {
    let groups = part.store.groups();
    let lines = &part.store.lines_from(block)[..B * groups];
    let (Some(starts), Some(scales)) = (
        group.starts.first_chunk::<Q>(),
        group.scales.first_chunk::<Q>(),
    ) else {
        return;
    };
    let (words, _) = group.words.as_chunks::<Q>();
    let mut dots = [[_mm512_setzero_si512(); Q]; B];
    for row in &mut dots {
        for (dot, start) in row.iter_mut().zip(starts) {
            *dot = _mm512_set1_epi32(*start);
        }
    }
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
        let lane_scales = load_scales(part.store.scales(block + b));
        for q in 0..Q {
            let score = _mm512_mul_ps(
                _mm512_mul_ps(_mm512_cvtepi32_ps(dots[b][q]), lane_scales),
                _mm512_set1_ps(scales[q]),
            );
            let floor = _mm512_set1_ps(tops[q].floor());
            let reached = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(score, floor);
            let lanes = u32::from(reached) & allowed[b];
            if lanes != 0 {
                hit(&mut tops[q], lanes, score, block + b);
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
