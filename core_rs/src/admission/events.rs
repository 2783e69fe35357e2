//! Event repeats: ids of at least the last `horizon` events, exactly.
//!
//! Two generations of ids, each a split-block Bloom filter ("certainly new" in one cache line) before an exact table; the
//! older is dropped whenever the newer has filled up, so between one and two horizons are remembered. Once a generation is
//! gone, an unknown id whose event time is not after everything dropped may be a repeat from there: it is set aside, never
//! guessed. (An event keeps its time when it is sent again, so a later time cannot be in what was dropped.)

use crate::bloom::SplitBlockBloom;
use crate::ids::Millis;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// What to do with an event that has an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventVerdict {
    /// Apply it.
    Fresh,
    /// The id was seen before.
    Repeat,
    /// It may be a repeat from beyond the horizon.
    BeyondHorizon,
}

const BITS_PER_KEY: f64 = 16.0;
const FIRST_SIZE: usize = 64;
/// Marks a free place; an id that hashes to it is stored as 1.
const FREE: u128 = 0;

#[derive(Clone, Debug)]
struct Generation {
    bloom: SplitBlockBloom,
    table: Vec<u128>,
    len: u64,
    latest: Millis,
}

impl Generation {
    fn new() -> Self {
        let bloom = SplitBlockBloom::with_capacity(FIRST_SIZE / 2, BITS_PER_KEY);
        Self {
            bloom,
            table: vec![FREE; FIRST_SIZE],
            len: 0,
            latest: Millis::MIN,
        }
    }

    fn contains(&self, id: u128) -> bool {
        if !self.bloom.contains(id as u64) {
            return false;
        }
        let mask = self.table.len() - 1;
        let mut at = (id >> 64) as usize & mask;
        while self.table[at] != FREE {
            if self.table[at] == id {
                return true;
            }
            at = (at + 1) & mask;
        }
        false
    }

    fn insert(&mut self, id: u128) {
        if (self.len as usize + 1) * 2 > self.table.len() {
            self.grow();
        }
        self.bloom.insert(id as u64);
        self.place(id);
        self.len += 1;
    }

    fn place(&mut self, id: u128) {
        let mask = self.table.len() - 1;
        let mut at = (id >> 64) as usize & mask;
        while self.table[at] != FREE {
            at = (at + 1) & mask;
        }
        self.table[at] = id;
    }

    /// Doubles table and filter together, so that the filter never holds more than it was made for.
    fn grow(&mut self) {
        let size = self.table.len() * 2;
        let old = std::mem::replace(&mut self.table, vec![FREE; size]);
        self.bloom = SplitBlockBloom::with_capacity(size / 2, BITS_PER_KEY);
        for id in old.into_iter().filter(|id| *id != FREE) {
            self.bloom.insert(id as u64);
            self.place(id);
        }
    }

    fn sorted(&self) -> Vec<u128> {
        let mut ids: Vec<u128> = self
            .table
            .iter()
            .copied()
            .filter(|id| *id != FREE)
            .collect();
        ids.sort_unstable();
        ids
    }
}

/// Ids of one partition's events.
#[derive(Clone, Debug)]
pub struct EventLedger {
    horizon: u64,
    current: Generation,
    previous: Option<Generation>,
    dropped_until: Option<Millis>,
}

const KIND: u8 = 2;

impl EventLedger {
    /// Remembers at least `horizon` ids. Memory: 34 to 68 bytes an id, growing with the ids, not with the horizon.
    pub fn new(horizon: u64) -> Self {
        Self {
            horizon: horizon.max(1),
            current: Generation::new(),
            previous: None,
            dropped_until: None,
        }
    }

    /// Judges an event by the hash of its id and its time and, if it is fresh, notes it. O(1).
    pub fn admit(&mut self, id: u128, ts: Millis) -> EventVerdict {
        let id = id.max(1);
        if self.current.contains(id) || self.previous.as_ref().is_some_and(|g| g.contains(id)) {
            return EventVerdict::Repeat;
        }
        if self.dropped_until.is_some_and(|until| ts <= until) {
            return EventVerdict::BeyondHorizon;
        }
        if self.current.len >= self.horizon {
            let full = std::mem::replace(&mut self.current, Generation::new());
            if let Some(gone) = self.previous.replace(full) {
                self.dropped_until = self.dropped_until.max(Some(gone.latest));
            }
        }
        self.current.insert(id);
        self.current.latest = self.current.latest.max(ts);
        EventVerdict::Fresh
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        let of = |g: &Generation| g.bloom.memory() + g.table.capacity() * 16;
        of(&self.current) + self.previous.as_ref().map_or(0, of)
    }

    /// Writes both generations; ids sorted, so that equal sets have equal bytes.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        w.entity(KIND, |w| {
            w.byte(u8::from(self.dropped_until.is_some()));
            w.int(self.dropped_until.unwrap_or_default());
            w.byte(u8::from(self.previous.is_some()));
            for generation in std::iter::once(&self.current).chain(&self.previous) {
                w.int(generation.latest);
                w.uint(generation.len);
                for id in generation.sorted() {
                    w.uint((id >> 64) as u64);
                    w.uint(id as u64);
                }
            }
        });
    }

    /// Reads one entity of kind `kind`; `false` if the kind is not ours.
    pub fn read(&mut self, kind: u8, r: &mut PartReader<'_>) -> ReadResult<bool> {
        if kind != KIND {
            return Ok(false);
        }
        let dropped = r.byte()? == 1;
        let until = r.int()?;
        self.dropped_until = dropped.then_some(until);
        let two = r.byte()? == 1;
        self.current = read_generation(r)?;
        self.previous = if two { Some(read_generation(r)?) } else { None };
        Ok(true)
    }
}

fn read_generation(r: &mut PartReader<'_>) -> ReadResult<Generation> {
    let mut generation = Generation::new();
    generation.latest = r.int()?;
    for _ in 0..r.len(2)? {
        let id = u128::from(r.uint()?) << 64 | u128::from(r.uint()?);
        if id == FREE || generation.contains(id) {
            return Err(r.broken("an event id twice"));
        }
        generation.insert(id);
    }
    Ok(generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use xxhash_rust::xxh3::xxh3_128;

    #[test]
    fn repeats_within_the_horizon_are_recognised_and_older_ones_set_aside() {
        let mut ledger = EventLedger::new(100);
        let id = |i: u32| xxh3_128(&i.to_le_bytes());
        for i in 0..350 {
            assert_eq!(ledger.admit(id(i), i64::from(i)), EventVerdict::Fresh);
        }
        for i in 250..350 {
            assert_eq!(ledger.admit(id(i), i64::from(i)), EventVerdict::Repeat);
        }
        assert_eq!(ledger.admit(id(5), 5), EventVerdict::BeyondHorizon);
        assert_eq!(ledger.admit(id(1000), 1000), EventVerdict::Fresh);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_within_the_horizon(ids in prop::collection::vec(0u32..300, 1..600)) {
            let mut ledger = EventLedger::new(1000);
            let mut seen = HashSet::new();
            for id in ids {
                let expected = if seen.insert(id) { EventVerdict::Fresh } else { EventVerdict::Repeat };
                prop_assert_eq!(ledger.admit(xxh3_128(&id.to_le_bytes()), 0), expected);
            }
        }
    }
}
