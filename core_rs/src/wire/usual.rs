//! The question that nearly everybody asks: `recommend` for a user, with a number of items and perhaps some excluded. It is
//! read as strictly as Python reads it; whatever says more, or is not sound, is for Python to read, which also says what is wrong.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Cursor;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, Visitor};
use serde::{Deserialize as Decode, Serialize};

use crate::frame::body::{MAX_ID, clean};
use crate::ids::Millis;
use crate::query::request::{MAX_N, RecommendRequest};

/// The latest deadline that a question may name.
const MAX_DEADLINE_MS: u64 = 60_000;

/// How a question was written, hence its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One object.
    Json,
    /// One map.
    MessagePack,
}

impl Encoding {
    /// MessagePack maps begin with 0x80 to 0x8f, 0xde or 0xdf; all else is read as JSON.
    pub fn of(data: &[u8]) -> Self {
        match data.first() {
            Some(0x80..=0x8f | 0xde | 0xdf) => Self::MessagePack,
            _ => Self::Json,
        }
    }
}

/// `recommend` as it is usually asked.
#[derive(Clone, Debug, Decode, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Usual {
    user: Id,
    #[serde(default = "ten")]
    n: usize,
    #[serde(default)]
    exclude: Vec<Id>,
    /// Whether its slate is to be recorded, where it says so.
    #[serde(default)]
    pub record: Option<bool>,
    /// How long an answer is of use.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// Whether the answer is to be arrays instead of objects with names.
    #[serde(default)]
    pub compact: bool,
    /// Whether it is to be told with everything.
    #[serde(default)]
    pub detail: bool,
    #[serde(default)]
    sources: BTreeMap<String, IgnoredAny>,
}

fn ten() -> usize {
    10
}

impl Usual {
    /// Reads a question; `None` for any other than the usual.
    pub fn read(data: &[u8]) -> Option<(Self, Encoding)> {
        let encoding = Encoding::of(data);
        let usual: Self = match encoding {
            // An array would be taken for the fields in their order.
            Encoding::Json if data.first() != Some(&b'{') => return None,
            Encoding::Json => serde_json::from_slice(data).ok()?,
            Encoding::MessagePack => {
                // Bytes would be taken for names.
                let _: HashMap<Name, IgnoredAny> = rmp_serde::from_slice(data).ok()?;
                let mut decoder = rmp_serde::Deserializer::new(Cursor::new(data));
                let usual = Self::deserialize(&mut decoder).ok()?;
                (decoder.position() == data.len() as u64).then_some(usual)?
            }
        };
        // Arrays with raw parts are for MessagePack.
        if usual.compact && encoding == Encoding::Json {
            return None;
        }
        let is_timely = |ms| (1..=MAX_DEADLINE_MS).contains(&ms);
        let is_sound = (1..=MAX_N).contains(&usual.n) && usual.deadline_ms.is_none_or(is_timely);
        (is_sound && usual.sources.is_empty()).then_some((usual, encoding))
    }

    /// Who asks.
    pub fn user(&self) -> &str {
        &self.user.0
    }

    /// How many items are asked for.
    pub fn n(&self) -> usize {
        self.n
    }

    /// What the core is asked, at a time, for the slate `key`.
    pub fn request(&self, now: Millis, key: &str) -> RecommendRequest {
        RecommendRequest {
            user: Some(self.user.0.clone()),
            n: self.n,
            exclude: self.exclude.iter().map(|id| id.0.clone()).collect(),
            now,
            key: key.to_string(),
            ..RecommendRequest::default()
        }
    }

    /// The same as bytes, as Python writes it.
    pub fn request_bytes(&self, now: Millis, key: &str) -> Vec<u8> {
        // Writing to memory fails only for what has no MessagePack; these all have.
        rmp_serde::to_vec_named(&self.written(now, Some(key))).unwrap_or_default()
    }

    /// The same as Python writes it.
    pub fn written<'a>(&'a self, now: Millis, key: Option<&'a str>) -> Written<'a> {
        Written {
            user: &self.user.0,
            items: [],
            n: self.n,
            exclude: self.exclude.iter().map(|id| &*id.0).collect(),
            now,
            sources: BTreeMap::new(),
            key,
        }
    }
}

/// A request by its names.
#[derive(Serialize)]
pub struct Written<'a> {
    user: &'a str,
    items: [&'a str; 0],
    n: usize,
    exclude: Vec<&'a str>,
    now: Millis,
    sources: BTreeMap<&'a str, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

/// The name of a field, as text.
#[derive(PartialEq, Eq, Hash)]
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(IdVisitor).map(|id| Self(id.0))
    }
}

/// The id of a user or an item: text as events may have it. Numbers are turned into text by Python.
#[derive(Clone, Debug, PartialEq)]
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(IdVisitor)
    }
}

struct IdVisitor;

// Texts only: the visitor of `String` takes bytes, too.
impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
        let is_clean = clean(text.as_bytes(), MAX_ID).is_some();
        is_clean
            .then(|| Id(text.to_string()))
            .ok_or_else(|| E::custom("no id that an event could have"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Usual> {
        Usual::read(json.as_bytes()).map(|(usual, _)| usual)
    }

    #[test]
    fn what_is_usually_asked_is_read() {
        let usual = read(r#"{"user": "añn", "n": 2, "exclude": ["a"], "record": null}"#).unwrap();
        assert_eq!((usual.user(), usual.n(), usual.record), ("añn", 2, None));
        let request = usual.request(5, "h-1");
        let bytes = usual.request_bytes(5, "h-1");
        let again: RecommendRequest = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(format!("{again:?}"), format!("{request:?}"));
        assert_eq!(read(r#"{"user": "a"}"#).unwrap().n(), 10);
        let packed = [
            &[0x82, 0xa4][..],
            b"user\xa1a",
            &[0xa7],
            b"compact",
            &[0xc3],
        ]
        .concat();
        let (usual, encoding) = Usual::read(&packed).unwrap();
        assert!(usual.compact && encoding == Encoding::MessagePack);
        assert_eq!(Usual::read(&[&packed[..], &[0xc0]].concat()), None);
    }

    #[test]
    fn all_else_is_left_to_whoever_can_say_what_it_is() {
        for other in [
            "",
            "{}",
            "[]",
            r#"["a"]"#,
            r#"{"user": 7}"#,
            r#"{"user": ""}"#,
            r#"{"user": "a\u0001"}"#,
            r#"{"user": null}"#,
            r#"{"user": "a", "n": 0}"#,
            r#"{"user": "a", "n": 1001}"#,
            r#"{"user": "a", "n": 1.0}"#,
            r#"{"user": "a", "n": null}"#,
            r#"{"user": "a", "user": "b"}"#,
            r#"{"user": "a", "exclude": [7]}"#,
            r#"{"user": "a", "deadline_ms": 0}"#,
            r#"{"user": "a", "deadline_ms": 60001}"#,
            r#"{"user": "a", "detail": 1}"#,
            r#"{"user": "a", "compact": true}"#,
            r#"{"user": "a", "now": 5}"#,
            r#"{"user": "a", "after": 5}"#,
            r#"{"user": "a", "scenario": null}"#,
            r#"{"user": "a", "sources": {"popular": 1}}"#,
            r#"{"user": "a"} x"#,
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(read(&format!(r#"{{"user": "{}"}}"#, "x".repeat(513))), None);
        let bytes_as_id = [&[0x81, 0xa4][..], b"user", &[0xc4, 1, b'a']].concat();
        assert_eq!(Usual::read(&bytes_as_id), None);
        let bytes_as_name = [&[0x81, 0xc4, 4][..], b"user\xa1a"].concat();
        assert_eq!(Usual::read(&bytes_as_name), None);
    }
}
