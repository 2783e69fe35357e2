//! Graphs of large embeddings: a cache beside one state, in no digest and no snapshot.
//!
//! A graph is grown behind the questions and catches up with changes behind them too. Until it has, what changed is looked
//! at beside it, so that nothing waits and nothing new is missed. Every score is the exact scan's; what may differ is which
//! items are found: a few of the nearest can be missing.
//!
//! A graph answers where that pays. Few matches, or a small share of all, are scanned; so is a question that would have to
//! look at too many nodes, and one that found too little.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use crate::bitmap::Bitmap;
use crate::embedding::graph::{Graph, Rows, dot};
use crate::embedding::quantize::quantize_row;
use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::items::vectors::ItemVectors;
use crate::simd::Simd;
use crate::topk::{Ties, TopK};

/// Fewer items that may be shown are scanned.
const MATCHES: usize = 50_000;
/// So is a smaller part of the embedding: one item of so many.
const SHARE: usize = 20;
/// Looking at a node costs about as much as scanning so many vectors.
const NODE_COST: usize = 20;
/// A walk keeps at least so many.
const KEPT: usize = 64;
/// Items linked at a time: so long the fold waits.
const AT_ONCE: usize = 8;
/// Of the lengths of vectors so many in a hundred are filled up to a common one.
const FILLED: usize = 90;

/// A graph, and what it knows of.
#[derive(Debug)]
struct Grown {
    graph: Graph,
    /// For each item the change of its vector that is linked.
    linked: Vec<u32>,
    /// Fewer matches are scanned.
    least: usize,
    /// Changes that it has caught up with.
    changes: u64,
}

/// The graphs of one state, by embedding name.
#[derive(Debug, Default)]
pub struct Graphs {
    grown: RwLock<BTreeMap<Box<str>, Arc<RwLock<Grown>>>>,
    stopped: AtomicBool,
}

/// Where growing gets at a state: it is held for a moment at a time.
pub trait Held {
    /// Runs `look` on the state as it is now.
    fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T;
}

/// What a question asks of a graph.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Name of the embedding.
    pub name: &'a str,
    /// How many.
    pub k: usize,
    /// Items that may be found.
    pub filter: &'a Bitmap,
    /// Items that what is sought may lie near: those that the query was made from.
    pub near: &'a [u32],
}

impl Graphs {
    /// Whether an embedding of at least `above` vectors has no graph, or one that is behind. O(names).
    pub fn is_due(&self, state: &State, above: usize) -> bool {
        let grown = self.grown.read();
        due(state, above).any(|(name, vectors)| match grown.get(name) {
            None => true,
            // A question that has the graph at the moment does not make it due.
            Some(grown) => grown
                .try_read()
                .is_some_and(|g| g.changes < vectors.changes()),
        })
    }

    /// Grows the graphs that are due, or brings them up to date, until none is or [`Graphs::stop`] is called. From one
    /// thread at a time. O(n log n d) times 128: minutes for 400,000 vectors (docs/performance.md).
    pub fn grow(&self, held: &impl Held, above: usize) {
        let names: Vec<Box<str>> =
            held.with(|state| due(state, above).map(|(name, _)| name.into()).collect());
        for name in names {
            let known = self.grown.read().get(&name).cloned();
            if let Some(grown) = known {
                self.catch_up(held, &name, &grown);
                continue;
            }
            let begun = held.with(|state| {
                state
                    .vectors
                    .get(&name)
                    .map(|vectors| begin(vectors, above))
            });
            let Some(grown) = begun else { continue };
            let grown = Arc::new(RwLock::new(grown));
            self.catch_up(held, &name, &grown);
            if !self.stopped.load(Ordering::Relaxed) {
                self.grown.write().insert(name, grown);
            }
        }
    }

    /// Lets go of growing soon, for good.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Of each graph its name, how many items it knows of, and its bytes.
    pub fn sizes(&self) -> Vec<(String, usize, usize)> {
        let grown = self.grown.read();
        let mut sizes = Vec::with_capacity(grown.len());
        for (name, grown) in &*grown {
            let grown = grown.read();
            let bytes = grown.graph.memory() + 4 * grown.linked.capacity();
            sizes.push((name.to_string(), grown.linked.len(), bytes));
        }
        sizes
    }

    fn catch_up(&self, held: &impl Held, name: &str, grown: &RwLock<Grown>) {
        loop {
            let (stale, changes) = held.with(|state| match state.vectors.get(name) {
                Some(vectors) => (grown.read().stale(vectors), vectors.changes()),
                None => (Vec::new(), 0),
            });
            let mut visited = Bitmap::default();
            for items in stale.chunks(AT_ONCE) {
                if self.stopped.load(Ordering::Relaxed) {
                    return;
                }
                held.with(|state| {
                    let Some(vectors) = state.vectors.get(name) else {
                        return;
                    };
                    let mut grown = grown.write();
                    for item in items {
                        let hash = state.names.item_hash(*item);
                        grown.link(vectors, *item, hash, &mut visited);
                    }
                });
            }
            grown.write().changes = changes;
            let reached = held
                .with(|state| state.vectors.get(name).map_or(0, ItemVectors::changes) == changes);
            if reached {
                return;
            }
        }
    }

    /// Whether an embedding has a graph. O(log names).
    pub fn has(&self, name: &str) -> bool {
        self.grown.read().contains_key(name)
    }

    /// The `k` items with the largest inner products with `query` that pass, best first and equal ones by their id's hash,
    /// of which a few may be missing; `None` where a scan is better. O(k log n d), and O(n / 64) for the filter.
    pub fn nearest(
        &self,
        state: &State,
        vectors: &ItemVectors,
        query: &[f32],
        wanted: Wanted<'_>,
    ) -> Result<Option<Vec<(ItemIx, f64)>>, CoreError> {
        let Some(grown) = self.grown.read().get(wanted.name).cloned() else {
            return Ok(None);
        };
        // Whoever catches up has it to themselves for a moment: then a scan is no slower than waiting.
        let Some(grown) = grown.try_read() else {
            return Ok(None);
        };
        let total = vectors.store.len();
        let matches = wanted.filter.count();
        let behind = vectors.changed_since(grown.changes);
        let (Some(behind), true) = (behind, matches >= grown.least && matches * SHARE >= total)
        else {
            return Ok(None);
        };
        let simd = Simd::chosen();
        let mut codes = vec![0; vectors.dim];
        let scale = quantize_row(simd, "query", 0, query, &mut codes)?;
        let kept = (wanted.k + wanted.k / 4).max(KEPT);
        let looks = total / NODE_COST;
        let passes = |id: u32| wanted.filter.get(id as usize);
        let mut visited = Bitmap::default();
        let graph = &grown.graph;
        let bounds = (kept, looks);
        let walk = graph.nearest(vectors, &codes, wanted.near, bounds, &mut visited, passes);
        let Some(mut found) = walk else {
            return Ok(None);
        };
        found.extend(behind.filter(|id| passes(*id)));
        found.sort_unstable();
        found.dedup();
        let ties = Ties::Ranks(state.names.items.hashes());
        let mut top = TopK::new(wanted.k, found.len(), f32::MIN_POSITIVE, ties);
        for id in found {
            let product = dot(simd, &codes, vectors.codes_of(id)) as f32;
            // As the scan multiplies.
            top.offer(product * Rows::scale(vectors, id) * scale, id);
        }
        let mut ranked = Vec::with_capacity(wanted.k);
        top.finish(|_, id, score| ranked.push((ItemIx(id), f64::from(score))));
        Ok((ranked.len() >= wanted.k.min(matches)).then_some(ranked))
    }
}

impl Grown {
    /// Items whose vector is not linked as it is.
    fn stale(&self, vectors: &ItemVectors) -> Vec<ItemIx> {
        let behind =
            |(id, change): &(usize, &u32)| **change != 0 && self.linked.get(*id) != Some(change);
        let changes = vectors.change_of_each().iter().enumerate();
        let stale = changes.filter(behind);
        stale.map(|(id, _)| ItemIx(id as u32)).collect()
    }

    fn link(&mut self, vectors: &ItemVectors, item: ItemIx, hash: u64, visited: &mut Bitmap) {
        self.graph.link(vectors, item.0, hash, visited);
        let at = item.0 as usize;
        if self.linked.len() <= at {
            self.linked.resize(at + 1, 0);
        }
        self.linked[at] = vectors.change_of_each()[at];
    }
}

/// Embeddings of at least `above` vectors. 0: none.
fn due(state: &State, above: usize) -> impl Iterator<Item = (&str, &ItemVectors)> {
    let large = move |(_, vectors): &(&str, &ItemVectors)| {
        above > 0 && vectors.store.len() >= above && vectors.changes() > 0
    };
    let named = state
        .vectors
        .names()
        .filter_map(|name| Some((name, state.vectors.get(name)?)));
    named.filter(large)
}

/// An empty graph for vectors of these lengths. O(n d).
fn begin(vectors: &ItemVectors, above: usize) -> Grown {
    let simd = Simd::chosen();
    let mut lengths: Vec<f32> = vectors
        .present
        .iter_ones()
        .map(|id| {
            let codes = vectors.codes_of(id as u32);
            (dot(simd, codes, codes) as f32).sqrt() * Rows::scale(vectors, id as u32)
        })
        .collect();
    lengths.sort_unstable_by(f32::total_cmp);
    let length = lengths
        .get(lengths.len() * FILLED / 100)
        .map_or(1.0, |length| *length);
    Grown {
        graph: Graph::new(simd, length),
        linked: Vec::new(),
        least: MATCHES.min(above),
        changes: 0,
    }
}
