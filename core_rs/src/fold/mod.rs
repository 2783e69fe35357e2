//! The fold: frames in log order become state.
//!
//! * [`ownership`]: everything in one process, or parts on several hosts.
//! * [`rules`]: what an event's type and value mean under the configuration.
//! * [`fact`]: an admitted event, with its names already numbered.
//! * [`state`]: all parts, and the order in which a batch of frames passes through them.
//! * `plan`: the frames of a segment; `segment`: its work, shared among threads.
//! * [`places`]: where each item is counted, and where in the log a state stands.
//! * [`control`]: active configuration, running time, outcomes.
//! * [`batch`]: decoded frames and their numbering.
//! * [`item_changes`]: what frames of the catalogue do.
//! * [`partition`]: what one user partition makes of its frames (admission, session, pair draws);
//!   [`partition_part`]: how it is written and read back.
//! * [`light_user`]: what an item host keeps of a user beside admission.
//! * [`merging`]: users who turn out to be others.
//! * [`parts`]: snapshot, restore and digest of all parts.
//! * [`report`]: what happened to the events of a batch.
//!
//! A fold reads no clock, draws no random number and performs no I/O.

pub mod batch;
pub mod control;
pub mod fact;
pub mod item_changes;
pub mod light_user;
pub mod merging;
pub mod outbox;
pub mod ownership;
pub mod partition;
pub mod partition_part;
pub mod parts;
pub mod places;
mod plan;
pub mod report;
pub mod rules;
mod segment;
pub mod state;
