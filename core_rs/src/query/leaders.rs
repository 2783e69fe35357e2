//! Sources that need no seed item: tag affinity, trending, popular.

use crate::decay::DecayReader;
use crate::fold::state::State;
use crate::ids::Millis;
use crate::items::votes::TrendReader;
use crate::query::accumulator::Accumulator;
use crate::query::seeds::Asker;

/// Tags looked up for one query.
pub const TAGS: usize = 6;

/// Leaders of the visitor's strongest tags: sum of affinities x sqrt(1 + popularity).
pub fn tag_affinity(state: &State, asker: &Asker<'_>, now: Millis, scores: &mut Accumulator) {
    let mut reader = DecayReader::new(state.clocks.popularity, now);
    for (tag, weight) in asker.tags.iter().take(TAGS).filter(|(_, w)| *w > 0.0) {
        for shard in &state.shards {
            for (item, stats) in shard.tag_leaders(*tag) {
                let popularity = reader.read(&stats.popularity);
                scores.add(item.0, weight * (1.0 + popularity).sqrt());
            }
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
