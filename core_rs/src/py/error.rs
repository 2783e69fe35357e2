//! Errors of the core as exceptions of `headwater.errors`: the one place where that mapping is made.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{CoreError, unpanicked};

impl From<CoreError> for PyErr {
    fn from(err: CoreError) -> Self {
        Python::attach(|py| raise(py, &err).unwrap_or_else(|import| import))
    }
}

fn raise(py: Python<'_>, err: &CoreError) -> PyResult<PyErr> {
    let details = PyDict::new(py);
    let class = match err {
        CoreError::Config(reason) => {
            details.set_item("rule", reason)?;
            "ConfigError"
        }
        CoreError::Gap { offered, expected } => {
            details.set_item("offered", offered)?;
            details.set_item("expected", expected)?;
            "LogCorrupt"
        }
        CoreError::Torn => "StoreError",
        CoreError::Panicked(panic) => {
            details.set_item("reason", panic)?;
            "InternalError"
        }
        CoreError::Snapshot { part, reason } => {
            details.set_item("part", part)?;
            details.set_item("reason", reason)?;
            "SnapshotInvalid"
        }
        CoreError::Argument { field, rule } => {
            details.set_item("field", field)?;
            details.set_item("rule", rule)?;
            "InvalidArray"
        }
        CoreError::Query { field, rule } => {
            details.set_item("field", field)?;
            details.set_item("rule", rule)?;
            "InvalidQuery"
        }
        CoreError::OtherConfiguration { own, asked } => {
            details.set_item("own", own)?;
            details.set_item("asked", asked)?;
            "NotReady"
        }
        CoreError::Filter { field, rule, at } => {
            details.set_item("field", field)?;
            details.set_item("rule", rule)?;
            details.set_item("at", at)?;
            "InvalidQuery"
        }
    };
    let exception = py
        .import("headwater.errors")?
        .getattr(class)?
        .call((err.to_string(),), Some(&details))?;
    Ok(PyErr::from_value(exception))
}

/// Runs `work` without the GIL. A panic becomes an `InternalError`: pyo3's own exception for it is no `Exception` in Python,
/// so that it would pass by whoever answers for errors.
pub fn detached<T, E>(py: Python<'_>, work: impl FnOnce() -> Result<T, E> + Send) -> PyResult<T>
where
    T: Send,
    E: Into<PyErr> + Send,
{
    py.detach(|| unpanicked(work))?.map_err(Into::into)
}

/// An error of the binding itself: bytes that the Python side should never have sent.
pub fn protocol(what: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(format!("headwater.core: {what}"))
}
