//! `recommend_batch`: many questions at once, each in full, answered in parallel; what evaluation asks.

use serde::Serialize;

use crate::error::CoreError;
use crate::fold::state::State;
use crate::query::filling::CATALOGUE;
use crate::query::parallel;
use crate::query::plan::Tools;
use crate::query::recommend::recommend;
use crate::query::request::RecommendRequest;

/// The slates of all questions as one column of items, one count and one time a question. Written as an array.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
#[allow(missing_docs)]
pub struct BatchAnswer {
    pub position: u64,
    pub counts: Vec<usize>,
    /// How many items of each slate are of the catalogue, because no source knew more.
    pub filled: Vec<usize>,
    pub items: Vec<String>,
    /// What each question took on its thread, in microseconds: decoding and encoding are left out.
    pub micros: Vec<f64>,
}

/// Answers every question, in order, on the threads of `pool`, at one state; `clock` tells microseconds since any moment.
/// Errors: as [`recommend`], of the first question that has one.
pub fn recommend_batch(
    state: &State,
    tools: &Tools<'_>,
    requests: &[RecommendRequest],
    pool: Option<&rayon::ThreadPool>,
    clock: &(dyn Fn() -> f64 + Sync),
) -> Result<BatchAnswer, CoreError> {
    let answers = parallel::each(requests.len(), tools, pool, |tools, question| {
        let started = clock();
        let answer = recommend(state, tools, &requests[question])?;
        Ok((answer, clock() - started))
    })?;
    let mut out = BatchAnswer {
        position: state.position.0,
        ..BatchAnswer::default()
    };
    for (answer, micros) in answers {
        let slots = answer.items.iter();
        let filled = slots.filter(|slot| slot.source == CATALOGUE).count();
        out.counts.push(answer.items.len());
        out.filled.push(filled);
        let items = answer.items.into_iter().map(|slot| slot.item);
        out.items.extend(items);
        out.micros.push(micros);
    }
    Ok(out)
}
