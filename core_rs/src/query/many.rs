//! `recommend_many(users)`: one question for many users, answered in parallel, as columns.

use std::collections::VecDeque;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::embedding::query::MAX_GROUP;
use crate::error::CoreError;
use crate::fold::state::State;
use crate::query::answer::Answer;
use crate::query::leading::Leading;
use crate::query::parallel;
use crate::query::plan::Tools;
use crate::query::recommend::{Question, Shared};
use crate::query::request::RecommendRequest;
use crate::query::retrieve::is_large;
use crate::query::taking_part;
use crate::query::text::Column;
use crate::query::together::{Asked, Scanned, found_together};

/// The question; its user and key are those of each of `users` in turn.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ManyRequest {
    pub request: RecommendRequest,
    pub users: Vec<String>,
    pub keys: Vec<String>,
}

/// All slots of all users, as columns, and one entry a user: number of slots, fallback, exploration. Written as an array.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
#[allow(missing_docs)]
pub struct ManyAnswer {
    pub position: u64,
    pub counts: Vec<usize>,
    pub fallbacks: Vec<Option<String>>,
    /// The variant that answered each user.
    pub variants: Vec<Option<String>>,
    /// Temperature and floor of each slate that explored, 0 elsewhere.
    pub temperatures: Vec<f64>,
    pub floors: Vec<f64>,
    pub items: Column,
    pub scores: Vec<f64>,
    pub sources: Column,
    pub propensities: Vec<f64>,
    pub cascades: Vec<f64>,
    pub pinned: Vec<bool>,
}

/// Answers for every user, in their order, on the threads of `pool`. Errors: as [`crate::query::recommend::recommend`], of
/// the first user that has one, and when there is not one key for each user.
pub fn recommend_many(
    state: &State,
    tools: &Tools<'_>,
    many: &ManyRequest,
    pool: Option<&rayon::ThreadPool>,
) -> Result<ManyAnswer, CoreError> {
    if many.keys.len() != many.users.len() {
        return Err(CoreError::Query {
            field: "keys",
            rule: format!("{} keys for {} users", many.keys.len(), many.users.len()),
        });
    }
    let now = many.request.now;
    let leading = match tools.leading {
        Some(kept) => kept.at(state, now, true),
        None => Leading::of_many(state, now),
    };
    // Whoever answers writes the columns too: what an answer is made of goes back to the thread that made it.
    let part = |tools: &Tools<'_>, part: Range<usize>| {
        let requests: Vec<_> = part.map(|at| request(state, tools, many, at)).collect();
        let answers = answers(state, tools, &leading, &requests).into_iter();
        let mut out = ManyAnswer::default();
        let added = answers.zip(requests).try_for_each(|(answer, request)| {
            out.add(answer?, request.variant);
            Ok(())
        });
        vec![added.map(|()| out)]
    };
    let parts = parallel::parts(many.users.len(), MAX_GROUP, tools, pool, part)?;
    let mut out = ManyAnswer {
        position: state.position.0,
        ..ManyAnswer::default()
    };
    parts.into_iter().for_each(|part| out.append(part));
    Ok(out)
}

impl ManyAnswer {
    /// Adds the answer to one user, from the variant that they are in.
    fn add(&mut self, answer: Answer, variant: Option<String>) {
        self.counts.push(answer.items.len());
        self.fallbacks.push(answer.fallback);
        self.variants.push(variant);
        self.temperatures.push(answer.exploring.0);
        self.floors.push(answer.exploring.1);
        for slot in &answer.items {
            self.items.push(&slot.item);
            self.scores.push(slot.score);
            self.sources.push(&slot.source);
            self.propensities.push(slot.propensity);
            self.cascades.push(slot.propensity_cascade);
            self.pinned.push(slot.pinned);
        }
    }

    /// Adds the answers to the users after these.
    fn append(&mut self, mut others: Self) {
        self.counts.append(&mut others.counts);
        self.fallbacks.append(&mut others.fallbacks);
        self.variants.append(&mut others.variants);
        self.temperatures.append(&mut others.temperatures);
        self.floors.append(&mut others.floors);
        self.items.append(&others.items);
        self.scores.append(&mut others.scores);
        self.sources.append(&others.sources);
        self.propensities.append(&mut others.propensities);
        self.cascades.append(&mut others.cascades);
        self.pinned.append(&mut others.pinned);
    }
}

/// The question of one user.
fn request(
    state: &State,
    tools: &Tools<'_>,
    many: &ManyRequest,
    question: usize,
) -> RecommendRequest {
    let (user, key) = (&many.users[question], &many.keys[question]);
    let (scenario, now) = (many.request.scenario.as_deref(), many.request.now);
    let variant = taking_part::assign(state, tools.query, user, scenario, now);
    RecommendRequest {
        user: Some(user.clone()),
        variant: variant.map(str::to_string),
        key: key.clone(),
        brief: true,
        ..many.request.clone()
    }
}

/// What [`crate::query::recommend::recommend`] answers to each, with one scan of an embedding and one order of leaders for
/// all.
fn answers(
    state: &State,
    tools: &Tools<'_>,
    leading: &Leading,
    requests: &[RecommendRequest],
) -> Vec<Result<Answer, CoreError>> {
    let begin = |request| match taking_part::withheld(state, tools.query, request)? {
        Some(answer) => Ok(Err(answer)),
        None => Question::new(state, tools, request).map(Ok),
    };
    let mut begun: VecDeque<Result<Result<Question<'_>, Answer>, CoreError>> =
        requests.iter().map(begin).collect();
    let questions: Vec<Option<&Question<'_>>> = begun
        .iter()
        .map(|begun| begun.as_ref().ok()?.as_ref().ok())
        .collect();
    let found = match found(state, &questions) {
        Ok(found) => found,
        // Each comes upon it again by itself.
        Err(_) => questions.iter().map(|_| Vec::new()).collect(),
    };
    let mut answers = Vec::with_capacity(requests.len());
    for scanned in found {
        let Some(question) = begun.pop_front() else {
            break;
        };
        // What the next two begin with is asked for while this one is answered.
        for (next, found) in begun.iter().zip([true, false]) {
            if let Ok(Ok(question)) = next {
                question.ask_ahead(found);
            }
        }
        let leading = leading.clone();
        answers.push(match question {
            Ok(Ok(question)) => question.answer(tools, &Shared { scanned, leading }, None),
            Ok(Err(answer)) => Ok(answer),
            Err(err) => Err(err),
        });
    }
    answers
}

/// For each question, what was found in large embeddings, by name of the source.
fn found(
    state: &State,
    questions: &[Option<&Question<'_>>],
) -> Result<Vec<Vec<(String, Scanned)>>, CoreError> {
    let mut found: Vec<Vec<(String, Scanned)>> = questions.iter().map(|_| Vec::new()).collect();
    for name in state.vectors.names().filter(|name| is_large(state, name)) {
        let Some(vectors) = state.vectors.get(name) else {
            continue;
        };
        let (mut askers, mut asked): (Vec<(usize, &str)>, Vec<Asked>) = Default::default();
        for (at, question) in questions.iter().enumerate() {
            let Some(question) = question else { continue };
            let mut embeddings = question.embeddings();
            let source = embeddings.find(|(_, embedding)| *embedding == name);
            if let Some((source, _)) = source
                && let Some(own) = question.asked(vectors)
            {
                askers.push((at, source));
                asked.push(own);
            }
        }
        let all = found_together(vectors, state.names.items.hashes(), &asked)?;
        for ((at, source), own) in askers.into_iter().zip(all) {
            if let Some(own) = own {
                found[at].push((source.to_string(), own));
            }
        }
    }
    Ok(found)
}
