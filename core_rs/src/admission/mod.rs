//! Admission: which frames and events count, decided once and alike by everyone who reads a partition.
//!
//! * [`frames`]: a frame counts once per (producer, epoch, sequence).
//! * [`events`]: an event with an id counts once within a horizon; what might be a repeat from beyond it is set aside.
//! * [`id_set`]: the set of ids behind it: a Bloom filter before an exact table, in segments.
//! * [`rapid`]: the same user, item and type within a few seconds of event time counts once.
//!
//! Exactness is never left to a Bloom filter: "certainly new" is its only verdict, everything else asks an exact table.

pub mod events;
pub mod frames;
pub mod id_set;
pub mod rapid;
