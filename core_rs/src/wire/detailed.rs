//! A slate with everything that is known of it, each array as an object with names: mirrors `Slate.to_dict` of
//! `python/headwater/slate.py`.

use serde::Serialize;

use crate::ids::Millis;
use crate::query::answer::{AnswerItem, EventName, Exploring, Part, Reason};
use crate::wire::said::SlateSaid;
use crate::wire::sentence::ReasonSaid;

/// The whole slate.
#[derive(Serialize)]
pub(super) struct Detailed<'a> {
    kind: &'a str,
    slate: &'a str,
    user: &'a str,
    about: Vec<&'a str>,
    n: usize,
    items: Vec<DetailedItem<'a>>,
    positions: &'a [u64],
    now: Millis,
    fallback: Option<&'a str>,
    degraded: &'a [String],
    config: &'a str,
    recorded: bool,
    scenario: Option<&'a str>,
    variant: Option<&'a str>,
    notes: &'a [String],
    exploring: NamedExploring,
    feature_names: [&'a str; 0],
    candidates: [&'a str; 0],
    approximate: [&'a str; 0],
}

impl<'a> Detailed<'a> {
    pub(super) fn of(said: &SlateSaid<'a>) -> Self {
        let Exploring(temperature, floor, pool) = said.answer.exploring;
        Self {
            kind: "recommend",
            slate: said.id,
            user: said.user,
            about: said.answer.about.iter().map(|item| &**item).collect(),
            n: said.n,
            items: said.answer.items.iter().map(DetailedItem::of).collect(),
            positions: said.positions,
            now: said.now,
            fallback: said.answer.fallback.as_deref(),
            degraded: said.degraded,
            config: said.config,
            recorded: said.recorded,
            scenario: None,
            variant: None,
            notes: &said.answer.notes,
            exploring: NamedExploring {
                temperature,
                floor,
                pool,
            },
            feature_names: [],
            candidates: [],
            approximate: [],
        }
    }
}

#[derive(Serialize)]
struct NamedExploring {
    temperature: f64,
    floor: f64,
    pool: usize,
}

#[derive(Serialize)]
struct DetailedItem<'a> {
    item: &'a str,
    score: f64,
    source: &'a str,
    reason: String,
    propensity: f64,
    propensity_cascade: f64,
    pinned: bool,
    promoted: bool,
    greedy: bool,
    factors: Vec<NamedFactor<'a>>,
    parts: Vec<NamedPart<'a>>,
    reasons: Vec<NamedReason<'a>>,
}

impl<'a> DetailedItem<'a> {
    fn of(item: &'a AnswerItem) -> Self {
        let factors = item.factors.iter();
        Self {
            item: &item.item,
            score: item.score,
            source: &item.source,
            reason: item.reason(),
            propensity: item.propensity,
            propensity_cascade: item.propensity_cascade,
            pinned: item.pinned,
            promoted: item.promoted,
            greedy: item.greedy,
            factors: factors
                .map(|(name, factor)| NamedFactor {
                    name,
                    factor: *factor,
                })
                .collect(),
            parts: item.parts.iter().map(NamedPart::of).collect(),
            reasons: item.reasons.iter().map(NamedReason::of).collect(),
        }
    }
}

impl AnswerItem {
    /// The strongest reason as a sentence.
    pub(super) fn reason(&self) -> String {
        let strongest = self.reasons.first();
        strongest.map_or_else(
            || self.source.to_string(),
            |reason| ReasonSaid::from(reason).sentence(),
        )
    }
}

#[derive(Serialize)]
struct NamedFactor<'a> {
    name: &'a str,
    factor: f64,
}

#[derive(Serialize)]
struct NamedPart<'a> {
    source: &'a str,
    rank: u32,
    raw: f64,
    share: f64,
}

impl<'a> NamedPart<'a> {
    fn of(part: &'a Part) -> Self {
        let Part(source, rank, raw, share) = part;
        Self {
            source,
            rank: *rank,
            raw: *raw,
            share: *share,
        }
    }
}

#[derive(Serialize)]
struct NamedReason<'a> {
    text: String,
    source: &'a str,
    seed: Option<&'a str>,
    event: Option<NamedEvent<'a>>,
    count: f64,
    error: f64,
    detail: Option<&'a str>,
}

impl<'a> NamedReason<'a> {
    fn of(reason: &'a Reason) -> Self {
        let Reason(source, seed, event, count, error, detail) = reason;
        Self {
            text: ReasonSaid::from(reason).sentence(),
            source,
            seed: seed.as_deref(),
            event: event.as_ref().map(NamedEvent::of),
            count: *count,
            error: *error,
            detail: detail.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct NamedEvent<'a> {
    id: String,
    position: u64,
    index: u16,
    #[serde(rename = "type")]
    ty: &'a str,
    ts: Millis,
}

impl<'a> NamedEvent<'a> {
    fn of(event: &'a EventName) -> Self {
        let EventName(position, index, ty, ts) = event;
        Self {
            id: format!("{position}:{index}"),
            position: *position,
            index: *index,
            ty,
            ts: *ts,
        }
    }
}
