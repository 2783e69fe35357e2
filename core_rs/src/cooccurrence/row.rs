//! One row, opened for a run of draws: what all of them need is worked out once.

use crate::cooccurrence::block::{DOOR, Door, LINE, Layout, Matching, TAGS, tag};
use crate::cooccurrence::draws::{Draw, Run};
use crate::decay::EPOCH_HALF_LIVES;
use crate::ids::ItemIx;
use crate::names::ItemHashes;

/// The parts of one block.
pub struct Row<'a> {
    /// Epoch, length and class, door, tags.
    head: &'a mut [u32],
    /// (item, count) per slot, free slots included.
    pairs: &'a mut [[u32; 2]],
    /// What of the counts may belong to evicted neighbours; empty unless the row evicts.
    errors: &'a mut [u32],
}

impl<'a> Row<'a> {
    /// Opens the block at the beginning of `words`.
    #[inline]
    pub fn open(words: &'a mut [u32], layout: &Layout) -> Self {
        let (head, rest) = words.split_at_mut(layout.pairs);
        let (pairs, rest) = rest.split_at_mut(layout.errors - layout.pairs);
        let errors = if layout.evicts { layout.cap } else { 0 };
        Self {
            head,
            pairs: pairs.as_chunks_mut::<2>().0,
            errors: &mut rest[..errors],
        }
    }

    /// Neighbours in the row.
    #[inline]
    fn len(&self) -> usize {
        (self.head[1] & 0xffff) as usize
    }

    /// Counts draws until one needs a wider row, which stays in the run; whether none did. O(row) a draw, one scan of its
    /// tags.
    #[inline(always)]
    pub fn count(
        &mut self,
        run: &mut Run<'_>,
        names: &impl ItemHashes,
        how: impl Matching,
    ) -> bool {
        let full = self.len() == self.pairs.len() && !self.errors.is_empty();
        // For a draw or two it is cheaper not to touch all of the row.
        if full && run.has(3) && how.count_full(self, run, names) && run.peek().is_none() {
            return true;
        }
        while let Some(draw) = run.peek() {
            if !self.count_one(draw, names, how) {
                return false;
            }
            run.step();
        }
        true
    }

    /// Counts a draw, unless the row must grow for it; whether it need not.
    #[inline(always)]
    pub fn count_one(&mut self, draw: &Draw, names: &impl ItemHashes, how: impl Matching) -> bool {
        if draw.epoch > self.head[0] {
            self.rescale(draw.epoch);
        }
        if let Some(slot) = self.find(draw.target.0, how) {
            let count = &mut self.pairs[slot][1];
            *count = count.saturating_add(u32::from(draw.weight));
            return true;
        }
        draw.weight == 0 || self.admit(draw, names)
    }

    /// Slots, free ones included.
    #[inline]
    pub fn slots(&self) -> usize {
        self.pairs.len()
    }

    /// (item, count) per slot.
    #[inline]
    pub fn pairs(&self) -> &[[u32; 2]] {
        self.pairs
    }

    /// [`Row::pairs`], to change counts.
    #[inline]
    pub fn pairs_mut(&mut self) -> &mut [[u32; 2]] {
        self.pairs
    }

    /// Epoch of the counts.
    #[inline]
    pub fn epoch(&self) -> u32 {
        self.head[0]
    }

    /// The slot of an item.
    #[inline(always)]
    fn find(&self, item: u32, how: impl Matching) -> Option<usize> {
        let len = self.len();
        for (chunk, tags) in self.head[TAGS..].chunks(LINE).enumerate() {
            let first = chunk * 4 * LINE;
            // Tags of free slots may be anything.
            let used = match len.saturating_sub(first) {
                0 => return None,
                used => u64::MAX >> (64 - used.min(64)),
            };
            let mut matches = how.matching(tags, tag(item)) & used;
            while matches != 0 {
                let slot = first + matches.trailing_zeros() as usize;
                if self.pairs[slot][0] == item {
                    return Some(slot);
                }
                matches &= matches - 1;
            }
        }
        None
    }

    /// Takes in a draw that counts and whose target is not in the row; `false` if the row must grow for it.
    fn admit(&mut self, draw: &Draw, names: &impl ItemHashes) -> bool {
        let len = self.len();
        if len < self.pairs.len() {
            self.put(len, draw.target, u32::from(draw.weight), 0);
            self.head[1] += 1;
            return true;
        }
        if self.errors.is_empty() {
            return false;
        }
        let mut door = self.door();
        let known = door.second_hit(names.item_hash(draw.target));
        self.set_door(door);
        if known {
            self.replace_smallest(draw, names);
        }
        true
    }

    /// Writes a slot.
    #[inline]
    pub fn put(&mut self, slot: usize, item: ItemIx, count: u32, error: u32) {
        let shift = slot % 4 * 8;
        let tags = &mut self.head[TAGS + slot / 4];
        *tags = *tags & !(0xff << shift) | u32::from(tag(item.0)) << shift;
        self.pairs[slot] = [item.0, count];
        if let Some(place) = self.errors.get_mut(slot) {
            *place = error;
        }
    }

    fn rescale(&mut self, epoch: u32) {
        let age = epoch - self.head[0];
        self.head[0] = epoch;
        let shift = (u64::from(age) * EPOCH_HALF_LIVES as u64).min(32) as u32;
        let halve = |value: &mut u32| *value = value.checked_shr(shift).unwrap_or(0);
        let len = self.len();
        self.pairs[..len].iter_mut().for_each(|p| halve(&mut p[1]));
        self.errors.iter_mut().take(len).for_each(halve);
    }

    /// Who stands at the door.
    pub fn door(&self) -> Door {
        Door::of(self.head)
    }

    /// Sets who stands at the door.
    pub fn set_door(&mut self, door: Door) {
        self.head[DOOR] = door.0 as u32;
        self.head[DOOR + 1] = (door.0 >> 32) as u32;
    }

    fn replace_smallest(&mut self, draw: &Draw, names: &impl ItemHashes) {
        let smallest = self.pairs.iter().fold(u32::MAX, |least, p| least.min(p[1]));
        let tied = (0..self.pairs.len()).filter(|slot| self.pairs[*slot][1] == smallest);
        let hash = |slot: &usize| names.item_hash(ItemIx(self.pairs[*slot][0]));
        if let Some(slot) = tied.min_by_key(hash) {
            let count = smallest.saturating_add(u32::from(draw.weight));
            self.put(slot, draw.target, count, smallest);
        }
    }
}
