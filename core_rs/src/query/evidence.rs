//! What is said of chosen items: what each source said, and why.

use crate::ids::ItemIx;
use crate::query::answer::{Part, Reason};
use crate::query::chosen::Chosen;
use crate::query::fuse::SourceList;
use crate::query::reasons::Reasoner;

/// Sources that name an item of a slate, mostly.
const PARTS: usize = 8;

/// What an item's fused score was multiplied with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Factors {
    /// All of them, multiplied.
    pub product: f64,
    /// Those other than 1, by name.
    pub named: Vec<(String, f64)>,
}

/// What is said of an item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What each source said, who said most first.
    pub parts: Vec<Part>,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What raised or lowered its score.
    pub factors: Vec<(String, f64)>,
}

impl Evidence {
    /// Of an item with these parts, in the order of the lists.
    pub fn of(why: &Reasoner<'_>, item: ItemIx, mut parts: Vec<Part>, factors: Factors) -> Self {
        parts.sort_by(|a, b| b.3.total_cmp(&a.3));
        let mut reasons = Vec::with_capacity(parts.len());
        let each = parts.iter();
        each.for_each(|part| why.add(part, item, &mut reasons));
        Self {
            parts,
            reasons,
            factors: factors.named,
        }
    }
}

/// What a list says of the item that it ranks so, from 0.
pub fn part(list: &SourceList, rank: usize, k: f64, factors: &Factors) -> Part {
    let share = list.weight / (k + rank as f64 + 1.0);
    let (name, raw) = (list.name.clone(), list.ranked[rank].1);
    Part(name, rank as u32 + 1, raw, factors.product * share)
}

/// What is said follows from this.
#[derive(Clone, Copy)]
pub struct Evidences<'a> {
    /// Who says why.
    pub why: &'a Reasoner<'a>,
    /// What all sources found, and what filled in.
    pub lists: [&'a [SourceList]; 2],
    /// k of the reciprocal-rank fusion.
    pub k: f64,
}

impl Evidences<'_> {
    /// What is said of each of these items. `factors`: of each of them.
    pub fn of(&self, items: &[ItemIx], factors: Vec<Factors>) -> Vec<(ItemIx, Evidence)> {
        if items.is_empty() {
            return Vec::new();
        }
        let chosen = Chosen::new(items.to_vec());
        self.why.witness.prepare(chosen.items());
        let mut slots = vec![0; items.len()];
        for (slot, item) in items.iter().enumerate() {
            if let Some(place) = chosen.place(*item) {
                slots[place] = slot;
            }
        }
        let mut parts: Vec<Vec<Part>> = items.iter().map(|_| Vec::with_capacity(PARTS)).collect();
        for list in self.lists.iter().copied().flatten() {
            for (rank, (item, _)) in list.ranked.iter().enumerate() {
                if let Some(place) = chosen.place(*item) {
                    let slot = slots[place];
                    parts[slot].push(part(list, rank, self.k, &factors[slot]));
                }
            }
        }
        let each = items.iter().zip(parts).zip(factors);
        each.map(|((item, parts), factors)| (*item, Evidence::of(self.why, *item, parts, factors)))
            .collect()
    }
}
