//! Cosine similarity of f32 vectors.

use crate::embedding::quantize::check_rows;
use crate::embedding::store::{LANES, PerLane};
use crate::error::CoreError;
use crate::simd::{Simd, by_simd};

use super::Similarity;
use super::blocks::{Lanes, Order};
use super::sums::scaled_sums;

/// Candidates turned so that 16 of them advance together; a block is turned when it is first needed.
pub struct Vectors<'a> {
    simd: Simd,
    rows: &'a [f32],
    dim: usize,
    order: Order,
    /// `turned[block][dimension]`; empty until needed.
    turned: Vec<Vec<PerLane>>,
    /// One over the length of each candidate, 0 for a zero vector.
    inverses: Vec<Lanes<f32>>,
    /// The chosen rows, and one over their lengths.
    chosen: Vec<f32>,
    chosen_inverses: Vec<f32>,
}

impl<'a> Vectors<'a> {
    /// Candidates from row-major vectors. Refuses what `check_rows` refuses. A zero vector resembles nothing.
    pub fn new(simd: Simd, rows: &'a [f32], dim: usize) -> Result<Self, CoreError> {
        check_rows(simd, "vectors", dim, rows)?;
        Ok(Self {
            simd,
            rows,
            dim,
            order: Order::new(&[]),
            turned: Vec::new(),
            inverses: Vec::new(),
            chosen: Vec::new(),
            chosen_inverses: Vec::new(),
        })
    }

    fn prepare(&mut self, block: usize) {
        if self.turned[block].is_empty() {
            self.turn(block);
        }
    }

    #[cold]
    fn turn(&mut self, block: usize) {
        let mut turned = vec![PerLane([0.0; LANES]); self.dim];
        let mut scaled = Vec::new();
        for (lane, index) in self.order.block(block).iter().enumerate() {
            let mut row = &self.rows[*index as usize * self.dim..][..self.dim];
            let mut square = by_simd!(self.simd, fn run(row: &[f32]) -> f32 = square_of);
            if !SQUARES.contains(&square) {
                // The cosine does not mind; the squares would leave the range of f32.
                scaled = scale_to_one(row);
                row = &scaled;
                square = square_of(row);
            }
            self.inverses[block][lane] = if square > 0.0 {
                1.0 / square.sqrt()
            } else {
                0.0
            };
            for (lanes, x) in turned.iter_mut().zip(row) {
                lanes.0[lane] = *x;
            }
        }
        drop(scaled);
        self.turned[block] = turned;
    }
}

/// Squared lengths for which products of two vectors neither overflow nor vanish.
const SQUARES: std::ops::RangeInclusive<f32> = 1e-20..=1e30;

impl Similarity for Vectors<'_> {
    fn arrange(&mut self, order: &Order) {
        self.turned = vec![Vec::new(); order.blocks()];
        self.inverses = vec![[0.0; LANES]; order.blocks()];
        self.order = order.clone();
    }

    fn choose(&mut self, block: usize, lane: usize) {
        self.prepare(block);
        let turned = &self.turned[block];
        self.chosen.extend(turned.iter().map(|lanes| lanes.0[lane]));
        self.chosen_inverses.push(self.inverses[block][lane]);
    }

    fn forget(&mut self) {
        self.chosen.clear();
        self.chosen_inverses.clear();
    }

    #[inline]
    fn with_chosen(&mut self, simd: Simd, block: usize, number: usize) -> Lanes<f32> {
        self.prepare(block);
        let chosen = &self.chosen[number * self.dim..][..self.dim];
        let (inverses, inverse) = (&self.inverses[block], self.chosen_inverses[number]);
        scaled_sums(simd, &self.turned[block], chosen, inverses, inverse)
    }
}

/// Squared length, in 16 partial sums that are added as a tree.
#[inline(always)]
fn square_of(row: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for part in whole {
        for l in 0..LANES {
            sums[l] += part[l] * part[l];
        }
    }
    for (sum, u) in sums.iter_mut().zip(rest) {
        *sum += u * u;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            sums[l] += sums[l + width];
        }
        width /= 2;
    }
    sums[0]
}

fn scale_to_one(row: &[f32]) -> Vec<f32> {
    let largest = row.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
    if largest == 0.0 {
        return row.to_vec();
    }
    row.iter().map(|v| v / largest).collect()
}
