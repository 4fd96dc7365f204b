//! What std has no safe door to: limits, socket options, an alarm that is exact to microseconds.
//!
//! The only unsafe code of the bench; each function is a small safe wrapper over one or two system calls.
#![allow(unsafe_code)] // libc calls; every block says why it is sound

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn set_option<T>(socket: &impl AsFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `value` lives through the call, and its true size is given.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    check(result).map(drop)
}

/// Raises the limit of open descriptors to the hard one; gives what it is then.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a whole rlimit that lives through the calls.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))?;
    }
    Ok(limit.rlim_cur)
}

/// Processor time of this thread so far, in seconds.
pub(crate) fn thread_cpu_seconds() -> io::Result<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a whole timespec that lives through the call.
    check(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) })?;
    let whole = u64::try_from(time.tv_sec).map_err(io::Error::other)?;
    let parts = u32::try_from(time.tv_nsec).map_err(io::Error::other)?;
    Ok(std::time::Duration::new(whole, parts).as_secs_f64())
}

/// Closing the socket resets the connection, as if its host had vanished.
pub(crate) fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(socket, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

/// The listener's queue holds as many as the kernel allows.
pub(crate) fn take_bursts(listener: &impl AsFd) -> io::Result<()> {
    // SAFETY: no pointers. Listening once more only changes the length of the queue.
    check(unsafe { libc::listen(listener.as_fd().as_raw_fd(), 4096) }).map(drop)
}

/// The command does not outlive this process, however that ends.
pub(crate) fn dies_with_us(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches nothing of ours.
    unsafe {
        command.pre_exec(|| check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)).map(drop));
    }
}

/// Asks a process to end.
pub(crate) fn terminate(process: u32) {
    if let Ok(process) = libc::pid_t::try_from(process) {
        // SAFETY: no pointers. It fails only where the process is gone already.
        unsafe { libc::kill(process, libc::SIGTERM) };
    }
}

/// A timer that a poll can wait for. Polls themselves count in milliseconds, which is too coarse for a keystroke.
#[derive(Debug)]
pub(crate) struct Alarm(File);

impl Alarm {
    pub(crate) fn new() -> io::Result<Alarm> {
        // SAFETY: no pointers; a non-negative result is a descriptor that nobody else owns.
        unsafe {
            let fd =
                check(libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC))?;
            Ok(Alarm(File::from_raw_fd(fd)))
        }
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Goes off once, after so many nanoseconds; an earlier wish is forgotten.
    pub(crate) fn set(&self, nanoseconds: u64) -> io::Result<()> {
        let nanoseconds = nanoseconds.max(1);
        let value = libc::timespec {
            tv_sec: libc::time_t::try_from(nanoseconds / 1_000_000_000).map_err(io::Error::other)?,
            tv_nsec: libc::c_long::try_from(nanoseconds % 1_000_000_000).map_err(io::Error::other)?,
        };
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let wish = libc::itimerspec { it_interval: zero, it_value: value };
        // SAFETY: `wish` is a whole itimerspec, and no old value is asked for.
        check(unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const wish, std::ptr::null_mut()) })
            .map(drop)
    }
}
