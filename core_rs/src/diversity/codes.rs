//! Cosine similarity of int8 codes: exact i32 dot products over the lengths of the code vectors. Scales cancel out.

use crate::embedding::query::BlockQueries;
use crate::embedding::scan::{block_scores, scores_of_blocks};
use crate::embedding::store::{LANES, Line, PackedVectors};
use crate::lent::{Lender, Lent};
use crate::simd::{Simd, by_simd};

use super::Similarity;
use super::blocks::{Lanes, Order};

/// Lines of pools, lent from slate to slate; of larger pools than this they are not kept.
static LINES: Lender<Vec<Line>> = Lender::new();
const KEPT: usize = 1 << 14;

/// Where candidates' codes come from.
pub trait CodesOf {
    /// Writes the codes of the candidate with that index into a lane of lines packed as in a store: all zero before.
    fn pack(&mut self, index: usize, lines: &mut [Line], lane: usize);
}

/// Candidates whose codes lie in memory, each one's side by side.
pub struct Rows<F>(F);

impl<'a, F: Fn(usize) -> &'a [i8]> CodesOf for Rows<F> {
    #[inline]
    fn pack(&mut self, index: usize, lines: &mut [Line], lane: usize) {
        let biased = |code: i8| code as u8 ^ 0x80;
        let (fours, rest) = (self.0)(index).as_chunks::<4>();
        for (line, four) in lines.iter_mut().zip(fours) {
            line.0.as_chunks_mut::<4>().0[lane] = four.map(biased);
        }
        if let Some(line) = lines.get_mut(fours.len()) {
            let slots = line.0[4 * lane..].iter_mut().zip(rest);
            slots.for_each(|(slot, code)| *slot = biased(*code));
        }
    }
}

/// Candidates that are vectors of a store, by `number_of` their index.
pub struct Stored<'a, F: Fn(usize) -> usize> {
    /// The store.
    pub store: &'a PackedVectors,
    /// Number of a candidate in it.
    pub number_of: F,
}

impl<F: Fn(usize) -> usize> CodesOf for Stored<'_, F> {
    fn pack(&mut self, index: usize, lines: &mut [Line], lane: usize) {
        self.store.copy((self.number_of)(index), lines, lane);
    }
}

/// Candidates as codes, packed as in a store; a block is packed when it is first needed.
pub struct Packed<C: CodesOf> {
    codes: C,
    groups: usize,
    order: Order,
    /// A block's are as they were left until it is packed.
    lines: Lent<'static, Vec<Line>>,
    /// One over the length of each candidate's codes, 0 for a zero vector.
    inverses: Vec<Lanes<f32>>,
    ready: Vec<bool>,
    chosen: BlockQueries,
    chosen_inverses: Vec<f32>,
}

/// Candidates whose codes lie in memory.
pub type Codes<F> = Packed<Rows<F>>;

impl<'a, F: Fn(usize) -> &'a [i8]> Codes<F> {
    /// Candidates of dimension `dim`; `codes_of` gives the codes of the candidate with that index, one for each dimension or
    /// none where all are 0.
    pub fn new(dim: usize, codes_of: F) -> Self {
        Self::of(Rows(codes_of), dim)
    }
}

impl<'a, F: Fn(usize) -> usize> Packed<Stored<'a, F>> {
    /// Candidates that are vectors of a store.
    pub fn stored(store: &'a PackedVectors, number_of: F) -> Self {
        Self::of(Stored { store, number_of }, store.dim())
    }
}

impl<C: CodesOf> Drop for Packed<C> {
    fn drop(&mut self) {
        if self.lines.len() > KEPT {
            *self.lines = Vec::new();
        }
    }
}

impl<C: CodesOf> Packed<C> {
    fn of(codes: C, dim: usize) -> Self {
        Self {
            codes,
            groups: dim.div_ceil(4),
            order: Order::new(&[]),
            lines: LINES.lend(),
            inverses: Vec::new(),
            ready: Vec::new(),
            chosen: BlockQueries::default(),
            chosen_inverses: Vec::new(),
        }
    }

    fn prepare(&mut self, simd: Simd, block: usize) {
        if !self.ready[block] {
            self.pack(simd, block);
        }
    }

    #[cold]
    fn pack(&mut self, simd: Simd, block: usize) {
        let lines = &mut self.lines[block * self.groups..][..self.groups];
        lines.fill(Line([0x80; 64]));
        for (lane, index) in self.order.block(block).iter().enumerate() {
            self.codes.pack(*index as usize, lines, lane);
        }
        self.inverses[block] = by_simd!(simd, fn run(lines: &[Line]) -> Lanes<i32> = squares).map(
            |square| match square {
                0 => 0.0,
                _ => 1.0 / (square as f32).sqrt(),
            },
        );
        self.ready[block] = true;
    }
}

/// Squared lengths of a block's codes.
#[inline(always)]
fn squares(lines: &[Line]) -> Lanes<i32> {
    let mut sums = [0; LANES];
    for line in lines {
        let (fours, _) = line.0.as_chunks::<4>();
        for (sum, four) in sums.iter_mut().zip(fours) {
            for biased in four {
                let code = i32::from(*biased) - 128;
                *sum += code * code;
            }
        }
    }
    sums
}

impl<C: CodesOf> Similarity for Packed<C> {
    fn arrange(&mut self, order: &Order) {
        let lines = order.blocks() * self.groups;
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0x80; 64]));
        }
        self.inverses = vec![[0.0; LANES]; order.blocks()];
        self.ready = vec![false; order.blocks()];
        self.order = order.clone();
    }

    fn choose(&mut self, block: usize, lane: usize) {
        self.prepare(Simd::chosen(), block);
        let lines = &self.lines[block * self.groups..][..self.groups];
        self.chosen.push(lines, lane);
        self.chosen_inverses.push(self.inverses[block][lane]);
    }

    fn forget(&mut self) {
        self.chosen.clear();
        self.chosen_inverses.clear();
    }

    #[inline]
    fn with_chosen(&mut self, simd: Simd, block: usize, number: usize) -> Lanes<f32> {
        self.prepare(simd, block);
        let lines = &self.lines[block * self.groups..][..self.groups];
        let query = self.chosen.get(number, self.groups);
        let inverse = self.chosen_inverses[number];
        block_scores(simd, lines, query, &self.inverses[block], inverse)
    }

    fn with_chosen_each(
        &mut self,
        simd: Simd,
        blocks: &[u32],
        number: usize,
        out: &mut [Lanes<f32>],
    ) {
        for block in blocks {
            self.prepare(simd, *block as usize);
        }
        let query = self.chosen.get(number, self.groups);
        let inverse = self.chosen_inverses[number];
        let (lines, inverses) = (self.lines.as_slice(), &self.inverses);
        scores_of_blocks(simd, (lines, inverses), blocks, query, inverse, out);
    }
}
