//! What one user partition makes of its frames: admission, sessions, and the effects on everyone else's parts.

use xxhash_rust::xxh3::xxh3_128;

use crate::admission::events::{EventLedger, EventVerdict};
use crate::admission::frames::{FrameLedger, FrameVerdict};
use crate::admission::rapid::RapidLedger;
use crate::catalogue::{Catalogue, Label};
use crate::config::FoldConfig;
use crate::fold::batch::{FrameNumbers, Numbered};
use crate::fold::fact::Fact;
use crate::fold::light_user::LightUser;
use crate::fold::merging::Identities;
use crate::fold::outbox::Outbox;
use crate::fold::ownership::Ownership;
use crate::fold::report::outcome;
use crate::fold::rules::{Flags, TypeRules};
use crate::frame::event::{Decoded, Event, Feedback};
use crate::frame::header::Frame;
use crate::frame::item::LabelValue;
use crate::ids::{EventRef, Position, UserIx, owner, stable_hash};
use crate::intern::Interner;
use crate::names::Names;
use crate::neighbourhood::Relation;
use crate::neighbourhood::user::HoodUser;
use crate::search::{prefetch, prefetch_all};
use crate::sessions::segments::Segments;
use crate::sessions::user::{UserLimits, UserState};

/// Event types told apart per partition; further ones are remembered as "other".
const MAX_TYPES: usize = 255;

/// State of one user partition.
#[derive(Debug)]
pub struct Partition {
    pub(super) number: usize,
    pub(super) types: Interner,
    pub(super) users: Vec<Option<Box<UserState>>>,
    pub(super) frames: FrameLedger,
    pub(super) events: EventLedger,
    pub(super) rapid: RapidLedger,
    pub(super) segments: Segments,
    pub(super) identities: Identities,
    /// Users, where what they did is not kept.
    pub(super) light: Vec<Option<LightUser>>,
    /// Events of a type come in runs; what follows from the name is looked up once a run. No state.
    latest_type: LatestType,
}

#[derive(Debug, Default)]
struct LatestType {
    name: String,
    hash: u64,
    rule: Option<u32>,
    number: Option<u16>,
}

/// Everything that a partition reads while it folds.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Names of items and tags.
    pub names: &'a Names,
    /// Owner of each item.
    pub owners: &'a [(u16, u32)],
    /// Tags of items.
    pub catalogue: &'a Catalogue,
    /// Meaning of types.
    pub rules: &'a TypeRules,
    /// Relations.
    pub relations: &'a [Relation],
    /// Bounds of users.
    pub limits: &'a UserLimits,
    /// Bound of a session in the neighbourhood.
    pub max_session_items: usize,
    /// What is kept here.
    pub ownership: &'a Ownership,
}

impl Partition {
    /// An empty partition.
    pub fn new(number: usize, config: &FoldConfig) -> Self {
        Self {
            number,
            types: Interner::default(),
            users: Vec::new(),
            frames: FrameLedger::default(),
            events: EventLedger::new(config.dedup_horizon),
            rapid: RapidLedger::new((config.rapid_repeat_seconds * 1000.0) as i64),
            segments: Segments::new(&config.segments),
            identities: Identities::default(),
            light: Vec::new(),
            latest_type: LatestType::default(),
        }
    }

    /// State of a user.
    pub fn user(&self, user: UserIx) -> Option<&UserState> {
        self.users.get(user.0 as usize)?.as_deref()
    }

    /// Name of the segment that a user belongs to.
    pub fn segment_of(&self, user: UserIx) -> Option<&str> {
        let light = || self.light.get(user.0 as usize)?.as_ref()?.segment;
        let segment = self.user(user).map_or_else(light, |user| user.segment)?;
        self.segments.name(segment)
    }

    /// Whether anything is known of a user, here or by who keeps what users did.
    pub(super) fn has_state(&self, user: UserIx) -> bool {
        let light = self.light.get(user.0 as usize);
        self.user(user).is_some() || light.is_some_and(Option::is_some)
    }

    /// Users with state.
    pub fn users(&self) -> usize {
        self.users.iter().flatten().count()
    }

    /// Name of an event type as touches store it.
    pub fn type_name(&self, ty: u16) -> &str {
        self.types.name(u32::from(ty))
    }

    /// Highest frame number received from a producer in an epoch.
    pub fn high_water(&self, producer: u64, epoch: u64) -> Option<u64> {
        self.frames.high_water(producer, epoch)
    }

    /// Bytes held by users and by admission.
    pub fn memory(&self) -> (usize, usize) {
        let light = self.light.iter().flatten().map(LightUser::memory);
        let light = self.light.capacity() * size_of::<Option<LightUser>>() + light.sum::<usize>();
        let users = (self.users.capacity() * 8 + light)
            + self
                .users
                .iter()
                .flatten()
                .map(|u| u.memory())
                .sum::<usize>();
        let users = users + self.identities.memory();
        (users, self.events.memory() + self.rapid.memory())
    }

    /// Whether a frame counts. Asked in log order, before its items are numbered: a frame that is set aside leaves no
    /// trace.
    pub fn admit(&mut self, frame: &Frame<'_>) -> FrameVerdict {
        self.frames
            .admit(frame.producer, frame.epoch, frame.sequence)
    }

    /// Folds one frame of this partition that was admitted, or notes that it was not.
    #[allow(clippy::too_many_arguments)]
    pub fn fold(
        &mut self,
        position: Position,
        verdict: FrameVerdict,
        events: &[Decoded<'_>],
        numbers: &FrameNumbers,
        users: &mut Interner,
        hood: &mut Vec<Option<Box<HoodUser>>>,
        cx: &Context<'_>,
        out: &mut Outbox,
    ) {
        if let Some(code) = verdict.set_aside() {
            out.report.counts.add(code, events.len() as u64);
            return out.end_frame();
        }
        let mut served = numbers.served.as_slice();
        let mut applied = 0;
        let mut next_id = events.first().and_then(id_hash);
        for (index, (event, number)) in events.iter().zip(&numbers.events).enumerate() {
            let at = EventRef::new(position, index as u16);
            let id = next_id;
            next_id = events.get(index + 1).and_then(id_hash);
            if let Some(next) = next_id {
                self.events.prefetch(next);
            }
            self.ask_ahead(&numbers.events[index..], users, hood, cx);
            match event {
                Ok(Event::Feedback(feedback)) => {
                    match self.feedback(at, feedback, id, number, users, hood, cx, out) {
                        Ok(()) => applied += 1,
                        Err(Aside::Counted(code)) => out.report.counts.add(code, 1),
                        Err(Aside::Refused(code)) => out.report.refuse(at, code),
                    }
                }
                Ok(Event::UserPut { user, labels, .. }) => {
                    self.put_user(at, user, labels, users, cx, out)
                }
                Ok(Event::UserForget { user, .. }) => self.forget(at, user, users, hood, cx, out),
                Ok(Event::UserMerge { from, into, .. }) => {
                    self.seal(at, from, into, users, cx, out)
                }
                Ok(Event::MergeCarried {
                    from,
                    into,
                    ts,
                    sealed,
                    ..
                }) => {
                    let carried = numbers.carried.as_deref();
                    self.take_in(at, (from, into), *ts, *sealed, carried, users, cx, out)
                }
                Ok(Event::MergeSettled { from, sealed, .. }) => {
                    self.settle(at, from, *sealed, users, cx, out)
                }
                Ok(Event::SlateServed { items, .. }) if number.user.is_some() => {
                    let (own, later) = served.split_at(items.len());
                    if cx.ownership.keeps_items() {
                        out.serve(own, cx.owners);
                    }
                    served = later;
                    out.report.counts.add(outcome::RECORDED, 1);
                }
                Ok(Event::Impression { .. }) => out.report.counts.add(outcome::RECORDED, 1),
                Ok(_) => out.report.refuse(at, outcome::WRONG_SUBJECT),
                Err(error) => out.report.refuse(at, error.code()),
            }
        }
        if applied > 0 {
            out.report.counts.add(outcome::APPLIED, applied);
        }
        out.end_frame();
    }

    /// Asks for what the next events read of their items and users, each a step further the sooner it comes: where it is,
    /// then it. Of a large catalogue and many users nothing is in a cache. Events of one user often follow each other.
    #[inline(always)]
    fn ask_ahead(
        &self,
        numbers: &[Numbered],
        users: &Interner,
        hood: &[Option<Box<HoodUser>>],
        cx: &Context<'_>,
    ) {
        let another = |ahead: usize| match numbers.get(ahead)?.user {
            user if user == numbers[ahead - 1].user => None,
            user => user,
        };
        if let Some(hash) = another(6) {
            users.ask_for_place(hash);
        }
        if let Some(user) = another(4).and_then(|hash| users.ask_for_name(hash)) {
            prefetch(&self.users, user as usize);
            prefetch(hood, user as usize);
            self.rapid.prefetch(UserIx(user));
        }
        let state = |user: u32| self.users.get(user as usize)?.as_deref();
        let neighbour = |user: u32| hood.get(user as usize)?.as_deref();
        if let Some(user) = another(2).and_then(|hash| users.ask_for_name(hash)) {
            state(user).into_iter().for_each(prefetch_all);
            neighbour(user).into_iter().for_each(prefetch_all);
        }
        if let Some(user) = another(1).and_then(|hash| users.ask_for_name(hash)) {
            state(user).into_iter().for_each(UserState::prefetch);
            neighbour(user).into_iter().for_each(HoodUser::prefetch);
        }
        if let Some(Numbered {
            user: Some(_),
            item,
            ..
        }) = numbers.get(2)
        {
            prefetch(cx.owners, item.0 as usize);
            cx.names.items.ask_for_hash(item.0);
            cx.catalogue.prefetch_tags(*item, false);
        }
    }

    /// The user's number, if this partition owns them.
    pub(super) fn own(&self, user: &str, users: &mut Interner, cx: &Context<'_>) -> Option<UserIx> {
        let hash = stable_hash(user.as_bytes());
        (owner(hash, cx.names.partitions) == self.number).then(|| UserIx(users.intern(hash, user)))
    }

    #[allow(clippy::too_many_arguments)]
    fn feedback(
        &mut self,
        at: EventRef,
        feedback: &Feedback<'_>,
        id: Option<u128>,
        number: &Numbered,
        users: &mut Interner,
        hood: &mut Vec<Option<Box<HoodUser>>>,
        cx: &Context<'_>,
        out: &mut Outbox,
    ) -> Result<(), Aside> {
        let Some(hash) = number.user else {
            return Err(Aside::Refused(outcome::WRONG_SUBJECT));
        };
        let user = UserIx(users.intern(hash, feedback.user));
        if let Some(id) = id {
            match self.events.admit(id, feedback.ts) {
                EventVerdict::Fresh => {}
                EventVerdict::Repeat => return Err(Aside::Counted(outcome::REPEAT_EVENT)),
                EventVerdict::BeyondHorizon => {
                    return Err(Aside::Refused(outcome::BEYOND_HORIZON));
                }
            }
        }
        if self.latest_type.name != feedback.ty {
            self.latest_type = self.look_up_type(feedback.ty, cx.rules);
        }
        let ty = &self.latest_type;
        let (flags, affinity) = cx.rules.classify(ty.rule, feedback.value);
        if flags.has(Flags::IMPRESSION) {
            return Err(Aside::Counted(outcome::EXPOSURE));
        }
        let key = cx.names.item_hash(number.item) ^ ty.hash.rotate_left(17);
        if !self.rapid.admit(user, key, feedback.ts) {
            return Err(Aside::Counted(outcome::RAPID_REPEAT));
        }
        self.identities.came_back(user);
        let (ty, segment) = match cx.ownership.keeps_users() {
            true => {
                let ty = self.number_of_latest_type();
                let state = slot(&mut self.users, user).get_or_insert_with(Box::default);
                (ty, state.segment)
            }
            // Types are told apart for what users remember, and for nothing else.
            false => {
                let light = slot(&mut self.light, user).get_or_insert_with(LightUser::default);
                (0, light.segment)
            }
        };
        let fact = Fact {
            user,
            item: number.item,
            ty,
            flags,
            affinity,
            ts: feedback.ts,
            clock: number.clock,
            at,
            session: feedback.session.map(|s| stable_hash(s.as_bytes())),
            basket: feedback.basket.map(|b| stable_hash(b.as_bytes())),
            segment,
        };
        if cx.ownership.keeps_items() {
            let neighbour =
                slot(hood, user).get_or_insert_with(|| Box::new(HoodUser::new(cx.relations.len())));
            let (gap, most) = (cx.limits.gap_ms, cx.max_session_items);
            neighbour.fold(&fact, cx.relations, gap, most, &mut out.effects(cx.owners));
        }
        if let Some(state) = self
            .users
            .get_mut(user.0 as usize)
            .and_then(Option::as_deref_mut)
        {
            state.fold(&fact, cx.catalogue.tags(fact.item), cx.limits, cx.names);
        }
        Ok(())
    }

    fn look_up_type(&self, ty: &str, rules: &TypeRules) -> LatestType {
        LatestType {
            name: ty.to_string(),
            hash: stable_hash(ty.as_bytes()),
            rule: rules.find(ty),
            number: self.types.get(ty).map(|ix| ix as u16),
        }
    }

    /// Number of the latest type in the partition's dictionary, given one if it has none: only events that count do.
    fn number_of_latest_type(&mut self) -> u16 {
        if let Some(number) = self.latest_type.number {
            return number;
        }
        let name = std::mem::take(&mut self.latest_type.name);
        let number = self.number_of(&name);
        self.latest_type.name = name;
        *self.latest_type.number.insert(number)
    }

    /// Number of a type in the partition's dictionary, given one if it has none and there is room.
    pub(super) fn number_of(&mut self, ty: &str) -> u16 {
        if let Some(known) = self.types.get(ty) {
            return known as u16;
        }
        let known = self.types.len() < MAX_TYPES;
        self.types.intern_str(if known { ty } else { "other" }) as u16
    }

    fn put_user(
        &mut self,
        at: EventRef,
        user: &str,
        labels: &[(&str, LabelValue<'_>)],
        users: &mut Interner,
        cx: &Context<'_>,
        out: &mut Outbox,
    ) {
        let Some(user) = self.own(user, users, cx) else {
            return out.report.refuse(at, outcome::WRONG_SUBJECT);
        };
        self.identities.came_back(user);
        let mut labels: Vec<(Box<str>, Label)> = labels
            .iter()
            .filter_map(|(key, value)| Some(((*key).into(), owned_label(value)?)))
            .collect();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        let segment = self.segments.of(&labels);
        if cx.ownership.keeps_users() {
            let state = slot(&mut self.users, user).get_or_insert_with(Box::default);
            (state.labels, state.segment) = (labels, segment);
        } else {
            *slot(&mut self.light, user) = Some(LightUser { labels, segment });
        }
        out.report.counts.add(outcome::APPLIED, 1);
    }

    fn forget(
        &mut self,
        at: EventRef,
        user: &str,
        users: &mut Interner,
        hood: &mut Vec<Option<Box<HoodUser>>>,
        cx: &Context<'_>,
        out: &mut Outbox,
    ) {
        let Some(user) = self.own(user, users, cx) else {
            return out.report.refuse(at, outcome::WRONG_SUBJECT);
        };
        if let Some(known) = self.users.get_mut(user.0 as usize) {
            *known = None;
        }
        if let Some(known) = self.light.get_mut(user.0 as usize) {
            *known = None;
        }
        self.rapid.forget(user);
        self.identities.forget(user);
        if cx.ownership.keeps_items() {
            *slot(hood, user) = None;
            out.forget(user);
        }
        out.report.counts.add(outcome::APPLIED, 1);
    }
}

/// Why feedback changes nothing.
enum Aside {
    /// It is counted by this name.
    Counted(&'static str),
    /// It is counted and named among the latest refusals.
    Refused(&'static str),
}

/// What admission knows feedback by.
fn id_hash(event: &Decoded<'_>) -> Option<u128> {
    match event {
        Ok(Event::Feedback(Feedback { event_id, .. })) => {
            event_id.map(|id| xxh3_128(id.as_bytes()))
        }
        _ => None,
    }
}

/// The place of a user, made if it is not there.
pub(super) fn slot<T>(slots: &mut Vec<Option<T>>, user: UserIx) -> &mut Option<T> {
    let ix = user.0 as usize;
    if slots.len() <= ix {
        slots.resize_with(ix + 1, || None);
    }
    &mut slots[ix]
}

/// A label as state keeps it; nil is no label.
pub fn owned_label(value: &LabelValue<'_>) -> Option<Label> {
    Some(match value {
        LabelValue::Nil => return None,
        LabelValue::Bool(flag) => Label::Bool(*flag),
        LabelValue::Int(int) => Label::Int(*int),
        LabelValue::Float(float) => Label::Float(*float),
        LabelValue::Str(text) => Label::Text((*text).into()),
        LabelValue::Tags(tags) => Label::Tags(tags.iter().map(|t| Box::from(*t)).collect()),
    })
}
