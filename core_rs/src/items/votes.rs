//! Votes on items: their decayed counts, and what trending makes of them.

use crate::config::FoldConfig;
use crate::decay::{Decay, DecayMemo, DecayReader, DecayedCount};
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

/// The clocks of item counts for votes that come in the order of their times, nearly.
#[derive(Clone, Debug)]
pub struct ClockMemos {
    popularity: DecayMemo,
    short: DecayMemo,
    long: DecayMemo,
    /// What reads trends, and the times at which it does.
    trends: Option<(TrendReader, (Millis, Millis))>,
}

impl ClockMemos {
    /// Clocks that remember nothing yet.
    pub fn new(clocks: &ItemClocks) -> Self {
        Self {
            popularity: DecayMemo::new(clocks.popularity),
            short: DecayMemo::new(clocks.short),
            long: DecayMemo::new(clocks.long),
            trends: None,
        }
    }

    /// Epoch of popularity.
    #[inline]
    pub fn popularity_epoch(&mut self, clock: Millis) -> u32 {
        self.popularity.epoch(clock)
    }

    /// See [`ItemClocks::trend`].
    #[inline]
    pub fn trend(&mut self, stats: &ItemStats, now: Millis, clocks: &ItemClocks) -> f64 {
        match &mut self.trends {
            Some((reader, (from, until))) if *from <= now && now < *until => reader.trend(stats),
            other => {
                let (reader, _) = other.insert(TrendReader::at(clocks, now));
                reader.trend(stats)
            }
        }
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

    /// A reader at `now`, and the times at which it reads the same.
    fn at(clocks: &ItemClocks, now: Millis) -> (Self, (Millis, Millis)) {
        let reader = Self::new(clocks, now);
        let (short, long) = (reader.short.span(), reader.long.span());
        (reader, (short.0.max(long.0), short.1.min(long.1)))
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
    /// Counts one vote.
    #[inline]
    pub fn add(&mut self, vote: &Vote, memos: &mut ClockMemos) {
        self.votes += 1;
        self.last = self.last.max(vote.ts);
        for (count, memo) in [
            (&mut self.popularity, &mut memos.popularity),
            (&mut self.short, &mut memos.short),
            (&mut self.long, &mut memos.long),
        ] {
            let epoch = memo.epoch(vote.clock);
            memo.add(count, vote.ts, epoch);
        }
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
            stats.add(&vote, &mut ClockMemos::new(&clocks));
        }
        for now in [1, ts - 100 * DAY_MS as i64, ts] {
            assert!(clocks.trend(&stats, now).is_finite(), "{now}");
        }
    }
}
