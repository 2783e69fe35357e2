//! Filters: a typed language over the fields of items, evaluated as bitmaps.
//!
//! ```text
//! price < max and 'shoes' in categories and not (brand in ['acme', 'nadir'] or on_sale)
//! ```
//!
//! From text to bits:
//!
//! * [`value`]: parameters, the typed values beside the text.
//! * [`lex`], [`parse`]: text to tokens to the tree of [`ast`], which prints itself as text again.
//! * [`check`]: names become fields and parameters, types are compared with what items have.
//! * [`evaluate`]: the checked filter over all items at once, or on one item.
//! * [`cache`]: bitmaps of filters that were asked before, as long as the catalogue stays the same.
//! * [`error`]: what is wrong, and where in the text.
//!
//! # What it means
//!
//! * Fields: `item`, `categories`, `group`, `timestamp` (UTC milliseconds) and every label by its name; names that are
//!   no identifiers, or keywords, stand in backticks. A field is known once any item had it; one that no item ever had is
//!   refused in a request's own filter, and missing on every item in a configuration's, whose answers say so.
//! * A bare name that was given as a parameter is one; `$name` always is. What could be both is refused.
//! * `==` (or `=`), `!=`, `<`, `<=`, `>`, `>=` compare a field with a value, on either side. Numbers compare exactly,
//!   whole or not; texts by their bytes; booleans only for equality.
//! * `brand in ['a', 'b']`: the field is one of these. `'shoes' in categories`: the list has this entry.
//! * `price is missing`: there is no value. A list without entries is no value.
//! * There are two truth values. A comparison with a missing value, or with one of another type, is false, `!=` too.
//!   `not` turns round whatever follows, so `not price < 5` holds for items without a price; `a not in b` is
//!   `not (a in b)`.
//! * `not` binds closest, then `and`, then `or`. Keywords may be written in any case.
//!
//! Bounds: [`MAX_TEXT`], [`MAX_DEPTH`], [`MAX_LIST`].

pub mod ast;
pub mod cache;
pub mod check;
pub mod error;
pub mod evaluate;
mod lex;
mod parse;
pub mod value;

#[cfg(test)]
mod tests;

pub use cache::FilterCache;
pub use check::{Checked, Unheard};
pub use error::FilterError;
pub use value::{Params, Value};

use crate::catalogue::Catalogue;

/// Bytes of a filter's text.
pub const MAX_TEXT: usize = 4096;
/// Parentheses and `not` inside each other.
pub const MAX_DEPTH: usize = 64;
/// Values of one list.
pub const MAX_LIST: usize = 1000;

/// A filter that was read, not yet compared with any catalogue.
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    root: ast::Expr,
}

impl Filter {
    /// Reads a filter. Errors: syntax, a bound.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > MAX_TEXT {
            let message = format!(
                "a filter of {} bytes; at most {MAX_TEXT} are allowed (long lists go into parameters)",
                text.len()
            );
            return Err(FilterError::whole(message));
        }
        let tokens = lex::tokens(text).map_err(|trouble| trouble.in_text(text))?;
        let root = parse::expression(text, &tokens)?;
        Ok(Self {
            text: text.to_string(),
            root,
        })
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What was read. Printed, it is the filter in a canonical spelling.
    pub fn root(&self) -> &ast::Expr {
        &self.root
    }

    /// Resolves names and compares types. Errors: a field that no item ever had, a parameter that was not given or is not
    /// used, values of a type that the field never has. The result holds as long as the catalogue's version.
    pub fn check(&self, catalogue: &Catalogue, params: &Params) -> Result<Checked, FilterError> {
        check::check(self, catalogue.known(), params, Unheard::Refused)
    }
}
