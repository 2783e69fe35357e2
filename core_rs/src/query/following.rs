//! A slate's reasons while it is chosen: a helper follows slot by slot.
//!
//! Choosing is one thread's work, and what is said of an item depends on no other item. So a helper that is awake says it as
//! soon as a slot is filled; the asker does the rest.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::ItemIx;
use crate::query::evidence::{Evidence, Factors, part};
use crate::query::fuse::SourceList;
use crate::query::reasons::Reasoner;
use crate::spare_threads::look_for;

/// So many slots are left to a helper that follows: to wait for them costs less than to begin with them.
const LEFT: usize = 8;

#[derive(Default)]
struct Filled {
    items: Vec<(ItemIx, Factors)>,
    /// So many of them the helper has taken.
    taken: usize,
    /// It takes none from this one on.
    end: Option<usize>,
}

/// The slots of a slate as they are filled.
#[derive(Default)]
pub struct Slots {
    /// Whether anybody may follow.
    open: AtomicBool,
    /// Whether somebody does.
    followed: AtomicBool,
    filled: Mutex<Filled>,
    /// How many are, for who only looks.
    count: AtomicUsize,
    /// Whether that is all.
    finished: AtomicBool,
}

impl Slots {
    /// Lets a helper follow.
    pub fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Filled> {
        // Nothing panics while the lock is held.
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next slot is filled.
    pub fn put(&self, item: ItemIx, factors: impl FnOnce() -> Factors) {
        if self.open.load(Ordering::Relaxed) {
            let factors = factors();
            let mut filled = self.lock();
            filled.items.push((item, factors));
            self.count.store(filled.items.len(), Ordering::Release);
        }
    }

    /// All slots are filled. Returns the items that the helper has taken or will take: all but a few, if it has come that far,
    /// else half of what it has left.
    pub fn finish(&self) -> Vec<ItemIx> {
        let mut filled = self.lock();
        let left = filled.items.len() - filled.taken;
        let theirs = match self.followed.load(Ordering::Relaxed) {
            false => 0,
            true if left <= LEFT => left,
            true => left / 2,
        };
        let end = filled.taken + theirs;
        filled.end = Some(end);
        self.finished.store(true, Ordering::Release);
        filled.items[..end].iter().map(|(item, _)| *item).collect()
    }

    /// The next one for the helper, once it is filled; `None` when there is none for it any more.
    fn next(&self) -> Option<(ItemIx, Factors)> {
        let taken = self.lock().taken;
        let there = || {
            let filled = self.count.load(Ordering::Acquire) > taken;
            filled || self.finished.load(Ordering::Acquire)
        };
        // Who takes longer has lost its processor.
        if !look_for(there) {
            return None;
        }
        let mut filled = self.lock();
        if filled.end.is_some_and(|end| taken >= end) {
            return None;
        }
        let (item, factors) = filled.items.get_mut(taken)?;
        let next = (*item, std::mem::take(factors));
        filled.taken += 1;
        Some(next)
    }
}

/// Where each item stands in some lists: by the last bits of its number, list after list.
struct Places {
    starts: Vec<u32>,
    /// Item, list and rank from 0.
    entries: Vec<(u32, u32, u32)>,
}

const BUCKETS: usize = 1 << 11;

impl Places {
    fn new(lists: &[SourceList]) -> Self {
        let each = || {
            let lists = (0u32..).zip(lists);
            lists.flat_map(|(at, list)| {
                let ranked = (0u32..).zip(&list.ranked);
                ranked.map(move |(rank, (item, _))| (item.0, at, rank))
            })
        };
        let bucket = |item: u32| item as usize % BUCKETS;
        let mut starts = vec![0u32; BUCKETS + 1];
        each().for_each(|(item, _, _)| starts[bucket(item) + 1] += 1);
        for at in 0..BUCKETS {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0, 0, 0); starts[BUCKETS] as usize];
        for entry in each() {
            let at = &mut next[bucket(entry.0)];
            entries[*at as usize] = entry;
            *at += 1;
        }
        Self { starts, entries }
    }

    /// List and rank, in the order of the lists.
    fn of(&self, item: ItemIx) -> impl Iterator<Item = (usize, usize)> {
        let at = item.0 as usize % BUCKETS;
        let own = &self.entries[self.starts[at] as usize..self.starts[at + 1] as usize];
        let own = own.iter().filter(move |entry| entry.0 == item.0);
        own.map(|(_, list, rank)| (*list as usize, *rank as usize))
    }
}

/// What is said of the items of slots as they are filled, by this thread.
pub fn follow(
    slots: &Slots,
    why: &Reasoner<'_>,
    lists: &[SourceList],
    k: f64,
) -> Vec<(ItemIx, Evidence)> {
    if slots.finished.load(Ordering::Acquire) {
        return Vec::new();
    }
    slots.followed.store(true, Ordering::Relaxed);
    why.witness.prepare(&[]);
    let places = Places::new(lists);
    std::iter::from_fn(|| slots.next())
        .map(|(item, factors)| {
            let parts = places.of(item);
            let parts = parts.map(|(list, rank)| part(&lists[list], rank, k, &factors));
            let parts = parts.collect();
            (item, Evidence::of(why, item, parts, factors))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::text::Text;

    fn put(slots: &Slots, items: std::ops::Range<u32>) {
        items.for_each(|item| slots.put(ItemIx(item), Factors::default));
    }

    fn items(numbers: std::ops::Range<u32>) -> Vec<ItemIx> {
        numbers.map(ItemIx).collect()
    }

    fn follow_all(slots: &Slots) -> Vec<ItemIx> {
        let taken = std::iter::from_fn(|| slots.next());
        taken.map(|(item, _)| item).collect()
    }

    #[test]
    fn slots_that_nobody_follows_are_the_askers() {
        let (closed, open) = (Slots::default(), Slots::default());
        open.open();
        for slots in [&closed, &open] {
            put(slots, 0..5);
            assert!(slots.finish().is_empty());
            assert!(follow_all(slots).is_empty());
        }
        assert_eq!(closed.count.into_inner(), 0);
    }

    #[test]
    fn who_follows_gets_a_few_that_are_left_or_half_of_many() {
        let few = LEFT as u32;
        for (filled, theirs) in [(2 + few, 2 + few), (4 + few, 2 + (2 + few) / 2)] {
            let slots = Slots::default();
            slots.open();
            slots.followed.store(true, Ordering::Relaxed);
            put(&slots, 0..filled);
            let first: Vec<ItemIx> = (0..2)
                .filter_map(|_| slots.next())
                .map(|(item, _)| item)
                .collect();
            assert_eq!(first, items(0..2));
            assert_eq!(slots.finish(), items(0..theirs));
            assert_eq!(follow_all(&slots), items(2..theirs));
        }
    }

    #[test]
    fn who_waits_in_vain_leaves_the_rest() {
        let slots = Slots::default();
        slots.open();
        slots.followed.store(true, Ordering::Relaxed);
        put(&slots, 0..1);
        assert_eq!(follow_all(&slots), items(0..1));
        // One that has left takes none; the asker does not know.
        put(&slots, 1..2);
        assert_eq!(slots.finish(), items(0..2));
    }

    #[test]
    fn places_are_those_of_a_search() {
        let list = |items: &[u32]| SourceList {
            name: Text::Fixed(""),
            weight: 1.0,
            personal: false,
            approximate: false,
            ranked: items.iter().map(|item| (ItemIx(*item), 0.0)).collect(),
        };
        let far = 5 + 2 * BUCKETS as u32;
        let lists = [list(&[5, 9, far]), list(&[]), list(&[far, 5]), list(&[7])];
        let places = Places::new(&lists);
        for item in [5, 7, 8, 9, far, 5 + BUCKETS as u32].map(ItemIx) {
            let each = lists.iter().enumerate();
            let expected: Vec<(usize, usize)> = each
                .filter_map(|(at, list)| {
                    let rank = list.ranked.iter().position(|(other, _)| *other == item)?;
                    Some((at, rank))
                })
                .collect();
            assert_eq!(places.of(item).collect::<Vec<_>>(), expected);
        }
    }
}
