//! Lists of items in two arrays: list i is `items[offsets[i]..offsets[i + 1]]` (compressed sparse rows).

use crate::error::CoreError;

/// Lists of items that were checked: every list lies within the items, every item below the bound.
#[derive(Clone, Copy, Debug)]
pub struct ItemLists<'a> {
    offsets: &'a [i64],
    items: &'a [u32],
    width: usize,
}

impl<'a> ItemLists<'a> {
    /// Checks both arrays. Errors: offsets that do not ascend from 0 to the number of items, an item not below
    /// `max_items`. O(offsets + items).
    pub fn new(offsets: &'a [i64], items: &'a [u32], max_items: usize) -> Result<Self, CoreError> {
        let refuse = |field, rule| Err(CoreError::Argument { field, rule });
        let (first, last) = (offsets.first(), offsets.last());
        if first != Some(&0) || last != Some(&(items.len() as i64)) {
            let told = |offset: Option<&i64>| offset.map_or("nothing".to_string(), i64::to_string);
            let rule = format!(
                "from {} to {}; allowed: from 0 to the number of items, {}",
                told(first),
                told(last),
                items.len()
            );
            return refuse("offsets", rule);
        }
        if let Some(at) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
            let rule = format!(
                "{} follows {} at {}; allowed: ascending numbers",
                offsets[at + 1],
                offsets[at],
                at + 1
            );
            return refuse("offsets", rule);
        }
        let width = items.iter().max().map_or(0, |most| *most as usize + 1);
        if width > max_items {
            let rule = format!("item {}; allowed: 0 to {}", width - 1, max_items - 1);
            return refuse("items", rule);
        }
        Ok(Self {
            offsets,
            items,
            width,
        })
    }

    /// One more than the largest item.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether tables of `bytes` an item can grow from `known` items to the largest of these: asked of the allocator and
    /// given back, as a table that grew without asking would end the process. Errors: the memory is not there.
    pub fn ask_for_room(&self, known: usize, bytes: usize) -> Result<(), CoreError> {
        let more = self.width.saturating_sub(known).saturating_mul(bytes);
        let mut room: Vec<u8> = Vec::new();
        let asked = room.try_reserve_exact(more);
        // Else the compiler may leave out what nobody reads.
        std::hint::black_box(&room);
        asked.map_err(|_| CoreError::Argument {
            field: "items",
            rule: format!(
                "item {} needs {more} bytes for all items up to it, more memory than there is; number items densely",
                self.width - 1
            ),
        })
    }

    /// The lists in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u32]> + use<'a> {
        let (offsets, items) = (self.offsets, self.items);
        offsets
            .windows(2)
            .map(|pair| &items[pair[0] as usize..pair[1] as usize])
    }
}

/// Which items a list has had, cleared in no time.
#[derive(Debug, Default)]
pub struct Distinct {
    stamps: Vec<u32>,
    stamp: u32,
}

impl Distinct {
    /// Forgets all items and makes room for those below `len`.
    pub fn reset(&mut self, len: usize) {
        if self.stamps.len() < len {
            self.stamps.resize(len, 0);
        }
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.stamps.fill(0);
            self.stamp = 1;
        }
    }

    /// Whether the item is there for the first time since the reset.
    #[inline]
    pub fn insert(&mut self, item: u32) -> bool {
        std::mem::replace(&mut self.stamps[item as usize], self.stamp) != self.stamp
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.stamps.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_and_bad_ones_are_refused() {
        let lists = ItemLists::new(&[0, 2, 2, 3], &[5, 1, 7], 8).unwrap();
        let all: Vec<&[u32]> = lists.iter().collect();
        assert_eq!(all, [&[5, 1][..], &[], &[7]]);
        assert_eq!(lists.width(), 8);
        for offsets in [
            &[][..],
            &[1, 3],
            &[0, 2],
            &[0, 4],
            &[0, 3, 2, 3],
            &[0, -1, 3],
        ] {
            assert!(
                ItemLists::new(offsets, &[5, 1, 7], 8).is_err(),
                "{offsets:?}"
            );
        }
        assert!(ItemLists::new(&[0, 3], &[5, 1, 7], 7).is_err());
        assert!(lists.ask_for_room(0, 64).is_ok());
        assert!(lists.ask_for_room(7, usize::MAX).is_err());
        assert!(lists.ask_for_room(8, usize::MAX).is_ok());
        assert_eq!(ItemLists::new(&[0], &[], 1).unwrap().iter().count(), 0);
    }

    #[test]
    fn items_are_new_once_a_list() {
        let mut distinct = Distinct::default();
        for _ in 0..3 {
            distinct.reset(3);
            assert!(distinct.insert(2) && !distinct.insert(2) && distinct.insert(0));
        }
    }
}
