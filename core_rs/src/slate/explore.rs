//! Slot by slot a drawn candidate, with its exact probability.
//!
//! Each slot has a default: its greedy candidate, or, when that is gone, the best of those that kill the fewest slots below.
//! With probability `leave` another takes its place: by `(1 - u)` times the softmax of worth plus `u` times evenly.
//! `leave` is such that the slot costs, in expectation, what the budget allows.

use crate::diversity::blocks::Objective;
use crate::embedding::store::LANES;

use super::answer::Slot;
use super::budget::Budget;
use super::charges::{Charges, Outlook};
use super::draws::Draws;
use super::greedy::{best_of, certain};
use super::request::Exploration;
use super::rules::Tracker;
use super::stage::{Mask, Stage, lanes_of, mask};
use super::table::{Table, Tally};
use super::temperature::temperature;

/// A slot is left at least with this part of the exploration's share, whatever the budget says: the floor must not vanish.
const LEAST_LEAVE: f64 = 0.1;

/// Who picks.
pub enum Pick<'p> {
    /// The random numbers.
    Draw(Draws),
    /// A slate that is given, and what its slots' probabilities are.
    Given {
        /// Candidate of each slot.
        slots: &'p [Option<u32>],
        /// The probabilities of the slots so far.
        found: Vec<f64>,
    },
}

impl<'p> Pick<'p> {
    /// The random numbers of a key.
    pub fn draw(key: u128, slots: usize) -> Self {
        Self::Draw(Draws::new(key, slots))
    }

    /// A slate.
    pub fn given(slots: &'p [Option<u32>]) -> Self {
        Self::Given {
            slots,
            found: Vec::with_capacity(slots.len()),
        }
    }

    /// The probabilities of a given slate's slots; 0 from the first impossible one on.
    pub fn probabilities(self) -> Vec<f64> {
        match self {
            Self::Draw(_) => Vec::new(),
            Self::Given { slots, mut found } => {
                found.resize(slots.len(), 0.0);
                found
            }
        }
    }

    /// Whether a slot may hold what it must.
    fn accepts(&mut self, slot: usize, only: Option<u32>) -> bool {
        match self {
            Self::Draw(_) => true,
            Self::Given { slots, found } => {
                let accepted = slots[slot] == only;
                found.push(f64::from(u8::from(accepted)));
                accepted
            }
        }
    }
}

/// What one slot may hold.
struct Distribution {
    /// Block and lane.
    default: (usize, usize),
    /// The others.
    others: Vec<Mask>,
    tally: Tally,
    leave: f64,
    uniform: f64,
}

impl Distribution {
    /// Probability of a candidate that is allowed.
    fn of(&self, table: &Table, at: (usize, usize)) -> f64 {
        if at == self.default {
            return 1.0 - self.leave;
        }
        let softmax = table.weight(at.0, at.1) / self.tally.weight;
        self.leave * ((1.0 - self.uniform) * softmax + self.uniform / self.tally.count)
    }

    /// The candidate at a number in 0..1: the default first, then the others in their order.
    fn at(&self, table: &Table, number: f64) -> (usize, usize) {
        let mut rest = number - (1.0 - self.leave);
        let mut last = self.default;
        if rest < 0.0 {
            return last;
        }
        for (block, mask) in self.others.iter().enumerate() {
            if *mask == 0 {
                continue;
            }
            let softmax = self.tally.weights[block] / self.tally.weight;
            let evenly = f64::from(mask.count_ones()) / self.tally.count;
            let share = self.leave * ((1.0 - self.uniform) * softmax + self.uniform * evenly);
            for lane in lanes_of(*mask) {
                last = (block, lane);
                if rest < share {
                    let own = self.of(table, last);
                    if rest < own {
                        return last;
                    }
                    rest -= own;
                }
            }
            if rest < share {
                return last;
            }
            rest -= share;
        }
        // Rounding has left a little: it is the last one's.
        last
    }
}

/// A slate being explored.
pub struct Explorer<'e, 'a> {
    stage: &'e Stage<'a>,
    objective: &'e mut dyn Objective,
    tracker: Tracker<'a>,
    exploration: Exploration,
    charges: Charges,
    budget: Budget,
    table: Table,
    open: Vec<Mask>,
    /// Room for what a slot may hold.
    allowed: Vec<Mask>,
    others: Vec<Mask>,
    /// How many of the closed candidates `open` knows.
    closed: usize,
    /// Choices that the objective counts.
    chosen: usize,
    temperature: Option<f64>,
    floor: f64,
}

impl<'e, 'a> Explorer<'e, 'a> {
    /// Before the first slot, with the greedy slate.
    pub fn new(
        stage: &'e Stage<'a>,
        objective: &'e mut dyn Objective,
        tracker: Tracker<'a>,
        exploration: &Exploration,
        greedy: &[Slot],
    ) -> Self {
        let charges = Charges::new(stage, greedy);
        let blocks = stage.order.blocks();
        let open = (0..blocks)
            .map(|block| mask(stage.order, block, |c| tracker.is_open(c)))
            .collect();
        Self {
            stage,
            objective,
            closed: tracker.closed().len(),
            tracker,
            exploration: *exploration,
            budget: Budget::new(exploration.share, charges.slots()),
            charges,
            table: Table::new(stage.simd, blocks),
            open,
            allowed: Vec::new(),
            others: Vec::new(),
            chosen: 0,
            temperature: None,
            floor: f64::INFINITY,
        }
    }

    /// Fills the slots. `heard` hears of each one's candidate.
    pub fn run(&mut self, pick: &mut Pick<'_>, heard: &dyn Fn(u32)) -> Vec<Slot> {
        let mut slots = Vec::with_capacity(self.stage.request.n);
        let mut cascade = 1.0;
        for slot in 0..self.stage.request.n {
            let filled = match self.stage.pinned[slot] {
                Some(pin) => pick
                    .accepts(slot, Some(pin))
                    .then(|| self.place_pin(slot, pin)),
                None => self.fill(slot, pick),
            };
            if let Some(mut filled) = filled {
                cascade *= filled.propensity;
                filled.propensity_cascade = cascade;
                heard(filled.candidate);
                slots.push(filled);
            }
            if matches!(pick, Pick::Given { found, .. } if found.last() == Some(&0.0)) {
                break;
            }
        }
        slots
    }

    /// Temperature and floor, 0 when nothing was explored.
    pub fn measures(&self) -> (f64, f64) {
        match self.temperature {
            Some(temperature) => (temperature, self.floor),
            None => (0.0, 0.0),
        }
    }

    /// The rules after the last slot.
    pub fn into_tracker(self) -> Tracker<'a> {
        self.tracker
    }

    fn place_pin(&mut self, slot: usize, pin: u32) -> Slot {
        self.choose(self.stage.place(pin));
        let relevance = f64::from(self.stage.relevance[pin as usize]);
        certain(slot, pin, relevance, true, false)
    }

    fn choose(&mut self, (block, lane): (usize, usize)) {
        self.objective.update(block, self.chosen, f64::NEG_INFINITY);
        self.chosen += usize::from(self.objective.choose(block, lane));
    }

    fn fill(&mut self, slot: usize, pick: &mut Pick<'_>) -> Option<Slot> {
        let kept = self.kept(slot);
        let mut allowed = std::mem::take(&mut self.allowed);
        allowed.clear();
        allowed.extend_from_slice(kept.as_ref().unwrap_or(&self.open));
        if allowed.iter().all(|mask| *mask == 0) {
            pick.accepts(slot, None);
            return None;
        }
        // By relevance alone, nothing changes.
        if self.temperature.is_none() || self.stage.request.is_diverse() {
            self.table.refresh(self.objective, self.chosen, &self.open);
        }
        let is_in = |c: u32| {
            let (block, lane) = self.stage.place(c);
            allowed[block] >> lane & 1 == 1
        };
        let greedy = self.charges.greedy(slot);
        let may_stay = greedy.is_some_and(is_in);
        let outlook = self.charges.look(self.stage, &self.tracker, slot, may_stay);
        self.budget.meet(outlook.alive);
        let distribution = self.distribution(slot, greedy, &allowed, &outlook);
        let (place, propensity) = self.pick(slot, pick, &distribution, &allowed)?;
        self.settle(&distribution, &outlook, place);
        let candidate = self.stage.order.block(place.0)[place.1];
        let filled = Slot {
            propensity,
            greedy: greedy == Some(candidate),
            ..certain(
                slot,
                candidate,
                self.table.worth(place.0, place.1),
                false,
                kept.is_some(),
            )
        };
        self.choose(place);
        self.tracker.take(candidate);
        self.close();
        (self.allowed, self.others) = (allowed, distribution.others);
        self.table.take_back(distribution.tally);
        Some(filled)
    }

    /// The open promoted candidates, if the slot is kept for them and there are any.
    fn kept(&self, slot: usize) -> Option<Vec<Mask>> {
        let promoted = self.stage.kept_for(slot)?;
        let open = self.open.iter().enumerate();
        let masks: Vec<Mask> = open.map(|(block, open)| open & promoted(block)).collect();
        masks.iter().any(|mask| *mask != 0).then_some(masks)
    }

    fn close(&mut self) {
        for candidate in &self.tracker.closed()[self.closed..] {
            let (block, lane) = self.stage.place(*candidate);
            self.open[block] &= !(1 << lane);
        }
        self.closed = self.tracker.closed().len();
    }

    fn distribution(
        &mut self,
        slot: usize,
        greedy: Option<u32>,
        allowed: &[Mask],
        outlook: &Outlook,
    ) -> Distribution {
        let default = match greedy {
            Some(candidate) if outlook.is_alive => self.stage.place(candidate),
            _ => self.cheapest(allowed),
        };
        let mut others = std::mem::take(&mut self.others);
        others.clear();
        others.extend_from_slice(allowed);
        others[default.0] &= !(1 << default.1);
        if self.temperature.is_none() && others.iter().any(|mask| *mask != 0) {
            let solved = self.solve(default, &others, outlook);
            self.temperature = Some(solved);
            self.table.weigh(solved, &self.open, allowed);
        }
        let tally = self.table.tally(&others, &self.open, &mut self.charges);
        let mut distribution = Distribution {
            default,
            others,
            tally,
            leave: 0.0,
            uniform: self.exploration.uniform,
        };
        if distribution.tally.count > 0.0 {
            distribution.leave = self.leave(slot, &distribution, outlook);
            let least = self.exploration.uniform / distribution.tally.count;
            let floor = (1.0 - distribution.leave).min(distribution.leave * least);
            self.floor = self.floor.min(floor);
        }
        distribution
    }

    /// The best of those that kill the fewest slots below.
    fn cheapest(&self, allowed: &[Mask]) -> (usize, usize) {
        let extra = |block: usize, lane: usize| self.charges.extra(block)[lane];
        let each = allowed.iter().enumerate();
        let least = each
            .flat_map(|(block, mask)| lanes_of(*mask).map(move |lane| (block, lane)))
            .map(|(block, lane)| extra(block, lane))
            .fold(f64::INFINITY, f64::min);
        let cheap = |block: usize| {
            let lanes = lanes_of(allowed[block]).filter(|lane| extra(block, *lane) <= least);
            lanes.fold(0, |mask, lane| mask | 1 << lane)
        };
        best_of(self.stage, self.objective, cheap).unwrap_or((0, 0))
    }

    /// Slots that leaving the default costs, in expectation.
    fn cost(&self, distribution: &Distribution, outlook: &Outlook) -> f64 {
        let (u, tally) = (distribution.uniform, &distribution.tally);
        let extra = (1.0 - u) * tally.extra_by_weight + u * tally.extra_evenly;
        outlook.alive - outlook.after_leaving + extra
    }

    /// Slots that the default costs.
    fn default_cost(&self, distribution: &Distribution, outlook: &Outlook) -> f64 {
        if outlook.is_alive {
            return 0.0;
        }
        let (block, lane) = distribution.default;
        outlook.alive - outlook.after_leaving + self.charges.extra(block)[lane]
    }

    /// With which probability the default is left.
    fn leave(&self, slot: usize, distribution: &Distribution, outlook: &Outlook) -> f64 {
        let least = self.exploration.uniform / (distribution.tally.count + 1.0);
        let left = self.stage.pinned[slot..]
            .iter()
            .filter(|pin| pin.is_none())
            .count();
        let default = self.default_cost(distribution, outlook);
        let more = self.cost(distribution, outlook) - default;
        let may = self.budget.of_slot(outlook.is_alive, left) - default;
        let mut wanted = if more > 0.0 { may / more } else { 1.0 };
        if outlook.is_alive {
            wanted = wanted.max(self.budget.least_leave());
        }
        wanted.clamp(
            LEAST_LEAVE * self.exploration.share * (1.0 - least),
            1.0 - least,
        )
    }

    fn solve(&self, default: (usize, usize), others: &[Mask], outlook: &Outlook) -> f64 {
        let top = self
            .table
            .most(others)
            .max(self.table.worth(default.0, default.1));
        let base = outlook.alive - outlook.after_leaving;
        let mut each = Vec::with_capacity(others.len() * LANES);
        for (block, mask) in others.iter().enumerate() {
            for lane in lanes_of(*mask) {
                let cost = base + self.charges.extra(block)[lane];
                each.push((self.table.worth(block, lane) - top, cost));
            }
        }
        temperature(self.stage.simd, &each, self.exploration.share)
    }

    /// Block and lane of the candidate that is picked, and its probability; none when a given one is impossible.
    fn pick(
        &self,
        slot: usize,
        pick: &mut Pick<'_>,
        distribution: &Distribution,
        allowed: &[Mask],
    ) -> Option<((usize, usize), f64)> {
        match pick {
            Pick::Draw(draws) => {
                let place = distribution.at(&self.table, draws.of(slot));
                Some((place, distribution.of(&self.table, place)))
            }
            Pick::Given { slots, found } => {
                let known = slots[slot].filter(|c| (*c as usize) < self.stage.places.len());
                let place = known.map(|c| self.stage.place(c));
                let place = place.filter(|(block, lane)| allowed[*block] >> lane & 1 == 1);
                let probability = place.map_or(0.0, |place| distribution.of(&self.table, place));
                found.push(probability);
                place.map(|place| (place, probability))
            }
        }
    }

    fn settle(&mut self, distribution: &Distribution, outlook: &Outlook, place: (usize, usize)) {
        let leave = distribution.leave;
        let after = |at: (usize, usize)| outlook.after_leaving - self.charges.extra(at.0)[at.1];
        let after_default = if outlook.is_alive {
            outlook.alive - 1.0
        } else {
            after(distribution.default)
        };
        let mut spent = (1.0 - leave) * self.default_cost(distribution, outlook);
        let mut expected = (1.0 - leave) * after_default;
        if leave > 0.0 {
            let cost = self.cost(distribution, outlook);
            spent += leave * cost;
            expected += leave * (outlook.alive - cost);
        }
        let alive = if place == distribution.default {
            after_default
        } else {
            after(place)
        };
        self.budget.settle(spent, expected, alive);
    }
}
