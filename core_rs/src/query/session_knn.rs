//! Session kNN as a candidate source (VMIS-kNN: Kersbergen et al., SIGMOD 2022, section 3).
//!
//! The visitor's latest items are looked up newest first in the recent-session index. A session's similarity is the sum
//! of linearly falling position weights of the items that it shares; the `k` most similar (ties: the more recent)
//! vote for their items with similarity x weight of the best match x idf. Differences from the published code: weights
//! stay positive at any length, and no order comes from a hash table.

use crate::ids::ItemIx;
use crate::neighbourhood::sessions::{SessionIndex, SessionNo};
use crate::query::accumulator::Accumulator;

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

/// Weight of the seed at `place` (0 = newest) among `count`.
fn position_weight(place: usize, count: usize) -> f64 {
    (count - place) as f64 / count as f64
}

/// The `k` sessions, other than the visitor's `own`, most like that of a visitor whose latest items are `seeds`, newest
/// first. O(seeds x postings).
pub fn neighbours(
    index: &SessionIndex,
    seeds: &[ItemIx],
    own: Option<SessionNo>,
    k: usize,
) -> Vec<NeighbourSession> {
    let postings = seeds.iter().map(|seed| index.frequency(*seed)).sum();
    let mut similarities = Similarities::with_capacity(postings);
    for (place, seed) in seeds.iter().enumerate() {
        let weight = position_weight(place, seeds.len());
        for number in index.sessions_of(*seed).filter(|n| Some(*n) != own) {
            similarities.add(number, weight, place);
        }
    }
    let mut found: Vec<NeighbourSession> = similarities
        .used
        .iter()
        .map(|at| similarities.slots[*at as usize])
        .map(|(number, similarity, newest)| NeighbourSession {
            number,
            similarity,
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

/// Adds what the neighbours say of items other than the visitor's own seeds.
pub fn score(
    index: &SessionIndex,
    neighbours: &[NeighbourSession],
    seeds: &[ItemIx],
    scores: &mut Accumulator,
) {
    for neighbour in neighbours {
        let vote = neighbour.similarity * position_weight(neighbour.newest, seeds.len());
        for item in index.items_of(neighbour.number) {
            if !seeds.contains(&ItemIx(*item)) {
                scores.add(*item, vote);
            }
        }
    }
}

/// Inverse document frequency of an item among the sessions held.
pub fn idf(index: &SessionIndex, item: ItemIx) -> f64 {
    let (_, held) = index.len();
    libm::log((held as f64 + 1.0) / (index.frequency(item) as f64 + 0.5)).max(0.0) + 1.0
}
