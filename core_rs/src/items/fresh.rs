//! Fresh items: those that came into the world lately, newest first.
//!
//! Derived from the catalogue and the log's running time, in no digest and no snapshot. What has grown old is dropped when
//! the running time moves on, so a set that was kept and one that was built anew are equal.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::ids::{DAY_MS, ItemIx, Millis};

/// Put items that may be shown, by the time they were born; ties by item hash.
#[derive(Debug)]
pub struct Fresh {
    span_ms: i64,
    items: BTreeSet<(Reverse<Millis>, u64, ItemIx)>,
}

impl Fresh {
    /// Holds what was born within `days` of the log's running time.
    pub fn new(days: f64) -> Self {
        Self {
            span_ms: (days * DAY_MS) as i64,
            items: BTreeSet::new(),
        }
    }

    /// Number of items held.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Notes that an item's birth changed from `before` to `after`; `None`: it may not be shown. O(log n).
    pub fn change(
        &mut self,
        item: ItemIx,
        hash: u64,
        before: Option<Millis>,
        after: Option<Millis>,
        clock: Millis,
    ) {
        if let Some(born) = before {
            self.items.remove(&(Reverse(born), hash, item));
        }
        if let Some(born) = after.filter(|born| *born >= clock.saturating_sub(self.span_ms)) {
            self.items.insert((Reverse(born), hash, item));
        }
    }

    /// Drops what is too old at the log's running time. O(log n) for each dropped item.
    pub fn advance(&mut self, clock: Millis) {
        let since = clock.saturating_sub(self.span_ms);
        while self.items.last().is_some_and(|oldest| oldest.0.0 < since) {
            self.items.pop_last();
        }
    }

    /// Items born from `since` to `until`, newest first, ties by item hash. An item may name a birth that is still to come:
    /// `until` leaves it out.
    pub fn newest_first(
        &self,
        since: Millis,
        until: Millis,
    ) -> impl Iterator<Item = (ItemIx, Millis)> + '_ {
        self.items
            .range((Reverse(until), 0, ItemIx(0))..)
            .map(|(born, _, item)| (*item, born.0))
            .take_while(move |(_, born)| *born >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Millis = 86_400_000;

    #[test]
    fn newest_first_and_ties_by_hash() {
        let mut fresh = Fresh::new(10.0);
        for (item, hash, born) in [
            (0, 9, 5 * DAY),
            (1, 3, 7 * DAY),
            (2, 1, 5 * DAY),
            (3, 2, 9 * DAY),
        ] {
            fresh.change(ItemIx(item), hash, None, Some(born), 8 * DAY);
        }
        let shown = |since, until| -> Vec<u32> {
            fresh
                .newest_first(since, until)
                .map(|(item, _)| item.0)
                .collect()
        };
        assert_eq!(shown(0, 10 * DAY), [3, 1, 2, 0]);
        assert_eq!(shown(5 * DAY, 8 * DAY), [1, 2, 0]);
        assert_eq!(shown(5 * DAY + 1, 8 * DAY), [1]);
    }

    proptest! {
        /// However births change and time passes: what is held is what a catalogue scan would give.
        #[test]
        fn is_what_a_scan_gives(steps in prop::collection::vec((0u32..8, prop::option::of(0i64..60), 0i64..4), 1..200)) {
            let mut fresh = Fresh::new(10.0);
            let mut births = [None; 8];
            let mut clock = 0;
            for (item, born, passes) in steps {
                let born = born.map(|day| day * DAY);
                fresh.change(ItemIx(item), u64::from(item ^ 5), births[item as usize], born, clock);
                births[item as usize] = born;
                clock += passes * DAY / 2;
                fresh.advance(clock);
                let mut scan: Vec<_> = (0..8u32)
                    .filter_map(|i| births[i as usize].map(|born| (Reverse(born), i ^ 5, i)))
                    .filter(|(born, ..)| born.0 >= clock - 10 * DAY)
                    .collect();
                scan.sort_unstable();
                let held: Vec<_> = fresh.newest_first(Millis::MIN, Millis::MAX).collect();
                prop_assert_eq!(held, scan.iter().map(|(born, _, i)| (ItemIx(*i), born.0)).collect::<Vec<_>>());
            }
        }
    }
}
