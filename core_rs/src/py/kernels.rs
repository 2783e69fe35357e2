//! The kernels as `headwater.kernels` calls them: arrays in, arrays out, no GIL.

use std::sync::OnceLock;

use parking_lot::RwLock;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

use crate::diversity::mmr::Mmr;
use crate::diversity::slate::slate;
use crate::embedding::quantize::quantize_row;
use crate::embedding::rescore::search_exact;
use crate::embedding::scan::{Search, search};
use crate::embedding::store::PackedVectors;
use crate::error::CoreError;
use crate::py::arrays::{filter_words, length, view, view_mut};
use crate::py::error::detached;
use crate::simd::Simd;
use crate::topk::Ties;

/// The path of this process: what `HEADWATER_SIMD` says at the first use, else the fastest.
pub fn simd() -> Result<Simd, CoreError> {
    static READ: OnceLock<Simd> = OnceLock::new();
    if let Some(simd) = READ.get() {
        return Ok(*simd);
    }
    let name = std::env::var_os("HEADWATER_SIMD").unwrap_or_else(|| "auto".into());
    let simd = Simd::named(&name.to_string_lossy())?.choose();
    Ok(*READ.get_or_init(|| simd))
}

/// `avx512`, `avx2` or `portable`: the path that this process takes.
#[pyfunction]
fn simd_path() -> PyResult<&'static str> {
    Ok(simd()?.name())
}

/// Quantises row-major vectors of dimension `dim`.
#[pyfunction]
fn quantize(
    py: Python<'_>,
    vectors: PyBuffer<f32>,
    dim: usize,
    mut codes: PyBuffer<i8>,
    mut scales: PyBuffer<f32>,
) -> PyResult<()> {
    let simd = simd()?;
    let vectors = view("vectors", &vectors)?;
    let codes = view_mut("codes", &mut codes)?;
    let scales = view_mut("scales", &mut scales)?;
    length("codes", codes.len(), vectors.len())?;
    length("scales", scales.len() * dim, vectors.len())?;
    if dim == 0 {
        return Ok(());
    }
    detached(py, || {
        let rows = vectors.chunks_exact(dim).zip(codes.chunks_exact_mut(dim));
        for (row, ((values, codes), scale)) in rows.zip(scales).enumerate() {
            *scale = quantize_row(simd, "vectors", row, values, codes)?;
        }
        Ok::<_, CoreError>(())
    })?;
    Ok(())
}

/// Packed int8 vectors behind a read-write lock: searches run beside each other, changes exclude them.
#[pyclass(frozen, module = "headwater._core")]
pub struct Int8Store {
    pub(super) simd: Simd,
    pub(super) vectors: RwLock<PackedVectors>,
}

#[pymethods]
impl Int8Store {
    #[new]
    fn new(dim: usize, capacity: usize) -> PyResult<Self> {
        Ok(Self {
            simd: simd()?,
            vectors: RwLock::new(PackedVectors::new(dim, capacity)?),
        })
    }

    fn __len__(&self) -> usize {
        self.vectors.read().len()
    }

    /// Dimension of the vectors.
    #[getter]
    fn dim(&self) -> usize {
        self.vectors.read().dim()
    }

    /// Bytes held.
    #[getter]
    fn memory(&self) -> usize {
        self.vectors.read().memory()
    }

    /// Appends vectors; returns the number of the first.
    fn add(&self, py: Python<'_>, vectors: PyBuffer<f32>) -> PyResult<usize> {
        let vectors = view("vectors", &vectors)?;
        detached(py, || self.vectors.write().add(self.simd, vectors))
    }

    /// Overwrites vectors in place.
    fn put(&self, py: Python<'_>, ids: PyBuffer<u32>, vectors: PyBuffer<f32>) -> PyResult<()> {
        let (ids, vectors) = (view("ids", &ids)?, view("vectors", &vectors)?);
        detached(py, || self.vectors.write().put(self.simd, ids, vectors))
    }

    /// Codes and scales of vectors, row-major.
    fn get(
        &self,
        ids: PyBuffer<u32>,
        mut codes: PyBuffer<i8>,
        mut scales: PyBuffer<f32>,
    ) -> PyResult<()> {
        let ids = view("ids", &ids)?;
        let codes = view_mut("codes", &mut codes)?;
        let scales = view_mut("scales", &mut scales)?;
        let vectors = self.vectors.read();
        vectors.check_ids(ids)?;
        length("codes", codes.len(), ids.len() * vectors.dim())?;
        length("scales", scales.len(), ids.len())?;
        let rows = ids.iter().zip(codes.chunks_exact_mut(vectors.dim()));
        for ((id, codes), scale) in rows.zip(scales) {
            *scale = vectors.get(*id as usize, codes);
        }
        Ok(())
    }

    /// The best `k` for each query, into rows of `ids` and `scores` of equal length; returns how many of each row count.
    #[pyo3(signature = (queries, k, ids, scores, mask, packed, min_score, threads, exact, oversample))]
    #[allow(clippy::too_many_arguments)]
    fn search(
        &self,
        py: Python<'_>,
        queries: PyBuffer<f32>,
        k: usize,
        mut ids: PyBuffer<u32>,
        mut scores: PyBuffer<f32>,
        mask: Option<PyBuffer<u8>>,
        packed: bool,
        min_score: f32,
        threads: usize,
        exact: Option<PyBuffer<f32>>,
        oversample: usize,
    ) -> PyResult<Vec<usize>> {
        let queries = view("queries", &queries)?;
        let ids = view_mut("ids", &mut ids)?;
        let scores = view_mut("scores", &mut scores)?;
        let mask = mask.as_ref().map(|mask| view("mask", mask)).transpose()?;
        let exact = exact
            .as_ref()
            .map(|exact| view("rescore", exact))
            .transpose()?;
        let counts = detached(py, || {
            let vectors = self.vectors.read();
            let asked = queries.len() / vectors.dim();
            length("queries", queries.len(), asked * vectors.dim())?;
            length("ids", ids.len(), asked * k)?;
            length("scores", scores.len(), asked * k)?;
            let words = mask
                .map(|mask| filter_words(mask, packed, vectors.len()))
                .transpose()?;
            let find = Search {
                k,
                min_score,
                filter: words.as_deref(),
                ties: Ties::Index,
                threads,
            };
            let put = |query: usize, place: usize, id: u32, score: f32| {
                ids[query * k + place] = id;
                scores[query * k + place] = score;
            };
            match exact {
                None => search(self.simd, &vectors, queries, &find, put),
                Some(exact) => {
                    search_exact(self.simd, &vectors, queries, &find, exact, oversample, put)
                }
            }
        })?;
        Ok(counts)
    }

    /// Scores all vectors for one query and chooses `len(ids)` of the best `pool` by MMR; returns how many.
    #[pyo3(signature = (query, pool, trade_off, ids, scores, mask, packed, threads))]
    #[allow(clippy::too_many_arguments)]
    fn slate(
        &self,
        py: Python<'_>,
        query: PyBuffer<f32>,
        pool: usize,
        trade_off: f32,
        mut ids: PyBuffer<u32>,
        mut scores: PyBuffer<f32>,
        mask: Option<PyBuffer<u8>>,
        packed: bool,
        threads: usize,
    ) -> PyResult<usize> {
        let query = view("query", &query)?;
        let ids = view_mut("ids", &mut ids)?;
        let scores = view_mut("scores", &mut scores)?;
        let mask = mask.as_ref().map(|mask| view("mask", mask)).transpose()?;
        let chosen = detached(py, || {
            let vectors = self.vectors.read();
            length("query", query.len(), vectors.dim())?;
            let words = mask
                .map(|mask| filter_words(mask, packed, vectors.len()))
                .transpose()?;
            let find = Search {
                k: pool,
                min_score: f32::NEG_INFINITY,
                filter: words.as_deref(),
                ties: Ties::Index,
                threads,
            };
            let how = Mmr {
                k: ids.len(),
                trade_off,
                window: None,
            };
            slate(self.simd, &vectors, query, &find, &how)
        })?;
        for (((id, score), to), value) in chosen.iter().zip(ids).zip(scores) {
            (*to, *value) = (*id, *score);
        }
        Ok(chosen.len())
    }
}

/// Adds this file's names to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Int8Store>()?;
    m.add_function(wrap_pyfunction!(simd_path, m)?)?;
    m.add_function(wrap_pyfunction!(quantize, m)?)
}
