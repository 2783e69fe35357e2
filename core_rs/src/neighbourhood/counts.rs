//! Co-occurrence counts by themselves: one relation over whole units of items that the caller numbered, without decay.
//!
//! Units are counted as the fold counts them (`neighbourhood::user`), with every item on both sides: distinct items in
//! the order of their first touch, each paired in both directions with the `window` distinct items before it, and a unit
//! of `unit_cap` distinct items followed by another.

use crate::bloom::mix;
use crate::cooccurrence::draws::Draw;
use crate::cooccurrence::rows::RowStore;
use crate::csr::{Distinct, ItemLists};
use crate::error::CoreError;
use crate::ids::ItemIx;
use crate::names::ItemHashes;
use crate::neighbourhood::marginals::{MarginalChange, Marginals, Partner};

/// Bytes an item in the tables that reach up to the largest one.
const ITEM_BYTES: usize = 56;

/// Draws counted at a time.
const DRAWS: usize = 1 << 16;

/// Hashes of items that have no name: their numbers, mixed.
struct Numbers;

impl ItemHashes for Numbers {
    fn item_hash(&self, item: ItemIx) -> u64 {
        mix(u64::from(item.0))
    }
}

/// Rows and marginals of one relation.
#[derive(Debug)]
pub struct CooccurrenceCounts {
    /// The rows.
    pub rows: RowStore,
    /// The marginals. A draw and a unit count 1.
    pub marginals: Marginals,
    /// Units that have the item, again: questions read one of them for every neighbour, and these lie close together.
    units_to: Vec<f64>,
    window: usize,
    unit_cap: usize,
    /// One more than the largest item seen.
    width: usize,
    units: u64,
    /// Scratch memory.
    distinct: Distinct,
    unit: Vec<u32>,
    partners: Vec<Partner>,
    draws: Vec<Draw>,
}

impl CooccurrenceCounts {
    /// Rows of at most `capacity` neighbours.
    pub fn new(capacity: usize, window: usize, unit_cap: usize) -> Self {
        Self {
            rows: RowStore::new(capacity),
            marginals: Marginals::default(),
            units_to: Vec::new(),
            window,
            unit_cap,
            width: 0,
            units: 0,
            distinct: Distinct::default(),
            unit: Vec::new(),
            partners: Vec::new(),
            draws: Vec::new(),
        }
    }

    /// One more than the largest item seen.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Units that have each item.
    pub fn units_to(&self) -> &[f64] {
        &self.units_to
    }

    /// Units counted.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Bytes held by rows, marginals and what finds repeats.
    pub fn memory(&self) -> usize {
        let (_, _, rows) = self.rows.size();
        rows + self.marginals.memory() + self.units_to.capacity() * 8 + self.distinct.memory()
    }

    /// Counts units. O(items x window). Errors: no memory for all items up to the largest, and nothing is counted; the
    /// rows have no memory left to name (16 GiB), and units before that are counted.
    pub fn add(&mut self, units: ItemLists<'_>) -> Result<(), CoreError> {
        units.ask_for_room(self.width, ITEM_BYTES)?;
        self.width = self.width.max(units.width());
        self.rows.ensure(self.width);
        self.marginals.ensure(self.width);
        self.units_to.resize(self.width, 0.0);
        for unit in units.iter() {
            self.distinct.reset(self.width);
            self.unit.clear();
            for item in unit {
                if self.distinct.insert(*item) {
                    self.enter(*item);
                }
                if self.draws.len() >= DRAWS {
                    self.flush()?;
                }
            }
            self.units += 1;
        }
        self.flush()
    }

    /// Brings an item that is new to the unit in.
    fn enter(&mut self, item: u32) {
        if self.unit.len() >= self.unit_cap {
            self.unit.clear();
            self.distinct.reset(self.width);
            self.distinct.insert(item);
        }
        let target = ItemIx(item);
        let latest = self.unit.len().saturating_sub(self.window);
        self.partners.clear();
        for partner in self.unit[latest..].iter().rev() {
            let seed = ItemIx(*partner);
            self.partners.push(Partner {
                item: seed,
                into: 1,
                out: 1,
            });
            let draw = |seed, target| Draw {
                seed,
                target,
                epoch: 0,
                weight: 1,
            };
            self.draws.push(draw(seed, target));
            self.draws.push(draw(target, seed));
        }
        let change = MarginalChange {
            item: target,
            relation: 0,
            partners: self.partners.len() as u16,
            epoch: 0,
            units_from: 1,
            units_to: 1,
        };
        self.marginals.add(&change, &self.partners, &[]);
        self.units_to[item as usize] += 1.0;
        self.unit.push(item);
    }

    fn flush(&mut self) -> Result<(), CoreError> {
        if !self.rows.has_room(self.draws.len()) {
            let rule = "the rows are full: 16 GiB; make fewer or smaller ones with capacity".into();
            return Err(CoreError::Argument {
                field: "items",
                rule,
            });
        }
        let draws = std::iter::once(self.draws.as_slice());
        self.rows.add_all(draws, &Numbers);
        self.draws.clear();
        Ok(())
    }
}
