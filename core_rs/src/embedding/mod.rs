//! int8 embeddings: quantising, the packed store, and the scan that scores all of it.
//!
//! * [`quantize`]: f32 to int8 codes with one scale a vector.
//! * [`store`]: vectors packed so that one instruction handles 16 of them; grows and changes in place.
//! * [`query`]: queries as the scan wants them.
//! * [`scan`]: scores, filter, threshold and top-k together; `passes`: how often, and by whom; `avx512`, `avx2` and their twin
//!   `portable` do the work.
//! * [`graph`]: most of the best, found by looking at few vectors.
//! * [`rescore`]: exact f32 scores for the best.
//!
//! The score of a stored vector is `(dot as f32 * scale) * query_scale` with the exact i32 dot of the codes: three IEEE
//! operations (the conversion is exact, |dot| <= 127^2 * 1024 < 2^24), equal on every CPU.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod graph;
mod passes;
mod portable;
pub mod quantize;
pub mod query;
pub mod rescore;
pub mod scan;
pub mod store;

pub use quantize::Embedding;

/// Dimensions that vectors may have.
pub const DIMS: std::ops::RangeInclusive<usize> = 1..=1024;

/// Largest magnitude of a component. Real embeddings stay far below; beyond it products could leave the range of f32.
pub const MAX_MAGNITUDE: f32 = 1e15;
