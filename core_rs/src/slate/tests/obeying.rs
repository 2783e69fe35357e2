//! What every slate keeps: the rules, the greedy choice, the same bits on every path.

use proptest::prelude::*;

use super::case::{Case, case};
use crate::diversity::Similarity;
use crate::diversity::blocks::{Objective, Order};
use crate::diversity::dpp::{self, Dpp, dpp};
use crate::diversity::mmr::{self, Mmr, mmr};
use crate::simd::Simd;
use crate::slate::answer::{PinFault, Slate};
use crate::slate::request::*;

fn check_rules(case: &Case, slate: &Slate) -> Result<(), TestCaseError> {
    let pins = case.kept_pins();
    prop_assert_eq!(slate.skipped.len(), case.pins.len() - pins.len());
    let mut others: Vec<u32> = pins.iter().map(|pin| pin.candidate).collect();
    for slot in 0..case.n {
        let entry = slate.at(slot);
        if let Some(pin) = pins.iter().find(|pin| pin.slot == slot) {
            let entry = entry.unwrap();
            prop_assert_eq!(
                (entry.candidate, entry.pinned, entry.propensity),
                (pin.candidate, true, 1.0)
            );
            continue;
        }
        let feasible = case.feasible(slot, &others);
        match entry {
            None => prop_assert!(feasible.is_empty()),
            Some(entry) => {
                prop_assert!(feasible.contains(&entry.candidate) && !entry.pinned);
                others.push(entry.candidate);
            }
        }
    }
    prop_assert_eq!(slate.shortfall.empty, case.n - slate.slots.len());
    Ok(())
}

/// The greedy slate as it is defined: everything brought up to date, every rule counted anew.
fn slow_greedy(case: &Case) -> Vec<Option<u32>> {
    let mut codes = case.codes();
    let order = Order::new(&case.relevance);
    codes.arrange(&order);
    let simd = Simd::PORTABLE;
    let diverse = case.method != Method::Relevance && case.diversity > 0.0;
    let d = if diverse { case.diversity } else { 0.0 };
    let how = Mmr {
        k: case.n,
        trade_off: (1.0 - d) as f32,
        window: None,
    };
    let mut objective: Box<dyn Objective> = if diverse && case.method == Method::Dpp {
        let how = Dpp {
            k: case.n,
            theta: (1.0 - d).min(511.0 / 512.0),
        };
        Box::new(dpp::State::new(simd, codes, &case.relevance, &order, &how))
    } else {
        Box::new(mmr::State::new(simd, codes, &case.relevance, &order, &how))
    };
    let pins = case.kept_pins();
    let mut others: Vec<u32> = pins.iter().map(|pin| pin.candidate).collect();
    let mut chosen = 0;
    let mut slots = Vec::new();
    for slot in 0..case.n {
        let mut all: Vec<(f64, usize, u32, usize)> = Vec::new();
        for block in 0..order.blocks() {
            objective.update(block, chosen, f64::NEG_INFINITY);
            for (lane, index) in order.block(block).iter().enumerate() {
                all.push((objective.values(block)[lane], block, *index, lane));
            }
        }
        let pin = pins
            .iter()
            .find(|pin| pin.slot == slot)
            .map(|pin| vec![pin.candidate]);
        let is_pin = pin.is_some();
        let feasible = pin.unwrap_or_else(|| case.feasible(slot, &others));
        all.retain(|(_, _, index, _)| feasible.contains(index));
        let usable = all.iter().any(|(value, ..)| *value > f64::NEG_INFINITY);
        // In order of relevance; the first of equal ones is the winner.
        if usable {
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
        }
        if let Some((_, block, index, lane)) = all.first() {
            chosen += usize::from(objective.choose(*block, *lane));
            if !is_pin {
                others.push(*index);
            }
        }
        slots.push(all.first().map(|(_, _, index, _)| *index));
    }
    slots
}

fn slots_of(slate: &Slate, n: usize) -> Vec<Option<u32>> {
    (0..n)
        .map(|slot| slate.at(slot).map(|s| s.candidate))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn rules_are_never_broken_and_every_path_agrees(case in case(40, 12)) {
        let slate = case.choose(Simd::PORTABLE);
        check_rules(&case, &slate)?;
        for simd in Simd::available() {
            prop_assert_eq!(&case.choose(simd), &slate);
        }
        let slots = slots_of(&slate, case.n);
        let given = case.probability_of(Simd::best(), &slots);
        let mut cascade = 1.0;
        for (slot, probability) in given.iter().enumerate() {
            let entry = slate.at(slot);
            prop_assert_eq!(entry.map_or(1.0, |s| s.propensity), *probability);
            prop_assert!(*probability > 0.0 && *probability <= 1.0);
            cascade *= probability;
            prop_assert!(entry.is_none_or(|s| s.propensity_cascade == cascade));
        }
        let is_exploring = case.exploration.is_some_and(|e| e.share > 0.0);
        for entry in &slate.slots {
            prop_assert!(is_exploring || (entry.propensity == 1.0 && entry.greedy));
            let least = if entry.pinned { 0.0 } else { slate.floor };
            prop_assert!(entry.propensity >= least);
        }
    }

    #[test]
    fn without_chance_it_is_the_greedy_slate(mut case in case(40, 12)) {
        case.exploration = None;
        let slow = slow_greedy(&case);
        prop_assert_eq!(slots_of(&case.choose(Simd::best()), case.n), slow.clone());
        case = case.exploring(0.5, 0.1, 1);
        let slate = case.choose(Simd::best());
        for entry in &slate.slots {
            prop_assert_eq!(entry.greedy, slow[entry.slot] == Some(entry.candidate));
        }
    }

    #[test]
    fn without_rules_it_is_what_the_kernels_choose(mut case in case(40, 12)) {
        case = Case { groups: None, caps: Vec::new(), pins: Vec::new(), promoted: None, exploration: None, ..case };
        case.pool = case.relevance.len();
        let count = case.pool;
        let slate = case.choose(Simd::best());
        prop_assert_eq!(slate.slots.len(), case.n.min(count));
        let found: Vec<(u32, f64)> = slate.slots.iter().map(|s| (s.candidate, s.value)).collect();
        match case.method {
            Method::Relevance => {
                let mut order: Vec<u32> = (0..count as u32).collect();
                let relevance = |i: &u32| case.relevance[*i as usize];
                order.sort_by(|a, b| relevance(b).total_cmp(&relevance(a)).then(a.cmp(b)));
                prop_assert!(found.iter().map(|f| &f.0).eq(order.iter().take(case.n)));
            }
            Method::Mmr => {
                let how = Mmr { k: case.n, trade_off: (1.0 - case.diversity) as f32, window: None };
                let kernel = mmr(Simd::best(), case.codes(), &case.relevance, count, &how).unwrap();
                prop_assert_eq!(found, kernel);
            }
            Method::Dpp if case.diversity > 0.0 => {
                let how = Dpp { k: case.n, theta: (1.0 - case.diversity).min(511.0 / 512.0) };
                let kernel = dpp(Simd::best(), case.codes(), &case.relevance, count, &how).unwrap();
                // Where the kernel ends, for all others depend on the chosen, they follow by relevance.
                prop_assert!(kernel.iter().map(|k| k.0).eq(found.iter().take(kernel.len()).map(|f| f.0)));
                let rest: Vec<f32> = found[kernel.len()..].iter().map(|f| case.relevance[f.0 as usize]).collect();
                prop_assert!(rest.is_sorted_by(|a, b| a >= b));
                for ((index, value), (_, residual)) in found.iter().zip(&kernel) {
                    let top = case.relevance.iter().fold(0.0f32, |a, b| a.max(*b));
                    let behind = f64::from(case.relevance[*index as usize]) - f64::from(top);
                    let step = how.theta * behind + (1.0 - how.theta) * residual.ln();
                    prop_assert!((value - step).abs() < 1e-9, "{value} {step}");
                }
            }
            Method::Dpp => {}
        }
    }
}

#[test]
fn equal_candidates_come_in_their_order() {
    for method in [Method::Relevance, Method::Mmr, Method::Dpp] {
        let case = Case {
            method,
            diversity: 0.4,
            ..Case::plain(vec![0.5; 40], 20)
        };
        let slate = case.choose(Simd::best());
        let found: Vec<u32> = slate.slots.iter().map(|s| s.candidate).collect();
        assert_eq!(found, (0..20).collect::<Vec<u32>>(), "{method:?}");
    }
}

#[test]
fn skipped_pins_and_empty_slots_say_why() {
    let mut case = Case::plain(vec![0.9, 0.8, 0.7, 0.6, 0.5, 1.0], 4);
    case.pool = 5;
    case.groups = Some(vec![7, 7, NO_GROUP, NO_GROUP, NO_GROUP, NO_GROUP]);
    case.caps = vec![(vec![0, 0, 0, 1, 2, 3, 3], vec![0, 0, 0], 1)];
    let pin = |slot, candidate| Pin { slot, candidate };
    case.pins = vec![
        pin(1, 5),
        pin(1, 4),
        pin(9, 4),
        pin(2, 5),
        pin(3, 2),
        pin(2, 3),
    ];
    let slate = case.choose(Simd::best());
    let faults: Vec<PinFault> = slate.skipped.iter().map(|s| s.1).collect();
    use PinFault::*;
    assert_eq!(faults, [SlotTaken, NoSlot, CandidateTaken, Cap]);
    assert_eq!(slots_of(&slate, 4), [Some(0), Some(5), None, Some(2)]);
    assert_eq!(
        (
            slate.shortfall.empty,
            slate.shortfall.by_group,
            slate.shortfall.by_cap
        ),
        (1, 1, 2)
    );
    case.pins = vec![pin(0, 1), pin(1, 0)];
    assert_eq!(case.choose(Simd::best()).skipped, [(pin(1, 0), Group)]);
}

#[test]
fn bad_requests_are_refused() {
    let good = Case::plain(vec![0.5; 4], 2).exploring(0.1, 0.1, 1);
    let refused = |case: &Case| {
        let found = case.with(|r| crate::slate::choose(Simd::best(), &case.relevance, None, r));
        found.unwrap_err().to_string()
    };
    let change = |change: &dyn Fn(&mut Case)| {
        let mut case = good.clone();
        change(&mut case);
        refused(&case)
    };
    assert!(change(&|c| c.pool = 5).starts_with("pool: 5"));
    assert!(change(&|c| c.diversity = 1.5).starts_with("diversity: 1.5"));
    assert!(change(&|c| c.diversity = f64::NAN).starts_with("diversity: NaN"));
    assert!(
        change(&|c| (c.method, c.diversity) = (Method::Mmr, 0.5)).contains("without a similarity")
    );
    assert!(change(&|c| c.groups = Some(vec![1])).starts_with("groups: 1 for 4"));
    assert!(change(&|c| c.promoted = Some((vec![true; 4], -0.5))).starts_with("promoted share"));
    assert!(
        change(&|c| c.pins = vec![Pin {
            slot: 0,
            candidate: 4
        }])
        .starts_with("pins: candidate 4")
    );
    assert!(
        change(&|c| c.caps = vec![(vec![0, 2, 2, 2], vec![0, 1], 1)])
            .starts_with("caps: allowed: 5")
    );
    assert!(
        change(&|c| c.caps = vec![(vec![0, 2, 2, 2, 2], vec![1, 1], 1)])
            .contains("strictly ascending")
    );
    assert!(change(&|c| c.n = 129).starts_with("n: 129"));
    for (share, uniform, field) in [
        (1.5, 0.1, "exploration"),
        (0.1, 0.0, "uniform"),
        (0.1, f64::NAN, "uniform"),
    ] {
        assert!(refused(&good.clone().exploring(share, uniform, 1)).starts_with(field));
    }
    assert!(change(&|c| c.relevance[1] = f32::NAN).starts_with("relevance"));
    let slots = good
        .with(|r| crate::slate::probability_of(Simd::best(), &good.relevance, None, r, &[None]));
    assert!(slots.unwrap_err().to_string().starts_with("slots: 1"));
}
