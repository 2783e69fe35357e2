//! How a question is answered: one scenario by default, others by name, as the Python side validated them.
//!
//! Mirrors `headwater/scenario.py` field by field; unknown fields are refused, so the two cannot drift apart unnoticed.
//! Fields that an older log's configuration lacks have the values under which it behaved as it did.

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::error::CoreError;
use crate::experiment::{Experiments, Table};
use crate::filter::Filter;

/// Association measure of a pair, computed when read.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Metric {
    #[default]
    Cosine,
    Jaccard,
    Conditional,
    Lift,
    Pmi,
    Phi,
    Llr,
    Count,
}

/// How a slate is made diverse.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DiversityMethod {
    /// Maximal marginal relevance.
    #[default]
    Mmr,
    /// Determinantal point process, greedily.
    Dpp,
}

/// Scores of items that pass are multiplied.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Boost {
    pub filter: String,
    pub factor: f64,
}

/// At most `max` items of a slate share a value of the field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Cap {
    pub field: String,
    pub max: u32,
}

/// An item with a slot of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Pin {
    pub slot: usize,
    pub item: String,
}

/// The share of slots that is kept for items that pass.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Promote {
    pub filter: String,
    pub share: f64,
}

/// How one kind of question is answered; see `headwater/scenario.py` for what each field means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Scenario {
    pub sources: BTreeMap<String, f64>,
    pub rrf_k: f64,
    pub pool: usize,
    pub seeds: usize,
    pub metric: Metric,
    pub shrinkage: f64,
    pub knn_neighbours: usize,
    pub knn_last_items: usize,
    pub knn_step: f64,
    pub knn_vote_step: f64,
    pub knn_near: f64,
    pub knn_before: f64,
    pub knn_oldest: f64,
    pub knn_rarity: f64,
    pub knn_own: f64,
    pub fresh_days: f64,
    pub fresh_budget: u32,
    pub filter: String,
    pub exclude_consumed: bool,
    pub consumed_expiry_days: Option<f64>,
    pub consumed_expiry_label: String,
    pub touched_factor: f64,
    pub dislike_factor: f64,
    pub freshness: f64,
    pub freshness_half_life_days: f64,
    pub popularity_debias: f64,
    pub boosts: Vec<Boost>,
    pub slate_pool: usize,
    pub diversity: f64,
    pub diversity_debias: f64,
    pub diversity_by: String,
    pub diversity_method: DiversityMethod,
    pub one_per_group: bool,
    pub caps: Vec<Cap>,
    pub pins: Vec<Pin>,
    pub promote: Promote,
    pub exploration: f64,
    pub exploration_uniform: f64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            sources: BTreeMap::new(),
            rrf_k: 60.0,
            pool: 200,
            seeds: 10,
            metric: Metric::Cosine,
            shrinkage: 5.0,
            knn_neighbours: 100,
            knn_last_items: 6,
            knn_step: 0.0,
            knn_vote_step: 0.0,
            knn_near: 1.0,
            knn_before: 1.0,
            knn_oldest: 1.0,
            knn_rarity: 0.0,
            knn_own: 0.0,
            fresh_days: 14.0,
            fresh_budget: 100,
            filter: String::new(),
            exclude_consumed: true,
            consumed_expiry_days: Some(30.0),
            consumed_expiry_label: String::new(),
            touched_factor: 0.5,
            // Before there were dislikes that push away.
            dislike_factor: 1.0,
            freshness: 0.0,
            freshness_half_life_days: 14.0,
            popularity_debias: 0.0,
            boosts: Vec::new(),
            slate_pool: 500,
            diversity: 0.0,
            diversity_debias: 0.0,
            diversity_by: "tags".to_string(),
            diversity_method: DiversityMethod::Mmr,
            one_per_group: true,
            caps: Vec::new(),
            pins: Vec::new(),
            promote: Promote::default(),
            exploration: 0.0,
            exploration_uniform: 0.1,
        }
    }
}

/// `[query]`: the scenario that answers when none is named, the named ones, and who is answered otherwise.
#[derive(Clone, Debug, Default)]
pub struct QueryConfig {
    /// Answers when none is named.
    pub base: Scenario,
    /// By name.
    pub named: BTreeMap<String, Scenario>,
    /// Experiments that run on them.
    pub experiments: Experiments,
}

impl QueryConfig {
    /// Decodes the JSON that `headwater.scenario` writes. Errors name the field.
    pub fn from_json(bytes: &[u8]) -> Result<Self, CoreError> {
        let refused = |err: serde_json::Error| CoreError::Config(err.to_string());
        let mut fields: Table = serde_json::from_slice(bytes).map_err(refused)?;
        let tables: BTreeMap<String, Table> = match fields.remove("scenarios") {
            Some(named) => serde_json::from_value(named).map_err(refused)?,
            None => BTreeMap::new(),
        };
        let experiments = match fields.remove("experiments") {
            Some(experiments) => Experiments::new(experiments, &fields, &tables)?,
            None => Experiments::default(),
        };
        let scenario =
            |table| Scenario::deserialize(serde_json::Value::Object(table)).map_err(refused);
        let named = tables.into_iter();
        let query = Self {
            named: named
                .map(|(name, table)| Ok((name, scenario(table)?)))
                .collect::<Result<_, CoreError>>()?,
            base: scenario(fields)?,
            experiments,
        };
        query.check_filters()?;
        Ok(query)
    }

    /// Reads every filter once: a mistake in its syntax is one of the configuration, not of a question.
    fn check_filters(&self) -> Result<(), CoreError> {
        let named = self
            .named
            .iter()
            .map(|(name, scenario)| (format!("query.scenarios.{name}."), scenario));
        let base = std::iter::once(("query.".to_string(), &self.base));
        for (at, scenario) in base.chain(named).chain(self.experiments.scenarios()) {
            let boosts = scenario
                .boosts
                .iter()
                .map(|boost| ("boosts", &boost.filter));
            let filters = [
                ("filter", &scenario.filter),
                ("promote", &scenario.promote.filter),
            ];
            let filters = filters.into_iter().filter(|(_, text)| !text.is_empty());
            for (key, text) in filters.chain(boosts) {
                Filter::parse(text)
                    .map_err(|err| CoreError::Config(format!("{at}{key}: {err}")))?;
            }
        }
        Ok(())
    }

    /// The scenario of that name as the variant answers it, or as it is. Errors: as [`Self::scenario`], and a variant that
    /// does not exist.
    pub fn answering(
        &self,
        name: Option<&str>,
        variant: Option<&str>,
    ) -> Result<&Scenario, CoreError> {
        let own = variant
            .map(|label| self.experiments.variant(label))
            .transpose()?;
        match own.and_then(|variant| variant.scenario(name)) {
            Some(scenario) => Ok(scenario),
            None => self.scenario(name),
        }
    }

    /// The scenario of that name, or the default one. Errors name those that exist.
    pub fn scenario(&self, name: Option<&str>) -> Result<&Scenario, CoreError> {
        let Some(name) = name else {
            return Ok(&self.base);
        };
        self.named.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.named.keys().map(String::as_str).collect();
            let allowed = if known.is_empty() {
                "none is configured".to_string()
            } else {
                known.join(", ")
            };
            CoreError::Query {
                field: "scenario",
                rule: format!("no scenario is named {name:?}; allowed: {allowed}"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_decode_by_name_and_unknown_fields_are_refused() {
        let json = br#"{"pool": 7, "scenarios": {"home": {"diversity": 0.5}}}"#;
        let query = QueryConfig::from_json(json).unwrap();
        assert_eq!(query.base.pool, 7);
        assert_eq!(query.scenario(Some("home")).unwrap().diversity, 0.5);
        assert!(query.scenario(Some("cart")).is_err());
        assert!(QueryConfig::from_json(br#"{"poool": 7}"#).is_err());
        assert!(QueryConfig::from_json(br#"{"scenarios": {"home": {"x": 1}}}"#).is_err());
    }

    #[test]
    fn numbers_are_read_to_the_last_place() {
        for text in ["0.9999999999999999", "0.30000000000000004", "0.1"] {
            let json = format!(r#"{{"promote": {{"share": {text}}}}}"#);
            let query = QueryConfig::from_json(json.as_bytes()).unwrap();
            assert_eq!(query.base.promote.share, text.parse::<f64>().unwrap());
        }
    }
}
