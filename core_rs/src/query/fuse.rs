//! Reciprocal-rank fusion (Cormack et al., SIGIR 2009): sources have no common scale, ranks do.

use crate::ids::ItemIx;
use crate::query::accumulator::Accumulator;
pub use crate::query::best::{top_of, top_sums};
use crate::query::text::Text;

/// The best candidates of one source, best first.
#[derive(Clone, Debug)]
pub struct SourceList {
    /// Name of the source.
    pub name: Text,
    /// Weight in the fusion.
    pub weight: f64,
    /// Whether it follows from what the visitor did.
    pub personal: bool,
    /// Whether a few of the best may be missing.
    pub approximate: bool,
    /// Item and raw score.
    pub ranked: Vec<(ItemIx, f64)>,
}

/// Adds weight / (k + rank) of every list to `fused`.
pub fn fuse(lists: &[SourceList], k: f64, fused: &mut Accumulator) {
    let ask = |list: Option<&SourceList>, fused: &Accumulator| {
        let items = list.into_iter().flat_map(|list| &list.ranked);
        items.for_each(|(item, _)| fused.ask(item.0));
    };
    ask(lists.first(), fused);
    for (at, list) in lists.iter().enumerate() {
        ask(lists.get(at + 1), fused);
        let ranked = list.ranked.iter().enumerate();
        fused.add_all(
            ranked.map(|(rank, (item, _))| (item.0, list.weight / (k + rank as f64 + 1.0))),
        );
    }
}
