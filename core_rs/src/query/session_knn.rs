//! Session kNN as a candidate source (VMIS-kNN: Kersbergen et al., SIGMOD 2022, section 3).
//!
//! The visitor's latest items are looked up newest first in the recent-session index. A session's similarity is the sum
//! of falling position weights of the items that it shares; the `k` most similar (ties: the more recent) vote for their
//! items with similarity x weight of the newest shared item x idf. Differences from the published code: weights stay
//! positive at any length, and no order comes from a hash table.
//!
//! [`KnnWeights`] adds what STAN (Garg et al., SIGIR 2019, section 3) weighs: how old the neighbour session is, and how
//! far from the shared item an item stands in it. All of them are off by default.

use std::cell::RefCell;

use crate::ids::ItemIx;
use crate::neighbourhood::sessions::{SessionIndex, SessionNo};
use crate::query::accumulator::Accumulator;
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

/// A small open-addressing table from session number to similarity, sized for one query.
#[derive(Default)]
struct Similarities {
    /// At least as many as `mask` reaches; all are free but those in use.
    slots: Vec<(u64, f64, u32)>,
    mask: usize,
    used: Vec<u32>,
    /// Room for all sessions that share an item.
    found: Vec<NeighbourSession>,
}

const FREE: u64 = u64::MAX;

thread_local! {
    /// This thread's last table, so that a query need not make one: it is far larger than what is read of it.
    static KEPT: RefCell<Similarities> = const {
        RefCell::new(Similarities { slots: Vec::new(), mask: 0, used: Vec::new(), found: Vec::new() })
    };
}

impl Similarities {
    fn with_capacity(entries: usize) -> Self {
        let size = (entries * 2).next_power_of_two().max(16);
        let mut kept = KEPT.take();
        if kept.slots.len() < size {
            kept.slots.resize(size, (FREE, 0.0, 0));
        }
        kept.mask = size - 1;
        kept
    }

    /// Leaves the table, free again, to the thread's next query.
    fn keep(mut self) {
        for at in self.used.drain(..) {
            self.slots[at as usize].0 = FREE;
        }
        KEPT.set(self);
    }

    fn add(&mut self, number: u64, weight: f64, place: usize) {
        let mut at = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & self.mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.0 == number {
                slot.1 += weight;
                return;
            }
            if slot.0 == FREE {
                *slot = (number, weight, place as u32);
                self.used.push(at as u32);
                return;
            }
            at = (at + 1) & self.mask;
        }
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
    let postings = seeds.iter().map(|seed| index.frequency(*seed)).sum();
    let mut similarities = Similarities::with_capacity(postings);
    let places = position_weights(seeds.len(), weights.step);
    for (place, (seed, weight)) in seeds.iter().zip(places).enumerate() {
        let rarity = match weights.rarity {
            0.0 => 1.0,
            rarity => 1.0 + rarity * (idf(index, *seed) - 1.0),
        };
        for number in index.sessions_of(*seed).filter(|n| Some(*n) != own) {
            similarities.add(number, weight * rarity, place);
        }
    }
    let (next, held) = index.len();
    let fade = (1.0 - weights.oldest) / held.max(1) as f64;
    let age = |number: u64| (next - 1 - number) as f64;
    let mut found = std::mem::take(&mut similarities.found);
    found.clear();
    let slots = similarities
        .used
        .iter()
        .map(|at| similarities.slots[*at as usize]);
    found.extend(slots.map(|(number, similarity, newest)| NeighbourSession {
        number,
        similarity: similarity * (1.0 - fade * age(number)),
        newest: newest as usize,
    }));
    let order = |a: &NeighbourSession, b: &NeighbourSession| {
        b.similarity
            .total_cmp(&a.similarity)
            .then(b.number.cmp(&a.number))
    };
    if found.len() > k {
        found.select_nth_unstable_by(k, order);
        found.truncate(k);
    }
    found.sort_unstable_by(order);
    let neighbours = found.clone();
    similarities.found = found;
    similarities.keep();
    neighbours
}

/// Sessions lie anywhere in memory, and their items elsewhere: so many neighbours ahead they are asked for.
const AHEAD: usize = 6;

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
    for (at, neighbour) in neighbours.iter().enumerate() {
        for (ahead, found) in [(2 * AHEAD, false), (AHEAD, true)] {
            if let Some(next) = neighbours.get(at + ahead) {
                index.prefetch(next.number, found);
            }
        }
        let vote = neighbour.similarity * places[neighbour.newest];
        let items = index.items_of(neighbour.number);
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

/// [`idf`] of many items: postings are bounded, so most items are as frequent as another.
pub struct IdfReader<'a> {
    index: &'a SessionIndex,
    held: usize,
    /// By frequency; 0 where none was asked for yet.
    known: RefCell<Vec<f64>>,
}

impl<'a> IdfReader<'a> {
    /// A reader that knows nothing yet.
    pub fn new(index: &'a SessionIndex) -> Self {
        let (_, held) = index.len();
        let known = RefCell::default();
        Self { index, held, known }
    }

    /// [`idf`].
    #[inline]
    pub fn idf(&self, item: ItemIx) -> f64 {
        let frequency = self.index.frequency(item);
        let mut known = self.known.borrow_mut();
        if known.len() <= frequency {
            known.resize(frequency + 1, 0.0);
        }
        if known[frequency] == 0.0 {
            known[frequency] = idf_of(self.held, frequency);
        }
        known[frequency]
    }
}
