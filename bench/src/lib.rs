//! Criterion benchmarks of `headwater-core` live in `benches/`.
