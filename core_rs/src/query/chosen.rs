//! The items of a slate, among many that are not: who walks through lists and rows looks nearly always in vain.

use crate::ids::ItemIx;

const BITS: usize = 2048;

/// Some items in ascending order, with a filter before the search that lets few others pass.
#[derive(Clone, Debug)]
pub struct Chosen {
    items: Vec<ItemIx>,
    /// Whether any item has a number that ends like this.
    ends: [u64; BITS / 64],
}

impl Default for Chosen {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Chosen {
    /// Of these items, each of which stands there once.
    pub fn new(mut items: Vec<ItemIx>) -> Self {
        items.sort_unstable();
        let mut ends = [0; BITS / 64];
        for item in &items {
            let at = item.0 as usize % BITS;
            ends[at / 64] |= 1 << (at % 64);
        }
        Self { items, ends }
    }

    /// The items in ascending order.
    pub fn items(&self) -> &[ItemIx] {
        &self.items
    }

    /// Place of an item among them.
    #[inline]
    pub fn place(&self, item: ItemIx) -> Option<usize> {
        let at = item.0 as usize % BITS;
        if self.ends[at / 64] >> (at % 64) & 1 == 0 {
            return None;
        }
        self.items.binary_search(&item).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_search_finds() {
        let numbers = [4000u32, 7, 2055, 7 + 3 * 2048, 64, 0];
        let chosen = Chosen::new(numbers.map(ItemIx).to_vec());
        assert!(chosen.items().is_sorted());
        for item in (0..20_000).map(ItemIx) {
            let expected = chosen.items().iter().position(|own| *own == item);
            assert_eq!(chosen.place(item), expected);
        }
        assert_eq!(Chosen::default().place(ItemIx(0)), None);
    }
}
