//! `similar` and `trending`: every item host says what its items have to say, any host puts that together.

use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::query::accumulator::{Scratch, with_scratch};
use crate::query::answer::Answer;
use crate::query::counted::Witness;
use crate::query::fuse::SourceList;
use crate::query::hosts::candidates::{Table, grounds};
use crate::query::hosts::message::{GroundsSaid, ListSaid, Reply};
use crate::query::hosts::told::{Numbered, Told};
use crate::query::hosts::version::{check_versions, version};
use crate::query::plan::Tools;
use crate::query::request::{SimilarRequest, TrendingRequest};
use crate::query::seeds::Asker;
use crate::query::similar::{self, SAME_TAGS};
use crate::query::source::Source;
use crate::query::text::Text;
use crate::query::trending::{self, POPULAR, TRENDING};
use crate::query::witness::WitnessHere;

/// An item host's part of `similar`. Errors: those of the same request to one process.
pub fn similar_candidates(
    state: &State,
    tools: &Tools<'_>,
    request: &SimilarRequest,
) -> Result<Vec<u8>, CoreError> {
    let question = similar::Question::new(state, tools, request)?;
    with_scratch(state.names.items.len(), |scratch| {
        let Scratch { scores, fused, .. } = scratch;
        let mut lists = question.lists(state, scores);
        // Other hosts may have more to say; if they do, this is not looked at.
        if question.is_lonely(&lists) {
            lists.push(question.of_same_tags(state, scores));
        }
        let (asker, scenario) = (&question.asker, &question.scenario);
        let witness = WitnessHere::new(state, asker, scenario, &[], request.now, false);
        let mut table = Table::new(fused);
        let said = lists.iter().map(|list| {
            let grounds = match Source::named(state, &list.name) {
                Some(source) => grounds(&witness, &source, list, None),
                None => GroundsSaid::default(),
            };
            table.list(list, grounds)
        });
        let said = said.collect();
        let seeds = vec![request.item.as_str()];
        Ok(reply(state, seeds, said, table.items()).encode())
    })
}

/// `similar` from the parts of item hosts. Errors: those of the same request to one process, and another configuration
/// being active where a part comes from.
pub fn gather_similar(
    state: &State,
    tools: &Tools<'_>,
    request: &SimilarRequest,
    replies: &Numbered<'_>,
) -> Result<Answer, CoreError> {
    check_versions(state, replies.replies())?;
    let question = similar::Question::new(state, tools, request)?;
    let told = Told::new(state, &question.asker, replies);
    let list = |name: &str, weight, limit| question.list(name, weight, told.best(name, limit));
    let relations = question.relations.iter();
    let mut lists: Vec<SourceList> = relations
        .map(|(r, weight)| list(&state.relations[*r].name, *weight, question.limit()))
        .collect();
    let lonely = question.is_lonely(&lists);
    if lonely {
        lists.push(list(SAME_TAGS, 1.0, request.n));
    }
    with_scratch(state.names.items.len(), |scratch| {
        Ok(question.answer(state, &lists, lonely, &told, &mut scratch.fused))
    })
}

/// An item host's part of `trending`. Errors: those of the same request to one process.
pub fn trending_candidates(
    state: &State,
    _: &Tools<'_>,
    request: &TrendingRequest,
) -> Result<Vec<u8>, CoreError> {
    let question = trending::Question::new(state, request)?;
    with_scratch(state.names.items.len(), |scratch| {
        let Scratch { scores, fused, .. } = scratch;
        let (mut name, mut ranked) = (TRENDING, question.trends(state, scores));
        if ranked.is_empty() {
            (name, ranked) = (POPULAR, question.popular(state, scores));
        }
        let votes = |(item, _): &(ItemIx, f64)| question.votes(state, *item);
        let grounds = GroundsSaid {
            own: ranked.iter().map(votes).collect(),
            ..GroundsSaid::default()
        };
        let list = SourceList {
            name: Text::Fixed(name),
            weight: 1.0,
            personal: false,
            approximate: false,
            ranked,
        };
        let mut table = Table::new(fused);
        let said = vec![table.list(&list, grounds)];
        Ok(reply(state, Vec::new(), said, table.items()).encode())
    })
}

/// `trending` from the parts of item hosts. Errors: those of the same request to one process.
pub fn gather_trending(
    state: &State,
    _: &Tools<'_>,
    request: &TrendingRequest,
    replies: &Numbered<'_>,
) -> Result<Answer, CoreError> {
    let question = trending::Question::new(state, request)?;
    let told = Told::new(state, &Asker::default(), replies);
    let trends = told.best(TRENDING, request.n);
    if trends.is_empty() {
        let popular = told.best(POPULAR, request.n);
        return Ok(question.answer(state, &popular, true, |_, score| score));
    }
    let votes = |item, _| told.grounds(&Source::Trending, TRENDING, item).own;
    Ok(question.answer(state, &trends, false, votes))
}

fn reply<'a>(
    state: &'a State,
    seeds: Vec<&'a str>,
    lists: Vec<ListSaid<'a>>,
    items: &[ItemIx],
) -> Reply<'a> {
    Reply {
        position: state.position.0,
        version: version(state),
        seeds,
        items: items.iter().map(|item| state.names.item(*item)).collect(),
        lists,
        ..Reply::default()
    }
}
