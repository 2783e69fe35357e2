//! What a generation folds, as the Python side validated it.
//!
//! Mirrors `headwater/config.py` field by field; unknown fields are refused, so the two cannot drift apart unnoticed.

use serde::Deserialize;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_128;

use crate::error::CoreError;

/// Version of the fold's code: state folded by another version is another generation.
pub const FOLD_VERSION: u32 = 3;

/// What bounds "together" in a relation.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// The user's session.
    Session,
    /// A run of the user's events without a gap of more than `within_days`.
    User,
    /// The user's events with the same basket id.
    Basket,
}

/// One kind of co-occurrence.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct RelationConfig {
    pub name: String,
    pub from_types: Vec<String>,
    pub to_types: Vec<String>,
    pub unit: Unit,
    pub window: usize,
    pub unit_cap: usize,
    pub within_days: f64,
    pub half_life_days: f64,
    pub capacity: usize,
}

/// Bounds of trending.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TrendingConfig {
    pub short_half_life_hours: f64,
    pub long_half_life_days: f64,
    pub prior: f64,
}

/// Bounds of the recent-session index.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SessionKnnConfig {
    pub postings: usize,
    pub max_sessions: usize,
    pub max_session_items: usize,
}

/// Users whose votes are counted apart.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SegmentsConfig {
    pub label: String,
    pub values: Vec<String>,
}

/// Most segments.
pub const MAX_SEGMENTS: usize = 32;

/// `[generation]`: everything that the state depends on beside the log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct FoldConfig {
    pub profile: String,
    pub partitions: usize,
    pub shards: usize,
    pub session_gap_minutes: f64,
    pub recent_items: usize,
    pub consumed_items: usize,
    pub seen_generation_days: f64,
    pub rapid_repeat_seconds: f64,
    pub dedup_horizon: u64,
    pub max_future_hours: f64,
    pub popularity_half_life_days: f64,
    pub fresh_days: f64,
    pub votes: Vec<String>,
    pub consumption: Vec<String>,
    pub positive: Vec<String>,
    pub strong: Vec<String>,
    pub negative: Vec<String>,
    pub impression: Vec<String>,
    pub affinity_weights: BTreeMap<String, f64>,
    pub affinity_half_life_days: f64,
    pub tag_labels: Vec<String>,
    pub auto_insert_items: bool,
    pub relations: Vec<RelationConfig>,
    pub trending: TrendingConfig,
    pub session_knn: SessionKnnConfig,
    pub segments: SegmentsConfig,
}

impl FoldConfig {
    /// Decodes the JSON that `headwater.config` writes. Errors name the field.
    pub fn from_json(bytes: &[u8]) -> Result<Self, CoreError> {
        let config: Self =
            serde_json::from_slice(bytes).map_err(|err| CoreError::Config(err.to_string()))?;
        if config.partitions == 0 || config.shards == 0 || config.relations.len() > 8 {
            return Err(CoreError::Config(
                "partitions and shards from 1, at most 8 relations".into(),
            ));
        }
        if config.segments.values.len() > MAX_SEGMENTS {
            let rule = format!("at most {MAX_SEGMENTS} segments");
            return Err(CoreError::Config(rule));
        }
        Ok(config)
    }
}

/// Identity of a generation: the fold configuration's bytes and the fold's version, as 32 hex digits.
pub fn generation_id(fold_json: &[u8]) -> String {
    let mut bytes = FOLD_VERSION.to_le_bytes().to_vec();
    bytes.extend_from_slice(fold_json);
    format!("{:032x}", xxh3_128(&bytes))
}
