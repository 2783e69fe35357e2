//! Candidates: every source's raw scores, cut to its best that may be shown.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::beside::beside;
use crate::bitmap::Bitmap;
use crate::embedding::scan::SharedSearch;
use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::{ItemIx, Millis};
use crate::lent::Lender;
use crate::query::accumulator::Accumulator;
use crate::query::allowed::Allowed;
use crate::query::best::{top, top_sums};
use crate::query::few_items::Filters;
use crate::query::fuse::SourceList;
use crate::query::graphs::Graphs;
use crate::query::leaders::{self, TagVotes};
use crate::query::leading::Leading;
use crate::query::relation::RelationView;
use crate::query::seeds::Asker;
use crate::query::session_knn::{self, KnnWeights, NeighbourSession};
use crate::query::source::{Source, Weighted};
use crate::query::together::Scanned;
use crate::query::vectors::{self, Found};
use crate::scenario::Scenario;
use crate::spare_threads::Roused;

/// An embedding of at least so many items is worth waking another thread for.
const LARGE: usize = 20_000;

/// Scores of sources that a thread looks at for another's question, beside those of a question of its own.
static ASIDE: Lender<Accumulator> = Lender::new();

/// Items that may be found in an embedding.
static FILTERS: Lender<Bitmap> = Lender::new();

fn listed(source: &Weighted, ranked: Vec<(ItemIx, f64)>) -> SourceList {
    SourceList {
        name: source.name.clone(),
        weight: source.weight,
        personal: source.source.is_personal(),
        approximate: false,
        ranked,
    }
}

/// Whether there are so many vectors that a scan of them is most of a question.
pub fn is_large(state: &State, name: &str) -> bool {
    let vectors = state.vectors.get(name);
    vectors.is_some_and(|vectors| vectors.store.len() >= LARGE)
}

/// What all sources of one query share.
pub struct Retrieval<'a> {
    /// The state that is asked.
    pub state: &'a State,
    /// How.
    pub scenario: &'a Scenario,
    /// Who asks.
    pub asker: &'a Asker<'a>,
    /// Sessions like theirs, once a source asked for them.
    pub neighbours: &'a OnceLock<Vec<NeighbourSession>>,
    /// What may be shown.
    pub allowed: &'a Allowed<'a>,
    /// What a scan for many visitors found in embeddings, by name of the source.
    pub scanned: &'a [(String, Scanned)],
    /// Filters that all items pass; none where something else leaves few of them.
    pub filters: &'a Filters<'a>,
    /// What is known of leaders already.
    pub leading: &'a Leading,
    /// The caller's list.
    pub list: &'a [ItemIx],
    /// When.
    pub now: Millis,
    /// Graphs of large embeddings.
    pub graphs: Option<&'a Graphs>,
    /// What approximate sources found when this was answered before, by their names.
    pub recorded: &'a BTreeMap<String, Vec<(String, f64)>>,
    /// Whether this is all there is; otherwise others find items as well, and who puts all together settles which of them
    /// are the best.
    pub whole: bool,
}

/// The most items that a source gives. A list of the caller's, of so many known items, is ranked whole.
pub fn limit(scenario: &Scenario, listed: usize) -> usize {
    scenario.pool.max(listed)
}

impl Retrieval<'_> {
    /// The lists of all sources, in their order. Where a large embedding is asked and there may be a `helper`, a spare thread
    /// comes to it if it can. The scan of that embedding lies in pieces for both: the helper begins with them, and when none
    /// is left takes what is left of the sources from their end on; the asker begins with the sources.
    pub fn lists(
        &self,
        sources: &[Weighted],
        helper: Option<&mut Roused>,
        scores: &mut Accumulator,
    ) -> Result<Vec<SourceList>, CoreError> {
        let helped = helper.is_some() && sources.iter().any(|source| self.is_large(source));
        let mut filter = FILTERS.lend();
        let scan = match helped {
            true => self.shared_scan(sources, &mut filter)?,
            false => None,
        };
        let (others, embeddings): (Vec<usize>, Vec<usize>) = (0..sources.len())
            .filter(|at| scan.as_ref().is_none_or(|(scanned, _)| at != scanned))
            .partition(|at| !matches!(sources[*at].source, Source::Vector(_)));
        let order = [others, embeddings].concat();
        let begun: Vec<AtomicBool> = sources.iter().map(|_| AtomicBool::new(false)).collect();
        let claim = |at: &&usize| !begun[**at].swap(true, Ordering::Relaxed);
        let list = |at: usize, scores: &mut Accumulator| (at, self.list(&sources[at], scores));
        let pieces = || scan.iter().for_each(|(_, scan)| scan.work());
        let aside = || -> Vec<_> {
            pieces();
            let mut scores = ASIDE.lend();
            let left = order.iter().rev().filter(claim);
            left.map(|at| list(*at, &mut scores)).collect()
        };
        let mut own = || -> Vec<_> {
            let lists = order.iter().filter(claim);
            let lists = lists.map(|at| list(*at, scores)).collect();
            pieces();
            lists
        };
        let mut lists = match helper.filter(|_| helped) {
            Some(helper) => {
                let (theirs, mut own) = beside(helper, aside, own);
                own.extend(theirs);
                own
            }
            None => own(),
        };
        if let Some((at, scan)) = scan {
            let ranked = vectors::found_by_both(scan);
            lists.push((at, Ok(self.settled(&sources[at], ranked))));
        }
        lists.sort_unstable_by_key(|(at, _)| *at);
        lists.into_iter().map(|(_, list)| list).collect()
    }

    /// The scan of the first large embedding that no graph answers for, and whose source that is. `filter` receives the
    /// items that may be found.
    fn shared_scan<'f>(
        &'f self,
        sources: &[Weighted],
        filter: &'f mut Bitmap,
    ) -> Result<Option<(usize, SharedSearch<'f>)>, CoreError> {
        for (at, source) in sources.iter().enumerate() {
            let Source::Vector(name) = &source.source else {
                continue;
            };
            let graph = self.graphs.is_some_and(|graphs| graphs.has(name));
            let Some(vectors) = self.state.vectors.get(name.as_str()) else {
                continue;
            };
            if graph || !self.is_large(source) {
                continue;
            }
            let (seeds, k) = (&self.asker.seeds, vectors::reach(self.limit()));
            let Some(query) = vectors::asked(vectors, seeds, self.allowed, filter) else {
                return Ok(None);
            };
            let ranks = self.state.names.items.hashes();
            return Ok(Some((
                at,
                vectors::shared_scan(vectors, ranks, &query, filter, k)?,
            )));
        }
        Ok(None)
    }

    /// The list of a source, all of it by this thread.
    fn list(&self, source: &Weighted, scores: &mut Accumulator) -> Result<SourceList, CoreError> {
        match &source.source {
            Source::Vector(name) => self.nearest(source, name),
            other => Ok(listed(source, self.ranked(other, scores))),
        }
    }

    /// The list of a source that looked into an embedding and found this.
    fn settled(&self, source: &Weighted, mut ranked: Vec<(ItemIx, f64)>) -> SourceList {
        if self.whole {
            vectors::settle(&self.state.names, self.allowed, self.limit(), &mut ranked);
        }
        listed(source, ranked)
    }

    /// Sessions like the visitor's.
    fn neighbours(&self) -> &[NeighbourSession] {
        self.neighbours.get_or_init(|| {
            session_knn::of_asker(&self.state.hood.sessions, self.scenario, self.asker)
        })
    }

    fn is_large(&self, source: &Weighted) -> bool {
        let Source::Vector(name) = &source.source else {
            return false;
        };
        let known =
            self.scanned_before(source).is_some() || self.recorded.contains_key(&*source.name);
        !known && is_large(self.state, name)
    }

    fn scanned_before(&self, source: &Weighted) -> Option<&Scanned> {
        let mut scanned = self.scanned.iter();
        scanned.find_map(|(name, scanned)| (*name == *source.name).then_some(scanned))
    }

    /// The list of a source that looks into the embedding `name`.
    fn nearest(&self, source: &Weighted, name: &str) -> Result<SourceList, CoreError> {
        let (state, allowed, limit) = (self.state, self.allowed, self.limit());
        if let Some(recorded) = self.recorded.get(&*source.name) {
            let known = |(item, score): &(String, f64)| {
                let item = state.names.find_item(item)?;
                allowed.contains(item).then_some((item, *score))
            };
            let mut list = listed(source, recorded.iter().filter_map(known).collect());
            list.approximate = true;
            return Ok(list);
        }
        let Some(embedding) = state.vectors.get(name) else {
            return Ok(listed(source, Vec::new()));
        };
        let found = match self.scanned_before(source) {
            Some(scanned) => Found {
                ranked: scanned.clone(),
                approximate: false,
            },
            None => {
                let (seeds, graph) = (&self.asker.seeds, self.graphs.map(|graphs| (graphs, name)));
                let filter = &mut FILTERS.lend();
                vectors::found(state, embedding, seeds, allowed, limit, filter, graph)?
            }
        };
        let mut list = self.settled(source, found.ranked);
        list.approximate = found.approximate;
        Ok(list)
    }

    /// The best of one source, best first.
    fn ranked(&self, source: &Source, scores: &mut Accumulator) -> Vec<(ItemIx, f64)> {
        let (state, now) = (self.state, self.now);
        scores.reset(state.names.items.len());
        if let Some(leaders) = self.known_leaders(source, scores) {
            return leaders;
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
                let weights = KnnWeights::of(self.scenario);
                let sessions = &state.hood.sessions;
                session_knn::score(sessions, self.neighbours(), &latest, &weights, scores);
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
                let (asker, allowed) = (self.asker, self.allowed);
                let (scenario, leading) = (self.scenario, self.leading);
                leaders::fresh(state, scenario, asker, now, allowed, leading, scores);
            }
            other => self.leaders(other, scores),
        }
        let (names, limit) = (&state.names, self.limit());
        let eligible = |item| self.allowed.contains(item);
        if *source == Source::SessionKnn {
            let reader = session_knn::IdfReader::new(&state.hood.sessions);
            let adjust = |item: ItemIx, score: f64| score * reader.idf(item);
            return top(names, scores, limit, eligible, adjust);
        }
        // Nearly always one bit says whether an item may be shown.
        match self.allowed.all_bits() {
            Some(bits) => top_sums(names, scores, limit, |item| bits.get(item.0 as usize)),
            None => top_sums(names, scores, limit, eligible),
        }
    }

    /// The best leaders of a source, where they were gathered already.
    fn known_leaders(
        &self,
        source: &Source,
        scores: &mut Accumulator,
    ) -> Option<Vec<(ItemIx, f64)>> {
        let (allowed, limit) = (self.allowed, self.limit());
        let all = matches!(source, Source::Trending | Source::Popular) && allowed.is_few();
        if all || !source.leads_alone() {
            return None;
        }
        let of = (source, self.asker.segment);
        let eligible = |item| allowed.contains(item);
        self.leading.best(self.state, of, limit, eligible, scores)
    }

    fn limit(&self) -> usize {
        limit(self.scenario, self.list.len())
    }

    fn leaders(&self, source: &Source, scores: &mut Accumulator) {
        let (state, asker, now) = (self.state, self.asker, self.now);
        let few = Some(self.allowed).filter(|allowed| allowed.is_few());
        if let Some(allowed) = few
            && !self.filters.is_empty()
            && matches!(
                source,
                Source::TagAffinity | Source::Trending | Source::Popular
            )
            && let Some(few) = self.leading.few(state, self.filters)
        {
            let eligible = |item| allowed.contains(item);
            few.add(state, source, asker, now, eligible, scores);
            return;
        }
        match (source, few) {
            (Source::TagAffinity, None) => {
                leaders::in_tags(
                    state,
                    asker,
                    now,
                    TagVotes::Popularity,
                    self.leading,
                    scores,
                );
            }
            (Source::TagAffinity, Some(few)) => {
                leaders::tag_affinity_of(state, asker, now, few, scores);
            }
            (Source::Trending, None) => leaders::trending(state, now, scores),
            (Source::Trending, Some(few)) => leaders::trending_of(state, now, few, scores),
            (Source::TrendingInTags, _) => {
                leaders::in_tags(state, asker, now, TagVotes::Trends, self.leading, scores);
            }
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
