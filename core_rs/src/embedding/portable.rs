//! The scan in plain Rust: what the other paths must equal.

use std::iter::StepBy;
use std::ops::Range;

use crate::topk::TopK;

use super::query::QueryGroup;
use super::scan::Part;
use super::store::{LANES, Line, PerLane};

pub(super) fn scan(
    part: Part<'_>,
    blocks: StepBy<Range<usize>>,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
) {
    let groups = part.store.groups();
    let mut words = vec![0; groups];
    for (q, top) in tops.iter_mut().enumerate() {
        for (g, word) in words.iter_mut().enumerate() {
            *word = group.words[g * group.len + q];
        }
        for block in blocks.clone() {
            let allowed = part.allowed(block);
            if allowed != 0 {
                let lines = &part.store.lines_from(block)[..groups];
                let dots = block_dots(lines, &words, group.starts[q]);
                let scales = part.store.scales(block);
                offer(&dots, scales, group.scales[q], allowed, block, top);
            }
        }
    }
}

/// Exact dot products: biased codes times query codes, summed from the query's start.
pub(super) fn block_dots(lines: &[Line], words: &[i32], start: i32) -> [i32; LANES] {
    let mut dots = [start; LANES];
    for (line, word) in lines.iter().zip(words) {
        let query = word.to_le_bytes().map(|code| i32::from(code as i8));
        let (fours, _) = line.0.as_chunks::<4>();
        for (dot, codes) in dots.iter_mut().zip(fours) {
            *dot += i32::from(codes[0]) * query[0]
                + i32::from(codes[1]) * query[1]
                + i32::from(codes[2]) * query[2]
                + i32::from(codes[3]) * query[3];
        }
    }
    dots
}

/// Scores of a block from its dot products; those that are allowed and reach the floor are offered.
#[inline(always)]
pub(super) fn offer(
    dots: &[i32; LANES],
    scales: &PerLane,
    query_scale: f32,
    allowed: u32,
    block: usize,
    top: &mut TopK<'_>,
) {
    let floor = top.floor();
    let mut scores = [0.0; LANES];
    let mut reached = 0;
    for lane in 0..LANES {
        scores[lane] = (dots[lane] as f32 * scales.0[lane]) * query_scale;
        reached |= u32::from(scores[lane] >= floor) << lane;
    }
    top.offer_lanes(reached & allowed, &scores, (block * LANES) as u32);
}
