//! From a query to a slate in one call: score everything, keep a pool of the best, choose from it by MMR.

use crate::embedding::scan::{Search, search};
use crate::embedding::store::PackedVectors;
use crate::error::CoreError;
use crate::simd::Simd;

use super::codes::Packed;
use super::mmr::{Mmr, mmr};

/// Scores all vectors for one query, takes the best `find.k` as pool and chooses from them. Relevance is the score, moved
/// and scaled so that the pool spans 0..=1 (all 1 where all scores are equal); similarity is the cosine of the codes.
/// Returns numbers and scores in slate order. O(n d + pool k d).
pub fn slate(
    simd: Simd,
    store: &PackedVectors,
    query: &[f32],
    find: &Search<'_>,
    how: &Mmr,
) -> Result<Vec<(u32, f32)>, CoreError> {
    let mut pool = Vec::with_capacity(find.k.min(store.len()));
    search(simd, store, query, find, |_, _, id, score| {
        pool.push((id, score));
    })?;
    let (Some((_, best)), Some((_, worst))) = (pool.first(), pool.last()) else {
        return Ok(Vec::new());
    };
    let spread = best - worst;
    let relevance: Vec<f32> = pool
        .iter()
        .map(|(_, score)| {
            if spread > 0.0 {
                (score - worst) / spread
            } else {
                1.0
            }
        })
        .collect();
    let candidates = Packed::stored(store, |at: usize| pool[at].0 as usize);
    let chosen = mmr(simd, candidates, &relevance, pool.len(), how)?;
    Ok(chosen
        .into_iter()
        .map(|(at, _)| pool[at as usize])
        .collect())
}
