//! Leaders as all see them who ask the same at one moment: put in order once, not once for each of them.
//!
//! What leads overall, in a segment or under a tag does not depend on who asks; what may be shown does. So everyone goes
//! through the same list and takes the best that they may see, which are those that they would have found themselves: the
//! order is total.

use std::sync::OnceLock;

use crate::fold::state::State;
use crate::ids::{ItemIx, Millis, TagIx};
use crate::query::accumulator::Accumulator;
use crate::query::fuse::top;
use crate::query::leaders::{self, TagVotes};
use crate::query::source::Source;

type Ranked = OnceLock<Vec<(ItemIx, f64)>>;
/// By tag. There can be very many, and none of them is asked for where no source goes by tags.
type Votes = OnceLock<Vec<OnceLock<Vec<(u32, f64)>>>>;

/// Leaders of a state at one moment, as far as somebody asked for them. Safe to ask from many threads.
pub struct Leading<'a> {
    state: &'a State,
    now: Millis,
    trending: Ranked,
    popular: Ranked,
    /// By segment.
    trending_in: Vec<Ranked>,
    popular_in: Vec<Ranked>,
    tag_trends: Votes,
    tag_popularity: Votes,
}

fn empty<T>(count: usize) -> Vec<OnceLock<T>> {
    std::iter::repeat_with(OnceLock::new).take(count).collect()
}

impl<'a> Leading<'a> {
    /// Nobody has asked yet.
    pub fn new(state: &'a State, now: Millis) -> Self {
        let segments = usize::from(u8::MAX) + 1;
        Self {
            state,
            now,
            trending: Ranked::new(),
            popular: Ranked::new(),
            trending_in: empty(segments),
            popular_in: empty(segments),
            tag_trends: Votes::new(),
            tag_popularity: Votes::new(),
        }
    }

    /// All leaders by which a source ranks, best first; `None` for other sources, and for a segment's where there is none.
    /// The scores are empty, and in use meanwhile.
    pub fn ranked(
        &self,
        source: &Source,
        segment: Option<u8>,
        scores: &mut Accumulator,
    ) -> Option<&[(ItemIx, f64)]> {
        let (state, now) = (self.state, self.now);
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

    /// What each leader of a tag counts.
    pub fn of_tag(&self, votes: TagVotes, tag: TagIx) -> &[(u32, f64)] {
        let by_tag = match votes {
            TagVotes::Trends => &self.tag_trends,
            TagVotes::Popularity => &self.tag_popularity,
        };
        let by_tag = by_tag.get_or_init(|| empty(self.state.names.tags.len()));
        let Some(own) = by_tag.get(tag.0 as usize) else {
            return &[];
        };
        own.get_or_init(|| {
            let mut found = Vec::new();
            votes.of_tag(self.state, tag, self.now, |item, value| {
                found.push((item, value))
            });
            found
        })
    }
}
