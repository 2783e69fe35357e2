//! Newtypes for everything that is counted or numbered, and the one stable hash.

use xxhash_rust::xxh3::xxh3_64;

/// Dense number of a user inside its partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct UserIx(pub u32);

/// Dense number of an item inside this process. Never in a digest, and no order may depend on it: a restored process
/// numbers its items differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Default)]
pub struct ItemIx(pub u32);

/// Dense number of a tag inside this process; the same caution as for [`ItemIx`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct TagIx(pub u32);

/// One-based sequence number of a frame in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Default)]
pub struct Position(pub u64);

/// Names one event: the frame's position and the index inside the frame, packed as `position << 16 | index`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Default)]
pub struct EventRef(pub u64);

impl EventRef {
    /// Packs position and index.
    pub fn new(position: Position, index: u16) -> Self {
        Self(position.0 << 16 | u64::from(index))
    }

    /// The frame's position.
    pub fn position(self) -> Position {
        Position(self.0 >> 16)
    }

    /// The index inside the frame.
    pub fn index(self) -> u16 {
        (self.0 & 0xffff) as u16
    }
}

/// Event time in UTC milliseconds.
pub type Millis = i64;

/// Milliseconds of a day.
pub const DAY_MS: f64 = 86_400_000.0;

/// The stable hash (XXH3, 64 bits, seed 0) behind ownership, digests and admission. Equal on every platform.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Which of `parts` owns the entity with this hash.
pub fn owner(hash: u64, parts: usize) -> usize {
    (hash % parts as u64) as usize
}
