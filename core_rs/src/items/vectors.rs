//! Embeddings of items, packed for scanning: one store per embedding name, vector i that of item number i.
//!
//! The codes follow from the catalogue and are in no digest and no snapshot. What a name's first put says of its dimension
//! is state: it holds for the rest of the generation's log, so every reader refuses the same later puts.

use std::collections::VecDeque;

use crate::bitmap::Bitmap;
use crate::embedding::Embedding;
use crate::embedding::graph::Rows;
use crate::embedding::store::PackedVectors;
use crate::error::CoreError;
use crate::ids::ItemIx;
use crate::items::code_rows::{CodeRows, LINE};
use crate::search::prefetch_of_many;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Most embedding names of a generation.
pub const MAX_NAMES: usize = 8;
/// Largest dimension of a catalogue's embedding.
const MAX_DIM: usize = 4096;

/// The vectors of one name.
#[derive(Debug)]
pub struct ItemVectors {
    /// Vector i belongs to item i; items without one, and those beyond its end, hold zeros.
    pub store: PackedVectors,
    /// Bit i: whether item i has a vector.
    pub present: Bitmap,
    /// Dimension.
    pub dim: usize,
    /// Codes once more, item by item: the store scatters a vector over a cache line for every four dimensions, and who wants
    /// single items would wait for each of them.
    rows: CodeRows,
    /// For each item the number of the latest change of its vector, from 1 on; 0 where it never had one.
    change_of_each: Vec<u32>,
    /// Changes so far.
    changes: u64,
    /// Whose vectors the latest changes were.
    latest: VecDeque<u32>,
}

/// So many of the latest changes are known by name.
const LATEST: usize = 4096;

impl Rows for ItemVectors {
    fn codes(&self, id: u32) -> &[i8] {
        self.codes_of(id)
    }

    fn scale(&self, id: u32) -> f32 {
        self.store.scale(id as usize)
    }
}

impl ItemVectors {
    /// Codes of an item; `None` for one without a vector.
    pub fn codes(&self, item: ItemIx) -> Option<&[i8]> {
        self.has(item).then(|| self.codes_of(item.0))
    }

    /// Codes of an item that has or had a vector.
    pub fn codes_of(&self, id: u32) -> &[i8] {
        &self.rows.codes()[id as usize * self.dim..][..self.dim]
    }

    /// How often vectors were put.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// For each item the number of the latest change of its vector, from 1 on; 0 where it never had one.
    pub fn change_of_each(&self) -> &[u32] {
        &self.change_of_each
    }

    /// The items whose vectors were put after so many changes, some more than once; `None` where they are too many.
    pub fn changed_since(&self, changes: u64) -> Option<impl Iterator<Item = u32>> {
        let behind = usize::try_from(self.changes.saturating_sub(changes)).ok()?;
        let first = self.latest.len().checked_sub(behind)?;
        Some(self.latest.range(first..).copied())
    }

    /// Asks for the codes of an item that are read soon.
    pub fn prefetch(&self, item: ItemIx) {
        let (rows, first) = (self.rows.codes(), item.0 as usize * self.dim);
        for line in (first..first + self.dim).step_by(LINE) {
            prefetch_of_many(rows, line);
        }
        if !self.dim.is_multiple_of(LINE) {
            // Then a row need not begin where a line does.
            prefetch_of_many(rows, first + self.dim - 1);
        }
    }

    /// Whether an item has a vector.
    pub fn has(&self, item: ItemIx) -> bool {
        self.present.get(item.0 as usize)
    }

    fn set(&mut self, item: ItemIx, embedding: &Embedding) {
        let at = item.0 as usize;
        self.store.ensure(at + 1);
        self.store.set_codes(at, &embedding.codes, embedding.scale);
        self.rows.ensure((at + 1) * self.dim);
        self.rows.codes_mut()[at * self.dim..][..self.dim].copy_from_slice(&embedding.codes);
        if self.present.len() <= at {
            self.present.resize(at + 1, false);
        }
        self.present.set(at);
        self.changes += 1;
        if self.change_of_each.len() <= at {
            self.change_of_each.resize(at + 1, 0);
        }
        // After four billion changes numbers come again; that an item meets its own is of no account.
        self.change_of_each[at] = (self.changes as u32).max(1);
        if self.latest.len() == LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(item.0);
    }

    fn clear(&mut self, item: ItemIx) {
        if self.has(item) {
            let at = item.0 as usize;
            self.present.clear(at);
            self.store.set_codes(at, &vec![0; self.dim], 0.0);
        }
    }
}

#[derive(Debug)]
struct Named {
    name: Box<str>,
    dim: usize,
    /// `None` where the dimension is too large for the scan: such embeddings stand in the catalogue only.
    vectors: Option<ItemVectors>,
}

/// All embeddings of the catalogue, by name.
#[derive(Debug, Default)]
pub struct Vectors {
    /// By name.
    named: Vec<Named>,
}

const KIND_DIMENSION: u8 = 2;

impl Vectors {
    /// The vectors of a name; `None` for one that no item ever had, and for dimensions above those of
    /// [`crate::embedding::DIMS`].
    pub fn get(&self, name: &str) -> Option<&ItemVectors> {
        self.find(name)?.vectors.as_ref()
    }

    /// Names with vectors that can be scanned, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let scanned = self.named.iter().filter(|n| n.vectors.is_some());
        scanned.map(|named| &*named.name)
    }

    /// Every name with the dimension that it is bound to, in order of the names.
    pub fn dims(&self) -> impl Iterator<Item = (&str, usize)> {
        self.named.iter().map(|named| (&*named.name, named.dim))
    }

    /// Dimension that a name is bound to.
    pub fn dim(&self, name: &str) -> Option<usize> {
        self.find(name).map(|named| named.dim)
    }

    fn find(&self, name: &str) -> Option<&Named> {
        let at = self.named.binary_search_by(|n| (*n.name).cmp(name)).ok()?;
        Some(&self.named[at])
    }

    /// Whether embeddings of these names and dimensions may be put: the code of the refusal if not.
    pub fn check<'a>(
        &self,
        given: impl Iterator<Item = (&'a str, usize)>,
    ) -> Result<(), &'static str> {
        let mut new: Vec<(&str, usize)> = Vec::new();
        for (name, dim) in given {
            let bound = self
                .dim(name)
                .or_else(|| new.iter().find(|(n, _)| *n == name).map(|(_, dim)| *dim));
            match bound {
                Some(bound) if bound == dim => {}
                Some(_) => return Err("wrong-dimension"),
                None if self.named.len() + new.len() == MAX_NAMES => {
                    return Err("too-many-embeddings");
                }
                None => new.push((name, dim)),
            }
        }
        Ok(())
    }

    /// Takes over what the catalogue now says of an item. Names that are new are bound to their dimension; those that are
    /// known must have passed [`Vectors::check`]. O(d) for each name.
    pub fn update(&mut self, item: ItemIx, embeddings: &[(Box<str>, Embedding)]) {
        for (name, embedding) in embeddings {
            self.bind(name, embedding.codes.len());
        }
        for named in &mut self.named {
            let Some(vectors) = &mut named.vectors else {
                continue;
            };
            match embeddings.iter().find(|(name, _)| *name == named.name) {
                Some((_, embedding)) => vectors.set(item, embedding),
                None => vectors.clear(item),
            }
        }
    }

    fn bind(&mut self, name: &str, dim: usize) {
        if let Err(at) = self.named.binary_search_by(|n| (*n.name).cmp(name)) {
            let vectors = PackedVectors::new(dim, 0).ok().map(|store| ItemVectors {
                store,
                present: Bitmap::default(),
                dim,
                rows: CodeRows::default(),
                change_of_each: Vec::new(),
                changes: 0,
                latest: VecDeque::new(),
            });
            let name = name.into();
            self.named.insert(at, Named { name, dim, vectors });
        }
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        let scanned = self.named.iter().filter_map(|named| named.vectors.as_ref());
        scanned
            .map(|v| {
                v.store.memory()
                    + v.rows.capacity()
                    + 4 * v.change_of_each.capacity()
                    + v.present.memory()
            })
            .sum()
    }

    /// Writes the dimension of every name: a part of the catalogue's.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        for named in &self.named {
            w.entity(KIND_DIMENSION, |w| {
                w.text(&named.name);
                w.uint(named.dim as u64);
            });
        }
    }

    /// Reads one entity of kind `kind`; `false` if the kind is not ours.
    pub fn read(&mut self, kind: u8, r: &mut PartReader<'_>) -> ReadResult<bool> {
        if kind != KIND_DIMENSION {
            return Ok(false);
        }
        let (name, dim) = (r.text()?, r.uint()? as usize);
        let known = self.dim(name).is_some() || self.named.len() == MAX_NAMES;
        if known || !(1..=MAX_DIM).contains(&dim) {
            return Err(r.broken("dimensions of embeddings that cannot be"));
        }
        self.bind(name, dim);
        Ok(true)
    }

    /// [`Vectors::update`] from a snapshot's catalogue, whose embeddings must have the dimensions that were read.
    pub fn restore(
        &mut self,
        item: ItemIx,
        embeddings: &[(Box<str>, Embedding)],
    ) -> ReadResult<()> {
        let mut dims = embeddings.iter().map(|(name, e)| (name, e.codes.len()));
        if dims.any(|(name, dim)| self.dim(name) != Some(dim)) {
            return Err(CoreError::Snapshot {
                part: "catalogue".to_string(),
                reason: "an embedding of another dimension than its name's".to_string(),
            });
        }
        self.update(item, embeddings);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn embedding(seed: u8, dim: usize) -> Embedding {
        let codes = (0..dim).map(|d| (seed as usize * 31 + d * 7) as u8 as i8);
        Embedding {
            scale: f32::from(seed) + 0.5,
            codes: codes.map(|c| c.max(-127)).collect(),
        }
    }

    #[test]
    fn a_name_keeps_its_dimension_and_there_are_eight() {
        let mut vectors = Vectors::default();
        vectors.update(ItemIx(3), &[("text".into(), embedding(1, 6))]);
        let check = |vectors: &Vectors, given: &[(&'static str, usize)]| {
            vectors.check(given.iter().copied())
        };
        assert_eq!(check(&vectors, &[("text", 6), ("image", 2)]), Ok(()));
        assert_eq!(check(&vectors, &[("text", 5)]), Err("wrong-dimension"));
        assert_eq!(
            check(&vectors, &[("new", 5), ("new", 4)]),
            Err("wrong-dimension")
        );
        let more = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| (name, 3));
        assert_eq!(check(&vectors, &more[..7]), Ok(()));
        assert_eq!(check(&vectors, &more), Err("too-many-embeddings"));
        assert_eq!(vectors.dim("image"), None, "a check binds nothing");
        vectors.update(ItemIx(3), &[]);
        assert_eq!(vectors.dim("text"), Some(6), "bound for good");
    }

    #[test]
    fn dimensions_that_no_scan_takes_are_bound_all_the_same() {
        let mut vectors = Vectors::default();
        vectors.update(ItemIx(0), &[("wide".into(), embedding(1, 2000))]);
        assert!(vectors.get("wide").is_none());
        assert_eq!(
            (vectors.dim("wide"), vectors.names().count()),
            (Some(2000), 0)
        );
    }

    proptest! {
        #[test]
        fn holds_what_was_put_last(steps in prop::collection::vec((0u32..200, prop::option::of(any::<u8>())), 1..80), dim in 1usize..20) {
            let mut vectors = Vectors::default();
            vectors.bind("e", dim);
            let mut last = vec![None; 200];
            for (item, seed) in steps {
                let given: Vec<_> = seed.iter().map(|s| (Box::from("e"), embedding(*s, dim))).collect();
                vectors.update(ItemIx(item), &given);
                last[item as usize] = seed;
            }
            let found = vectors.get("e").unwrap();
            for (item, seed) in last.iter().enumerate() {
                prop_assert_eq!(found.has(ItemIx(item as u32)), seed.is_some());
                let mut codes = vec![0i8; dim];
                let scale = if item < found.store.len() { found.store.get(item, &mut codes) } else { 0.0 };
                let expected = seed.map_or((0.0, vec![0; dim]), |s| {
                    let e = embedding(s, dim);
                    (e.scale, e.codes.to_vec())
                });
                let row = found.codes(ItemIx(item as u32));
                prop_assert_eq!(row.is_some(), seed.is_some());
                prop_assert!(row.is_none_or(|row| row == codes));
                prop_assert_eq!((scale, codes), expected);
            }
        }
    }
}
