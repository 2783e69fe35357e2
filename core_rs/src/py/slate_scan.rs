//! The class `SlateScan`: a log's slates as columns, which leave as bytes for numpy.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::py::error::protocol;
use crate::slate_scan::{NONE, SlateScan};

/// Collects the columns of a log, frame by frame.
#[pyclass(frozen, name = "SlateScan", module = "headwater._core")]
struct PySlateScan(Mutex<SlateScan>);

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
    #[new]
    fn new(wanted: Vec<String>) -> Self {
        Self(Mutex::new(SlateScan::new(wanted)))
    }

    /// Takes in a frame: the code of its fault, codes of refused events, and whether it holds others than are collected.
    fn add(
        &self,
        position: u64,
        frame: &[u8],
        max_future_ms: i64,
    ) -> (Option<&'static str>, Vec<&'static str>, bool) {
        match self.0.lock().add(position, frame, max_future_ms) {
            Ok((refused, others)) => (None, refused, others),
            Err(fault) => (Some(fault), Vec::new(), false),
        }
    }

    /// The number of a text; `None` for one that nothing named.
    fn number(&self, text: &str) -> Option<u32> {
        self.0.lock().texts.get(text)
    }

    /// The texts of numbers; `None` for the number of no text.
    fn texts(&self, numbers: Vec<u32>) -> Vec<Option<String>> {
        let scan = self.0.lock();
        let known = |number: u32| (number as usize) < scan.texts.len();
        let text = |number| known(number).then(|| scan.texts.name(number).to_string());
        numbers.into_iter().map(text).collect()
    }

    /// The columns of one table as bytes.
    fn columns<'py>(&self, py: Python<'py>, table: &str) -> PyResult<Bound<'py, PyDict>> {
        let scan = self.0.lock();
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
