//! `similar(item)`: neighbours of one item by a relation and a metric, or by all relations fused.

use crate::error::CoreError;
use crate::fold::state::State;
use crate::query::accumulator::with_scratch;
use crate::query::answer::{Answer, AnswerItem, Part};
use crate::query::fuse::{SourceList, fuse, top};
use crate::query::leaders;
use crate::query::plan::Tools;
use crate::query::reasons::Reasoner;
use crate::query::relation::RelationView;
use crate::query::request::{SimilarRequest, check_n};
use crate::query::seeds;
use crate::scenario::Scenario;

/// Answers a request. Errors: `n` out of range, an unknown item or relation.
pub fn similar(
    state: &State,
    tools: &Tools<'_>,
    request: &SimilarRequest,
) -> Result<Answer, CoreError> {
    let query = &tools.query.base;
    check_n(request.n)?;
    let Some(item) = state.names.find_item(&request.item) else {
        return Err(CoreError::Query {
            field: "item",
            rule: format!("no event or put names the item {:?}", request.item),
        });
    };
    let relations = relations(state, query, request)?;
    let mut query = query.clone();
    query.metric = request.metric.unwrap_or(query.metric);
    let asker = seeds::of_items(state, std::slice::from_ref(&request.item), 1);
    let excluded: Vec<_> = request
        .exclude
        .iter()
        .filter_map(|i| state.names.find_item(i))
        .chain([item])
        .collect();
    with_scratch(state.names.items.len(), |scratch| {
        let eligible = |i| state.catalogue.visible(i) && !excluded.contains(&i);
        let mut lists = Vec::new();
        for (r, weight) in &relations {
            scratch.scores.reset(state.names.items.len());
            let view = RelationView::new(state, *r, request.now);
            view.score(
                &asker.seeds,
                query.metric,
                query.shrinkage,
                &mut scratch.scores,
            );
            let limit = query.pool.max(request.n);
            let ranked = top(
                &state.names,
                &scratch.scores,
                limit,
                eligible,
                |_, score| score,
            );
            lists.push(SourceList {
                name: state.relations[*r].name.clone(),
                weight: *weight,
                personal: true,
                ranked,
            });
        }
        let mut fallback = None;
        if lists.iter().all(|l| l.ranked.is_empty()) && request.relation.is_none() {
            scratch.scores.reset(state.names.items.len());
            leaders::tag_affinity(state, &asker, request.now, &mut scratch.scores);
            let ranked = top(
                &state.names,
                &scratch.scores,
                request.n,
                eligible,
                |_, score| score,
            );
            lists.push(SourceList {
                name: "tag-affinity".to_string(),
                weight: 1.0,
                personal: true,
                ranked,
            });
            fallback = Some(
                "the item was not yet seen together with another: items of the same categories"
                    .to_string(),
            );
        }
        // One relation asked for: its metric is the score. Several: they have no common scale.
        let single = request.relation.is_some();
        let chosen = if single {
            lists
                .iter()
                .flat_map(|l| l.ranked.iter().take(request.n).copied())
                .collect()
        } else {
            fuse(&lists, query.rrf_k, &mut scratch.fused);
            top(
                &state.names,
                &scratch.fused,
                request.n,
                |_| true,
                |_, score| score,
            )
        };
        let why = Reasoner::new(state, &asker, &query, &[], request.now, &[]);
        let items = chosen
            .iter()
            .map(|(i, score)| {
                let mut parts: Vec<Part> = lists
                    .iter()
                    .filter_map(|l| part(l, *i, query.rrf_k))
                    .collect();
                parts.sort_by(|a, b| b.3.total_cmp(&a.3));
                let reasons = parts.iter().flat_map(|p| why.reasons(p, *i)).collect();
                AnswerItem::ranked(state.names.item(*i).to_string(), *score, parts, reasons)
            })
            .collect();
        Ok(Answer {
            items,
            fallback,
            about: vec![request.item.clone()],
            position: state.position.0,
            ..Answer::default()
        })
    })
}

fn part(list: &SourceList, item: crate::ids::ItemIx, k: f64) -> Option<Part> {
    let rank = list.ranked.iter().position(|(i, _)| *i == item)?;
    Some(Part(
        list.name.clone(),
        rank as u32 + 1,
        list.ranked[rank].1,
        list.weight / (k + rank as f64 + 1.0),
    ))
}

fn relations(
    state: &State,
    query: &Scenario,
    request: &SimilarRequest,
) -> Result<Vec<(usize, f64)>, CoreError> {
    if let Some(name) = &request.relation {
        let Some(r) = state.relations.iter().position(|known| known.name == *name) else {
            let known: Vec<&str> = state.relations.iter().map(|r| r.name.as_str()).collect();
            let rule = format!(
                "no relation is named {name:?}; allowed: {}",
                known.join(", ")
            );
            return Err(CoreError::Query {
                field: "relation",
                rule,
            });
        };
        return Ok(vec![(r, 1.0)]);
    }
    let weight = |name: &str| query.sources.get(name).copied().unwrap_or(0.0);
    let all = state
        .relations
        .iter()
        .enumerate()
        .map(|(r, relation)| (r, weight(&relation.name)));
    Ok(all.filter(|(_, w)| *w > 0.0).collect())
}
