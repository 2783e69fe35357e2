//! Ids in messages: one text and where each of them ends, so that reading costs nothing until one is looked at.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};

use crate::query::hosts::column;

/// So many bytes an id has, mostly.
const USUAL: usize = 12;

/// Ids in order.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "Said<'_>", bound(deserialize = "'de: 'a"))]
pub struct Ids<'a> {
    said: Said<'a>,
    ends: Vec<u32>,
}

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Said<'a> {
    /// All ids, one behind the other.
    #[serde(borrow)]
    text: Cow<'a, str>,
    /// How many bytes each has.
    #[serde(with = "column")]
    lengths: Vec<u16>,
}

impl Serialize for Ids<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.said.serialize(serializer)
    }
}

impl<'a> TryFrom<Said<'a>> for Ids<'a> {
    type Error = &'static str;

    fn try_from(said: Said<'a>) -> Result<Self, Self::Error> {
        let text = &*said.text;
        let mut end = 0;
        let mut ends = Vec::with_capacity(said.lengths.len());
        for length in &said.lengths {
            end += usize::from(*length);
            ends.push(end as u32);
        }
        let on_boundary = |end: &u32| text.is_char_boundary(*end as usize);
        if end != text.len() || !text.is_ascii() && !ends.iter().all(on_boundary) {
            return Err("ids that do not end where they should");
        }
        Ok(Self { said, ends })
    }
}

impl<'a> FromIterator<&'a str> for Ids<'_> {
    fn from_iter<T: IntoIterator<Item = &'a str>>(ids: T) -> Self {
        let ids = ids.into_iter();
        let count = ids.size_hint().0;
        let mut text = String::with_capacity(count * USUAL);
        let (mut lengths, mut ends) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for id in ids {
            text.push_str(id);
            lengths.push(id.len() as u16); // ids are no longer than an event may say
            ends.push(text.len() as u32);
        }
        let text = text.into();
        Self {
            said: Said { text, lengths },
            ends,
        }
    }
}

impl Ids<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The id at a place that there is.
    pub fn at(&self, place: usize) -> &str {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.said.text[start as usize..self.ends[place] as usize]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|place| self.at(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_bytes_and_places_that_are_none_are_refused() {
        let said = ["a", "", "größe", "1", "日"];
        let ids: Ids<'_> = said.into_iter().collect();
        let bytes = rmp_serde::to_vec(&ids).unwrap();
        let read: Ids<'_> = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(read, ids);
        assert_eq!(read.iter().collect::<Vec<_>>(), said);
        assert!(matches!(read.said.text, Cow::Borrowed(_)));
        let nothing = rmp_serde::to_vec(&Ids::default()).unwrap();
        assert!(
            rmp_serde::from_slice::<Ids<'_>>(&nothing)
                .unwrap()
                .is_empty()
        );
        for lengths in [vec![], vec![1], vec![3, 3], vec![7], vec![u16::MAX, 7]] {
            let text = Cow::Borrowed("gröss");
            let bytes = rmp_serde::to_vec(&Said { text, lengths }).unwrap();
            assert!(rmp_serde::from_slice::<Ids<'_>>(&bytes).is_err());
        }
    }
}
