//! Values of parameters and literals.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::catalogue::number::Number;

/// A value that a filter compares with.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
}

/// Values by name, given beside a filter's text.
pub type Params = BTreeMap<String, Value>;

impl Value {
    /// The number, if it is one that a filter may compare with: infinities and NaN are not.
    pub fn number(&self) -> Option<Number> {
        match self {
            Self::Int(value) => Some(Number::Int(*value)),
            Self::Float(value) if value.is_finite() => Some(Number::Float(*value)),
            _ => None,
        }
    }

    /// What it is, in words.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
        }
    }

    /// Bytes that are equal for equal values and for no others.
    pub(super) fn key(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => out.extend([0, u8::from(*value)]),
            Self::Int(value) => {
                out.push(1);
                out.extend(value.to_le_bytes());
            }
            Self::Float(value) => {
                out.push(2);
                out.extend(value.to_bits().to_le_bytes());
            }
            Self::Text(value) => {
                out.push(3);
                out.extend((value.len() as u64).to_le_bytes());
                out.extend(value.as_bytes());
            }
            Self::List(values) => {
                out.push(4);
                out.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| value.key(out));
            }
        }
    }
}

/// As it is written in a filter.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => {
                f.write_str("'")?;
                for c in value.chars() {
                    match c {
                        '\'' | '\\' => write!(f, "\\{c}")?,
                        '\n' => f.write_str("\\n")?,
                        '\r' => f.write_str("\\r")?,
                        '\t' => f.write_str("\\t")?,
                        c if c.is_control() => write!(f, "\\u{{{:x}}}", c as u32)?,
                        c => write!(f, "{c}")?,
                    }
                }
                f.write_str("'")
            }
            Self::List(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyValue { in_list: false })
    }
}

/// Not serde's untagged form: that would round an integer beyond i64 into a float.
struct AnyValue {
    in_list: bool,
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.in_list {
            "a boolean, a number or a text inside the list"
        } else {
            "a boolean, a number, a text or a list of them"
        })
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value)
            .map(Value::Int)
            .map_err(|_| E::custom(format!("{value} is more than {}", i64::MAX)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        if self.in_list {
            return Err(A::Error::custom("a list inside a list"));
        }
        let mut values = Vec::new();
        while let Some(Entry(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }
}

/// A value that is no list.
struct Entry(Value);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyValue { in_list: true }).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_by_their_own_type() {
        let json =
            r#"{"a": true, "b": 3, "c": -3, "d": 3.0, "e": "x", "f": [1, "y", false], "g": []}"#;
        let read: Params = serde_json::from_str(json).unwrap();
        let expected = [
            ("a", Value::Bool(true)),
            ("b", Value::Int(3)),
            ("c", Value::Int(-3)),
            ("d", Value::Float(3.0)),
            ("e", Value::Text("x".into())),
            (
                "f",
                Value::List(vec![
                    Value::Int(1),
                    Value::Text("y".into()),
                    Value::Bool(false),
                ]),
            ),
            ("g", Value::List(vec![])),
        ];
        assert!(
            read.iter()
                .map(|(k, v)| (k.as_str(), v.clone()))
                .eq(expected)
        );
        let packed = rmp_serde::to_vec(&serde_json::from_str::<serde_json::Value>(json).unwrap());
        let unpacked: Params = rmp_serde::from_slice(&packed.unwrap()).unwrap();
        assert_eq!(unpacked, read);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for (json, words) in [
            ("null", "a boolean, a number, a text or a list"),
            ("{}", "a boolean, a number, a text or a list"),
            ("[null]", "inside the list"),
            ("[[1]]", "a list inside a list"),
            ("9223372036854775808", "more than 9223372036854775807"),
        ] {
            let error = serde_json::from_str::<Value>(json).unwrap_err().to_string();
            assert!(error.contains(words), "{json}: {error}");
        }
    }
}
