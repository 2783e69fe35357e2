//! Sources that need no seed item: tag affinity, trending, popular.

use crate::fold::state::State;
use crate::ids::Millis;
use crate::query::accumulator::Accumulator;
use crate::query::seeds::Asker;

/// Tags looked up for one query.
pub const TAGS: usize = 6;

/// Leaders of the visitor's strongest tags: sum of affinities x sqrt(1 + popularity).
pub fn tag_affinity(state: &State, asker: &Asker<'_>, now: Millis, scores: &mut Accumulator) {
    let clock = &state.clocks.popularity;
    for (tag, weight) in asker.tags.iter().take(TAGS).filter(|(_, w)| *w > 0.0) {
        for shard in &state.shards {
            for (item, stats) in shard.tag_leaders(*tag) {
                let popularity = stats.popularity.read(clock, now);
                scores.add(item.0, weight * (1.0 + popularity).sqrt());
            }
        }
    }
}

/// Items whose recent votes exceed what their past lets expect; nothing that is at or below expectation.
pub fn trending(state: &State, now: Millis, scores: &mut Accumulator) {
    for (item, stats) in state.shards.iter().flat_map(|s| s.trending()) {
        let trend = state.clocks.trend(stats, now);
        if trend > 0.0 {
            scores.add(item.0, trend);
        }
    }
}

/// Items with the most decayed votes.
pub fn popular(state: &State, now: Millis, scores: &mut Accumulator) {
    for (item, stats) in state.shards.iter().flat_map(|s| s.popular()) {
        let votes = stats.popularity.read(&state.clocks.popularity, now);
        if votes > 0.0 {
            scores.add(item.0, votes);
        }
    }
}
