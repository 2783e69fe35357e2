//! Experiments: which visitors are answered differently, and how.
//!
//! A *variant* says what differs from a scenario, key by key, as a named scenario says what differs from `[query]`; what
//! comes of it is worked out once, when the configuration is decoded. Who gets which variant is a hash of the
//! experiment's salt and the visitor, so nothing is stored and everybody who asks finds the same.
//!
//! Mirrors `Experiment` of `headwater/scenario.py`. That experiments do not overlap is checked there
//! (`headwater/experiment_config.py`).

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use crate::error::CoreError;
use crate::ids::{Millis, stable_hash};
use crate::scenario::Scenario;

/// What the scenario that answers when none is named is called where scenarios are listed.
pub const DEFAULT_SCENARIO: &str = "(default)";

/// A table of keys and values, as JSON holds it.
pub type Table = Map<String, Value>;

/// What visitors of a variant are given.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Serve {
    /// Slates, under the variant's overlay.
    #[default]
    Slate,
    /// A holdout: empty slates; a caller's list keeps its order.
    Nothing,
    /// A holdout: the most popular items that the scenario's rules allow, the same for everybody.
    Popular,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantTable {
    share: f64,
    #[serde(default)]
    serve: Serve,
    #[serde(default)]
    query: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExperimentTable {
    variants: BTreeMap<String, VariantTable>,
    scenarios: Vec<String>,
    segments: Vec<String>,
    salt: String,
    layer: String,
    traffic: (f64, f64),
    start: Option<Millis>,
    end: Option<Millis>,
}

/// One of the ways in which an experiment answers.
#[derive(Clone, Debug)]
pub struct Variant {
    /// `experiment/variant`, as requests and records name it.
    pub label: String,
    /// Slates or nothing.
    pub serve: Serve,
    share: f64,
    /// By name of the scenario, those that the overlay changes.
    scenarios: BTreeMap<String, Scenario>,
}

/// Who takes part, and in what.
#[derive(Clone, Debug)]
pub struct Experiment {
    name: String,
    scenarios: Vec<String>,
    segments: Vec<String>,
    salt: String,
    layer: String,
    traffic: (f64, f64),
    start: Option<Millis>,
    end: Option<Millis>,
    /// Ordered by name: the order in which shares follow each other.
    variants: Vec<Variant>,
}

/// Whoever asks, as experiments see them.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'a> {
    /// Id of a user, or of an anonymous visitor.
    pub id: &'a str,
    /// Name of the segment that a known user belongs to.
    pub segment: Option<&'a str>,
}

/// All experiments of a configuration, ordered by name.
#[derive(Clone, Debug, Default)]
pub struct Experiments(Vec<Experiment>);

impl Experiments {
    /// Works out the `experiments` of a configuration whose scenarios are `base` and `named`. Errors name the key.
    pub fn new(
        tables: Value,
        base: &Table,
        named: &BTreeMap<String, Table>,
    ) -> Result<Self, CoreError> {
        let refused = |err: serde_json::Error| CoreError::Config(format!("experiments: {err}"));
        let tables: BTreeMap<String, ExperimentTable> =
            serde_json::from_value(tables).map_err(refused)?;
        let all = || std::iter::once(DEFAULT_SCENARIO).chain(named.keys().map(String::as_str));
        let experiment = |(name, table): (String, ExperimentTable)| {
            let covered: Vec<&str> = match table.scenarios.is_empty() {
                true => all().collect(),
                false => table.scenarios.iter().map(String::as_str).collect(),
            };
            let variants = table
                .variants
                .into_iter()
                .map(|(variant, own)| {
                    let label = format!("{name}/{variant}");
                    Variant::new(label, own, &covered, base, named)
                })
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Experiment {
                name,
                scenarios: table.scenarios,
                segments: table.segments,
                salt: table.salt,
                layer: table.layer,
                traffic: table.traffic,
                start: table.start,
                end: table.end,
                variants,
            })
        };
        let list = tables.into_iter().map(experiment);
        Ok(Self(list.collect::<Result<_, CoreError>>()?))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every scenario that a variant changes, with the key under which it stands.
    pub fn scenarios(&self) -> impl Iterator<Item = (String, &Scenario)> {
        let variants = self.0.iter().flat_map(|experiment| &experiment.variants);
        variants.flat_map(|variant| {
            let own = variant.scenarios.iter();
            own.map(|(name, scenario)| {
                (
                    format!("experiments {} of {name}: ", variant.label),
                    scenario,
                )
            })
        })
    }

    /// The variant that answers a visitor's question at `now`, if they take part in an experiment on its scenario.
    /// O(experiments).
    pub fn assign(
        &self,
        visitor: Visitor<'_>,
        scenario: Option<&str>,
        now: Millis,
    ) -> Option<&Variant> {
        let scenario = scenario.unwrap_or(DEFAULT_SCENARIO);
        let mut on = self.0.iter().filter(|e| e.answers(scenario));
        on.find_map(|experiment| experiment.variant_of(visitor, now))
    }

    /// The experiment of that name. Errors name those that exist.
    pub fn named(&self, name: &str) -> Result<&Experiment, CoreError> {
        self.0.iter().find(|e| e.name == name).ok_or_else(|| {
            let names = self.0.iter().map(|e| e.name.as_str());
            unknown("experiment", name, names.collect())
        })
    }

    /// The variant that a request or record names. Errors name those that exist.
    pub fn variant(&self, label: &str) -> Result<&Variant, CoreError> {
        let all = || self.0.iter().flat_map(|e| &e.variants);
        all()
            .find(|v| v.label == label)
            .ok_or_else(|| unknown("variant", label, all().map(|v| v.label.as_str()).collect()))
    }
}

fn unknown(field: &'static str, name: &str, known: Vec<&str>) -> CoreError {
    let allowed = match known.is_empty() {
        true => "none is configured".to_string(),
        false => known.join(", "),
    };
    CoreError::Query {
        field,
        rule: format!("no {field} is named {name:?}; allowed: {allowed}"),
    }
}

impl Experiment {
    fn answers(&self, scenario: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|own| own == scenario)
    }

    /// The variant of a visitor who takes part at `now`.
    pub fn variant_of(&self, visitor: Visitor<'_>, now: Millis) -> Option<&Variant> {
        let running =
            self.start.is_none_or(|start| start <= now) && self.end.is_none_or(|end| now < end);
        let meant = self.segments.is_empty()
            || visitor
                .segment
                .is_some_and(|one| self.segments.iter().any(|own| own == one));
        if !running || !meant || !self.admits(visitor.id) {
            return None;
        }
        let at = place("variant", &self.salt, visitor.id);
        let mut end = 0.0;
        let taken = self.variants.iter().find(|variant| {
            end += variant.share;
            at < end
        });
        // Shares may sum to a little less than 1.
        taken.or(self
            .variants
            .iter()
            .rev()
            .find(|variant| variant.share > 0.0))
    }

    /// Whether the visitor's place in the layer lies within the experiment's part of it.
    fn admits(&self, visitor: &str) -> bool {
        let (from, to) = self.traffic;
        if from <= 0.0 && to >= 1.0 {
            return true;
        }
        let at = match self.layer.is_empty() {
            true => place("traffic", &self.salt, visitor),
            false => place("layer", &self.layer, visitor),
        };
        from <= at && at < to
    }
}

/// Where a visitor stands in [0, 1): uniform over visitors, and independent for another purpose or another salt.
fn place(purpose: &str, salt: &str, visitor: &str) -> f64 {
    let hash = stable_hash(format!("{purpose}\0{salt}\0{visitor}").as_bytes());
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

impl Variant {
    fn new(
        label: String,
        own: VariantTable,
        covered: &[&str],
        base: &Table,
        named: &BTreeMap<String, Table>,
    ) -> Result<Self, CoreError> {
        let mut scenarios = BTreeMap::new();
        for name in covered {
            let table = match *name {
                DEFAULT_SCENARIO => Some(base),
                name => named.get(name),
            };
            let refused =
                |what: String| CoreError::Config(format!("experiments {label} of {name}: {what}"));
            let mut table = table
                .ok_or_else(|| refused("no such scenario".to_string()))?
                .clone();
            if own.query.is_empty() && own.serve == Serve::Slate {
                continue;
            }
            table.extend(own.query.clone());
            let mut scenario = Scenario::deserialize(Value::Object(table))
                .map_err(|err| refused(err.to_string()))?;
            own.serve.hold_out(&mut scenario);
            scenarios.insert(name.to_string(), scenario);
        }
        Ok(Self {
            label,
            serve: own.serve,
            share: own.share,
            scenarios,
        })
    }

    /// How this variant answers a scenario, where that is not as the scenario itself does.
    pub fn scenario(&self, name: Option<&str>) -> Option<&Scenario> {
        self.scenarios.get(name.unwrap_or(DEFAULT_SCENARIO))
    }

    /// The variant's own name.
    pub fn name(&self) -> &str {
        self.label
            .split_once('/')
            .map_or("", |(_, variant)| variant)
    }
}

impl Serve {
    /// Takes everything personal out of a scenario, and leaves the shop's own rules as they are.
    fn hold_out(self, scenario: &mut Scenario) {
        let source = match self {
            Self::Slate => return,
            Self::Nothing => "list",
            Self::Popular => "popular",
        };
        scenario.sources = BTreeMap::from([(source.to_string(), 1.0)]);
        scenario.touched_factor = 1.0;
        scenario.dislike_factor = 1.0;
        scenario.diversity = 0.0;
        scenario.exploration = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn experiments(tables: Value) -> Result<Experiments, CoreError> {
        let table = |value: Value| serde_json::from_value::<Table>(value).unwrap();
        let base = table(json!({"pool": 7, "sources": {"trending": 1.0}}));
        let named = BTreeMap::from([("home".to_string(), table(json!({"pool": 9})))]);
        Experiments::new(tables, &base, &named)
    }

    fn one(changes: Value) -> Value {
        let mut table = json!({
            "variants": {"a": {"share": 0.5}, "b": {"share": 0.5, "query": {"diversity": 0.5}}},
            "scenarios": [], "segments": [], "salt": "x", "layer": "", "traffic": [0.0, 1.0],
            "start": null, "end": null,
        });
        let changes = serde_json::from_value::<Table>(changes).unwrap();
        table.as_object_mut().unwrap().extend(changes);
        json!({"x": table})
    }

    fn visitor(id: &str) -> Visitor<'_> {
        Visitor { id, segment: None }
    }

    #[test]
    fn an_overlay_lies_over_each_scenario() {
        let all = experiments(one(json!({}))).unwrap();
        let b = all.variant("x/b").unwrap();
        assert_eq!(
            (
                b.scenario(None).unwrap().pool,
                b.scenario(Some("home")).unwrap().pool
            ),
            (7, 9)
        );
        assert_eq!(b.scenario(Some("home")).unwrap().diversity, 0.5);
        assert!(all.variant("x/a").unwrap().scenario(None).is_none());
        assert!(
            all.variant("x/c")
                .unwrap_err()
                .to_string()
                .contains("x/a, x/b")
        );
        assert!(all.named("y").is_err());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(
            experiments(one(
                json!({"variants": {"b": {"share": 1.0, "query": {"poool": 1}}}})
            ))
            .is_err()
        );
        assert!(experiments(one(json!({"scenarios": ["cart"]}))).is_err());
        assert!(experiments(one(json!({"salty": 1}))).is_err());
    }

    #[test]
    fn time_segment_scenario_and_traffic_say_who_takes_part() {
        let all = experiments(one(json!({"start": 10, "end": 20, "scenarios": ["home"]}))).unwrap();
        let at = |scenario, now| all.assign(visitor("u"), scenario, now).is_some();
        assert_eq!(
            [9, 10, 19, 20].map(|now| at(Some("home"), now)),
            [false, true, true, false]
        );
        assert!(!at(None, 15));
        let all = experiments(one(json!({"segments": ["vip"]}))).unwrap();
        let of = |segment| all.assign(Visitor { id: "u", segment }, None, 0).is_some();
        assert_eq!(
            [of(None), of(Some("vip")), of(Some("new"))],
            [false, true, false]
        );
        let halves = [[0.0, 0.5], [0.5, 1.0]]
            .map(|traffic| experiments(one(json!({"traffic": traffic, "layer": "l"}))).unwrap());
        for id in (0..100).map(|i| format!("u{i}")) {
            let taken = halves
                .each_ref()
                .map(|all| all.assign(visitor(&id), None, 0).is_some());
            assert_ne!(taken[0], taken[1]);
        }
    }

    #[test]
    fn a_holdout_keeps_the_rules_and_nothing_personal() {
        let variants = json!({"variants": {"p": {"share": 1.0, "serve": "popular", "query": {"filter": "price < 5"}}}});
        let all = experiments(one(variants)).unwrap();
        let popular = all.variant("x/p").unwrap().scenario(None).unwrap();
        assert_eq!(
            popular.sources,
            BTreeMap::from([("popular".to_string(), 1.0)])
        );
        assert_eq!(
            (popular.filter.as_str(), popular.touched_factor),
            ("price < 5", 1.0)
        );
    }
}
