//! The slate, and what is said of its items: by this thread, and by a helper that follows slot by slot.

use crate::beside::beside;
use crate::error::CoreError;
use crate::ids::ItemIx;
use crate::query::compose::{Composed, Composition};
use crate::query::counted::Witness;
use crate::query::evidence::{Evidence, Evidences};
use crate::query::filling::Filling;
use crate::query::following::{Slots, follow};
use crate::query::fuse::SourceList;
use crate::query::reasons::Reasoner;
use crate::query::seeds::Asker;
use crate::query::text::Text;
use crate::spare_threads::Roused;

/// What a slate and its reasons are made from.
pub struct Choosing<'a> {
    /// How the slate is chosen.
    pub composition: Composition<'a>,
    /// What stands in where sources found too little.
    pub filling: Filling<'a>,
    /// The most candidates of a pool.
    pub limit: usize,
    /// Who asks.
    pub asker: &'a Asker<'a>,
    /// Names of their seeds' items, in order.
    pub names: &'a [Text],
    /// What all sources found.
    pub lists: &'a [SourceList],
    /// What sources that count say.
    pub witness: &'a dyn Witness,
}

/// A slate, and what is said of it.
pub struct Choice {
    /// The slate.
    pub composed: Composed,
    /// How many candidates the catalogue filled in.
    pub filled: usize,
    /// Their list, if there are any.
    pub catalogue: Vec<SourceList>,
    /// What is said of each item, in any order; nothing where the answer is brief.
    pub evidence: Vec<(ItemIx, Evidence)>,
}

impl Choosing<'_> {
    /// Chooses from a pool and says why, with a `helper` where there is one.
    pub fn choose(
        &self,
        pool: Vec<(ItemIx, f64)>,
        helper: Option<Roused>,
    ) -> Result<Choice, CoreError> {
        let slots = Slots::default();
        let brief = self.composition.request.brief;
        let helper = helper.filter(|_| !brief);
        let other = helper.as_ref().and_then(|_| self.witness.elsewhere());
        let Some((mut helper, other)) = helper.zip(other) else {
            return self.chosen(pool, &slots);
        };
        slots.open();
        let Composition {
            state,
            scenario,
            request,
            ..
        } = self.composition;
        let (asker, names, lists, all) = (self.asker, self.names, self.lists, request.all_reasons);
        let slots = &slots;
        let aside = move || {
            let why = Reasoner::new(state, asker, names, scenario, &*other, all);
            follow(slots, &why, lists, scenario.rrf_k)
        };
        let (theirs, own) = beside(&mut helper, aside, || self.chosen(pool, slots));
        helper.stay();
        let mut choice = own?;
        choice.evidence.extend(theirs);
        // Nearly always nothing: who followed may have been held up.
        self.complete(&mut choice, &[]);
        Ok(choice)
    }

    /// Chooses, and says why of the items that nobody who follows has taken.
    fn chosen(&self, pool: Vec<(ItemIx, f64)>, slots: &Slots) -> Result<Choice, CoreError> {
        let mut catalogue = Vec::new();
        let knobs = self.filling.knobs;
        let tell = |item| slots.put(item, || knobs.factors_of(item));
        let (filling, limit) = (&self.filling, self.limit);
        let chosen = (self.composition).choose_filled(pool, limit, filling, &mut catalogue, tell);
        let followed = slots.finish();
        let (composed, filled) = chosen?;
        let mut choice = Choice {
            composed,
            filled,
            catalogue,
            evidence: Vec::new(),
        };
        self.complete(&mut choice, &followed);
        Ok(choice)
    }

    /// Says why of the items of which nobody said it yet, but for `others`.
    fn complete(&self, choice: &mut Choice, others: &[ItemIx]) {
        let Composition {
            state,
            scenario,
            request,
            ..
        } = self.composition;
        if request.brief {
            return;
        }
        let mut items = choice.composed.items();
        let said = |item: &ItemIx| choice.evidence.iter().any(|(other, _)| other == item);
        items.retain(|item| !others.contains(item) && !said(item));
        let all = request.all_reasons;
        let why = Reasoner::new(state, self.asker, self.names, scenario, self.witness, all);
        let knobs = self.filling.knobs;
        let factors = items.iter().map(|item| knobs.factors_of(*item)).collect();
        let evidences = Evidences {
            why: &why,
            lists: [self.lists, &choice.catalogue],
            k: scenario.rrf_k,
        };
        choice.evidence.extend(evidences.of(&items, factors));
    }
}
