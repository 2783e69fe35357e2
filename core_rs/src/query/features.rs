//! What is known of a candidate when it is ranked, as named numbers: what learned rankers are trained on.
//!
//! Names and order follow from the scenario's sources, so equal configurations have equal features.

use crate::fold::state::State;
use crate::ids::{DAY_MS, ItemIx, Millis};
use crate::query::blend::Knobs;
use crate::query::counted::Counted;
use crate::query::filling::CATALOGUE;
use crate::query::fuse::SourceList;
use crate::query::seeds::Asker;

/// Features that do not come from a source, after those that do.
const OWN: [&str; 8] = [
    "score",
    "factor",
    "popularity",
    "trend",
    "age_days",
    "served",
    "touched",
    "tag_affinity",
];

/// Reads the features of candidates.
pub struct Features<'a> {
    /// The state that is asked.
    pub state: &'a State,
    /// Who asks.
    pub asker: &'a Asker<'a>,
    /// Candidates by source.
    pub lists: &'a [SourceList],
    /// Factors.
    pub knobs: &'a Knobs<'a>,
    /// Counts.
    pub counted: &'a dyn Counted,
    /// When.
    pub now: Millis,
}

impl Features<'_> {
    /// Names of the features: for each source `rank:NAME` (1 / rank, 0 for none) and `raw:NAME`, then the item's own.
    pub fn names(&self) -> Vec<String> {
        let of_source =
            |list: &SourceList| [format!("rank:{}", list.name), format!("raw:{}", list.name)];
        let own = OWN.iter().map(|name| (*name).to_string());
        self.sources().flat_map(of_source).chain(own).collect()
    }

    /// The features of candidates with their scores, in the order of [`Features::names`]. Unknown ages are -1.
    pub fn of(&self, candidates: &[(ItemIx, f64)]) -> Vec<Vec<f64>> {
        let width = self.sources().count() * 2;
        let mut rows: Vec<Vec<f64>> = candidates
            .iter()
            .map(|(item, score)| {
                let mut row = vec![0.0; width];
                row.extend(self.own(*item, *score));
                row
            })
            .collect();
        let mut places: Vec<(ItemIx, usize)> = candidates
            .iter()
            .enumerate()
            .map(|(at, (item, _))| (*item, at))
            .collect();
        places.sort_unstable();
        for (source, list) in self.sources().enumerate() {
            for (rank, (item, raw)) in list.ranked.iter().enumerate() {
                if let Ok(found) = places.binary_search_by_key(item, |(item, _)| *item) {
                    let row = &mut rows[places[found].1];
                    row[source * 2] = 1.0 / (rank as f64 + 1.0);
                    row[source * 2 + 1] = *raw;
                }
            }
        }
        rows
    }

    /// The lists of sources, without that of the catalogue, which is only there when these found too little.
    fn sources(&self) -> impl Iterator<Item = &SourceList> {
        self.lists.iter().filter(|list| list.name != CATALOGUE)
    }

    fn own(&self, item: ItemIx, score: f64) -> [f64; OWN.len()] {
        let (state, now) = (self.state, self.now);
        let tags = state.catalogue.tags(item);
        let shared = self.asker.tags.iter().filter(|(tag, _)| tags.contains(tag));
        let age = state
            .catalogue
            .born(item)
            .map(|born| (now - born).max(0) as f64 / DAY_MS);
        [
            score,
            self.knobs.factor(item),
            self.counted.popularity(item),
            self.counted.trend(item),
            age.unwrap_or(-1.0),
            f64::from(self.counted.served(item)),
            f64::from(u8::from(
                self.asker
                    .user
                    .is_some_and(|u| u.touched(item, &state.names)),
            )),
            shared
                .map(|(_, weight)| weight)
                .fold(0.0, |sum, weight| sum + weight),
        ]
    }
}
