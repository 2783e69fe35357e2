//! Vector neighbours: items near the visitor's own in one embedding.

use crate::bitmap::Bitmap;
use crate::embedding::scan::{Search, SharedSearch, search};
use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::items::vectors::ItemVectors;
use crate::names::Names;
use crate::query::allowed::Allowed;
use crate::query::graphs::{Graphs, Wanted};
use crate::query::seeds::Seed;
use crate::simd::Simd;
use crate::topk::Ties;

/// Cosine of the codes of an item with those of others, whose squared lengths are known; 0 where one has no vector, or a zero
/// one.
pub fn cosines<'v>(
    vectors: &'v ItemVectors,
    item: ItemIx,
) -> impl Fn(ItemIx, f64) -> f64 + use<'v> {
    let own = vectors.codes(item).unwrap_or_default();
    let square = f64::from(dot(own, own));
    move |other, other_square| {
        let lengths = other_square * square;
        match vectors.codes(other) {
            Some(codes) if lengths > 0.0 => f64::from(dot(codes, own)) / lengths.sqrt(),
            _ => 0.0,
        }
    }
}

/// Squared length of an item's codes; 0 for one without a vector.
pub fn square(vectors: &ItemVectors, item: ItemIx) -> f64 {
    let codes = vectors.codes(item).unwrap_or_default();
    f64::from(dot(codes, codes))
}

fn dot(x: &[i8], y: &[i8]) -> i32 {
    let products = x.iter().zip(y);
    products.map(|(x, y)| i32::from(*x) * i32::from(*y)).sum()
}

/// The mean of the seeds' vectors by their weights, and how many had one. Sums run in the order of the seeds.
pub fn of_seeds(vectors: &ItemVectors, seeds: &[Seed]) -> (Vec<f32>, usize) {
    let mut sum = vec![0.0f32; vectors.dim];
    let mut found = 0;
    for seed in seeds {
        let Some(codes) = vectors.codes(seed.item) else {
            continue;
        };
        let scale = vectors.store.scale(seed.item.0 as usize) * seed.weight as f32;
        for (sum, code) in sum.iter_mut().zip(codes) {
            *sum += f32::from(*code) * scale;
        }
        found += 1;
    }
    (sum, found)
}

/// How many are found to give `limit`: some may be gone for good, and their places are taken by those that follow.
pub fn reach(limit: usize) -> usize {
    limit + limit / 4
}

/// Of what [`found`] gave, ordered by score and then by the id's hash: the `limit` best that may be shown, equal ones by
/// item id.
pub fn settle(names: &Names, allowed: &Allowed<'_>, limit: usize, ranked: &mut Vec<(ItemIx, f64)>) {
    ranked.retain(|(item, _)| !allowed.is_gone(*item));
    // As everywhere else, the id decides between equal scores; where the scan was cut, its hash did.
    let name = |item: ItemIx| names.item(item);
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| name(a.0).cmp(name(b.0))));
    ranked.truncate(limit);
}

/// What was found near a visitor.
#[derive(Debug, Default)]
pub struct Found {
    /// Best first.
    pub ranked: Vec<(ItemIx, f64)>,
    /// Whether a few of the best may be missing.
    pub approximate: bool,
}

/// The visitor's vector; none where no seed has one. `filter` receives the items that may be found: those that may be shown
/// and have a vector, but the seeds.
pub fn asked(
    vectors: &ItemVectors,
    seeds: &[Seed],
    allowed: &Allowed<'_>,
    filter: &mut Bitmap,
) -> Option<Vec<f32>> {
    let (query, found) = of_seeds(vectors, seeds);
    if found == 0 {
        return None;
    }
    filter.copy_from(allowed.bits());
    filter.and(&vectors.present);
    for seed in seeds {
        filter.clear(seed.item.0 as usize);
    }
    Some(query)
}

/// The [`reach`] of `limit` items with the largest inner product with the visitor's vector, best first, equal ones by the
/// id's hash; the seeds themselves are left out, those that are gone for good are not. O(items x dimension), less
/// where the embedding's graph, by its name, answers.
pub fn found(
    state: &State,
    vectors: &ItemVectors,
    seeds: &[Seed],
    allowed: &Allowed<'_>,
    limit: usize,
    filter: &mut Bitmap,
    graph: Option<(&Graphs, &str)>,
) -> Result<Found, CoreError> {
    let Some(query) = asked(vectors, seeds, allowed, filter) else {
        return Ok(Found::default());
    };
    if let Some((graphs, name)) = graph {
        let near: Vec<u32> = seeds.iter().map(|seed| seed.item.0).collect();
        let wanted = Wanted {
            name,
            k: reach(limit),
            filter,
            near: &near,
        };
        if let Some(ranked) = graphs.nearest(state, vectors, &query, wanted)? {
            return Ok(Found {
                ranked,
                approximate: true,
            });
        }
    }
    let k = reach(limit);
    let mut ranked = Vec::with_capacity(k);
    let ranks = state.names.items.hashes();
    scan(vectors, ranks, &query, filter, k, |_, item, score| {
        ranked.push((item, score));
    })?;
    Ok(Found {
        ranked,
        approximate: false,
    })
}

/// For each of `queries`, one after the other, the `k` items of `filter` with the largest inner products, best first and
/// equal ones by `ranks`: `found` is called with the query's place, the item and its score. O(items x dimension) a query.
pub fn scan(
    vectors: &ItemVectors,
    ranks: &[u64],
    queries: &[f32],
    filter: &Bitmap,
    k: usize,
    mut found: impl FnMut(usize, ItemIx, f64),
) -> Result<(), CoreError> {
    let find = looked_for(ranks, filter, k, 1);
    let each = |query, _, index, score| found(query, ItemIx(index), f64::from(score));
    search(Simd::chosen(), &vectors.store, queries, &find, each)?;
    Ok(())
}

/// [`scan`] for one query, to be shared by two threads.
pub fn shared_scan<'a>(
    vectors: &'a ItemVectors,
    ranks: &'a [u64],
    query: &[f32],
    filter: &'a Bitmap,
    k: usize,
) -> Result<SharedSearch<'a>, CoreError> {
    let find = looked_for(ranks, filter, k, 2);
    SharedSearch::new(Simd::chosen(), &vectors.store, query, find)
}

/// What two threads found in a [`shared_scan`], none of whom is at it any longer.
pub fn found_by_both(scan: SharedSearch<'_>) -> Vec<(ItemIx, f64)> {
    let mut ranked = Vec::new();
    scan.finish(|_, _, index, score| ranked.push((ItemIx(index), f64::from(score))));
    ranked
}

fn looked_for<'a>(ranks: &'a [u64], filter: &'a Bitmap, k: usize, threads: usize) -> Search<'a> {
    Search {
        k,
        min_score: f32::MIN_POSITIVE,
        filter: Some(filter.words()),
        ties: Ties::Ranks(ranks),
        threads,
    }
}
