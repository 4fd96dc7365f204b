//! Every limit and default that is a number, with its unit in its name, by what it bounds.

use crate::engine::WindowSize;
use std::time::Duration;

// What a client may take: time.

/// For the whole head of its HTTP request.
pub const HEAD_MILLISECONDS_MAX: u64 = 10_000;
/// For its first message, where that says who asks for what.
pub const HELLO_MILLISECONDS_MAX: u64 = 10_000;
/// For its close frame after ours, or, while it still reads what is queued, for the next bit of that.
pub const CLOSE_MILLISECONDS_MAX: u64 = 5_000;
/// For taking a file of the page.
pub const PAGE_MILLISECONDS_MAX: u64 = 60_000;
/// For closing its connection after our last byte.
pub const LINGER_MILLISECONDS_MAX: u64 = 1_000;
/// Idle seconds before a TCP peer is probed; three probes in as much time again, and it is gone.
pub const KEEPALIVE_IDLE_SECONDS: i32 = 30;
/// How long bytes that were sent to a TCP peer, client or engine, may stay unacknowledged, while it is not known to rest.
pub const UNACKNOWLEDGED_MILLISECONDS_MAX: i32 = 60_000;
/// At how many PINGs one after another the kernel is not asked whether a TCP peer rests. It must be asked well within
/// [`UNACKNOWLEDGED_MILLISECONDS_MAX`].
pub const RESTS_UNASKED_MAX: u8 = 2;

// What a client may take: bytes.

/// What the kernel keeps for a client beyond what the client's own kernel has room for.
pub const CLIENT_UNSENT_BYTES_MAX: i32 = 128 * 1024;

/// The head of an HTTP request, and of an engine's reply.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The first message; later ones may be [`MESSAGE_BYTES_MAX`].
pub const HELLO_BYTES_MAX: u32 = 64 * 1024;
/// One message; a larger one is refused at the frame header that announces it (close code 1009).
pub const MESSAGE_BYTES_MAX: u32 = 1024 * 1024;
/// What is typed before the process can read it; the rest waits in the client's socket.
pub const TYPED_AHEAD_BYTES_MAX: usize = 64 * 1024;
/// How long after its start a process's input waits for sizes of the window that are still on their way.
pub const FIRST_SIZE_MILLISECONDS_MAX: u64 = 1_000;
/// What a client's ECHO may hold.
pub const ECHO_BYTES_MAX: usize = 125;
/// How much of a file of the page is given to a socket at once, and held where it is not taken.
pub const PAGE_PIECE_BYTES: usize = 32 * 1024;
/// `TERM`.
pub const TERM_BYTES_MAX: usize = 64;
/// What may wait for an attached viewer before he loses lines.
pub const VIEWER_BACKLOG_BYTES_MAX: usize = 256 * 1024;

// What a watcher may take.

/// What is kept of each open session's last output, where sessions may be watched: what a watcher begins with, and how far
/// he may lag behind. Twice what makes a screen of 200 columns and 50 rows with colours.
pub const WATCHED_BYTES_MAX: usize = 32 * 1024;
/// Watchers of one session.
pub const WATCHERS_MAX: usize = 8;
/// How long a watcher who was too slow waits before he looks again.
pub const WATCHER_REST_MILLISECONDS: u64 = 250;
/// How often one turn looks for one watcher.
pub const LOOKS_PER_TURN: usize = 4;
/// What waits to be told to somebody whom others watch.
pub const WATCHED_NOTES_MAX: usize = 8;

// What a page may be told.

/// Targets in one list of what somebody may enter.
pub const TARGETS_LISTED_MAX: usize = 500;

// What an engine may take.

/// From the client's wish to a running process.
pub const OPEN_MILLISECONDS_MAX: u64 = 30_000;
/// One short call, once it has a connection.
pub const CALL_MILLISECONDS_MAX: u64 = 15_000;
/// A short call's waiting for a connection.
pub const CALL_WAIT_MILLISECONDS_MAX: u64 = 300_000;
/// For saying how a process ended, after its stream ended.
pub const SETTLE_MILLISECONDS_MAX: u64 = 3_000;
/// The first pause before the question is put again; each next one is twice as long.
pub const SETTLE_RETRY_MILLISECONDS: u64 = 20;
/// Once the pause has grown to this, a container that is said to run is believed to run.
pub const SETTLE_RUNNING_MILLISECONDS_MAX: u64 = 640;
/// For ending what a session left in its container, with all that is tried anew: while the engine is away, or the
/// container paused.
pub const REAP_MILLISECONDS_MAX: u64 = 900_000;
/// The first rest before it is tried anew; each next one is twice as long, up to the other.
pub const REAP_RETRY_MILLISECONDS: u64 = 1_000;
/// The longest such rest.
pub const REAP_RETRY_MILLISECONDS_MAX: u64 = 60_000;
/// How long a start that was under way when its session ended is waited for.
pub const REAP_START_MILLISECONDS_MAX: u64 = 3_000;
/// How long the stream of a session that has ended stays open for its reaper.
pub const REAP_STREAM_MILLISECONDS_MAX: u64 = 10_000;
/// The first pause before it is asked about again; each next one is twice as long.
pub const REAP_LOOK_MILLISECONDS: u64 = 100;
/// How long after such a session is reaped its container is looked at once more.
pub const REAP_AGAIN_MILLISECONDS: u64 = 3_000;
/// The first pause before a reaper is asked about; each next one is twice as long, up to the other. Most need less.
pub const REAP_WATCH_MILLISECONDS: u64 = 300;
/// The longest such pause.
pub const REAP_WATCH_MILLISECONDS_MAX: u64 = 5_000;
/// How long a reaper may take once it runs. Its own limit is 22 naps of each kind, which last a second in the worst sh.
pub const REAPER_MILLISECONDS_MAX: u64 = 60_000;
/// How long after a terminal was opened in a container a guard is sent there: it would compete with the first prompt.
pub const GUARD_AFTER_TERMINAL_MILLISECONDS: u64 = 200;
/// The same after a command was begun without a terminal: most are over by then.
pub const GUARD_AFTER_COMMAND_MILLISECONDS: u64 = 1_000;
/// The first rest before a guard is sent anew; each next one is twice as long, up to the other. A guard that has lost its
/// gateway waits 3 s for the next one.
pub const GUARD_RETRY_MILLISECONDS: u64 = 100;
/// The longest such rest.
pub const GUARD_RETRY_MILLISECONDS_MAX: u64 = 60_000;
/// How often in a row it is tried.
pub const GUARD_TRIES_MAX: u32 = 8;
/// How often a guard is sent an empty line, since what stands between may end connections that nobody uses.
pub const GUARD_BEAT_MILLISECONDS: u64 = 15_000;
/// What is kept of a guard's words until it says that it stands.
pub const GUARD_WORDS_BYTES_MAX: usize = 512;
/// Of the descriptors that sessions may have, one in so many is for guards; containers beyond that have none.
pub const GUARDS_SHARE: usize = 16;
/// How long first output that looks like a failed start is held before it is taken for output.
pub const START_FAILURE_MILLISECONDS: u64 = 500;
/// How long such a text may be.
pub const START_FAILURE_BYTES_MAX: usize = 4 * 1024;
/// What the kernel keeps of an engine's stream that is not read, over TCP; it counts its own overhead beside it. On a
/// unix socket the engine's own limit holds.
pub const ENGINE_UNREAD_BYTES_MAX: i32 = 128 * 1024;
/// The body of a short call's reply.
pub const REPLY_BODY_BYTES_MAX: usize = crate::engine::reply::BODY_BYTES_MAX;
/// Connections for short calls that one loop keeps to an engine.
pub const CALL_CONNECTIONS_MAX: usize = 16;
/// How many of them may be taken by calls that can wait: sizes and probes, and as many by reapers. What these and
/// searches leave is free for the question how a process ended, whatever an engine takes its time with.
pub const PATIENT_CALLS_MAX: usize = 3;
/// How many of them may be taken by searches for a container.
pub const SEARCH_CALLS_MAX: usize = 6;
/// For all engines that are asked at once whether they have a container: those that have not answered are away.
pub const SEARCH_MILLISECONDS_MAX: u64 = 4_000;
/// Short calls of each kind of one loop that may wait for a connection; more are refused.
pub const CALLS_WAITING_MAX: usize = 16 * 1024;
/// How long such a connection is kept without use.
pub const CALL_IDLE_MILLISECONDS_MAX: u64 = 30_000;
/// How long after a unix socket had no room for one more connection it is tried again.
pub const CONNECT_RETRY_MILLISECONDS: u64 = 5;
/// How often the name in an address is resolved anew.
pub const RESOLVE_SECONDS: u64 = 30;
/// How often a name that has no address is asked for again.
pub const RESOLVE_RETRY_SECONDS: u64 = 2;

// What a service may take.

/// A whole call: the wait for a connection, the connecting and the reply. LAIN's limit for its console.
pub const SERVICE_MILLISECONDS_MAX: u64 = 4_000;
/// The body of its reply.
pub const SERVICE_BODY_BYTES_MAX: usize = crate::service::answer::BODY_BYTES_MAX;
/// Connections that one loop keeps to it. Many, since one that is slow makes all that open a session wait.
pub const SERVICE_CONNECTIONS_MAX: usize = 32;

// The loop.

/// What is read at once; also the most that one message of output holds.
pub const READ_BYTES: usize = 64 * 1024;
/// Free bytes in front of what is read, for headers: a frame head (10), a message head (13), a held character (3).
pub const HEADROOM_BYTES: usize = 32;
/// How much one leg may move in a turn before the others get theirs.
pub const TURN_BYTES: usize = 4 * READ_BYTES;
/// Timers that one turn serves: a keystroke waits for so many PINGs at most.
pub const TIMERS_PER_TURN: usize = 4;
/// Slots that one turn looks through for an operator who asks who is there.
pub const LISTED_PER_TURN: u32 = 64;
/// How often engines that were away are asked whether they are back, where an operator may want to know.
pub const ENGINE_LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A loop whose turn takes longer stands still.
pub const LOOP_STILL_LIMIT: Duration = Duration::from_secs(10);
/// How long an operator may take for his request, and for taking the answer.
pub const ADMIN_TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long his end of the connection is waited for.
pub const ADMIN_LINGER: Duration = Duration::from_secs(1);
/// How many operators are answered at once.
pub const ADMIN_CONNECTIONS_MAX: usize = 16;
/// How long accepting them rests when descriptors have run out.
pub const ADMIN_REST: Duration = Duration::from_millis(200);
/// Connections that one turn accepts.
pub const ACCEPTS_PER_TURN: usize = 64;
/// How long accepting rests when descriptors have run out.
pub const ACCEPT_REST_MILLISECONDS: u64 = 100;
/// How often the log is told of connections that could not be accepted.
pub const REFUSALS_TOLD_MILLISECONDS: u64 = 10_000;
/// Connections that wait in the kernel for being accepted.
pub const LISTEN_BACKLOG: i32 = 4096;
/// Events that one poll gives.
pub const EVENTS_PER_POLL: usize = 1024;
/// Descriptors that sessions leave to the process: files, the log, one engine and what is started with them.
pub const DESCRIPTORS_RESERVED: usize = 64;
/// Descriptors of one loop: its poll, waker and listener, a spare one, and its connections for short calls.
pub const DESCRIPTORS_PER_LOOP: usize = 4 + 4 * CALL_CONNECTIONS_MAX;
/// What may be held of bytes that wait for somebody who does not take them, over all sessions.
pub const BUFFER_BYTES: usize = 64 * 1024 * 1024;
/// When half of a loop's sessions have gone, and at least so many, their memory is given back to the kernel; and when so many
/// have come, what they needed for that.
pub const CROWD_SESSIONS_MIN: usize = 512;
/// What may lie in a loop's lent buffers when it rests: larger ones are given back to the kernel.
pub const LENT_BYTES_KEPT: usize = 8 * 1024;
/// By how much the allocator makes a thread's heap longer at a time.
pub const HEAP_GROWN_BYTES: i32 = 16 * 1024;
/// What may lie free at the end of a thread's heap before it is made shorter.
pub const HEAP_END_BYTES_MAX: i32 = 64 * 1024;
/// So much of a loop's empty buffers is worth a call to give it back to the kernel.
pub const FREED_BYTES_MIN: usize = 64 * 1024;
/// What a terminal is taken for whose size nobody has told yet.
pub const WINDOW_UNTOLD: WindowSize = WindowSize { columns: 80, rows: 24 };

/// What may wait for being written into recordings, over all sessions; what comes beyond it is lost and counted.
pub const RECORDED_WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// And of one session.
pub const RECORDED_WAITING_BYTES_PER_SESSION_MAX: usize = 1024 * 1024;
/// How often what was recorded goes into its file.
pub const RECORDED_FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// So much of one recording goes into its file at once.
pub const RECORDED_FLUSH_BYTES: usize = 64 * 1024;
/// How often old recordings are looked for, and whether writing is possible again.
pub const RECORDED_LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// A recording that gets bigger goes on in the next file; where there is a limit for all, an eighth of that may be less.
pub const RECORDED_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long the end of the gateway waits for the last recordings.
pub const RECORDED_END_TIME_LIMIT: Duration = Duration::from_secs(5);
/// What is typed in one line, where that is recorded; longer ones are not.
pub const RECORDED_LINE_BYTES_MAX: usize = 4 * 1024;

/// How long a shutdown waits for the last words of its sessions.
pub const SHUTDOWN_MILLISECONDS_MAX: u64 = 10_000;

// What systemd may give, and is told.

/// Sockets that it may pass.
pub const PASSED_SOCKETS_MAX: i32 = 64;
/// How often it is told how many are in, where that has changed.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// How long it may take to take a word.
pub const NOTIFY_TIME_LIMIT: Duration = Duration::from_secs(1);
/// Beyond the time that a shutdown may take, before it kills.
pub const STOP_RESERVE: Duration = Duration::from_secs(5);

/// How long open sessions may go on once the gateway is asked to go down, unless its operator says otherwise. Docker kills
/// what has not ended 10 s after it asked (`docker stop`), and CLOSE, its answer and the reaping need some 3 s of them.
pub const DRAIN_SECONDS: u32 = 5;
/// How often a loop without anything to do looks whether the other loops' sessions are over, while all wait for that.
pub const DRAIN_LOOK_MILLISECONDS: u64 = 100;
/// How long before its end a session is told of it; half of its time where that is less.
pub const NOTICE_SECONDS_MAX: u32 = 60;

/// LAIN's keep-alive.
pub const PING_INTERVAL_MILLISECONDS: u64 = 10_000;

/// PINGs are due at multiples of this, so that one waking of the loop serves several: a waking costs as much as some
/// ten sends. The interval is a multiple of it, and so is it of the wheel's tick: nobody is pinged late for it.
pub const PING_SLOT_MILLISECONDS: u64 = 80;

/// How much earlier a PING may be sent: a turn of the loop that sends clients something, and in which nothing is due, takes
/// some along that soon are. So they go between the keystrokes of a busy loop, which else would wait behind a slot's worth of
/// them; and behind an echo, not between a key and its echo.
pub const PING_EARLY_MILLISECONDS: u64 = PING_SLOT_MILLISECONDS / 2;
/// So many are taken along by such a turn.
pub const PINGS_EARLY_PER_TURN: usize = 2;

/// When the first PING of a session is due that was upgraded at `now`: 5 to 10 s later, spread, so that clients that
/// came together are not pinged together.
pub fn first_ping_at(now: u64, number: u64) -> u64 {
    let half = PING_INTERVAL_MILLISECONDS / 2;
    // A multiplicative hash, since sessions are numbered one after another.
    let spread = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % (half - PING_SLOT_MILLISECONDS);
    (now + half + spread).next_multiple_of(PING_SLOT_MILLISECONDS)
}

/// How far the clock of a loop is ahead of the first one's, so that loops do not send their PINGs at the same moment,
/// when they would hold all processors.
pub fn loop_phase_milliseconds(number: usize, loops: usize) -> u64 {
    PING_SLOT_MILLISECONDS * number as u64 / loops.max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_rests_is_asked_before_it_is_given_up() {
        let asked_after = (u64::from(RESTS_UNASKED_MAX) + 2) * PING_INTERVAL_MILLISECONDS;
        assert!(asked_after < UNACKNOWLEDGED_MILLISECONDS_MAX.unsigned_abs().into());
    }

    #[test]
    fn first_pings_are_spread() {
        let half = PING_INTERVAL_MILLISECONDS / 2;
        let now = 12_345;
        let dues: Vec<u64> = (0..1000).map(|number| first_ping_at(now, number)).collect();
        assert!(dues.iter().all(|due| (now + half..now + 2 * half).contains(due)));
        assert!(dues.iter().all(|due| due % PING_SLOT_MILLISECONDS == 0));
        assert_eq!(PING_INTERVAL_MILLISECONDS % PING_SLOT_MILLISECONDS, 0);
        for tenth in 0..10 {
            let begin = now + half + tenth * half / 10;
            let count = dues.iter().filter(|due| (begin..begin + half / 10).contains(due)).count();
            assert!((50..200).contains(&count), "{count} of 1000 in tenth {tenth}");
        }
    }
}
