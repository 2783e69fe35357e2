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

use crate::admission::frames::FrameVerdict;
use crate::bitmap::Bitmap;
use crate::catalogue::Catalogue;
use crate::config::FoldConfig;
use crate::decay::Decay;
use crate::error::CoreError;
use crate::fold::batch::{BatchFrame, FrameNumbers, SEGMENT_EVENTS, carries, number};
use crate::fold::control::Control;
use crate::fold::outbox::Outbox;
use crate::fold::ownership::Ownership;
use crate::fold::partition::Partition;
use crate::fold::plan::Plan;
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

/// Below this many events threads cost more than they save.
const PARALLEL_EVENTS: usize = 512;

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
    pub(super) rules: TypeRules,
    pub(super) max_session_items: usize,
    pub(super) outboxes: Vec<Outbox>,
    pub(super) numbers: Vec<FrameNumbers>,
    pub(super) plan: Plan,
    /// Whether a fold began that has not come to its end.
    folding: bool,
    voted: Position,
}

impl State {
    /// The whole state before the first frame.
    pub fn new(config: &FoldConfig) -> Result<Self, CoreError> {
        Self::owned(config, Ownership::Whole)
    }

    /// The state of one host before the first frame.
    pub fn owned(config: &FoldConfig, ownership: Ownership) -> Result<Self, CoreError> {
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
            outboxes: Vec::new(),
            numbers: Vec::new(),
            plan: Plan::default(),
            folding: false,
            voted: Position(0),
            own_items: Bitmap::default(),
            ownership,
        })
    }

    /// Folds the next segment or frame of a batch; how many frames were taken. The first frame must follow the state's
    /// position, and every other one the one before it, as [`State::check_positions`] checks. Errors: another position, or an
    /// earlier fold that panicked.
    pub fn apply_some(
        &mut self,
        frames: &[BatchFrame<'_>],
        pool: Option<&rayon::ThreadPool>,
        report: &mut Report,
    ) -> Result<usize, CoreError> {
        let Some(first) = frames.first() else {
            return Ok(0);
        };
        self.check_sound()?;
        self.check_next(self.position, first.position)?;
        self.folding = true;
        let mut own = Report::default();
        let items = self.names.items.len();
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
        if self.names.items.len() > items || !frames[..taken].iter().all(BatchFrame::is_record) {
            self.voted = self.position;
        }
        self.control.count(&own.counts);
        self.folding = false;
        report.absorb(&mut own);
        Ok(taken)
    }

    /// The last frame folded since this state was made that may have changed more than how often items were served: what
    /// leads, and what is asked of items but for that, is the same at all positions since then.
    pub fn voted(&self) -> Position {
        self.voted
    }

    /// Refuses a state that a fold left in the middle when it panicked: nothing that is read of it can be trusted.
    pub fn check_sound(&self) -> Result<(), CoreError> {
        match self.folding {
            false => Ok(()),
            true => Err(CoreError::Torn),
        }
    }

    fn fold_segment(
        &mut self,
        frames: &[BatchFrame<'_>],
        pool: Option<&rayon::ThreadPool>,
        report: &mut Report,
    ) -> usize {
        self.plan.clear(self.partitions.len());
        let mut taken = 0;
        for (i, frame) in frames.iter().enumerate() {
            let Ok((header, content)) = &frame.content else {
                break;
            };
            let Subject::Partition(p) = header.subject else {
                break;
            };
            let events = self.plan.events();
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
                let out = &mut self.numbers[i];
                number(content, &frame.hashes, p, &mut self.names, clock, out);
            }
            self.plan.push(i, p, verdict, content.len());
            taken += 1;
            if carries(content) {
                break;
            }
        }
        self.settle_items();
        self.fresh.advance(self.control.clock);
        while self.outboxes.len() < self.plan.outboxes() {
            let empty = Outbox::new(&self.ownership, self.shards.len());
            self.outboxes.push(empty);
        }
        let pool = pool.filter(|_| self.plan.events() >= PARALLEL_EVENTS);
        let refused = self.fold_planned(frames, pool);
        if refused > 0 {
            report.counts.add(outcome::NO_ROOM, refused);
        }
        for outbox in &mut self.outboxes[..self.plan.outboxes()] {
            report.absorb(&mut outbox.report);
        }
        self.join_windows();
        taken
    }

    /// Joins the windows of users who turned out to be one of the last frame's partition.
    fn join_windows(&mut self) {
        let Some((outbox, partition)) = self.plan.last() else {
            return;
        };
        for (from, into) in self.outboxes[outbox].take_joins() {
            if let Some(from) = self.names.find_user(&from) {
                let (gap, most) = (self.limits.gap_ms, self.max_session_items);
                self.hood
                    .join(from, (partition, into), &self.relations, gap, most);
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
