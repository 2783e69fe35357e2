//! Leaders as all see them who ask the same at one moment: put in order once, not once for each of them.
//!
//! What leads overall, in a segment or under a tag, and what is new, does not depend on who asks; what may be shown does. So
//! everyone goes through the same list and takes the best that they may see, which are those that they would have found
//! themselves: the order is total. [`LeadingCache`] keeps the lists from question to question while neither the state nor
//! the time of the question moves on.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use crate::fold::state::State;
use crate::ids::{ItemIx, Millis, Position, TagIx};
use crate::query::accumulator::Accumulator;
use crate::query::fuse::top;
use crate::query::leaders::{self, TagVotes};
use crate::query::source::Source;

/// Tags whose leaders are kept, of each kind of votes; those of further ones are counted by whoever asks.
const MOST_TAGS: usize = 1024;
/// So many of the newest items are kept.
const NEWEST: usize = 2048;

type Ranked = OnceLock<Vec<(ItemIx, f64)>>;
type ByTag = RwLock<HashMap<TagIx, Arc<[(u32, f64)]>>>;

/// Leaders of a state at one moment, as far as somebody asked for them. Safe to ask from many threads.
///
/// Every method takes the state that it was made of, as it stood then.
pub struct Leading {
    position: Position,
    now: Millis,
    trending: Ranked,
    popular: Ranked,
    /// By segment.
    trending_in: Vec<Ranked>,
    popular_in: Vec<Ranked>,
    tag_trends: ByTag,
    tag_popularity: ByTag,
    newest: OnceLock<Newest>,
}

/// The newest items with what is asked of them, side by side.
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
    fn of(state: &State, now: Millis) -> Self {
        let mut newest = state.fresh.newest_first(Millis::MIN, now);
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

    /// The `count` newest that were born `since` then and are `wanted`, by the item and how often it was served; `None`
    /// where some of them may be older than all that are kept.
    pub fn of_these(
        &self,
        since: Millis,
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
            if wanted(*item, *served) {
                found.push((*item, *born, tags));
            }
        }
        (found.len() == count || !self.cut).then_some(found)
    }
}

fn empty<T>(count: usize) -> Vec<OnceLock<T>> {
    std::iter::repeat_with(OnceLock::new).take(count).collect()
}

impl Leading {
    /// Nobody has asked yet.
    pub fn new(state: &State, now: Millis) -> Self {
        let segments = usize::from(u8::MAX) + 1;
        Self {
            position: state.position,
            now,
            trending: Ranked::new(),
            popular: Ranked::new(),
            trending_in: empty(segments),
            popular_in: empty(segments),
            tag_trends: ByTag::default(),
            tag_popularity: ByTag::default(),
            newest: OnceLock::new(),
        }
    }

    /// Whether these are the leaders of that state at that moment.
    fn is_of(&self, state: &State, now: Millis) -> bool {
        (self.position, self.now) == (state.position, now)
    }

    /// All leaders by which a source ranks, best first; `None` for other sources, and for a segment's where there is none.
    /// The scores are empty, and in use meanwhile.
    pub fn ranked(
        &self,
        state: &State,
        source: &Source,
        segment: Option<u8>,
        scores: &mut Accumulator,
    ) -> Option<&[(ItemIx, f64)]> {
        let now = self.now;
        debug_assert!(self.is_of(state, now));
        let list = match source {
            Source::Trending => &self.trending,
            Source::Popular => &self.popular,
            Source::TrendingInSegment => &self.trending_in[usize::from(segment?)],
            Source::PopularInSegment => &self.popular_in[usize::from(segment?)],
            _ => return None,
        };
        Some(list.get_or_init(|| {
            match (source, segment) {
                (Source::Trending, _) => leaders::trending(state, now, scores),
                (Source::Popular, _) => leaders::popular(state, now, scores),
                (Source::TrendingInSegment, Some(segment)) => {
                    leaders::trending_in_segment(state, segment, now, scores);
                }
                (_, Some(segment)) => leaders::popular_in_segment(state, segment, now, scores),
                (_, None) => {}
            }
            top(&state.names, scores, usize::MAX, |_| true, |_, score| score)
        }))
    }

    /// What each leader of a tag counts; `None` where so many tags were asked for that no more are kept.
    pub fn of_tag(&self, state: &State, votes: TagVotes, tag: TagIx) -> Option<Arc<[(u32, f64)]>> {
        debug_assert!(self.is_of(state, self.now));
        let by_tag = match votes {
            TagVotes::Trends => &self.tag_trends,
            TagVotes::Popularity => &self.tag_popularity,
        };
        if let Some(own) = by_tag.read().get(&tag) {
            return Some(own.clone());
        }
        let mut found = Vec::new();
        votes.of_tag(state, tag, self.now, |item, value| {
            found.push((item, value));
        });
        let mut by_tag = by_tag.write();
        if by_tag.len() >= MOST_TAGS {
            return None;
        }
        let own = by_tag.entry(tag).or_insert_with(|| found.into());
        Some(own.clone())
    }

    /// The newest items.
    pub fn newest(&self, state: &State) -> &Newest {
        debug_assert!(self.is_of(state, self.now));
        self.newest.get_or_init(|| Newest::of(state, self.now))
    }
}

/// Leaders kept from question to question beside one state: those of the latest position and moment that were asked twice.
///
/// Whoever asks holds the state still meanwhile, and the state does not change without moving its position on.
#[derive(Default)]
pub struct LeadingCache {
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    asked: Option<(Position, Millis)>,
    kept: Option<Arc<Leading>>,
}

impl LeadingCache {
    /// Leaders of the state at `now`; `None` for the first who asks for these, unless it is for `many`: putting leaders in
    /// order pays from the second question on.
    pub fn at(&self, state: &State, now: Millis, many: bool) -> Option<Arc<Leading>> {
        let key = Some((state.position, now));
        let mut latest = self.latest.lock();
        if latest.asked != key {
            let kept = many.then(|| Arc::new(Leading::new(state, now)));
            *latest = Latest { asked: key, kept };
            return latest.kept.clone();
        }
        let kept = latest
            .kept
            .get_or_insert_with(|| Arc::new(Leading::new(state, now)));
        Some(kept.clone())
    }
}
