//! What hosts say to each other, as MessagePack arrays. Items, tags and users go by their ids. Whoever changes a message
//! raises `LAYOUT` in `python/headwater/cluster/scatter.py`: hosts of different layouts refuse each other.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor as Visiting};
use serde::{Deserialize as Decode, Serialize, Serializer};

use crate::ids::Millis;
use crate::query::hosts::column;
use crate::query::hosts::ids::Ids;
use crate::query::hosts::shards::Shards;
use crate::sessions::seen::SeenFilter;

/// From the session host to every item host.
#[derive(Clone, Debug, Serialize, Decode)]
pub struct Scatter<'a> {
    /// Version of the active configuration, if one was activated.
    pub version: Option<&'a str>,
    /// The request as it came.
    #[serde(borrow)]
    pub request: Bytes<'a>,
    /// The user, where their history counts and there is one.
    pub visitor: Option<Visitor<'a>>,
    /// Asks for items of the catalogue as well.
    pub refill: Option<Refill<'a>>,
    /// Whether all candidates are told, with grounds of each, not only the likeliest.
    pub thorough: bool,
}

/// What of a user's past candidates depend on.
#[derive(Clone, Debug, Serialize, Decode)]
pub struct Visitor<'a> {
    /// Their id.
    pub user: &'a str,
    /// Segment.
    pub segment: Option<u8>,
    /// Newest first.
    #[serde(borrow)]
    pub seeds: Vec<SeedSaid<'a>>,
    /// Tags with weights, strongest first.
    pub tags: Vec<(&'a str, f64)>,
    /// Rejected and consumed items.
    pub barred: Vec<&'a str>,
    /// Consumed items beyond these.
    pub beyond: Option<Cow<'a, SeenFilter>>,
}

/// A seed: item, weight, whether touched in this session, and the event: position, index, type, time.
#[derive(Clone, Debug, Serialize, Decode)]
pub struct SeedSaid<'a>(
    pub &'a str,
    pub f64,
    pub bool,
    #[serde(borrow)] pub Option<(u64, u16, &'a str, Millis)>,
);

/// What decides which items of the catalogue must not fill in because their score would be 0. Empty where no factor of the
/// scenario can be.
#[derive(Clone, Debug, Serialize, Decode)]
pub struct Refill<'a> {
    /// Touched items: those remembered exactly, and the others.
    #[serde(borrow)]
    pub touched: Option<(Vec<&'a str>, Cow<'a, SeenFilter>)>,
    /// Rejected items that push others away.
    pub disliked: Vec<&'a str>,
}

/// From an item host. All items stand in one table; lists give places in it.
#[derive(Clone, Debug, Default, Serialize, Decode)]
pub struct Reply<'a> {
    /// Where the host stood.
    pub position: u64,
    /// Version of its active configuration.
    pub version: Option<&'a str>,
    /// The seeds as the host knows them, newest first.
    #[serde(borrow)]
    pub seeds: Vec<&'a str>,
    /// Items that the request or its scenario names and that exist.
    pub known: Vec<&'a str>,
    /// How many known items the caller's list has.
    pub listed: usize,
    /// All items of this reply.
    pub items: Ids<'a>,
    /// Popularity, trend and times served of each item, where anyone looks at them.
    pub counts: Vec<(f64, f64, u32)>,
    /// What each source found.
    pub lists: Vec<ListSaid<'a>>,
    /// Items of the catalogue, where they were asked for.
    pub stock: Option<StockSaid>,
    /// The host's shards: who reads all replies knows whether any is missing, and whether all tell of items of their own.
    pub shards: Shards,
}

/// One source's best, best first.
#[derive(Clone, Debug, Default, Serialize, Decode)]
pub struct ListSaid<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// Items.
    #[serde(with = "column")]
    pub items: Vec<u32>,
    /// Their raw scores.
    #[serde(with = "column")]
    pub scores: Vec<f64>,
    /// Why it named them.
    pub grounds: GroundsSaid,
    /// Whether it found more, which are not told: hosts tell of each source what is likely their share of the best.
    pub cut: bool,
}

/// Grounds of items of a list, as columns; those that say nothing are empty.
#[derive(Clone, Debug, Default, Serialize, Decode)]
pub struct GroundsSaid {
    /// The places in the list of those that are told of, ascending; `None`: all.
    pub of: Option<Vec<u32>>,
    /// For each item, where its links end.
    #[serde(with = "column")]
    pub ends: Vec<u32>,
    /// Of each link the seed's place in [`Reply::seeds`], count, error.
    #[serde(with = "column")]
    pub links: Vec<(u32, f64, f64)>,
    /// For each item what the source says of itself.
    #[serde(with = "column")]
    pub own: Vec<f64>,
}

/// Items of the catalogue that may fill in, the youngest first.
#[derive(Clone, Debug, Default, Serialize, Decode)]
pub struct StockSaid {
    /// Of all.
    pub all: LayersSaid,
    /// Of the promotion.
    pub promoted: LayersSaid,
}

/// Those that came into the world lately, and where there are too few of these the others.
#[derive(Clone, Debug, Default, Serialize, Decode)]
pub struct LayersSaid {
    /// Young ones.
    pub young: Vec<u32>,
    /// Others.
    pub rest: Vec<u32>,
}

impl Scatter<'_> {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

impl Reply<'_> {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

/// Most replies are shorter: a buffer that grows from nothing is copied seven times.
const USUAL_BYTES: usize = 16_384;

fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    // Writing to memory fails only for what has no MessagePack; these all have.
    match rmp_serde::encode::write(&mut out, message) {
        Ok(()) => out,
        Err(_) => Vec::new(),
    }
}

/// Bytes in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visiting<'de> for BytesVisitor {
    type Value = Bytes<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Bytes<'de>, E> {
        Ok(Bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scatter_survives_its_bytes() {
        let mut seen = SeenFilter::default();
        seen.insert(7, 0, 100);
        let scatter = Scatter {
            version: Some("v1"),
            request: Bytes(&[0x80]),
            visitor: Some(Visitor {
                user: "ann",
                segment: Some(3),
                seeds: vec![SeedSaid("a", 1.5, true, Some((9, 2, "view", -4)))],
                tags: vec![("hats", 0.25)],
                barred: vec!["b"],
                beyond: Some(Cow::Borrowed(&seen)),
            }),
            refill: Some(Refill {
                touched: Some((vec!["c"], Cow::Borrowed(&seen))),
                disliked: Vec::new(),
            }),
            thorough: true,
        };
        let bytes = scatter.encode();
        let read: Scatter<'_> = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{scatter:?}"));
        for cut in 0..bytes.len() {
            assert!(rmp_serde::from_slice::<Scatter<'_>>(&bytes[..cut]).is_err());
        }
    }
}
