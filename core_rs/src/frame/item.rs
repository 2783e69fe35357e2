//! Fields of catalogue events: categories, labels, embeddings.

use crate::embedding::MAX_MAGNITUDE;
use crate::frame::event::EventError;
use crate::frame::msgpack::{Cursor, Read, Value};

/// A label's value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum LabelValue<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'a str),
    Tags(Vec<&'a str>),
}

/// Values by name, in the order of the frame.
pub type Named<'a, T> = Vec<(&'a str, T)>;

/// Fields of a put or a patch; `None` is "not said".
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct ItemFields<'a> {
    pub categories: Option<Vec<&'a str>>,
    pub labels: Option<Named<'a, LabelValue<'a>>>,
    pub is_hidden: Option<bool>,
    pub timestamp: Option<i64>,
    pub group_id: Option<&'a str>,
    pub embeddings: Option<Named<'a, &'a [u8]>>,
    pub comment: Option<&'a str>,
}

const MAX_LIST: usize = 64;
const MAX_EMBEDDINGS: usize = 8;
const MAX_DIMENSIONS: usize = 4096;

/// A text field of 1 to `limit` bytes without control characters.
pub fn text(raw: &[u8], limit: usize) -> Result<&str, EventError> {
    let clean =
        !raw.is_empty() && raw.len() <= limit && raw.iter().all(|b| *b >= 0x20 && *b != 0x7f);
    let text = std::str::from_utf8(raw).map_err(|_| EventError::BadField)?;
    if clean {
        Ok(text)
    } else {
        Err(EventError::BadField)
    }
}

/// Free text of at most `limit` bytes; line breaks are allowed.
fn prose(raw: &[u8], limit: usize) -> Result<&str, EventError> {
    if raw.len() > limit || raw.contains(&0) {
        return Err(EventError::BadField);
    }
    std::str::from_utf8(raw).map_err(|_| EventError::BadField)
}

fn text_list<'a>(cursor: &mut Cursor<'a>, len: u32) -> Read<Result<Vec<&'a str>, EventError>> {
    let mut out = Vec::new();
    let mut fault = None;
    for _ in 0..len {
        let value = cursor.value()?;
        match value {
            Value::Str(raw) if out.len() < MAX_LIST => match text(raw, 256) {
                Ok(entry) => out.push(entry),
                Err(err) => fault = fault.or(Some(err)),
            },
            _ => {
                cursor.skip_rest(value)?;
                fault = fault.or(Some(EventError::BadField));
            }
        }
    }
    Ok(fault.map_or(Ok(out), Err))
}

/// Reads labels from a map of `len` entries.
pub fn labels<'a>(
    cursor: &mut Cursor<'a>,
    len: u32,
) -> Read<Result<Named<'a, LabelValue<'a>>, EventError>> {
    let mut out = Vec::new();
    let mut fault = (len as usize > MAX_LIST).then_some(EventError::BadField);
    for _ in 0..len {
        let key = cursor.value()?;
        cursor.skip_rest(key)?;
        let head = cursor.value()?;
        let value = match head {
            Value::Nil => Ok(LabelValue::Nil),
            Value::Bool(flag) => Ok(LabelValue::Bool(flag)),
            Value::Int(int) => Ok(LabelValue::Int(int)),
            Value::Float(float) if float.is_finite() => Ok(LabelValue::Float(float)),
            Value::Str(raw) => prose(raw, 1024).map(LabelValue::Str),
            Value::Array(len) => text_list(cursor, len)?.map(LabelValue::Tags),
            _ => {
                cursor.skip_rest(head)?;
                Err(EventError::BadField)
            }
        };
        let key = match key {
            Value::Str(raw) => text(raw, 128),
            _ => Err(EventError::BadField),
        };
        match (key, value) {
            (Ok(key), Ok(value)) if fault.is_none() => out.push((key, value)),
            (Ok(_), Ok(_)) => {}
            (Err(err), _) | (_, Err(err)) => fault = fault.or(Some(err)),
        }
    }
    Ok(fault.map_or(Ok(out), Err))
}

fn embeddings<'a>(
    cursor: &mut Cursor<'a>,
    len: u32,
) -> Read<Result<Named<'a, &'a [u8]>, EventError>> {
    let mut out = Vec::new();
    let mut fault = (len as usize > MAX_EMBEDDINGS).then_some(EventError::BadField);
    for _ in 0..len {
        let key = cursor.value()?;
        cursor.skip_rest(key)?;
        let value = cursor.value()?;
        cursor.skip_rest(value)?;
        match (key, value) {
            (Value::Str(name), Value::Bin(raw)) if vector_ok(raw) => match text(name, 128) {
                Ok(name) => out.push((name, raw)),
                Err(err) => fault = fault.or(Some(err)),
            },
            _ => fault = fault.or(Some(EventError::BadField)),
        }
    }
    Ok(fault.map_or(Ok(out), Err))
}

fn vector_ok(raw: &[u8]) -> bool {
    let (values, rest) = raw.as_chunks::<4>();
    let sized = rest.is_empty() && (1..=MAX_DIMENSIONS).contains(&values.len());
    sized
        && values
            .iter()
            .all(|bytes| f32::from_le_bytes(*bytes).abs() <= MAX_MAGNITUDE)
}

/// Reads the fields from `categories` on, of which `count` are present.
pub fn fields<'a>(cursor: &mut Cursor<'a>, count: u32) -> Read<Result<ItemFields<'a>, EventError>> {
    let mut out = ItemFields::default();
    let mut fault = None;
    for field in 0..count {
        let head = cursor.value()?;
        let outcome = match (field, head) {
            (_, Value::Nil) => Ok(()),
            (0, Value::Array(len)) => {
                text_list(cursor, len)?.map(|list| out.categories = Some(list))
            }
            (1, Value::Map(len)) => labels(cursor, len)?.map(|map| out.labels = Some(map)),
            (2, Value::Bool(flag)) => {
                out.is_hidden = Some(flag);
                Ok(())
            }
            (3, Value::Int(ts)) if (0..1 << 53).contains(&ts) => {
                out.timestamp = Some(ts);
                Ok(())
            }
            (4, Value::Str(raw)) => text(raw, 512).map(|id| out.group_id = Some(id)),
            (5, Value::Map(len)) => embeddings(cursor, len)?.map(|map| out.embeddings = Some(map)),
            (6, Value::Str(raw)) => prose(raw, 4096).map(|comment| out.comment = Some(comment)),
            _ => {
                cursor.skip_rest(head)?;
                Err(EventError::BadField)
            }
        };
        if let Err(err) = outcome {
            fault = fault.or(Some(err));
        }
    }
    Ok(fault.map_or(Ok(out), Err))
}
