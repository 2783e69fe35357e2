//! The scan with AVX-512 VNNI.
//!
//! For Q queries and B blocks at a time, Q x B registers hold the dot products of 16 vectors each; a line of codes is
//! loaded once for Q queries, a broadcast of four query codes once for B blocks. Registers are compared with a bound of the
//! query; only what passes is scored.

use std::arch::x86_64::*;
use std::iter::StepBy;
use std::ops::Range;

use crate::search::prefetch;
use crate::topk::TopK;

use super::query::{BlockQuery, MAX_GROUP, QueryGroup};
use super::scan::Part;
use super::store::{LANES, Line, PerLane};

/// See `portable::scan`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn scan(
    part: Part<'_>,
    blocks: StepBy<Range<usize>>,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
) {
    // 16 accumulators keep the two multipliers busy over the latency of VPDPBUSD and leave registers for operands.
    match group.len {
        1 => {
            let step = blocks
                .clone()
                .take(2)
                .fold(0, |before, block| block - before);
            // What fits the caches comes by itself as fast as asked for, and asking takes a fifth longer.
            let ahead = match step {
                0 | 1 if part.store.memory() < LARGE => 0,
                0 | 1 => AHEAD.div_ceil(part.store.groups()),
                _ => step * SAMPLES_AHEAD,
            };
            single(part, blocks, ahead, group, tops);
        }
        2 => tiles::<2, 4>(part, blocks, group, tops),
        4 => tiles::<4, 4>(part, blocks, group, tops),
        _ => tiles::<8, 2>(part, blocks, group, tops),
    }
}

/// Stores of so many bytes do not come from the caches.
const LARGE: usize = 8 << 20;
/// Lines that are asked for before they are read, and blocks of a sample.
const AHEAD: usize = 256;
const SAMPLES_AHEAD: usize = 4;

/// One query. Blocks one after the other, as they lie in memory: what bounds it is how fast they come from there. Those that
/// stand `ahead` are asked for, unless that is 0.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn single(
    part: Part<'_>,
    blocks: StepBy<Range<usize>>,
    ahead: usize,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
) {
    let mut bounds = Bounds::new(group, tops);
    let (groups, start) = (part.store.groups(), group.starts[0]);
    for block in blocks {
        let lanes = part.allowed(block);
        if lanes == 0 {
            continue;
        }
        let lines = &part.store.lines_from(block)[..groups];
        if ahead != 0 && block + ahead < part.store.blocks() && part.allowed(block + ahead) != 0 {
            for line in ahead * groups..(ahead + 1) * groups {
                prefetch(lines, line);
            }
        }
        let dots = dots(lines, &group.words, start);
        let scales = load_scales(part.store.scales(block));
        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dots), scales);
        let passed = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(scaled, _mm512_set1_ps(bounds.0[0]));
        if passed != 0 {
            let place = Admitted { block, lanes };
            settle(
                part,
                &[dots],
                [u64::from(passed), 0],
                place,
                0,
                group,
                tops,
                &mut bounds,
            );
        }
    }
}

/// Dot products of one block with one query.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dots(lines: &[Line], words: &[i32], start: i32) -> __m512i {
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
    _mm512_add_epi32(
        _mm512_add_epi32(sums[0], sums[1]),
        _mm512_add_epi32(sums[2], sums[3]),
    )
}

/// A block and which of its vectors the filter admits.
#[derive(Clone, Copy, Default)]
struct Admitted {
    block: usize,
    lanes: u32,
}

/// The blocks that have admitted vectors, B by B; for more than Q queries each B of them once for every Q.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tiles<const Q: usize, const B: usize>(
    part: Part<'_>,
    blocks: StepBy<Range<usize>>,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
) {
    let mut bounds = Bounds::new(group, tops);
    // Blocks that are asked for while B others are worked on.
    let ahead = B * blocks
        .clone()
        .take(2)
        .fold(0, |before, block| block - before);
    let (mut next, mut held) = ([Admitted::default(); B], 0);
    for block in blocks {
        let lanes = part.allowed(block);
        if lanes == 0 {
            continue;
        }
        next[held] = Admitted { block, lanes };
        held += 1;
        if held == B {
            held = 0;
            tile::<Q, B, true>(part, &next, 0, ahead, group, tops, &mut bounds);
            for first in (Q..group.len).step_by(Q) {
                tile::<Q, B, false>(part, &next, first, 0, group, tops, &mut bounds);
            }
        }
    }
    for one in &next[..held] {
        for first in (0..group.len).step_by(Q) {
            tile::<Q, 1, false>(part, &[*one], first, 0, group, tops, &mut bounds);
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

/// Q queries from the `first` of the group on. With `FETCH` the lines of the blocks that stand `ahead` are asked for.
#[inline]
#[allow(clippy::too_many_arguments)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile<const Q: usize, const B: usize, const FETCH: bool>(
    part: Part<'_>,
    blocks: &[Admitted; B],
    first: usize,
    ahead: usize,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
    bounds: &mut Bounds,
) {
    let groups = part.store.groups();
    let mut lines = [&[][..]; B];
    for b in 0..B {
        lines[b] = &part.store.lines_from(blocks[b].block)[..groups];
    }
    let Some(starts) = group.starts[first..].first_chunk::<Q>() else {
        return;
    };
    let mut dots = [[_mm512_setzero_si512(); Q]; B];
    for row in &mut dots {
        for (dot, start) in row.iter_mut().zip(starts) {
            *dot = _mm512_set1_epi32(*start);
        }
    }
    let (words, _) = group.words.as_chunks::<Q>();
    let (stride, first_words) = (group.len / Q, first / Q);
    for g in 0..groups {
        let words = &words[g * stride + first_words];
        let mut codes = [_mm512_setzero_si512(); B];
        for b in 0..B {
            codes[b] = load(&lines[b][g]);
            if FETCH {
                prefetch(lines[b], ahead * groups + g);
            }
        }
        for q in 0..Q {
            let query = _mm512_set1_epi32(words[q]);
            for b in 0..B {
                dots[b][q] = _mm512_dpbusd_epi32(dots[b][q], codes[b], query);
            }
        }
    }
    for b in 0..B {
        let scales = load_scales(part.store.scales(blocks[b].block));
        let (mut passed, mut any) = ([0u16; Q], 0);
        for q in 0..Q {
            let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dots[b][q]), scales);
            let bound = _mm512_set1_ps(bounds.0[first + q]);
            passed[q] = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(scaled, bound);
            any |= passed[q];
        }
        if any != 0 {
            let mut lanes = [0; 2];
            for q in 0..Q {
                lanes[q / 4] |= u64::from(passed[q]) << (q % 4 * LANES);
            }
            // A copy, so that the registers themselves need no address.
            let row = dots[b];
            settle(part, &row, lanes, blocks[b], first, group, tops, bounds);
        }
    }
}

/// Scores those dot products that may reach a floor, and offers those that do. `passed`: 16 lanes of each query in turn.
#[cold]
#[inline(never)]
#[allow(clippy::too_many_arguments)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn settle<const Q: usize>(
    part: Part<'_>,
    dots: &[__m512i; Q],
    passed: [u64; 2],
    place: Admitted,
    first: usize,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
    bounds: &mut Bounds,
) {
    if passed[0].count_ones() + passed[1].count_ones() > DENSE {
        return settle_whole(part, dots, passed, place, first, group, tops, bounds);
    }
    // SAFETY: a register is 16 numbers, and an array of registers has no gaps.
    let dots = unsafe { &*std::ptr::from_ref(dots).cast::<[[i32; LANES]; Q]>() };
    let scales = part.store.scales(place.block);
    for (half, passed) in passed.into_iter().enumerate() {
        let mut left = passed & (u64::from(place.lanes) * 0x0001_0001_0001_0001);
        while left != 0 {
            let at = half * 4 * LANES + left.trailing_zeros() as usize;
            left &= left - 1;
            let (i, lane) = (at / LANES % Q, at % LANES);
            let (top, q) = (&mut tops[first + i], first + i);
            let floor = top.floor();
            let score = (dots[i][lane] as f32 * scales.0[lane]) * group.scales[q];
            top.offer(score, (place.block * LANES + lane) as u32);
            if top.floor() > floor {
                bounds.set(q, top.floor(), group.scales[q]);
            }
        }
    }
}

/// So many lanes of a block take less time one by one than 16 at once: with a floor, nearly always.
const DENSE: u32 = 16;

/// As [`settle`], by whole registers.
#[inline(never)]
#[allow(clippy::too_many_arguments)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn settle_whole<const Q: usize>(
    part: Part<'_>,
    dots: &[__m512i; Q],
    passed: [u64; 2],
    place: Admitted,
    first: usize,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
    bounds: &mut Bounds,
) {
    let scales = load_scales(part.store.scales(place.block));
    for (i, dots) in dots.iter().enumerate() {
        let (q, passed) = (first + i, (passed[i / 4] >> (i % 4 * LANES)) as u16);
        if passed == 0 {
            continue;
        }
        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(*dots), scales);
        let score = _mm512_mul_ps(scaled, _mm512_set1_ps(group.scales[q]));
        let floor = tops[q].floor();
        let reached = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(score, _mm512_set1_ps(floor));
        let lanes = u32::from(reached & passed) & place.lanes;
        let mut scores = [0.0; LANES];
        // SAFETY: the array has room for the 16 values.
        unsafe { _mm512_storeu_ps(scores.as_mut_ptr(), score) };
        tops[q].offer_lanes(lanes, &scores, (place.block * LANES) as u32);
        if tops[q].floor() > floor {
            bounds.set(q, tops[q].floor(), group.scales[q]);
        }
    }
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

/// See `scan::block_scores`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn block_scores(
    lines: &[Line],
    query: BlockQuery<'_>,
    scales: &[f32; LANES],
    query_scale: f32,
) -> [f32; LANES] {
    let dots = dots(lines, query.words, query.start);
    let mut scores = [0.0; LANES];
    // SAFETY: both arrays hold 16 numbers.
    unsafe {
        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dots), _mm512_loadu_ps(scales.as_ptr()));
        let score = _mm512_mul_ps(scaled, _mm512_set1_ps(query_scale));
        _mm512_storeu_ps(scores.as_mut_ptr(), score);
    }
    scores
}

/// See `scan::scores_of_blocks`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn scores_of_blocks(
    (lines, scales): (&[Line], &[[f32; LANES]]),
    blocks: &[u32],
    query: BlockQuery<'_>,
    query_scale: f32,
    out: &mut [[f32; LANES]],
) {
    let groups = query.words.len();
    for (block, out) in blocks.iter().zip(out) {
        let own = &lines[*block as usize * groups..][..groups];
        *out = block_scores(own, query, &scales[*block as usize], query_scale);
    }
}
