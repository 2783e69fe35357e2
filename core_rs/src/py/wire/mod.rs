//! What a connection to NATS brings, taken where it was read: usual questions are answered without Python, everything
//! else is handed to it, in order.
//!
//! * [`wire`]: the class `Wire`, which cuts messages out of what was read, or out of what it reads itself
//!   ([`crate::socket`]).
//! * [`door`]: whether a host lets questions in, and how many are inside; [`times`]: how long answers took.
//! * [`candidates`]: an item host's part of a question; [`slates`]: a session host's; [`left`]: what Python is told of a
//!   question that is not usual after all.
//! * [`paced`]: the other side, a load process's requests and their answers.
//! * [`served`]: what is kept of a slate, on a [`shelf`]; [`records`]: the way of its record to who writes it.

mod candidates;
mod door;
mod left;
mod paced;
mod records;
mod served;
mod shelf;
mod slates;
mod times;
#[expect(clippy::module_inception, reason = "the class that all of this is for")]
mod wire;

use pyo3::prelude::*;

/// Adds the classes to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<wire::Wire>()?;
    m.add_class::<door::Door>()?;
    m.add_class::<times::VerbTimes>()?;
    m.add_class::<slates::UsualSlates>()?;
    m.add_class::<records::RecordQueue>()?;
    m.add_class::<records::RecordGroup>()?;
    m.add_class::<shelf::SlateShelf>()?;
    m.add_class::<served::UsualSlate>()?;
    m.add_class::<left::LeftQuestion>()?;
    m.add_class::<paced::PacedTurn>()?;
    m.add_function(wrap_pyfunction!(wire::message_size, m)?)?;
    served::register(m)
}
