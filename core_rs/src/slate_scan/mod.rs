//! A log's slates and what was answered to them, as columns of numbers: what a report counts.
//!
//! Frames go in by batches, in log order. Which frames and events count is decided by the same readers and the same ledger of
//! frame numbers as in the fold. Texts are numbered, so that a report joins and groups numbers.
//!
//! * `rows`: what one frame says. Frames are read in parallel, then numbered in order.

mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};

use rayon::prelude::*;

use crate::admission::frames::FrameLedger;
use crate::frame::event::Feedback;
use crate::frame::header::Subject;
use crate::ids::Millis;
use crate::intern::Interner;
use rows::{FrameRows, Row, Slate, frame_rows};

/// The number of a text that is not there.
pub const NONE: u32 = u32::MAX;
/// The slot of an answer that names none.
pub const NO_SLOT: u32 = u32::MAX;

/// A row for each slate record.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct SlateColumns {
    pub slate: Vec<u32>,
    pub user: Vec<u32>,
    pub ts: Vec<Millis>,
    pub scenario: Vec<u32>,
    pub variant: Vec<u32>,
    pub config: Vec<u32>,
    pub position: Vec<u64>,
    /// How many slots it has.
    pub slots: Vec<u32>,
}

/// A row for each slot, in the order of the slates.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct SlotColumns {
    pub item: Vec<u32>,
    pub source: Vec<u32>,
}

/// A row for each feedback that names a slate or is of a wanted type.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct AnswerColumns {
    pub ty: Vec<u32>,
    pub user: Vec<u32>,
    pub item: Vec<u32>,
    pub ts: Vec<Millis>,
    /// NaN where there is none.
    pub value: Vec<f64>,
    pub event_id: Vec<u32>,
    pub basket: Vec<u32>,
    pub slate: Vec<u32>,
    pub slot: Vec<u32>,
    pub partition: Vec<u32>,
    pub position: Vec<u64>,
}

/// A row for each slot that an impression names.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct ViewColumns {
    pub slate: Vec<u32>,
    pub user: Vec<u32>,
    pub ts: Vec<Millis>,
    pub slot: Vec<u32>,
}

/// A row for each feedback.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct ActivityColumns {
    pub user: Vec<u32>,
    pub ts: Vec<Millis>,
}

/// Three dictionaries: ids that are named once or twice each would crowd out of the caches those that are named all the
/// time. A number means a text only together with its dictionary.
#[derive(Debug, Default)]
pub struct Texts {
    /// Users.
    pub users: Interner,
    /// Slates, events and baskets.
    pub ids: Interner,
    /// Everything else: items, types, sources, scenarios, variants, configurations.
    pub names: Interner,
}

/// Collects the columns of a log.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct SlateScan {
    pub texts: Texts,
    pub slates: SlateColumns,
    pub slots: SlotColumns,
    pub answers: AnswerColumns,
    pub views: ViewColumns,
    pub activity: ActivityColumns,
    /// Frames and events that do not count, by reason.
    pub set_aside: BTreeMap<&'static str, u64>,
    wanted: HashSet<String>,
    received: HashMap<u32, FrameLedger>,
}

impl SlateScan {
    /// A scan that keeps feedback of these types in full beside answers to slates.
    pub fn new(wanted: impl IntoIterator<Item = String>) -> Self {
        Self {
            wanted: wanted.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Takes in frames with their positions: the places of those that hold other events than are collected here. Reads them on
    /// `pool`, if there is one. O(bytes).
    pub fn add<'a>(
        &mut self,
        frames: &[(u64, &'a [u8])],
        max_future_ms: i64,
        pool: Option<&rayon::ThreadPool>,
    ) -> Vec<usize> {
        let read = |(_, frame): &(u64, &'a [u8])| frame_rows(frame, max_future_ms, &self.wanted);
        let found: Vec<_> = match pool {
            Some(pool) => pool.install(|| frames.par_iter().map(read).collect()),
            None => frames.iter().map(read).collect(),
        };
        let mut others = Vec::new();
        for (place, (found, (position, _))) in found.into_iter().zip(frames).enumerate() {
            match found {
                Ok(rows) if self.counts(&rows) => {
                    if rows.others {
                        others.push(place);
                    }
                    self.take(*position, rows);
                }
                Ok(_) => {}
                Err(fault) => self.note(fault, 1),
            }
        }
        others
    }

    fn note(&mut self, reason: &'static str, count: u64) {
        *self.set_aside.entry(reason).or_default() += count;
    }

    /// Whether a sound frame is none that was received before.
    fn counts(&mut self, rows: &FrameRows<'_>) -> bool {
        let frame = &rows.frame;
        let ledger = self.received.entry(subject_key(frame.subject)).or_default();
        let verdict = ledger.admit(frame.producer, frame.epoch, frame.sequence);
        match verdict.set_aside() {
            None => true,
            Some(reason) => {
                self.note(reason, u64::from(frame.count));
                false
            }
        }
    }

    fn take(&mut self, position: u64, rows: FrameRows<'_>) {
        let partition = match rows.frame.subject {
            Subject::Partition(number) => u32::from(number),
            Subject::Catalogue | Subject::Control => NONE,
        };
        for fault in rows.refused {
            self.note(fault, 1);
        }
        for row in rows.rows {
            match row {
                Row::Activity(user, ts) => drop(self.activity(user, ts)),
                Row::Answer(feedback) => self.answer(&feedback, partition, position),
                Row::Slate(slate) => self.slate(&slate, position),
                Row::View(slate, user, ts, slots) => self.view((slate, user, ts), &slots),
            }
        }
    }

    /// The user's number.
    fn activity(&mut self, user: &str, ts: Millis) -> u32 {
        let user = self.texts.users.intern_str(user);
        self.activity.user.push(user);
        self.activity.ts.push(ts);
        user
    }

    fn answer(&mut self, feedback: &Feedback<'_>, partition: u32, position: u64) {
        let user = self.activity(feedback.user, feedback.ts);
        let (ids, names) = (&mut self.texts.ids, &mut self.texts.names);
        let to = &mut self.answers;
        to.ty.push(names.intern_str(feedback.ty));
        to.user.push(user);
        to.item.push(names.intern_str(feedback.item));
        to.ts.push(feedback.ts);
        to.value.push(feedback.value.unwrap_or(f64::NAN));
        to.event_id.push(optional(ids, feedback.event_id));
        to.basket.push(optional(ids, feedback.basket));
        to.slate.push(optional(ids, feedback.slate));
        to.slot.push(feedback.slot.unwrap_or(NO_SLOT));
        to.partition.push(partition);
        to.position.push(position);
    }

    fn slate(&mut self, slate: &Slate<'_>, position: u64) {
        let names = &mut self.texts.names;
        for (item, source) in &slate.slots {
            self.slots.item.push(names.intern_str(item));
            self.slots.source.push(optional(names, *source));
        }
        let to = &mut self.slates;
        to.slate.push(self.texts.ids.intern_str(slate.slate));
        to.user.push(self.texts.users.intern_str(slate.user));
        to.ts.push(slate.ts);
        to.scenario.push(optional(names, slate.scenario));
        to.variant.push(optional(names, slate.variant));
        to.config.push(optional(names, slate.config));
        to.position.push(position);
        to.slots.push(slate.slots.len() as u32);
    }

    fn view(&mut self, (slate, user, ts): (&str, &str, Millis), slots: &[u32]) {
        let slate = self.texts.ids.intern_str(slate);
        let user = self.texts.users.intern_str(user);
        for slot in slots {
            self.views.slate.push(slate);
            self.views.user.push(user);
            self.views.ts.push(ts);
            self.views.slot.push(*slot);
        }
    }
}

fn optional(texts: &mut Interner, text: Option<&str>) -> u32 {
    text.map_or(NONE, |text| texts.intern_str(text))
}

fn subject_key(subject: Subject) -> u32 {
    match subject {
        Subject::Partition(number) => u32::from(number),
        Subject::Catalogue => 1 << 16,
        Subject::Control => 2 << 16,
    }
}
