//! `recommend(user)`, `session(items)` and `rank(user, items)`: retrieve from every source, fuse, choose, say why.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bitmap::Bitmap;
use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::items::vectors::ItemVectors;
use crate::query::accumulator::{Accumulator, Scratch, with_scratch};
use crate::query::allowed::{Allowed, Barred};
use crate::query::answer::Answer;
use crate::query::blend::{self, Knobs, Marks};
use crate::query::choosing::{Choice, Choosing};
use crate::query::compose::Composition;
use crate::query::counted::{Counted, CountedHere, Stock, Witness};
use crate::query::filling::{self, Filling, StockHere};
use crate::query::fuse::SourceList;
use crate::query::leading::Leading;
use crate::query::page::Page;
use crate::query::plan::{Plan, Tools};
use crate::query::relation;
use crate::query::request::RecommendRequest;
use crate::query::retrieve::{self, Retrieval};
use crate::query::seeds::{self, Asker};
use crate::query::source::Source;
use crate::query::taking_part;
use crate::query::together::{Asked, Scanned};
use crate::query::vectors;
use crate::query::why::Trace;
use crate::query::witness::WitnessHere;
use crate::spare_threads::{self, Roused};

/// Answers a request. Errors: a field out of range, a scenario or source that does not exist, a filter that is wrong.
pub fn recommend(
    state: &State,
    tools: &Tools<'_>,
    request: &RecommendRequest,
) -> Result<Answer, CoreError> {
    if let Some(answer) = taking_part::withheld(state, tools.query, request)? {
        return Ok(answer);
    }
    let _asking = Asking::begin();
    let kept = tools.leading;
    let leading = kept.map(|kept| kept.at(state, request.now, false));
    let shared = Shared {
        scanned: Vec::new(),
        leading: leading.unwrap_or_default(),
    };
    let question = Question::new(state, tools, request)?;
    // It is awake when the sources are asked.
    let helper = tools.helped.then(|| question.rouse());
    question.ask_ahead(false);
    question.answer(tools, &shared, helper)
}

/// Questions that are being answered one by one.
static ASKING: AtomicUsize = AtomicUsize::new(0);

/// One of them.
struct Asking;

impl Asking {
    fn begin() -> Self {
        ASKING.fetch_add(1, Ordering::Relaxed);
        Self
    }

    /// Whether there is no other.
    fn alone() -> bool {
        ASKING.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What was worked out before, for others who ask at the same moment as well.
#[derive(Clone, Default)]
pub struct Shared {
    /// What was found in embeddings, by name of the source.
    pub scanned: Vec<(String, Scanned)>,
    /// What is known of leaders.
    pub leading: Leading,
}

/// A request, worked out, and who asks.
pub struct Question<'a> {
    /// The state that knows the visitor and the catalogue.
    pub state: &'a State,
    /// What is asked.
    pub request: &'a RecommendRequest,
    /// The request, worked out.
    pub plan: Plan<'a>,
    /// Who asks.
    pub asker: Asker<'a>,
}

impl<'a> Question<'a> {
    /// Works a request out. Errors: as [`recommend`].
    pub fn new(
        state: &'a State,
        tools: &Tools<'a>,
        request: &'a RecommendRequest,
    ) -> Result<Self, CoreError> {
        let plan = Plan::new(state, tools, request)?;
        let asker = seeds::of_request(state, request, plan.scenario.seeds);
        Ok(Self {
            state,
            request,
            plan,
            asker,
        })
    }

    /// Asks for what sources read first: for where it lies, then, once that is `found`, for it. Each waits for that otherwise,
    /// one after the other.
    pub fn ask_ahead(&self, found: bool) {
        let seeds = &self.asker.seeds;
        for source in &self.plan.sources {
            match source.source {
                Source::Relation(own) => relation::ask_ahead(self.state, own, seeds, found),
                Source::SessionKnn => {
                    let latest = self.asker.latest(self.plan.scenario.knn_last_items);
                    let sessions = &self.state.hood.sessions;
                    let each = latest.iter();
                    each.for_each(|item| sessions.prefetch_postings(*item, found));
                }
                _ => {}
            }
        }
    }

    /// The embeddings that are scanned, by name of the source.
    pub fn embeddings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.plan
            .sources
            .iter()
            .filter_map(|source| match &source.source {
                Source::Vector(name) => Some((&*source.name, name.as_str())),
                _ => None,
            })
    }

    /// What is looked for in an embedding; `None` where there is nothing to look with.
    pub fn asked(&self, vectors: &ItemVectors) -> Option<Asked> {
        let mut filter = Bitmap::default();
        let query = with_scratch(0, |scratch| {
            let barred = self.barred();
            let allowed = self.allowed(&barred, &mut scratch.allowed);
            vectors::asked(vectors, &self.asker.seeds, &allowed, &mut filter)
        })?;
        let listed = filling::listed(self.state, self.request).len();
        Some(Asked {
            query,
            filter,
            limit: retrieve::limit(&self.plan.scenario, listed),
        })
    }

    /// A helper, roused where a large embedding is asked.
    fn rouse(&self) -> Roused {
        let large = |(source, name): (&str, &str)| {
            !self.request.found.contains_key(source) && retrieve::is_large(self.state, name)
        };
        match self.embeddings().any(large) {
            true => spare_threads::rouse(),
            false => Roused::default(),
        }
    }

    /// The answer, with help of a spare thread if there may be a `helper`.
    pub fn answer(
        &self,
        tools: &Tools<'_>,
        shared: &Shared,
        helper: Option<Roused>,
    ) -> Result<Answer, CoreError> {
        with_scratch(self.state.names.items.len(), |scratch| {
            answer(self, tools, shared, helper, scratch)
        })
    }

    /// What of the visitor's past may not be shown.
    pub fn barred(&self) -> Barred<'_> {
        Barred::of(
            self.state,
            &self.plan.scenario,
            &self.asker,
            self.request.now,
        )
    }

    /// What may be shown. `bits` comes as it is.
    pub fn allowed<'b>(&'b self, barred: &Barred<'b>, bits: &'b mut Bitmap) -> Allowed<'b> {
        let (state, plan) = (self.state, &self.plan);
        let (scenario, repeats) = (&*plan.scenario, plan.offers_own_items());
        Allowed::new(
            state,
            scenario,
            self.request,
            barred,
            &plan.filters,
            repeats,
            bits,
        )
    }

    /// What the slate is made with: its parts, of this question, and where items are counted and taken from.
    pub fn ranking<'b>(
        &'b self,
        barred: &'b Barred<'b>,
        allowed: &'b Allowed<'b>,
        counted: &'b dyn Counted,
        stock: &'b dyn Stock,
    ) -> Ranking<'b> {
        Ranking {
            state: self.state,
            plan: &self.plan,
            request: self.request,
            asker: &self.asker,
            allowed,
            barred,
            counted,
            stock,
        }
    }
}

fn answer(
    question: &Question<'_>,
    tools: &Tools<'_>,
    shared: &Shared,
    helper: Option<Roused>,
    scratch: &mut Scratch,
) -> Result<Answer, CoreError> {
    let (state, plan, request) = (question.state, &question.plan, question.request);
    let asker = &question.asker;
    let (scenario, now) = (&*plan.scenario, request.now);
    let barred = question.barred();
    let allowed = question.allowed(&barred, &mut scratch.allowed);
    let list = filling::listed(state, request);
    let neighbours = OnceLock::new();
    let retrieval = Retrieval {
        state,
        scenario,
        asker,
        neighbours: &neighbours,
        allowed: &allowed,
        scanned: &shared.scanned,
        filters: plan.filters_alone(request),
        leading: &shared.leading,
        list: &list,
        now,
        graphs: tools.graphs,
        recorded: &request.found,
        whole: true,
    };
    question.ask_ahead(true);
    let mut helper = helper;
    let lists = retrieval.lists(&plan.sources, helper.as_mut(), &mut scratch.scores)?;
    // One that sleeps would cost more than it helps with; others want the processor that a helper would wait on.
    let helper = helper.filter(|helper| helper.is_awake() && Asking::alone());
    let all = request.all_reasons;
    let counted = CountedHere { state, now };
    let stock = StockHere {
        state,
        allowed: &allowed,
        now,
    };
    let ranking = question.ranking(&barred, &allowed, &counted, &stock);
    let voted = neighbours.get().map_or(&[][..], Vec::as_slice);
    let witness = WitnessHere::new(state, asker, scenario, voted, now, all);
    ranking.answer(
        lists,
        &witness,
        helper,
        &mut scratch.touched,
        &mut scratch.fused,
    )
}

/// What a slate is made with once all sources have spoken: the same in one process and where hosts were asked.
pub struct Ranking<'a> {
    /// The state that knows the visitor and the catalogue.
    pub state: &'a State,
    /// The request, worked out.
    pub plan: &'a Plan<'a>,
    /// What is asked.
    pub request: &'a RecommendRequest,
    /// Who asks.
    pub asker: &'a Asker<'a>,
    /// What may be shown.
    pub allowed: &'a Allowed<'a>,
    /// What of the visitor's past is not.
    pub barred: &'a Barred<'a>,
    /// Counts of items.
    pub counted: &'a dyn Counted,
    /// Items for when sources find too little.
    pub stock: &'a dyn Stock,
}

impl Ranking<'_> {
    /// Fuses the sources' lists, chooses, says why. The scratch comes as it is, but `fused` must be empty.
    pub fn answer(
        &self,
        lists: Vec<SourceList>,
        witness: &dyn Witness,
        helper: Option<Roused>,
        touched: &mut Bitmap,
        fused: &mut Accumulator,
    ) -> Result<Answer, CoreError> {
        let knobs = self.knobs(touched);
        let pool = blend::pool(self.state, &lists, &knobs, self.limit(), fused);
        self.answer_from(pool, 0, lists, &knobs, witness, helper)
    }

    /// Everything that raises or lowers a fused score. `touched` receives the visitor's items.
    pub fn knobs<'k>(&'k self, touched: &'k mut Bitmap) -> Knobs<'k> {
        let (plan, now) = (self.plan, self.request.now);
        let marks = Marks::of(&plan.scenario, self.asker);
        let boosted = plan.boosted.clone();
        let (scenario, counted) = (&plan.scenario, self.counted);
        Knobs::new(self.state, scenario, counted, marks, now, boosted, touched)
    }

    /// How many candidates a pool has at most.
    pub fn limit(&self) -> usize {
        self.plan.scenario.slate_pool.max(self.request.n)
    }

    fn composition(&self) -> Composition<'_> {
        Composition {
            state: self.state,
            scenario: &self.plan.scenario,
            request: self.request,
            allowed: self.allowed,
            promoted: self.plan.promoted.clone(),
        }
    }

    /// Chooses from the pool, says why. `beyond`: candidates of the pool that are not told, because of them nothing but
    /// their number matters ([`Plan::takes_best_alone`]).
    pub fn answer_from(
        &self,
        pool: Vec<(ItemIx, f64)>,
        beyond: usize,
        mut lists: Vec<SourceList>,
        knobs: &Knobs<'_>,
        witness: &dyn Witness,
        helper: Option<Roused>,
    ) -> Result<Answer, CoreError> {
        let (state, plan, request, asker) = (self.state, self.plan, self.request, self.asker);
        let names = asker.seed_names(state);
        let choosing = Choosing {
            composition: self.composition(),
            filling: Filling {
                stock: self.stock,
                knobs,
            },
            limit: self.limit(),
            asker,
            names: &names,
            lists: &lists,
            witness,
        };
        let Choice {
            composed,
            filled,
            catalogue,
            evidence,
        } = choosing.choose(pool, helper)?;
        lists.extend(catalogue);
        let page = Page {
            state,
            asker,
            names: &names,
            lists: &lists,
            knobs,
            counted: self.counted,
            composed: &composed,
            beyond,
            evidence,
            request,
            holdout: plan.holdout.as_deref(),
            notes: plan
                .notes
                .iter()
                .chain(&self.barred.notes)
                .cloned()
                .collect(),
        };
        let trace = request.why.as_deref().map(|item| {
            Trace {
                state,
                plan,
                request,
                asker,
                allowed: self.allowed,
                lists: &lists,
                composed: &composed,
            }
            .of(item)
        });
        Ok(page.answer(filled, trace))
    }
}
