//! What stands in when no source says anything: the caller's list, and the catalogue itself.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::bitmap::Bitmap;
use crate::fold::state::State;
use crate::ids::{ItemIx, Millis};
use crate::query::allowed::Allowed;
use crate::query::blend::Knobs;
use crate::query::counted::Stock;
use crate::query::fuse::SourceList;
use crate::query::request::RecommendRequest;
use crate::query::text::Text;

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
    /// Items that may be shown.
    pub stock: &'a dyn Stock,
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
                name: Text::Fixed(CATALOGUE),
                weight: WEIGHT,
                personal: false,
                approximate: false,
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
        let inside: HashSet<ItemIx> = pool.iter().map(|(item, _)| *item).collect();
        self.stock.youngest(count, only.is_some(), &|item| {
            only.is_none_or(|only| only.get(item.0 as usize))
                && !inside.contains(&item)
                && self.knobs.factor(item) > 0.0
        })
    }
}

/// The catalogue of a state as far as its items are counted there.
pub struct StockHere<'a> {
    /// The state that is asked.
    pub state: &'a State,
    /// What may be shown.
    pub allowed: &'a Allowed<'a>,
    /// When.
    pub now: Millis,
}

impl StockHere<'_> {
    /// The youngest in two parts: those that came into the world lately, and where these are not enough the others. Either
    /// is ordered by birth, the latest first, then by the id's hash.
    pub fn layers(
        &self,
        count: usize,
        wanted: &dyn Fn(ItemIx) -> bool,
    ) -> (Vec<ItemIx>, Vec<ItemIx>) {
        let state = self.state;
        let latest = self.now.max(state.clock());
        let young = state.fresh.newest_first(Millis::MIN, latest);
        let young: Vec<ItemIx> = young
            .map(|(item, _)| item)
            .filter(|item| self.allowed.contains(*item) && wanted(*item))
            .take(count)
            .collect();
        if young.len() == count {
            return (young, Vec::new());
        }
        let known: HashSet<ItemIx> = young.iter().copied().collect();
        let rest = self.allowed.items();
        let rest = rest.filter(|item| !known.contains(item) && wanted(*item));
        let rest = eldest_last(state, rest, count - young.len()).collect();
        (young, rest)
    }
}

impl Stock for StockHere<'_> {
    fn youngest(&self, count: usize, _: bool, wanted: &dyn Fn(ItemIx) -> bool) -> Vec<ItemIx> {
        let (mut young, rest) = self.layers(count, wanted);
        young.extend(rest);
        young
    }
}

/// What items are ordered by, the youngest first.
pub fn youth(state: &State, item: ItemIx) -> (Reverse<Millis>, u64, ItemIx) {
    let born = state.catalogue.born(item).unwrap_or(Millis::MIN);
    (Reverse(born), state.names.item_hash(item), item)
}

/// The `count` youngest of the items, youngest first.
fn eldest_last(
    state: &State,
    items: impl Iterator<Item = ItemIx>,
    count: usize,
) -> impl Iterator<Item = ItemIx> {
    let mut keys: Vec<_> = items.map(|item| youth(state, item)).collect();
    if keys.len() > count {
        keys.select_nth_unstable(count - 1);
        keys.truncate(count);
    }
    keys.sort_unstable();
    keys.into_iter().map(|(_, _, item)| item)
}
