//! A graph of vectors that finds most of those with the largest inner products, looking at few of them.
//!
//! HNSW (Malkov and Yashunin, TPAMI 2018): vectors linked to near ones, on levels of which each has a sixteenth of the
//! vectors of the one below. Graphs need a distance and an inner product is none, so vectors get one more component that
//! gives them all one length (Bachrach et al., RecSys 2014); not the length of the longest, for a few long ones would make
//! all others look alike: what is longer stays as it is, and is easily found since it is long.
//!
//! A graph holds links and nothing else: codes are read where they are, from whoever holds them. Levels come from the
//! ids' hashes, so the same links in the same order make the same graph.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::bitmap::Bitmap;
use crate::bloom::prefetch;
use crate::simd::{Simd, by_simd};

/// Links of a node on the upper levels (M of the paper), and twice as many on the lowest.
const LINKS: usize = 16;
/// Candidates that are kept while a node is linked (efConstruction).
const LINKING: usize = 128;
/// Bits of a hash that decide about one more level: a sixteenth goes up.
const LEVEL_BITS: u32 = 4;
const TOP_LEVEL: usize = 8;

/// Where vectors are read.
pub trait Rows {
    /// Codes of a vector.
    fn codes(&self, id: u32) -> &[i8];
    /// Its scale.
    fn scale(&self, id: u32) -> f32;
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    scale: f32,
    /// The component that fills the vector up to the common length.
    rest: f32,
    /// Where its upper levels' links begin.
    upper: u32,
    /// Its levels; 0 for an id that was never linked.
    levels: u8,
}

/// What nodes are compared with.
struct Probe<'a> {
    codes: &'a [i8],
    scale: f32,
    rest: f32,
}

/// Similarity and node as one number: more is nearer, equal ones by the smaller id.
type Near = u64;

fn near(similarity: f32, id: u32) -> Near {
    let bits = (similarity + 0.0).to_bits();
    let ordered = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    u64::from(ordered) << 32 | u64::from(!id)
}

fn id_of(near: Near) -> u32 {
    !(near as u32)
}

/// How far a search goes.
#[derive(Clone, Copy)]
struct Reach {
    level: usize,
    /// So many of the nearest are kept (ef).
    kept: usize,
    /// So many nodes are looked at, at most.
    looks: usize,
}

/// Ids, most of them linked.
#[derive(Debug)]
pub struct Graph {
    simd: Simd,
    length: f32,
    nodes: Vec<Node>,
    /// For each id its number of links, and room for them.
    base: Vec<u32>,
    /// The same for the upper levels of those that have any.
    upper: Vec<u32>,
    entry: Option<u32>,
}

impl Graph {
    /// An empty graph; `length`: what vectors are filled up to.
    pub fn new(simd: Simd, length: f32) -> Self {
        Self {
            simd,
            length,
            nodes: Vec::new(),
            base: Vec::new(),
            upper: Vec::new(),
            entry: None,
        }
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + 4 * (self.base.capacity() + self.upper.capacity())
    }

    /// Links a vector, or links it anew after it changed: old links to it stay. O(log n d) times 128. `hash`: the id's.
    pub fn link(&mut self, rows: &impl Rows, id: u32, hash: u64, visited: &mut Bitmap) {
        self.ensure(rows, id, hash);
        let node = self.nodes[id as usize];
        let probe = self.probe(rows, id);
        let Some(entry) = self.entry else {
            self.entry = Some(id);
            return;
        };
        let top = usize::from(self.nodes[entry as usize].levels) - 1;
        let levels = usize::from(node.levels);
        let mut start = near(self.similarity(rows, &probe, entry), entry);
        for level in (levels..=top).rev() {
            start = self.climb(rows, &probe, start, level);
        }
        let mut starts = vec![start];
        for level in (0..levels.min(top + 1)).rev() {
            let reach = Reach {
                level,
                kept: LINKING,
                looks: usize::MAX,
            };
            let found = self.walk(rows, &probe, &starts, reach, visited, |_| true);
            let mut found = found.unwrap_or_default();
            let others: Vec<Near> = found.iter().copied().filter(|n| id_of(*n) != id).collect();
            let chosen = self.apart(rows, &others, LINKS);
            self.set_links(id, level, &chosen);
            for other in chosen {
                self.link_back(rows, other, id, level);
            }
            if !found.is_empty() {
                std::mem::swap(&mut starts, &mut found);
            }
        }
        if levels > top + 1 {
            self.entry = Some(id);
        }
    }

    /// Ids that are probably the `kept` with the largest inner products with `codes` of those that `passes`, in no stated
    /// order; `None` where more than `looks` nodes would have to be looked at. The walk begins at the top of the graph and
    /// at `starts`: where the best lie in several places far apart, it sees a place only if it begins near it. About
    /// O(kept log n d).
    pub fn nearest(
        &self,
        rows: &impl Rows,
        codes: &[i8],
        starts: &[u32],
        (kept, looks): (usize, usize),
        visited: &mut Bitmap,
        passes: impl Fn(u32) -> bool,
    ) -> Option<Vec<u32>> {
        let Some(entry) = self.entry else {
            return Some(Vec::new());
        };
        let probe = Probe {
            codes,
            scale: 1.0,
            rest: 0.0,
        };
        let mut top = near(self.similarity(rows, &probe, entry), entry);
        for level in (1..usize::from(self.nodes[entry as usize].levels)).rev() {
            top = self.climb(rows, &probe, top, level);
        }
        let linked = starts.iter().filter(|id| self.is_linked(**id));
        let mut begin: Vec<Near> = linked
            .map(|id| near(self.similarity(rows, &probe, *id), *id))
            .collect();
        begin.push(top);
        begin.sort_unstable();
        begin.dedup();
        let reach = Reach {
            level: 0,
            kept,
            looks,
        };
        let found = self.walk(rows, &probe, &begin, reach, visited, passes)?;
        Some(found.into_iter().map(id_of).collect())
    }

    /// Room for an id, and its level; its vector as it is now.
    fn ensure(&mut self, rows: &impl Rows, id: u32, hash: u64) {
        let at = id as usize;
        if self.nodes.len() <= at {
            self.nodes.resize(at + 1, Node::default());
            self.base.resize((at + 1) * (2 * LINKS + 1), 0);
        }
        let (codes, scale) = (rows.codes(id), rows.scale(id));
        let square = dot(self.simd, codes, codes) as f32 * scale * scale;
        let node = &mut self.nodes[at];
        node.scale = scale;
        node.rest = (self.length * self.length - square).max(0.0).sqrt();
        if node.levels == 0 {
            let above = (hash.trailing_zeros() / LEVEL_BITS) as usize;
            let above = above.min(TOP_LEVEL - 1);
            node.levels = above as u8 + 1;
            node.upper = self.upper.len() as u32;
            self.upper.resize(self.upper.len() + above * (LINKS + 1), 0);
        }
    }

    fn is_linked(&self, id: u32) -> bool {
        let node = self.nodes.get(id as usize);
        node.is_some_and(|node| node.levels > 0)
    }

    fn probe<'r>(&self, rows: &'r impl Rows, id: u32) -> Probe<'r> {
        let node = self.nodes[id as usize];
        Probe {
            codes: rows.codes(id),
            scale: node.scale,
            rest: node.rest,
        }
    }

    #[inline]
    fn similarity(&self, rows: &impl Rows, probe: &Probe<'_>, id: u32) -> f32 {
        let node = &self.nodes[id as usize];
        let product = dot(self.simd, probe.codes, rows.codes(id)) as f32;
        product * probe.scale * node.scale + probe.rest * node.rest
    }

    fn links(&self, id: u32, level: usize) -> &[u32] {
        let row = match level {
            0 => &self.base[id as usize * (2 * LINKS + 1)..],
            level => {
                let upper = self.nodes[id as usize].upper as usize;
                &self.upper[upper + (level - 1) * (LINKS + 1)..]
            }
        };
        &row[1..][..row[0] as usize]
    }

    fn set_links(&mut self, id: u32, level: usize, links: &[u32]) {
        let row = match level {
            0 => &mut self.base[id as usize * (2 * LINKS + 1)..],
            level => {
                let upper = self.nodes[id as usize].upper as usize;
                &mut self.upper[upper + (level - 1) * (LINKS + 1)..]
            }
        };
        row[0] = links.len() as u32;
        row[1..][..links.len()].copy_from_slice(links);
    }

    /// Links `id` to `new`; where it is full, the links that lead into most directions stay.
    fn link_back(&mut self, rows: &impl Rows, id: u32, new: u32, level: usize) {
        let room = if level == 0 { 2 * LINKS } else { LINKS };
        let links = self.links(id, level);
        if links.contains(&new) {
            return;
        }
        let mut links = links.to_vec();
        links.push(new);
        if links.len() > room {
            let probe = self.probe(rows, id);
            let mut by_nearness: Vec<Near> = links
                .iter()
                .map(|other| near(self.similarity(rows, &probe, *other), *other))
                .collect();
            by_nearness.sort_unstable_by_key(|near| Reverse(*near));
            links = self.apart(rows, &by_nearness, room);
        }
        self.set_links(id, level, &links);
    }

    /// Of `found`, nearest first, up to `room` of which none is nearer to one before it than to where it was looked from
    /// (the paper's heuristic).
    fn apart(&self, rows: &impl Rows, found: &[Near], room: usize) -> Vec<u32> {
        let mut chosen: Vec<u32> = Vec::with_capacity(room);
        for candidate in found {
            if chosen.len() == room {
                break;
            }
            let id = id_of(*candidate);
            let probe = self.probe(rows, id);
            let nearer = |other: &u32| near(self.similarity(rows, &probe, *other), id) > *candidate;
            if !chosen.iter().any(nearer) {
                chosen.push(id);
            }
        }
        chosen
    }

    /// From node to nearer node of one level, as far as there is one.
    fn climb(&self, rows: &impl Rows, probe: &Probe<'_>, start: Near, level: usize) -> Near {
        let mut best = start;
        loop {
            let links = self.links(id_of(best), level).iter();
            let around = links.map(|id| near(self.similarity(rows, probe, *id), *id));
            match around.max() {
                Some(next) if next > best => best = next,
                _ => return best,
            }
        }
    }

    /// The nearest on one level, best first; `None` once more nodes were looked at than `reach` allows.
    fn walk(
        &self,
        rows: &impl Rows,
        probe: &Probe<'_>,
        starts: &[Near],
        reach: Reach,
        visited: &mut Bitmap,
        passes: impl Fn(u32) -> bool,
    ) -> Option<Vec<Near>> {
        visited.reset(self.nodes.len());
        let mut open: BinaryHeap<Near> = BinaryHeap::with_capacity(2 * reach.kept);
        let mut found: BinaryHeap<Reverse<Near>> = BinaryHeap::with_capacity(reach.kept + 1);
        for start in starts {
            visited.set(id_of(*start) as usize);
            open.push(*start);
            if passes(id_of(*start)) {
                found.push(Reverse(*start));
            }
        }
        let mut looks = reach.looks;
        while let Some(nearest) = open.pop() {
            let worst = |found: &BinaryHeap<Reverse<Near>>| match found.peek() {
                Some(Reverse(worst)) if found.len() >= reach.kept => *worst,
                _ => 0,
            };
            if nearest < worst(&found) {
                break;
            }
            let links = self.links(id_of(nearest), reach.level);
            links.iter().for_each(|id| prefetch(&rows.codes(*id)[0]));
            for id in links {
                if visited.get(*id as usize) {
                    continue;
                }
                visited.set(*id as usize);
                looks = looks.checked_sub(1)?;
                let next = near(self.similarity(rows, probe, *id), *id);
                if next < worst(&found) {
                    continue;
                }
                open.push(next);
                if passes(*id) {
                    found.push(Reverse(next));
                    if found.len() > reach.kept {
                        found.pop();
                    }
                }
            }
        }
        let mut found: Vec<Near> = found.into_iter().map(|Reverse(near)| near).collect();
        found.sort_unstable_by_key(|near| Reverse(*near));
        Some(found)
    }
}

/// Exact product of two rows of codes.
pub fn dot(simd: Simd, a: &[i8], b: &[i8]) -> i32 {
    by_simd!(simd, fn run(a: &[i8], b: &[i8]) -> i32 = body)
}

#[inline(always)]
fn body(a: &[i8], b: &[i8]) -> i32 {
    let product = |(x, y): (&i8, &i8)| i32::from(i16::from(*x) * i16::from(*y));
    a.iter().zip(b).map(product).sum()
}

#[cfg(test)]
mod tests;
