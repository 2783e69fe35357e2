//! Experiments, as a question meets them: who is in which variant, and what a holdout is given.

use crate::error::CoreError;
use crate::experiment::{Serve, Visitor};
use crate::fold::state::State;
use crate::ids::Millis;
use crate::query::answer::Answer;
use crate::query::request::RecommendRequest;
use crate::scenario::QueryConfig;

fn visitor<'a>(state: &'a State, id: &'a str) -> Visitor<'a> {
    let known = state.names.find_user(id);
    let segment = known.and_then(|(partition, user)| state.partitions[partition].segment_of(user));
    Visitor { id, segment }
}

/// The variant that answers a visitor's question of a scenario at `now`, if they take part in an experiment on it.
pub fn assign<'a>(
    state: &State,
    query: &'a QueryConfig,
    id: &str,
    scenario: Option<&str>,
    now: Millis,
) -> Option<&'a str> {
    if query.experiments.is_empty() {
        return None;
    }
    let who = visitor(state, id);
    let variant = query.experiments.assign(who, scenario, now)?;
    Some(&variant.label)
}

/// The variant of a visitor in an experiment at `now`, whatever they ask. Errors: no experiment of that name.
pub fn variant_of<'a>(
    state: &State,
    query: &'a QueryConfig,
    id: &str,
    experiment: &str,
    now: Millis,
) -> Result<Option<&'a str>, CoreError> {
    let experiment = query.experiments.named(experiment)?;
    let variant = experiment.variant_of(visitor(state, id), now);
    Ok(variant.map(|variant| variant.name()))
}

/// What a holdout gives instead of recommendations, in words; `None` for a request that is answered as any other.
///
/// What such a request says of sources, diversity and exploration does not count: it would bring back what is held out.
pub fn holdout(
    query: &QueryConfig,
    request: &RecommendRequest,
) -> Result<Option<String>, CoreError> {
    let Some(label) = request.variant.as_deref() else {
        return Ok(None);
    };
    let given = match (query.experiments.variant(label)?.serve, &request.candidates) {
        (Serve::Slate, _) => return Ok(None),
        (Serve::Nothing, None) => "no recommendations",
        (Serve::Nothing, Some(_)) => "the list as it was given",
        (Serve::Popular, _) => "popular items only",
    };
    Ok(Some(format!("holdout {label}: {given}")))
}

/// The empty answer to a request whose holdout is given nothing; `None` where there is something to rank.
pub fn withheld(
    state: &State,
    query: &QueryConfig,
    request: &RecommendRequest,
) -> Result<Option<Answer>, CoreError> {
    let Some(label) = request
        .variant
        .as_deref()
        .filter(|_| request.candidates.is_none())
    else {
        return Ok(None);
    };
    if query.experiments.variant(label)?.serve != Serve::Nothing {
        return Ok(None);
    }
    let why = request.why.as_ref();
    Ok(Some(Answer {
        fallback: holdout(query, request)?,
        position: state.position.0,
        why: why.map(|_| vec![format!("holdout {label}: nothing was recommended")]),
        ..Answer::default()
    }))
}
