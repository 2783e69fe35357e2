//! Why an item is in an answer: the visitor's own events that led there, source by source.

use std::cell::RefCell;

use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::query::answer::{EventName, Part, Reason};
use crate::query::counted::Witness;
use crate::query::leaders::TAGS;
use crate::query::seeds::{Asker, Seed};
use crate::query::source::Source;
use crate::query::text::Text;
use crate::query::vectors::{cosines, square};
use crate::scenario::{Metric, Scenario};

/// What is needed to say why.
pub struct Reasoner<'a> {
    /// The state that was asked.
    pub state: &'a State,
    /// Who asked.
    pub asker: &'a Asker<'a>,
    /// Names of their seeds' items, in order.
    pub names: &'a [Text],
    /// The scenario in force.
    pub scenario: &'a Scenario,
    /// What sources that count say.
    pub witness: &'a dyn Witness,
    /// Every contributing event, or only the strongest per source.
    pub all: bool,
    /// Squared lengths of the seeds' codes in the embedding that was asked about last.
    squares: RefCell<(String, Vec<f64>)>,
}

impl<'a> Reasoner<'a> {
    /// Says why `witness` thinks so.
    pub fn new(
        state: &'a State,
        asker: &'a Asker<'a>,
        names: &'a [Text],
        scenario: &'a Scenario,
        witness: &'a dyn Witness,
        all: bool,
    ) -> Self {
        Self {
            state,
            asker,
            names,
            scenario,
            witness,
            all,
            squares: RefCell::default(),
        }
    }

    /// Adds the reasons of one source for one item that it ranked, strongest first.
    pub fn add(&self, part: &Part, item: ItemIx, reasons: &mut Vec<Reason>) {
        let (name, known) = (&part.0, reasons.len());
        match Source::named(self.state, name) {
            Some(Source::TagAffinity) => self.tags(item, reasons),
            Some(Source::Repeats) => self.repeats(item, reasons),
            Some(Source::Vector(embedding)) => self.vectors(name, &embedding, item, reasons),
            Some(Source::List) => {
                reasons.push(self.reason(name, None, f64::from(part.1), 0.0, PLACE));
            }
            Some(source) => self.counted(&source, name, item, reasons),
            None => reasons.push(self.reason(name, None, 0.0, 0.0, CATALOGUE)),
        }
        reasons.truncate(known.saturating_add(self.kept()));
    }

    /// Reasons of a source that counts.
    fn counted(&self, source: &Source, name: &Text, item: ItemIx, reasons: &mut Vec<Reason>) {
        let grounds = self.witness.grounds(source, name, item);
        let detail = match source {
            Source::Relation(_) => Text::Fixed(metric_name(self.scenario.metric)),
            Source::SessionKnn => format!("idf {:.2}", grounds.own).into(),
            Source::Fresh => {
                return reasons.push(self.reason(name, None, grounds.own, 0.0, SERVED));
            }
            _ => return reasons.push(self.reason(name, None, grounds.own, 0.0, VOTES)),
        };
        let known = |seed: usize| seed < self.asker.seeds.len();
        let links = grounds.links.iter().filter(|link| known(link.seed));
        reasons.extend(links.map(|link| {
            let (count, error) = (link.count, link.error);
            self.reason(name, Some(link.seed), count, error, detail.clone())
        }));
    }

    fn repeats(&self, item: ItemIx, reasons: &mut Vec<Reason>) {
        let own = self.seeds().filter(|(_, seed)| seed.item == item);
        let reason = |(seed, _)| self.reason(&REPEATS, Some(seed), 1.0, 0.0, SESSION);
        reasons.extend(own.map(reason));
    }

    /// The seeds nearest to an item: cosine of their int8 codes.
    fn vectors(&self, source: &Text, name: &str, item: ItemIx, reasons: &mut Vec<Reason>) {
        let Some(vectors) = self.state.vectors.get(name) else {
            return;
        };
        let mut squares = self.squares.borrow_mut();
        if squares.0 != name {
            let square = |seed: &Seed| square(vectors, seed.item);
            *squares = (
                name.to_string(),
                self.asker.seeds.iter().map(square).collect(),
            );
        }
        let cosine = cosines(vectors, item);
        let seeds = self.seeds().filter(|(_, seed)| vectors.has(seed.item));
        let mut near: Vec<(f64, usize)> = seeds
            .map(|(place, seed)| (cosine(seed.item, squares.1[place]), place))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.truncate(self.kept());
        let reason = |(cosine, seed)| self.reason(source, Some(seed), cosine, 0.0, COSINE);
        reasons.extend(near.into_iter().map(reason));
    }

    /// The seeds with their places.
    fn seeds(&self) -> impl Iterator<Item = (usize, &Seed)> {
        self.asker.seeds.iter().enumerate()
    }

    /// Reasons of one source that are told.
    fn kept(&self) -> usize {
        if self.all { usize::MAX } else { 1 }
    }

    fn tags(&self, item: ItemIx, reasons: &mut Vec<Reason>) {
        let (state, own) = (self.state, self.state.catalogue.tags(item));
        let shared = self.asker.tags.iter().take(TAGS);
        let shared = shared.filter(|(tag, weight)| own.contains(tag) && *weight > 0.0);
        reasons.extend(shared.take(self.kept()).map(|(tag, weight)| {
            let has = |seed: &Seed| state.catalogue.tags(seed.item).contains(tag);
            let seed = self.seeds().find(|(_, seed)| has(seed));
            let seed = seed.map(|(place, _)| place);
            self.reason(
                &TAG_AFFINITY,
                seed,
                *weight,
                0.0,
                state.names.tag(*tag).into(),
            )
        }));
    }

    fn reason(
        &self,
        source: &Text,
        seed: Option<usize>,
        count: f64,
        error: f64,
        detail: Text,
    ) -> Reason {
        let item = seed.map(|seed| self.names[seed].clone());
        let event = seed
            .and_then(|seed| self.asker.seeds[seed].event.as_ref())
            .map(|(at, ty, ts)| EventName::new(*at, ty.clone(), *ts));
        Reason(source.clone(), item, event, count, error, Some(detail))
    }
}

const REPEATS: Text = Text::Fixed("repeats");
const TAG_AFFINITY: Text = Text::Fixed("tag-affinity");
const PLACE: Text = Text::Fixed("place");
const CATALOGUE: Text = Text::Fixed("catalogue");
const SERVED: Text = Text::Fixed("served");
const VOTES: Text = Text::Fixed("votes");
const SESSION: Text = Text::Fixed("session");
const COSINE: Text = Text::Fixed("cosine");

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
