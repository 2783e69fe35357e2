//! Whose sessions voted for an item: for operators, who may know.

use crate::error::CoreError;
use crate::fold::state::State;
use crate::query::plan::{Plan, Tools};
use crate::query::request::RecommendRequest;
use crate::query::seeds;
use crate::query::session_knn;
use crate::query::source::Source;

/// A session that voted: its user, the visitor's item that it shares (the newest of them), and its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// User.
    pub user: String,
    /// The visitor's newest item that the session has too.
    pub seed: String,
    /// All items of the session, in the order in which it touched them.
    pub items: Vec<String>,
}

/// The sessions that voted for `item` when this was asked, the most similar first. Errors: those of the request.
pub fn voters(
    state: &State,
    tools: &Tools<'_>,
    request: &RecommendRequest,
    item: &str,
) -> Result<Vec<Voter>, CoreError> {
    let plan = Plan::new(state, tools, request)?;
    let asker = seeds::of_request(state, request, plan.scenario.seeds);
    let Some(item) = state.names.find_item(item) else {
        return Ok(Vec::new());
    };
    let sessions = &state.hood.sessions;
    if !plan.uses(&Source::SessionKnn) {
        return Ok(Vec::new());
    }
    let found = session_knn::of_asker(sessions, &plan.scenario, &asker)
        .into_iter()
        .filter(|session| sessions.items_of(session.number).contains(&item.0))
        .map(|session| {
            let (partition, user) = sessions.owner_of(session.number);
            let items = sessions.items_of(session.number).iter();
            Voter {
                user: state.names.users[partition].name(user.0).to_string(),
                seed: state
                    .names
                    .item(asker.seeds[session.newest].item)
                    .to_string(),
                items: items
                    .map(|item| state.names.items.name(*item).to_string())
                    .collect(),
            }
        });
    Ok(found.collect())
}
