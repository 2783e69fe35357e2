//! The Bloom filters and the dedup ledger by themselves, over arrays of keys.

use parking_lot::Mutex;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use xxhash_rust::xxh3::xxh3_128;

use crate::admission::events::{EventLedger, EventVerdict};
use crate::bloom::rotating::RotatingBloom;
use crate::bloom::{SplitBlockBloom, mix};
use crate::ids::stable_hash;
use crate::py::arrays::{length, view, view_mut};
use crate::py::kernels::simd;
use crate::simd::Simd;

/// Keys mixed at a time: the scratch stays in the first cache.
const SCRATCH: usize = 1024;

enum Filter {
    Fixed(SplitBlockBloom),
    Rotating(RotatingBloom),
}

/// A split-block Bloom filter over 64-bit keys, of one generation or two. Keys are mixed here, so plain numbers will do.
#[pyclass(frozen, module = "headwater._core")]
pub struct BloomKernel {
    simd: Simd,
    filter: Mutex<Filter>,
}

/// Calls `step` with mixed keys and the place of their answers, a scratch full at a time.
fn mixed(keys: &[u64], present: &mut [u8], mut step: impl FnMut(&[u64], &mut [bool])) {
    let mut hashes = [0; SCRATCH];
    let mut answers = [false; SCRATCH];
    for (keys, present) in keys.chunks(SCRATCH).zip(present.chunks_mut(SCRATCH)) {
        let hashes = &mut hashes[..keys.len()];
        let answers = &mut answers[..keys.len()];
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = mix(*key);
        }
        step(hashes, answers);
        for (out, answer) in present.iter_mut().zip(answers) {
            *out = u8::from(*answer);
        }
    }
}

#[pymethods]
impl BloomKernel {
    #[new]
    fn new(capacity: usize, bits_per_key: f64, rotating: bool) -> PyResult<Self> {
        let filter = if rotating {
            Filter::Rotating(RotatingBloom::try_with_capacity(capacity, bits_per_key)?)
        } else {
            Filter::Fixed(SplitBlockBloom::try_with_capacity(capacity, bits_per_key)?)
        };
        Ok(Self {
            simd: simd()?,
            filter: Mutex::new(filter),
        })
    }

    /// Adds keys; `present` takes 1 where the key may have been there before.
    fn add_many(
        &self,
        py: Python<'_>,
        keys: PyBuffer<u64>,
        mut present: PyBuffer<u8>,
    ) -> PyResult<()> {
        let (keys, present) = (view("keys", &keys)?, view_mut("present", &mut present)?);
        length("present", present.len(), keys.len())?;
        py.detach(|| match &mut *self.filter.lock() {
            Filter::Fixed(filter) => mixed(keys, present, |h, p| {
                filter.test_and_insert_many(self.simd, h, p);
            }),
            Filter::Rotating(filter) => mixed(keys, present, |h, p| {
                filter.test_and_insert_many(self.simd, h, p);
            }),
        });
        Ok(())
    }

    /// `present` takes 1 where the key may have been added.
    fn contains_many(
        &self,
        py: Python<'_>,
        keys: PyBuffer<u64>,
        mut present: PyBuffer<u8>,
    ) -> PyResult<()> {
        let (keys, present) = (view("keys", &keys)?, view_mut("present", &mut present)?);
        length("present", present.len(), keys.len())?;
        py.detach(|| match &*self.filter.lock() {
            Filter::Fixed(filter) => mixed(keys, present, |h, p| {
                filter.contains_many(self.simd, h, p);
            }),
            Filter::Rotating(filter) => mixed(keys, present, |h, p| {
                filter.contains_many(self.simd, h, p);
            }),
        });
        Ok(())
    }

    /// Adds one key; whether it may have been there before.
    fn add(&self, key: u64) -> bool {
        match &mut *self.filter.lock() {
            Filter::Fixed(filter) => filter.test_and_insert(mix(key)),
            Filter::Rotating(filter) => filter.test_and_insert(mix(key)),
        }
    }

    /// Whether the key may have been added.
    fn contains(&self, key: u64) -> bool {
        match &*self.filter.lock() {
            Filter::Fixed(filter) => filter.contains(mix(key)),
            Filter::Rotating(filter) => filter.contains(mix(key)),
        }
    }

    /// How often the generations have moved on; 0 for a filter of one.
    #[getter]
    fn rotations(&self) -> u64 {
        match &*self.filter.lock() {
            Filter::Fixed(_) => 0,
            Filter::Rotating(filter) => filter.rotations(),
        }
    }

    /// Bytes held.
    #[getter]
    fn memory(&self) -> usize {
        match &*self.filter.lock() {
            Filter::Fixed(filter) => filter.memory(),
            Filter::Rotating(filter) => filter.memory(),
        }
    }
}

/// The admission of events by id, as the fold does it.
#[pyclass(frozen, module = "headwater._core")]
pub struct DedupKernel {
    ledger: Mutex<EventLedger>,
}

fn code(verdict: EventVerdict) -> u8 {
    match verdict {
        EventVerdict::Fresh => 0,
        EventVerdict::Repeat => 1,
        EventVerdict::BeyondHorizon => 2,
    }
}

#[pymethods]
impl DedupKernel {
    #[new]
    fn new(horizon: u64) -> PyResult<Self> {
        // Chosen before the ledger's filters ask for it.
        simd()?;
        Ok(Self {
            ledger: Mutex::new(EventLedger::new(horizon)),
        })
    }

    /// Judges ids (pairs of upper and lower half) and event times in order: 0 fresh, 1 repeat, 2 beyond the horizon.
    fn admit_many(
        &self,
        py: Python<'_>,
        ids: PyBuffer<u64>,
        ts: PyBuffer<i64>,
        mut verdicts: PyBuffer<u8>,
    ) -> PyResult<()> {
        let (halves, times) = (view("ids", &ids)?, view("ts", &ts)?);
        let out = view_mut("verdicts", &mut verdicts)?;
        length("ids", halves.len(), 2 * times.len())?;
        length("verdicts", out.len(), times.len())?;
        let (halves, _) = halves.as_chunks::<2>();
        py.detach(|| {
            let mut ledger = self.ledger.lock();
            let mut scratch = [0; SCRATCH];
            let mut judged = [EventVerdict::Fresh; SCRATCH];
            for ((halves, times), out) in halves
                .chunks(SCRATCH)
                .zip(times.chunks(SCRATCH))
                .zip(out.chunks_mut(SCRATCH))
            {
                let scratch = &mut scratch[..halves.len()];
                for (id, [upper, lower]) in scratch.iter_mut().zip(halves) {
                    *id = u128::from(*upper) << 64 | u128::from(*lower);
                }
                ledger.admit_many(scratch, times, &mut judged);
                for (out, verdict) in out.iter_mut().zip(judged) {
                    *out = code(verdict);
                }
            }
        });
        Ok(())
    }

    /// Judges one event by the text of its id.
    fn admit(&self, event_id: &str, ts: i64) -> u8 {
        code(self.ledger.lock().admit(xxh3_128(event_id.as_bytes()), ts))
    }

    /// Ids remembered.
    #[getter]
    fn held(&self) -> u64 {
        self.ledger.lock().len()
    }

    /// Bytes held.
    #[getter]
    fn memory(&self) -> usize {
        self.ledger.lock().memory()
    }
}

/// The key of a text or bytes: its stable hash.
#[pyfunction]
fn hash_bytes(data: &[u8]) -> u64 {
    stable_hash(data)
}

/// Stable hashes of texts, as UTF-8, into `out`.
#[pyfunction]
fn hash_texts(py: Python<'_>, texts: Vec<PyBackedStr>, mut out: PyBuffer<u64>) -> PyResult<()> {
    let out = view_mut("out", &mut out)?;
    length("out", out.len(), texts.len())?;
    py.detach(|| {
        for (out, text) in out.iter_mut().zip(&texts) {
            *out = stable_hash(text.as_bytes());
        }
    });
    Ok(())
}

/// 128-bit hashes of event ids into `out`, upper and lower half of each.
#[pyfunction]
fn hash_event_ids(py: Python<'_>, ids: Vec<PyBackedStr>, mut out: PyBuffer<u64>) -> PyResult<()> {
    let out = view_mut("out", &mut out)?;
    length("out", out.len(), 2 * ids.len())?;
    let (out, _) = out.as_chunks_mut::<2>();
    py.detach(|| {
        for (out, id) in out.iter_mut().zip(&ids) {
            let hash = xxh3_128(id.as_bytes());
            *out = [(hash >> 64) as u64, hash as u64];
        }
    });
    Ok(())
}

/// Adds this file's classes and functions to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<BloomKernel>()?;
    m.add_class::<DedupKernel>()?;
    m.add_function(wrap_pyfunction!(hash_bytes, m)?)?;
    m.add_function(wrap_pyfunction!(hash_texts, m)?)?;
    m.add_function(wrap_pyfunction!(hash_event_ids, m)?)
}
