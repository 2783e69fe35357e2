//! One pass over packed vectors: dot products, scores, filter, threshold and top-k together.
//!
//! O(n q d) for n vectors, q queries, d dimensions; vectors are read once for each 16 queries. Blocks of 16 vectors that
//! the filter leaves empty are not read.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::CoreError;
use crate::simd::Simd;
use crate::topk::{Ties, TopK};

use super::portable;
use super::query::QueryGroup;
use super::store::{LANES, Line, PackedVectors};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// What a scan looks for.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// How many of the best.
    pub k: usize,
    /// Lowest score of interest; negative infinity for all.
    pub min_score: f32,
    /// Bit i, counted from the lowest bit of the first word, admits vector i. At least `len` bits.
    pub filter: Option<&'a [u64]>,
    /// What decides between equal scores.
    pub ties: Ties<'a>,
    /// Threads to use; 1 stays on the caller's.
    pub threads: usize,
}

/// Part of a store as one kernel call sees it.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub store: &'a PackedVectors,
    pub filter: Option<&'a [u64]>,
}

impl Part<'_> {
    /// The vectors of a block that exist and pass the filter, one bit each.
    #[inline(always)]
    pub fn allowed(&self, block: usize) -> u32 {
        let bits = match self.filter {
            None => 0xffff,
            Some(words) => (words[block / 4] >> (block % 4 * LANES)) as u32 & 0xffff,
        };
        let left = self.store.len() - block * LANES;
        if left < LANES {
            bits & ((1 << left) - 1)
        } else {
            bits
        }
    }
}

/// Scores every admitted vector against every query (row-major f32) and calls `put(query, place, index, score)` for the
/// best, best first. Returns how many there are for each query. The answer depends neither on the path nor on threads.
pub fn search(
    simd: Simd,
    store: &PackedVectors,
    queries: &[f32],
    search: &Search<'_>,
    mut put: impl FnMut(usize, usize, u32, f32),
) -> Result<Vec<usize>, CoreError> {
    let groups = QueryGroup::split(simd, store.dim(), queries)?;
    let part = Part {
        store,
        filter: search.filter,
    };
    let pieces = pieces(store.blocks(), groups.len(), search.threads);
    let run = |group: &QueryGroup, blocks: &Range<usize>| {
        best_of(simd, part, blocks.clone(), group, search)
    };
    let tasks: Vec<(usize, &Range<usize>)> = (0..groups.len())
        .flat_map(|group| pieces.iter().map(move |piece| (group, piece)))
        .collect();
    let found: Vec<Vec<TopK<'_>>> = if search.threads > 1 && tasks.len() > 1 {
        tasks
            .into_par_iter()
            .map(|(group, piece)| run(&groups[group], piece))
            .collect()
    } else {
        tasks
            .into_iter()
            .map(|(group, piece)| run(&groups[group], piece))
            .collect()
    };
    let mut counts = Vec::with_capacity(queries.len() / store.dim());
    let mut found = found.into_iter();
    for group in &groups {
        let mut tops = found.next().unwrap_or_default();
        for other in found.by_ref().take(pieces.len() - 1) {
            for (top, part) in tops.iter_mut().zip(&other) {
                top.merge(part);
            }
        }
        for (q, top) in tops.into_iter().enumerate() {
            let query = group.first + q;
            counts.push(top.finish(|place, index, score| put(query, place, index, score)));
        }
    }
    Ok(counts)
}

/// One block in so many is looked at for a guess, in runs of [`RUN`].
const SAMPLE: usize = 16;
const RUN: usize = 4;

/// The best of some blocks for each query of a group.
///
/// A scan that starts without a floor offers about k log(n/k) scores, and that costs more than the dot products of many
/// queries. So a sample is scanned first: a score that more than enough of the sample reach is probably reached by k of
/// the whole. As floor it lets little more than k through; when fewer than k reached it, all is scanned again without
/// it, so the answer is exact whatever the sample said.
fn best_of<'a>(
    simd: Simd,
    part: Part<'_>,
    blocks: Range<usize>,
    group: &QueryGroup,
    search: &Search<'a>,
) -> Vec<TopK<'a>> {
    let fresh = |floor: f32| TopK::new(search.k, part.store.len(), floor, search.ties);
    let guesses = guess(simd, part, &blocks, group, search);
    let mut tops: Vec<TopK<'a>> = guesses.iter().map(|guess| fresh(*guess)).collect();
    scan(simd, part, blocks.clone(), group, &mut tops);
    let wrong = |q: usize, top: &TopK<'a>| guesses[q] > search.min_score && top.found() < search.k;
    if tops.iter().enumerate().any(|(q, top)| wrong(q, top)) {
        tops = vec![fresh(search.min_score); group.len];
        scan(simd, part, blocks, group, &mut tops);
    }
    tops
}

/// For each query, a score that k vectors of the blocks probably reach, at least `min_score`.
fn guess(
    simd: Simd,
    part: Part<'_>,
    blocks: &Range<usize>,
    group: &QueryGroup,
    search: &Search<'_>,
) -> Vec<f32> {
    // k / SAMPLE of the sample are among the best k of the whole, give or take; the rest is for the takes.
    let share = search.k as f64 / SAMPLE as f64;
    let wanted = (share + 2.5 * share.sqrt() + 3.0).ceil() as usize;
    let sampled = blocks.len() / SAMPLE * LANES;
    if search.k == 0 || wanted * 4 > sampled {
        return vec![search.min_score; group.len];
    }
    let mut tops = vec![TopK::new(wanted, sampled, search.min_score, Ties::Index); group.len];
    for first in blocks.clone().step_by(SAMPLE * RUN) {
        let run = first..(first + RUN).min(blocks.end);
        scan(simd, part, run, group, &mut tops);
    }
    tops.iter_mut()
        .map(|top| top.worst().unwrap_or(search.min_score))
        .collect()
}

/// Cuts the blocks so that `threads` threads have work, once the groups of queries alone do not give it.
fn pieces(blocks: usize, groups: usize, threads: usize) -> Vec<Range<usize>> {
    let wanted = threads.max(1).div_ceil(groups.max(1));
    let size = blocks.div_ceil(wanted).max(1);
    let mut pieces: Vec<Range<usize>> = (0..blocks)
        .step_by(size)
        .map(|first| first..(first + size).min(blocks))
        .collect();
    if pieces.is_empty() {
        pieces.push(0..0);
    }
    pieces
}

/// Scores the vectors of `blocks` on the given path and offers them.
pub(super) fn scan(
    simd: Simd,
    part: Part<'_>,
    blocks: Range<usize>,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
) {
    match simd {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx512() => unsafe { avx512::scan(part, blocks, group, tops) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx2() => unsafe { avx2::scan(part, blocks, group, tops) },
        _ => portable::scan(part, blocks, group, tops),
    }
}

/// The exact dot products of one block (its `lines`) with one quantised query.
#[inline]
pub fn block_dots(simd: Simd, lines: &[Line], query: &QueryGroup) -> [i32; LANES] {
    match simd {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx512() => unsafe {
            avx512::block_dots(lines, &query.words, query.starts[0])
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx2() => unsafe { avx2::block_dots(lines, &query.wide, query.starts[0]) },
        _ => portable::block_dots(lines, &query.words, query.starts[0]),
    }
}

#[cfg(test)]
mod tests;
