//! How long answers took, counted where they are given.

use parking_lot::Mutex;
use pyo3::prelude::*;

/// Answers to one verb.
#[pyclass(frozen, module = "headwater._core")]
pub struct VerbTimes {
    bounds: Vec<f64>,
    counted: Mutex<(Vec<u64>, f64)>,
}

#[pymethods]
impl VerbTimes {
    /// `bounds`: seconds, ascending; infinity is the last of all bounds.
    #[new]
    fn new(bounds: Vec<f64>) -> Self {
        let counts = vec![0; bounds.len() + 1];
        Self {
            bounds,
            counted: Mutex::new((counts, 0.0)),
        }
    }

    /// One more answer.
    pub(super) fn add(&self, seconds: f64) {
        let at = self.bounds.partition_point(|bound| *bound < seconds);
        let mut counted = self.counted.lock();
        counted.0[at] += 1;
        counted.1 += seconds;
    }

    /// Answers by the least bound that they kept to.
    #[getter]
    fn by_bound(&self) -> Vec<u64> {
        self.counted.lock().0.clone()
    }

    /// Seconds in sum.
    #[getter]
    fn seconds(&self) -> f64 {
        self.counted.lock().1
    }
}
