//! What a request asks for, worked out: scenario with overrides, sources, and the items of every filter.

use std::borrow::Cow;
use std::sync::Arc;

use crate::bitmap::Bitmap;
use crate::error::CoreError;
use crate::filter::cache::Passing;
use crate::filter::{Filter, FilterCache, FilterError, Params, Unheard};
use crate::fold::state::State;
use crate::query::compose::has_rules;
use crate::query::graphs::Graphs;
use crate::query::leading::LeadingCache;
use crate::query::request::{RecommendRequest, check_n};
use crate::query::source::{Source, Weighted};
use crate::query::taking_part;
use crate::scenario::{QueryConfig, Scenario};
use crate::slate::request::MAX_EXPLORING_SLOTS;

/// Weight of the caller's list where no configuration says otherwise: it settles what no other source knows, and is
/// never more than what any of them says.
const LIST_WEIGHT: f64 = 1e-4;

/// What a query may use beside the state.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Active configuration.
    pub query: &'a QueryConfig,
    /// Items of filters that were asked for before.
    pub filters: &'a FilterCache,
    /// Graphs of large embeddings; absent: all are scanned.
    pub graphs: Option<&'a Graphs>,
    /// Leaders in order, kept from question to question; absent: every question finds its own.
    pub leading: Option<&'a LeadingCache>,
    /// Whether a spare thread may take a part of one question ([`crate::beside`]).
    pub helped: bool,
}

/// A request, worked out.
pub struct Plan<'a> {
    /// The scenario, the request's overrides applied.
    pub scenario: Cow<'a, Scenario>,
    /// Sources in force, by name.
    pub sources: Vec<Weighted>,
    /// Filters by text, the scenario's and the request's: only items that pass all may be shown.
    pub filters: Vec<(&'a str, Arc<Bitmap>)>,
    /// Items of each boost.
    pub boosted: Vec<Arc<Bitmap>>,
    /// Items of the promotion.
    pub promoted: Option<Arc<Bitmap>>,
    /// What a holdout of an experiment is given instead, in words.
    pub holdout: Option<String>,
    /// What the caller should know of the scenario's own filters.
    pub notes: Vec<String>,
    /// Whether the request lets the visitor's own items be answers.
    own_items: bool,
}

impl<'a> Plan<'a> {
    /// Works a request out. Errors name the field: an unknown scenario or source, a number out of range, a filter that
    /// does not parse or check.
    pub fn new(
        state: &State,
        tools: &Tools<'a>,
        request: &'a RecommendRequest,
    ) -> Result<Self, CoreError> {
        check_n(request.n)?;
        let (name, variant) = (request.scenario.as_deref(), request.variant.as_deref());
        let configured = tools.query.answering(name, variant)?;
        let holdout = taking_part::holdout(tools.query, request)?;
        let scenario = match holdout {
            Some(_) => Cow::Borrowed(configured),
            None => lesser_known(overridden(configured, request)?),
        };
        if scenario.exploration > 0.0 && request.n > MAX_EXPLORING_SLOTS {
            return Err(CoreError::Query {
                field: "n",
                rule: format!(
                    "{}; at most {MAX_EXPLORING_SLOTS} with exploration",
                    request.n
                ),
            });
        }
        let own = Some(configured.filter.as_str()).filter(|text| !text.is_empty());
        let texts = [
            (own, Unheard::Missing),
            (request.filter.as_deref(), Unheard::Refused),
        ];
        let promote = Some(&configured.promote).filter(|promote| promote.share > 0.0);
        let count = texts.iter().filter(|(text, _)| text.is_some()).count()
            + configured.boosts.len()
            + promote.iter().count();
        let mut evaluation = Evaluation::new(state, tools, request, count);
        let filters = texts
            .into_iter()
            .filter_map(|(text, unheard)| Some((text?, unheard)))
            .map(|(text, unheard)| Ok((text, evaluation.items("filter", text, unheard)?)))
            .collect::<Result<_, CoreError>>()?;
        let boosted = configured
            .boosts
            .iter()
            .map(|boost| evaluation.items("boosts", &boost.filter, Unheard::Missing))
            .collect::<Result<_, _>>()?;
        let promoted = promote
            .map(|promote| evaluation.items("promote", &promote.filter, Unheard::Missing))
            .transpose()?;
        evaluation.check_parameters()?;
        Ok(Self {
            sources: sources(state, &scenario, request, holdout.is_none())?,
            scenario,
            holdout,
            notes: evaluation.notes,
            filters,
            boosted,
            promoted,
            own_items: request.own_items,
        })
    }

    /// Whether the slate is the best of the pool, whatever else is in it, and nobody asks about the others.
    pub fn takes_best_alone(&self, state: &State, request: &RecommendRequest) -> bool {
        let apart = self.scenario.diversity > 0.0 || self.scenario.exploration > 0.0;
        let asked = request.features || request.why.is_some() || request.candidates.is_some();
        !apart && !asked && !has_rules(state, &self.scenario, self.promoted.is_some())
    }

    /// The filters, where nothing else narrows down what all visitors may be shown.
    pub fn filters_alone(&self, request: &RecommendRequest) -> &[(&'a str, Arc<Bitmap>)] {
        match request.candidates {
            None => &self.filters,
            Some(_) => &[],
        }
    }

    /// Whether the request, or a source, offers what the visitor handed in.
    pub fn offers_own_items(&self) -> bool {
        let knn = self.scenario.knn_own > 0.0 && self.uses(&Source::SessionKnn);
        self.own_items || knn || self.uses(&Source::Repeats)
    }

    /// Whether a source is in force.
    pub fn uses(&self, source: &Source) -> bool {
        self.sources
            .iter()
            .any(|weighted| weighted.source == *source)
    }
}

/// The scenario with what the request says differently.
fn overridden<'a>(
    scenario: &'a Scenario,
    request: &RecommendRequest,
) -> Result<Cow<'a, Scenario>, CoreError> {
    let mut own = Cow::Borrowed(scenario);
    let share = |field: &'static str, value: f64| match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err(CoreError::Query {
            field,
            rule: format!("{value} is outside 0 to 1"),
        }),
    };
    if let Some(diversity) = request.diversity {
        own.to_mut().diversity = share("diversity", diversity)?;
    }
    if let Some(exploration) = request.exploration {
        own.to_mut().exploration = share("exploration", exploration)?;
    }
    Ok(own)
}

/// The scenario with what its diversity takes from popular items: unlikeness alone would send all visitors to the same few.
fn lesser_known(scenario: Cow<'_, Scenario>) -> Cow<'_, Scenario> {
    let more = scenario.diversity * scenario.diversity_debias;
    if more <= 0.0 {
        return scenario;
    }
    let mut own = scenario.into_owned();
    own.popularity_debias += more;
    Cow::Owned(own)
}

/// The sources in force with their weights: the scenario's, where `heard` overridden by the request's, ordered by name.
fn sources(
    state: &State,
    scenario: &Scenario,
    request: &RecommendRequest,
    heard: bool,
) -> Result<Vec<Weighted>, CoreError> {
    let overrides = request.sources.iter().filter(|_| heard);
    for (name, weight) in overrides.clone() {
        if !weight.is_finite() || *weight < 0.0 {
            return Err(CoreError::Query {
                field: "sources",
                rule: format!("the weight {weight} of {name:?} is not a finite number >= 0"),
            });
        }
        if let Some(Source::Vector(embedding)) = Source::named(state, name)
            && state.vectors.get(&embedding).is_none()
        {
            return Err(CoreError::Query {
                field: "sources",
                rule: format!("no item has an embedding named {embedding:?}"),
            });
        }
    }
    let own = scenario.sources.iter();
    let mut merged: Vec<(&str, f64)> = own.map(|(name, weight)| (name.as_str(), *weight)).collect();
    let list = request.candidates.iter().map(|_| ("list", LIST_WEIGHT));
    for (name, weight) in list {
        if let Err(at) = place(&merged, name) {
            merged.insert(at, (name, weight));
        }
    }
    for (name, weight) in overrides {
        match place(&merged, name) {
            Ok(at) => merged[at].1 = *weight,
            Err(at) => merged.insert(at, (name, *weight)),
        }
    }
    let mut weighted = Vec::with_capacity(merged.len());
    for (name, weight) in merged {
        let Some(source) = Source::named(state, name) else {
            return Err(CoreError::Query {
                field: "sources",
                rule: format!("no source is named {name:?}"),
            });
        };
        if weight > 0.0 {
            weighted.push(Weighted {
                name: source.text(name),
                source,
                weight,
            });
        }
    }
    Ok(weighted)
}

/// Where a source stands in an order by name, or would.
fn place(sources: &[(&str, f64)], name: &str) -> Result<usize, usize> {
    sources.binary_search_by(|(other, _)| (*other).cmp(name))
}

/// Evaluates the filters of one request.
struct Evaluation<'a> {
    state: &'a State,
    filters: &'a FilterCache,
    params: &'a Params,
    /// Whether one filter has all the parameters, and need not be asked which are its own.
    alone: bool,
    used: Vec<String>,
    notes: Vec<String>,
}

impl<'a> Evaluation<'a> {
    fn new(
        state: &'a State,
        tools: &Tools<'a>,
        request: &'a RecommendRequest,
        filters: usize,
    ) -> Self {
        Self {
            state,
            filters: tools.filters,
            params: &request.params,
            alone: filters == 1,
            used: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn items(
        &mut self,
        field: &'static str,
        text: &str,
        unheard: Unheard,
    ) -> Result<Arc<Bitmap>, CoreError> {
        let passing = self.passing(field, text, unheard)?;
        for name in &*passing.unheard {
            let note = format!(
                "{field} of the scenario: no item has a field {name:?} yet; it is missing on all"
            );
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        Ok(passing.items)
    }

    fn passing(
        &mut self,
        field: &'static str,
        text: &str,
        unheard: Unheard,
    ) -> Result<Passing, CoreError> {
        let refused = |err: FilterError| CoreError::Filter {
            field,
            rule: err.to_string(),
            at: err.at,
        };
        let (catalogue, names) = (&self.state.catalogue, &self.state.names);
        if self.alone || self.params.is_empty() {
            self.used.extend(self.params.keys().cloned());
            return self
                .filters
                .evaluate(text, self.params, catalogue, names, unheard)
                .map_err(refused);
        }
        let filter = Filter::parse(text).map_err(refused)?;
        let mentioned = filter.root().names();
        let own = self
            .params
            .iter()
            .filter(|(name, _)| mentioned.contains(name.as_str()));
        let own: Params = own
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        self.used.extend(own.keys().cloned());
        self.filters
            .evaluate(text, &own, catalogue, names, unheard)
            .map_err(refused)
    }

    /// A parameter that no filter names is a mistake of the caller.
    fn check_parameters(&self) -> Result<(), CoreError> {
        match self.params.keys().find(|name| !self.used.contains(name)) {
            None => Ok(()),
            Some(name) => Err(CoreError::Query {
                field: "params",
                rule: format!("no filter of this request has a parameter {name:?}"),
            }),
        }
    }
}
