//! Why an item is in a slate, as one sentence for whoever looks at it.

use std::fmt::Write;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::ids::Millis;
use crate::query::answer::Reason;

/// A reason, as an answer has it (see [`Reason`]).
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ReasonSaid<'a>(
    &'a str,
    #[serde(borrow)] Option<&'a str>,
    #[serde(borrow)] Option<(u64, u16, &'a str, Millis)>,
    f64,
    IgnoredAny,
    #[serde(borrow)] Option<&'a str>,
);

impl<'a> From<&'a Reason> for ReasonSaid<'a> {
    fn from(reason: &'a Reason) -> Self {
        let Reason(source, seed, event, count, _, detail) = reason;
        let event = event.as_ref();
        Self(
            source,
            seed.as_deref(),
            event.map(|event| (event.0, event.1, &*event.2, event.3)),
            *count,
            IgnoredAny,
            detail.as_deref(),
        )
    }
}

impl ReasonSaid<'_> {
    /// The sentence.
    pub fn sentence(&self) -> String {
        let Self(source, seed, _, count, _, detail) = *self;
        let event = self.event();
        let because = seed.map_or_else(String::new, |seed| format!(" {seed}")) + &event;
        let detail = detail.unwrap_or("None");
        match source {
            "session-knn" => {
                format!(
                    "visitors with a session like yours went on from{because} ({count:.0} sessions)"
                )
            }
            "tag-affinity" => {
                let led = !because.is_empty();
                let of = if led {
                    format!(", as in{because}")
                } else {
                    because
                };
                format!("you like {detail}{of}")
            }
            "trending" => format!("trending: {count:.1} recent votes"),
            "trending-in-tags" => format!("trending among what you like: {count:.1} recent votes"),
            "trending-in-segment" => format!("trending with visitors like you: {count:.1} votes"),
            "popular-in-segment" => format!("popular with visitors like you: {count:.1} votes"),
            "repeats" => format!("you looked at it in this session{event}"),
            "fresh" => format!("new, shown {count:.0} times so far"),
            "list" => format!("place {count:.0} of the list"),
            "catalogue" => "in the catalogue; nothing else is known of it".to_string(),
            "popular" => format!("popular: {count:.1} votes"),
            _ => match source.strip_prefix("vector:") {
                Some(by) => format!("near{because} by {by} (similarity {count:.2})"),
                None => format!("{}{because}, {count:.2} times", source.replace('_', " ")),
            },
        }
    }

    /// The visitor's own event that led here.
    fn event(&self) -> String {
        let mut text = String::new();
        if let Some((position, index, ty, _)) = self.2 {
            // Writing to memory does not fail.
            let _ = write!(text, " (your {ty}, event {position}:{index})");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_said_by_source() {
        let event = Some((9, 2, "view", 5));
        for (source, seed, event, detail, sentence) in [
            (
                "session-knn",
                Some("a"),
                event,
                None,
                "visitors with a session like yours went on from a (your view, event 9:2) (2 sessions)",
            ),
            ("tag-affinity", None, None, Some("hats"), "you like hats"),
            (
                "tag-affinity",
                Some("a"),
                None,
                Some("hats"),
                "you like hats, as in a",
            ),
            ("trending", None, None, None, "trending: 2.5 recent votes"),
            (
                "popular-in-segment",
                None,
                None,
                None,
                "popular with visitors like you: 2.5 votes",
            ),
            (
                "repeats",
                Some("a"),
                event,
                None,
                "you looked at it in this session (your view, event 9:2)",
            ),
            (
                "vector:text",
                Some("a"),
                None,
                Some("cosine"),
                "near a by text (similarity 2.50)",
            ),
            (
                "also_viewed",
                Some("a"),
                None,
                None,
                "also viewed a, 2.50 times",
            ),
        ] {
            let said = ReasonSaid(source, seed, event, 2.5, IgnoredAny, detail);
            assert_eq!(said.sentence(), sentence);
        }
    }
}
