//! Threads that help when somebody asks: one for each CPU but the asker's, begun when first wanted, asleep otherwise.
//!
//! A helper is woken where it does not stand in the asker's way ([`crate::elsewhere`]). Work that no thread is free for is
//! dropped: it is for those who would do it themselves then, as [`crate::beside`] does.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::elsewhere;

/// Something to do, which must not panic.
pub type Job = Box<dyn FnOnce() + Send>;

/// So long somebody who expects something soon looks for it, instead of sleeping.
const LOOKS_FOR: Duration = Duration::from_micros(200);

/// So often it looks without asking what time it is.
const LOOKS: usize = 64;

/// Where a helper finds its next job.
#[derive(Default)]
struct Mailbox {
    post: Mutex<Post>,
    posted: Condvar,
    /// Whether there is a job, or none to be expected any longer, for a helper that only looks.
    given: AtomicBool,
    /// The thread's number, 0 before it runs.
    thread: AtomicI32,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Post {
    /// What to do, and whether the helper stays awake for more.
    job: Option<(Job, bool)>,
    /// Whether a job is to be expected.
    roused: bool,
    /// Whether the helper must be woken: to do so for nothing is a system call.
    asleep: bool,
    /// When it was free last.
    freed: Option<Instant>,
    /// Whether it is wanted again so soon that it need not sleep between.
    busy: bool,
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
            post.busy = post.freed.is_some_and(|since| since.elapsed() < LOOKS_FOR);
            drop(post);
            self.posted.notify_one();
        }
    }

    fn give(&self, job: Job, stays: bool) {
        self.post(|post| {
            post.job = Some((job, stays));
            self.given.store(true, Ordering::Release);
        });
    }

    /// There is no job to be expected any longer, unless others come, and as soon as the last ones did.
    fn dismiss(&self, others: bool) {
        let mut post = lock(&self.post);
        post.freed = Some(now());
        if !(others && post.busy) {
            post.roused = false;
            self.given.store(true, Ordering::Release);
        }
    }

    /// The helper's next job, and whether it stays awake for more.
    fn next(&self) -> (Job, bool) {
        let mut post = lock(&self.post);
        loop {
            self.given.store(false, Ordering::Relaxed);
            if let Some((job, stays)) = post.job.take() {
                post.roused = stays;
                return (job, stays);
            }
            if std::mem::take(&mut post.roused) {
                drop(post);
                let found = look_for(|| self.given.load(Ordering::Acquire));
                post = lock(&self.post);
                post.busy &= found;
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

/// The time, for how long a thread stays awake alone: no answer depends on it.
#[expect(
    clippy::disallowed_methods,
    reason = "nobody could hand a clock to a thread that waits for work"
)]
fn now() -> Instant {
    Instant::now()
}

/// Looks whether something is `there` until it is, or for as long as one should: whether it is.
pub fn look_for(there: impl Fn() -> bool) -> bool {
    let began = now();
    loop {
        for _ in 0..LOOKS {
            if there() {
                return true;
            }
            std::hint::spin_loop();
        }
        if began.elapsed() > LOOKS_FOR {
            return false;
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
            mailbox.give(job, false);
        }
    }

    /// The same with a helper that looks for another job afterwards.
    pub fn lend(&mut self, job: Job) {
        if self.0.is_none() {
            self.0 = free();
        }
        if let Some(mailbox) = &self.0 {
            mailbox.give(job, true);
        }
    }

    /// Whether there is a helper that has or had something to do lately.
    pub fn is_awake(&self) -> bool {
        self.0.is_some()
    }

    /// The helper is free. Where jobs come one soon after the other it looks for the next one for a while: to wake it costs
    /// as much, and it comes late.
    pub fn stay(mut self) {
        self.free(true);
    }

    fn free(&mut self, others: bool) {
        if let Some(mailbox) = self.0.take() {
            mailbox.dismiss(others);
            lock(&FREE).push(mailbox);
        }
    }
}

impl Drop for Roused {
    fn drop(&mut self) {
        self.free(false);
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
        let (job, stays) = own.next();
        job();
        if !stays {
            lock(&FREE).push(own.clone());
        }
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
        let helper = std::thread::spawn(move || (0..120).for_each(|_| own.next().0()));
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
            mailbox.give(
                Box::new(move || done.send(number).unwrap()),
                number % 2 == 0,
            );
            assert_eq!(said.recv(), Ok(number));
        }
        helper.join().unwrap();
        assert!(!mailbox.given.load(Ordering::Relaxed));
    }

    #[test]
    fn a_helper_looks_for_others_where_it_is_wanted_soon_again() {
        let mailbox = Mailbox::default();
        let asleep = |freed| {
            let mut post = lock(&mailbox.post);
            (post.asleep, post.freed) = (true, freed);
        };
        let dismissed = |others| {
            mailbox.given.store(false, Ordering::Relaxed);
            mailbox.post(|post| post.roused = true);
            mailbox.dismiss(others);
            let looks = lock(&mailbox.post).roused;
            assert_eq!(mailbox.given.load(Ordering::Relaxed), !looks);
            !looks
        };
        asleep(None);
        assert!(dismissed(true));
        let long_ago = now().checked_sub(2 * LOOKS_FOR);
        asleep(long_ago);
        assert!(dismissed(true));
        // Far in the future, so that no machine is too slow for this.
        asleep(Some(now() + Duration::from_secs(3600)));
        assert!(!dismissed(true));
        assert!(dismissed(false));
        assert!(!dismissed(true));
        // It looked in vain.
        let found = look_for(|| false);
        assert!(!found);
        lock(&mailbox.post).busy &= found;
        assert!(dismissed(true));
    }

    #[test]
    fn who_is_lent_looks_for_more() {
        let mailbox = Mailbox::default();
        assert!(!Roused::default().is_awake());
        for stays in [true, false, true] {
            mailbox.give(Box::new(|| ()), stays);
            assert_eq!(mailbox.next().1, stays);
            assert_eq!(lock(&mailbox.post).roused, stays);
        }
    }
}
