//! What std has no safe door to: terminals, pseudo-terminals, socket options, limits, random bytes.
//!
//! The only unsafe code of the crate; each function is a small safe wrapper over one or two system calls.
#![allow(unsafe_code)] // libc calls; every block says why it is sound
#![allow(clippy::cast_possible_truncation)] // sizes of structs and address families, all far below their types

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// The result of a libc call: -1 is an error that errno tells.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn set_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: `value` lives through the call, and its true size is given.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// A non-blocking listener that shares its port with others of this process (SO_REUSEPORT).
///
/// # Errors
/// The address is in use by somebody else, not of this machine, or not permitted.
pub fn listen_shared(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers; a non-negative result is a descriptor that nobody else owns.
    let socket = unsafe {
        let fd =
            check(libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0))?;
        OwnedFd::from_raw_fd(fd)
    };
    let fd = socket.as_fd();
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: `name` is a whole sockaddr_in, its true size is given.
            check(unsafe {
                libc::bind(
                    socket.as_raw_fd(),
                    (&raw const name).cast(),
                    size_of_val(&name) as libc::socklen_t,
                )
            })?;
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: `name` is a whole sockaddr_in6, its true size is given.
            check(unsafe {
                libc::bind(
                    socket.as_raw_fd(),
                    (&raw const name).cast(),
                    size_of_val(&name) as libc::socklen_t,
                )
            })?;
        }
    }
    // SAFETY: no pointers.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(TcpListener::from(socket))
}

/// Notice a vanished host: probe an idle TCP connection after `idle_seconds`.
///
/// # Errors
/// The descriptor is not a TCP socket.
pub fn notice_vanished_peer(socket: BorrowedFd<'_>, idle_seconds: i32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle_seconds)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, (idle_seconds / 3).max(1))?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3)
}

/// Give a TCP connection up when what was sent, or is to be sent, makes no progress for so long (TCP_USER_TIMEOUT); 0
/// is the kernel's own patience, some fifteen minutes for a host that is silent, and no end for one that answers and
/// has no room. Other than 0, Linux gives up both.
///
/// # Errors
/// The descriptor is not a TCP socket.
pub fn give_up_unacknowledged(socket: BorrowedFd<'_>, milliseconds: i32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, milliseconds)
}

/// How much of what a TCP socket has taken was not even sent yet, for want of room at the peer or on the way (SIOCOUTQNSD).
///
/// # Errors
/// The descriptor is not a TCP socket.
pub fn unsent_bytes(socket: BorrowedFd<'_>) -> io::Result<i32> {
    // Of linux/sockios.h; the libc crate has it not.
    const SIOCOUTQNSD: libc::Ioctl = 0x894B;
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, to a live local.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCOUTQNSD, &raw mut bytes) })?;
    Ok(bytes)
}

/// Where this program's own file has been loaded: its first byte's address, less what the file says of that.
pub fn load_address() -> usize {
    /// Of all that is loaded the program itself comes first.
    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        address: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the caller gives a valid description, and hands on the pointer below.
        unsafe { *address.cast::<usize>() = (*info).dlpi_addr as usize };
        1
    }
    let mut address: usize = 0;
    // SAFETY: the callback writes one usize to a local that lives through the call.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut address).cast()) };
    address
}

/// Send small writes at once (TCP_NODELAY).
///
/// # Errors
/// The descriptor is not a TCP socket.
pub fn send_at_once(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)
}

/// The kernel takes no more than some `bytes` beyond what the peer has room for (TCP_NOTSENT_LOWAT). Unlike a smaller
/// SO_SNDBUF this does not limit what is on its way, so a peer far away is served as fast as ever.
///
/// # Errors
/// The descriptor is not a TCP socket.
pub fn bound_unsent(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, bytes)
}

/// The kernel keeps no more than some `bytes` that nobody has read (SO_RCVBUF; it counts its own overhead, for which it
/// doubles the number). To be set before the connection is made.
///
/// # Errors
/// The descriptor is not a socket.
pub fn bound_unread(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)
}

/// Bounds what the allocator keeps at the end of each thread's heap (glibc's `mallopt`), in bytes: by how much a heap grows,
/// and how much may lie free there. malloc_trim gives back what lies between, and not that, which is 128 KiB by default.
pub fn bound_heap_ends(grown_bytes: i32, free_bytes: i32) {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers.
    unsafe {
        libc::mallopt(libc::M_TOP_PAD, grown_bytes);
        libc::mallopt(libc::M_TRIM_THRESHOLD, free_bytes);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = (grown_bytes, free_bytes);
}

/// Gives memory that was freed back to the kernel, where the allocator keeps it (glibc's malloc_trim), and what a crowd or
/// a flood alone needed of the program's file.
pub fn return_freed_memory() {
    forget_file();
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; it takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the memory of this back to the kernel, but for what shares a page with others; what was given back reads as
/// zeros, and costs a page fault when it is touched again.
pub fn return_pages(bytes: &mut [u8]) {
    // SAFETY: no pointers.
    let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0);
    if !page_bytes.is_power_of_two() {
        return;
    }
    let skipped = bytes.as_ptr().align_offset(page_bytes).min(bytes.len());
    let pages = &mut bytes[skipped..];
    let length = pages.len() / page_bytes * page_bytes;
    // SAFETY: they are whole pages of a slice that is borrowed mutably, and any bytes are its valid content.
    unsafe {
        libc::madvise(pages.as_mut_ptr().cast(), length, libc::MADV_DONTNEED);
    }
}

/// Unmaps what the process has used of its own file so far: its code, and what it only reads. Most of it was needed to start
/// only; what still is comes back out of the page cache as it is used, some 64 KiB at a time.
pub fn forget_file() {
    extern "C" fn forget(
        object: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        _data: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the loader hands over one object with its headers; both live through the call. Segments that nobody may
        // write are as they are in the file, and the kernel reads them from there again.
        unsafe {
            let object = &*object;
            for header in std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) {
                if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
                    let page = libc::sysconf(libc::_SC_PAGESIZE).unsigned_abs();
                    let begin = object.dlpi_addr + header.p_vaddr;
                    let aligned = begin - begin % page;
                    let length = usize::try_from(begin + header.p_memsz - aligned).unwrap_or(0);
                    libc::madvise(aligned as *mut libc::c_void, length, libc::MADV_DONTNEED);
                }
            }
        }
        // The first object is the program itself; libraries are shared with others.
        1
    }
    // SAFETY: `forget` has the signature that is asked for, and needs no data.
    unsafe {
        libc::dl_iterate_phdr(Some(forget), std::ptr::null_mut());
    }
}

/// An option as the kernel has it.
fn option(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals, and `size` is the true size of `value`.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut size) })?;
    Ok(value)
}

/// A TCP option as the kernel has it.
///
/// # Errors
/// The descriptor is not a TCP socket.
#[cfg(test)]
pub(crate) fn tcp_option(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<i32> {
    option(socket, libc::IPPROTO_TCP, name)
}

/// A listening TCP socket that this process was started with, by its number. What is given is a descriptor of its own for
/// the same socket; nothing that this process starts has either of the two.
///
/// # Errors
/// Nothing is open by that number, or it is something else.
pub fn inherited_listener(number: i32) -> io::Result<TcpListener> {
    // SAFETY: no pointers, and whatever the number stands for stays open; a non-negative result of F_DUPFD_CLOEXEC is a
    // descriptor that nobody else owns.
    let socket = unsafe {
        check(libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC))?;
        OwnedFd::from_raw_fd(check(libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0))?)
    };
    let of_socket = |name| option(socket.as_fd(), libc::SOL_SOCKET, name);
    let is_internet = [libc::AF_INET, libc::AF_INET6].contains(&of_socket(libc::SO_DOMAIN)?);
    let is_stream = of_socket(libc::SO_TYPE)? == libc::SOCK_STREAM;
    match is_internet && is_stream && of_socket(libc::SO_ACCEPTCONN)? == 1 {
        true => Ok(TcpListener::from(socket)),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a TCP socket that listens")),
    }
}

/// The time of CLOCK_MONOTONIC, in microseconds: by it systemd orders what a service tells it.
pub fn monotonic_microseconds() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills one timespec; with this clock it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

/// Raises the limit of open descriptors to the hard one; gives what it is then.
///
/// # Errors
/// The kernel refused.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a whole rlimit that lives through the calls.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))?;
    }
    Ok(limit.rlim_cur)
}

/// `N` random bytes from the kernel.
///
/// # Errors
/// The kernel has none, which does not happen after boot.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // SAFETY: the pointer and the length are those of the rest of `bytes`.
        let count = unsafe { libc::getrandom(bytes[filled..].as_mut_ptr().cast(), N - filled, 0) };
        match usize::try_from(count) {
            Ok(count) => filled += count,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(bytes)
}

/// The settings of a terminal, to be put back later.
pub struct TerminalSettings(libc::termios);

/// What the terminal's settings are now.
///
/// # Errors
/// The descriptor is not a terminal.
pub fn terminal_settings(terminal: BorrowedFd<'_>) -> io::Result<TerminalSettings> {
    // SAFETY: termios is plain data, for which zeros are valid; tcgetattr fills it.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        check(libc::tcgetattr(terminal.as_raw_fd(), &raw mut settings))?;
        Ok(TerminalSettings(settings))
    }
}

impl TerminalSettings {
    /// The same, but raw: every key arrives at once and as it is, signals are bytes.
    pub fn raw(&self) -> TerminalSettings {
        let mut settings = self.0;
        // SAFETY: `settings` is a whole termios.
        unsafe { libc::cfmakeraw(&raw mut settings) };
        TerminalSettings(settings)
    }

    /// Sets the terminal to this, after what was written has gone out.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn apply(&self, terminal: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the settings are a whole termios.
        check(unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, &raw const self.0) }).map(drop)
    }
}

/// Columns and rows of a terminal's window; `None` when it has no size.
pub fn window_size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills one winsize.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Sets a pseudo-terminal's window; the kernel tells its foreground process (SIGWINCH).
///
/// # Errors
/// The descriptor is not a terminal.
pub fn set_window_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// A new pseudo-terminal: the side that is watched, and the side a process runs on. Both close on exec from their
/// first moment on: a process that another thread starts meanwhile must not hold this terminal.
///
/// # Errors
/// The machine has no more, or no /dev/ptmx; Linux before 4.13.
pub fn open_pty() -> io::Result<(File, OwnedFd)> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: a non-negative result is a descriptor that nobody else owns; TIOCGPTPEER takes open flags.
    unsafe {
        let master = OwnedFd::from_raw_fd(check(libc::posix_openpt(flags))?);
        check(libc::grantpt(master.as_raw_fd()))?;
        check(libc::unlockpt(master.as_raw_fd()))?;
        let slave = check(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags))?;
        Ok((File::from(master), OwnedFd::from_raw_fd(slave)))
    }
}

/// Makes the command's process the leader of a new session; with `controlling_terminal`, its standard input becomes
/// the session's terminal.
pub fn lead_session(command: &mut Command, controlling_terminal: bool) {
    // SAFETY: between fork and exec only async-signal-safe calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            check(libc::setsid())?;
            if controlling_terminal {
                check(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            }
            Ok(())
        });
    }
}

/// Sends a signal to every process of a group (`kill(-group, signal)`).
///
/// # Errors
/// No such group, or not permitted.
pub fn signal_group(group: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::kill(-group, signal) }).map(drop)
}

/// Sends a signal to one process; signal 0 only asks whether it is there.
///
/// # Errors
/// No such process, or not permitted.
pub fn signal_process(process: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::kill(process, signal) }).map(drop)
}

/// Waits until a child has ended and leaves it unreaped, so that its number cannot be somebody else's yet. Gives
/// its status as a shell tells it: the exit code, or 128 and the signal's number.
///
/// # Errors
/// Not a child of this process, or reaped already.
pub fn wait_for_end(child: i32) -> io::Result<i32> {
    let number = libc::id_t::try_from(child).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    loop {
        // SAFETY: siginfo_t is plain data, for which zeros are valid; waitid fills it, and after a success its
        // status is that of a child.
        let (result, code, status) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let result =
                check(libc::waitid(libc::P_PID, number, &raw mut info, libc::WEXITED | libc::WNOWAIT));
            (result, info.si_code, info.si_status())
        };
        match result {
            Ok(_) if code == libc::CLD_EXITED => return Ok(status),
            Ok(_) => return Ok(128 + status),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes a file for this one opening of it (flock), until that is closed, also by the process's end.
///
/// # Errors
/// Somebody has it, or it cannot be locked where it is.
pub fn lock(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// The user this process acts as.
pub fn effective_user() -> u32 {
    // SAFETY: no pointers, cannot fail.
    unsafe { libc::geteuid() }
}

/// Makes reads and writes give `WouldBlock` instead of waiting.
///
/// # Errors
/// The kernel refused, which it does not for an open descriptor.
pub fn set_nonblocking(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    unsafe {
        let flags = check(libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFL))?;
        check(libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)).map(drop)
    }
}

/// One descriptor in a [`wait_ready`]: what is waited for, and afterwards what is there.
pub struct Watch<'a> {
    /// The descriptor that is watched.
    pub descriptor: BorrowedFd<'a>,
    /// In: wait until a read would not block. Out: it would not (there are bytes, an end or an error).
    pub read: bool,
    /// In: wait until a write would not block. Out: it would not.
    pub write: bool,
    /// Out: both directions have ended, or the descriptor is broken. Always watched.
    pub closed: bool,
}

/// Waits (poll) until something watched for is there, or the time is over. A signal ends it early with nothing ready.
///
/// # Errors
/// More descriptors than the process may have.
pub fn wait_ready(watches: &mut [Watch<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let mut polled: Vec<libc::pollfd> = watches
        .iter()
        .map(|watch| libc::pollfd {
            fd: watch.descriptor.as_raw_fd(),
            events: if watch.read { libc::POLLIN } else { 0 } | if watch.write { libc::POLLOUT } else { 0 },
            revents: 0,
        })
        .collect();
    // Rounded up, so that a wait is never over before its time.
    let milliseconds =
        timeout.map_or(-1, |timeout| i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
    // SAFETY: the pointer and the count are those of `polled`.
    let result =
        check(unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, milliseconds) });
    if let Err(error) = result
        && error.kind() != io::ErrorKind::Interrupted
    {
        return Err(error);
    }
    for (watch, polled) in watches.iter_mut().zip(&polled) {
        watch.closed = polled.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0;
        watch.read = watch.read && (polled.revents & libc::POLLIN != 0 || watch.closed);
        watch.write = watch.write && (polled.revents & libc::POLLOUT != 0 || watch.closed);
    }
    Ok(())
}

/// Whether this process ignores a signal, because its parent did (`nohup`).
pub fn is_signal_ignored(signal: i32) -> bool {
    // SAFETY: sigaction is plain data, for which zeros are valid; without a new action the call only fills it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        check(libc::sigaction(signal, std::ptr::null(), &raw mut action)).is_ok()
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Waits until a descriptor that somebody made non-blocking can be read (or written) again.
///
/// # Errors
/// The descriptor is not open.
pub fn wait_until_ready(fd: BorrowedFd<'_>, for_writing: bool) -> io::Result<()> {
    let mut wanted = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: if for_writing { libc::POLLOUT } else { libc::POLLIN },
        revents: 0,
    };
    loop {
        // SAFETY: one whole pollfd that lives through the call.
        match check(unsafe { libc::poll(&raw mut wanted, 1, -1) }) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_are_returned() {
        let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let mut bytes = vec![1; 8 * page_bytes];
        for (start, length) in [(0, 8 * page_bytes), (3, 5 * page_bytes), (page_bytes - 1, 2), (7, 0)] {
            bytes.fill(1);
            let range = start..start + length;
            let first = bytes.as_ptr().wrapping_add(start) as usize;
            let whole = first.next_multiple_of(page_bytes)..(first + length) / page_bytes * page_bytes;
            return_pages(&mut bytes[range]);
            let base = bytes.as_ptr() as usize;
            for (at, byte) in bytes.iter().enumerate() {
                let expected = u8::from(!whole.contains(&(base + at)));
                assert_eq!(*byte, expected, "{start} {length} {at}");
            }
        }
    }
}
