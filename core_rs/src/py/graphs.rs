//! Embeddings of a `Core`: their dimensions, and the graphs that stand in for scans of large ones.

use parking_lot::RwLock;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::fold::state::State;
use crate::py::core::Core;
use crate::query::graphs::Held;

/// The state behind its lock.
struct HeldHere<'a>(&'a RwLock<State>);

impl Held for HeldHere<'_> {
    fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.read())
    }
}

/// Dimension that each embedding name is bound to.
#[pyfunction]
fn embedding_dims<'py>(py: Python<'py>, core: &Core) -> PyResult<Bound<'py, PyDict>> {
    let dims = PyDict::new(py);
    for (name, dim) in core.state.read().vectors.dims() {
        dims.set_item(name, dim)?;
    }
    Ok(dims)
}

/// Whether an embedding of at least `above` vectors lacks a graph or has one that is behind; 0: never.
#[pyfunction]
fn graphs_due(core: &Core, above: usize) -> bool {
    above > 0 && core.graphs.is_due(&core.state.read(), above)
}

/// Grows the graphs that are due until none is, or `stop_graphs` is called. From one thread at a time; questions and folds
/// go on.
#[pyfunction]
fn grow_graphs(py: Python<'_>, core: &Core, above: usize) {
    py.detach(|| core.graphs.grow(&HeldHere(&core.state), above));
}

/// Makes `grow_graphs` return soon, now and whenever it is called.
#[pyfunction]
fn stop_graphs(core: &Core) {
    core.graphs.stop();
}

/// Of each graph the embedding's name, how many items it knows of, and its bytes.
#[pyfunction]
fn graph_sizes(core: &Core) -> Vec<(String, usize, usize)> {
    core.graphs.sizes()
}

/// Adds the functions to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(embedding_dims, m)?)?;
    m.add_function(wrap_pyfunction!(graphs_due, m)?)?;
    m.add_function(wrap_pyfunction!(grow_graphs, m)?)?;
    m.add_function(wrap_pyfunction!(stop_graphs, m)?)?;
    m.add_function(wrap_pyfunction!(graph_sizes, m)?)
}
