//! Where each item is counted, and where in the log a state stands.

use crate::bitmap::Bitmap;
use crate::error::CoreError;
use crate::fold::ownership::Ownership;
use crate::fold::state::State;
use crate::ids::{ItemIx, Position, owner};
use crate::items::votes::ItemStats;

impl State {
    /// Shard of an item and its number there.
    pub fn owner(&self, item: ItemIx) -> (usize, u32) {
        let (shard, local) = self.owners[item.0 as usize];
        (usize::from(shard), local)
    }

    /// Counts of an item.
    pub fn stats(&self, item: ItemIx) -> &ItemStats {
        let (shard, local) = self.owner(item);
        self.shards[shard].stats(local)
    }

    /// How often an item was served.
    pub fn served(&self, item: ItemIx) -> u32 {
        let (shard, local) = self.owner(item);
        self.shards[shard].served(local)
    }

    /// The items that are counted here; `None` where these are all.
    pub fn own_items(&self) -> Option<&Bitmap> {
        (self.ownership != Ownership::Whole).then_some(&self.own_items)
    }

    /// Owners of all items, for parts that are read back.
    pub fn owners(&self) -> &[(u16, u32)] {
        &self.owners
    }

    /// Gives every numbered item its owner and makes room for it everywhere.
    pub fn settle_items(&mut self) {
        let shards = self.shards.len();
        for ix in self.owners.len()..self.names.items.len() {
            let item = ItemIx(ix as u32);
            let shard = owner(self.names.item_hash(item), shards);
            let local = match self.ownership.keeps_shard(shard) {
                true => self.shards[shard].own(item),
                false => 0,
            };
            self.owners.push((shard as u16, local));
        }
        let len = self.owners.len();
        self.catalogue.ensure(len);
        if self.ownership != Ownership::Whole {
            let before = self.own_items.len();
            self.own_items.resize(len, false);
            for (ix, (shard, _)) in self.owners.iter().enumerate().skip(before) {
                let own = self.ownership.keeps_shard(usize::from(*shard));
                self.own_items.put(ix, own);
            }
        }
        if !self.ownership.keeps_items() {
            return;
        }
        self.hood.ensure(len);
        for (s, shard) in self.shards.iter_mut().enumerate() {
            if self.ownership.keeps_shard(s) {
                shard.rows.iter_mut().for_each(|rows| rows.ensure(len));
            }
        }
    }

    /// Checks that frames at these positions continue the state: each after the one before, without a gap where every
    /// frame is read.
    pub fn check_positions(
        &self,
        positions: impl Iterator<Item = Position>,
    ) -> Result<(), CoreError> {
        let mut last = self.position;
        for position in positions {
            self.check_next(last, position)?;
            last = position;
        }
        Ok(())
    }

    pub(super) fn check_next(&self, last: Position, next: Position) -> Result<(), CoreError> {
        let gap = next.0 > last.0 + 1 && self.ownership.reads_everything();
        if next.0 <= last.0 || gap {
            return Err(CoreError::Gap {
                offered: next.0,
                expected: last.0 + 1,
            });
        }
        Ok(())
    }

    /// Notes that no frame for this process stands between its position and the end of `position`. Errors: it reads every
    /// frame, so there is one.
    pub fn reach(&mut self, position: Position) -> Result<(), CoreError> {
        if position.0 > self.position.0 {
            if self.ownership.reads_everything() {
                return Err(CoreError::Gap {
                    offered: position.0 + 1,
                    expected: self.position.0 + 1,
                });
            }
            self.position = position;
        }
        Ok(())
    }
}
