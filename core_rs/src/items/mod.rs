//! Items: what a shard knows of the items that it owns.
//!
//! * [`fresh`]: items that came into the world lately, over all shards.
//! * [`votes`]: decayed votes on an item, and trending.
//! * [`vectors`]: embeddings of all items, packed for scanning.
//! * [`code_rows`]: their codes once more, vector by vector, on whole cache lines.
//! * [`topset`]: bounded sets of the highest-counted items, maintained per vote.
//! * [`leaders`]: counts and leaders among some voters: all of them, or a segment.
//! * [`shard`]: leaders overall, per segment and per tag of the shard's items, and its share of the co-occurrence rows.

pub mod code_rows;
pub mod fresh;
pub mod leaders;
pub mod shard;
pub mod topset;
pub mod vectors;
pub mod votes;
