//! Who keeps which part of the state: everything in one process, or parts on several hosts.
//!
//! * *Session hosts* own users: they are fed the frames of their partitions, of the catalogue and of control, and keep
//!   those users and the catalogue.
//! * *Item hosts* own items: they are fed the whole log, because what an event draws depends on the user's other events;
//!   of each user they keep what that takes, and of the shards only their own.
//!
//! Ownership decides what is kept, never how it is folded, so hosts together hold what one process would.

use crate::bitmap::Bitmap;
use crate::error::CoreError;

/// The parts that one process keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// All.
    #[default]
    Whole,
    /// The users of these partitions.
    Session(Bitmap),
    /// The items of these shards.
    Item(Bitmap),
}

impl Ownership {
    /// A session host of these partitions, or an item host of these shards, of so many. Errors: both or neither given, a
    /// number out of range.
    pub fn of(
        partitions: &[usize],
        shards: &[usize],
        counts: (usize, usize),
    ) -> Result<Self, CoreError> {
        let owned = |numbers: &[usize], count: usize, kind: &str| {
            let mut bits = Bitmap::zeros(count);
            for number in numbers {
                if *number >= count {
                    return Err(CoreError::Config(format!(
                        "{kind} {number} is owned; allowed: 0 to {}",
                        count - 1
                    )));
                }
                bits.set(*number);
            }
            Ok(bits)
        };
        match (partitions.is_empty(), shards.is_empty()) {
            (false, true) => Ok(Self::Session(owned(partitions, counts.0, "partition")?)),
            (true, false) => Ok(Self::Item(owned(shards, counts.1, "shard")?)),
            _ => Err(CoreError::Config(
                "a host owns partitions (a session host) or shards (an item host), not both and not neither".into(),
            )),
        }
    }

    /// Whether the frames of a partition are folded at all.
    pub fn reads_partition(&self, partition: usize) -> bool {
        match self {
            Self::Session(own) => own.get(partition),
            _ => true,
        }
    }

    /// Whether what users did is kept: their items, sessions and affinities.
    pub fn keeps_users(&self) -> bool {
        !matches!(self, Self::Item(_))
    }

    /// Whether items are counted here: then the neighbourhood is kept too, and the log's running time is known.
    pub fn keeps_items(&self) -> bool {
        !matches!(self, Self::Session(_))
    }

    /// Whether a shard is kept.
    pub fn keeps_shard(&self, shard: usize) -> bool {
        match self {
            Self::Whole => true,
            Self::Session(_) => false,
            Self::Item(own) => own.get(shard),
        }
    }

    /// Whether this process is fed every frame, so that a gap between positions is a lost frame.
    pub fn reads_everything(&self) -> bool {
        self.keeps_items()
    }

    /// What this process is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Whole => "an engine",
            Self::Session(_) => "a session host",
            Self::Item(_) => "an item host",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_owns_users_or_items() {
        let session = Ownership::of(&[1, 3], &[], (4, 2)).unwrap();
        assert!(session.keeps_users() && !session.keeps_items() && !session.reads_everything());
        assert!(session.reads_partition(3) && !session.reads_partition(0));
        let item = Ownership::of(&[], &[1], (4, 2)).unwrap();
        assert!(item.reads_partition(0) && item.keeps_shard(1) && !item.keeps_shard(0));
        assert!(!item.keeps_users() && item.reads_everything());
        for (partitions, shards) in [(&[][..], &[][..]), (&[0], &[0]), (&[4], &[]), (&[], &[2])] {
            assert!(Ownership::of(partitions, shards, (4, 2)).is_err());
        }
    }
}
