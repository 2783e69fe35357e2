//! What operations ask of a core: who turned out to be whom, what a merge moves, the catalogue page by page.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::ids::UserIx;
use crate::py::core::Core;
use crate::py::error::{detached, protocol};
use crate::py::hosts::has_everything;
use crate::query::catalogue_page as pages;
use crate::query::voters::voters;

/// Of these users, those who turned out to be others: user, who that is (one step), whether something is left to be moved.
#[pyfunction]
fn merged_users(core: &Core, users: Vec<String>) -> Vec<(String, String, bool)> {
    let state = core.state.read();
    let step = |user: String| {
        let (partition, ix) = state.names.find_user(&user)?;
        let (into, left) = state.partitions[partition].merged_into(ix)?;
        Some((user, into.to_string(), left))
    };
    users.into_iter().filter_map(step).collect()
}

/// All users who turned out to be others: user, who that is (one step), whether something is left to be moved.
#[pyfunction]
fn all_merged(py: Python<'_>, core: &Core) -> Vec<(String, String, bool)> {
    py.detach(|| {
        let state = core.state.read();
        let mut all = Vec::new();
        for (number, partition) in state.partitions.iter().enumerate() {
            for (UserIx(user), into, left) in partition.merged() {
                let name = state.names.users[number].name(user).to_string();
                all.push((name, into.to_string(), left));
            }
        }
        all
    })
}

/// Whether the user was forgotten and has not come back.
#[pyfunction]
fn is_forgotten(core: &Core, user: &str) -> bool {
    let state = core.state.read();
    let known = state.names.find_user(user);
    known.is_some_and(|(partition, ix)| state.partitions[partition].is_forgotten(ix))
}

/// Whether an event of this id of this user was counted and is remembered.
#[pyfunction]
fn knows_event(core: &Core, user: &str, event_id: &str) -> bool {
    let state = core.state.read();
    state.partitions[state.names.partition_of(user)].knows_event(event_id)
}

/// What is sealed of a merged user: who they turned out to be, the sealing event, the state as an event carries it.
#[pyfunction]
fn moving_state<'py>(
    py: Python<'py>,
    core: &Core,
    user: &str,
) -> Option<(String, u64, Bound<'py, PyBytes>)> {
    let moving = py.detach(|| {
        let state = core.state.read();
        let (partition, ix) = state.names.find_user(user)?;
        state.partitions[partition].moving(ix, &state.limits, &state.names)
    })?;
    let bytes = PyBytes::new(py, &moving.state);
    Some((moving.into, moving.sealed.0, bytes))
}

/// At most `limit` items from number `start` on, as MessagePack, and where the next page starts.
#[pyfunction]
fn catalogue_page<'py>(
    py: Python<'py>,
    core: &Core,
    start: usize,
    limit: usize,
) -> PyResult<(Bound<'py, PyBytes>, Option<usize>)> {
    let (rows, next) = py.detach(|| {
        let (rows, next) = pages::catalogue_page(&core.state.read(), start, limit);
        (rmp_serde::to_vec(&rows), next)
    });
    Ok((PyBytes::new(py, &rows.map_err(protocol)?), next))
}

/// Of the sessions that voted for an item when a `RecommendRequest` is answered: user, the newest shared item, items.
#[pyfunction]
fn session_voters(
    py: Python<'_>,
    core: &Core,
    request: &[u8],
    item: &str,
) -> PyResult<Vec<(String, String, Vec<String>)>> {
    let request = rmp_serde::from_slice(request).map_err(protocol)?;
    detached(py, || {
        let state = core.state.read();
        has_everything(&state)?;
        let found = voters(&state, &core.tools(&state), &request, item)?;
        let found = found.into_iter();
        Ok::<_, PyErr>(
            found
                .map(|voter| (voter.user, voter.seed, voter.items))
                .collect(),
        )
    })
}

/// Adds this file's functions to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(merged_users, m)?)?;
    m.add_function(wrap_pyfunction!(all_merged, m)?)?;
    m.add_function(wrap_pyfunction!(is_forgotten, m)?)?;
    m.add_function(wrap_pyfunction!(knows_event, m)?)?;
    m.add_function(wrap_pyfunction!(moving_state, m)?)?;
    m.add_function(wrap_pyfunction!(session_voters, m)?)?;
    m.add_function(wrap_pyfunction!(catalogue_page, m)?)
}
