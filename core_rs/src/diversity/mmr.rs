//! Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).
//!
//! Step by step the candidate with the largest `l * relevance - (1 - l) * max similarity with a chosen one`; similarity is
//! clamped to 0..=1, and is 0 before the first choice. The running maximum of each candidate is kept, so all of it is
//! O(n k d), not O(n k^2 d).

use crate::embedding::store::LANES;
use crate::error::CoreError;
use crate::simd::{Simd, by_simd};

use super::blocks::{Lanes, Objective, Order, choose, largest, replace};
use super::{Similarity, check_relevance};

/// What to choose.
#[derive(Clone, Copy, Debug)]
pub struct Mmr {
    /// How many, at most.
    pub k: usize,
    /// l: 1 looks at relevance alone, 0 at similarity alone.
    pub trade_off: f32,
    /// Only so many latest choices count; `None`: all.
    pub window: Option<usize>,
}

/// Chooses up to k of `candidates`; returns their indices and values, in the order of choice.
pub fn mmr(
    simd: Simd,
    mut candidates: impl Similarity,
    relevance: &[f32],
    count: usize,
    how: &Mmr,
) -> Result<Vec<(u32, f64)>, CoreError> {
    check_relevance(relevance, count)?;
    if !(0.0..=1.0).contains(&how.trade_off) {
        let rule = format!("{}; allowed: 0 to 1", how.trade_off);
        return Err(CoreError::Argument {
            field: "trade_off",
            rule,
        });
    }
    let order = Order::new(relevance);
    candidates.arrange(&order);
    let mut state = State::new(simd, candidates, relevance, &order, how);
    let lazy = state.window.is_none();
    Ok(choose(&order, how.k, lazy, state.bounds(), &mut state))
}

/// MMR between two choices, of candidates that are in order.
pub(crate) struct State<S> {
    simd: Simd,
    candidates: S,
    penalty: f32,
    /// `l * relevance`; negative infinity once chosen.
    gains: Vec<Lanes<f32>>,
    /// Largest similarity with a choice.
    nearest: Vec<Lanes<f32>>,
    values: Vec<Lanes<f64>>,
    known: Vec<usize>,
    window: Option<usize>,
    /// The latest similarities of each block, only with a window.
    ring: Vec<Lanes<f32>>,
    /// Blocks that lack the newest choice alone, and their similarities with it.
    behind: Vec<u32>,
    newest: Vec<Lanes<f32>>,
}

impl<S: Similarity> State<S> {
    /// Before the first choice; without a window that is shorter than k, values only fall.
    pub fn new(simd: Simd, candidates: S, relevance: &[f32], order: &Order, how: &Mmr) -> Self {
        let gain = |i: u32| how.trade_off * relevance[i as usize];
        let blocks = order.blocks();
        // A choice that leaves the window raises values again; without one they only fall.
        let window = how.window.filter(|w| *w < how.k);
        Self {
            simd,
            candidates,
            penalty: 1.0 - how.trade_off,
            gains: (0..blocks)
                .map(|b| order.lanes(b, gain, f32::NEG_INFINITY))
                .collect(),
            nearest: vec![[0.0; LANES]; blocks],
            values: vec![[0.0; LANES]; blocks],
            known: vec![0; blocks],
            ring: vec![[0.0; LANES]; blocks * window.unwrap_or(0)],
            window,
            behind: Vec::new(),
            newest: Vec::new(),
        }
    }

    /// The largest of the last `window` similarities, once the newest has taken the place of the oldest.
    fn slide(&mut self, block: usize, number: usize, window: usize, similarity: Lanes<f32>) {
        self.nearest[block] = [0.0; LANES];
        if window > 0 {
            let ring = &mut self.ring[block * window..][..window];
            ring[number % window] = similarity;
            for old in ring {
                raise(&mut self.nearest[block], old);
            }
        }
    }
}

impl<S: Similarity> Objective for State<S> {
    fn bounds(&self) -> Vec<f64> {
        self.gains.iter().map(|lanes| f64::from(lanes[0])).collect()
    }

    fn update(&mut self, block: usize, chosen: usize, mark: f64) -> (f64, usize) {
        let (simd, penalty) = (self.simd, self.penalty);
        // A block that knows all choices still wants its values: a similarity of nothing changes nothing else.
        let mut similarity = [0.0; LANES];
        let mut number = self.known[block];
        loop {
            if number < chosen {
                similarity = self.candidates.with_chosen(simd, block, number);
                if let Some(window) = self.window {
                    self.slide(block, number, window, similarity);
                    similarity = [0.0; LANES];
                }
            }
            let (latest, gains) = (&similarity, &self.gains[block]);
            let (nearest, values) = (&mut self.nearest[block], &mut self.values[block]);
            let largest = by_simd!(simd, fn run(
                latest: &Lanes<f32>,
                gains: &Lanes<f32>,
                nearest: &mut Lanes<f32>,
                penalty: f32,
                values: &mut Lanes<f64>,
            ) -> f64 = marginal);
            number += 1;
            if number >= chosen || largest < mark {
                self.known[block] = number.min(chosen);
                return (largest, number.min(chosen));
            }
        }
    }

    fn advance(
        &mut self,
        chosen: usize,
        open: &[u16],
        seen: &mut [Lanes<f64>],
        changed: &mut [u16],
    ) {
        self.behind.clear();
        for (block, open) in open.iter().enumerate() {
            changed[block] = 0;
            if *open == 0 {
                continue;
            }
            if self.window.is_none() && self.known[block] + 1 == chosen {
                self.behind.push(block as u32);
            } else {
                self.update(block, chosen, f64::NEG_INFINITY);
                changed[block] = open & replace(&self.values[block], &mut seen[block]);
            }
        }
        // The usual case, all blocks at once: a call for each of them would cost more than its few steps.
        let (blocks, newest) = (&self.behind, &mut self.newest);
        newest.resize(blocks.len(), [0.0; LANES]);
        if let Some(number) = chosen.checked_sub(1) {
            let simd = self.simd;
            self.candidates
                .with_chosen_each(simd, blocks, number, newest);
        }
        let parts = (self.gains.as_slice(), self.penalty);
        let (nearest, values) = (&mut self.nearest, &mut self.values);
        by_simd!(self.simd, fn run(
            blocks: &[u32],
            newest: &[Lanes<f32>],
            parts: (&[Lanes<f32>], f32),
            nearest: &mut [Lanes<f32>],
            values: &mut [Lanes<f64>],
            seen: &mut [Lanes<f64>],
            changed: &mut [u16],
        ) = marginals);
        for block in &self.behind {
            self.known[*block as usize] = chosen;
            changed[*block as usize] &= open[*block as usize];
        }
    }

    fn values(&self, block: usize) -> &Lanes<f64> {
        &self.values[block]
    }

    fn choose(&mut self, block: usize, lane: usize) -> bool {
        self.gains[block][lane] = f32::NEG_INFINITY;
        self.candidates.choose(block, lane);
        true
    }

    fn exclude(&mut self, block: usize, lane: usize) {
        self.gains[block][lane] = f32::NEG_INFINITY;
    }

    fn worth(&self, block: usize, lane: usize) -> f64 {
        self.values[block][lane]
    }

    fn worths(&self, _: &[u16], out: &mut [Lanes<f64>]) {
        // All of them: which are wanted is what no CPU foresees, and those of a slate are two pages.
        for (out, values) in out.iter_mut().zip(&self.values) {
            *out = *values;
        }
    }
}

/// `nearest` is never negative, so this clamps from below too.
#[inline(always)]
fn raise(nearest: &mut Lanes<f32>, similarity: &Lanes<f32>) {
    for (near, s) in nearest.iter_mut().zip(similarity) {
        let s = if *s < 1.0 { *s } else { 1.0 };
        *near = if s > *near { s } else { *near };
    }
}

#[inline(always)]
fn marginal(
    latest: &Lanes<f32>,
    gains: &Lanes<f32>,
    nearest: &mut Lanes<f32>,
    penalty: f32,
    values: &mut Lanes<f64>,
) -> f64 {
    // In registers: what was just stored by halves and lanes would be waited for.
    let mut raised = *nearest;
    raise(&mut raised, latest);
    *nearest = raised;
    for l in 0..LANES {
        values[l] = f64::from(gains[l] - penalty * raised[l]);
    }
    largest(values)
}

/// [`marginal`] of some blocks with their similarities to the newest choice; `seen` and `changed` as for
/// [`Objective::advance`].
#[inline(always)]
fn marginals(
    blocks: &[u32],
    newest: &[Lanes<f32>],
    (gains, penalty): (&[Lanes<f32>], f32),
    nearest: &mut [Lanes<f32>],
    values: &mut [Lanes<f64>],
    seen: &mut [Lanes<f64>],
    changed: &mut [u16],
) {
    for (block, latest) in blocks.iter().zip(newest) {
        let at = *block as usize;
        let (gains, near) = (&gains[at], &mut nearest[at]);
        let mut own = [0.0; LANES];
        let mut raised = *near;
        raise(&mut raised, latest);
        *near = raised;
        for l in 0..LANES {
            own[l] = f64::from(gains[l] - penalty * raised[l]);
        }
        changed[at] = replace(&own, &mut seen[at]);
        values[at] = own;
    }
}
