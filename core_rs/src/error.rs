//! Errors of the core. Input never panics: it ends here, or as a counted no-op of the fold.

use thiserror::Error;

/// What can go wrong outside the fold of single events.
#[derive(Debug, Error)]
pub enum CoreError {
    /// The configuration does not decode.
    #[error("configuration: {0}")]
    Config(String),
    /// A frame was offered that does not continue the state.
    #[error("frame at position {offered} does not follow position {expected}")]
    Gap {
        /// First position offered.
        offered: u64,
        /// Position expected next.
        expected: u64,
    },
    /// A fold panicked: the state holds a part of what it was to change.
    #[error(
        "a fold broke off in the middle, so the state is no longer that of any position: begin again from the log"
    )]
    Torn,
    /// A snapshot part is damaged, foreign or of another version.
    #[error("snapshot part {part}: {reason}")]
    Snapshot {
        /// Name of the part.
        part: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An argument of a kernel breaks a rule.
    #[error("{field}: {rule}")]
    Argument {
        /// Name of the argument.
        field: &'static str,
        /// What is wrong with it and what is allowed.
        rule: String,
    },
    /// A query breaks a rule.
    #[error("{field}: {rule}")]
    Query {
        /// Field of the request.
        field: &'static str,
        /// What is allowed.
        rule: String,
    },
    /// Hosts answer one question under different configurations: one of them is behind in the log.
    #[error(
        "configuration {asked} was asked under, {own} is active here: this host is behind or ahead, ask again"
    )]
    OtherConfiguration {
        /// Version that is active here.
        own: String,
        /// Version that was asked under.
        asked: String,
    },
    /// A filter does not parse, or does not fit the items' fields.
    #[error("{field}: {rule}")]
    Filter {
        /// Field of the request or configuration that holds it.
        field: &'static str,
        /// What is wrong, with the place shown.
        rule: String,
        /// Where, in characters from 0, if it is about one place.
        at: Option<usize>,
    },
}
