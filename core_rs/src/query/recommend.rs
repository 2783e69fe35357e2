//! `recommend(user)` and `session(items)`: retrieve from every source, fuse, order, say why.

use crate::config::QueryConfig;
use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::{DAY_MS, ItemIx, Millis};
use crate::query::accumulator::{Accumulator, Scratch, with_scratch};
use crate::query::answer::{Answer, AnswerItem, Part};
use crate::query::fuse::{SourceList, fuse, top};
use crate::query::leaders;
use crate::query::reasons::Reasoner;
use crate::query::relation::RelationView;
use crate::query::request::{RecommendRequest, check_n};
use crate::query::seeds::{self, Asker};
use crate::query::session_knn::{self, NeighbourSession};
use crate::sessions::touches::Roles;

/// Sources that know nothing of the visitor.
const IMPERSONAL: [&str; 2] = ["trending", "popular"];

/// Answers a request. Errors: `n` out of range, a source that does not exist.
pub fn recommend(
    state: &State,
    query: &QueryConfig,
    request: &RecommendRequest,
) -> Result<Answer, CoreError> {
    check_n(request.n)?;
    let sources = sources(state, query, request)?;
    let asker = match (&request.user, request.items.is_empty()) {
        (Some(user), true) => seeds::of_user(state, user, query.seeds, request.now),
        _ => seeds::of_items(state, &request.items, query.seeds),
    };
    with_scratch(state.names.items.len(), |scratch| {
        exclude(state, query, request, &asker, &mut scratch.excluded);
        let neighbours = session_knn::neighbours(
            &state.hood.sessions,
            &asker.latest(query.knn_last_items),
            asker.own_session,
            query.knn_neighbours,
        );
        let lists = retrieve(
            state,
            query,
            request.now,
            &asker,
            &neighbours,
            &sources,
            scratch,
        );
        let why = Reasoner {
            state,
            asker: &asker,
            query,
            neighbours: &neighbours,
            now: request.now,
            all: request.all_reasons,
        };
        Ok(answer(&why, &lists, request, scratch))
    })
}

/// The sources in force with their weights: the configuration's, overridden by the request's.
fn sources(
    state: &State,
    query: &QueryConfig,
    request: &RecommendRequest,
) -> Result<Vec<(String, f64)>, CoreError> {
    let mut merged = query.sources.clone();
    for (name, weight) in &request.sources {
        let known = state.relations.iter().any(|r| r.name == *name)
            || ["session-knn", "tag-affinity", "trending", "popular"].contains(&name.as_str());
        if !known {
            return Err(CoreError::Query {
                field: "sources",
                rule: format!("no source is named {name:?}"),
            });
        }
        if !weight.is_finite() || *weight < 0.0 {
            return Err(CoreError::Query {
                field: "sources",
                rule: format!("the weight {weight} of {name:?} is not a finite number >= 0"),
            });
        }
        merged.insert(name.clone(), *weight);
    }
    Ok(merged
        .into_iter()
        .filter(|(_, weight)| *weight > 0.0)
        .collect())
}

/// Marks what must not be shown: excluded by the caller, rejected or recently consumed by the visitor, or handed in as
/// the session itself.
fn exclude(
    state: &State,
    query: &QueryConfig,
    request: &RecommendRequest,
    asker: &Asker<'_>,
    excluded: &mut Accumulator,
) {
    for item in request
        .exclude
        .iter()
        .chain(&request.items)
        .filter_map(|item| state.names.find_item(item))
    {
        excluded.add(item.0, 1.0);
    }
    let Some(user) = asker.user else { return };
    for touch in user.recent.iter().filter(|t| t.roles.has(Roles::NEGATIVE)) {
        excluded.add(touch.item.0, 1.0);
    }
    if query.exclude_consumed {
        let since = query
            .consumed_expiry_days
            .map_or(Millis::MIN, |days| request.now - (days * DAY_MS) as Millis);
        for touch in user.consumed.iter().filter(|t| t.ts >= since) {
            excluded.add(touch.item.0, 1.0);
        }
    }
}

/// The candidate list of every source, only of items that may be shown.
fn retrieve(
    state: &State,
    query: &QueryConfig,
    now: Millis,
    asker: &Asker<'_>,
    neighbours: &[NeighbourSession],
    sources: &[(String, f64)],
    scratch: &mut Scratch,
) -> Vec<SourceList> {
    let forever = query.exclude_consumed && query.consumed_expiry_days.is_none();
    let mut lists = Vec::with_capacity(sources.len());
    let mut scores = std::mem::take(&mut scratch.scores);
    for (name, weight) in sources {
        scores.reset(state.names.items.len());
        let mut knn = false;
        match name.as_str() {
            "session-knn" => {
                knn = true;
                session_knn::score(
                    &state.hood.sessions,
                    neighbours,
                    &asker.latest(query.knn_last_items),
                    &mut scores,
                );
            }
            "tag-affinity" => leaders::tag_affinity(state, asker, now, &mut scores),
            "trending" => leaders::trending(state, now, &mut scores),
            "popular" => leaders::popular(state, now, &mut scores),
            relation => {
                if let Some(r) = state
                    .relations
                    .iter()
                    .position(|known| known.name == relation)
                {
                    let view = RelationView::new(state, r, now);
                    view.score(&asker.seeds, query.metric, query.shrinkage, &mut scores);
                }
            }
        }
        let eligible = |item: ItemIx| {
            state.catalogue.visible(item)
                && scratch.excluded.get(item.0).is_none()
                && !(forever
                    && asker
                        .user
                        .is_some_and(|u| u.consumed_seen.contains(state.names.item_hash(item))))
        };
        let adjust = |item: ItemIx, score: f64| {
            if knn {
                score * session_knn::idf(&state.hood.sessions, item)
            } else {
                score
            }
        };
        let ranked = top(&state.names, &scores, query.pool, eligible, adjust);
        lists.push(SourceList {
            name: name.clone(),
            weight: *weight,
            ranked,
        });
    }
    scratch.scores = scores;
    lists
}

fn answer(
    why: &Reasoner<'_>,
    lists: &[SourceList],
    request: &RecommendRequest,
    scratch: &mut Scratch,
) -> Answer {
    let (state, query, asker) = (why.state, why.query, why.asker);
    fuse(lists, query.rrf_k, &mut scratch.fused);
    let touched = |item: ItemIx| asker.user.is_some_and(|u| u.touched(item, &state.names));
    let factor = |item: ItemIx| {
        if query.touched_factor < 1.0 && touched(item) {
            query.touched_factor
        } else {
            1.0
        }
    };
    let chosen = top(
        &state.names,
        &scratch.fused,
        request.n,
        |_| true,
        |item, score| score * factor(item),
    );
    // From here on the score array serves as a map from chosen item to its place.
    let places = &mut scratch.scores;
    places.reset(state.names.items.len());
    for (place, (item, _)) in chosen.iter().enumerate() {
        places.add(item.0, place as f64);
    }
    let mut parts: Vec<Vec<Part>> = vec![Vec::new(); chosen.len()];
    for list in lists {
        for (rank, (item, raw)) in list.ranked.iter().enumerate() {
            if let Some(place) = places.get(item.0) {
                let share = factor(*item) * list.weight / (query.rrf_k + rank as f64 + 1.0);
                parts[place as usize].push(Part(list.name.clone(), rank as u32 + 1, *raw, share));
            }
        }
    }
    let items = chosen
        .iter()
        .zip(parts)
        .map(|((item, score), parts)| answer_item(why, *item, *score, parts))
        .collect();
    let personal = lists
        .iter()
        .any(|l| !IMPERSONAL.contains(&l.name.as_str()) && !l.ranked.is_empty());
    let seeds = asker
        .seeds
        .iter()
        .map(|s| state.names.item(s.item).to_string())
        .collect();
    Answer(
        items,
        fallback(state, request, asker, personal, chosen.len()),
        seeds,
        state.position.0,
    )
}

fn answer_item(why: &Reasoner<'_>, item: ItemIx, score: f64, mut parts: Vec<Part>) -> AnswerItem {
    parts.sort_by(|a, b| b.3.total_cmp(&a.3));
    let reasons = parts
        .iter()
        .flat_map(|part| why.reasons(&part.0, item))
        .collect();
    let strongest = parts
        .first()
        .map_or_else(String::new, |part| part.0.clone());
    AnswerItem(
        why.state.names.item(item).to_string(),
        score,
        strongest,
        parts,
        reasons,
    )
}

/// Why the answer is not personal, or shorter than asked; `None` when it is neither.
fn fallback(
    state: &State,
    request: &RecommendRequest,
    asker: &Asker<'_>,
    personal: bool,
    found: usize,
) -> Option<String> {
    let mut why = Vec::new();
    if asker.seeds.is_empty() {
        let who = match &request.user {
            Some(user) if state.names.find_user(user).is_none() => "unknown user",
            Some(_) => "no usable history",
            None => "no known item in the session",
        };
        why.push(format!("{who}: trending and popular items"));
    } else if !personal {
        why.push(
            "nothing is known beside the visitor's own items: trending and popular items"
                .to_string(),
        );
    }
    if found < request.n {
        why.push(format!("only {found} of {} items can be shown", request.n));
    }
    (!why.is_empty()).then(|| why.join("; "))
}
