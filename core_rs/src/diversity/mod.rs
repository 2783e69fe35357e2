//! Choosing k of n candidates that are relevant and unlike each other.
//!
//! * [`mmr`]: maximal marginal relevance. [`dpp`]: the mode of a determinantal point process, greedily.
//! * [`vectors`], [`codes`], [`tags`]: what similarity means: cosine of f32 vectors or of int8 codes, Jaccard of tag sets.
//! * [`slate`]: scoring, pool and MMR in one call.
//! * [`blocks`]: candidates in blocks of 16 by relevance, and the lazy search for the best, which both methods share;
//!   [`sums`]: their inner loop.
//!
//! Ties go to the smaller index. The operations of every candidate have a fixed order and are not contracted, so the
//! choice is the same on every CPU; being lazy changes which are carried out, not what they give.

pub mod blocks;
pub mod codes;
pub mod dpp;
pub mod mmr;
pub mod slate;
pub mod sums;
pub mod tags;
pub mod vectors;

use crate::error::CoreError;
use crate::simd::Simd;

use blocks::{Lanes, Order};

/// Similarity between candidates that stand in blocks.
pub trait Similarity {
    /// Takes the candidates' order; called once, before everything else.
    fn arrange(&mut self, order: &Order);
    /// A candidate was chosen; it gets the next number.
    fn choose(&mut self, block: usize, lane: usize);
    /// Nothing was chosen, after all: numbers start anew, the order stays.
    fn forget(&mut self);
    /// Similarity of a block's candidates with the chosen one of that number, in -1..=1 up to rounding.
    fn with_chosen(&mut self, simd: Simd, block: usize, number: usize) -> Lanes<f32>;
    /// [`Similarity::with_chosen`] of some blocks, which `out` has room for.
    fn with_chosen_each(
        &mut self,
        simd: Simd,
        blocks: &[u32],
        number: usize,
        out: &mut [Lanes<f32>],
    ) {
        for (block, out) in blocks.iter().zip(out) {
            *out = self.with_chosen(simd, *block as usize, number);
        }
    }
}

impl<S: Similarity + ?Sized> Similarity for &mut S {
    fn arrange(&mut self, order: &Order) {
        (**self).arrange(order);
    }

    fn choose(&mut self, block: usize, lane: usize) {
        (**self).choose(block, lane);
    }

    fn forget(&mut self) {
        (**self).forget();
    }

    fn with_chosen(&mut self, simd: Simd, block: usize, number: usize) -> Lanes<f32> {
        (**self).with_chosen(simd, block, number)
    }

    fn with_chosen_each(
        &mut self,
        simd: Simd,
        blocks: &[u32],
        number: usize,
        out: &mut [Lanes<f32>],
    ) {
        (**self).with_chosen_each(simd, blocks, number, out);
    }
}

/// Checks relevance: one finite number for each candidate.
pub fn check_relevance(relevance: &[f32], candidates: usize) -> Result<(), CoreError> {
    let refused = |rule: String| CoreError::Argument {
        field: "relevance",
        rule,
    };
    if relevance.len() != candidates {
        return Err(refused(format!(
            "{} numbers for {candidates} candidates",
            relevance.len()
        )));
    }
    match relevance.iter().position(|r| !r.is_finite()) {
        None => Ok(()),
        Some(at) => Err(refused(format!(
            "{} at {at}; allowed: finite numbers",
            relevance[at]
        ))),
    }
}

#[cfg(test)]
mod tests;
