//! Which processes of this machine belong to a container, and signals to all of them.
//!
//! There is no namespace around a container of the embedded engine. Its processes are those that carry its marker
//! in their environment, that are in a session which it started, and whoever descends from such a process. Only one
//! that drops the marker, leads its own session and lost its parents, all on purpose, is not found.

use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::process::MARKER;
use crate::sys;

/// How long processes have after SIGHUP until they get SIGKILL, in milliseconds.
const HANGUP_GRACE_MILLISECONDS: u64 = 300;
/// How long killed processes are waited for, in milliseconds: one that the kernel holds must not hold us.
const KILL_WAIT_MILLISECONDS: u64 = 5_000;
/// Between two looks, in milliseconds.
const LOOK_MILLISECONDS: u64 = 3;
/// The most looks while a container that forks is stopped.
const STOP_LOOKS_MAX: usize = 50;

/// One process at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) process: i32,
    pub(super) started_ticks: u64,
    parent: i32,
    session: i32,
    stopped: bool,
}

/// What a container knows of its processes.
#[derive(Debug, Default, Clone)]
pub(super) struct Roots {
    pub(super) container: String,
    /// Leaders that were started and not yet reaped: their numbers are surely theirs.
    pub(super) sessions: HashSet<i32>,
    /// What was left in a session when its leader ended, by number and start.
    pub(super) strays: HashSet<(i32, u64)>,
}

/// All living processes of the container, parents before children where numbers have not wrapped.
pub(super) fn members(roots: &Roots) -> Vec<Member> {
    let marker = format!("{MARKER}={}", roots.container);
    let own = std::process::id().cast_signed();
    let mut others = Vec::new();
    let mut found: Vec<Member> = Vec::new();
    for member in everybody() {
        let belongs = roots.sessions.contains(&member.session)
            || roots.strays.contains(&(member.process, member.started_ticks))
            || carries(member.process, marker.as_bytes());
        if member.process == own || member.process == 1 {
            continue;
        }
        if belongs { found.push(member) } else { others.push(member) }
    }
    // Children, and theirs, and theirs: bounded by the number of processes.
    let mut numbers: HashSet<i32> = found.iter().map(|member| member.process).collect();
    while let Some(at) = others.iter().position(|other| numbers.contains(&other.parent)) {
        let child = others.swap_remove(at);
        numbers.insert(child.process);
        found.push(child);
    }
    found.sort_by_key(|member| member.process);
    found
}

/// Ends every process of the container: hangs up first if asked to, then kills until none is left.
pub(super) fn end_all(roots: &mut dyn FnMut() -> Roots, hang_up_first: bool) {
    if hang_up_first {
        for member in members(&roots()) {
            signal(member, libc::SIGHUP);
            signal(member, libc::SIGCONT);
        }
        let grace = Instant::now() + Duration::from_millis(HANGUP_GRACE_MILLISECONDS);
        while Instant::now() < grace && !members(&roots()).is_empty() {
            thread::sleep(Duration::from_millis(LOOK_MILLISECONDS));
        }
    }
    let deadline = Instant::now() + Duration::from_millis(KILL_WAIT_MILLISECONDS);
    while Instant::now() < deadline {
        let left = members(&roots());
        if left.is_empty() {
            return;
        }
        for member in left {
            signal(member, libc::SIGKILL);
        }
        thread::sleep(Duration::from_millis(LOOK_MILLISECONDS));
    }
}

/// Stops (SIGSTOP) every process of the container that runs; gives those it stopped, for [`go_on`].
pub(super) fn stop_all(roots: &Roots) -> Vec<Member> {
    let mut stopped: Vec<Member> = Vec::new();
    for _ in 0..STOP_LOOKS_MAX {
        let running: Vec<Member> = members(roots).into_iter().filter(|member| !member.stopped).collect();
        if running.is_empty() {
            break;
        }
        for member in running {
            signal(member, libc::SIGSTOP);
            let known = stopped.iter().any(|other| other.process == member.process);
            if !known {
                stopped.push(member);
            }
        }
        thread::sleep(Duration::from_millis(LOOK_MILLISECONDS));
    }
    stopped
}

/// Lets what [`stop_all`] stopped go on, children first: a shell must not find them stopped.
pub(super) fn go_on(stopped: &[Member]) {
    for member in stopped.iter().rev() {
        signal(*member, libc::SIGCONT);
    }
}

fn signal(member: Member, signal: i32) {
    // The number may be somebody else's by now.
    let same = look_at(member.process).is_some_and(|now| now.started_ticks == member.started_ticks);
    if same {
        // Gone in between, or became another user: nothing to be done from here.
        let _ = sys::signal_process(member.process, signal);
    }
}

fn everybody() -> Vec<Member> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(look_at).collect()
}

/// `None` for one that is gone or a zombie.
fn look_at(process: i32) -> Option<Member> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may itself hold blanks and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    let state = *fields.first()?;
    (!matches!(state, "Z" | "X")).then_some(())?;
    Some(Member {
        process,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        stopped: matches!(state, "T" | "t"),
        started_ticks: fields.get(19)?.parse().ok()?,
    })
}

fn carries(process: i32, marker: &[u8]) -> bool {
    fs::read(format!("/proc/{process}/environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == marker))
}

/// Who lives in a session, by number and start.
pub(super) fn in_session(session: i32) -> Vec<(i32, u64)> {
    everybody()
        .into_iter()
        .filter(|member| member.session == session)
        .map(|member| (member.process, member.started_ticks))
        .collect()
}
