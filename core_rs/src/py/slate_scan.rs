//! The class `SlateScan`: a log's slates as columns, which leave as bytes for numpy.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

use crate::intern::Interner;
use crate::py::error::protocol;
use crate::py::threads::threads_named;
use crate::slate_scan::{NONE, SlateScan, Texts};

/// Collects the columns of a log, batch by batch.
#[pyclass(frozen, name = "SlateScan", module = "headwater._core")]
struct PySlateScan {
    scan: Mutex<SlateScan>,
    pool: Option<rayon::ThreadPool>,
}

fn dictionary<'a>(texts: &'a Texts, of: &str) -> PyResult<&'a Interner> {
    match of {
        "users" => Ok(&texts.users),
        "ids" => Ok(&texts.ids),
        "names" => Ok(&texts.names),
        _ => Err(protocol(format!("no dictionary {of:?}"))),
    }
}

/// Puts a column's values, little endian, under its name.
fn put<'py, T: Copy, const N: usize>(
    out: &Bound<'py, PyDict>,
    name: &str,
    column: &[T],
    encode: fn(T) -> [u8; N],
) -> PyResult<()> {
    let bytes = PyBytes::new_with(out.py(), column.len() * N, |to| {
        for (to, value) in to.chunks_exact_mut(N).zip(column) {
            to.copy_from_slice(&encode(*value));
        }
        Ok(())
    })?;
    out.set_item(name, bytes)
}

#[pymethods]
impl PySlateScan {
    /// `threads` read frames beside each other; 0 and 1: the calling one.
    #[new]
    fn new(wanted: Vec<String>, threads: usize) -> PyResult<Self> {
        let threads = if threads > 1 { threads } else { 0 };
        Ok(Self {
            scan: Mutex::new(SlateScan::new(wanted)),
            pool: threads_named("slates", threads)?,
        })
    }

    /// Takes in frames at their positions: the places of those that hold other events than are collected.
    fn add(
        &self,
        py: Python<'_>,
        positions: Vec<u64>,
        frames: Vec<PyBackedBytes>,
        max_future_ms: i64,
    ) -> PyResult<Vec<usize>> {
        if positions.len() != frames.len() {
            return Err(protocol("as many positions as frames are needed"));
        }
        let frames: Vec<(u64, &[u8])> = positions
            .into_iter()
            .zip(frames.iter().map(|frame| &frame[..]))
            .collect();
        Ok(py.detach(|| {
            let mut scan = self.scan.lock();
            scan.add(&frames, max_future_ms, self.pool.as_ref())
        }))
    }

    /// Frames and events that do not count, by reason.
    fn set_aside(&self) -> BTreeMap<&'static str, u64> {
        self.scan.lock().set_aside.clone()
    }

    /// The number of a text in the dictionary `of` ("users", "ids", "names"); `None` for one that nothing named.
    fn number(&self, of: &str, text: &str) -> PyResult<Option<u32>> {
        let scan = self.scan.lock();
        Ok(dictionary(&scan.texts, of)?.get(text))
    }

    /// The texts of numbers in the dictionary `of`; `None` for the number of no text.
    fn texts(&self, of: &str, numbers: Vec<u32>) -> PyResult<Vec<Option<String>>> {
        let scan = self.scan.lock();
        let held = dictionary(&scan.texts, of)?;
        let text = |number: u32| ((number as usize) < held.len()).then(|| held.name(number).into());
        Ok(numbers.into_iter().map(text).collect())
    }

    /// The columns of one table as bytes.
    fn columns<'py>(&self, py: Python<'py>, table: &str) -> PyResult<Bound<'py, PyDict>> {
        let scan = self.scan.lock();
        let out = PyDict::new(py);
        let numbers = |name, column: &[u32]| put(&out, name, column, u32::to_le_bytes);
        let times = |name, column: &[i64]| put(&out, name, column, i64::to_le_bytes);
        let positions = |name, column: &[u64]| put(&out, name, column, u64::to_le_bytes);
        match table {
            "slates" => {
                let from = &scan.slates;
                numbers("slate", &from.slate)?;
                numbers("user", &from.user)?;
                times("ts", &from.ts)?;
                numbers("scenario", &from.scenario)?;
                numbers("variant", &from.variant)?;
                numbers("config", &from.config)?;
                positions("position", &from.position)?;
                numbers("slots", &from.slots)?;
            }
            "slots" => {
                numbers("item", &scan.slots.item)?;
                numbers("source", &scan.slots.source)?;
            }
            "answers" => {
                let from = &scan.answers;
                numbers("type", &from.ty)?;
                numbers("user", &from.user)?;
                numbers("item", &from.item)?;
                times("ts", &from.ts)?;
                put(&out, "value", &from.value, f64::to_le_bytes)?;
                numbers("event_id", &from.event_id)?;
                numbers("basket", &from.basket)?;
                numbers("slate", &from.slate)?;
                numbers("slot", &from.slot)?;
                numbers("partition", &from.partition)?;
                positions("position", &from.position)?;
            }
            "views" => {
                let from = &scan.views;
                numbers("slate", &from.slate)?;
                numbers("user", &from.user)?;
                times("ts", &from.ts)?;
                numbers("slot", &from.slot)?;
            }
            "activity" => {
                numbers("user", &scan.activity.user)?;
                times("ts", &scan.activity.ts)?;
            }
            _ => return Err(protocol(format!("no table {table:?}"))),
        }
        Ok(out)
    }
}

/// Adds this file's classes to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("NO_TEXT", NONE)?;
    m.add_class::<PySlateScan>()
}
