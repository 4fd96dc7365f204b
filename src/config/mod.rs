//! What Entry goes by: every limit, with its unit in its name, and the values that a configuration comes down to.
//!
//! | file | what it holds |
//! |---|---|
//! | this one | the settings as values |
//! | `limits` | what nobody sets: limits of size and time, and the defaults of those that somebody may |
//! | [`options`] | the table of options: flags, environment and file, and the help |
//! | `draft` | what they say → a valid configuration |
//! | `front` | what of it is about who may enter, and how clients come in |
//! | `recording` | what of it is about recordings |
//! | `sources` | where a value stands, which of several counts, what is wrong with it |
//!
//! Knows no socket: whether an address can be used shows when it is used.

mod draft;
mod front;
mod limits;
pub mod options;
mod recording;
mod sources;

pub use limits::*;
pub use options::{Wish, help, odd_variables, parse, parse_beside};
pub use recording::Record;
pub use sources::Surroundings;

use crate::access::Spec;
use crate::access::grants::matches;
use crate::commands::alerts::Pattern;
use crate::engine::{Address, Engines, NamedEngine, NodeTemplate};
use crate::locate::Locator;
use crate::service::{Service, ServiceId};
use crate::wire::forwarded::Network;
use crate::writer::Destination;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

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

    /// The patterns.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
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

/// Whether open sessions may be watched by those who have the right to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watching {
    /// They may not; nothing is kept for it.
    #[default]
    Off,
    /// They may, and whoever is in there is told who watches.
    Told,
    /// They may, and nobody is told.
    Silent,
}

/// What is ended of what a session leaves in its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReapMode {
    /// All of its processes, also those that left its terminal session or changed their user.
    #[default]
    Tree,
    /// Those of its own terminal session that do not ignore the hang-up.
    Session,
    /// Nothing.
    Off,
}

/// Whom Entry calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peers {
    /// The engines.
    pub engines: Vec<NamedEngine>,
    /// Makes engines of nodes that are not among them.
    pub node_template: Option<NodeTemplate>,
    /// The services, by their [`crate::service::ServiceId`].
    pub services: Vec<Service>,
}

impl Peers {
    /// One engine and nobody else.
    pub fn one(engine: Address) -> Peers {
        let engine = NamedEngine { name: engine.to_string(), address: engine };
        Peers { engines: vec![engine], ..Peers::default() }
    }

    /// The same with TLS to the engines that are reached over TCP, as Docker's own client understands
    /// `DOCKER_TLS_VERIFY`.
    pub fn verified(mut self) -> Peers {
        for engine in &mut self.engines {
            engine.address = engine.address.clone().over_tls();
        }
        self.node_template = self.node_template.map(NodeTemplate::over_tls);
        self
    }

    /// The table of engines for one loop.
    pub fn table(&self) -> Engines {
        Engines::new(&self.engines, self.node_template.clone())
    }
}

/// Addresses of sockets that somebody has opened already, in the place of those that options name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handed {
    /// Where clients connect.
    pub clients: Vec<SocketAddr>,
    /// Where operators are answered.
    pub operators: Option<SocketAddr>,
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

impl Front {
    /// What a proxy at this address says of its clients is believed.
    pub fn trusts(&self, proxy: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(proxy))
    }
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
    /// How long nobody may type in a session in which somebody could; as long as one likes, unless the operator says so.
    pub idle_seconds_max: Option<u32>,
    /// How long a session may last.
    pub lasts_seconds_max: Option<u32>,
    /// How long open sessions may go on once the gateway is asked to go down.
    pub drain_seconds: u32,
    /// Whether open sessions may be watched.
    pub watching: Watching,
    /// What is ended of what sessions leave.
    pub reap: ReapMode,
    /// In containers with open sessions stands a guard, which ends what they leave if the gateway is killed.
    pub guard: bool,
    /// An image with a `sh`, for the containers that have none: what sessions leave there is ended from beside.
    pub reap_helper: Option<String>,
    /// How sessions are written down; none where they are not.
    pub record: Option<Record>,
}

impl Settings {
    /// Whether there are guards.
    pub fn guards(&self) -> bool {
        self.guard && self.reap != ReapMode::Off
    }
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
            idle_seconds_max: None,
            lasts_seconds_max: None,
            drain_seconds: DRAIN_SECONDS,
            watching: Watching::default(),
            reap: ReapMode::default(),
            guard: true,
            reap_helper: None,
            record: None,
        }
    }
}

/// Files of certificates and keys, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// The gateway's own certificate and its key: TLS is spoken to clients.
    pub own: Option<(PathBuf, PathBuf)>,
    /// A directory with ca.pem for engines that speak TLS, and cert.pem and key.pem for those that ask who calls.
    pub engines: Option<PathBuf>,
    /// The authorities that are trusted to know services, and engines where there is no directory for them; those of
    /// this machine where there is none.
    pub authorities: Option<PathBuf>,
}

/// Limits as far as somebody has set them; what the machine bears is known when the gateway starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WantedLimits {
    /// Sessions of the process; none for as many as descriptors allow.
    pub sessions: Option<u32>,
    /// Sessions of one address.
    pub per_address: Option<u32>,
    /// Sessions of one user.
    pub per_user: Option<u32>,
    /// What may be held for those who do not take it, in MiB; none for [`BUFFER_BYTES`], or more where the sessions need
    /// it.
    pub buffer_mib: Option<u32>,
}

/// How operators watch the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watch {
    /// Where they are answered.
    pub admin: Option<SocketAddr>,
    /// The file of the token that they bring.
    pub admin_token: Option<PathBuf>,
    /// Where it is written down who was where.
    pub audit: Option<Destination>,
    /// Nobody is let in where that cannot be written down.
    pub audit_required: bool,
    /// The lines that are entered are written down as well.
    pub audit_commands: bool,
    /// Who hears of those that alert.
    pub alert_webhook: Option<ServiceId>,
    /// Which those are.
    pub alert_patterns: Vec<Pattern>,
    /// How lines of the log look.
    pub log_format: LogFormat,
}

/// How lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object of JSON a line.
    Json,
}

impl Watch {
    /// Somebody may ask who is there, or it is written down.
    pub fn is_on(&self) -> bool {
        self.admin.is_some() || self.audit.is_some()
    }
}

/// What `entry serve` goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect; the first of several sockets that were opened already.
    pub listen: SocketAddr,
    /// Loops, each on a thread of its own.
    pub workers: usize,
    /// With the embedded engine in place of a real one.
    pub demo: bool,
    /// Where TLS is spoken.
    pub tls: TlsFiles,
    /// How many may be in, and what may be held for them.
    pub limits: WantedLimits,
    /// How it is watched.
    pub watch: Watch,
    /// Who may enter: rules in their order.
    pub access: Vec<Spec>,
    /// What sessions go by.
    pub settings: Settings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_permitted_by_any_of_its_patterns() {
        let rule = ContainerRule::new(vec!["web-*".to_owned(), "db".to_owned()]);
        for (name, permitted) in [("web-1", true), ("db", true), ("db-1", false), ("my-web-1", false)] {
            assert_eq!(rule.permits(name), permitted, "{name}");
        }
        assert!(!ContainerRule::default().permits("web-1"));
    }
}
