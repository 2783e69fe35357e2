//! What a partition's frames ask of the other parts, by who applies it and with the end of each frame's share, so that
//! all partitions' effects can be applied in log order.

use crate::cooccurrence::rows::Draw;
use crate::fold::report::Report;
use crate::ids::{ItemIx, UserIx};
use crate::items::shard::Vote;
use crate::neighbourhood::marginals::MarginalDelta;
use crate::neighbourhood::user::SessionTouch;

/// The effects of one partition's frames in one segment.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Number of shards, and of relations.
    counts: (usize, usize),
    /// By shard of the target, then by relation.
    draws: Vec<Vec<Draw>>,
    /// By shard.
    votes: Vec<Vec<Vote>>,
    deltas: Vec<MarginalDelta>,
    touches: Vec<(UserIx, SessionTouch)>,
    /// Per frame: the ends of all lists, in the order of [`Outbox::end_frame`].
    ends: Vec<u32>,
    /// What happened to the events.
    pub report: Report,
}

impl Outbox {
    /// Empties the box, keeping its memory.
    pub fn clear(&mut self, shards: usize, relations: usize) {
        self.counts = (shards, relations);
        self.draws.resize_with(shards * relations, Vec::new);
        self.votes.resize_with(shards, Vec::new);
        self.draws.iter_mut().for_each(Vec::clear);
        self.votes.iter_mut().for_each(Vec::clear);
        self.deltas.clear();
        self.touches.clear();
        self.ends.clear();
    }

    /// Closes the share of a frame.
    pub fn end_frame(&mut self) {
        self.ends.extend(self.draws.iter().map(|d| d.len() as u32));
        self.ends.extend(self.votes.iter().map(|v| v.len() as u32));
        self.ends
            .extend([self.deltas.len() as u32, self.touches.len() as u32]);
    }

    fn range(&self, frame: usize, list: usize) -> std::ops::Range<usize> {
        let (shards, relations) = self.counts;
        let stride = shards * relations + shards + 2;
        let start = if frame == 0 {
            0
        } else {
            self.ends[(frame - 1) * stride + list]
        };
        start as usize..self.ends[frame * stride + list] as usize
    }

    /// Draws of one frame in one relation whose targets a shard owns.
    pub fn draws_of(&self, frame: usize, shard: usize, relation: usize) -> &[Draw] {
        let list = shard * self.counts.1 + relation;
        &self.draws[list][self.range(frame, list)]
    }

    /// Votes of one frame on items that a shard owns.
    pub fn votes_of(&self, frame: usize, shard: usize) -> &[Vote] {
        let (shards, relations) = self.counts;
        &self.votes[shard][self.range(frame, shards * relations + shard)]
    }

    /// Changes of marginals by one frame.
    pub fn deltas_of(&self, frame: usize) -> &[MarginalDelta] {
        let (shards, relations) = self.counts;
        &self.deltas[self.range(frame, shards * relations + shards)]
    }

    /// Changes of the session index by one frame.
    pub fn touches_of(&self, frame: usize) -> &[(UserIx, SessionTouch)] {
        let (shards, relations) = self.counts;
        &self.touches[self.range(frame, shards * relations + shards + 1)]
    }

    /// Where an event of the frame at hand puts its effects. `owners`: shard of each item, and its number there.
    pub fn effects<'a>(&'a mut self, owners: &'a [(u16, u32)]) -> Effects<'a> {
        Effects { owners, out: self }
    }

    /// A forgotten user's sessions leave the index.
    pub fn forget(&mut self, user: UserIx) {
        self.touches.push((user, SessionTouch::Forget));
    }
}

/// An outbox that knows who owns which item.
pub struct Effects<'a> {
    owners: &'a [(u16, u32)],
    out: &'a mut Outbox,
}

impl Effects<'_> {
    fn shard(&self, item: ItemIx) -> usize {
        usize::from(self.owners[item.0 as usize].0)
    }

    /// Draws a pair in a relation.
    #[inline]
    pub fn draw(&mut self, relation: usize, draw: Draw) {
        let list = self.shard(draw.target) * self.out.counts.1 + relation;
        self.out.draws[list].push(draw);
    }

    /// Votes for an item.
    pub fn vote(&mut self, vote: Vote) {
        let shard = self.shard(vote.item);
        self.out.votes[shard].push(vote);
    }

    /// Changes marginals.
    #[inline]
    pub fn delta(&mut self, delta: MarginalDelta) {
        self.out.deltas.push(delta);
    }

    /// Changes the session index.
    pub fn touch(&mut self, user: UserIx, touch: SessionTouch) {
        self.out.touches.push((user, touch));
    }
}
