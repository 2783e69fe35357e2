//! Tokens to the tree. The grammar never has to go back: the next token decides, so the first trouble is the one to tell.
//!
//! ```text
//! or      = and ("or" and)*
//! and     = not ("and" not)*
//! not     = "not" not | "(" or ")" | test
//! test    = operand [ sign operand | ["not"] "in" set | "is" ["not"] "missing" ]
//! set     = "[" [operand ("," operand)*] "]" | "(" [operand ("," operand)*] ")" | operand
//! operand = name | `name` | $name | text | number | true | false
//! ```

use winnow::combinator::{cut_err, opt, separated};
use winnow::prelude::*;
use winnow::stream::{Location, Stateful, Stream, TokenSlice};
use winnow::token::any;

use super::ast::{Atom, Expr, Operand, Set, Span};
use super::error::FilterError;
use super::lex::{Kind, Read, Token, Trouble, stop};
use super::{MAX_DEPTH, MAX_LIST};

/// The text, for what was found in it, and how deep the parser stands.
#[derive(Clone, Copy, Debug)]
struct Place<'t> {
    text: &'t str,
    depth: usize,
}

type Input<'t> = Stateful<TokenSlice<'t, Token>, Place<'t>>;

/// The whole filter.
pub(super) fn expression(text: &str, tokens: &[Token]) -> Result<Expr, FilterError> {
    let mut input = Stateful {
        input: TokenSlice::new(tokens),
        state: Place { text, depth: 0 },
    };
    let read = or.parse_next(&mut input).and_then(|root| {
        if input.peek_token().is_some() {
            return unexpected(&input, "`and`, `or` or the end");
        }
        Ok(root)
    });
    read.map_err(|mode| Trouble::of(mode, text).in_text(text))
}

/// The trouble that something else stands at the next token.
fn unexpected<O>(input: &Input<'_>, allowed: &str) -> Read<O> {
    let text = input.state.text;
    match input.peek_token() {
        None => stop(
            text.len()..text.len(),
            format!("the filter ends where {allowed} should follow"),
        ),
        Some(token) => {
            let found = &text[token.span.clone()];
            let hint = match token.kind {
                Kind::Sign(_) if chained(input) => {
                    "; comparisons do not chain, write `a < b and b < c`"
                }
                Kind::And | Kind::Or | Kind::Not | Kind::In | Kind::Is => {
                    "; a field of that name stands in backticks"
                }
                _ => "",
            };
            stop(
                token.span.clone(),
                format!("found {found}, but {allowed} should follow{hint}"),
            )
        }
    }
}

/// Whether the two tokens before are the second half of a comparison.
fn chained(input: &Input<'_>) -> bool {
    matches!(input.input.previous_tokens().nth(1), Some(token) if matches!(token.kind, Kind::Sign(_)))
}

fn is(kind: Kind) -> impl FnMut(&mut Input<'_>) -> Read<Span> {
    move |input| {
        any.verify(|token: &&Token| token.kind == kind)
            .map(|token: &Token| token.span.clone())
            .parse_next(input)
    }
}

fn or(input: &mut Input<'_>) -> Read<Expr> {
    joined(input, Kind::Or, and, Expr::Or)
}

fn and(input: &mut Input<'_>) -> Read<Expr> {
    joined(input, Kind::And, negation, Expr::And)
}

/// One or more parts with a word between them. A loop of its own: frames of combinators would add up in the recursion.
fn joined<'t>(
    input: &mut Input<'t>,
    word: Kind,
    part: fn(&mut Input<'t>) -> Read<Expr>,
    many: fn(Vec<Expr>) -> Expr,
) -> Read<Expr> {
    let first = part(input)?;
    let mut word = is(word);
    let mut parts = Vec::new();
    while opt(&mut word).parse_next(input)?.is_some() {
        parts.push(part(input)?);
    }
    if parts.is_empty() {
        return Ok(first);
    }
    parts.insert(0, first);
    Ok(many(parts))
}

fn negation(input: &mut Input<'_>) -> Read<Expr> {
    if let Some(span) = opt(is(Kind::Not)).parse_next(input)? {
        let inner = deeper(input, span, negation)?;
        return Ok(Expr::Not(Box::new(inner)));
    }
    let Some(span) = opt(is(Kind::Open)).parse_next(input)? else {
        return test(input);
    };
    let inner = deeper(input, span, or)?;
    match opt(is(Kind::Close)).parse_next(input)? {
        Some(_) => Ok(inner),
        None => unexpected(input, "`and`, `or` or `)`"),
    }
}

/// Runs a parser one level down. The bound keeps the stack small.
fn deeper<'t>(
    input: &mut Input<'t>,
    span: Span,
    parser: fn(&mut Input<'t>) -> Read<Expr>,
) -> Read<Expr> {
    if input.state.depth == MAX_DEPTH {
        return stop(
            span,
            format!("parentheses and `not` are nested deeper than {MAX_DEPTH}"),
        );
    }
    input.state.depth += 1;
    let read = parser(input);
    input.state.depth -= 1;
    read
}

fn test(input: &mut Input<'_>) -> Read<Expr> {
    let left = operand(input, "a field, a value, `not` or `(`")?;
    if let Some(comparison) = opt(any.verify_map(|token: &Token| match token.kind {
        Kind::Sign(comparison) => Some(comparison),
        _ => None,
    }))
    .parse_next(input)?
    {
        let right = operand(input, "a field or a value")?;
        return Ok(Expr::Compare(left, comparison, right));
    }
    if opt(is(Kind::Is)).parse_next(input)?.is_some() {
        return missing(input, left);
    }
    let negated = opt(is(Kind::Not)).parse_next(input)?.is_some();
    if opt(is(Kind::In)).parse_next(input)?.is_some() {
        return Ok(Expr::In(left, set(input)?, negated));
    }
    if negated {
        return unexpected(input, "`in`");
    }
    Ok(Expr::Bare(left))
}

fn missing(input: &mut Input<'_>, field: Operand) -> Read<Expr> {
    let negated = opt(is(Kind::Not)).parse_next(input)?.is_some();
    let word = |token: &Token| matches!(&token.kind, Kind::Atom(Atom::Name(name)) if name.eq_ignore_ascii_case("missing"));
    match opt(any.verify(|token: &&Token| word(token))).parse_next(input)? {
        Some(_) => Ok(Expr::Missing(field, negated)),
        None if negated => unexpected(input, "`missing`"),
        None => unexpected(input, "`missing` or `not missing`"),
    }
}

fn set(input: &mut Input<'_>) -> Read<Set> {
    let open = input.current_token_start();
    let close = if opt(is(Kind::OpenList)).parse_next(input)?.is_some() {
        (Kind::CloseList, "`,` or `]`")
    } else if opt(is(Kind::Open)).parse_next(input)?.is_some() {
        (Kind::Close, "`,` or `)`")
    } else {
        let named = operand(input, "a list in [ ], a list field or a list parameter")?;
        return Ok(Set::Named(named));
    };
    if let Some(end) = opt(is(close.0.clone())).parse_next(input)? {
        return Ok(Set::List(Vec::new(), open..end.end));
    }
    let entry = |input: &mut Input<'_>| operand(input, "a value");
    let values: Vec<Operand> = separated(1.., cut_err(entry), is(Kind::Comma)).parse_next(input)?;
    let Some(end) = opt(is(close.0)).parse_next(input)? else {
        return unexpected(input, close.1);
    };
    if values.len() > MAX_LIST {
        let message = format!(
            "a list of {} values; at most {MAX_LIST} are allowed",
            values.len()
        );
        return stop(open..end.end, message);
    }
    Ok(Set::List(values, open..end.end))
}

fn operand(input: &mut Input<'_>, allowed: &str) -> Read<Operand> {
    let read = opt(any.verify_map(|token: &Token| match &token.kind {
        Kind::Atom(what) => Some(Operand {
            what: what.clone(),
            span: token.span.clone(),
        }),
        _ => None,
    }))
    .parse_next(input)?;
    read.map_or_else(|| unexpected(input, allowed), Ok)
}
