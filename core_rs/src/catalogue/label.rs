//! A typed label and its bytes in a snapshot; labels of users have the same form.

use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// A typed label. Floats are kept as their bits: they are data, no arithmetic is done on them.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Label {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
    Tags(Box<[Box<str>]>),
}

/// Writes a label; users' labels have the same form.
pub fn write_label(label: &Label, w: &mut PartWriter<'_>) {
    match label {
        Label::Bool(value) => {
            w.byte(0);
            w.byte(u8::from(*value));
        }
        Label::Int(value) => {
            w.byte(1);
            w.int(*value);
        }
        Label::Float(value) => {
            w.byte(2);
            w.uint(value.to_bits());
        }
        Label::Text(value) => {
            w.byte(3);
            w.text(value);
        }
        Label::Tags(values) => {
            w.byte(4);
            w.uint(values.len() as u64);
            values.iter().for_each(|value| w.text(value));
        }
    }
}

/// Reads a label.
pub fn read_label(r: &mut PartReader<'_>) -> ReadResult<Label> {
    Ok(match r.byte()? {
        0 => Label::Bool(r.byte()? == 1),
        1 => Label::Int(r.int()?),
        2 => Label::Float(f64::from_bits(r.uint()?)),
        3 => Label::Text(r.text()?.into()),
        4 => {
            let count = r.len(1)?;
            let values: ReadResult<Vec<Box<str>>> =
                (0..count).map(|_| Ok(r.text()?.into())).collect();
            Label::Tags(values?.into())
        }
        kind => return Err(r.broken(format!("unknown label kind {kind}"))),
    })
}
