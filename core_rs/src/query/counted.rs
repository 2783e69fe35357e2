//! What only a process that counts an item knows of it, behind interfaces: the same code ranks where items are counted
//! and where hosts tell of them ([`crate::query::hosts`]).

use std::ops::Deref;

use crate::fold::state::State;
use crate::ids::{ItemIx, Millis};
use crate::items::votes::TrendReader;
use crate::query::source::Source;

/// Counts of single items at the time of the question.
pub trait Counted {
    /// Decayed votes.
    fn popularity(&self, item: ItemIx) -> f64;
    /// How far recent votes exceed what the past lets expect.
    fn trend(&self, item: ItemIx) -> f64;
    /// How often it stood in a slate.
    fn served(&self, item: ItemIx) -> u32;
}

/// Items of the catalogue that may be shown, for when sources find too little.
pub trait Stock {
    /// Up to `count` of those that are `wanted`, the youngest first, equally old ones by their id's hash. `promoted`: all
    /// that are wanted are items of the promotion.
    fn youngest(
        &self,
        count: usize,
        promoted: bool,
        wanted: &dyn Fn(ItemIx) -> bool,
    ) -> Vec<ItemIx>;
}

/// What one of the visitor's seeds has to do with an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Place of the seed.
    pub seed: usize,
    /// How often both were seen together.
    pub count: f64,
    /// How much of that may belong to others.
    pub error: f64,
}

/// Links, mostly one: without an allocation then.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Links {
    /// None.
    #[default]
    None,
    /// One.
    One(Link),
    /// Any number.
    Many(Vec<Link>),
}

impl Deref for Links {
    type Target = [Link];

    fn deref(&self) -> &[Link] {
        match self {
            Self::None => &[],
            Self::One(link) => std::slice::from_ref(link),
            Self::Many(links) => links,
        }
    }
}

impl From<Option<Link>> for Links {
    fn from(link: Option<Link>) -> Self {
        link.map_or(Self::None, Self::One)
    }
}

/// Why a source named an item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grounds {
    /// The seeds that led there, strongest first.
    pub links: Links,
    /// What the source says of the item itself: votes, how often it was served, how rare it is.
    pub own: f64,
}

/// Grounds of what sources that count say. Of those that only compare metadata, the asker knows as much as they.
pub trait Witness {
    /// Says which items will be asked about, in ascending order.
    fn prepare(&self, chosen: &[ItemIx]);
    /// Why the source, of that name, named the item.
    fn grounds(&self, source: &Source, name: &str, item: ItemIx) -> Grounds;
    /// One that says the same on another thread, of any item, whether it was prepared for it or not; none where there is none.
    fn elsewhere(&self) -> Option<Box<dyn Witness + Send + '_>> {
        None
    }
}

/// Counts of the items of a state.
#[derive(Clone, Copy)]
pub struct CountedHere<'a> {
    /// The state.
    pub state: &'a State,
    /// When.
    pub now: Millis,
}

impl Counted for CountedHere<'_> {
    fn popularity(&self, item: ItemIx) -> f64 {
        let stats = self.state.stats(item);
        stats
            .popularity
            .read(&self.state.clocks.popularity, self.now)
    }

    fn trend(&self, item: ItemIx) -> f64 {
        TrendReader::new(&self.state.clocks, self.now).trend(self.state.stats(item))
    }

    fn served(&self, item: ItemIx) -> u32 {
        self.state.served(item)
    }
}
