//! Who was in which container: a line of JSON for each session that begins, ends or is refused, to a file, to standard
//! output or to syslog.
//!
//! The loops hand records over and go on; a thread writes them ([`crate::writer`]). While nothing can be written, records
//! wait, and those that find no room are counted and lost. Where the operator wants no session without a record
//! (`--audit-required`), nobody new is let in from the first record that cannot be written until all that wait are written.
//!
//! Records hold no token, and nothing that was typed or said in a session, but for the lines that were entered, where the
//! operator wants them ([`Scribe`]).

mod alerts;
mod scribe;

pub use alerts::Alerts;
pub use scribe::{Scribe, Whose};

use crate::crowd::Crowd;
use crate::logging::utc_now;
use crate::writer::{Destination, Figures, Queue, Room, Sink, Work, sink};
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Records that may wait for being written: some 400 bytes each.
pub const ROOM: Room = Room { items: 4096, bytes: 4 << 20 };
/// How often it is tried anew while nothing can be written.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// How long the end of the gateway waits for the last records.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// A record. What is not known, or does not apply, is left out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Record<'a> {
    /// When it was made, in UTC (RFC 3339).
    pub time: String,
    /// One of [`EVENTS`].
    pub event: &'static str,
    /// The session's name in logs; with `started` and `stopped`, what the names of all sessions of that run begin with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// Who, by the access rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The beginning of the SHA-256 of the token.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub token: &'a str,
    /// `enter`, `exec` or `attach`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub right: &'static str,
    /// What was asked for.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub target: &'a str,
    /// The command with its arguments; none for a shell.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub command: &'a [String],
    /// Target, command or line are longer than what stands here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// The container.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub container: &'a str,
    /// Its engine's name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub engine: &'a str,
    /// Where the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The session that is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watches: Option<String>,
    /// A line that was entered in the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<&'a str>,
    /// The line was read off the screen, and not told by the shell.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
    /// The pattern of those that alert which the line, or the command, meets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<&'a str>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    /// The same as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The status of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u8>,
    /// How long it was open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// What the process was sent to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_bytes: Option<u64>,
    /// What it has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// How many records are missing before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Entry's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'static str>,
}

/// What a record may tell of.
pub const EVENTS: [&str; 7] = ["started", "opened", "command", "ended", "refused", "lost", "stopped"];

impl Record<'_> {
    /// Of something that happens now.
    pub fn now(event: &'static str, session: String) -> Self {
        debug_assert!(EVENTS.contains(&event));
        Record { time: utc_now(), event, session, ..Record::default() }
    }

    /// Records have nothing in them that JSON could not say.
    fn to_line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// How the writing goes.
#[derive(Debug)]
struct State {
    written: AtomicU64,
    failing: AtomicBool,
    required: bool,
    crowd: Arc<Crowd>,
}

impl State {
    fn fails(&self) {
        self.failing.store(true, Ordering::Relaxed);
        if self.required {
            self.crowd.close();
        }
    }

    fn works(&self) {
        self.failing.store(false, Ordering::Relaxed);
        self.crowd.open();
    }
}

/// The way to the writer.
#[derive(Debug, Clone)]
pub struct Audit {
    queue: Queue<String>,
    state: Arc<State>,
    /// What the names of all sessions of this run begin with.
    boot: String,
}

impl Audit {
    /// Opens the destination, writes down that a gateway starts whose sessions' names begin with `boot`, and writes from
    /// now on.
    ///
    /// # Errors
    /// The destination cannot be opened, or the machine gives no thread. That nobody reads a pipe yet is none: it is as if
    /// it were read no more.
    pub fn start(
        destination: Destination,
        required: bool,
        crowd: Arc<Crowd>,
        boot: String,
    ) -> io::Result<Audit> {
        let (written, failing) = (AtomicU64::new(0), AtomicBool::new(false));
        let state = Arc::new(State { written, failing, required, crowd });
        let sink = match Sink::open(&destination) {
            Ok(sink) => Some(sink),
            Err(error) if sink::is_unread_pipe(&error) => None,
            Err(error) => return Err(io::Error::new(error.kind(), format!("--audit {error}"))),
        };
        let writer = Writer { destination, sink, lost_told: 0, state: state.clone() };
        let audit = Audit { queue: Queue::start("audit", ROOM, writer)?, state, boot };
        let version = Some(env!("CARGO_PKG_VERSION"));
        audit.record(&Record { version, ..Record::now("started", audit.boot.clone()) });
        Ok(audit)
    }

    /// Hands a record over; whether there was room for it. Waits for nobody.
    pub fn record(&self, record: &Record<'_>) -> bool {
        let line = record.to_line();
        let bytes = line.len();
        let there_was_room = self.queue.offer(line, bytes);
        if !there_was_room {
            self.state.fails();
            // Otherwise all might have been written just before, and nobody would say that it works.
            self.queue.nudge();
        }
        there_was_room
    }

    /// Nobody may be in without a record.
    pub fn is_required(&self) -> bool {
        self.state.required
    }

    /// Nobody new may be let in for now, since that could not be written down.
    pub fn forbids_entering(&self) -> bool {
        self.state.required && self.is_failing()
    }

    /// Records cannot be written for now.
    pub fn is_failing(&self) -> bool {
        self.state.failing.load(Ordering::Relaxed)
    }

    /// How many were written.
    pub fn written(&self) -> u64 {
        self.state.written.load(Ordering::Relaxed)
    }

    /// How many wait, and how many are lost.
    pub fn figures(&self) -> &Figures {
        self.queue.figures()
    }

    /// The file is opened anew: it may have been renamed.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// The gateway has stopped. Waits for what is still to be written, but not for long.
    pub fn finish(&self) {
        self.record(&Record::now("stopped", self.boot.clone()));
        self.queue.finish(FINISH_LIMIT);
    }
}

struct Writer {
    destination: Destination,
    sink: Option<Sink>,
    /// How many lost records stand in the log.
    lost_told: u64,
    state: Arc<State>,
}

impl Work<String> for Writer {
    /// Writes the line, however long that takes.
    fn take(&mut self, line: String, figures: &Figures) {
        let mut is_told = false;
        while let Err(error) = self.write(&line) {
            self.state.fails();
            if !std::mem::replace(&mut is_told, true) {
                let then = match self.state.required {
                    true => "nobody new is let in",
                    false => "sessions go on, and records that find no room are lost",
                };
                log::error!("audit records cannot be written ({error}); until they can be, {then}");
            }
            if figures.has_ended() {
                return;
            }
            // Who stalls has been waited for.
            if error.kind() != io::ErrorKind::TimedOut {
                std::thread::sleep(RETRY_INTERVAL);
            }
            // Trying anew opens anew as well; where that fails, what is open may still take it.
            let _ = (figures.wants_reopening(), self.renew());
        }
        self.state.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything is written; what is missing is told where it is missing.
    fn rest(&mut self, figures: &Figures) -> Option<Duration> {
        if self.state.failing.load(Ordering::Relaxed) {
            let lost = figures.lost() - self.lost_told;
            if lost > 0 {
                self.lost_told += lost;
                self.take(
                    Record { lost: Some(lost), ..Record::now("lost", String::new()) }.to_line(),
                    figures,
                );
            }
            self.state.works();
            log::warn!("audit records are written again; {lost} were lost");
        }
        None
    }

    fn reopen(&mut self) {
        if let Err(error) = self.renew() {
            log::error!("audit records go on to the file that was, since there is no new one: {error}");
        }
    }
}

impl Writer {
    /// Opens what is open anew.
    fn renew(&mut self) -> io::Result<()> {
        self.sink.as_mut().map_or(Ok(()), |sink| sink.renew(&self.destination))
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        match &mut self.sink {
            Some(sink) => sink.write(line),
            none => none.insert(Sink::open(&self.destination)?).write(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::{Full, Limits};
    use std::net::{IpAddr, Ipv4Addr};
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    fn eventually(what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < until, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A directory of a test's own, removed at its end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("audit-test-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn crowd() -> Arc<Crowd> {
        Arc::new(Crowd::new(Limits { sessions: 9, ..Limits::default() }))
    }

    fn start(path: &Path, required: bool, crowd: &Arc<Crowd>) -> Audit {
        Audit::start(Destination::File(path.to_owned()), required, crowd.clone(), "b".to_owned()).unwrap()
    }

    fn record(session: &str) -> Record<'_> {
        Record::now("opened", session.to_owned())
    }

    fn read(path: &Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn while_nothing_can_be_written_records_wait_and_nobody_else_does() {
        for required in [true, false] {
            let directory = Directory::new(if required { "required" } else { "else" });
            let path = directory.0.join("audit");
            std::os::unix::fs::symlink("/dev/full", &path).unwrap();
            let crowd = crowd();
            let audit = start(&path, required, &crowd);
            // That it starts cannot be written, and so it is known before anybody has come.
            eventually("the failure", || audit.is_failing());
            assert_eq!(audit.forbids_entering(), required);
            let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
            match crowd.enter(address) {
                Ok(mut place) if !required => crowd.leave(&mut place),
                entered => assert_eq!((entered.unwrap_err(), required), (Full::Unrecorded, true)),
            }
            let mut waiting = 0;
            while audit.record(&record("next")) {
                waiting += 1;
            }
            assert!((ROOM.items - 1..=ROOM.items).contains(&waiting), "{waiting}");
            assert_eq!((audit.written(), audit.figures().lost()), (0, 1));

            std::fs::remove_file(&path).unwrap();
            eventually("the records", || !audit.is_failing());
            let records = read(&path);
            assert_eq!(records.len(), 1 + waiting + 1);
            assert_eq!((&records[0]["event"], &records[0]["session"]), (&"started".into(), &"b".into()));
            let last = &records[1 + waiting];
            assert_eq!(
                (&last["event"], &last["lost"]),
                (&"lost".into(), &1.into()),
                "a gap says that it is one"
            );
            assert_eq!((audit.figures().lost(), audit.figures().waiting()), (1, 0));
            crowd.enter(address).unwrap();
        }
    }

    #[test]
    fn a_file_that_was_renamed_is_begun_anew_when_it_is_asked_for() {
        let directory = Directory::new("renamed");
        let (path, old) = (directory.0.join("audit"), directory.0.join("old"));
        let audit = start(&path, false, &crowd());
        audit.record(&record("1"));
        eventually("the first two", || audit.written() == 2);
        std::fs::rename(&path, &old).unwrap();
        audit.record(&record("2"));
        eventually("the third", || audit.written() == 3);
        audit.reopen();
        audit.record(&record("3"));
        audit.finish();
        let events = |path: &Path| {
            let name = |record: &serde_json::Value| {
                format!("{} {}", record["event"], record["session"]).replace('"', "")
            };
            read(path).iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(events(&old), ["started b", "opened 1", "opened 2"]);
        assert_eq!(events(&path), ["opened 3", "stopped b"]);
        let missing = Destination::File(directory.0.join("no/audit"));
        let error = Audit::start(missing, false, crowd(), String::new()).unwrap_err();
        assert!(error.to_string().starts_with("--audit "), "{error}");
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_no_reason_not_to_start() {
        let directory = Directory::new("pipe");
        let path = directory.0.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let crowd = crowd();
        let audit = start(&path, true, &crowd);
        eventually("the failure", || audit.forbids_entering() && crowd.is_closed());
        let reader = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let line = std::io::BufRead::lines(reader).next().unwrap().unwrap();
        assert!(line.contains("started"), "{line}");
        eventually("the recovery", || !audit.is_failing() && !crowd.is_closed());
    }
}
