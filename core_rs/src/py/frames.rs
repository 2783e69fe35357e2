//! Checks of single frames, hashes and identities, for Python code that must agree with the fold.

use pyo3::prelude::*;

use crate::config::{FOLD_VERSION, generation_id};
use crate::frame::body::decode_events;
use crate::frame::event::Decoded;
use crate::frame::header::parse_frame;
use crate::ids::stable_hash;

/// Why the fold would refuse this frame as a whole (a short code), or `None`.
#[pyfunction]
fn frame_fault(frame: &[u8]) -> Option<&'static str> {
    let outcome = parse_frame(frame).and_then(|f| decode_events(&f, i64::MAX));
    outcome.err().map(|err| err.code())
}

/// Refusal codes of the events of a sound frame by index; events without fault are left out.
#[pyfunction]
fn event_faults(frame: &[u8], max_future_ms: i64) -> Vec<(usize, &'static str)> {
    let Ok(events) = parse_frame(frame).and_then(|f| decode_events(&f, max_future_ms)) else {
        return Vec::new();
    };
    coded(&events)
}

fn coded(events: &[Decoded<'_>]) -> Vec<(usize, &'static str)> {
    let faults = events.iter().enumerate();
    faults
        .filter_map(|(i, event)| event.as_ref().err().map(|err| (i, err.code())))
        .collect()
}

/// [`frame_fault`] and, for a sound frame, [`event_faults`], from one reading of it.
#[pyfunction]
fn frame_faults(
    frame: &[u8],
    max_future_ms: i64,
) -> (Option<&'static str>, Vec<(usize, &'static str)>) {
    match parse_frame(frame).and_then(|f| decode_events(&f, max_future_ms)) {
        Ok(events) => (None, coded(&events)),
        Err(err) => (Some(err.code()), Vec::new()),
    }
}

/// The stable hash behind ownership.
#[pyfunction(name = "stable_hash")]
fn py_stable_hash(text: &str) -> u64 {
    stable_hash(text.as_bytes())
}

/// Identity of the generation that this fold configuration makes, as 32 hex digits.
#[pyfunction(name = "generation_id")]
fn py_generation_id(fold_json: &[u8]) -> String {
    generation_id(fold_json)
}

/// Adds this file's functions to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("FOLD_VERSION", FOLD_VERSION)?;
    m.add_function(wrap_pyfunction!(frame_fault, m)?)?;
    m.add_function(wrap_pyfunction!(event_faults, m)?)?;
    m.add_function(wrap_pyfunction!(frame_faults, m)?)?;
    m.add_function(wrap_pyfunction!(py_stable_hash, m)?)?;
    m.add_function(wrap_pyfunction!(py_generation_id, m)?)
}
