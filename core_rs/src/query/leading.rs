//! Leaders as all see them who ask the same state: gathered once, and put in order once for all who ask at one moment.
//!
//! What leads overall, in a segment or under a tag, and what is new, does not depend on who asks; what may be shown does. So
//! everyone goes through the same list and takes the best that they may see, which are those that they would have found
//! themselves: the order is total. [`LeadingCache`] keeps the lists from question to question while nothing is folded but records
//! of slates, what is new while nothing is; those in order while the time of the question does not move on either.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use crate::fold::state::State;
use crate::ids::{ItemIx, Millis, Position, TagIx};
use crate::query::accumulator::Accumulator;
use crate::query::few_items::{FewItems, Filters};
use crate::query::fuse::top_sums;
use crate::query::gathered::{Gathered, MOST_TAGS, Newest};
use crate::query::leaders::TagVotes;
use crate::query::source::Source;

type Ranked = OnceLock<Vec<(ItemIx, f64)>>;
type Values = RwLock<HashMap<TagIx, Arc<[(u32, f64)]>>>;

/// Leaders of a state at one moment, as far as somebody asked for them. Safe to ask from many threads.
struct Ordered {
    trending: Ranked,
    /// By segment.
    trending_in: Vec<Ranked>,
    tag_trends: Values,
    tag_popularity: Values,
}

impl Ordered {
    fn new(state: &State) -> Self {
        let segments = state.shards.first().map_or(0, |shard| shard.segments());
        Self {
            trending: Ranked::new(),
            trending_in: (0..segments).map(|_| Ranked::new()).collect(),
            tag_trends: Values::default(),
            tag_popularity: Values::default(),
        }
    }

    fn list(&self, source: &Source, segment: Option<u8>) -> Option<&Ranked> {
        match source {
            Source::Trending => Some(&self.trending),
            Source::TrendingInSegment => self.trending_in.get(usize::from(segment?)),
            _ => None,
        }
    }
}

/// What is known already of the leaders of one state at one moment; nothing where everything is left out.
///
/// Every method takes the state that it was made of, as it stood then.
#[derive(Clone, Default)]
pub struct Leading {
    now: Millis,
    gathered: Option<Arc<Gathered>>,
    newest: Option<Arc<OnceLock<Newest>>>,
    ordered: Option<Arc<Ordered>>,
}

impl Leading {
    /// For many questions to a state at one moment.
    pub fn of_many(state: &State, now: Millis) -> Self {
        Self {
            now,
            gathered: Some(Arc::new(Gathered::new(state))),
            newest: Some(Arc::default()),
            ordered: Some(Arc::new(Ordered::new(state))),
        }
    }

    fn gathered(&self, state: &State) -> Option<&Gathered> {
        let gathered = self.gathered.as_deref();
        debug_assert!(gathered.is_none_or(|gathered| gathered.is_of(state)));
        gathered
    }

    /// The `limit` best leaders by which a source ranks of those that are `eligible`, best first, equal ones by item id; `None`
    /// where they are to be found in the state. The scores are empty, and in use meanwhile.
    pub fn best(
        &self,
        state: &State,
        (source, segment): (&Source, Option<u8>),
        limit: usize,
        eligible: impl Fn(ItemIx) -> bool,
        scores: &mut Accumulator,
    ) -> Option<Vec<(ItemIx, f64)>> {
        let (now, gathered) = (self.now, self.gathered(state)?);
        if !source.is_trending() {
            return gathered.most_voted(state, (source, segment), now, limit, eligible);
        }
        let Some(ordered) = self.ordered.as_deref() else {
            let known = gathered.add_trends(state, source, segment, now, scores);
            let best = || top_sums(&state.names, scores, limit, eligible);
            return known.then(best);
        };
        let ranked = ordered.list(source, segment)?.get_or_init(|| {
            gathered.add_trends(state, source, segment, now, scores);
            top_sums(&state.names, scores, usize::MAX, |_| true)
        });
        let shown = ranked.iter().filter(|(item, _)| eligible(*item));
        Some(shown.take(limit).copied().collect())
    }

    /// Adds `weight` times what each leader of a tag counts; `false` where that is to be found in the state.
    pub fn add_tag(
        &self,
        state: &State,
        votes: TagVotes,
        (tag, weight): (TagIx, f64),
        scores: &mut Accumulator,
    ) -> bool {
        let (now, Some(gathered)) = (self.now, self.gathered(state)) else {
            return false;
        };
        let Some(ordered) = self.ordered.as_deref() else {
            return gathered.of_tag(state, votes, tag, now, |item, value| {
                scores.add(item, weight * value);
            });
        };
        let values = match votes {
            TagVotes::Trends => &ordered.tag_trends,
            TagVotes::Popularity => &ordered.tag_popularity,
        };
        let mut add = |own: &[(u32, f64)]| {
            own.iter().for_each(|(item, _)| scores.ask(*item));
            scores.add_all(own.iter().map(|(item, value)| (*item, weight * value)));
        };
        if let Some(own) = values.read().get(&tag) {
            add(own);
            return true;
        }
        let mut found = Vec::new();
        let found_one = |item, value| found.push((item, value));
        let kept = gathered.of_tag(state, votes, tag, now, found_one);
        let mut values = values.write();
        if !kept || values.len() >= MOST_TAGS {
            return false;
        }
        add(values.entry(tag).or_insert(found.into()));
        true
    }

    /// The items that pass these filters, where they were gathered.
    pub fn few(&self, state: &State, filters: &Filters<'_>) -> Option<Arc<FewItems>> {
        self.gathered(state)?.few(state, filters)
    }

    /// The newest items, where they were gathered.
    pub fn newest(&self, state: &State) -> Option<&Newest> {
        let newest = self.newest.as_deref()?;
        Some(newest.get_or_init(|| Newest::of(state)))
    }
}

/// Leaders kept from question to question beside one state: those of the latest votes that were asked for twice, in order for
/// the latest moment that was.
///
/// Whoever asks holds the state still meanwhile, and the state does not change without moving its position on.
#[derive(Default)]
pub struct LeadingCache {
    latest: Mutex<Latest>,
}

/// What a question depends on.
#[derive(Clone, Copy)]
struct Asked {
    voted: Position,
    position: Position,
    now: Millis,
}

#[derive(Default)]
struct Latest {
    asked: Option<Asked>,
    gathered: Option<Arc<Gathered>>,
    newest: Option<Arc<OnceLock<Newest>>>,
    ordered: Option<Arc<Ordered>>,
}

impl LeadingCache {
    /// Leaders of the state at `now`. Nothing for the first who asks for them, unless it is for `many`: gathering and putting
    /// them in order pays from the second question on.
    pub fn at(&self, state: &State, now: Millis, many: bool) -> Leading {
        let asked = Asked {
            voted: state.voted(),
            position: state.position,
            now,
        };
        let mut latest = self.latest.lock();
        let before = latest.asked.replace(asked);
        let same_votes = before.is_some_and(|before| before.voted == asked.voted);
        let same_state = before.is_some_and(|before| before.position == asked.position);
        let same_moment = same_votes && before.is_some_and(|before| before.now == now);
        keep(&mut latest.gathered, same_votes, many, || {
            Arc::new(Gathered::new(state))
        });
        keep(&mut latest.newest, same_state, many, Arc::default);
        keep(&mut latest.ordered, same_moment, many, || {
            Arc::new(Ordered::new(state))
        });
        Leading {
            now,
            gathered: latest.gathered.clone(),
            newest: latest.newest.clone(),
            ordered: latest.ordered.clone(),
        }
    }
}

/// Lets go of what was kept for another question, and has something to keep from the second question like this on.
fn keep<T>(kept: &mut Option<T>, same: bool, many: bool, new: impl FnOnce() -> T) {
    if !same {
        *kept = None;
    }
    if same || many {
        kept.get_or_insert_with(new);
    }
}
