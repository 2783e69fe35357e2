//! All parts of the state, and the order in which frames pass through them.
//!
//! Frames of user partitions between two catalogue or control frames form *segments*. In a segment:
//!
//! 1. items are numbered and the running time is carried on, in log order;
//! 2. every partition folds its own frames, in parallel: admission, sessions, pair draws;
//! 3. every shard applies its draws and votes, and the neighbourhood its marginals and session touches, in parallel with
//!    each other and each in log order.
//!
//! So the result does not depend on the number of threads or on where a batch was cut. A host that keeps only some of the
//! parts takes the same steps with those ([`Ownership`]).

use rayon::prelude::*;

use crate::admission::frames::FrameVerdict;
use crate::bitmap::Bitmap;
use crate::catalogue::Catalogue;
use crate::config::FoldConfig;
use crate::decay::Decay;
use crate::error::CoreError;
use crate::fold::batch::{BatchFrame, FrameNumbers, carries, number};
use crate::fold::control::Control;
use crate::fold::outbox::Outbox;
use crate::fold::ownership::Ownership;
use crate::fold::partition::{Context, Partition};
use crate::fold::report::{Report, outcome};
use crate::fold::rules::TypeRules;
use crate::frame::event::{Decoded, Event};
use crate::frame::header::{Frame, FrameError, Subject};
use crate::ids::{DAY_MS, EventRef, ItemIx, Millis, Position};
use crate::items::fresh::Fresh;
use crate::items::shard::Shard;
use crate::items::vectors::Vectors;
use crate::items::votes::ItemClocks;
use crate::names::Names;
use crate::neighbourhood::{Neighbourhood, Relation};
use crate::scenario::QueryConfig;
use crate::sessions::user::UserLimits;

/// A segment is closed after this many events, so that queries get their turn.
const SEGMENT_EVENTS: usize = 16384;
/// Below this many events threads cost more than they save.
const PARALLEL_EVENTS: usize = 512;

/// One frame of a segment.
#[derive(Clone, Copy, Debug)]
struct SegmentFrame {
    /// Its place in the batch.
    frame: usize,
    partition: usize,
    verdict: FrameVerdict,
}

/// Everything that is folded from the log.
pub struct State {
    /// Relations, in configuration order.
    pub relations: Vec<Relation>,
    /// Bounds of users.
    pub limits: UserLimits,
    /// Clocks of item counts.
    pub clocks: ItemClocks,
    /// Dictionaries.
    pub names: Names,
    /// User partitions.
    pub partitions: Vec<Partition>,
    /// Item shards.
    pub shards: Vec<Shard>,
    /// Neighbourhood.
    pub hood: Neighbourhood,
    /// Catalogue.
    pub catalogue: Catalogue,
    /// Items that came into the world lately. Follows from the catalogue.
    pub fresh: Fresh,
    /// Embeddings of items, packed. The dimensions are state, the rest follows from the catalogue.
    pub vectors: Vectors,
    /// Control: active configuration, running time, outcomes.
    pub control: Control,
    /// The last frame folded or, where frames of others are left out, passed.
    pub position: Position,
    /// What is kept here.
    pub ownership: Ownership,
    pub(super) owners: Vec<(u16, u32)>,
    /// Which items are of shards that are kept; maintained where these are not all.
    pub(super) own_items: Bitmap,
    rules: TypeRules,
    max_session_items: usize,
    outboxes: Vec<Outbox>,
    numbers: Vec<FrameNumbers>,
}

impl State {
    /// The whole state before the first frame.
    pub fn new(config: &FoldConfig) -> Result<Self, CoreError> {
        Self::owned(config, Ownership::Whole)
    }

    /// The state of one host before the first frame.
    pub fn owned(config: &FoldConfig, ownership: Ownership) -> Result<Self, CoreError> {
        let outbox = |_| Outbox::new(&ownership, config.shards);
        Ok(Self {
            relations: Relation::all(config),
            limits: UserLimits {
                recent: config.recent_items,
                consumed: config.consumed_items,
                generation_ms: (config.seen_generation_days * DAY_MS) as i64,
                gap_ms: (config.session_gap_minutes * 60_000.0) as i64,
                affinity: Decay::new(config.affinity_half_life_days * DAY_MS),
            },
            clocks: ItemClocks::new(config),
            names: Names::new(config.partitions),
            partitions: (0..config.partitions)
                .map(|p| Partition::new(p, config))
                .collect(),
            shards: (0..config.shards).map(|_| Shard::new(config)).collect(),
            hood: Neighbourhood::new(config),
            catalogue: Catalogue::new(&config.tag_labels, config.auto_insert_items),
            fresh: Fresh::new(config.fresh_days),
            vectors: Vectors::default(),
            control: Control::default(),
            position: Position(0),
            owners: Vec::new(),
            rules: TypeRules::new(config)?,
            max_session_items: config.session_knn.max_session_items,
            outboxes: (0..config.partitions).map(outbox).collect(),
            numbers: Vec::new(),
            own_items: Bitmap::default(),
            ownership,
        })
    }

    /// Folds the next segment or frame of a batch; how many frames were taken. The first frame must follow the state's
    /// position, and every other one the one before it, as [`State::check_positions`] checks.
    pub fn apply_some(
        &mut self,
        frames: &[BatchFrame<'_>],
        pool: Option<&rayon::ThreadPool>,
        report: &mut Report,
    ) -> Result<usize, CoreError> {
        let Some(first) = frames.first() else {
            return Ok(0);
        };
        self.check_next(self.position, first.position)?;
        let mut own = Report::default();
        let taken = match &first.content {
            Ok((
                Frame {
                    subject: Subject::Partition(_),
                    ..
                },
                _,
            )) => self.fold_segment(frames, pool, &mut own),
            Ok((frame, events)) => {
                match self.control.admit(frame).set_aside() {
                    Some(code) => own.counts.add(code, events.len() as u64),
                    None if frame.subject == Subject::Catalogue => {
                        self.fold_catalogue(first.position, events, &mut own);
                    }
                    None => self.fold_control(first.position, events, &mut own),
                }
                1
            }
            Err(error) => {
                own.refuse(EventRef::new(first.position, 0), error.code());
                1
            }
        };
        self.position = frames[taken - 1].position;
        self.control.count(&own.counts);
        report.absorb(&mut own);
        Ok(taken)
    }

    fn fold_segment(
        &mut self,
        frames: &[BatchFrame<'_>],
        pool: Option<&rayon::ThreadPool>,
        report: &mut Report,
    ) -> usize {
        let mut segment: Vec<SegmentFrame> = Vec::new();
        let (mut events, mut taken) = (0, 0);
        for (i, frame) in frames.iter().enumerate() {
            let Ok((header, content)) = &frame.content else {
                break;
            };
            let Subject::Partition(p) = header.subject else {
                break;
            };
            if events > 0 && events + content.len() > SEGMENT_EVENTS {
                break;
            }
            let p = usize::from(p);
            if !self.ownership.reads_partition(p) {
                taken += 1;
                continue;
            }
            if p >= self.partitions.len() {
                if taken == 0 {
                    report.refuse(
                        EventRef::new(frame.position, 0),
                        FrameError::UnknownSubject.code(),
                    );
                    return 1;
                }
                break;
            }
            if self.numbers.len() <= i {
                self.numbers.resize_with(i + 1, FrameNumbers::default);
            }
            let verdict = self.partitions[p].admit(header);
            if verdict == FrameVerdict::Fresh {
                let clock = &mut self.control.clock;
                number(content, p, &mut self.names, clock, &mut self.numbers[i]);
            }
            segment.push(SegmentFrame {
                frame: i,
                partition: p,
                verdict,
            });
            events += content.len();
            taken += 1;
            if carries(content) {
                break;
            }
        }
        self.settle_items();
        self.fresh.advance(self.control.clock);
        let pool = pool.filter(|_| events >= PARALLEL_EVENTS);
        self.fold_partitions(frames, &segment, pool);
        let refused = self.apply_effects(&segment, pool);
        if refused > 0 {
            report.counts.add(outcome::NO_ROOM, refused);
        }
        for frame in &segment {
            report.absorb(&mut self.outboxes[frame.partition].report);
        }
        if let Some(last) = segment.last() {
            self.join_windows(last.partition);
        }
        taken
    }

    /// Joins the windows of users who turned out to be one of this partition's.
    fn join_windows(&mut self, partition: usize) {
        for (from, into) in self.outboxes[partition].take_joins() {
            if let Some(from) = self.names.find_user(&from) {
                let (gap, most) = (self.limits.gap_ms, self.max_session_items);
                self.hood
                    .join(from, (partition, into), &self.relations, gap, most);
            }
        }
    }

    fn fold_partitions(
        &mut self,
        frames: &[BatchFrame<'_>],
        segment: &[SegmentFrame],
        pool: Option<&rayon::ThreadPool>,
    ) {
        let mut users = std::mem::take(&mut self.names.users);
        let cx = Context {
            names: &self.names,
            owners: &self.owners,
            catalogue: &self.catalogue,
            rules: &self.rules,
            relations: &self.relations,
            limits: &self.limits,
            max_session_items: self.max_session_items,
            ownership: &self.ownership,
        };
        let relations = self.relations.len();
        let numbers = &self.numbers;
        let fold =
            |p: usize, partition: &mut Partition, users: &mut _, hood: &mut _, out: &mut Outbox| {
                out.clear(relations);
                for own in segment.iter().filter(|frame| frame.partition == p) {
                    if let Ok((_, events)) = &frames[own.frame].content {
                        partition.fold(
                            frames[own.frame].position,
                            own.verdict,
                            events,
                            &numbers[own.frame],
                            users,
                            hood,
                            &cx,
                            out,
                        );
                    }
                }
            };
        match pool {
            Some(pool) => pool.install(|| {
                self.partitions
                    .par_iter_mut()
                    .zip(users.par_iter_mut())
                    .zip(self.hood.users.par_iter_mut())
                    .zip(self.outboxes.par_iter_mut())
                    .enumerate()
                    .for_each(|(p, (((partition, users), hood), out))| {
                        fold(p, partition, users, hood, out)
                    });
            }),
            None => {
                let parts = self
                    .partitions
                    .iter_mut()
                    .zip(&mut users)
                    .zip(&mut self.hood.users)
                    .zip(&mut self.outboxes);
                for (p, (((partition, users), hood), out)) in parts.enumerate() {
                    if segment.iter().any(|frame| frame.partition == p) {
                        fold(p, partition, users, hood, out);
                    }
                }
            }
        }
        self.names.users = users;
    }

    /// Applies all partitions' effects in log order; how many draws found no room.
    fn apply_effects(&mut self, segment: &[SegmentFrame], pool: Option<&rayon::ThreadPool>) -> u64 {
        if !self.ownership.keeps_items() {
            return 0;
        }
        let mut seen = vec![0usize; self.partitions.len()];
        // (partition, which of its frames), in log order.
        let order: Vec<(usize, usize)> = segment
            .iter()
            .map(|frame| {
                let p = frame.partition;
                seen[p] += 1;
                (p, seen[p] - 1)
            })
            .collect();
        let folded = (0..seen.len()).filter(|p| seen[*p] > 0);
        let (outboxes, owners, names) = (&self.outboxes, &self.owners, &self.names);
        let (catalogue, clocks) = (&self.catalogue, &self.clocks);
        let ownership = &self.ownership;
        let apply_shard = |(s, shard): (usize, &mut Shard)| {
            let mut refused = 0;
            if !ownership.keeps_shard(s) {
                return refused;
            }
            for (relation, rows) in shard.rows.iter_mut().enumerate() {
                let draws = order
                    .iter()
                    .map(|(p, frame)| outboxes[*p].draws_of(*frame, s, relation));
                refused += rows.add_all(draws, names);
            }
            for p in folded.clone() {
                shard.serve(outboxes[p].served_of(s));
            }
            for (p, frame) in &order {
                let out = &outboxes[*p];
                for vote in out.votes_of(*frame, s) {
                    shard.vote(
                        owners[vote.item.0 as usize].1,
                        vote,
                        clocks,
                        catalogue,
                        names,
                    );
                }
            }
            refused
        };
        let (marginals, sessions) = (&mut self.hood.marginals, &mut self.hood.sessions);
        let mut apply_hood = || {
            for (p, frame) in &order {
                let out = &outboxes[*p];
                for (change, partners, ahead) in out.changes_of(*frame) {
                    marginals[usize::from(change.relation)].add(change, partners, ahead);
                }
                for (user, touch) in out.touches_of(*frame) {
                    sessions.touch(*p, *user, *touch);
                }
            }
        };
        match pool {
            Some(pool) => pool.install(|| {
                let shards = self.shards.par_iter_mut().enumerate();
                rayon::join(apply_hood, || shards.map(apply_shard).sum()).1
            }),
            None => {
                apply_hood();
                self.shards.iter_mut().enumerate().map(apply_shard).sum()
            }
        }
    }

    fn fold_control(&mut self, position: Position, events: &[Decoded<'_>], report: &mut Report) {
        for (index, event) in events.iter().enumerate() {
            let at = EventRef::new(position, index as u16);
            match event {
                Ok(Event::ConfigActivated { version, body, .. }) => {
                    match QueryConfig::from_json(body.as_bytes()) {
                        Ok(query) => {
                            self.control.activate(version, body, query);
                            report.counts.add(outcome::APPLIED, 1);
                        }
                        Err(_) => report.refuse(at, "bad-config"),
                    }
                }
                // Merges stood here before version 3 of the fold and moved nothing.
                Ok(Event::ModelActivated { .. } | Event::UserMerge { .. }) => {
                    report.counts.add(outcome::RECORDED, 1)
                }
                Ok(_) => report.refuse(at, outcome::WRONG_SUBJECT),
                Err(error) => report.refuse(at, error.code()),
            }
        }
    }

    /// Builds what follows from other parts and is in no snapshot.
    pub fn derive(&mut self) -> Result<(), CoreError> {
        for ix in (0..self.owners.len() as u32).map(ItemIx) {
            let hash = self.names.item_hash(ix);
            let born = self.catalogue.born(ix);
            self.fresh.change(ix, hash, None, born, self.control.clock);
            if let Some(meta) = self.catalogue.meta(ix) {
                self.vectors.restore(ix, &meta.embeddings)?;
            }
        }
        Ok(())
    }

    /// The largest event time folded so far, 0 before the first event.
    pub fn clock(&self) -> Millis {
        self.control.clock
    }
}
