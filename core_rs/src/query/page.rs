//! Puts an answer together: the slots with what is said of each, and what is said of all.

use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::query::answer::{Answer, AnswerItem, Exploring};
use crate::query::blend::Knobs;
use crate::query::chosen::Chosen;
use crate::query::compose::Composed;
use crate::query::counted::Counted;
use crate::query::evidence::Evidence;
use crate::query::features::Features;
use crate::query::fuse::SourceList;
use crate::query::request::RecommendRequest;
use crate::query::seeds::Asker;
use crate::query::text::Text;
use crate::slate::answer::Slot;

/// What an answer is written from.
pub struct Page<'a> {
    /// The state that is asked.
    pub state: &'a State,
    /// Who asked.
    pub asker: &'a Asker<'a>,
    /// Names of their seeds' items, in order.
    pub names: &'a [Text],
    /// What all sources found.
    pub lists: &'a [SourceList],
    /// Everything that raised or lowered a score.
    pub knobs: &'a Knobs<'a>,
    /// Counts of items.
    pub counted: &'a dyn Counted,
    /// The slate, and what it was chosen from.
    pub composed: &'a Composed,
    /// Candidates of the pool that were not told.
    pub beyond: usize,
    /// What is said of the chosen items, in any order; nothing where the answer says nothing.
    pub evidence: Vec<(ItemIx, Evidence)>,
    /// What was asked.
    pub request: &'a RecommendRequest,
    /// The holdout that the visitor is in, if any.
    pub holdout: Option<&'a str>,
    /// What the caller should know.
    pub notes: Vec<String>,
}

impl Page<'_> {
    /// The answer. `filled`: how many candidates the catalogue filled in; `trace`: what became of the item that was asked about.
    pub fn answer(mut self, filled: usize, trace: Option<Vec<String>>) -> Answer {
        let (state, composed, asker) = (self.state, self.composed, self.asker);
        let chosen: Vec<(ItemIx, f64)> = composed
            .slate
            .slots
            .iter()
            .map(|slot| composed.candidates[slot.candidate as usize])
            .collect();
        let evidence = std::mem::take(&mut self.evidence);
        let items = self.slots(&chosen, evidence);
        let features = self.request.features.then_some(Features {
            state,
            asker,
            lists: self.lists,
            knobs: self.knobs,
            counted: self.counted,
            now: self.request.now,
        });
        let pool = &composed.candidates[..composed.pool];
        let slate = &composed.slate;
        Answer {
            items,
            fallback: self.fallback(chosen.len(), filled),
            about: self.names.to_vec(),
            position: state.position.0,
            notes: self.notes.iter().chain(&composed.notes).cloned().collect(),
            exploring: Exploring(slate.temperature, slate.floor, composed.pool + self.beyond),
            feature_names: features.as_ref().map_or_else(Vec::new, Features::names),
            candidates: features.map_or_else(Vec::new, |features| {
                let rows = pool.iter().zip(features.of(pool));
                rows.map(|((item, _), row)| (state.names.item(*item).to_string(), row))
                    .collect()
            }),
            why: trace,
            approximate: self.approximate(),
        }
    }

    /// The slots with what is said of each.
    fn slots(
        &self,
        chosen: &[(ItemIx, f64)],
        mut evidence: Vec<(ItemIx, Evidence)>,
    ) -> Vec<AnswerItem> {
        // Where names lie, then names, are asked for before they are copied.
        let names = &self.state.names.items;
        chosen
            .iter()
            .for_each(|(item, _)| names.prefetch(item.0, false));
        let mut said_of = |item: ItemIx| {
            let own = evidence.iter_mut().find(|(other, _)| *other == item);
            own.map(|(_, own)| std::mem::take(own)).unwrap_or_default()
        };
        chosen
            .iter()
            .for_each(|(item, _)| names.prefetch(item.0, true));
        let slots = self.composed.slate.slots.iter().zip(chosen);
        match self.request.brief {
            true => slots
                .zip(self.strongest(chosen))
                .map(|((slot, (item, score)), most)| self.brief_item(slot, *item, *score, most))
                .collect(),
            false => slots
                .map(|(slot, (item, score))| self.item(slot, *item, *score, said_of(*item)))
                .collect(),
        }
    }

    /// What was found by sources that may have missed something: what their slates are made again from.
    fn approximate(&self) -> Vec<(String, Vec<(String, f64)>)> {
        let name = |item: &ItemIx| self.state.names.item(*item).to_string();
        let found = self.lists.iter().filter(|list| list.approximate);
        found
            .map(|list| {
                let ranked = list.ranked.iter();
                let items = ranked.map(|(item, score)| (name(item), *score)).collect();
                (list.name.to_string(), items)
            })
            .collect()
    }

    /// Who said most of each chosen item.
    fn strongest(&self, chosen: &[(ItemIx, f64)]) -> Vec<Option<Text>> {
        let items = Chosen::new(chosen.iter().map(|(item, _)| *item).collect());
        let mut slots = vec![0; chosen.len()];
        for (slot, (item, _)) in chosen.iter().enumerate() {
            if let Some(place) = items.place(*item) {
                slots[place] = slot;
            }
        }
        let factors = chosen.iter().map(|(item, _)| self.knobs.factor(*item));
        let factors: Vec<f64> = factors.collect();
        let mut most: Vec<Option<(&SourceList, f64)>> = vec![None; chosen.len()];
        for list in self.lists {
            for (rank, (item, _)) in list.ranked.iter().enumerate() {
                if let Some(place) = items.place(*item) {
                    let slot = slots[place];
                    let share = list.weight / (self.knobs.rrf_k() + rank as f64 + 1.0);
                    let share = factors[slot] * share;
                    let known = most[slot].map(|(_, share)| share);
                    if known.is_none_or(|known| share.total_cmp(&known).is_gt()) {
                        most[slot] = Some((list, share));
                    }
                }
            }
        }
        let most = most.into_iter();
        most.map(|own| own.map(|(list, _)| list.name.clone()))
            .collect()
    }

    /// A slot of an answer that says why.
    fn item(&self, slot: &Slot, item: ItemIx, score: f64, evidence: Evidence) -> AnswerItem {
        let Evidence {
            parts,
            reasons,
            factors,
        } = evidence;
        let strongest = parts.first().map(|part| part.0.clone());
        AnswerItem {
            parts,
            reasons,
            factors,
            ..self.brief_item(slot, item, score, strongest)
        }
    }

    /// A slot of an answer that names the strongest source alone.
    fn brief_item(
        &self,
        slot: &Slot,
        item: ItemIx,
        score: f64,
        strongest: Option<Text>,
    ) -> AnswerItem {
        let unnamed = Text::Fixed(if slot.pinned { "pinned" } else { "" });
        AnswerItem {
            item: self.state.names.item(item).to_string(),
            score,
            source: strongest.unwrap_or(unnamed),
            parts: Vec::new(),
            reasons: Vec::new(),
            propensity: slot.propensity,
            propensity_cascade: slot.propensity_cascade,
            pinned: slot.pinned,
            promoted: slot.promoted,
            greedy: slot.greedy,
            factors: Vec::new(),
        }
    }

    /// Why the answer is not personal, or shorter than asked; `None` when it is neither.
    fn fallback(&self, found: usize, filled: usize) -> Option<String> {
        let (state, request, asker) = (self.state, self.request, self.asker);
        let mut why: Vec<String> = self.holdout.map(str::to_string).into_iter().collect();
        let personal = self
            .lists
            .iter()
            .any(|list| list.personal && !list.ranked.is_empty());
        if asker.seeds.is_empty() {
            let who = match &request.user {
                Some(user) if state.names.find_user(user).is_none() => "unknown user",
                Some(_) => "no usable history",
                None => "no known item in the session",
            };
            why.push(format!("{who}: trending and popular items"));
        } else if !personal {
            why.push(
                "nothing is known beside the visitor's own items: trending and popular items"
                    .to_string(),
            );
        }
        if filled > 0 {
            why.push(format!(
                "{filled} candidates of which nothing but the catalogue is known"
            ));
        }
        if found < request.n {
            let shortfall = &self.composed.slate.shortfall;
            let mut left_out = Vec::new();
            if shortfall.by_group > 0 {
                left_out.push(format!("{} variants", shortfall.by_group));
            }
            if shortfall.by_cap > 0 {
                left_out.push(format!("{} beyond a cap", shortfall.by_cap));
            }
            let rules = match left_out.is_empty() {
                true => String::new(),
                false => format!(" ({} left out)", left_out.join(", ")),
            };
            why.push(format!(
                "only {found} of {} items can be shown{rules}",
                request.n
            ));
        }
        (!why.is_empty()).then(|| why.join("; "))
    }
}
