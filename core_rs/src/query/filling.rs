//! What stands in when no source says anything: the caller's list, and the catalogue itself.

use std::cmp::Reverse;

use crate::fold::state::State;
use crate::ids::{ItemIx, Millis};
use crate::query::allowed::Allowed;
use crate::query::blend::Knobs;
use crate::query::fuse::SourceList;
use crate::query::request::RecommendRequest;

/// Name of the source of items of which nothing but their metadata is known.
pub const CATALOGUE: &str = "catalogue";
/// So little that such items come after all others.
const WEIGHT: f64 = 1e-6;

/// The caller's list as items, without repeats and unknown ones.
pub fn listed(state: &State, request: &RecommendRequest) -> Vec<ItemIx> {
    let mut list: Vec<ItemIx> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for item in request.candidates.iter().flatten() {
        if let Some(item) = state.names.find_item(item)
            && known.insert(item)
        {
            list.push(item);
        }
    }
    list
}

/// Fills a pool of fewer than `n` with items of the catalogue that may be shown: the youngest first, then by id's hash.
/// They get a list of their own. Returns how many they are. O(items), only when sources found too little.
pub fn fill(
    state: &State,
    allowed: &Allowed<'_>,
    knobs: &Knobs<'_>,
    n: usize,
    pool: &mut Vec<(ItemIx, f64)>,
    lists: &mut Vec<SourceList>,
) -> usize {
    let missing = n.saturating_sub(pool.len());
    if missing == 0 {
        return 0;
    }
    let inside: std::collections::HashSet<ItemIx> = pool.iter().map(|(item, _)| *item).collect();
    let key = |item: ItemIx| {
        let born = state.catalogue.born(item).unwrap_or(Millis::MIN);
        (Reverse(born), state.names.item_hash(item), item)
    };
    let wanted = |item: &ItemIx| !inside.contains(item) && knobs.factor(*item) > 0.0;
    let mut found: Vec<_> = allowed.items().filter(wanted).map(key).collect();
    if found.len() > missing {
        found.select_nth_unstable(missing - 1);
        found.truncate(missing);
    }
    found.sort_unstable();
    if found.is_empty() {
        return 0;
    }
    let ranked: Vec<(ItemIx, f64)> = found.iter().map(|(_, _, item)| (*item, 0.0)).collect();
    let score = |(rank, (item, _)): (usize, &(ItemIx, f64))| {
        (
            *item,
            WEIGHT / (knobs.rrf_k() + rank as f64 + 1.0) * knobs.factor(*item),
        )
    };
    pool.extend(ranked.iter().enumerate().map(score));
    lists.push(SourceList {
        name: CATALOGUE.to_string(),
        weight: WEIGHT,
        personal: false,
        ranked,
    });
    found.len()
}
