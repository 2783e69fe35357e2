//! Python bindings: a list of what is exported, and nothing that computes.
//!
//! * [`core`]: the class `Core`, one engine's state behind a read-write lock; [`stats`]: what it holds, in numbers.
//! * [`written_state`]: its parts, written out and packed apart.
//! * [`hosts`]: questions that several hosts answer together, as bytes.
//! * [`wire`]: what a connection to NATS brings, usual questions answered where they are read.
//! * [`frames`]: checks of single frames, hashes, identities.
//! * [`kernels`], [`diversity`]: the kernels, for use without an engine; [`arrays`] are what they take and fill.
//! * [`bloom`]: Bloom filters and the dedup ledger, for use without an engine.
//! * [`neighbours`]: co-occurrence counts and the session index, for use without an engine.
//! * [`slate_scan`]: a log's slates as columns, for reports.
//! * [`operations`]: merged users and what a merge moves, the catalogue page by page, whose sessions voted.
//! * [`graphs`]: embeddings and the graphs of large ones.
//! * [`limits`]: what the machine itself can do, for benchmarks.
//! * [`threads`]: pools of threads; [`clock`]: what the core tells durations by; [`timer`]: wake-ups of event loops.
//! * [`error`]: errors of the core as exceptions of `headwater.errors`.
//!
//! Everything that takes longer than a look-up runs without the GIL; where it panics, [`error`] makes an exception of the
//! tree of it.

mod arrays;
mod bloom;
mod clock;
mod core;
mod diversity;
mod error;
mod frames;
mod graphs;
mod hosts;
mod kernels;
mod limits;
mod neighbours;
mod operations;
mod slate_scan;
mod stats;
mod threads;
mod timer;
mod wire;
mod written_state;

use pyo3::prelude::*;

use crate::allocator::{BySize, keep_memory};

/// A question makes some hundred small things and drops them; Python's own memory is not touched by this.
#[global_allocator]
static ALLOCATOR: BySize = BySize;

#[pymodule]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    keep_memory();
    m.add_class::<core::Core>()?;
    m.add_class::<timer::Timer>()?;
    frames::register(m)?;
    graphs::register(m)?;
    hosts::register(m)?;
    kernels::register(m)?;
    diversity::register(m)?;
    bloom::register(m)?;
    neighbours::register(m)?;
    slate_scan::register(m)?;
    operations::register(m)?;
    limits::register(m)?;
    written_state::register(m)?;
    wire::register(m)
}
