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

use crate::fold::batch::{BatchFrame, FrameNumbers};
use crate::fold::outbox::Outbox;
use crate::fold::ownership::Ownership;
use crate::fold::partition::{Context, Partition};
use crate::fold::plan::{Plan, SegmentFrame};
use crate::fold::state::State;
use crate::intern::Interner;
use crate::items::shard::Shard;
use crate::items::votes::ItemClocks;
use crate::neighbourhood::marginals::Marginals;
use crate::neighbourhood::sessions::SessionIndex;
use crate::neighbourhood::user::HoodUser;
use crate::search::prefetch;

/// How many effects ahead the counts that they change are asked for.
const AHEAD: usize = 8;

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
struct Slot<'a> {
    empty: Mutex<Option<&'a mut Outbox>>,
    closed: OnceLock<&'a mut Outbox>,
}

/// The work of a segment.
struct Work<'a> {
    plan: &'a Plan,
    readers: Readers<'a>,
    /// Each with the number of its events, the largest first.
    tasks: Vec<(usize, Mutex<Task<'a>>)>,
    lanes: Vec<Mutex<Lane<'a>>>,
    slots: Vec<Slot<'a>>,
    /// Tasks begun.
    begun: AtomicUsize,
    /// Frames up to which every outbox is closed; written under `progress` only.
    ready: AtomicUsize,
    progress: Mutex<()>,
    moved: Condvar,
    /// A thread panicked: the others must not wait for it.
    failed: AtomicBool,
}

impl<'a> Work<'a> {
    /// Works until nothing is left that others do not do already. `first`: the lane to begin with.
    fn run(&self, first: usize) {
        let _guard = FailureGuard(self);
        while let Some((_, task)) = self.tasks.get(self.begun.fetch_add(1, Ordering::Relaxed)) {
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
        for frames in task.frames.chunk_by(|a, b| a.outbox == b.outbox) {
            let slot = &self.slots[frames[0].outbox];
            let Some(out) = slot.empty.lock().take() else {
                continue; // Nobody else has it: each outbox has frames of one task, one after the other.
            };
            out.clear(relations);
            for own in frames {
                if let Ok((_, events)) = &self.readers.frames[own.frame].content {
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
            self.close(slot, out);
        }
    }

    /// Lets lanes have an outbox.
    fn close(&self, slot: &Slot<'a>, full: &'a mut Outbox) {
        slot.closed.get_or_init(|| full);
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
        let Some(frames) = self.plan.portion(lane.done, ready) else {
            return false;
        };
        let Lane { part, refused, .. } = &mut *lane;
        match part {
            Part::Hood(marginals, sessions) => self.advance_hood(frames, marginals, sessions),
            Part::Shard(number, shard) => *refused += self.advance_shard(frames, *number, shard),
        }
        lane.done = ready;
        true
    }

    fn closed<'f>(
        &'f self,
        frames: &'f [SegmentFrame],
    ) -> impl DoubleEndedIterator<Item = (&'f SegmentFrame, &'f Outbox)> + Clone {
        let outbox =
            |frame: &'f SegmentFrame| Some((frame, &**self.slots[frame.outbox].closed.get()?));
        frames.iter().filter_map(outbox)
    }

    fn advance_hood(
        &self,
        frames: &[SegmentFrame],
        marginals: &mut [Marginals],
        sessions: &mut SessionIndex,
    ) {
        for (frame, out) in self.closed(frames) {
            let changes = out.changed_of(frame.place);
            for (i, (change, partners, ahead)) in out.changes_of(frame.place).enumerate() {
                if let Some(later) = changes.get(i + AHEAD) {
                    marginals[usize::from(later.relation)].prefetch(later.item);
                }
                marginals[usize::from(change.relation)].add(change, partners, ahead);
            }
            let touches = out.touches_of(frame.place);
            for (i, (user, touch)) in touches.iter().enumerate() {
                if let Some((_, later)) = touches.get(i + 2 * AHEAD) {
                    sessions.ask_for_posting(*later, false);
                }
                if let Some((_, later)) = touches.get(i + AHEAD) {
                    sessions.ask_for_posting(*later, true);
                }
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
            let votes = out.votes_of(frame.place, number);
            for (i, vote) in votes.iter().enumerate() {
                if let Some(later) = votes.get(i + 2 * AHEAD) {
                    prefetch(owners, later.item.0 as usize);
                    catalogue.prefetch_tags(later.item, false);
                }
                if let Some(later) = votes.get(i + AHEAD) {
                    shard.ask_for(owners[later.item.0 as usize].1);
                }
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
        let mut plan = std::mem::take(&mut self.plan);
        let mut users = std::mem::take(&mut self.names.users);
        let mut by_partition = std::mem::take(&mut plan.by_partition);
        by_partition.clone_from(&plan.frames);
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
        let slot = |outbox| Slot {
            empty: Mutex::new(Some(outbox)),
            closed: OnceLock::new(),
        };
        let outboxes = self.outboxes[..plan.outboxes()].iter_mut();
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
            slots: outboxes.map(slot).collect(),
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
        self.names.users = users;
        plan.by_partition = by_partition;
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
) -> Vec<(usize, Mutex<Task<'a>>)> {
    let mut own = frames
        .chunk_by(|a, b| a.partition == b.partition)
        .peekable();
    let all = partitions.iter_mut().zip(users).zip(hood).enumerate();
    let mut tasks = Vec::new();
    for (p, ((partition, users), hood)) in all {
        let Some(frames) = own.next_if(|frames| frames[0].partition == p) else {
            continue;
        };
        let events = frames.iter().map(|frame| {
            let content = batch[frame.frame].content.as_ref();
            content.map_or(0, |(_, events)| events.len())
        });
        let task = Task {
            partition,
            users,
            hood,
            frames,
        };
        tasks.push((events.sum(), Mutex::new(task)));
    }
    tasks.sort_by_key(|(events, _)| std::cmp::Reverse(*events));
    tasks
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
    let lane = |part| {
        Mutex::new(Lane {
            part,
            done: 0,
            refused: 0,
        })
    };
    let mut lanes = Vec::with_capacity(1 + shards.len());
    lanes.push(lane(Part::Hood(marginals, sessions)));
    for (s, shard) in shards.iter_mut().enumerate() {
        if ownership.keeps_shard(s) {
            lanes.push(lane(Part::Shard(s, shard)));
        }
    }
    lanes
}
