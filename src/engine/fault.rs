//! Why an engine refused, and why an exec did not start: many texts of many versions → few kinds.
//!
//! Docker and Podman give the same refusal different statuses (a stopped container is 409 here and 500
//! there), so both the status and the words are looked at. The words that are looked for hold spaces, which
//! no container name can: a container called `exec` or `paused` changes nothing.
//!
//! May not know: requests, sessions, what is done about a fault.

use std::fmt;

use serde::Deserialize;

use crate::wire::http::Reply;

/// The most characters kept of an engine's own words.
pub const TEXT_CHARS_MAX: usize = 300;

/// How many bytes of a refusal's body, or of a stream's beginning, are looked at.
const LOOKED_AT_BYTES_MAX: usize = 16 * 1024;

/// An engine's refusal, or an answer that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineError {
    /// What it comes down to.
    pub kind: Fault,
    /// The status of the reply, as in HTTP.
    pub status: u16,
    /// The engine's own words on one line: the JSON `message` or the bare text, at most [`TEXT_CHARS_MAX`]
    /// characters, none of them a control character. With [`Fault::Unreadable`] it may be ours.
    pub text: String,
}

/// What a refusal comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// There is no such container (any more).
    ContainerNotFound,
    /// There is no such exec (any more): it ended some minutes ago, or its container did at any time.
    ExecNotFound,
    /// The container is there and does not run: stopped, only created, restarting, being removed.
    NotRunning,
    /// The container is paused: the same request may succeed later.
    Paused,
    /// The name is the beginning of several containers' ids.
    Ambiguous,
    /// The API version is too new or too old for this engine: ping it again, it may have been replaced. From
    /// [`read_ping`](super::reply::read_ping) itself it means that the engine is too old for Entry.
    VersionRefused,
    /// The user (or group) is not known in the container. Docker from 28 on says so at the exec's creation,
    /// Podman at its start; older Dockers in the stream, see [`read_start_failure`].
    BadUser,
    /// The request was not understood: a fault of ours, or of a value passed on.
    BadRequest,
    /// The answer is not what it should be: no JSON, a missing field, no engine at all.
    Unreadable,
    /// The container's log driver cannot be read; attaching to it is the way.
    LogsUnreadable,
    /// The engine's own trouble, and whatever has no kind of its own.
    Engine,
}

/// What a request was about: it decides what a 404 without known words means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Everything under `/containers/{id}`: create, inspect, logs, attach.
    Container,
    /// Everything under `/exec/{id}`: start, inspect, resize.
    Exec,
    /// Ping and list.
    Engine,
}

impl EngineError {
    /// Classifies a reply that is not the success its request hoped for: the 4xx or 5xx of a start, an attach
    /// or the logs. (The functions of [`reply`](super::reply) do this on their own.)
    pub fn from_reply(reply: &Reply, subject: Subject) -> EngineError {
        let status = reply.status();
        let text = words(&reply.body);
        EngineError { kind: classify(status, &text.to_lowercase(), subject), status, text }
    }

    /// An answer with this status that is not what it should be; `text` says how and may quote the engine.
    pub fn unreadable(status: u16, text: &str) -> EngineError {
        EngineError { kind: Fault::Unreadable, status, text: one_line(text) }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.as_str() {
            "" => write!(formatter, "the engine answered {} without a word", self.status),
            text => write!(formatter, "the engine answered {}: {text}", self.status),
        }
    }
}

impl std::error::Error for EngineError {}

/// Why an exec did not start, from what stands in its stream behind a 101.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StartFailure {
    /// There is no such program in the container.
    CommandNotFound,
    /// There is such a file, and it may not or cannot be executed.
    NotExecutable,
    /// The working directory is missing, relative, or may not be entered.
    BadWorkdir,
    /// The user or group is not known in the container.
    BadUser,
    /// Something else; the text says what.
    Other,
}

/// Reads why an exec that never ran did not start: `text` is the beginning of its stream (of either channel;
/// frame headers between the words do no harm), `exit_code` what inspect says.
///
/// The words decide. The code alone cannot: 126 is every failure on Docker 20 and 26, 127 is also a missing
/// working directory on Docker 28 and Podman. Only where the words say nothing does 127 mean a missing
/// command. Ask only when [`ExecState::never_ran`](super::ExecState::never_ran); a program may print
/// anything.
pub fn read_start_failure(text: &[u8], exit_code: i64) -> StartFailure {
    let text = String::from_utf8_lossy(head_of(text)).to_lowercase();
    // Whichever comes first is the runtime's; what follows may quote the command, which may quote anything.
    let first = START_FAILURE_WORDS
        .iter()
        .filter_map(|(words, failure)| text.find(words).map(|position| (position, *failure)))
        .min_by_key(|(position, _)| *position);
    match first {
        Some((_, Some(failure))) => failure,
        Some((position, None)) => exec_failure(&text[position..]),
        None if exit_code == 127 => StartFailure::CommandNotFound,
        None => StartFailure::Other,
    }
}

/// The runtimes' words in lower case. None stands for a failed execve, whose reason comes behind the command.
const START_FAILURE_WORDS: &[(&str, Option<StartFailure>)] = &[
    ("unable to find user", Some(StartFailure::BadUser)),
    ("unable to find group", Some(StartFailure::BadUser)),
    // runc: `chdir to cwd ("/nosuch") set in config.json failed: …`; crun: ``chdir to `/nosuch`: …``.
    ("chdir to ", Some(StartFailure::BadWorkdir)),
    ("cwd must be an absolute path", Some(StartFailure::BadWorkdir)),
    ("current working directory is outside of container", Some(StartFailure::BadWorkdir)),
    ("exec: \"", None),
    // crun: ``executable file `nosuch` not found in $PATH``, ``open executable: Permission denied``.
    ("executable file `", None),
    ("open executable", None),
];

fn exec_failure(text: &str) -> StartFailure {
    let says = |words: &str| text.contains(words);
    if says("permission denied") || says("exec format error") || says("is a directory") {
        StartFailure::NotExecutable
    } else if says("not found in $path") || says("no such file or directory") {
        StartFailure::CommandNotFound
    } else {
        StartFailure::Other
    }
}

/// `text` is in lower case.
fn classify(status: u16, text: &str, subject: Subject) -> Fault {
    let says = |words: &str| text.contains(words);
    let refused_version = says("client version ") && (says(" is too new") || says(" is too old"));
    let bad_user = says("unable to find user") || says("unable to find group");
    // Docker 20 says it with 500, Docker 26 and 28 with 400, Podman with 404.
    let ambiguous = says("multiple ids found with provided prefix") || says("more than one result for ");
    // Docker with 500 or 501, Podman with 500 or 409.
    let no_logs = says("logging driver does not support reading")
        || says("log driver, cannot read logs")
        || says("this container is not logging output");
    match status {
        400 if refused_version => Fault::VersionRefused,
        400 | 500 if bad_user => Fault::BadUser,
        400 | 404 | 500 if ambiguous => Fault::Ambiguous,
        400.. if no_logs => Fault::LogsUnreadable,
        400 => Fault::BadRequest,
        404 if says("no such exec") || says("process does not exist") => Fault::ExecNotFound,
        404 if says("no such container") || says("no container with name or id") => Fault::ContainerNotFound,
        // A path nobody serves: an older engine, or something else that listens there.
        404 if text == "page not found" || text == "not found" => Fault::Unreadable,
        404 => match subject {
            Subject::Container => Fault::ContainerNotFound,
            Subject::Exec => Fault::ExecNotFound,
            Subject::Engine => Fault::Unreadable,
        },
        // Before "not running": Podman's start says "not running; container … is paused".
        409 if says(" is paused") => Fault::Paused,
        // Not running, restarting, dead, marked for removal: an engine has no other conflicts for what we
        // ask.
        409 => Fault::NotRunning,
        // Podman, where Docker would say 409. ("exec session state improper" is another matter.)
        500 if says("container state improper") => Fault::NotRunning,
        0..=399 => Fault::Unreadable,
        _ => Fault::Engine,
    }
}

/// Every refusal of Docker's and Podman's has it; Podman's has more.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// An engine's own words: JSON most of the time, bare text from attach and about versions below 1.24.
fn words(body: &[u8]) -> String {
    let body = head_of(body);
    match serde_json::from_slice(body) {
        Ok(Refusal { message }) => one_line(&message),
        Err(_) => one_line(&String::from_utf8_lossy(body)),
    }
}

fn head_of(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(LOOKED_AT_BYTES_MAX)]
}

/// Safe to show and to log: one line, bounded, nothing that moves a cursor or turns the writing round.
fn one_line(text: &str) -> String {
    let shown: String = (text.chars().take(LOOKED_AT_BYTES_MAX))
        .map(|character| if character.is_whitespace() { ' ' } else { character })
        .filter(|character| !character.is_control() && !turns_writing(*character))
        .skip_while(|character| *character == ' ')
        .take(TEXT_CHARS_MAX)
        .collect();
    shown.trim_end().to_owned()
}

/// Unicode's bidirectional marks and overrides, which are no control characters by category.
fn turns_writing(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::{json, refusal, reply};

    const ID: &str = "b7fa71f0a2a9d0e1b7fa71f0a2a9d0e1b7fa71f0a2a9d0e1b7fa71f0a2a9d0e1";

    #[test]
    fn refusals_of_all_engines() {
        use Fault::*;
        use Subject::{Container, Engine as Whole, Exec};
        // status, message, what was asked about, kind; first Docker's (20.10, 26.1, 28.5), then Podman's.
        for (status, message, subject, kind) in [
            (
                400,
                "client version 1.99 is too new. Maximum supported API version is 1.41",
                Container,
                VersionRefused,
            ),
            (
                400,
                "client version 1.11 is too old. Minimum supported API version is 1.12, please upgrade your client \
                 to a newer version",
                Whole,
                VersionRefused,
            ),
            (404, "No such container: nosuch", Container, ContainerNotFound),
            (404, "No such container: exec is paused", Exec, ContainerNotFound),
            (409, &format!("Container {ID} is not running"), Container, NotRunning),
            (409, &format!("container {ID} is not running"), Container, NotRunning),
            (409, "Container web is paused, unpause the container before exec", Container, Paused),
            (409, "container paused is not running", Container, NotRunning),
            (409, "Container web is restarting, wait until the container is running", Container, NotRunning),
            (
                409,
                "can not get logs from container which is dead or marked for removal",
                Container,
                NotRunning,
            ),
            (500, "Multiple IDs found with provided prefix: 0", Container, Ambiguous),
            (400, "multiple IDs found with provided prefix: 0", Container, Ambiguous),
            (400, "invalid JSON: unexpected end", Container, BadRequest),
            (400, "got EOF while reading request body", Container, BadRequest),
            (400, "No exec command specified", Container, BadRequest),
            (400, "unexpected content after JSON", Container, BadRequest),
            (400, "unable to find user nosuch: no matching entries in passwd file", Container, BadUser),
            (404, "page not found", Whole, Unreadable),
            (404, "No such exec instance: deadbeef", Exec, ExecNotFound),
            (404, "no such exec", Exec, ExecNotFound),
            (404, "process does not exist: not found", Exec, ExecNotFound),
            (404, "", Exec, ExecNotFound),
            (404, "", Container, ContainerNotFound),
            (404, "", Whole, Unreadable),
            (500, "cannot resize a deleted process: unknown", Exec, Engine),
            (500, "timeout waiting for exec session ready", Exec, Engine),
            (500, "configured logging driver does not support reading", Container, LogsUnreadable),
            (501, "configured logging driver does not support reading", Container, LogsUnreadable),
            (503, "This node is not a swarm manager", Whole, Engine),
            (403, "Forbidden", Whole, Engine),
            (301, "Moved", Whole, Unreadable),
            (200, "", Whole, Unreadable),
            // Podman
            (
                404,
                "no container with name or ID \"nosuch\" found: no such container",
                Container,
                ContainerNotFound,
            ),
            (
                404,
                "more than one result for container name 0: container already exists",
                Container,
                Ambiguous,
            ),
            (
                500,
                "can only create exec sessions on running containers: container state improper",
                Container,
                NotRunning,
            ),
            (409, &format!("cannot create exec session as container {ID} is paused"), Container, Paused),
            (
                409,
                &format!("cannot exec in a container that is not running; container {ID} is exited"),
                Exec,
                NotRunning,
            ),
            (
                409,
                &format!("cannot exec in a container that is not running; container {ID} is paused"),
                Exec,
                Paused,
            ),
            (404, "No such exec session: deadbeef", Exec, ExecNotFound),
            (500, "cannot resize container X exec session Y: exec session state improper", Exec, Engine),
            (500, "unable to find user nosuch: no matching entries in passwd file", Exec, BadUser),
            (
                500,
                "this container is using the 'none' log driver, cannot read logs: this container is not logging \
                 output",
                Container,
                LogsUnreadable,
            ),
        ] {
            let error = EngineError::from_reply(&refusal(status, message), subject);
            assert_eq!((error.kind, error.status), (kind, status), "{message}");
            assert_eq!(error.text, message);
        }
    }

    #[test]
    fn refusals_need_no_json() {
        let plain = [("Content-Type", "text/plain")];
        for (body, text) in [
            ("No such container: nosuch\r\n", "No such container: nosuch"),
            ("Not Found\n", "Not Found"),
            ("", ""),
            ("[1]", "[1]"),
            ("{\"message\":7}", "{\"message\":7}"),
            ("<html>\r\n<b>no</b>", "<html>  <b>no</b>"),
        ] {
            assert_eq!(EngineError::from_reply(&reply(404, &plain, body), Subject::Container).text, text);
        }
        let too_old = "client version 1.11 is too old. Minimum supported API version is 1.12, please upgrade";
        let error = EngineError::from_reply(&reply(400, &plain, too_old), Subject::Container);
        assert_eq!(error.kind, Fault::VersionRefused);
        let podman = r#"{"cause":"no such container","message":"no such container","response":404}"#;
        assert_eq!(EngineError::from_reply(&json(404, podman), Subject::Exec).kind, Fault::ContainerNotFound);
    }

    #[test]
    fn words_are_one_safe_line() {
        assert_eq!(one_line("  a\x1b[31m\r\n\tb\u{9b}\u{202e}c\0 \n"), "a[31m   bc");
        assert_eq!(one_line(&"ü".repeat(1000)), "ü".repeat(TEXT_CHARS_MAX));
        assert_eq!(one_line(&"\0".repeat(LOOKED_AT_BYTES_MAX * 2)), "");
        let huge = EngineError::from_reply(&reply(500, &[], &"ü".repeat(1 << 20)), Subject::Engine);
        assert_eq!(huge.text.chars().count(), TEXT_CHARS_MAX);
        let mut invalid = reply(500, &[], "");
        invalid.body = vec![0xff, b'a', 0xc3];
        assert_eq!(EngineError::from_reply(&invalid, Subject::Engine).text, "\u{fffd}a\u{fffd}");
    }

    #[test]
    fn errors_are_told_with_the_engines_words() {
        let error = EngineError::from_reply(&refusal(409, "paused"), Subject::Container);
        assert_eq!(error.to_string(), "the engine answered 409: paused");
        let mute = EngineError { text: String::new(), ..error };
        assert_eq!(mute.to_string(), "the engine answered 409 without a word");
    }

    #[test]
    fn start_failures_of_all_runtimes() {
        use StartFailure::*;
        let runc = "OCI runtime exec failed: exec failed: unable to start container process: ";
        let podman = "Error: runc: exec failed: unable to start container process: ";
        for (text, exit_code, failure) in [
            (
                format!("{runc}exec: \"nosuchcmd\": executable file not found in $PATH: unknown\r\n"),
                126,
                CommandNotFound,
            ),
            (
                format!("{runc}exec: \"nosuchcmd\": executable file not found in $PATH\r\n"),
                127,
                CommandNotFound,
            ),
            (
                format!("{runc}exec: \"/nosuch\": stat /nosuch: no such file or directory: unknown\r\n"),
                126,
                CommandNotFound,
            ),
            (format!("{runc}exec: \"/etc/passwd\": permission denied: unknown\r\n"), 126, NotExecutable),
            (format!("{runc}exec: \"/etc\": is a directory: unknown\r\n"), 126, NotExecutable),
            (format!("{runc}exec /x: exec format error\r\n"), 126, Other),
            (format!("{runc}exec: \"/x\": exec format error\r\n"), 126, NotExecutable),
            (
                format!(
                    "{runc}chdir to cwd (\"/nosuch\") set in config.json failed: no such file or directory: unknown\r\n"
                ),
                126,
                BadWorkdir,
            ),
            (
                format!("{runc}chdir to cwd (\"/root\") set in config.json failed: permission denied\r\n"),
                127,
                BadWorkdir,
            ),
            (
                "OCI runtime exec failed: exec failed: Cwd must be an absolute path\r\n".to_owned(),
                128,
                BadWorkdir,
            ),
            ("unable to find user nosuch: no matching entries in passwd file\r\n".to_owned(), 126, BadUser),
            (
                format!(
                    "{podman}exec: \"nosuchcmd\": executable file not found in $PATH: OCI runtime attempted to invoke \
                     a command that was not found\n"
                ),
                127,
                CommandNotFound,
            ),
            (
                format!("{podman}exec: \"/etc/passwd\": permission denied: OCI permission denied\n"),
                126,
                NotExecutable,
            ),
            (
                "Error: crun: executable file `nosuch` not found in $PATH: No such file or directory"
                    .to_owned(),
                127,
                CommandNotFound,
            ),
            ("Error: crun: chdir to `/nosuch`: No such file or directory".to_owned(), 127, BadWorkdir),
            ("Error: crun: open executable: Permission denied".to_owned(), 126, NotExecutable),
            // The command quotes another failure's words.
            (
                format!("{runc}exec: \"chdir to cwd\": executable file not found in $PATH"),
                126,
                CommandNotFound,
            ),
            // Not a failed start.
            ("Error: Exec command 0f is already running\r\n".to_owned(), 126, Other),
            (String::new(), 127, CommandNotFound),
            (String::new(), 126, Other),
            (String::new(), 137, Other),
        ] {
            assert_eq!(read_start_failure(text.as_bytes(), exit_code), failure, "{text}");
        }
        assert_eq!(read_start_failure(&[0xff; 1 << 20], 126), Other);
        let framed =
            [b"\x01\0\0\0\0\0\0\x22".as_slice(), b"exec: \"x\": permission denied: unknown"].concat();
        assert_eq!(read_start_failure(&framed, 126), NotExecutable);
    }
}
