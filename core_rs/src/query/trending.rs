//! `trending(category)`: what gets more votes now than its past lets expect.

use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::{ItemIx, TagIx};
use crate::query::accumulator::{Accumulator, with_scratch};
use crate::query::answer::{Answer, AnswerItem, Part, Reason};
use crate::query::fuse::top_sums;
use crate::query::leaders;
use crate::query::plan::Tools;
use crate::query::request::{TrendingRequest, check_n};
use crate::query::text::Text;

/// Names of the two lists: the second stands in where the first is empty.
pub const TRENDING: &str = "trending";
/// See [`TRENDING`].
pub const POPULAR: &str = "popular";

/// A request worked out.
pub struct Question<'a> {
    /// What is asked.
    pub request: &'a TrendingRequest,
    tag: Option<TagIx>,
}

/// Answers a request: overall from the maintained leaders, for a category by a scan of all items. Errors: `n` out of
/// range, a category that no item has.
pub fn trending(
    state: &State,
    _: &Tools<'_>,
    request: &TrendingRequest,
) -> Result<Answer, CoreError> {
    let question = Question::new(state, request)?;
    with_scratch(state.names.items.len(), |scratch| {
        let trends = question.trends(state, &mut scratch.scores);
        if trends.is_empty() {
            let popular = question.popular(state, &mut scratch.scores);
            return Ok(question.answer(state, &popular, true, |_, score| score));
        }
        let votes = |item, _| question.votes(state, item);
        Ok(question.answer(state, &trends, false, votes))
    })
}

impl<'a> Question<'a> {
    /// Works a request out. Errors: those of [`trending`].
    pub fn new(state: &State, request: &'a TrendingRequest) -> Result<Self, CoreError> {
        check_n(request.n)?;
        let unknown = |name: &String| CoreError::Query {
            field: "category",
            rule: format!("no item has the category {name:?}"),
        };
        let number = |name: &String| state.names.tags.get(name).ok_or_else(|| unknown(name));
        let tag = request.category.as_ref().map(number).transpose()?;
        Ok(Self {
            request,
            tag: tag.map(TagIx),
        })
    }

    /// The items that are above expectation, best first.
    pub fn trends(&self, state: &State, scores: &mut Accumulator) -> Vec<(ItemIx, f64)> {
        let now = self.request.now;
        scores.reset(state.names.items.len());
        match self.tag {
            None => leaders::trending(state, now, scores),
            Some(tag) => {
                let all = state.shards.iter().flat_map(|shard| shard.all());
                let inside = |item| state.catalogue.tags(item).contains(&tag);
                for (item, stats) in all.filter(|(i, s)| s.votes > 0 && inside(*i)) {
                    scores.add(item.0, state.clocks.trend(stats, now));
                }
            }
        }
        self.best(state, scores)
    }

    /// What stands in where nothing is above expectation: the items with the most votes, best first.
    pub fn popular(&self, state: &State, scores: &mut Accumulator) -> Vec<(ItemIx, f64)> {
        let now = self.request.now;
        scores.reset(state.names.items.len());
        match self.tag {
            None => leaders::popular(state, now, scores),
            Some(tag) => {
                let own = state.shards.iter().flat_map(|shard| shard.tag_leaders(tag));
                for (item, stats) in own {
                    let votes = stats.popularity.read(&state.clocks.popularity, now);
                    scores.add(item.0, votes);
                }
            }
        }
        self.best(state, scores)
    }

    fn best(&self, state: &State, scores: &Accumulator) -> Vec<(ItemIx, f64)> {
        let eligible = |item| state.catalogue.visible(item);
        top_sums(&state.names, scores, self.request.n, eligible)
    }

    /// Recent votes of an item.
    pub fn votes(&self, state: &State, item: ItemIx) -> f64 {
        let short = state.stats(item).short;
        short.read(&state.clocks.short, self.request.now)
    }

    /// The answer that a list makes. `popular`: it stands in. `votes`: those of an item with its score.
    pub fn answer(
        &self,
        state: &State,
        ranked: &[(ItemIx, f64)],
        popular: bool,
        votes: impl Fn(ItemIx, f64) -> f64,
    ) -> Answer {
        let source = if popular { POPULAR } else { TRENDING };
        let slot = |(rank, (item, score)): (usize, &(ItemIx, f64))| {
            let reason = Reason(
                Text::Fixed(source),
                None,
                None,
                votes(*item, *score),
                0.0,
                Some(Text::Fixed("votes")),
            );
            let part = Part(Text::Fixed(source), rank as u32 + 1, *score, *score);
            let name = state.names.item(*item).to_string();
            AnswerItem::ranked(name, *score, vec![part], vec![reason])
        };
        Answer {
            items: ranked.iter().enumerate().map(slot).collect(),
            fallback: popular.then(|| {
                "nothing is above its expected votes at this time: popular items".to_string()
            }),
            position: state.position.0,
            ..Answer::default()
        }
    }
}
