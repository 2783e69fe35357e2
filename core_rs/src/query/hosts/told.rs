//! Replies of item hosts, in the numbers of the process that reads them, behind the interfaces of [`crate::query::counted`].

use std::cell::{Cell, OnceCell};

use crate::bitmap::Bitmap;
use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::names::Names;
use crate::query::counted::{Counted, Grounds, Link, Links, Stock, Witness};
use crate::query::filling::youth;
use crate::query::fuse::top_of;
use crate::query::hosts::message::{GroundsSaid, LayersSaid, ListSaid, Reply};
use crate::query::hosts::shards::Together;
use crate::query::seeds::Asker;
use crate::query::source::Source;

/// One reply: its items, and its seeds' places among the asker's.
struct Heard<'a> {
    reply: &'a Reply<'a>,
    items: &'a [ItemIx],
    seeds: Vec<Option<usize>>,
}

/// Stands for an item whose number is not looked up, since nobody asks for it.
pub const NOBODY: ItemIx = ItemIx(u32::MAX);

/// Replies with the numbers of their items.
#[derive(Default)]
pub struct Numbered<'a> {
    replies: &'a [Reply<'a>],
    items: Vec<Vec<ItemIx>>,
}

impl<'a> Numbered<'a> {
    /// Numbers of all items of replies; where some have none, their ids. Such items are no state: as soon as this process has
    /// given them numbers, the replies can be read.
    pub fn new(names: &Names, replies: &'a [Reply<'a>]) -> Result<Self, Vec<&'a str>> {
        let mut unheard = Vec::new();
        let mut items = Vec::with_capacity(replies.len());
        for reply in replies {
            let mut own = Vec::with_capacity(reply.items.len());
            let ids: Vec<&str> = reply.items.iter().collect();
            for (id, item) in ids.iter().zip(names.find_items(&ids)) {
                match item {
                    Some(item) => own.push(item),
                    None => unheard.push(*id),
                }
            }
            items.push(own);
            let others = reply.seeds.iter().chain(&reply.known);
            unheard.extend(others.filter(|name| names.find_item(name).is_none()));
        }
        match unheard.is_empty() {
            true => Ok(Self { replies, items }),
            false => Err(unheard),
        }
    }

    /// Numbers that were looked up already, reply by reply; [`NOBODY`] where that was not needed.
    pub fn of(replies: &'a [Reply<'a>], items: Vec<Vec<ItemIx>>) -> Self {
        Self { replies, items }
    }

    /// The replies themselves.
    pub fn replies(&self) -> &'a [Reply<'a>] {
        self.replies
    }
}

/// A reply, and an item's place in it.
type Place = (usize, u32);

/// So many items are looked for one by one: a slate's are, and to order all that were told takes longer.
const FEW: usize = 64;

/// What one host told for a source.
struct Run {
    items: Vec<(ItemIx, f64)>,
    cut: bool,
}

/// All replies.
pub struct Told<'a> {
    state: &'a State,
    heard: Vec<Heard<'a>>,
    /// Whether several replies tell of one item.
    several: bool,
    /// Whether every item host replied.
    complete: bool,
    /// The item that was looked for last, and where it is told of.
    latest: Cell<Option<(ItemIx, Option<Place>)>>,
    /// How many items were looked for without `whose`.
    looked: Cell<usize>,
    /// Which reply tells of an item, and its place there; ordered by item. Made once many were looked for.
    whose: OnceCell<Vec<(ItemIx, Place)>>,
    /// Whether items of the catalogue were needed that nobody was asked for.
    short: Cell<bool>,
    /// Whether something was looked for that nobody told: grounds, or more of a list.
    silent: Cell<bool>,
}

impl<'a> Told<'a> {
    /// What the replies say to `asker`.
    pub fn new(state: &'a State, asker: &Asker<'_>, numbered: &'a Numbered<'a>) -> Self {
        let replies = numbered.replies.iter().zip(&numbered.items);
        let heard = replies.map(|(reply, items)| {
            let seed = |name: &&str| {
                let item = state.names.find_item(name)?;
                asker.seeds.iter().position(|own| own.item == item)
            };
            Heard {
                reply,
                items,
                seeds: reply.seeds.iter().map(seed).collect(),
            }
        });
        let shards = numbered.replies.iter().map(|reply| &reply.shards);
        let mut met = Bitmap::zeros(state.names.items.len());
        let mut several = false;
        let numbers = numbered.items.iter().flatten();
        for item in numbers.filter(|item| **item != NOBODY) {
            several |= met.get(item.0 as usize);
            met.set(item.0 as usize);
        }
        Self {
            state,
            heard: heard.collect(),
            several,
            complete: Together::of(shards).complete,
            latest: Cell::new(None),
            looked: Cell::new(0),
            whose: OnceCell::new(),
            short: Cell::new(false),
            silent: Cell::new(false),
        }
    }

    /// Whether items of the catalogue were needed that nobody was asked for.
    pub fn is_short(&self) -> bool {
        self.short.get()
    }

    /// Whether something was looked for that nobody told: grounds, or more of a list.
    pub fn is_silent(&self) -> bool {
        self.silent.get()
    }

    /// The known items of the caller's list.
    pub fn listed(&self) -> usize {
        let counts = self.heard.iter().map(|heard| heard.reply.listed);
        counts.max().unwrap_or(0)
    }

    /// What all hosts found for a source, in no order.
    pub fn found(&self, source: &str) -> Vec<(ItemIx, f64)> {
        let mut found = Vec::new();
        for at in 0..self.heard.len() {
            let _ = self.found_by(at, source, &mut found);
        }
        found
    }

    /// What one host found for a source, in its order; whether it found more than it told.
    fn found_by(&self, at: usize, source: &str, found: &mut Vec<(ItemIx, f64)>) -> bool {
        let heard = &self.heard[at];
        let lists = heard.reply.lists.iter();
        let mut cut = false;
        for list in lists.filter(|list| list.source == source) {
            cut |= list.cut;
            let ranked = list.items.iter().zip(&list.scores);
            found.extend(ranked.filter_map(|(place, score)| {
                let item = *heard.items.get(*place as usize)?;
                // Of a host that speaks of another's items nothing is believed twice.
                let own = !self.several || self.of(item)?.0 == at;
                own.then_some((item, *score))
            }));
        }
        cut
    }

    /// The `limit` best that all hosts found for a source, best first, equal ones by item id. Hosts tell theirs in that order.
    pub fn best(&self, source: &str, limit: usize) -> Vec<(ItemIx, f64)> {
        let mut runs: Vec<Run> = Vec::with_capacity(self.heard.len());
        for at in 0..self.heard.len() {
            let mut items = Vec::new();
            let cut = self.found_by(at, source, &mut items);
            items.retain(|(_, score)| *score > 0.0);
            runs.push(Run { items, cut });
        }
        let in_order = |run: &Run| run.items.is_sorted_by(|a, b| a.1 >= b.1);
        if runs.iter().all(in_order) {
            return self.merged(&runs, limit);
        }
        self.silent.set(true); // so that all tell everything, whatever they cut
        let all = runs.into_iter().flat_map(|run| run.items).collect();
        top_of(&self.state.names, all, limit)
    }

    /// The `limit` best of runs that are in order. O(limit x runs).
    fn merged(&self, runs: &[Run], limit: usize) -> Vec<(ItemIx, f64)> {
        let name = |item: ItemIx| self.state.names.item(item);
        let mut heads: Vec<&[(ItemIx, f64)]> = runs.iter().map(|run| &*run.items).collect();
        let total: usize = heads.iter().map(|run| run.len()).sum();
        let mut best = Vec::with_capacity(total.min(limit));
        while best.len() < limit {
            let mut first: Option<(usize, (ItemIx, f64))> = None;
            for (at, run) in heads.iter().enumerate() {
                let Some(head) = run.first() else { continue };
                let ahead = first.is_none_or(|(_, (item, score))| {
                    head.1 > score || head.1 == score && name(head.0) < name(item)
                });
                if ahead {
                    first = Some((at, *head));
                }
            }
            let Some((at, head)) = first else { break };
            best.push(head);
            heads[at] = &heads[at][1..];
        }
        // Without a host's reply no list is whole, and what is left out is not made up for by asking again.
        let mut used_up = runs.iter().zip(&heads).filter(|_| self.complete);
        if used_up.any(|(run, rest)| run.cut && rest.is_empty()) {
            self.silent.set(true); // what was not told may belong here
        }
        best
    }

    /// Which reply tells of an item, and the item's place there: the first, where several do.
    fn of(&self, item: ItemIx) -> Option<Place> {
        if let Some(whose) = self.whose.get() {
            let at = whose.binary_search_by_key(&item, |(item, _)| *item);
            return Some(whose[at.ok()?].1);
        }
        if let Some((latest, place)) = self.latest.get()
            && latest == item
        {
            return place;
        }
        self.looked.set(self.looked.get() + 1);
        if self.looked.get() > FEW {
            self.whose.get_or_init(|| self.all_places());
            return self.of(item);
        }
        let mut heard = self.heard.iter().enumerate();
        let place = heard.find_map(|(at, heard)| {
            let place = heard.items.iter().position(|other| *other == item)?;
            Some((at, place as u32))
        });
        self.latest.set(Some((item, place)));
        place
    }

    fn all_places(&self) -> Vec<(ItemIx, Place)> {
        let heard = self.heard.iter().enumerate();
        let places = heard.flat_map(|(at, heard)| {
            let items = heard.items.iter().enumerate();
            items.map(move |(place, item)| (*item, (at, place as u32)))
        });
        let mut whose: Vec<(ItemIx, Place)> = places.collect();
        whose.sort_unstable();
        whose.dedup_by_key(|(item, _)| *item);
        whose
    }

    fn counts(&self, item: ItemIx) -> (f64, f64, u32) {
        let counts = self
            .of(item)
            .and_then(|(at, place)| self.heard[at].reply.counts.get(place as usize));
        counts.copied().unwrap_or_default()
    }

    /// Items of one layer of all hosts' catalogues, the youngest first.
    fn layer<'b>(
        &'b self,
        of: impl Fn(&'b LayersSaid) -> &'b [u32],
        promoted: bool,
    ) -> Vec<ItemIx> {
        let mut keys: Vec<_> = self
            .heard
            .iter()
            .filter_map(|heard| Some((heard, heard.reply.stock.as_ref()?)))
            .flat_map(|(heard, stock)| {
                let layers = if promoted {
                    &stock.promoted
                } else {
                    &stock.all
                };
                let places = of(layers).iter();
                places.filter_map(|place| heard.items.get(*place as usize))
            })
            .map(|item| youth(self.state, *item))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().map(|(_, _, item)| item).collect()
    }
}

impl Counted for Told<'_> {
    fn popularity(&self, item: ItemIx) -> f64 {
        self.counts(item).0
    }

    fn trend(&self, item: ItemIx) -> f64 {
        self.counts(item).1
    }

    fn served(&self, item: ItemIx) -> u32 {
        self.counts(item).2
    }
}

impl Stock for Told<'_> {
    fn youngest(
        &self,
        count: usize,
        promoted: bool,
        wanted: &dyn Fn(ItemIx) -> bool,
    ) -> Vec<ItemIx> {
        if self.heard.iter().all(|heard| heard.reply.stock.is_none()) {
            self.short.set(true);
            return Vec::new();
        }
        let young = self.layer(|layers| &layers.young, promoted);
        let young = young.into_iter().filter(|item| wanted(*item));
        let mut found: Vec<ItemIx> = young.take(count).collect();
        if found.len() < count {
            let rest = self.layer(|layers| &layers.rest, promoted);
            let rest = rest.into_iter().filter(|item| wanted(*item));
            found.extend(rest.take(count - found.len()));
        }
        found
    }
}

impl Witness for Told<'_> {
    fn prepare(&self, _: &[ItemIx]) {}

    fn grounds(&self, _: &Source, name: &str, item: ItemIx) -> Grounds {
        let Some((at, place)) = self.of(item) else {
            return Grounds::default();
        };
        let heard = &self.heard[at];
        let said = |list: &ListSaid<'_>| {
            let at = list.items.iter().position(|other| *other == place)?;
            let told = match &list.grounds.of {
                Some(of) => of.binary_search(&(at as u32)),
                None => Ok(at),
            };
            self.silent.set(self.silent.get() || told.is_err());
            told.ok()
                .map(|told| grounds(&list.grounds, told, &heard.seeds))
        };
        let lists = heard.reply.lists.iter();
        let mut own = lists.filter(|list| list.source == name);
        own.find_map(said).unwrap_or_default()
    }
}

/// The grounds at place `at` of those said. `seeds`: places of the reply's seeds among the asker's.
fn grounds(said: &GroundsSaid, at: usize, seeds: &[Option<usize>]) -> Grounds {
    let end = |at: usize| said.ends.get(at).map_or(0, |end| *end as usize);
    let start = at.checked_sub(1).map_or(0, end);
    let links = said.links.get(start..end(at)).unwrap_or_default().iter();
    let links = links.filter_map(|(seed, count, error)| {
        Some(Link {
            seed: (*seeds.get(*seed as usize)?)?,
            count: *count,
            error: *error,
        })
    });
    Grounds {
        links: Links::Many(links.collect()),
        own: said.own.get(at).copied().unwrap_or(0.0),
    }
}
