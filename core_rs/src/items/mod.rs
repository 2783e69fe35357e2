//! Items: what a shard knows of the items that it owns.
//!
//! * [`fresh`]: items that came into the world lately, over all shards.
//! * [`topset`]: bounded sets of the highest-counted items, maintained per vote.
//! * [`shard`]: popularity, trending and per-tag leaders of the shard's items, and its share of the co-occurrence rows.

pub mod fresh;
pub mod shard;
pub mod topset;
pub mod vectors;
