//! Association measures of a pair i -> j, computed from counts when they are read.
//!
//! Two kinds of marginals, never mixed (design, section 4): lift, PMI, phi and LLR look at *pair draws* (how often j was
//! drawn at all, how often anything was drawn from i), cosine, Jaccard and conditional at *units* (sessions, users or
//! baskets that contain the item). Every measure is multiplied by the shrinkage c / (c + lambda).

use crate::scenario::Metric;

/// The counts of one pair, in full-weight events.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairCounts {
    /// Draws i -> j.
    pub pair: f64,
    /// Draws from i.
    pub out: f64,
    /// Draws to j.
    pub into: f64,
    /// All draws of the relation.
    pub total: f64,
    /// Units that contain i on the "from" side.
    pub units_from: f64,
    /// Units that contain j on the "to" side.
    pub units_to: f64,
}

impl PairCounts {
    /// The same counts, forced into a table that can exist: rounding of decayed counts and bounded rows may leave a pair
    /// a little above its marginals.
    #[inline(always)]
    fn clamped(self) -> Self {
        let pair = self.pair.max(0.0);
        let out = self.out.max(pair);
        let into = self.into.max(pair);
        Self {
            pair,
            out,
            into,
            total: self.total.max(out + into - pair),
            units_from: self.units_from.max(pair),
            units_to: self.units_to.max(pair),
        }
    }

    /// The measure, shrunk; 0 for a pair never drawn. O(1).
    #[inline(always)]
    pub fn score(self, metric: Metric, shrinkage: f64) -> f64 {
        let c = self.clamped();
        if c.pair <= 0.0 {
            return 0.0;
        }
        let value = match metric {
            Metric::Count => return c.pair,
            Metric::Cosine => return cosine(c.pair, c.units_from, c.units_to, shrinkage),
            Metric::Jaccard => c.pair / (c.units_from + c.units_to - c.pair),
            Metric::Conditional => c.pair / c.units_from,
            Metric::Lift => c.pair * c.total / (c.out * c.into),
            Metric::Pmi => libm::log(c.pair * c.total / (c.out * c.into)),
            Metric::Phi => phi(&c),
            Metric::Llr => signed_llr(&c),
        };
        value * (c.pair / (c.pair + shrinkage))
    }
}

/// Cosine over units, shrunk, in one division; 0 for a pair never drawn. Units are at least the pair's count.
#[inline(always)]
pub fn cosine(pair: f64, units_from: f64, units_to: f64, shrinkage: f64) -> f64 {
    // As one instruction: counts are never NaN, of which `f64::max` would take care.
    let larger = |a: f64, b: f64| if a > b { a } else { b };
    let units = larger(units_from, pair) * larger(units_to, pair);
    let bound = units.sqrt() * (pair + shrinkage);
    // Without a branch: a pair never drawn may have no units either.
    let value = pair * pair / larger(bound, f64::MIN_POSITIVE);
    if pair > 0.0 { value } else { 0.0 }
}

/// [`cosine`] x weight of many pairs, for callers that are compiled for a CPU path. `scores` comes with the units on the
/// "to" side and leaves with the scores; `counts` are the pairs', `units_from` the units on the "from" side.
#[inline(always)]
pub fn cosines(
    scores: &mut [f64],
    counts: &[f64],
    units_from: &[f64],
    weights: &[f64],
    shrinkage: f64,
) {
    let pairs = counts.iter().zip(units_from).zip(weights);
    for (score, ((pair, from), weight)) in scores.iter_mut().zip(pairs) {
        *score = weight * cosine(*pair, *from, *score, shrinkage);
    }
}

/// Pearson correlation of the two indicator variables over pair draws.
fn phi(c: &PairCounts) -> f64 {
    let spread = (c.out * c.into * (c.total - c.out) * (c.total - c.into)).sqrt();
    if spread <= 0.0 {
        0.0
    } else {
        (c.total * c.pair - c.out * c.into) / spread
    }
}

/// Dunning's G2 (1993) with the sign of the association: a pair rarer than chance is negative. Without the sign the top
/// of the list fills with anti-neighbours.
fn signed_llr(c: &PairCounts) -> f64 {
    let (k11, k12, k21) = (c.pair, c.out - c.pair, c.into - c.pair);
    let k22 = c.total - c.out - c.into + c.pair;
    let cell = |k: f64, row: f64, column: f64| {
        if k <= 0.0 {
            0.0
        } else {
            k * libm::log(k * c.total / (row * column))
        }
    };
    let sum = cell(k11, c.out, c.into)
        + cell(k12, c.out, c.total - c.into)
        + cell(k21, c.total - c.out, c.into)
        + cell(k22, c.total - c.out, c.total - c.into);
    let g2 = (2.0 * sum).max(0.0);
    if c.pair * c.total >= c.out * c.into {
        g2
    } else {
        -g2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Simd, by_simd};

    const COUNTS: PairCounts = PairCounts {
        pair: 10.0,
        out: 40.0,
        into: 50.0,
        total: 1000.0,
        units_from: 20.0,
        units_to: 30.0,
    };

    #[test]
    fn measures_match_hand_computed_values() {
        let score = |metric| COUNTS.score(metric, 0.0);
        assert!((score(Metric::Cosine) - 10.0 / 600f64.sqrt()).abs() < 1e-12);
        assert!((score(Metric::Jaccard) - 0.25).abs() < 1e-12);
        assert!((score(Metric::Conditional) - 0.5).abs() < 1e-12);
        assert!((score(Metric::Lift) - 5.0).abs() < 1e-12);
        assert!((score(Metric::Pmi) - 5f64.ln()).abs() < 1e-12);
        assert!(
            (score(Metric::Phi) - 8000.0 / (40.0 * 50.0 * 960.0 * 950.0f64).sqrt()).abs() < 1e-12
        );
        assert!((COUNTS.score(Metric::Jaccard, 10.0) - 0.125).abs() < 1e-12);
    }

    #[test]
    fn cosine_of_nothing_is_nothing() {
        assert_eq!(cosine(0.0, 0.0, 0.0, 0.0), 0.0);
        assert_eq!(cosine(0.0, 3.0, 0.0, 5.0), 0.0);
        assert_eq!(cosine(-1.0, 3.0, 2.0, 5.0), 0.0);
    }

    #[test]
    fn many_pairs_score_like_each_on_every_cpu() {
        let mut state = 3u64;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for len in 0..60 {
            let mut all = |most: u64, unit: f64| -> Vec<f64> {
                (0..len).map(|_| draw(most) as f64 * unit).collect()
            };
            let counts = all(60, [1.0, 1.0 / 64.0, 0.3][len as usize % 3]);
            let (units, from, weights) = (all(900, 1.0 / 7.0), all(500, 1.0), all(7, 1.0));
            let shrinkage = draw(50) as f64 / 7.0;
            let single =
                |at: usize| weights[at] * cosine(counts[at], from[at], units[at], shrinkage);
            let expected: Vec<u64> = (0..units.len()).map(|at| single(at).to_bits()).collect();
            for simd in Simd::available() {
                let mut scores = units.clone();
                let (slots, counts) = (&mut scores[..], &counts[..]);
                let (from, weights) = (&from[..], &weights[..]);
                by_simd!(simd, fn run(
                    slots: &mut [f64],
                    counts: &[f64],
                    from: &[f64],
                    weights: &[f64],
                    shrinkage: f64,
                ) = cosines);
                let bits: Vec<u64> = scores.iter().map(|score| score.to_bits()).collect();
                assert_eq!(bits, expected);
            }
        }
    }

    #[test]
    fn llr_is_negative_for_pairs_rarer_than_chance() {
        let rare = PairCounts {
            pair: 1.0,
            out: 400.0,
            into: 500.0,
            total: 1000.0,
            units_from: 400.0,
            units_to: 500.0,
        };
        assert!(rare.score(Metric::Llr, 0.0) < 0.0);
        assert!(COUNTS.score(Metric::Llr, 0.0) > 0.0);
    }

    #[test]
    fn impossible_tables_are_clamped_and_finite() {
        let odd = PairCounts {
            pair: 10.0,
            out: 1.0,
            into: 2.0,
            total: 3.0,
            units_from: 0.0,
            units_to: 0.5,
        };
        let metrics = [
            Metric::Cosine,
            Metric::Jaccard,
            Metric::Conditional,
            Metric::Lift,
        ];
        for metric in
            metrics
                .into_iter()
                .chain([Metric::Pmi, Metric::Phi, Metric::Llr, Metric::Count])
        {
            assert!(odd.score(metric, 5.0).is_finite(), "{metric:?}");
        }
        assert_eq!(odd.score(Metric::Cosine, 0.0), 1.0);
        assert_eq!(PairCounts::default().score(Metric::Llr, 0.0), 0.0);
    }
}
