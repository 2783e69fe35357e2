//! The session host's part after item hosts have answered: each source's list settled, then on as in one process.

use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::query::accumulator::with_scratch;
use crate::query::allowed::{Allowed, Barred};
use crate::query::answer::Answer;
use crate::query::blend::Marks;
use crate::query::filling::youth;
use crate::query::fuse::{SourceList, top_of};
use crate::query::hosts::message::Scatter;
use crate::query::hosts::scatter::{asker, refill};
use crate::query::hosts::told::{Numbered, Told};
use crate::query::hosts::version::{check_replies, check_version};
use crate::query::plan::{Plan, Tools};
use crate::query::recommend::Ranking;
use crate::query::request::RecommendRequest;
use crate::query::retrieve;
use crate::query::seeds::{self, Asker};
use crate::query::source::{Source, Weighted};
use crate::query::taking_part;
use crate::query::vectors;

/// What comes of the replies.
pub enum Gathered {
    /// The answer.
    Answer(Box<Answer>),
    /// The catalogue must fill in, or an item was chosen that nobody told grounds of: what to ask all item hosts instead,
    /// encoded. What they then reply is enough.
    Again(Vec<u8>),
}

/// Makes the slate. `request` is the scatter's. Items of hosts that did not reply are not in it. Errors: those of the same
/// request to one process, and another configuration having become active meanwhile.
pub fn gather(
    state: &State,
    tools: &Tools<'_>,
    scatter: &Scatter<'_>,
    request: &RecommendRequest,
    replies: &Numbered<'_>,
) -> Result<Gathered, CoreError> {
    check_version(state, scatter.version)?;
    check_replies(state, replies)?;
    if let Some(answer) = taking_part::withheld(state, tools.query, request)? {
        return Ok(Gathered::Answer(Box::new(answer)));
    }
    let plan = Plan::new(state, tools, request)?;
    let (scenario, now) = (&*plan.scenario, request.now);
    let asker = who(state, scatter, request, scenario.seeds);
    let told = Told::new(state, &asker, replies);
    let answer = with_scratch(state.names.items.len(), |scratch| {
        let barred = Barred::of(state, scenario, &asker, now);
        let allowed = Allowed::new(
            state,
            scenario,
            request,
            &barred,
            &plan.filters,
            plan.offers_own_items(),
            &mut scratch.allowed,
        );
        let settling = Settling {
            state,
            plan: &plan,
            request,
            allowed: &allowed,
            told: &told,
        };
        let lists = plan.sources.iter().map(|source| settling.list(source));
        let lists = lists.collect();
        let ranking = Ranking {
            state,
            plan: &plan,
            request,
            asker: &asker,
            allowed: &allowed,
            barred: &barred,
            counted: &told,
            stock: &told,
        };
        ranking.answer(lists, &told, &mut scratch.touched, &mut scratch.fused)
    })?;
    let short = told.is_short() && scatter.refill.is_none();
    if short || told.is_silent() && !scatter.thorough {
        let marks = Marks::of(scenario, &asker);
        let again = Scatter {
            refill: short.then(|| refill(state, scenario, &marks)),
            thorough: true,
            ..scatter.clone()
        };
        return Ok(Gathered::Again(again.encode()));
    }
    Ok(Gathered::Answer(Box::new(answer)))
}

/// Who asks: as the scatter says, so that replies are about the same seeds, with what the user's state says now.
fn who<'a>(
    state: &'a State,
    scatter: &Scatter<'_>,
    request: &RecommendRequest,
    seeds: usize,
) -> Asker<'a> {
    let Some(visitor) = &scatter.visitor else {
        return match seeds::asked_by(request) {
            Some(_) => Asker::default(),
            None => seeds::of_items(state, &request.items, seeds),
        };
    };
    let known = state.names.find_user(visitor.user);
    Asker {
        user: known.and_then(|(partition, user)| state.partitions[partition].user(user)),
        ..asker(state, visitor)
    }
}

/// From what all hosts found to the lists that one process would have.
struct Settling<'a> {
    state: &'a State,
    plan: &'a Plan<'a>,
    request: &'a RecommendRequest,
    allowed: &'a Allowed<'a>,
    told: &'a Told<'a>,
}

impl Settling<'_> {
    fn list(&self, source: &Weighted) -> SourceList {
        let (state, name) = (self.state, &*source.name);
        let list = self.request.candidates.as_ref().map_or(0, Vec::len);
        let limit = retrieve::limit(&self.plan.scenario, self.told.listed().min(list));
        let ranked = match source.source {
            Source::Vector(_) => {
                let mut found = self.told.found(name);
                let hash = |item: ItemIx| state.names.item_hash(item);
                found.sort_by(|a, b| b.1.total_cmp(&a.1).then(hash(a.0).cmp(&hash(b.0))));
                found.truncate(vectors::reach(limit));
                vectors::settle(&state.names, self.allowed, limit, &mut found);
                found
            }
            Source::Fresh => {
                // Only the newest of all are looked at, whatever their scores.
                let mut found = self.told.found(name);
                found.sort_by_key(|(item, _)| youth(state, *item));
                found.truncate(self.plan.scenario.pool);
                top_of(&state.names, found, limit)
            }
            _ => self.told.best(name, limit),
        };
        SourceList {
            name: source.name.clone(),
            weight: source.weight,
            personal: source.source.is_personal(),
            approximate: false,
            ranked,
        }
    }
}
