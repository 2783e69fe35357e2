//! What is known of one item, how a put or a patch changes it, and its bytes in a snapshot.

use crate::catalogue::label::{Label, read_label, write_label};
use crate::embedding::Embedding;
use crate::ids::{Millis, TagIx};
use crate::names::Names;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Everything that a put or patch said of an item.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct ItemMeta {
    pub categories: Vec<TagIx>,
    /// Sorted by name.
    pub labels: Vec<(Box<str>, Label)>,
    pub hidden: bool,
    pub timestamp: Option<Millis>,
    pub group: Option<Box<str>>,
    pub comment: Option<Box<str>>,
    pub embeddings: Vec<(Box<str>, Embedding)>,
    /// Time of the put that made the item appear; later puts and patches keep it.
    pub appeared: Millis,
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

impl ItemMeta {
    /// When the item came into the world: what it says itself, else when it appeared.
    pub fn born(&self) -> Millis {
        self.timestamp.unwrap_or(self.appeared)
    }

    /// The label of that name. O(log labels).
    pub fn label(&self, name: &str) -> Option<&Label> {
        let place = self
            .labels
            .binary_search_by(|(key, _)| (**key).cmp(name))
            .ok()?;
        Some(&self.labels[place].1)
    }

    /// Takes over what the change says.
    pub(super) fn apply(&mut self, change: ItemChange) {
        if let Some(categories) = change.categories {
            self.categories = categories;
        }
        for (key, value) in change.labels.into_iter().flatten() {
            self.labels.retain(|(k, _)| *k != key);
            if let Some(value) = value {
                self.labels.push((key, value));
            }
        }
        self.labels.sort_by(|a, b| a.0.cmp(&b.0));
        self.hidden = change.hidden.unwrap_or(self.hidden);
        self.timestamp = change.timestamp.or(self.timestamp);
        self.group = change.group.or(self.group.take());
        self.comment = change.comment.or(self.comment.take());
        for (name, embedding) in change.embeddings.into_iter().flatten() {
            self.embeddings.retain(|(n, _)| *n != name);
            self.embeddings.push((name, embedding));
        }
        self.embeddings.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// Categories and tag labels, sorted by name and free of repeats.
    pub(super) fn tags(&self, tag_labels: &[String], names: &mut Names) -> Vec<TagIx> {
        let mut tags = self.categories.clone();
        for (key, label) in &self.labels {
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

    /// Bytes held, for the memory report.
    pub(super) fn memory(&self) -> usize {
        let labels: usize = self
            .labels
            .iter()
            .map(|(k, _)| k.len() + size_of::<Label>() + 16)
            .sum();
        let vectors: usize = self
            .embeddings
            .iter()
            .map(|(k, e)| k.len() + e.codes.len() + 40)
            .sum();
        size_of::<Self>() + self.categories.len() * 4 + labels + vectors
    }

    /// Writes everything.
    pub(super) fn write(&self, w: &mut PartWriter<'_>) {
        w.uint(self.categories.len() as u64);
        self.categories.iter().for_each(|tag| w.tag(*tag));
        w.uint(self.labels.len() as u64);
        for (key, label) in &self.labels {
            w.text(key);
            write_label(label, w);
        }
        w.byte(u8::from(self.hidden));
        w.byte(u8::from(self.timestamp.is_some()));
        w.int(self.timestamp.unwrap_or_default());
        w.int(self.appeared);
        write_optional_text(self.group.as_deref(), w);
        write_optional_text(self.comment.as_deref(), w);
        w.uint(self.embeddings.len() as u64);
        for (name, embedding) in &self.embeddings {
            w.text(name);
            w.uint(u64::from(embedding.scale.to_bits()));
            w.uint(embedding.codes.len() as u64);
            embedding.codes.iter().for_each(|code| w.byte(*code as u8));
        }
    }

    /// Reads what [`ItemMeta::write`] wrote.
    pub(super) fn read(r: &mut PartReader<'_>) -> ReadResult<Self> {
        let mut meta = Self::default();
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
