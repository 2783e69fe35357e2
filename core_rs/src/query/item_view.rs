//! What is known of one item, for people to read.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::catalogue::{ItemMeta, Label};
use crate::fold::state::State;
use crate::ids::Millis;

/// A label's value as it was given.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum LabelAnswer {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Tags(Vec<String>),
}

impl From<&Label> for LabelAnswer {
    fn from(label: &Label) -> Self {
        match label {
            Label::Bool(value) => Self::Bool(*value),
            Label::Int(value) => Self::Int(*value),
            Label::Float(value) => Self::Float(*value),
            Label::Text(value) => Self::Text(value.to_string()),
            Label::Tags(values) => Self::Tags(values.iter().map(|v| v.to_string()).collect()),
        }
    }
}

/// An item with its metadata and counts. Written as an array, in this order.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[allow(missing_docs)]
pub struct ItemAnswer {
    /// Whether a put or patch named it, and no delete since.
    pub put: bool,
    pub visible: bool,
    pub categories: Vec<String>,
    pub labels: BTreeMap<String, LabelAnswer>,
    pub is_hidden: bool,
    pub timestamp: Option<Millis>,
    pub group_id: Option<String>,
    pub comment: Option<String>,
    /// Dimension of each embedding.
    pub embeddings: BTreeMap<String, usize>,
    /// When it came into the world.
    pub born: Option<Millis>,
    /// Votes ever, and decayed ones at the time of the question.
    pub votes: u64,
    pub popularity: f64,
    pub trend: f64,
    /// How often it was served.
    pub served: u32,
}

/// The view of a known item; `None` for one that nothing ever named.
pub fn item_view(state: &State, item: &str, now: Millis) -> Option<ItemAnswer> {
    let item = state.names.find_item(item)?;
    let meta = state.catalogue.meta(item);
    let stats = state.stats(item);
    let nothing = ItemMeta::default();
    let shown = meta.unwrap_or(&nothing);
    let categories = shown.categories.iter();
    let labels = shown.labels.iter();
    let embeddings = shown.embeddings.iter();
    Some(ItemAnswer {
        put: meta.is_some(),
        visible: state.catalogue.visible(item),
        categories: categories
            .map(|tag| state.names.tag(*tag).to_string())
            .collect(),
        labels: labels
            .map(|(name, label)| (name.to_string(), label.into()))
            .collect(),
        is_hidden: shown.hidden,
        timestamp: shown.timestamp,
        group_id: shown.group.as_ref().map(|group| group.to_string()),
        comment: shown.comment.as_ref().map(|comment| comment.to_string()),
        embeddings: embeddings
            .map(|(name, e)| (name.to_string(), e.codes.len()))
            .collect(),
        born: state.catalogue.born(item),
        votes: stats.votes,
        popularity: stats.popularity.read(&state.clocks.popularity, now),
        trend: state.clocks.trend(stats, now),
        served: state.served(item),
    })
}
