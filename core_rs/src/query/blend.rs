//! From the lists of all sources to one pool: reciprocal-rank fusion and what is multiplied with it.

use std::sync::Arc;

use crate::bitmap::Bitmap;
use crate::fold::state::State;
use crate::ids::{DAY_MS, ItemIx, Millis, TagIx};
use crate::query::accumulator::Accumulator;
use crate::query::allowed::rejected;
use crate::query::fuse::{SourceList, fuse, top};
use crate::query::seeds::Asker;
use crate::scenario::Scenario;

/// Rejected items that push others away: the latest so many.
const DISLIKES: usize = 5;

/// Everything that raises or lowers a fused score.
pub struct Knobs<'a> {
    state: &'a State,
    scenario: &'a Scenario,
    asker: &'a Asker<'a>,
    now: Millis,
    /// Factor, filter, its items.
    boosts: Vec<(f64, &'a str, Arc<Bitmap>)>,
    disliked: Vec<ItemIx>,
    touched: Option<&'a Bitmap>,
}

impl<'a> Knobs<'a> {
    /// The knobs of a scenario at `now`. `boosted` holds the items of each of its boosts; `touched` receives the visitor's.
    pub fn new(
        state: &'a State,
        scenario: &'a Scenario,
        asker: &'a Asker<'a>,
        now: Millis,
        boosted: Vec<Arc<Bitmap>>,
        touched: &'a mut Bitmap,
    ) -> Self {
        let demoted = asker.user.filter(|_| scenario.touched_factor < 1.0);
        if let Some(user) = demoted {
            touched.reset(state.names.items.len());
            for touch in user.recent.iter() {
                touched.set(touch.item.0 as usize);
            }
        }
        let disliked = match scenario.dislike_factor {
            factor if factor < 1.0 => rejected(asker).take(DISLIKES).map(|t| t.item).collect(),
            _ => Vec::new(),
        };
        let boosts = scenario.boosts.iter().zip(boosted);
        Self {
            state,
            scenario,
            asker,
            now,
            boosts: boosts
                .map(|(boost, items)| (boost.factor, boost.filter.as_str(), items))
                .collect(),
            disliked,
            touched: demoted.map(|_| &*touched),
        }
    }

    /// What the item's fused score is multiplied with.
    pub fn factor(&self, item: ItemIx) -> f64 {
        let mut product = 1.0;
        self.each(item, |_, _, factor| product *= factor);
        product
    }

    /// The factors other than 1, by name.
    pub fn factors(&self, item: ItemIx) -> Vec<(String, f64)> {
        let mut factors = Vec::new();
        self.each(item, |name, filter, factor| {
            factors.push((format!("{name}{filter}"), factor));
        });
        factors
    }

    /// Time of the question.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// k of the reciprocal-rank fusion.
    pub fn rrf_k(&self) -> f64 {
        self.scenario.rrf_k
    }

    /// Whether the visitor touched the item before, so that its score is lowered.
    pub fn is_touched(&self, item: ItemIx) -> bool {
        self.touched
            .is_some_and(|touched| touched.get(item.0 as usize))
            || self.touched.is_some()
                && self.asker.user.is_some_and(|user| {
                    !user.seen.is_empty() && user.seen.contains(self.state.names.item_hash(item))
                })
    }

    /// Calls `with` for every factor that is at work: its name, the filter of a boost, the factor.
    #[inline]
    fn each(&self, item: ItemIx, mut with: impl FnMut(&str, &str, f64)) {
        let scenario = self.scenario;
        if self.is_touched(item) {
            with("touched before", "", scenario.touched_factor);
        }
        if !self.disliked.is_empty() {
            let likeness = self.likeness_to_disliked(item);
            if likeness > 0.0 {
                with(
                    "like a rejected item",
                    "",
                    1.0 - (1.0 - scenario.dislike_factor) * likeness,
                );
            }
        }
        if scenario.freshness > 0.0
            && let Some(born) = self.state.catalogue.born(item)
        {
            let age =
                (self.now - born).max(0) as f64 / (scenario.freshness_half_life_days * DAY_MS);
            with("freshness", "", 1.0 + scenario.freshness * libm::exp2(-age));
        }
        if scenario.popularity_debias > 0.0 {
            let votes = self
                .state
                .stats(item)
                .popularity
                .read(&self.state.clocks.popularity, self.now);
            with(
                "popularity",
                "",
                libm::pow(1.0 + votes, -scenario.popularity_debias),
            );
        }
        for (factor, filter, items) in &self.boosts {
            if items.get(item.0 as usize) {
                with("boost: ", filter, *factor);
            }
        }
    }

    /// The largest overlap of tags (Jaccard) with an item that the visitor rejected.
    fn likeness_to_disliked(&self, item: ItemIx) -> f64 {
        let tags = self.state.catalogue.tags(item);
        let likeness = |other: &ItemIx| jaccard(tags, self.state.catalogue.tags(*other));
        self.disliked.iter().map(likeness).fold(0.0, f64::max)
    }
}

fn jaccard(a: &[TagIx], b: &[TagIx]) -> f64 {
    let common = a.iter().filter(|tag| b.contains(tag)).count();
    if common == 0 {
        return 0.0;
    }
    common as f64 / (a.len() + b.len() - common) as f64
}

/// The `limit` best of all lists by fused score times factor, best first; equal scores by item id.
pub fn pool(
    state: &State,
    lists: &[SourceList],
    knobs: &Knobs<'_>,
    limit: usize,
    fused: &mut Accumulator,
) -> Vec<(ItemIx, f64)> {
    fuse(lists, knobs.scenario.rrf_k, fused);
    top(
        &state.names,
        fused,
        limit,
        |_| true,
        |item, score| score * knobs.factor(item),
    )
}
