//! Merges: one user turns out to be another (ADR 0024).
//!
//! Three events in two partitions, because the partition of the one cannot see the other's:
//!
//! 1. `UserMerge` in the partition of `from` *seals* what is known of them: from here on it is frozen, and the id stands
//!    for `into`. Later events of `from` make a new state, which the next `UserMerge` seals.
//! 2. `MergeCarried` in the partition of `into` brings what was sealed.
//! 3. `MergeSettled` in the partition of `from` lets go of it.
//!
//! A writer that dies in between leaves a sealed state behind, which any writer can carry: it is a function of the log.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_128;

use crate::admission::events::EventVerdict;
use crate::fold::light_user::LightUser;
use crate::fold::outbox::Outbox;
use crate::fold::partition::{Context, Partition, slot};
use crate::fold::report::outcome;
use crate::ids::{EventRef, Millis, UserIx};
use crate::intern::Interner;
use crate::names::Names;
use crate::sessions::carried::Carried;
use crate::sessions::join::join_labels;
use crate::sessions::user::{UserLimits, UserState};
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// What was sealed and is not carried yet.
#[derive(Debug)]
struct Sealed {
    state: UserState,
    rapid: Vec<(u64, Millis)>,
}

/// A user who turned out to be another.
#[derive(Debug)]
struct Merged {
    into: Box<str>,
    /// The event that sealed their state last.
    at: EventRef,
    sealed: Option<Box<Sealed>>,
}

/// What a partition knows of its users beside their state.
#[derive(Debug, Default)]
pub struct Identities {
    merged: BTreeMap<u32, Merged>,
    /// Users who were forgotten and have not come back.
    forgotten: BTreeSet<u32>,
}

const KIND_MERGED: u8 = 5;
const KIND_FORGOTTEN: u8 = 6;

impl Identities {
    /// The user is known by something that counts.
    #[inline]
    pub fn came_back(&mut self, user: UserIx) {
        if !self.forgotten.is_empty() {
            self.forgotten.remove(&user.0);
        }
    }

    /// The user is forgotten, whoever they turned out to be.
    pub fn forget(&mut self, user: UserIx) {
        self.merged.remove(&user.0);
        self.forgotten.insert(user.0);
    }

    /// Bytes held, roughly: an entry of a tree, an id, what is sealed.
    pub fn memory(&self) -> usize {
        let sealed = |m: &Merged| m.sealed.as_ref().map_or(0, |s| s.state.memory());
        let merged = self.merged.values().map(|m| 64 + m.into.len() + sealed(m));
        merged.sum::<usize>() + self.forgotten.len() * 8
    }

    /// Writes all, each user an entity.
    pub fn write(&self, users: &Interner, w: &mut PartWriter<'_>) {
        for (user, merged) in &self.merged {
            w.entity(KIND_MERGED, |w| {
                w.text(users.name(*user));
                w.text(&merged.into);
                w.uint(merged.at.0);
                w.byte(u8::from(merged.sealed.is_some()));
                if let Some(sealed) = &merged.sealed {
                    w.uint(sealed.rapid.len() as u64);
                    for (key, ts) in &sealed.rapid {
                        w.uint(*key);
                        w.int(*ts);
                    }
                    sealed.state.write(w);
                }
            });
        }
        for user in &self.forgotten {
            w.entity(KIND_FORGOTTEN, |w| w.text(users.name(*user)));
        }
    }

    /// Reads one entity of kind `kind`, of users numbered by `user`; `false` if the kind is not ours.
    pub fn read(
        &mut self,
        kind: u8,
        r: &mut PartReader<'_>,
        user: &mut dyn FnMut(&str) -> Option<UserIx>,
    ) -> ReadResult<bool> {
        if kind != KIND_MERGED && kind != KIND_FORGOTTEN {
            return Ok(false);
        }
        let Some(user) = user(r.text()?) else {
            return Err(r.broken("a user of another partition"));
        };
        if kind == KIND_FORGOTTEN {
            self.forgotten.insert(user.0);
            return Ok(true);
        }
        let (into, at) = (r.text()?.into(), EventRef(r.uint()?));
        let sealed = match r.byte()? {
            0 => None,
            _ => {
                let mut rapid = Vec::new();
                for _ in 0..r.len(2)? {
                    rapid.push((r.uint()?, r.int()?));
                }
                let state = UserState::read(r)?;
                Some(Box::new(Sealed { state, rapid }))
            }
        };
        self.merged.insert(user.0, Merged { into, at, sealed });
        Ok(true)
    }

    /// States that are sealed.
    pub fn sealed(&self) -> impl Iterator<Item = &UserState> {
        let sealed = self.merged.values().filter_map(|m| m.sealed.as_ref());
        sealed.map(|sealed| &sealed.state)
    }
}

/// What was sealed of a user, ready to be carried.
#[derive(Debug)]
pub struct Moving {
    /// Who they turned out to be.
    pub into: String,
    /// The event that sealed it.
    pub sealed: EventRef,
    /// The state, as an event carries it.
    pub state: Vec<u8>,
}

impl Partition {
    /// Who the user turned out to be, one step, and whether something of them is left to be carried or sealed.
    pub fn merged_into(&self, user: UserIx) -> Option<(&str, bool)> {
        let merged = self.identities.merged.get(&user.0)?;
        let left = merged.sealed.is_some() || self.has_state(user);
        Some((&merged.into, left))
    }

    /// Whether the user was forgotten and has not come back.
    pub fn is_forgotten(&self, user: UserIx) -> bool {
        self.identities.forgotten.contains(&user.0)
    }

    /// Merged users: number, who they turned out to be, and whether something of them is left to be carried or sealed.
    pub fn merged(&self) -> impl Iterator<Item = (UserIx, &str, bool)> {
        let users = self.identities.merged.keys().map(|user| UserIx(*user));
        users.filter_map(|user| {
            let (into, left) = self.merged_into(user)?;
            Some((user, into, left))
        })
    }

    /// Whether this partition remembers an event of this id.
    pub fn knows_event(&self, id: &str) -> bool {
        self.events.contains(xxh3_128(id.as_bytes()))
    }

    /// What is sealed of the user.
    pub fn moving(&self, user: UserIx, limits: &UserLimits, names: &Names) -> Option<Moving> {
        let merged = self.identities.merged.get(&user.0)?;
        let sealed = merged.sealed.as_ref()?;
        let carried = Carried::of(&sealed.state, &sealed.rapid, &self.types);
        Some(Moving {
            into: merged.into.to_string(),
            sealed: merged.at,
            state: carried.encode(limits, names),
        })
    }

    /// Seals what is known of a user who turned out to be another.
    pub(super) fn seal(
        &mut self,
        at: EventRef,
        from: &str,
        into: &str,
        users: &mut Interner,
        cx: &Context<'_>,
        out: &mut Outbox,
    ) {
        let Some(user) = self.own(from, users, cx) else {
            return out.report.refuse(at, outcome::WRONG_SUBJECT);
        };
        if from == into {
            return out.report.refuse(at, outcome::MERGED_WITH_ITSELF);
        }
        let known = self.identities.merged.get(&user.0);
        if known.is_some_and(|known| *known.into != *into) {
            return out.report.refuse(at, outcome::MERGED_ELSEWHERE);
        }
        if known.is_some_and(|known| known.sealed.is_some() || !self.has_state(user)) {
            // What was sealed is carried first; where nothing new came, nothing moves.
            return out.report.counts.add(outcome::REPEAT_EVENT, 1);
        }
        let state = self.take_state(user);
        let rapid = self.rapid.take(user);
        let sealed = state.map(|state| Box::new(Sealed { state, rapid }));
        self.identities.forgotten.remove(&user.0);
        let into = into.into();
        let merged = Merged { into, at, sealed };
        self.identities.merged.insert(user.0, merged);
        out.report.counts.add(outcome::APPLIED, 1);
    }

    /// Takes away what is known of a user; where what they did is not kept, nothing but that there was something.
    fn take_state(&mut self, user: UserIx) -> Option<UserState> {
        let ix = user.0 as usize;
        if let Some(state) = self.users.get_mut(ix).and_then(Option::take) {
            return Some(*state);
        }
        let light = self.light.get_mut(ix).and_then(Option::take);
        light.map(|_| UserState::default())
    }

    /// Lets go of what was carried.
    pub(super) fn settle(
        &mut self,
        at: EventRef,
        from: &str,
        sealed: EventRef,
        users: &mut Interner,
        cx: &Context<'_>,
        out: &mut Outbox,
    ) {
        let Some(user) = self.own(from, users, cx) else {
            return out.report.refuse(at, outcome::WRONG_SUBJECT);
        };
        let merged = self.identities.merged.get_mut(&user.0);
        match merged.filter(|merged| merged.at == sealed && merged.sealed.is_some()) {
            Some(merged) => {
                merged.sealed = None;
                out.report.counts.add(outcome::APPLIED, 1);
            }
            None => out.report.counts.add(outcome::REPEAT_EVENT, 1),
        }
    }

    /// Takes in what was sealed of another user, once.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn take_in(
        &mut self,
        at: EventRef,
        (from, into): (&str, &str),
        ts: Millis,
        sealed: EventRef,
        carried: Option<&Carried>,
        users: &mut Interner,
        cx: &Context<'_>,
        out: &mut Outbox,
    ) {
        let Some(user) = self.own(into, users, cx) else {
            return out.report.refuse(at, outcome::WRONG_SUBJECT);
        };
        let Some(carried) = carried else {
            return out.report.refuse(at, outcome::BAD_CARRIED);
        };
        if from == into {
            return out.report.refuse(at, outcome::MERGED_WITH_ITSELF);
        }
        if self.is_forgotten(user) {
            return out.report.refuse(at, outcome::INTO_FORGOTTEN);
        }
        // No id that a producer gives has a control character.
        let id = format!("merge\0{from}\0{}", sealed.0);
        match self.events.admit(xxh3_128(id.as_bytes()), ts) {
            EventVerdict::Fresh => {}
            EventVerdict::Repeat => return out.report.counts.add(outcome::REPEAT_EVENT, 1),
            EventVerdict::BeyondHorizon => return out.report.refuse(at, outcome::BEYOND_HORIZON),
        }
        self.rapid.join(user, &carried.rapid);
        if cx.ownership.keeps_users() {
            let numbers: Vec<u16> = carried.types.iter().map(|t| self.number_of(t)).collect();
            let mut carried = carried.clone();
            carried.each_touch(|touch| touch.ty = numbers[usize::from(touch.ty)]);
            let state = slot(&mut self.users, user).get_or_insert_with(Box::default);
            state.join(carried.state, cx.limits, cx.names);
            state.segment = self.segments.of(&state.labels);
        } else {
            let light = slot(&mut self.light, user).get_or_insert_with(LightUser::default);
            join_labels(&mut light.labels, carried.state.labels.clone());
            light.segment = self.segments.of(&light.labels);
        }
        if cx.ownership.keeps_items() {
            out.join(from, user);
        }
        out.report.counts.add(outcome::APPLIED, 1);
    }
}
