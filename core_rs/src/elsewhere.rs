//! Two threads on one CPU while another is idle.
//!
//! Linux often wakes a helper on the CPU of who woke it, above all in virtual machines, whose idle CPUs it holds for taken by
//! the host. The helper then takes turns with the thread that it should help, for milliseconds until the load is balanced.

/// The CPU that the calling thread runs on; `None` where that cannot be known.
pub fn cpu() -> Option<usize> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: it only returns a number.
        usize::try_from(unsafe { libc::sched_getcpu() }).ok()
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The calling thread's number, 0 where it has none.
pub fn thread() -> i32 {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: it only returns a number.
        unsafe { libc::gettid() }
    }
    #[cfg(not(target_os = "linux"))]
    0
}

/// From now on the thread of that number runs where the calling one may, but not on this CPU: for a thread that sleeps, so
/// that it wakes up somewhere else. Nothing happens where there is no other CPU. Two system calls.
pub fn keep_off(thread: i32, cpu: Option<usize>) {
    #[cfg(target_os = "linux")]
    if let (1.., Some(cpu), Some(mut others)) = (thread, cpu, allowed())
        && cpu < libc::CPU_SETSIZE as usize
    {
        // SAFETY: the set has a place for this number.
        unsafe { libc::CPU_CLR(cpu, &mut others) };
        // The kernel refuses an empty set, and then nothing has happened.
        allow(thread, &others);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (thread, cpu);
}

/// Where the calling thread may run.
#[cfg(target_os = "linux")]
fn allowed() -> Option<libc::cpu_set_t> {
    // SAFETY: a set of bits, for which all zeros are the empty set; the kernel writes at most its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        (libc::sched_getaffinity(0, size_of_val(&set), &mut set) == 0).then_some(set)
    }
}

#[cfg(target_os = "linux")]
fn allow(thread: i32, set: &libc::cpu_set_t) -> bool {
    // SAFETY: the kernel reads the set. A number that is no thread's is refused.
    unsafe { libc::sched_setaffinity(thread, size_of_val(set), set) == 0 }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn places(set: &libc::cpu_set_t) -> Vec<usize> {
        let all = 0..libc::CPU_SETSIZE as usize;
        // SAFETY: the set has a place for each of these numbers.
        all.filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, set) })
            .collect()
    }

    #[test]
    fn a_thread_is_kept_off_a_cpu() {
        std::thread::spawn(|| {
            let all = places(&allowed().unwrap());
            assert!(cpu().is_some_and(|cpu| all.contains(&cpu)));
            // Each but the last, one after the other: what is left is never empty.
            for (gone, off) in all.iter().enumerate().take(all.len() - 1) {
                keep_off(thread(), Some(*off));
                assert_eq!(places(&allowed().unwrap()), all[gone + 1..]);
                assert_ne!(cpu(), Some(*off));
            }
            let last = all[all.len() - 1..].to_vec();
            for (thread, off) in [
                (thread(), Some(last[0])),
                (thread(), None),
                (thread(), Some(usize::MAX)),
                (0, Some(last[0])),
            ] {
                keep_off(thread, off);
                assert_eq!(places(&allowed().unwrap()), last);
            }
        })
        .join()
        .unwrap();
    }
}
