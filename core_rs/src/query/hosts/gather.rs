//! The session host's part after item hosts have answered: each source's list settled, then on as in one process.

use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::query::accumulator::with_scratch;
use crate::query::allowed::Allowed;
use crate::query::answer::Answer;
use crate::query::blend::Marks;
use crate::query::filling::youth;
use crate::query::fuse::{SourceList, top_of};
use crate::query::hosts::likeliest::Likeliest;
use crate::query::hosts::message::{Reply, Scatter};
use crate::query::hosts::scatter::{asker, refill};
use crate::query::hosts::told::{Numbered, Told};
use crate::query::hosts::version::{check_version, check_versions};
use crate::query::plan::{Plan, Tools};
use crate::query::recommend::Question;
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
    check_versions(state, replies.replies())?;
    if let Some(answer) = taking_part::withheld(state, tools.query, request)? {
        return Ok(Gathered::Answer(Box::new(answer)));
    }
    let plan = Plan::new(state, tools, request)?;
    let question = question_of(state, scatter, request, plan);
    let told = Told::new(state, &question.asker, replies);
    let answer = with_scratch(state.names.items.len(), |scratch| {
        let barred = question.barred();
        let allowed = question.allowed(&barred, &mut scratch.allowed);
        let settling = Settling {
            question: &question,
            allowed: &allowed,
            told: &told,
        };
        let sources = question.plan.sources.iter();
        let lists = sources.map(|source| settling.list(source)).collect();
        let ranking = question.ranking(&barred, &allowed, &told, &told);
        ranking.answer(lists, &told, None, &mut scratch.touched, &mut scratch.fused)
    })?;
    let short = told.is_short() && scatter.refill.is_none();
    if short || told.is_silent() && !scatter.thorough {
        let scenario = &*question.plan.scenario;
        let marks = Marks::of(scenario, &question.asker);
        let again = Scatter {
            refill: short.then(|| refill(state, scenario, &marks)),
            thorough: true,
            ..scatter.clone()
        };
        return Ok(Gathered::Again(again.encode()));
    }
    Ok(Gathered::Answer(Box::new(answer)))
}

/// [`gather`] without numbers of all that was told, where the best of it make the slate and none of them is new here. `None`
/// where that does not do: then [`gather`] must. Errors: as there.
pub fn gather_likeliest(
    state: &State,
    tools: &Tools<'_>,
    scatter: &Scatter<'_>,
    request: &RecommendRequest,
    replies: &[Reply<'_>],
) -> Result<Option<Answer>, CoreError> {
    check_version(state, scatter.version)?;
    check_versions(state, replies)?;
    if taking_part::withheld(state, tools.query, request)?.is_some() {
        return Ok(None);
    }
    let plan = Plan::new(state, tools, request)?;
    // Before anything is looked up: where it does not do, all of this is done again.
    if !plan.takes_best_alone(state, request) {
        return Ok(None);
    }
    let question = question_of(state, scatter, request, plan);
    let unheard = |name: &&str| state.names.find_item(name).is_none();
    let unknown = |reply: &Reply<'_>| reply.seeds.iter().any(unheard) || !reply.known.is_empty();
    if replies.iter().any(unknown) {
        return Ok(None);
    }
    let nothing = Numbered::default();
    let untold = Told::new(state, &question.asker, &nothing);
    with_scratch(0, |scratch| {
        let barred = question.barred();
        let allowed = question.allowed(&barred, &mut scratch.allowed);
        let ranking = question.ranking(&barred, &allowed, &untold, &untold);
        let knobs = ranking.knobs(&mut scratch.touched);
        let likeliest = Likeliest::new(&question.plan, replies);
        let Some(chosen) = likeliest.and_then(|likeliest| likeliest.choose(&ranking, &knobs))
        else {
            return Ok(None);
        };
        let numbered = Numbered::of(replies, chosen.numbers);
        let told = Told::new(state, &question.asker, &numbered);
        let ranking = question.ranking(&barred, &allowed, &told, &told);
        let (best, beyond, lists) = (chosen.best, chosen.beyond, chosen.lists);
        let answer = ranking.answer_from(best, beyond, lists, &knobs, &told, None)?;
        let wanting = told.is_short() || told.is_silent();
        Ok((!wanting).then_some(answer))
    })
}

/// The question of a scatter.
fn question_of<'a>(
    state: &'a State,
    scatter: &Scatter<'_>,
    request: &'a RecommendRequest,
    plan: Plan<'a>,
) -> Question<'a> {
    let asker = who(state, scatter, request, plan.scenario.seeds);
    Question {
        state,
        request,
        plan,
        asker,
    }
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
    question: &'a Question<'a>,
    allowed: &'a Allowed<'a>,
    told: &'a Told<'a>,
}

impl Settling<'_> {
    fn list(&self, source: &Weighted) -> SourceList {
        let (state, name) = (self.question.state, &*source.name);
        let scenario = &self.question.plan.scenario;
        let candidates = self.question.request.candidates.as_ref();
        let list = candidates.map_or(0, Vec::len);
        let limit = retrieve::limit(scenario, self.told.listed().min(list));
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
                found.truncate(scenario.pool);
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
