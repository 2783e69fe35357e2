//! What comes back, in the array layout that `headwater.slate` decodes.

use serde::Serialize;

use crate::ids::{EventRef, Millis};

/// Names one of the visitor's own events: position, index, type, time.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct EventName(pub u64, pub u16, pub String, pub Millis);

impl EventName {
    /// The name of an event.
    pub fn new(at: EventRef, ty: &str, ts: Millis) -> Self {
        Self(at.position().0, at.index(), ty.to_string(), ts)
    }
}

/// What one source said of an item: name, rank (from 1), raw score, share of the fused score.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Part(pub String, pub u32, pub f64, pub f64);

/// Why an item is here: source, the visitor's item that led to it, their event on that item, count and its error bound,
/// and what links the two (a tag, a metric).
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Reason(
    pub String,
    pub Option<String>,
    pub Option<EventName>,
    pub f64,
    pub f64,
    pub Option<String>,
);

/// One ranked item: id, score, strongest source, parts, reasons.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct AnswerItem(
    pub String,
    pub f64,
    pub String,
    pub Vec<Part>,
    pub Vec<Reason>,
);

/// A ranked answer: items, why it is not personal (if it is not), seeds used, position.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Answer(
    pub Vec<AnswerItem>,
    pub Option<String>,
    pub Vec<String>,
    pub u64,
);
