//! The members of a bounded set with the largest decayed counts.
//!
//! All counts decay alike, so between votes the order cannot change, and a set that is offered every item that got a
//! vote holds the true leaders: O(1) for nearly every offer, O(capacity) when the smallest member is replaced.

use crate::decay::DecayedCount;
use crate::search::find;

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing changed: the item is a member already, or too small.
    Nothing,
    /// The item is a member now, maybe in another's place.
    Joined(Option<u32>),
}

/// Up to `capacity` items (numbers local to a shard).
#[derive(Clone, Debug, Default)]
pub struct TopSet {
    members: Vec<u32>,
    /// No member counts less than this. A cache to refuse most offers at once, not state.
    floor: DecayedCount,
}

impl TopSet {
    /// The members, in no particular order.
    pub fn members(&self) -> &[u32] {
        &self.members
    }

    /// A set as it was written.
    pub fn from_members(members: Vec<u32>) -> Self {
        Self {
            members,
            floor: DecayedCount::default(),
        }
    }

    /// Takes an item out.
    pub fn remove(&mut self, item: u32) {
        self.members.retain(|m| *m != item);
        self.floor = DecayedCount::default();
    }

    /// Offers an item whose count just grew. `value` gives any item's count in units of `epoch`, `hash` breaks ties.
    pub fn offer(
        &mut self,
        item: u32,
        epoch: u32,
        capacity: usize,
        value: impl Fn(u32) -> u64,
        hash: impl Fn(u32) -> u64,
    ) -> Offer {
        let full = self.members.len() >= capacity;
        if full && value(item) <= self.floor.at(epoch) {
            return Offer::Nothing;
        }
        if find(&self.members, item).is_some() {
            return Offer::Nothing;
        }
        if !full {
            self.members.push(item);
            self.floor = DecayedCount { count: 0, epoch };
            return Offer::Joined(None);
        }
        let smallest = (0..self.members.len())
            .min_by_key(|at| (value(self.members[*at]), hash(self.members[*at])));
        let Some(at) = smallest else {
            return Offer::Nothing;
        };
        let count = value(self.members[at]);
        self.floor = DecayedCount { count, epoch };
        if value(item) > count {
            return Offer::Joined(Some(std::mem::replace(&mut self.members[at], item)));
        }
        Offer::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_true_leaders_of_a_stream_of_votes() {
        let mut counts = vec![0u64; 500];
        let mut set = TopSet::default();
        let mut state = 1u64;
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let r = (state >> 33) % 250_000;
            let item = r.isqrt() as usize;
            counts[item] += 1;
            set.offer(item as u32, 0, 20, |i| counts[i as usize], u64::from);
        }
        let mut leaders: Vec<u64> = counts.clone();
        leaders.sort_unstable_by(|a, b| b.cmp(a));
        let mut held: Vec<u64> = set.members().iter().map(|m| counts[*m as usize]).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(held, leaders[..20]);
    }
}
