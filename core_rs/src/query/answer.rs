//! What comes back, in the array layout that `headwater.slate` decodes.

use serde::Serialize;

use crate::ids::{EventRef, Millis};
use crate::query::text::Text;

/// Names one of the visitor's own events: position, index, type, time.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct EventName(pub u64, pub u16, pub Text, pub Millis);

impl EventName {
    /// The name of an event.
    pub fn new(at: EventRef, ty: impl Into<Text>, ts: Millis) -> Self {
        Self(at.position().0, at.index(), ty.into(), ts)
    }
}

/// What one source said of an item: name, rank (from 1), raw score, share of the fused score.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Part(pub Text, pub u32, pub f64, pub f64);

/// Why an item is here: source, the visitor's item that led to it, their event on that item, count and its error bound,
/// and what links the two (a tag, a metric).
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Reason(
    pub Text,
    pub Option<Text>,
    pub Option<EventName>,
    pub f64,
    pub f64,
    pub Option<Text>,
);

/// One slot of an answer. Written as an array, in this order.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[allow(missing_docs)]
pub struct AnswerItem {
    pub item: String,
    pub score: f64,
    /// The strongest source.
    pub source: Text,
    pub parts: Vec<Part>,
    pub reasons: Vec<Reason>,
    /// Given the slots above.
    pub propensity: f64,
    /// Of this and all slots above.
    pub propensity_cascade: f64,
    pub pinned: bool,
    pub promoted: bool,
    /// Whether the slate without exploration has it here.
    pub greedy: bool,
    /// What the fused score was multiplied with, by name; shares of parts have it in them.
    pub factors: Vec<(String, f64)>,
}

/// How a slate was explored: temperature, floor probability, candidates of the pool. 0 where nothing was.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq)]
pub struct Exploring(pub f64, pub f64, pub usize);

/// A ranked answer. Written as an array, in this order.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct Answer {
    /// Slots from the top.
    pub items: Vec<AnswerItem>,
    /// Why it is not personal or shorter than asked, if it is.
    pub fallback: Option<String>,
    /// Seeds used.
    pub about: Vec<Text>,
    /// Of the state that answered.
    pub position: u64,
    /// What rules did that the caller should know.
    pub notes: Vec<String>,
    /// Exploration.
    pub exploring: Exploring,
    /// Names of the features, when asked for.
    pub feature_names: Vec<String>,
    /// Every candidate of the pool with its features, when asked for.
    pub candidates: Vec<(String, Vec<f64>)>,
    /// What became of the item that was asked about.
    pub why: Option<Vec<String>>,
    /// Of each source that may have missed a few of its best: its name and what it found, best first.
    pub approximate: Vec<(String, Vec<(String, f64)>)>,
}

impl AnswerItem {
    /// A slot that nothing but its score decided.
    pub fn ranked(item: String, score: f64, parts: Vec<Part>, reasons: Vec<Reason>) -> Self {
        Self {
            item,
            score,
            source: parts.first().map(|part| part.0.clone()).unwrap_or_default(),
            parts,
            reasons,
            propensity: 1.0,
            propensity_cascade: 1.0,
            pinned: false,
            promoted: false,
            greedy: true,
            factors: Vec::new(),
        }
    }
}
