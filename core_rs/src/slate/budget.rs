//! How much of the greedy slate may be given up.
//!
//! A slot of the greedy slate is *alive* while it may still hold its greedy candidate. The account stands at `rate` for
//! each slot alive and begins at the exploration's share. A choice spends the slots that it costs, in expectation, and
//! what is left is spread over the slots that will be alive, in expectation. So differing slots so far + rate * slots alive is
//! a martingale: at the end nothing is alive, and the expected number of differing slots is share * slots.

/// The account between two slots.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    rate: f64,
    /// Slots alive after the last choice, as far as it was foreseen.
    foreseen: f64,
}

impl Budget {
    /// Before the first slot.
    pub fn new(share: f64, alive: usize) -> Self {
        Self {
            rate: share,
            foreseen: alive as f64,
        }
    }

    /// So many slots are alive; those that died unforeseen are paid for, those that came back are refunded.
    pub fn meet(&mut self, alive: f64) {
        let unforeseen = self.foreseen - alive;
        if unforeseen != 0.0 {
            let left = self.rate * self.foreseen - unforeseen;
            self.rate = if alive > 0.0 { left / alive } else { 0.0 };
            self.foreseen = alive;
        }
    }

    /// What a slot may cost: the rate when it is alive itself. Otherwise its share of what slots below may cost, for those
    /// want to explore as well.
    pub fn of_slot(&self, is_alive: bool, slots_left: usize) -> f64 {
        if is_alive {
            self.rate
        } else {
            self.rate * self.foreseen / slots_left as f64
        }
    }

    /// The least probability with which a slot that is alive must be left: those below cannot differ more often than
    /// always.
    pub fn least_leave(&self) -> f64 {
        1.0 - self.foreseen * (1.0 - self.rate)
    }

    /// A slot was filled that cost `spent` and leaves `expected` slots alive, both in expectation; now it is known which
    /// candidate it was, and `alive` slots are left.
    pub fn settle(&mut self, spent: f64, expected: f64, alive: f64) {
        let left = self.rate * self.foreseen - spent;
        self.rate = if expected > 0.0 { left / expected } else { 0.0 };
        self.foreseen = alive;
    }
}
