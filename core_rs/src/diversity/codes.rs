//! Cosine similarity of int8 codes: exact i32 dot products over the lengths of the code vectors. Scales cancel out.

use crate::embedding::query::QueryGroup;
use crate::embedding::scan::block_dots;
use crate::embedding::store::{LANES, Line};
use crate::simd::{Simd, by_simd};

use super::Similarity;
use super::blocks::{Lanes, Order};

/// Candidates as codes, packed as in a store; a block is packed when it is first needed. `codes_of` writes the codes of
/// the candidate with that index.
pub struct Codes<F: Fn(usize, &mut [i8])> {
    codes_of: F,
    dim: usize,
    groups: usize,
    order: Order,
    lines: Vec<Line>,
    /// One over the length of each candidate's codes, 0 for a zero vector.
    inverses: Vec<Lanes<f32>>,
    ready: Vec<bool>,
    chosen: Vec<(QueryGroup, f32)>,
}

impl<F: Fn(usize, &mut [i8])> Codes<F> {
    /// Candidates of dimension `dim`.
    pub fn new(dim: usize, codes_of: F) -> Self {
        Self {
            codes_of,
            dim,
            groups: dim.div_ceil(4),
            order: Order::new(&[]),
            lines: Vec::new(),
            inverses: Vec::new(),
            ready: Vec::new(),
            chosen: Vec::new(),
        }
    }

    #[cold]
    fn pack(&mut self, simd: Simd, block: usize) {
        let mut codes = vec![0i8; self.groups * 4];
        let lines = &mut self.lines[block * self.groups..][..self.groups];
        for (lane, index) in self.order.block(block).iter().enumerate() {
            (self.codes_of)(*index as usize, &mut codes[..self.dim]);
            self.inverses[block][lane] = inverse_length(simd, &codes);
            let (fours, _) = codes.as_chunks::<4>();
            for (line, four) in lines.iter_mut().zip(fours) {
                let biased = four.map(|code| code as u8 ^ 0x80);
                line.0[lane * 4..][..4].copy_from_slice(&biased);
            }
        }
        self.ready[block] = true;
    }
}

fn inverse_length(simd: Simd, codes: &[i8]) -> f32 {
    let square = by_simd!(simd, fn run(codes: &[i8]) -> i32 = square);
    if square == 0 {
        0.0
    } else {
        1.0 / (square as f32).sqrt()
    }
}

#[inline(always)]
fn square(codes: &[i8]) -> i32 {
    codes.iter().map(|c| i32::from(*c) * i32::from(*c)).sum()
}

impl<F: Fn(usize, &mut [i8])> Similarity for Codes<F> {
    fn arrange(&mut self, order: &Order) {
        self.lines = vec![Line([0x80; 64]); order.blocks() * self.groups];
        self.inverses = vec![[0.0; LANES]; order.blocks()];
        self.ready = vec![false; order.blocks()];
        self.order = order.clone();
    }

    fn choose(&mut self, block: usize, lane: usize) {
        let mut codes = vec![0i8; self.groups * 4];
        let index = self.order.block(block)[lane] as usize;
        (self.codes_of)(index, &mut codes[..self.dim]);
        let inverse = inverse_length(Simd::chosen(), &codes);
        self.chosen
            .push((QueryGroup::of_codes(&codes, 1.0), inverse));
    }

    fn forget(&mut self) {
        self.chosen.clear();
    }

    #[inline]
    fn with_chosen(&mut self, simd: Simd, block: usize, number: usize) -> Lanes<f32> {
        if !self.ready[block] {
            self.pack(simd, block);
        }
        let lines = &self.lines[block * self.groups..][..self.groups];
        let (query, inverse) = &self.chosen[number];
        let dots = block_dots(simd, lines, query);
        let inverses = &self.inverses[block];
        let mut out = [0.0; LANES];
        for l in 0..LANES {
            out[l] = (dots[l] as f32 * inverses[l]) * inverse;
        }
        out
    }
}
