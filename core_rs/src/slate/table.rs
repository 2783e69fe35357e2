//! What each open candidate is worth, and its weight `exp((worth - reference) / T)`.
//!
//! Weights are kept from slot to slot and made anew only for candidates whose value changed. Where the weights
//! that matter have become tiny, for worth falls, or huge, for another slot is kept for other candidates, the reference
//! moves to the best of those.

use crate::diversity::blocks::{Lanes, Objective};
use crate::embedding::store::LANES;
use crate::simd::{Simd, by_simd};

use super::charges::Charges;
use super::exponential::Dense;
use super::lane_sums::{largest, sums};
use super::stage::Mask;

/// Sums of weights that are trusted with all their digits.
const TRUSTED: std::ops::RangeInclusive<f64> = 1e-9..=1e100;

/// All candidates, in their blocks.
pub struct Table {
    simd: Simd,
    /// The objective's values, to see which have changed.
    values: Vec<Lanes<f64>>,
    /// Which of them have, in each block.
    changed: Vec<Mask>,
    worth: Vec<Lanes<f64>>,
    weights: Vec<Lanes<f64>>,
    sums: Vec<Sums>,
    dense: Dense,
    /// Room for the weights of a tally.
    spare: Vec<f64>,
    /// Temperature and reference, once there is one.
    scale: Option<(f64, f64)>,
}

/// What was added up in a block.
#[derive(Clone, Copy)]
struct Sums {
    /// Whether a weight changed since.
    is_stale: bool,
    /// Of these lanes.
    of: Mask,
    /// Weights, weights times extra, and extra.
    sums: [f64; 3],
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            is_stale: true,
            of: 0,
            sums: [0.0; 3],
        }
    }
}

/// Some of the candidates, added up.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Sum of weights in each block, and of all.
    pub weights: Vec<f64>,
    /// Sum of all weights.
    pub weight: f64,
    /// How many.
    pub count: f64,
    /// Slots that one kills, in expectation by weight.
    pub extra_by_weight: f64,
    /// The same when all are alike.
    pub extra_evenly: f64,
}

impl Table {
    /// Nothing is known of so many blocks.
    pub fn new(simd: Simd, blocks: usize) -> Self {
        Self {
            simd,
            values: vec![[f64::NAN; LANES]; blocks],
            changed: vec![0; blocks],
            worth: vec![[0.0; LANES]; blocks],
            weights: vec![[0.0; LANES]; blocks],
            sums: vec![Sums::default(); blocks],
            dense: Dense::default(),
            spare: Vec::new(),
            scale: None,
        }
    }

    /// What a candidate is worth.
    pub fn worth(&self, block: usize, lane: usize) -> f64 {
        self.worth[block][lane]
    }

    /// A candidate's weight.
    pub fn weight(&self, block: usize, lane: usize) -> f64 {
        self.weights[block][lane]
    }

    /// Takes over the values of the open candidates after so many choices.
    pub fn refresh(&mut self, objective: &mut dyn Objective, chosen: usize, open: &[Mask]) {
        objective.advance(chosen, open, &mut self.values, &mut self.changed);
        objective.worths(&self.changed, &mut self.worth);
        self.weigh_changed();
    }

    /// Makes the weights of `changed` lanes anew, if there is a temperature.
    fn weigh_changed(&mut self) {
        let Some(scale) = self.scale else { return };
        let (worth, changed) = (&self.worth, &self.changed);
        self.dense
            .weigh(self.simd, worth, scale, changed, &mut self.weights);
        for (sums, changed) in self.sums.iter_mut().zip(changed) {
            sums.is_stale |= *changed != 0;
        }
    }

    /// The largest worth of some candidates.
    pub fn most(&self, masks: &[Mask]) -> f64 {
        largest(self.simd, masks, &self.worth)
    }

    /// Makes all weights anew, so that the best of some candidates weighs 1.
    pub fn weigh(&mut self, temperature: f64, open: &[Mask], best_of: &[Mask]) {
        let reference = self.most(best_of);
        self.scale = Some((temperature, reference));
        self.changed.copy_from_slice(open);
        self.weigh_changed();
    }

    /// Adds up some of the open candidates.
    pub fn tally(&mut self, masks: &[Mask], open: &[Mask], charges: &mut Charges) -> Tally {
        let tally = self.add_up(masks, charges);
        match self.scale {
            Some((temperature, _)) if tally.count > 0.0 && !TRUSTED.contains(&tally.weight) => {
                self.weigh(temperature, open, masks);
                self.take_back(tally);
                self.add_up(masks, charges)
            }
            _ => tally,
        }
    }

    /// Takes the memory of a tally that is done with for the next one.
    pub fn take_back(&mut self, tally: Tally) {
        self.spare = tally.weights;
    }

    fn add_up(&mut self, masks: &[Mask], charges: &mut Charges) -> Tally {
        let (simd, weights) = (self.simd, &self.weights);
        let (known, mut room) = (&mut self.sums, std::mem::take(&mut self.spare));
        room.clear();
        room.reserve(masks.len());
        by_simd!(simd, fn run(
            simd: Simd,
            masks: &[Mask],
            weights: &[Lanes<f64>],
            charges: &mut Charges,
            known: &mut [Sums],
            room: Vec<f64>,
        ) -> Tally = add_up)
    }
}

/// The sums of all blocks: of those in which nothing changed, the known ones. `room` is empty.
#[inline(always)]
fn add_up(
    simd: Simd,
    masks: &[Mask],
    weights: &[Lanes<f64>],
    charges: &mut Charges,
    known: &mut [Sums],
    room: Vec<f64>,
) -> Tally {
    let mut tally = Tally {
        weights: room,
        weight: 0.0,
        count: 0.0,
        extra_by_weight: 0.0,
        extra_evenly: 0.0,
    };
    for (block, ((mask, weights), known)) in masks.iter().zip(weights).zip(known).enumerate() {
        if charges.changed(block) | known.is_stale | (known.of != *mask) {
            *known = Sums {
                is_stale: false,
                of: *mask,
                sums: sums(simd, *mask, weights, charges.extra(block)),
            };
        }
        let [weight, by_weight, evenly] = known.sums;
        tally.weights.push(weight);
        tally.weight += weight;
        tally.count += f64::from(mask.count_ones());
        tally.extra_by_weight += by_weight;
        tally.extra_evenly += evenly;
    }
    tally.extra_by_weight /= tally.weight;
    tally.extra_evenly /= tally.count;
    tally
}
