//! The machine's own limits, for benchmarks.

use parking_lot::Mutex;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

use crate::error::CoreError;
use crate::limits::{Lines, multiply_adds, stream};
use crate::py::arrays::view;
use crate::py::error::detached;
use crate::py::kernels::simd;

/// Memory that is visited line by line in no order.
#[pyclass(frozen, module = "headwater._core")]
pub struct LineVisits {
    lines: Mutex<Lines>,
}

#[pymethods]
impl LineVisits {
    #[new]
    fn new(py: Python<'_>, size: usize) -> PyResult<Self> {
        let lines = detached(py, || Ok::<_, CoreError>(Lines::with_bytes(size)))?;
        Ok(Self {
            lines: Mutex::new(lines),
        })
    }

    /// Reads and writes `times` cache lines.
    fn visit(&self, py: Python<'_>, times: u64) {
        py.detach(|| self.lines.lock().visit(times));
    }
}

/// Reads all words of an array once; their sum modulo 2^64.
#[pyfunction]
fn stream_words(py: Python<'_>, words: PyBuffer<u64>) -> PyResult<u64> {
    let words = view("words", &words)?;
    Ok(py.detach(|| stream(words)))
}

/// Does at least so many multiply-adds of bytes in registers; how many it did.
#[pyfunction(name = "multiply_adds")]
fn py_multiply_adds(py: Python<'_>, wanted: u64) -> PyResult<u64> {
    let simd = simd()?;
    Ok(py.detach(|| multiply_adds(simd, wanted).0))
}

/// Adds this file's class and functions to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<LineVisits>()?;
    m.add_function(wrap_pyfunction!(stream_words, m)?)?;
    m.add_function(wrap_pyfunction!(py_multiply_adds, m)?)
}
