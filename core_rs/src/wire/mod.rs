//! What goes over a connection to NATS, as bytes: no sockets, no clock.
//!
//! * [`message`]: messages cut out of what was read, and what is written to send one.
//! * [`usual`]: the questions that nearly everybody asks, read from JSON or MessagePack; all others are Python's.
//! * [`waiting`]: such questions whose item hosts have not all replied.
//! * [`scattered`]: what item hosts are sent.
//! * [`recorded`]: their slates' records as the log holds them, [`bodies`] of frames out of many.
//! * [`said`]: their slates as they go back, `detailed` with all that is known of them; [`sentence`]: reasons in words.

pub mod bodies;
mod detailed;
pub mod message;
pub mod recorded;
pub mod said;
pub mod scattered;
pub mod sentence;
pub mod usual;
pub mod waiting;
