//! What a filter says, as a tree. `Display` writes it as text that reads as the same tree.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use super::value::Value;

/// A place in the text, in bytes.
pub type Span = Range<usize>;

/// A condition.
#[derive(Clone, Debug)]
pub enum Expr {
    /// Any of at least two.
    Or(Vec<Expr>),
    /// All of at least two.
    And(Vec<Expr>),
    /// The opposite.
    Not(Box<Expr>),
    /// A comparison.
    Compare(Operand, Comparison, Operand),
    /// Membership; the flag says `not in`.
    In(Operand, Set, bool),
    /// Whether there is no value; the flag says `is not missing`.
    Missing(Operand, bool),
    /// A boolean.
    Bare(Operand),
}

/// The right side of `in`.
#[derive(Clone, Debug)]
pub enum Set {
    /// Values in brackets.
    List(Vec<Operand>, Span),
    /// A list field or a list parameter.
    Named(Operand),
}

/// One side of a comparison.
#[derive(Clone, Debug)]
pub struct Operand {
    /// What stands there.
    pub what: Atom,
    /// Where.
    pub span: Span,
}

/// A name or a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Atom {
    /// A field or a parameter.
    Name(String),
    /// A field, in backticks.
    Quoted(String),
    /// A parameter, behind a dollar sign.
    Parameter(String),
    /// A literal.
    Value(Value),
}

/// How two sides compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparison {
    Equal,
    Different,
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Expr {
    /// All names that may be parameters: bare ones and those behind a dollar sign.
    pub fn names(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.collect_names(&mut names);
        names
    }

    fn collect_names<'a>(&'a self, names: &mut BTreeSet<&'a str>) {
        let mut note = |operand: &'a Operand| {
            if let Atom::Name(name) | Atom::Parameter(name) = &operand.what {
                names.insert(name);
            }
        };
        match self {
            Self::Or(all) | Self::And(all) => all.iter().for_each(|one| one.collect_names(names)),
            Self::Not(one) => one.collect_names(names),
            Self::Compare(left, _, right) => {
                note(left);
                note(right);
            }
            Self::In(value, set, _) => {
                note(value);
                match set {
                    Set::List(values, _) => values.iter().for_each(note),
                    Set::Named(list) => note(list),
                }
            }
            Self::Missing(field, _) | Self::Bare(field) => note(field),
        }
    }
}

impl Comparison {
    /// The same with the sides exchanged.
    pub fn mirrored(self) -> Self {
        match self {
            Self::Equal | Self::Different => self,
            Self::Below => Self::Above,
            Self::AtMost => Self::AtLeast,
            Self::Above => Self::Below,
            Self::AtLeast => Self::AtMost,
        }
    }

    /// Whether two sides in this order satisfy it.
    pub fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Different => order.is_ne(),
            Self::Below => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Above => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }

    /// Its sign.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Different => "!=",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Or(all) => write_joined(f, all, " or "),
            Self::And(all) => write_joined(f, all, " and "),
            Self::Not(inner) => {
                f.write_str("not ")?;
                write_part(f, inner)
            }
            Self::Compare(left, comparison, right) => {
                write!(f, "{left} {} {right}", comparison.sign())
            }
            Self::In(left, set, negated) => {
                write!(f, "{left} {}in {set}", if *negated { "not " } else { "" })
            }
            Self::Missing(field, negated) => {
                write!(
                    f,
                    "{field} is {}missing",
                    if *negated { "not " } else { "" }
                )
            }
            Self::Bare(operand) => write!(f, "{operand}"),
        }
    }
}

fn write_joined(f: &mut fmt::Formatter<'_>, all: &[Expr], word: &str) -> fmt::Result {
    for (i, part) in all.iter().enumerate() {
        f.write_str(if i == 0 { "" } else { word })?;
        write_part(f, part)?;
    }
    Ok(())
}

fn write_part(f: &mut fmt::Formatter<'_>, part: &Expr) -> fmt::Result {
    match part {
        Expr::Or(_) | Expr::And(_) => write!(f, "({part})"),
        _ => write!(f, "{part}"),
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(operand) => write!(f, "{operand}"),
            Self::List(values, _) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Atom::Name(name) => f.write_str(name),
            Atom::Quoted(name) => write!(f, "`{}`", name.replace('`', "``")),
            Atom::Parameter(name) => write!(f, "${name}"),
            Atom::Value(value) => write!(f, "{value}"),
        }
    }
}
