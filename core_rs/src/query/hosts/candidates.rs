//! An item host's part: its sources' best among its own items, and what only it knows of these.

use std::sync::OnceLock;

use crate::bitmap::Bitmap;
use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::query::accumulator::{Accumulator, Scratch, with_scratch};
use crate::query::allowed::{Allowed, Barred};
use crate::query::best::top_by;
use crate::query::blend::{Knobs, Marks};
use crate::query::chosen::Chosen;
use crate::query::counted::{Counted, CountedHere, Grounds, Witness};
use crate::query::filling::{self, StockHere};
use crate::query::fuse::{SourceList, fuse};
use crate::query::hosts::message::{
    GroundsSaid, LayersSaid, ListSaid, Refill, Reply, Scatter, StockSaid,
};
use crate::query::hosts::scatter::{asker, known};
use crate::query::hosts::shards::Shards;
use crate::query::hosts::version::{check_version, version};
use crate::query::plan::{Plan, Tools};
use crate::query::request::RecommendRequest;
use crate::query::retrieve::Retrieval;
use crate::query::seeds::{self, Asker};
use crate::query::source::{Source, Weighted};
use crate::query::witness::WitnessHere;
use crate::spare_threads::Roused;

/// Grounds are told of so many items for each of the slate, and of so many beside. Should others be in it, the session host
/// asks again: of 3,000 slates of 10 that two hosts found, once.
const LIKELY: usize = 2;
const BESIDE: usize = 5;

/// Answers a session host: the reply, encoded. `request` is the scatter's. Errors: those of the same request to one process,
/// and another configuration being active there.
pub fn candidates(
    state: &State,
    tools: &Tools<'_>,
    scatter: &Scatter<'_>,
    request: &RecommendRequest,
) -> Result<Vec<u8>, CoreError> {
    check_version(state, scatter.version)?;
    let plan = Plan::new(state, tools, request)?;
    let asker = match (&scatter.visitor, seeds::asked_by(request)) {
        (Some(visitor), _) => Asker {
            own_session: own_session(state, visitor.user),
            ..asker(state, visitor)
        },
        (None, Some(_)) => Asker::default(),
        (None, None) => seeds::of_items(state, &request.items, plan.scenario.seeds),
    };
    let visitor = scatter.visitor.as_ref();
    let barred = Barred {
        items: visitor.map_or_else(Vec::new, |visitor| known(&state.names, &visitor.barred)),
        beyond: visitor.and_then(|visitor| visitor.beyond.as_deref()),
        notes: Vec::new(),
    };
    with_scratch(state.names.items.len(), |scratch| {
        let part = Part {
            state,
            plan: &plan,
            request,
            asker: &asker,
        };
        part.reply(tools, &barred, scatter, scratch)
    })
}

fn own_session(state: &State, user: &str) -> Option<u64> {
    let (partition, user) = state.names.find_user(user)?;
    state.hood.sessions.open_session(partition, user)
}

/// All items of a reply, each once.
pub struct Table<'a> {
    items: Vec<ItemIx>,
    places: &'a mut Accumulator,
}

impl<'a> Table<'a> {
    /// An empty table. `places` must be empty too.
    pub fn new(places: &'a mut Accumulator) -> Self {
        Self {
            items: Vec::new(),
            places,
        }
    }

    /// Place of an item.
    pub fn place(&mut self, item: ItemIx) -> u32 {
        if let Some(place) = self.places.get(item.0) {
            return place as u32;
        }
        self.places.add(item.0, self.items.len() as f64);
        self.items.push(item);
        self.items.len() as u32 - 1
    }

    /// The items in order of their places.
    pub fn items(&self) -> &[ItemIx] {
        &self.items
    }

    /// A source's list with its grounds.
    pub fn list<'n>(&mut self, list: &'n SourceList, grounds: GroundsSaid) -> ListSaid<'n> {
        ListSaid {
            source: &list.name,
            items: list
                .ranked
                .iter()
                .map(|(item, _)| self.place(*item))
                .collect(),
            scores: list.ranked.iter().map(|(_, score)| *score).collect(),
            grounds,
            cut: false,
        }
    }
}

/// The grounds of a list, in its order: of those of its items that are `likely`, or of all. O(rows of the seeds) for a relation,
/// O(sessions) for session kNN.
pub fn grounds(
    witness: &WitnessHere<'_>,
    source: &Source,
    list: &SourceList,
    likely: Option<&Chosen>,
) -> GroundsSaid {
    let linked = matches!(source, Source::Relation(_) | Source::SessionKnn);
    if !linked && !matches!(source, Source::Fresh) && !source.counts_votes() {
        return GroundsSaid::default();
    }
    let items = list.ranked.iter().map(|(item, _)| *item).enumerate();
    let told = items.filter(|(_, item)| likely.is_none_or(|some| some.place(*item).is_some()));
    let (places, items): (Vec<u32>, Vec<ItemIx>) =
        told.map(|(place, item)| (place as u32, item)).unzip();
    let mut chosen = items.clone();
    if linked {
        chosen.sort_unstable();
        witness.announce(&chosen);
    }
    let mut of_relation = match source {
        Source::Relation(relation) => witness.relation_grounds(*relation),
        _ => Vec::new(),
    };
    let mut said = GroundsSaid {
        of: likely.map(|_| places),
        ..GroundsSaid::default()
    };
    for item in &items {
        let Grounds { links, own } = match source {
            Source::Relation(_) => match chosen.binary_search(item) {
                Ok(at) => std::mem::take(&mut of_relation[at]),
                Err(_) => Grounds::default(),
            },
            source => witness.grounds(source, &list.name, *item),
        };
        if linked {
            let links = links
                .iter()
                .map(|link| (link.seed as u32, link.count, link.error));
            said.links.extend(links);
            said.ends.push(said.links.len() as u32);
        }
        if !matches!(source, Source::Relation(_)) {
            said.own.push(own);
        }
    }
    said
}

/// One question to one item host.
struct Part<'a> {
    state: &'a State,
    plan: &'a Plan<'a>,
    request: &'a RecommendRequest,
    asker: &'a Asker<'a>,
}

impl Part<'_> {
    fn reply(
        &self,
        tools: &Tools<'_>,
        barred: &Barred<'_>,
        scatter: &Scatter<'_>,
        scratch: &mut Scratch,
    ) -> Result<Vec<u8>, CoreError> {
        let (state, plan, request) = (self.state, self.plan, self.request);
        let (asker, scenario) = (self.asker, &*plan.scenario);
        let (names, now) = (&state.names, request.now);
        let repeats = plan.offers_own_items();
        let bits = &mut scratch.allowed;
        let allowed = Allowed::new(
            state,
            scenario,
            request,
            barred,
            &plan.filters,
            repeats,
            bits,
        );
        let list = filling::listed(state, request);
        let leading = tools.leading.map(|kept| kept.at(state, now, false));
        let leading = leading.unwrap_or_default();
        let neighbours = OnceLock::new();
        let retrieval = Retrieval {
            state,
            scenario,
            asker,
            neighbours: &neighbours,
            allowed: &allowed,
            scanned: &[],
            filters: plan.filters_alone(request),
            leading: &leading,
            list: &list,
            now,
            graphs: None,
            recorded: &request.found,
            whole: false,
        };
        let mut helper = tools.helped.then(Roused::default);
        let mut lists = retrieval.lists(&plan.sources, helper.as_mut(), &mut scratch.scores)?;
        let shards = self.shards();
        let cut = match scatter.thorough || request.candidates.is_some() {
            true => vec![false; lists.len()],
            false => self.cut_to_share(&shards, &mut lists),
        };
        let all = request.all_reasons;
        let voted = neighbours.get().map_or(&[][..], Vec::as_slice);
        let witness = WitnessHere::new(state, asker, scenario, voted, now, all);
        let told = !request.brief && !scatter.thorough;
        let likely = told.then(|| self.likely(&lists, &mut scratch.fused));
        let likely = likely.flatten();
        scratch.fused.reset(names.items.len());
        let mut table = Table::new(&mut scratch.fused);
        let said = plan.sources.iter().zip(&lists).map(|(source, list)| {
            let grounds = match request.brief {
                true => GroundsSaid::default(),
                false => grounds(&witness, &source.source, list, likely.as_ref()),
            };
            table.list(list, grounds)
        });
        let said = said.zip(cut).map(|(said, cut)| ListSaid { cut, ..said });
        let lists: Vec<ListSaid<'_>> = said.collect();
        let (known, pins) = self.named(&allowed);
        pins.iter().for_each(|item| {
            table.place(*item);
        });
        let stock = scatter
            .refill
            .as_ref()
            .map(|refill| self.stock(refill, &allowed, &mut scratch.touched, &mut table));
        let name = |item: &ItemIx| names.item(*item);
        for found in [false, true] {
            let items = table.items().iter();
            items.for_each(|item| names.items.prefetch(item.0, found));
        }
        let reply = Reply {
            position: state.position.0,
            version: version(state),
            seeds: asker.seeds.iter().map(|seed| name(&seed.item)).collect(),
            known,
            listed: list.len(),
            items: table.items().iter().map(name).collect(),
            counts: match request.features || scenario.popularity_debias > 0.0 {
                true => counts(&CountedHere { state, now }, table.items()),
                false => Vec::new(),
            },
            lists,
            stock,
            shards,
        };
        Ok(reply.encode())
    }

    /// The shards of this host.
    fn shards(&self) -> Shards {
        let all = self.state.shards.len() as u32;
        let own = |shard: &u32| self.state.ownership.keeps_shard(*shard as usize);
        Shards {
            own: (0..all).filter(own).collect(),
            of: all,
        }
    }

    /// Leaves of each list as many as are likely this host's share of the best of all, and says which were longer. Items
    /// are dealt to shards by hash, so that of the best so many are a binomial draw: four standard deviations are added.
    /// Where a share was larger yet, the session host sees that and asks again. Lists that are not cut by score stay whole.
    fn cut_to_share(&self, shards: &Shards, lists: &mut [SourceList]) -> Vec<bool> {
        let part = shards.own.len() as f64 / f64::from(shards.of);
        let limit = self.plan.scenario.pool as f64;
        let deviation = (limit * part * (1.0 - part)).sqrt();
        let share = (limit * part + 4.0 * deviation).ceil() as usize;
        let cut = |(source, list): (&Weighted, &mut SourceList)| {
            let by_score = !matches!(source.source, Source::Vector(_) | Source::Fresh);
            let cut = by_score && list.ranked.len() > share;
            if cut {
                list.ranked.truncate(share);
            }
            cut
        };
        self.plan.sources.iter().zip(lists).map(cut).collect()
    }

    /// The items that a slate is likely made of: the best of those found here, as if nobody else found any. `None` where much
    /// else than their places decides, so that it could be any.
    fn likely(&self, lists: &[SourceList], fused: &mut Accumulator) -> Option<Chosen> {
        let (request, scenario) = (self.request, &*self.plan.scenario);
        let chance = scenario.exploration > 0.0 || scenario.diversity > 0.0;
        if chance || request.all_reasons || request.why.is_some() {
            return None;
        }
        fuse(lists, scenario.rrf_k, fused);
        let limit = LIKELY * request.n + BESIDE;
        let best = top_by(fused, limit, |_| (), |_| true, |_, score| score);
        Some(Chosen::new(
            best.into_iter().map(|(item, _)| item).collect(),
        ))
    }

    /// Items that the request or its scenario names and that exist; and pinned ones that may be shown and are counted here.
    fn named(&self, allowed: &Allowed<'_>) -> (Vec<&str>, Vec<ItemIx>) {
        let (names, scenario) = (&self.state.names, &*self.plan.scenario);
        let pins = scenario.pins.iter().filter(|pin| pin.slot < self.request.n);
        let pins: Vec<ItemIx> = pins.filter_map(|pin| names.find_item(&pin.item)).collect();
        let why = self.request.why.as_deref();
        let why = why.and_then(|item| names.find_item(item));
        let known = pins.iter().chain(&why).map(|item| names.item(*item));
        let known = known.collect();
        let shown = pins.into_iter().filter(|item| allowed.contains(*item));
        (known, shown.collect())
    }

    /// As many items of the catalogue as could ever fill in. What fills in is not in the pool yet; so of those that may, as
    /// many are named as are wanted at most and as the pool can hold.
    fn stock(
        &self,
        refill: &Refill<'_>,
        allowed: &Allowed<'_>,
        touched: &mut Bitmap,
        table: &mut Table<'_>,
    ) -> StockSaid {
        let (state, plan, now) = (self.state, self.plan, self.request.now);
        let scenario = &*plan.scenario;
        let marks = Marks {
            touched: refill
                .touched
                .as_ref()
                .map(|(recent, seen)| (known(&state.names, recent), &**seen)),
            disliked: known(&state.names, &refill.disliked),
        };
        let counted = CountedHere { state, now };
        let boosted = plan.boosted.clone();
        let knobs = Knobs::new(state, scenario, &counted, marks, now, boosted, touched);
        let stock = StockHere {
            state,
            allowed,
            now,
        };
        let mut layers = |count: usize, only: Option<&Bitmap>| {
            let wanted = |item: ItemIx| {
                only.is_none_or(|only| only.get(item.0 as usize)) && knobs.factor(item) > 0.0
            };
            let (young, rest) = stock.layers(count, &wanted);
            let mut places = |items: Vec<ItemIx>| items.iter().map(|i| table.place(*i)).collect();
            LayersSaid {
                young: places(young),
                rest: places(rest),
            }
        };
        let limit = scenario.slate_pool.max(self.request.n);
        StockSaid {
            all: layers(limit, None),
            promoted: match plan.promoted.as_deref() {
                Some(promoted) => layers(2 * limit + self.request.n, Some(promoted)),
                None => LayersSaid::default(),
            },
        }
    }
}

fn counts(counted: &CountedHere<'_>, items: &[ItemIx]) -> Vec<(f64, f64, u32)> {
    let of = |item: &ItemIx| {
        (
            counted.popularity(*item),
            counted.trend(*item),
            counted.served(*item),
        )
    };
    items.iter().map(of).collect()
}
