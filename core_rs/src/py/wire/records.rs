//! Records of slates on their way to the log: queued by who answers, taken in groups by who writes.

use std::collections::VecDeque;

use parking_lot::Mutex;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

/// One record.
enum Queued {
    /// As the log holds it: the slate, whom it is for, the event.
    Encoded {
        slate: String,
        user: String,
        event: Vec<u8>,
    },
    /// Python's: it makes the record when its turn comes.
    Other(Py<PyAny>),
}

#[derive(Default)]
struct Records {
    queue: VecDeque<Queued>,
    closed: bool,
    dropped: u64,
    error: Option<String>,
}

/// A bounded queue of records. One that finds it full is refused: its slate says so, nobody waits.
#[pyclass(frozen, module = "headwater._core")]
pub struct RecordQueue {
    records: Mutex<Records>,
    most: usize,
    arrived: Py<PyAny>,
}

impl RecordQueue {
    /// Queues a record as the log holds it. Whether there was room, and why the last group was not written, if it was not.
    pub(super) fn put(
        &self,
        py: Python<'_>,
        slate: &str,
        user: &str,
        event: Vec<u8>,
    ) -> PyResult<(bool, Option<String>)> {
        let queued = || Queued::Encoded {
            slate: slate.to_string(),
            user: user.to_string(),
            event,
        };
        let room = self.queue(py, queued)?;
        Ok((room, self.records.lock().error.clone()))
    }

    fn queue(&self, py: Python<'_>, queued: impl FnOnce() -> Queued) -> PyResult<bool> {
        let first = {
            let mut records = self.records.lock();
            if records.closed || records.queue.len() >= self.most {
                records.dropped += 1;
                return Ok(false);
            }
            records.queue.push_back(queued());
            records.queue.len() == 1
        };
        if first {
            self.arrived.call0(py)?;
        }
        Ok(true)
    }
}

#[pymethods]
impl RecordQueue {
    /// For at most `most` records. `arrived` is called when there is one where there was none.
    #[new]
    fn new(most: usize, arrived: Py<PyAny>) -> Self {
        Self {
            records: Mutex::default(),
            most,
            arrived,
        }
    }

    /// Queues what makes a record; whether there was room.
    fn push(&self, py: Python<'_>, queued: Py<PyAny>) -> PyResult<bool> {
        self.queue(py, || Queued::Other(queued))
    }

    /// At most so many of the oldest, in their order: what was pushed, or slate, user and event.
    fn take<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let taken: Vec<Queued> = {
            let mut records = self.records.lock();
            let most = most.min(records.queue.len());
            records.queue.drain(..most).collect()
        };
        let given = |queued| match queued {
            Queued::Other(other) => Ok(other.into_bound(py)),
            Queued::Encoded { slate, user, event } => {
                let record = (slate, user, PyBytes::new(py, &event)).into_pyobject(py)?;
                Ok(Bound::<PyTuple>::into_any(record))
            }
        };
        taken.into_iter().map(given).collect()
    }

    fn __len__(&self) -> usize {
        self.records.lock().queue.len()
    }

    /// Lets no more in.
    fn close(&self) {
        self.records.lock().closed = true;
    }

    /// How many were refused, or not written.
    #[getter]
    fn dropped(&self) -> u64 {
        self.records.lock().dropped
    }

    /// One more was not written.
    fn drop_one(&self) {
        self.records.lock().dropped += 1;
    }

    /// Why the last group was not written; `None` once one was.
    #[getter]
    fn error(&self) -> Option<String> {
        self.records.lock().error.clone()
    }

    #[setter]
    fn set_error(&self, error: Option<String>) {
        self.records.lock().error = error;
    }

    // It leads back to who writes, who has this.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.arrived)?;
        // Nobody holds the lock while Python's collector runs, but who is told of it here.
        let Some(records) = self.records.try_lock() else {
            return Ok(());
        };
        records.queue.iter().try_for_each(|queued| match queued {
            Queued::Other(other) => visit.call(other),
            Queued::Encoded { .. } => Ok(()),
        })
    }
}
