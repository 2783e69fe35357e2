//! One shard: counts, leaders and co-occurrence rows of the items that it owns.

use std::cmp::Reverse;

use crate::catalogue::Catalogue;
use crate::config::FoldConfig;
use crate::cooccurrence::rows::RowStore;
use crate::decay::{Decay, DecayReader, DecayedCount};
use crate::ids::{DAY_MS, ItemIx, Millis, TagIx};
use crate::items::topset::{Offer, TopSet};
use crate::names::Names;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Popular items kept per shard.
pub const POPULAR: usize = 128;
/// Trending items kept per shard; up to twice as many between two cuts.
pub const TRENDING: usize = 64;
/// Leaders kept per tag and shard.
pub const TAG_LEADERS: usize = 32;
/// After this many votes at most the trending set is cut back and its floor computed anew.
const FLOOR_EVERY: u32 = 256;
/// Bits of an item's marks: member of the popular, of the trending set.
const IS_POPULAR: u8 = 1;
const IS_TRENDING: u8 = 2;

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
        let short = self.short.read(&stats.short);
        let expected = self.long.read(&stats.long) * self.share;
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

/// One vote on its way to the item's shard.
#[derive(Clone, Copy, Debug)]
pub struct Vote {
    /// On what.
    pub item: ItemIx,
    /// When.
    pub ts: Millis,
    /// Running time of the log.
    pub clock: Millis,
}

/// What a put, patch or delete did to an item's tags.
#[derive(Clone, Copy, Debug)]
pub struct TagChange<'a> {
    /// Tags before.
    pub old: &'a [TagIx],
    /// Tags after.
    pub new: &'a [TagIx],
    /// Whether the item may be shown after.
    pub visible: bool,
    /// Running time of the log.
    pub clock: Millis,
}

/// Counts, leaders and rows.
#[derive(Debug)]
pub struct Shard {
    items: Vec<ItemIx>,
    stats: Vec<ItemStats>,
    /// How often each item was served.
    served: Vec<u32>,
    /// Which sets an item is a member of, so that a vote need not look for it. Follows from the sets, no state.
    marks: Vec<u8>,
    popular: TopSet,
    trending: Vec<u32>,
    /// Trending score (16 fractional bits) below which an item is not taken in.
    trending_floor: i64,
    votes_until_floor: u32,
    by_tag: Vec<TopSet>,
    /// Rows per relation: neighbours that this shard owns, for every seed.
    pub rows: Vec<RowStore>,
}

const KIND_STATS: u8 = 1;
const KIND_LEADERS: u8 = 2;

impl Shard {
    /// An empty shard of this configuration.
    pub fn new(config: &FoldConfig) -> Self {
        let share = |capacity| RowStore::share(capacity, config.shards);
        Self {
            items: Vec::new(),
            stats: Vec::new(),
            served: Vec::new(),
            marks: Vec::new(),
            popular: TopSet::default(),
            trending: Vec::new(),
            trending_floor: i64::MIN,
            votes_until_floor: FLOOR_EVERY,
            by_tag: Vec::new(),
            rows: config
                .relations
                .iter()
                .map(|r| RowStore::new(share(r.capacity)))
                .collect(),
        }
    }

    /// Takes ownership of a new item; its number inside the shard.
    pub fn own(&mut self, item: ItemIx) -> u32 {
        self.items.push(item);
        self.stats.push(ItemStats::default());
        self.served.push(0);
        self.marks.push(0);
        self.items.len() as u32 - 1
    }

    /// Items owned.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the shard owns nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Counts of an owned item.
    pub fn stats(&self, local: u32) -> &ItemStats {
        &self.stats[local as usize]
    }

    /// How often an owned item stood in a slate.
    pub fn served(&self, local: u32) -> u32 {
        self.served[local as usize]
    }

    /// Counts items that slates held.
    pub fn serve(&mut self, locals: &[u32]) {
        for local in locals {
            let count = &mut self.served[*local as usize];
            *count = count.saturating_add(1);
        }
    }

    /// Counts one vote. O(1) but for a change of leaders.
    pub fn vote(
        &mut self,
        local: u32,
        vote: &Vote,
        clocks: &ItemClocks,
        catalogue: &Catalogue,
        names: &Names,
    ) {
        let stats = &mut self.stats[local as usize];
        stats.votes += 1;
        stats.last = stats.last.max(vote.ts);
        let epoch = clocks.popularity.epoch(vote.clock);
        stats.popularity.add(&clocks.popularity, vote.ts, epoch);
        stats
            .short
            .add(&clocks.short, vote.ts, clocks.short.epoch(vote.clock));
        stats
            .long
            .add(&clocks.long, vote.ts, clocks.long.epoch(vote.clock));
        if !catalogue.visible(vote.item) {
            return;
        }
        self.offer_popular(local, epoch, names);
        let value = |i: u32| self.stats[i as usize].popularity.at(epoch);
        let hash = |i: u32| names.item_hash(self.items[i as usize]);
        for tag in catalogue.tags(vote.item) {
            grow(&mut self.by_tag, *tag).offer(local, epoch, TAG_LEADERS, value, hash);
        }
        self.offer_trending(local, vote.clock, clocks, names);
    }

    /// Takes in an item whose popularity in `epoch` exceeds the smallest.
    fn offer_popular(&mut self, local: u32, epoch: u32, names: &Names) {
        if self.marks[local as usize] & IS_POPULAR != 0 {
            return;
        }
        let value = |i: u32| self.stats[i as usize].popularity.at(epoch);
        let hash = |i: u32| names.item_hash(self.items[i as usize]);
        if let Offer::Joined(gone) = self.popular.offer(local, epoch, POPULAR, value, hash) {
            self.marks[local as usize] |= IS_POPULAR;
            if let Some(gone) = gone {
                self.marks[gone as usize] &= !IS_POPULAR;
            }
        }
    }

    /// Takes in an item whose trend exceeds the floor. The set holds up to twice [`TRENDING`] items before it is cut back
    /// to the strongest, so that a vote costs a few trends and not a whole set of them.
    fn offer_trending(&mut self, local: u32, clock: Millis, clocks: &ItemClocks, names: &Names) {
        self.votes_until_floor -= 1;
        if self.votes_until_floor == 0 {
            self.cut_trending(clock, clocks, names);
        }
        if self.marks[local as usize] & IS_TRENDING != 0 {
            return;
        }
        let full = self.trending.len() >= TRENDING;
        if full && fixed(clocks.trend(&self.stats[local as usize], clock)) <= self.trending_floor {
            return;
        }
        self.trending.push(local);
        self.marks[local as usize] |= IS_TRENDING;
        if self.trending.len() == 2 * TRENDING {
            self.cut_trending(clock, clocks, names);
        }
    }

    /// Keeps the [`TRENDING`] strongest at `clock`, strongest first; the weakest of them is the floor.
    fn cut_trending(&mut self, clock: Millis, clocks: &ItemClocks, names: &Names) {
        self.votes_until_floor = FLOOR_EVERY;
        let key = |local: &u32| {
            (
                Reverse(fixed(clocks.trend(&self.stats[*local as usize], clock))),
                names.item_hash(self.items[*local as usize]),
            )
        };
        let mut ranked = std::mem::take(&mut self.trending);
        ranked.sort_by_cached_key(key);
        for gone in ranked.iter().skip(TRENDING) {
            self.marks[*gone as usize] &= !IS_TRENDING;
        }
        ranked.truncate(TRENDING);
        self.trending_floor = match ranked.last() {
            Some(weakest) if ranked.len() == TRENDING => key(weakest).0.0,
            _ => i64::MIN,
        };
        self.trending = ranked;
    }

    /// Makes an item's tags known to the leaders: called after a put or patch changed them.
    pub fn retag(
        &mut self,
        local: u32,
        change: &TagChange<'_>,
        clocks: &ItemClocks,
        names: &Names,
    ) {
        for tag in change.old {
            grow(&mut self.by_tag, *tag).remove(local);
        }
        if !change.visible {
            return self.withdraw(local);
        }
        let epoch = clocks.popularity.epoch(change.clock);
        let value = |i: u32| self.stats[i as usize].popularity.at(epoch);
        let hash = |i: u32| names.item_hash(self.items[i as usize]);
        for tag in change.new {
            grow(&mut self.by_tag, *tag).offer(local, epoch, TAG_LEADERS, value, hash);
        }
        if self.stats[local as usize].votes > 0 {
            // It may have been hidden until now, and then no leader.
            self.offer_popular(local, epoch, names);
            self.offer_trending(local, change.clock, clocks, names);
        }
    }

    /// Takes an item out of the leaders: it was hidden or deleted.
    fn withdraw(&mut self, local: u32) {
        self.popular.remove(local);
        self.trending.retain(|m| *m != local);
        self.marks[local as usize] = 0;
    }

    /// Popular items, in no particular order.
    pub fn popular(&self) -> impl Iterator<Item = (ItemIx, &ItemStats)> {
        self.popular
            .members()
            .iter()
            .map(|m| (self.items[*m as usize], &self.stats[*m as usize]))
    }

    /// Trending items, in no particular order.
    pub fn trending(&self) -> impl Iterator<Item = (ItemIx, &ItemStats)> {
        self.trending
            .iter()
            .map(|m| (self.items[*m as usize], &self.stats[*m as usize]))
    }

    /// Leaders of a tag, in no particular order.
    pub fn tag_leaders(&self, tag: TagIx) -> impl Iterator<Item = (ItemIx, &ItemStats)> {
        let members = self
            .by_tag
            .get(tag.0 as usize)
            .map_or(&[][..], |set| set.members());
        members
            .iter()
            .map(|m| (self.items[*m as usize], &self.stats[*m as usize]))
    }

    /// All owned items with their counts.
    pub fn all(&self) -> impl Iterator<Item = (ItemIx, &ItemStats)> {
        self.items.iter().copied().zip(&self.stats)
    }

    /// Bytes held by item counts and leaders.
    pub fn memory(&self) -> usize {
        let sets: usize = self
            .by_tag
            .iter()
            .map(|s| size_of::<TopSet>() + s.members().len() * 4)
            .sum();
        (self.items.capacity() + self.served.capacity()) * 4
            + self.stats.capacity() * size_of::<ItemStats>()
            + sets
    }

    /// Writes everything.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        for ((item, stats), served) in self.all().zip(&self.served) {
            if *stats == ItemStats::default() && *served == 0 {
                continue;
            }
            w.entity(KIND_STATS, |w| {
                w.item(item);
                for count in [stats.popularity, stats.short, stats.long] {
                    w.uint(count.count);
                    w.uint(u64::from(count.epoch));
                }
                w.uint(stats.votes);
                w.int(stats.last);
                w.uint(u64::from(*served));
            });
        }
        w.entity(KIND_LEADERS, |w| {
            self.write_set(self.popular.members(), w);
            self.write_set(&self.trending, w);
            w.int(self.trending_floor);
            w.uint(u64::from(self.votes_until_floor));
        });
        let names = w.names();
        let mut tags: Vec<u32> = (0..self.by_tag.len() as u32)
            .filter(|t| !self.by_tag[*t as usize].members().is_empty())
            .collect();
        tags.sort_by_key(|t| names.tags.name(*t));
        for tag in tags {
            w.entity(KIND_TAG, |w| {
                w.tag(TagIx(tag));
                self.write_set(self.by_tag[tag as usize].members(), w);
            });
        }
        for (relation, rows) in self.rows.iter().enumerate() {
            rows.write(relation as u8, w);
        }
    }

    fn write_set(&self, members: &[u32], w: &mut PartWriter<'_>) {
        w.uint(members.len() as u64);
        members.iter().for_each(|m| w.item(self.items[*m as usize]));
    }

    /// Reads one entity of kind `kind`. `local` gives an item's number inside this shard.
    pub fn read(
        &mut self,
        kind: u8,
        r: &mut PartReader<'_>,
        local: &dyn Fn(ItemIx) -> ReadResult<u32>,
    ) -> ReadResult<()> {
        match kind {
            KIND_STATS => {
                let item = r.item()?;
                let at = local(item)? as usize;
                let mut count = || {
                    ReadResult::Ok(DecayedCount {
                        count: r.uint()?,
                        epoch: r.uint32()?,
                    })
                };
                let (popularity, short, long) = (count()?, count()?, count()?);
                self.stats[at] = ItemStats {
                    popularity,
                    short,
                    long,
                    votes: r.uint()?,
                    last: r.int()?,
                };
                self.served[at] = r.uint32()?;
            }
            KIND_LEADERS => {
                let members = self.read_set(r, local)?;
                self.popular = TopSet::from_members(members);
                self.trending = self.read_set(r, local)?;
                for (members, mark) in [
                    (self.popular.members(), IS_POPULAR),
                    (&self.trending, IS_TRENDING),
                ] {
                    members.iter().for_each(|m| self.marks[*m as usize] |= mark);
                }
                self.trending_floor = r.int()?;
                self.votes_until_floor = r.uint32()?.clamp(1, FLOOR_EVERY);
            }
            KIND_TAG => {
                let tag = r.tag()?;
                let members = self.read_set(r, local)?;
                *grow(&mut self.by_tag, tag) = TopSet::from_members(members);
            }
            _ => {
                let relation = usize::from(r.byte()?);
                let Some(rows) = self.rows.get_mut(relation) else {
                    return Err(r.broken("a relation outside the configuration"));
                };
                if !rows.read(kind, r)? {
                    return Err(r.broken(format!("unknown entity {kind}")));
                }
            }
        }
        Ok(())
    }

    fn read_set(
        &mut self,
        r: &mut PartReader<'_>,
        local: &dyn Fn(ItemIx) -> ReadResult<u32>,
    ) -> ReadResult<Vec<u32>> {
        let count = r.len(1)?;
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            let item = r.item()?;
            members.push(local(item)?);
        }
        Ok(members)
    }
}

const KIND_TAG: u8 = 5;

fn grow(sets: &mut Vec<TopSet>, tag: TagIx) -> &mut TopSet {
    let at = tag.0 as usize;
    if sets.len() <= at {
        sets.resize_with(at + 1, TopSet::default);
    }
    &mut sets[at]
}

/// A score with 16 fractional bits, rounded towards zero: what state may hold.
fn fixed(score: f64) -> i64 {
    (score * 65_536.0) as i64
}
