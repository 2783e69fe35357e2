//! Experiments, as a question meets them: who is in which variant, and what a holdout is given.

use crate::error::CoreError;
use crate::experiment::{Serve, Visitor};
use crate::fold::state::State;
use crate::ids::Millis;
use crate::query::answer::Answer;
use crate::query::plan::Tools;
use crate::query::recommend::recommend;
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
    let variant = query
        .experiments
        .assign(visitor(state, id), scenario, now)?;
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

/// The answer to a request of a holdout; `None` where the request is answered as any other. What the request says of
/// sources, diversity and exploration does not count: it would bring back what is held out.
pub fn held_out(
    state: &State,
    tools: &Tools<'_>,
    request: &RecommendRequest,
) -> Result<Option<Answer>, CoreError> {
    let Some(label) = request.variant.as_deref().filter(|_| !request.held_out) else {
        return Ok(None);
    };
    let variant = tools.query.experiments.variant(label)?;
    let given = match (variant.serve, &request.candidates) {
        (Serve::Slate, _) => return Ok(None),
        (Serve::Nothing, None) => {
            return Ok(Some(Answer {
                fallback: Some(format!("holdout {label}: no recommendations")),
                why: request
                    .why
                    .as_ref()
                    .map(|_| vec![format!("holdout {label}: nothing was recommended")]),
                position: state.position.0,
                ..Answer::default()
            }));
        }
        (Serve::Nothing, Some(_)) => "the list as it was given",
        (Serve::Popular, _) => "popular items only",
    };
    let plain = RecommendRequest {
        sources: Default::default(),
        diversity: None,
        exploration: None,
        held_out: true,
        ..request.clone()
    };
    let mut answer = recommend(state, tools, &plain)?;
    let said = format!("holdout {label}: {given}");
    answer.fallback = Some(match answer.fallback {
        Some(why) => format!("{said}; {why}"),
        None => said,
    });
    Ok(Some(answer))
}
