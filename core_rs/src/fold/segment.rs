//! The work of one segment, shared among threads that need not wait for each other between its steps.
//!
//! * *Tasks*: a partition folds its frames of the segment into [`Outbox`]es, in their order. Partitions do not see each other,
//!   so tasks run in any order.
//! * *Lanes*: the shards and the neighbourhood take effects out of the outboxes, each for itself and in log order. A lane
//!   moves on as far as all outboxes up to a frame are closed.
//!
//! Whoever is free takes the largest task that nobody has begun; when there is none left, lanes move on behind the tasks
//! that still run. What a thread does when decides nothing: a lane applies the same effects in the same order.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::admission::frames::FrameVerdict;
use crate::fold::batch::{BatchFrame, FrameNumbers};
use crate::fold::outbox::Outbox;
use crate::fold::ownership::Ownership;
use crate::fold::partition::{Context, Partition};
use crate::fold::state::State;
use crate::intern::Interner;
use crate::items::shard::Shard;
use crate::items::votes::ItemClocks;
use crate::neighbourhood::marginals::Marginals;
use crate::neighbourhood::sessions::SessionIndex;
use crate::neighbourhood::user::HoodUser;

/// An outbox takes no further frame once it has the effects of so many events.
const OUTBOX_EVENTS: usize = 1024;

/// One frame of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentFrame {
    /// Its place in the batch.
    pub frame: usize,
    /// Whose frame it is.
    pub partition: usize,
    /// Whether it counts.
    pub verdict: FrameVerdict,
    /// Which outbox of the segment takes its effects.
    outbox: usize,
    /// Its place among the frames of that outbox.
    place: usize,
}

/// The frames of a segment in log order, and which outbox takes the effects of each.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub frames: Vec<SegmentFrame>,
    /// Events up to each frame, that included.
    events: Vec<usize>,
    /// Of each outbox: its partition, and how many frames it takes.
    outboxes: Vec<(usize, usize)>,
    /// Of each partition its latest outbox, and how many events are for it.
    latest: Vec<Option<(usize, usize)>>,
}

impl Plan {
    /// Forgets the segment before.
    pub fn clear(&mut self, partitions: usize) {
        for (partition, _) in self.outboxes.drain(..) {
            self.latest[partition] = None;
        }
        self.latest.resize(partitions, None);
        self.frames.clear();
        self.events.clear();
    }

    /// Events so far.
    pub fn events(&self) -> usize {
        self.events.last().copied().unwrap_or(0)
    }

    /// Adds a frame of so many events.
    pub fn push(&mut self, frame: usize, partition: usize, verdict: FrameVerdict, events: usize) {
        let (outbox, held) = match self.latest[partition] {
            Some((outbox, held)) if held < OUTBOX_EVENTS => (outbox, held),
            _ => {
                self.outboxes.push((partition, 0));
                (self.outboxes.len() - 1, 0)
            }
        };
        self.latest[partition] = Some((outbox, held + events));
        let place = self.outboxes[outbox].1;
        self.outboxes[outbox].1 += 1;
        self.events.push(self.events() + events);
        self.frames.push(SegmentFrame {
            frame,
            partition,
            verdict,
            outbox,
            place,
        });
    }

    /// How many outboxes it takes.
    pub fn outboxes(&self) -> usize {
        self.outboxes.len()
    }

    /// Outbox and partition of the last frame.
    pub fn last(&self) -> Option<(usize, usize)> {
        self.frames
            .last()
            .map(|frame| (frame.outbox, frame.partition))
    }
}

/// What lanes read beside the outboxes.
#[derive(Clone, Copy)]
struct Readers<'a> {
    cx: Context<'a>,
    clocks: &'a ItemClocks,
    frames: &'a [BatchFrame<'a>],
    numbers: &'a [FrameNumbers],
}

/// A partition with its frames of the segment.
struct Task<'a> {
    partition: &'a mut Partition,
    users: &'a mut Interner,
    hood: &'a mut Vec<Option<Box<HoodUser>>>,
    /// In log order.
    frames: &'a [SegmentFrame],
    events: usize,
}

/// What takes effects by itself.
enum Part<'a> {
    Hood(&'a mut [Marginals], &'a mut SessionIndex),
    Shard(usize, &'a mut Shard),
}

struct Lane<'a> {
    part: Part<'a>,
    /// Frames whose effects it has.
    done: usize,
    /// Draws that found no room.
    refused: u64,
}

/// An outbox, empty until its task takes it and full once that is through with it.
struct Slot {
    empty: Mutex<Outbox>,
    closed: OnceLock<Outbox>,
}

/// The work of a segment.
struct Work<'a> {
    plan: &'a Plan,
    readers: Readers<'a>,
    tasks: Vec<Mutex<Task<'a>>>,
    lanes: Vec<Mutex<Lane<'a>>>,
    slots: Vec<Slot>,
    /// Tasks begun.
    begun: AtomicUsize,
    /// Frames up to which every outbox is closed; written under `progress` only.
    ready: AtomicUsize,
    progress: Mutex<()>,
    moved: Condvar,
    /// A thread panicked: the others must not wait for it.
    failed: AtomicBool,
}

impl Work<'_> {
    /// Works until nothing is left that others do not do already. `first`: the lane to begin with.
    fn run(&self, first: usize) {
        let _guard = FailureGuard(self);
        while let Some(task) = self.tasks.get(self.begun.fetch_add(1, Ordering::Relaxed)) {
            self.fold(&mut task.lock());
        }
        let mut next = first;
        while !self.failed.load(Ordering::Relaxed) {
            let ready = self.ready.load(Ordering::Acquire);
            let lanes = (0..self.lanes.len()).map(|step| (next + step) % self.lanes.len());
            match lanes.into_iter().find(|at| self.advance(*at, ready)) {
                Some(at) => next = at + 1,
                None if ready == self.plan.frames.len() => return,
                None => self.wait(ready),
            }
        }
    }

    /// Folds a partition's frames and closes each outbox when its last frame is in it.
    fn fold(&self, task: &mut Task<'_>) {
        let relations = self.readers.cx.relations.len();
        let mut open: Option<(usize, Outbox)> = None;
        for own in task.frames {
            if open.as_ref().is_none_or(|(at, _)| *at != own.outbox) {
                if let Some((at, full)) = open.take() {
                    self.close(at, full);
                }
                let mut empty = std::mem::take(&mut *self.slots[own.outbox].empty.lock());
                empty.clear(relations);
                open = Some((own.outbox, empty));
            }
            if let (Some((_, out)), Ok((_, events))) =
                (&mut open, &self.readers.frames[own.frame].content)
            {
                task.partition.fold(
                    self.readers.frames[own.frame].position,
                    own.verdict,
                    events,
                    &self.readers.numbers[own.frame],
                    task.users,
                    task.hood,
                    &self.readers.cx,
                    out,
                );
            }
        }
        if let Some((at, full)) = open {
            self.close(at, full);
        }
    }

    /// Lets lanes have an outbox.
    fn close(&self, at: usize, full: Outbox) {
        let _ = self.slots[at].closed.set(full);
        let _progress = self.progress.lock();
        let frames = &self.plan.frames[self.ready.load(Ordering::Relaxed)..];
        let closed = |frame: &&SegmentFrame| self.slots[frame.outbox].closed.get().is_some();
        let more = frames.iter().take_while(closed).count();
        self.ready.fetch_add(more, Ordering::Release);
        self.moved.notify_all();
    }

    /// Waits until more than `ready` frames are.
    fn wait(&self, ready: usize) {
        let mut progress = self.progress.lock();
        while self.ready.load(Ordering::Relaxed) == ready && !self.failed.load(Ordering::Relaxed) {
            self.moved.wait(&mut progress);
        }
    }

    /// Moves a lane on behind the frames that are ready; whether it was free and that is worth it.
    fn advance(&self, at: usize, ready: usize) -> bool {
        let Some(mut lane) = self.lanes[at].try_lock() else {
            return false;
        };
        let before = |frames: usize| {
            frames
                .checked_sub(1)
                .map_or(0, |last| self.plan.events[last])
        };
        let (from, whole) = (lane.done, ready == self.plan.frames.len());
        // The larger the portion, the more draws of a row are counted at once.
        let worth = whole || 4 * (before(ready) - before(from)) >= self.plan.events();
        if from == ready || !worth {
            return false;
        }
        let frames = &self.plan.frames[from..ready];
        let Lane { part, refused, .. } = &mut *lane;
        match part {
            Part::Hood(marginals, sessions) => self.advance_hood(frames, marginals, sessions),
            Part::Shard(number, shard) => *refused += self.advance_shard(frames, *number, shard),
        }
        lane.done = ready;
        true
    }

    fn closed<'a>(
        &'a self,
        frames: &'a [SegmentFrame],
    ) -> impl DoubleEndedIterator<Item = (&'a SegmentFrame, &'a Outbox)> + Clone {
        let outbox =
            |frame: &'a SegmentFrame| Some((frame, self.slots[frame.outbox].closed.get()?));
        frames.iter().filter_map(outbox)
    }

    fn advance_hood(
        &self,
        frames: &[SegmentFrame],
        marginals: &mut [Marginals],
        sessions: &mut SessionIndex,
    ) {
        for (frame, out) in self.closed(frames) {
            for (change, partners, ahead) in out.changes_of(frame.place) {
                marginals[usize::from(change.relation)].add(change, partners, ahead);
            }
            for (user, touch) in out.touches_of(frame.place) {
                sessions.touch(frame.partition, *user, *touch);
            }
        }
    }

    fn advance_shard(&self, frames: &[SegmentFrame], number: usize, shard: &mut Shard) -> u64 {
        let Context {
            owners,
            names,
            catalogue,
            ..
        } = self.readers.cx;
        let mut refused = 0;
        for (relation, rows) in shard.rows.iter_mut().enumerate() {
            let draws = self
                .closed(frames)
                .map(|(frame, out)| out.draws_of(frame.place, number, relation));
            refused += rows.add_all(draws, names);
        }
        for (frame, out) in self.closed(frames) {
            if frame.place == 0 {
                shard.serve(out.served_of(number));
            }
            for vote in out.votes_of(frame.place, number) {
                shard.vote(
                    owners[vote.item.0 as usize].1,
                    vote,
                    self.readers.clocks,
                    catalogue,
                    names,
                );
            }
        }
        refused
    }
}

/// Wakes those who wait for a thread that panics.
struct FailureGuard<'a, 'b>(&'a Work<'b>);

impl Drop for FailureGuard<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _progress = self.0.progress.lock();
            self.0.failed.store(true, Ordering::Relaxed);
            self.0.moved.notify_all();
        }
    }
}

impl State {
    /// Folds the frames that are planned and numbered, and applies what follows in log order; how many draws found no room.
    pub(super) fn fold_planned(
        &mut self,
        frames: &[BatchFrame<'_>],
        pool: Option<&rayon::ThreadPool>,
    ) -> u64 {
        let (plan, mut users) = (
            std::mem::take(&mut self.plan),
            std::mem::take(&mut self.names.users),
        );
        let mut by_partition = plan.frames.clone();
        by_partition.sort_by_key(|frame| frame.partition);
        let readers = Readers {
            cx: Context {
                names: &self.names,
                owners: &self.owners,
                catalogue: &self.catalogue,
                rules: &self.rules,
                relations: &self.relations,
                limits: &self.limits,
                max_session_items: self.max_session_items,
                ownership: &self.ownership,
            },
            clocks: &self.clocks,
            frames,
            numbers: &self.numbers,
        };
        let work = Work {
            plan: &plan,
            readers,
            tasks: tasks(
                &by_partition,
                frames,
                &mut self.partitions,
                &mut users,
                &mut self.hood.users,
            ),
            lanes: lanes(
                &self.ownership,
                &mut self.shards,
                &mut self.hood.marginals,
                &mut self.hood.sessions,
            ),
            slots: self.outboxes[..plan.outboxes()]
                .iter_mut()
                .map(|outbox| Slot {
                    empty: Mutex::new(std::mem::take(outbox)),
                    closed: OnceLock::new(),
                })
                .collect(),
            begun: AtomicUsize::new(0),
            ready: AtomicUsize::new(0),
            progress: Mutex::new(()),
            moved: Condvar::new(),
            failed: AtomicBool::new(false),
        };
        match pool {
            Some(pool) => {
                let apart = work.lanes.len().div_ceil(pool.current_num_threads());
                pool.broadcast(|thread| work.run(thread.index() * apart));
            }
            None => work.run(0),
        }
        let refused = work
            .lanes
            .into_iter()
            .map(|lane| lane.into_inner().refused)
            .sum();
        let used = work
            .slots
            .into_iter()
            .filter_map(|slot| slot.closed.into_inner());
        for (place, outbox) in self.outboxes.iter_mut().zip(used) {
            *place = outbox;
        }
        self.names.users = users;
        self.plan = plan;
        refused
    }
}

/// A task for each partition that has frames, the largest first. `frames`: by partition.
fn tasks<'a>(
    frames: &'a [SegmentFrame],
    batch: &[BatchFrame<'_>],
    partitions: &'a mut [Partition],
    users: &'a mut [Interner],
    hood: &'a mut [Vec<Option<Box<HoodUser>>>],
) -> Vec<Mutex<Task<'a>>> {
    let mut own = frames
        .chunk_by(|a, b| a.partition == b.partition)
        .peekable();
    let all = partitions.iter_mut().zip(users).zip(hood).enumerate();
    let mut tasks: Vec<Task<'_>> = all
        .filter_map(|(p, ((partition, users), hood))| {
            let frames = own.next_if(|frames| frames[0].partition == p)?;
            let events = frames
                .iter()
                .map(|frame| match &batch[frame.frame].content {
                    Ok((_, events)) => events.len(),
                    Err(_) => 0,
                });
            Some(Task {
                partition,
                users,
                hood,
                frames,
                events: events.sum(),
            })
        })
        .collect();
    tasks.sort_by_key(|task| std::cmp::Reverse(task.events));
    tasks.into_iter().map(Mutex::new).collect()
}

fn lanes<'a>(
    ownership: &Ownership,
    shards: &'a mut [Shard],
    marginals: &'a mut [Marginals],
    sessions: &'a mut SessionIndex,
) -> Vec<Mutex<Lane<'a>>> {
    if !ownership.keeps_items() {
        return Vec::new();
    }
    let shards = shards
        .iter_mut()
        .enumerate()
        .filter(|(s, _)| ownership.keeps_shard(*s));
    let parts = std::iter::once(Part::Hood(marginals, sessions))
        .chain(shards.map(|(s, shard)| Part::Shard(s, shard)));
    parts
        .map(|part| {
            Mutex::new(Lane {
                part,
                done: 0,
                refused: 0,
            })
        })
        .collect()
}
