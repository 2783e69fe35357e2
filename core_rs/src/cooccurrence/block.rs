//! The memory of one row: where its parts lie, how a slot is found, who stands at its door.
//!
//! ```text
//! word 0  epoch      1  length | class << 16      2, 3  door      4..  tags, one byte a slot
//! then (item, count) per slot, then, in the widest class only, an error per slot
//! ```
//!
//! A tag is one byte of an item's hash. Header, door and the tags of 48 slots fill one cache line: a draw that is turned
//! away touches that line alone, one that counts touches the line of its pair as well.

use crate::cooccurrence::draws::Run;
#[cfg(target_arch = "x86_64")]
use crate::cooccurrence::full;
use crate::cooccurrence::row::Row;
use crate::names::ItemHashes;

/// Words of a cache line.
pub const LINE: usize = 16;
/// Where the door is.
pub const DOOR: usize = 2;
/// Where the tags begin.
pub const TAGS: usize = 4;
/// Largest capacity; slots are counted in 16 bits.
pub const MAX_CAPACITY: usize = 65_535;

/// Newcomers that a full row remembers.
const DOOR_PLACES: u32 = 5;
const DOOR_BITS: u32 = 12;
const DOOR_MASK: u64 = (1 << DOOR_BITS) - 1;
/// The lowest bit of every place.
const LOWEST_BITS: u64 = {
    let (mut bits, mut place) = (0, 0);
    while place < DOOR_PLACES {
        bits |= 1 << (place * DOOR_BITS);
        place += 1;
    }
    bits
};

/// Places of a block's parts, in words, and how many slots it has.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Slots.
    pub cap: usize,
    /// Where the pairs begin.
    pub pairs: usize,
    /// Where the errors begin; the end of the pairs where there are none.
    pub errors: usize,
    /// Whether a full row of this class evicts, so that slots have errors.
    pub evicts: bool,
    /// Words of the block, whole lines.
    pub words: usize,
}

impl Layout {
    /// Classes for rows of at most `capacity` slots, each of twice the lines of the one before. Only the widest evicts,
    /// so only it has errors.
    pub fn classes(capacity: usize) -> Vec<Self> {
        let capacity = capacity.clamp(1, MAX_CAPACITY);
        // The most slots that fit 1, 2, 4 .. lines.
        let growing = [
            4, 12, 26, 54, 112, 224, 452, 908, 1820, 3640, 7280, 14_560, 29_120,
        ];
        let mut classes: Vec<Self> = growing
            .into_iter()
            .filter(|cap| *cap < capacity)
            .map(|cap| Self::new(cap, false))
            .collect();
        classes.push(Self::new(capacity, true));
        classes
    }

    fn new(cap: usize, evicts: bool) -> Self {
        // Tags are compared in groups of four words.
        let tags = cap.div_ceil(16) * 4;
        let pairs = TAGS + tags;
        let end = pairs + 2 * cap;
        Self {
            cap,
            pairs,
            errors: end,
            evicts,
            words: (end + if evicts { cap } else { 0 }).next_multiple_of(LINE),
        }
    }
}

/// The tag of an item's number.
#[inline]
pub fn tag(item: u32) -> u8 {
    (item.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// How rows are searched.
pub trait Matching: Copy {
    /// Which slots have the tag, as a bit set. `tags`: at most 64 slots, a multiple of four words.
    fn matching(self, tags: &[u32], tag: u8) -> u64;

    /// Counts draws in a full row, as many as it likes; whether it did any.
    #[inline(always)]
    fn count_full(self, _row: &mut Row<'_>, _run: &mut Run<'_>, _names: &impl ItemHashes) -> bool {
        false
    }
}

/// In groups of 16, on every CPU.
#[derive(Clone, Copy, Debug)]
pub struct InGroups;

impl Matching for InGroups {
    #[inline(always)]
    fn matching(self, tags: &[u32], tag: u8) -> u64 {
        let (groups, _) = tags.as_chunks::<4>();
        groups.iter().enumerate().fold(0, |mask, (g, group)| {
            mask | u64::from(equal_bytes(group, tag)) << (16 * g)
        })
    }
}

/// All at once. Only code that was compiled for AVX-512 makes one.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct AtOnce(());

#[cfg(target_arch = "x86_64")]
impl AtOnce {
    /// Only where AVX-512 F, BW, DQ and VL may be used.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn new() -> Self {
        Self(())
    }
}

#[cfg(target_arch = "x86_64")]
impl Matching for AtOnce {
    #[inline(always)]
    fn matching(self, tags: &[u32], tag: u8) -> u64 {
        use std::arch::x86_64::{
            _mm512_mask_cmpeq_epi8_mask, _mm512_maskz_loadu_epi8, _mm512_set1_epi8,
        };
        let inside = u64::MAX >> (64 - 4 * tags.len().clamp(1, LINE));
        // SAFETY: `self` is only made where these instructions may be used, and only the bytes of `tags`, of which no
        // caller has none, are read.
        unsafe {
            let tags = _mm512_maskz_loadu_epi8(inside, tags.as_ptr().cast());
            _mm512_mask_cmpeq_epi8_mask(inside, tags, _mm512_set1_epi8(tag.cast_signed()))
        }
    }

    #[inline(always)]
    fn count_full(self, row: &mut Row<'_>, run: &mut Run<'_>, names: &impl ItemHashes) -> bool {
        // SAFETY: `self` is only made where these instructions may be used.
        unsafe {
            match row.slots().div_ceil(full::SLOTS) {
                1 => full::count::<1>(row, run, names),
                2 => full::count::<2>(row, run, names),
                3 => full::count::<3>(row, run, names),
                4 => full::count::<4>(row, run, names),
                5 => full::count::<5>(row, run, names),
                full::MAX_LINES => full::count::<{ full::MAX_LINES }>(row, run, names),
                _ => false,
            }
        }
    }
}

/// Which of 16 bytes are equal to `byte`, as a bit set.
#[cfg(target_arch = "x86_64")]
#[inline]
fn equal_bytes(group: &[u32; 4], byte: u8) -> u16 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: every x86-64 CPU has SSE2, and the load reads the 16 bytes of the array.
    unsafe {
        let group = _mm_loadu_si128(group.as_ptr().cast());
        _mm_movemask_epi8(_mm_cmpeq_epi8(group, _mm_set1_epi8(byte as i8))) as u16
    }
}

/// The same for other CPUs, and for the test that holds both together.
#[cfg(any(not(target_arch = "x86_64"), test))]
fn equal_bytes_portable(group: &[u32; 4], byte: u8) -> u16 {
    let bytes = group.iter().flat_map(|word| word.to_le_bytes());
    bytes
        .enumerate()
        .fold(0, |mask, (at, found)| mask | u16::from(found == byte) << at)
}

#[cfg(not(target_arch = "x86_64"))]
use equal_bytes_portable as equal_bytes;

/// A full row's memory of its latest newcomers: fingerprints of 12 bits, the latest lowest, 0 for a free place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Door(pub u64);

impl Door {
    /// The door in a block's first line.
    pub fn of(block: &[u32]) -> Self {
        Self(u64::from(block[DOOR]) | u64::from(block[DOOR + 1]) << 32)
    }

    /// Whether the newcomer with this item hash stands at the door: then it leaves the door. Otherwise it takes a place,
    /// and whoever has stood there for longest goes.
    pub fn second_hit(&mut self, hash: u64) -> bool {
        let (found, after) = self.first_hit(hash);
        if found != 0 {
            let shift = found.trailing_zeros() + 1 - DOOR_BITS;
            self.0 &= !(DOOR_MASK << shift);
            return true;
        }
        *self = after;
        false
    }

    /// Marks of the places where the newcomer stands, 0 if it does not, and the door with it as the latest one.
    #[inline]
    pub fn first_hit(self, hash: u64) -> (u64, Self) {
        let fingerprint = (hash >> (64 - DOOR_BITS)).max(1);
        // All places at once: the lowest place that holds the fingerprint is the lowest one that is zero here, and a
        // borrow can only show a wrong one above it.
        let unlike = self.0 ^ (fingerprint * LOWEST_BITS);
        let found = unlike.wrapping_sub(LOWEST_BITS) & !unlike & (LOWEST_BITS << (DOOR_BITS - 1));
        let after = (self.0 << DOOR_BITS | fingerprint) & ((1 << (DOOR_PLACES * DOOR_BITS)) - 1);
        (found, Self(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_their_parts_in_whole_lines() {
        for capacity in (1..200).chain([255, 256, 1000, 5000]) {
            let classes = Layout::classes(capacity);
            assert_eq!(classes.last().map(|l| l.cap), Some(capacity));
            for (i, layout) in classes.iter().enumerate() {
                let last = i + 1 == classes.len();
                let tags = 4 * (layout.pairs - TAGS);
                let end = layout.errors + if last { layout.cap } else { 0 };
                assert!(tags >= layout.cap && layout.words >= end && layout.words % LINE == 0);
                assert!(i == 0 || layout.cap > classes[i - 1].cap);
                assert_eq!(layout.evicts, last);
            }
        }
    }

    #[test]
    fn bytes_are_compared_alike_everywhere() {
        let mut state = 7u32;
        for _ in 0..1000 {
            let group = [0u32; 4].map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state >> 8 & 0x0303_0303
            });
            for byte in 0..4 {
                assert_eq!(
                    equal_bytes(&group, byte),
                    equal_bytes_portable(&group, byte)
                );
            }
        }
    }

    #[test]
    fn the_door_finds_the_latest_place_with_a_fingerprint() {
        let mut state = 5u64;
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let places: Vec<u64> = (0..5).map(|i| state >> (20 + 2 * i) & 3).collect();
            let door = Door((0..5).fold(0, |door, i| door | places[i] << (12 * i)));
            let wanted = 1 + (state >> 40 & 1);
            let mut asked = door;
            let known = asked.second_hit(wanted << 52);
            let at = places.iter().position(|place| *place == wanted);
            assert_eq!(known, at.is_some());
            let after = match at {
                Some(at) => door.0 & !(0xfff << (12 * at)),
                None => (door.0 << 12 | wanted) & ((1 << 60) - 1),
            };
            assert_eq!(asked.0, after);
        }
    }

    #[test]
    fn the_door_remembers_the_latest_five() {
        let hash = |i: u64| (i + 1) << 52;
        let mut door = Door::default();
        assert!((0..6).all(|i| !door.second_hit(hash(i))));
        assert!(!door.second_hit(hash(0)), "pushed out by the sixth");
        assert!(door.second_hit(hash(5)) && !door.second_hit(hash(5)));
        assert!(!Door::default().second_hit(0), "a free place is nobody");
    }
}
