//! How a session ended: one typed value, told alike everywhere.
//!
//! The CLOSE message (text and type), the WebSocket close code, the client's exit status and, later, the audit
//! record and the metrics are all read off an [`Outcome`]; nothing else decides any of them.

use std::fmt;

/// What a person wanted to do in the container; some texts of the old wire differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `/enter`: a shell or a command.
    Enter,
    /// `/attach`: the container's own output, read only.
    Attach,
    /// `/watch`: somebody's open session, read only.
    Watch,
}

/// Why a command never ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFault {
    /// No such file, or not in `$PATH`: exit status 127, as shells say it.
    CommandNotFound,
    /// The image has no sh, through which bash is found too: exit status 127.
    NoShell,
    /// There, but it could not be executed: exit status 126.
    NotExecutable,
    /// The working directory is missing or not absolute: exit status 126.
    WorkingDirectory,
    /// The user is unknown in the container: exit status 126.
    User,
    /// Anything else that the runtime says: exit status 126.
    Other,
}

/// How a session ended.
///
/// Texts in the variants are for the person: one line, no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The process ended by itself or by a signal (128 + n), and the engine's inspect said so.
    Exited {
        /// 0 to 255.
        status: u8,
    },
    /// The process never ran.
    CouldNotStart {
        /// Why.
        fault: StartFault,
        /// The engine's words.
        detail: String,
    },
    /// No container is the target, or more than one is.
    ContainerNotFound {
        /// What was looked for, and what to do.
        detail: String,
    },
    /// The container is there, but it was not running when the session was opened.
    ContainerNotRunning {
        /// The engine's words.
        detail: String,
    },
    /// The container stopped under the session.
    ContainerStopped {
        /// The container's own exit code, when inspect told.
        exit_code: Option<i64>,
        /// It ran out of memory.
        out_of_memory: bool,
    },
    /// The container was removed under the session.
    ContainerRemoved,
    /// The container is paused: at opening, or for too long under the session.
    ContainerPaused,
    /// The engine could not be reached, or did not do what it must, before the session was open.
    EngineUnavailable {
        /// What was tried and what came back.
        detail: String,
    },
    /// The engine went away under the session, so nobody knows how the process ended.
    EngineLost {
        /// What was seen.
        detail: String,
    },
    /// The client said goodbye with a WebSocket close frame.
    ClientLeft,
    /// The client's connection ended without a close frame.
    ClientVanished,
    /// Something that had to come in time did not.
    TimedOut {
        /// What was waited for.
        waited_for: &'static str,
    },
    /// The client broke WebSocket or message rules.
    ProtocolError {
        /// 1002, 1003, 1007 or 1009 (RFC 6455, 7.4.1).
        close_code: u16,
        /// What was wrong.
        detail: &'static str,
    },
    /// The client asked for something that makes no sense or is not offered here.
    BadRequest {
        /// What, and what to do.
        detail: String,
    },
    /// Policy says no.
    Refused {
        /// What is refused, and what to do.
        detail: String,
    },
    /// The gateway goes down, and the time that it gave its sessions is over.
    Drained,
    /// A fault of ours.
    Bug,
    /// Whoever decides who may enter could not be asked, so nobody is let in.
    AccessUnavailable {
        /// What happened.
        detail: String,
    },
    /// The session had been let in, and now it may not stay.
    AccessEnded {
        /// What ended it.
        detail: String,
    },
    /// Somebody who had to be asked where the container is gave no usable answer.
    LocateUnavailable {
        /// Who, and what came of it: one sentence.
        detail: String,
    },
    /// A limit of the gateway is reached.
    OverLimit {
        /// Which, and what to do.
        detail: String,
    },
    /// An operator ended the session.
    EndedByOperator {
        /// What he says to the person.
        reason: String,
    },
    /// Nothing was typed for so long.
    Idle {
        /// How long that may be.
        seconds: u32,
    },
    /// It has lasted as long as it may.
    TimeOver {
        /// How long that is.
        seconds: u32,
    },
    /// There is no such session to watch.
    SessionNotFound {
        /// What was looked for, and what to do.
        detail: String,
    },
    /// The session that was watched has ended.
    WatchedEnded {
        /// Its own exit status.
        status: u8,
        /// How it ended: one sentence.
        how: String,
    },
}

/// A length of time for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u32);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seconds(seconds) = self;
        match seconds {
            0..=119 => write!(f, "{seconds} s"),
            _ if seconds % 60 == 0 => write!(f, "{} min", seconds / 60),
            _ => write!(f, "{} min {} s", seconds / 60, seconds % 60),
        }
    }
}

/// The labels of all outcomes by their number; empty where no outcome has that number.
pub const LABELS: [&str; 28] = [
    "",
    "exited",
    "could_not_start",
    "container_not_found",
    "container_not_running",
    "container_stopped",
    "container_removed",
    "container_paused",
    "engine_unavailable",
    "engine_lost",
    "client_left",
    "client_vanished",
    "timed_out",
    "protocol_error",
    "bad_request",
    "refused",
    "drained",
    "bug",
    "access_unavailable",
    "access_ended",
    "locate_unavailable",
    "over_limit",
    "idle",
    "time_over",
    "",
    "ended_by_operator",
    "session_not_found",
    "watched_ended",
];

/// The colour that LAIN's texts have always had.
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

impl Outcome {
    /// The number of this outcome in `proto/message.proto`, enum `Outcome`; never reused.
    pub fn number(&self) -> i32 {
        match self {
            Outcome::Exited { .. } => 1,
            Outcome::CouldNotStart { .. } => 2,
            Outcome::ContainerNotFound { .. } => 3,
            Outcome::ContainerNotRunning { .. } => 4,
            Outcome::ContainerStopped { .. } => 5,
            Outcome::ContainerRemoved => 6,
            Outcome::ContainerPaused => 7,
            Outcome::EngineUnavailable { .. } => 8,
            Outcome::EngineLost { .. } => 9,
            Outcome::ClientLeft => 10,
            Outcome::ClientVanished => 11,
            Outcome::TimedOut { .. } => 12,
            Outcome::ProtocolError { .. } => 13,
            Outcome::BadRequest { .. } => 14,
            Outcome::Refused { .. } => 15,
            Outcome::Drained => 16,
            Outcome::Bug => 17,
            Outcome::AccessUnavailable { .. } => 18,
            Outcome::AccessEnded { .. } => 19,
            Outcome::LocateUnavailable { .. } => 20,
            Outcome::OverLimit { .. } => 21,
            Outcome::Idle { .. } => 22,
            Outcome::TimeOver { .. } => 23,
            Outcome::EndedByOperator { .. } => 25,
            Outcome::SessionNotFound { .. } => 26,
            Outcome::WatchedEnded { .. } => 27,
        }
    }

    /// A short name for logs and metrics; one of a fixed set.
    pub fn label(&self) -> &'static str {
        usize::try_from(self.number()).ok().and_then(|number| LABELS.get(number)).unwrap_or(&"")
    }

    /// Nothing went wrong: the process ended by itself, or the person has gone.
    pub fn is_good(&self) -> bool {
        matches!(self, Outcome::Exited { .. } | Outcome::ClientLeft | Outcome::ClientVanished)
    }

    /// The code of the WebSocket close frame (RFC 6455, 7.4): registered ones where their meaning fits, else the
    /// private range; `proto/README.md` has the table for people who write clients.
    pub fn close_code(&self) -> u16 {
        match self {
            Outcome::Exited { .. }
            | Outcome::ClientLeft
            | Outcome::ClientVanished
            | Outcome::WatchedEnded { .. } => 1000,
            Outcome::CouldNotStart { .. } => 4126,
            Outcome::ContainerNotFound { .. } | Outcome::SessionNotFound { .. } => 4404,
            Outcome::ContainerNotRunning { .. } => 4409,
            Outcome::ContainerStopped { .. } => 4137,
            Outcome::ContainerRemoved => 4410,
            Outcome::ContainerPaused => 4423,
            Outcome::EngineUnavailable { .. }
            | Outcome::AccessUnavailable { .. }
            | Outcome::LocateUnavailable { .. }
            | Outcome::OverLimit { .. } => 1013,
            Outcome::EngineLost { .. } => 4502,
            Outcome::TimedOut { .. } => 4408,
            Outcome::ProtocolError { close_code, .. } => *close_code,
            Outcome::BadRequest { .. } => 4400,
            Outcome::Refused { .. } => 1008,
            Outcome::Drained => 1012,
            Outcome::Bug => 1011,
            Outcome::AccessEnded { .. } => 4403,
            Outcome::Idle { .. } => 4440,
            Outcome::TimeOver { .. } => 4441,
            Outcome::EndedByOperator { .. } => 4430,
        }
    }

    /// What `entry enter` exits with: the process's own status (also where it is another's that was watched); 126 and 127 as shells use them; 137 where the
    /// container was killed under the process; 125 for everything that is not the process's doing. Never 0 without
    /// the engine's word that the process exited with 0.
    pub fn exit_status(&self) -> u8 {
        match self {
            Outcome::Exited { status } | Outcome::WatchedEnded { status, .. } => *status,
            Outcome::CouldNotStart { fault, .. } => match fault {
                StartFault::CommandNotFound | StartFault::NoShell => 127,
                StartFault::NotExecutable
                | StartFault::WorkingDirectory
                | StartFault::User
                | StartFault::Other => 126,
            },
            Outcome::ContainerStopped { .. } | Outcome::ContainerRemoved => 137,
            Outcome::ContainerNotFound { .. }
            | Outcome::ContainerNotRunning { .. }
            | Outcome::ContainerPaused
            | Outcome::EngineUnavailable { .. }
            | Outcome::EngineLost { .. }
            | Outcome::ClientLeft
            | Outcome::ClientVanished
            | Outcome::TimedOut { .. }
            | Outcome::ProtocolError { .. }
            | Outcome::BadRequest { .. }
            | Outcome::Refused { .. }
            | Outcome::Drained
            | Outcome::Bug
            | Outcome::AccessUnavailable { .. }
            | Outcome::AccessEnded { .. }
            | Outcome::LocateUnavailable { .. }
            | Outcome::OverLimit { .. }
            | Outcome::Idle { .. }
            | Outcome::TimeOver { .. }
            | Outcome::EndedByOperator { .. }
            | Outcome::SessionNotFound { .. } => 125,
        }
    }

    /// The content of the CLOSE message: LAIN's sentence for the case, in its colour, then what more is known.
    pub fn close_text(&self, action: Action) -> String {
        let cannot = match action {
            Action::Enter => "Can't enter your container, try again.",
            Action::Attach => "Can't attach your container, try again.",
            Action::Watch => "Can't watch this session, try again.",
        };
        match self {
            Outcome::Exited { .. } | Outcome::ClientLeft | Outcome::ClientVanished => {
                format!("{GREEN}>>> You quit the container safely.{PLAIN}")
            }
            Outcome::WatchedEnded { .. } => format!("{GREEN}>>> {self}{PLAIN}"),
            Outcome::ContainerNotFound { .. } => self.red("Container is not found."),
            Outcome::SessionNotFound { .. } => self.red("Session is not found."),
            Outcome::Refused { .. } | Outcome::AccessUnavailable { .. } => self.red("Authorization failed."),
            Outcome::CouldNotStart { .. }
            | Outcome::ContainerNotRunning { .. }
            | Outcome::EngineUnavailable { .. }
            | Outcome::LocateUnavailable { .. }
            | Outcome::OverLimit { .. }
            | Outcome::TimedOut { .. }
            | Outcome::BadRequest { .. } => self.red(cannot),
            Outcome::ContainerStopped { .. }
            | Outcome::ContainerRemoved
            | Outcome::ContainerPaused
            | Outcome::EngineLost { .. }
            | Outcome::ProtocolError { .. }
            | Outcome::Drained
            | Outcome::Bug
            | Outcome::AccessEnded { .. }
            | Outcome::Idle { .. }
            | Outcome::TimeOver { .. }
            | Outcome::EndedByOperator { .. } => format!("{RED}>>> {self}{PLAIN}"),
        }
    }

    fn red(&self, sentence: &str) -> String {
        format!("{RED}>>> {sentence}{PLAIN} {self}")
    }
}

/// One plain sentence, without colour: for logs, close reasons and the client.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Exited { status } => write!(f, "Exited with status {status}."),
            Outcome::CouldNotStart { fault, detail } => match fault {
                StartFault::NoShell => f.write_str(
                    "The image has no sh, so Entry finds no shell. Name a program that it has (entry enter … -- COMMAND), \
                     or enter a container whose image has a shell.",
                ),
                StartFault::CommandNotFound => write!(f, "The command was not found: {detail}"),
                StartFault::NotExecutable => write!(f, "The command cannot be executed: {detail}"),
                StartFault::WorkingDirectory => write!(f, "The working directory cannot be used: {detail}"),
                StartFault::User => write!(f, "The user is not known in the container: {detail}"),
                StartFault::Other => write!(f, "The command could not be started: {detail}"),
            },
            Outcome::ContainerNotFound { detail }
            | Outcome::ContainerNotRunning { detail }
            | Outcome::LocateUnavailable { detail }
            | Outcome::OverLimit { detail }
            | Outcome::BadRequest { detail }
            | Outcome::SessionNotFound { detail }
            | Outcome::Refused { detail } => f.write_str(detail),
            Outcome::ContainerStopped { exit_code, out_of_memory } => {
                f.write_str("The container stopped")?;
                if *out_of_memory {
                    f.write_str(", out of memory")?;
                }
                match exit_code {
                    Some(code) => write!(f, " (exit code {code})."),
                    None => f.write_str("."),
                }
            }
            Outcome::ContainerRemoved => f.write_str("The container was removed."),
            Outcome::ContainerPaused => f.write_str("The container is paused; unpause it and enter again."),
            Outcome::EngineUnavailable { detail } => write!(f, "The engine is not available: {detail}"),
            Outcome::EngineLost { detail } => {
                write!(f, "The engine was lost, so how the process ended is not known: {detail}")
            }
            Outcome::ClientLeft => f.write_str("The client left."),
            Outcome::ClientVanished => f.write_str("The client's connection was lost."),
            Outcome::TimedOut { waited_for } => write!(f, "Waited too long for {waited_for}."),
            Outcome::ProtocolError { detail, .. } => write!(f, "Protocol error: {detail}."),
            Outcome::Drained => f.write_str("The gateway is drained and goes down; enter again."),
            Outcome::Bug => f.write_str("Entry has a bug; its log says more."),
            Outcome::AccessUnavailable { detail } => write!(f, "Access service unavailable: {detail}"),
            Outcome::AccessEnded { detail } => write!(f, "Access has ended: {detail}"),
            Outcome::Idle { seconds } => write!(f, "Nothing was typed for {}.", Seconds(*seconds)),
            Outcome::TimeOver { seconds } => {
                write!(f, "The session's time is over: it may last {}.", Seconds(*seconds))
            }
            Outcome::EndedByOperator { reason } => write!(f, "The operator ended this session: {reason}"),
            Outcome::WatchedEnded { how, .. } => write!(f, "The session that you watched has ended: {how}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_sentences_stand_byte_for_byte() {
        let not_found = Outcome::ContainerNotFound { detail: "No container runs.".into() };
        let table = [
            (
                Outcome::Exited { status: 7 },
                Action::Enter,
                "\x1b[32m>>> You quit the container safely.\x1b[0m",
            ),
            (not_found, Action::Enter, "\x1b[31m>>> Container is not found.\x1b[0m No container runs."),
            (
                Outcome::Refused { detail: "x".into() },
                Action::Enter,
                "\x1b[31m>>> Authorization failed.\x1b[0m x",
            ),
            (
                Outcome::AccessUnavailable { detail: "x".into() },
                Action::Enter,
                "\x1b[31m>>> Authorization failed.\x1b[0m Access service unavailable: x",
            ),
            (
                Outcome::BadRequest { detail: "x".into() },
                Action::Enter,
                "\x1b[31m>>> Can't enter your container, try again.\x1b[0m x",
            ),
            (
                Outcome::BadRequest { detail: "x".into() },
                Action::Attach,
                "\x1b[31m>>> Can't attach your container, try again.\x1b[0m x",
            ),
        ];
        for (outcome, action, text) in table {
            assert_eq!(outcome.close_text(action), text);
        }
    }

    #[test]
    fn times_are_for_people() {
        let table = [(0, "0 s"), (90, "90 s"), (120, "2 min"), (121, "2 min 1 s"), (36_000, "600 min")];
        assert!(table.iter().all(|(seconds, text)| Seconds(*seconds).to_string() == *text));
    }

    #[test]
    fn status_zero_needs_proof() {
        let others = [
            Outcome::CouldNotStart { fault: StartFault::Other, detail: String::new() },
            Outcome::ContainerStopped { exit_code: Some(0), out_of_memory: false },
            Outcome::ContainerRemoved,
            Outcome::ClientVanished,
            Outcome::EngineLost { detail: String::new() },
            Outcome::Drained,
            Outcome::Idle { seconds: 60 },
            Outcome::TimeOver { seconds: 60 },
            Outcome::Bug,
            Outcome::AccessUnavailable { detail: String::new() },
            Outcome::AccessEnded { detail: String::new() },
            Outcome::EndedByOperator { reason: String::new() },
            Outcome::SessionNotFound { detail: String::new() },
        ];
        assert!(others.iter().all(|outcome| outcome.exit_status() >= 125));
        assert_eq!(Outcome::Exited { status: 0 }.exit_status(), 0);
    }
}
