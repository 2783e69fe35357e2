//! f32 dot products in one fixed order, for scoring the best of an int8 scan again.

use crate::error::CoreError;
use crate::simd::{Simd, by_simd};
use crate::topk::TopK;

use super::scan::{Search, search};
use super::store::PackedVectors;

/// Partial sums: component i goes to sum i mod 16.
const PARTS: usize = 16;

/// The dot product of two f32 vectors of equal length. O(d). Products are added to 16 partial sums in order, the sums to
/// each other as a tree; nothing is contracted, so every CPU gets the same bits.
pub fn dot_f32(simd: Simd, a: &[f32], b: &[f32]) -> f32 {
    by_simd!(simd, fn run(a: &[f32], b: &[f32]) -> f32 = body)
}

/// As [`search`], with the `oversample * k` best of the int8 scan scored again by the f32 dot product with their rows of
/// `exact` (row-major, one row a vector). `min_score` applies to these scores.
pub fn search_exact(
    simd: Simd,
    store: &PackedVectors,
    queries: &[f32],
    find: &Search<'_>,
    exact: &[f32],
    oversample: usize,
    mut put: impl FnMut(usize, usize, u32, f32),
) -> Result<Vec<usize>, CoreError> {
    let dim = store.dim();
    if exact.len() != store.len() * dim {
        let rule = format!(
            "{} numbers; allowed: {} vectors of {dim}",
            exact.len(),
            store.len()
        );
        return Err(CoreError::Argument {
            field: "rescore",
            rule,
        });
    }
    let wide = Search {
        k: find.k.saturating_mul(oversample.max(1)).min(store.len()),
        min_score: f32::NEG_INFINITY,
        ..*find
    };
    let mut pools = vec![Vec::with_capacity(wide.k); queries.len() / dim];
    search(simd, store, queries, &wide, |query, _, id, _| {
        pools[query].push(id)
    })?;
    let mut counts = Vec::with_capacity(pools.len());
    for (query, (mut pool, vector)) in pools.into_iter().zip(queries.chunks_exact(dim)).enumerate()
    {
        // Offers come by ascending index.
        pool.sort_unstable();
        let mut top = TopK::new(find.k, pool.len(), find.min_score, find.ties);
        for id in pool {
            let score = dot_f32(simd, vector, &exact[id as usize * dim..][..dim]);
            if !score.is_finite() {
                let rule = format!("row {id} gives the score {score}; allowed: finite numbers");
                return Err(CoreError::Argument {
                    field: "rescore",
                    rule,
                });
            }
            top.offer(score, id);
        }
        counts.push(top.finish(|place, id, score| put(query, place, id, score)));
    }
    Ok(counts)
}

#[inline(always)]
fn body(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; PARTS];
    let (a_rows, a_rest) = a.as_chunks::<PARTS>();
    let (b_rows, b_rest) = b.as_chunks::<PARTS>();
    for (x, y) in a_rows.iter().zip(b_rows) {
        for i in 0..PARTS {
            sums[i] += x[i] * y[i];
        }
    }
    for (sum, (x, y)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += x * y;
    }
    let mut width = PARTS / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_path_gives_the_same_bits_near_the_exact_sum(
            pairs in prop::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 0..300)
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let expected = dot_f32(Simd::PORTABLE, &a, &b);
            for simd in Simd::available() {
                prop_assert_eq!(dot_f32(simd, &a, &b).to_bits(), expected.to_bits());
            }
            let exact: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            prop_assert!((f64::from(expected) - exact).abs() < 1e-4);
        }
    }
}
