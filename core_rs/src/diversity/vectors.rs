//! Cosine similarity of f32 vectors.

use crate::embedding::quantize::check_rows;
use crate::embedding::store::{LANES, PerLane};
use crate::error::CoreError;
use crate::simd::Simd;

use super::Similarity;
use super::blocks::{Lanes, Order};
use super::sums::{scaled_sums, squares};

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

const MAX_DIM: usize = *crate::embedding::DIMS.end();
/// Stands where a block has no candidate.
static NO_VECTOR: [f32; MAX_DIM] = [0.0; MAX_DIM];

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
        let mut rows = [&NO_VECTOR[..self.dim]; LANES];
        let candidates = self.order.block(block);
        for (row, index) in rows.iter_mut().zip(candidates) {
            *row = &self.rows[*index as usize * self.dim..][..self.dim];
        }
        transpose(&rows, &mut turned);
        let mut squares_of = squares(self.simd, &turned);
        for lane in 0..candidates.len() {
            if SQUARES.contains(&squares_of[lane]) {
                continue;
            }
            // The cosine does not mind; the squares would leave the range of f32.
            let scaled = scale_to_one(rows[lane]);
            for (lanes, x) in turned.iter_mut().zip(&scaled) {
                lanes.0[lane] = *x;
            }
            squares_of[lane] = squares(self.simd, &turned)[lane];
        }
        self.inverses[block] = squares_of.map(|square| {
            if square > 0.0 {
                1.0 / square.sqrt()
            } else {
                0.0
            }
        });
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
        let turned = &self.turned[block];
        let chosen = &self.chosen[number * self.dim..][..self.dim];
        let (inverses, inverse) = (&self.inverses[block], self.chosen_inverses[number]);
        scaled_sums(simd, turned, chosen, inverses, inverse)
    }
}

/// `turned[dimension]` of 16 rows, in tiles of four by four.
fn transpose(rows: &[&[f32]; LANES], turned: &mut [PerLane]) {
    let whole = turned.len() / 4 * 4;
    let (tiles, rest) = turned.split_at_mut(whole);
    for (quarter, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
        let [a, b, c, d] = rows.map(|row| row.as_chunks::<4>().0);
        let tiles = tiles.as_chunks_mut::<4>().0;
        for ((((tile, a), b), c), d) in tiles.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            for (lanes, turned) in tile.iter_mut().zip(turn_tile([*a, *b, *c, *d])) {
                lanes.0.as_chunks_mut::<4>().0[quarter] = turned;
            }
        }
    }
    for (at, lanes) in rest.iter_mut().enumerate() {
        lanes.0 = rows.map(|row| row[whole + at]);
    }
}

/// Rows become columns. With intrinsics, because the compiler moves the numbers one by one.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn turn_tile(tile: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
    let mut turned = [[0.0; 4]; 4];
    // SAFETY: every x86-64 CPU has SSE, and loads and stores are of the four numbers of an array.
    unsafe {
        let [mut a, mut b, mut c, mut d] = tile.map(|row| _mm_loadu_ps(row.as_ptr()));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        for (to, from) in turned.iter_mut().zip([a, b, c, d]) {
            _mm_storeu_ps(to.as_mut_ptr(), from);
        }
    }
    turned
}

#[cfg(not(target_arch = "x86_64"))]
fn turn_tile(tile: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    std::array::from_fn(|i| tile.map(|row| row[i]))
}

fn scale_to_one(row: &[f32]) -> Vec<f32> {
    let largest = row.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
    if largest == 0.0 {
        return row.to_vec();
    }
    row.iter().map(|v| v / largest).collect()
}
