//! A state's parts written out, to be packed when nobody waits: writing needs the state to stand still, packing does not.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::CoreError;
use crate::fold::parts::{self, RawSnapshot};
use crate::py::core::{Core, NamedPart};
use crate::py::error::detached;

/// All parts of a state at one position, not packed yet.
#[pyclass(frozen, module = "headwater._core")]
pub struct WrittenState {
    position: u64,
    generation: u128,
    raw: Mutex<Option<RawSnapshot>>,
    packed: Mutex<Vec<(String, Vec<u8>)>>,
}

#[pymethods]
impl WrittenState {
    /// Where the state stood.
    #[getter]
    fn position(&self) -> u64 {
        self.position
    }

    /// Packs all parts, once, on the thread that asks. It may be one that others go before: it waits for nothing that they
    /// need.
    fn pack(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || {
            if let Some(raw) = self.raw.lock().take() {
                *self.packed.lock() = raw.seal(self.generation, None)?;
            }
            Ok::<_, CoreError>(())
        })
    }

    /// The files of the parts that were packed, each name once; after that there are none.
    fn take_files<'py>(&self, py: Python<'py>) -> Vec<NamedPart<'py>> {
        named(py, std::mem::take(&mut *self.packed.lock()))
    }
}

/// The parts of a state as it stands, written out on the fold's threads. Folds wait meanwhile, questions do not.
#[pyfunction]
fn write_out(py: Python<'_>, core: &Core) -> PyResult<WrittenState> {
    let raw = detached(py, || {
        Ok::<_, CoreError>(parts::snapshot(&*core.sound()?, core.pool.as_ref()))
    })?;
    Ok(WrittenState {
        position: raw.position.0,
        generation: core.generation_bits,
        raw: Mutex::new(Some(raw)),
        packed: Mutex::default(),
    })
}

/// Files for Python.
pub fn named(py: Python<'_>, files: Vec<(String, Vec<u8>)>) -> Vec<NamedPart<'_>> {
    let file = |(name, file): (String, Vec<u8>)| (name, PyBytes::new(py, &file));
    files.into_iter().map(file).collect()
}

/// Adds the class and the function to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<WrittenState>()?;
    m.add_function(wrap_pyfunction!(write_out, m)?)
}
