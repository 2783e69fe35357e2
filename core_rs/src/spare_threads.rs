//! Threads that help when somebody asks: one for each CPU but the asker's, begun when first wanted, asleep otherwise.
//!
//! A helper is woken where it does not stand in the asker's way ([`crate::elsewhere`]). Work that no thread is free for is
//! dropped: it is for those who would do it themselves then, as [`crate::beside`] does.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::elsewhere;

/// Something to do, which must not panic.
pub type Job = Box<dyn FnOnce() + Send>;

/// So often a helper that was roused looks for a job before it sleeps again: a tenth of a millisecond or less.
const LOOKS: usize = 2000;

/// Where a helper finds its next job.
#[derive(Default)]
struct Mailbox {
    post: Mutex<Post>,
    posted: Condvar,
    /// Whether there is a job, for a helper that only looks.
    given: AtomicBool,
    /// The thread's number, 0 before it runs.
    thread: AtomicI32,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Post {
    job: Option<Job>,
    /// Whether a job is to be expected.
    roused: bool,
    /// Whether the helper must be woken: to do so for nothing is a system call.
    asleep: bool,
}

/// Which CPU a thread was last kept off, and for how many jobs that was taken to be so since.
#[derive(Default)]
struct Kept {
    off: Option<usize>,
    jobs: u32,
}

/// So often a thread is kept off the same CPU without asking the system: who asks may run elsewhere meanwhile, and that is
/// not told.
const TAKEN_TO_BE_SO: u32 = 256;

impl Mailbox {
    /// Wakes the helper, if it sleeps, to what `change` writes.
    fn post(&self, change: impl FnOnce(&mut Post)) {
        let mut post = lock(&self.post);
        change(&mut post);
        if std::mem::take(&mut post.asleep) {
            drop(post);
            self.posted.notify_one();
        }
    }

    fn give(&self, job: Job) {
        self.post(|post| {
            post.job = Some(job);
            self.given.store(true, Ordering::Release);
        });
    }

    /// The helper's next job.
    fn next(&self) -> Job {
        let mut post = lock(&self.post);
        loop {
            if let Some(job) = post.job.take() {
                post.roused = false;
                self.given.store(false, Ordering::Relaxed);
                return job;
            }
            if std::mem::take(&mut post.roused) {
                drop(post);
                let given = || self.given.load(Ordering::Acquire);
                (0..LOOKS)
                    .take_while(|_| !given())
                    .for_each(|_| std::hint::spin_loop());
                post = lock(&self.post);
            } else {
                post.asleep = true;
                let woken = self.posted.wait(post);
                post = woken.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Keeps the thread off the CPU that the calling one runs on.
    fn keep_off(&self) {
        let (thread, cpu) = (self.thread.load(Ordering::Relaxed), elsewhere::cpu());
        let mut kept = lock(&self.kept);
        kept.jobs += 1;
        // A thread that does not run yet has no number.
        if thread != 0 && (kept.off != cpu || kept.jobs > TAKEN_TO_BE_SO) {
            elsewhere::keep_off(thread, cpu);
            *kept = Kept { off: cpu, jobs: 0 };
        }
    }
}

static FREE: Mutex<Vec<Arc<Mailbox>>> = Mutex::new(Vec::new());
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// Nothing panics while one of these locks is held.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many there can be.
pub fn most() -> usize {
    // Once: the system is asked for files.
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| std::thread::available_parallelism().map_or(0, |cpus| cpus.get() - 1))
}

/// Has a free thread do it, or drops it where there is none.
pub fn offer(job: Job) {
    Roused::default().give(job);
}

/// A helper that was woken before there is work for it, so that it is there when there is. Who is given none sleeps again
/// soon.
#[derive(Default)]
pub struct Roused(Option<Arc<Mailbox>>);

/// Wakes a free thread, if there is one.
pub fn rouse() -> Roused {
    let free = free();
    if let Some(mailbox) = &free {
        mailbox.post(|post| post.roused = true);
    }
    Roused(free)
}

impl Roused {
    /// Has the helper do it; where nobody was roused, any free thread, or drops it where there is none.
    pub fn give(mut self, job: Job) {
        if let Some(mailbox) = self.0.take().or_else(free) {
            mailbox.give(job);
        }
    }
}

impl Drop for Roused {
    fn drop(&mut self) {
        lock(&FREE).extend(self.0.take());
    }
}

/// A thread that nobody else gives work to from now on, off this thread's CPU.
fn free() -> Option<Arc<Mailbox>> {
    let mailbox = lock(&FREE).pop();
    let mailbox = mailbox.or_else(begin)?;
    mailbox.keep_off();
    Some(mailbox)
}

/// A new thread, if there may be one more.
fn begin() -> Option<Arc<Mailbox>> {
    let below = |begun: usize| (begun < most()).then_some(begun + 1);
    BEGUN
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, below)
        .ok()?;
    let mailbox = Arc::new(Mailbox::default());
    let own = mailbox.clone();
    let thread = std::thread::Builder::new().name("spare".into());
    match thread.spawn(move || serve(&own)) {
        Ok(_) => Some(mailbox),
        Err(_) => {
            BEGUN.fetch_sub(1, Ordering::Relaxed);
            None
        }
    }
}

fn serve(own: &Arc<Mailbox>) {
    own.thread.store(elsewhere::thread(), Ordering::Relaxed);
    loop {
        own.next()();
        lock(&FREE).push(own.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn jobs_are_done_by_as_many_threads_as_there_are_or_dropped() {
        let (done, said) = channel();
        for number in 0..200 {
            let done = done.clone();
            let job: Job = Box::new(move || {
                let name = std::thread::current().name().map(str::to_string);
                done.send((number, name)).unwrap();
            });
            match number % 3 {
                0 => rouse().give(job),
                1 => offer(job),
                _ => {
                    // Nothing comes of it, and the thread is free again.
                    drop(rouse());
                    offer(job);
                }
            }
        }
        drop(done);
        let mut heard = Vec::new();
        for (number, name) in said {
            assert_eq!(name.as_deref(), Some("spare"));
            assert!(!heard.contains(&number));
            heard.push(number);
        }
        assert!(heard.len() <= 200 && BEGUN.load(Ordering::Relaxed) <= most());
        assert_eq!(heard.is_empty(), most() == 0);
    }

    #[test]
    fn a_roused_helper_gets_its_job_while_it_looks_and_when_it_sleeps_again() {
        let mailbox = Arc::new(Mailbox::default());
        let (done, said) = channel();
        let own = mailbox.clone();
        let helper = std::thread::spawn(move || (0..120).for_each(|_| own.next()()));
        for number in 0..120 {
            if number % 3 != 0 {
                mailbox.post(|post| post.roused = true);
            }
            if number % 3 == 1 {
                // Longer than it looks: it waits for a call again.
                while !lock(&mailbox.post).asleep {
                    std::thread::yield_now();
                }
            }
            let done = done.clone();
            mailbox.give(Box::new(move || done.send(number).unwrap()));
            assert_eq!(said.recv(), Ok(number));
        }
        helper.join().unwrap();
        assert!(!mailbox.given.load(Ordering::Relaxed));
    }
}
