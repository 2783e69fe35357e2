//! A set of 128-bit ids that grows without a pause: an extendible hash table (Fagin et al., TODS 1979) of small segments,
//! each an exact table whose buckets are cache lines. A set that takes no more ids is sealed: then a split-block Bloom
//! filter, a tenth of its size, answers "certainly not here" before the table is touched. An open set has none, because
//! whoever asks it is about to write to the very bucket that answers.
//!
//! A segment holds the ids that begin with the same bits. A full one grows by half, and one that has become
//! [`LARGEST`] ids long is split in two, so that growing moves a few thousand ids inside the cache and never the whole
//! set. Ids of a segment stand in buckets of one cache line, in the order of their bits; a full bucket overflows into the
//! next. Nothing is ever removed, so a free place ends a search.

use crate::bloom::{SplitBlockBloom, prefetch};
use crate::huge_pages;

const BITS_PER_KEY: f64 = 16.0;
/// Ids of one bucket: as many as a cache line holds.
const BUCKET: usize = 4;
const FIRST_BUCKETS: usize = 8;
/// Ids that a segment takes before it grows, per 10 places; at 8 an absent id is told by 1.2 cache lines on average.
const FULL_OF_10: usize = 8;
/// Ids in the largest segment: its table is large enough for large pages, and split in some ten milliseconds. Small in
/// tests, so that they split.
const LARGEST: usize = if cfg!(test) { 1 << 10 } else { 1 << 18 };
/// Segments are split no deeper: ids that agree in so many bits are not told apart by splitting.
const DEEPEST: u32 = 20;
/// Marks a free place; an id that hashes to it is stored as 1.
const FREE: u128 = 0;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket([u128; BUCKET]);

#[derive(Clone, Debug)]
struct Segment {
    /// Of a sealed segment.
    bloom: Option<SplitBlockBloom>,
    buckets: Vec<Bucket>,
    len: usize,
    /// How many leading bits its ids have in common.
    depth: u32,
    /// Ids to make room for at the first growth.
    expected: usize,
}

impl Segment {
    fn with_room(ids: usize, depth: u32) -> Self {
        let buckets = (ids * 10).div_ceil(BUCKET * FULL_OF_10).max(FIRST_BUCKETS);
        Self {
            bloom: None,
            buckets: huge_pages::filled(Bucket([FREE; BUCKET]), buckets),
            len: 0,
            depth,
            expected: 0,
        }
    }

    fn clear(&mut self) {
        self.bloom = None;
        self.buckets.fill(Bucket([FREE; BUCKET]));
        self.len = 0;
    }

    /// Ids that so many buckets may hold.
    fn room(buckets: usize) -> usize {
        buckets * BUCKET * FULL_OF_10 / 10
    }

    fn is_full(&self) -> bool {
        self.len >= Self::room(self.buckets.len())
    }

    /// The bits that tell the ids of this segment apart come first.
    #[inline]
    fn local(&self, id: u128) -> u64 {
        upper(id).rotate_left(self.depth)
    }

    #[inline]
    fn home(&self, local: u64) -> usize {
        ((u128::from(local) * self.buckets.len() as u128) >> 64) as usize
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() {
            0
        } else {
            bucket + 1
        }
    }

    #[inline]
    fn contains(&self, id: u128) -> bool {
        let local = self.local(id);
        let possible = self.bloom.as_ref().is_none_or(|b| b.contains(local));
        possible && self.table_contains(id, local)
    }

    fn table_contains(&self, id: u128, local: u64) -> bool {
        let mut at = self.home(local);
        loop {
            let Bucket(ids) = &self.buckets[at];
            if ids.contains(&id) {
                return true;
            }
            if ids[BUCKET - 1] == FREE {
                return false;
            }
            at = self.next(at);
        }
    }

    /// Adds an id that is not there; there must be room.
    #[inline]
    fn insert(&mut self, id: u128) {
        let local = self.local(id);
        self.bloom = None;
        self.len += 1;
        let mut at = self.home(local);
        loop {
            let Bucket(ids) = &mut self.buckets[at];
            // Counted rather than searched: how full a bucket is cannot be foreseen, so a search would mispredict.
            let used = ids.iter().filter(|held| **held != FREE).count();
            if let Some(free) = ids.get_mut(used) {
                *free = id;
                return;
            }
            at = self.next(at);
        }
    }

    /// Adds an id unless it is there; whether it was absent. There must be room.
    #[inline]
    fn insert_absent(&mut self, id: u128) -> bool {
        let mut at = self.home(self.local(id));
        loop {
            let Bucket(ids) = &mut self.buckets[at];
            if ids.contains(&id) {
                return false;
            }
            let used = ids.iter().filter(|held| **held != FREE).count();
            if let Some(free) = ids.get_mut(used) {
                *free = id;
                self.bloom = None;
                self.len += 1;
                return true;
            }
            at = self.next(at);
        }
    }

    fn for_each(&self, mut visit: impl FnMut(u128)) {
        for Bucket(ids) in &self.buckets {
            for id in ids {
                if *id == FREE {
                    break;
                }
                visit(*id);
            }
        }
    }

    fn seal(&mut self) {
        let mut bloom = SplitBlockBloom::with_capacity(self.len, BITS_PER_KEY);
        self.for_each(|id| bloom.insert(self.local(id)));
        self.bloom = Some(bloom);
    }

    fn memory(&self) -> usize {
        self.bloom.as_ref().map_or(0, SplitBlockBloom::memory)
            + self.buckets.capacity() * size_of::<Bucket>()
    }
}

/// The half of an id that says where it stands, in the filter and in the table alike.
#[inline]
fn upper(id: u128) -> u64 {
    (id >> 64) as u64
}

/// A set of ids, none of which is 0.
///
/// Memory: 20 to 42 bytes an id beyond the first few hundred, 2 more once sealed.
#[derive(Clone, Debug)]
pub struct IdSet {
    /// By the leading `depth` bits of an id.
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment>,
    len: u64,
}

impl Default for IdSet {
    fn default() -> Self {
        Self {
            directory: vec![0],
            depth: 0,
            segments: vec![Segment::with_room(0, 0)],
            len: 0,
        }
    }
}

impl IdSet {
    #[inline]
    fn segment(&self, id: u128) -> usize {
        // Two shifts, because one by 64 is not defined.
        let at = (upper(id) >> 1) >> (63 - self.depth);
        self.directory[at as usize] as usize
    }

    /// Whether the id is there. O(1).
    #[inline]
    pub fn contains(&self, id: u128) -> bool {
        self.segments[self.segment(id)].contains(id)
    }

    /// Adds an id; whether it was absent. O(1) amortised; at most one segment's ids are moved.
    #[inline]
    pub fn insert(&mut self, id: u128) -> bool {
        debug_assert!(id != FREE);
        let mut at = self.segment(id);
        if self.segments[at].is_full() {
            if self.segments[at].contains(id) {
                return false;
            }
            self.make_room(at);
            at = self.segment(id);
        }
        let absent = self.segments[at].insert_absent(id);
        self.len += u64::from(absent);
        absent
    }

    fn make_room(&mut self, at: usize) {
        let Segment {
            len,
            depth,
            expected,
            ..
        } = self.segments[at];
        if len >= LARGEST && depth < DEEPEST {
            return self.split(at);
        }
        // Beyond the largest only if its ids agree in more bits than are told apart.
        let room = if len < LARGEST {
            (2 * len).max(expected).min(LARGEST)
        } else {
            2 * len
        };
        let mut larger = Segment::with_room(room, depth);
        self.segments[at].for_each(|id| larger.insert(id));
        self.segments[at] = larger;
    }

    fn split(&mut self, at: usize) {
        let depth = self.segments[at].depth + 1;
        if depth > self.depth {
            self.directory = self.directory.iter().flat_map(|s| [*s, *s]).collect();
            self.depth = depth;
        }
        let goes_up = |id: u128| upper(id) >> (64 - depth) & 1 == 1;
        let mut ids = Vec::with_capacity(self.segments[at].len);
        self.segments[at].for_each(|id| ids.push(id));
        // The lower half stays where it is: its memory is at hand, new memory has to be fetched page by page.
        let low = &mut self.segments[at];
        low.clear();
        low.depth = depth;
        let mut high = Segment::with_room(LARGEST, depth);
        for id in ids {
            if goes_up(id) { &mut high } else { &mut *low }.insert(id);
        }
        let new = self.segments.len() as u32;
        self.segments.push(high);
        // Equal leading bits stand side by side in the directory; the upper half of them goes to the new segment.
        let first = self
            .directory
            .iter()
            .position(|s| *s == at as u32)
            .unwrap_or_default();
        let span = 1usize << (self.depth - depth);
        self.directory[first + span..first + 2 * span].fill(new);
    }

    /// Makes asking for absent ids cheap, for a set that takes no more. O(ids).
    pub fn seal(&mut self) {
        self.segments.iter_mut().for_each(Segment::seal);
    }

    /// An empty set that expects as many ids as this one holds: it takes the memory when they come, and does not split.
    pub fn successor(&self) -> Self {
        let segments = self.segments.iter().map(|segment| Segment {
            expected: segment.len,
            ..Segment::with_room(0, segment.depth)
        });
        Self {
            directory: self.directory.clone(),
            depth: self.depth,
            segments: segments.collect(),
            len: 0,
        }
    }

    /// A set of ids that come smallest first, without repeats.
    pub fn from_sorted(ids: &[u128]) -> Self {
        // One after the other they would crowd the first buckets of a table that is still small; in large steps each pass
        // goes over all of it.
        const STEP: usize = 512;
        let mut set = Self::default();
        for start in 0..STEP.min(ids.len()) {
            ids[start..].iter().step_by(STEP).for_each(|id| {
                set.insert(*id);
            });
        }
        set
    }

    /// Ids held.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All ids, smallest first.
    pub fn sorted(&self) -> Vec<u128> {
        let mut ids = Vec::with_capacity(self.len as usize);
        for segment in &self.segments {
            segment.for_each(|id| ids.push(id));
        }
        ids.sort_unstable();
        ids
    }

    /// Fetches the block of the filter that [`Self::contains`] of this id reads in a sealed set.
    #[inline]
    pub fn prefetch_filter(&self, id: u128) {
        let segment = &self.segments[self.segment(id)];
        if let Some(bloom) = &segment.bloom {
            bloom.prefetch(segment.local(id));
        }
    }

    /// Fetches what [`Self::contains`] of this id reads and [`Self::insert`] writes in an open set.
    #[inline]
    pub fn prefetch(&self, id: u128) {
        let segment = &self.segments[self.segment(id)];
        prefetch(&segment.buckets[segment.home(segment.local(id))]);
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.directory.capacity() * size_of::<u32>()
            + self.segments.capacity() * size_of::<Segment>()
            + self.segments.iter().map(Segment::memory).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use xxhash_rust::xxh3::xxh3_128;

    fn check(ids: impl Iterator<Item = u128>) {
        let (mut ours, mut twin) = (IdSet::default(), BTreeSet::new());
        for id in ids {
            assert_eq!(ours.contains(id), twin.contains(&id));
            assert_eq!(ours.insert(id), twin.insert(id));
        }
        assert_eq!(ours.len(), twin.len() as u64);
        assert!(twin.iter().all(|id| ours.contains(*id)));
        assert_eq!(ours.sorted(), Vec::from_iter(twin));
    }

    #[test]
    fn it_splits_and_stays_a_set() {
        let id = |i: u32| xxh3_128(&i.to_le_bytes());
        check((0..30_000).map(id));
        // In order of the ids, as a snapshot gives them.
        let sorted: BTreeSet<u128> = (0..30_000).map(id).collect();
        let sorted = Vec::from_iter(sorted);
        let mut set = IdSet::from_sorted(&sorted);
        set.seal();
        assert!(set.segments.len() > 20 && set.depth > 4);
        assert!(sorted.iter().all(|id| set.contains(*id)));
        assert!((200_000..220_000).all(|i| !set.contains(id(i))));
        assert_eq!(set.sorted(), sorted);
        check(sorted.into_iter());
        let mut next = set.successor();
        assert!(next.is_empty() && next.sorted().is_empty());
        assert!((0..40_000).all(|i| next.insert(id(i))));
        assert_eq!(next.sorted().len(), 40_000);
        assert!((0..40_000).all(|i| next.contains(id(i))));
    }

    #[test]
    fn memory_an_id_is_what_the_documentation_says() {
        let mut set = IdSet::default();
        for i in 1..100_000u32 {
            set.insert(xxh3_128(&i.to_le_bytes()));
            if i >= 5_000 && i % 1_000 == 0 {
                let each = set.memory() as f64 / f64::from(i);
                assert!((20.0..46.0).contains(&each), "{each} bytes at {i}");
            }
        }
    }

    #[test]
    fn ids_that_differ_late_do_not_split_forever() {
        check((1..4_000).map(|low| u128::MAX - low));
    }

    proptest! {
        #[test]
        fn crowded_buckets_overflow_and_wrap(lows in prop::collection::vec(1u128..80, 1..300)) {
            // All ids stand in the last bucket or the first.
            check(lows.into_iter().map(|low| if low % 2 == 0 { u128::MAX - low } else { low }));
        }
    }
}
