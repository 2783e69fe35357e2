//! Grounds of what sources say, where their counts are.

use std::cell::{OnceCell, RefCell};
use std::cmp::Ordering;

use crate::cooccurrence::rows::RowStore;
use crate::fold::state::State;
use crate::ids::{ItemIx, Millis};
use crate::query::chosen::Chosen;
use crate::query::counted::{Grounds, Link, Links, Witness};
use crate::query::relation::RelationView;
use crate::query::seeds::Asker;
use crate::query::session_knn::{self, NeighbourSession, idf};
use crate::query::source::Source;
use crate::scenario::Scenario;

/// From so many chosen items on, a walk over the seeds' rows costs less than a search for each pair.
const MANY: usize = 8;

/// Looks grounds up in a state.
pub struct WitnessHere<'a> {
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
    /// The items that are asked about.
    chosen: RefCell<Chosen>,
    /// Relations as they are first needed.
    views: Vec<OnceCell<RelationView<'a>>>,
    /// What each relation says of the chosen items, in their order, once it was asked.
    links: RefCell<Vec<Option<Vec<Links>>>>,
    /// See [`WitnessHere::count_votes`].
    votes: RefCell<Option<Vec<(f64, f64)>>>,
    /// For who is asked about items that were not announced: each neighbour's items, with the neighbour's place, in order.
    voters: Option<OnceCell<Vec<(u32, u32)>>>,
}

impl<'a> WitnessHere<'a> {
    /// A witness of what was asked at `now`. `neighbours`: the sessions that voted.
    pub fn new(
        state: &'a State,
        asker: &'a Asker<'a>,
        scenario: &'a Scenario,
        neighbours: &'a [NeighbourSession],
        now: Millis,
        all: bool,
    ) -> Self {
        Self {
            state,
            asker,
            scenario,
            neighbours,
            now,
            all,
            chosen: RefCell::default(),
            views: state.relations.iter().map(|_| OnceCell::new()).collect(),
            links: RefCell::new(vec![None; state.relations.len()]),
            votes: RefCell::default(),
            voters: None,
        }
    }

    fn view(&self, relation: usize) -> &RelationView<'a> {
        self.views[relation].get_or_init(|| RelationView::new(self.state, relation, self.now))
    }

    fn relation(&self, relation: usize, item: ItemIx) -> Links {
        let chosen = self.chosen.borrow();
        match chosen.place(item) {
            Some(at) if chosen.items().len() >= MANY => {
                let mut links = self.links.borrow_mut();
                let found = || self.links_of(relation, &chosen);
                links[relation].get_or_insert_with(found)[at].clone()
            }
            _ => self.links_with(relation, item),
        }
    }

    /// What a relation says of an item: a search in the row of each seed.
    fn links_with(&self, relation: usize, item: ItemIx) -> Links {
        let (metric, shrinkage) = (self.scenario.metric, self.scenario.shrinkage);
        let view = self.view(relation);
        let (shard, _) = self.state.owner(item);
        let seeds = self.asker.seeds.iter().enumerate();
        let found = seeds.filter_map(|(place, seed)| {
            let (score, count, error) = view.pair(shard, seed.item, item, metric, shrinkage)?;
            Some((seed.weight * score, link(place, count, error)))
        });
        self.strongest(found)
    }

    /// The strongest links by score; of equal ones, those of newer seeds. Only one unless all are told.
    fn strongest(&self, found: impl Iterator<Item = (f64, Link)>) -> Links {
        if self.all {
            let mut found: Vec<(f64, Link)> = found.collect();
            found.sort_by(|a, b| b.0.total_cmp(&a.0));
            return Links::Many(found.into_iter().map(|(_, link)| link).collect());
        }
        found.reduce(stronger).map(|(_, link)| link).into()
    }

    /// The grounds of a relation for each of the items that were announced, in their order.
    pub fn relation_grounds(&self, relation: usize) -> Vec<Grounds> {
        let links = self.links_of(relation, &self.chosen.borrow()).into_iter();
        links.map(|links| Grounds { links, own: 0.0 }).collect()
    }

    /// What a relation says of the chosen items, in their order: one walk over the seeds' rows instead of a search for each
    /// pair.
    fn links_of(&self, relation: usize, chosen: &Chosen) -> Vec<Links> {
        if self.all {
            let mut found: Vec<Vec<(f64, Link)>> = vec![Vec::new(); chosen.items().len()];
            self.pairs_of(relation, chosen, |at, next| found[at].push(next));
            let found = found.into_iter();
            return found
                .map(|found| self.strongest(found.into_iter()))
                .collect();
        }
        let mut best: Vec<Option<(f64, Link)>> = vec![None; chosen.items().len()];
        self.pairs_of(relation, chosen, |at, next| {
            best[at] = Some(best[at].take().map_or(next, |best| stronger(best, next)));
        });
        let best = best.into_iter();
        best.map(|best| best.map(|(_, link)| link).into()).collect()
    }

    /// Each pair of a seed and a chosen item: the item's place, the seed's weight times the score, and the link. Pairs of newer
    /// seeds come first.
    fn pairs_of(
        &self,
        relation: usize,
        chosen: &Chosen,
        mut found: impl FnMut(usize, (f64, Link)),
    ) {
        if chosen.items().is_empty() {
            return;
        }
        let (metric, shrinkage) = (self.scenario.metric, self.scenario.shrinkage);
        let view = self.view(relation);
        let seeds = &self.asker.seeds;
        for (place, seed) in seeds.iter().enumerate() {
            view.fetch(seeds, place);
            view.pairs(
                seed.item,
                |item| chosen.place(item),
                metric,
                shrinkage,
                |at, (score, count, error)| {
                    found(at, (seed.weight * score, link(place, count, error)));
                },
            );
        }
    }

    /// Says which items will be asked about, in ascending order.
    pub fn announce(&self, chosen: &[ItemIx]) {
        self.chosen.replace(Chosen::new(chosen.to_vec()));
        self.votes.take();
        self.links.borrow_mut().fill(None);
    }

    /// For each chosen item and each seed, similarity and number of the sessions that have the item and whose newest shared
    /// item is the seed. One walk over all neighbours.
    fn count_votes(&self, chosen: &Chosen) -> Vec<(f64, f64)> {
        let seeds = self.asker.seeds.len();
        let mut votes = vec![(0.0, 0.0); chosen.items().len() * seeds];
        let sessions = &self.state.hood.sessions;
        for (at, neighbour) in self.neighbours.iter().enumerate() {
            session_knn::ask_ahead(sessions, self.neighbours, at);
            for item in sessions.items_of(neighbour.number) {
                if let Some(at) = chosen.place(ItemIx(*item)) {
                    let vote = &mut votes[at * seeds + neighbour.newest];
                    vote.0 += neighbour.similarity;
                    vote.1 += 1.0;
                }
            }
        }
        votes
    }

    /// Asks for the rows of the seeds.
    fn ask_ahead(&self) {
        let rows = || {
            let shards = self.state.shards.iter();
            shards.flat_map(|shard| &shard.rows)
        };
        let each = |with: &dyn Fn(&RowStore, ItemIx)| {
            for seed in &self.asker.seeds {
                rows().for_each(|rows| with(rows, seed.item));
            }
        };
        each(&|rows, seed| rows.prefetch_head(seed, false));
        each(&|rows, seed| rows.prefetch_head(seed, true));
        each(&|rows, seed| rows.prefetch(seed));
    }

    /// Each neighbour's items, with the neighbour's place, in order.
    fn voters(&self) -> Vec<(u32, u32)> {
        let sessions = &self.state.hood.sessions;
        let mut voters = Vec::new();
        for (at, neighbour) in self.neighbours.iter().enumerate() {
            session_knn::ask_ahead(sessions, self.neighbours, at);
            let items = sessions.items_of(neighbour.number).iter();
            voters.extend(items.map(|item| (*item, at as u32)));
        }
        voters.sort_unstable();
        voters
    }

    /// What sessions say of an item that was not announced.
    fn sessions_with(&self, voters: &[(u32, u32)], item: ItemIx) -> Links {
        let mut votes = vec![(0.0, 0.0); self.asker.seeds.len()];
        let first = voters.partition_point(|(other, _)| *other < item.0);
        let own = voters[first..].iter();
        for (_, at) in own.take_while(|(other, _)| *other == item.0) {
            let neighbour = &self.neighbours[*at as usize];
            let vote = &mut votes[neighbour.newest];
            vote.0 += neighbour.similarity;
            vote.1 += 1.0;
        }
        self.strongest_votes(&votes)
    }

    fn strongest_votes(&self, by_seed: &[(f64, f64)]) -> Links {
        let voted = by_seed.iter().enumerate().filter(|(_, vote)| vote.1 > 0.0);
        self.strongest(voted.map(|(place, vote)| (vote.0, link(place, vote.1, 0.0))))
    }

    fn sessions(&self, item: ItemIx) -> Links {
        if let Some(voters) = &self.voters {
            return self.sessions_with(voters.get_or_init(|| self.voters()), item);
        }
        let chosen = self.chosen.borrow();
        let Some(at) = chosen.place(item) else {
            return Links::None;
        };
        let seeds = self.asker.seeds.len();
        let mut votes = self.votes.borrow_mut();
        let votes = votes.get_or_insert_with(|| self.count_votes(&chosen));
        self.strongest_votes(&votes[at * seeds..][..seeds])
    }

    fn votes(&self, source: &Source, item: ItemIx) -> f64 {
        let (shard, local) = self.state.owner(item);
        let shard = &self.state.shards[shard];
        let among = self.asker.segment.filter(|_| source.is_in_segment());
        let stats = among
            .and_then(|segment| shard.stats_in(segment, local))
            .unwrap_or_else(|| shard.stats(local));
        let clocks = &self.state.clocks;
        if source.is_trending() {
            stats.short.read(&clocks.short, self.now)
        } else {
            stats.popularity.read(&clocks.popularity, self.now)
        }
    }
}

impl Witness for WitnessHere<'_> {
    fn prepare(&self, chosen: &[ItemIx]) {
        match &self.voters {
            Some(voters) => {
                self.ask_ahead();
                voters.get_or_init(|| self.voters());
            }
            None => self.announce(chosen),
        }
    }

    fn grounds(&self, source: &Source, _: &str, item: ItemIx) -> Grounds {
        let (links, own) = match source {
            Source::Relation(relation) => (self.relation(*relation, item), 0.0),
            Source::SessionKnn => (self.sessions(item), idf(&self.state.hood.sessions, item)),
            Source::Fresh => (Links::None, f64::from(self.state.served(item))),
            source if source.counts_votes() => (Links::None, self.votes(source, item)),
            _ => (Links::None, 0.0),
        };
        Grounds { links, own }
    }

    fn elsewhere(&self) -> Option<Box<dyn Witness + Send + '_>> {
        let (asker, neighbours) = (self.asker, self.neighbours);
        let witness = WitnessHere {
            voters: Some(OnceCell::new()),
            ..WitnessHere::new(
                self.state,
                asker,
                self.scenario,
                neighbours,
                self.now,
                self.all,
            )
        };
        Some(Box::new(witness))
    }
}

/// The stronger link; of equal ones the one that was found first.
fn stronger(best: (f64, Link), next: (f64, Link)) -> (f64, Link) {
    match next.0.total_cmp(&best.0) {
        Ordering::Greater => next,
        _ => best,
    }
}

fn link(seed: usize, count: f64, error: f64) -> Link {
    Link { seed, count, error }
}
