//! What the benchmarks in `benches/` and the fuzzer in `src/bin/fuzz.rs` share.
//!
//! * [`random`]: numbers that are the same in every run.
//! * [`shop`]: a small shop's log as frames, and the state that it folds to.
//! * [`mutation`]: damaged copies of sound bytes, and what must hold when they are read.

pub mod mutation;
pub mod random;
pub mod shop;
