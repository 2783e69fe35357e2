//! What stands in when no source says anything: the caller's list, and the catalogue itself.

use std::cmp::Reverse;
use std::collections::HashSet;

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
    let mut known = HashSet::new();
    for item in request.candidates.iter().flatten() {
        if let Some(item) = state.names.find_item(item)
            && known.insert(item)
        {
            list.push(item);
        }
    }
    list
}

/// Fills a pool of fewer than `n` with items of the catalogue that may be shown: the youngest first, equally old ones by
/// their id's hash. They get a list of their own. Returns how many they are. O(n) where enough items are fresh,
/// O(items) otherwise; only when sources found too little.
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
    let mut inside: HashSet<ItemIx> = pool.iter().map(|(item, _)| *item).collect();
    let latest = knobs.now().max(state.clock());
    let young = state.fresh.newest_first(Millis::MIN, latest);
    let wanted = |item: &ItemIx, inside: &HashSet<ItemIx>| {
        !inside.contains(item) && knobs.factor(*item) > 0.0
    };
    let mut found: Vec<ItemIx> = young
        .map(|(item, _)| item)
        .filter(|item| allowed.contains(*item) && wanted(item, &inside))
        .take(missing)
        .collect();
    if found.len() < missing {
        inside.extend(&found);
        let rest = allowed.items().filter(|item| wanted(item, &inside));
        found.extend(eldest_last(state, rest, missing - found.len()));
    }
    if found.is_empty() {
        return 0;
    }
    let ranked: Vec<(ItemIx, f64)> = found.iter().map(|item| (*item, 0.0)).collect();
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

/// The `count` youngest of the items, youngest first.
fn eldest_last(
    state: &State,
    items: impl Iterator<Item = ItemIx>,
    count: usize,
) -> impl Iterator<Item = ItemIx> {
    let key = |item: ItemIx| {
        let born = state.catalogue.born(item).unwrap_or(Millis::MIN);
        (Reverse(born), state.names.item_hash(item), item)
    };
    let mut keys: Vec<_> = items.map(key).collect();
    if keys.len() > count {
        keys.select_nth_unstable(count - 1);
        keys.truncate(count);
    }
    keys.sort_unstable();
    keys.into_iter().map(|(_, _, item)| item)
}
