//! What is known of one user, for people to read.

use serde::Serialize;

use crate::fold::state::State;
use crate::ids::Millis;
use crate::query::answer::EventName;

/// A user's session: number, start, last event, events, carts, purchases, dwell (ms); recent items newest first with the
/// latest event on each and its roles; affinities strongest first; events per five-minute window of the last hour; events ever;
/// consumed items.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct SessionAnswer(
    pub u32,
    pub Millis,
    pub Millis,
    pub u32,
    pub u32,
    pub u32,
    pub i64,
    pub Vec<(String, bool, EventName, Vec<&'static str>)>,
    pub Vec<(String, f64)>,
    pub Vec<u16>,
    pub u64,
    pub Vec<String>,
);

/// The view of a known user; `None` for one without state.
pub fn session_view(state: &State, user: &str, now: Millis) -> Option<SessionAnswer> {
    let (partition, ix) = state.names.find_user(user)?;
    let part = &state.partitions[partition];
    let known = part.user(ix)?;
    let started = known.session.started;
    let last = known.session.run.last.unwrap_or_default();
    let name = |item| state.names.item(item).to_string();
    let items = known
        .recent
        .iter()
        .rev()
        .map(|t| {
            (
                name(t.item),
                t.session == known.session.number,
                EventName::new(t.at, part.type_name(t.ty), t.ts),
                t.roles.names(),
            )
        })
        .collect();
    let affinities = known
        .affinities
        .strongest(&state.limits.affinity, now, &state.names);
    let s = &known.session;
    Some(SessionAnswer(
        s.number,
        started,
        last,
        s.events,
        s.carts,
        s.purchases,
        s.dwell_ms,
        items,
        affinities
            .into_iter()
            .map(|(tag, weight)| (state.names.tag(tag).to_string(), weight))
            .collect(),
        known.windows.to_vec(),
        known.events,
        known.consumed.iter().rev().map(|t| name(t.item)).collect(),
    ))
}
