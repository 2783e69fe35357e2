//! One user as the neighbourhood sees them: current units, session items, recent votes.
//!
//! Counting semantics (design, section 4; the exact reference is `tests/reference/`):
//!
//! * A *unit* is a session, a run of the user's events, or a basket. It holds its distinct items in the order of their
//!   first touch, each with the time it first came in on the "from" side and on the "to" side, in whole seconds.
//!   A unit of `unit_cap` distinct items is closed and the next item opens another.
//! * When item x enters a side, it is paired with the unit's last `window` distinct items other than x: y -> x is drawn
//!   if x just became "to" and y is "from", x -> y if x just became "from" and y is "to". Hence each item and each
//!   directed pair counts at most once per unit.
//! * A draw is stamped with the older of the two times, a unit count with the time of entry.
//! * A vote is an event of a voting type on an item that is not among the user's last [`VOTES`] distinct voted items of
//!   the same UTC day.

use crate::config::Unit;
use crate::fold::fact::{Boundary, Fact, Run};
use crate::fold::outbox::Effects;
use crate::fold::rules::Flags;
use crate::ids::{ItemIx, Millis};
use crate::items::votes::Vote;
use crate::neighbourhood::Relation;
use crate::neighbourhood::marginals::Partner;
use crate::search::{find, prefetch, prefetch_all};
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Distinct voted items remembered per user.
pub const VOTES: usize = 32;

pub(super) const NEVER: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamps {
    pub(super) from: u32,
    pub(super) to: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitState {
    /// Session number, or basket hash, that the items belong to.
    pub(super) key: u64,
    pub(super) run: Run,
    pub(super) items: Vec<u32>,
    pub(super) stamps: Vec<Stamps>,
}

/// Per-user state of the neighbourhood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoodUser {
    pub(super) session: Run,
    pub(super) session_number: u32,
    pub(super) session_items: Vec<u32>,
    /// Items voted for, the latest vote last, and the day of each vote: every event looks for its item.
    pub(super) voted: Vec<u32>,
    pub(super) voted_days: Vec<u32>,
    pub(super) units: Vec<Option<Box<UnitState>>>,
}

/// A change of the recent-session index, in log order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionTouch {
    /// The session met its second distinct item: both enter the index.
    Start(ItemIx, ItemIx),
    /// The session met a further distinct item.
    Append(ItemIx),
    /// A new session began; whatever the user does next belongs to another entry.
    Close,
    /// The user is forgotten: their sessions leave the index.
    Forget,
}

impl HoodUser {
    /// A user never seen before.
    pub fn new(relations: usize) -> Self {
        Self {
            session: Run::default(),
            session_number: 0,
            session_items: Vec::new(),
            voted: Vec::new(),
            voted_days: Vec::new(),
            units: vec![None; relations],
        }
    }

    /// Items of the current session, in order of first touch.
    pub fn session_items(&self) -> impl Iterator<Item = ItemIx> + '_ {
        self.session_items.iter().map(|item| ItemIx(*item))
    }

    /// Asks for what the next event of the user reads beyond the state's own lines.
    #[inline]
    pub fn prefetch(&self) {
        for list in [&self.voted, &self.voted_days, &self.session_items] {
            (0..list.len().min(64))
                .step_by(16)
                .for_each(|at| prefetch(list, at));
        }
        for unit in self.units.iter().flatten() {
            prefetch_all(&**unit);
        }
    }

    /// Takes in one event and says what follows from it.
    pub fn fold(
        &mut self,
        fact: &Fact,
        relations: &[Relation],
        gap_ms: i64,
        max_items: usize,
        effects: &mut Effects<'_>,
    ) {
        if fact.flags.has(Flags::VOTE) && self.votes_anew(fact) {
            effects.vote(Vote {
                item: fact.item,
                ts: fact.ts,
                clock: fact.clock,
                segment: fact.segment,
            });
        }
        let boundary = self.session.step(fact.session, fact.ts, gap_ms);
        if boundary == Boundary::New {
            if self.session_items.len() > 1 {
                effects.touch(fact.user, SessionTouch::Close);
            }
            self.session_items.clear();
            self.session_number = self.session_number.wrapping_add(1);
        }
        if boundary != Boundary::Late && !fact.flags.has(Flags::NEGATIVE) {
            self.touch_session(fact, max_items, effects);
        }
        if !fact.flags.pairs() {
            return;
        }
        for (r, relation) in relations.iter().enumerate() {
            let (is_from, is_to) = (fact.flags.is_from(r), fact.flags.is_to(r));
            if is_from || is_to {
                self.fold_relation(r, relation, fact, boundary, effects);
            }
        }
    }

    fn votes_anew(&mut self, fact: &Fact) -> bool {
        let day = (fact.ts / 86_400_000) as u32;
        let known = find(&self.voted, fact.item.0);
        if known.is_some() || self.voted.len() == VOTES {
            let at = known.unwrap_or(0);
            self.voted.remove(at);
            let before = self.voted_days.remove(at);
            self.voted.push(fact.item.0);
            // A late event of a day already passed must not reopen the later day.
            let latest = if known.is_some() {
                day.max(before)
            } else {
                day
            };
            self.voted_days.push(latest);
            return known.is_none() || day > before;
        }
        self.voted.push(fact.item.0);
        self.voted_days.push(day);
        true
    }

    fn touch_session(&mut self, fact: &Fact, max_items: usize, effects: &mut Effects<'_>) {
        let item = fact.item.0;
        if self.session_items.len() >= max_items || find(&self.session_items, item).is_some() {
            return;
        }
        self.session_items.push(item);
        let touch = match self.session_items.as_slice() {
            [_] => return,
            [first, second] => SessionTouch::Start(ItemIx(*first), ItemIx(*second)),
            _ => SessionTouch::Append(fact.item),
        };
        effects.touch(fact.user, touch);
    }

    fn fold_relation(
        &mut self,
        r: usize,
        relation: &Relation,
        fact: &Fact,
        session: Boundary,
        effects: &mut Effects<'_>,
    ) {
        let session_number = u64::from(self.session_number);
        let key = match (relation.unit, fact.basket) {
            (Unit::Session, _) => session_number,
            (Unit::User, _) => 0,
            (Unit::Basket, Some(basket)) => basket,
            (Unit::Basket, None) => return,
        };
        let unit = self.units[r].get_or_insert_with(Box::default);
        let boundary = match relation.unit {
            Unit::Session if session == Boundary::Late => Boundary::Late,
            Unit::User => unit.run.step(None, fact.ts, relation.gap_ms),
            Unit::Session | Unit::Basket if unit.items.is_empty() || unit.key != key => {
                Boundary::New
            }
            Unit::Session | Unit::Basket => Boundary::Same,
        };
        if boundary == Boundary::Late {
            let mut alone = UnitState::default();
            return alone.enter(r, relation, fact, effects);
        }
        if boundary == Boundary::New {
            unit.items.clear();
            unit.stamps.clear();
            unit.key = key;
        }
        unit.enter(r, relation, fact, effects);
    }

    /// Writes the user.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        write_run(&self.session, w);
        w.uint(u64::from(self.session_number));
        w.uint(self.session_items.len() as u64);
        self.session_items
            .iter()
            .for_each(|item| w.item(ItemIx(*item)));
        w.uint(self.voted.len() as u64);
        for (item, day) in self.voted.iter().zip(&self.voted_days) {
            w.item(ItemIx(*item));
            w.uint(u64::from(*day));
        }
        for unit in &self.units {
            w.byte(u8::from(unit.is_some()));
            if let Some(unit) = unit {
                unit.write(w);
            }
        }
    }

    /// Reads a user of a configuration with this many relations.
    pub fn read(r: &mut PartReader<'_>, relations: usize) -> ReadResult<Self> {
        let mut user = Self::new(0);
        user.session = read_run(r)?;
        user.session_number = r.uint32()?;
        for _ in 0..r.len(1)? {
            user.session_items.push(r.item()?.0);
        }
        for _ in 0..r.len(2)? {
            user.voted.push(r.item()?.0);
            user.voted_days.push(r.uint32()?);
        }
        for _ in 0..relations {
            user.units.push(if r.byte()? == 1 {
                Some(Box::new(UnitState::read(r)?))
            } else {
                None
            });
        }
        Ok(user)
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        let unit = |u: &UnitState| {
            size_of::<UnitState>() + u.items.capacity() * 4 + u.stamps.capacity() * 8
        };
        size_of::<Self>()
            + self.session_items.capacity() * 4
            + (self.voted.capacity() + self.voted_days.capacity()) * 4
            + self.units.capacity() * 8
            + self.units.iter().flatten().map(|u| unit(u)).sum::<usize>()
    }
}

impl UnitState {
    /// Brings an item in on the sides that the event is on, drawing pairs with the window.
    fn enter(&mut self, r: usize, relation: &Relation, fact: &Fact, effects: &mut Effects<'_>) {
        let seconds = (fact.ts / 1000).clamp(0, i64::from(NEVER) - 1) as u32;
        let known = find(&self.items, fact.item.0);
        if known.is_none() && self.items.len() >= relation.unit_cap {
            self.items.clear();
            self.stamps.clear();
        }
        let at = known.unwrap_or(self.items.len());
        let before = known.map_or(
            Stamps {
                from: NEVER,
                to: NEVER,
            },
            |at| self.stamps[at],
        );
        let new_from = fact.flags.is_from(r) && before.from == NEVER;
        let new_to = fact.flags.is_to(r) && before.to == NEVER;
        if !new_from && !new_to {
            return;
        }
        let epoch = relation.decay.epoch(fact.clock);
        let span = |stamp: u32| {
            relation
                .decay
                .weight_span(Millis::from(stamp) * 1000, epoch)
        };
        // Touches of a unit are often so close together that they weigh the same.
        let mut latest = span(seconds);
        let own = latest.weight();
        if known.is_none() && new_from && new_to && own > 0 {
            let start = self.items.len().saturating_sub(relation.window);
            let (first, until) = latest.seconds();
            // Without a branch, because all of them nearly always do. A side never entered is none of them.
            let weighs =
                |at: u32| (at.min(seconds) >= first) & (at.min(seconds) < until) & (at != NEVER);
            let stamps = self.stamps[start..].iter();
            if stamps.fold(true, |all, s| all & weighs(s.from) & weighs(s.to)) {
                let partners = &self.items[start..];
                effects.pair_evenly(r, fact.item, epoch, own as u16, partners);
                self.items.push(fact.item.0);
                self.stamps.push(Stamps {
                    from: seconds,
                    to: seconds,
                });
                return;
            }
        }
        let mut draws = |stamp: u32| {
            if stamp == NEVER {
                return 0;
            }
            let older = stamp.min(seconds);
            let weight = latest.of(Millis::from(older) * 1000).unwrap_or_else(|| {
                latest = span(older);
                latest.weight()
            });
            weight as u16
        };
        let start = self
            .items
            .len()
            .saturating_sub(relation.window + usize::from(known.is_some()));
        let items = self.items[start..].iter().zip(&self.stamps[start..]);
        let window = items
            .rev()
            .filter(|(item, _)| **item != fact.item.0)
            .take(relation.window);
        let partners = window.filter_map(|(item, stamps)| {
            let into = if new_to { draws(stamps.from) } else { 0 };
            let out = if new_from { draws(stamps.to) } else { 0 };
            (into > 0 || out > 0).then_some(Partner {
                item: ItemIx(*item),
                into,
                out,
            })
        });
        let units = (if new_from { own } else { 0 }, if new_to { own } else { 0 });
        effects.pair(r, fact.item, epoch, units, partners);
        if known.is_none() {
            self.items.push(fact.item.0);
            self.stamps.push(before);
        }
        let stamps = &mut self.stamps[at];
        if new_from {
            stamps.from = seconds;
        }
        if new_to {
            stamps.to = seconds;
        }
    }

    fn write(&self, w: &mut PartWriter<'_>) {
        w.uint(self.key);
        write_run(&self.run, w);
        w.uint(self.items.len() as u64);
        for (item, stamps) in self.items.iter().zip(&self.stamps) {
            w.item(ItemIx(*item));
            w.uint(u64::from(stamps.from));
            w.uint(u64::from(stamps.to));
        }
    }

    fn read(r: &mut PartReader<'_>) -> ReadResult<Self> {
        let mut unit = Self {
            key: r.uint()?,
            run: read_run(r)?,
            ..Self::default()
        };
        for _ in 0..r.len(3)? {
            unit.items.push(r.item()?.0);
            unit.stamps.push(Stamps {
                from: r.uint32()?,
                to: r.uint32()?,
            });
        }
        Ok(unit)
    }
}

/// Writes a run.
pub fn write_run(run: &Run, w: &mut PartWriter<'_>) {
    w.byte(u8::from(run.key.is_some()) | u8::from(run.last.is_some()) << 1);
    w.uint(run.key.unwrap_or_default());
    w.int(run.last.unwrap_or_default());
}

/// Reads a run.
pub fn read_run(r: &mut PartReader<'_>) -> ReadResult<Run> {
    let present = r.byte()?;
    let (key, last) = (r.uint()?, r.int()?);
    Ok(Run {
        key: (present & 1 == 1).then_some(key),
        last: (present & 2 == 2).then_some(last),
    })
}
