//! From the lists of all sources to one pool: reciprocal-rank fusion and what is multiplied with it.

use std::sync::Arc;

use crate::bitmap::Bitmap;
use crate::fold::state::State;
use crate::ids::{DAY_MS, ItemIx, Millis, TagIx};
use crate::query::accumulator::Accumulator;
use crate::query::allowed::rejected;
use crate::query::best::{top, top_lowered};
use crate::query::counted::Counted;
use crate::query::evidence::Factors;
use crate::query::fuse::{SourceList, fuse};
use crate::query::seeds::Asker;
use crate::scenario::Scenario;
use crate::sessions::seen::SeenFilter;

/// Rejected items that push others away: the latest so many.
const DISLIKES: usize = 5;

/// Everything that raises or lowers a fused score.
pub struct Knobs<'a> {
    state: &'a State,
    scenario: &'a Scenario,
    counted: &'a dyn Counted,
    now: Millis,
    /// Factor, filter, its items.
    boosts: Vec<(f64, &'a str, Arc<Bitmap>)>,
    disliked: Vec<ItemIx>,
    touched: Option<(&'a Bitmap, &'a SeenFilter)>,
}

/// What of the visitor's past changes scores.
#[derive(Clone, Debug, Default)]
pub struct Marks<'a> {
    /// Where touched items are lowered: those remembered exactly, and the others.
    pub touched: Option<(Vec<ItemIx>, &'a SeenFilter)>,
    /// Rejected items that push others away.
    pub disliked: Vec<ItemIx>,
}

impl<'a> Marks<'a> {
    /// The marks that `asker` left, as far as the scenario looks at them.
    pub fn of(scenario: &Scenario, asker: &Asker<'a>) -> Self {
        let demoted = asker.user.filter(|_| scenario.touched_factor < 1.0);
        let touched = demoted.map(|user| {
            let recent = user.recent.iter().map(|touch| touch.item).collect();
            (recent, &user.seen)
        });
        let disliked = match scenario.dislike_factor {
            factor if factor < 1.0 => rejected(asker).take(DISLIKES).map(|t| t.item).collect(),
            _ => Vec::new(),
        };
        Self { touched, disliked }
    }
}

impl<'a> Knobs<'a> {
    /// The knobs of a scenario at `now`. `boosted` holds the items of each of its boosts; `touched` receives the visitor's.
    pub fn new(
        state: &'a State,
        scenario: &'a Scenario,
        counted: &'a dyn Counted,
        marks: Marks<'a>,
        now: Millis,
        boosted: Vec<Arc<Bitmap>>,
        touched: &'a mut Bitmap,
    ) -> Self {
        let seen = marks.touched.map(|(recent, seen)| {
            touched.reset(state.names.items.len());
            recent.iter().for_each(|item| touched.set(item.0 as usize));
            seen
        });
        let touched = &*touched;
        let boosts = scenario.boosts.iter().zip(boosted);
        Self {
            state,
            scenario,
            counted,
            now,
            boosts: boosts
                .map(|(boost, items)| (boost.factor, boost.filter.as_str(), items))
                .collect(),
            disliked: marks.disliked,
            touched: seen.map(|seen| (touched, seen)),
        }
    }

    /// What the item's fused score is multiplied with.
    pub fn factor(&self, item: ItemIx) -> f64 {
        let mut product = 1.0;
        self.each(item, |_, _, factor| product *= factor);
        product
    }

    /// All factors of an item: their product, and those other than 1 by name.
    pub fn factors_of(&self, item: ItemIx) -> Factors {
        let (mut product, mut named) = (1.0, Vec::new());
        self.each(item, |name, filter, factor| {
            product *= factor;
            named.push((format!("{name}{filter}"), factor));
        });
        Factors { product, named }
    }

    /// Whether every factor is at most 1, above 0, and known without counts.
    pub fn only_lower(&self) -> bool {
        let scenario = self.scenario;
        let lowers = |factor: f64| factor > 0.0 && factor <= 1.0;
        let raised = scenario.freshness > 0.0 || !self.boosts.is_empty();
        let touched = self.touched.is_none() || lowers(scenario.touched_factor);
        let disliked = self.disliked.is_empty() || lowers(scenario.dislike_factor);
        !raised && scenario.popularity_debias <= 0.0 && touched && disliked
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
        self.touched.is_some_and(|(touched, seen)| {
            touched.get(item.0 as usize)
                || !seen.is_empty() && seen.contains(self.state.names.item_hash(item))
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
            let votes = self.counted.popularity(item);
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
    let by_factor = |item, score| score * knobs.factor(item);
    match knobs.only_lower() {
        true => top_lowered(&state.names, fused, limit, by_factor),
        false => top(&state.names, fused, limit, |_| true, by_factor),
    }
}
