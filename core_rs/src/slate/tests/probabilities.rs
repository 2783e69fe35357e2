//! Small cases in full: every slate, and how probable it is.

use proptest::prelude::*;

use super::case::{Case, case};
use crate::simd::Simd;
use crate::slate::request::*;

type Slots = Vec<Option<u32>>;

/// Every slate with its probability.
pub fn enumerate(case: &Case) -> Vec<(Slots, f64)> {
    let mut found = Vec::new();
    extend(case, &mut Vec::new(), 1.0, &mut found);
    found
}

fn extend(case: &Case, above: &mut Slots, probability: f64, found: &mut Vec<(Slots, f64)>) {
    if above.len() == case.n {
        found.push((above.clone(), probability));
        return;
    }
    let candidates = (0..case.relevance.len() as u32).map(Some);
    for candidate in candidates.chain([None]) {
        let mut slots = above.clone();
        slots.push(candidate);
        slots.resize(case.n, None);
        let own = case.probability_of(Simd::best(), &slots)[above.len()];
        if own > 0.0 {
            above.push(candidate);
            extend(case, above, probability * own, found);
            above.pop();
        }
    }
}

/// Expected number of slots that differ from the greedy slate, of those that it fills.
fn expected_difference(case: &Case) -> (f64, usize) {
    let greedy = Case {
        exploration: None,
        ..case.clone()
    }
    .choose(Simd::best());
    let differing = |slots: &Slots| {
        let differs = |s: &&crate::slate::answer::Slot| slots[s.slot] != Some(s.candidate);
        greedy.slots.iter().filter(differs).count() as f64
    };
    let free = greedy.slots.iter().filter(|slot| !slot.pinned).count();
    let each = enumerate(case).into_iter();
    (each.map(|(slots, p)| p * differing(&slots)).sum(), free)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn probabilities_of_all_slates_sum_to_one(mut case in case(6, 3), share in 0.01f64..1.0, uniform in 0.01f64..1.0) {
        case = case.exploring(share, uniform, 1);
        let all = enumerate(&case);
        let sum: f64 = all.iter().map(|(_, p)| p).sum();
        prop_assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        let floor = case.choose(Simd::best()).floor;
        for (slots, probability) in &all {
            // Nothing that the rules allow is missing, and nothing else is there.
            let pins = case.kept_pins();
            let mut others: Vec<u32> = pins.iter().map(|pin| pin.candidate).collect();
            for (slot, candidate) in slots.iter().enumerate() {
                if pins.iter().any(|pin| pin.slot == slot) {
                    continue;
                }
                let feasible = case.feasible(slot, &others);
                prop_assert_eq!(candidate.is_none(), feasible.is_empty());
                prop_assert!(candidate.is_none_or(|c| feasible.contains(&c)));
                others.extend(candidate);
            }
            prop_assert!(*probability > 0.0 && (floor > 0.0 || all.len() == 1));
        }
        let complete: usize = count_feasible(&case, 0, &mut case.kept_pins().iter().map(|p| p.candidate).collect());
        prop_assert_eq!(all.len(), complete);
    }

    #[test]
    fn without_rules_the_expected_share_differs(
        // With nothing left to choose from, nothing can differ.
        mut case in case(6, 4).prop_filter("too few candidates", |case| case.relevance.len() >= case.n + 2),
        share in 0.01f64..0.4,
        uniform in 0.01f64..1.0,
    ) {
        case = Case { groups: None, caps: Vec::new(), promoted: None, pool: case.relevance.len(), ..case };
        case = case.exploring(share, uniform, 1);
        let (expected, slots) = expected_difference(&case);
        prop_assert!((expected - share * slots as f64).abs() < 1e-9, "{expected} {}", share * slots as f64);
    }
}

fn count_feasible(case: &Case, slot: usize, others: &mut Vec<u32>) -> usize {
    if slot == case.n {
        return 1;
    }
    let feasible = case.feasible(slot, others);
    if case.kept_pins().iter().any(|pin| pin.slot == slot) || feasible.is_empty() {
        return count_feasible(case, slot + 1, others);
    }
    let mut count = 0;
    for candidate in feasible {
        others.push(candidate);
        count += count_feasible(case, slot + 1, others);
        others.pop();
    }
    count
}

/// Six candidates, three slots, all kinds of rules.
fn ruled() -> Case {
    let mut case = Case::plain(vec![1.0, 0.9, 0.85, 0.6, 0.3, 0.0, 0.5], 3);
    case.pool = 6;
    case.dim = 2;
    case.codes = vec![3, 1, 3, 1, -1, 2, 0, 1, 2, 2, 1, -3, 1, 1];
    (case.method, case.diversity) = (Method::Mmr, 0.3);
    case.groups = Some(vec![1, 2, 1, 2, NO_GROUP, NO_GROUP, NO_GROUP]);
    case.caps = vec![(vec![0, 1, 2, 3, 4, 5, 6, 7], vec![0, 1, 1, 0, 1, 2, 2], 2)];
    case.promoted = Some((vec![false, false, false, true, true, false, false], 0.4));
    case
}

#[test]
fn frequencies_are_the_probabilities() {
    for (case, draws) in [
        (ruled().exploring(0.5, 0.2, 0), 20_000u32),
        (
            Case::plain(vec![0.9, 0.7, 0.6, 0.2], 2).exploring(0.3, 0.1, 0),
            20_000,
        ),
        (
            Case {
                method: Method::Dpp,
                diversity: 0.5,
                ..ruled()
            }
            .exploring(0.8, 0.5, 0),
            20_000,
        ),
    ] {
        let all = enumerate(&case);
        let mut counts = vec![0.0; all.len()];
        for draw in 0..draws {
            let mut drawn = case.clone();
            if let Some(exploration) = &mut drawn.exploration {
                exploration.key = xxhash_rust::xxh3::xxh3_128(&draw.to_le_bytes());
            }
            let slate = drawn.choose(Simd::best());
            let slots: Slots = (0..case.n)
                .map(|k| slate.at(k).map(|s| s.candidate))
                .collect();
            let at = all.iter().position(|(known, _)| *known == slots).unwrap();
            counts[at] += 1.0;
            let cascade = slate.slots.last().unwrap().propensity_cascade;
            assert!((cascade - all[at].1).abs() < 1e-12);
        }
        // Cells that are expected fewer than 5 times are put together.
        let (mut chi, mut cells, mut rare) = (0.0, 0.0, (0.0, 0.0));
        for ((_, probability), count) in all.iter().zip(&counts) {
            let expected = probability * f64::from(draws);
            if expected < 5.0 {
                rare = (rare.0 + expected, rare.1 + count);
            } else {
                chi += (count - expected) * (count - expected) / expected;
                cells += 1.0;
            }
        }
        if rare.0 > 5.0 {
            chi += (rare.1 - rare.0) * (rare.1 - rare.0) / rare.0;
        }
        // Beyond the 99.9th percentile by Wilson and Hilferty.
        let df: f64 = cells - if rare.0 > 5.0 { 0.0 } else { 1.0 };
        let limit = df * (1.0 - 2.0 / (9.0 * df) + 3.09 * (2.0 / (9.0 * df)).sqrt()).powi(3);
        assert!(
            cells > 3.0 && chi < limit,
            "{chi} beyond {limit}, {cells} cells"
        );
    }
}
