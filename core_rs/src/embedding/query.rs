//! Queries, quantised and laid out for the scan.

use crate::error::CoreError;
use crate::simd::Simd;

use super::DIMS;
use super::quantize::quantize_row;
use super::store::{BIAS, Line};

/// Most queries that one pass over the vectors answers.
pub const MAX_GROUP: usize = 16;

/// Queries that one pass answers together.
#[derive(Clone, Debug)]
pub struct QueryGroup {
    /// Place of the first query in the call.
    pub first: usize,
    /// How many queries there are room for: 1, 2, 4, 8 or 16.
    pub len: usize,
    /// How many there are; the rest are zeros that nothing is found for.
    pub asked: usize,
    /// Four codes of a query as one little-endian word: `words[group * len + query]`.
    pub words: Vec<i32>,
    /// The same four codes as 16-bit numbers, for AVX2: `wide[group * len + query]`.
    pub wide: Vec<i64>,
    /// What a dot product starts from: -128 times the sum of the query's codes.
    pub starts: Vec<i32>,
    /// Scale of each query.
    pub scales: Vec<f32>,
}

impl QueryGroup {
    /// Quantises `queries` (row-major, of dimension `dim`) into groups, as large as they can be first. One that is three
    /// quarters full takes all that is left: a pass reads all vectors, and that costs more than a few queries of zeros.
    pub fn split(simd: Simd, dim: usize, queries: &[f32]) -> Result<Vec<Self>, CoreError> {
        let total = queries.len() / dim;
        let mut groups = Vec::new();
        let mut first = 0;
        while first < total {
            let left = total - first;
            let len = [16, 8, 4, 2, 1]
                .into_iter()
                .find(|n| n * 3 <= left * 4)
                .unwrap_or(1);
            let asked = len.min(left);
            let rows = &queries[first * dim..(first + asked) * dim];
            groups.push(Self::new(simd, dim, first, len, rows)?);
            first += asked;
        }
        Ok(groups)
    }

    fn new(
        simd: Simd,
        dim: usize,
        first: usize,
        len: usize,
        rows: &[f32],
    ) -> Result<Self, CoreError> {
        let groups = dim.div_ceil(4);
        let mut group = Self {
            first,
            len,
            asked: rows.len() / dim,
            words: vec![0; groups * len],
            wide: vec![0; groups * len],
            starts: Vec::with_capacity(len),
            scales: Vec::with_capacity(len),
        };
        let mut codes = [0i8; *DIMS.end()];
        for (q, row) in rows.chunks_exact(dim).enumerate() {
            let scale = quantize_row(simd, "queries", first + q, row, &mut codes[..dim])?;
            group.scales.push(scale);
            group.set(q, &codes[..groups * 4]);
        }
        group.starts.resize(len, 0);
        group.scales.resize(len, 0.0);
        Ok(group)
    }

    fn set(&mut self, q: usize, codes: &[i8]) {
        for (g, four) in codes.chunks_exact(4).enumerate() {
            let bytes = [four[0], four[1], four[2], four[3]].map(|code| code as u8);
            let word = i32::from_le_bytes(bytes);
            self.words[g * self.len + q] = word;
            self.wide[g * self.len + q] = widened(word);
        }
        let sum: i32 = codes.iter().map(|code| i32::from(*code)).sum();
        self.starts.push(-128 * sum);
    }
}

/// Four codes as 16-bit numbers.
fn widened(word: i32) -> i64 {
    let codes = word.to_le_bytes().into_iter().rev();
    codes.fold(0, |wide, code| {
        wide << 16 | i64::from(i16::from(code as i8) as u16)
    })
}

/// Queries that are put to single blocks: vectors of a store's own blocks.
#[derive(Clone, Debug, Default)]
pub struct BlockQueries {
    /// As those of a [`QueryGroup`] of one, query after query.
    words: Vec<i32>,
    wide: Vec<i64>,
    starts: Vec<i32>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct BlockQuery<'a> {
    pub(super) words: &'a [i32],
    pub(super) wide: &'a [i64],
    pub(super) start: i32,
}

impl BlockQueries {
    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.words.clear();
        self.wide.clear();
        self.starts.clear();
    }

    /// Appends a vector of a block, by its lane.
    pub fn push(&mut self, lines: &[Line], lane: usize) {
        let mut sum = 0;
        self.words.reserve(lines.len());
        self.wide.reserve(lines.len());
        for line in lines {
            let codes = line.0.as_chunks::<4>().0[lane].map(|biased| biased ^ BIAS);
            let word = i32::from_le_bytes(codes);
            sum += codes.iter().map(|code| i32::from(*code as i8)).sum::<i32>();
            self.words.push(word);
            self.wide.push(widened(word));
        }
        self.starts.push(-128 * sum);
    }

    /// The query of that number, of vectors with so many lines.
    #[inline]
    pub fn get(&self, number: usize, groups: usize) -> BlockQuery<'_> {
        BlockQuery {
            words: &self.words[number * groups..][..groups],
            wide: &self.wide[number * groups..][..groups],
            start: self.starts[number],
        }
    }
}
