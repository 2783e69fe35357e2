//! What is asked. Decoded from MessagePack maps; unknown fields are refused.

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::error::CoreError;
use crate::filter::Params;
use crate::ids::Millis;
use crate::scenario::Metric;

/// The most items that one answer may hold.
pub const MAX_N: usize = 1000;

/// `recommend(user)`, `session(items)` and `rank(user, items)`. Fields that an older request lacks do nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct RecommendRequest {
    /// A known, unknown or absent visitor.
    pub user: Option<String>,
    /// Items of an anonymous visitor, latest last; used instead of a user's history when not empty.
    pub items: Vec<String>,
    /// Whether what the visitor handed in may be an answer. So it is too where a source offers it.
    pub own_items: bool,
    pub n: usize,
    pub exclude: Vec<String>,
    pub now: Millis,
    /// Overrides of source weights, by name.
    pub sources: BTreeMap<String, f64>,
    /// Whether to name every contributing event instead of the strongest.
    pub all_reasons: bool,
    /// Which scenario answers; the default one when absent.
    pub scenario: Option<String>,
    /// Which variant of an experiment answers: `experiment/variant`.
    pub variant: Option<String>,
    /// Only items that pass, beside the scenario's own filter.
    pub filter: Option<String>,
    /// Values of the filters' parameters.
    pub params: Params,
    /// Overrides of the scenario.
    pub diversity: Option<f64>,
    pub exploration: Option<f64>,
    /// The caller's own list: only these may be shown.
    pub candidates: Option<Vec<String>>,
    /// What exploration is drawn by: the slate's id.
    pub key: String,
    /// Whether to give the features of every candidate of the pool.
    pub features: bool,
    /// Whether to leave out reasons, factors, and all of what sources said but the one that said most.
    pub brief: bool,
    /// An item of which to say what became of it.
    pub why: Option<String>,
    /// What approximate sources found when this was answered before, by their names: it takes the place of looking.
    pub found: BTreeMap<String, Vec<(String, f64)>>,
}

/// `similar(item)`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SimilarRequest {
    pub item: String,
    pub n: usize,
    /// One relation; all of them, fused, when absent.
    pub relation: Option<String>,
    pub metric: Option<Metric>,
    pub exclude: Vec<String>,
    pub now: Millis,
}

/// `trending(category)`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TrendingRequest {
    pub category: Option<String>,
    pub n: usize,
    pub now: Millis,
}

/// Refuses an `n` that no answer can have.
pub fn check_n(n: usize) -> Result<(), CoreError> {
    if (1..=MAX_N).contains(&n) {
        return Ok(());
    }
    Err(CoreError::Query {
        field: "n",
        rule: format!("{n} is outside 1 to {MAX_N}"),
    })
}
