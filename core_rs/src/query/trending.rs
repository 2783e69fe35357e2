//! `trending(category)`: what gets more votes now than its past lets expect.

use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::TagIx;
use crate::query::accumulator::with_scratch;
use crate::query::answer::{Answer, AnswerItem, Part, Reason};
use crate::query::fuse::top;
use crate::query::leaders;
use crate::query::plan::Tools;
use crate::query::request::{TrendingRequest, check_n};

/// Answers a request: overall from the maintained leaders, for a category by a scan of all items. Errors: `n` out of
/// range, a category that no item has.
pub fn trending(
    state: &State,
    _: &Tools<'_>,
    request: &TrendingRequest,
) -> Result<Answer, CoreError> {
    check_n(request.n)?;
    let tag = match &request.category {
        None => None,
        Some(name) => Some(TagIx(state.names.tags.get(name).ok_or_else(|| {
            CoreError::Query {
                field: "category",
                rule: format!("no item has the category {name:?}"),
            }
        })?)),
    };
    with_scratch(state.names.items.len(), |scratch| {
        let inside = |item| tag.is_none_or(|tag| state.catalogue.tags(item).contains(&tag));
        match tag {
            None => leaders::trending(state, request.now, &mut scratch.scores),
            Some(_) => {
                for (item, stats) in state
                    .shards
                    .iter()
                    .flat_map(|s| s.all())
                    .filter(|(i, s)| s.votes > 0 && inside(*i))
                {
                    scratch
                        .scores
                        .add(item.0, state.clocks.trend(stats, request.now));
                }
            }
        }
        let eligible = |item| state.catalogue.visible(item);
        let mut source = "trending";
        let mut fallback = None;
        let mut ranked = top(
            &state.names,
            &scratch.scores,
            request.n,
            eligible,
            |_, score| score,
        );
        if ranked.is_empty() {
            source = "popular";
            fallback =
                Some("nothing is above its expected votes at this time: popular items".to_string());
            scratch.scores.reset(state.names.items.len());
            match tag {
                None => leaders::popular(state, request.now, &mut scratch.scores),
                Some(tag) => {
                    for (item, stats) in state.shards.iter().flat_map(|s| s.tag_leaders(tag)) {
                        let votes = stats.popularity.read(&state.clocks.popularity, request.now);
                        scratch.scores.add(item.0, votes);
                    }
                }
            }
            ranked = top(
                &state.names,
                &scratch.scores,
                request.n,
                eligible,
                |_, score| score,
            );
        }
        let items = ranked
            .iter()
            .enumerate()
            .map(|(rank, (item, score))| {
                let (shard, local) = state.owner(*item);
                let stats = state.shards[shard].stats(local);
                let votes = if fallback.is_some() {
                    *score
                } else {
                    stats.short.read(&state.clocks.short, request.now)
                };
                let reason = Reason(
                    source.to_string(),
                    None,
                    None,
                    votes,
                    0.0,
                    Some("votes".to_string()),
                );
                let part = Part(source.to_string(), rank as u32 + 1, *score, *score);
                let name = state.names.item(*item).to_string();
                AnswerItem::ranked(name, *score, vec![part], vec![reason])
            })
            .collect();
        Ok(Answer {
            items,
            fallback,
            position: state.position.0,
            ..Answer::default()
        })
    })
}
