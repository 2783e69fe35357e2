//! Columns: what all items have in one field, laid out to be scanned. Derived from the metadata, so neither in digests
//! nor in snapshots.
//!
//! * [`scan`]: one pass over a column writes a bitmap.
//! * [`scalars`] (booleans, numbers), [`text`], [`list`]: the values of one type.
//! * Here: the column of a field with all its types, and the shelf of columns that were asked for.
//!
//! A column is built when a query first asks for its field, under the read lock that the query holds on the state, and
//! kept up to date by the fold from then on. At most [`MAX_COLUMNS`] of each use are kept; the one that was not asked for
//! longest makes room. A column whose dictionary or pool is mostly of values long gone is dropped, and built again when
//! next asked for: that bounds it by what the items hold now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::bitmap::Bitmap;
use crate::catalogue::field::{Field, FieldValue};
use crate::catalogue::number::Number;
use crate::simd::Simd;

pub mod list;
pub mod scalars;
pub mod scan;
pub mod text;

use list::ListColumn;
use scalars::{BoolColumn, NumberColumn};
use text::TextColumn;

/// Columns kept for filters, and as many for caps.
pub const MAX_COLUMNS: usize = 64;

/// Dead entries that a column may always hold.
const SLACK: usize = 4096;

/// What all items have in a field.
pub trait Column: Clone + Default {
    /// Replaces what an item has.
    fn set(&mut self, i: usize, value: FieldValue<'_>);
    /// Whether most of it belongs to values long gone.
    fn overgrown(&self) -> bool;
    /// Bytes held.
    fn memory(&self) -> usize;
}

/// A field as filters see it. An item has a value of at most one type.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct FilterColumn {
    pub bools: BoolColumn,
    pub numbers: NumberColumn,
    pub texts: TextColumn,
    pub lists: ListColumn,
}

impl FilterColumn {
    /// Items that have any value.
    pub fn present(&self, simd: Simd, out: &mut Bitmap) {
        out.fill_words(|_| 0);
        self.bools.add_present(out);
        self.numbers.add_present(simd, out);
        self.texts.add_present(simd, out);
        self.lists.add_present(out);
    }
}

impl Column for FilterColumn {
    fn set(&mut self, i: usize, value: FieldValue<'_>) {
        let flag = match value {
            FieldValue::Bool(flag) => Some(flag),
            _ => None,
        };
        let number = match value {
            FieldValue::Number(number) => Some(number),
            _ => None,
        };
        let text = match value {
            FieldValue::Text(text) => Some(text),
            _ => None,
        };
        self.bools.set(i, flag);
        self.numbers.set(i, number);
        self.texts.set(i, text);
        self.lists.set(i, value.entries());
    }

    fn overgrown(&self) -> bool {
        self.texts.overgrown() || self.lists.overgrown()
    }

    fn memory(&self) -> usize {
        self.bools.memory() + self.numbers.memory() + self.texts.memory() + self.lists.memory()
    }
}

/// A field as caps see it: codes of an item's values. Equal text is the same value, in a list or alone.
#[derive(Clone, Debug, Default)]
pub struct CodeColumn(ListColumn);

impl CodeColumn {
    /// Codes of an item.
    #[inline]
    pub fn codes(&self, i: usize) -> &[u32] {
        self.0.codes(i)
    }

    /// See [`ListColumn::prefetch`].
    #[inline]
    pub fn prefetch(&self, i: usize, found: bool) {
        self.0.prefetch(i, found);
    }

    /// The value behind a code, as text.
    pub fn text(&self, code: u32) -> &str {
        &self.0.text(code)[1..]
    }
}

impl Column for CodeColumn {
    fn set(&mut self, i: usize, value: FieldValue<'_>) {
        // The first byte keeps values of different types apart.
        let own = match value {
            FieldValue::Bool(flag) => Some(format!("b{flag}")),
            FieldValue::Number(Number::Int(int)) => Some(format!("i{int}")),
            FieldValue::Text(text) => Some(format!("t{text}")),
            _ => None,
        };
        let entries: Vec<String> = value.entries().map(|text| format!("t{text}")).collect();
        self.0
            .set(i, own.iter().chain(&entries).map(String::as_str));
    }

    fn overgrown(&self) -> bool {
        self.0.overgrown()
    }

    fn memory(&self) -> usize {
        self.0.memory()
    }
}

/// When it was last asked for, and the column.
type Kept<C> = (AtomicU64, Arc<C>);

/// Columns of one use that were asked for, by field.
#[derive(Debug)]
pub struct Shelf<C> {
    kept: RwLock<BTreeMap<Field, Kept<C>>>,
    clock: AtomicU64,
}

impl<C> Default for Shelf<C> {
    fn default() -> Self {
        Self {
            kept: RwLock::default(),
            clock: AtomicU64::default(),
        }
    }
}

impl<C: Column> Shelf<C> {
    /// The column of a field, built if it is not kept. Building does not hold up other fields.
    pub fn get(&self, field: &Field, build: impl FnOnce(&mut C)) -> Arc<C> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        if let Some((used, column)) = self.kept.read().get(field) {
            used.store(now, Ordering::Relaxed);
            return column.clone();
        }
        let mut column = C::default();
        build(&mut column);
        let mut kept = self.kept.write();
        // Another thread may have built the same meanwhile; then there is one to throw away.
        if kept.len() >= MAX_COLUMNS && !kept.contains_key(field) {
            let oldest = kept
                .iter()
                .min_by_key(|(_, (used, _))| used.load(Ordering::Relaxed))
                .map(|(field, _)| field.clone());
            oldest.and_then(|field| kept.remove(&field));
        }
        let entry = kept
            .entry(field.clone())
            .or_insert_with(|| (AtomicU64::new(now), Arc::new(column)));
        entry.1.clone()
    }

    /// Brings an item up to date in every kept column.
    pub fn update<'a>(&mut self, i: usize, value: impl Fn(&Field) -> FieldValue<'a>) {
        self.kept.get_mut().retain(|field, (_, column)| {
            // Copies only if a query still holds on to the column from before.
            let column = Arc::make_mut(column);
            column.set(i, value(field));
            !column.overgrown()
        });
    }

    /// Bytes held, for the memory report.
    pub fn memory(&self) -> usize {
        self.kept
            .read()
            .values()
            .map(|(_, column)| column.memory())
            .sum()
    }

    /// Fields whose columns are kept.
    #[cfg(test)]
    pub fn fields(&self) -> Vec<Field> {
        self.kept.read().keys().cloned().collect()
    }
}
