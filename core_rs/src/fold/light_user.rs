//! What an item host keeps of a user beside admission: that there is one, and the labels that decide the segment.

use crate::catalogue::Label;
use crate::catalogue::label::{read_label, write_label};
use crate::sessions::segments::Segments;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// A user without what they did.
#[derive(Debug, Default)]
pub struct LightUser {
    /// By name.
    pub labels: Vec<(Box<str>, Label)>,
    /// Follows from the labels.
    pub segment: Option<u8>,
}

impl LightUser {
    /// Bytes held, roughly.
    pub fn memory(&self) -> usize {
        self.labels.capacity() * size_of::<(Box<str>, Label)>()
    }

    /// Writes the user as part of their entity.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        w.uint(self.labels.len() as u64);
        for (key, label) in &self.labels {
            w.text(key);
            write_label(label, w);
        }
    }

    /// Reads what [`LightUser::write`] wrote.
    pub fn read(r: &mut PartReader<'_>, segments: &Segments) -> ReadResult<Self> {
        let mut labels = Vec::new();
        for _ in 0..r.len(2)? {
            let key = r.text()?.into();
            labels.push((key, read_label(r)?));
        }
        let segment = segments.of(&labels);
        Ok(Self { labels, segment })
    }
}
