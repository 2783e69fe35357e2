//! What the windows of two users make who turn out to be one: the units, session and votes that the next event meets.
//!
//! Lists join in the order of first touch, as far as it is known; nothing that was counted is counted again, and pairs
//! between items of the two are not drawn after the fact (ADR 0024).

use crate::config::Unit;
use crate::fold::fact::{Joined, Run};
use crate::neighbourhood::Relation;
use crate::neighbourhood::user::{HoodUser, NEVER, Stamps, UnitState, VOTES};

impl HoodUser {
    /// Takes in another user's windows; whose session goes on.
    pub fn join(
        &mut self,
        other: Self,
        relations: &[Relation],
        gap_ms: i64,
        max_items: usize,
    ) -> Joined {
        let (joined, run) = self.session.join(&other.session, gap_ms);
        self.session = run;
        let own_number = u64::from(self.session_number);
        match joined {
            Joined::Own => {}
            Joined::Other => {
                self.session_number = self.session_number.wrapping_add(1);
                self.session_items = other.session_items;
            }
            Joined::Both => {
                let known = std::mem::take(&mut self.session_items);
                let new = other.session_items.iter().filter(|i| !known.contains(i));
                self.session_items = known.iter().chain(new).take(max_items).copied().collect();
            }
        }
        let sessions = Sessions {
            joined,
            own: own_number,
            their: u64::from(other.session_number),
            number: u64::from(self.session_number),
        };
        let units = self.units.iter_mut().zip(other.units);
        for ((unit, their), relation) in units.zip(relations) {
            let own = unit.take().map(|unit| *unit);
            let their = their.map(|unit| *unit);
            *unit = join_units(own, their, relation, &sessions).map(Box::new);
        }
        self.join_votes(&other.voted, &other.voted_days);
        joined
    }

    /// Votes of both, one for each item with its latest day, in the order of days; the latest stay.
    fn join_votes(&mut self, voted: &[u32], days: &[u32]) {
        let own = std::mem::take(&mut self.voted);
        let own_days = std::mem::take(&mut self.voted_days);
        let mut all: Vec<(u32, u32)> = Vec::with_capacity(own.len() + voted.len());
        let both = own.iter().zip(&own_days).chain(voted.iter().zip(days));
        for (item, day) in both {
            match all.iter_mut().find(|(known, _)| known == item) {
                Some((_, latest)) => *latest = (*latest).max(*day),
                None => all.push((*item, *day)),
            }
        }
        all.sort_by_key(|(_, day)| *day);
        let kept = &all[all.len().saturating_sub(VOTES)..];
        (self.voted, self.voted_days) = kept.iter().copied().unzip();
    }
}

/// Numbers of the sessions that two users' session units may belong to.
struct Sessions {
    joined: Joined,
    own: u64,
    their: u64,
    /// Of the session that goes on.
    number: u64,
}

fn join_units(
    own: Option<UnitState>,
    their: Option<UnitState>,
    relation: &Relation,
    sessions: &Sessions,
) -> Option<UnitState> {
    let (mut own, mut their) = match (own, their) {
        (None, None) => return None,
        (own, their) => (own.unwrap_or_default(), their.unwrap_or_default()),
    };
    match relation.unit {
        Unit::Session => {
            let theirs = their.key == sessions.their && !their.items.is_empty();
            their.key = sessions.number;
            match sessions.joined {
                Joined::Both if theirs && own.key == sessions.own && !own.items.is_empty() => {
                    own.take_in(their, relation.unit_cap);
                }
                Joined::Both | Joined::Other if theirs => return Some(their),
                _ => {}
            }
            Some(own)
        }
        Unit::User => {
            let (joined, run): (_, Run) = own.run.join(&their.run, relation.gap_ms);
            if joined == Joined::Other {
                return Some(their);
            }
            if joined == Joined::Both {
                own.take_in(their, relation.unit_cap);
                own.run = run;
            }
            Some(own)
        }
        Unit::Basket => {
            if own.key == their.key && !own.items.is_empty() {
                own.take_in(their, relation.unit_cap);
            } else if their.latest() > own.latest() {
                return Some(their);
            }
            Some(own)
        }
    }
}

impl UnitState {
    /// The latest time of entry.
    fn latest(&self) -> Option<u32> {
        let times = self.stamps.iter().flat_map(|s| [s.from, s.to]);
        times.filter(|time| *time != NEVER).max()
    }

    /// Takes in another unit's items, in the order of first touch where both tell it; the last `cap` stay.
    fn take_in(&mut self, other: Self, cap: usize) {
        let own = std::mem::take(&mut self.items);
        let own_stamps = std::mem::take(&mut self.stamps);
        let mut left = own.into_iter().zip(own_stamps).peekable();
        let mut right = other.items.into_iter().zip(other.stamps).peekable();
        let first = |(_, stamps): &(u32, Stamps)| stamps.from.min(stamps.to);
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if first(b) < first(a) => right.next(),
                (Some(_), _) => left.next(),
                _ => right.next(),
            };
            let Some((item, stamps)) = next else { break };
            match self.items.iter().position(|known| *known == item) {
                Some(at) => {
                    let known = &mut self.stamps[at];
                    known.from = known.from.min(stamps.from);
                    known.to = known.to.min(stamps.to);
                }
                None => {
                    self.items.push(item);
                    self.stamps.push(stamps);
                }
            }
        }
        let over = self.items.len().saturating_sub(cap);
        self.items.drain(..over);
        self.stamps.drain(..over);
    }
}
