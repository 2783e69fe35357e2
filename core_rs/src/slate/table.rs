//! What each open candidate is worth, and its weight `exp((worth - reference) / T)`.
//!
//! Weights are kept from slot to slot and made anew only for candidates whose value changed. Where the weights
//! that matter have become tiny, for worth falls, or huge, for another slot is kept for other candidates, the reference
//! moves to the best of those.

use crate::diversity::blocks::{Lanes, Objective};
use crate::embedding::store::LANES;
use crate::simd::{Simd, by_simd};

use super::charges::Charges;
use super::exponential::weigh;
use super::stage::{Mask, lanes_of};

/// Sums of weights that are trusted with all their digits.
const TRUSTED: std::ops::RangeInclusive<f64> = 1e-9..=1e100;

/// All candidates, in their blocks.
pub struct Table {
    simd: Simd,
    /// The objective's values, to see which have changed.
    values: Vec<Lanes<f64>>,
    worth: Vec<Lanes<f64>>,
    weights: Vec<Lanes<f64>>,
    /// Mask, weights, weights times extra, and extra, added up in each block; `None` where any of them changed since.
    sums: Vec<Option<(Mask, [f64; 3])>>,
    /// Temperature and reference, once there is one.
    scale: Option<(f64, f64)>,
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
            worth: vec![[0.0; LANES]; blocks],
            weights: vec![[0.0; LANES]; blocks],
            sums: vec![None; blocks],
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
        for (block, open) in open.iter().enumerate() {
            if *open == 0 {
                continue;
            }
            objective.update(block, chosen, f64::NEG_INFINITY);
            let (simd, new) = (self.simd, objective.values(block));
            let old = &mut self.values[block];
            let changed = by_simd!(simd, fn run(
                new: &Lanes<f64>,
                old: &mut Lanes<f64>,
            ) -> Mask = replace);
            let changed = open & changed;
            if changed != 0 {
                objective.worths(block, changed, &mut self.worth[block]);
                self.weigh_block(block, changed);
            }
        }
    }

    /// Makes the weights of some lanes anew, if there is a temperature.
    fn weigh_block(&mut self, block: usize, lanes: Mask) {
        if let Some(scale) = self.scale {
            let (worth, weights) = (&self.worth[block], &mut self.weights[block]);
            weigh(self.simd, worth, scale, lanes, weights);
            self.sums[block] = None;
        }
    }

    /// The largest worth of some candidates.
    pub fn most(&self, masks: &[Mask]) -> f64 {
        let each = masks.iter().zip(&self.worth);
        each.flat_map(|(mask, worth)| lanes_of(*mask).map(|lane| worth[lane]))
            .fold(f64::NEG_INFINITY, f64::max)
    }

    /// Makes all weights anew, so that the best of some candidates weighs 1.
    pub fn weigh(&mut self, temperature: f64, open: &[Mask], best_of: &[Mask]) {
        let reference = self.most(best_of);
        self.scale = Some((temperature, reference));
        for (block, open) in open.iter().enumerate() {
            self.weigh_block(block, *open);
        }
    }

    /// Adds up some of the open candidates.
    pub fn tally(&mut self, masks: &[Mask], open: &[Mask], charges: &mut Charges) -> Tally {
        let tally = self.add_up(masks, charges);
        match self.scale {
            Some((temperature, _)) if tally.count > 0.0 && !TRUSTED.contains(&tally.weight) => {
                self.weigh(temperature, open, masks);
                self.add_up(masks, charges)
            }
            _ => tally,
        }
    }

    fn add_up(&mut self, masks: &[Mask], charges: &mut Charges) -> Tally {
        let mut tally = Tally {
            weights: Vec::with_capacity(masks.len()),
            weight: 0.0,
            count: 0.0,
            extra_by_weight: 0.0,
            extra_evenly: 0.0,
        };
        let simd = self.simd;
        for (block, mask) in masks.iter().enumerate() {
            let mask = *mask;
            let known = self.sums[block].filter(|(of, _)| *of == mask);
            let [weight, by_weight, evenly] = match (known, charges.changed(block)) {
                (Some((_, known)), false) => known,
                _ => {
                    let (weights, extra) = (&self.weights[block], charges.extra(block));
                    by_simd!(simd, fn run(
                        mask: Mask,
                        weights: &Lanes<f64>,
                        extra: &Lanes<f64>,
                    ) -> [f64; 3] = sums)
                }
            };
            self.sums[block] = Some((mask, [weight, by_weight, evenly]));
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
}

/// Replaces the old values; returns which differ.
#[inline(always)]
fn replace(new: &Lanes<f64>, old: &mut Lanes<f64>) -> Mask {
    let mut differ = [0; LANES];
    for lane in 0..LANES {
        differ[lane] = Mask::from(new[lane] != old[lane]) << lane;
        old[lane] = new[lane];
    }
    differ.iter().fold(0, |mask, bit| mask | bit)
}

/// Sums of the weights, of weights times extra, and of extra, over the lanes of a mask; each as a tree.
#[inline(always)]
fn sums(mask: Mask, weights: &Lanes<f64>, extra: &Lanes<f64>) -> [f64; 3] {
    let (mut weight, mut product, mut plain) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for l in 0..LANES {
        let is_in = mask >> l & 1 == 1;
        weight[l] = if is_in { weights[l] } else { 0.0 };
        plain[l] = if is_in { extra[l] } else { 0.0 };
        product[l] = weight[l] * plain[l];
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            weight[l] += weight[l + width];
            product[l] += product[l + width];
            plain[l] += plain[l + width];
        }
        width /= 2;
    }
    [weight[0], product[0], plain[0]]
}
