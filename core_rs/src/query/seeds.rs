//! Seeds: the visitor's own items that candidates are looked up from.

use crate::fold::state::State;
use crate::ids::{EventRef, ItemIx, Millis, TagIx};
use crate::query::leaders::TAGS;
use crate::query::request::RecommendRequest;
use crate::query::text::Text;
use crate::sessions::touches::{Roles, Touch};
use crate::sessions::user::UserState;

/// One of the visitor's items.
#[derive(Clone, Debug, PartialEq)]
pub struct Seed {
    /// The item.
    pub item: ItemIx,
    /// Weight, above 0: newer and stronger is heavier.
    pub weight: f64,
    /// Whether it was touched in the current session.
    pub in_session: bool,
    /// The visitor's latest event on it, absent for items handed in by the caller.
    pub event: Option<(EventRef, Text, Millis)>,
}

/// Seeds, tags and marks of whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Asker<'a> {
    /// State of a known user.
    pub user: Option<&'a UserState>,
    /// Segment of a known user.
    pub segment: Option<u8>,
    /// The session of a known user that must not be their own neighbour.
    pub own_session: Option<u64>,
    /// Newest first.
    pub seeds: Vec<Seed>,
    /// Tags that the visitor cares for, strongest first.
    pub tags: Vec<(TagIx, f64)>,
}

impl Asker<'_> {
    /// Names of the seeds' items, in order.
    pub fn seed_names(&self, state: &State) -> Vec<Text> {
        let name = |seed: &Seed| state.names.item(seed.item).into();
        self.seeds.iter().map(name).collect()
    }

    /// The `last` newest items, newest first.
    pub fn latest(&self, last: usize) -> Vec<ItemIx> {
        self.seeds.iter().take(last).map(|seed| seed.item).collect()
    }

    /// The tags that are looked up, strongest first.
    pub fn strongest_tags(&self) -> impl Iterator<Item = (TagIx, f64)> {
        self.tags
            .iter()
            .take(TAGS)
            .copied()
            .filter(|(_, weight)| *weight > 0.0)
    }
}

/// Newest weighs 1, every older one three quarters of the one after it.
const STEP: f64 = 0.75;
/// What a strong touch weighs more, and a mere touch less, than a positive one.
const STRONG: f64 = 1.5;
const NEUTRAL: f64 = 0.5;

fn role_weight(touch: &Touch) -> f64 {
    if touch.roles.has(Roles::STRONG) {
        STRONG
    } else if touch.roles.has(Roles::POSITIVE) {
        1.0
    } else {
        NEUTRAL
    }
}

/// Who asks: a user by what they did, or a visitor who touched the request's items.
pub fn of_request<'a>(state: &'a State, request: &RecommendRequest, limit: usize) -> Asker<'a> {
    match asked_by(request) {
        Some(user) => of_user(state, user, limit, request.now),
        None => of_items(state, &request.items, limit),
    }
}

/// The user whose history counts; none where items were handed in.
pub fn asked_by(request: &RecommendRequest) -> Option<&str> {
    request.user.as_deref().filter(|_| request.items.is_empty())
}

/// What is known of a user. An unknown user has no seeds.
pub fn of_user<'a>(state: &'a State, user: &str, limit: usize, now: Millis) -> Asker<'a> {
    let Some((partition, ix)) = state.names.find_user(user) else {
        return Asker::default();
    };
    let own_session = state.hood.sessions.open_session(partition, ix);
    let Some(known) = state.partitions[partition].user(ix) else {
        return Asker::default();
    };
    let mut seeds = Vec::with_capacity(limit);
    let mut weight = 1.0;
    let liked = known
        .recent
        .iter()
        .rev()
        .filter(|t| !t.roles.has(Roles::NEGATIVE));
    for touch in liked.take(limit) {
        let ty = state.partitions[partition].type_name(touch.ty).into();
        seeds.push(Seed {
            item: touch.item,
            weight: weight * role_weight(touch),
            in_session: touch.session == known.session.number,
            event: Some((touch.at, ty, touch.ts)),
        });
        weight *= STEP;
    }
    let tags = known
        .affinities
        .strongest(&state.limits.affinity, now, &state.names);
    Asker {
        user: Some(known),
        segment: known.segment,
        own_session,
        seeds,
        tags,
    }
}

/// An anonymous visitor who touched these items, latest last. Unknown items are passed over.
pub fn of_items<'a>(state: &State, items: &[String], limit: usize) -> Asker<'a> {
    let mut asker = Asker::default();
    let mut weight = 1.0;
    for item in items.iter().rev() {
        let Some(item) = state.names.find_item(item) else {
            continue;
        };
        if asker.seeds.len() == limit || asker.seeds.iter().any(|s| s.item == item) {
            continue;
        }
        asker.seeds.push(Seed {
            item,
            weight,
            in_session: true,
            event: None,
        });
        for tag in state.catalogue.tags(item) {
            match asker.tags.iter_mut().find(|(t, _)| t == tag) {
                Some((_, sum)) => *sum += weight,
                None => asker.tags.push((*tag, weight)),
            }
        }
        weight *= STEP;
    }
    let name = |tag: TagIx| state.names.tag(tag);
    asker
        .tags
        .sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| name(a.0).cmp(name(b.0))));
    asker
}
