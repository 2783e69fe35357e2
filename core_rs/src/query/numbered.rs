//! Questions to counts and sessions of items that the caller numbered, without a state around them.

use crate::ids::ItemIx;
use crate::neighbourhood::counts::CooccurrenceCounts;
use crate::neighbourhood::sealed::SealedSessions;
use crate::query::accumulator::with_scratch;
use crate::query::best::{Key, top_by};
use crate::query::relation::RelationView;
use crate::query::seeds::Seed;
use crate::query::session_knn::{self, KnnWeights};
use crate::scenario::Metric;

/// The `k` items with the largest sums of weight x metric over the seeds, the seeds themselves left out; equal sums by
/// ascending number. Sums that are not above 0 are no answer. O(seeds x capacity).
pub fn related(
    counts: &CooccurrenceCounts,
    seeds: &[Seed],
    k: usize,
    metric: Metric,
    shrinkage: f64,
) -> Vec<(ItemIx, f64)> {
    let view = RelationView::of_counts(counts);
    with_scratch(counts.width(), |scratch| {
        view.score(seeds, metric, shrinkage, &mut scratch.scores);
        // So many more that the seeds, which few of the best are, can be left out afterwards.
        let wanted = k.saturating_add(seeds.len());
        let mut top = top_by(
            &scratch.scores,
            wanted,
            by_number,
            |_| true,
            |_, score| score,
        );
        top.retain(|(item, _)| !seeds.iter().any(|seed| seed.item == *item));
        top.truncate(k);
        top
    })
}

/// The `k` items that the `neighbours` sessions most like this one vote for, its own items left out; equal votes by
/// ascending number. `session`: items as they were touched, latest last; the `last` latest distinct ones that some
/// indexed session has are looked up. O(last x postings + items of the neighbours).
pub fn next_in_session(
    sessions: &SealedSessions,
    session: &[u32],
    k: usize,
    neighbours: usize,
    last: usize,
) -> Vec<(ItemIx, f64)> {
    let index = &sessions.index;
    let mut seeds: Vec<ItemIx> = Vec::with_capacity(last.min(session.len()));
    for item in session.iter().rev().map(|item| ItemIx(*item)) {
        if seeds.len() == last {
            break;
        }
        if index.frequency(item) > 0 && !seeds.contains(&item) {
            seeds.push(item);
        }
    }
    with_scratch(sessions.width(), |scratch| {
        for item in session.iter().filter(|i| (**i as usize) < sessions.width()) {
            scratch.excluded.add(*item, 1.0);
        }
        let weights = KnnWeights::plain(neighbours);
        let found = session_knn::neighbours(index, &seeds, None, &weights);
        session_knn::score(index, &found, &seeds, &weights, &mut scratch.scores);
        let eligible = |item: ItemIx| scratch.excluded.get(item.0).is_none();
        let reader = session_knn::IdfReader::new(index);
        let adjust = |item, score| score * reader.idf(item);
        top_by(&scratch.scores, k, by_number, eligible, adjust)
    })
}

/// Equal scores in the order of the items' numbers.
fn by_number(tied: &mut [Key]) {
    tied.sort_unstable_by_key(|key| key.item());
}
