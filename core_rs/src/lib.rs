//! Folds, kernels and queries of the Headwater recommendation engine.
//!
//! # Map
//!
//! From the bytes of the log to an answer:
//!
//! * [`frame`]: one log message, read without copying.
//! * [`admission`]: which frames and events count; [`bloom`] makes "certainly new" cheap.
//! * [`fold`]: frames in log order become state; [`fold::state`] is the place to start reading.
//! * Parts of the state: [`sessions`] (user partitions), [`items`] (item shards) with [`cooccurrence`] rows,
//!   [`neighbourhood`] (what a query needs of the whole log), [`catalogue`] (item metadata and its columns).
//! * [`scenario`]: how a question is answered; [`experiment`]: who is answered otherwise.
//! * [`filter`]: conditions on item fields, as text, to a [`bitmap`] of the items that pass.
//! * [`query`]: read-only answers over the state; [`slate`]: from ranked candidates to a slate under rules.
//! * [`wire`]: messages over NATS, and usual questions from their bytes to those of their answers.
//! * [`socket`]: what a connection's socket brings and takes, for whoever speaks over it.
//! * [`slate_scan`]: a log's slates and their answers as columns, for reports.
//! * [`snapshot`]: parts on disk, and digests.
//! * Kernels, usable alone: [`embedding`] (int8 scoring), [`topk`], [`sorting`], [`diversity`] (MMR, DPP), [`bloom`]; [`simd`] is the
//!   choice of the CPU path.
//! * [`ids`], [`intern`], [`names`], [`csr`], [`decay`], [`search`], [`huge_pages`], [`descriptor`], [`config`], [`error`]: what all of
//!   them use.
//! * [`lent`]: working memory that queries lend one another.
//! * [`beside`]: work shared with threads that have time; [`spare_threads`]: such threads, woken [`elsewhere`] than where the
//!   asker runs.
//! * [`limits`]: what the machine itself can do, beside which kernels are measured.
//! * `py`: the Python bindings, and `allocator`: where their memory comes from; only with the feature `python`.
//!
//! Nothing in this crate reads a clock, draws a random number, opens a file or talks to a network. State holds integers
//! and fixed-point numbers only; everything that orders, orders by id.

// Its tests run without the bindings too.
#[cfg(any(feature = "python", test))]
mod allocator;

pub mod admission;
pub mod beside;
pub mod bitmap;
pub mod bloom;
pub mod catalogue;
pub mod config;
pub mod cooccurrence;
pub mod csr;
pub mod decay;
mod decay_table;
pub mod descriptor;
pub mod diversity;
pub mod elsewhere;
pub mod embedding;
pub mod error;
pub mod experiment;
pub mod filter;
pub mod fold;
pub mod frame;
pub mod huge_pages;
pub mod ids;
pub mod intern;
pub mod items;
pub mod lent;
pub mod limits;
pub mod names;
pub mod neighbourhood;
pub mod query;
pub mod scenario;
pub mod search;
pub mod sessions;
pub mod simd;
pub mod slate;
pub mod slate_scan;
pub mod snapshot;
pub mod socket;
pub mod sorting;
pub mod spare_threads;
pub mod topk;
pub mod wire;

#[cfg(feature = "python")]
mod py;
