//! Pools of threads.

use pyo3::prelude::*;

use crate::py::error::protocol;

/// A pool of so many threads; none for 0.
pub(super) fn threads_named(
    name: &'static str,
    count: usize,
) -> PyResult<Option<rayon::ThreadPool>> {
    if count == 0 {
        return Ok(None);
    }
    let builder = rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(move |i| format!("{name}-{i}"));
    builder.build().map(Some).map_err(protocol)
}
