//! Questions that several hosts answer together, as bytes: see [`crate::query::hosts`].

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use serde::de::DeserializeOwned;

use crate::config::FoldConfig;
use crate::error::CoreError;
use crate::fold::ownership::Ownership;
use crate::fold::state::State;
use crate::ids::{owner, stable_hash};
use crate::py::core::Core;
use crate::py::error::{detached, protocol};
use crate::query::answer::Answer;
use crate::query::hosts::gather::Gathered;
use crate::query::hosts::message::{Reply, Scatter};
use crate::query::hosts::told::Numbered;
use crate::query::hosts::{candidates, gather, scatter};
use crate::query::plan::Tools;
use crate::query::request::RecommendRequest;
use crate::query::seeds::asked_by;

/// Partitions and shards of a host.
pub(super) type Owned = (Vec<usize>, Vec<usize>);

/// An answer, or what to ask once more.
pub type GatheredBytes = (Option<Vec<u8>>, Option<Vec<u8>>);

impl Core {
    /// See `Core.scatter`.
    pub(super) fn scatter_bytes(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<Vec<u8>> {
        let request: RecommendRequest = rmp_serde::from_slice(bytes).map_err(protocol)?;
        detached(py, || {
            let state = self.state.read();
            owns_visitor(&state, &request)?;
            let tools = self.tools(&state);
            Ok::<_, PyErr>(scatter::scatter(&state, &tools, &request, bytes)?)
        })
    }

    /// See `Core.candidates`.
    pub(super) fn candidates_bytes(&self, py: Python<'_>, asked: &[u8]) -> PyResult<Vec<u8>> {
        let (scatter, request) = read_scatter(asked)?;
        detached(py, || {
            let state = self.state.read();
            counts_items(&state)?;
            let tools = self.tools(&state);
            Ok::<_, PyErr>(candidates::candidates(&state, &tools, &scatter, &request)?)
        })
    }

    /// An item host's candidates, where its state is at or after a position and nobody changes it; `None` where that has to be
    /// waited for.
    pub(super) fn candidates_now(&self, asked: &[u8], after: i64) -> PyResult<Option<Vec<u8>>> {
        let (scatter, request) = read_scatter(asked)?;
        let Some(state) = self.state.try_read() else {
            return Ok(None);
        };
        if after > 0 && state.position.0 < after.cast_unsigned() {
            return Ok(None);
        }
        counts_items(&state)?;
        let tools = self.tools(&state);
        Ok(Some(candidates::candidates(
            &state, &tools, &scatter, &request,
        )?))
    }

    /// See [`scatter_at_once`]; `None`, too, where somebody changes the state.
    pub(super) fn scatter_now(
        &self,
        asked: &RecommendRequest,
        bytes: &[u8],
    ) -> PyResult<Option<(Vec<u8>, u64)>> {
        match self.state.try_read() {
            Some(state) => Ok(self.scattered(&state, asked, bytes)?),
            None => Ok(None),
        }
    }

    /// Whether nobody changes the state at the moment: whoever asks has not to wait.
    pub(super) fn is_at_rest(&self) -> bool {
        self.state.try_read().is_some()
    }

    fn scattered(
        &self,
        state: &State,
        asked: &RecommendRequest,
        bytes: &[u8],
    ) -> Result<Option<(Vec<u8>, u64)>, CoreError> {
        let tools = self.tools(state);
        let own = asked_by(asked).is_some_and(|user| {
            owns_user(state, user).is_ok()
                && state
                    .names
                    .find_user(user)
                    .is_none_or(|(p, ix)| state.partitions[p].merged_into(ix).is_none())
        });
        if !own || !tools.query.experiments.is_empty() {
            return Ok(None);
        }
        let sent = scatter::scatter(state, &tools, asked, bytes)?;
        Ok(Some((sent, state.position.0)))
    }

    /// See `Core.gather`.
    pub(super) fn gather_bytes(
        &self,
        py: Python<'_>,
        asked: &[u8],
        replies: &[PyBackedBytes],
    ) -> PyResult<GatheredBytes> {
        let (scatter, request) = read_scatter(asked)?;
        let replies = read_replies(replies.iter().map(|reply| &**reply))?;
        detached(py, || {
            Ok::<_, PyErr>(match self.gathered(&scatter, &request, &replies)? {
                Gathered::Answer(answer) => {
                    (Some(rmp_serde::to_vec(&*answer).map_err(protocol)?), None)
                }
                Gathered::Again(scatter) => (None, Some(scatter)),
            })
        })
    }

    /// What comes of the replies to a scatter.
    pub(super) fn gathered(
        &self,
        scatter: &Scatter<'_>,
        request: &RecommendRequest,
        replies: &[Reply<'_>],
    ) -> PyResult<Gathered> {
        let state = self.state.read();
        owns_visitor(&state, request)?;
        let tools = self.tools(&state);
        let likeliest = gather::gather_likeliest(&state, &tools, scatter, request, replies)?;
        drop(state);
        if let Some(answer) = likeliest {
            return Ok(Gathered::Answer(Box::new(answer)));
        }
        let replies = self.hear(replies)?;
        let state = self.state.read();
        owns_visitor(&state, request)?;
        let tools = self.tools(&state);
        Ok(gather::gather(&state, &tools, scatter, request, &replies)?)
    }

    /// An item host's part of a question that needs no session host.
    pub(super) fn part_bytes<Q: DeserializeOwned + Send + Sync>(
        &self,
        py: Python<'_>,
        bytes: &[u8],
        part: impl Fn(&State, &Tools<'_>, &Q) -> Result<Vec<u8>, CoreError> + Sync,
    ) -> PyResult<Vec<u8>> {
        let request: Q = rmp_serde::from_slice(bytes).map_err(protocol)?;
        detached(py, || {
            let state = self.state.read();
            counts_items(&state)?;
            Ok::<_, PyErr>(part(&state, &self.tools(&state), &request)?)
        })
    }

    /// The answer to a question that needs no session host, from its parts.
    pub(super) fn gathered_bytes<Q: DeserializeOwned + Send + Sync>(
        &self,
        py: Python<'_>,
        bytes: &[u8],
        replies: &[PyBackedBytes],
        whole: impl Fn(&State, &Tools<'_>, &Q, &Numbered<'_>) -> Result<Answer, CoreError> + Sync,
    ) -> PyResult<Vec<u8>> {
        let request: Q = rmp_serde::from_slice(bytes).map_err(protocol)?;
        let replies = read_replies(replies.iter().map(|reply| &**reply))?;
        detached(py, || {
            let replies = self.hear(&replies)?;
            let state = self.state.read();
            let answer = whole(&state, &self.tools(&state), &request, &replies)?;
            drop(state);
            rmp_serde::to_vec(&answer).map_err(protocol)
        })
    }

    /// Numbers the items of replies. Those that were never heard of get numbers; they are no state.
    fn hear<'a>(&self, replies: &'a [Reply<'a>]) -> PyResult<Numbered<'a>> {
        let unheard = match Numbered::new(&self.state.read().names, replies) {
            Ok(numbered) => return Ok(numbered),
            Err(unheard) => unheard,
        };
        let mut state = self.state.write();
        for item in unheard {
            state.names.items.intern_str(item);
        }
        state.settle_items();
        let unheard = |ids: Vec<&str>| protocol(format!("items without a number: {ids:?}"));
        Numbered::new(&state.names, replies).map_err(unheard)
    }
}

/// [`Core::scatter`] and the position that it was made at, where the host that is asked answers and nothing has to be found out
/// before; `None` where another host owns the user, where they turned out to be somebody else, and where an experiment may
/// decide what they are answered. Errors: as of `Core.scatter`.
#[pyfunction]
fn scatter_at_once<'py>(
    py: Python<'py>,
    core: &Core,
    request: &[u8],
) -> PyResult<Option<(Bound<'py, PyBytes>, u64)>> {
    let asked: RecommendRequest = rmp_serde::from_slice(request).map_err(protocol)?;
    let made = detached(py, || core.scattered(&core.state.read(), &asked, request))?;
    Ok(made.map(|(bytes, position)| (PyBytes::new(py, &bytes), position)))
}

/// Position of the host that made a reply: its first field. The rest is not read, as gathering does that. Errors: not the
/// beginning of a reply.
#[pyfunction]
fn reply_position(reply: &[u8]) -> PyResult<u64> {
    let first = match reply {
        [0x90..=0x9f, first @ ..] | [0xdc, _, _, first @ ..] => first,
        _ => return Err(protocol("no MessagePack array")),
    };
    rmp_serde::from_slice(first).map_err(protocol)
}

/// Adds the functions to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(scatter_at_once, m)?)?;
    m.add_function(wrap_pyfunction!(reply_position, m)?)
}

/// What a process keeps that was told what it owns; everything where it was not.
pub(super) fn ownership(config: &FoldConfig, owned: Option<Owned>) -> Result<Ownership, CoreError> {
    let counts = (config.partitions, config.shards);
    match owned {
        None => Ok(Ownership::Whole),
        Some((partitions, shards)) => Ownership::of(&partitions, &shards, counts),
    }
}

/// A scatter and the request in it.
pub(super) fn read_scatter(asked: &[u8]) -> PyResult<(Scatter<'_>, RecommendRequest)> {
    let scatter: Scatter<'_> = rmp_serde::from_slice(asked).map_err(protocol)?;
    let request = rmp_serde::from_slice(scatter.request.0).map_err(protocol)?;
    Ok((scatter, request))
}

/// Replies of item hosts.
pub(super) fn read_replies<'a>(
    replies: impl Iterator<Item = &'a [u8]>,
) -> PyResult<Vec<Reply<'a>>> {
    let other = |err| {
        protocol(format!(
            "a reply in another layout, of another version's host: {err}"
        ))
    };
    let read = |reply| rmp_serde::from_slice(reply).map_err(other);
    replies.map(read).collect()
}

fn counts_items(state: &State) -> PyResult<()> {
    state.check_sound()?;
    match state.ownership.keeps_items() {
        true => Ok(()),
        false => Err(misplaced(state, "counts no items")),
    }
}

/// Refuses a question about a user whom this process does not know.
fn owns_visitor(state: &State, request: &RecommendRequest) -> PyResult<()> {
    state.check_sound()?;
    if !state.ownership.keeps_users() {
        return Err(misplaced(state, "keeps no users"));
    }
    asked_by(request).map_or(Ok(()), |user| owns_user(state, user))
}

/// Refuses a question about a user whom this process does not know.
pub(super) fn owns_user(state: &State, user: &str) -> PyResult<()> {
    state.check_sound()?;
    let partition = state.names.partition_of(user);
    if state.ownership.keeps_users() && state.ownership.reads_partition(partition) {
        return Ok(());
    }
    Err(misplaced(
        state,
        &format!("does not own partition {partition}"),
    ))
}

/// Refuses a question about an item that this process does not count.
pub(super) fn owns_item(state: &State, item: &str) -> PyResult<()> {
    state.check_sound()?;
    let shard = owner(stable_hash(item.as_bytes()), state.shards.len());
    match state.ownership.keeps_shard(shard) {
        true => Ok(()),
        false => Err(misplaced(state, &format!("does not own shard {shard}"))),
    }
}

/// Refuses a question that only a process with everything can answer alone.
pub(super) fn has_everything(state: &State) -> PyResult<()> {
    state.check_sound()?;
    match state.own_items() {
        None => Ok(()),
        Some(_) => Err(misplaced(
            state,
            "does not have everything: scatter and gather",
        )),
    }
}

/// An error of whoever routes questions.
fn misplaced(state: &State, does_not: &str) -> PyErr {
    protocol(format!(
        "{} that {does_not} was asked",
        state.ownership.kind()
    ))
}
