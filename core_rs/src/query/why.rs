//! What became of one item: why it is in a slate, or what kept it out.

use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::query::allowed::{Allowed, consumed, expiry, rejected};
use crate::query::compose::Composed;
use crate::query::fuse::SourceList;
use crate::query::plan::Plan;
use crate::query::request::RecommendRequest;
use crate::query::seeds::Asker;
use crate::sessions::touches::Touch;

/// A query that has been answered, for looking up what it did.
pub struct Trace<'a> {
    /// The state that was asked.
    pub state: &'a State,
    /// How.
    pub plan: &'a Plan<'a>,
    /// What was asked.
    pub request: &'a RecommendRequest,
    /// Who asked.
    pub asker: &'a Asker<'a>,
    /// What was allowed.
    pub allowed: &'a Allowed<'a>,
    /// What the sources said.
    pub lists: &'a [SourceList],
    /// What was chosen from what.
    pub composed: &'a Composed,
}

impl Trace<'_> {
    /// Sentences on one item.
    pub fn of(&self, name: &str) -> Vec<String> {
        let Some(item) = self.state.names.find_item(name) else {
            return vec!["no event or put ever named the item".to_string()];
        };
        let mut said = self.barriers(item);
        if !said.is_empty() {
            return said;
        }
        let ranks = self.lists.iter().filter_map(|list| {
            let rank = list.ranked.iter().position(|(other, _)| *other == item)?;
            Some(format!("rank {} of {}", rank + 1, list.name))
        });
        let ranks: Vec<String> = ranks.collect();
        if ranks.is_empty() {
            said.push("no source named it among its best".to_string());
            return said;
        }
        said.push(ranks.join(", "));
        let pool = &self.composed.candidates[..self.composed.pool];
        match pool.iter().position(|(other, _)| *other == item) {
            None => said.push(format!("its score is not among the {} best", pool.len())),
            Some(place) => {
                said.push(format!("place {} of the pool of {}", place + 1, pool.len()));
                said.extend(self.rules(item, place));
            }
        }
        said
    }

    /// What keeps an item from being shown at all.
    fn barriers(&self, item: ItemIx) -> Vec<String> {
        let (state, request) = (self.state, self.request);
        let mut said = Vec::new();
        if !state.catalogue.visible(item) {
            said.push("it is hidden, deleted, or was never put".to_string());
        }
        let name = state.names.item(item);
        if request
            .candidates
            .as_ref()
            .is_some_and(|list| !list.iter().any(|i| i == name))
        {
            said.push("it is not on the caller's list".to_string());
        }
        for (text, items) in &self.plan.filters {
            if !items.get(item.0 as usize) {
                said.push(format!("it does not pass the filter {text}"));
            }
        }
        if request.exclude.iter().any(|i| i == name) {
            said.push("the request excludes it".to_string());
        }
        let event = |touch: &Touch| format!("event {}:{}", touch.at.position().0, touch.at.index());
        if let Some(touch) = rejected(self.asker).find(|touch| touch.item == item) {
            said.push(format!("the visitor rejected it ({})", event(touch)));
        }
        if self.plan.scenario.exclude_consumed {
            let gone = consumed(state, &self.plan.scenario, self.asker, request.now)
                .find(|touch| touch.item == item);
            if let Some(touch) = gone {
                let back = match expiry(state, &self.plan.scenario, item) {
                    Some(days) => format!("it comes back after {days} days"),
                    None => "it does not come back".to_string(),
                };
                said.push(format!(
                    "the visitor consumed it ({}); {back}",
                    event(touch)
                ));
            } else if self.allowed.is_gone(item) {
                let latest = state.limits.consumed;
                said.push(format!(
                    "the visitor consumed it before the latest {latest} consumed items"
                ));
            }
        }
        if said.is_empty() && !self.allowed.contains(item) {
            said.push("it is what was asked about".to_string());
        }
        said
    }

    /// What kept a candidate of the pool out of the slate.
    fn rules(&self, item: ItemIx, place: usize) -> Option<String> {
        let slate = &self.composed.slate;
        if slate
            .slots
            .iter()
            .any(|slot| slot.candidate as usize == place)
        {
            return None;
        }
        let group = self
            .state
            .catalogue
            .meta(item)
            .and_then(|meta| meta.group.as_deref());
        let same_group = slate.slots.iter().find(|slot| {
            let (other, _) = self.composed.candidates[slot.candidate as usize];
            let meta = self.state.catalogue.meta(other);
            group.is_some() && meta.and_then(|meta| meta.group.as_deref()) == group
        });
        Some(match same_group {
            Some(slot) => {
                let (other, _) = self.composed.candidates[slot.candidate as usize];
                format!(
                    "a variant of it is in the slate: {}",
                    self.state.names.item(other)
                )
            }
            None => "others were chosen before it: by score, by a cap, for diversity or to explore"
                .to_string(),
        })
    }
}
