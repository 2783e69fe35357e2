//! The catalogue: what is known of each item beside the events about it.
//!
//! Whoever reads catalogue frames holds the whole of it: sessions need an item's tags, shards need everything. It is
//! folded in log order with the events, so "which tags had this item when that click happened" has one answer.
//!
//! * [`label`], [`meta`]: what is known of one item, and its bytes in a snapshot.
//! * [`field`]: fields as filters and caps name them; [`number`]: numbers compared exactly.
//! * [`columns`]: all items' values of one field, derived, built when first asked for; [`values`]: those of some items.
//!
//! Beside the metadata everything here is derived: visibility as bits, columns and the version are in no
//! digest and in no snapshot.

use std::sync::Arc;

use crate::bitmap::Bitmap;
use crate::fold::rules::Flags;
use crate::ids::{ItemIx, Millis, TagIx};
use crate::items::vectors::Vectors;
use crate::names::Names;
use crate::search::prefetch;
use crate::simd::Simd;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

pub mod columns;
pub mod field;
pub mod label;
pub mod meta;
pub mod number;
pub mod values;

pub use label::{Label, read_label, write_label};
pub use meta::{ItemChange, ItemMeta};
pub use values::Values;

use columns::{CodeColumn, Column, FilterColumn, Shelf};
use field::{Field, FieldError, FieldValue, Kinds, KnownLabels};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// Only ever named by events.
    Unput,
    Put,
    Hidden,
    Deleted,
}

impl Presence {
    fn is_put(self) -> bool {
        matches!(self, Self::Put | Self::Hidden)
    }
}

/// What every event on an item asks for stands here, the rest behind one more step.
#[derive(Debug)]
struct Entry {
    presence: Presence,
    /// Categories and tag labels, sorted by name and free of repeats: what affinities and content similarity see.
    tags: Box<[TagIx]>,
    meta: Option<Box<ItemMeta>>,
}

impl Entry {
    fn absent(presence: Presence) -> Self {
        Self {
            presence,
            tags: Box::default(),
            meta: None,
        }
    }

    fn put(meta: Box<ItemMeta>, tags: Vec<TagIx>) -> Self {
        Self {
            presence: if meta.hidden {
                Presence::Hidden
            } else {
                Presence::Put
            },
            tags: tags.into(),
            meta: Some(meta),
        }
    }
}

/// Metadata of all items.
#[derive(Debug)]
pub struct Catalogue {
    entries: Vec<Entry>,
    tag_labels: Vec<String>,
    auto_insert: bool,
    put: usize,
    version: u64,
    /// Whether an item that is there, or was since this process began, has a group.
    grouped: bool,
    visible: Bitmap,
    known: KnownLabels,
    filters: Shelf<FilterColumn>,
    codes: Shelf<CodeColumn>,
    simd: Simd,
}

const KIND_ITEM: u8 = 1;
const KIND_LABEL: u8 = 3;

impl Catalogue {
    /// An empty catalogue. `tag_labels` names the labels that are tags; with `auto_insert` an item that only events name
    /// may be recommended.
    pub fn new(tag_labels: &[String], auto_insert: bool) -> Self {
        Self {
            entries: Vec::new(),
            tag_labels: tag_labels.to_vec(),
            auto_insert,
            put: 0,
            version: 0,
            grouped: false,
            visible: Bitmap::default(),
            known: KnownLabels::default(),
            filters: Shelf::default(),
            codes: Shelf::default(),
            simd: Simd::chosen(),
        }
    }

    /// Makes room for items numbered below `len`.
    pub fn ensure(&mut self, len: usize) {
        if self.entries.len() < len {
            self.entries
                .resize_with(len, || Entry::absent(Presence::Unput));
            self.visible.resize(len, self.auto_insert);
            self.version += 1;
        }
    }

    /// Number of items that there is room for: put, deleted, or only named by events.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no item was ever named.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of items that were put and not deleted.
    pub fn put_items(&self) -> usize {
        self.put
    }

    /// Rises with every change of an item and with every new item: what was derived at one version holds until the next.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the item may be shown.
    pub fn visible(&self, ix: ItemIx) -> bool {
        self.visible.get(ix.0 as usize)
    }

    /// Whether the item was deleted and not put since.
    pub fn is_deleted(&self, ix: ItemIx) -> bool {
        let entry = self.entries.get(ix.0 as usize);
        entry.is_some_and(|entry| entry.presence == Presence::Deleted)
    }

    /// All items that may be shown, [`Catalogue::len`] bits.
    pub fn visible_bits(&self) -> &Bitmap {
        &self.visible
    }

    /// Metadata, if the item was put and not deleted.
    pub fn meta(&self, ix: ItemIx) -> Option<&ItemMeta> {
        self.entries.get(ix.0 as usize)?.meta.as_deref()
    }

    /// When a put item that may be shown came into the world.
    pub fn born(&self, ix: ItemIx) -> Option<Millis> {
        let entry = self.entries.get(ix.0 as usize)?;
        let shown = entry.presence == Presence::Put;
        entry.meta.as_ref().filter(|_| shown).map(|m| m.born())
    }

    /// Tags of an item; empty for one without metadata.
    pub fn tags(&self, ix: ItemIx) -> &[TagIx] {
        self.entries
            .get(ix.0 as usize)
            .map_or(&[], |entry| &entry.tags)
    }

    /// Asks for the tags of an item that are read soon: first for where they lie, then, once that is `found`, for them.
    pub fn prefetch_tags(&self, ix: ItemIx, found: bool) {
        let at = ix.0 as usize;
        if !found {
            return prefetch(&self.entries, at);
        }
        if let Some(entry) = self.entries.get(at) {
            prefetch(&entry.tags, 0);
        }
    }

    /// Whether any item ever was a variant of others.
    pub fn has_groups(&self) -> bool {
        self.grouped
    }

    /// Names and types of the fields that filters may use.
    pub fn known(&self) -> &KnownLabels {
        &self.known
    }

    /// The CPU path that columns are scanned on.
    pub fn simd(&self) -> Simd {
        self.simd
    }

    /// What an item has in a field.
    pub fn value<'a>(&'a self, field: &Field, ix: ItemIx, names: &'a Names) -> FieldValue<'a> {
        match field {
            Field::Item => FieldValue::Text(names.item(ix)),
            _ => self
                .meta(ix)
                .map_or(FieldValue::Missing, |meta| field.of(meta, names)),
        }
    }

    /// The column of a field other than [`Field::Item`], which has none. O(items) the first time, then O(log columns).
    pub fn column(&self, field: &Field, names: &Names) -> Arc<FilterColumn> {
        self.filters
            .get(field, |column| self.fill_column(field, names, column))
    }

    /// Codes of the values in a field, for caps: texts, tags, categories, groups, booleans and whole numbers, equal text
    /// under one code. Codes hold as long as the returned handle, which no one should keep beyond the query: a fold that
    /// meets it copies the column. Errors: an unknown field; one with fractions or with a
    /// value of its own for each item. O(items) the first time.
    pub fn values(&self, field: &str, names: &Names) -> Result<Values, FieldError> {
        let field = Field::named(field);
        let refuse = |why| FieldError::NoGroups {
            name: field.name().to_string(),
            why,
        };
        let kinds = self.known.kinds(&field);
        let kinds = kinds.ok_or_else(|| self.known.unknown(field.name()))?;
        if field == Field::Item {
            return Err(refuse("every item has an id of its own"));
        }
        if kinds.meets(Kinds::FLOAT) {
            return Err(refuse("some items have a floating-point number there"));
        }
        let column = self
            .codes
            .get(&field, |column| self.fill_column(&field, names, column));
        Ok(Values::new(column))
    }

    /// Fields whose columns are kept.
    #[cfg(test)]
    pub(crate) fn kept_columns(&self) -> Vec<Field> {
        self.filters.fields()
    }

    /// Applies a put (`replace`) or a patch. A patch of an item that was never put puts it.
    pub fn change(&mut self, ix: ItemIx, change: ItemChange, replace: bool, names: &mut Names) {
        self.ensure(ix.0 as usize + 1);
        let entry = &mut self.entries[ix.0 as usize];
        let mut meta = match entry.meta.take() {
            Some(meta) if !replace => meta,
            before => Box::new(ItemMeta {
                appeared: before.map_or(change.ts, |meta| meta.appeared),
                ..ItemMeta::default()
            }),
        };
        meta.apply(change);
        let tags = meta.tags(&self.tag_labels, names);
        self.replace(ix, Entry::put(meta, tags));
        self.learn(ix, names);
    }

    /// Forgets an item's metadata and never shows it again, until it is put anew.
    pub fn delete(&mut self, ix: ItemIx) {
        self.ensure(ix.0 as usize + 1);
        self.replace(ix, Entry::absent(Presence::Deleted));
        self.filters.update(ix.0 as usize, |_| FieldValue::Missing);
        self.codes.update(ix.0 as usize, |_| FieldValue::Missing);
    }

    /// Puts an entry in the place of another.
    fn replace(&mut self, ix: ItemIx, new: Entry) {
        let i = ix.0 as usize;
        self.put -= usize::from(self.entries[i].presence.is_put());
        self.put += usize::from(new.presence.is_put());
        self.visible.put(i, new.presence == Presence::Put);
        self.version += 1;
        self.entries[i] = new;
    }

    /// Brings known labels and columns in step with an item's metadata.
    fn learn(&mut self, ix: ItemIx, names: &Names) {
        let i = ix.0 as usize;
        if let Some(meta) = self.entries[i].meta.as_deref() {
            self.known.learn(meta);
            self.grouped |= meta.group.is_some();
            self.filters.update(i, |field| field.of(meta, names));
            self.codes.update(i, |field| field.of(meta, names));
        }
    }

    fn fill_column(&self, field: &Field, names: &Names, column: &mut impl Column) {
        for (i, entry) in self.entries.iter().enumerate() {
            if let Some(meta) = &entry.meta {
                column.set(i, field.of(meta, names));
            }
        }
    }

    /// Writes every item that a catalogue event named, and every label that any item ever had.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        self.known.write(KIND_LABEL, w);
        for (i, entry) in self.entries.iter().enumerate() {
            if entry.presence == Presence::Unput {
                continue;
            }
            w.entity(KIND_ITEM, |w| {
                w.item(ItemIx(i as u32));
                w.byte(u8::from(entry.presence.is_put()));
                if let Some(meta) = &entry.meta {
                    meta.write(w);
                }
            });
        }
    }

    /// Reads what [`Catalogue::write`] and [`Vectors::write`] wrote into this empty catalogue.
    pub fn read(
        &mut self,
        r: &mut PartReader<'_>,
        names: &mut Names,
        vectors: &mut Vectors,
    ) -> ReadResult<()> {
        while let Some(kind) = r.next_entity()? {
            if vectors.read(kind, r)? {
                continue;
            }
            match kind {
                KIND_LABEL => {
                    self.known.read(r)?;
                    continue;
                }
                KIND_ITEM => {}
                _ => return Err(r.broken(format!("unknown entity {kind}"))),
            }
            let ix = r.item()?;
            if r.byte()? == 0 {
                self.delete(ix);
                continue;
            }
            let meta = ItemMeta::read(r)?;
            let tags = meta.tags(&self.tag_labels, names);
            self.ensure(ix.0 as usize + 1);
            self.replace(ix, Entry::put(Box::new(meta), tags));
            self.learn(ix, names);
        }
        Ok(())
    }

    /// Bytes held, for the memory report.
    pub fn memory(&self) -> usize {
        let entries: usize = self
            .entries
            .iter()
            .map(|e| e.tags.len() * 4 + e.meta.as_ref().map_or(0, |meta| meta.memory()))
            .sum();
        let derived = self.visible.memory()
            + self.known.memory()
            + self.filters.memory()
            + self.codes.memory();
        self.entries.capacity() * size_of::<Entry>() + entries + derived
    }
}

/// Whether a fact may touch counts at all: mere exposure does not.
pub fn counts(flags: Flags) -> bool {
    !flags.has(Flags::IMPRESSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedding::Embedding;

    #[test]
    fn an_item_is_born_when_it_appears_or_says_so() {
        let mut names = Names::new(1);
        let mut catalogue = Catalogue::new(&[], true);
        let item = ItemIx(names.items.intern_str("sku"));
        let change = |ts, timestamp, hidden| ItemChange {
            ts,
            timestamp,
            hidden,
            ..Default::default()
        };
        catalogue.ensure(1);
        assert_eq!(catalogue.born(item), None, "only named by events");
        catalogue.change(item, change(7, None, None), false, &mut names);
        assert_eq!(catalogue.born(item), Some(7));
        for replace in [false, true] {
            catalogue.change(item, change(9, None, None), replace, &mut names);
            assert_eq!(catalogue.born(item), Some(7));
        }
        catalogue.change(item, change(10, Some(3), None), false, &mut names);
        assert_eq!(catalogue.born(item), Some(3));
        catalogue.change(item, change(11, None, None), true, &mut names);
        assert_eq!(catalogue.born(item), Some(7), "it says nothing any more");
        catalogue.change(item, change(12, None, Some(true)), false, &mut names);
        assert_eq!(catalogue.born(item), None, "hidden");
        catalogue.delete(item);
        catalogue.change(item, change(20, None, None), true, &mut names);
        assert_eq!(catalogue.born(item), Some(20), "deleted and put: born anew");
    }

    #[test]
    fn put_patch_hide_delete() {
        let mut names = Names::new(1);
        let mut catalogue = Catalogue::new(&["brand".to_string()], true);
        let item = ItemIx(names.items.intern_str("sku"));
        let shoes = TagIx(names.tags.intern_str("shoes"));
        let labels = vec![
            ("brand".into(), Some(Label::Text("acme".into()))),
            ("title".into(), Some(Label::Text("A shoe".into()))),
        ];
        let put = ItemChange {
            categories: Some(vec![shoes]),
            labels: Some(labels),
            ..Default::default()
        };
        catalogue.change(item, put, true, &mut names);
        let tags: Vec<&str> = catalogue.tags(item).iter().map(|t| names.tag(*t)).collect();
        assert_eq!(tags, ["brand=acme", "shoes"]);
        let patch = ItemChange {
            labels: Some(vec![("brand".into(), None)]),
            ..Default::default()
        };
        catalogue.change(item, patch, false, &mut names);
        assert_eq!(catalogue.tags(item), [shoes]);
        assert!(catalogue.visible(item));
        catalogue.change(
            item,
            ItemChange {
                hidden: Some(true),
                ..Default::default()
            },
            false,
            &mut names,
        );
        assert!(!catalogue.visible(item));
        catalogue.delete(item);
        assert!(!catalogue.visible(item) && catalogue.meta(item).is_none());
        catalogue.change(item, ItemChange::default(), true, &mut names);
        assert!(catalogue.visible(item));
    }

    #[test]
    fn quantisation_is_symmetric_and_exact_at_the_ends() {
        let bytes: Vec<u8> = [1.0f32, -1.0, 0.5, 0.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let embedding = Embedding::quantize(&bytes);
        assert_eq!(&*embedding.codes, [127, -127, 64, 0]);
    }
}
