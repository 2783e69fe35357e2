//! Events as the fold sees them, and why a single one is refused.

use thiserror::Error;

use crate::frame::item::{ItemFields, LabelValue};
use crate::ids::{EventRef, Millis};

/// Why one event is a counted no-op.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EventError {
    #[error("not an event of this format version")]
    BadEvent,
    #[error("an id must have 1 to 512 bytes of UTF-8 without control characters")]
    BadId,
    #[error("a type must have 1 to 64 bytes of UTF-8 without control characters")]
    BadType,
    #[error("a value must be a finite number")]
    BadValue,
    #[error("a time must be a number of milliseconds since 1970")]
    BadTime,
    #[error("a time must not be further ahead of the append time than configured")]
    FutureTime,
    #[error("a field has the wrong type or breaks its limit")]
    BadField,
}

impl EventError {
    /// Stable short name.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadEvent => "bad-event",
            Self::BadId => "bad-id",
            Self::BadType => "bad-type",
            Self::BadValue => "bad-value",
            Self::BadTime => "bad-ts",
            Self::FutureTime => "future-ts",
            Self::BadField => "bad-field",
        }
    }
}

/// Feedback of a user on an item. What the fold does not need (context) is walked over.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Feedback<'a> {
    pub ty: &'a str,
    pub user: &'a str,
    pub item: &'a str,
    pub ts: Millis,
    pub value: Option<f64>,
    pub event_id: Option<&'a str>,
    pub session: Option<&'a str>,
    pub basket: Option<&'a str>,
    pub slate: Option<&'a str>,
    pub slot: Option<u32>,
}

/// An event as the fold sees it.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Event<'a> {
    Feedback(Feedback<'a>),
    Impression {
        user: &'a str,
        slate: &'a str,
        ts: Millis,
    },
    UserMerge {
        from: &'a str,
        into: &'a str,
        ts: Millis,
    },
    MergeCarried {
        from: &'a str,
        into: &'a str,
        ts: Millis,
        sealed: EventRef,
        state: &'a [u8],
    },
    MergeSettled {
        from: &'a str,
        ts: Millis,
        sealed: EventRef,
    },
    ItemPut {
        item: &'a str,
        ts: Millis,
        fields: Box<ItemFields<'a>>,
    },
    ItemPatch {
        item: &'a str,
        ts: Millis,
        fields: Box<ItemFields<'a>>,
    },
    ItemDelete {
        item: &'a str,
        ts: Millis,
    },
    UserPut {
        user: &'a str,
        ts: Millis,
        labels: Vec<(&'a str, LabelValue<'a>)>,
    },
    UserForget {
        user: &'a str,
        ts: Millis,
    },
    SlateServed {
        slate: &'a str,
        user: &'a str,
        ts: Millis,
        /// What was shown, slot by slot.
        items: Vec<&'a str>,
    },
    ConfigActivated {
        ts: Millis,
        version: &'a str,
        body: &'a str,
    },
    ModelActivated {
        ts: Millis,
        kind: &'a str,
        uri: &'a str,
        content_hash: &'a str,
    },
}

/// Bytes that a merge carries: they must fit a frame beside the event's ids.
pub const MAX_CARRIED: usize = 200_000;

/// One entry of a body.
pub type Decoded<'a> = Result<Event<'a>, EventError>;
