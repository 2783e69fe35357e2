//! What may be shown: visible, passing every filter, on the caller's list, not excluded, rejected or consumed.

use std::sync::Arc;

use crate::bitmap::Bitmap;
use crate::catalogue::Label;
use crate::fold::state::State;
use crate::ids::{DAY_MS, ItemIx, Millis};
use crate::query::request::RecommendRequest;
use crate::query::seeds::Asker;
use crate::scenario::Scenario;
use crate::sessions::seen::{SEEN_SURELY, SeenFilter};
use crate::sessions::touches::Touch;

/// Up to so many items all of them are looked at; of more, only the leaders that the fold keeps.
pub const FEW: usize = 20_000;

/// The items that may be shown to one visitor.
pub struct Allowed<'a> {
    state: &'a State,
    bits: &'a Bitmap,
    beyond: Option<Beyond<'a>>,
    few: bool,
}

/// Consumed items beyond those that are remembered exactly, and when consumed ones come back.
#[derive(Clone, Copy)]
struct Beyond<'a> {
    seen: &'a SeenFilter,
    scenario: &'a Scenario,
    now: Millis,
}

impl Beyond<'_> {
    /// Whether the item is gone. One that was consumed a while before its time is over may be, too: a filter tells no times
    /// apart within one of its generations.
    fn holds(&self, state: &State, item: ItemIx) -> bool {
        let hash = state.names.item_hash(item);
        let own = !self.scenario.consumed_expiry_label.is_empty();
        // Looking up an item's own time costs more than the filter's answer, which mostly is no.
        (!own || self.seen.contains(hash))
            && self.seen.contains_since(
                hash,
                since(expiry(state, self.scenario, item), self.now),
                state.limits.generation_ms,
            )
    }
}

/// Since when what was consumed is not shown, by the days after which it comes back.
fn since(expiry_days: Option<f64>, now: Millis) -> Millis {
    expiry_days.map_or(Millis::MIN, |days| {
        now.saturating_sub((days * DAY_MS) as Millis)
    })
}

/// What of the visitor's past must not be shown.
#[derive(Clone, Debug, Default)]
pub struct Barred<'a> {
    /// Rejected and consumed items.
    pub items: Vec<ItemIx>,
    /// Consumed items beyond the exact list.
    pub beyond: Option<&'a SeenFilter>,
    /// What the visitor's state may have let go of, in words.
    pub notes: Vec<String>,
}

impl<'a> Barred<'a> {
    /// What `asker` may not see at `now`.
    pub fn of(state: &State, scenario: &Scenario, asker: &Asker<'a>, now: Millis) -> Self {
        let mut items: Vec<ItemIx> = rejected(asker).map(|touch| touch.item).collect();
        let mut beyond = None;
        let mut notes = Vec::new();
        let exactly = state.limits.consumed;
        if asker
            .user
            .is_some_and(|user| user.rejected.len() >= exactly)
        {
            notes.push(format!(
                "the visitor rejected {exactly} items or more: only the latest {exactly} are surely left out"
            ));
        }
        if scenario.exclude_consumed {
            items.extend(consumed(state, scenario, asker, now).map(|touch| touch.item));
            let seen = asker.user.map(|user| &user.consumed_seen);
            beyond = seen.filter(|seen| !seen.is_empty());
            let since = since(scenario.consumed_expiry_days, now);
            if beyond.is_some_and(|seen| seen.lets_go_since(since, state.limits.generation_ms)) {
                let surely = exactly + SEEN_SURELY;
                notes.push(format!(
                    "the visitor consumed more than {surely} items: only the latest {surely} are surely left out"
                ));
            }
        }
        Self {
            items,
            beyond,
            notes,
        }
    }
}

impl<'a> Allowed<'a> {
    /// Puts the items together in `bits`: those that are counted here, where that is not all. `filters` are those of the
    /// scenario and of the request.
    pub fn new(
        state: &'a State,
        scenario: &'a Scenario,
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
            beyond: barred.beyond.map(|seen| Beyond {
                seen,
                scenario,
                now: request.now,
            }),
            few,
        }
    }

    /// Whether the item may be shown.
    #[inline]
    pub fn contains(&self, item: ItemIx) -> bool {
        self.bits.get(item.0 as usize) && !self.is_gone(item)
    }

    /// Whether the item was consumed before those that are remembered exactly, and has not come back.
    pub fn is_gone(&self, item: ItemIx) -> bool {
        self.beyond
            .is_some_and(|beyond| beyond.holds(self.state, item))
    }

    /// All that may be shown, where [`Allowed::bits`] say it: where nothing else is gone.
    pub fn all_bits(&self) -> Option<&Bitmap> {
        self.beyond.is_none().then_some(self.bits)
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
        .filter(move |touch| touch.ts >= since(expiry(state, scenario, touch.item), now))
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
