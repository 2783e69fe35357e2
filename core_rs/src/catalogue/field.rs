//! Fields of items as filters and caps name them: which there are, which types they have, what an item has there.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::catalogue::label::Label;
use crate::catalogue::meta::ItemMeta;
use crate::catalogue::number::Number;
use crate::ids::TagIx;
use crate::names::Names;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// A field of items. Names of labels are their own; the built-in ones go before a label of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The id, a text.
    Item,
    /// The list of categories.
    Categories,
    /// The group of variants, a text.
    Group,
    /// The item's own time in UTC milliseconds, a number.
    Timestamp,
    /// A label by its name.
    Label(Box<str>),
}

/// Names of the built-in fields.
pub const BUILT_IN: [&str; 4] = ["item", "categories", "group", "timestamp"];

impl Field {
    /// The field that a plain name means.
    pub fn named(name: &str) -> Self {
        match name {
            "item" => Self::Item,
            "categories" => Self::Categories,
            "group" => Self::Group,
            "timestamp" => Self::Timestamp,
            label => Self::Label(label.into()),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Item => "item",
            Self::Categories => "categories",
            Self::Group => "group",
            Self::Timestamp => "timestamp",
            Self::Label(name) => name,
        }
    }

    /// What an item with this metadata has there. [`Field::Item`] is not part of the metadata: always missing here.
    pub fn of<'a>(&self, meta: &'a ItemMeta, names: &'a Names) -> FieldValue<'a> {
        match self {
            Self::Item => FieldValue::Missing,
            Self::Categories => FieldValue::Tags(&meta.categories, names),
            Self::Group => match &meta.group {
                Some(group) => FieldValue::Text(group),
                None => FieldValue::Missing,
            },
            Self::Timestamp => match meta.timestamp {
                Some(ts) => FieldValue::Number(Number::Int(ts)),
                None => FieldValue::Missing,
            },
            Self::Label(name) => match meta.label(name) {
                Some(label) => FieldValue::of_label(label),
                None => FieldValue::Missing,
            },
        }
    }
}

/// What one item has in a field.
#[derive(Clone, Copy, Debug)]
pub enum FieldValue<'a> {
    /// Nothing. A list without entries and a float that is no number count as nothing too.
    Missing,
    /// A boolean label.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(&'a str),
    /// A label of tags.
    Texts(&'a [Box<str>]),
    /// Categories.
    Tags(&'a [TagIx], &'a Names),
}

impl<'a> FieldValue<'a> {
    fn of_label(label: &'a Label) -> Self {
        match label {
            Label::Bool(value) => Self::Bool(*value),
            Label::Int(value) => Self::Number(Number::Int(*value)),
            Label::Float(value) if value.is_nan() => Self::Missing,
            Label::Float(value) => Self::Number(Number::Float(*value)),
            Label::Text(value) => Self::Text(value),
            Label::Tags(values) => Self::Texts(values),
        }
    }

    /// Whether there is nothing.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Texts(values) => values.is_empty(),
            Self::Tags(values, _) => values.is_empty(),
            Self::Bool(_) | Self::Number(_) | Self::Text(_) => false,
        }
    }

    /// Entries of a list in its order; none of anything else.
    pub fn entries(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (texts, tags) = match *self {
            Self::Texts(values) => (values, None),
            Self::Tags(tags, names) => (&[][..], Some((tags, names))),
            _ => (&[][..], None),
        };
        let tags = tags
            .into_iter()
            .flat_map(|(tags, names)| tags.iter().map(move |tag| names.tag(*tag)));
        texts.iter().map(|text| &**text).chain(tags)
    }
}

/// Types that items have had in a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Booleans.
    pub const BOOL: Self = Self(1);
    /// Whole numbers.
    pub const INT: Self = Self(2);
    /// Floating-point numbers.
    pub const FLOAT: Self = Self(4);
    /// Numbers of both kinds.
    pub const NUMBER: Self = Self(6);
    /// Texts.
    pub const TEXT: Self = Self(8);
    /// Lists of texts.
    pub const LIST: Self = Self(16);
    /// Any type: of a field that no item has yet, nothing can be said.
    pub const ANY: Self = Self(31);

    /// Whether they have any type in common.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn of(label: &Label) -> Self {
        match label {
            Label::Bool(_) => Self::BOOL,
            Label::Int(_) => Self::INT,
            Label::Float(_) => Self::FLOAT,
            Label::Text(_) => Self::TEXT,
            Label::Tags(_) => Self::LIST,
        }
    }

    /// As words: `a number`, `a text or a list`.
    pub fn describe(self) -> String {
        let words: Vec<&str> = [
            (Self::NUMBER, "a number"),
            (Self::TEXT, "a text"),
            (Self::LIST, "a list"),
            (Self::BOOL, "true or false"),
        ]
        .into_iter()
        .filter_map(|(kind, word)| self.meets(kind).then_some(word))
        .collect();
        match words.as_slice() {
            [] => "nothing".to_string(),
            words => words.join(" or "),
        }
    }
}

/// Why a field cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// No item ever had it.
    #[error("no item has a field {name:?}{}", near.as_ref().map_or_else(String::new, |near| format!("; did you mean {near:?}?")))]
    Unknown {
        /// As it was asked for.
        name: String,
        /// A known field of a similar name.
        near: Option<String>,
    },
    /// Values that are different for nearly every item make no groups.
    #[error("{name:?} cannot group items: {why}")]
    NoGroups {
        /// The field.
        name: String,
        /// The reason.
        why: &'static str,
    },
}

/// Names and types of all labels that any item ever had. State: whether a filter is sound must not depend on when a process
/// began.
#[derive(Debug, Default)]
pub struct KnownLabels(BTreeMap<Box<str>, Kinds>);

impl KnownLabels {
    /// Takes note of an item's labels.
    pub fn learn(&mut self, meta: &ItemMeta) {
        for (name, label) in &meta.labels {
            match self.0.get_mut(name) {
                Some(kinds) => kinds.0 |= Kinds::of(label).0,
                None => {
                    self.0.insert(name.clone(), Kinds::of(label));
                }
            }
        }
    }

    /// Writes every label with its types.
    pub(super) fn write(&self, kind: u8, w: &mut PartWriter<'_>) {
        for (name, kinds) in &self.0 {
            w.entity(kind, |w| {
                w.text(name);
                w.byte(kinds.0);
            });
        }
    }

    /// Reads one label that [`KnownLabels::write`] wrote.
    pub(super) fn read(&mut self, r: &mut PartReader<'_>) -> ReadResult<()> {
        let name = r.text()?.into();
        let kinds = Kinds(r.byte()?);
        self.0.insert(name, kinds);
        Ok(())
    }

    /// Types of a field; `None` for a label that no item ever had.
    pub fn kinds(&self, field: &Field) -> Option<Kinds> {
        match field {
            Field::Item | Field::Group => Some(Kinds::TEXT),
            Field::Categories => Some(Kinds::LIST),
            Field::Timestamp => Some(Kinds::INT),
            Field::Label(name) => self.0.get(name).copied(),
        }
    }

    /// Every known name in order, the built-in ones first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        BUILT_IN
            .into_iter()
            .chain(self.0.keys().map(|name| &**name))
    }

    /// The known name closest to `name`, if one is close enough to be a slip. O(known names).
    pub fn near(&self, name: &str) -> Option<&str> {
        let allowed = (name.chars().count() / 3).clamp(1, 3);
        self.names()
            .filter(|known| known.len().abs_diff(name.len()) <= 4 * allowed)
            .map(|known| (distance(&name.to_lowercase(), &known.to_lowercase()), known))
            .filter(|(distance, _)| *distance <= allowed)
            .min()
            .map(|(_, known)| known)
    }

    /// The error for a field that is not known.
    pub fn unknown(&self, name: &str) -> FieldError {
        FieldError::Unknown {
            name: name.to_string(),
            near: self.near(name).map(str::to_string),
        }
    }

    /// Bytes held, for the memory report.
    pub fn memory(&self) -> usize {
        self.0.keys().map(|name| name.len() + 32).sum()
    }
}

/// Edit distance in characters, with swapped neighbours as one edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + differs);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits() {
        for (a, b, edits) in [
            ("price", "price", 0),
            ("prise", "price", 1),
            ("pirce", "price", 1),
            ("", "abc", 3),
            ("größe", "grosse", 3),
            ("brand", "price", 4),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn close_names_are_found_and_far_ones_are_not() {
        let mut known = KnownLabels::default();
        known.learn(&ItemMeta {
            labels: vec![
                ("price".into(), Label::Int(1)),
                ("on sale".into(), Label::Bool(true)),
            ],
            ..ItemMeta::default()
        });
        assert_eq!(known.near("Prise"), Some("price"));
        assert_eq!(known.near("on_sale"), Some("on sale"));
        assert_eq!(known.near("catgories"), Some("categories"));
        assert_eq!(known.near("colour"), None);
        assert_eq!(known.near(""), None);
    }

    #[test]
    fn types_add_up() {
        let mut known = KnownLabels::default();
        let field = Field::named("size");
        assert_eq!(known.kinds(&field), None);
        for (label, words) in [
            (Label::Int(4), "a number"),
            (Label::Float(4.5), "a number"),
            (Label::Text("XL".into()), "a number or a text"),
        ] {
            known.learn(&ItemMeta {
                labels: vec![("size".into(), label)],
                ..ItemMeta::default()
            });
            assert_eq!(
                known.kinds(&field).map(Kinds::describe).as_deref(),
                Some(words)
            );
        }
    }
}
