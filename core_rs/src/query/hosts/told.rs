//! Replies of item hosts, in the numbers of the process that reads them, behind the interfaces of [`crate::query::counted`].

use std::cell::Cell;

use crate::fold::state::State;
use crate::ids::ItemIx;
use crate::names::Names;
use crate::query::counted::{Counted, Grounds, Link, Links, Stock, Witness};
use crate::query::filling::youth;
use crate::query::fuse::top_of;
use crate::query::hosts::message::{GroundsSaid, LayersSaid, ListSaid, Reply};
use crate::query::seeds::Asker;
use crate::query::source::Source;

/// One reply: its items, and its seeds' places among the asker's.
struct Heard<'a> {
    reply: &'a Reply<'a>,
    items: &'a [ItemIx],
    seeds: Vec<Option<usize>>,
}

/// Replies with the numbers of their items.
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
            for (name, item) in reply.items.iter().zip(names.find_items(&reply.items)) {
                match item {
                    Some(item) => own.push(item),
                    None => unheard.push(*name),
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

    /// The replies themselves.
    pub fn replies(&self) -> &'a [Reply<'a>] {
        self.replies
    }
}

/// All replies.
pub struct Told<'a> {
    state: &'a State,
    heard: Vec<Heard<'a>>,
    /// Which reply tells of an item, and its place there; ordered by item.
    whose: Vec<(ItemIx, u32, u32)>,
    /// Whether items of the catalogue were needed that nobody was asked for.
    short: Cell<bool>,
    /// Whether grounds were looked for that nobody told.
    silent: Cell<bool>,
}

impl<'a> Told<'a> {
    /// What the replies say to `asker`.
    pub fn new(state: &'a State, asker: &Asker<'_>, numbered: &'a Numbered<'a>) -> Self {
        let mut whose = Vec::with_capacity(numbered.items.iter().map(Vec::len).sum());
        let mut heard = Vec::with_capacity(numbered.items.len());
        let replies = numbered.replies.iter().zip(&numbered.items);
        for (at, (reply, items)) in replies.enumerate() {
            let places = items.iter().enumerate();
            whose.extend(places.map(|(place, item)| (*item, at as u32, place as u32)));
            let seed = |name: &&str| {
                let item = state.names.find_item(name)?;
                asker.seeds.iter().position(|own| own.item == item)
            };
            heard.push(Heard {
                reply,
                items,
                seeds: reply.seeds.iter().map(seed).collect(),
            });
        }
        whose.sort_unstable();
        // Of a host that speaks of another's items nothing is believed twice.
        whose.dedup_by_key(|(item, _, _)| *item);
        Self {
            state,
            heard,
            whose,
            short: Cell::new(false),
            silent: Cell::new(false),
        }
    }

    /// Whether items of the catalogue were needed that nobody was asked for.
    pub fn is_short(&self) -> bool {
        self.short.get()
    }

    /// Whether grounds were looked for that nobody told.
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
        let several = self.whose.len() < self.heard.iter().map(|heard| heard.items.len()).sum();
        let mut found = Vec::new();
        for (at, heard) in self.heard.iter().enumerate() {
            let lists = heard.reply.lists.iter();
            for list in lists.filter(|list| list.source == source) {
                let ranked = list.items.iter().zip(&list.scores);
                found.extend(ranked.filter_map(|(place, score)| {
                    let item = *heard.items.get(*place as usize)?;
                    let own = !several || self.of(item)?.0 == at;
                    own.then_some((item, *score))
                }));
            }
        }
        found
    }

    /// The `limit` best that all hosts found for a source, best first, equal ones by item id.
    pub fn best(&self, source: &str, limit: usize) -> Vec<(ItemIx, f64)> {
        top_of(&self.state.names, self.found(source), limit)
    }

    /// Which reply tells of an item, and the item's place there.
    fn of(&self, item: ItemIx) -> Option<(usize, u32)> {
        let at = self.whose.binary_search_by_key(&item, |(item, _, _)| *item);
        let (_, reply, place) = self.whose[at.ok()?];
        Some((reply as usize, place))
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
