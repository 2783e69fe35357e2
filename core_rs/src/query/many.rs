//! `recommend_many(users)`: one question for many users, answered in parallel, as columns.

use serde::{Deserialize, Serialize};

use crate::error::CoreError;
use crate::fold::state::State;
use crate::query::parallel;
use crate::query::plan::Tools;
use crate::query::recommend::recommend;
use crate::query::request::RecommendRequest;
use crate::query::taking_part;

/// The question; its user and key are those of each of `users` in turn.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ManyRequest {
    pub request: RecommendRequest,
    pub users: Vec<String>,
    pub keys: Vec<String>,
}

/// All slots of all users, as columns, and one entry a user: number of slots, fallback, exploration. Written as an array.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
#[allow(missing_docs)]
pub struct ManyAnswer {
    pub position: u64,
    pub counts: Vec<usize>,
    pub fallbacks: Vec<Option<String>>,
    /// The variant that answered each user.
    pub variants: Vec<Option<String>>,
    /// Temperature and floor of each slate that explored, 0 elsewhere.
    pub temperatures: Vec<f64>,
    pub floors: Vec<f64>,
    pub items: Vec<String>,
    pub scores: Vec<f64>,
    pub sources: Vec<String>,
    pub propensities: Vec<f64>,
    pub cascades: Vec<f64>,
    pub pinned: Vec<bool>,
}

/// Answers for every user, in their order, on the threads of `pool`. Errors: as [`recommend`], of the first user that has
/// one, and when there is not one key for each user.
pub fn recommend_many(
    state: &State,
    tools: &Tools<'_>,
    many: &ManyRequest,
    pool: Option<&rayon::ThreadPool>,
) -> Result<ManyAnswer, CoreError> {
    if many.keys.len() != many.users.len() {
        return Err(CoreError::Query {
            field: "keys",
            rule: format!("{} keys for {} users", many.keys.len(), many.users.len()),
        });
    }
    let answers = parallel::each(many.users.len(), tools, pool, |tools, question| {
        let (user, key) = (&many.users[question], &many.keys[question]);
        let (scenario, now) = (many.request.scenario.as_deref(), many.request.now);
        let variant = taking_part::assign(state, tools.query, user, scenario, now);
        let request = RecommendRequest {
            user: Some(user.clone()),
            variant: variant.map(str::to_string),
            key: key.clone(),
            brief: true,
            ..many.request.clone()
        };
        let answer = recommend(state, tools, &request)?;
        Ok((answer, request.variant))
    })?;
    let mut out = ManyAnswer {
        position: state.position.0,
        ..ManyAnswer::default()
    };
    for (answer, variant) in answers {
        out.variants.push(variant);
        out.counts.push(answer.items.len());
        out.fallbacks.push(answer.fallback);
        out.temperatures.push(answer.exploring.0);
        out.floors.push(answer.exploring.1);
        for slot in answer.items {
            out.items.push(slot.item);
            out.scores.push(slot.score);
            out.sources.push(slot.source);
            out.propensities.push(slot.propensity);
            out.cascades.push(slot.propensity_cascade);
            out.pinned.push(slot.pinned);
        }
    }
    Ok(out)
}
