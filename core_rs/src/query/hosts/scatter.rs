//! The session host's part before item hosts are asked: the request worked out, the visitor told.

use std::borrow::Cow;

use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::{EventRef, ItemIx, Millis, Position, TagIx};
use crate::names::Names;
use crate::query::allowed::Barred;
use crate::query::blend::Marks;
use crate::query::hosts::message::{Bytes, Refill, Scatter, SeedSaid, Visitor};
use crate::query::hosts::version::version;
use crate::query::plan::{Plan, Tools};
use crate::query::request::RecommendRequest;
use crate::query::seeds::{self, Asker, Seed};
use crate::scenario::Scenario;

/// What to ask the item hosts, encoded. `bytes` are the request's. Errors: those of the same request to one process.
pub fn scatter<'a>(
    state: &'a State,
    tools: &Tools<'_>,
    request: &'a RecommendRequest,
    bytes: &'a [u8],
) -> Result<Vec<u8>, CoreError> {
    let plan = Plan::new(state, tools, request)?;
    let scenario = &*plan.scenario;
    let asker = match seeds::asked_by(request) {
        Some(user) => seeds::of_user(state, user, scenario.seeds, request.now),
        // Which of the items exist is known to item hosts alone.
        None => Asker::default(),
    };
    let visitor = seeds::asked_by(request)
        .filter(|_| asker.user.is_some())
        .map(|user| visitor(state, scenario, user, &asker, request.now));
    let scatter = Scatter {
        version: version(state),
        request: Bytes(bytes),
        visitor,
        refill: None,
        thorough: false,
    };
    Ok(scatter.encode())
}

fn visitor<'a>(
    state: &'a State,
    scenario: &Scenario,
    user: &'a str,
    asker: &'a Asker<'a>,
    now: Millis,
) -> Visitor<'a> {
    let names = &state.names;
    let seed = |seed: &'a Seed| {
        let event = seed.event.as_ref().map(|(at, ty, ts)| {
            let (position, index) = (at.position().0, at.index());
            (position, index, &**ty, *ts)
        });
        SeedSaid(names.item(seed.item), seed.weight, seed.in_session, event)
    };
    let barred = Barred::of(state, scenario, asker, now);
    Visitor {
        user,
        segment: asker.segment,
        seeds: asker.seeds.iter().map(seed).collect(),
        tags: asker
            .tags
            .iter()
            .map(|(tag, weight)| (names.tag(*tag), *weight))
            .collect(),
        barred: barred.items.iter().map(|item| names.item(*item)).collect(),
        beyond: barred.beyond.map(Cow::Borrowed),
    }
}

/// What keeps items of the catalogue from filling in: only where a factor can be 0.
pub fn refill<'a>(state: &'a State, scenario: &Scenario, marks: &'a Marks<'a>) -> Refill<'a> {
    let named = |items: &[ItemIx]| items.iter().map(|item| state.names.item(*item)).collect();
    let touched = marks
        .touched
        .as_ref()
        .filter(|_| scenario.touched_factor <= 0.0);
    Refill {
        touched: touched.map(|(recent, seen)| (named(recent), Cow::Borrowed(*seen))),
        disliked: match scenario.dislike_factor <= 0.0 {
            true => named(&marks.disliked),
            false => Vec::new(),
        },
    }
}

/// Who asks, from what a session host says of them. Items and tags that are not known here are passed over: the host that
/// named them is ahead in the log.
pub fn asker<'a>(state: &State, visitor: &Visitor<'_>) -> Asker<'a> {
    let names = &state.names;
    let seed = |said: &SeedSaid<'_>| {
        let SeedSaid(item, weight, in_session, event) = said;
        let event = event.as_ref().map(|(position, index, ty, ts)| {
            let at = EventRef::new(Position(*position), *index);
            (at, (*ty).into(), *ts)
        });
        Some(Seed {
            item: names.find_item(item)?,
            weight: *weight,
            in_session: *in_session,
            event,
        })
    };
    let tag = |(tag, weight): &(&str, f64)| Some((TagIx(names.tags.get(tag)?), *weight));
    Asker {
        user: None,
        segment: visitor.segment,
        own_session: None,
        seeds: visitor.seeds.iter().filter_map(seed).collect(),
        tags: visitor.tags.iter().filter_map(tag).collect(),
    }
}

/// Numbers of those of the items that are known here.
pub fn known(names: &Names, items: &[&str]) -> Vec<ItemIx> {
    items
        .iter()
        .filter_map(|item| names.find_item(item))
        .collect()
}
