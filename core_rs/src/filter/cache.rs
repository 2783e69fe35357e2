//! Bitmaps of filters that were asked before.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::check::check;
use super::value::Params;
use super::{Filter, FilterError, Unheard};
use crate::bitmap::Bitmap;
use crate::catalogue::Catalogue;
use crate::names::Names;

/// Filters that are kept when nothing else is said.
pub const DEFAULT_ENTRIES: usize = 256;

/// Evaluated filters by text and parameters, each at the version of the catalogue that it was evaluated at. Kept beside
/// one state, never shared by two: versions of different catalogues say nothing about each other.
#[derive(Debug)]
pub struct FilterCache {
    entries: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    clock: u64,
    by_key: HashMap<Box<[u8]>, Entry>,
}

#[derive(Debug)]
struct Entry {
    used: u64,
    version: u64,
    filter: Arc<Filter>,
    passing: Passing,
}

/// The items that pass a filter.
#[derive(Clone, Debug)]
pub struct Passing {
    /// One bit for each item.
    pub items: Arc<Bitmap>,
    /// Fields of the filter that no item ever had.
    pub unheard: Arc<[Box<str>]>,
}

impl Default for FilterCache {
    fn default() -> Self {
        Self::new(DEFAULT_ENTRIES)
    }
}

impl FilterCache {
    /// A cache of at most `entries` filters, each with a bit for every item.
    pub fn new(entries: usize) -> Self {
        Self {
            entries: entries.max(1),
            kept: Mutex::default(),
        }
    }

    /// The items that pass a filter; `unheard`: what becomes of a field that no item ever had. O(text) if it was asked at
    /// this version of the catalogue; otherwise it is evaluated, and the one that was not asked for longest makes room.
    /// Errors: those of [`Filter::parse`] and [`Filter::check`]; nothing is kept of a filter with an error.
    pub fn evaluate(
        &self,
        text: &str,
        params: &Params,
        catalogue: &Catalogue,
        names: &Names,
        unheard: Unheard,
    ) -> Result<Passing, FilterError> {
        let key = key(text, params, unheard);
        let version = catalogue.version();
        let known = match self.find(&key, version) {
            Found::Passing(passing) => return Ok(passing),
            Found::Stale(filter) => Some(filter),
            Found::Nothing => None,
        };
        // Outside the lock: other filters need not wait. Two threads may evaluate the same one; either result is right.
        let filter = match known {
            Some(filter) => filter,
            None => Arc::new(Filter::parse(text)?),
        };
        let checked = check(&filter, catalogue.known(), params, unheard)?;
        let mut bits = Bitmap::default();
        checked.evaluate(catalogue, names, &mut bits);
        let passing = Passing {
            items: Arc::new(bits),
            unheard: checked.unheard.into_iter().collect(),
        };
        self.keep(key, version, filter, passing.clone());
        Ok(passing)
    }

    /// Number of filters kept.
    pub fn len(&self) -> usize {
        self.kept.lock().by_key.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held, for the memory report.
    pub fn memory(&self) -> usize {
        let kept = self.kept.lock();
        let entries = kept.by_key.iter();
        entries
            .map(|(key, entry)| 2 * key.len() + entry.passing.items.memory() + size_of::<Entry>())
            .sum()
    }

    fn find(&self, key: &[u8], version: u64) -> Found {
        let mut kept = self.kept.lock();
        kept.clock += 1;
        let now = kept.clock;
        match kept.by_key.get_mut(key) {
            None => Found::Nothing,
            Some(entry) if entry.version == version => {
                entry.used = now;
                Found::Passing(entry.passing.clone())
            }
            Some(entry) => Found::Stale(entry.filter.clone()),
        }
    }

    fn keep(&self, key: Box<[u8]>, version: u64, filter: Arc<Filter>, passing: Passing) {
        let mut kept = self.kept.lock();
        if kept.by_key.len() >= self.entries && !kept.by_key.contains_key(&key) {
            let oldest = kept.by_key.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                kept.by_key.remove(&oldest);
            }
        }
        let entry = Entry {
            used: kept.clock,
            version,
            filter,
            passing,
        };
        kept.by_key.insert(key, entry);
    }
}

enum Found {
    Passing(Passing),
    Stale(Arc<Filter>),
    Nothing,
}

/// Equal for equal text, parameters and rule, and for no others.
fn key(text: &str, params: &Params, unheard: Unheard) -> Box<[u8]> {
    let mut key = Vec::with_capacity(text.len() + 17 + 32 * params.len());
    key.push(unheard as u8);
    key.extend((text.len() as u64).to_le_bytes());
    key.extend(text.as_bytes());
    for (name, value) in params {
        key.extend((name.len() as u64).to_le_bytes());
        key.extend(name.as_bytes());
        value.key(&mut key);
    }
    key.into()
}
