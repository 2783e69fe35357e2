//! Session kNN as a candidate source (VMIS-kNN: Kersbergen et al., SIGMOD 2022, section 3).
//!
//! The visitor's latest items are looked up newest first in the recent-session index. A session's similarity is the sum
//! of falling position weights of the items that it shares; the `k` most similar (ties: the more recent) vote for their
//! items with similarity x weight of the newest shared item x idf. Differences from the published code: weights stay
//! positive at any length, and no order comes from a hash table.
//!
//! [`KnnWeights`] adds what STAN (Garg et al., SIGIR 2019, section 3) weighs: how old the neighbour session is, and how
//! far from the shared item an item stands in it. All of them are off by default.

use crate::ids::ItemIx;
use crate::neighbourhood::sessions::{SessionIndex, SessionNo};
use crate::query::accumulator::Accumulator;
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
struct Similarities {
    slots: Vec<(u64, f64, u32)>,
    mask: usize,
    used: Vec<u32>,
}

const FREE: u64 = u64::MAX;

impl Similarities {
    fn with_capacity(entries: usize) -> Self {
        let size = (entries * 2).next_power_of_two().max(16);
        Self {
            slots: vec![(FREE, 0.0, 0); size],
            mask: size - 1,
            used: Vec::with_capacity(entries),
        }
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
    let mut found: Vec<NeighbourSession> = similarities
        .used
        .iter()
        .map(|at| similarities.slots[*at as usize])
        .map(|(number, similarity, newest)| NeighbourSession {
            number,
            similarity: similarity * (1.0 - fade * age(number)),
            newest: newest as usize,
        })
        .collect();
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
    found
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
    for neighbour in neighbours {
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
    libm::log((held as f64 + 1.0) / (index.frequency(item) as f64 + 0.5)).max(0.0) + 1.0
}
