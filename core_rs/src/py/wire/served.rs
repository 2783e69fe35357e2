//! What is kept of a slate that was answered without Python: enough to explain it.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::ids::Millis;
use crate::py::error::protocol;
use crate::wire::sentence::ReasonSaid;

/// Where the owner made its scatter, then where each item host replied.
pub(super) type Round = Vec<u64>;

/// A slate that answered `recommend` as it is usually asked.
pub(super) struct Served {
    pub id: String,
    pub user: String,
    pub n: usize,
    pub now: Millis,
    pub request: Vec<u8>,
    /// As bytes: a thousand slates are kept, and whoever drops one later finds hundreds of its small things out of the cache.
    pub answer: Vec<u8>,
    pub positions: Vec<u64>,
    pub config: String,
    pub round: Option<Round>,
    /// Whether its record was queued.
    pub recorded: bool,
    /// What the slate says is wanting.
    pub degraded: Vec<String>,
}

/// The same for Python.
#[pyclass(frozen, module = "headwater._core")]
pub struct UsualSlate(pub(super) Arc<Served>);

#[pymethods]
impl UsualSlate {
    /// Its id.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// Whom it is for.
    #[getter]
    fn user(&self) -> &str {
        &self.0.user
    }

    /// How many items were asked for.
    #[getter]
    fn n(&self) -> usize {
        self.0.n
    }

    /// The time of the question, in milliseconds.
    #[getter]
    fn now(&self) -> Millis {
        self.0.now
    }

    /// What the core was asked.
    #[getter]
    fn request<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.request)
    }

    /// What it answered.
    #[getter]
    fn answer<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.answer)
    }

    /// Where the hosts stood: the owner, then the item hosts.
    #[getter]
    fn positions(&self) -> Vec<u64> {
        self.0.positions.clone()
    }

    /// Version of the configuration that answered.
    #[getter]
    fn config(&self) -> &str {
        &self.0.config
    }

    /// Where the owner folded on between its scatter and its answer: see `headwater.host_replay.Rounds`.
    #[getter]
    fn round(&self) -> Option<Round> {
        self.0.round.clone()
    }

    /// Whether its record was queued.
    #[getter]
    fn recorded(&self) -> bool {
        self.0.recorded
    }

    /// What it says is wanting.
    #[getter]
    fn degraded(&self) -> Vec<String> {
        self.0.degraded.clone()
    }
}

/// A reason (an array of `headwater.slate.Reason`) as one sentence. Errors: not such an array.
#[pyfunction]
fn reason_sentence(reason: &[u8]) -> PyResult<String> {
    let said: ReasonSaid<'_> = rmp_serde::from_slice(reason).map_err(protocol)?;
    Ok(said.sentence())
}

/// Adds the function to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(reason_sentence, m)?)
}
