//! Co-occurrence counts and the session index by themselves, over lists of numbered items.

use parking_lot::RwLock;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

use crate::config::SessionKnnConfig;
use crate::csr::ItemLists;
use crate::error::CoreError;
use crate::ids::ItemIx;
use crate::neighbourhood::counts::CooccurrenceCounts;
use crate::neighbourhood::sealed::SealedSessions;
use crate::py::arrays::{length, view, view_mut};
use crate::py::error::detached;
use crate::py::kernels::simd;
use crate::query::numbered::{next_in_session, related};
use crate::query::seeds::Seed;
use crate::scenario::Metric;

/// Counts behind a read-write lock: questions run beside each other, changes exclude them.
#[pyclass(frozen, module = "headwater._core")]
pub struct CooccurrenceKernel {
    counts: RwLock<CooccurrenceCounts>,
    max_items: usize,
}

fn metric_named(name: &str) -> Result<Metric, CoreError> {
    Ok(match name {
        "cosine" => Metric::Cosine,
        "jaccard" => Metric::Jaccard,
        "conditional" => Metric::Conditional,
        "lift" => Metric::Lift,
        "pmi" => Metric::Pmi,
        "phi" => Metric::Phi,
        "llr" => Metric::Llr,
        _ => {
            return Err(CoreError::Argument {
                field: "metric",
                rule: format!(
                    "{name:?}; allowed: cosine, jaccard, conditional, lift, pmi, phi, llr"
                ),
            });
        }
    })
}

/// Hands lists of items, item by item in `items` and cut at `offsets`, to `take`, without the GIL.
fn with_lists(
    py: Python<'_>,
    offsets: &PyBuffer<i64>,
    items: &PyBuffer<u32>,
    max_items: usize,
    take: impl FnOnce(ItemLists<'_>) -> Result<(), CoreError> + Send,
) -> PyResult<()> {
    let (offsets, items) = (view("offsets", offsets)?, view("items", items)?);
    detached(py, || take(ItemLists::new(offsets, items, max_items)?))
}

/// Arrays that take items and their scores, equally long.
fn ranked<'a>(
    items: &'a mut PyBuffer<u32>,
    scores: &'a mut PyBuffer<f64>,
) -> PyResult<(&'a mut [u32], &'a mut [f64])> {
    let (items, scores) = (view_mut("items", items)?, view_mut("scores", scores)?);
    length("scores", scores.len(), items.len())?;
    Ok((items, scores))
}

/// Writes an answer; how long it is.
fn fill(found: &[(ItemIx, f64)], items: &mut [u32], scores: &mut [f64]) -> usize {
    for (((item, score), item_out), score_out) in found.iter().zip(items).zip(scores) {
        (*item_out, *score_out) = (item.0, *score);
    }
    found.len()
}

#[pymethods]
impl CooccurrenceKernel {
    #[new]
    fn new(capacity: usize, window: usize, unit_cap: usize, max_items: usize) -> PyResult<Self> {
        // Chosen before a question asks for it.
        simd()?;
        Ok(Self {
            counts: RwLock::new(CooccurrenceCounts::new(capacity, window, unit_cap)),
            max_items,
        })
    }

    /// Counts units.
    fn add_units(
        &self,
        py: Python<'_>,
        offsets: PyBuffer<i64>,
        items: PyBuffer<u32>,
    ) -> PyResult<()> {
        with_lists(py, &offsets, &items, self.max_items, |units| {
            self.counts.write().add(units)
        })
    }

    /// The best neighbours of weighted seeds into `items` and `scores`; how many there are.
    #[allow(clippy::too_many_arguments)]
    fn top(
        &self,
        py: Python<'_>,
        seeds: PyBuffer<u32>,
        weights: Option<PyBuffer<f64>>,
        metric: &str,
        shrinkage: f64,
        mut items: PyBuffer<u32>,
        mut scores: PyBuffer<f64>,
    ) -> PyResult<usize> {
        let metric = metric_named(metric)?;
        let seeds = view("seeds", &seeds)?;
        let weights = weights.as_ref().map(|w| view("weights", w)).transpose()?;
        let (items, scores) = ranked(&mut items, &mut scores)?;
        if let Some(weights) = weights {
            length("weights", weights.len(), seeds.len())?;
        }
        detached(py, || {
            let seed = |(at, item): (usize, &u32)| Seed {
                item: ItemIx(*item),
                weight: weights.map_or(1.0, |weights| weights[at]),
                in_session: true,
                event: None,
            };
            let seeds: Vec<Seed> = seeds.iter().enumerate().map(seed).collect();
            let counts = self.counts.read();
            let found = related(&counts, &seeds, items.len(), metric, shrinkage);
            Ok::<_, CoreError>(fill(&found, items, scores))
        })
    }

    /// One more than the largest item seen.
    #[getter]
    fn width(&self) -> usize {
        self.counts.read().width()
    }

    /// Units, rows, pairs and bytes.
    fn sizes(&self) -> (u64, usize, usize, usize) {
        let counts = self.counts.read();
        let (rows, pairs, _) = counts.rows.size();
        (counts.units(), rows, pairs, counts.memory())
    }
}

/// A session index behind a read-write lock.
#[pyclass(frozen, module = "headwater._core")]
pub struct SessionKernel {
    sessions: RwLock<SealedSessions>,
    max_items: usize,
}

#[pymethods]
impl SessionKernel {
    #[new]
    fn new(
        postings: usize,
        max_sessions: usize,
        max_session_items: usize,
        max_items: usize,
    ) -> Self {
        let bounds = SessionKnnConfig {
            postings,
            max_sessions,
            max_session_items,
        };
        Self {
            sessions: RwLock::new(SealedSessions::new(&bounds)),
            max_items,
        }
    }

    /// Indexes sessions, oldest first.
    fn add_sessions(
        &self,
        py: Python<'_>,
        offsets: PyBuffer<i64>,
        items: PyBuffer<u32>,
    ) -> PyResult<()> {
        with_lists(py, &offsets, &items, self.max_items, |sessions| {
            self.sessions.write().add(sessions)
        })
    }

    /// What comes next in a session, into `items` and `scores`; how many there are.
    fn top(
        &self,
        py: Python<'_>,
        session: PyBuffer<u32>,
        neighbours: usize,
        last: usize,
        mut items: PyBuffer<u32>,
        mut scores: PyBuffer<f64>,
    ) -> PyResult<usize> {
        let session = view("session_items", &session)?;
        let (items, scores) = ranked(&mut items, &mut scores)?;
        detached(py, || {
            let sessions = self.sessions.read();
            let found = next_in_session(&sessions, session, items.len(), neighbours, last);
            Ok::<_, CoreError>(fill(&found, items, scores))
        })
    }

    /// One more than the largest item seen.
    #[getter]
    fn width(&self) -> usize {
        self.sessions.read().width()
    }

    /// Sessions ever indexed, sessions held, bytes.
    fn sizes(&self) -> (u64, usize, usize) {
        let sessions = self.sessions.read();
        let (indexed, held) = sessions.index.len();
        (indexed, held, sessions.memory())
    }
}

/// Adds this file's classes to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<CooccurrenceKernel>()?;
    m.add_class::<SessionKernel>()
}
