//! An item host's candidates for a slate, from the request's bytes to those of the reply.

use pyo3::prelude::*;

use crate::error::unpanicked;
use crate::py::clock::microseconds;
use crate::py::core::Core;
use crate::py::wire::door::Door;
use crate::py::wire::times::VerbTimes;
use crate::py::wire::wire::{Out, Route};
use crate::wire::message::Message;
use crate::wire::scattered::Scattered;

/// Answers where the position that is asked for is reached and nobody folds. Everything else is Python's: to wait, or to say
/// what is wrong.
pub(super) struct Candidates {
    door: Py<Door>,
    times: Py<VerbTimes>,
    core: Py<Core>,
    layout: u16,
}

impl Candidates {
    pub(super) fn new(door: Py<Door>, times: Py<VerbTimes>, core: Py<Core>, layout: u16) -> Self {
        Self {
            door,
            times,
            core,
            layout,
        }
    }
}

impl Route for Candidates {
    fn take(&self, py: Python<'_>, message: &Message<'_>, out: &mut Out) -> PyResult<bool> {
        let elapsed = microseconds();
        let Some(asked) = Scattered::read(message.data, self.layout) else {
            return Ok(false);
        };
        if message.reply.is_empty() || !self.door.get().is_open() {
            return Ok(false);
        }
        let core = self.core.get();
        let reply = py.detach(|| unpanicked(|| core.candidates_now(asked.body, asked.after)));
        let Ok(Ok(Some(reply))) = reply else {
            return Ok(false);
        };
        if !out.has_room(py, reply.len(), reply.len())? {
            return Ok(false);
        }
        out.send(message.reply, b"", &reply);
        self.times.get().add(elapsed() / 1e6);
        Ok(true)
    }
}
