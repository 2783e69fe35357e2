//! Two users turn out to be one: what was known of the one joins what is known of the other.
//!
//! Recent, consumed and rejected items, activity and the session come out as if one user had sent all the events, as far
//! as the exact lists reach; affinities are sums, filters are unions (ADR 0024).

use crate::catalogue::Label;
use crate::fold::fact::Joined;
use crate::names::Names;
use crate::sessions::touches::{Roles, Touch, Touches};
use crate::sessions::user::{SessionState, UserLimits, UserState, WINDOWS};

/// Labels kept of both.
const MAX_LABELS: usize = 64;

/// Adds another user's labels. What both have stays as it is here.
pub fn join_labels(labels: &mut Vec<(Box<str>, Label)>, other: Vec<(Box<str>, Label)>) {
    for (key, label) in other {
        if !labels.iter().any(|(own, _)| *own == key) {
            labels.push((key, label));
        }
    }
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    labels.truncate(MAX_LABELS);
}

impl UserState {
    /// Takes in everything known of another user. Types of touches are numbered alike on both sides. Labels that both
    /// have stay as they are here.
    pub fn join(&mut self, mut other: Self, limits: &UserLimits, names: &Names) {
        self.join_session(&mut other, limits.gap_ms);
        self.join_rejected(&mut other, limits.consumed);
        self.seen.join(&other.seen);
        for gone in self.recent.join(other.recent, limits.recent) {
            let hash = names.item_hash(gone.item);
            self.seen.insert(hash, gone.ts, limits.generation_ms);
        }
        self.consumed_seen.join(&other.consumed_seen);
        for gone in self.consumed.join(other.consumed, limits.consumed) {
            let hash = names.item_hash(gone.item);
            self.consumed_seen
                .insert(hash, gone.ts, limits.generation_ms);
        }
        self.affinities.join(&other.affinities, names);
        self.join_windows(other.window, &other.windows, other.events > 0);
        join_labels(&mut self.labels, other.labels);
        self.clock = self.clock.max(other.clock);
        self.events = self.events.saturating_add(other.events);
    }

    /// The session that goes on, and the numbers of sessions in both users' touches.
    fn join_session(&mut self, other: &mut Self, gap_ms: i64) {
        let (own, their) = (self.session, other.session);
        let (joined, run) = own.run.join(&their.run, gap_ms);
        let sessions = own.number.saturating_add(their.number);
        let number = sessions - u32::from(joined == Joined::Both);
        self.session = match joined {
            Joined::Own => SessionState { number, ..own },
            Joined::Other => SessionState { number, ..their },
            Joined::Both => SessionState {
                run,
                number,
                started: own.started.min(their.started),
                events: own.events.saturating_add(their.events),
                carts: own.carts.saturating_add(their.carts),
                purchases: own.purchases.saturating_add(their.purchases),
                dwell_ms: own.dwell_ms.saturating_add(their.dwell_ms),
            },
        };
        let renumber = |user: &mut Self, current: u32, goes_on: bool, others: fn(u32) -> u32| {
            let lists = [&mut user.recent, &mut user.consumed, &mut user.rejected];
            for touch in lists.into_iter().flat_map(Touches::each_mut) {
                touch.session = match touch.session {
                    session if goes_on && session == current && current > 0 => number,
                    session => others(session),
                };
            }
        };
        renumber(self, own.number, joined != Joined::Other, |session| session);
        renumber(other, their.number, joined != Joined::Own, |_| 0);
    }

    /// An item stays rejected unless the other user's latest event on it came later and does not reject it.
    fn join_rejected(&mut self, other: &mut Self, cap: usize) {
        let outdated = |rejected: &Touches, recent: &Touches| -> Vec<Touch> {
            let later = |t: &Touch| {
                let accepts = |r: &&Touch| !r.roles.has(Roles::NEGATIVE);
                let mut newer = recent.iter().filter(|r| r.item == t.item && r.at > t.at);
                newer.any(|r| accepts(&r))
            };
            rejected.iter().filter(|t| later(t)).copied().collect()
        };
        let own = outdated(&self.rejected, &other.recent);
        let their = outdated(&other.rejected, &self.recent);
        own.iter().for_each(|t| self.rejected.remove(t.item));
        their.iter().for_each(|t| other.rejected.remove(t.item));
        self.rejected.join(std::mem::take(&mut other.rejected), cap);
    }

    fn join_windows(&mut self, newest: i64, counts: &[u16; WINDOWS], any: bool) {
        if !any {
            return;
        }
        if self.events == 0 {
            (self.window, self.windows) = (newest, *counts);
            return;
        }
        let last = self.window.max(newest);
        let mut joined = [0u16; WINDOWS];
        for (newest, counts) in [(self.window, self.windows), (newest, *counts)] {
            let behind = (last - newest).min(WINDOWS as i64) as usize;
            for (slot, count) in joined.iter_mut().zip(&counts[behind..]) {
                *slot = slot.saturating_add(*count);
            }
        }
        (self.window, self.windows) = (last, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decay::Decay;
    use crate::fold::fact::Fact;
    use crate::fold::rules::Flags;
    use crate::ids::{EventRef, ItemIx, UserIx};
    use proptest::prelude::*;

    const LIMITS: (usize, usize) = (6, 4);

    fn limits() -> UserLimits {
        UserLimits {
            recent: LIMITS.0,
            consumed: LIMITS.1,
            generation_ms: 1 << 40,
            gap_ms: 1_800_000,
            affinity: Decay::new(1e9),
        }
    }

    fn fact(at: u64, (item, flags, ts): (u32, u32, i64)) -> Fact {
        Fact {
            user: UserIx(0),
            item: ItemIx(item),
            ty: 0,
            flags: Flags(flags),
            affinity: 256,
            ts,
            clock: ts,
            at: EventRef(at),
            session: None,
            basket: None,
            segment: None,
        }
    }

    proptest! {
        /// Two users' events in any interleaving within one session, joined, against one user who sent them all.
        #[test]
        fn joined_users_are_the_one_who_sent_all(
            events in prop::collection::vec((any::<bool>(), 0u32..12, 0usize..3, 0i64..1_000_000), 1..60)
        ) {
            let mut names = Names::new(1);
            (0..12).for_each(|i| { names.items.intern_str(&format!("i{i}")); });
            let tags = [crate::ids::TagIx(names.tags.intern_str("t"))];
            let (mut own, mut other, mut one) = (UserState::default(), UserState::default(), UserState::default());
            for (at, (whose, item, kind, ts)) in events.iter().enumerate() {
                let flags = [0, Flags::CONSUME, Flags::NEGATIVE][*kind];
                let fact = fact(at as u64 + 1, (*item, flags, *ts));
                for user in [if *whose { &mut own } else { &mut other }, &mut one] {
                    user.fold(&fact, &tags, &limits(), &names);
                }
            }
            own.join(other, &limits(), &names);
            let list = |touches: &Touches| touches.iter().map(|t| (t.item.0, t.at.0)).collect::<Vec<_>>();
            prop_assert_eq!(list(&own.recent), list(&one.recent));
            prop_assert_eq!(list(&own.consumed), list(&one.consumed));
            prop_assert_eq!(own.windows, one.windows);
            prop_assert_eq!((own.window, own.clock, own.events), (one.window, one.clock, one.events));
            prop_assert_eq!(own.session.events, one.session.events);
            prop_assert_eq!(own.session.number, one.session.number);
            prop_assert!(own.recent.iter().all(|t| t.session == own.session.number));
            for item in 0..12 {
                prop_assert_eq!(own.touched(ItemIx(item), &names), one.touched(ItemIx(item), &names));
            }
        }
    }
}
