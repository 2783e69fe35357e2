//! How many slots differ from the greedy slate.

use super::case::Case;
use crate::simd::Simd;
use crate::slate::request::*;

/// Numbers from a counter, -1 to 1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 += 1;
        let bits = xxhash_rust::xxh3::xxh3_64(&self.0.to_le_bytes());
        (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Relevance falls as fused scores do; topics make some candidates alike.
pub fn pool(count: usize, n: usize, seed: u64) -> Case {
    let mut numbers = Numbers(seed << 32);
    let dim = 8;
    let topics: Vec<f32> = (0..8 * dim).map(|_| numbers.next()).collect();
    let codes = (0..count * dim)
        .map(|at| {
            let topic = (at / dim * 7 % 8) * dim + at % dim;
            ((topics[topic] + numbers.next()) * 60.0) as i8
        })
        .collect();
    let relevance = (0..count)
        .map(|rank| 10.0 / (10.0 + rank as f32) + 0.02 * numbers.next())
        .collect();
    Case {
        dim,
        codes,
        ..Case::plain(relevance, n)
    }
}

/// Mean share of differing slots, and its standard error.
fn measured(case: &Case, slates: u32) -> (f64, f64) {
    let (mut sum, mut squares) = (0.0, 0.0);
    let greedy = Case {
        exploration: None,
        ..case.clone()
    }
    .choose(Simd::best());
    for draw in 0..slates {
        let mut drawn = case.clone();
        if let Some(exploration) = &mut drawn.exploration {
            exploration.key = xxhash_rust::xxh3::xxh3_128(&draw.to_le_bytes());
        }
        let slate = drawn.choose(Simd::best());
        let same =
            |k: &usize| slate.at(*k).map(|s| s.candidate) == greedy.at(*k).map(|s| s.candidate);
        let share = 1.0 - (0..case.n).filter(same).count() as f64 / case.n as f64;
        sum += share;
        squares += share * share;
    }
    let count = f64::from(slates);
    let mean = sum / count;
    (mean, ((squares / count - mean * mean) / count).sqrt())
}

fn with_caps(mut case: Case) -> Case {
    let count = case.relevance.len() as u32;
    let starts = (0..=count).collect();
    let values = (0..count).map(|i| i * 7 % 8).collect();
    case.caps = vec![(starts, values, 3)];
    case.groups = Some(
        (0..count)
            .map(|i| if i % 3 == 0 { i / 6 } else { NO_GROUP })
            .collect(),
    );
    case
}

#[test]
fn the_share_of_differing_slots_is_the_one_asked_for() {
    let mut seed = 0;
    for method in [Method::Relevance, Method::Mmr, Method::Dpp] {
        for (n, share, ruled) in [(5, 0.1, false), (10, 0.3, true), (20, 0.05, true)] {
            seed += 1;
            let mut case = pool(100, n, seed);
            (case.method, case.diversity) = (method, 0.3);
            if ruled {
                case = with_caps(case);
            }
            let (mean, error) = measured(&case.exploring(share, 0.1, 0), 400);
            assert!(
                (mean - share).abs() < 4.0 * error,
                "{method:?} {n} {share}: {mean} +- {error}"
            );
        }
    }
}

#[test]
#[ignore = "minutes; prints a table"]
fn table_of_shares() {
    for method in [Method::Relevance, Method::Mmr, Method::Dpp] {
        for (n, count) in [(5, 100), (10, 200), (20, 500)] {
            for ruled in [false, true] {
                for share in [0.05, 0.1, 0.3, 0.6, 1.0] {
                    let mut case = pool(count, n, 99);
                    (case.method, case.diversity) = (method, 0.3);
                    if ruled {
                        case = with_caps(case);
                    }
                    let (mean, error) =
                        measured(&case.exploring(share, 0.1, 0), 100_000 / n as u32);
                    let (bias, doubt) = ((mean / share - 1.0) * 100.0, error / share * 100.0);
                    println!(
                        "{method:?} n {n} pool {count} rules {ruled} e {share}: {mean:.5} {bias:+.2} % +- {doubt:.2}"
                    );
                }
            }
        }
    }
}
