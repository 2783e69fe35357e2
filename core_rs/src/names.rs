//! The dictionaries of one process: items, tags and, per partition, users.

use crate::ids::{ItemIx, TagIx, UserIx, owner, stable_hash};
use crate::intern::Interner;

/// Stable hashes of items, by which ties are broken and items are told apart.
pub trait ItemHashes {
    /// Stable hash of an item.
    fn item_hash(&self, item: ItemIx) -> u64;
}

impl ItemHashes for Names {
    fn item_hash(&self, item: ItemIx) -> u64 {
        Self::item_hash(self, item)
    }
}

/// All dictionaries. Numbers are local to the process; only names and their hashes leave it.
#[derive(Debug)]
pub struct Names {
    /// Item ids.
    pub items: Interner,
    /// Categories and tag labels (`brand=acme`).
    pub tags: Interner,
    /// User ids, by partition.
    pub users: Vec<Interner>,
    /// Number of user partitions, also while `users` is lent to the fold.
    pub partitions: usize,
}

impl Names {
    /// Empty dictionaries for this many user partitions.
    pub fn new(partitions: usize) -> Self {
        Self {
            items: Interner::with_beginnings(),
            tags: Interner::default(),
            users: (0..partitions).map(|_| Interner::default()).collect(),
            partitions,
        }
    }

    /// Partition of a user id.
    pub fn partition_of(&self, user: &str) -> usize {
        owner(stable_hash(user.as_bytes()), self.partitions)
    }

    /// Partition and number of a known user.
    pub fn find_user(&self, user: &str) -> Option<(usize, UserIx)> {
        let partition = self.partition_of(user);
        self.users[partition]
            .get(user)
            .map(|ix| (partition, UserIx(ix)))
    }

    /// Number of a known item.
    pub fn find_item(&self, item: &str) -> Option<ItemIx> {
        self.items.get(item).map(ItemIx)
    }

    /// [`Names::find_item`] of many.
    pub fn find_items(&self, items: &[&str]) -> Vec<Option<ItemIx>> {
        let numbers = self.items.get_all(items).into_iter();
        numbers.map(|number| number.map(ItemIx)).collect()
    }

    /// Id of an item.
    pub fn item(&self, ix: ItemIx) -> &str {
        self.items.name(ix.0)
    }

    /// Stable hash of an item's id.
    pub fn item_hash(&self, ix: ItemIx) -> u64 {
        self.items.hash(ix.0)
    }

    /// Name of a tag.
    pub fn tag(&self, ix: TagIx) -> &str {
        self.tags.name(ix.0)
    }
}
