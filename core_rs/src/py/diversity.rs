//! Diversity as `headwater.kernels` calls it: one function for each method and kind of candidate.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

use crate::diversity::Similarity;
use crate::diversity::codes::Codes;
use crate::diversity::dpp::{Dpp, dpp};
use crate::diversity::mmr::{Mmr, mmr};
use crate::diversity::tags::TagSets;
use crate::diversity::vectors::Vectors;
use crate::error::CoreError;
use crate::py::arrays::{length, view, view_mut};
use crate::py::error::detached;
use crate::py::kernels::simd;
use crate::simd::Simd;

/// A method with its settings; the extracted tuple of Python is `(k, trade_off, window)` or `(k, theta)`.
#[derive(Clone, Copy, FromPyObject)]
enum Method {
    Mmr((usize, f32, Option<usize>)),
    Dpp((usize, f64)),
}

impl Method {
    fn k(self) -> usize {
        match self {
            Self::Mmr((k, _, _)) | Self::Dpp((k, _)) => k,
        }
    }

    fn run(
        self,
        simd: Simd,
        candidates: impl Similarity,
        relevance: &[f32],
        count: usize,
    ) -> Result<Vec<(u32, f64)>, CoreError> {
        match self {
            Self::Mmr((k, trade_off, window)) => {
                let how = Mmr {
                    k,
                    trade_off,
                    window,
                };
                mmr(simd, candidates, relevance, count, &how)
            }
            Self::Dpp((k, theta)) => dpp(simd, candidates, relevance, count, &Dpp { k, theta }),
        }
    }
}

/// Writes a selection and returns its length.
fn fill(chosen: &[(u32, f64)], indices: &mut [u32], values: &mut [f32]) -> usize {
    for (((index, value), to), gain) in chosen.iter().zip(indices).zip(values) {
        *to = *index;
        *gain = *value as f32;
    }
    chosen.len()
}

/// Chooses among float32 vectors, row-major of dimension `dim`.
#[pyfunction]
fn diversify_vectors(
    py: Python<'_>,
    method: Method,
    vectors: PyBuffer<f32>,
    dim: usize,
    relevance: PyBuffer<f32>,
    mut indices: PyBuffer<u32>,
    mut values: PyBuffer<f32>,
) -> PyResult<usize> {
    let simd = simd()?;
    let (rows, relevance) = (view("vectors", &vectors)?, view("relevance", &relevance)?);
    let (indices, values) = (
        view_mut("indices", &mut indices)?,
        view_mut("values", &mut values)?,
    );
    let chosen = detached(py, || {
        length("vectors", rows.len(), relevance.len() * dim)?;
        let candidates = Vectors::new(simd, rows, dim.max(1))?;
        method.run(simd, candidates, relevance, relevance.len())
    })?;
    length("indices", indices.len(), method.k())?;
    Ok(fill(&chosen, indices, values))
}

/// Chooses among int8 codes, row-major of dimension `dim`.
#[pyfunction]
fn diversify_codes(
    py: Python<'_>,
    method: Method,
    codes: PyBuffer<i8>,
    dim: usize,
    relevance: PyBuffer<f32>,
    mut indices: PyBuffer<u32>,
    mut values: PyBuffer<f32>,
) -> PyResult<usize> {
    let simd = simd()?;
    let (rows, relevance) = (view("vectors", &codes)?, view("relevance", &relevance)?);
    let (indices, values) = (
        view_mut("indices", &mut indices)?,
        view_mut("values", &mut values)?,
    );
    let chosen = detached(py, || {
        length("vectors", rows.len(), relevance.len() * dim)?;
        let candidates = Codes::new(dim, |at: usize| &rows[at * dim..][..dim]);
        method.run(simd, candidates, relevance, relevance.len())
    })?;
    length("indices", indices.len(), method.k())?;
    Ok(fill(&chosen, indices, values))
}

/// Chooses among tag sets: set i is `tags[starts[i]..starts[i + 1]]`.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn diversify_tags(
    py: Python<'_>,
    method: Method,
    starts: PyBuffer<u32>,
    tags: PyBuffer<u32>,
    relevance: PyBuffer<f32>,
    mut indices: PyBuffer<u32>,
    mut values: PyBuffer<f32>,
) -> PyResult<usize> {
    let simd = simd()?;
    let (starts, tags) = (view("starts", &starts)?, view("tags", &tags)?);
    let relevance = view("relevance", &relevance)?;
    let (indices, values) = (
        view_mut("indices", &mut indices)?,
        view_mut("values", &mut values)?,
    );
    let chosen = detached(py, || {
        let candidates = TagSets::new(starts, tags)?;
        let count = candidates.len();
        method.run(simd, candidates, relevance, count)
    })?;
    length("indices", indices.len(), method.k())?;
    Ok(fill(&chosen, indices, values))
}

/// Adds this file's functions to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(diversify_vectors, m)?)?;
    m.add_function(wrap_pyfunction!(diversify_codes, m)?)?;
    m.add_function(wrap_pyfunction!(diversify_tags, m)?)
}
