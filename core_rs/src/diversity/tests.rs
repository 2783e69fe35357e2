//! MMR and DPP against the definitions, and every path against the portable one.

use proptest::prelude::*;

use super::codes::Codes;
use super::dpp::{Dpp, MIN_RESIDUAL, dpp};
use super::mmr::{Mmr, mmr};
use super::tags::TagSets;
use super::vectors::Vectors;
use super::*;

type Chosen = Vec<(u32, f64)>;

/// All similarities in one matrix, from a chosen candidate (row) to another (column).
fn matrix(mut candidates: impl Similarity, relevance: &[f32]) -> Vec<Vec<f32>> {
    let order = Order::new(relevance);
    candidates.arrange(&order);
    let n = relevance.len();
    let mut out = vec![vec![0.0; n]; n];
    let mut number = 0;
    for block in 0..order.blocks() {
        for (lane, chosen) in order.block(block).iter().enumerate() {
            candidates.choose(block, lane);
            for other in 0..order.blocks() {
                let row = candidates.with_chosen(Simd::PORTABLE, other, number);
                for (l, index) in order.block(other).iter().enumerate() {
                    out[*chosen as usize][*index as usize] = row[l];
                }
            }
            number += 1;
        }
    }
    out
}

/// MMR as it is defined: every maximum from scratch.
fn slow_mmr(similarity: &[Vec<f32>], relevance: &[f32], how: &Mmr) -> Chosen {
    let mut chosen: Chosen = Vec::new();
    while chosen.len() < how.k.min(relevance.len()) {
        let from = chosen
            .len()
            .saturating_sub(how.window.unwrap_or(usize::MAX));
        let mut best: Option<(u32, f64)> = None;
        for i in 0..relevance.len() {
            if chosen.iter().any(|(c, _)| *c as usize == i) {
                continue;
            }
            let nearest = chosen[from..]
                .iter()
                .map(|(c, _)| similarity[*c as usize][i].clamp(0.0, 1.0))
                .fold(0.0, f32::max);
            let value = how.trade_off * relevance[i] - (1.0 - how.trade_off) * nearest;
            if best.is_none_or(|(_, b)| f64::from(value) > b) {
                best = Some((i as u32, f64::from(value)));
            }
        }
        chosen.extend(best);
    }
    chosen
}

/// The share of S's determinant that a candidate adds to the chosen: by Gaussian elimination, from scratch.
fn residual(similarity: &[Vec<f32>], chosen: &[u32], candidate: u32) -> f64 {
    let members: Vec<usize> = chosen
        .iter()
        .chain([&candidate])
        .map(|c| *c as usize)
        .collect();
    let n = members.len();
    let mut m: Vec<Vec<f64>> = members
        .iter()
        .map(|i| {
            members
                .iter()
                .map(|j| {
                    if i == j {
                        1.0
                    } else {
                        f64::from(similarity[*i][*j])
                    }
                })
                .collect()
        })
        .collect();
    for pivot in 0..n - 1 {
        let (above, below) = m.split_at_mut(pivot + 1);
        for row in below {
            let factor = row[pivot] / above[pivot][pivot];
            for (x, y) in row.iter_mut().zip(&above[pivot]) {
                *x -= factor * y;
            }
        }
    }
    m[n - 1][n - 1]
}

/// Each choice of a greedy DPP is the best there was, up to rounding.
fn check_dpp(similarity: &[Vec<f32>], relevance: &[f32], how: &Dpp, found: &Chosen) {
    let factor = how.theta / (1.0 - how.theta);
    let mut before: Vec<u32> = Vec::new();
    let gain = |before: &[u32], i: u32| {
        let residual = residual(similarity, before, i);
        (
            residual,
            factor * f64::from(relevance[i as usize]) + residual.max(1e-300).ln(),
        )
    };
    for (index, claimed) in found {
        let (own_residual, own_gain) = gain(&before, *index);
        assert!(
            (own_residual - claimed).abs() < 1e-4,
            "{own_residual} {claimed}"
        );
        for other in 0..relevance.len() as u32 {
            if !before.contains(&other) && other != *index {
                let (residual, gain) = gain(&before, other);
                assert!(
                    residual < 2.0 * MIN_RESIDUAL || gain <= own_gain + 1e-2,
                    "{gain} {own_gain}"
                );
            }
        }
        before.push(*index);
    }
    if found.len() < how.k.min(relevance.len()) {
        for other in (0..relevance.len() as u32).filter(|i| !before.contains(i)) {
            assert!(residual(similarity, &before, other) < 2e-4);
        }
    }
}

#[derive(Debug)]
struct Case {
    dim: usize,
    vectors: Vec<f32>,
    relevance: Vec<f32>,
    k: usize,
}

fn case() -> impl Strategy<Value = Case> {
    // Few values: ties in relevance, repeated and zero vectors are common.
    let component = prop_oneof![Just(1.0f32), Just(-1.0), Just(0.0), -1.0f32..1.0];
    let relevance = prop_oneof![Just(0.5f32), Just(-0.0), Just(0.0), -1.0f32..1.0];
    (1usize..20, 0usize..40, 0usize..24).prop_flat_map(move |(dim, n, k)| {
        (
            prop::collection::vec(component.clone(), dim * n),
            prop::collection::vec(relevance.clone(), n),
        )
            .prop_map(move |(vectors, relevance)| Case {
                dim,
                vectors,
                relevance,
                k,
            })
    })
}

fn codes_of(case: &Case) -> Vec<i8> {
    case.vectors.iter().map(|v| (v * 127.0) as i8).collect()
}

fn codes<'a>(case: &Case, all: &'a [i8]) -> Codes<impl Fn(usize) -> &'a [i8]> {
    let dim = case.dim;
    Codes::new(dim, move |at: usize| &all[at * dim..][..dim])
}

proptest! {
    #[test]
    fn mmr_is_what_its_definition_says(
        case in case(),
        trade_off in prop_oneof![Just(0.0f32), Just(1.0), 0.0f32..1.0],
        window in prop::option::of(0usize..8),
    ) {
        let how = Mmr { k: case.k, trade_off, window };
        let n = case.relevance.len();
        let rows = |simd| Vectors::new(simd, &case.vectors, case.dim).unwrap();
        let by_vectors = slow_mmr(&matrix(rows(Simd::PORTABLE), &case.relevance), &case.relevance, &how);
        let all = codes_of(&case);
        let by_codes = slow_mmr(&matrix(codes(&case, &all), &case.relevance), &case.relevance, &how);
        for simd in Simd::available() {
            prop_assert_eq!(&mmr(simd, rows(simd), &case.relevance, n, &how).unwrap(), &by_vectors);
            let found = mmr(simd, codes(&case, &all), &case.relevance, n, &how).unwrap();
            prop_assert_eq!(&found, &by_codes);
        }
    }

    #[test]
    fn dpp_takes_the_largest_gain_on_every_path(case in case(), theta in prop_oneof![Just(0.0), 0.0f64..0.9]) {
        let how = Dpp { k: case.k, theta };
        let n = case.relevance.len();
        let rows = |simd| Vectors::new(simd, &case.vectors, case.dim).unwrap();
        let found = dpp(Simd::PORTABLE, rows(Simd::PORTABLE), &case.relevance, n, &how).unwrap();
        check_dpp(&matrix(rows(Simd::PORTABLE), &case.relevance), &case.relevance, &how, &found);
        let all = codes_of(&case);
        let of_codes = dpp(Simd::PORTABLE, codes(&case, &all), &case.relevance, n, &how).unwrap();
        check_dpp(&matrix(codes(&case, &all), &case.relevance), &case.relevance, &how, &of_codes);
        for simd in Simd::available() {
            prop_assert_eq!(&dpp(simd, rows(simd), &case.relevance, n, &how).unwrap(), &found);
            let own = dpp(simd, codes(&case, &all), &case.relevance, n, &how).unwrap();
            prop_assert_eq!(&own, &of_codes);
        }
    }

    #[test]
    fn tag_sets_are_likened_by_jaccard(
        sets in prop::collection::vec(prop::collection::btree_set(0u32..12, 0..8), 1..50),
        k in 0usize..40,
        trade_off in 0.0f32..1.0,
    ) {
        let starts: Vec<u32> = std::iter::once(0)
            .chain(sets.iter().scan(0, |sum, set| { *sum += set.len() as u32; Some(*sum) }))
            .collect();
        let tags: Vec<u32> = sets.iter().flatten().copied().collect();
        let relevance: Vec<f32> = (0..sets.len()).map(|i| (i % 5) as f32 / 5.0).collect();
        let similarity: Vec<Vec<f32>> = sets
            .iter()
            .map(|a| sets.iter().map(|b| {
                let both = a.intersection(b).count();
                let any = a.union(b).count();
                if both == 0 { 0.0 } else { both as f32 / any as f32 }
            }).collect())
            .collect();
        let candidates = || TagSets::new(&starts, &tags).unwrap();
        prop_assert_eq!(&matrix(candidates(), &relevance), &similarity);
        let how = Mmr { k, trade_off, window: None };
        let found = mmr(Simd::best(), candidates(), &relevance, sets.len(), &how).unwrap();
        prop_assert_eq!(found, slow_mmr(&similarity, &relevance, &how));
        let how = Dpp { k, theta: 0.5 };
        let found = dpp(Simd::best(), candidates(), &relevance, sets.len(), &how).unwrap();
        check_dpp(&similarity, &relevance, &how, &found);
    }
}

#[test]
fn cosine_does_not_mind_the_size_of_vectors() {
    let base = [3.0f32, -1.0, 2.0, 0.5, 1.0, 1.0, -2.0, 0.25];
    for size in [1e-42f32, 1e-30, 1e-12, 1e14] {
        let vectors: Vec<f32> = base
            .iter()
            .enumerate()
            .map(|(i, v)| if i < 4 { v * size } else { *v })
            .collect();
        let rows = Vectors::new(Simd::best(), &vectors, 4).unwrap();
        let cosine = matrix(rows, &[1.0, 0.0])[0][1];
        let expected = (3.0 - 1.0 - 4.0 + 0.125) / (14.25f64 * 6.0625).sqrt();
        // A subnormal vector has few digits.
        let tolerance = if size < 1e-40 { 1e-2 } else { 1e-6 };
        assert!(
            (f64::from(cosine) - expected).abs() < tolerance,
            "{size}: {cosine} {expected}"
        );
    }
}

#[test]
fn bad_input_is_refused() {
    let simd = Simd::best();
    let rows = || Vectors::new(simd, &[1.0, 0.0], 1).unwrap();
    let how = Mmr {
        k: 1,
        trade_off: 0.5,
        window: None,
    };
    assert!(mmr(simd, rows(), &[1.0], 2, &how).is_err());
    assert!(mmr(simd, rows(), &[1.0, f32::NAN], 2, &how).is_err());
    assert!(
        mmr(
            simd,
            rows(),
            &[1.0, 0.0],
            2,
            &Mmr {
                trade_off: 1.5,
                ..how
            }
        )
        .is_err()
    );
    assert!(dpp(simd, rows(), &[1.0, 0.0], 2, &Dpp { k: 1, theta: 1.0 }).is_err());
    assert!(Vectors::new(simd, &[1.0, f32::INFINITY], 1).is_err());
    for (starts, tags) in [
        (&[][..], &[][..]),
        (&[1], &[][..]),
        (&[0, 2, 1, 2], &[1, 2]),
        (&[0, 2], &[2, 1]),
        (&[0, 2], &[1, 1]),
        (&[0, 3], &[1, 2]),
    ] {
        assert!(TagSets::new(starts, tags).is_err(), "{starts:?} {tags:?}");
    }
}
