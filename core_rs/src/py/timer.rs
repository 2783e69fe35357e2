//! Wake-ups of an event loop to the microsecond: its own timers end on whole milliseconds.

use std::io;

use pyo3::prelude::*;

/// A file that becomes readable at a time of the monotonic clock (Linux).
#[pyclass(frozen, module = "headwater._core")]
pub struct Timer {
    #[cfg(target_os = "linux")]
    file: std::fs::File,
}

#[cfg(target_os = "linux")]
impl Timer {
    fn made() -> io::Result<Self> {
        use std::os::fd::{FromRawFd, OwnedFd};

        // SAFETY: no memory is handed over.
        let number = unsafe {
            libc::timerfd_create(
                libc::CLOCK_MONOTONIC,
                libc::TFD_NONBLOCK | libc::TFD_CLOEXEC,
            )
        };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made, and nobody else knows it.
        let own = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(Self { file: own.into() })
    }

    pub(super) fn set_at(&self, at_ns: i64) -> io::Result<()> {
        use std::os::fd::AsRawFd;

        let at_ns = at_ns.max(1); // nought would stop it
        let at = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: at_ns / 1_000_000_000,
                tv_nsec: at_ns % 1_000_000_000,
            },
        };
        // SAFETY: the file is open as long as this is, and `at` is read within the call alone.
        let set = unsafe {
            libc::timerfd_settime(
                self.file.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const at,
                std::ptr::null_mut(),
            )
        };
        match set {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn quieted(&self) -> io::Result<()> {
        use std::io::Read;

        match (&self.file).read(&mut [0; 8]) {
            Err(err) if err.kind() != io::ErrorKind::WouldBlock => Err(err),
            _ => Ok(()),
        }
    }

    fn file_number(&self) -> i32 {
        use std::os::fd::AsRawFd;

        self.file.as_raw_fd()
    }

    /// The monotonic clock as Python's `time.monotonic_ns` tells it.
    pub(super) fn now() -> i64 {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `now` is written within the call alone. This clock is there on every Linux.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        now.tv_sec * 1_000_000_000 + now.tv_nsec
    }
}

#[cfg(not(target_os = "linux"))]
impl Timer {
    fn made() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn set_at(&self, _: i64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn quieted(&self) -> io::Result<()> {
        Ok(())
    }

    fn file_number(&self) -> i32 {
        -1
    }

    /// No timers, so nobody asks.
    pub(super) fn now() -> i64 {
        0
    }
}

#[pymethods]
impl Timer {
    /// Not set yet. Errors: `OSError`, not on this system.
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self::made()?)
    }

    /// The file's descriptor, as long as this is there.
    #[getter]
    fn number(&self) -> i32 {
        self.file_number()
    }

    /// From `at_ns` of `time.monotonic_ns` on it is readable, at once if that has passed; no longer at an earlier time.
    fn set(&self, at_ns: i64) -> PyResult<()> {
        Ok(self.set_at(at_ns)?)
    }

    /// It is not readable until it is set anew.
    pub(super) fn quiet(&self) -> PyResult<()> {
        Ok(self.quieted()?)
    }
}
