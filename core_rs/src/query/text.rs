//! Words of an answer that stand in it many times, copied without an allocation; columns of words, without one a word.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

/// A text that is cheap to copy.
#[derive(Clone, Debug)]
pub enum Text {
    /// Known to the program.
    Fixed(&'static str),
    /// Anything else.
    Shared(Arc<str>),
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::Fixed("")
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Shared(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

/// A column of words, one after the other in one piece of memory. Written as an array of texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    bytes: String,
    /// Where each word ends.
    ends: Vec<usize>,
}

impl Column {
    /// Adds a word.
    pub fn push(&mut self, word: &str) {
        self.bytes.push_str(word);
        self.ends.push(self.bytes.len());
    }

    /// Adds all words of another column.
    pub fn append(&mut self, other: &Self) {
        let before = self.bytes.len();
        self.bytes.push_str(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| before + end));
    }

    /// The words.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let word = &self.bytes[start..*end];
            start = *end;
            word
        })
    }
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(Some(self.ends.len()))?;
        self.iter()
            .try_for_each(|word| array.serialize_element(word))?;
        array.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_written_like_a_list_of_its_words() {
        let words = ["", "one", "zwei", "", "\u{20ac}"];
        let (mut column, mut rest) = (Column::default(), Column::default());
        words[..2].iter().for_each(|word| column.push(word));
        words[2..].iter().for_each(|word| rest.push(word));
        column.append(&rest);
        column.append(&Column::default());
        assert_eq!(column.iter().collect::<Vec<_>>(), words);
        let written = rmp_serde::to_vec(&column).expect("it has words alone");
        assert_eq!(written, rmp_serde::to_vec(&words[..]).expect("so has it"));
    }
}
