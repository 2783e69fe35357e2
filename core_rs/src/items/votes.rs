//! Votes on items: their decayed counts, and what trending makes of them.

use crate::config::FoldConfig;
use crate::decay::{Decay, DecayReader, DecayedCount};
use crate::ids::{DAY_MS, ItemIx, Millis};
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// The clocks of item counts.
#[derive(Clone, Copy, Debug)]
pub struct ItemClocks {
    /// Popularity.
    pub popularity: Decay,
    /// Short window of trending.
    pub short: Decay,
    /// Long window of trending.
    pub long: Decay,
    /// Prior of trending.
    pub prior: f64,
}

impl ItemClocks {
    /// The clocks of a configuration.
    pub fn new(config: &FoldConfig) -> Self {
        Self {
            popularity: Decay::new(config.popularity_half_life_days * DAY_MS),
            short: Decay::new(config.trending.short_half_life_hours * DAY_MS / 24.0),
            long: Decay::new(config.trending.long_half_life_days * DAY_MS),
            prior: config.trending.prior,
        }
    }

    /// Trending of these counts at `now`.
    pub fn trend(&self, stats: &ItemStats, now: Millis) -> f64 {
        TrendReader::new(self, now).trend(stats)
    }
}

/// Trending of many items at one moment: (short - expected) / sqrt(expected + prior), where the long window says what to
/// expect of the short one.
#[derive(Clone, Copy, Debug)]
pub struct TrendReader {
    short: DecayReader,
    long: DecayReader,
    /// Share of the long window that falls into the short one.
    share: f64,
    prior: f64,
}

impl TrendReader {
    /// A reader at `now`.
    pub fn new(clocks: &ItemClocks, now: Millis) -> Self {
        Self {
            short: DecayReader::new(clocks.short, now),
            long: DecayReader::new(clocks.long, now),
            share: clocks.short.half_life_ms() as f64 / clocks.long.half_life_ms() as f64,
            prior: clocks.prior,
        }
    }

    /// How far the item's recent votes exceed what its past lets expect.
    #[inline]
    pub fn trend(&mut self, stats: &ItemStats) -> f64 {
        self.trend_of(&stats.short, &stats.long)
    }

    /// [`TrendReader::trend`] of an item's counts in the two windows.
    #[inline]
    pub fn trend_of(&mut self, short: &DecayedCount, long: &DecayedCount) -> f64 {
        let short = self.short.read(short);
        let expected = self.long.read(long) * self.share;
        (short - expected) / (expected + self.prior).sqrt()
    }
}

/// Votes on one item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemStats {
    /// Popularity.
    pub popularity: DecayedCount,
    /// Short window.
    pub short: DecayedCount,
    /// Long window.
    pub long: DecayedCount,
    /// Votes ever.
    pub votes: u64,
    /// Time of the latest vote.
    pub last: Millis,
}

impl ItemStats {
    /// Counts one vote, whose popularity epoch is `epoch`.
    #[inline]
    pub fn add(&mut self, vote: &Vote, epoch: u32, clocks: &ItemClocks) {
        self.votes += 1;
        self.last = self.last.max(vote.ts);
        self.popularity.add(&clocks.popularity, vote.ts, epoch);
        self.short
            .add(&clocks.short, vote.ts, clocks.short.epoch(vote.clock));
        self.long
            .add(&clocks.long, vote.ts, clocks.long.epoch(vote.clock));
    }

    /// Writes the counts.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        for count in [self.popularity, self.short, self.long] {
            w.uint(count.count);
            w.uint(u64::from(count.epoch));
        }
        w.uint(self.votes);
        w.int(self.last);
    }

    /// Reads the counts.
    pub fn read(r: &mut PartReader<'_>) -> ReadResult<Self> {
        let mut count = || {
            ReadResult::Ok(DecayedCount {
                count: r.uint()?,
                epoch: r.uint32()?,
            })
        };
        let (popularity, short, long) = (count()?, count()?, count()?);
        Ok(Self {
            popularity,
            short,
            long,
            votes: r.uint()?,
            last: r.int()?,
        })
    }
}

/// One vote on its way to the item's shard.
#[derive(Clone, Copy, Debug)]
pub struct Vote {
    /// On what.
    pub item: ItemIx,
    /// When.
    pub ts: Millis,
    /// Running time of the log.
    pub clock: Millis,
    /// Segment of the user, if they are in one.
    pub segment: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_asked_from_long_before_the_votes_is_a_number() {
        let clocks = ItemClocks {
            popularity: Decay::new(30.0 * DAY_MS),
            short: Decay::new(DAY_MS),
            long: Decay::new(14.0 * DAY_MS),
            prior: 1.0,
        };
        let ts = 1_700_000_000_000;
        let mut stats = ItemStats::default();
        for _ in 0..3 {
            let vote = Vote {
                item: ItemIx(0),
                ts,
                clock: ts,
                segment: None,
            };
            stats.add(&vote, clocks.popularity.epoch(ts), &clocks);
        }
        for now in [1, ts - 100 * DAY_MS as i64, ts] {
            assert!(clocks.trend(&stats, now).is_finite(), "{now}");
        }
    }
}
