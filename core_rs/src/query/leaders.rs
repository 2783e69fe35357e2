//! Sources that need no seed item: tag affinity, trending, popular, fresh.
//!
//! The fold keeps leaders; where a filter or a list leaves few items, all of these are looked at instead, because the
//! leaders may all be filtered out.

use crate::decay::DecayReader;
use crate::fold::state::State;
use crate::ids::{DAY_MS, ItemIx, Millis, TagIx};
use crate::items::votes::TrendReader;
use crate::query::accumulator::Accumulator;
use crate::query::allowed::Allowed;
use crate::query::leading::Leading;
use crate::query::seeds::Asker;
use crate::scenario::Scenario;

/// Tags looked up for one query.
pub const TAGS: usize = 6;

/// What leaders of a tag are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagVotes {
    /// sqrt(1 + popularity).
    Popularity,
    /// Trends above expectation.
    Trends,
}

impl TagVotes {
    /// Calls `with` for each leader of a tag that counts, with the item and its value.
    #[inline]
    pub fn of_tag(self, state: &State, tag: TagIx, now: Millis, mut with: impl FnMut(u32, f64)) {
        let leaders = state.shards.iter().flat_map(|s| s.tag_leaders(tag));
        match self {
            Self::Popularity => {
                let mut reader = DecayReader::new(state.clocks.popularity, now);
                for (item, stats) in leaders {
                    with(item.0, (1.0 + reader.read(&stats.popularity)).sqrt());
                }
            }
            Self::Trends => {
                let mut reader = TrendReader::new(&state.clocks, now);
                for (item, stats) in leaders {
                    let trend = reader.trend(stats);
                    if trend > 0.0 {
                        with(item.0, trend);
                    }
                }
            }
        }
    }
}

/// Leaders of the visitor's strongest tags: sum of affinities x what they count. `leading` knows it already, if it is there.
pub fn in_tags(
    state: &State,
    asker: &Asker<'_>,
    now: Millis,
    votes: TagVotes,
    leading: &Leading,
    scores: &mut Accumulator,
) {
    for (tag, weight) in asker.strongest_tags() {
        if !leading.add_tag(state, votes, (tag, weight), scores) {
            votes.of_tag(state, tag, now, |item, value| {
                scores.add(item, weight * value);
            });
        }
    }
}

/// By popularity, [`in_tags`] of every item of `few`.
pub fn tag_affinity_of(
    state: &State,
    asker: &Asker<'_>,
    now: Millis,
    few: &Allowed<'_>,
    scores: &mut Accumulator,
) {
    let mut reader = DecayReader::new(state.clocks.popularity, now);
    for item in few.items() {
        let own = state.catalogue.tags(item);
        let shared = asker.strongest_tags().filter(|(tag, _)| own.contains(tag));
        let weight: f64 = shared.map(|(_, weight)| weight).sum();
        if weight > 0.0 {
            let popularity = reader.read(&state.stats(item).popularity);
            scores.add(item.0, weight * (1.0 + popularity).sqrt());
        }
    }
}

/// Items whose recent votes exceed what their past lets expect; nothing that is at or below expectation.
pub fn trending(state: &State, now: Millis, scores: &mut Accumulator) {
    let mut reader = TrendReader::new(&state.clocks, now);
    for (item, stats) in state.shards.iter().flat_map(|s| s.trending()) {
        let trend = reader.trend(stats);
        if trend > 0.0 {
            scores.add(item.0, trend);
        }
    }
}

/// [`trending`] of every item of `few`.
pub fn trending_of(state: &State, now: Millis, few: &Allowed<'_>, scores: &mut Accumulator) {
    let mut reader = TrendReader::new(&state.clocks, now);
    for item in few.items() {
        let trend = reader.trend(state.stats(item));
        if trend > 0.0 {
            scores.add(item.0, trend);
        }
    }
}

/// Items that visitors of a segment vote for more than the segment's past lets expect.
pub fn trending_in_segment(state: &State, segment: u8, now: Millis, scores: &mut Accumulator) {
    let mut reader = TrendReader::new(&state.clocks, now);
    for (item, stats) in state.shards.iter().flat_map(|s| s.trending_in(segment)) {
        let trend = reader.trend(stats);
        if trend > 0.0 {
            scores.add(item.0, trend);
        }
    }
}

/// Items with the most decayed votes.
pub fn popular(state: &State, now: Millis, scores: &mut Accumulator) {
    let mut reader = DecayReader::new(state.clocks.popularity, now);
    for (item, stats) in state.shards.iter().flat_map(|s| s.popular()) {
        let votes = reader.read(&stats.popularity);
        if votes > 0.0 {
            scores.add(item.0, votes);
        }
    }
}

/// [`popular`] of every item of `few`.
pub fn popular_of(state: &State, now: Millis, few: &Allowed<'_>, scores: &mut Accumulator) {
    let mut reader = DecayReader::new(state.clocks.popularity, now);
    for item in few.items() {
        let votes = reader.read(&state.stats(item).popularity);
        if votes > 0.0 {
            scores.add(item.0, votes);
        }
    }
}

/// Items with the most decayed votes of a segment's visitors.
pub fn popular_in_segment(state: &State, segment: u8, now: Millis, scores: &mut Accumulator) {
    let mut reader = DecayReader::new(state.clocks.popularity, now);
    for (item, stats) in state.shards.iter().flat_map(|s| s.popular_in(segment)) {
        let votes = reader.read(&stats.popularity);
        if votes > 0.0 {
            scores.add(item.0, votes);
        }
    }
}

/// So many items ahead their tags are asked for.
const AHEAD: usize = 6;

/// Fresh items that were served less often than the budget: 1 / (1 + age in days), more for the visitor's tags. The
/// newest `limit` allowed ones are looked at; `leading` knows which are the newest, if it is there.
pub fn fresh(
    state: &State,
    scenario: &Scenario,
    asker: &Asker<'_>,
    now: Millis,
    allowed: &Allowed<'_>,
    leading: &Leading,
    scores: &mut Accumulator,
) {
    let since = now.max(state.clock()) - (scenario.fresh_days * DAY_MS) as Millis;
    let strongest = asker.strongest_tags().map(|(_, w)| w).fold(0.0, f64::max);
    let value = |born: Millis, tags: &[TagIx]| {
        let age = (now - born).max(0) as f64 / DAY_MS;
        (1.0 + liking(asker, tags, strongest)) / (1.0 + age)
    };
    let wanted = |item, served| allowed.contains(item) && served < scenario.fresh_budget;
    let newest = leading.newest(state);
    let newest = newest.and_then(|known| known.of_these((since, now), scenario.pool, wanted));
    if let Some(newest) = newest {
        let newest = newest.into_iter();
        scores.add_all(newest.map(|(item, born, tags)| (item.0, value(born, tags))));
        return;
    }
    let newest = state
        .fresh
        .newest_first(since, now)
        .filter(|(item, _)| allowed.contains(*item) && state.served(*item) < scenario.fresh_budget);
    let newest: Vec<(ItemIx, Millis)> = newest.take(scenario.pool).collect();
    for (at, (item, born)) in newest.iter().copied().enumerate() {
        for (ahead, found) in [(2 * AHEAD, false), (AHEAD, true)] {
            if let Some((next, _)) = newest.get(at + ahead) {
                state.catalogue.prefetch_tags(*next, found);
            }
        }
        scores.add(item.0, value(born, state.catalogue.tags(item)));
    }
}

/// The share of the visitor's strongest tag that an item's `own` tags reach together.
fn liking(asker: &Asker<'_>, own: &[TagIx], strongest: f64) -> f64 {
    if strongest <= 0.0 {
        return 0.0;
    }
    let shared = asker.strongest_tags().filter(|(tag, _)| own.contains(tag));
    shared.map(|(_, weight)| weight).sum::<f64>() / strongest
}
