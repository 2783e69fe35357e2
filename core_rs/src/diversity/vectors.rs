//! Cosine similarity of f32 vectors.

use crate::embedding::quantize::check_rows;
use crate::embedding::store::LANES;
use crate::error::CoreError;
use crate::simd::{Simd, by_simd};

use super::Similarity;
use super::blocks::{Lanes, Order};
use super::sums::sums_f32;

/// Candidates as unit vectors, turned so that 16 of them advance together; a block is turned when it is first needed.
pub struct Vectors<'a> {
    simd: Simd,
    rows: &'a [f32],
    dim: usize,
    order: Order,
    /// `turned[block * dim + dimension]`.
    turned: Vec<Lanes<f32>>,
    ready: Vec<bool>,
    chosen: Vec<f32>,
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
            ready: Vec::new(),
            chosen: Vec::new(),
        })
    }

    #[cold]
    fn turn(&mut self, block: usize) {
        let turned = &mut self.turned[block * self.dim..][..self.dim];
        let mut unit = vec![0.0; self.dim];
        for (lane, index) in self.order.block(block).iter().enumerate() {
            let row = &self.rows[*index as usize * self.dim..][..self.dim];
            let unit = unit.as_mut_slice();
            by_simd!(self.simd, fn run(row: &[f32], unit: &mut [f32]) = unit_of);
            for (lanes, x) in turned.iter_mut().zip(unit.iter()) {
                lanes[lane] = *x;
            }
        }
        self.ready[block] = true;
    }
}

impl Similarity for Vectors<'_> {
    fn arrange(&mut self, order: &Order) {
        self.turned = vec![[0.0; LANES]; order.blocks() * self.dim];
        self.ready = vec![false; order.blocks()];
        self.order = order.clone();
    }

    fn choose(&mut self, block: usize, lane: usize) {
        if !self.ready[block] {
            self.turn(block);
        }
        let turned = &self.turned[block * self.dim..][..self.dim];
        self.chosen.extend(turned.iter().map(|lanes| lanes[lane]));
    }

    #[inline]
    fn with_chosen(&mut self, simd: Simd, block: usize, number: usize) -> Lanes<f32> {
        if !self.ready[block] {
            self.turn(block);
        }
        let turned = &self.turned[block * self.dim..][..self.dim];
        let chosen = &self.chosen[number * self.dim..][..self.dim];
        sums_f32(simd, turned, chosen)
    }
}

/// The row divided by its length. It is divided by its largest component first, so that no square leaves the range.
#[inline(always)]
fn unit_of(row: &[f32], unit: &mut [f32]) {
    let bits = row
        .iter()
        .fold(0, |max: u32, v| max.max(v.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(bits);
    if largest == 0.0 {
        unit.fill(0.0);
        return;
    }
    if largest < 1e-30 {
        // The reciprocal might not be finite.
        for (u, v) in unit.iter_mut().zip(row) {
            *u = v / largest;
        }
    } else {
        let factor = 1.0 / largest;
        for (u, v) in unit.iter_mut().zip(row) {
            *u = v * factor;
        }
    }
    let mut sums = [0.0f32; LANES];
    let (whole, rest) = unit.as_chunks::<LANES>();
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
    let factor = 1.0 / sums[0].sqrt();
    for u in unit {
        *u *= factor;
    }
}
