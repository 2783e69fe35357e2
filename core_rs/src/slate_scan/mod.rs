//! A log's slates and what was answered to them, as columns of numbers: what a report counts.
//!
//! Frames go in one by one, in log order; which events count is decided by the same reader as in the fold. All texts
//! (users, items, slates, sources ...) are numbered by one dictionary, so that a report joins and groups numbers.

use std::collections::HashSet;

use crate::frame::body::decode_events;
use crate::frame::event::{Event, Feedback};
use crate::frame::header::{Subject, parse_frame};
use crate::frame::msgpack::{Cursor, Malformed, Read, Value};
use crate::ids::Millis;
use crate::intern::Interner;

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

/// Collects the columns of a log.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct SlateScan {
    pub texts: Interner,
    pub slates: SlateColumns,
    pub slots: SlotColumns,
    pub answers: AnswerColumns,
    pub views: ViewColumns,
    pub activity: ActivityColumns,
    wanted: HashSet<String>,
}

/// Slate, user and time of an event.
type Who<'a> = (&'a str, &'a str, Millis);

/// What became of a frame: codes of its refused events, and whether it holds others than are collected here.
pub type Added = (Vec<&'static str>, bool);

impl SlateScan {
    /// A scan that keeps feedback of these types in full beside answers to slates.
    pub fn new(wanted: impl IntoIterator<Item = String>) -> Self {
        Self {
            wanted: wanted.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Takes in a frame. Errors: the code of the fault for which the fold refuses the whole frame; nothing was taken then.
    pub fn add(
        &mut self,
        position: u64,
        frame: &[u8],
        max_future_ms: i64,
    ) -> Result<Added, &'static str> {
        let frame = parse_frame(frame).map_err(|err| err.code())?;
        let events = decode_events(&frame, max_future_ms).map_err(|err| err.code())?;
        let partition = match frame.subject {
            Subject::Partition(number) => u32::from(number),
            Subject::Catalogue | Subject::Control => NONE,
        };
        let (mut refused, mut others) = (Vec::new(), false);
        let mut cursor = Cursor::new(frame.body);
        let walked = |Malformed| "bad-body";
        cursor.array().map_err(walked)?;
        for event in &events {
            let mut own = cursor;
            cursor.skip().map_err(walked)?;
            match event {
                Ok(Event::Feedback(feedback)) => self.feedback(feedback, partition, position),
                Ok(Event::SlateServed {
                    slate, user, ts, ..
                }) => self
                    .slate((slate, user, *ts), position, &mut own)
                    .map_err(walked)?,
                Ok(Event::Impression { user, slate, ts }) => {
                    self.view((slate, user, *ts), &mut own).map_err(walked)?
                }
                Ok(_) => others = true,
                Err(fault) => refused.push(fault.code()),
            }
        }
        Ok((refused, others))
    }

    fn text(&mut self, text: Option<&str>) -> u32 {
        text.map_or(NONE, |text| self.texts.intern_str(text))
    }

    fn feedback(&mut self, feedback: &Feedback<'_>, partition: u32, position: u64) {
        let user = self.texts.intern_str(feedback.user);
        self.activity.user.push(user);
        self.activity.ts.push(feedback.ts);
        if feedback.slate.is_none() && !self.wanted.contains(feedback.ty) {
            return;
        }
        let ty = self.text(Some(feedback.ty));
        let item = self.text(Some(feedback.item));
        let event_id = self.text(feedback.event_id);
        let basket = self.text(feedback.basket);
        let slate = self.text(feedback.slate);
        let to = &mut self.answers;
        to.ty.push(ty);
        to.user.push(user);
        to.item.push(item);
        to.ts.push(feedback.ts);
        to.value.push(feedback.value.unwrap_or(f64::NAN));
        to.event_id.push(event_id);
        to.basket.push(basket);
        to.slate.push(slate);
        to.slot.push(feedback.slot.unwrap_or(NO_SLOT));
        to.partition.push(partition);
        to.position.push(position);
    }

    /// `own` stands before the event whose slate, user and time are given.
    fn slate(&mut self, who: Who<'_>, position: u64, own: &mut Cursor<'_>) -> Read<()> {
        own.array()?;
        for _ in 0..4 {
            own.skip()?; // tag, slate, user, time
        }
        let scenario = scenario(own)?;
        let variant = text(own)?;
        let config = text(own)?;
        for _ in 0..4 {
            own.skip()?; // scorer, positions, left out, candidates
        }
        let count = own.array()?;
        for _ in 0..count {
            let fields = own.array()?;
            let item = text(own)?;
            if fields > 1 {
                own.skip()?; // score
            }
            let source = if fields > 2 { text(own)? } else { None };
            for _ in 3..fields {
                own.skip()?;
            }
            let (item, source) = (self.text(item), self.text(source));
            self.slots.item.push(item);
            self.slots.source.push(source);
        }
        let (slate, user) = (self.text(Some(who.0)), self.text(Some(who.1)));
        let scenario = self.text(scenario);
        let variant = self.text(variant);
        let config = self.text(config);
        let to = &mut self.slates;
        to.slate.push(slate);
        to.user.push(user);
        to.ts.push(who.2);
        to.scenario.push(scenario);
        to.variant.push(variant);
        to.config.push(config);
        to.position.push(position);
        to.slots.push(count);
        Ok(())
    }

    /// `own` stands before the event whose slate, user and time are given.
    fn view(&mut self, who: Who<'_>, own: &mut Cursor<'_>) -> Read<()> {
        own.array()?;
        for _ in 0..4 {
            own.skip()?; // tag, user, slate, time
        }
        let (slate, user) = (self.text(Some(who.0)), self.text(Some(who.1)));
        for _ in 0..own.array()? {
            if let Value::Int(slot) = own.value()? {
                self.views.slate.push(slate);
                self.views.user.push(user);
                self.views.ts.push(who.2);
                self.views.slot.push(u32::try_from(slot).unwrap_or(NO_SLOT));
            }
        }
        Ok(())
    }
}

/// The next value, if it is a text.
fn text<'a>(cursor: &mut Cursor<'a>) -> Read<Option<&'a str>> {
    let value = cursor.value()?;
    cursor.skip_rest(value)?;
    Ok(match value {
        Value::Str(raw) => std::str::from_utf8(raw).ok(),
        _ => None,
    })
}

/// The scenario that a request names.
fn scenario<'a>(cursor: &mut Cursor<'a>) -> Read<Option<&'a str>> {
    let head = cursor.value()?;
    let Value::Map(entries) = head else {
        cursor.skip_rest(head)?;
        return Ok(None);
    };
    let mut found = None;
    for _ in 0..entries {
        if text(cursor)? == Some("scenario") {
            found = text(cursor)?;
        } else {
            cursor.skip()?;
        }
    }
    Ok(found)
}
