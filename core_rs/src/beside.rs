//! Two things at once, if another thread has time; both on the asking thread if none has.
//!
//! A question that hands part of its work to a pool and waits for it depends on when a thread of the pool is given a core:
//! milliseconds where all cores are busy. So the part lies where both can reach it, and whoever comes first takes it: the
//! asker never waits for work that nobody has begun.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Result as Outcome;

use crate::spare_threads::{self, Job, Roused};

/// So often an asker looks whether the other thread is done before it sleeps: to be woken costs as long as the end of most
/// parts takes.
const LOOKS: usize = 1000;

type Work<A> = Box<dyn FnOnce() -> A + Send>;

/// The part on its way.
enum Part<A> {
    /// Nobody has it yet.
    Offered(Work<A>),
    /// Somebody is at it, or has taken the result.
    Taken,
    /// What came of it, or with what it panicked.
    Done(Outcome<A>),
}

struct Shared<A> {
    part: Mutex<Part<A>>,
    /// Whether the part is done, for those who only look.
    finished: AtomicBool,
    done: Condvar,
}

impl<A> Shared<A> {
    fn lock(&self) -> MutexGuard<'_, Part<A>> {
        // Nothing panics while the lock is held.
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_offered(&self) -> Option<Work<A>> {
        let mut part = self.lock();
        match std::mem::replace(&mut *part, Part::Taken) {
            Part::Offered(work) => Some(work),
            other => {
                *part = other;
                None
            }
        }
    }

    /// The other thread's side.
    fn help(&self) {
        if let Some(work) = self.take_offered() {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            *self.lock() = Part::Done(outcome);
            self.finished.store(true, Ordering::Release);
            self.done.notify_one();
        }
    }

    /// What came of the part that another thread has begun.
    fn wait(&self) -> Outcome<A> {
        for _ in 0..LOOKS {
            if self.finished.load(Ordering::Acquire) {
                break;
            }
            std::hint::spin_loop();
        }
        let mut part = self.lock();
        loop {
            match std::mem::replace(&mut *part, Part::Taken) {
                Part::Done(outcome) => return outcome,
                other => *part = other,
            }
            part = self.done.wait(part).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What `aside` and `own` say. `aside` runs on a spare thread, `helper` if one was roused, if it comes to it before `own` is
/// done, else after it on this thread. Panics of either reach the caller, once neither runs any longer.
pub fn beside<A: Send + 'static, B>(
    helper: &mut Roused,
    aside: impl FnOnce() -> A + Send,
    own: impl FnOnce() -> B,
) -> (A, B) {
    handed(|job| helper.lend(job), aside, own)
}

/// `work` on this thread and, as they come to it, on up to `helpers` spare ones: for work that is divided by whoever takes it.
/// Returns when nobody is at it any longer.
pub fn with_helpers(helpers: usize, work: &(impl Fn() + Sync)) {
    match helpers {
        0 => work(),
        _ => {
            let more = || with_helpers(helpers - 1, work);
            handed(spare_threads::offer, work, more);
        }
    }
}

fn handed<A: Send + 'static, B>(
    spawn: impl FnOnce(Job),
    aside: impl FnOnce() -> A + Send,
    own: impl FnOnce() -> B,
) -> (A, B) {
    let work: Box<dyn FnOnce() -> A + Send + '_> = Box::new(aside);
    // SAFETY: only the lifetime changes. The work is called or dropped before this function returns or unwinds: it lies in
    // `Part::Offered` alone, nothing unwinds from here until it was taken out of there, and where another thread took it
    // that thread is waited for until it has used it up. What the other thread keeps after that is an empty `Shared`.
    let work: Work<A> = unsafe { std::mem::transmute(work) };
    let shared = Arc::new(Shared {
        part: Mutex::new(Part::Offered(work)),
        finished: AtomicBool::new(false),
        done: Condvar::new(),
    });
    let own = catch_unwind(AssertUnwindSafe(|| {
        let other = shared.clone();
        spawn(Box::new(move || other.help()));
        own()
    }));
    let aside = shared.take_offered().unwrap_or_else(|| {
        let outcome = shared.wait();
        Box::new(|| outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    });
    // If both panicked, that of the part is not told.
    let own = own.unwrap_or_else(|panic| resume_unwind(panic));
    (aside(), own)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::current;

    use super::*;

    fn pool() -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap()
    }

    /// What `run` says while the only thread of its pool is busy with something else.
    fn with_busy_pool<T>(run: impl FnOnce(&rayon::ThreadPool) -> T) -> T {
        let pool = pool();
        let met = Arc::new(Barrier::new(2));
        let busy = met.clone();
        pool.spawn(move || {
            busy.wait();
            busy.wait();
        });
        met.wait();
        let said = run(&pool);
        met.wait();
        said
    }

    #[test]
    fn another_thread_helps_if_it_can() {
        let (pool, met) = (pool(), Barrier::new(2));
        let asker = current().id();
        let aside = || {
            met.wait();
            current().id()
        };
        let (helper, own) = handed(|job| pool.spawn(job), aside, || met.wait().is_leader());
        assert_ne!(helper, asker);
        assert!([true, false].contains(&own));
    }

    #[test]
    fn helpers_share_what_each_takes() {
        for helpers in [0, 1, 5] {
            let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
            with_helpers(helpers, &|| {
                while next.fetch_add(1, Ordering::Relaxed) < 1000 {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
            assert_eq!(done.into_inner(), 1000);
        }
    }

    #[test]
    fn an_asker_whom_nobody_helps_does_both() {
        let text = String::from("borrowed");
        let aside = || (current().id(), text.len());
        let own = || text.len() + 1;
        let said = with_busy_pool(|pool| handed(|job| pool.spawn(job), aside, own));
        assert_eq!(said, ((current().id(), 8), 9));
    }

    #[test]
    fn a_part_that_nobody_began_is_dropped_where_the_asker_panics() {
        let held = Arc::new(());
        let part = held.clone();
        with_busy_pool(|pool| {
            let run = || handed(|job| pool.spawn(job), move || drop(part), || panic!("own"));
            let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"own"));
            assert_eq!(Arc::strong_count(&held), 1);
        });
    }

    #[test]
    fn panics_reach_the_asker_when_nobody_works_any_longer() {
        let (pool, met) = (pool(), Barrier::new(2));
        let caught = |aside: &(dyn Fn() + Sync), own: &dyn Fn()| {
            let run = || handed(|job| pool.spawn(job), aside, own);
            let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            panic.downcast_ref::<&str>().map(|s| s.to_string())
        };
        let both = |name: &'static str, who: &'static str| {
            met.wait();
            if name == who {
                std::panic::panic_any(name);
            }
        };
        for who in ["aside", "own"] {
            let said = caught(&|| both("aside", who), &|| both("own", who));
            assert_eq!(said.as_deref(), Some(who));
        }
    }
}
