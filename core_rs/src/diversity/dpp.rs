//! Greedy MAP inference for a determinantal point process (Chen, Zhang and Zhou, "Fast Greedy MAP Inference for
//! Determinantal Point Process", NeurIPS 2018, algorithm 1).
//!
//! The kernel is `L_ij = w_i w_j S_ij` with similarity S (1 on the diagonal) and `w_i = exp(a relevance_i)`,
//! `a = theta / (2 (1 - theta))`: the objective is then the paper's, theta times the sum of relevance plus (1 - theta) times
//! log det S of the chosen. Since L = W S W, the Cholesky rows are those of S alone and the gain
//! of a candidate is `w_i^2 d_i^2` with d_i^2 the residual of S: exact, and a residual says the same at every relevance.
//! O(n k (d + k)).

use crate::embedding::store::{LANES, PerLane};
use crate::error::CoreError;
use crate::simd::{Simd, by_simd};

use super::blocks::{Lanes, Objective, Order, choose, largest};
use super::sums::scaled_sums;
use super::{Similarity, check_relevance};

/// What to choose.
#[derive(Clone, Copy, Debug)]
pub struct Dpp {
    /// How many, at most.
    pub k: usize,
    /// Weight of relevance against diversity, 0 to below 1.
    pub theta: f64,
}

/// A candidate whose residual is smaller is a combination of the chosen ones, up to the rounding of f32 similarities.
pub const MIN_RESIDUAL: f64 = 1e-5;

/// Chooses up to k of `candidates`, fewer when all others depend linearly on the chosen ones. Returns indices and
/// residuals d^2 (in 0..=1) in the order of choice; log det S of the chosen is the sum of their logarithms.
pub fn dpp(
    simd: Simd,
    mut candidates: impl Similarity,
    relevance: &[f32],
    count: usize,
    how: &Dpp,
) -> Result<Vec<(u32, f64)>, CoreError> {
    check_relevance(relevance, count)?;
    if !(0.0..1.0).contains(&how.theta) {
        let rule = format!("{}; allowed: 0 to below 1", how.theta);
        return Err(CoreError::Argument {
            field: "theta",
            rule,
        });
    }
    let order = Order::new(relevance);
    candidates.arrange(&order);
    let mut state = State::new(simd, candidates, relevance, &order, how);
    let mut chosen = choose(&order, how.k, true, state.bounds(), &mut state);
    for (choice, residual) in chosen.iter_mut().zip(&state.residual_of) {
        choice.1 = *residual;
    }
    Ok(chosen)
}

/// A greedy DPP between two choices, of candidates that are in order.
pub(crate) struct State<'a, S> {
    simd: Simd,
    k: usize,
    candidates: S,
    weigh: Weigh<'a>,
    /// Squared weights, made when a block is first needed.
    weights: Vec<Option<Lanes<f64>>>,
    /// d^2 of each candidate; 0 once chosen.
    residuals: Vec<Lanes<f64>>,
    /// `w^2 d^2` of each candidate.
    values: Vec<Lanes<f64>>,
    /// Cholesky rows of each block's candidates, one entry for each choice that the block knows.
    rows: Vec<Vec<PerLane>>,
    /// Cholesky row of each choice, up to itself, and 1 / d.
    chosen: Vec<(Vec<f32>, f32)>,
    residual_of: Vec<f64>,
}

/// Squared weights of candidates, relative to the largest.
struct Weigh<'a> {
    relevance: &'a [f32],
    order: &'a Order,
    theta: f64,
    top: f64,
}

impl Weigh<'_> {
    fn of(&self, index: u32) -> f64 {
        // Twice the paper's factor, for squares.
        let factor = self.theta / (1.0 - self.theta);
        let behind = f64::from(self.relevance[index as usize]) - self.top;
        // Candidates too far behind to be told apart still come, after all others.
        libm::exp(factor * behind).max(f64::MIN_POSITIVE)
    }

    fn block(&self, block: usize) -> Lanes<f64> {
        self.order.lanes(block, |index| self.of(index), 0.0)
    }
}

impl<'a, S: Similarity> State<'a, S> {
    /// Before the first choice.
    pub fn new(
        simd: Simd,
        candidates: S,
        relevance: &'a [f32],
        order: &'a Order,
        how: &Dpp,
    ) -> Self {
        let blocks = order.blocks();
        let top = (blocks > 0).then(|| f64::from(relevance[order.block(0)[0] as usize]));
        Self {
            simd,
            k: how.k.min(order.len()),
            candidates,
            weigh: Weigh {
                relevance,
                order,
                theta: how.theta,
                top: top.unwrap_or(0.0),
            },
            weights: vec![None; blocks],
            residuals: (0..blocks).map(|b| order.lanes(b, |_| 1.0, 0.0)).collect(),
            values: vec![[0.0; LANES]; blocks],
            rows: vec![Vec::new(); blocks],
            chosen: Vec::new(),
            residual_of: Vec::new(),
        }
    }
}

impl<S: Similarity> Objective for State<'_, S> {
    fn bounds(&self) -> Vec<f64> {
        let weigh = &self.weigh;
        (0..self.weights.len())
            .map(|b| weigh.of(weigh.order.block(b)[0]))
            .collect()
    }

    fn update(&mut self, block: usize, chosen: usize, mark: f64) -> (f64, usize) {
        let simd = self.simd;
        let weigh = &self.weigh;
        let weights = &*self.weights[block].get_or_insert_with(|| weigh.block(block));
        let (rows, residuals) = (&mut self.rows[block], &mut self.residuals[block]);
        let values = &mut self.values[block];
        let mut largest = if rows.len() == chosen {
            gains(weights, residuals, values)
        } else {
            f64::NEG_INFINITY
        };
        if rows.capacity() == 0 {
            rows.reserve_exact(self.k);
        }
        for number in rows.len()..chosen {
            let similarity = &self.candidates.with_chosen(simd, block, number);
            let (row, inverse) = &self.chosen[number];
            let projected = &scaled_sums(simd, rows, row, &[1.0; LANES], 1.0);
            let mut entry = [0.0; LANES];
            let (inverse, to) = (*inverse, &mut entry);
            largest = by_simd!(simd, fn run(
                similarity: &Lanes<f32>,
                projected: &Lanes<f32>,
                inverse: f32,
                to: &mut Lanes<f32>,
                weights: &Lanes<f64>,
                residuals: &mut Lanes<f64>,
                values: &mut Lanes<f64>,
            ) -> f64 = advance);
            rows.push(PerLane(entry));
            if largest < mark {
                break;
            }
        }
        (largest, rows.len())
    }

    fn values(&self, block: usize) -> &Lanes<f64> {
        &self.values[block]
    }

    fn choose(&mut self, block: usize, lane: usize) -> bool {
        let residual = self.residuals[block][lane];
        self.residuals[block][lane] = 0.0;
        // A combination of the chosen ones adds nothing to what they span.
        if residual < MIN_RESIDUAL {
            return false;
        }
        let row = self.rows[block].iter().map(|entry| entry.0[lane]).collect();
        self.chosen.push((row, (1.0 / residual.sqrt()) as f32));
        self.residual_of.push(residual);
        self.candidates.choose(block, lane);
        true
    }

    fn exclude(&mut self, block: usize, lane: usize) {
        let weigh = &self.weigh;
        let weights = self.weights[block].get_or_insert_with(|| weigh.block(block));
        // The residual stays, for it may still be chosen.
        weights[lane] = f64::NEG_INFINITY;
    }

    /// `theta * (relevance - largest relevance) + (1 - theta) * ln d^2`, the step of the paper's objective; d^2 not below
    /// [`MIN_RESIDUAL`].
    fn worth(&self, block: usize, lane: usize) -> f64 {
        let weight = match &self.weights[block] {
            Some(weights) => weights[lane],
            None => self.weigh.of(self.weigh.order.block(block)[lane]),
        };
        let residual = self.residuals[block][lane].max(MIN_RESIDUAL);
        (1.0 - self.weigh.theta) * libm::log(weight * residual)
    }
}

/// One choice more: `e = (S - <row, rows>) / d`, `d^2 -= e^2`.
#[inline(always)]
fn advance(
    similarity: &Lanes<f32>,
    projected: &Lanes<f32>,
    inverse: f32,
    entry: &mut Lanes<f32>,
    weights: &Lanes<f64>,
    residuals: &mut Lanes<f64>,
    values: &mut Lanes<f64>,
) -> f64 {
    for l in 0..LANES {
        entry[l] = (similarity[l] - projected[l]) * inverse;
        residuals[l] -= f64::from(entry[l]) * f64::from(entry[l]);
    }
    gains(weights, residuals, values)
}

#[inline(always)]
fn gains(weights: &Lanes<f64>, residuals: &Lanes<f64>, values: &mut Lanes<f64>) -> f64 {
    for l in 0..LANES {
        let gain = weights[l] * residuals[l];
        values[l] = if residuals[l] >= MIN_RESIDUAL {
            gain
        } else {
            f64::NEG_INFINITY
        };
    }
    largest(values)
}
