//! Whether a host lets questions in that are answered without Python, and how many of them are inside.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use pyo3::prelude::*;

/// The door of a host. What does not get in here goes to Python, which says why it is refused.
#[pyclass(frozen, module = "headwater._core")]
pub struct Door {
    open: AtomicBool,
    others: AtomicUsize,
    inside: AtomicUsize,
    most: usize,
    longest: usize,
    emptied: Mutex<Option<Py<PyAny>>>,
}

// One event loop opens, closes and goes through it: the numbers only have to be whole.
const ORDER: Ordering = Ordering::Relaxed;

impl Door {
    /// Whether a question of so many bytes, which will wait for others, gets in.
    pub(super) fn lets_in(&self, size: usize) -> bool {
        self.is_open()
            && size <= self.longest
            && self.inside.load(ORDER) + self.others.load(ORDER) < self.most
    }

    /// Whether anything gets in.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(ORDER)
    }

    /// One more is inside.
    pub(super) fn enter(&self) {
        self.inside.fetch_add(1, ORDER);
    }

    /// One is out; whoever waits for all of them is told of the last.
    pub(super) fn leave(&self, py: Python<'_>) -> PyResult<()> {
        if self.inside.fetch_sub(1, ORDER) > 1 {
            return Ok(());
        }
        let emptied = self.emptied.lock().take();
        emptied.map_or(Ok(()), |emptied| emptied.call0(py).map(drop))
    }
}

#[pymethods]
impl Door {
    /// At most `most` inside, together with `others`; none of more than `longest` bytes. Closed at first.
    #[new]
    fn new(most: usize, longest: usize) -> Self {
        Self {
            open: AtomicBool::new(false),
            others: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            most,
            longest,
            emptied: Mutex::new(None),
        }
    }

    #[getter]
    fn open(&self) -> bool {
        self.is_open()
    }

    #[setter]
    fn set_open(&self, open: bool) {
        self.open.store(open, ORDER);
    }

    /// How many Python is busy with.
    #[setter]
    fn set_others(&self, others: usize) {
        self.others.store(others, ORDER);
    }

    /// How many are inside and wait for others.
    #[getter]
    fn inside(&self) -> usize {
        self.inside.load(ORDER)
    }

    /// Calls `emptied` once when the last one is out. Only while there are some.
    fn when_empty(&self, emptied: Py<PyAny>) {
        *self.emptied.lock() = Some(emptied);
    }
}
