//! Strings to dense numbers: one arena of bytes and one open-addressing table, no allocation per string.

use crate::ids::stable_hash;
use crate::search::{prefetch, prefetch_of_many};

const EMPTY: u32 = u32::MAX;

/// Append-only dictionary of strings. Lookup and insertion are O(1); a number never changes.
#[derive(Debug, Clone)]
pub struct Interner {
    bytes: String,
    ends: Vec<usize>,
    hashes: Vec<u64>,
    table: Vec<u32>,
    mask: usize,
    /// How each string begins, where that is kept.
    beginnings: Option<Vec<u64>>,
}

/// The first eight bytes of a text as a number, which orders texts that differ in them.
fn beginning(text: &str) -> u64 {
    let mut bytes = [0; 8];
    let known = text.len().min(8);
    bytes[..known].copy_from_slice(&text.as_bytes()[..known]);
    u64::from_be_bytes(bytes)
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            bytes: String::new(),
            ends: Vec::new(),
            hashes: Vec::new(),
            table: vec![EMPTY; 64],
            mask: 63,
            beginnings: None,
        }
    }
}

impl Interner {
    /// Empty; it keeps how strings begin, eight bytes each, for who orders many by them.
    pub fn with_beginnings() -> Self {
        Self {
            beginnings: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing was interned yet.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The number of `text`, given a new one if it has none. `hash` must be `stable_hash(text)`.
    pub fn intern(&mut self, hash: u64, text: &str) -> u32 {
        let mut slot = hash as usize & self.mask;
        loop {
            let ix = self.table[slot];
            if ix == EMPTY {
                break;
            }
            if self.hashes[ix as usize] == hash && self.name(ix) == text {
                return ix;
            }
            slot = (slot + 1) & self.mask;
        }
        let ix = self.ends.len() as u32;
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
        self.hashes.push(hash);
        if let Some(beginnings) = &mut self.beginnings {
            beginnings.push(beginning(text));
        }
        self.table[slot] = ix;
        if self.ends.len() * 2 > self.table.len() {
            self.grow();
        }
        ix
    }

    /// [`Interner::intern`] with the hash computed here.
    pub fn intern_str(&mut self, text: &str) -> u32 {
        self.intern(stable_hash(text.as_bytes()), text)
    }

    /// The number of `text` if it has one.
    pub fn get(&self, text: &str) -> Option<u32> {
        let hash = stable_hash(text.as_bytes());
        let mut slot = hash as usize & self.mask;
        loop {
            let ix = self.table[slot];
            if ix == EMPTY {
                return None;
            }
            if self.hashes[ix as usize] == hash && self.name(ix) == text {
                return Some(ix);
            }
            slot = (slot + 1) & self.mask;
        }
    }

    /// [`Interner::get`] of many: step by step for all of them, so that a processor waits for many of the scattered reads
    /// at once.
    pub fn get_all(&self, texts: &[&str]) -> Vec<Option<u32>> {
        let hashes: Vec<u64> = texts.iter().map(|t| stable_hash(t.as_bytes())).collect();
        let first = |hash: &u64| self.table[*hash as usize & self.mask];
        let first: Vec<u32> = hashes.iter().map(first).collect();
        let likely = |(hash, ix): (&u64, &u32)| {
            let known = self.hashes.get(*ix as usize);
            known.is_some_and(|known| known == hash)
        };
        let likely: Vec<bool> = hashes.iter().zip(&first).map(likely).collect();
        let each = texts.iter().zip(first.iter().zip(likely));
        each.map(
            |(text, (ix, likely))| match likely && self.name(*ix) == *text {
                true => Some(*ix),
                false => self.get(text),
            },
        )
        .collect()
    }

    /// Asks for the place in the table of a string with this hash, which is looked up soon.
    #[inline]
    pub fn ask_for_place(&self, hash: u64) {
        prefetch(&self.table, hash as usize & self.mask);
    }

    /// Asks for what stands at the place that [`Interner::ask_for_place`] asked for; the number of the string, probably.
    #[inline]
    pub fn ask_for_name(&self, hash: u64) -> Option<u32> {
        let ix = self.table[hash as usize & self.mask];
        prefetch(&self.hashes, ix as usize);
        prefetch(&self.ends, ix as usize);
        (ix != EMPTY).then_some(ix)
    }

    /// Asks for the stable hash of a number's string.
    #[inline]
    pub fn ask_for_hash(&self, ix: u32) {
        prefetch(&self.hashes, ix as usize);
    }

    /// The string of a number that this interner gave.
    pub fn name(&self, ix: u32) -> &str {
        let ix = ix as usize;
        let start = if ix == 0 { 0 } else { self.ends[ix - 1] };
        &self.bytes[start..self.ends[ix]]
    }

    /// Asks for the string of a number that is read soon: first for where it lies, then, once that is `found`, for it.
    pub fn prefetch(&self, ix: u32, found: bool) {
        let Some(before) = (ix as usize).checked_sub(1) else {
            return;
        };
        match (found, self.ends.get(before)) {
            (false, _) => prefetch_of_many(&self.ends, before),
            (true, Some(start)) => prefetch_of_many(self.bytes.as_bytes(), *start),
            (true, None) => {}
        }
    }

    /// The first eight bytes of a number's string as a number, which orders strings that differ in them.
    #[inline]
    pub fn beginning(&self, ix: u32) -> u64 {
        match &self.beginnings {
            Some(beginnings) => beginnings[ix as usize],
            None => beginning(self.name(ix)),
        }
    }

    /// Asks for the beginning of a number's string.
    #[inline]
    pub fn ask_for_beginning(&self, ix: u32) {
        if let Some(beginnings) = &self.beginnings {
            prefetch_of_many(beginnings, ix as usize);
        }
    }

    /// The stable hashes of all numbers' strings.
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// The stable hash of a number's string.
    pub fn hash(&self, ix: u32) -> u64 {
        self.hashes[ix as usize]
    }

    /// Bytes held, for the memory report.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * 8
            + self.hashes.capacity() * 8
            + self.table.capacity() * 4
            + self.beginnings.as_ref().map_or(0, Vec::capacity) * 8
    }

    fn grow(&mut self) {
        let size = self.table.len() * 2;
        self.mask = size - 1;
        self.table.clear();
        self.table.resize(size, EMPTY);
        for (ix, hash) in self.hashes.iter().enumerate() {
            let mut slot = *hash as usize & self.mask;
            while self.table[slot] != EMPTY {
                slot = (slot + 1) & self.mask;
            }
            self.table[slot] = ix as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_stable_and_found_again() {
        let mut interner = Interner::default();
        for i in 0..10_000 {
            assert_eq!(interner.intern_str(&format!("item-{i}")), i);
        }
        for i in 0..10_000 {
            assert_eq!(interner.intern_str(&format!("item-{i}")), i);
            assert_eq!(interner.name(i), format!("item-{i}"));
        }
        assert_eq!(interner.get("item-77"), Some(77));
        assert_eq!(interner.get("absent"), None);
        let names: Vec<String> = (0..10_100).map(|i| format!("item-{i}")).collect();
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let known = |i: u32| (i < 10_000).then_some(i);
        let expected: Vec<Option<u32>> = (0..10_100).map(known).collect();
        assert_eq!(interner.get_all(&asked), expected);
        assert_eq!(interner.len(), 10_000);
    }

    #[test]
    fn beginnings_order_strings_as_far_as_they_reach() {
        let texts = [
            "",
            "a",
            "a\0",
            "ab",
            "long enough",
            "long enough too",
            "é",
            "z",
        ];
        let (mut kept, mut made) = (Interner::with_beginnings(), Interner::default());
        for text in texts {
            kept.intern_str(text);
            made.intern_str(text);
        }
        for (a, first) in (0..).zip(texts) {
            assert_eq!(kept.beginning(a), made.beginning(a));
            for (b, second) in (0..).zip(texts) {
                let alike = kept.beginning(a) == kept.beginning(b);
                let order = kept.beginning(a).cmp(&kept.beginning(b));
                assert!(alike || order == first.cmp(second), "{first:?} {second:?}");
            }
        }
    }
}
