//! Co-occurrence: who was touched together with whom, bounded, decayed, and scored when read.
//!
//! * [`draws`]: pair draws, and the order in which they visit the rows.
//! * [`block`]: the memory of one row.
//! * [`row`]: one row, and how draws are counted in it.
//!   `full`: the same for full rows with AVX-512.
//! * [`rows`]: per seed item a row of neighbours with counts, bounded by SpaceSaving with second-hit admission.
//! * [`metrics`]: cosine, Jaccard, conditional, lift, PMI, phi and signed LLR of a pair, with shrinkage.
//!
//! Which pairs are drawn is decided in `neighbourhood`; this module only counts and scores.

pub mod block;
pub mod draws;
#[cfg(target_arch = "x86_64")]
mod full;
pub mod metrics;
pub mod row;
pub mod rows;
