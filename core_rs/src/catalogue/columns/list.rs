//! Any number of texts for each item, as dictionary codes: lists of a field, or the values that caps count by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::bitmap::Bitmap;
use crate::intern::Interner;
use crate::search::prefetch_of_many;

/// Bitmaps of single values that one column keeps; the least recently asked goes first.
const MAX_BITMAPS: usize = 64;

/// Codes of each item, side by side in one pool. A column ends at the last item that ever had a value.
#[derive(Debug, Default)]
pub struct ListColumn {
    dictionary: Interner,
    /// Start in the pool and length; of a single value its code in place of the start. Most items have one, and where it lies
    /// would be one line more to wait for.
    spans: Vec<(u32, u32)>,
    pool: Vec<u32>,
    live: usize,
    bitmaps: ValueBitmaps,
}

impl Clone for ListColumn {
    /// Without the bitmaps of values: they come back when asked for.
    fn clone(&self) -> Self {
        Self {
            dictionary: self.dictionary.clone(),
            spans: self.spans.clone(),
            pool: self.pool.clone(),
            live: self.live,
            bitmaps: ValueBitmaps::default(),
        }
    }
}

impl ListColumn {
    /// Replaces an item's values; repeats count once.
    pub fn set<'a>(&mut self, i: usize, values: impl Iterator<Item = &'a str>) {
        let start = self.pool.len();
        for value in values {
            let code = self.dictionary.intern_str(value);
            if !self.pool[start..].contains(&code) {
                self.pool.push(code);
            }
        }
        let len = self.pool.len() - start;
        if self.spans.len() <= i {
            if len == 0 {
                return;
            }
            self.spans.resize(i + 1, (0, 0));
        }
        for code in codes(&self.spans[i], &self.pool) {
            self.bitmaps.put(*code, i, false);
        }
        for code in &self.pool[start..] {
            self.bitmaps.put(*code, i, true);
        }
        let (at, held) = match self.pool[start..] {
            [code] => (code, start),
            _ => (start as u32, self.pool.len()),
        };
        self.pool.truncate(held);
        let (_, old) = std::mem::replace(&mut self.spans[i], (at, len as u32));
        self.live = self.live + len - old as usize;
    }

    /// Codes of an item, in its order.
    #[inline]
    pub fn codes(&self, i: usize) -> &[u32] {
        let span = self.spans.get(i);
        span.map_or(&[], |span| codes(span, &self.pool))
    }

    /// Asks for the codes of an item that are read soon: first for where they lie, then, once that is `found`, for them.
    #[inline]
    pub fn prefetch(&self, i: usize, found: bool) {
        match (found, self.spans.get(i)) {
            (false, _) => prefetch_of_many(&self.spans, i),
            (true, Some((start, 2..))) => prefetch_of_many(&self.pool, *start as usize),
            (true, _) => {}
        }
    }

    /// The text of a code.
    pub fn text(&self, code: u32) -> &str {
        self.dictionary.name(code)
    }

    /// Items that have the value. O(n / 64) once its bitmap is there, O(values) the first time.
    pub fn having(&self, value: &str, out: &mut Bitmap) {
        out.fill_words(|_| 0);
        if let Some(code) = self.dictionary.get(value) {
            out.or(&self.bitmaps.get(code, || self.collect(code)));
        }
    }

    /// Adds the items that have any.
    pub fn add_present(&self, out: &mut Bitmap) {
        for (i, (_, len)) in self.spans.iter().enumerate() {
            if *len > 0 {
                out.set(i);
            }
        }
    }

    /// Whether most of the pool or of the dictionary belongs to values that no item has any more.
    pub fn overgrown(&self) -> bool {
        let bound = 2 * self.live + super::SLACK;
        self.pool.len() > bound || self.dictionary.len() > bound
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.dictionary.memory()
            + self.spans.capacity() * 8
            + self.pool.capacity() * 4
            + self.bitmaps.memory()
    }

    fn collect(&self, code: u32) -> Bitmap {
        let mut found = Bitmap::zeros(self.spans.len());
        for i in 0..self.spans.len() {
            if self.codes(i).contains(&code) {
                found.set(i);
            }
        }
        found
    }
}

/// Codes of one item.
#[inline]
fn codes<'a>(span: &'a (u32, u32), pool: &'a [u32]) -> &'a [u32] {
    match span {
        (code, 1) => std::slice::from_ref(code),
        (start, len) => &pool[*start as usize..][..*len as usize],
    }
}

/// When it was last asked for, and the items.
type Kept = (AtomicU64, Arc<Bitmap>);

/// Bitmaps of the values that were asked for, kept up to date.
#[derive(Debug, Default)]
struct ValueBitmaps {
    kept: RwLock<BTreeMap<u32, Kept>>,
    clock: AtomicU64,
}

impl ValueBitmaps {
    fn get(&self, code: u32, collect: impl FnOnce() -> Bitmap) -> Arc<Bitmap> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        if let Some((used, found)) = self.kept.read().get(&code) {
            used.store(now, Ordering::Relaxed);
            return found.clone();
        }
        let found = Arc::new(collect());
        let mut kept = self.kept.write();
        if kept.len() >= MAX_BITMAPS {
            let oldest = kept
                .iter()
                .min_by_key(|(_, (used, _))| used.load(Ordering::Relaxed))
                .map(|(code, _)| *code);
            oldest.and_then(|code| kept.remove(&code));
        }
        kept.insert(code, (AtomicU64::new(now), found.clone()));
        found
    }

    fn put(&mut self, code: u32, i: usize, value: bool) {
        if let Some((_, bits)) = self.kept.get_mut().get_mut(&code) {
            let bits = Arc::make_mut(bits);
            if value && bits.len() <= i {
                bits.resize(i + 1, false);
            }
            bits.put(i, value);
        }
    }

    fn memory(&self) -> usize {
        self.kept
            .read()
            .values()
            .map(|(_, bits)| bits.memory())
            .sum()
    }
}
