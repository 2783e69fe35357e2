//! Frames: one log message, read without copying.
//!
//! * [`header`]: the fixed header, its checksum, and why a whole frame is refused.
//! * [`msgpack`]: a cursor over MessagePack that trusts no length.
//! * [`body`]: the events of a frame, in order; [`event`]: what they are, and why a single one is refused.
//! * [`item`]: the fields of catalogue events.
//! * [`upcast`]: how many fields each event has in each format version.
//!
//! The reader is written by hand because it is the hot path of every fold; the format is `headwater/events/frame.py`'s,
//! and golden frames hold both sides to it. It does not decide what an event means, nor whether it is a repeat.

pub mod body;
pub mod event;
pub mod header;
pub mod item;
pub mod msgpack;
pub mod upcast;
