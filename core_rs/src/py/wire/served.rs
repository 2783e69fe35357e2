//! What Python is told of a slate that was answered without it: enough to record and to remember it, read when it is needed.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::ids::Millis;
use crate::py::error::protocol;
use crate::wire::sentence::ReasonSaid;

/// Where the owner made its scatter, then where each item host replied.
pub(super) type Round = Vec<u64>;

/// A slate that answered `recommend` as it is usually asked.
#[pyclass(frozen, module = "headwater._core")]
pub struct UsualSlate {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) n: usize,
    pub(super) now: Millis,
    /// Its record as an event of the log; `None` where it is not recorded, or was taken already.
    pub(super) event: Mutex<Option<Vec<u8>>>,
    pub(super) request: Vec<u8>,
    /// As bytes: a thousand slates are kept, and whoever drops one later finds hundreds of its small things out of the cache.
    pub(super) answer: Vec<u8>,
    pub(super) positions: Vec<u64>,
    pub(super) config: String,
    pub(super) round: Option<Round>,
}

#[pymethods]
impl UsualSlate {
    /// Its id.
    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    /// Whom it is for.
    #[getter]
    fn user(&self) -> &str {
        &self.user
    }

    /// How many items were asked for.
    #[getter]
    fn n(&self) -> usize {
        self.n
    }

    /// The time of the question, in milliseconds.
    #[getter]
    fn now(&self) -> Millis {
        self.now
    }

    /// Its record, an event of the log; `None` where it is not to be recorded, and after the first time.
    fn take_event<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let event = self.event.lock().take();
        event.map(|event| PyBytes::new(py, &event))
    }

    /// What the core was asked.
    #[getter]
    fn request<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.request)
    }

    /// What it answered.
    #[getter]
    fn answer<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.answer)
    }

    /// Where the hosts stood: the owner, then the item hosts.
    #[getter]
    fn positions(&self) -> Vec<u64> {
        self.positions.clone()
    }

    /// Version of the configuration that answered.
    #[getter]
    fn config(&self) -> &str {
        &self.config
    }

    /// Where the owner folded on between its scatter and its answer: see `headwater.host_replay.Rounds`.
    #[getter]
    fn round(&self) -> Option<Round> {
        self.round.clone()
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
