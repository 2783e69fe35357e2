//! `recommend_batch`: many questions at once, each in full, answered in parallel; what evaluation asks.

use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;

use crate::error::CoreError;
use crate::fold::state::State;
use crate::query::filling::CATALOGUE;
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

/// Answers every question, in order, on the threads of `pool`, at one state. Errors: as [`recommend`], of the first question
/// that has one.
pub fn recommend_batch(
    state: &State,
    tools: &Tools<'_>,
    requests: &[RecommendRequest],
    pool: Option<&rayon::ThreadPool>,
) -> Result<BatchAnswer, CoreError> {
    // One question a thread: none of them needs a second one.
    let tools = &Tools {
        pool: None,
        ..*tools
    };
    let answer = |request: &RecommendRequest| {
        let started = Instant::now();
        let answer = recommend(state, tools, request)?;
        let micros = started.elapsed().as_secs_f64() * 1e6;
        let slots = answer.items.iter();
        let filled = slots.filter(|slot| slot.source == CATALOGUE).count();
        let items = answer.items.into_iter().map(|slot| slot.item).collect();
        Ok((items, filled, micros))
    };
    let answers: Result<Vec<(Vec<String>, usize, f64)>, CoreError> = match pool
        .filter(|_| requests.len() > 8)
    {
        Some(pool) => pool.install(|| requests.par_iter().with_min_len(8).map(answer).collect()),
        None => requests.iter().map(answer).collect(),
    };
    let mut out = BatchAnswer {
        position: state.position.0,
        ..BatchAnswer::default()
    };
    for (items, filled, micros) in answers? {
        out.counts.push(items.len());
        out.filled.push(filled);
        out.items.extend(items);
        out.micros.push(micros);
    }
    Ok(out)
}
