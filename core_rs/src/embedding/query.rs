//! Queries, quantised and laid out for the scan.

use crate::error::CoreError;
use crate::simd::Simd;

use super::DIMS;
use super::quantize::quantize_row;

/// Most queries that one pass over the vectors answers.
pub const MAX_GROUP: usize = 16;

/// Queries that one pass answers together: 1, 2, 4, 8 or 16.
#[derive(Clone, Debug)]
pub struct QueryGroup {
    /// Place of the first query in the call.
    pub first: usize,
    /// Number of queries.
    pub len: usize,
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
    /// Quantises `queries` (row-major, of dimension `dim`) into groups, as large as they can be first.
    pub fn split(simd: Simd, dim: usize, queries: &[f32]) -> Result<Vec<Self>, CoreError> {
        let total = queries.len() / dim;
        let mut groups = Vec::new();
        let mut first = 0;
        while first < total {
            let left = total - first;
            let len = [16, 8, 4, 2, 1]
                .into_iter()
                .find(|n| *n <= left)
                .unwrap_or(1);
            let rows = &queries[first * dim..(first + len) * dim];
            groups.push(Self::new(simd, dim, first, len, rows)?);
            first += len;
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
        Ok(group)
    }

    /// One query that is already quantised; `codes` are padded with zeros to a multiple of four.
    pub fn of_codes(codes: &[i8], scale: f32) -> Self {
        let mut group = Self {
            first: 0,
            len: 1,
            words: vec![0; codes.len() / 4],
            wide: vec![0; codes.len() / 4],
            starts: Vec::with_capacity(1),
            scales: vec![scale],
        };
        group.set(0, codes);
        group
    }

    fn set(&mut self, q: usize, codes: &[i8]) {
        for (g, four) in codes.chunks_exact(4).enumerate() {
            let bytes = [four[0], four[1], four[2], four[3]].map(|code| code as u8);
            self.words[g * self.len + q] = i32::from_le_bytes(bytes);
            self.wide[g * self.len + q] = four.iter().rev().fold(0, |wide, code| {
                wide << 16 | i64::from(i16::from(*code) as u16)
            });
        }
        let sum: i32 = codes.iter().map(|code| i32::from(*code)).sum();
        self.starts.push(-128 * sum);
    }
}
