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
    /// Whether it follows from what the visitor did.
    pub personal: bool,
    /// Item and raw score.
    pub ranked: Vec<(ItemIx, f64)>,
}

/// The `limit` best of the touched items that `eligible` lets through, each score passed through `adjust`; equal scores
/// by item id.
pub fn top(
    names: &Names,
    scores: &Accumulator,
    limit: usize,
    eligible: impl Fn(ItemIx) -> bool,
    adjust: impl Fn(ItemIx, f64) -> f64,
) -> Vec<(ItemIx, f64)> {
    let ties = |a: &ItemIx, b: &ItemIx| names.item(*a).cmp(names.item(*b));
    top_by(scores, limit, ties, eligible, adjust)
}

/// [`top`] with equal scores ordered by `ties`, which must be a total order.
///
/// Whether an item is eligible may cost more than its score did, so only the best are asked: as many as wanted and some
/// more, then twice as many, until enough passed. The first of these are found without keeping the others.
pub fn top_by(
    scores: &Accumulator,
    limit: usize,
    ties: impl Fn(&ItemIx, &ItemIx) -> Ordering,
    eligible: impl Fn(ItemIx) -> bool,
    adjust: impl Fn(ItemIx, f64) -> f64,
) -> Vec<(ItemIx, f64)> {
    let order =
        |a: &(ItemIx, f64), b: &(ItemIx, f64)| b.1.total_cmp(&a.1).then_with(|| ties(&a.0, &b.0));
    let scored = || {
        scores
            .sums()
            .map(|(at, sum)| (ItemIx(at), adjust(ItemIx(at), sum)))
    };
    let batch = limit + limit / 2 + 16;
    let (best, all) = best_of(scored(), batch, order);
    let passed = best.into_iter().filter(|(item, _)| eligible(*item));
    let ranked: Vec<(ItemIx, f64)> = passed.take(limit).collect();
    if ranked.len() == limit || all <= batch {
        return ranked;
    }
    let pool = scored().filter(|(_, score)| *score > 0.0).collect();
    passing(pool, limit, batch * 2, order, eligible)
}

/// The `wanted` best of those above 0 in order, and how many those are.
///
/// A full buffer is cut to its best, after which only what reaches the worst of them is looked at again: expected
/// O(n + wanted x log n) for n in random order.
fn best_of(
    scored: impl Iterator<Item = (ItemIx, f64)>,
    wanted: usize,
    order: impl Fn(&(ItemIx, f64), &(ItemIx, f64)) -> Ordering,
) -> (Vec<(ItemIx, f64)>, usize) {
    let room = wanted * 2;
    let mut best = Vec::with_capacity(room.min(1 << 12));
    // The smallest number above 0.
    let (mut floor, mut all) = (f64::from_bits(1), 0);
    for (item, score) in scored {
        all += usize::from(score > 0.0);
        if score >= floor {
            best.push((item, score));
            if best.len() == room {
                let (_, worst, _) = best.select_nth_unstable_by(wanted - 1, &order);
                floor = worst.1;
                best.truncate(wanted);
            }
        }
    }
    best.sort_unstable_by(order);
    best.truncate(wanted);
    (best, all)
}

/// The `limit` best of `pool` that pass, of which about `batch` have to be looked at.
fn passing(
    mut pool: Vec<(ItemIx, f64)>,
    limit: usize,
    mut batch: usize,
    order: impl Fn(&(ItemIx, f64), &(ItemIx, f64)) -> Ordering,
    eligible: impl Fn(ItemIx) -> bool,
) -> Vec<(ItemIx, f64)> {
    let mut ranked = Vec::with_capacity(limit.min(pool.len()));
    let mut rest = pool.as_mut_slice();
    while ranked.len() < limit && !rest.is_empty() {
        let cut = batch.min(rest.len());
        if cut < rest.len() {
            rest.select_nth_unstable_by(cut, &order);
        }
        let (best, others) = rest.split_at_mut(cut);
        best.sort_unstable_by(&order);
        let missing = limit - ranked.len();
        let passed = best.iter().copied().filter(|(item, _)| eligible(*item));
        ranked.extend(passed.take(missing));
        (rest, batch) = (others, batch * 2);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Higher scores first, equal ones by item id.
    fn order(names: &Names, a: &(ItemIx, f64), b: &(ItemIx, f64)) -> Ordering {
        b.1.total_cmp(&a.1)
            .then_with(|| names.item(a.0).cmp(names.item(b.0)))
    }

    #[test]
    fn the_best_that_pass_are_those_of_a_full_sort() {
        let mut names = Names::new(1);
        let mut scores = Accumulator::default();
        scores.reset(3000);
        let mut state = 5u64;
        for i in 0..3000u32 {
            names.items.intern_str(&format!("i{}", i * 7 % 3000));
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            scores.add(i, f64::from((state >> 40) as u32 % 200) - 10.0);
        }
        for (limit, every) in [(1, 1), (10, 3), (200, 50), (200, 1), (5000, 2), (10, 4000)] {
            let eligible = |item: ItemIx| item.0.is_multiple_of(every);
            let mut expected: Vec<(ItemIx, f64)> = (0..3000)
                .map(|i| (ItemIx(i), scores.get(i).unwrap_or_default()))
                .filter(|(item, score)| *score > 0.0 && eligible(*item))
                .collect();
            expected.sort_by(|a, b| order(&names, a, b));
            expected.truncate(limit);
            assert_eq!(top(&names, &scores, limit, eligible, |_, s| s), expected);
        }
    }
}
