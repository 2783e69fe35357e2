//! Distinct items of a user with their latest event each: a bounded list, oldest first.

use std::collections::VecDeque;

use crate::fold::rules::Flags;
use crate::ids::{EventRef, ItemIx, Millis};
use crate::search::{find, prefetch};
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Bit set of what an event says of the user's relation to the item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(pub u8);

impl Roles {
    /// The user rejects the item.
    pub const NEGATIVE: u8 = 1;
    /// The user shows interest.
    pub const POSITIVE: u8 = 2;
    /// The user shows strong interest.
    pub const STRONG: u8 = 4;
    /// The user has consumed the item.
    pub const CONSUMED: u8 = 8;

    const ALL: u8 = 15;

    /// The roles among an event's flags.
    pub fn of(flags: Flags) -> Self {
        let role = |flag, bit| if flags.has(flag) { bit } else { 0 };
        Self(
            role(Flags::NEGATIVE, Self::NEGATIVE)
                | role(Flags::POSITIVE, Self::POSITIVE)
                | role(Flags::STRONG, Self::STRONG)
                | role(Flags::CONSUME, Self::CONSUMED),
        )
    }

    /// Whether any of the bits is set.
    pub fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Names of the roles that are set, in a fixed order.
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            (Self::NEGATIVE, "negative"),
            (Self::POSITIVE, "positive"),
            (Self::STRONG, "strong"),
            (Self::CONSUMED, "consumed"),
        ];
        let set = all.into_iter().filter(|(bit, _)| self.has(*bit));
        set.map(|(_, name)| name).collect()
    }
}

/// An item with the user's latest event on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The item.
    pub item: ItemIx,
    /// Type of the latest event, in the partition's dictionary.
    pub ty: u16,
    /// What the latest event counts for.
    pub roles: Roles,
    /// Affinity weight of the latest event.
    pub weight: u32,
    /// Time of the latest event.
    pub ts: Millis,
    /// Where the latest event stands in the log.
    pub at: EventRef,
    /// Number of the session that the latest event belongs to; 0 if it came too late for any.
    pub session: u32,
}

/// Touches in the order of their latest event.
///
/// The items stand a second time in an array of their own: every event looks for its item, and 4 bytes an entry are
/// compared at once where 32 would be walked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Touches {
    items: VecDeque<u32>,
    touches: VecDeque<Touch>,
}

impl Touches {
    /// Puts the touch last; what falls out of a list of `cap` is returned. O(cap) in 4-byte steps.
    pub fn remember(&mut self, touch: Touch, cap: usize) -> Option<Touch> {
        let mut fallen = None;
        if let Some(at) = self.place(touch.item) {
            self.items.remove(at);
            self.touches.remove(at);
        } else if self.touches.len() >= cap.max(1) {
            self.items.pop_front();
            fallen = self.touches.pop_front();
        }
        self.items.push_back(touch.item.0);
        self.touches.push_back(touch);
        fallen
    }

    /// Takes an item out, if it is in. O(length) in 4-byte steps.
    pub fn remove(&mut self, item: ItemIx) {
        if let Some(at) = self.place(item) {
            self.items.remove(at);
            self.touches.remove(at);
        }
    }

    /// Takes in another user's list: of each item the later event, all in log order. What no longer fits a list of `cap` is
    /// returned, oldest first.
    pub fn join(&mut self, other: Self, cap: usize) -> Vec<Touch> {
        let mut all: Vec<Touch> = self.touches.drain(..).chain(other.touches).collect();
        all.sort_by_key(|touch| (touch.item, std::cmp::Reverse(touch.at)));
        all.dedup_by_key(|touch| touch.item);
        all.sort_by_key(|touch| touch.at);
        let kept = all.split_off(all.len().saturating_sub(cap.max(1)));
        self.items = kept.iter().map(|touch| touch.item.0).collect();
        self.touches = kept.into();
        all
    }

    /// Asks for the items, which every event searches, and for the place of the next touch.
    #[inline]
    pub fn prefetch(&self) {
        let (front, back) = self.items.as_slices();
        for items in [front, back] {
            (0..items.len().min(64))
                .step_by(16)
                .for_each(|at| prefetch(items, at));
        }
        if let Some(latest) = self.touches.back() {
            prefetch(std::slice::from_ref(latest), 1);
        }
    }

    /// Changes every touch. Items must stay as they are.
    pub fn each_mut(&mut self) -> impl Iterator<Item = &mut Touch> {
        self.touches.iter_mut()
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.touches.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.touches.is_empty()
    }

    /// Takes out the oldest touch.
    pub fn pop_oldest(&mut self) -> Option<Touch> {
        self.items.pop_front();
        self.touches.pop_front()
    }

    fn place(&self, item: ItemIx) -> Option<usize> {
        let (front, back) = self.items.as_slices();
        find(front, item.0).or_else(|| find(back, item.0).map(|at| front.len() + at))
    }

    /// Whether the item is in the list.
    pub fn contains(&self, item: ItemIx) -> bool {
        self.place(item).is_some()
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Touch> {
        self.touches.iter()
    }

    /// Bytes held beyond the struct itself.
    pub fn memory(&self) -> usize {
        self.items.capacity() * 4 + self.touches.capacity() * size_of::<Touch>()
    }

    /// Writes all touches, oldest first.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        w.uint(self.touches.len() as u64);
        for touch in &self.touches {
            w.item(touch.item);
            w.uint(u64::from(touch.ty));
            w.byte(touch.roles.0);
            w.uint(u64::from(touch.weight));
            w.int(touch.ts);
            w.uint(touch.at.0);
            w.uint(u64::from(touch.session));
        }
    }

    /// Reads all touches.
    pub fn read(r: &mut PartReader<'_>) -> ReadResult<Self> {
        let mut all = Self::default();
        for _ in 0..r.len(7)? {
            let touch = Touch {
                item: r.item()?,
                ty: u16::try_from(r.uint()?)
                    .map_err(|_| r.broken("a type number of more than 16 bits"))?,
                roles: match r.byte()? {
                    bits if bits <= Roles::ALL => Roles(bits),
                    bits => return Err(r.broken(format!("unknown roles {bits}"))),
                },
                weight: r.uint32()?,
                ts: r.int()?,
                at: EventRef(r.uint()?),
                session: r.uint32()?,
            };
            all.items.push_back(touch.item.0);
            all.touches.push_back(touch);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(item: u32) -> Touch {
        Touch {
            item: ItemIx(item),
            ty: 0,
            roles: Roles(0),
            weight: 0,
            ts: 0,
            at: EventRef(0),
            session: 0,
        }
    }

    #[test]
    fn agrees_with_a_plain_list() {
        let (mut touches, mut plain) = (Touches::default(), Vec::new());
        let mut state = 1u32;
        for _ in 0..2000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let item = state >> 27;
            let mut fallen = None;
            if let Some(at) = plain.iter().position(|i| *i == item) {
                plain.remove(at);
            } else if plain.len() == 20 {
                fallen = Some(plain.remove(0));
            }
            plain.push(item);
            assert_eq!(touches.remember(touch(item), 20).map(|t| t.item.0), fallen);
            assert!(touches.iter().map(|t| t.item.0).eq(plain.iter().copied()));
            assert_eq!(touches.contains(ItemIx(3)), plain.contains(&3));
        }
    }
}
