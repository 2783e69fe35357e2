//! Rapid repeats: a double click is one click.
//!
//! Per user the last [`RING`] counted events. The same item and type less than the configured span away from one of them
//! in event time, before or after, is a repeat; a repeat is not remembered, so a burst longer than the span counts once
//! per span.

use crate::ids::{Millis, UserIx};
use crate::search::prefetch;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Counted events remembered per user.
pub const RING: usize = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Recent {
    key: u64,
    ts: Millis,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ring {
    recent: [Recent; RING],
    len: u8,
    head: u8,
}

impl Ring {
    /// Counted events, oldest first.
    fn in_order(&self) -> Vec<(u64, Millis)> {
        let len = usize::from(self.len);
        let oldest = if len == RING {
            usize::from(self.head)
        } else {
            0
        };
        let slots = (0..len).map(|i| self.recent[(oldest + i) % RING]);
        slots.map(|recent| (recent.key, recent.ts)).collect()
    }
}

/// The rings of one partition's users.
#[derive(Clone, Debug)]
pub struct RapidLedger {
    rings: Vec<Ring>,
    span_ms: i64,
}

impl RapidLedger {
    /// Repeats within `span_ms` count once; 0 lets everything through.
    pub fn new(span_ms: i64) -> Self {
        Self {
            rings: Vec::new(),
            span_ms,
        }
    }

    /// Whether the event counts. `key` is a stable hash of item and type.
    pub fn admit(&mut self, user: UserIx, key: u64, ts: Millis) -> bool {
        if self.span_ms == 0 {
            return true;
        }
        let ix = user.0 as usize;
        if self.rings.len() <= ix {
            self.rings.resize(ix + 1, Ring::default());
        }
        let ring = &mut self.rings[ix];
        let span = self.span_ms.unsigned_abs();
        let mut counted = ring.recent[..usize::from(ring.len)].iter();
        if counted.any(|r| r.key == key && ts.abs_diff(r.ts) < span) {
            return false;
        }
        ring.recent[usize::from(ring.head)] = Recent { key, ts };
        ring.head = (ring.head + 1) % RING as u8;
        ring.len = (ring.len + 1).min(RING as u8);
        true
    }

    /// Asks for the ring of a user whose event is judged soon.
    #[inline]
    pub fn prefetch(&self, user: UserIx) {
        prefetch(&self.rings, user.0 as usize);
        prefetch(&self.rings, user.0 as usize + 1);
    }

    /// A user's counted events, oldest first; the ring is empty afterwards.
    pub fn take(&mut self, user: UserIx) -> Vec<(u64, Millis)> {
        let ring = self
            .rings
            .get_mut(user.0 as usize)
            .map(std::mem::take)
            .unwrap_or_default();
        ring.in_order()
    }

    /// Adds another user's counted events: the latest of all by event time stay.
    pub fn join(&mut self, user: UserIx, other: &[(u64, Millis)]) {
        let mut all = self.take(user);
        all.extend(other);
        all.sort_by_key(|(_, ts)| *ts);
        let kept = &all[all.len().saturating_sub(RING)..];
        if kept.is_empty() {
            return;
        }
        let ix = user.0 as usize;
        if self.rings.len() <= ix {
            self.rings.resize(ix + 1, Ring::default());
        }
        let ring = &mut self.rings[ix];
        for (slot, (key, ts)) in ring.recent.iter_mut().zip(kept) {
            *slot = Recent { key: *key, ts: *ts };
        }
        ring.len = kept.len() as u8;
        ring.head = (kept.len() % RING) as u8;
    }

    /// Forgets a user.
    pub fn forget(&mut self, user: UserIx) {
        if let Some(ring) = self.rings.get_mut(user.0 as usize) {
            *ring = Ring::default();
        }
    }

    /// Whether any event of the user is remembered.
    pub fn remembers(&self, user: UserIx) -> bool {
        let ring = self.rings.get(user.0 as usize);
        ring.is_some_and(|ring| ring.len > 0)
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.rings.capacity() * size_of::<Ring>()
    }

    /// Writes one user's ring as part of that user.
    pub fn write_user(&self, user: UserIx, w: &mut PartWriter<'_>) {
        let ring = self.rings.get(user.0 as usize).copied().unwrap_or_default();
        w.byte(ring.len);
        w.byte(ring.head);
        for recent in &ring.recent[..usize::from(ring.len)] {
            w.uint(recent.key);
            w.int(recent.ts);
        }
    }

    /// Reads one user's ring.
    pub fn read_user(&mut self, user: UserIx, r: &mut PartReader<'_>) -> ReadResult<()> {
        let (len, head) = (r.byte()?, r.byte()?);
        let full = usize::from(len) == RING;
        if usize::from(len) > RING || usize::from(head) >= RING || (!full && head != len) {
            return Err(r.broken("a ring outside its bounds"));
        }
        let mut ring = Ring {
            len,
            head,
            ..Ring::default()
        };
        for recent in &mut ring.recent[..usize::from(len)] {
            *recent = Recent {
                key: r.uint()?,
                ts: r.int()?,
            };
        }
        let ix = user.0 as usize;
        if self.rings.len() <= ix {
            self.rings.resize(ix + 1, Ring::default());
        }
        self.rings[ix] = ring;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_double_click_counts_once() {
        let mut ledger = RapidLedger::new(5000);
        let user = UserIx(3);
        assert!(ledger.admit(user, 1, 10_000));
        assert!(!ledger.admit(user, 1, 12_000));
        assert!(!ledger.admit(user, 1, 6_000));
        assert!(ledger.admit(user, 2, 12_000));
        assert!(ledger.admit(UserIx(4), 1, 12_000));
        assert!(ledger.admit(user, 1, 15_000));
        ledger.forget(user);
        assert!(ledger.admit(user, 1, 15_001));
    }

    #[test]
    fn a_double_click_across_a_merge_counts_once() {
        let mut ledger = RapidLedger::new(5000);
        let (from, into) = (UserIx(0), UserIx(7));
        for key in 0..6 {
            assert!(ledger.admit(from, key, 10_000 + key as i64));
        }
        assert!(ledger.admit(into, 9, 10_004));
        let moved = ledger.take(from);
        assert_eq!(moved, [(2, 10_002), (3, 10_003), (4, 10_004), (5, 10_005)]);
        ledger.join(into, &moved);
        assert!(!ledger.admit(into, 5, 12_000) && !ledger.admit(into, 9, 12_000));
        assert!(ledger.admit(into, 2, 12_000), "let go of: four are kept");
        assert!(ledger.admit(from, 5, 12_000));
    }

    #[test]
    fn a_late_event_does_not_make_the_latest_one_forgotten() {
        let mut ledger = RapidLedger::new(5000);
        assert!(ledger.admit(UserIx(0), 1, 100_000));
        assert!(ledger.admit(UserIx(0), 1, 10_000));
        assert!(!ledger.admit(UserIx(0), 1, 101_000));
        assert!(!ledger.admit(UserIx(0), 1, 9_000));
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_of_counted_events(events in prop::collection::vec((0u64..3, 0i64..40_000), 1..200)) {
            let mut ledger = RapidLedger::new(5000);
            let mut counted: Vec<(u64, i64)> = Vec::new();
            for (key, ts) in events {
                let from = counted.len().saturating_sub(RING);
                let repeat = counted[from..].iter().any(|(k, t)| *k == key && (ts - t).abs() < 5000);
                prop_assert_eq!(ledger.admit(UserIx(1), key, ts), !repeat);
                if !repeat {
                    counted.push((key, ts));
                }
            }
        }
    }
}
