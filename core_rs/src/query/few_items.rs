//! What is asked of the items that a strict filter leaves, gathered for all who ask with the same filter.
//!
//! Where few items pass, sources that go by votes look at all of them: a thousand counts that lie anywhere in memory, three
//! times a question. Which items pass does not depend on who asks; what a visitor may not see is left out afterwards.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::bitmap::Bitmap;
use crate::decay::DecayReader;
use crate::fold::state::State;
use crate::ids::{ItemIx, Millis, TagIx};
use crate::items::votes::TrendReader;
use crate::query::accumulator::Accumulator;
use crate::query::gathered::{Votes, Windows};
use crate::query::seeds::Asker;
use crate::query::source::Source;

/// Filters whose items are kept.
const MOST_FILTERS: usize = 8;

/// Filters, by the items that pass each of them.
pub type Filters<'a> = [(&'a str, Arc<Bitmap>)];

/// The items that pass some filters, with their votes and tags.
pub struct FewItems {
    votes: Vec<Votes>,
    windows: Vec<Windows>,
    /// Tags of the items, one after the other, and where each one's end.
    tags: Vec<TagIx>,
    ends: Vec<u32>,
}

impl FewItems {
    fn of(state: &State, filters: &[Arc<Bitmap>]) -> Self {
        let mut bits = state.catalogue.visible_bits().clone();
        filters.iter().for_each(|items| bits.and(items));
        if let Some(own) = state.own_items() {
            bits.and(own);
        }
        let mut few = Self {
            votes: Vec::new(),
            windows: Vec::new(),
            tags: Vec::new(),
            ends: Vec::new(),
        };
        for item in bits.iter_ones().map(|at| ItemIx(at as u32)) {
            let stats = state.stats(item);
            few.votes.push(Votes::of((item, stats)));
            few.windows.push(Windows::of((item, stats)));
            few.tags.extend_from_slice(state.catalogue.tags(item));
            few.ends.push(few.tags.len() as u32);
        }
        few
    }

    /// Adds what `source` says of each item that is `eligible`; `false` for a source that does not look at all items.
    pub fn add(
        &self,
        state: &State,
        source: &Source,
        asker: &Asker<'_>,
        now: Millis,
        eligible: impl Fn(ItemIx) -> bool,
        scores: &mut Accumulator,
    ) -> bool {
        match source {
            Source::Popular => {
                let mut reader = DecayReader::new(state.clocks.popularity, now);
                let votes = self.votes.iter().filter(|own| eligible(own.item));
                let votes = votes.map(|own| (own.item.0, own.read(&mut reader)));
                scores.add_all(votes.filter(|(_, votes)| *votes > 0.0));
            }
            Source::Trending => {
                let mut reader = TrendReader::new(&state.clocks, now);
                let trends = self.windows.iter().filter(|own| eligible(own.item));
                let trends = trends.map(|own| (own.item.0, own.trend(&mut reader)));
                scores.add_all(trends.filter(|(_, trend)| *trend > 0.0));
            }
            Source::TagAffinity => self.add_affinity(state, asker, now, eligible, scores),
            _ => return false,
        }
        true
    }

    fn add_affinity(
        &self,
        state: &State,
        asker: &Asker<'_>,
        now: Millis,
        eligible: impl Fn(ItemIx) -> bool,
        scores: &mut Accumulator,
    ) {
        let strongest: Vec<(TagIx, f64)> = asker.strongest_tags().collect();
        let mut reader = DecayReader::new(state.clocks.popularity, now);
        let mut start = 0;
        for (votes, end) in self.votes.iter().zip(&self.ends) {
            let own = &self.tags[start..*end as usize];
            start = *end as usize;
            let shared = strongest.iter().filter(|(tag, _)| own.contains(tag));
            let weight: f64 = shared.map(|(_, weight)| weight).sum();
            if weight > 0.0 && eligible(votes.item) {
                let popularity = votes.read(&mut reader);
                scores.add(votes.item.0, weight * (1.0 + popularity).sqrt());
            }
        }
    }
}

/// Items of the latest filters, of those that were asked for twice.
#[derive(Default)]
pub struct FewKept(Mutex<Vec<Kept>>);

struct Kept {
    /// Equal filters have the same bitmap while the catalogue stays the same.
    filters: Vec<Arc<Bitmap>>,
    items: Option<Arc<FewItems>>,
}

impl Kept {
    fn is_of(&self, filters: &Filters<'_>) -> bool {
        let mut each = self.filters.iter().zip(filters);
        self.filters.len() == filters.len() && each.all(|(own, (_, other))| Arc::ptr_eq(own, other))
    }
}

impl FewKept {
    /// The items that pass these filters in the state, which is always the same; `None` for the first who asks.
    pub fn get(&self, state: &State, filters: &Filters<'_>) -> Option<Arc<FewItems>> {
        let filters_of = || filters.iter().map(|(_, items)| items.clone()).collect();
        {
            let mut kept = self.0.lock();
            match kept.iter().find(|kept| kept.is_of(filters)) {
                Some(Kept {
                    items: Some(items), ..
                }) => return Some(items.clone()),
                Some(_) => {}
                None => {
                    if kept.len() == MOST_FILTERS {
                        kept.remove(0);
                    }
                    kept.push(Kept {
                        filters: filters_of(),
                        items: None,
                    });
                    return None;
                }
            }
        }
        // Outside the lock: other filters need not wait.
        let filters_own: Vec<Arc<Bitmap>> = filters_of();
        let items = Arc::new(FewItems::of(state, &filters_own));
        let mut kept = self.0.lock();
        if let Some(kept) = kept.iter_mut().find(|kept| kept.is_of(filters)) {
            kept.items = Some(items.clone());
        }
        Some(items)
    }
}
