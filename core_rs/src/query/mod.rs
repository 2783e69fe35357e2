//! Queries: from a visitor, an item or a session to a ranked answer, read-only and deterministic.
//!
//! * [`request`], [`answer`]: what is asked and what comes back, as MessagePack maps and arrays; [`text`]: words that an
//!   answer repeats.
//! * [`plan`]: a request worked out: scenario, sources, filters. [`seeds`]: the visitor's own items that candidates are
//!   looked up from. [`allowed`]: what may be shown.
//! * [`source`], [`retrieve`]: the candidate sources; each gives raw scores: [`relation`], [`session_knn`], [`vectors`],
//!   [`leaders`]; [`graphs`]: large embeddings without a scan. [`accumulator`]: dense scores, no allocation per candidate.
//! * [`best`]: the best of a source; [`fuse`]: reciprocal-rank fusion; [`blend`]: what raises and lowers a fused score; [`filling`]: when nobody knows
//!   anything; [`features`]: what a learned ranker would see.
//! * [`compose`]: rules, diversity and exploration, by [`crate::slate`].
//! * [`taking_part`]: experiments: who is in which variant, and what a holdout is given.
//! * [`reasons`]: which of the visitor's own events led to an item; [`why`]: what became of one item;
//!   [`voters`]: whose sessions voted for it; [`chosen`]: the slate's items among many others; [`evidence`]: what is said of
//!   them; [`choosing`]: slate and evidence, with a helper [`following`] slot by slot; [`page`]: all of it as an answer.
//! * [`counted`]: what only a process that counts items knows of them; [`witness`]: why its sources named one.
//! * [`recommend`], [`many`], [`batch`], [`similar`], [`trending`], [`session_view`], [`item_view`]: the verbs;
//!   [`parallel`]: many questions at once; [`crate::beside`]: two parts of one; `together`: one scan
//!   for many; [`leading`], [`gathered`], [`few_items`]: leaders, and what strict filters leave, read and put in order once for many.
//! * [`hosts`]: the same questions answered by several processes.
//! * [`catalogue_page`]: the catalogue, page by page.
//! * [`numbered`]: the same sources asked without a state, for `headwater.kernels`.
//!
//! Same state, same request, same answer, bit for bit: ties break by item id, sums run in a fixed order, `ln` comes from
//! the pure-Rust `libm`.

pub mod accumulator;
pub mod allowed;
pub mod answer;
pub mod batch;
pub mod best;
pub mod blend;
pub mod catalogue_page;
pub mod choosing;
pub mod chosen;
pub mod compose;
pub mod counted;
pub mod evidence;
pub mod features;
pub mod few_items;
pub mod filling;
pub mod following;
pub mod fuse;
pub mod gathered;
pub mod graphs;
pub mod hosts;
pub mod item_view;
pub mod leaders;
pub mod leading;
pub mod many;
pub mod numbered;
pub mod page;
pub mod parallel;
pub mod plan;
pub mod reasons;
pub mod recommend;
pub mod relation;
pub mod request;
pub mod retrieve;
pub mod seeds;
pub mod session_knn;
pub mod session_view;
pub mod similar;
pub mod source;
pub mod taking_part;
pub mod text;
mod together;
pub mod trending;
pub mod vectors;
pub mod voters;
pub mod why;
pub mod witness;
