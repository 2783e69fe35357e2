//! Ids in messages: one text and where each of them ends, so that reading costs nothing until one is looked at.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::query::hosts::column;

/// Ids in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Said<'_>", bound(deserialize = "'de: 'a"))]
pub struct Ids<'a> {
    text: Cow<'a, str>,
    #[serde(with = "column")]
    ends: Vec<u32>,
}

/// What a message says, not looked at yet.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(with = "column")]
    ends: Vec<u32>,
}

impl<'a> TryFrom<Said<'a>> for Ids<'a> {
    type Error = &'static str;

    fn try_from(said: Said<'a>) -> Result<Self, Self::Error> {
        let Said { text, ends } = said;
        let whole = ends.last().map_or(0, |end| *end as usize) == text.len();
        let between = |end: &u32| text.is_char_boundary(*end as usize);
        match whole && ends.is_sorted() && (text.is_ascii() || ends.iter().all(between)) {
            true => Ok(Self { text, ends }),
            false => Err("ids that do not end where they should"),
        }
    }
}

impl<'a> FromIterator<&'a str> for Ids<'_> {
    fn from_iter<T: IntoIterator<Item = &'a str>>(ids: T) -> Self {
        let mut text = String::new();
        let end = |id: &str| {
            text.push_str(id);
            text.len() as u32
        };
        let ends = ids.into_iter().map(end).collect();
        Self {
            text: text.into(),
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
        &self.text[start as usize..self.ends[place] as usize]
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
        assert!(matches!(read.text, Cow::Borrowed(_)));
        let nothing = rmp_serde::to_vec(&Ids::default()).unwrap();
        assert!(
            rmp_serde::from_slice::<Ids<'_>>(&nothing)
                .unwrap()
                .is_empty()
        );
        for ends in [vec![], vec![1], vec![5, 1, 6], vec![3, 6], vec![9]] {
            let text = Cow::Borrowed("gröss");
            let bytes = rmp_serde::to_vec(&Ids { text, ends }).unwrap();
            assert!(rmp_serde::from_slice::<Ids<'_>>(&bytes).is_err());
        }
    }
}
