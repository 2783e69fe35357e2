//! Which slots of the greedy slate a choice costs.
//!
//! A slot above the bottom is alive while its greedy candidate can still come to stand there, if all slots between do
//! as the greedy slate does. It dies when the candidate is no longer open, or when so many greedy candidates before it share
//! a capped value that none is left for it. So a choice may cost slots further down: its own, when it is a greedy
//! candidate too early; those of its group; for each of its values with too little room the last that still had some.
//! What else follows (room that a dead slot does not use) is seen when it has happened.

use crate::diversity::blocks::Lanes;
use crate::embedding::store::LANES;

use super::answer::Slot;
use super::rules::{Tracker, mates};
use super::stage::Stage;

/// One bit for each slot.
type Slots = u128;

/// A capped value of greedy candidates.
struct Limit {
    cap: usize,
    value: u32,
    /// The slots of greedy candidates with the value.
    slots: Slots,
}

/// What slots cost, at one slot.
pub struct Charges {
    /// Greedy candidate of each slot; none in pinned slots.
    greedy: Vec<Option<u32>>,
    limits: Vec<Limit>,
    /// Candidates of the group of a greedy one, and its slot.
    mates: Vec<(u32, usize)>,
    /// Slots below that each candidate kills, and how many.
    kills: Vec<Slots>,
    extra: Vec<Lanes<f64>>,
    /// Candidates that kill any, and some that did.
    touched: Vec<u32>,
    /// Slots that the candidates with each limit's value kill, and that mates of greedy candidates do.
    victims: Vec<Slots>,
    mated: Slots,
    /// The slots below, when they were found.
    below: Slots,
    /// Room for the next victims.
    spare: Vec<Slots>,
    /// How often each limit's value may still be taken, at the slot that was looked down from.
    rooms: Vec<u32>,
    /// Blocks whose `extra` may have changed since somebody asked.
    changed: Vec<bool>,
    /// Limits of each slot's greedy candidate, one slot after the other, and where each slot's end.
    own_limits: Vec<usize>,
    own_ends: Vec<usize>,
}

/// How many slots are alive, seen from one slot.
#[derive(Clone, Copy, Debug)]
pub struct Outlook {
    /// The slot itself is: its greedy candidate may be taken.
    pub is_alive: bool,
    /// This one and those below.
    pub alive: f64,
    /// Those below, once a candidate is taken that is not this slot's greedy one; less what the candidate kills.
    pub after_leaving: f64,
}

impl Charges {
    /// For a greedy slate.
    pub fn new(stage: &Stage<'_>, greedy: &[Slot]) -> Self {
        let rules = &stage.request.rules;
        let mut of_slot = vec![None; stage.request.n];
        for slot in greedy.iter().filter(|slot| !slot.pinned) {
            of_slot[slot.slot] = Some(slot.candidate);
        }
        let free = || {
            of_slot
                .iter()
                .enumerate()
                .filter_map(|(s, c)| c.map(|c| (s, c)))
        };
        let mut limits: Vec<Limit> = Vec::new();
        for (cap, values) in rules.caps.iter().enumerate() {
            let mut pairs: Vec<(u32, usize)> = free()
                .flat_map(|(slot, c)| values.of(c).iter().map(move |value| (*value, slot)))
                .collect();
            pairs.sort_unstable();
            for same in pairs.chunk_by(|a, b| a.0 == b.0) {
                let slots = same.iter().fold(0, |slots, (_, slot)| slots | bit(*slot));
                let value = same[0].0;
                limits.push(Limit { cap, value, slots });
            }
        }
        let (mut own_limits, mut own_ends) = (Vec::new(), Vec::with_capacity(of_slot.len()));
        for slot in 0..of_slot.len() {
            let each = limits.iter().enumerate();
            let own = each.filter(|(_, limit)| limit.slots & bit(slot) != 0);
            own_limits.extend(own.map(|(at, _)| at));
            own_ends.push(own_limits.len());
        }
        let mates = free()
            .flat_map(|(slot, c)| mates(rules, c).map(move |mate| (mate, slot)))
            .collect();
        Self {
            limits,
            mates,
            kills: vec![0; stage.relevance.len()],
            extra: vec![[0.0; LANES]; stage.order.blocks()],
            touched: Vec::new(),
            victims: Vec::new(),
            mated: 0,
            below: 0,
            spare: Vec::new(),
            rooms: Vec::new(),
            changed: vec![false; stage.order.blocks()],
            own_limits,
            own_ends,
            greedy: of_slot,
        }
    }

    /// Number of slots that have a greedy candidate.
    pub fn slots(&self) -> usize {
        self.greedy.iter().flatten().count()
    }

    /// Greedy candidate of a slot.
    pub fn greedy(&self, slot: usize) -> Option<u32> {
        self.greedy[slot]
    }

    /// How many slots below each candidate of a block kills.
    pub fn extra(&self, block: usize) -> &Lanes<f64> {
        &self.extra[block]
    }

    /// Whether [`Charges::extra`] of a block may have changed since this was asked.
    pub fn changed(&mut self, block: usize) -> bool {
        std::mem::take(&mut self.changed[block])
    }

    /// Looks down from a slot. `allowed`: the slot may hold its greedy candidate as far as promotion goes.
    pub fn look(
        &mut self,
        stage: &Stage<'_>,
        tracker: &Tracker<'_>,
        slot: usize,
        allowed: bool,
    ) -> Outlook {
        let mut open: Slots = 0;
        for (at, candidate) in self.greedy.iter().enumerate().skip(slot) {
            if candidate.is_some_and(|c| tracker.is_open(c)) {
                open |= bit(at);
            }
        }
        let limits = self.limits.iter();
        self.rooms.clear();
        self.rooms
            .extend(limits.map(|limit| tracker.room(limit.cap, limit.value)));
        let below = open & !bit(slot);
        let is_alive = open & bit(slot) != 0 && allowed;
        let here = if is_alive { open } else { below };
        let alive = here & !self.crowded_out(here);
        let left = below & !self.crowded_out(below);
        self.find_kills(stage, tracker, below, left);
        #[cfg(test)]
        self.assert_kills(stage, tracker, below, left);
        Outlook {
            is_alive,
            alive: f64::from(alive.count_ones()),
            after_leaving: f64::from(left.count_ones()),
        }
    }

    /// Of these slots, those for which others before them leave no room.
    fn crowded_out(&self, slots: Slots) -> Slots {
        let limits = self.limits.iter().zip(&self.rooms);
        limits.fold(0, |out, (limit, room)| {
            out | without_first(limit.slots & slots, *room)
        })
    }

    fn find_kills(&mut self, stage: &Stage<'_>, tracker: &Tracker<'_>, below: Slots, left: Slots) {
        let mut victims = std::mem::take(&mut self.spare);
        victims.clear();
        let limits = self.limits.iter().zip(&self.rooms);
        victims.extend(limits.map(|(limit, room)| {
            let late = without_first(limit.slots & below, room.saturating_sub(1));
            if *room > 0 { left & late } else { 0 }
        }));
        let mated = self.mates.iter().fold(0, |all, (_, slot)| all | bit(*slot)) & left;
        if victims == self.victims && mated == self.mated {
            // What others kill stays; greedy candidates that were below may no longer come early.
            self.spare = victims;
            for slot in slots_of(self.below & !below) {
                self.set_kills(stage, slot, self.kills_as_other(slot));
            }
        } else {
            self.spare = std::mem::replace(&mut self.victims, victims);
            self.mated = mated;
            self.find_kills_of_others(stage, tracker);
        }
        self.below = below;
        for slot in slots_of(below) {
            let kills = left & self.kills_early(below, slot);
            self.set_kills(stage, slot, kills);
        }
    }

    /// What is kept from slot to slot is what the definition gives.
    #[cfg(test)]
    fn assert_kills(&self, stage: &Stage<'_>, tracker: &Tracker<'_>, below: Slots, left: Slots) {
        let mut expected = vec![0; self.kills.len()];
        for limit in &self.limits {
            let room = tracker.room(limit.cap, limit.value);
            let late = without_first(limit.slots & below, room.saturating_sub(1));
            for holder in tracker.holders(limit.cap, limit.value) {
                expected[*holder as usize] |= if room > 0 { left & late } else { 0 };
            }
        }
        for (mate, slot) in &self.mates {
            expected[*mate as usize] |= left & bit(*slot);
        }
        for slot in slots_of(below) {
            if let Some(candidate) = self.greedy[slot] {
                expected[candidate as usize] = left & self.kills_early(below, slot);
            }
        }
        for (candidate, expected) in (0..).zip(expected) {
            let (block, lane) = stage.place(candidate);
            let found = self.extra[block][lane];
            assert_eq!(found, f64::from(expected.count_ones()), "{candidate}");
        }
    }

    /// What candidates kill by the values and groups that they share with greedy ones.
    fn find_kills_of_others(&mut self, stage: &Stage<'_>, tracker: &Tracker<'_>) {
        for candidate in self.touched.drain(..) {
            let (block, lane) = stage.place(candidate);
            self.kills[candidate as usize] = 0;
            self.extra[block][lane] = 0.0;
            self.changed[block] = true;
        }
        for (limit, victims) in self.limits.iter().zip(&self.victims) {
            if *victims != 0 {
                for holder in tracker.holders(limit.cap, limit.value) {
                    self.kills[*holder as usize] |= victims;
                    self.touched.push(*holder);
                }
            }
        }
        for (mate, slot) in &self.mates {
            if self.mated & bit(*slot) != 0 {
                self.kills[*mate as usize] |= bit(*slot);
                self.touched.push(*mate);
            }
        }
        for candidate in &self.touched {
            let (block, lane) = stage.place(*candidate);
            self.extra[block][lane] = f64::from(self.kills[*candidate as usize].count_ones());
            self.changed[block] = true;
        }
    }

    /// What a slot's greedy candidate kills where it stands for any candidate.
    fn kills_as_other(&self, slot: usize) -> Slots {
        let own = self.limits_of(slot).iter().map(|at| self.victims[*at]);
        let mates = self.mates.iter();
        let mates = mates.filter(|(mate, _)| Some(*mate) == self.greedy[slot]);
        let mates = mates.map(|(_, slot)| bit(*slot) & self.mated);
        own.chain(mates).fold(0, |all, kills| all | kills)
    }

    /// A slot's greedy candidate kills these.
    fn set_kills(&mut self, stage: &Stage<'_>, slot: usize, kills: Slots) {
        let Some(candidate) = self.greedy[slot] else {
            return;
        };
        let known = &mut self.kills[candidate as usize];
        if *known != kills {
            *known = kills;
            let (block, lane) = stage.place(candidate);
            self.extra[block][lane] = f64::from(kills.count_ones());
            self.changed[block] = true;
            self.touched.push(candidate);
        }
    }

    /// The limits of a slot's greedy candidate.
    fn limits_of(&self, slot: usize) -> &[usize] {
        let first = slot.checked_sub(1).map_or(0, |above| self.own_ends[above]);
        &self.own_limits[first..self.own_ends[slot]]
    }

    /// What the greedy candidate of a slot below kills when it comes early: its slot; it no longer crowds others there.
    fn kills_early(&self, below: Slots, slot: usize) -> Slots {
        let own = self.limits_of(slot).iter();
        let own = own.map(|at| (&self.limits[*at], self.rooms[*at]));
        own.fold(bit(slot), |kills, (limit, room)| {
            let others = limit.slots & below & !bit(slot);
            kills | without_first(others, room.saturating_sub(1))
        })
    }
}

fn bit(slot: usize) -> Slots {
    1 << slot
}

/// The slots but the first so many.
fn without_first(mut slots: Slots, mut count: u32) -> Slots {
    while count > 0 && slots != 0 {
        slots &= slots - 1;
        count -= 1;
    }
    slots
}

fn slots_of(mut slots: Slots) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let slot = slots.trailing_zeros();
        slots &= slots.wrapping_sub(1);
        (slot < Slots::BITS).then_some(slot as usize)
    })
}
