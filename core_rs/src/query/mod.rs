//! Queries: from a visitor, an item or a session to a ranked answer, read-only and deterministic.
//!
//! * [`request`], [`answer`]: what is asked and what comes back, as MessagePack maps and arrays.
//! * [`seeds`]: the visitor's own items that candidates are looked up from.
//! * [`accumulator`]: dense scores with a list of what was touched: no allocation per candidate.
//! * [`relation`], [`session_knn`], [`leaders`]: the candidate sources; each returns raw scores.
//! * [`fuse`]: reciprocal-rank fusion of the sources and the final order.
//! * [`reasons`]: which of the visitor's own events led to an item.
//! * [`recommend`], [`similar`], [`trending`], [`session_view`]: the verbs.
//! * [`numbered`]: the same sources asked without a state, for `headwater.kernels`.
//!
//! Same state, same request, same answer, bit for bit: ties break by item id, sums run in a fixed order, `ln` comes from
//! the pure-Rust `libm`.

pub mod accumulator;
pub mod answer;
pub mod fuse;
pub mod leaders;
pub mod numbered;
pub mod reasons;
pub mod recommend;
pub mod relation;
pub mod request;
pub mod seeds;
pub mod session_knn;
pub mod session_view;
pub mod similar;
pub mod trending;
