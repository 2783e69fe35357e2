//! What Python goes on with: a question that turned out not to be usual after it was scattered.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::ids::Millis;
use crate::wire::waiting::Waited;

/// A reply of an item host with its headers; `None` where none came.
type Outcome<'py> = Option<(Bound<'py, PyBytes>, Option<Bound<'py, PyBytes>>)>;

/// A question whose item hosts replied otherwise than usual, or not in time, or whose answer needs more than they told.
#[pyclass(frozen, module = "headwater._core")]
pub struct LeftQuestion {
    pub(super) waited: Waited,
    pub(super) at: u64,
}

#[pymethods]
impl LeftQuestion {
    /// Where the answer goes.
    #[getter]
    fn reply(&self) -> String {
        String::from_utf8_lossy(&self.waited.question.reply).into_owned()
    }

    /// As they came.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let headers = self.waited.question.headers.as_ref();
        headers.map(|headers| PyBytes::new(py, headers))
    }

    /// The question as it came.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.waited.question.data)
    }

    /// The id that its slate gets.
    #[getter]
    fn key(&self) -> &str {
        &self.waited.question.key
    }

    /// Its time of day in milliseconds.
    #[getter]
    fn now(&self) -> Millis {
        self.waited.question.now
    }

    /// What item hosts were sent.
    #[getter]
    fn sent<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.waited.question.sent)
    }

    /// Where the owner stood then.
    #[getter]
    fn made_at(&self) -> u64 {
        self.waited.question.made_at
    }

    /// Seconds since it came.
    #[getter]
    fn age(&self) -> f64 {
        self.at.saturating_sub(self.waited.question.began) as f64 / 1e6
    }

    /// Seconds for which an answer is still of use.
    #[getter]
    fn seconds_left(&self) -> f64 {
        self.waited.question.until.saturating_sub(self.at) as f64 / 1e6
    }

    /// By item host: its reply with headers (`None` for none), or `None` where none came.
    #[getter]
    fn replies<'py>(&self, py: Python<'py>) -> Vec<Outcome<'py>> {
        let bytes = |bytes: &Vec<u8>| PyBytes::new(py, bytes);
        let replies = self.waited.replies.iter();
        let said = replies.map(|reply| reply.as_ref());
        said.map(|reply| reply.map(|reply| (bytes(&reply.data), reply.headers.as_ref().map(bytes))))
            .collect()
    }
}
