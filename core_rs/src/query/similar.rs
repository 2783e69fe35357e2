//! `similar(item)`: neighbours of one item by a relation and a metric, or by all relations fused.

use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::query::accumulator::{Accumulator, with_scratch};
use crate::query::answer::{Answer, AnswerItem, Part};
use crate::query::best::top_sums;
use crate::query::counted::Witness;
use crate::query::fuse::{SourceList, fuse};
use crate::query::leaders::{self, TagVotes};
use crate::query::leading::Leading;
use crate::query::plan::Tools;
use crate::query::reasons::Reasoner;
use crate::query::relation::RelationView;
use crate::query::request::{SimilarRequest, check_n};
use crate::query::seeds::{self, Asker};
use crate::query::witness::WitnessHere;
use crate::scenario::Scenario;

/// Name of the source that stands in where no relation knows anything.
pub const SAME_TAGS: &str = "tag-affinity";

/// A request worked out.
pub struct Question<'a> {
    /// What is asked.
    pub request: &'a SimilarRequest,
    /// Relations with their weights.
    pub relations: Vec<(usize, f64)>,
    /// The default scenario, the request's metric applied.
    pub scenario: Scenario,
    /// A visitor who touched the item.
    pub asker: Asker<'a>,
    /// Items that are no answer, the item among them.
    excluded: Vec<ItemIx>,
}

/// Answers a request. Errors: `n` out of range, an unknown item or relation.
pub fn similar(
    state: &State,
    tools: &Tools<'_>,
    request: &SimilarRequest,
) -> Result<Answer, CoreError> {
    let question = Question::new(state, tools, request)?;
    with_scratch(state.names.items.len(), |scratch| {
        let mut lists = question.lists(state, &mut scratch.scores);
        let lonely = question.is_lonely(&lists);
        if lonely {
            lists.push(question.of_same_tags(state, &mut scratch.scores));
        }
        let (asker, scenario) = (&question.asker, &question.scenario);
        let witness = WitnessHere::new(state, asker, scenario, &[], request.now, false);
        Ok(question.answer(state, &lists, lonely, &witness, &mut scratch.fused))
    })
}

impl<'a> Question<'a> {
    /// Works a request out. Errors: those of [`similar`].
    pub fn new(
        state: &State,
        tools: &Tools<'_>,
        request: &'a SimilarRequest,
    ) -> Result<Self, CoreError> {
        let scenario = &tools.query.base;
        check_n(request.n)?;
        let Some(item) = state.names.find_item(&request.item) else {
            return Err(CoreError::Query {
                field: "item",
                rule: format!("no event or put names the item {:?}", request.item),
            });
        };
        let excluded = request.exclude.iter();
        let excluded = excluded.filter_map(|item| state.names.find_item(item));
        Ok(Self {
            request,
            excluded: excluded.chain([item]).collect(),
            relations: relations(state, scenario, request)?,
            scenario: Scenario {
                metric: request.metric.unwrap_or(scenario.metric),
                ..scenario.clone()
            },
            asker: seeds::of_items(state, std::slice::from_ref(&request.item), 1),
        })
    }

    /// The most items that a relation gives.
    pub fn limit(&self) -> usize {
        self.scenario.pool.max(self.request.n)
    }

    /// What each relation says.
    pub fn lists(&self, state: &State, scores: &mut Accumulator) -> Vec<SourceList> {
        let list = |(relation, weight): &(usize, f64)| {
            scores.reset(state.names.items.len());
            let view = RelationView::new(state, *relation, self.request.now);
            let (metric, shrinkage) = (self.scenario.metric, self.scenario.shrinkage);
            view.score(&self.asker.seeds, metric, shrinkage, scores);
            let ranked = self.best(state, scores, self.limit());
            self.list(&state.relations[*relation].name, *weight, ranked)
        };
        self.relations.iter().map(list).collect()
    }

    /// A list of this question.
    pub fn list(&self, name: &str, weight: f64, ranked: Vec<(ItemIx, f64)>) -> SourceList {
        SourceList {
            name: name.into(),
            weight,
            personal: true,
            approximate: false,
            ranked,
        }
    }

    /// Whether all relations were asked and none has anything to say.
    pub fn is_lonely(&self, lists: &[SourceList]) -> bool {
        self.request.relation.is_none() && lists.iter().all(|list| list.ranked.is_empty())
    }

    /// What stands in for relations that have nothing to say: leaders of the item's tags.
    pub fn of_same_tags(&self, state: &State, scores: &mut Accumulator) -> SourceList {
        scores.reset(state.names.items.len());
        let (votes, now) = (TagVotes::Popularity, self.request.now);
        leaders::in_tags(state, &self.asker, now, votes, &Leading::default(), scores);
        self.list(SAME_TAGS, 1.0, self.best(state, scores, self.request.n))
    }

    fn best(&self, state: &State, scores: &Accumulator, limit: usize) -> Vec<(ItemIx, f64)> {
        let eligible = |item| state.catalogue.visible(item) && !self.excluded.contains(&item);
        top_sums(&state.names, scores, limit, eligible)
    }

    /// The answer that these lists make. `lonely`: the last of them stands in for relations.
    pub fn answer(
        &self,
        state: &State,
        lists: &[SourceList],
        lonely: bool,
        witness: &dyn Witness,
        fused: &mut Accumulator,
    ) -> Answer {
        let (request, k) = (self.request, self.scenario.rrf_k);
        // One relation asked for: its metric is the score. Several: they have no common scale.
        let chosen: Vec<(ItemIx, f64)> = if request.relation.is_some() {
            let best = |list: &SourceList| list.ranked[..list.ranked.len().min(request.n)].to_vec();
            lists.iter().flat_map(best).collect()
        } else {
            fuse(lists, k, fused);
            top_sums(&state.names, fused, request.n, |_| true)
        };
        let names = self.asker.seed_names(state);
        let why = Reasoner::new(state, &self.asker, &names, &self.scenario, witness, false);
        let items = chosen
            .iter()
            .map(|(item, score)| {
                let mut parts: Vec<Part> = lists
                    .iter()
                    .filter_map(|list| part(list, *item, k))
                    .collect();
                parts.sort_by(|a, b| b.3.total_cmp(&a.3));
                let mut reasons = Vec::new();
                parts
                    .iter()
                    .for_each(|part| why.add(part, *item, &mut reasons));
                AnswerItem::ranked(state.names.item(*item).to_string(), *score, parts, reasons)
            })
            .collect();
        Answer {
            items,
            fallback: lonely.then(|| {
                "the item was not yet seen together with another: items of the same categories"
                    .to_string()
            }),
            about: vec![request.item.as_str().into()],
            position: state.position.0,
            ..Answer::default()
        }
    }
}

fn part(list: &SourceList, item: ItemIx, k: f64) -> Option<Part> {
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
