//! A slate as it was chosen.

use super::request::Pin;

/// A filled slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// Number of the slot, from 0. A slot that nothing could fill has no entry.
    pub slot: usize,
    /// The candidate.
    pub candidate: u32,
    /// What it added when it was chosen, by the request's method; the relevance of a pinned one.
    pub value: f64,
    /// Probability of the candidate in this slot, given the slots above.
    pub propensity: f64,
    /// Probability of this and all slots above.
    pub propensity_cascade: f64,
    /// It was pinned here.
    pub pinned: bool,
    /// The slot was kept for promoted candidates, and one was there to fill it.
    pub promoted: bool,
    /// The greedy slate has the same candidate here.
    pub greedy: bool,
}

/// A slate.
#[derive(Clone, Debug, PartialEq)]
pub struct Slate {
    /// Filled slots, from the top.
    pub slots: Vec<Slot>,
    /// Temperature of the softmax; 0 when nothing was explored.
    pub temperature: f64,
    /// In each slot that was explored, every candidate that the rules allowed had at least this probability; 0 when
    /// nothing was explored.
    pub floor: f64,
    /// Pins that could not be kept.
    pub skipped: Vec<(Pin, PinFault)>,
    /// Why it is shorter than asked for.
    pub shortfall: Shortfall,
}

impl Slate {
    /// The entry of a slot.
    pub fn at(&self, slot: usize) -> Option<&Slot> {
        let at = self.slots.binary_search_by_key(&slot, |s| s.slot);
        at.ok().map(|at| &self.slots[at])
    }
}

/// Why a pin could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinFault {
    /// The slate has no such slot.
    NoSlot,
    /// An earlier pin has the slot.
    SlotTaken,
    /// An earlier pin has the candidate.
    CandidateTaken,
    /// An earlier pin is of the same group.
    Group,
    /// Earlier pins use up a cap.
    Cap,
}

/// Empty slots, and where the candidates are that could have filled them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// Slots that stayed empty.
    pub empty: usize,
    /// Candidates of the pool left out because another of their group is in the slate.
    pub by_group: usize,
    /// Candidates of the pool left out because a cap was used up.
    pub by_cap: usize,
}
