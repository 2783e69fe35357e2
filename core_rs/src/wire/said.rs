//! A slate as it goes back to whoever asked for it: mirrors `Slate` of `python/headwater/slate.py` (compact) and what
//! `cluster/answers.py` says of it (brief); [`crate::wire::detailed`] is the rest.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::ids::Millis;
use crate::query::answer::{Answer, AnswerItem};
use crate::wire::detailed::Detailed;
use crate::wire::usual::Encoding;

/// A slate that answers `recommend`.
#[derive(Clone, Copy, Debug)]
pub struct SlateSaid<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whom it is for.
    pub user: &'a str,
    /// How many items were asked for.
    pub n: usize,
    /// The time of the question.
    pub now: Millis,
    /// What the core answered.
    pub answer: &'a Answer,
    /// Where the hosts stood: the owner, then the item hosts.
    pub positions: &'a [u64],
    /// Version of the configuration that answered.
    pub config: &'a str,
    /// What is wanting.
    pub degraded: &'a [String],
    /// Whether its record goes to the log.
    pub recorded: bool,
}

impl SlateSaid<'_> {
    /// What most callers want of it.
    pub fn brief(&self, encoding: Encoding) -> Vec<u8> {
        let brief = Brief {
            slate: self.id,
            items: self.answer.items.iter().map(BriefItem::of).collect(),
            positions: self.positions,
            degraded: self.degraded,
            fallback: self.answer.fallback.as_deref(),
            notes: &self.answer.notes,
            recorded: self.recorded,
            variant: None,
        };
        written(&brief, encoding)
    }

    /// All that is known of it.
    pub fn detailed(&self, encoding: Encoding) -> Vec<u8> {
        written(&Detailed::of(self), encoding)
    }

    /// All of it: a map whose parts are arrays, as MessagePack.
    pub fn compact(&self) -> Vec<u8> {
        rmp_serde::to_vec(&Compact(self)).unwrap_or_default()
    }
}

/// With names. Writing to memory fails only for what an encoding does not have; both have all that slates say.
fn written(what: &impl Serialize, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Json => serde_json::to_vec(what).unwrap_or_default(),
        Encoding::MessagePack => rmp_serde::to_vec_named(what).unwrap_or_default(),
    }
}

#[derive(Serialize)]
struct Brief<'a> {
    slate: &'a str,
    items: Vec<BriefItem<'a>>,
    positions: &'a [u64],
    degraded: &'a [String],
    fallback: Option<&'a str>,
    notes: &'a [String],
    recorded: bool,
    variant: Option<&'a str>,
}

#[derive(Serialize)]
struct BriefItem<'a> {
    item: &'a str,
    score: f64,
    source: &'a str,
    propensity: f64,
    propensity_cascade: f64,
    reason: String,
}

impl<'a> BriefItem<'a> {
    fn of(item: &'a AnswerItem) -> Self {
        Self {
            item: &item.item,
            score: item.score,
            source: &item.source,
            propensity: item.propensity,
            propensity_cascade: item.propensity_cascade,
            reason: item.reason(),
        }
    }
}

/// A map, whatever the encoding makes of structs.
struct Compact<'a>(&'a SlateSaid<'a>);

impl Serialize for Compact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let said = self.0;
        let answer = said.answer;
        let nothing: BTreeMap<&str, f64> = BTreeMap::new();
        let mut map = serializer.serialize_map(Some(19))?;
        map.serialize_entry("kind", "recommend")?;
        map.serialize_entry("id", said.id)?;
        map.serialize_entry("user", said.user)?;
        map.serialize_entry("about", &answer.about)?;
        map.serialize_entry("n", &said.n)?;
        map.serialize_entry("items", &answer.items)?;
        map.serialize_entry("positions", said.positions)?;
        map.serialize_entry("now", &said.now)?;
        map.serialize_entry("fallback", &answer.fallback)?;
        map.serialize_entry("degraded", said.degraded)?;
        map.serialize_entry("config", said.config)?;
        map.serialize_entry("recorded", &said.recorded)?;
        map.serialize_entry("scenario", &None::<&str>)?;
        map.serialize_entry("variant", &None::<&str>)?;
        map.serialize_entry("notes", &answer.notes)?;
        map.serialize_entry("exploring", &answer.exploring)?;
        map.serialize_entry("feature_names", &answer.feature_names)?;
        map.serialize_entry("candidates", &nothing)?;
        map.serialize_entry("approximate", &nothing)?;
        map.end()
    }
}
