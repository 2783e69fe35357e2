//! What items have in one field, by which caps and groups tell them apart.

use std::sync::Arc;

use crate::catalogue::columns::CodeColumn;
use crate::ids::ItemIx;

/// Codes of the values that items have in one field; see [`crate::catalogue::Catalogue::values`].
#[derive(Clone, Debug)]
pub struct Values(Arc<CodeColumn>);

impl Values {
    /// Those of a column.
    pub fn new(column: Arc<CodeColumn>) -> Self {
        Self(column)
    }

    /// An item's values, none repeated; empty if it has none. O(1).
    #[inline]
    pub fn of(&self, ix: ItemIx) -> &[u32] {
        self.0.codes(ix.0 as usize)
    }

    /// Calls `with` for the values of each item, in order. Items lie anywhere in memory, their values elsewhere: both are
    /// asked for some items ahead.
    pub fn of_each(&self, items: &[ItemIx], mut with: impl FnMut(&[u32])) {
        let ask = |at: usize, found: bool| {
            if let Some(item) = items.get(at) {
                self.0.prefetch(item.0 as usize, found);
            }
        };
        (0..2 * AHEAD).for_each(|at| ask(at, false));
        (0..AHEAD).for_each(|at| ask(at, true));
        for (at, item) in items.iter().enumerate() {
            ask(at + 2 * AHEAD, false);
            ask(at + AHEAD, true);
            with(self.of(*item));
        }
    }

    /// The value behind a code that [`Values::of`] gave.
    pub fn text(&self, code: u32) -> &str {
        self.0.text(code)
    }
}

/// So many items ahead values are asked for.
const AHEAD: usize = 32;
