//! Session kNN as a candidate source (VMIS-kNN: Kersbergen et al., SIGMOD 2022, section 3).
//!
//! The visitor's latest items are looked up newest first in the recent-session index. A session's similarity is the sum
//! of falling position weights of the items that it shares; the `k` most similar (ties: the more recent) vote for their
//! items with similarity x weight of the newest shared item x idf. Differences from the published code: weights stay
//! positive at any length, and no order comes from a hash table.
//!
//! [`KnnWeights`] adds what STAN (Garg et al., SIGIR 2019, section 3) weighs: how old the neighbour session is, and how
//! far from the shared item an item stands in it. All of them are off by default.

use std::cell::Cell;

use crate::ids::ItemIx;
use crate::lent::{Lender, Lent};
use crate::neighbourhood::sessions::{SessionIndex, SessionNo};
use crate::query::accumulator::Accumulator;
use crate::query::chosen::Chosen;
use crate::query::seeds::Asker;
use crate::scenario::Scenario;

/// What makes a session a neighbour, and what its vote counts. See `knn_*` in `headwater/scenario.py`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnnWeights {
    /// Most similar sessions that vote.
    pub neighbours: usize,
    /// Each older item of the visitor weighs this share of the next newer one in a similarity; 0: weights fall linearly.
    pub step: f64,
    /// The same in a vote, by the newest shared item.
    pub vote_step: f64,
    /// An item counts this share for each place that lies between it and the newest shared item in the neighbour session.
    pub near: f64,
    /// Items that the neighbour session touched before that item count this share.
    pub before: f64,
    /// The oldest session held is this share as similar as the newest would be, those between them linearly.
    pub oldest: f64,
    /// How much more alike a rare shared item makes two sessions.
    pub rarity: f64,
    /// Votes for the visitor's own compared items count this share; 0: none.
    pub own: f64,
}

impl KnnWeights {
    /// VMIS-kNN as published, with so many neighbours.
    pub fn plain(neighbours: usize) -> Self {
        Self {
            neighbours,
            step: 0.0,
            vote_step: 0.0,
            near: 1.0,
            before: 1.0,
            oldest: 1.0,
            rarity: 0.0,
            own: 0.0,
        }
    }

    /// Those of a scenario.
    pub fn of(scenario: &Scenario) -> Self {
        Self {
            neighbours: scenario.knn_neighbours,
            step: scenario.knn_step,
            vote_step: scenario.knn_vote_step,
            near: scenario.knn_near,
            before: scenario.knn_before,
            oldest: scenario.knn_oldest,
            rarity: scenario.knn_rarity,
            own: scenario.knn_own,
        }
    }

    /// Whether it matters where in a neighbour session an item stands.
    fn looks_at_places(&self) -> bool {
        self.near < 1.0 || self.before < 1.0
    }
}

/// The sessions like an asker's, as a scenario weighs them.
pub fn of_asker(
    sessions: &SessionIndex,
    scenario: &Scenario,
    asker: &Asker<'_>,
) -> Vec<NeighbourSession> {
    let latest = asker.latest(scenario.knn_last_items);
    neighbours(
        sessions,
        &latest,
        asker.own_session,
        &KnnWeights::of(scenario),
    )
}

/// One session like the visitor's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NeighbourSession {
    /// Which.
    pub number: u64,
    /// Sum of the position weights of shared items.
    pub similarity: f64,
    /// Place among the seeds of the newest shared item.
    pub newest: usize,
}

/// Sessions that share an item, each once, and a small open-addressing table to find them in. Lent from query to
/// query: it is far larger than what one reads of it.
#[derive(Default)]
struct Similarities {
    /// Lower half of a session's number, and its place in `found`; [`FREE`] where none stands.
    slots: Vec<(u32, u32)>,
    shift: u32,
    found: Vec<NeighbourSession>,
    keys: Vec<u128>,
}

const FREE: u32 = u32::MAX;

static TABLES: Lender<Similarities> = Lender::new();

impl Similarities {
    fn clear(&mut self, entries: usize) {
        let size = (entries * 2).next_power_of_two().max(16);
        self.slots.clear();
        self.slots.resize(size, (0, FREE));
        self.shift = u32::BITS - size.trailing_zeros();
        self.found.clear();
    }

    /// Where the session with that lower half stands, or would. Sessions held are fewer than numbers of 32 bits, so that the
    /// lower halves tell them apart.
    #[inline]
    fn slot_of(&self, low: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (low.wrapping_mul(0x9e37_79b9) >> self.shift) as usize & mask;
        while self.slots[at].1 != FREE && self.slots[at].0 != low {
            at = (at + 1) & mask;
        }
        at
    }

    #[inline]
    fn add(&mut self, number: u64, weight: f64, place: usize) {
        let at = self.slot_of(number as u32);
        let slot = &mut self.slots[at];
        if slot.1 != FREE {
            self.found[slot.1 as usize].similarity += weight;
            return;
        }
        *slot = (number as u32, self.found.len() as u32);
        self.found.push(NeighbourSession {
            number,
            similarity: weight,
            newest: place,
        });
    }

    /// The `k` most similar, of equally similar ones the more recent. `fades`: what a session's age leaves of its
    /// similarity.
    fn best(&mut self, k: usize, fades: impl Fn(u64) -> f64) -> Vec<NeighbourSession> {
        // Similarities are not negative: their bits are in their order. One number sorts without a branch.
        self.keys.clear();
        self.keys.extend(self.found.iter_mut().map(|session| {
            session.similarity *= fades(session.number);
            !(u128::from(session.similarity.to_bits()) << 64 | u128::from(session.number))
        }));
        if self.keys.len() > k {
            self.keys.select_nth_unstable(k);
            self.keys.truncate(k);
        }
        self.keys.sort_unstable();
        let place = |key: &u128| self.slots[self.slot_of(!*key as u32)].1;
        let keys = self.keys.iter();
        keys.map(|key| self.found[place(key) as usize]).collect()
    }
}

/// Weights of `count` seeds, newest first: falling linearly, or by `step`.
fn position_weights(count: usize, step: f64) -> Vec<f64> {
    if step == 0.0 {
        let weight = |place| (count - place) as f64 / count as f64;
        return (0..count).map(weight).collect();
    }
    powers(step, count)
}

/// 1, `base`, `base` squared, and so on: multiplied one after the other, so that they are the same everywhere.
fn powers(base: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(1.0), |last| Some(last * base))
        .take(count)
        .collect()
}

/// The sessions, other than the visitor's `own`, most like that of a visitor whose latest items are `seeds`, newest
/// first. O(seeds x postings).
pub fn neighbours(
    index: &SessionIndex,
    seeds: &[ItemIx],
    own: Option<SessionNo>,
    weights: &KnnWeights,
) -> Vec<NeighbourSession> {
    let k = weights.neighbours;
    let each = seeds.iter();
    each.for_each(|seed| index.prefetch_postings(*seed, true));
    let postings = seeds.iter().map(|seed| index.frequency(*seed)).sum();
    let mut similarities = TABLES.lend();
    similarities.clear(postings);
    let places = position_weights(seeds.len(), weights.step);
    for (place, (seed, weight)) in seeds.iter().zip(places).enumerate() {
        let rarity = match weights.rarity {
            0.0 => 1.0,
            rarity => 1.0 + rarity * (idf(index, *seed) - 1.0),
        };
        index.each_session_of(*seed, |number| {
            if Some(number) != own {
                similarities.add(number, weight * rarity, place);
            }
        });
    }
    let (next, held) = index.len();
    let fade = (1.0 - weights.oldest) / held.max(1) as f64;
    let age = |number: u64| (next - 1 - number) as f64;
    similarities.best(k, |number| 1.0 - fade * age(number))
}

/// Sessions lie anywhere in memory, and their items elsewhere: so many neighbours ahead they are asked for.
const AHEAD: usize = 6;

/// Asks for sessions that are read soon, before the one at place `at` is.
pub fn ask_ahead(index: &SessionIndex, neighbours: &[NeighbourSession], at: usize) {
    for (ahead, found) in [(2 * AHEAD, false), (AHEAD, true)] {
        if let Some(next) = neighbours.get(at + ahead) {
            index.prefetch(next.number, found);
        }
    }
}

/// Adds what the neighbours say of items; of the visitor's own seeds as far as `weights.own` lets them.
pub fn score(
    index: &SessionIndex,
    neighbours: &[NeighbourSession],
    seeds: &[ItemIx],
    weights: &KnnWeights,
    scores: &mut Accumulator,
) {
    let places = position_weights(seeds.len(), weights.vote_step);
    let mut nearness: Vec<f64> = Vec::new();
    // What most scenarios ask for: votes alike for all items but the visitor's own.
    let plain = weights.own == 0.0 && !weights.looks_at_places();
    let own = Chosen::new(seeds.to_vec());
    for (at, neighbour) in neighbours.iter().enumerate() {
        ask_ahead(index, neighbours, at);
        if let Some(next) = neighbours.get(at + 2) {
            let items = index.items_of(next.number);
            items.iter().for_each(|item| scores.ask(*item));
        }
        let vote = neighbour.similarity * places[neighbour.newest];
        let items = index.items_of(neighbour.number);
        if plain {
            // Whoever is voted for is weighed by how common it is.
            items
                .iter()
                .for_each(|item| index.prefetch_frequency(ItemIx(*item)));
            let others = items
                .iter()
                .filter(|item| own.place(ItemIx(**item)).is_none());
            scores.add_all(others.map(|item| (*item, vote)));
            continue;
        }
        let shared = seeds[neighbour.newest];
        let at = match weights.looks_at_places() {
            true => items.iter().position(|item| *item == shared.0),
            false => None,
        };
        if nearness.len() < items.len() {
            nearness = powers(weights.near, items.len());
        }
        for (place, item) in items.iter().enumerate() {
            let mut value = vote;
            if seeds.contains(&ItemIx(*item)) {
                if weights.own == 0.0 {
                    continue;
                }
                value *= weights.own;
            }
            if let Some(at) = at {
                value *= nearness[place.abs_diff(at)];
                if place < at {
                    value *= weights.before;
                }
            }
            scores.add(*item, value);
        }
    }
}

/// Inverse document frequency of an item among the sessions held.
pub fn idf(index: &SessionIndex, item: ItemIx) -> f64 {
    let (_, held) = index.len();
    idf_of(held, index.frequency(item))
}

fn idf_of(held: usize, frequency: usize) -> f64 {
    libm::log((held as f64 + 1.0) / (frequency as f64 + 0.5)).max(0.0) + 1.0
}

/// [`idf`] of many items: postings are bounded, so most items are as frequent as another. What was worked out is
/// lent to the next reader of as many sessions.
pub struct IdfReader<'a> {
    index: &'a SessionIndex,
    known: Lent<'static, KnownIdf>,
}

/// Of so many sessions held: by frequency; 0 where none was asked for yet.
#[derive(Default)]
struct KnownIdf {
    held: usize,
    idf: Vec<Cell<f64>>,
}

static KNOWN_IDF: Lender<KnownIdf> = Lender::new();

impl<'a> IdfReader<'a> {
    /// A reader of the sessions that are held now.
    pub fn new(index: &'a SessionIndex) -> Self {
        let (_, held) = index.len();
        let mut known = KNOWN_IDF.lend();
        if known.held != held {
            known.held = held;
            known.idf.clear();
        }
        let frequencies = index.max_postings() + 1;
        if known.idf.len() < frequencies {
            known.idf.resize(frequencies, Cell::new(0.0));
        }
        Self { index, known }
    }

    /// [`idf`].
    #[inline]
    pub fn idf(&self, item: ItemIx) -> f64 {
        let frequency = self.index.frequency(item);
        let known = &self.known.idf[frequency];
        if known.get() == 0.0 {
            known.set(idf_of(self.known.held, frequency));
        }
        known.get()
    }
}
