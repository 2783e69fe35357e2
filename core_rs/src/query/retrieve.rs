//! Candidates: every source's raw scores, cut to its best that may be shown.

use crate::bitmap::Bitmap;
use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::{ItemIx, Millis};
use crate::query::accumulator::Accumulator;
use crate::query::allowed::Allowed;
use crate::query::fuse::{SourceList, top};
use crate::query::leaders;
use crate::query::relation::RelationView;
use crate::query::seeds::Asker;
use crate::query::session_knn::{self, NeighbourSession};
use crate::query::source::{Source, Weighted};
use crate::query::vectors;
use crate::scenario::Scenario;

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
}

impl Retrieval<'_> {
    /// The lists of all sources.
    pub fn lists(
        &self,
        sources: &[Weighted],
        scores: &mut Accumulator,
        filter: &mut Bitmap,
    ) -> Result<Vec<SourceList>, CoreError> {
        let list = |source: &Weighted| {
            Ok(SourceList {
                name: source.name.clone(),
                weight: source.weight,
                personal: source.source.is_personal(),
                ranked: self.ranked(&source.source, scores, filter)?,
            })
        };
        sources.iter().map(list).collect()
    }

    /// The best of one source, best first.
    fn ranked(
        &self,
        source: &Source,
        scores: &mut Accumulator,
        filter: &mut Bitmap,
    ) -> Result<Vec<(ItemIx, f64)>, CoreError> {
        let (state, now) = (self.state, self.now);
        if let Source::Vector(name) = source {
            let Some(embedding) = state.vectors.get(name) else {
                return Ok(Vec::new());
            };
            let (seeds, limit) = (&self.asker.seeds, self.limit());
            return vectors::nearest(state, embedding, seeds, self.allowed, limit, filter);
        }
        scores.reset(state.names.items.len());
        match source {
            Source::Relation(relation) => {
                let (metric, shrinkage) = (self.scenario.metric, self.scenario.shrinkage);
                let view = RelationView::new(state, *relation, now);
                view.score(&self.asker.seeds, metric, shrinkage, scores);
            }
            Source::SessionKnn => {
                let latest = self.asker.latest(self.scenario.knn_last_items);
                session_knn::score(&state.hood.sessions, self.neighbours, &latest, scores);
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
        Ok(top(&state.names, scores, self.limit(), eligible, adjust))
    }

    /// A list that the caller gave is ranked whole.
    fn limit(&self) -> usize {
        self.scenario.pool.max(self.list.len())
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
