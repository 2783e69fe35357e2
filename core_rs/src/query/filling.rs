//! What stands in when no source says anything: the caller's list, and the catalogue itself.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::bitmap::Bitmap;
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

/// Fills pools with items of the catalogue that may be shown.
pub struct Filling<'a> {
    /// The state that is asked.
    pub state: &'a State,
    /// What may be shown.
    pub allowed: &'a Allowed<'a>,
    /// Factors.
    pub knobs: &'a Knobs<'a>,
}

impl Filling<'_> {
    /// Adds up to `count` items to a pool, of `only` these where that is given: the youngest first, equally old ones by
    /// their id's hash. They stand in a list of their own. Returns how many they are. O(count) where enough items are
    /// fresh, O(items) otherwise.
    pub fn fill(
        &self,
        count: usize,
        only: Option<&Bitmap>,
        pool: &mut Vec<(ItemIx, f64)>,
        lists: &mut Vec<SourceList>,
    ) -> usize {
        if count == 0 {
            return 0;
        }
        let found = self.youngest(count, only, pool);
        if found.is_empty() {
            return 0;
        }
        if lists.last().is_none_or(|list| list.name != CATALOGUE) {
            lists.push(SourceList {
                name: CATALOGUE.to_string(),
                weight: WEIGHT,
                personal: false,
                ranked: Vec::new(),
            });
        }
        if let Some(list) = lists.last_mut() {
            for item in &found {
                let share = WEIGHT / (self.knobs.rrf_k() + list.ranked.len() as f64 + 1.0);
                pool.push((*item, share * self.knobs.factor(*item)));
                list.ranked.push((*item, 0.0));
            }
        }
        found.len()
    }

    fn youngest(&self, count: usize, only: Option<&Bitmap>, pool: &[(ItemIx, f64)]) -> Vec<ItemIx> {
        let state = self.state;
        let mut inside: HashSet<ItemIx> = pool.iter().map(|(item, _)| *item).collect();
        let wanted = |item: &ItemIx, inside: &HashSet<ItemIx>| {
            only.is_none_or(|only| only.get(item.0 as usize))
                && !inside.contains(item)
                && self.knobs.factor(*item) > 0.0
        };
        let latest = self.knobs.now().max(state.clock());
        let young = state.fresh.newest_first(Millis::MIN, latest);
        let mut found: Vec<ItemIx> = young
            .map(|(item, _)| item)
            .filter(|item| self.allowed.contains(*item) && wanted(item, &inside))
            .take(count)
            .collect();
        if found.len() < count {
            inside.extend(&found);
            let rest = self.allowed.items().filter(|item| wanted(item, &inside));
            found.extend(eldest_last(state, rest, count - found.len()));
        }
        found
    }
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
