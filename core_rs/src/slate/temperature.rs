//! The temperature at which a softmax costs what may be spent.

use crate::embedding::store::LANES;
use crate::simd::{Simd, by_simd};

use super::exponential::weights;

/// The range: below, only ties at the top are drawn; above, all candidates alike.
const RANGE: (f64, f64) = (1e-4, 1e3);
const MOST_STEPS: usize = 40;
const TOLERANCE: f64 = 5e-3;

/// The temperature T at which the softmax over a default, which is worth the most and costs nothing, and `others`, each
/// with its worth below the most (never positive) and its cost, has the expected cost `wanted`, to 0.5 % of it; the end
/// of the range where none has. Newton's method on the logarithms, kept in a bracket. O(N) a step, about 4 steps.
pub fn temperature(simd: Simd, others: &[(f64, f64)], wanted: f64) -> f64 {
    let (mut low, mut high) = (libm::log(RANGE.0), libm::log(RANGE.1));
    // Most scales are worth a tenth at their top.
    let mut at = libm::log(0.05);
    for _ in 0..MOST_STEPS {
        let temperature = libm::exp(at);
        let (ratio, slope) = by_simd!(simd, fn run(
            simd: Simd,
            others: &[(f64, f64)],
            temperature: f64,
            wanted: f64,
        ) -> (f64, f64) = expected_cost);
        if (ratio - 1.0).abs() <= TOLERANCE {
            break;
        }
        if ratio > 1.0 {
            high = at;
        } else {
            low = at;
        }
        let next = at - libm::log(ratio) / slope;
        at = if next > low && next < high {
            next
        } else {
            0.5 * (low + high)
        };
        if high - low < TOLERANCE {
            break;
        }
    }
    libm::exp(at)
}

/// Expected cost over the one wanted, and how its logarithm grows with that of T.
#[inline(always)]
fn expected_cost(simd: Simd, others: &[(f64, f64)], temperature: f64, wanted: f64) -> (f64, f64) {
    let (mut total, mut total_slope) = (1.0, 0.0);
    let (mut cost, mut cost_slope) = (0.0, 0.0);
    for part in others.chunks(LANES) {
        let mut scaled = [0.0; LANES];
        for (scaled, (below, _)) in scaled.iter_mut().zip(part) {
            *scaled = below / temperature;
        }
        let weights = weights(simd, &scaled);
        for ((_, price), (scaled, weight)) in part.iter().zip(scaled.iter().zip(weights)) {
            let slope = -scaled * weight;
            total += weight;
            total_slope += slope;
            cost += price * weight;
            cost_slope += price * slope;
        }
    }
    let ratio = cost / total / wanted;
    (ratio, cost_slope / cost - total_slope / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_softmax_costs_what_is_wanted() {
        let others: Vec<(f64, f64)> = (1..300)
            .map(|rank| (-0.003 * f64::from(rank), if rank < 9 { 2.0 } else { 1.0 }))
            .collect();
        for wanted in [0.001, 0.05, 0.1, 0.3, 0.9] {
            let found = temperature(Simd::best(), &others, wanted);
            let weights = others.iter().map(|(below, _)| (below / found).exp());
            let total = 1.0 + weights.clone().sum::<f64>();
            let cost: f64 = weights.zip(&others).map(|(w, (_, cost))| w * cost).sum();
            assert!(
                (cost / total / wanted - 1.0).abs() < 6e-3,
                "{wanted} {found}"
            );
        }
    }

    #[test]
    fn out_of_reach_it_is_an_end_of_the_range() {
        let tied = [(0.0, 1.0), (0.0, 1.0)];
        assert!(temperature(Simd::best(), &tied, 0.1) < 2.0 * RANGE.0);
        let far = [(-0.5, 1.0), (-1.0, 1.0)];
        assert!(temperature(Simd::best(), &far, 1.0) > 0.5 * RANGE.1);
        assert!(temperature(Simd::best(), &[(-1e9, 1.0)], 0.1).is_finite());
    }
}
