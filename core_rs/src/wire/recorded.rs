//! The record of a slate as the log holds it: mirrors `SlateServed` of `events/types.py`, byte for byte as Python writes
//! it.

use serde::ser::{SerializeMap, SerializeTuple};
use serde::{Serialize, Serializer};

use crate::query::answer::AnswerItem;
use crate::wire::said::SlateSaid;
use crate::wire::usual::Written;

/// Of an event that is a slate's record.
const TAG: u8 = 20;

/// A slate whose record goes to the log.
pub struct SlateRecorded<'a> {
    /// What is answered.
    pub said: SlateSaid<'a>,
    /// What was asked, without its key: that is the slate's id.
    pub request: Written<'a>,
    /// Version of the scorer.
    pub scorer: &'a str,
    /// Where the owner folded on between its scatter and its answer.
    pub round: Option<&'a [u64]>,
}

impl SlateRecorded<'_> {
    /// The event as MessagePack.
    pub fn bytes(&self) -> Vec<u8> {
        // Writing to memory fails only for what has no MessagePack; these all have.
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }
}

impl Serialize for SlateRecorded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let said = &self.said;
        let items: Vec<Slot<'_>> = said.answer.items.iter().map(slot).collect();
        let mut event = serializer.serialize_tuple(13)?;
        event.serialize_element(&TAG)?;
        event.serialize_element(said.id)?;
        event.serialize_element(said.user)?;
        event.serialize_element(&said.now)?;
        event.serialize_element(&self.request)?;
        event.serialize_element(&None::<&str>)?; // variant
        event.serialize_element(said.config)?;
        event.serialize_element(self.scorer)?;
        event.serialize_element(said.positions)?;
        event.serialize_element(&[""; 0])?; // hosts left out
        event.serialize_element(&None::<&str>)?; // candidates
        event.serialize_element(&items)?;
        event.serialize_element(&Extra(self))?;
        event.end()
    }
}

/// Item, score, source, propensity, that of the cascade, whether it is pinned.
type Slot<'a> = (&'a str, f64, &'a str, f64, f64, bool);

fn slot(item: &AnswerItem) -> Slot<'_> {
    (
        &item.item,
        item.score,
        &item.source,
        item.propensity,
        item.propensity_cascade,
        item.pinned,
    )
}

struct Extra<'a>(&'a SlateRecorded<'a>);

impl Serialize for Extra<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let exploring = self.0.said.answer.exploring;
        let explores = exploring.0 > 0.0;
        let entries = 1 + 2 * usize::from(explores) + usize::from(self.0.round.is_some());
        let mut map = serializer.serialize_map(Some(entries))?;
        map.serialize_entry("kind", "recommend")?;
        if explores {
            map.serialize_entry("temperature", &exploring.0)?;
            map.serialize_entry("floor", &exploring.1)?;
        }
        if let Some(round) = self.0.round {
            map.serialize_entry("rounds", &[round])?;
        }
        map.end()
    }
}
