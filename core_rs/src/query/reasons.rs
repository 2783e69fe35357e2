//! Why an item is in an answer: the visitor's own events that led there, source by source.

use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::query::answer::{EventName, Part, Reason};
use crate::query::counted::Witness;
use crate::query::leaders::TAGS;
use crate::query::seeds::{Asker, Seed};
use crate::query::source::Source;
use crate::query::vectors::cosine;
use crate::scenario::{Metric, Scenario};

/// What is needed to say why.
pub struct Reasoner<'a> {
    /// The state that was asked.
    pub state: &'a State,
    /// Who asked.
    pub asker: &'a Asker<'a>,
    /// The scenario in force.
    pub scenario: &'a Scenario,
    /// What sources that count say.
    pub witness: &'a dyn Witness,
    /// Every contributing event, or only the strongest per source.
    pub all: bool,
}

impl Reasoner<'_> {
    /// Reasons of one source for one item that it ranked, strongest first.
    pub fn reasons(&self, part: &Part, item: ItemIx) -> Vec<Reason> {
        let name = part.0.as_str();
        let mut reasons = match Source::named(self.state, name) {
            Some(Source::TagAffinity) => self.tags(item),
            Some(Source::Repeats) => self.repeats(item),
            Some(Source::Vector(embedding)) => self.vectors(name, &embedding, item),
            Some(Source::List) => vec![self.reason(name, None, f64::from(part.1), 0.0, "place")],
            Some(source) => self.counted(&source, name, item),
            None => vec![self.reason(name, None, 0.0, 0.0, "catalogue")],
        };
        reasons.truncate(self.kept());
        reasons
    }

    /// Reasons of a source that counts.
    fn counted(&self, source: &Source, name: &str, item: ItemIx) -> Vec<Reason> {
        let grounds = self.witness.grounds(source, name, item);
        let detail = match source {
            Source::Relation(_) => metric_name(self.scenario.metric).to_string(),
            Source::SessionKnn => format!("idf {:.2}", grounds.own),
            Source::Fresh => return vec![self.reason(name, None, grounds.own, 0.0, "served")],
            _ => return vec![self.reason(name, None, grounds.own, 0.0, "votes")],
        };
        let links = grounds.links.iter();
        links
            .filter_map(|link| Some((link, self.asker.seeds.get(link.seed)?)))
            .map(|(link, seed)| self.reason(name, Some(seed), link.count, link.error, &detail))
            .collect()
    }

    fn repeats(&self, item: ItemIx) -> Vec<Reason> {
        let own = self.asker.seeds.iter().filter(|seed| seed.item == item);
        own.map(|seed| self.reason("repeats", Some(seed), 1.0, 0.0, "session"))
            .collect()
    }

    /// The seeds nearest to an item: cosine of their int8 codes.
    fn vectors(&self, source: &str, name: &str, item: ItemIx) -> Vec<Reason> {
        let Some(vectors) = self.state.vectors.get(name) else {
            return Vec::new();
        };
        let seeds = self
            .asker
            .seeds
            .iter()
            .filter(|seed| vectors.has(seed.item));
        let mut near: Vec<(f64, &Seed)> = seeds
            .map(|seed| (cosine(vectors, seed.item, item), seed))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.truncate(self.kept());
        near.into_iter()
            .map(|(cosine, seed)| self.reason(source, Some(seed), cosine, 0.0, "cosine"))
            .collect()
    }

    /// Reasons of one source that are told.
    fn kept(&self) -> usize {
        if self.all { usize::MAX } else { 1 }
    }

    fn tags(&self, item: ItemIx) -> Vec<Reason> {
        let own = self.state.catalogue.tags(item);
        let shared = self
            .asker
            .tags
            .iter()
            .take(TAGS)
            .filter(|(tag, weight)| own.contains(tag) && *weight > 0.0)
            .take(self.kept());
        shared
            .map(|(tag, weight)| {
                let seed = self
                    .asker
                    .seeds
                    .iter()
                    .find(|s| self.state.catalogue.tags(s.item).contains(tag));
                self.reason(
                    "tag-affinity",
                    seed,
                    *weight,
                    0.0,
                    self.state.names.tag(*tag),
                )
            })
            .collect()
    }

    fn reason(
        &self,
        source: &str,
        seed: Option<&Seed>,
        count: f64,
        error: f64,
        detail: &str,
    ) -> Reason {
        let item = seed.map(|s| self.state.names.item(s.item).to_string());
        let event = seed
            .and_then(|s| s.event.as_ref())
            .map(|(at, ty, ts)| EventName::new(*at, ty, *ts));
        Reason(
            source.to_string(),
            item,
            event,
            count,
            error,
            Some(detail.to_string()),
        )
    }
}

fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "cosine",
        Metric::Jaccard => "jaccard",
        Metric::Conditional => "conditional",
        Metric::Lift => "lift",
        Metric::Pmi => "pmi",
        Metric::Phi => "phi",
        Metric::Llr => "llr",
        Metric::Count => "count",
    }
}
