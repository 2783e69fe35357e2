//! Why an item is in an answer: the visitor's own events that led there, source by source.

use std::cell::OnceCell;

use crate::fold::state::State;
use crate::ids::{ItemIx, Millis};
use crate::query::answer::{EventName, Part, Reason};
use crate::query::leaders::TAGS;
use crate::query::relation::RelationView;
use crate::query::seeds::{Asker, Seed};
use crate::query::session_knn::{NeighbourSession, idf};
use crate::query::source::Source;
use crate::query::vectors::cosine;
use crate::scenario::{Metric, Scenario};

/// What is needed to say why.
pub struct Reasoner<'a> {
    /// The state that was asked.
    pub state: &'a State,
    /// Who asked.
    pub asker: &'a Asker<'a>,
    /// The scenario in force.
    pub scenario: &'a Scenario,
    /// The sessions that voted.
    pub neighbours: &'a [NeighbourSession],
    /// When.
    pub now: Millis,
    /// Every contributing event, or only the strongest per source.
    pub all: bool,
    /// The items that are asked about, ascending.
    chosen: &'a [ItemIx],
    /// Relations as they are first needed.
    views: Vec<OnceCell<RelationView<'a>>>,
    /// See [`Reasoner::count_votes`].
    votes: OnceCell<Vec<(f64, f64)>>,
}

impl<'a> Reasoner<'a> {
    /// For reasons of the `chosen` items, which are in ascending order.
    pub fn new(
        state: &'a State,
        asker: &'a Asker<'a>,
        scenario: &'a Scenario,
        neighbours: &'a [NeighbourSession],
        now: Millis,
        chosen: &'a [ItemIx],
    ) -> Self {
        Self {
            state,
            asker,
            scenario,
            neighbours,
            now,
            all: false,
            chosen,
            views: state.relations.iter().map(|_| OnceCell::new()).collect(),
            votes: OnceCell::new(),
        }
    }

    /// Reasons of one source for one item that it ranked, strongest first.
    pub fn reasons(&self, part: &Part, item: ItemIx) -> Vec<Reason> {
        let source = part.0.as_str();
        let mut reasons = match Source::named(self.state, source) {
            Some(Source::Relation(relation)) => self.relation(relation, item),
            Some(Source::SessionKnn) => self.sessions(item),
            Some(Source::TagAffinity) => self.tags(item),
            Some(Source::Repeats) => self.repeats(item),
            Some(Source::Vector(name)) => self.vectors(source, &name, item),
            Some(Source::Fresh) => {
                let served = f64::from(self.state.served(item));
                vec![self.reason(source, None, served, 0.0, "served")]
            }
            Some(Source::List) => vec![self.reason(source, None, f64::from(part.1), 0.0, "place")],
            Some(_) => self.votes(source, item),
            None => vec![self.reason(source, None, 0.0, 0.0, "catalogue")],
        };
        reasons.truncate(self.kept());
        reasons
    }

    fn repeats(&self, item: ItemIx) -> Vec<Reason> {
        let own = self.asker.seeds.iter().filter(|seed| seed.item == item);
        own.map(|seed| self.reason("repeats", Some(seed), 1.0, 0.0, "session"))
            .collect()
    }

    /// The seeds nearest to an item: cosine of their int8 codes.
    fn vectors(&self, source: &str, name: &str, item: ItemIx) -> Vec<Reason> {
        let Some(vectors) = self.state.vectors.get(name) else {
            return Vec::new();
        };
        let seeds = self
            .asker
            .seeds
            .iter()
            .filter(|seed| vectors.has(seed.item));
        let mut near: Vec<(f64, &Seed)> = seeds
            .map(|seed| (cosine(vectors, seed.item, item), seed))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.truncate(self.kept());
        near.into_iter()
            .map(|(cosine, seed)| self.reason(source, Some(seed), cosine, 0.0, "cosine"))
            .collect()
    }

    fn relation(&self, relation: usize, item: ItemIx) -> Vec<Reason> {
        let view =
            self.views[relation].get_or_init(|| RelationView::new(self.state, relation, self.now));
        let (metric, shrinkage) = (self.scenario.metric, self.scenario.shrinkage);
        let (shard, _) = self.state.owner(item);
        let mut found: Vec<(f64, &Seed, f64, f64)> = self
            .asker
            .seeds
            .iter()
            .filter_map(|seed| {
                let (score, count, error) = view.pair(shard, seed.item, item, metric, shrinkage)?;
                Some((seed.weight * score, seed, count, error))
            })
            .collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.truncate(self.kept());
        let name = &self.state.relations[relation].name;
        let detail = metric_name(metric);
        found
            .into_iter()
            .map(|(_, seed, count, error)| self.reason(name, Some(seed), count, error, detail))
            .collect()
    }

    /// Reasons of one source that are told.
    fn kept(&self) -> usize {
        if self.all { usize::MAX } else { 1 }
    }

    /// For each chosen item and each seed, similarity and number of the sessions that have the item and whose newest shared
    /// item is the seed. One walk over all neighbours.
    fn count_votes(&self) -> Vec<(f64, f64)> {
        let seeds = self.asker.seeds.len();
        let mut votes = vec![(0.0, 0.0); self.chosen.len() * seeds];
        for neighbour in self.neighbours {
            for item in self.state.hood.sessions.items_of(neighbour.number) {
                if let Ok(at) = self.chosen.binary_search(&ItemIx(*item)) {
                    let vote = &mut votes[at * seeds + neighbour.newest];
                    vote.0 += neighbour.similarity;
                    vote.1 += 1.0;
                }
            }
        }
        votes
    }

    fn sessions(&self, item: ItemIx) -> Vec<Reason> {
        let chosen = self.chosen;
        let Ok(at) = chosen.binary_search(&item) else {
            return Vec::new();
        };
        let seeds = self.asker.seeds.len();
        let by_seed = &self.votes.get_or_init(|| self.count_votes())[at * seeds..][..seeds];
        let mut places: Vec<usize> = (0..by_seed.len()).filter(|p| by_seed[*p].1 > 0.0).collect();
        places.sort_by(|a, b| by_seed[*b].0.total_cmp(&by_seed[*a].0));
        places.truncate(self.kept());
        let detail = format!("idf {:.2}", idf(&self.state.hood.sessions, item));
        places
            .into_iter()
            .map(|p| {
                self.reason(
                    "session-knn",
                    Some(&self.asker.seeds[p]),
                    by_seed[p].1,
                    0.0,
                    &detail,
                )
            })
            .collect()
    }

    fn tags(&self, item: ItemIx) -> Vec<Reason> {
        let own = self.state.catalogue.tags(item);
        let shared = self
            .asker
            .tags
            .iter()
            .take(TAGS)
            .filter(|(tag, weight)| own.contains(tag) && *weight > 0.0)
            .take(self.kept());
        shared
            .map(|(tag, weight)| {
                let seed = self
                    .asker
                    .seeds
                    .iter()
                    .find(|s| self.state.catalogue.tags(s.item).contains(tag));
                self.reason(
                    "tag-affinity",
                    seed,
                    *weight,
                    0.0,
                    self.state.names.tag(*tag),
                )
            })
            .collect()
    }

    fn votes(&self, source: &str, item: ItemIx) -> Vec<Reason> {
        let (shard, local) = self.state.owner(item);
        let shard = &self.state.shards[shard];
        let among = self
            .asker
            .segment
            .filter(|_| source.ends_with("-in-segment"));
        let stats = among
            .and_then(|segment| shard.stats_in(segment, local))
            .unwrap_or_else(|| shard.stats(local));
        let clocks = &self.state.clocks;
        let votes = if source.starts_with("trending") {
            stats.short.read(&clocks.short, self.now)
        } else {
            stats.popularity.read(&clocks.popularity, self.now)
        };
        vec![self.reason(source, None, votes, 0.0, "votes")]
    }

    fn reason(
        &self,
        source: &str,
        seed: Option<&Seed>,
        count: f64,
        error: f64,
        detail: &str,
    ) -> Reason {
        let item = seed.map(|s| self.state.names.item(s.item).to_string());
        let event = seed
            .and_then(|s| s.event.as_ref())
            .map(|(at, ty, ts)| EventName::new(*at, ty, *ts));
        Reason(
            source.to_string(),
            item,
            event,
            count,
            error,
            Some(detail.to_string()),
        )
    }
}

fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "cosine",
        Metric::Jaccard => "jaccard",
        Metric::Conditional => "conditional",
        Metric::Lift => "lift",
        Metric::Pmi => "pmi",
        Metric::Phi => "phi",
        Metric::Llr => "llr",
        Metric::Count => "count",
    }
}
