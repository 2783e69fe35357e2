//! Candidates: every source's raw scores, cut to its best that may be shown.

use std::collections::BTreeMap;

use crate::bitmap::Bitmap;
use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::{ItemIx, Millis};
use crate::query::accumulator::Accumulator;
use crate::query::allowed::Allowed;
use crate::query::fuse::{SourceList, top};
use crate::query::graphs::Graphs;
use crate::query::leaders;
use crate::query::relation::RelationView;
use crate::query::seeds::Asker;
use crate::query::session_knn::{self, KnnWeights, NeighbourSession};
use crate::query::source::{Source, Weighted};
use crate::query::vectors;
use crate::scenario::Scenario;

/// An embedding of at least so many items is worth waking another thread for.
const LARGE: usize = 20_000;

fn listed(source: &Weighted, ranked: Vec<(ItemIx, f64)>) -> SourceList {
    SourceList {
        name: source.name.clone(),
        weight: source.weight,
        personal: source.source.is_personal(),
        approximate: false,
        ranked,
    }
}

/// What all sources of one query share.
pub struct Retrieval<'a> {
    /// The state that is asked.
    pub state: &'a State,
    /// How.
    pub scenario: &'a Scenario,
    /// Who asks.
    pub asker: &'a Asker<'a>,
    /// Sessions like theirs.
    pub neighbours: &'a [NeighbourSession],
    /// What may be shown.
    pub allowed: &'a Allowed<'a>,
    /// The caller's list.
    pub list: &'a [ItemIx],
    /// When.
    pub now: Millis,
    /// Graphs of large embeddings.
    pub graphs: Option<&'a Graphs>,
    /// What approximate sources found when this was answered before, by their names.
    pub found: &'a BTreeMap<String, Vec<(String, f64)>>,
    /// Whether this is all there is; otherwise others find items as well, and who puts all together settles which of them
    /// are the best.
    pub whole: bool,
}

/// The most items that a source gives. A list of the caller's, of so many known items, is ranked whole.
pub fn limit(scenario: &Scenario, listed: usize) -> usize {
    scenario.pool.max(listed)
}

impl Retrieval<'_> {
    /// The lists of all sources, in their order. Large embeddings are scanned by a thread of `pool` meanwhile.
    pub fn lists(
        &self,
        sources: &[Weighted],
        pool: Option<&rayon::ThreadPool>,
        scores: &mut Accumulator,
        filter: &mut Bitmap,
    ) -> Result<Vec<SourceList>, CoreError> {
        let apart = |source: &Weighted| matches!(source.source, Source::Vector(_));
        let mut scanned = Vec::new();
        let mut scan = || {
            let vectors = sources.iter().filter(|source| apart(source));
            scanned = vectors.map(|source| self.nearest(source, filter)).collect();
        };
        let mut others = || {
            let others = sources.iter().filter(|source| !apart(source));
            let list = |source: &Weighted| listed(source, self.ranked(&source.source, scores));
            others.map(list).collect::<Vec<_>>()
        };
        let rest = match pool.filter(|_| sources.iter().any(|source| self.is_large(source))) {
            Some(pool) => pool.in_place_scope(|scope| {
                scope.spawn(|_| scan());
                others()
            }),
            None => {
                scan();
                others()
            }
        };
        let (mut scanned, mut rest) = (scanned.into_iter(), rest.into_iter());
        let next = |source: &Weighted| match apart(source) {
            true => scanned.next(),
            false => rest.next().map(Ok),
        };
        sources.iter().filter_map(next).collect()
    }

    fn is_large(&self, source: &Weighted) -> bool {
        let Source::Vector(name) = &source.source else {
            return false;
        };
        let vectors = self.state.vectors.get(name);
        vectors.is_some_and(|vectors| vectors.store.len() >= LARGE)
    }

    /// The list of a vector source.
    fn nearest(&self, source: &Weighted, filter: &mut Bitmap) -> Result<SourceList, CoreError> {
        if let Some(found) = self.found.get(&source.name) {
            let known = |(item, score): &(String, f64)| {
                let item = self.state.names.find_item(item)?;
                self.allowed.contains(item).then_some((item, *score))
            };
            let mut list = listed(source, found.iter().filter_map(known).collect());
            list.approximate = true;
            return Ok(list);
        }
        let mut approximate = false;
        let ranked = match &source.source {
            Source::Vector(name) => match self.state.vectors.get(name) {
                Some(embedding) => {
                    let limit = self.limit();
                    let seeds = &self.asker.seeds;
                    let graph = self.graphs.map(|graphs| (graphs, name.as_str()));
                    let (state, allowed) = (self.state, self.allowed);
                    let found =
                        vectors::found(state, embedding, seeds, allowed, limit, filter, graph)?;
                    approximate = found.approximate;
                    let mut ranked = found.ranked;
                    if self.whole {
                        vectors::settle(&self.state.names, self.allowed, limit, &mut ranked);
                    }
                    ranked
                }
                None => Vec::new(),
            },
            _ => Vec::new(),
        };
        let mut list = listed(source, ranked);
        list.approximate = approximate;
        Ok(list)
    }

    /// The best of one source, best first.
    fn ranked(&self, source: &Source, scores: &mut Accumulator) -> Vec<(ItemIx, f64)> {
        let (state, now) = (self.state, self.now);
        scores.reset(state.names.items.len());
        match source {
            Source::Relation(relation) => {
                let (metric, shrinkage) = (self.scenario.metric, self.scenario.shrinkage);
                let view = RelationView::new(state, *relation, now);
                view.score(&self.asker.seeds, metric, shrinkage, scores);
            }
            Source::SessionKnn => {
                let latest = self.asker.latest(self.scenario.knn_last_items);
                let weights = KnnWeights::of(self.scenario);
                let sessions = &state.hood.sessions;
                session_knn::score(sessions, self.neighbours, &latest, &weights, scores);
            }
            Source::Repeats => {
                for seed in self.asker.seeds.iter().filter(|seed| seed.in_session) {
                    scores.add(seed.item.0, seed.weight);
                }
            }
            Source::List => {
                let len = self.list.len();
                for (place, item) in self.list.iter().enumerate() {
                    scores.add(item.0, (len - place) as f64 / len as f64);
                }
            }
            Source::Fresh => {
                leaders::fresh(state, self.scenario, self.asker, now, self.allowed, scores);
            }
            other => self.leaders(other, scores),
        }
        let knn = *source == Source::SessionKnn;
        let adjust = |item: ItemIx, score: f64| {
            if knn {
                score * session_knn::idf(&state.hood.sessions, item)
            } else {
                score
            }
        };
        let eligible = |item| self.allowed.contains(item);
        top(&state.names, scores, self.limit(), eligible, adjust)
    }

    fn limit(&self) -> usize {
        limit(self.scenario, self.list.len())
    }

    fn leaders(&self, source: &Source, scores: &mut Accumulator) {
        let (state, asker, now) = (self.state, self.asker, self.now);
        let few = Some(self.allowed).filter(|allowed| allowed.is_few());
        match (source, few) {
            (Source::TagAffinity, None) => leaders::tag_affinity(state, asker, now, scores),
            (Source::TagAffinity, Some(few)) => {
                leaders::tag_affinity_of(state, asker, now, few, scores);
            }
            (Source::Trending, None) => leaders::trending(state, now, scores),
            (Source::Trending, Some(few)) => leaders::trending_of(state, now, few, scores),
            (Source::TrendingInTags, _) => leaders::trending_in_tags(state, asker, now, scores),
            (Source::Popular, None) => leaders::popular(state, now, scores),
            (Source::Popular, Some(few)) => leaders::popular_of(state, now, few, scores),
            (source, _) => {
                let Some(segment) = asker.segment else { return };
                if *source == Source::TrendingInSegment {
                    leaders::trending_in_segment(state, segment, now, scores);
                } else {
                    leaders::popular_in_segment(state, segment, now, scores);
                }
            }
        }
    }
}
