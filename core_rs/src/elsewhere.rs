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

/// Moves the calling thread to another CPU if it runs on this one and may run elsewhere; where it may run stays as it was.
/// Returns whether it was moved. A few microseconds, and as long as it takes until the other CPU has time.
pub fn leave(taken: Option<usize>) -> bool {
    taken.is_some() && taken == cpu() && taken.is_some_and(avoid)
}

#[cfg(target_os = "linux")]
fn avoid(cpu: usize) -> bool {
    let Some(allowed) = allowed().filter(|_| cpu < libc::CPU_SETSIZE as usize) else {
        return false;
    };
    let mut others = allowed;
    // SAFETY: the set has a place for this number, see above.
    unsafe { libc::CPU_CLR(cpu, &mut others) };
    // The kernel refuses an empty set, and then nothing has happened. Who is refused the way back stays off one CPU.
    let moved = allow(&others);
    if moved {
        allow(&allowed);
    }
    moved
}

#[cfg(not(target_os = "linux"))]
fn avoid(_cpu: usize) -> bool {
    false
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
fn allow(set: &libc::cpu_set_t) -> bool {
    // SAFETY: the kernel reads the set, and 0 is the calling thread.
    unsafe { libc::sched_setaffinity(0, size_of_val(set), set) == 0 }
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
    fn a_thread_leaves_a_cpu_and_may_come_back() {
        let before = places(&allowed().unwrap());
        for _ in 0..50 {
            let here = cpu();
            assert!(here.is_some_and(|cpu| before.contains(&cpu)));
            // Somebody else may have moved it meanwhile.
            if leave(here) {
                assert!(before.len() > 1);
            }
            assert_eq!(places(&allowed().unwrap()), before);
        }
        assert!(!leave(None));
        assert!(!leave(Some(usize::MAX)));
    }

    #[test]
    fn who_has_one_cpu_stays() {
        std::thread::spawn(|| {
            let all = allowed().unwrap();
            let mut one = all;
            let first = places(&all)[0];
            // SAFETY: as above.
            places(&all)[1..]
                .iter()
                .for_each(|cpu| unsafe { libc::CPU_CLR(*cpu, &mut one) });
            assert!(allow(&one));
            assert_eq!(cpu(), Some(first));
            assert!(!leave(cpu()));
            assert_eq!(places(&allowed().unwrap()), [first]);
        })
        .join()
        .unwrap();
    }
}
