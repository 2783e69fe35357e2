//! `recommend` as it is usually asked, on the host that owns the user: from the question's bytes to a scatter, and from
//! the last reply to those of the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::error::unpanicked;
use crate::ids::Millis;
use crate::py::clock::microseconds;
use crate::py::core::Core;
use crate::py::error::protocol;
use crate::py::hosts::{read_replies, read_scatter};
use crate::py::wire::door::Door;
use crate::py::wire::left::LeftQuestion;
use crate::py::wire::records::RecordQueue;
use crate::py::wire::served::Served;
use crate::py::wire::shelf::SlateShelf;
use crate::py::wire::times::VerbTimes;
use crate::py::wire::wire::{Out, Route};
use crate::query::answer::Answer;
use crate::query::hosts::gather::Gathered;
use crate::wire::message::Message;
use crate::wire::recorded::SlateRecorded;
use crate::wire::said::SlateSaid;
use crate::wire::scattered::Scattered;
use crate::wire::usual::Usual;
use crate::wire::waiting::{Question, Waited, Waiting, ending, place};

/// Bytes that an answer may grow by where something is wanting.
const WANTING: usize = 4096;

/// Answers `recommend` of a session host.
#[pyclass(frozen, module = "headwater._core")]
pub struct UsualSlates {
    door: Py<Door>,
    times: Py<VerbTimes>,
    core: Py<Core>,
    layout: u16,
    subjects: Vec<String>,
    deadline_ms: u64,
    item_share: f64,
    records: bool,
    scorer: String,
    config: String,
    prefix: String,
    last: AtomicU64,
    clock: Py<PyAny>,
    queue: Py<RecordQueue>,
    shelf: Py<SlateShelf>,
    left: Py<PyAny>,
    wake: Py<PyAny>,
    waiting: Mutex<Waiting>,
    /// When `expire` is called next; never while nothing waits.
    woken: AtomicU64,
    elapsed: Box<dyn Fn() -> f64 + Send + Sync>,
}

const NEVER: u64 = u64::MAX;

/// What was made of replies.
struct Made {
    answer: Answer,
    positions: Vec<u64>,
    config: Option<String>,
    request: Vec<u8>,
}

#[pymethods]
impl UsualSlates {
    /// `subjects`: where item hosts are asked for candidates; `deadline_ms`: of a question that names none, `item_share`: what
    /// of it item hosts get; `records`: whether slates are recorded unless a question says otherwise, `scorer`: the version that records name; `config`: version of the configuration before one was
    /// activated; `prefix`: of the ids of slates.
    ///
    /// `clock` gives the time of day in milliseconds. Records go to `queue`, and `shelf` keeps slates. `left` is called with a
    /// `LeftQuestion`; `wake` with seconds after which `expire` is to be called.
    #[new]
    #[pyo3(signature = (*, door, times, core, layout, subjects, deadline_ms, item_share, records, scorer, config, prefix, clock, queue, shelf, left, wake))]
    #[expect(
        clippy::too_many_arguments,
        reason = "named, and all of them of the host"
    )]
    fn new(
        door: Py<Door>,
        times: Py<VerbTimes>,
        core: Py<Core>,
        layout: u16,
        subjects: Vec<String>,
        deadline_ms: u64,
        item_share: f64,
        records: bool,
        scorer: String,
        config: String,
        prefix: String,
        clock: Py<PyAny>,
        queue: Py<RecordQueue>,
        shelf: Py<SlateShelf>,
        left: Py<PyAny>,
        wake: Py<PyAny>,
    ) -> Self {
        Self {
            door,
            times,
            core,
            layout,
            subjects,
            deadline_ms,
            item_share,
            records,
            scorer,
            config,
            prefix,
            last: AtomicU64::new(0),
            clock,
            queue,
            shelf,
            left,
            wake,
            waiting: Mutex::default(),
            woken: AtomicU64::new(NEVER),
            elapsed: Box::new(microseconds()),
        }
    }

    /// The id of the next slate, whoever answers it.
    fn next_id(&self) -> String {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{}-{number}", self.prefix)
    }

    /// Leaves those questions to Python whose item hosts are late.
    fn expire(&self, py: Python<'_>) -> PyResult<()> {
        let now = self.microseconds();
        // A timer whose time an earlier one took over: each that is due begins one, so they would never become fewer.
        if now < self.woken.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (overdue, next) = {
            let mut waiting = self.waiting.lock();
            (waiting.overdue(now), waiting.next_due())
        };
        self.woken.store(NEVER, Ordering::Relaxed);
        if let Some(due) = next {
            self.wake_at(py, now, due)?;
        }
        overdue
            .into_iter()
            .try_for_each(|waited| self.leave(py, waited))
    }

    // They lead back to whoever has these.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        [&self.clock, &self.left, &self.wake]
            .into_iter()
            .try_for_each(|led_to| visit.call(led_to))
    }
}

impl UsualSlates {
    fn microseconds(&self) -> u64 {
        (self.elapsed)() as u64
    }

    /// Has `expire` called when something is overdue, unless it will be before that.
    fn wake_at(&self, py: Python<'_>, now: u64, due: u64) -> PyResult<()> {
        if due >= self.woken.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.woken.store(due, Ordering::Relaxed);
        // A timer may be early by its grain.
        let seconds = due.saturating_sub(now) as f64 / 1e6 + 1e-3;
        self.wake.call1(py, (seconds,)).map(drop)
    }

    /// Asks the item hosts; false for a question that Python must look at.
    fn begin(
        &self,
        py: Python<'_>,
        message: &Message<'_>,
        inbox: &str,
        out: &mut Out,
    ) -> PyResult<bool> {
        if message.reply.is_empty() || !self.door.get().lets_in(message.data.len()) {
            return Ok(false);
        }
        let Some((usual, encoding)) = Usual::read(message.data) else {
            return Ok(false);
        };
        let now: Millis = self.clock.call0(py)?.extract(py)?;
        let (key, began) = (self.next_id(), self.microseconds());
        let request = usual.request(now, &key);
        let bytes = usual.request_bytes(now, &key);
        let core = self.core.get();
        let made = py.detach(|| unpanicked(|| core.scatter_now(&request, &bytes)));
        let Ok(Ok(Some((sent, made_at)))) = made else {
            return Ok(false);
        };
        let deadline_ms = usual.deadline_ms.unwrap_or(self.deadline_ms);
        let share_ms = ((deadline_ms as f64 * self.item_share) as u64).max(1);
        let scattered = Scattered {
            after: 0,
            deadline_ms: u32::try_from(share_ms).unwrap_or(u32::MAX),
            body: &sent,
        };
        let asked = scattered.bytes(self.layout);
        let sum = self.subjects.len() * (asked.len() + inbox.len() + 128);
        if !out.has_room(py, sum, asked.len())? {
            return Ok(false);
        }
        let due = began + share_ms * 1000;
        let question = Question {
            reply: message.reply.to_vec(),
            headers: message.headers.map(<[u8]>::to_vec),
            data: message.data.to_vec(),
            usual,
            encoding,
            key,
            now,
            sent,
            made_at,
            began,
            due,
            until: began + deadline_ms * 1000,
        };
        let number = self.waiting.lock().begin(question, self.subjects.len());
        for (host, subject) in self.subjects.iter().enumerate() {
            let reply = format!("{inbox}{}", ending(number, host));
            out.send(subject.as_bytes(), reply.as_bytes(), &asked);
        }
        self.door.get().enter();
        self.wake_at(py, began, due)?;
        Ok(true)
    }

    /// Takes a reply, and answers where it was the last.
    fn heard(
        &self,
        py: Python<'_>,
        place: (u64, usize),
        message: &Message<'_>,
        out: &mut Out,
    ) -> PyResult<()> {
        let (number, host) = place;
        let waited = self.waiting.lock().heard(number, host, message);
        let Some(waited) = waited else {
            return Ok(());
        };
        let made = py.detach(|| unpanicked(|| self.make(&waited)));
        let answered = match made {
            Ok(Ok(Some(made))) => self.answer(py, &waited.question, &made, out),
            _ => Ok(false),
        };
        match answered {
            Ok(true) => self.door.get().leave(py),
            // Python does it again, and says what is wrong.
            Ok(false) | Err(_) => self.leave(py, waited),
        }
    }

    /// The slate, where all replied as usual and it needs no more than they told.
    fn make(&self, waited: &Waited) -> PyResult<Option<Made>> {
        let core = self.core.get();
        let replies: Option<Vec<&[u8]>> = waited
            .replies
            .iter()
            .map(|reply| {
                let reply = reply.as_ref().filter(|reply| reply.is_plain())?;
                Some(&*reply.data)
            })
            .collect();
        let Some(replies) = replies.filter(|_| core.is_at_rest()) else {
            return Ok(None);
        };
        let (scatter, request) = read_scatter(&waited.question.sent)?;
        let replies = read_replies(replies.into_iter())?;
        let Gathered::Answer(answer) = core.gathered(&scatter, &request, &replies)? else {
            return Ok(None);
        };
        let hosts = replies.iter().map(|reply| reply.position);
        Ok(Some(Made {
            positions: std::iter::once(answer.position).chain(hosts).collect(),
            // Gathering found that it is the active one.
            config: scatter.version.map(str::to_string),
            request: scatter.request.0.to_vec(),
            answer: *answer,
        }))
    }

    /// Answers; false, or an error, where nothing was answered.
    fn answer(
        &self,
        py: Python<'_>,
        question: &Question,
        made: &Made,
        out: &mut Out,
    ) -> PyResult<bool> {
        let answer = &made.answer;
        let records = question.usual.record.unwrap_or(self.records);
        let mut served = self.served(question, made, records)?;
        let usual = written(question, &said(&served, answer));
        // Before anybody is told that it was served.
        if !out.has_room(py, usual.len() + WANTING, usual.len() + WANTING)? {
            return Ok(false);
        }
        if records {
            let event = self.record(question, &served, answer);
            let queued = self.queue.get().put(py, &served.id, &served.user, event)?;
            (served.recorded, served.degraded) = (queued.0, wanting(queued));
        }
        let bytes = match served.recorded == records && served.degraded.is_empty() {
            true => usual,
            false => written(question, &said(&served, answer)),
        };
        self.shelf.get().put(Arc::new(served));
        out.send(&question.reply, b"", &bytes);
        let took = self.microseconds().saturating_sub(question.began);
        self.times.get().add(took as f64 / 1e6);
        Ok(true)
    }

    /// The slate, with a record that nothing is wanting of if `recorded`.
    fn served(&self, question: &Question, made: &Made, recorded: bool) -> PyResult<Served> {
        let usual = &question.usual;
        let round = (made.answer.position != question.made_at).then(|| {
            let hosts = made.positions[1..].iter().copied();
            std::iter::once(question.made_at).chain(hosts).collect()
        });
        Ok(Served {
            id: question.key.clone(),
            user: usual.user().to_string(),
            n: usual.n(),
            now: question.now,
            request: made.request.clone(),
            answer: rmp_serde::to_vec(&made.answer).map_err(protocol)?,
            positions: made.positions.clone(),
            config: made.config.as_ref().unwrap_or(&self.config).clone(),
            round,
            recorded,
            degraded: Vec::new(),
        })
    }

    /// A slate's record, as an event of the log.
    fn record(&self, question: &Question, served: &Served, answer: &Answer) -> Vec<u8> {
        let record = SlateRecorded {
            said: said(served, answer),
            request: question.usual.written(question.now, None),
            scorer: &self.scorer,
            round: served.round.as_deref(),
        };
        record.bytes()
    }

    /// Hands a question to Python.
    fn leave(&self, py: Python<'_>, waited: Waited) -> PyResult<()> {
        let at = self.microseconds();
        let left = Py::new(py, LeftQuestion { waited, at })?;
        let gone_on = self.left.call1(py, (left,));
        self.door.get().leave(py)?;
        gone_on.map(drop)
    }
}

/// What a slate says of its record, where something is wanting (`headwater.slate_record.wanting` says the same).
fn wanting((queued, error): (bool, Option<String>)) -> Vec<String> {
    let full = || "slate not recorded: the record queue is full".to_string();
    let failed = |why| format!("slate may not be recorded: the last write failed ({why})");
    match queued {
        true => error.map(failed).into_iter().collect(),
        false => vec![full()],
    }
}

fn said<'a>(served: &'a Served, answer: &'a Answer) -> SlateSaid<'a> {
    SlateSaid {
        id: &served.id,
        user: &served.user,
        n: served.n,
        now: served.now,
        answer,
        positions: &served.positions,
        config: &served.config,
        degraded: &served.degraded,
        recorded: served.recorded,
    }
}

/// As it was asked for.
fn written(question: &Question, said: &SlateSaid<'_>) -> Vec<u8> {
    match (question.usual.compact, question.usual.detail) {
        (true, _) => said.compact(),
        (false, true) => said.detailed(question.encoding),
        (false, false) => said.brief(question.encoding),
    }
}

/// Questions of visitors.
pub(super) struct Questions {
    slates: Py<UsualSlates>,
    inbox: String,
}

impl Questions {
    pub(super) fn new(slates: Py<UsualSlates>, inbox: String) -> Self {
        Self { slates, inbox }
    }
}

impl Route for Questions {
    fn take(&self, py: Python<'_>, message: &Message<'_>, out: &mut Out) -> PyResult<bool> {
        self.slates.get().begin(py, message, &self.inbox, out)
    }
}

/// Replies of item hosts, among all that comes to an inbox.
pub(super) struct Replies {
    slates: Py<UsualSlates>,
    inbox: String,
}

impl Replies {
    pub(super) fn new(slates: Py<UsualSlates>, inbox: String) -> Self {
        Self { slates, inbox }
    }
}

impl Route for Replies {
    fn take(&self, py: Python<'_>, message: &Message<'_>, out: &mut Out) -> PyResult<bool> {
        let ending = message.subject.strip_prefix(self.inbox.as_bytes());
        let Some(place) = ending.and_then(place) else {
            return Ok(false);
        };
        self.slates.get().heard(py, place, message, out)?;
        Ok(true)
    }
}
