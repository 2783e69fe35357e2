//! Decayed affinities of a user to tags, bounded by keeping the strongest.

use crate::decay::Decay;
use crate::ids::{Millis, TagIx};
use crate::names::Names;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Tags remembered per user.
pub const MAX_TAGS: usize = 32;

/// Weights of the user's tags, all in units of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinities {
    epoch: u32,
    tags: Vec<(TagIx, u32)>,
}

impl Affinities {
    /// Adds `weight` (fixed point, 256 = 1.0) to each tag of an item touched at `ts`, when the user's running time is
    /// `clock`. A new tag beyond the bound replaces the weakest only if it is stronger.
    pub fn add(
        &mut self,
        tags: &[TagIx],
        weight: u32,
        ts: Millis,
        clock: Millis,
        decay: &Decay,
        names: &Names,
    ) {
        if tags.is_empty() || weight == 0 {
            return;
        }
        let epoch = decay.epoch(clock).max(self.epoch);
        if epoch > self.epoch {
            self.tags.retain_mut(|(_, value)| {
                *value = Decay::carry(u64::from(*value), self.epoch, epoch) as u32;
                *value > 0
            });
            self.epoch = epoch;
        }
        let step = ((u64::from(weight) * u64::from(decay.weight(ts, epoch))) >> 8)
            .min(u64::from(u32::MAX)) as u32;
        if step == 0 {
            return;
        }
        for tag in tags {
            if let Some((_, value)) = self.tags.iter_mut().find(|(t, _)| t == tag) {
                *value = value.saturating_add(step);
            } else if self.tags.len() < MAX_TAGS {
                self.tags.push((*tag, step));
            } else if let Some(weakest) = self
                .tags
                .iter_mut()
                .min_by_key(|(t, v)| (*v, names.tags.hash(t.0)))
                && weakest.1 < step
            {
                *weakest = (*tag, step);
            }
        }
    }

    /// Takes in another user's weights: sums, of which the strongest stay; ties by name's hash.
    pub fn join(&mut self, other: &Self, names: &Names) {
        let epoch = self.epoch.max(other.epoch);
        let at = |from: u32, value: u32| Decay::carry(u64::from(value), from, epoch) as u32;
        self.tags.retain_mut(|(_, value)| {
            *value = at(self.epoch, *value);
            *value > 0
        });
        self.epoch = epoch;
        for (tag, value) in &other.tags {
            let value = at(other.epoch, *value);
            match self.tags.iter_mut().find(|(own, _)| own == tag) {
                Some((_, own)) => *own = own.saturating_add(value),
                None if value > 0 => self.tags.push((*tag, value)),
                None => {}
            }
        }
        while self.tags.len() > MAX_TAGS {
            let weakest = (0..self.tags.len()).min_by_key(|at| {
                let (tag, value) = self.tags[*at];
                (value, names.tags.hash(tag.0))
            });
            self.tags.remove(weakest.unwrap_or_default());
        }
    }

    /// Tags with their weights at `now`, strongest first, ties by name.
    pub fn strongest(&self, decay: &Decay, now: Millis, names: &Names) -> Vec<(TagIx, f64)> {
        let mut tags: Vec<(TagIx, u32)> = self.tags.clone();
        tags.sort_by(|a, b| {
            b.1.cmp(&a.1)
                .then_with(|| names.tag(a.0).cmp(names.tag(b.0)))
        });
        tags.into_iter()
            .map(|(tag, value)| (tag, decay.read(u64::from(value), self.epoch, now)))
            .collect()
    }

    /// Bytes held beyond the struct itself.
    pub fn memory(&self) -> usize {
        self.tags.capacity() * 8
    }

    /// Writes all tags.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        w.uint(u64::from(self.epoch));
        w.uint(self.tags.len() as u64);
        for (tag, value) in &self.tags {
            w.tag(*tag);
            w.uint(u64::from(*value));
        }
    }

    /// Reads all tags.
    pub fn read(r: &mut PartReader<'_>) -> ReadResult<Self> {
        let mut affinities = Self {
            epoch: r.uint32()?,
            tags: Vec::new(),
        };
        for _ in 0..r.len(2)? {
            affinities.tags.push((r.tag()?, r.uint32()?));
        }
        Ok(affinities)
    }
}
