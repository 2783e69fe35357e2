//! Popularity and trending of a shard's items among some voters (all of them, or one segment), with the leaders of both.

use std::cmp::Reverse;

use crate::ids::{ItemIx, Millis};
use crate::items::topset::{Offer, TopSet};
use crate::items::votes::{ClockMemos, ItemClocks, ItemStats, TrendReader, Vote};
use crate::names::Names;
use crate::search::prefetch;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Popular items kept per shard.
pub const POPULAR: usize = 128;
/// Trending items kept per shard; up to twice as many between two cuts.
pub const TRENDING: usize = 64;
/// After this many votes at most the trending set is cut back and its floor computed anew.
const FLOOR_EVERY: u32 = 256;
/// Bits of an item's marks: member of the popular, of the trending set.
const IS_POPULAR: u8 = 1;
const IS_TRENDING: u8 = 2;

/// What leaders are told apart by: the shard's items, their names and the clocks of their counts.
#[derive(Clone, Copy)]
pub struct Electorate<'a> {
    /// Items of the shard, by their number there.
    pub items: &'a [ItemIx],
    /// Dictionaries.
    pub names: &'a Names,
    /// Clocks.
    pub clocks: &'a ItemClocks,
}

impl Electorate<'_> {
    /// Stable hash of an item, which breaks ties.
    pub fn hash(&self, local: u32) -> u64 {
        self.names.item_hash(self.items[local as usize])
    }
}

/// Counts by the item's number in the shard, and who leads.
#[derive(Debug)]
pub struct Leaders {
    stats: Vec<ItemStats>,
    /// Which sets an item is a member of, so that a vote need not look for it. Follows from the sets, no state.
    marks: Vec<u8>,
    popular: TopSet,
    trending: Vec<u32>,
    /// Trending score (16 fractional bits) below which an item is not taken in.
    trending_floor: i64,
    votes_until_floor: u32,
}

impl Default for Leaders {
    fn default() -> Self {
        Self {
            stats: Vec::new(),
            marks: Vec::new(),
            popular: TopSet::default(),
            trending: Vec::new(),
            trending_floor: i64::MIN,
            votes_until_floor: FLOOR_EVERY,
        }
    }
}

impl Leaders {
    /// Makes room for items numbered below `len`.
    pub fn ensure(&mut self, len: usize) {
        if self.stats.len() < len {
            self.stats.resize(len, ItemStats::default());
            self.marks.resize(len, 0);
        }
    }

    /// Whether nobody ever voted here.
    pub fn is_unused(&self) -> bool {
        self.stats.is_empty()
    }

    /// Counts of an item there is room for.
    pub fn stats(&self) -> &[ItemStats] {
        &self.stats
    }

    /// Asks for the counts of an item, which lie on one line or two.
    #[inline]
    pub fn prefetch(&self, local: u32) {
        prefetch(&self.stats, local as usize);
        prefetch(&self.stats, local as usize + 1);
        prefetch(&self.marks, local as usize);
    }

    /// Counts one vote, on an item that may lead or not. O(1) but for a change of leaders.
    pub fn vote(
        &mut self,
        local: u32,
        vote: &Vote,
        may_lead: bool,
        e: &Electorate<'_>,
        memos: &mut ClockMemos,
    ) {
        self.stats[local as usize].add(vote, memos);
        if may_lead {
            self.offer_popular(local, memos.popularity_epoch(vote.clock), e);
            self.offer_trending(local, vote.clock, e, memos);
        }
    }

    /// Offers an item again: it may have been hidden until now, and then no leader.
    pub fn offer(&mut self, local: u32, clock: Millis, e: &Electorate<'_>) {
        if self.stats.get(local as usize).is_some_and(|s| s.votes > 0) {
            self.offer_popular(local, e.clocks.popularity.epoch(clock), e);
            self.offer_trending(local, clock, e, &mut ClockMemos::new(e.clocks));
        }
    }

    /// Takes in an item whose popularity in `epoch` exceeds the smallest.
    fn offer_popular(&mut self, local: u32, epoch: u32, e: &Electorate<'_>) {
        if self.marks[local as usize] & IS_POPULAR != 0 {
            return;
        }
        let value = |i: u32| self.stats[i as usize].popularity.at(epoch);
        let hash = |i: u32| e.hash(i);
        if let Offer::Joined(gone) = self.popular.offer(local, epoch, POPULAR, value, hash) {
            self.marks[local as usize] |= IS_POPULAR;
            if let Some(gone) = gone {
                self.marks[gone as usize] &= !IS_POPULAR;
            }
        }
    }

    /// Takes in an item whose trend exceeds the floor. The set holds up to twice [`TRENDING`] items before it is cut back
    /// to the strongest, so that a vote costs a few trends and not a whole set of them.
    fn offer_trending(
        &mut self,
        local: u32,
        clock: Millis,
        e: &Electorate<'_>,
        memos: &mut ClockMemos,
    ) {
        self.votes_until_floor -= 1;
        if self.votes_until_floor == 0 {
            self.cut_trending(clock, e);
        }
        if self.marks[local as usize] & IS_TRENDING != 0 {
            return;
        }
        let full = self.trending.len() >= TRENDING;
        let stats = &self.stats[local as usize];
        if full && fixed(memos.trend(stats, clock, e.clocks)) <= self.trending_floor {
            return;
        }
        self.trending.push(local);
        self.marks[local as usize] |= IS_TRENDING;
        if self.trending.len() == 2 * TRENDING {
            self.cut_trending(clock, e);
        }
    }

    /// Keeps the [`TRENDING`] strongest at `clock`, strongest first; the weakest of them is the floor.
    fn cut_trending(&mut self, clock: Millis, e: &Electorate<'_>) {
        self.votes_until_floor = FLOOR_EVERY;
        let reader = TrendReader::new(e.clocks, clock);
        let key = |local: &u32| {
            let trend = { reader }.trend(&self.stats[*local as usize]);
            (Reverse(fixed(trend)), e.hash(*local))
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

    /// Takes an item out of the leaders: it was hidden or deleted.
    pub fn withdraw(&mut self, local: u32) {
        if let Some(marks) = self.marks.get_mut(local as usize) {
            *marks = 0;
            self.popular.remove(local);
            self.trending.retain(|m| *m != local);
        }
    }

    /// Popular items, in no particular order.
    pub fn popular(&self) -> &[u32] {
        self.popular.members()
    }

    /// Trending items, in no particular order.
    pub fn trending(&self) -> &[u32] {
        &self.trending
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.stats.capacity() * size_of::<ItemStats>() + self.marks.capacity()
    }

    /// Writes the leaders. Counts are entities of their own.
    pub fn write(&self, items: &[ItemIx], w: &mut PartWriter<'_>) {
        write_set(self.popular.members(), items, w);
        write_set(&self.trending, items, w);
        w.int(self.trending_floor);
        w.uint(u64::from(self.votes_until_floor));
    }

    /// Reads what [`Leaders::write`] wrote; there must be room for every item of the shard.
    pub fn read(
        &mut self,
        r: &mut PartReader<'_>,
        local: &dyn Fn(ItemIx) -> ReadResult<u32>,
    ) -> ReadResult<()> {
        self.popular = TopSet::from_members(read_set(r, local)?);
        self.trending = read_set(r, local)?;
        for (members, mark) in [
            (self.popular.members(), IS_POPULAR),
            (&self.trending, IS_TRENDING),
        ] {
            members.iter().for_each(|m| self.marks[*m as usize] |= mark);
        }
        self.trending_floor = r.int()?;
        self.votes_until_floor = r.uint32()?.clamp(1, FLOOR_EVERY);
        Ok(())
    }

    /// Sets an item's counts as they were written.
    pub fn restore(&mut self, local: u32, stats: ItemStats) {
        self.stats[local as usize] = stats;
    }
}

/// Writes members of a set.
pub fn write_set(members: &[u32], items: &[ItemIx], w: &mut PartWriter<'_>) {
    w.uint(members.len() as u64);
    members.iter().for_each(|m| w.item(items[*m as usize]));
}

/// Reads members of a set.
pub fn read_set(
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

/// A score with 16 fractional bits, rounded towards zero: what state may hold.
fn fixed(score: f64) -> i64 {
    (score * 65_536.0) as i64
}
