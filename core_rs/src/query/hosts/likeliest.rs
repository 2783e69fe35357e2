//! Slates that nothing but scores decides: of all that was told only what comes near the slate is looked up here.
//!
//! Items of replies go by their place until then. A question tells of some 700, and to find their numbers, what the visitor
//! touched of them and the best 500 took half of the time of gathering, mostly for memory that nothing else needs.

use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::query::blend::Knobs;
use crate::query::fuse::SourceList;
use crate::query::hosts::message::{ListSaid, Reply};
use crate::query::hosts::shards::Together;
use crate::query::hosts::told::NOBODY;
use crate::query::plan::Plan;
use crate::query::recommend::Ranking;
use crate::query::retrieve;
use crate::query::source::Source;

/// Looked up beyond the slate at first: so many lose a part of their score more often than not.
const BESIDE: usize = 8;

/// Candidates by place: the items of all replies, one reply's after the other's.
pub struct Likeliest<'a> {
    replies: &'a [Reply<'a>],
    /// Whether every item host replied. Without a host's reply no list is whole, and what is left out is not made up for.
    complete: bool,
    /// Where each reply's items begin.
    starts: Vec<u32>,
    /// Of each source the best of all hosts, best first.
    lists: Vec<Vec<(u32, f64)>>,
    /// Places with their fused scores as keys that ascend where scores descend.
    fused: Vec<(u64, u32)>,
}

/// What comes near a slate.
pub struct Chosen {
    /// The best by fused score times factor, best first; equal scores by item id.
    pub best: Vec<(ItemIx, f64)>,
    /// How many candidates a pool has beside these.
    pub beyond: usize,
    /// Numbers of the items of each reply, [`NOBODY`] for those that were not looked up.
    pub numbers: Vec<Vec<ItemIx>>,
    /// The lists of all sources.
    pub lists: Vec<SourceList>,
}

impl<'a> Likeliest<'a> {
    /// Fuses what was told. `None` where that is not for this way: not all sources are cut by score, a list is in another
    /// order or used up although its host has more, hosts own a shard together.
    pub fn new(plan: &Plan<'_>, replies: &'a [Reply<'a>]) -> Option<Self> {
        let by_score = |source: &Source| !matches!(source, Source::Vector(_) | Source::Fresh);
        let together = Together::of(replies.iter().map(|reply| &reply.shards));
        if !plan.sources.iter().all(|source| by_score(&source.source)) || !together.disjoint {
            return None;
        }
        let mut starts = Vec::with_capacity(replies.len());
        let mut count = 0;
        for reply in replies {
            starts.push(count);
            count += reply.items.len() as u32;
        }
        let mut whole = Self {
            replies,
            complete: together.complete,
            starts,
            lists: Vec::with_capacity(plan.sources.len()),
            fused: Vec::new(),
        };
        let limit = retrieve::limit(&plan.scenario, 0);
        let mut sums = vec![f64::NAN; count as usize];
        for source in &plan.sources {
            let list = whole.merged(&source.name, limit)?;
            for (rank, (place, _)) in list.iter().enumerate() {
                let share = source.weight / (plan.scenario.rrf_k + rank as f64 + 1.0);
                let sum = &mut sums[*place as usize];
                *sum = if sum.is_nan() { 0.0 } else { *sum } + share;
            }
            whole.lists.push(list);
        }
        let met = (0u32..).zip(&sums).filter(|(_, sum)| !sum.is_nan());
        whole.fused = met.map(|(place, sum)| (!sum.to_bits(), place)).collect();
        Some(whole)
    }

    /// The `limit` best that all hosts found for a source, best first, equal ones by item id.
    fn merged(&self, source: &str, limit: usize) -> Option<Vec<(u32, f64)>> {
        let mut runs = Vec::with_capacity(self.replies.len());
        for (reply, start) in self.replies.iter().zip(&self.starts) {
            let mut own = reply.lists.iter().filter(|list| list.source == source);
            let Some(list) = own.next() else { continue };
            runs.push(Run::of(list, reply.items.len(), *start)?);
            if own.next().is_some() {
                return None;
            }
        }
        let total: usize = runs.iter().map(|run| run.places.len()).sum();
        let mut best = Vec::with_capacity(total.min(limit));
        if let [one, other] = runs.as_mut_slice() {
            self.merge_two(one, other, limit, &mut best);
        }
        while best.len() < limit {
            let mut first: Option<(usize, (u32, f64))> = None;
            for (at, run) in runs.iter().enumerate() {
                let Some(head) = run.head() else { continue };
                let ahead = first.is_none_or(|(_, (place, score))| {
                    head.1 > score || head.1 == score && self.name(head.0) < self.name(place)
                });
                if ahead {
                    first = Some((at, head));
                }
            }
            let Some((at, head)) = first else { break };
            best.push(head);
            runs[at].step();
        }
        let used_up = |run: &Run<'_>| run.cut && run.head().is_none();
        (!self.complete || !runs.iter().any(used_up)).then_some(best)
    }

    /// [`Likeliest::merged`] of two runs, as long as both have more: without a branch for whose turn it is, which no CPU
    /// foresees.
    fn merge_two(
        &self,
        one: &mut Run<'a>,
        other: &mut Run<'a>,
        limit: usize,
        best: &mut Vec<(u32, f64)>,
    ) {
        while best.len() < limit
            && let (Some(head), Some(rival)) = (one.head(), other.head())
        {
            let mut second = rival.1 > head.1;
            if rival.1 == head.1 {
                second = self.name(rival.0) < self.name(head.0);
            }
            best.push(if second { rival } else { head });
            one.skip(usize::from(!second));
            other.skip(usize::from(second));
        }
    }

    /// Reply and place there.
    fn whose(&self, place: u32) -> (usize, usize) {
        let reply = self.starts.partition_point(|start| *start <= place) - 1;
        (reply, (place - self.starts[reply]) as usize)
    }

    fn name(&self, place: u32) -> &'a str {
        let (reply, at) = self.whose(place);
        self.replies[reply].items.at(at)
    }

    /// The `ranking.request.n` best. `None` where they are fewer, where one has no number here or was told of twice, and where
    /// a factor may raise a score or make it 0: then all have to be looked at.
    pub fn choose(mut self, ranking: &Ranking<'_>, knobs: &Knobs<'_>) -> Option<Chosen> {
        let (state, n) = (ranking.state, ranking.request.n);
        if self.fused.len() < n || !knobs.only_lower() {
            return None;
        }
        let mut best: Vec<Looked> = Vec::with_capacity(n + BESIDE);
        let mut done = 0;
        while done < self.fused.len() {
            let next = (n + BESIDE).min(self.fused.len() - done);
            self.sort_next(done, next);
            // What is worse than `n` others already cannot become better.
            let worst = best.get(n - 1).map_or(0.0, |looked| looked.score);
            let more = &self.fused[done..done + next];
            let near = more.partition_point(|(key, _)| f64::from_bits(!key) >= worst);
            self.look_up(&more[..near], state, knobs, &mut best)?;
            best.sort_unstable_by(|a, b| {
                let by_id = || self.name(a.place).cmp(self.name(b.place));
                b.score.total_cmp(&a.score).then_with(by_id)
            });
            if near < next {
                break;
            }
            done += next;
        }
        best.truncate(n);
        // Each shard has one host, but that a host tells of nobody else's items is its word only.
        let mut items: Vec<ItemIx> = best.iter().map(|looked| looked.item).collect();
        items.sort_unstable();
        let several = items.windows(2).any(|pair| pair[0] == pair[1]);
        (!several).then(|| self.chosen(best, ranking))
    }

    /// Puts the `next` best after the first `done` in their place.
    fn sort_next(&mut self, done: usize, next: usize) {
        let rest = &mut self.fused[done..];
        if next < rest.len() {
            rest.select_nth_unstable(next);
        }
        rest[..next].sort_unstable();
    }

    fn look_up(
        &self,
        some: &[(u64, u32)],
        state: &State,
        knobs: &Knobs<'_>,
        best: &mut Vec<Looked>,
    ) -> Option<()> {
        let names: Vec<&str> = some.iter().map(|(_, place)| self.name(*place)).collect();
        for ((key, place), item) in some.iter().zip(state.names.find_items(&names)) {
            let item = item?;
            let score = f64::from_bits(!key) * knobs.factor(item);
            if score.is_nan() || score <= 0.0 {
                return None;
            }
            let place = *place;
            best.push(Looked { place, item, score });
        }
        Some(())
    }

    fn chosen(&self, best: Vec<Looked>, ranking: &Ranking<'_>) -> Chosen {
        let nobody = |reply: &Reply<'_>| vec![NOBODY; reply.items.len()];
        let mut numbers: Vec<Vec<ItemIx>> = self.replies.iter().map(nobody).collect();
        for looked in &best {
            let (reply, at) = self.whose(looked.place);
            numbers[reply][at] = looked.item;
        }
        let all: Vec<ItemIx> = numbers.iter().flatten().copied().collect();
        let sources = ranking.plan.sources.iter().zip(&self.lists);
        let lists = sources.map(|(source, list)| {
            let ranked = list.iter();
            SourceList {
                name: source.name.clone(),
                weight: source.weight,
                personal: source.source.is_personal(),
                approximate: false,
                ranked: ranked
                    .map(|(at, score)| (all[*at as usize], *score))
                    .collect(),
            }
        });
        Chosen {
            beyond: self.fused.len().min(ranking.limit()) - best.len(),
            lists: lists.collect(),
            numbers,
            best: best.into_iter().map(|l| (l.item, l.score)).collect(),
        }
    }
}

/// A candidate whose number and factor are known.
struct Looked {
    place: u32,
    item: ItemIx,
    score: f64,
}

/// What is left of what one host told for a source.
struct Run<'a> {
    places: &'a [u32],
    scores: &'a [f64],
    start: u32,
    cut: bool,
}

impl<'a> Run<'a> {
    /// `None` for a list that is in no order or has places that are none, or another number of scores.
    fn of(list: &'a ListSaid<'_>, items: usize, start: u32) -> Option<Self> {
        let (places, scores) = (list.items.as_slice(), list.scores.as_slice());
        let sound = scores.len() == places.len()
            && scores.iter().all(|score| *score > 0.0)
            && scores.is_sorted_by(|a, b| a >= b)
            && places.iter().all(|place| (*place as usize) < items);
        sound.then_some(Self {
            places,
            scores,
            start,
            cut: list.cut,
        })
    }

    fn head(&self) -> Option<(u32, f64)> {
        Some((self.start + *self.places.first()?, *self.scores.first()?))
    }

    fn step(&mut self) {
        self.skip(1);
    }

    #[inline]
    fn skip(&mut self, heads: usize) {
        (self.places, self.scores) = (&self.places[heads..], &self.scores[heads..]);
    }
}
