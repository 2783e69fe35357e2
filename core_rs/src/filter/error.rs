//! What is wrong with a filter, and where.

use std::fmt;
use std::ops::Range;

/// A filter that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// What was found and what is allowed.
    pub message: String,
    /// Where, in characters from the start of the text; `None` when it is not about a place in it.
    pub at: Option<usize>,
    /// How many characters from there; 0 at the end of the text.
    pub len: usize,
    /// The line of the text, with its own offset in characters, for the display.
    line: String,
    column: usize,
}

/// Characters of a long line that are shown before and behind the place.
const AROUND: usize = 60;

impl FilterError {
    /// An error that is about no place in the text.
    pub(super) fn whole(message: String) -> Self {
        Self {
            message,
            at: None,
            len: 0,
            line: String::new(),
            column: 0,
        }
    }

    /// An error about a range of bytes of the text.
    pub(super) fn at(text: &str, bytes: Range<usize>, message: String) -> Self {
        let before = &text[..bytes.start];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line_end = text[bytes.start..]
            .find('\n')
            .map_or(text.len(), |end| bytes.start + end);
        let column = text[line_start..bytes.start].chars().count();
        let skipped = column.saturating_sub(AROUND);
        let line = text[line_start..line_end]
            .chars()
            .skip(skipped)
            .take(2 * AROUND)
            // Whatever would move the caret away from its place.
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Self {
            message,
            at: Some(before.chars().count()),
            len: text[bytes].chars().count(),
            line,
            column: column - skipped,
        }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(at) = self.at else {
            return f.write_str(&self.message);
        };
        let room = self.line.chars().count().saturating_sub(self.column);
        let carets = "^".repeat(self.len.clamp(1, room.max(1)));
        write!(
            f,
            "{} (at character {at})\n  {}\n  {:column$}{carets}",
            self.message,
            self.line,
            "",
            column = self.column
        )
    }
}

impl std::error::Error for FilterError {}
