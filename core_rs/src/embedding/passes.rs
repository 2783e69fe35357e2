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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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

/// Which way the next scan goes.
static TURN: AtomicBool = AtomicBool::new(false);

/// A scan for groups of queries, as far as all its passes have it in common.
pub(super) struct Passes<'a> {
    simd: Simd,
    part: Part<'a>,
    search: Search<'a>,
    groups: Vec<QueryGroup>,
    /// For each group, once somebody came to it.
    guesses: Vec<OnceLock<Vec<Option<f32>>>>,
    pieces: Vec<Range<usize>>,
}

/// What threads that take part in a pass have in common.
pub(super) struct Pass<'a> {
    /// The groups that are scanned, by their places.
    groups: Vec<usize>,
    /// The next piece of one of them.
    next: AtomicUsize,
    /// Whether pieces are taken from the last one on.
    backwards: bool,
    found: Mutex<Vec<Option<Vec<TopK<'a>>>>>,
}

impl<'a> Pass<'a> {
    fn of(groups: Vec<usize>, ties: Ties<'_>) -> Self {
        // A scan begins where the one before it ended, for that lies in a core's cache. Ties by index want pieces in
        // ascending order.
        let turn = matches!(ties, Ties::Ranks(_)) && !TURN.fetch_xor(true, Ordering::Relaxed);
        Self {
            next: AtomicUsize::new(0),
            backwards: turn,
            found: Mutex::new(vec![None; groups.len()]),
            groups,
        }
    }

    fn put(&self, at: usize, tops: Vec<TopK<'a>>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut found[at] {
            None => found[at] = Some(tops),
            Some(others) => others
                .iter_mut()
                .zip(&tops)
                .for_each(|(to, top)| to.merge(top)),
        }
    }

    fn into_found(self) -> Vec<Vec<TopK<'a>>> {
        let found = self.found.into_inner();
        let found = found.unwrap_or_else(PoisonError::into_inner);
        found.into_iter().map(Option::unwrap_or_default).collect()
    }
}

impl<'a> Passes<'a> {
    pub fn new(simd: Simd, part: Part<'a>, search: Search<'a>, groups: Vec<QueryGroup>) -> Self {
        Self {
            simd,
            part,
            search,
            guesses: groups.iter().map(|_| OnceLock::new()).collect(),
            pieces: pieces(part.store.blocks(), search.threads),
            groups,
        }
    }

    pub fn groups(&self) -> &[QueryGroup] {
        &self.groups
    }

    /// So many threads beside the asker's may have something to do in a pass.
    pub fn helpers(&self, pass: &Pass<'_>) -> usize {
        let tasks = pass.groups.len() * self.pieces.len();
        let threads = self.search.threads.min(tasks);
        threads.min(spare_threads::most() + 1).saturating_sub(1)
    }

    /// The pass that everybody begins with.
    pub fn first(&self) -> Pass<'a> {
        Pass::of((0..self.groups.len()).collect(), self.search.ties)
    }

    /// Takes part in the first pass until nothing of it is left.
    pub fn work_first(&self, pass: &Pass<'a>) {
        self.work(pass, &|g, q| {
            self.guess(g)[q].unwrap_or(self.search.min_score)
        });
    }

    /// The best for each query of each group, once nobody is at the first pass any longer.
    pub fn best(&self, first: Pass<'a>) -> Vec<Vec<TopK<'a>>> {
        let (least, k) = (self.search.min_score, self.search.k);
        let mut found = first.into_found();
        // No query again whose floor was no guess, or let enough through.
        let wrong = |g: usize, q: usize| self.guess(g)[q].is_some() && found[g][q].found() < k;
        let wrong: Vec<Vec<bool>> = (self.groups.iter().enumerate())
            .map(|(g, group)| (0..group.asked).map(|q| wrong(g, q)).collect())
            .collect();
        let again: Vec<usize> = (0..self.groups.len())
            .filter(|g| wrong[*g].contains(&true))
            .collect();
        if again.is_empty() {
            return found;
        }
        let floor = |g: usize, q: usize| if wrong[g][q] { least } else { f32::INFINITY };
        let second = Pass::of(again.clone(), self.search.ties);
        with_helpers(self.helpers(&second), &|| self.work(&second, &floor));
        for (g, tops) in again.iter().zip(second.into_found()) {
            let queries = found[*g].iter_mut().zip(tops).zip(&wrong[*g]);
            for ((own, top), _) in queries.filter(|(_, wrong)| **wrong) {
                *own = top;
            }
        }
        found
    }

    /// Finds what reaches the floor of each query in pieces that nobody has taken. A query with a floor of infinity takes
    /// no part.
    fn work(&self, pass: &Pass<'a>, floor: &dyn Fn(usize, usize) -> f32) {
        let pieces = &self.pieces;
        let mut own: Option<(usize, Vec<TopK<'a>>)> = None;
        loop {
            let task = pass.next.fetch_add(1, Ordering::Relaxed);
            if task >= pass.groups.len() * pieces.len() {
                break;
            }
            let (at, piece) = (task / pieces.len(), task % pieces.len());
            let piece = match pass.backwards {
                true => &pieces[pieces.len() - 1 - piece],
                false => &pieces[piece],
            };
            let g = pass.groups[at];
            if let Some((before, tops)) = own.take_if(|(before, _)| *before != at) {
                pass.put(before, tops);
            }
            let group = &self.groups[g];
            let (_, tops) = own.get_or_insert_with(|| (at, self.tops(group, |q| floor(g, q))));
            scan(self.simd, self.part, piece.clone(), 1, group, tops);
        }
        if let Some((at, tops)) = own {
            pass.put(at, tops);
        }
    }

    fn tops(&self, group: &QueryGroup, floor: impl Fn(usize) -> f32) -> Vec<TopK<'a>> {
        let (n, find) = (self.part.store.len(), &self.search);
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
    fn guess(&self, group: usize) -> &[Option<f32>] {
        self.guesses[group].get_or_init(|| self.guessed(&self.groups[group]))
    }

    fn guessed(&self, group: &QueryGroup) -> Vec<Option<f32>> {
        let (blocks, find) = (self.part.store.blocks(), &self.search);
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
}

fn pieces(blocks: usize, threads: usize) -> Vec<Range<usize>> {
    let size = match threads {
        0 | 1 => blocks,
        threads => blocks.div_ceil(threads * PIECES).max(PIECE),
    };
    // One piece at least: there are answers of nothing, too.
    let firsts = (0..blocks.max(1)).step_by(size.max(1));
    firsts
        .map(|first| first..(first + size).min(blocks))
        .collect()
}
