//! Python bindings: a list of what is exported, and nothing that computes.
//!
//! * [`core`]: the class `Core`, one engine's state behind a read-write lock.
//! * [`bloom`]: Bloom filters and the dedup ledger by themselves.
//! * [`limits`]: what the machine itself can do, for benchmarks.
//! * [`arrays`]: memory of numpy arrays as slices.
//! * [`frames`]: checks of single frames, hashes, identities.
//! * [`error`]: errors of the core as exceptions of `headwater.errors`.
//!
//! Everything that takes longer than a look-up runs without the GIL.

mod arrays;
mod bloom;
mod core;
mod error;
mod frames;
mod limits;

use pyo3::prelude::*;

#[pymodule]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<core::Core>()?;
    frames::register(m)?;
    bloom::register(m)?;
    limits::register(m)
}
