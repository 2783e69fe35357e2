//! From the pool to the slate: rules, diversity and exploration of the scenario, handed to [`crate::slate`].

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::bitmap::Bitmap;
use crate::diversity::Similarity;
use crate::diversity::codes::Codes;
use crate::diversity::tags::TagSets;
use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::query::allowed::Allowed;
use crate::query::filling::Filling;
use crate::query::fuse::SourceList;
use crate::query::request::RecommendRequest;
use crate::scenario::{DiversityMethod, Scenario};
use crate::simd::Simd;
use crate::slate::answer::{PinFault, Slate, Slot};
use crate::slate::choose_unless;
use crate::slate::request::{Cap, Exploration, Method, NO_GROUP, Pin, Promotion, Request, Rules};
use crate::sorting::sort;

/// What a slate is chosen from, and how.
pub struct Composition<'a> {
    /// The state that is asked.
    pub state: &'a State,
    /// The scenario in force, the request's overrides applied.
    pub scenario: &'a Scenario,
    /// What is asked.
    pub request: &'a RecommendRequest,
    /// What may be shown.
    pub allowed: &'a Allowed<'a>,
    /// Items of the scenario's promotion.
    pub promoted: Option<Arc<Bitmap>>,
}

/// A slate, and the candidates that its numbers mean.
pub struct Composed {
    /// Candidates: the pool, then pinned items from outside it.
    pub candidates: Vec<(ItemIx, f64)>,
    /// So many of them are the pool.
    pub pool: usize,
    /// The choice.
    pub slate: Slate,
    /// What the rules did that the caller should know.
    pub notes: Vec<String>,
}

impl Composed {
    /// The items of the slate.
    pub fn items(&self) -> Vec<ItemIx> {
        let slots = self.slate.slots.iter();
        slots
            .map(|slot| self.candidates[slot.candidate as usize].0)
            .collect()
    }
}

/// The values of one field, candidate by candidate.
struct Values {
    starts: Vec<u32>,
    values: Vec<u32>,
}

/// What rules look at, candidate by candidate; nothing for a rule that there is none of.
struct Marked {
    groups: Option<Vec<u32>>,
    /// Of each cap's field.
    capped: Vec<Values>,
    promoted: Option<Vec<bool>>,
}

impl Marked {
    fn caps(&self, scenario: &Scenario) -> Vec<Cap<'_>> {
        let capped = scenario.caps.iter().zip(&self.capped);
        capped
            .map(|(cap, of)| Cap {
                starts: &of.starts,
                values: &of.values,
                max: cap.max,
            })
            .collect()
    }
}

fn method(scenario: &Scenario) -> Method {
    match scenario.diversity_method {
        _ if scenario.diversity <= 0.0 => Method::Relevance,
        DiversityMethod::Mmr => Method::Mmr,
        DiversityMethod::Dpp => Method::Dpp,
    }
}

/// Whether anything but scores decides what may stand beside what. `promoted`: whether items are promoted.
pub fn has_rules(state: &State, scenario: &Scenario, promoted: bool) -> bool {
    let grouped = scenario.one_per_group && state.catalogue.has_groups();
    grouped || !scenario.caps.is_empty() || !scenario.pins.is_empty() || promoted
}

impl Composition<'_> {
    /// Chooses from a pool that the catalogue fills where sources found too little: to `n`, and once more to `limit` where
    /// rules left slots empty or a promoted slot without a promoted item. Returns how many candidates filled in; their list
    /// is put to `lists`. `chosen` hears of each slot's item as soon as it stands there, unless candidates filled in.
    pub fn choose_filled(
        &self,
        mut pool: Vec<(ItemIx, f64)>,
        limit: usize,
        filling: &Filling<'_>,
        lists: &mut Vec<SourceList>,
        chosen: impl Fn(ItemIx),
    ) -> Result<(Composed, usize), CoreError> {
        let n = self.request.n;
        let missing = n.saturating_sub(pool.len());
        let mut filled = filling.fill(missing, None, &mut pool, lists);
        if let Some(promoted) = self.promoted.as_deref() {
            // Every slot may take one of them before it is the turn of those that are kept for them.
            let inside = pool
                .iter()
                .filter(|(item, _)| promoted.get(item.0 as usize))
                .count();
            filled += filling.fill(n.saturating_sub(inside), Some(promoted), &mut pool, lists);
        }
        let filled_first = filled;
        let tell = |item| {
            if filled_first == 0 {
                chosen(item);
            }
        };
        if !has_rules(self.state, self.scenario, self.promoted.is_some()) {
            return Ok((self.choose(pool, |_, _| false, tell)?.0, filled));
        }
        // The slate without exploration decides whether more is needed: a draw must not, or the probabilities of draws would
        // not be those of the candidates that were drawn from.
        let wanting = |slots: &[Slot], pool: usize| {
            slots.len() < n && pool < limit || self.lacks_promoted(slots)
        };
        let (best, done) = self.choose(pool, wanting, tell)?;
        if done {
            return Ok((best, filled));
        }
        let slots = &best.slate.slots;
        let short = slots.len() < n && best.pool < limit;
        let promoted = self.promoted.as_deref();
        let unpromoted = promoted.filter(|_| self.lacks_promoted(slots));
        let mut pool = best.candidates;
        pool.truncate(best.pool);
        if unpromoted.is_some() {
            filled += filling.fill(limit, unpromoted, &mut pool, lists);
        }
        if short {
            filled += filling.fill(limit.saturating_sub(pool.len()), None, &mut pool, lists);
        }
        Ok((self.choose(pool, |_, _| false, |_| ())?.0, filled))
    }

    /// Whether a slot that is kept for promoted items has another, once all slots have moved up.
    fn lacks_promoted(&self, slots: &[Slot]) -> bool {
        let promise = self.promise(&[]);
        let broken = |(place, slot): (usize, &Slot)| {
            let pinned = slot.pinned && slot.slot == place;
            promise.keeps(place) && !slot.promoted && !pinned
        };
        self.promoted.is_some() && slots.iter().enumerate().any(broken)
    }

    /// The slots that are kept for promoted candidates.
    fn promise<'a>(&self, promoted: &'a [bool]) -> Promotion<'a> {
        Promotion {
            promoted,
            share: self.scenario.promote.share,
        }
    }

    /// Chooses up to `n` of a pool that is ordered by score, equal scores by item id; only by score, and says so by
    /// `false`, where `wanting` says of that slate and the size of the pool that it is not enough.
    fn choose(
        &self,
        pool: Vec<(ItemIx, f64)>,
        wanting: impl Fn(&[Slot], usize) -> bool,
        chosen: impl Fn(ItemIx),
    ) -> Result<(Composed, bool), CoreError> {
        let scenario = self.scenario;
        let mut notes = Vec::new();
        let within = pool.len();
        let mut candidates = pool;
        let pins = self.pins(&mut candidates, &mut notes);
        let marked = self.marked(&candidates, &mut notes);
        let caps = marked.caps(scenario);
        let request = Request {
            n: self.request.n,
            pool: within,
            method: method(scenario),
            diversity: scenario.diversity,
            rules: Rules {
                groups: marked.groups.as_deref(),
                caps: &caps,
                pins: &pins,
                promotion: marked.promoted.as_deref().map(|all| self.promise(all)),
            },
            exploration: self.exploration(),
        };
        let wanting = |slots: &[Slot]| wanting(slots, within);
        let filled = |candidate: u32| chosen(candidates[candidate as usize].0);
        let (mut slate, done) = self.choose_by(&candidates, within, &request, wanting, filled)?;
        notes.extend(self.close_gaps(&candidates, &mut slate));
        notes.extend(slate.skipped.iter().map(|(pin, fault)| {
            let item = candidates[pin.candidate as usize].0;
            self.not_pinned(item, pin.slot, said(*fault))
        }));
        let composed = Composed {
            candidates,
            pool: within,
            slate,
            notes,
        };
        Ok((composed, done))
    }

    fn not_pinned(&self, item: ItemIx, slot: usize, why: &str) -> String {
        let item = self.state.names.item(item);
        format!("pinned item {item} is not in slot {slot}: {why}")
    }

    /// What the rules look at.
    fn marked(&self, candidates: &[(ItemIx, f64)], notes: &mut Vec<String>) -> Marked {
        let items: Vec<ItemIx> = candidates.iter().map(|(item, _)| *item).collect();
        let grouped = self.scenario.one_per_group;
        let caps = self.scenario.caps.iter();
        let is_in = |among: &Arc<Bitmap>| {
            let items = items.iter();
            items.map(|item| among.get(item.0 as usize)).collect()
        };
        Marked {
            groups: grouped.then(|| self.groups(&items)).flatten(),
            capped: caps
                .map(|cap| self.values(&cap.field, &items, notes))
                .collect(),
            promoted: self.promoted.as_ref().map(is_in),
        }
    }

    fn exploration(&self) -> Option<Exploration> {
        let scenario = self.scenario;
        (scenario.exploration > 0.0).then(|| Exploration {
            share: scenario.exploration,
            uniform: scenario.exploration_uniform.max(f64::MIN_POSITIVE),
            key: xxh3_128(self.request.key.as_bytes()),
        })
    }

    /// Moves up what stands below an empty slot: nothing was left to fill it. A pin that moves is one no longer.
    fn close_gaps(&self, candidates: &[(ItemIx, f64)], slate: &mut Slate) -> Vec<String> {
        let mut notes = Vec::new();
        for (place, slot) in slate.slots.iter_mut().enumerate() {
            if slot.slot == place {
                continue;
            }
            if slot.pinned {
                let item = candidates[slot.candidate as usize].0;
                notes.push(self.not_pinned(item, slot.slot, "the slate is too short"));
            }
            (slot.slot, slot.pinned) = (place, false);
        }
        notes
    }

    /// Chooses with the similarity that the scenario names.
    fn choose_by(
        &self,
        candidates: &[(ItemIx, f64)],
        pool: usize,
        request: &Request<'_>,
        wanting: impl FnOnce(&[Slot]) -> bool,
        filled: impl Fn(u32),
    ) -> Result<(Slate, bool), CoreError> {
        let relevance = relevance(candidates, pool);
        let run = |similarity: Option<&mut dyn Similarity>| {
            choose_unless(
                Simd::chosen(),
                &relevance,
                similarity,
                request,
                wanting,
                filled,
            )
        };
        if request.method == Method::Relevance {
            return run(None);
        }
        if self.scenario.diversity_by == "tags" {
            let tags = self.tags(candidates);
            return run(Some(&mut TagSets::new(&tags.starts, &tags.values)?));
        }
        let name = self.scenario.diversity_by.as_str();
        let Some(vectors) = self.state.vectors.get(name) else {
            // No item has that embedding yet: then nothing is alike.
            let tags = Values {
                starts: vec![0; candidates.len() + 1],
                values: Vec::new(),
            };
            return run(Some(&mut TagSets::new(&tags.starts, &tags.values)?));
        };
        // They lie anywhere in memory: asked for all at once, they are waited for once.
        for (item, _) in candidates {
            vectors.prefetch(*item);
        }
        let codes_of = |at: usize| vectors.codes(candidates[at].0).unwrap_or_default();
        run(Some(&mut Codes::new(vectors.dim, codes_of)))
    }

    /// The pins that may be shown, as candidates; those outside the pool are appended to it.
    fn pins(&self, candidates: &mut Vec<(ItemIx, f64)>, notes: &mut Vec<String>) -> Vec<Pin> {
        let mut pins = Vec::new();
        for pin in self
            .scenario
            .pins
            .iter()
            .filter(|pin| pin.slot < self.request.n)
        {
            let item = self.state.names.find_item(&pin.item);
            let Some(item) = item.filter(|item| self.allowed.contains(*item)) else {
                notes.push(format!("pinned item {} may not be shown here", pin.item));
                continue;
            };
            let at = candidates
                .iter()
                .position(|(other, _)| *other == item)
                .unwrap_or_else(|| {
                    candidates.push((item, 0.0));
                    candidates.len() - 1
                });
            pins.push(Pin {
                slot: pin.slot,
                candidate: at as u32,
            });
        }
        pins
    }

    /// Variant group of each candidate, if any has one.
    fn groups(&self, items: &[ItemIx]) -> Option<Vec<u32>> {
        let State {
            catalogue, names, ..
        } = self.state;
        if !catalogue.has_groups() {
            return None;
        }
        let values = catalogue.values("group", names).ok()?;
        let mut groups = Vec::with_capacity(items.len());
        values.of_each(items, |own| {
            groups.push(own.first().copied().unwrap_or(NO_GROUP));
        });
        let any = groups.iter().any(|group| *group != NO_GROUP);
        any.then_some(groups)
    }

    /// The values of a field, numbered by rank. A field that cannot group items (yet) has none, so nothing is capped by it.
    fn values(&self, field: &str, items: &[ItemIx], notes: &mut Vec<String>) -> Values {
        let mut out = Values {
            starts: Vec::with_capacity(items.len() + 1),
            values: Vec::with_capacity(items.len()),
        };
        out.starts.push(0);
        let (catalogue, names) = (&self.state.catalogue, &self.state.names);
        let values = match catalogue.values(field, names) {
            Ok(values) => values,
            Err(err) => {
                notes.push(format!("nothing is capped by {field}: {err}"));
                out.starts.resize(items.len() + 1, 0);
                return out;
            }
        };
        values.of_each(items, |own| {
            // Mostly one: no call to copy or sort it.
            match own {
                [] => {}
                [one] => out.values.push(*one),
                many => {
                    let first = out.values.len();
                    out.values.extend_from_slice(many);
                    out.values[first..].sort_unstable();
                }
            }
            out.starts.push(out.values.len() as u32);
        });
        number_densely(&mut out);
        out
    }

    fn tags(&self, candidates: &[(ItemIx, f64)]) -> Values {
        let mut out = Values {
            starts: vec![0],
            values: Vec::new(),
        };
        for (item, _) in candidates {
            let first = out.values.len();
            out.values
                .extend(self.state.catalogue.tags(*item).iter().map(|tag| tag.0));
            out.values[first..].sort_unstable();
            out.starts.push(out.values.len() as u32);
        }
        out
    }
}

/// Gives the values small numbers in the same order.
fn number_densely(values: &mut Values) {
    let places = (0u64..).zip(&values.values);
    let mut keys: Vec<u64> = places
        .map(|(place, value)| u64::from(*value) << 32 | place)
        .collect();
    sort(Simd::chosen(), &mut keys);
    let (mut number, mut last) = (0, keys.first().map(|key| key >> 32));
    for key in keys {
        let value = Some(key >> 32);
        number += u32::from(value != last);
        last = value;
        values.values[key as u32 as usize] = number;
    }
}

/// Scores moved and scaled so that the pool spans 0 to 1; all 1 where all scores are equal.
fn relevance(candidates: &[(ItemIx, f64)], pool: usize) -> Vec<f32> {
    let scores = || candidates[..pool].iter().map(|(_, score)| *score);
    let (best, worst) = (
        scores().fold(0.0, f64::max),
        scores().fold(f64::INFINITY, f64::min),
    );
    let spread = best - worst;
    let scaled = |score: f64| {
        if spread > 0.0 {
            ((score - worst) / spread).clamp(0.0, 1.0) as f32
        } else {
            1.0
        }
    };
    candidates.iter().map(|(_, score)| scaled(*score)).collect()
}

fn said(fault: PinFault) -> &'static str {
    match fault {
        PinFault::NoSlot => "there is no such slot",
        PinFault::SlotTaken => "another pin has it",
        PinFault::CandidateTaken => "another pin has the item",
        PinFault::Group => "a pinned item is of the same group",
        PinFault::Cap => "pinned items use up a cap",
    }
}
