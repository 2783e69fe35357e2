//! Leaders with their counts, side by side: in the shards they lie anywhere among all items' counts, and every question
//! would wait for each of them.
//!
//! What is gathered holds until something is folded that votes or changes items ([`State::voted`]), while [`Newest`] also tells how
//! often items were served; what a count is worth depends on the time of the question too. Counts of one clock decay alike,
//! so the order of the popular does not: only their votes are read anew.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use crate::decay::{DecayReader, DecayedCount};
use crate::fold::state::State;
use crate::ids::{ItemIx, Millis, Position, TagIx};
use crate::items::votes::{ItemStats, TrendReader};
use crate::names::Names;
use crate::query::accumulator::Accumulator;
use crate::query::few_items::{FewItems, FewKept, Filters};
use crate::query::fuse::top_of;
use crate::query::leaders::TagVotes;
use crate::query::source::Source;

/// Tags whose leaders are kept; those of further ones are read from the shards by whoever asks.
pub const MOST_TAGS: usize = 1024;
/// So many of the newest items are kept.
const NEWEST: usize = 2048;

/// An item and its votes.
#[derive(Clone, Copy, Debug)]
pub struct Votes {
    /// The item.
    pub item: ItemIx,
    epoch: u32,
    count: u64,
}

/// An item and its votes in both windows of trending.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// The item.
    pub item: ItemIx,
    short_epoch: u32,
    long_epoch: u32,
    short: u64,
    long: u64,
}

impl Votes {
    /// Of an item with its counts.
    pub fn of((item, stats): (ItemIx, &ItemStats)) -> Self {
        let DecayedCount { count, epoch } = stats.popularity;
        Self { item, epoch, count }
    }

    /// Full-weight votes.
    #[inline]
    pub fn read(&self, reader: &mut DecayReader) -> f64 {
        let (count, epoch) = (self.count, self.epoch);
        reader.read(&DecayedCount { count, epoch })
    }
}

impl Windows {
    /// Of an item with its counts.
    pub fn of((item, stats): (ItemIx, &ItemStats)) -> Self {
        Self {
            item,
            short_epoch: stats.short.epoch,
            long_epoch: stats.long.epoch,
            short: stats.short.count,
            long: stats.long.count,
        }
    }

    /// How far recent votes exceed what the past lets expect.
    #[inline]
    pub fn trend(&self, reader: &mut TrendReader) -> f64 {
        let count = |count, epoch| DecayedCount { count, epoch };
        let short = count(self.short, self.short_epoch);
        reader.trend_of(&short, &count(self.long, self.long_epoch))
    }
}

/// Popular items, most votes first, equal ones by id, as they stood at one moment.
struct Popular {
    at: Millis,
    ranked: Vec<Votes>,
}

/// The newest items with what is asked of them.
pub struct Newest {
    /// Item, birth, how often it was served; newest first.
    items: Vec<(ItemIx, Millis, u32)>,
    /// Tags of the items, one after the other, and where each one's end.
    tags: Vec<TagIx>,
    ends: Vec<u32>,
    /// Whether older ones were left out.
    cut: bool,
}

/// A fresh item: its birth and its tags.
pub type FreshItem<'a> = (ItemIx, Millis, &'a [TagIx]);

impl Newest {
    /// Those of a state as it stands.
    pub fn of(state: &State) -> Self {
        // Of items that are counted elsewhere nothing is asked here, nor known.
        let own = state.own_items();
        let mut newest = state
            .fresh
            .newest_first(Millis::MIN, Millis::MAX)
            .filter(|(item, _)| own.is_none_or(|own| own.get(item.0 as usize)));
        let items: Vec<_> = newest
            .by_ref()
            .take(NEWEST)
            .map(|(item, born)| (item, born, state.served(item)))
            .collect();
        let (mut tags, mut ends) = (Vec::new(), Vec::with_capacity(items.len()));
        for (item, ..) in &items {
            tags.extend_from_slice(state.catalogue.tags(*item));
            ends.push(tags.len() as u32);
        }
        Self {
            items,
            tags,
            ends,
            cut: newest.next().is_some(),
        }
    }

    /// The `count` newest that were born `since` then and until `now` and are `wanted`, by the item and how often it was
    /// served; `None` where some of them may be older than all that are kept.
    pub fn of_these(
        &self,
        (since, now): (Millis, Millis),
        count: usize,
        wanted: impl Fn(ItemIx, u32) -> bool,
    ) -> Option<Vec<FreshItem<'_>>> {
        let mut found = Vec::with_capacity(count.min(self.items.len()));
        let mut start = 0;
        for ((item, born, served), end) in self.items.iter().zip(&self.ends) {
            if *born < since || found.len() == count {
                return Some(found);
            }
            let tags = &self.tags[start..*end as usize];
            start = *end as usize;
            if *born <= now && wanted(*item, *served) {
                found.push((*item, *born, tags));
            }
        }
        (found.len() == count || !self.cut).then_some(found)
    }
}

type ByTag<T> = RwLock<HashMap<TagIx, Arc<[T]>>>;

/// What leads in a state, as far as somebody asked for it. Safe to ask from many threads.
///
/// Every method takes the state that it was made of, where nothing was folded since but records of slates.
pub struct Gathered {
    voted: Position,
    trending: OnceLock<Vec<Windows>>,
    popular: OnceLock<Popular>,
    /// By segment.
    trending_in: Vec<OnceLock<Vec<Windows>>>,
    popular_in: Vec<OnceLock<Popular>>,
    tag_trends: ByTag<Windows>,
    tag_popularity: ByTag<Votes>,
    few: FewKept,
}

impl Gathered {
    /// Whether this was gathered from the state as it stands.
    pub fn is_of(&self, state: &State) -> bool {
        self.voted == state.voted()
    }

    /// Nobody has asked yet.
    pub fn new(state: &State) -> Self {
        let segments = state.shards.first().map_or(0, |shard| shard.segments());
        Self {
            voted: state.voted(),
            trending: OnceLock::new(),
            popular: OnceLock::new(),
            trending_in: (0..segments).map(|_| OnceLock::new()).collect(),
            popular_in: (0..segments).map(|_| OnceLock::new()).collect(),
            tag_trends: ByTag::default(),
            tag_popularity: ByTag::default(),
            few: FewKept::default(),
        }
    }

    /// Adds how far recent votes for the leaders of a trending source exceed what the past lets expect; `false` for other
    /// sources, and for a segment that there is not.
    pub fn add_trends(
        &self,
        state: &State,
        source: &Source,
        segment: Option<u8>,
        now: Millis,
        scores: &mut Accumulator,
    ) -> bool {
        let Some(trending) = self.trending(state, source, segment) else {
            return false;
        };
        let mut reader = TrendReader::new(&state.clocks, now);
        let trends = trending.iter();
        let trends = trends.map(|own| (own.item.0, own.trend(&mut reader)));
        scores.add_all(trends.filter(|(_, trend)| *trend > 0.0));
        true
    }

    /// The `limit` best of a source that ranks by votes alone, of those that are `eligible`; `None` for other sources, and
    /// where their order at `now` must be found anew.
    pub fn most_voted(
        &self,
        state: &State,
        (source, segment): (&Source, Option<u8>),
        now: Millis,
        limit: usize,
        eligible: impl Fn(ItemIx) -> bool,
    ) -> Option<Vec<(ItemIx, f64)>> {
        let popular = self.popular(state, source, segment, now)?;
        if now < popular.at {
            // Long before its epoch a count no longer grows, and others pass it.
            return None;
        }
        let mut reader = DecayReader::new(state.clocks.popularity, now);
        let mut found = Vec::with_capacity(limit.min(popular.ranked.len()));
        let mut last: Option<(&Votes, f64)> = None;
        for own in &popular.ranked {
            let votes = own.read(&mut reader);
            if let Some((above, more)) = last {
                // Counts that rounding made equal are told apart by their ids.
                let same = (above.count, above.epoch) == (own.count, own.epoch);
                if more < votes || more == votes && !same {
                    return None;
                }
            }
            last = Some((own, votes));
            if found.len() == limit || votes <= 0.0 {
                break;
            }
            if eligible(own.item) {
                found.push((own.item, votes));
            }
        }
        Some(found)
    }

    fn trending(&self, state: &State, source: &Source, segment: Option<u8>) -> Option<&[Windows]> {
        let shards = state.shards.iter();
        Some(match source {
            Source::Trending => self
                .trending
                .get_or_init(|| shards.flat_map(|s| s.trending()).map(Windows::of).collect()),
            Source::TrendingInSegment => {
                let own = segment?;
                self.trending_in.get(usize::from(own))?.get_or_init(|| {
                    let leaders = shards.flat_map(|s| s.trending_in(own));
                    leaders.map(Windows::of).collect()
                })
            }
            _ => return None,
        })
    }

    fn popular(
        &self,
        state: &State,
        source: &Source,
        segment: Option<u8>,
        now: Millis,
    ) -> Option<&Popular> {
        let shards = state.shards.iter();
        Some(match source {
            Source::Popular => self.popular.get_or_init(|| {
                let leaders = shards.flat_map(|s| s.popular());
                Popular::new(state, now, leaders.map(Votes::of).collect())
            }),
            Source::PopularInSegment => {
                let own = segment?;
                self.popular_in.get(usize::from(own))?.get_or_init(|| {
                    let leaders = shards.flat_map(|s| s.popular_in(own));
                    Popular::new(state, now, leaders.map(Votes::of).collect())
                })
            }
            _ => return None,
        })
    }

    /// Calls `with` for each leader of a tag that counts, with the item and its value; `false` where so many tags were
    /// asked for that no more are kept.
    pub fn of_tag(
        &self,
        state: &State,
        votes: TagVotes,
        tag: TagIx,
        now: Millis,
        with: impl FnMut(u32, f64),
    ) -> bool {
        let leaders = || state.shards.iter().flat_map(|s| s.tag_leaders(tag));
        match votes {
            TagVotes::Popularity => {
                let own = kept(&self.tag_popularity, tag, || {
                    leaders().map(Votes::of).collect()
                });
                own.map(|own| popularity_of_tag(state, &own, now, with))
                    .is_some()
            }
            TagVotes::Trends => {
                let own = kept(&self.tag_trends, tag, || {
                    leaders().map(Windows::of).collect()
                });
                own.map(|own| trends_of_tag(state, &own, now, with))
                    .is_some()
            }
        }
    }

    /// The items that pass these filters, where others asked for them before.
    pub fn few(&self, state: &State, filters: &Filters<'_>) -> Option<Arc<FewItems>> {
        self.few.get(state, filters)
    }
}

impl Popular {
    fn new(state: &State, at: Millis, votes: Vec<Votes>) -> Self {
        let mut reader = DecayReader::new(state.clocks.popularity, at);
        let ranked = ranked(&state.names, votes, |own| own.read(&mut reader));
        Self { at, ranked }
    }
}

/// By falling value, equal ones by id; those without votes are left out.
fn ranked(names: &Names, votes: Vec<Votes>, mut value: impl FnMut(&Votes) -> f64) -> Vec<Votes> {
    let by_item: HashMap<ItemIx, Votes> = votes.iter().map(|own| (own.item, *own)).collect();
    let values = votes.iter().map(|own| (own.item, value(own))).collect();
    let best = top_of(names, values, usize::MAX);
    let own = best.iter().filter_map(|(item, _)| by_item.get(item));
    own.copied().collect()
}

/// The leaders of a tag, kept from now on; `None` where there is no more room.
fn kept<T>(all: &ByTag<T>, tag: TagIx, gather: impl FnOnce() -> Arc<[T]>) -> Option<Arc<[T]>> {
    if let Some(own) = all.read().get(&tag) {
        return Some(own.clone());
    }
    if all.read().len() >= MOST_TAGS {
        return None;
    }
    let own = gather();
    Some(all.write().entry(tag).or_insert(own).clone())
}

fn popularity_of_tag(state: &State, own: &[Votes], now: Millis, mut with: impl FnMut(u32, f64)) {
    let mut reader = DecayReader::new(state.clocks.popularity, now);
    for own in own {
        with(own.item.0, (1.0 + own.read(&mut reader)).sqrt());
    }
}

fn trends_of_tag(state: &State, own: &[Windows], now: Millis, mut with: impl FnMut(u32, f64)) {
    let mut reader = TrendReader::new(&state.clocks, now);
    for own in own {
        let trend = own.trend(&mut reader);
        if trend > 0.0 {
            with(own.item.0, trend);
        }
    }
}
