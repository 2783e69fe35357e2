//! Names become fields and parameters, and types are compared with what items have.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::ast::{Atom, Comparison, Expr, Operand, Set, Span};
use super::error::FilterError;
use super::value::{Params, Value};
use super::{Filter, MAX_LIST};
use crate::catalogue::field::{Field, Kinds, KnownLabels};
use crate::catalogue::number::Number;

/// A filter that was compared with a catalogue: fields are known, values have types that make sense.
#[derive(Clone, Debug)]
pub struct Checked {
    pub(super) root: Node,
    /// Fields that no item ever had, ascending; none of a filter that was checked strictly.
    pub(super) unheard: BTreeSet<Box<str>>,
}

/// What becomes of a field that no item ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// An error with its place: whoever asks can mend it.
    Refused,
    /// Missing on every item, and told: a configuration may be there before the first item.
    Missing,
}

/// A condition with everything resolved.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Const(bool),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Test(Field, Test),
}

/// What is asked of one field.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Bool(bool),
    Number(Comparison, Number),
    /// Ascending, none repeated.
    NumberIn(Box<[Number]>),
    Text(Comparison, Box<str>),
    TextIn(BTreeSet<Box<str>>),
    /// The list has this entry.
    Has(Box<str>),
    Missing,
}

/// What an operand turned out to be.
enum Side<'a> {
    Field(Field, Kinds),
    Value(&'a Value),
}

struct Checker<'a> {
    text: &'a str,
    known: &'a KnownLabels,
    params: &'a Params,
    used: BTreeSet<&'a str>,
    unheard: Option<BTreeSet<Box<str>>>,
}

type Outcome<T> = Result<T, FilterError>;

/// Checks a filter against the known fields.
pub(super) fn check(
    filter: &Filter,
    known: &KnownLabels,
    params: &Params,
    unheard: Unheard,
) -> Outcome<Checked> {
    let mut checker = Checker {
        text: filter.text(),
        known,
        params,
        used: BTreeSet::new(),
        unheard: (unheard == Unheard::Missing).then(BTreeSet::new),
    };
    let root = checker.node(filter.root())?;
    let unused: Vec<String> = params
        .keys()
        .filter(|name| !checker.used.contains(name.as_str()))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unused.is_empty() {
        let message = format!(
            "the filter does not use the given {} {}",
            if unused.len() == 1 {
                "parameter"
            } else {
                "parameters"
            },
            unused.join(", ")
        );
        return Err(FilterError::whole(message));
    }
    let unheard = checker.unheard.unwrap_or_default();
    Ok(Checked { root, unheard })
}

impl<'a> Checker<'a> {
    fn fail<T>(&self, span: &Span, message: String) -> Outcome<T> {
        Err(FilterError::at(self.text, span.clone(), message))
    }

    fn node(&mut self, expr: &'a Expr) -> Outcome<Node> {
        Ok(match expr {
            Expr::Or(all) => Node::Or(self.nodes(all)?),
            Expr::And(all) => Node::And(self.nodes(all)?),
            Expr::Not(inner) => Node::Not(Box::new(self.node(inner)?)),
            Expr::Compare(left, comparison, right) => self.compare(left, *comparison, right)?,
            Expr::In(left, set, negated) => {
                let inside = self.membership(left, set)?;
                negate(inside, *negated)
            }
            Expr::Missing(operand, negated) => match self.side(operand)? {
                Side::Field(field, _) => negate(Node::Test(field, Test::Missing), *negated),
                Side::Value(value) => {
                    let message = format!("only a field can be missing, not the value {value}");
                    return self.fail(&operand.span, message);
                }
            },
            Expr::Bare(operand) => self.bare(operand)?,
        })
    }

    fn nodes(&mut self, all: &'a [Expr]) -> Outcome<Vec<Node>> {
        all.iter().map(|expr| self.node(expr)).collect()
    }

    fn bare(&mut self, operand: &'a Operand) -> Outcome<Node> {
        match self.side(operand)? {
            Side::Field(field, kinds) if kinds.meets(Kinds::BOOL) => {
                Ok(Node::Test(field, Test::Bool(true)))
            }
            Side::Value(Value::Bool(value)) => Ok(Node::Const(*value)),
            Side::Field(field, kinds) => self.fail(
                &operand.span,
                format!(
                    "{:?} is {}, not true or false; a comparison should follow",
                    field.name(),
                    kinds.describe()
                ),
            ),
            Side::Value(value) => self.fail(
                &operand.span,
                format!("{value} is {}, not a condition", value.describe()),
            ),
        }
    }

    /// What an operand is. A value is checked here once and for all.
    fn side(&mut self, operand: &'a Operand) -> Outcome<Side<'a>> {
        let span = &operand.span;
        match &operand.what {
            Atom::Value(value) => Ok(Side::Value(value)),
            Atom::Parameter(name) => match self.params.get_key_value(name) {
                Some((name, value)) => self.parameter(name, value, span),
                None => self.fail(span, self.no_parameter(name)),
            },
            Atom::Quoted(name) => {
                let label = Field::Label(name.as_str().into());
                for field in [label, Field::named(name)] {
                    if let Some(kinds) = self.known.kinds(&field) {
                        return Ok(Side::Field(field, kinds));
                    }
                }
                match &mut self.unheard {
                    Some(unheard) => Ok(missing(unheard, name)),
                    None => self.fail(span, self.known.unknown(name).to_string()),
                }
            }
            Atom::Name(name) => {
                let field = Field::named(name);
                match (self.known.kinds(&field), self.params.get_key_value(name)) {
                    (Some(kinds), None) => Ok(Side::Field(field, kinds)),
                    (None, Some((name, value))) => self.parameter(name, value, span),
                    (None, None) => match &mut self.unheard {
                        Some(unheard) if !is_nothing(name) => Ok(missing(unheard, name)),
                        _ => self.fail(span, self.no_name(name)),
                    },
                    (Some(_), Some(_)) => self.fail(
                        span,
                        format!(
                            "{name:?} is a field and a parameter; write ${name} for the parameter or `{name}` for the field"
                        ),
                    ),
                }
            }
        }
    }

    fn parameter(&mut self, name: &'a str, value: &'a Value, span: &Span) -> Outcome<Side<'a>> {
        self.used.insert(name);
        let values = match value {
            Value::List(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        if values.len() > MAX_LIST {
            let count = values.len();
            let message =
                format!("parameter {name:?} has {count} values; at most {MAX_LIST} are allowed");
            return self.fail(span, message);
        }
        for value in values {
            let wrong = match value {
                Value::Float(float) if !float.is_finite() => "is not a finite number",
                Value::List(_) => "holds a list inside a list",
                _ => continue,
            };
            return self.fail(span, format!("parameter {name:?} {wrong}"));
        }
        Ok(Side::Value(value))
    }

    fn no_parameter(&self, name: &str) -> String {
        let given: Vec<&str> = self.params.keys().map(String::as_str).collect();
        match given.as_slice() {
            [] => format!("no parameter {name:?} is given; none are"),
            given => format!(
                "no parameter {name:?} is given; given are {}",
                given.join(", ")
            ),
        }
    }

    fn no_name(&self, name: &str) -> String {
        if is_nothing(name) {
            return format!("there is no value {name}; write `FIELD is missing`");
        }
        let mut message = self.known.unknown(name).to_string();
        message += ", and no such parameter is given";
        if self.known.near(name).is_none() {
            let fields: Vec<&str> = self.known.names().take(20).collect();
            message += &format!("; fields: {}", fields.join(", "));
            message += if fields.len() == 20 { ", ..." } else { "" };
        }
        message
    }

    fn compare(
        &mut self,
        left: &'a Operand,
        comparison: Comparison,
        right: &'a Operand,
    ) -> Outcome<Node> {
        match (self.side(left)?, self.side(right)?) {
            (Side::Field(field, kinds), Side::Value(value)) => {
                self.test(field, kinds, comparison, value, &right.span)
            }
            (Side::Value(value), Side::Field(field, kinds)) => {
                self.test(field, kinds, comparison.mirrored(), value, &left.span)
            }
            (Side::Field(a, _), Side::Field(b, _)) => {
                // What no item has yet stands where a parameter was meant.
                let new = |field: &Field| {
                    let unheard = self.unheard.as_ref();
                    unheard.is_some_and(|unheard| unheard.contains(field.name()))
                };
                match [(left, a), (right, b)].iter().find(|(_, field)| new(field)) {
                    Some((operand, field)) => self.fail(&operand.span, self.no_name(field.name())),
                    None => self.fail(
                        &right.span,
                        "two fields cannot be compared; one side must be a value or a parameter"
                            .to_string(),
                    ),
                }
            }
            (Side::Value(_), Side::Value(_)) => self.fail(
                &left.span,
                "two values are compared; one side must be a field".to_string(),
            ),
        }
    }

    fn test(
        &self,
        field: Field,
        kinds: Kinds,
        comparison: Comparison,
        value: &Value,
        span: &Span,
    ) -> Outcome<Node> {
        if let Value::List(_) = value {
            let message = format!("{value} is a list; write `{} in ...`", field.name());
            return self.fail(span, message);
        }
        self.agree(&field, kinds, value, span)?;
        let test = match value {
            Value::Bool(value) => match comparison {
                Comparison::Equal => Test::Bool(*value),
                Comparison::Different => Test::Bool(!*value),
                other => {
                    let message = format!("true and false have no order: {}", other.sign());
                    return self.fail(span, format!("{message}; allowed: == and !="));
                }
            },
            Value::Text(text) => Test::Text(comparison, text.as_str().into()),
            value => match value.number() {
                Some(number) => Test::Number(comparison, number),
                None => return self.fail(span, format!("{value} is not a finite number")),
            },
        };
        Ok(Node::Test(field, test))
    }

    /// Whether items ever had a value of this type there.
    fn agree(&self, field: &Field, kinds: Kinds, value: &Value, span: &Span) -> Outcome<()> {
        let wanted = match value {
            Value::Bool(_) => Kinds::BOOL,
            Value::Int(_) | Value::Float(_) => Kinds::NUMBER,
            Value::Text(_) => Kinds::TEXT,
            Value::List(_) => Kinds::LIST,
        };
        if kinds.meets(wanted) {
            return Ok(());
        }
        let (name, what) = (field.name(), kinds.describe());
        let mut message = format!("{name:?} is {what}, but {value} is {}", value.describe());
        if kinds.meets(Kinds::LIST) && wanted == Kinds::TEXT {
            message += &format!("; write `{value} in {name}`");
        }
        self.fail(span, message)
    }

    fn membership(&mut self, left: &'a Operand, set: &'a Set) -> Outcome<Node> {
        let side = self.side(left)?;
        match (side, set) {
            (Side::Field(field, kinds), Set::List(entries, span)) => {
                let mut values = Vec::with_capacity(entries.len());
                for entry in entries {
                    values.push((self.entry(entry)?, &entry.span));
                }
                self.one_of(field, kinds, &values, span)
            }
            (side, Set::Named(operand)) => self.in_named(side, &left.span, operand),
            (Side::Value(_), Set::List(..)) => self.fail(
                &left.span,
                "a field must stand on the left of a list of values".to_string(),
            ),
        }
    }

    fn entry(&mut self, entry: &'a Operand) -> Outcome<&'a Value> {
        match self.side(entry)? {
            Side::Value(Value::List(_)) => {
                self.fail(&entry.span, "a list inside a list".to_string())
            }
            Side::Value(value) => Ok(value),
            Side::Field(field, _) => self.fail(
                &entry.span,
                format!(
                    "the field {:?} cannot stand in a list; only values can",
                    field.name()
                ),
            ),
        }
    }

    fn in_named(&mut self, left: Side<'a>, at: &Span, operand: &'a Operand) -> Outcome<Node> {
        match (left, self.side(operand)?) {
            (Side::Field(field, kinds), Side::Value(Value::List(values))) => {
                let values: Vec<(&Value, &Span)> =
                    values.iter().map(|value| (value, &operand.span)).collect();
                self.one_of(field, kinds, &values, &operand.span)
            }
            (Side::Value(value), Side::Field(field, kinds)) => match value {
                _ if !kinds.meets(Kinds::LIST) => self.fail(
                    &operand.span,
                    format!("{:?} is {}, not a list", field.name(), kinds.describe()),
                ),
                Value::Text(text) => Ok(Node::Test(field, Test::Has(text.as_str().into()))),
                other => self.fail(
                    at,
                    format!("{other} is {}; lists of items hold texts", other.describe()),
                ),
            },
            (Side::Field(..), Side::Field(..)) => self.fail(
                at,
                "a field cannot be looked for in another; one side must be a value".to_string(),
            ),
            (_, Side::Value(value)) => self.fail(
                &operand.span,
                format!(
                    "{value} is {}, not a list; write [{value}]",
                    value.describe()
                ),
            ),
        }
    }

    /// `field in values`, which may be of several types; each sees only items with its own.
    fn one_of(
        &self,
        field: Field,
        kinds: Kinds,
        values: &[(&Value, &Span)],
        span: &Span,
    ) -> Outcome<Node> {
        if kinds == Kinds::LIST {
            let name = field.name();
            let message = format!(
                "{name:?} is a list; ask for single entries: 'a' in {name} or 'b' in {name}"
            );
            return self.fail(span, message);
        }
        let (mut numbers, mut texts, mut tests) = (Vec::new(), BTreeSet::new(), Vec::new());
        for (value, span) in values {
            self.agree(&field, kinds, value, span)?;
            match value {
                Value::Bool(value) => tests.push(Test::Bool(*value)),
                Value::Text(text) => {
                    texts.insert(Box::from(text.as_str()));
                }
                value => numbers.extend(value.number()),
            }
        }
        if !numbers.is_empty() {
            numbers.sort();
            numbers.dedup_by(|a, b| a.cmp(&b) == Ordering::Equal);
            tests.push(Test::NumberIn(numbers.into()));
        }
        if !texts.is_empty() {
            tests.push(Test::TextIn(texts));
        }
        let mut nodes: Vec<Node> = tests
            .into_iter()
            .map(|test| Node::Test(field.clone(), test))
            .collect();
        Ok(match nodes.len() {
            0 => Node::Const(false),
            1 => nodes.swap_remove(0),
            _ => Node::Or(nodes),
        })
    }
}

/// A label that every item lacks, of whatever type it will be.
fn missing<'a>(unheard: &mut BTreeSet<Box<str>>, name: &str) -> Side<'a> {
    unheard.insert(name.into());
    Side::Field(Field::Label(name.into()), Kinds::ANY)
}

/// What other languages call a missing value; never the name of a field that is still to come.
fn is_nothing(name: &str) -> bool {
    ["null", "none", "nil", "undefined", "missing"].contains(&name.to_lowercase().as_str())
}

fn negate(node: Node, negated: bool) -> Node {
    if negated {
        Node::Not(Box::new(node))
    } else {
        node
    }
}
