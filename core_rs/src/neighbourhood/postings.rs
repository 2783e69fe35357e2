//! Items -> numbers of the recent sessions that touched them, in order of the touch, at most so many of each.

use crate::ids::ItemIx;
use crate::search::{prefetch, prefetch_of_many};
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Kind of the entity that holds one item's postings.
pub const KIND_POSTING: u8 = 4;

#[derive(Clone, Debug, Default)]
struct Posting {
    /// Session numbers modulo 2^32, oldest at `head` once full.
    sessions: Vec<u32>,
    head: u32,
}

impl Posting {
    fn push(&mut self, number: u32, cap: usize) {
        if self.sessions.len() < cap {
            self.sessions.push(number);
        } else {
            self.sessions[self.head as usize] = number;
            self.head = (self.head + 1) % cap as u32;
        }
    }

    fn newest_first(&self) -> impl Iterator<Item = u32> + '_ {
        let (newer, older) = self.sessions.split_at(self.head as usize);
        newer.iter().rev().chain(older.iter().rev()).copied()
    }
}

/// The postings of all items.
#[derive(Debug)]
pub struct Postings {
    rows: Vec<Posting>,
    /// Lengths of the rows, side by side: every vote asks for one.
    frequencies: Vec<u32>,
    cap: usize,
}

impl Postings {
    /// Bytes an item in the tables that reach up to the largest one.
    pub const ITEM_BYTES: usize = size_of::<Posting>() + size_of::<u32>();

    /// None yet; of each item at most `cap`.
    pub fn new(cap: usize) -> Self {
        Self {
            rows: Vec::new(),
            frequencies: Vec::new(),
            cap,
        }
    }

    /// Makes room for items numbered below `len`.
    pub fn ensure(&mut self, len: usize) {
        if self.rows.len() < len {
            self.rows.resize_with(len, Posting::default);
            self.frequencies.resize(len, 0);
        }
    }

    /// The session touched the item. There must be room for it.
    #[inline]
    pub fn push(&mut self, item: ItemIx, session: u32) {
        let row = &mut self.rows[item.0 as usize];
        row.push(session, self.cap);
        self.frequencies[item.0 as usize] = row.sessions.len() as u32;
    }

    /// Numbers modulo 2^32 of the sessions that touched the item, latest touch first; `None`: there is no room for it yet.
    #[inline]
    pub fn newest_first(&self, item: ItemIx) -> Option<impl Iterator<Item = u32> + '_> {
        self.rows.get(item.0 as usize).map(Posting::newest_first)
    }

    /// The bound of an item's postings.
    pub fn cap(&self) -> usize {
        self.cap
    }

    /// How many an item has, at most the bound.
    #[inline]
    pub fn frequency(&self, item: ItemIx) -> usize {
        self.frequencies
            .get(item.0 as usize)
            .map_or(0, |length| *length as usize)
    }

    /// Asks for the frequency of an item that is read soon.
    #[inline]
    pub fn prefetch_frequency(&self, item: ItemIx) {
        prefetch_of_many(&self.frequencies, item.0 as usize);
    }

    /// Asks for the postings of an item that a session touches soon: first for where they lie, then, on the second call,
    /// for their end.
    #[inline]
    pub fn prefetch_end(&self, item: ItemIx, found: bool) {
        let at = item.0 as usize;
        if !found {
            prefetch(&self.rows, at);
            return prefetch(&self.frequencies, at);
        }
        if let Some(row) = self.rows.get(at) {
            prefetch(&row.sessions, row.sessions.len());
        }
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        let row = |row: &Posting| size_of::<Posting>() + row.sessions.capacity() * 4;
        self.rows.iter().map(row).sum::<usize>() + self.frequencies.capacity() * 4
    }

    /// Writes an entity for each item that has any.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        let rows = self.rows.iter().enumerate();
        for (ix, row) in rows.filter(|(_, row)| !row.sessions.is_empty()) {
            w.entity(KIND_POSTING, |w| {
                w.item(ItemIx(ix as u32));
                w.uint(u64::from(row.head));
                w.uint(row.sessions.len() as u64);
                row.sessions.iter().for_each(|s| w.uint(u64::from(*s)));
            });
        }
    }

    /// Reads one such entity.
    pub fn read(&mut self, r: &mut PartReader<'_>) -> ReadResult<()> {
        let item = r.item()?;
        let head = r.uint32()?;
        let mut row = Posting {
            sessions: Vec::new(),
            head,
        };
        for _ in 0..r.len(1)? {
            row.sessions.push(r.uint32()?);
        }
        if row.sessions.len() > self.cap || head as usize > row.sessions.len() {
            return Err(r.broken("a posting longer than its bound"));
        }
        self.ensure(item.0 as usize + 1);
        self.frequencies[item.0 as usize] = row.sessions.len() as u32;
        self.rows[item.0 as usize] = row;
        Ok(())
    }
}
