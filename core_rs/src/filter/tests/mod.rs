//! Filters against their definition.
//!
//! * [`errors`]: every message with its place, bounds, and text that is no filter.
//! * [`meaning`]: single rules of the language on a small shop.
//! * [`random`]: random filters on random catalogues against a slow evaluator.
//! * [`shop`]: items for the first two.

mod errors;
mod meaning;
mod random;
mod shop;
