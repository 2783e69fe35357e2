//! A recent-session index by itself: whole sessions of items that the caller numbered, in the order of their ends.

use crate::config::SessionKnnConfig;
use crate::csr::{Distinct, ItemLists};
use crate::error::CoreError;
use crate::ids::{ItemIx, UserIx};
use crate::neighbourhood::sessions::SessionIndex;
use crate::neighbourhood::user::SessionTouch;

/// The index, and how much of a session enters it.
#[derive(Debug)]
pub struct SealedSessions {
    /// The index.
    pub index: SessionIndex,
    max_items: usize,
    width: usize,
    distinct: Distinct,
    session: Vec<u32>,
}

impl SealedSessions {
    /// An empty index with these bounds.
    pub fn new(bounds: &SessionKnnConfig) -> Self {
        Self {
            index: SessionIndex::new(bounds, 1),
            max_items: bounds.max_session_items,
            width: 0,
            distinct: Distinct::default(),
            session: Vec::new(),
        }
    }

    /// One more than the largest item seen.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Indexes sessions, oldest first: of each its first distinct items, if they are two or more. O(items). Errors: no
    /// memory for all items up to the largest, and nothing is indexed.
    pub fn add(&mut self, sessions: ItemLists<'_>) -> Result<(), CoreError> {
        sessions.ask_for_room(self.width, SessionIndex::ITEM_BYTES + size_of::<u32>())?;
        self.width = self.width.max(sessions.width());
        self.index.ensure(self.width);
        for items in sessions.iter() {
            self.distinct.reset(self.width);
            self.session.clear();
            for item in items {
                if self.session.len() < self.max_items && self.distinct.insert(*item) {
                    self.session.push(*item);
                }
            }
            let [first, second, others @ ..] = self.session.as_slice() else {
                continue;
            };
            let start = SessionTouch::Start(ItemIx(*first), ItemIx(*second));
            self.index.touch(0, UserIx(0), start);
            for item in others {
                let append = SessionTouch::Append(ItemIx(*item));
                self.index.touch(0, UserIx(0), append);
            }
        }
        Ok(())
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.index.memory() + self.distinct.memory()
    }
}
