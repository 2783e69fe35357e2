//! Text to tokens.

use std::borrow::Cow;

use winnow::ascii::digit1;
use winnow::combinator::{
    alt, delimited, dispatch, empty, eof, fail, not, opt, peek, preceded, repeat, repeat_till,
    terminated,
};
use winnow::error::{ErrMode, ParserError};
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location, Stream};
use winnow::token::{any, one_of, take_till, take_while};

use super::ast::{Atom, Comparison, Span};
use super::error::FilterError;
use super::value::Value;

/// A token and its place.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub span: Span,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Atom(Atom),
    Sign(Comparison),
    And,
    Or,
    Not,
    In,
    Is,
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
}

impl Location for Token {
    fn previous_token_end(&self) -> usize {
        self.span.end
    }

    fn current_token_start(&self) -> usize {
        self.span.start
    }
}

/// Why reading stopped. Both stages stop at the first trouble, so nothing has to be merged.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub span: Span,
    pub message: Cow<'static, str>,
}

impl Trouble {
    /// What winnow hands back in the end.
    pub fn of(mode: ErrMode<Self>, text: &str) -> Self {
        match mode {
            ErrMode::Backtrack(trouble) | ErrMode::Cut(trouble) => trouble,
            ErrMode::Incomplete(_) => Self {
                span: text.len()..text.len(),
                message: "ends too early".into(),
            },
        }
    }

    pub fn in_text(self, text: &str) -> FilterError {
        FilterError::at(text, self.span, self.message.into_owned())
    }
}

impl<I: Stream + Location> ParserError<I> for Trouble {
    type Inner = Self;

    fn from_input(input: &I) -> Self {
        let at = input.current_token_start();
        Self {
            span: at..at,
            message: "not understood".into(),
        }
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

type Input<'a> = LocatingSlice<&'a str>;
pub(super) type Read<O> = Result<O, ErrMode<Trouble>>;

pub(super) fn stop<O>(span: Span, message: impl Into<Cow<'static, str>>) -> Read<O> {
    Err(ErrMode::Cut(Trouble {
        span,
        message: message.into(),
    }))
}

/// All tokens of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Trouble> {
    let mut input = LocatingSlice::new(text);
    let one = terminated(token, space);
    let read: Read<(Vec<Token>, _)> =
        preceded(space, repeat_till(0.., one, eof)).parse_next(&mut input);
    read.map(|(tokens, _)| tokens)
        .map_err(|mode| Trouble::of(mode, text))
}

fn space(input: &mut Input<'_>) -> Read<()> {
    take_while(0.., char::is_whitespace)
        .void()
        .parse_next(input)
}

fn token(input: &mut Input<'_>) -> Read<Token> {
    let start = input.current_token_start();
    let kind = dispatch! {peek(any);
        '\'' | '"' => text,
        '`' => backticks,
        '$' => parameter,
        '-' | '0'..='9' => number,
        c if starts_name(c) => word,
        _ => sign,
    }
    .parse_next(input)?;
    Ok(Token {
        kind,
        span: start..input.current_token_start(),
    })
}

fn starts_name(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn continues_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn name<'a>(input: &mut Input<'a>) -> Read<&'a str> {
    (one_of(starts_name), take_while(0.., continues_name))
        .take()
        .parse_next(input)
}

fn word(input: &mut Input<'_>) -> Read<Kind> {
    let name = name.parse_next(input)?;
    Ok(match name.to_lowercase().as_str() {
        "and" => Kind::And,
        "or" => Kind::Or,
        "not" => Kind::Not,
        "in" => Kind::In,
        "is" => Kind::Is,
        "true" => Kind::Atom(Atom::Value(Value::Bool(true))),
        "false" => Kind::Atom(Atom::Value(Value::Bool(false))),
        _ => Kind::Atom(Atom::Name(name.to_string())),
    })
}

fn parameter(input: &mut Input<'_>) -> Read<Kind> {
    let start = input.current_token_start();
    match preceded('$', opt(name)).parse_next(input)? {
        Some(name) => Ok(Kind::Atom(Atom::Parameter(name.to_string()))),
        None => stop(
            start..start + 1,
            "`$` must be followed by a parameter's name",
        ),
    }
}

/// A field's name in backticks; a backtick inside is doubled.
fn backticks(input: &mut Input<'_>) -> Read<Kind> {
    let start = input.current_token_start();
    let inner = alt((take_till(1.., '`'), "``".value("`")));
    let inner = repeat(0.., inner).fold(String::new, |all, part: &str| all + part);
    let (name, closed): (String, _) = preceded('`', (inner, opt('`'))).parse_next(input)?;
    if closed.is_none() {
        return stop(start..start + 1, "this backtick is never closed");
    }
    if name.is_empty() {
        let span = start..input.current_token_start();
        return stop(span, "there is no name between these backticks");
    }
    Ok(Kind::Atom(Atom::Quoted(name)))
}

fn number(input: &mut Input<'_>) -> Read<Kind> {
    let start = input.current_token_start();
    let fraction = opt(('.', digit1));
    let exponent = opt((one_of(['e', 'E']), opt(one_of(['+', '-'])), digit1));
    let mut digits = (opt('-'), digit1, (fraction, exponent).take()).take();
    let read: Read<&str> = digits.parse_next(input);
    let Ok(digits) = read else {
        return stop(start..start + 1, "`-` must be followed by a number");
    };
    let glued = take_while(0.., continues_name).parse_next(input)?;
    let span = start..input.current_token_start();
    if !glued.is_empty() {
        let message = format!(
            "`{digits}{glued}` is neither a number nor a name; names begin with a letter, others stand in backticks"
        );
        return stop(span, message);
    }
    let value = if digits.bytes().all(|b| b == b'-' || b.is_ascii_digit()) {
        digits.parse().ok().map(Value::Int)
    } else {
        let float = digits.parse().ok();
        float.filter(|f: &f64| f.is_finite()).map(Value::Float)
    };
    match value {
        Some(value) => Ok(Kind::Atom(Atom::Value(value))),
        None => stop(
            span,
            format!("{digits} is out of range; whole numbers have 64 bits"),
        ),
    }
}

/// A text between two equal quotes.
fn text(input: &mut Input<'_>) -> Read<Kind> {
    let start = input.current_token_start();
    let quote = any.parse_next(input)?;
    let mut all = String::new();
    loop {
        all += take_till(0.., (quote, '\\')).parse_next(input)?;
        match opt(any).parse_next(input)? {
            Some('\\') => all.push(escape(input)?),
            Some(_) => return Ok(Kind::Atom(Atom::Value(Value::Text(all)))),
            None => return stop(start..start + 1, "this quote is never closed"),
        }
    }
}

/// What follows a backslash inside a text.
fn escape(input: &mut Input<'_>) -> Read<char> {
    let start = input.current_token_start() - 1;
    let code = delimited(
        "u{",
        take_while(1..=6, |c: char| c.is_ascii_hexdigit()),
        '}',
    )
    .verify_map(|hex| char::from_u32(u32::from_str_radix(hex, 16).ok()?));
    let plain = dispatch! {any;
        'n' => empty.value('\n'),
        'r' => empty.value('\r'),
        't' => empty.value('\t'),
        '\\' => empty.value('\\'),
        '\'' => empty.value('\''),
        '"' => empty.value('"'),
        _ => fail,
    };
    let read: Read<char> = alt((code, plain)).parse_next(input);
    match read {
        Ok(c) => Ok(c),
        Err(_) => stop(
            start..start + 1,
            "this backslash begins none of \\\\ \\' \\\" \\n \\r \\t \\u{HEX}",
        ),
    }
}

fn sign(input: &mut Input<'_>) -> Read<Kind> {
    let start = input.current_token_start();
    let comparison = alt((
        "==".value(Comparison::Equal),
        "=".value(Comparison::Equal),
        "!=".value(Comparison::Different),
        "<=".value(Comparison::AtMost),
        ">=".value(Comparison::AtLeast),
        ("<", not('>')).value(Comparison::Below),
        ">".value(Comparison::Above),
    ));
    let bracket = alt((
        '('.value(Kind::Open),
        ')'.value(Kind::Close),
        '['.value(Kind::OpenList),
        ']'.value(Kind::CloseList),
        ','.value(Kind::Comma),
    ));
    let slip = alt((
        "&&".value("and"),
        "||".value("or"),
        "<>".value("!="),
        "!".value("not"),
    ))
    .with_taken();
    let read: Read<Kind> = alt((comparison.map(Kind::Sign), bracket)).parse_next(input);
    if let Ok(kind) = read {
        return Ok(kind);
    }
    if let Some((meant, found)) = opt(slip).parse_next(input)? {
        return stop(
            start..start + found.len(),
            format!("write `{meant}` for `{found}`"),
        );
    }
    let found = any.parse_next(input)?;
    let span = start..start + found.len_utf8();
    stop(span, format!("{found:?} means nothing here"))
}
