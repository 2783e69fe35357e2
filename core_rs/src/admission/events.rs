//! Event repeats: ids of at least the last `horizon` events, exactly.
//!
//! Two generations of ids, each an [`IdSet`]: the current one, whose bucket tells in one cache line what is new and takes
//! it, and the previous one behind a Bloom filter. The older is dropped whenever the newer has filled up, so between one
//! and two horizons are remembered. Once a generation is gone, an unknown id whose event time is not after everything dropped may be a repeat from there: it is set aside, never
//! guessed. (An event keeps its time when it is sent again, so a later time cannot be in what was dropped.)

use crate::admission::id_set::IdSet;
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

/// Ids whose cache lines are fetched ahead of the one that is judged.
const AHEAD: usize = 40;

#[derive(Clone, Debug)]
struct Generation {
    ids: IdSet,
    latest: Millis,
}

impl Generation {
    fn new() -> Self {
        Self {
            ids: IdSet::default(),
            latest: Millis::MIN,
        }
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
    /// Remembers at least `horizon` ids. Memory: 20 to 44 bytes an id, growing with the ids, not with the horizon.
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
        if self.previous.as_ref().is_some_and(|g| g.ids.contains(id)) {
            return EventVerdict::Repeat;
        }
        let doubtful = self.dropped_until.is_some_and(|until| ts <= until);
        if doubtful && !self.current.ids.contains(id) {
            return EventVerdict::BeyondHorizon;
        }
        if self.current.ids.len() >= self.horizon && !self.current.ids.contains(id) {
            self.rotate();
        }
        if !self.current.ids.insert(id) {
            return EventVerdict::Repeat;
        }
        self.current.latest = self.current.latest.max(ts);
        EventVerdict::Fresh
    }

    /// Whether the id is remembered. Changes nothing.
    pub fn contains(&self, id: u128) -> bool {
        let id = id.max(1);
        self.current.ids.contains(id) || self.previous.as_ref().is_some_and(|g| g.ids.contains(id))
    }

    fn rotate(&mut self) {
        let next = Generation {
            ids: self.current.ids.successor(),
            latest: Millis::MIN,
        };
        let mut full = std::mem::replace(&mut self.current, next);
        full.ids.seal();
        if let Some(gone) = self.previous.replace(full) {
            self.dropped_until = self.dropped_until.max(Some(gone.latest));
        }
    }

    /// [`Self::admit`] of each id in order into `verdicts`, fetching ahead what the next ids will ask for: several times
    /// as fast as one by one once the tables no longer fit a cache. The shortest of the three slices says how many.
    pub fn admit_many(&mut self, ids: &[u128], ts: &[Millis], verdicts: &mut [EventVerdict]) {
        ids.iter().take(AHEAD).for_each(|id| self.prefetch(*id));
        let each = ids.iter().zip(ts).zip(verdicts).enumerate();
        for (i, ((id, ts), verdict)) in each {
            if let Some(id) = ids.get(i + AHEAD) {
                self.prefetch(*id);
            }
            *verdict = self.admit(*id, *ts);
        }
    }

    /// Fetches what [`Self::admit`] of this id will read; changes nothing.
    #[inline]
    pub fn prefetch(&self, id: u128) {
        let id = id.max(1);
        self.current.ids.prefetch(id);
        if let Some(previous) = &self.previous {
            // Its table is only asked about ids that it probably holds.
            previous.ids.prefetch_filter(id);
        }
    }

    /// Ids remembered.
    pub fn len(&self) -> u64 {
        self.current.ids.len() + self.previous.as_ref().map_or(0, |g| g.ids.len())
    }

    /// Whether no id is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.current.ids.memory() + self.previous.as_ref().map_or(0, |g| g.ids.memory())
    }

    /// Writes both generations; ids sorted, so that equal sets have equal bytes.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        w.entity(KIND, |w| {
            w.byte(u8::from(self.dropped_until.is_some()));
            w.int(self.dropped_until.unwrap_or_default());
            w.byte(u8::from(self.previous.is_some()));
            for generation in std::iter::once(&self.current).chain(&self.previous) {
                w.int(generation.latest);
                w.uint(generation.ids.len());
                for id in generation.ids.sorted() {
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
        self.previous = None;
        if two {
            let mut previous = read_generation(r)?;
            previous.ids.seal();
            self.previous = Some(previous);
        }
        Ok(true)
    }
}

fn read_generation(r: &mut PartReader<'_>) -> ReadResult<Generation> {
    let latest = r.int()?;
    let len = r.len(2)?;
    let mut ids: Vec<u128> = Vec::with_capacity(len);
    for _ in 0..len {
        let id = u128::from(r.uint()?) << 64 | u128::from(r.uint()?);
        if ids.last().map_or(id == 0, |last| *last >= id) {
            return Err(r.broken("event ids out of order, or one twice"));
        }
        ids.push(id);
    }
    Ok(Generation {
        ids: IdSet::from_sorted(&ids),
        latest,
    })
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

        #[test]
        fn a_batch_is_its_events_one_by_one(
            events in prop::collection::vec((0u32..500, 0i64..50), 0..1500),
            horizon in 1u64..400,
            batch in 1usize..100,
        ) {
            let ids: Vec<u128> = events.iter().map(|(id, _)| xxh3_128(&id.to_le_bytes())).collect();
            let ts: Vec<i64> = events.iter().map(|(_, ts)| *ts).collect();
            let (mut single, mut many) = (EventLedger::new(horizon), EventLedger::new(horizon));
            let expected: Vec<_> = ids.iter().zip(&ts).map(|(id, ts)| single.admit(*id, *ts)).collect();
            let mut verdicts = vec![EventVerdict::Fresh; ids.len()];
            for start in (0..ids.len()).step_by(batch) {
                let end = (start + batch).min(ids.len());
                many.admit_many(&ids[start..end], &ts[start..end], &mut verdicts[start..end]);
            }
            prop_assert_eq!(verdicts, expected);
            prop_assert_eq!(many.current.ids.sorted(), single.current.ids.sorted());
            prop_assert_eq!(many.len(), single.len());
        }
    }
}
