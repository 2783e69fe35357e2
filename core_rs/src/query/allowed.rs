//! What may be shown: visible, passing every filter, on the caller's list, not excluded, rejected or consumed.

use std::sync::Arc;

use crate::bitmap::Bitmap;
use crate::catalogue::Label;
use crate::fold::state::State;
use crate::ids::{DAY_MS, ItemIx, Millis};
use crate::query::request::RecommendRequest;
use crate::query::seeds::Asker;
use crate::scenario::Scenario;
use crate::sessions::seen::SeenFilter;
use crate::sessions::touches::Touch;

/// Up to so many items all of them are looked at; of more, only the leaders that the fold keeps.
pub const FEW: usize = 20_000;

/// The items that may be shown to one visitor.
pub struct Allowed<'a> {
    state: &'a State,
    bits: &'a Bitmap,
    forever: Option<&'a SeenFilter>,
    few: bool,
}

/// What of the visitor's past must not be shown.
#[derive(Clone, Debug, Default)]
pub struct Barred<'a> {
    /// Rejected and consumed items.
    pub items: Vec<ItemIx>,
    /// Where consumed items never come back: those beyond the exact list.
    pub forever: Option<&'a SeenFilter>,
}

impl<'a> Barred<'a> {
    /// What `asker` may not see at `now`.
    pub fn of(state: &State, scenario: &Scenario, asker: &Asker<'a>, now: Millis) -> Self {
        let mut items: Vec<ItemIx> = rejected(asker).map(|touch| touch.item).collect();
        let mut forever = None;
        if scenario.exclude_consumed {
            items.extend(consumed(state, scenario, asker, now).map(|touch| touch.item));
            let never = scenario.consumed_expiry_days.is_none();
            let seen = asker.user.map(|user| &user.consumed_seen);
            forever = seen.filter(|seen| never && !seen.is_empty());
        }
        Self { items, forever }
    }
}

impl<'a> Allowed<'a> {
    /// Puts the items together in `bits`: those that are counted here, where that is not all. `filters` are those of the
    /// scenario and of the request.
    pub fn new(
        state: &'a State,
        request: &RecommendRequest,
        barred: &Barred<'a>,
        filters: &[(&str, Arc<Bitmap>)],
        repeats: bool,
        bits: &'a mut Bitmap,
    ) -> Self {
        match &request.candidates {
            None => bits.copy_from(state.catalogue.visible_bits()),
            Some(list) => {
                bits.reset(state.names.items.len());
                for item in list.iter().filter_map(|item| state.names.find_item(item)) {
                    bits.put(item.0 as usize, state.catalogue.visible(item));
                }
            }
        }
        filters.iter().for_each(|(_, items)| bits.and(items));
        let handed_in = request.items.iter().filter(|_| !repeats);
        for item in request.exclude.iter().chain(handed_in) {
            if let Some(item) = state.names.find_item(item) {
                bits.clear(item.0 as usize);
            }
        }
        for item in &barred.items {
            bits.clear(item.0 as usize);
        }
        let narrowed = !filters.is_empty() || request.candidates.is_some();
        // Of all items, whoever counts them: all hosts decide alike.
        let few = narrowed && bits.count() <= FEW;
        if state.ownership.keeps_items()
            && let Some(own) = state.own_items()
        {
            bits.and(own);
        }
        Self {
            state,
            bits,
            forever: barred.forever,
            few,
        }
    }

    /// Whether the item may be shown.
    #[inline]
    pub fn contains(&self, item: ItemIx) -> bool {
        self.bits.get(item.0 as usize) && !self.is_gone(item)
    }

    /// Whether the item was consumed so long ago that only the Bloom filter knows.
    pub fn is_gone(&self, item: ItemIx) -> bool {
        self.forever
            .is_some_and(|seen| seen.contains(self.state.names.item_hash(item)))
    }

    /// One bit for each item. Items that [`Allowed::is_gone`] are still in.
    pub fn bits(&self) -> &Bitmap {
        self.bits
    }

    /// Whether a filter or a list leaves so little that all of it can be looked at.
    pub fn is_few(&self) -> bool {
        self.few
    }

    /// All items that may be shown, in no order that means anything.
    pub fn items(&self) -> impl Iterator<Item = ItemIx> {
        let items = self.bits.iter_ones().map(|i| ItemIx(i as u32));
        items.filter(|item| !self.is_gone(*item))
    }
}

/// What the visitor rejected, latest first, as far as it is remembered.
pub fn rejected<'a>(asker: &Asker<'a>) -> impl Iterator<Item = &'a Touch> + use<'a> {
    let user = asker.user;
    user.into_iter().flat_map(|user| user.rejected.iter().rev())
}

/// What the visitor consumed and must not see again at `now`.
pub fn consumed<'a>(
    state: &'a State,
    scenario: &'a Scenario,
    asker: &Asker<'a>,
    now: Millis,
) -> impl Iterator<Item = &'a Touch> {
    let user = asker.user;
    user.into_iter()
        .flat_map(|user| user.consumed.iter())
        .filter(move |touch| match expiry(state, scenario, touch.item) {
            None => true,
            Some(days) => touch.ts >= now.saturating_sub((days * DAY_MS) as Millis),
        })
}

/// Days after which a consumed item comes back; `None`: never.
pub fn expiry(state: &State, scenario: &Scenario, item: ItemIx) -> Option<f64> {
    let name = scenario.consumed_expiry_label.as_str();
    let meta = state.catalogue.meta(item).filter(|_| !name.is_empty());
    match meta.and_then(|meta| meta.label(name)) {
        Some(Label::Int(days)) => Some(*days as f64),
        Some(Label::Float(days)) => Some(*days),
        _ => scenario.consumed_expiry_days,
    }
}
