//! Whose items replies tell of: every shard is one host's, unless the hosts disagree who owns what.

use serde::{Deserialize, Serialize};

use crate::query::hosts::column;

/// Shards of one host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shards {
    /// Their numbers.
    #[serde(with = "column")]
    pub own: Vec<u32>,
    /// How many there are of all hosts.
    pub of: u32,
}

/// What several hosts own together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Together {
    /// Whether no shard is missing.
    pub complete: bool,
    /// Whether none is owned twice.
    pub disjoint: bool,
}

impl Together {
    /// Of these hosts. Hosts that do not agree how many shards there are count as owning some twice.
    pub fn of<'a>(hosts: impl Iterator<Item = &'a Shards> + Clone) -> Self {
        let all = hosts.clone().map(|shards| shards.of).max().unwrap_or(0);
        let mut owned: Vec<u32> = Vec::new();
        let mut agreed = true;
        for shards in hosts {
            agreed &= shards.of == all;
            owned.extend(&shards.own);
        }
        let said = owned.len();
        owned.sort_unstable();
        owned.dedup();
        Self {
            complete: owned.len() >= all as usize,
            disjoint: agreed && owned.len() == said,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn together(hosts: &[(&[u32], u32)]) -> (bool, bool) {
        let shards: Vec<Shards> = hosts
            .iter()
            .map(|(own, of)| Shards {
                own: own.to_vec(),
                of: *of,
            })
            .collect();
        let Together { complete, disjoint } = Together::of(shards.iter());
        (complete, disjoint)
    }

    #[test]
    fn shards_that_are_missing_or_owned_twice_are_seen() {
        assert_eq!(together(&[(&[0, 2], 4), (&[3, 1], 4)]), (true, true));
        assert_eq!(together(&[(&[0, 2], 4)]), (false, true));
        assert_eq!(together(&[(&[0, 1], 4), (&[1, 2], 4)]), (false, false));
        assert_eq!(together(&[(&[0, 1, 2], 4), (&[2, 3], 4)]), (true, false));
        assert_eq!(together(&[(&[0, 1], 2), (&[2, 3], 4)]), (true, false));
        assert_eq!(together(&[]), (true, true));
    }
}
