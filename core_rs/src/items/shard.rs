//! One shard: counts, leaders and co-occurrence rows of the items that it owns.

use crate::catalogue::Catalogue;
use crate::config::FoldConfig;
use crate::cooccurrence::rows::RowStore;
use crate::ids::{ItemIx, Millis, TagIx};
use crate::items::leaders::{Electorate, Leaders, read_set, write_set};
use crate::items::topset::TopSet;
use crate::items::votes::{ClockMemos, ItemClocks, ItemStats, Vote};
use crate::names::Names;
use crate::search::prefetch;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Leaders kept per tag and shard.
pub const TAG_LEADERS: usize = 32;

/// So many members ahead their counts are asked for.
const AHEAD: usize = 16;

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
    /// How often each item was served.
    served: Vec<u32>,
    /// Among all users.
    overall: Leaders,
    /// Among the users of each segment; empty until one of them votes.
    segments: Vec<Leaders>,
    by_tag: Vec<TopSet>,
    /// Rows per relation: neighbours that this shard owns, for every seed.
    pub rows: Vec<RowStore>,
    /// What was worked out for the latest votes. No state.
    memos: ClockMemos,
}

const KIND_STATS: u8 = 1;
const KIND_LEADERS: u8 = 2;
// 3 are rows.
const KIND_SEGMENT_STATS: u8 = 4;
const KIND_TAG: u8 = 5;
const KIND_SEGMENT_LEADERS: u8 = 6;

impl Shard {
    /// An empty shard of this configuration.
    pub fn new(config: &FoldConfig) -> Self {
        let share = |capacity| RowStore::share(capacity, config.shards);
        Self {
            items: Vec::new(),
            served: Vec::new(),
            overall: Leaders::default(),
            segments: config
                .segments
                .values
                .iter()
                .map(|_| Leaders::default())
                .collect(),
            by_tag: Vec::new(),
            rows: config
                .relations
                .iter()
                .map(|r| RowStore::new(share(r.capacity)))
                .collect(),
            memos: ClockMemos::new(&ItemClocks::new(config)),
        }
    }

    /// Takes ownership of a new item; its number inside the shard.
    pub fn own(&mut self, item: ItemIx) -> u32 {
        self.items.push(item);
        self.served.push(0);
        self.overall.ensure(self.items.len());
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
        &self.overall.stats()[local as usize]
    }

    /// Counts of an owned item among the users of a segment; `None` where there can be no votes yet.
    pub fn stats_in(&self, segment: u8, local: u32) -> Option<&ItemStats> {
        let leaders = self.segments.get(usize::from(segment))?;
        leaders.stats().get(local as usize)
    }

    /// Segments whose users' votes count apart.
    pub fn segments(&self) -> usize {
        self.segments.len()
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

    /// Asks for the counts of an owned item that is voted for soon.
    #[inline]
    pub fn ask_for(&self, local: u32) {
        self.overall.prefetch(local);
    }

    /// Counts one vote, for everyone and for the user's segment. O(1) but for a change of leaders.
    pub fn vote(
        &mut self,
        local: u32,
        vote: &Vote,
        clocks: &ItemClocks,
        catalogue: &Catalogue,
        names: &Names,
    ) {
        let electorate = Electorate {
            items: &self.items,
            names,
            clocks,
        };
        let visible = catalogue.visible(vote.item);
        let memos = &mut self.memos;
        self.overall.vote(local, vote, visible, &electorate, memos);
        if let Some(segment) = vote.segment
            && let Some(leaders) = self.segments.get_mut(usize::from(segment))
        {
            leaders.ensure(self.items.len());
            leaders.vote(local, vote, visible, &electorate, memos);
        }
        if visible {
            let epoch = memos.popularity_epoch(vote.clock);
            let stats = self.overall.stats();
            let value = |i: u32| stats[i as usize].popularity.at(epoch);
            for tag in catalogue.tags(vote.item) {
                let hash = |i| electorate.hash(i);
                grow(&mut self.by_tag, *tag).offer(local, epoch, TAG_LEADERS, value, hash);
            }
        }
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
        let everyone = std::iter::once(&mut self.overall).chain(&mut self.segments);
        if !change.visible {
            return everyone.for_each(|leaders| leaders.withdraw(local));
        }
        let electorate = Electorate {
            items: &self.items,
            names,
            clocks,
        };
        everyone.for_each(|leaders| leaders.offer(local, change.clock, &electorate));
        let epoch = clocks.popularity.epoch(change.clock);
        let stats = self.overall.stats();
        let value = |i: u32| stats[i as usize].popularity.at(epoch);
        for tag in change.new {
            let hash = |i| electorate.hash(i);
            grow(&mut self.by_tag, *tag).offer(local, epoch, TAG_LEADERS, value, hash);
        }
    }

    fn with_stats<'a>(
        &'a self,
        leaders: &'a Leaders,
        members: &'a [u32],
    ) -> impl Iterator<Item = (ItemIx, &'a ItemStats)> {
        let stats = leaders.stats();
        members.iter().enumerate().map(move |(at, m)| {
            // Members' counts lie anywhere among the items', on one line or two.
            if let Some(next) = members.get(at + AHEAD) {
                prefetch(stats, *next as usize);
                prefetch(stats, *next as usize + 1);
            }
            (self.items[*m as usize], &stats[*m as usize])
        })
    }

    /// Popular items, in no particular order.
    pub fn popular(&self) -> impl Iterator<Item = (ItemIx, &ItemStats)> {
        self.with_stats(&self.overall, self.overall.popular())
    }

    /// Trending items, in no particular order.
    pub fn trending(&self) -> impl Iterator<Item = (ItemIx, &ItemStats)> {
        self.with_stats(&self.overall, self.overall.trending())
    }

    /// Items that are popular among the users of a segment, with their counts there, in no particular order.
    pub fn popular_in(&self, segment: u8) -> impl Iterator<Item = (ItemIx, &ItemStats)> {
        let leaders = self.segments.get(usize::from(segment));
        leaders
            .into_iter()
            .flat_map(|own| self.with_stats(own, own.popular()))
    }

    /// Items that are trending among the users of a segment, with their counts there, in no particular order.
    pub fn trending_in(&self, segment: u8) -> impl Iterator<Item = (ItemIx, &ItemStats)> {
        let leaders = self.segments.get(usize::from(segment));
        leaders
            .into_iter()
            .flat_map(|own| self.with_stats(own, own.trending()))
    }

    /// Leaders of a tag, in no particular order.
    pub fn tag_leaders(&self, tag: TagIx) -> impl Iterator<Item = (ItemIx, &ItemStats)> {
        let members = self
            .by_tag
            .get(tag.0 as usize)
            .map_or(&[][..], |set| set.members());
        self.with_stats(&self.overall, members)
    }

    /// All owned items with their counts.
    pub fn all(&self) -> impl Iterator<Item = (ItemIx, &ItemStats)> {
        self.items.iter().copied().zip(self.overall.stats())
    }

    /// Bytes held by item counts and leaders.
    pub fn memory(&self) -> usize {
        let sets: usize = self
            .by_tag
            .iter()
            .map(|s| size_of::<TopSet>() + s.members().len() * 4)
            .sum();
        let leaders = std::iter::once(&self.overall).chain(&self.segments);
        (self.items.capacity() + self.served.capacity()) * 4
            + leaders.map(Leaders::memory).sum::<usize>()
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
                stats.write(w);
                w.uint(u64::from(*served));
            });
        }
        w.entity(KIND_LEADERS, |w| self.overall.write(&self.items, w));
        for (segment, leaders) in self.segments.iter().enumerate() {
            self.write_segment(segment as u8, leaders, w);
        }
        let names = w.names();
        let mut tags: Vec<u32> = (0..self.by_tag.len() as u32)
            .filter(|t| !self.by_tag[*t as usize].members().is_empty())
            .collect();
        tags.sort_by_key(|t| names.tags.name(*t));
        for tag in tags {
            w.entity(KIND_TAG, |w| {
                w.tag(TagIx(tag));
                write_set(self.by_tag[tag as usize].members(), &self.items, w);
            });
        }
        for (relation, rows) in self.rows.iter().enumerate() {
            rows.write(relation as u8, w);
        }
    }

    fn write_segment(&self, segment: u8, leaders: &Leaders, w: &mut PartWriter<'_>) {
        for (item, stats) in self.items.iter().zip(leaders.stats()) {
            if *stats != ItemStats::default() {
                w.entity(KIND_SEGMENT_STATS, |w| {
                    w.byte(segment);
                    w.item(*item);
                    stats.write(w);
                });
            }
        }
        if !leaders.is_unused() {
            w.entity(KIND_SEGMENT_LEADERS, |w| {
                w.byte(segment);
                leaders.write(&self.items, w);
            });
        }
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
                let at = local(r.item()?)?;
                self.overall.restore(at, ItemStats::read(r)?);
                self.served[at as usize] = r.uint32()?;
            }
            KIND_LEADERS => self.overall.read(r, local)?,
            KIND_SEGMENT_STATS => {
                let leaders = self.segment(r)?;
                let at = local(r.item()?)?;
                leaders.restore(at, ItemStats::read(r)?);
            }
            KIND_SEGMENT_LEADERS => self.segment(r)?.read(r, local)?,
            KIND_TAG => {
                let tag = r.tag()?;
                let members = read_set(r, local)?;
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

    /// The segment that an entity is about, with room for every item.
    fn segment(&mut self, r: &mut PartReader<'_>) -> ReadResult<&mut Leaders> {
        let segment = usize::from(r.byte()?);
        let Some(leaders) = self.segments.get_mut(segment) else {
            return Err(r.broken("a segment outside the configuration"));
        };
        leaders.ensure(self.items.len());
        Ok(leaders)
    }
}

fn grow(sets: &mut Vec<TopSet>, tag: TagIx) -> &mut TopSet {
    let at = tag.0 as usize;
    if sets.len() <= at {
        sets.resize_with(at + 1, TopSet::default);
    }
    &mut sets[at]
}
