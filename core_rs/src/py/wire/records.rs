//! Records of slates on their way to the log: queued by who answers, taken as the bodies of frames by who writes.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::ids::{owner, stable_hash};
use crate::wire::bodies::Bodies;

/// A record as the log holds it.
struct Encoded {
    slate: String,
    partition: usize,
    event: Vec<u8>,
}

/// One record.
enum Queued {
    Encoded(Encoded),
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

/// Records that go into one frame.
#[pyclass(frozen, module = "headwater._core")]
pub struct RecordGroup {
    #[pyo3(get)]
    partition: usize,
    slates: Vec<String>,
    body: Vec<u8>,
}

#[pymethods]
impl RecordGroup {
    fn __len__(&self) -> usize {
        self.slates.len()
    }

    /// Whose records these are, in their order.
    #[getter]
    fn slates(&self) -> Vec<String> {
        self.slates.clone()
    }

    /// The frame's body.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.body)
    }
}

fn grouped(records: Vec<Encoded>) -> Vec<RecordGroup> {
    let mut by_partition: BTreeMap<usize, Bodies<String>> = BTreeMap::new();
    for record in records {
        let bodies = by_partition.entry(record.partition).or_default();
        bodies.add(record.slate, &record.event);
    }
    let groups = by_partition.into_iter().flat_map(|(partition, bodies)| {
        let bodies = bodies.finish().into_iter();
        bodies.map(move |(slates, body)| RecordGroup {
            partition,
            slates,
            body,
        })
    });
    groups.collect()
}

/// A bounded queue of records. One that finds it full is refused: its slate says so, nobody waits.
#[pyclass(frozen, module = "headwater._core")]
pub struct RecordQueue {
    records: Mutex<Records>,
    most: usize,
    partitions: usize,
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
        let queued = || Queued::Encoded(self.encoded(slate.to_string(), user, event));
        let room = self.queue(py, queued)?;
        Ok((room, self.records.lock().error.clone()))
    }

    fn encoded(&self, slate: String, user: &str, event: Vec<u8>) -> Encoded {
        let partition = owner(stable_hash(user.as_bytes()), self.partitions);
        Encoded {
            slate,
            partition,
            event,
        }
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
    /// For at most `most` records of users in so many `partitions`. `arrived` is called when there is one where there was none.
    #[new]
    fn new(most: usize, partitions: usize, arrived: Py<PyAny>) -> Self {
        Self {
            records: Mutex::default(),
            most,
            partitions: partitions.max(1),
            arrived,
        }
    }

    /// Queues what makes a record; whether there was room.
    fn push(&self, py: Python<'_>, queued: Py<PyAny>) -> PyResult<bool> {
        self.queue(py, || Queued::Other(queued))
    }

    /// All that is queued: what was pushed, and the frames' bodies of all others, each in order.
    fn take(&self) -> (Vec<Py<PyAny>>, Vec<RecordGroup>) {
        let taken = std::mem::take(&mut self.records.lock().queue);
        let (mut others, mut encoded) = (Vec::new(), Vec::new());
        for queued in taken {
            match queued {
                Queued::Other(other) => others.push(other),
                Queued::Encoded(record) => encoded.push(record),
            }
        }
        (others, grouped(encoded))
    }

    /// Bodies of frames of records that were pushed and made meanwhile: slate, user and event of each.
    fn grouped(&self, made: Vec<(String, String, Vec<u8>)>) -> Vec<RecordGroup> {
        let encoded = made
            .into_iter()
            .map(|(slate, user, event)| self.encoded(slate, &user, event));
        grouped(encoded.collect())
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
            Queued::Encoded(_) => Ok(()),
        })
    }
}
