//! All hosts that answer one question do so under one configuration, or none of them does.

use crate::error::CoreError;
use crate::fold::state::State;
use crate::query::hosts::message::Reply;

/// Version of the configuration that is active in the log.
pub fn version(state: &State) -> Option<&str> {
    state.control.active().map(|(version, _)| version)
}

/// Refuses to answer under another configuration than was asked under.
pub fn check_version(state: &State, asked: Option<&str>) -> Result<(), CoreError> {
    let own = version(state);
    if own == asked {
        return Ok(());
    }
    let named = |version: Option<&str>| version.unwrap_or("none").to_string();
    Err(CoreError::OtherConfiguration {
        own: named(own),
        asked: named(asked),
    })
}

/// Refuses replies of which any was made under another configuration.
pub fn check_versions(state: &State, replies: &[Reply<'_>]) -> Result<(), CoreError> {
    let mut replies = replies.iter();
    replies.try_for_each(|reply| check_version(state, reply.version))
}
