//! What a state holds, in numbers: things, bytes, outcomes.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::fold::state::State;

/// See `Core.stats`.
pub(super) fn stats<'py>(state: &State, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    let (mut user_bytes, mut admission_bytes, mut users) = (0, 0, 0);
    for partition in &state.partitions {
        let (of_users, of_admission) = partition.memory();
        user_bytes += of_users;
        admission_bytes += of_admission;
        users += partition.users();
    }
    let (hood_users, marginals, sessions) = state.hood.memory();
    let (mut rows, mut pairs, mut row_bytes) = (0, 0, 0);
    for store in state.shards.iter().flat_map(|s| &s.rows) {
        let (r, p, b) = store.size();
        rows += r;
        pairs += p;
        row_bytes += b;
    }
    let names: usize = state.names.users.iter().map(|u| u.memory()).sum();
    let item_bytes: usize =
        state.shards.iter().map(|s| s.memory()).sum::<usize>() + state.vectors.memory();
    for (key, value) in [
        ("users", users),
        ("items", state.names.items.len()),
        ("items_put", state.catalogue.put_items()),
        ("tags", state.names.tags.len()),
        ("sessions", state.hood.sessions.len().1),
        ("rows", rows),
        ("pairs", pairs),
        ("bytes_users", user_bytes + hood_users + names),
        ("bytes_admission", admission_bytes),
        (
            "bytes_items",
            item_bytes + marginals + state.catalogue.memory() + state.names.items.memory(),
        ),
        ("bytes_pairs", row_bytes),
        ("bytes_sessions", sessions),
    ] {
        out.set_item(key, value)?;
    }
    let outcomes = PyDict::new(py);
    for (outcome, times) in state.control.outcomes() {
        outcomes.set_item(outcome, times)?;
    }
    out.set_item("outcomes", outcomes)?;
    Ok(out)
}
