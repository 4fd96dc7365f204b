//! Flags and environment → a valid configuration; every default and every limit, with its unit in its name.
//!
//! Knows no socket: whether an address can be used shows when it is used.

use crate::engine::{Address, Engines, NamedEngine, NodeTemplate, is_container_name};
use crate::locate::{Labels, Locator, Scheme, Schemes, Way};
use crate::service::{Service, ServiceId};
use lexopt::prelude::{Long, Short, Value, ValueExt};
use std::ffi::OsString;
use std::net::SocketAddr;

// What a client may take: time.

/// For the whole head of its HTTP request.
pub const HEAD_MILLISECONDS_MAX: u64 = 10_000;
/// For its first message, where that says who asks for what.
pub const HELLO_MILLISECONDS_MAX: u64 = 10_000;
/// For its close frame after ours, or, while it still reads what is queued, for the next bit of that.
pub const CLOSE_MILLISECONDS_MAX: u64 = 5_000;
/// For closing its connection after our last byte.
pub const LINGER_MILLISECONDS_MAX: u64 = 1_000;
/// Idle seconds before a TCP peer is probed; three probes in as much time again, and it is gone.
pub const KEEPALIVE_IDLE_SECONDS: i32 = 30;
/// How long bytes that were sent to a client may stay unacknowledged, while it is not known to rest.
pub const UNACKNOWLEDGED_MILLISECONDS_MAX: i32 = 60_000;

// What a client may take: bytes.

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
/// `TERM`.
pub const TERM_BYTES_MAX: usize = 64;
/// What may wait for an attached viewer before he loses lines.
pub const VIEWER_BACKLOG_BYTES_MAX: usize = 256 * 1024;

// What an engine may take.

/// From the client's wish to a running process.
pub const OPEN_MILLISECONDS_MAX: u64 = 30_000;
/// One short call, once it has a connection.
pub const CALL_MILLISECONDS_MAX: u64 = 15_000;
/// A short call's waiting for a connection.
pub const CALL_WAIT_MILLISECONDS_MAX: u64 = REAP_MILLISECONDS_MAX;
/// For saying how a process ended, after its stream ended.
pub const SETTLE_MILLISECONDS_MAX: u64 = 3_000;
/// The first pause before the question is put again; each next one is twice as long.
pub const SETTLE_RETRY_MILLISECONDS: u64 = 20;
/// Once the pause has grown to this, a container that is said to run is believed to run.
pub const SETTLE_RUNNING_MILLISECONDS_MAX: u64 = 160;
/// For creating and starting a reaper; most of it is waiting for its turn when many sessions end at once.
pub const REAP_MILLISECONDS_MAX: u64 = 300_000;
/// How long first output that looks like a failed start is held before it is taken for output.
pub const START_FAILURE_MILLISECONDS: u64 = 500;
/// How long such a text may be.
pub const START_FAILURE_BYTES_MAX: usize = 4 * 1024;
/// The body of a short call's reply.
pub const REPLY_BODY_BYTES_MAX: usize = crate::engine::reply::BODY_BYTES_MAX;
/// Connections for short calls that one loop keeps to an engine.
pub const CALL_CONNECTIONS_MAX: usize = 12;
/// How many of them may be taken by calls that can wait: sizes and probes, as many by searches for a container, and as
/// many by reapers. The rest is free for the question how a process ended, whatever an engine takes its time with.
pub const PATIENT_CALLS_MAX: usize = 3;
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
/// Connections that one turn accepts.
pub const ACCEPTS_PER_TURN: usize = 64;
/// How long accepting rests when descriptors have run out.
pub const ACCEPT_REST_MILLISECONDS: u64 = 100;
/// Connections that wait in the kernel for being accepted.
pub const LISTEN_BACKLOG: i32 = 4096;
/// Events that one poll gives.
pub const EVENTS_PER_POLL: usize = 1024;
/// How long a shutdown waits for the last words of its sessions.
pub const SHUTDOWN_MILLISECONDS_MAX: u64 = 10_000;

/// LAIN's keep-alive.
pub const PING_INTERVAL_MILLISECONDS: u64 = 10_000;

/// When a session's first PING is due after its upgrade: spread over half an interval, so that clients that came
/// together are not pinged together.
pub fn first_ping_milliseconds(number: u64) -> u64 {
    let half = PING_INTERVAL_MILLISECONDS / 2;
    // A multiplicative hash, since sessions are numbered one after another.
    half + (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % half
}

/// Which containers may be entered by name or id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerRule {
    patterns: Vec<String>,
}

impl ContainerRule {
    /// Patterns of names, in which `*` stands for anything.
    pub fn new(patterns: Vec<String>) -> Self {
        ContainerRule { patterns }
    }

    /// Somebody may ask at all.
    pub fn permits_asking(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whatever is asked for is permitted.
    pub fn permits_all(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern == "*")
    }

    /// The container of this name is permitted.
    pub fn permits(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| matches_pattern(pattern.as_bytes(), name.as_bytes()))
    }
}

/// `*` stands for any bytes, everything else for itself. Linear in the product of both lengths at worst.
fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut name_at) = (0, 0);
    let mut star = None;
    while name_at < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, name_at));
            at += 1;
        } else if pattern.get(at) == name.get(name_at) {
            at += 1;
            name_at += 1;
        } else if let Some((star_at, taken)) = star {
            // Let the last star take one byte more.
            star = Some((star_at, taken + 1));
            at = star_at + 1;
            name_at = taken + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Whom Entry calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peers {
    /// The engines.
    pub engines: Vec<NamedEngine>,
    /// Makes engines of nodes that are not among them.
    pub node_template: Option<NodeTemplate>,
    /// The services, by their [`ServiceId`].
    pub services: Vec<Service>,
}

impl Peers {
    /// One engine and nobody else.
    pub fn one(engine: Address) -> Peers {
        let engine = NamedEngine { name: engine.to_string(), address: engine };
        Peers { engines: vec![engine], ..Peers::default() }
    }

    /// The table of engines for one loop.
    pub fn table(&self) -> Engines {
        Engines::new(&self.engines, self.node_template.clone())
    }
}

/// What sessions go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The engines and services.
    pub peers: Peers,
    /// How targets are found.
    pub locator: Locator,
    /// Which containers may be entered by name.
    pub allow_container: ContainerRule,
    /// How many of the last lines `/attach` gives first, when the client does not say.
    pub attach_tail_lines: u32,
    /// How long a container may stay paused under a session in which something is typed.
    pub paused_milliseconds_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            peers: Peers::default(),
            locator: Locator::default(),
            allow_container: ContainerRule::default(),
            attach_tail_lines: 100,
            paused_milliseconds_max: 60_000,
        }
    }
}

/// What `entry serve` goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Loops, each on a thread of its own.
    pub workers: usize,
    /// With the embedded engine in place of a real one.
    pub demo: bool,
    /// What sessions go by.
    pub settings: Settings,
}

/// What `entry serve --help` prints.
pub const SERVE_HELP: &str = "\
Enter containers of a Docker Engine over WebSocket.

Usage: entry serve [OPTIONS]

  --listen ADDR:PORT        where clients connect; port 0 takes a free one  [127.0.0.1:8022]
  --engine URL              unix:///path or tcp://host:port  [$DOCKER_HOST or unix:///var/run/docker.sock]
  --workers N               event loops, each on its own thread  [one per core]
  --demo                    serve this machine's own shell from an embedded engine; no Docker needed
  --allow-container PATTERN containers that may be entered by name or id; * stands for anything; repeatable
                            [none: only app, proc and instance]
  --locate HOW              how app, proc and instance are found: labels (of the engine's containers), or
                            lainlet=HOST:PORT (LAIN's service)  [labels]
  --labels APP,PROC,INSTANCE  the container labels that name them, before Swarm's
                            [com.docker.compose.project,com.docker.compose.service,com.docker.compose.container-number]
  --attach-tail LINES       how many of the last lines /attach gives first  [100]
  --paused-timeout SECONDS  how long a container may stay paused under a session that is used  [60]
  -h, --help                this text

Until access control is there, only loopback addresses can be listened on.
";

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// Do it.
    Serve(Box<Config>),
    /// Print the help.
    Help,
}

/// Where a Docker Engine listens when nobody says otherwise.
const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";

/// Reads the arguments of `entry serve`.
///
/// # Errors
/// One sentence that says what is wrong and what to do.
pub fn parse_serve(
    arguments: impl IntoIterator<Item = OsString>,
    docker_host: Option<String>,
) -> Result<Wish, String> {
    let mut listen = "127.0.0.1:8022".to_owned();
    let mut engine = None;
    let mut workers = None;
    let mut demo = false;
    let mut settings = Settings::default();
    let mut patterns = Vec::new();
    let mut schemes = Schemes::default();
    let mut lainlet = None;

    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let value = |parser: &mut lexopt::Parser| -> Result<String, String> {
            parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())
        };
        match argument {
            Long("listen") => listen = value(&mut parser)?,
            Long("engine") => engine = Some(value(&mut parser)?),
            Long("workers") => workers = Some(number("--workers", &value(&mut parser)?, 1, 1024)?),
            Long("demo") => demo = true,
            Long("allow-container") => patterns.push(container_pattern(value(&mut parser)?)?),
            Long("labels") => schemes = labels(&value(&mut parser)?)?,
            Long("locate") => lainlet = locate(&value(&mut parser)?)?,
            Long("attach-tail") => {
                let lines = number("--attach-tail", &value(&mut parser)?, 0, 1_000_000)?;
                settings.attach_tail_lines = u32::try_from(lines).unwrap_or(u32::MAX);
            }
            Long("paused-timeout") => {
                let seconds = number("--paused-timeout", &value(&mut parser)?, 1, 86_400)?;
                settings.paused_milliseconds_max = seconds * 1000;
            }
            Short('h') | Long("help") => return Ok(Wish::Help),
            other @ (Short(_) | Long(_) | Value(_)) => {
                return Err(format!("{}; see entry serve --help", other.unexpected()));
            }
        }
    }
    if demo && engine.is_some() {
        return Err("--demo brings its own engine: leave --engine away".to_owned());
    }
    if demo && patterns.is_empty() {
        patterns.push("demo".to_owned());
    }
    settings.allow_container = ContainerRule::new(patterns);
    let engine = engine.or(docker_host.filter(|host| !host.is_empty() && !demo));
    let engine = engine.as_deref().unwrap_or(DEFAULT_ENGINE);
    settings.peers = Peers::one(
        Address::parse(engine).map_err(|error| format!("the engine's address {engine}: {error}"))?,
    );
    settings.locator = Locator::new(match lainlet {
        None => vec![Way::Labels(schemes)],
        Some(lainlet) => {
            settings.peers.services.push(lainlet);
            vec![Way::Lainlet(ServiceId(0))]
        }
    });
    let workers = match workers {
        Some(workers) => usize::try_from(workers).unwrap_or(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    Ok(Wish::Serve(Box::new(Config { listen: loopback(&listen)?, workers, demo, settings })))
}

fn number(flag: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| format!("{flag} takes a number from {least} to {most}, not {text:?}"))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let text = text.replace("localhost:", "127.0.0.1:");
    let address: SocketAddr = text.parse().map_err(|_| {
        format!("--listen takes ADDRESS:PORT like 127.0.0.1:8022 or [::1]:8022, not {text:?}")
    })?;
    if !address.ip().is_loopback() {
        return Err(format!(
            "--listen {address} is refused: whoever reaches Entry may enter containers, and there is no access \
             control yet. Listen on 127.0.0.1 or [::1], and let only people reach it who may enter (ssh -L, say)"
        ));
    }
    Ok(address)
}

fn container_pattern(text: String) -> Result<String, String> {
    let as_name = text.replace('*', "a");
    if is_container_name(&as_name) {
        Ok(text)
    } else {
        Err(format!(
            "--allow-container takes a container's name, in which * stands for anything, not {text:?}"
        ))
    }
}

/// How targets are found: by lainlet, or (None) by labels.
fn locate(text: &str) -> Result<Option<Service>, String> {
    match text.split_once('=') {
        None if text == "labels" => Ok(None),
        Some(("lainlet", authority)) if !authority.contains('/') => {
            Service::parse("lainlet", &format!("http://{authority}"), SERVICE_MILLISECONDS_MAX)
                .map(Some)
                .map_err(|error| format!("--locate {text}: {error}"))
        }
        Some(_) | None => Err(format!("--locate takes labels or lainlet=HOST:PORT, not {text:?}")),
    }
}

fn labels(text: &str) -> Result<Schemes, String> {
    let names: Vec<&str> = text.split(',').collect();
    match names[..] {
        [app, proc, instance] if !app.is_empty() && !proc.is_empty() => {
            let labels = Labels { app: app.to_owned(), proc: proc.to_owned(), instance: instance.to_owned() };
            Ok(Schemes::new(vec![Scheme::Labels(labels), Scheme::Swarm]))
        }
        _ => Err(format!(
            "--labels takes three names of labels, like my.app,my.proc,my.instance, not {text:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, String> {
        let arguments = arguments.iter().map(OsString::from);
        match parse_serve(arguments, Some("tcp://10.0.0.1:2375".to_owned()))? {
            Wish::Serve(config) => Ok(*config),
            Wish::Help => Err("help".to_owned()),
        }
    }

    fn engine_of(config: &Config) -> String {
        config.settings.peers.engines[0].address.to_string()
    }

    #[test]
    fn defaults_and_flags() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8022");
        assert_eq!(engine_of(&config), "tcp://10.0.0.1:2375");
        assert!(!config.settings.allow_container.permits_asking());
        let config = parse(&["--engine", "unix:///x.sock", "--workers=3", "--listen", "[::1]:0"]).unwrap();
        assert_eq!((engine_of(&config).as_str(), config.workers), ("unix:///x.sock", 3));
        assert_eq!(config.settings.locator, Locator::default());
        let config = parse(&["--locate", "lainlet=lainlet.lain:9001"]).unwrap();
        assert_eq!(config.settings.locator, Locator::new(vec![Way::Lainlet(ServiceId(0))]));
        assert_eq!(config.settings.peers.services[0].to_string(), "http://lainlet.lain:9001");
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let table: [(&[&str], &str); 11] = [
            (&["--listen", "0.0.0.0:8022"], "no access control yet"),
            (&["--listen", "nonsense"], "ADDRESS:PORT"),
            (&["--workers", "0"], "from 1 to 1024"),
            (&["--engine", "ssh://host"], "the engine's address"),
            (&["--demo", "--engine", "unix:///x"], "brings its own engine"),
            (&["--labels", "a,b"], "three names"),
            (&["--locate", "zookeeper"], "labels or lainlet=HOST:PORT"),
            (&["--locate", "lainlet=http://x/"], "labels or lainlet=HOST:PORT"),
            (&["--locate", "lainlet=:80"], "host's name"),
            (&["--allow-container", "a b"], "container's name"),
            (&["--frob"], "entry serve --help"),
        ];
        for (arguments, words) in table {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(words), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn container_patterns() {
        let table = [
            ("*", "anything", true),
            ("web-*", "web-1", true),
            ("web-*", "xweb-1", false),
            ("*-db", "shop-db", true),
            ("*-db", "shop-db2", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("web", "web", true),
            ("web", "web2", false),
        ];
        for (pattern, name, permitted) in table {
            let rule = ContainerRule::new(vec![pattern.to_owned()]);
            assert_eq!(rule.permits(name), permitted, "{pattern} {name}");
        }
    }

    #[test]
    fn first_pings_are_spread() {
        let half = PING_INTERVAL_MILLISECONDS / 2;
        let dues: Vec<u64> = (0..1000).map(first_ping_milliseconds).collect();
        assert!(dues.iter().all(|due| (half..2 * half).contains(due)));
        for tenth in 0..10 {
            let begin = half + tenth * half / 10;
            let count = dues.iter().filter(|due| (begin..begin + half / 10).contains(due)).count();
            assert!((50..200).contains(&count), "{count} of 1000 in tenth {tenth}");
        }
    }
}
