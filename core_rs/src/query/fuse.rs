//! Reciprocal-rank fusion (Cormack et al., SIGIR 2009): sources have no common scale, ranks do.

use std::cmp::Ordering;

use crate::ids::ItemIx;
use crate::names::Names;
use crate::query::accumulator::Accumulator;

/// The best candidates of one source, best first.
#[derive(Clone, Debug)]
pub struct SourceList {
    /// Name of the source.
    pub name: String,
    /// Weight in the fusion.
    pub weight: f64,
    /// Item and raw score.
    pub ranked: Vec<(ItemIx, f64)>,
}

/// Higher scores first, equal ones by item id.
pub fn order(names: &Names, a: &(ItemIx, f64), b: &(ItemIx, f64)) -> Ordering {
    b.1.total_cmp(&a.1)
        .then_with(|| names.item(a.0).cmp(names.item(b.0)))
}

/// The `limit` best of the touched items that `eligible` lets through, each score passed through `adjust`.
pub fn top(
    names: &Names,
    scores: &Accumulator,
    limit: usize,
    eligible: impl Fn(ItemIx) -> bool,
    adjust: impl Fn(ItemIx, f64) -> f64,
) -> Vec<(ItemIx, f64)> {
    let mut ranked: Vec<(ItemIx, f64)> = scores
        .touched()
        .iter()
        .map(|at| ItemIx(*at))
        .filter(|item| eligible(*item))
        .map(|item| (item, adjust(item, scores.get(item.0).unwrap_or_default())))
        .filter(|(_, score)| *score > 0.0)
        .collect();
    if ranked.len() > limit {
        ranked.select_nth_unstable_by(limit, |a, b| order(names, a, b));
        ranked.truncate(limit);
    }
    ranked.sort_unstable_by(|a, b| order(names, a, b));
    ranked
}

/// Adds weight / (k + rank) of every list to `fused`.
pub fn fuse(lists: &[SourceList], k: f64, fused: &mut Accumulator) {
    for list in lists {
        for (rank, (item, _)) in list.ranked.iter().enumerate() {
            fused.add(item.0, list.weight / (k + rank as f64 + 1.0));
        }
    }
}
