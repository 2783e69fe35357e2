//! Filters against their definition.
//!
//! * [`errors`]: every message with its place, bounds, and text that is no filter.
//! * [`meaning`]: single rules of the language on a small shop.
//! * [`random`]: random filters on random catalogues against a slow evaluator.
//! * [`steps`]: random changes of a catalogue, and a plain model of what they lead to.
//! * [`shop`]: a catalogue with its names.

mod errors;
mod meaning;
mod random;
mod shop;
mod steps;
