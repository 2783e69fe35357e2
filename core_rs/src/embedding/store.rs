//! Packed int8 vectors.
//!
//! Vectors lie in blocks of [`LANES`] = 16. Inside a block, four dimensions at a time: one cache line holds, for each of
//! the 16 vectors, four consecutive codes. One VPDPBUSD with four broadcast query codes advances 16 dot products by four
//! dimensions, and no horizontal sum is ever needed. Codes are stored as `code + 128`, the unsigned operand of that
//! instruction; the surplus, 128 times the sum of the query's codes, is a constant of the query.

use std::collections::TryReserveError;

use crate::error::CoreError;
use crate::simd::Simd;

use super::DIMS;
use super::quantize::{check_rows, quantize_row};

/// Vectors in a block.
pub const LANES: usize = 16;

/// Four dimensions of the 16 vectors of a block.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line(pub [u8; 64]);

/// One f32 for each vector of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct PerLane(pub [f32; LANES]);

/// A code of zero.
pub(super) const BIAS: u8 = 0x80;

/// int8 vectors of one dimension, numbered from 0 in the order they were added. `d + 4` bytes each (d rounded up to a
/// multiple of four).
#[derive(Clone, Debug)]
pub struct PackedVectors {
    dim: usize,
    groups: usize,
    len: usize,
    lines: Vec<Line>,
    scales: Vec<PerLane>,
}

impl PackedVectors {
    /// An empty store with room for `capacity` vectors. Refuses dimensions outside [`DIMS`] and more than memory holds.
    pub fn new(dim: usize, capacity: usize) -> Result<Self, CoreError> {
        if !DIMS.contains(&dim) {
            return Err(CoreError::Argument {
                field: "dim",
                rule: format!("{dim}; allowed: {} to {}", DIMS.start(), DIMS.end()),
            });
        }
        let mut store = Self {
            dim,
            groups: dim.div_ceil(4),
            len: 0,
            lines: Vec::new(),
            scales: Vec::new(),
        };
        store.reserve(capacity, "capacity")?;
        Ok(store)
    }

    fn reserve(&mut self, more: usize, field: &'static str) -> Result<(), CoreError> {
        let refused = |rule: String| CoreError::Argument { field, rule };
        let total = self.len.saturating_add(more);
        // The last number is kept free: it says "no item" in answers.
        if total >= u32::MAX as usize {
            return Err(refused(format!(
                "{total} vectors; allowed: at most 2^32 - 2"
            )));
        }
        let blocks = total.div_ceil(LANES);
        let mut grow = || -> Result<(), TryReserveError> {
            if blocks > self.scales.capacity() {
                let extra = blocks - self.scales.len();
                self.scales.try_reserve(extra)?;
                self.lines.try_reserve(extra.saturating_mul(self.groups))?;
            }
            Ok(())
        };
        grow().map_err(|_| {
            refused(format!(
                "{total} vectors of {} do not fit into memory",
                self.dim
            ))
        })
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Dimension of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Lines in a block: the dimension over four, rounded up.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Number of blocks; the last may be partly filled with zero vectors.
    pub fn blocks(&self) -> usize {
        self.scales.len()
    }

    /// The lines of block `block` and of those that follow it.
    #[inline]
    pub fn lines_from(&self, block: usize) -> &[Line] {
        &self.lines[block * self.groups..]
    }

    /// The scales of a block's vectors.
    #[inline]
    pub fn scales(&self, block: usize) -> &PerLane {
        &self.scales[block]
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.lines.capacity() * size_of::<Line>() + self.scales.capacity() * size_of::<PerLane>()
    }

    /// Quantises and appends row-major vectors; returns the number of the first. Nothing is added when one is refused.
    pub fn add(&mut self, simd: Simd, vectors: &[f32]) -> Result<usize, CoreError> {
        let first = self.len;
        let count = self.rows_of(vectors)?;
        check_rows(simd, "vectors", self.dim, vectors)?;
        self.reserve(count, "vectors")?;
        let blocks = (first + count).div_ceil(LANES);
        self.scales.resize(blocks, PerLane([0.0; LANES]));
        self.lines.resize(blocks * self.groups, Line([BIAS; 64]));
        self.len = first + count;
        self.write(simd, first..first + count, vectors)?;
        Ok(first)
    }

    /// Quantises row-major vectors over the numbers `ids`, the last of a repeated number winning. Nothing is changed
    /// when one is refused.
    pub fn put(&mut self, simd: Simd, ids: &[u32], vectors: &[f32]) -> Result<(), CoreError> {
        if self.rows_of(vectors)? != ids.len() {
            let rule = format!(
                "{} numbers for {} vectors",
                ids.len(),
                vectors.len() / self.dim
            );
            return Err(CoreError::Argument { field: "ids", rule });
        }
        self.check_ids(ids)?;
        check_rows(simd, "vectors", self.dim, vectors)?;
        self.write(simd, ids.iter().map(|id| *id as usize), vectors)
    }

    /// Refuses numbers of vectors that do not exist.
    pub fn check_ids(&self, ids: &[u32]) -> Result<(), CoreError> {
        match ids.iter().find(|id| **id as usize >= self.len) {
            None => Ok(()),
            Some(id) => Err(CoreError::Argument {
                field: "ids",
                rule: format!("{id}; allowed: below {}, the number of vectors", self.len),
            }),
        }
    }

    fn rows_of(&self, vectors: &[f32]) -> Result<usize, CoreError> {
        if !vectors.len().is_multiple_of(self.dim) {
            let rule = format!(
                "{} numbers; allowed: a multiple of {}",
                vectors.len(),
                self.dim
            );
            return Err(CoreError::Argument {
                field: "vectors",
                rule,
            });
        }
        Ok(vectors.len() / self.dim)
    }

    fn write(
        &mut self,
        simd: Simd,
        ids: impl Iterator<Item = usize>,
        vectors: &[f32],
    ) -> Result<(), CoreError> {
        let mut codes = [0i8; *DIMS.end()];
        for (row, (id, vector)) in ids.zip(vectors.chunks_exact(self.dim)).enumerate() {
            let scale = quantize_row(simd, "vectors", row, vector, &mut codes[..self.dim])?;
            self.set(id, &codes[..self.groups * 4], scale);
        }
        Ok(())
    }

    /// Writes one vector; codes beyond the dimension are zero.
    fn set(&mut self, id: usize, codes: &[i8], scale: f32) {
        let (block, lane) = (id / LANES, id % LANES);
        self.scales[block].0[lane] = scale;
        let lines = &mut self.lines[block * self.groups..][..self.groups];
        for (line, four) in lines.iter_mut().zip(codes.chunks_exact(4)) {
            let biased = [four[0], four[1], four[2], four[3]].map(|code| code as u8 ^ BIAS);
            line.0[lane * 4..][..4].copy_from_slice(&biased);
        }
    }

    /// Makes the store hold `len` vectors; new ones are zero.
    pub fn ensure(&mut self, len: usize) {
        if self.len < len {
            let blocks = len.div_ceil(LANES);
            self.scales.resize(blocks, PerLane([0.0; LANES]));
            self.lines.resize(blocks * self.groups, Line([BIAS; 64]));
            self.len = len;
        }
    }

    /// Writes over a vector that was quantised already: one code for each dimension, and the scale. Panics beyond the
    /// store's end and for another number of codes, as a slice would.
    pub fn set_codes(&mut self, id: usize, codes: &[i8], scale: f32) {
        let mut padded = [0i8; *DIMS.end()];
        padded[..self.dim].copy_from_slice(codes);
        self.set(id, &padded[..self.groups * 4], scale);
    }

    /// A vector's scale.
    pub fn scale(&self, id: usize) -> f32 {
        self.scales[id / LANES].0[id % LANES]
    }

    /// Copies a vector, as it is packed, into a lane of other lines, one for each of the store's [`groups`](Self::groups).
    pub fn copy(&self, id: usize, lines: &mut [Line], lane: usize) {
        let own = &self.lines[id / LANES * self.groups..][..self.groups];
        for (to, from) in lines.iter_mut().zip(own) {
            to.0.as_chunks_mut::<4>().0[lane] = from.0.as_chunks::<4>().0[id % LANES];
        }
    }

    /// A vector's codes, one for each dimension, and its scale.
    pub fn get(&self, id: usize, codes: &mut [i8]) -> f32 {
        let (block, lane) = (id / LANES, id % LANES);
        let lines = &self.lines[block * self.groups..][..self.groups];
        for (four, line) in codes.chunks_mut(4).zip(lines) {
            for (code, biased) in four.iter_mut().zip(&line.0[lane * 4..]) {
                *code = (biased ^ BIAS) as i8;
            }
        }
        self.scales[block].0[lane]
    }
}
