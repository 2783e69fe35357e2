//! The passes of a scan: a floor from a sample, all vectors with that floor, and once more for whom it was too high.
//!
//! A scan that starts without a floor offers about k log(n/k) scores, and that costs more than the dot products of many
//! queries. So a sample is scanned first: a score that more than enough of the sample reach is probably reached by k of
//! the whole. As floor it lets a few times k through. Where fewer than k reached it, that query is scanned again
//! without it, so the answer is exact whatever the sample said.
//!
//! The vectors are cut into pieces, and each thread takes the next piece when it is done with one. The asking thread
//! begins at once and waits for nobody who has not begun.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::beside::with_helpers;
use crate::simd::Simd;
use crate::spare_threads;
use crate::topk::{Ties, TopK};

use super::query::QueryGroup;
use super::scan::{Part, Search, scan};
use super::store::LANES;

/// One block in so many is looked at for a guess, in small stores twice as many: single blocks, for neighbours in a store
/// are often alike, and a run of them says little of the rest.
pub(super) const SAMPLE: usize = 32;
/// Pieces for each thread: what the last one to finish may be behind is half a piece.
const PIECES: usize = 8;
/// Blocks of the smallest piece.
const PIECE: usize = 64;

/// A scan for groups of queries.
pub(super) struct Passes<'a, 's> {
    pub simd: Simd,
    pub part: Part<'s>,
    pub search: &'s Search<'a>,
    pub groups: &'s [QueryGroup],
}

impl<'a> Passes<'a, '_> {
    /// The best for each query of each group.
    pub fn best(&self) -> Vec<Vec<TopK<'a>>> {
        let least = self.search.min_score;
        let guesses: Vec<OnceLock<Vec<Option<f32>>>> =
            self.groups.iter().map(|_| OnceLock::new()).collect();
        let guess = |g: usize| guesses[g].get_or_init(|| self.guess(&self.groups[g]));
        let all: Vec<usize> = (0..self.groups.len()).collect();
        let mut found = self.pass(&all, |g, q| guess(g)[q].unwrap_or(least));
        // No query again whose floor was no guess, or let enough through.
        let wrong =
            |g: usize, q: usize| guess(g)[q].is_some() && found[g][q].found() < self.search.k;
        let wrong: Vec<Vec<bool>> = (all.iter())
            .map(|g| (0..self.groups[*g].asked).map(|q| wrong(*g, q)).collect())
            .collect();
        let again: Vec<usize> = (all.into_iter())
            .filter(|g| wrong[*g].contains(&true))
            .collect();
        let floor = |g: usize, q: usize| if wrong[g][q] { least } else { f32::INFINITY };
        for (g, tops) in again.iter().zip(self.pass(&again, floor)) {
            let queries = found[*g].iter_mut().zip(tops).zip(&wrong[*g]);
            for ((own, top), _) in queries.filter(|(_, wrong)| **wrong) {
                *own = top;
            }
        }
        found
    }

    /// What reaches the floor of each query, of so many groups by their places. A query with a floor of infinity takes no
    /// part.
    fn pass(
        &self,
        groups: &[usize],
        floor: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Vec<Vec<TopK<'a>>> {
        let pieces = self.pieces();
        let (tasks, next) = (groups.len() * pieces.len(), AtomicUsize::new(0));
        let found: Mutex<Vec<Option<Vec<TopK<'a>>>>> = Mutex::new(vec![None; groups.len()]);
        let put = |at: usize, tops: Vec<TopK<'a>>| {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut found[at] {
                None => found[at] = Some(tops),
                Some(others) => others
                    .iter_mut()
                    .zip(&tops)
                    .for_each(|(to, top)| to.merge(top)),
            }
        };
        let work = || {
            let mut own: Option<(usize, Vec<TopK<'a>>)> = None;
            loop {
                let task = next.fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    break;
                }
                let (at, piece) = (task / pieces.len(), &pieces[task % pieces.len()]);
                let group = &self.groups[groups[at]];
                if let Some((before, tops)) = own.take_if(|(before, _)| *before != at) {
                    put(before, tops);
                }
                // Pieces come in ascending order to each thread, as ties by index want it.
                let (_, tops) =
                    own.get_or_insert_with(|| (at, self.tops(group, |q| floor(groups[at], q))));
                scan(self.simd, self.part, piece.clone(), 1, group, tops);
            }
            if let Some((at, tops)) = own {
                put(at, tops);
            }
        };
        let helpers = self
            .search
            .threads
            .min(tasks)
            .min(spare_threads::most() + 1);
        with_helpers(helpers.saturating_sub(1), &work);
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.into_iter().map(Option::unwrap_or_default).collect()
    }

    fn tops(&self, group: &QueryGroup, floor: impl Fn(usize) -> f32) -> Vec<TopK<'a>> {
        let (n, find) = (self.part.store.len(), self.search);
        let top = |floor: f32| match floor {
            f32::INFINITY => TopK::new(0, 0, floor, find.ties),
            // A guess.
            _ if floor > find.min_score => TopK::new(find.k, n, floor, find.ties).cut_early(),
            _ => TopK::new(find.k, n, floor, find.ties),
        };
        let floor = |q: usize| {
            if q < group.asked {
                floor(q)
            } else {
                f32::INFINITY
            }
        };
        (0..group.len).map(|q| top(floor(q))).collect()
    }

    /// For each query a score that k vectors probably reach, where the sample tells one.
    fn guess(&self, group: &QueryGroup) -> Vec<Option<f32>> {
        let (blocks, find) = (self.part.store.blocks(), self.search);
        // k / step of the sample are among the best k of the whole, give or take; the rest is for the takes. A block of
        // alike vectors counts as one draw, so that is four times the deviation of single ones, and half as much again.
        let plan = |step: usize| {
            let share = find.k as f64 / step as f64;
            let wanted = (share + 6.0 * share.sqrt() + 3.0).ceil() as usize;
            let sampled = blocks / step * LANES;
            (wanted * 4 <= sampled).then_some((step, wanted, sampled))
        };
        let plan = [SAMPLE, SAMPLE / 2].into_iter().find_map(plan);
        let Some((step, wanted, sampled)) = plan.filter(|_| find.k > 0) else {
            return vec![None; group.asked];
        };
        let fresh = TopK::new(wanted, sampled + LANES, find.min_score, Ties::Index).cut_early();
        let mut tops = vec![fresh; group.asked];
        tops.resize(group.len, TopK::new(0, 0, f32::INFINITY, Ties::Index));
        scan(self.simd, self.part, 0..blocks, step, group, &mut tops);
        let asked = tops.iter_mut().take(group.asked);
        asked.map(TopK::worst).collect()
    }

    fn pieces(&self) -> Vec<Range<usize>> {
        let blocks = self.part.store.blocks();
        let size = match self.search.threads {
            0 | 1 => blocks,
            threads => blocks.div_ceil(threads * PIECES).max(PIECE),
        };
        // One piece at least: there are answers of nothing, too.
        let firsts = (0..blocks.max(1)).step_by(size.max(1));
        firsts
            .map(|first| first..(first + size).min(blocks))
            .collect()
    }
}
