//! One pass over packed vectors: dot products, scores, filter, threshold and top-k together.
//!
//! O(n q d) for n vectors, q queries, d dimensions; vectors are read once for each 16 queries. Blocks of 16 vectors that
//! the filter leaves empty are not read.

use std::ops::Range;

use crate::beside::with_helpers;
use crate::error::CoreError;
use crate::simd::Simd;
use crate::topk::{Ties, TopK};

use super::passes::{Pass, Passes};
use super::portable;
use super::query::{BlockQuery, QueryGroup};
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

/// A search that any number of threads take part in, each when it has time for it.
pub struct SharedSearch<'a> {
    passes: Passes<'a>,
    first: Pass<'a>,
}

impl<'a> SharedSearch<'a> {
    /// Of `queries` (row-major f32). `search.threads` tells in how many pieces the vectors are cut.
    pub fn new(
        simd: Simd,
        store: &'a PackedVectors,
        queries: &[f32],
        search: Search<'a>,
    ) -> Result<Self, CoreError> {
        let groups = QueryGroup::split(simd, store.dim(), queries)?;
        let part = Part {
            store,
            filter: search.filter,
        };
        let passes = Passes::new(simd, part, search, groups);
        let first = passes.first();
        Ok(Self { passes, first })
    }

    /// Scans pieces until none is left that nobody has taken. Others may still be at theirs then.
    pub fn work(&self) {
        self.passes.work_first(&self.first);
    }

    /// What was found by all together, as [`search`] tells it. Pieces that nobody took are scanned by nobody: somebody's
    /// [`Self::work`] must have come to its end.
    pub fn finish(self, mut put: impl FnMut(usize, usize, u32, f32)) -> Vec<usize> {
        let best = self.passes.best(self.first);
        let mut counts = Vec::new();
        for (group, tops) in self.passes.groups().iter().zip(best) {
            for (q, top) in tops.into_iter().take(group.asked).enumerate() {
                let query = group.first + q;
                counts.push(top.finish(|place, index, score| put(query, place, index, score)));
            }
        }
        counts
    }
}

/// Scores every admitted vector against every query (row-major f32) and calls `put(query, place, index, score)` for the
/// best, best first. Returns how many there are for each query. The answer depends neither on the path nor on threads.
pub fn search(
    simd: Simd,
    store: &PackedVectors,
    queries: &[f32],
    search: &Search<'_>,
    put: impl FnMut(usize, usize, u32, f32),
) -> Result<Vec<usize>, CoreError> {
    let shared = SharedSearch::new(simd, store, queries, *search)?;
    with_helpers(shared.passes.helpers(&shared.first), &|| shared.work());
    Ok(shared.finish(put))
}

/// Scores the vectors of every `step`th of `blocks` on the given path and offers them.
pub(super) fn scan(
    simd: Simd,
    part: Part<'_>,
    blocks: Range<usize>,
    step: usize,
    group: &QueryGroup,
    tops: &mut [TopK<'_>],
) {
    let blocks = blocks.step_by(step);
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

/// `(dot as f32 * scale) * query_scale` for each vector of one block (its `lines`), of exact dot products.
#[inline]
pub fn block_scores(
    simd: Simd,
    lines: &[Line],
    query: BlockQuery<'_>,
    scales: &[f32; LANES],
    query_scale: f32,
) -> [f32; LANES] {
    let dots = match simd {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx512() => unsafe {
            return avx512::block_scores(lines, query, scales, query_scale);
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx2() => unsafe { avx2::block_dots(lines, query.wide, query.start) },
        _ => portable::block_dots(lines, query.words, query.start),
    };
    std::array::from_fn(|lane| (dots[lane] as f32 * scales[lane]) * query_scale)
}

/// [`block_scores`] of some of many blocks, whose lines and scales lie one after the other.
pub fn scores_of_blocks(
    simd: Simd,
    (lines, scales): (&[Line], &[[f32; LANES]]),
    blocks: &[u32],
    query: BlockQuery<'_>,
    query_scale: f32,
    out: &mut [[f32; LANES]],
) {
    #[cfg(target_arch = "x86_64")]
    if simd.is_avx512() {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        return unsafe {
            avx512::scores_of_blocks((lines, scales), blocks, query, query_scale, out)
        };
    }
    let groups = query.words.len();
    for (block, out) in blocks.iter().zip(out) {
        let own = &lines[*block as usize * groups..][..groups];
        *out = block_scores(simd, own, query, &scales[*block as usize], query_scale);
    }
}

#[cfg(test)]
mod tests;
