//! Writing and reading the state of a part, entity by entity.

use xxhash_rust::xxh3::xxh3_128;

use crate::error::CoreError;
use crate::ids::{ItemIx, TagIx};
use crate::intern::Interner;
use crate::names::Names;

const NO_LOCAL: u32 = u32::MAX;

/// Marks the end of a part's entities.
pub const END: u8 = 0;

struct LocalDictionary {
    local: Vec<u32>,
    members: Vec<u32>,
}

impl LocalDictionary {
    fn new(size: usize) -> Self {
        Self {
            local: vec![NO_LOCAL; size],
            members: Vec::new(),
        }
    }

    fn number(&mut self, ix: u32) -> u32 {
        let entry = &mut self.local[ix as usize];
        if *entry == NO_LOCAL {
            *entry = self.members.len() as u32;
            self.members.push(ix);
        }
        *entry
    }
}

enum Mode {
    Digest,
    Snapshot {
        items: LocalDictionary,
        tags: LocalDictionary,
    },
}

/// What a part writes itself to: a digest or a snapshot, by how it was made.
pub struct PartWriter<'a> {
    names: &'a Names,
    mode: Mode,
    buffer: Vec<u8>,
    sum: u128,
}

impl<'a> PartWriter<'a> {
    /// A writer that only hashes.
    pub fn digest(names: &'a Names) -> Self {
        Self {
            names,
            mode: Mode::Digest,
            buffer: Vec::new(),
            sum: 0,
        }
    }

    /// A writer that keeps the bytes.
    pub fn snapshot(names: &'a Names) -> Self {
        let mode = Mode::Snapshot {
            items: LocalDictionary::new(names.items.len()),
            tags: LocalDictionary::new(names.tags.len()),
        };
        Self {
            names,
            mode,
            buffer: Vec::new(),
            sum: 0,
        }
    }

    /// The dictionaries, for a part that must order by id.
    pub fn names(&self) -> &'a Names {
        self.names
    }

    /// Writes one entity. `kind` (not [`END`]) says which; a part's kinds are its own.
    pub fn entity(&mut self, kind: u8, write: impl FnOnce(&mut Self)) {
        self.buffer.push(kind);
        write(self);
        if matches!(self.mode, Mode::Digest) {
            self.sum = self.sum.wrapping_add(xxh3_128(&self.buffer));
            self.buffer.clear();
        }
    }

    /// Unsigned integer, LEB128.
    pub fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.buffer.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.push(value as u8);
    }

    /// Signed integer, zigzag LEB128.
    pub fn int(&mut self, value: i64) {
        self.uint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// One byte.
    pub fn byte(&mut self, value: u8) {
        self.buffer.push(value);
    }

    /// Length and bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.uint(value.len() as u64);
        self.buffer.extend_from_slice(value);
    }

    /// Length and UTF-8.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// Reference to an item.
    pub fn item(&mut self, ix: ItemIx) {
        match &mut self.mode {
            Mode::Digest => self
                .buffer
                .extend_from_slice(&self.names.items.hash(ix.0).to_le_bytes()),
            Mode::Snapshot { items, .. } => {
                let local = items.number(ix.0);
                self.uint(u64::from(local));
            }
        }
    }

    /// Reference to a tag.
    pub fn tag(&mut self, ix: TagIx) {
        match &mut self.mode {
            Mode::Digest => self
                .buffer
                .extend_from_slice(&self.names.tags.hash(ix.0).to_le_bytes()),
            Mode::Snapshot { tags, .. } => {
                let local = tags.number(ix.0);
                self.uint(u64::from(local));
            }
        }
    }

    /// The sum of entity hashes.
    pub fn finish_digest(self) -> u128 {
        self.sum
    }

    /// The part's dictionary followed by its entities.
    pub fn finish_snapshot(mut self) -> Vec<u8> {
        let entities = std::mem::take(&mut self.buffer);
        let mode = std::mem::replace(&mut self.mode, Mode::Digest);
        if let Mode::Snapshot { items, tags } = mode {
            self.dictionary(&items.members, &self.names.items);
            self.dictionary(&tags.members, &self.names.tags);
        }
        self.buffer.extend_from_slice(&entities);
        self.buffer.push(END);
        self.buffer
    }

    fn dictionary(&mut self, members: &[u32], names: &Interner) {
        self.uint(members.len() as u64);
        for ix in members {
            self.text(names.name(*ix));
        }
    }
}

/// Why a part cannot be read.
pub type ReadResult<T> = Result<T, CoreError>;

/// Reads what [`PartWriter::snapshot`] wrote. Every read is checked: a damaged body is an error, never a panic.
pub struct PartReader<'a> {
    part: &'a str,
    bytes: &'a [u8],
    items: Vec<ItemIx>,
    tags: Vec<TagIx>,
}

impl<'a> PartReader<'a> {
    /// Reads the part's dictionary, numbering its items and tags in `names`.
    pub fn new(part: &'a str, bytes: &'a [u8], names: &mut Names) -> ReadResult<Self> {
        let mut reader = Self {
            part,
            bytes,
            items: Vec::new(),
            tags: Vec::new(),
        };
        for _ in 0..reader.len(1)? {
            let name = reader.text()?;
            reader.items.push(ItemIx(names.items.intern_str(name)));
        }
        for _ in 0..reader.len(1)? {
            let name = reader.text()?;
            reader.tags.push(TagIx(names.tags.intern_str(name)));
        }
        Ok(reader)
    }

    /// An error that names this part.
    pub fn broken(&self, reason: impl Into<String>) -> CoreError {
        CoreError::Snapshot {
            part: self.part.to_string(),
            reason: reason.into(),
        }
    }

    /// Kind of the next entity; `None` at the end, where nothing may follow.
    pub fn next_entity(&mut self) -> ReadResult<Option<u8>> {
        match self.byte()? {
            END if self.bytes.is_empty() => Ok(None),
            END => Err(self.broken("bytes after the end")),
            kind => Ok(Some(kind)),
        }
    }

    /// One byte.
    pub fn byte(&mut self) -> ReadResult<u8> {
        let (first, rest) = self
            .bytes
            .split_first()
            .ok_or_else(|| self.broken("ends too early"))?;
        self.bytes = rest;
        Ok(*first)
    }

    /// Unsigned integer.
    pub fn uint(&mut self) -> ReadResult<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.broken("an integer of more than 64 bits"))
    }

    /// Unsigned integer that fits 32 bits.
    pub fn uint32(&mut self) -> ReadResult<u32> {
        u32::try_from(self.uint()?).map_err(|_| self.broken("an integer of more than 32 bits"))
    }

    /// Signed integer.
    pub fn int(&mut self) -> ReadResult<i64> {
        let value = self.uint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A count of things that take at least `least` bytes each, so that a broken count cannot ask for memory.
    pub fn len(&mut self, least: usize) -> ReadResult<usize> {
        let count = self.uint()?;
        if count > (self.bytes.len() / least.max(1)) as u64 {
            return Err(self.broken("a count larger than the rest of the part"));
        }
        Ok(count as usize)
    }

    /// Length and bytes.
    pub fn raw(&mut self) -> ReadResult<&'a [u8]> {
        let len = self.len(1)?;
        let (head, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        Ok(head)
    }

    /// Length and UTF-8.
    pub fn text(&mut self) -> ReadResult<&'a str> {
        let raw = self.raw()?;
        std::str::from_utf8(raw).map_err(|_| self.broken("text that is not UTF-8"))
    }

    /// Reference to an item.
    pub fn item(&mut self) -> ReadResult<ItemIx> {
        let local = self.uint()? as usize;
        self.items
            .get(local)
            .copied()
            .ok_or_else(|| self.broken("an item outside its dictionary"))
    }

    /// Reference to a tag.
    pub fn tag(&mut self) -> ReadResult<TagIx> {
        let local = self.uint()? as usize;
        self.tags
            .get(local)
            .copied()
            .ok_or_else(|| self.broken("a tag outside its dictionary"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_survive_the_round_trip() {
        let mut names = Names::new(1);
        let values = [0u64, 1, 127, 128, 300, u64::MAX];
        let signed = [0i64, -1, 1, i64::MIN, i64::MAX, -300];
        let mut writer = PartWriter::snapshot(&names);
        writer.entity(1, |w| {
            values.iter().for_each(|v| w.uint(*v));
            signed.iter().for_each(|v| w.int(*v));
        });
        let bytes = writer.finish_snapshot();
        let mut reader = PartReader::new("test", &bytes, &mut names).unwrap();
        assert_eq!(reader.next_entity().unwrap(), Some(1));
        for value in values {
            assert_eq!(reader.uint().unwrap(), value);
        }
        for value in signed {
            assert_eq!(reader.int().unwrap(), value);
        }
        assert_eq!(reader.next_entity().unwrap(), None);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let mut names = Names::new(1);
        let item = ItemIx(names.items.intern_str("sku-1"));
        let mut writer = PartWriter::snapshot(&names);
        writer.entity(3, |w| {
            w.item(item);
            w.text("hello");
        });
        let bytes = writer.finish_snapshot();
        for cut in 0..bytes.len() {
            let mut fresh = Names::new(1);
            let outcome = PartReader::new("test", &bytes[..cut], &mut fresh).and_then(|mut r| {
                r.next_entity()?;
                r.item()?;
                r.text()?;
                r.next_entity()
            });
            assert!(outcome.is_err(), "cut at {cut}");
        }
    }
}
