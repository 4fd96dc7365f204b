//! Flags and environment → a valid configuration; every default and every limit, with its unit in its name.
//!
//! Knows no socket: whether an address can be used shows when it is used.

use crate::access::Spec;
use crate::access::grants::matches;
use crate::access::spec::World;
use crate::engine::{Address, Engines, NamedEngine, NodeTemplate, is_container_name};
use crate::locate::{Labels, Locator, Scheme, Schemes, Way};
use crate::service::{Service, ServiceId};
use crate::wire::forwarded::Network;
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
        self.patterns.iter().any(|pattern| matches(pattern, name))
    }
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

/// How clients come in: through which proxies, on which path, from which pages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Front {
    /// What stands before every path: empty, or with a slash at its beginning and none at its end.
    pub base_path: String,
    /// Pages of these origins may enter, beside those of the gateway's own.
    pub allow_origins: Vec<String>,
    /// Own pages are only those of a loopback address: without proof of who asks, any page that a person visits could
    /// give itself this machine's address (DNS rebinding).
    pub loopback_pages_only: bool,
    /// The cookie with the token, for pages that have it from elsewhere.
    pub token_cookie: Option<String>,
    /// Every connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// Who is believed whom it serves.
    pub trusted_proxies: Vec<Network>,
}

/// What sessions go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How clients come in.
    pub front: Front,
    /// How often services are asked again whether somebody may stay; never, unless the operator says so.
    pub recheck_milliseconds: Option<u64>,
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
            front: Front { loopback_pages_only: true, ..Front::default() },
            recheck_milliseconds: None,
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
    /// Who may enter: rules in their order.
    pub access: Vec<Spec>,
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
  --access RULE             who may enter; repeatable, the first answer decides: anonymous, tokens=FILE, jwt=NAME=VALUE,…,
                            webhook=URL, lain  [anonymous, on a loopback address]
  --access-recheck MINUTES  ask webhook and lain again under open sessions, and end those that may not stay
  --allow-anonymous-shells-from-anywhere     let anybody who can connect enter, on any address
  --lain-without-auth-lets-everybody-in      so that lain allows where LAIN's console has no access control
  --allow-origin ORIGIN     pages of this origin may enter too (https://console.example); repeatable
  --token-cookie NAME       the cookie in which pages bring the token
  --trusted-proxy NETWORK   believe X-Forwarded-For, Forwarded, X-Real-IP from there (10.0.0.0/8); repeatable
  --proxy-protocol          every connection begins with a PROXY header (v1 or v2), from a trusted proxy
  --base-path PATH          what stands before /enter, /attach and /api/ping
  --attach-tail LINES       how many of the last lines /attach gives first  [100]
  --paused-timeout SECONDS  how long a container may stay paused under a session that is used  [60]
  -h, --help                this text

SIGHUP reads the files of rules anew; one that is broken leaves the old rule in force.
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
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Wish, String> {
    let mut listen = "127.0.0.1:8022".to_owned();
    let mut engine = None;
    let mut workers = None;
    let mut demo = false;
    let mut settings = Settings::default();
    let mut patterns = Vec::new();
    let mut schemes = Schemes::default();
    let mut lainlet = None;
    let mut access = Vec::new();
    let mut anonymous_from_anywhere = false;
    let mut lain_lets_everybody_in = false;

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
            Long("access") => access.push(value(&mut parser)?),
            Long("access-recheck") => {
                let minutes = number("--access-recheck", &value(&mut parser)?, 1, 1440)?;
                settings.recheck_milliseconds = Some(minutes * 60_000);
            }
            Long("allow-anonymous-shells-from-anywhere") => anonymous_from_anywhere = true,
            Long("lain-without-auth-lets-everybody-in") => lain_lets_everybody_in = true,
            Long("allow-origin") => settings.front.allow_origins.push(origin(value(&mut parser)?)?),
            Long("token-cookie") => settings.front.token_cookie = Some(cookie_name(value(&mut parser)?)?),
            Long("trusted-proxy") => {
                let network = value(&mut parser)?;
                let network = Network::parse(&network)
                    .map_err(|error| format!("--trusted-proxy {network}: {error}"))?;
                settings.front.trusted_proxies.push(network);
            }
            Long("proxy-protocol") => settings.front.proxy_protocol = true,
            Long("base-path") => settings.front.base_path = base_path(&value(&mut parser)?)?,
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
    let docker_host = environment("DOCKER_HOST");
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
    let listen = listen_address(&listen)?;
    let access = rules(&access, lain_lets_everybody_in, &mut settings, environment)?;
    check_openness(listen, demo, &access, anonymous_from_anywhere, &mut settings.front)?;
    Ok(Wish::Serve(Box::new(Config { listen, workers, demo, access, settings })))
}

fn number(flag: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| format!("{flag} takes a number from {least} to {most}, not {text:?}"))
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.replace("localhost:", "127.0.0.1:")
        .parse()
        .map_err(|_| format!("--listen takes ADDRESS:PORT like 127.0.0.1:8022 or [::1]:8022, not {text:?}"))
}

/// The rules as they are written; without any, everybody who can connect is let in.
fn rules(
    texts: &[String],
    lain_lets_everybody_in: bool,
    settings: &mut Settings,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Spec>, String> {
    let service_milliseconds_max = SERVICE_MILLISECONDS_MAX;
    let mut world = World { services: &mut settings.peers.services, service_milliseconds_max, environment };
    let specs: Result<Vec<Spec>, String> = texts.iter().map(|text| Spec::parse(text, &mut world)).collect();
    let mut specs = specs?;
    let mut has_lain = false;
    for spec in &mut specs {
        if let Spec::Lain(lain) = spec {
            has_lain = true;
            lain.without_auth_let_everybody_in = lain_lets_everybody_in;
        }
    }
    if lain_lets_everybody_in && !has_lain {
        return Err("--lain-without-auth-lets-everybody-in goes with --access lain".to_owned());
    }
    if specs.is_empty() {
        specs.push(Spec::Anonymous);
    }
    Ok(specs)
}

/// Nobody hands out shells to the whole network by accident.
fn check_openness(
    listen: SocketAddr,
    demo: bool,
    access: &[Spec],
    anonymous_from_anywhere: bool,
    front: &mut Front,
) -> Result<(), String> {
    let anonymous = access.iter().any(Spec::lets_anybody_in);
    front.loopback_pages_only = anonymous;
    if front.proxy_protocol && front.trusted_proxies.is_empty() {
        let text =
            "--proxy-protocol needs --trusted-proxy NETWORK: whoever else connects could claim any address";
        return Err(text.to_owned());
    }
    if demo && !listen.ip().is_loopback() {
        return Err(
            "--demo gives away this machine's own shell: it listens on a loopback address only".to_owned()
        );
    }
    let public = !listen.ip().is_loopback() || !front.trusted_proxies.is_empty();
    let anonymous = access.iter().any(|spec| matches!(spec, Spec::Anonymous));
    if public && anonymous && !anonymous_from_anywhere {
        let why = match listen.ip().is_loopback() {
            true => "--trusted-proxy means that others than this machine's users come in".to_owned(),
            false => format!("{} is not a loopback address", listen.ip()),
        };
        return Err(format!(
            "whoever reaches Entry could enter containers: {why}, and no rule says who may. Give one (--access \
             tokens=FILE, made with entry token new; or jwt, webhook, lain), or listen on 127.0.0.1, or mean it: \
             --allow-anonymous-shells-from-anywhere"
        ));
    }
    Ok(())
}

/// An origin as browsers write it (RFC 6454, 6.2).
fn origin(text: String) -> Result<String, String> {
    let authority =
        text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#@*,".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(plain) {
        return Err(format!(
            "--allow-origin takes SCHEME://HOST[:PORT] like https://console.example, not {text:?}"
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// A name that a cookie can have (RFC 6265, 4.1.1).
fn cookie_name(text: String) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
    if text.is_empty() || !text.bytes().all(plain) {
        return Err(format!("--token-cookie takes the name of a cookie, not {text:?}"));
    }
    Ok(text)
}

fn base_path(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if (!path.is_empty() && !path.starts_with('/')) || !path.bytes().all(plain) {
        return Err(format!("--base-path takes a path like /entry, not {text:?}"));
    }
    Ok(path.to_owned())
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
        let environment = |name: &str| (name == "DOCKER_HOST").then(|| "tcp://10.0.0.1:2375".to_owned());
        match parse_serve(arguments, &environment)? {
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
        let table: [(&[&str], &str); 25] = [
            (&["--listen", "0.0.0.0:8022"], "no rule says who may"),
            (
                &["--listen", "0.0.0.0:8022", "--access", "anonymous"],
                "--allow-anonymous-shells-from-anywhere",
            ),
            (&["--listen", "[::]:8022", "--access", "tokens=/t", "--access", "anonymous"], "entry token new"),
            (&["--trusted-proxy", "10.0.0.0/8"], "--trusted-proxy means"),
            (
                &["--demo", "--listen", "0.0.0.0:1", "--allow-anonymous-shells-from-anywhere"],
                "loopback address only",
            ),
            (&["--demo", "--listen", "0.0.0.0:1", "--access", "tokens=/t"], "loopback address only"),
            (&["--proxy-protocol", "--access", "tokens=/t"], "needs --trusted-proxy"),
            (&["--trusted-proxy", "10.0.0.1/8"], "write 10.0.0.0/8"),
            (&["--access", "magic"], "--access takes"),
            (&["--access-recheck", "0"], "from 1 to 1440"),
            (&["--lain-without-auth-lets-everybody-in"], "goes with --access lain"),
            (&["--allow-origin", "console.example"], "https://console.example"),
            (&["--allow-origin", "https://a/b"], "https://console.example"),
            (&["--token-cookie", "a=b"], "name of a cookie"),
            (&["--base-path", "entry"], "path like /entry"),
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
    fn with_rules_any_address_can_be_listened_on() {
        let table: [&[&str]; 5] = [
            &["--access", "tokens=/t"],
            &["--access", "tokens=/t", "--access", "jwt=secret=/s,audience=entry"],
            &["--allow-anonymous-shells-from-anywhere"],
            &["--access", "webhook=http://hook", "--trusted-proxy", "10.0.0.0/8", "--proxy-protocol"],
            &["--access", "lain=lainlet=http://a,console=http://b,sso=none"],
        ];
        for arguments in table {
            let config = parse(&[&["--listen", "0.0.0.0:8022"], arguments].concat()).unwrap();
            let open = arguments.contains(&"--allow-anonymous-shells-from-anywhere");
            assert_eq!(config.settings.front.loopback_pages_only, open, "{arguments:?}");
        }
        let config = parse(&["--base-path", "/a/b/", "--allow-origin", "HTTPS://Console.example"]);
        assert!(config.is_err(), "an origin's scheme is written small");
        let config = parse(&["--base-path", "/a/b/", "--allow-origin", "https://Console.example"]).unwrap();
        assert_eq!(config.settings.front.base_path, "/a/b");
        assert_eq!(config.settings.front.allow_origins, ["https://console.example"]);
        assert_eq!(config.access, [Spec::Anonymous]);
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
