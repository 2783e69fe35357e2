//! The class `Wire`: messages out of what a connection brought, each to whoever takes it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::py::core::Core;
use crate::py::wire::candidates::Candidates;
use crate::py::wire::door::Door;
use crate::py::wire::slates::{Questions, Replies, UsualSlates};
use crate::py::wire::times::VerbTimes;
use crate::socket::{Brought, Socket};
use crate::wire::message::{Cut, Message, cut, publish};

/// So many bytes of room are kept at most.
const MOST_KEPT: usize = 4 << 20;

/// What takes the messages of a subscription without Python.
pub(super) trait Route: Send + Sync {
    /// Takes one, with what is to be sent for it; false if it is for Python, and nothing was done.
    fn take(&self, py: Python<'_>, message: &Message<'_>, out: &mut Out) -> PyResult<bool>;
}

/// What is to be sent.
pub(super) struct Out {
    commands: Vec<u8>,
    counts: Counts,
    room: Option<Room>,
    ask: Py<PyAny>,
}

/// How many bytes may be sent, and how large a message may be.
type Room = (usize, usize);

impl Out {
    /// Whether messages of so many bytes in sum, none larger than `largest`, can be sent. Python is asked once for what a
    /// connection brought: most of it needs no answer.
    pub(super) fn has_room(
        &mut self,
        py: Python<'_>,
        sum: usize,
        largest: usize,
    ) -> PyResult<bool> {
        let room = match self.room {
            Some(room) => room,
            None => self.ask.call0(py)?.extract(py)?,
        };
        self.room = Some(room);
        Ok(largest <= room.1 && self.commands.len() + sum <= room.0)
    }

    /// Sends.
    pub(super) fn send(&mut self, subject: &[u8], reply: &[u8], data: &[u8]) {
        publish(&mut self.commands, subject, reply, data);
        self.counts[2] += 1;
        self.counts[3] += data.len();
    }
}

#[derive(Clone)]
struct Routed {
    route: Arc<dyn Route>,
    taken: Arc<AtomicU64>,
}

/// What is not whole yet, and how much is wanted.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    wanted: usize,
}

/// Messages and bytes of those that Python had no part in: in, out.
type Counts = [usize; 4];

/// What is left for nats-py, and what is to be sent.
type Left<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// The same, and whether the connection is at its end.
type Pumped<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, bool);

/// How many bytes the message at the beginning of `data` takes; `None` where there is no whole and sound one.
#[pyfunction]
pub(super) fn message_size(data: &[u8]) -> Option<usize> {
    match cut(data) {
        Cut::Whole(_, size) => Some(size),
        Cut::Part(_) | Cut::Other => None,
    }
}

/// One connection. For one event loop.
#[pyclass(frozen, module = "headwater._core")]
pub struct Wire {
    take: Py<PyAny>,
    room: Py<PyAny>,
    held: Mutex<Held>,
    routes: Mutex<HashMap<u64, Routed>>,
    life: AtomicU64,
    socket: Mutex<Option<Arc<Socket>>>,
    commands: Mutex<Vec<u8>>,
    watch: Mutex<Option<Arc<Watch>>>,
    trusted: Mutex<Option<Room>>,
    counts: Mutex<Counts>,
}

/// Who is told of a readable socket: `look` where it must be asked first what may be sent, `left` of what a usual turn left.
struct Watch {
    look: Py<PyAny>,
    left: Py<PyAny>,
}

impl Wire {
    /// Has a route take the messages of a subscription.
    pub(super) fn add(&self, subscription: u64, route: Arc<dyn Route>) {
        let taken = Arc::default();
        self.routes
            .lock()
            .insert(subscription, Routed { route, taken });
    }

    /// Keeps the room of what was sent for what is sent next: pieces of this size are taken from the system, and cleared, each
    /// time anew.
    fn keep(&self, mut commands: Vec<u8>) {
        if commands.capacity() <= MOST_KEPT {
            commands.clear();
            *self.commands.lock() = commands;
        }
    }

    /// Writes commands with so many messages, of so many bytes in sum, at once, if nothing waits before them; whether that was
    /// done.
    pub(super) fn write(
        &self,
        py: Python<'_>,
        commands: &[u8],
        messages: usize,
        size: usize,
    ) -> PyResult<bool> {
        let trusted = self.trusted.lock().is_some();
        let (Some(socket), Some(watch)) = (self.socket.lock().clone(), self.watch.lock().clone())
        else {
            return Ok(false);
        };
        if !trusted {
            return Ok(false);
        }
        let unsent = socket.write(commands);
        {
            let mut counts = self.counts.lock();
            counts[2] += messages;
            counts[3] += size;
        }
        if !unsent.is_empty() {
            self.distrust();
            let bytes = |bytes| PyBytes::new(py, bytes);
            watch.left.call1(py, (bytes(b""), bytes(unsent), false))?;
        }
        Ok(true)
    }

    fn hand_over(&self, py: Python<'_>, message: &Message<'_>, out: &mut Out) -> PyResult<bool> {
        // Whoever takes a message may add and remove routes.
        let routed = self.routes.lock().get(&message.subscription).cloned();
        let taken = |routed: &Routed, out: &mut Out| {
            // A defect in one place must not make the whole connection deaf.
            routed.route.take(py, message, out).unwrap_or_else(|err| {
                err.write_unraisable(py, None);
                true
            })
        };
        if let Some(routed) = routed
            && taken(&routed, out)
        {
            routed.taken.fetch_add(1, Ordering::Relaxed);
            out.counts[0] += 1;
            out.counts[1] += message.data.len();
            return Ok(true);
        }
        let bytes = |bytes| PyBytes::new(py, bytes);
        let taken = self.take.call1(
            py,
            (
                message.subscription,
                bytes(message.subject),
                bytes(message.reply),
                bytes(message.data),
                message.headers.map(bytes),
            ),
        )?;
        taken.is_truthy(py)
    }

    /// Hands over what is whole in `bytes`; what is left for nats-py.
    fn cut_all<'a>(&self, py: Python<'_>, bytes: &'a [u8], out: &mut Out) -> PyResult<&'a [u8]> {
        let life = self.life.load(Ordering::Relaxed);
        let mut at = 0;
        while at < bytes.len() {
            match cut(&bytes[at..]) {
                Cut::Other => return Ok(&bytes[at..]),
                Cut::Part(wanted) => {
                    let mut held = self.held.lock();
                    held.bytes.extend_from_slice(&bytes[at..]);
                    held.wanted = wanted;
                    break;
                }
                Cut::Whole(message, size) => {
                    if !self.hand_over(py, &message, out)? {
                        return Ok(&bytes[at..]);
                    }
                    at += size;
                }
            }
            if life != self.life.load(Ordering::Relaxed) {
                break; // what is left came over a connection that is gone
            }
        }
        Ok(&[])
    }

    /// Adds to what is held; all of it once enough is there, `None` before. Nothing is copied twice for a large message.
    fn with_held(&self, data: &[u8]) -> Option<Vec<u8>> {
        let mut held = self.held.lock();
        held.bytes.extend_from_slice(data);
        (held.bytes.len() >= held.wanted).then(|| std::mem::take(&mut *held).bytes)
    }

    /// Hands over messages as long as they are taken; what is left for nats-py, and what is to be sent.
    fn cut_whole<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
        room: Option<Room>,
    ) -> PyResult<(Bound<'py, PyBytes>, Vec<u8>)> {
        let mut out = Out {
            commands: std::mem::take(&mut *self.commands.lock()),
            counts: Counts::default(),
            room,
            ask: self.room.clone_ref(py),
        };
        let is_held = !self.held.lock().bytes.is_empty();
        let whole = is_held.then(|| self.with_held(data));
        let rest = match &whole {
            None => self.cut_all(py, data, &mut out)?,
            Some(Some(whole)) => self.cut_all(py, whole, &mut out)?,
            Some(None) => &[],
        };
        let mut counts = self.counts.lock();
        let sums = counts.iter_mut().zip(out.counts);
        sums.for_each(|(sum, more)| *sum += more);
        Ok((PyBytes::new(py, rest), out.commands))
    }
}

#[pymethods]
impl Wire {
    /// `take` is called with subscription, subject, reply subject, data and headers (`None` for none) of each message that no
    /// route takes, and says whether anybody was there to take it. `room` tells how many bytes may be sent now, and how
    /// large a message may be.
    #[new]
    fn new(take: Py<PyAny>, room: Py<PyAny>) -> Self {
        Self {
            take,
            room,
            held: Mutex::default(),
            routes: Mutex::default(),
            life: AtomicU64::new(0),
            socket: Mutex::default(),
            commands: Mutex::default(),
            watch: Mutex::default(),
            trusted: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// Hands over messages as long as they are taken. Gives the rest from the first on that is not, and what is to be sent.
    /// What is not whole yet is kept.
    fn cut<'py>(&self, py: Python<'py>, data: &Bound<'py, PyBytes>) -> PyResult<Left<'py>> {
        let (rest, commands) = self.cut_whole(py, data.as_bytes(), None)?;
        let sent = PyBytes::new(py, &commands);
        self.keep(commands);
        Ok((rest, sent))
    }

    /// From now on `pump` and `read` read the socket of the descriptor `number`, by one of their own, which is given: whoever
    /// watches that calls `readable`. Errors: `OSError`, there is no such socket.
    ///
    /// `look` is called where nothing is trusted, and calls `pump` or `read`. `left` is called with what a turn of `readable`
    /// left, as `pump` gives it.
    fn attach(&self, number: i32, look: Py<PyAny>, left: Py<PyAny>) -> PyResult<i32> {
        let socket = Socket::of(number)?;
        let watched = socket.number();
        *self.socket.lock() = Some(Arc::new(socket));
        *self.watch.lock() = Some(Arc::new(Watch { look, left }));
        Ok(watched)
    }

    /// Closes that descriptor. It must not be watched any longer.
    fn detach(&self) {
        self.distrust();
        *self.socket.lock() = None;
        let watch = self.watch.lock().take();
        drop(watch); // after the lock: it may hold the last of something
    }

    /// So much may be sent, and nothing waits to be read or written before what comes next: until `distrust`, `readable` asks
    /// nobody. Without a socket there is nothing to trust: the next one asks first.
    fn trust(&self, room: usize, largest: usize) {
        if self.socket.lock().is_some() {
            *self.trusted.lock() = Some((room, largest));
        }
    }

    /// Something waits, or may.
    fn distrust(&self) {
        *self.trusted.lock() = None;
    }

    /// The socket has something. Mostly that concerns nobody else, and no line of Python is run for it.
    fn readable(&self, py: Python<'_>) -> PyResult<()> {
        let trusted = *self.trusted.lock();
        let Some(watch) = self.watch.lock().clone() else {
            return Ok(());
        };
        let Some((room, largest)) = trusted else {
            watch.look.call0(py)?;
            return Ok(());
        };
        if let Some(left) = self.pump(py, room, largest, true)? {
            self.distrust();
            watch.left.call1(py, left)?;
        }
        Ok(())
    }

    /// `cut` of what the socket brought. `room`: how many bytes may be sent, and how large a message may be; `direct`: whether
    /// they are written here. `None` where nothing is left to do; else what is left for nats-py, what is still to be
    /// written, and whether the connection is at its end.
    fn pump<'py>(
        &self,
        py: Python<'py>,
        room: usize,
        largest: usize,
        direct: bool,
    ) -> PyResult<Option<Pumped<'py>>> {
        let Some(socket) = self.socket.lock().clone() else {
            return Ok(None);
        };
        let (rest, commands) =
            match socket.read(|data| self.cut_whole(py, data, Some((room, largest)))) {
                Brought::Bytes(cut) => cut?,
                Brought::Nothing => return Ok(None),
                Brought::End => {
                    let nothing = || PyBytes::new(py, &[]);
                    return Ok(Some((nothing(), nothing(), true)));
                }
            };
        let unsent = match direct {
            true => socket.write(&commands),
            false => &commands,
        };
        let done = unsent.is_empty() && rest.as_bytes().is_empty();
        let left = (!done).then(|| (rest, PyBytes::new(py, unsent), false));
        self.keep(commands);
        Ok(left)
    }

    /// What the socket brought; nothing of it is looked at. Empty at the end of the connection, `None` where nothing came.
    fn read<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let socket = self.socket.lock().clone()?;
        match socket.read(|data| PyBytes::new(py, data)) {
            Brought::Bytes(bytes) => Some(bytes),
            Brought::Nothing => None,
            Brought::End => Some(PyBytes::new(py, &[])),
        }
    }

    /// Messages that Python had no part in and their bytes, and the same of what was sent for them; since this was asked last.
    fn take_counts(&self) -> Counts {
        std::mem::take(&mut *self.counts.lock())
    }

    /// Begins anew, with another connection: what is half there is dropped, routes stay.
    fn reset(&self) {
        self.life.fetch_add(1, Ordering::Relaxed);
        *self.held.lock() = Held::default();
    }

    /// Answers what a session host asks an item host for: candidates. `layout`: of messages between hosts.
    fn answer_candidates(
        &self,
        subscription: u64,
        door: Py<Door>,
        times: Py<VerbTimes>,
        core: Py<Core>,
        layout: u16,
    ) {
        self.add(
            subscription,
            Arc::new(Candidates::new(door, times, core, layout)),
        );
    }

    /// Answers `recommend` as it is usually asked. `inbox`: subscription and beginning of the subjects that replies come to.
    fn answer_recommend(
        &self,
        py: Python<'_>,
        subscription: u64,
        inbox: (u64, String),
        slates: Py<UsualSlates>,
    ) {
        let (replies, prefix) = inbox;
        let heard = Replies::new(slates.clone_ref(py), prefix.clone());
        self.add(replies, Arc::new(heard));
        self.add(subscription, Arc::new(Questions::new(slates, prefix)));
    }

    /// Messages of a subscription that were taken without Python.
    fn taken(&self, subscription: u64) -> u64 {
        let routes = self.routes.lock();
        routes
            .get(&subscription)
            .map_or(0, |routed| routed.taken.load(Ordering::Relaxed))
    }

    /// Takes nothing more of a subscription.
    fn leave(&self, subscription: u64) {
        let left = self.routes.lock().remove(&subscription);
        drop(left); // after the lock: it may hold the last of something
    }

    /// Takes nothing more of any subscription.
    fn close(&self) {
        let left = std::mem::take(&mut *self.routes.lock());
        drop(left);
    }

    // The two are methods of the client that this is a part of. Routes lead back to it as well, until `close`.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.take)?;
        visit.call(&self.room)?;
        let watch = self.watch.try_lock();
        watch
            .as_deref()
            .and_then(Option::as_ref)
            .map_or(Ok(()), |watch| {
                visit.call(&watch.look)?;
                visit.call(&watch.left)
            })
    }
}
