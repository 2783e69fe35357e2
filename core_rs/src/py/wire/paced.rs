//! Numbered requests that are sent when they are due, whatever became of the earlier ones, and their answers, stamped as they
//! come: what a load process does, for as little processor time as that takes.

use std::fs::File;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::py::timer::Timer;
use crate::py::wire::wire::{Out, Route, Wire};
use crate::wire::message::{Message, publish};

/// Bytes of a row, and where in it stand the times at which the request was sent and answered (i64); behind the latter the size
/// of the answer and its outcome (u32 each). `headwater.bench.latency.records` has the same row.
const ROW: u64 = 32;
const SENT: u64 = 8;
const ENDED: u64 = 16;

/// Outcomes, as there.
const ANSWERED: u32 = 1;
const ERROR: u32 = 4;

/// How the headers of an answer begin that says that nobody is there.
const NOBODY: &[u8] = b"NATS/1.0 503";

/// The rows of all requests, in a file that another process has as well.
struct Rows(File);

impl Rows {
    #[cfg(unix)]
    fn of(number: i32) -> io::Result<Self> {
        Ok(Self(crate::descriptor::own_copy(number)?.into()))
    }

    #[cfg(unix)]
    fn sent(&self, number: usize, now: i64) -> io::Result<()> {
        use std::os::unix::fs::FileExt;

        self.0
            .write_all_at(&now.to_ne_bytes(), number as u64 * ROW + SENT)
    }

    #[cfg(unix)]
    fn ended(&self, number: usize, now: i64, size: usize, outcome: u32) -> io::Result<()> {
        use std::os::unix::fs::FileExt;

        let mut row = [0; 16];
        row[..8].copy_from_slice(&now.to_ne_bytes());
        row[8..12].copy_from_slice(&(size as u32).to_ne_bytes());
        row[12..].copy_from_slice(&outcome.to_ne_bytes());
        self.0.write_all_at(&row, number as u64 * ROW + ENDED)
    }

    #[cfg(not(unix))]
    fn of(_: i32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(not(unix))]
    fn sent(&self, _: usize, _: i64) -> io::Result<()> {
        Ok(())
    }

    #[cfg(not(unix))]
    fn ended(&self, _: usize, _: i64, _: usize, _: u32) -> io::Result<()> {
        Ok(())
    }
}

struct Request {
    number: usize,
    due: i64,
    end: usize,
    size: usize,
}

#[derive(Default)]
struct State {
    started: i64,
    next: usize,
    waiting: Vec<bool>,
    left: usize,
    answers: Vec<(usize, Option<Vec<u8>>)>,
}

/// The requests of one turn. For one event loop.
#[pyclass(frozen, module = "headwater._core")]
pub struct PacedTurn {
    wire: Py<Wire>,
    timer: Py<Timer>,
    put: Py<PyAny>,
    over: Py<PyAny>,
    rows: Rows,
    prefix: Vec<u8>,
    requests: Vec<Request>,
    commands: Vec<u8>,
    state: Mutex<State>,
}

impl PacedTurn {
    fn take(&self, py: Python<'_>, message: &Message<'_>) -> PyResult<()> {
        let now = Timer::now();
        let Some(number) = message
            .subject
            .strip_prefix(&self.prefix[..])
            .and_then(|name| std::str::from_utf8(name).ok()?.parse().ok())
        else {
            return Ok(()); // of an earlier turn, given up by now
        };
        {
            let state = &mut *self.state.lock();
            match state.waiting.get_mut(number) {
                Some(waiting) if *waiting => *waiting = false,
                _ => return Ok(()), // a second answer
            }
            state.left -= 1;
            let nobody = message.data.is_empty()
                && message
                    .headers
                    .is_some_and(|lines| lines.starts_with(NOBODY));
            let outcome = if nobody { ERROR } else { ANSWERED };
            self.rows.ended(number, now, message.data.len(), outcome)?;
            if nobody {
                state.answers.push((number, None));
            } else if !is_whole(message.data) {
                state.answers.push((number, Some(message.data.to_vec())));
            }
            if state.left > 0 {
                return Ok(());
            }
        }
        self.over.call0(py).map(drop)
    }
}

/// Whether an answer plainly is a slate that nothing is wanting of, or no answer of a host at all. Such are not kept: memory
/// that is taken while others are measured holds them up.
fn is_whole(data: &[u8]) -> bool {
    // No text that JSON quotes has such quotes in it, and errors have nothing of the like.
    let whole = br#""degraded":[]"#;
    !data.starts_with(b"{") || data.windows(whole.len()).rev().any(|part| part == whole)
}

/// The turn as what takes the messages of a subscription.
struct Answers(Py<PacedTurn>);

impl Route for Answers {
    fn take(&self, py: Python<'_>, message: &Message<'_>, _: &mut Out) -> PyResult<bool> {
        self.0.get().take(py, message)?;
        Ok(true)
    }
}

#[pymethods]
impl PacedTurn {
    /// Requests over `wire`, each `due` so many ns after the start, in ascending order. The answer to
    /// one comes to `prefix` with its number; `over` is called when all have come. `rows`: the descriptor of the file with the
    /// rows. `put` sends what cannot be written at once.
    ///
    /// Errors: `ValueError`, lists of different lengths; `OSError`, no such file.
    #[new]
    #[expect(clippy::too_many_arguments, reason = "called by name")]
    #[pyo3(signature = (*, wire, timer, put, over, rows, prefix, numbers, due, subjects, bodies))]
    fn new(
        wire: Py<Wire>,
        timer: Py<Timer>,
        put: Py<PyAny>,
        over: Py<PyAny>,
        rows: i32,
        prefix: &str,
        numbers: Vec<usize>,
        due: Vec<i64>,
        subjects: Vec<String>,
        bodies: Vec<Bound<'_, PyBytes>>,
    ) -> PyResult<Self> {
        let lengths = [due.len(), subjects.len(), bodies.len()];
        if lengths.iter().any(|length| *length != numbers.len()) {
            return Err(PyValueError::new_err("lists of different lengths"));
        }
        let last = numbers.iter().max().map_or(0, |last| last + 1);
        let mut commands = Vec::new();
        let mut requests = Vec::with_capacity(numbers.len());
        let mut waiting = vec![false; last];
        for (((number, due), subject), body) in
            numbers.into_iter().zip(due).zip(&subjects).zip(&bodies)
        {
            let reply = format!("{prefix}{number}");
            publish(
                &mut commands,
                subject.as_bytes(),
                reply.as_bytes(),
                body.as_bytes(),
            );
            let end = commands.len();
            waiting[number] = true;
            let size = body.as_bytes().len();
            requests.push(Request {
                number,
                due,
                end,
                size,
            });
        }
        let left = requests.len();
        Ok(Self {
            wire,
            timer,
            put,
            over,
            rows: Rows::of(rows)?,
            prefix: prefix.as_bytes().to_vec(),
            requests,
            commands,
            state: Mutex::new(State {
                waiting,
                left,
                ..State::default()
            }),
        })
    }

    /// Starts at `at` ns of the monotonic clock. Takes the answers that come to `subscription` from now on, until the wire is
    /// told to leave it. Errors: `OSError`, the timer cannot be set.
    fn start(slf: Py<Self>, py: Python<'_>, at: i64, subscription: u64) -> PyResult<()> {
        let turn = slf.clone_ref(py);
        slf.get().state.lock().started = at;
        let wire = slf.get().wire.clone_ref(py);
        wire.get().add(subscription, Arc::new(Answers(slf)));
        turn.get().ring(py)
    }

    /// Sends what is due and sets the timer for what comes next. To be called whenever the timer is readable.
    /// Errors: `OSError`, the timer cannot be set.
    fn ring(&self, py: Python<'_>) -> PyResult<()> {
        let timer = self.timer.get();
        timer.quiet()?;
        let (started, first, next) = {
            let state = &mut *self.state.lock();
            let (started, first) = (state.started, state.next);
            while let Some(request) = self.requests.get(state.next)
                && let now = Timer::now()
                && started + request.due <= now
            {
                self.rows.sent(request.number, now)?;
                state.next += 1;
            }
            (started, first, state.next)
        };
        let end_of = |count: usize| count.checked_sub(1).map_or(0, |at| self.requests[at].end);
        let due = &self.commands[end_of(first)..end_of(next)];
        let size = self.requests[first..next].iter().map(|sent| sent.size);
        if !due.is_empty() && !self.wire.get().write(py, due, next - first, size.sum())? {
            self.put.call1(py, (PyBytes::new(py, due),))?;
        }
        if let Some(request) = self.requests.get(next) {
            timer.set_at(started + request.due)?;
        }
        Ok(())
    }

    /// How many answers have not come.
    #[getter]
    fn left(&self) -> usize {
        self.state.lock().left
    }

    /// The numbers whose answers have not come.
    fn waiting(&self) -> Vec<usize> {
        let state = self.state.lock();
        let waiting = state.waiting.iter().enumerate();
        waiting
            .filter_map(|(number, waits)| waits.then_some(number))
            .collect()
    }

    /// Answers in the order in which they came, but for those that plainly are whole slates: number and data, `None` where nobody
    /// was there to answer.
    fn take_answers<'py>(&self, py: Python<'py>) -> Vec<(usize, Option<Bound<'py, PyBytes>>)> {
        let answers = std::mem::take(&mut self.state.lock().answers);
        let given = |data: Vec<u8>| PyBytes::new(py, &data);
        answers
            .into_iter()
            .map(|(number, data)| (number, data.map(given)))
            .collect()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.wire)?;
        visit.call(&self.timer)?;
        visit.call(&self.put)?;
        visit.call(&self.over)
    }
}
