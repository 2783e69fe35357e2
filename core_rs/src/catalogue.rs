//! The catalogue: what is known of each item beside the events about it.
//!
//! Whoever reads catalogue frames holds the whole of it: sessions need an item's tags, shards need everything. It is
//! folded in log order with the events, so "which tags had this item when that click happened" has one answer.

use crate::embedding::Embedding;
use crate::fold::rules::Flags;
use crate::ids::{ItemIx, Millis, TagIx};
use crate::items::vectors::Vectors;
use crate::names::Names;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// A typed label. Floats are kept as their bits: they are data, no arithmetic is done on them.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Label {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
    Tags(Box<[Box<str>]>),
}

/// Everything that a put or patch said of an item.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct ItemMeta {
    pub categories: Vec<TagIx>,
    pub labels: Vec<(Box<str>, Label)>,
    pub hidden: bool,
    pub timestamp: Option<Millis>,
    pub group: Option<Box<str>>,
    pub comment: Option<Box<str>>,
    pub embeddings: Vec<(Box<str>, Embedding)>,
    /// Time of the put that made the item appear; later puts and patches keep it.
    pub appeared: Millis,
}

impl ItemMeta {
    /// When the item came into the world: what it says itself, else when it appeared.
    pub fn born(&self) -> Millis {
        self.timestamp.unwrap_or(self.appeared)
    }
}

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

/// A decoded change of one item, owned, with tags numbered.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct ItemChange {
    /// Time of the put or patch.
    pub ts: Millis,
    pub categories: Option<Vec<TagIx>>,
    /// `None` as a value removes the label.
    pub labels: Option<Vec<(Box<str>, Option<Label>)>>,
    pub hidden: Option<bool>,
    pub timestamp: Option<Millis>,
    pub group: Option<Box<str>>,
    pub comment: Option<Box<str>>,
    pub embeddings: Option<Vec<(Box<str>, Embedding)>>,
}

/// Metadata of all items.
#[derive(Debug)]
pub struct Catalogue {
    entries: Vec<Entry>,
    tag_labels: Vec<String>,
    auto_insert: bool,
    put: usize,
}

const KIND_ITEM: u8 = 1;

impl Catalogue {
    /// An empty catalogue. `tag_labels` names the labels that are tags; with `auto_insert` an item that only events name
    /// may be recommended.
    pub fn new(tag_labels: &[String], auto_insert: bool) -> Self {
        Self {
            entries: Vec::new(),
            tag_labels: tag_labels.to_vec(),
            auto_insert,
            put: 0,
        }
    }

    /// Makes room for items numbered below `len`.
    pub fn ensure(&mut self, len: usize) {
        if self.entries.len() < len {
            self.entries
                .resize_with(len, || Entry::absent(Presence::Unput));
        }
    }

    /// Number of items that were put and not deleted.
    pub fn put_items(&self) -> usize {
        self.put
    }

    /// Whether the item may be shown.
    pub fn visible(&self, ix: ItemIx) -> bool {
        match self.entries.get(ix.0 as usize) {
            None => false,
            Some(entry) => match entry.presence {
                Presence::Unput => self.auto_insert,
                Presence::Deleted | Presence::Hidden => false,
                Presence::Put => true,
            },
        }
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
        if let Some(categories) = change.categories {
            meta.categories = categories;
        }
        for (key, value) in change.labels.into_iter().flatten() {
            meta.labels.retain(|(k, _)| *k != key);
            if let Some(value) = value {
                meta.labels.push((key, value));
            }
        }
        meta.labels.sort_by(|a, b| a.0.cmp(&b.0));
        meta.hidden = change.hidden.unwrap_or(meta.hidden);
        meta.timestamp = change.timestamp.or(meta.timestamp);
        meta.group = change.group.or(meta.group);
        meta.comment = change.comment.or(meta.comment);
        for (name, embedding) in change.embeddings.into_iter().flatten() {
            meta.embeddings.retain(|(n, _)| *n != name);
            meta.embeddings.push((name, embedding));
        }
        meta.embeddings.sort_by(|a, b| a.0.cmp(&b.0));
        let tags = tags_of(&meta, &self.tag_labels, names);
        self.put += usize::from(!entry.presence.is_put());
        *entry = Entry::put(meta, tags);
    }

    /// Forgets an item's metadata and never shows it again, until it is put anew.
    pub fn delete(&mut self, ix: ItemIx) {
        self.ensure(ix.0 as usize + 1);
        let entry = &mut self.entries[ix.0 as usize];
        self.put -= usize::from(entry.presence.is_put());
        *entry = Entry::absent(Presence::Deleted);
    }

    /// Writes every item that a catalogue event named.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        for (i, entry) in self.entries.iter().enumerate() {
            if entry.presence == Presence::Unput {
                continue;
            }
            w.entity(KIND_ITEM, |w| {
                w.item(ItemIx(i as u32));
                w.byte(u8::from(entry.presence.is_put()));
                if let Some(meta) = &entry.meta {
                    write_meta(meta, w);
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
            if kind != KIND_ITEM {
                return Err(r.broken(format!("unknown entity {kind}")));
            }
            let ix = r.item()?;
            if r.byte()? == 0 {
                self.delete(ix);
                continue;
            }
            let meta = read_meta(r)?;
            let tags = tags_of(&meta, &self.tag_labels, names);
            self.ensure(ix.0 as usize + 1);
            self.entries[ix.0 as usize] = Entry::put(Box::new(meta), tags);
            self.put += 1;
        }
        Ok(())
    }

    /// Bytes held, for the memory report.
    pub fn memory(&self) -> usize {
        let metas: usize = self
            .entries
            .iter()
            .filter_map(|e| e.meta.as_ref())
            .map(|m| meta_bytes(m))
            .sum();
        let tags: usize = self.entries.iter().map(|e| e.tags.len() * 4).sum();
        self.entries.capacity() * size_of::<Entry>() + metas + tags
    }
}

/// Whether a fact may touch counts at all: mere exposure does not.
pub fn counts(flags: Flags) -> bool {
    !flags.has(Flags::IMPRESSION)
}

fn tags_of(meta: &ItemMeta, tag_labels: &[String], names: &mut Names) -> Vec<TagIx> {
    let mut tags = meta.categories.clone();
    for (key, label) in &meta.labels {
        if !tag_labels.iter().any(|name| **name == **key) {
            continue;
        }
        let mut add =
            |value: &str| tags.push(TagIx(names.tags.intern_str(&format!("{key}={value}"))));
        match label {
            Label::Text(value) => add(value),
            Label::Tags(values) => values.iter().for_each(|v| add(v)),
            Label::Bool(_) | Label::Int(_) | Label::Float(_) => {}
        }
    }
    tags.sort_by(|a, b| names.tags.name(a.0).cmp(names.tags.name(b.0)));
    tags.dedup();
    tags
}

fn meta_bytes(meta: &ItemMeta) -> usize {
    let labels: usize = meta
        .labels
        .iter()
        .map(|(k, _)| k.len() + size_of::<Label>() + 16)
        .sum();
    let vectors: usize = meta
        .embeddings
        .iter()
        .map(|(k, e)| k.len() + e.codes.len() + 40)
        .sum();
    size_of::<ItemMeta>() + meta.categories.len() * 4 + labels + vectors
}

fn write_optional_text(value: Option<&str>, w: &mut PartWriter<'_>) {
    w.byte(u8::from(value.is_some()));
    if let Some(value) = value {
        w.text(value);
    }
}

fn read_optional_text(r: &mut PartReader<'_>) -> ReadResult<Option<Box<str>>> {
    Ok(if r.byte()? == 1 {
        Some(r.text()?.into())
    } else {
        None
    })
}

fn write_meta(meta: &ItemMeta, w: &mut PartWriter<'_>) {
    w.uint(meta.categories.len() as u64);
    meta.categories.iter().for_each(|tag| w.tag(*tag));
    w.uint(meta.labels.len() as u64);
    for (key, label) in &meta.labels {
        w.text(key);
        write_label(label, w);
    }
    w.byte(u8::from(meta.hidden));
    w.byte(u8::from(meta.timestamp.is_some()));
    w.int(meta.timestamp.unwrap_or_default());
    w.int(meta.appeared);
    write_optional_text(meta.group.as_deref(), w);
    write_optional_text(meta.comment.as_deref(), w);
    w.uint(meta.embeddings.len() as u64);
    for (name, embedding) in &meta.embeddings {
        w.text(name);
        w.uint(u64::from(embedding.scale.to_bits()));
        w.uint(embedding.codes.len() as u64);
        embedding.codes.iter().for_each(|code| w.byte(*code as u8));
    }
}

fn read_meta(r: &mut PartReader<'_>) -> ReadResult<ItemMeta> {
    let mut meta = ItemMeta::default();
    for _ in 0..r.len(1)? {
        meta.categories.push(r.tag()?);
    }
    for _ in 0..r.len(2)? {
        let key = r.text()?.into();
        meta.labels.push((key, read_label(r)?));
    }
    meta.hidden = r.byte()? == 1;
    let timed = r.byte()? == 1;
    let timestamp = r.int()?;
    meta.timestamp = timed.then_some(timestamp);
    meta.appeared = r.int()?;
    meta.group = read_optional_text(r)?;
    meta.comment = read_optional_text(r)?;
    for _ in 0..r.len(3)? {
        let name = r.text()?.into();
        let scale = f32::from_bits(r.uint32()?);
        let codes = r.raw()?.iter().map(|code| *code as i8).collect();
        meta.embeddings.push((name, Embedding { scale, codes }));
    }
    Ok(meta)
}

/// Writes a label; users' labels have the same form.
pub fn write_label(label: &Label, w: &mut PartWriter<'_>) {
    match label {
        Label::Bool(value) => {
            w.byte(0);
            w.byte(u8::from(*value));
        }
        Label::Int(value) => {
            w.byte(1);
            w.int(*value);
        }
        Label::Float(value) => {
            w.byte(2);
            w.uint(value.to_bits());
        }
        Label::Text(value) => {
            w.byte(3);
            w.text(value);
        }
        Label::Tags(values) => {
            w.byte(4);
            w.uint(values.len() as u64);
            values.iter().for_each(|value| w.text(value));
        }
    }
}

/// Reads a label.
pub fn read_label(r: &mut PartReader<'_>) -> ReadResult<Label> {
    Ok(match r.byte()? {
        0 => Label::Bool(r.byte()? == 1),
        1 => Label::Int(r.int()?),
        2 => Label::Float(f64::from_bits(r.uint()?)),
        3 => Label::Text(r.text()?.into()),
        4 => {
            let count = r.len(1)?;
            let values: ReadResult<Vec<Box<str>>> =
                (0..count).map(|_| Ok(r.text()?.into())).collect();
            Label::Tags(values?.into())
        }
        kind => return Err(r.broken(format!("unknown label kind {kind}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn quantisation_is_symmetric_and_exact_at_the_ends() {
        let bytes: Vec<u8> = [1.0f32, -1.0, 0.5, 0.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let embedding = Embedding::quantize(&bytes);
        assert_eq!(&*embedding.codes, [127, -127, 64, 0]);
    }
}
