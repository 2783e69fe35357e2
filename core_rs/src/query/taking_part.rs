//! Experiments, as a question meets them: who is in which variant, and what a holdout is given.

use crate::error::CoreError;
use crate::experiment::{Serve, Visitor};
use crate::fold::state::State;
use crate::ids::Millis;
use crate::query::answer::Answer;
use crate::query::plan::Tools;
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

/// How a request is answered, by the variant that it names.
pub enum Serving {
    /// As any other.
    Any,
    /// Not at all.
    Nothing(Box<Answer>),
    /// As this request, and the answer says so. What the request says of sources, diversity and exploration does not count: it
    /// would bring back what is held out.
    HeldOut(Box<RecommendRequest>, String),
}

/// How a request is answered. Errors: no such variant.
pub fn serving(
    state: &State,
    tools: &Tools<'_>,
    request: &RecommendRequest,
) -> Result<Serving, CoreError> {
    let Some(label) = request.variant.as_deref().filter(|_| !request.held_out) else {
        return Ok(Serving::Any);
    };
    let variant = tools.query.experiments.variant(label)?;
    let given = match (variant.serve, &request.candidates) {
        (Serve::Slate, _) => return Ok(Serving::Any),
        (Serve::Nothing, None) => {
            return Ok(Serving::Nothing(Box::new(Answer {
                fallback: Some(format!("holdout {label}: no recommendations")),
                why: request
                    .why
                    .as_ref()
                    .map(|_| vec![format!("holdout {label}: nothing was recommended")]),
                position: state.position.0,
                ..Answer::default()
            })));
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
    let said = format!("holdout {label}: {given}");
    Ok(Serving::HeldOut(Box::new(plain), said))
}

/// The answer to a holdout says what was given.
pub fn say(answer: &mut Answer, said: String) {
    answer.fallback = Some(match answer.fallback.take() {
        Some(why) => format!("{said}; {why}"),
        None => said,
    });
}
