//! One user: recent and consumed items, the current session, activity, affinities, labels.

use crate::catalogue::{Label, read_label, write_label};
use crate::decay::Decay;
use crate::fold::fact::{Boundary, Fact, Run};
use crate::fold::rules::Flags;
use crate::ids::{ItemIx, Millis, TagIx};
use crate::names::Names;
use crate::neighbourhood::user::{read_run, write_run};
use crate::sessions::affinity::Affinities;
use crate::sessions::seen::SeenFilter;
use crate::sessions::touches::{Roles, Touch, Touches};
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Five-minute windows kept per user: the last hour.
pub const WINDOWS: usize = 12;
const WINDOW_MS: i64 = 300_000;

/// The bounds of a user's state, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct UserLimits {
    /// Distinct items remembered exactly.
    pub recent: usize,
    /// Consumed items remembered exactly.
    pub consumed: usize,
    /// Event time covered by one Bloom generation.
    pub generation_ms: i64,
    /// Longest gap inside a session.
    pub gap_ms: i64,
    /// Decay of affinities.
    pub affinity: Decay,
}

/// The session in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// Bounds of the session.
    pub run: Run,
    /// Sessions of this user so far, this one included.
    pub number: u32,
    /// Time of the first event.
    pub started: Millis,
    /// Events so far.
    pub events: u32,
    /// Items put into a cart.
    pub carts: u32,
    /// Items consumed.
    pub purchases: u32,
    /// Sum of the gaps between consecutive events: time spent looking.
    pub dwell_ms: i64,
}

/// Everything known of one user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserState {
    /// Distinct items, latest touch last.
    pub recent: Touches,
    /// Consumed items, latest last.
    pub consumed: Touches,
    /// Items whose latest event rejects them, as many as of the consumed ones.
    pub rejected: Touches,
    /// Touched items beyond `recent`.
    pub seen: SeenFilter,
    /// Consumed items beyond `consumed`.
    pub consumed_seen: SeenFilter,
    /// The current session.
    pub session: SessionState,
    /// Tag affinities.
    pub affinities: Affinities,
    /// Labels of the last `UserPut`.
    pub labels: Vec<(Box<str>, Label)>,
    /// Segment, which follows from the labels.
    pub segment: Option<u8>,
    /// Events per five-minute window, the newest window last.
    pub windows: [u16; WINDOWS],
    /// Number of the newest window.
    pub window: i64,
    /// Latest event time: the user's own clock.
    pub clock: Millis,
    /// Events counted so far.
    pub events: u64,
}

impl UserState {
    /// Takes in one event.
    pub fn fold(&mut self, fact: &Fact, tags: &[TagIx], limits: &UserLimits, names: &Names) {
        self.events += 1;
        self.clock = self.clock.max(fact.ts);
        let session = self.count_session(fact, limits.gap_ms);
        let touch = Touch {
            item: fact.item,
            ty: fact.ty,
            roles: Roles::of(fact.flags),
            weight: fact.affinity,
            ts: fact.ts,
            at: fact.at,
            session,
        };
        if let Some(gone) = self.recent.remember(touch, limits.recent) {
            self.seen
                .insert(names.item_hash(gone.item), gone.ts, limits.generation_ms);
        }
        if fact.flags.has(Flags::CONSUME)
            && let Some(gone) = self.consumed.remember(touch, limits.consumed)
        {
            self.consumed_seen
                .insert(names.item_hash(gone.item), gone.ts, limits.generation_ms);
        }
        if touch.roles.has(Roles::NEGATIVE) {
            self.rejected.remember(touch, limits.consumed);
        } else {
            self.rejected.remove(touch.item);
        }
        self.count_window(fact.ts);
        self.affinities.add(
            tags,
            fact.affinity,
            fact.ts,
            self.clock,
            &limits.affinity,
            names,
        );
    }

    /// Asks for what the next event of the user reads beyond the state's own lines.
    #[inline]
    pub fn prefetch(&self) {
        self.recent.prefetch();
        self.consumed.prefetch();
    }

    /// Number of the session that the event belongs to; 0 if it came too late for any.
    fn count_session(&mut self, fact: &Fact, gap_ms: i64) -> u32 {
        let before = self.session.run.last;
        let session = &mut self.session;
        match session.run.step(fact.session, fact.ts, gap_ms) {
            Boundary::Late => return 0,
            Boundary::New => {
                let (run, number) = (session.run, session.number.saturating_add(1));
                *session = SessionState {
                    run,
                    number,
                    started: fact.ts,
                    ..SessionState::default()
                };
            }
            Boundary::Same => {
                session.dwell_ms += before.map_or(0, |last| (fact.ts - last).max(0));
                session.started = session.started.min(fact.ts);
            }
        }
        session.events += 1;
        session.carts += u32::from(fact.flags.has(Flags::CART));
        session.purchases += u32::from(fact.flags.has(Flags::CONSUME));
        session.number
    }

    fn count_window(&mut self, ts: Millis) {
        let window = ts / WINDOW_MS;
        if self.events == 1 {
            self.window = window;
        }
        let ahead = window - self.window;
        if ahead > 0 {
            let shift = ahead.min(WINDOWS as i64) as usize;
            self.windows.rotate_left(shift);
            self.windows[WINDOWS - shift..].fill(0);
            self.window = window;
        }
        // A late event counts in its own window, or nowhere once that has passed.
        let back = (self.window - window).max(0);
        if back < WINDOWS as i64 {
            let slot = &mut self.windows[WINDOWS - 1 - back as usize];
            *slot = slot.saturating_add(1);
        }
    }

    /// Whether the user touched the item: exactly, or by the filter beyond.
    pub fn touched(&self, item: ItemIx, names: &Names) -> bool {
        self.recent.contains(item) || self.seen.contains(names.item_hash(item))
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.recent.memory()
            + self.consumed.memory()
            + self.rejected.memory()
            + self.seen.memory()
            + self.consumed_seen.memory()
            + self.affinities.memory()
            + self
                .labels
                .iter()
                .map(|(k, _)| k.len() + size_of::<Label>() + 16)
                .sum::<usize>()
    }

    /// Writes the user.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        self.recent.write(w);
        self.consumed.write(w);
        self.rejected.write(w);
        self.seen.write(w);
        self.consumed_seen.write(w);
        let s = &self.session;
        write_run(&s.run, w);
        w.int(s.started);
        w.int(s.dwell_ms);
        for count in [s.number, s.events, s.carts, s.purchases] {
            w.uint(u64::from(count));
        }
        self.affinities.write(w);
        w.uint(self.labels.len() as u64);
        for (key, label) in &self.labels {
            w.text(key);
            write_label(label, w);
        }
        self.windows
            .iter()
            .for_each(|count| w.uint(u64::from(*count)));
        w.int(self.window);
        w.int(self.clock);
        w.uint(self.events);
    }

    /// Reads a user.
    pub fn read(r: &mut PartReader<'_>) -> ReadResult<Self> {
        let mut user = Self {
            recent: Touches::read(r)?,
            consumed: Touches::read(r)?,
            rejected: Touches::read(r)?,
            ..Self::default()
        };
        user.seen = SeenFilter::read(r)?;
        user.consumed_seen = SeenFilter::read(r)?;
        user.session = SessionState {
            run: read_run(r)?,
            started: r.int()?,
            dwell_ms: r.int()?,
            number: r.uint32()?,
            events: r.uint32()?,
            carts: r.uint32()?,
            purchases: r.uint32()?,
        };
        user.affinities = Affinities::read(r)?;
        for _ in 0..r.len(2)? {
            let key = r.text()?.into();
            user.labels.push((key, read_label(r)?));
        }
        for count in &mut user.windows {
            *count = u16::try_from(r.uint()?)
                .map_err(|_| r.broken("a window count of more than 16 bits"))?;
        }
        user.window = r.int()?;
        user.clock = r.int()?;
        user.events = r.uint()?;
        Ok(user)
    }
}
