//! Snapshots and digests: one description of each part's state, written in two ways.
//!
//! * [`codec`]: the writer that every part describes itself to, and the reader that builds it again. In a digest item
//!   references are hashes of ids; in a snapshot they are numbers of a dictionary inside the part, so that a part can be
//!   loaded by a process that numbers items differently.
//! * [`file`]: the envelope of a part on disk: magic, versions, generation, position, compressed body, checksum.
//!
//! What a digest is: the wrapping sum of 128-bit hashes of the part's entities (a user, an item, a row ...), hence
//! independent of how entities are spread and in which order they are visited.

pub mod codec;
pub mod file;
