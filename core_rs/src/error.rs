//! Errors of the core. Input never panics: it ends here, or as a counted no-op of the fold. What panics all the same is a
//! defect of the core, and [`unpanicked`] makes an error of that too.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
    /// The core panicked.
    #[error("a defect of the core: {0}")]
    Panicked(String),
}

/// What `work` gives, or [`CoreError::Panicked`] with the panic's message. A fold that panicked leaves a state that refuses
/// whatever is asked of it ([`CoreError::Torn`]); questions change nothing.
pub fn unpanicked<T>(work: impl FnOnce() -> T) -> Result<T, CoreError> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| CoreError::Panicked(message_of(&*panic).to_string()))
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    if let Some(said) = panic.downcast_ref::<&str>() {
        return said;
    }
    panic
        .downcast_ref::<String>()
        .map_or("a panic without a message", String::as_str)
}

#[cfg(test)]
mod tests {
    use std::panic::{panic_any, resume_unwind};

    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        assert_eq!(unpanicked(|| 7).unwrap(), 7);
        let told = |work: fn() -> u8| unpanicked(work).unwrap_err().to_string();
        assert_eq!(told(|| panic!("fixed")), "a defect of the core: fixed");
        let index = told(|| panic!("index {} is out of bounds", 9));
        assert_eq!(index, "a defect of the core: index 9 is out of bounds");
        let silent = "a defect of the core: a panic without a message";
        assert_eq!(told(|| panic_any(9)), silent);
        assert_eq!(told(|| resume_unwind(Box::new(()))), silent);
    }
}
