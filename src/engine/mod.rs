//! What Entry says to a Docker Engine: requests as bytes, replies as values.
//!
//! | file | what it holds |
//! |---|---|
//! | this one | the words both directions share: which API is spoken, which exec, which command |
//! | [`address`] | where an engine listens |
//! | [`id`] | ids of execs and containers, held small |
//! | [`fleet`] | which engines there are, and what is known of each |
//! | [`request`] | values → whole HTTP/1.1 requests |
//! | [`reply`] | whole HTTP replies → values |
//! | [`helper`] | a container of Entry's own beside another one |
//! | [`fault`] | refusals and failed starts → one classification for Docker and Podman |
//!
//! The source is the Docker Engine API, versions 1.25 to 1.51, as Docker 20.10, 26.1 and 28.5 and Podman's
//! compatible API 4.3 and 5.8 speak it. Where those differ, a comment says which one asked for the branch.
//!
//! May not know: sockets, clocks, randomness, logs, sessions. Every function here is a pure one.

pub mod address;
pub mod fault;
pub mod fleet;
pub mod helper;
pub mod id;
pub mod reply;
pub mod request;

use std::fmt;
use std::str::FromStr;

pub use address::{Address, AddressError};
pub use fault::{EngineError, Fault, StartFailure, Subject, read_start_failure};
pub use fleet::{EngineId, Engines, NamedEngine, NodeTemplate};
pub use id::{CompactText, ExecId, NotAnExecId};
pub use reply::{ContainerState, ExecState, Listed};

/// The newest API version Entry speaks: what lies above it was not read, let alone tried.
pub const API_VERSION_NEWEST: ApiVersion = ApiVersion { major: 1, minor: 51 };

/// The oldest API version Entry speaks: before it an exec has no `Env` (Engine API history, 1.25), and
/// without its mark in the environment an ended session's processes cannot be found again.
pub const API_VERSION_OLDEST: ApiVersion = ApiVersion { major: 1, minor: 25 };

/// The most characters an exec id may have.
pub const EXEC_ID_CHARS_MAX: usize = 128;

/// The most characters a container name or id may have.
pub const CONTAINER_NAME_CHARS_MAX: usize = 128;

/// A version of the Engine API, as in `/v1.41/…`. Ordered by major, then minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// The number before the dot.
    pub major: u16,
    /// The number behind the dot: 1.9 is older than 1.41.
    pub minor: u16,
}

/// The text is not an [`ApiVersion`] (two numbers of at most four digits with a dot between them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnApiVersion;

impl FromStr for ApiVersion {
    type Err = NotAnApiVersion;

    /// Reads `1.41`; surrounding spaces, a `v`, a third number or a suffix are errors.
    fn from_str(text: &str) -> Result<ApiVersion, NotAnApiVersion> {
        let (major, minor) = text.split_once('.').ok_or(NotAnApiVersion)?;
        Ok(ApiVersion { major: version_number(major)?, minor: version_number(minor)? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// How to talk to one engine: what a ping taught. It is unknown until then and may change when the engine
/// restarts as another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// The version in the paths of all requests: the engine's own, at most [`API_VERSION_NEWEST`].
    pub version: ApiVersion,
    /// The engine is Podman behind its Docker-compatible API.
    pub podman: bool,
}

impl Dialect {
    /// Does exec start take `ConsoleSize`? Docker from API 1.42 on. Podman ignores it and takes `h` and `w`.
    pub fn knows_console_size(&self) -> bool {
        !self.podman && self.version >= ApiVersion { major: 1, minor: 42 }
    }

    /// The engine takes no window size with the start, but a resize sent together with the start waits for the
    /// process: Docker before API 1.42. Podman takes a size of its own kind, and refuses such a resize.
    pub fn resizes_beside_start(&self) -> bool {
        !self.podman && !self.knows_console_size()
    }
}

/// What is to be run in a container. The same value goes to [`request::create_exec`] and
/// [`request::start_exec`]: Docker frames the stream by the start's Tty, Podman by the create's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExecSpec<'a> {
    /// The program and its arguments; not empty (engines refuse that with 400, Podman with 500).
    pub command: &'a [String],
    /// A pseudo-terminal: the stream is raw. Without one it is framed, stdout apart from stderr.
    pub tty: bool,
    /// Attach stdin; without it the process reads end of file at once.
    pub stdin: bool,
    /// `user`, `uid`, `user:group`…; None or empty is the container's own.
    pub user: Option<&'a str>,
    /// An absolute path; None or empty is the container's own.
    pub workdir: Option<&'a str>,
    /// Items `NAME=value`, added to the container's. Not checked here (Podman refuses items without `=`).
    pub environment: &'a [String],
    /// The first size of the terminal; it counts only with `tty`.
    pub size: Option<WindowSize>,
    /// With every capability that the engine has to give.
    pub privileged: bool,
}

/// The size of a terminal, in character cells. Zero is never sent: requests raise it to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Cells in a row; engines cut larger numbers to 16 bits themselves, wrongly.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

impl WindowSize {
    /// The nearest size an engine takes: both numbers brought into 1..=65535.
    pub fn clamped(columns: u64, rows: u64) -> WindowSize {
        let clamp = |cells: u64| u16::try_from(cells.max(1)).unwrap_or(u16::MAX);
        WindowSize { columns: clamp(columns), rows: clamp(rows) }
    }
}

/// May this text name a container, by the engine's own rule: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most
/// [`CONTAINER_NAME_CHARS_MAX`] characters? Ids are names in this sense.
pub fn is_container_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.len() <= CONTAINER_NAME_CHARS_MAX
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(inner)
}

fn version_number(text: &str) -> Result<u16, NotAnApiVersion> {
    // Digits are checked here because `parse` would take a sign too.
    if text.is_empty() || text.len() > 4 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotAnApiVersion);
    }
    text.parse().map_err(|_| NotAnApiVersion)
}

/// Replies for tests, made the way the wire makes them. The only place here that knows how a body is framed.
#[cfg(test)]
pub(crate) mod fixtures {
    use crate::wire::http::{BodyFraming, Reply, parse_response};

    pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut bytes = format!("HTTP/1.1 {status} Told\r\n");
        for (name, value) in headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        bytes += &format!("Content-Length: {}\r\n\r\n", body.len());
        let (head, length) = parse_response(bytes.as_bytes(), 65536).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        Reply { head, framing: BodyFraming::Length(body.len() as u64), body: body.as_bytes().to_vec() }
    }

    /// A reply in JSON, as Docker sends it: with a line end behind the body.
    pub(crate) fn json(status: u16, body: &str) -> Reply {
        reply(status, &[("Content-Type", "application/json")], &format!("{body}\n"))
    }

    /// Docker's way to refuse.
    pub(crate) fn refusal(status: u16, message: &str) -> Reply {
        json(status, &serde_json::json!({ "message": message }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_not_text() {
        let version = |text: &str| text.parse::<ApiVersion>().unwrap();
        assert!(version("1.9") < version("1.41"));
        assert!(version("1.51") < version("2.0"));
        assert_eq!(version("1.41").to_string(), "1.41");
        for odd in
            ["", ".", "1", "1.", ".41", "v1.41", "1.41.0", "1.41-rc1", "+1.41", "1.+4", "1.99999", " 1.41"]
        {
            assert_eq!(odd.parse::<ApiVersion>(), Err(NotAnApiVersion), "{odd:?}");
        }
    }

    #[test]
    fn console_size_is_dockers_from_1_42() {
        let dialect =
            |minor, podman| Dialect { version: ApiVersion { major: 1, minor }, podman }.knows_console_size();
        assert!(!dialect(41, false));
        assert!(dialect(42, false));
        assert!(dialect(51, false));
        assert!(!dialect(44, true));
    }

    #[test]
    fn sizes_are_clamped() {
        assert_eq!(WindowSize::clamped(0, 24), WindowSize { columns: 1, rows: 24 });
        assert_eq!(WindowSize::clamped(70_000, u64::MAX), WindowSize { columns: 65_535, rows: 65_535 });
    }

    #[test]
    fn container_names_follow_the_engines_rule() {
        let longest = "a".repeat(CONTAINER_NAME_CHARS_MAX);
        for name in ["web", "shop-web-1", "0", "a.b_c-d", &longest] {
            assert!(is_container_name(name), "{name:?}");
        }
        let too_long = "a".repeat(CONTAINER_NAME_CHARS_MAX + 1);
        for name in ["", "/web", "-web", ".web", "_web", "a/b", "a b", "a?b", "wéb", "a\n", "..", &too_long]
        {
            assert!(!is_container_name(name), "{name:?}");
        }
    }
}
