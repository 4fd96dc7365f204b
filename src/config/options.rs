//! The table of options. Flags, environment and file know the same names, and the help is read off the same rows, so
//! that none of the four can drift.

use super::front::{self, Access};
use super::sources::{Named, Surroundings, Takes, gather, nearest, variable_name};
use super::{
    Config, ContainerRule, Front, Peers, ReapMode, SERVICE_MILLISECONDS_MAX, Settings, TlsFiles, WantedLimits,
};
use crate::engine::fleet::ENGINES_MAX;
use crate::engine::{Address, NamedEngine, NodeTemplate, is_container_name};
use crate::locate::{Labels, Locator, Scheme, Schemes, Way};
use crate::service::{Service, ServiceId};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// One row of the table.
struct Row {
    option: Named,
    /// What it means, and in brackets what holds without it; lines as they are printed.
    help: &'static str,
    /// Takes note of a value. An error goes on behind the place where the value stands: "takes …, not …".
    note: fn(&mut Draft, &str) -> Result<(), String>,
}

const fn row(
    name: &'static str,
    takes: Takes,
    help: &'static str,
    note: fn(&mut Draft, &str) -> Result<(), String>,
) -> Row {
    Row { option: Named { name, takes }, help, note }
}

use Takes::{Many, Nothing, One};

/// Every option of `entry serve`, in the order of the help.
const ROWS: &[Row] = &[
    row(
        "listen",
        One("ADDR:PORT"),
        "where clients connect; port 0 takes a free one  [127.0.0.1:8022]",
        |draft, text| {
            draft.listen = Some(front::listen(text)?);
            Ok(())
        },
    ),
    row(
        "lain",
        Nothing,
        "stand in LAIN's place: --engine, --locate and --access by $SWARM_PORT, $LAINLET_PORT and\n\
         $LAIN_DOMAIN, listening on 0.0.0.0:8022; what other options say counts more",
        |draft, _| {
            draft.lain = true;
            Ok(())
        },
    ),
    row(
        "engine",
        Many("[NAME=]URL"),
        "unix:///path, tcp://host:port, or https://host:port over TLS; repeatable; with {node} as\n\
         the host, the engine of whichever node a container is on\n\
         [$DOCKER_HOST or unix:///var/run/docker.sock]",
        |draft, text| match engine(text)? {
            EngineWish::Named(engine) => {
                draft.engines.push(engine);
                Ok(())
            }
            EngineWish::OfNodes(template) => match draft.node_template.replace(template) {
                None => Ok(()),
                Some(_) => Err("may stand with {node} only once".to_owned()),
            },
        },
    ),
    row(
        "engine-cert-path",
        One("DIR"),
        "speak TLS to engines at tcp://, which DIR/ca.pem knows; cert.pem and key.pem say who\n\
         calls  [$DOCKER_CERT_PATH or ~/.docker where $DOCKER_TLS_VERIFY is set, else plain TCP]",
        |draft, text| {
            draft.tls.engines = Some(path(text)?);
            Ok(())
        },
    ),
    row(
        "ca",
        One("FILE"),
        "trust the authorities in FILE (PEM) to know services at https://  [those of this machine]",
        |draft, text| {
            draft.tls.authorities = Some(path(text)?);
            Ok(())
        },
    ),
    row(
        "tls-cert",
        One("FILE"),
        "speak TLS to clients, with the certificate in FILE (PEM), behind it what leads to its\n\
         authority; read again at SIGHUP, as its key is  [plain TCP]",
        |draft, text| {
            draft.certificate = Some(path(text)?);
            Ok(())
        },
    ),
    row("tls-key", One("FILE"), "the private key of --tls-cert (PEM)", |draft, text| {
        draft.key = Some(path(text)?);
        Ok(())
    }),
    row("workers", One("N"), "event loops, each on its own thread  [one per core]", |draft, text| {
        draft.workers = Some(number(text, 1, 1024)?);
        Ok(())
    }),
    row(
        "demo",
        Nothing,
        "serve this machine's own shell from an embedded engine; no Docker needed",
        |draft, _| {
            draft.demo = true;
            Ok(())
        },
    ),
    row(
        "allow-container",
        Many("PATTERN"),
        "containers that may be entered by name or id; * stands for anything; repeatable\n\
         [none: only app, proc and instance]",
        |draft, text| {
            draft.patterns.push(container_pattern(text)?);
            Ok(())
        },
    ),
    row(
        "locate",
        Many("HOW"),
        "how app, proc and instance are found: labels, swarm, lainlet=HOST:PORT or webhook=URL;\n\
         repeatable, the first that knows them counts  [labels]",
        |draft, text| {
            draft.ways.push(locate(text)?);
            Ok(())
        },
    ),
    row(
        "labels",
        One("APP,PROC,INSTANCE"),
        "the container labels that name them, before Swarm's\n\
         [com.docker.compose.project,com.docker.compose.service,com.docker.compose.container-number]",
        |draft, text| {
            draft.schemes = labels(text)?;
            Ok(())
        },
    ),
    row(
        "access",
        Many("RULE"),
        "who may enter; repeatable, the first answer decides: anonymous, tokens=FILE,\n\
         jwt=NAME=VALUE,…, webhook=URL, lain  [anonymous, on a loopback address]",
        |draft, text| {
            draft.access.rules.push(text.to_owned());
            Ok(())
        },
    ),
    row(
        "access-recheck",
        One("MINUTES"),
        "ask webhook and lain again under open sessions, and end those that may not stay",
        |draft, text| {
            draft.access.recheck_minutes = Some(number(text, 1, 1440)?);
            Ok(())
        },
    ),
    row(
        "allow-anonymous-shells-from-anywhere",
        Nothing,
        "let anybody who can connect enter, on any address",
        |draft, _| {
            draft.access.anonymous_from_anywhere = true;
            Ok(())
        },
    ),
    row(
        "lain-without-auth-lets-everybody-in",
        Nothing,
        "so that lain allows where LAIN's console has no access control",
        |draft, _| {
            draft.access.lain_lets_everybody_in = true;
            Ok(())
        },
    ),
    row(
        "allow-origin",
        Many("ORIGIN"),
        "pages of this origin may enter too (https://console.example); repeatable",
        |draft, text| {
            draft.front.allow_origins.push(front::origin(text)?);
            Ok(())
        },
    ),
    row("token-cookie", One("NAME"), "the cookie in which pages bring the token", |draft, text| {
        draft.front.token_cookie = Some(front::cookie_name(text)?);
        Ok(())
    }),
    row(
        "trusted-proxy",
        Many("NETWORK"),
        "believe X-Forwarded-For, Forwarded, X-Real-IP from there (10.0.0.0/8); repeatable",
        |draft, text| {
            draft.front.trusted_proxies.push(front::network(text)?);
            Ok(())
        },
    ),
    row(
        "proxy-protocol",
        Nothing,
        "every connection begins with a PROXY header (v1 or v2), from a trusted proxy",
        |draft, _| {
            draft.front.proxy_protocol = true;
            Ok(())
        },
    ),
    row("base-path", One("PATH"), "what stands before /enter, /attach and /api/ping", |draft, text| {
        draft.front.base_path = front::base_path(text)?;
        Ok(())
    }),
    row(
        "attach-tail",
        One("LINES"),
        "how many of the last lines /attach gives first  [100]",
        |draft, text| {
            draft.attach_tail_lines = Some(number(text, 0, 1_000_000)?);
            Ok(())
        },
    ),
    row(
        "paused-timeout",
        One("SECONDS"),
        "how long a container may stay paused under a session that is used  [60]",
        |draft, text| {
            draft.paused_seconds = Some(number(text, 1, 86_400)?);
            Ok(())
        },
    ),
    row(
        "reap",
        One("WHAT"),
        "what is ended of what a session leaves in its container: tree, all of it; session, not what\n\
         was begun with nohup or setsid; off, nothing  [tree]",
        |draft, text| {
            draft.reap = reap(text)?;
            Ok(())
        },
    ),
    row(
        "max-sessions",
        One("N"),
        "sessions of this process; more are answered with 503  [what descriptors allow]",
        |draft, text| {
            draft.limits.sessions = Some(number(text, 1, 10_000_000)?);
            Ok(())
        },
    ),
    row("max-sessions-per-address", One("N"), "sessions of one client address  [no limit]", |draft, text| {
        draft.limits.per_address = Some(number(text, 1, 10_000_000)?);
        Ok(())
    }),
    row(
        "max-sessions-per-user",
        One("N"),
        "sessions of one user, as access names him  [no limit]",
        |draft, text| {
            draft.limits.per_user = Some(number(text, 1, 10_000_000)?);
            Ok(())
        },
    ),
    row(
        "buffer-memory",
        One("MIB"),
        "what may be held for all who do not take it; with less left, less is read at once  [64]",
        |draft, text| {
            draft.limits.buffer_mib = Some(number(text, 1, 1_048_576)?);
            Ok(())
        },
    ),
    row("config", One("FILE"), "a TOML file with options, by the names they have here", |_, _| Ok(())),
];

/// What the rows have taken note of.
#[derive(Default)]
struct Draft {
    listen: Option<SocketAddr>,
    lain: bool,
    engines: Vec<NamedEngine>,
    node_template: Option<NodeTemplate>,
    workers: Option<u32>,
    demo: bool,
    patterns: Vec<String>,
    ways: Vec<WayWish>,
    schemes: Schemes,
    access: Access,
    front: Front,
    attach_tail_lines: Option<u32>,
    paused_seconds: Option<u32>,
    reap: ReapMode,
    tls: TlsFiles,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    limits: WantedLimits,
}

/// An engine, or the engines of nodes.
enum EngineWish {
    Named(NamedEngine),
    OfNodes(NodeTemplate),
}

/// A way to find targets, before its service has a number.
enum WayWish {
    Labels,
    Swarm,
    Lainlet(Service),
    Webhook(Service),
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// Do it.
    Do(Box<Config>),
    /// Print the help.
    Help,
}

/// Where a Docker Engine listens when nobody says otherwise.
const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";
/// Where clients connect when nobody says otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8022);

/// Where LAIN's router connects when nobody says otherwise.
const LAIN_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 8022);

/// Reads the options of a subcommand: its arguments, and what stands in the environment and in a file.
///
/// # Errors
/// One sentence that says what is wrong, where it stands, and what to do.
pub fn parse(
    subcommand: &str,
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings<'_>,
) -> Result<Wish, String> {
    let options: Vec<Named> = ROWS.iter().map(|row| row.option).collect();
    let Some(values) = gather(&options, arguments, surroundings, subcommand)? else { return Ok(Wish::Help) };
    let mut draft = Draft::default();
    for row in ROWS {
        for given in values.get(row.option.name).into_iter().flatten() {
            (row.note)(&mut draft, &given.text).map_err(|error| format!("{} {error}", given.place))?;
        }
    }
    if draft.lain {
        draft.stand_in_for_lain(surroundings.variable)?;
    }
    draft.finish(surroundings).map(|config| Wish::Do(Box::new(config)))
}

/// Environment variables that are no option and nearly are: each with the option's, for `entry check`.
pub fn odd_variables(names: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let options: Vec<String> = ROWS.iter().map(|row| variable_name(row.option.name)).collect();
    let is_known = |name: &String| {
        options.contains(name) || ["ENTRY_GATEWAY", "ENTRY_TOKEN", "ENTRY_SESSION"].contains(&name.as_str())
    };
    names
        .filter(|name| name.starts_with("ENTRY_") && !is_known(name))
        .filter_map(|name| {
            let meant = nearest(&name, options.iter().map(String::as_str))?.to_owned();
            Some((name, meant))
        })
        .collect()
}

/// Where the words begin that say what an option means.
const HELP_COLUMN: usize = 28;

/// What `entry serve --help` and `entry check --help` print.
pub fn help(subcommand: &str) -> String {
    let sentence = match subcommand {
        "check" => {
            "Try out what entry serve would go by: options, engines, services. The exit status is 0 only where all works."
        }
        _ => "Enter containers of a Docker Engine over WebSocket.",
    };
    let mut text = format!("{sentence}\n\nUsage: entry {subcommand} [OPTIONS]\n\n");
    for row in ROWS {
        let value = match row.option.takes {
            Takes::Nothing => String::new(),
            Takes::One(value) | Takes::Many(value) => format!(" {value}"),
        };
        let flag = format!("  --{}{value}", row.option.name);
        let gap = " ".repeat(HELP_COLUMN.saturating_sub(flag.len()).max(1));
        let more = format!("\n{}", " ".repeat(HELP_COLUMN));
        text += &format!("{flag}{gap}{}\n", row.help.replace('\n', &more));
    }
    text += "  -h, --help                this text\n\n";
    text += "Every option may also stand in the environment, --attach-tail as ENTRY_ATTACH_TAIL, where several values\n\
             are separated by spaces, and in the file, as attach-tail = 100, where several values are a list. Flags\n\
             win over the environment, and that over the file; one that names an option replaces all of its values.\n\n\
             SIGHUP reads the files of rules anew; one that is broken leaves its rule as it was.\n";
    text
}

impl Draft {
    /// What LAIN's environment says, where no option says otherwise.
    fn stand_in_for_lain(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let port = |name: &str, option: &str| {
            let text = variable(name).unwrap_or_default();
            let port = text.parse().ok().filter(|port: &u16| *port > 0);
            port.ok_or_else(|| {
                format!("--lain takes a port from ${name}, and {text:?} is none: set it, or say {option}")
            })
        };
        if self.engines.is_empty() && self.node_template.is_none() && !self.demo {
            let port = port("SWARM_PORT", "--engine")?;
            let address = Address::Tcp { host: "swarm.lain".to_owned(), port };
            self.engines.push(NamedEngine { name: "swarm.lain".to_owned(), address });
        }
        if self.ways.is_empty() && !self.demo {
            let port = port("LAINLET_PORT", "--locate")?;
            self.ways.push(locate(&format!("lainlet=lainlet.lain:{port}"))?);
        }
        if self.access.rules.is_empty() {
            self.access.rules.push("lain".to_owned());
        }
        if self.listen.is_none() && !self.demo {
            self.listen = Some(LAIN_LISTEN);
        }
        Ok(())
    }

    /// What holds where nothing was said, and what does not go together.
    fn finish(self, surroundings: &Surroundings<'_>) -> Result<Config, String> {
        if self.certificate.is_some() && self.front.proxy_protocol {
            let text = "--tls-cert does not go with --proxy-protocol: a balancer's header stands before TLS begins. Let \
                        the balancer speak TLS, or leave --proxy-protocol away";
            return Err(text.to_owned());
        }
        let names_engines = !self.engines.is_empty() || self.node_template.is_some();
        if self.demo && names_engines {
            return Err("--demo brings its own engine: leave --engine away".to_owned());
        }
        let peers = match names_engines {
            true => Peers { node_template: self.node_template, ..named(self.engines)? },
            false => Peers::one(default_engine(surroundings)?),
        };
        let mut settings = Settings { peers, ..Settings::default() };
        let ways = if self.ways.is_empty() { vec![WayWish::Labels] } else { self.ways };
        let asks_engines = ways.iter().any(|way| matches!(way, WayWish::Labels | WayWish::Swarm));
        if settings.peers.engines.is_empty() && asks_engines {
            return Err(
                "--engine with {node} needs somebody who knows the node: --locate lainlet=HOST:PORT or \
                        webhook=URL; or --locate swarm and an --engine that manages the swarm"
                    .to_owned(),
            );
        }
        let mut service = |service: Service| {
            settings.peers.services.push(service);
            // There are as many as options on a command line.
            ServiceId(u16::try_from(settings.peers.services.len() - 1).unwrap_or(u16::MAX))
        };
        let ways = ways.into_iter().map(|way| match way {
            WayWish::Labels => Way::Labels(self.schemes.clone()),
            WayWish::Swarm => Way::Swarm,
            WayWish::Lainlet(lainlet) => Way::Lainlet(service(lainlet)),
            WayWish::Webhook(webhook) => Way::Webhook(service(webhook)),
        });
        settings.locator = Locator::new(ways.collect());
        let patterns = match self.patterns {
            none if none.is_empty() && self.demo => vec!["demo".to_owned()],
            patterns => patterns,
        };
        settings.allow_container = ContainerRule::new(patterns);
        let tls = TlsFiles {
            own: own_files(self.certificate, self.key)?,
            engines: match self.tls.engines {
                None if !self.demo => docker_cert_path(surroundings)?,
                engines => engines,
            },
            ..self.tls
        };
        if tls.engines.is_some() {
            settings.peers = settings.peers.verified();
        }
        if let Some(lines) = self.attach_tail_lines {
            settings.attach_tail_lines = lines;
        }
        if let Some(seconds) = self.paused_seconds {
            settings.paused_milliseconds_max = u64::from(seconds) * 1000;
        }
        settings.reap = self.reap;
        settings.front = self.front;
        let listen = self.listen.unwrap_or(DEFAULT_LISTEN);
        let access = self.access.specs(&mut settings, surroundings.variable)?;
        self.access.check_openness(listen, self.demo, &access, &settings.front)?;
        Ok(Config {
            listen,
            workers: match self.workers {
                Some(workers) => usize::try_from(workers).unwrap_or(1),
                None => std::thread::available_parallelism().map_or(1, usize::from),
            },
            demo: self.demo,
            limits: self.limits,
            access,
            tls,
            settings,
        })
    }
}

fn default_engine(surroundings: &Surroundings<'_>) -> Result<Address, String> {
    let docker_host = (surroundings.variable)("DOCKER_HOST").filter(|host| !host.is_empty());
    let url = docker_host.as_deref().unwrap_or(DEFAULT_ENGINE);
    address(url).map_err(|error| format!("DOCKER_HOST {error}"))
}

fn own_files(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<(PathBuf, PathBuf)>, String> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err("--tls-cert needs its --tls-key".to_owned()),
        (None, Some(_)) => Err("--tls-key needs its --tls-cert".to_owned()),
    }
}

/// Where Docker's own client has its certificates, when it is told to go by them.
fn docker_cert_path(surroundings: &Surroundings<'_>) -> Result<Option<PathBuf>, String> {
    let variable = |name| (surroundings.variable)(name).filter(|value: &String| !value.is_empty());
    if variable("DOCKER_TLS_VERIFY").is_none() {
        return Ok(None);
    }
    match (variable("DOCKER_CERT_PATH"), variable("HOME")) {
        (Some(directory), _) => Ok(Some(directory.into())),
        (None, Some(home)) => Ok(Some(PathBuf::from(home).join(".docker"))),
        (None, None) => {
            let why = "DOCKER_TLS_VERIFY is set, but not DOCKER_CERT_PATH, the directory of the engine's certificates";
            Err(why.to_owned())
        }
    }
}

fn reap(text: &str) -> Result<ReapMode, String> {
    match text {
        "tree" => Ok(ReapMode::Tree),
        "session" => Ok(ReapMode::Session),
        "off" => Ok(ReapMode::Off),
        _ => Err(format!("takes tree, session or off, not {text:?}")),
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("takes a path".to_owned()) } else { Ok(text.into()) }
}

fn address(url: &str) -> Result<Address, String> {
    Address::parse(url).map_err(|error| format!("is an engine's address, and {url} is none: {error}"))
}

/// `URL` or `NAME=URL`; a path may hold a =, a name is a word.
fn engine(text: &str) -> Result<EngineWish, String> {
    if NodeTemplate::is_one(text) {
        let template = NodeTemplate::parse(text);
        return template.map(EngineWish::OfNodes).map_err(|error| {
            format!("is an engine's address in which {{node}} is the host, and {text} is none: {error}")
        });
    }
    let (name, url) = match text.split_once('=') {
        Some((name, url)) if !name.contains(['/', ':']) => (name, url),
        Some(_) | None => (text, text),
    };
    let is_word = |name: &str| !name.is_empty() && !name.chars().any(|c| c.is_control() || c.is_whitespace());
    if !is_word(name) {
        return Err(format!("takes NAME=URL, in which the name is a word, not {text:?}"));
    }
    Ok(EngineWish::Named(NamedEngine { name: name.to_owned(), address: address(url)? }))
}

/// Engines of different names.
fn named(engines: Vec<NamedEngine>) -> Result<Peers, String> {
    if engines.len() > ENGINES_MAX {
        return Err(format!("--engine may stand {ENGINES_MAX} times at most"));
    }
    for (at, engine) in engines.iter().enumerate() {
        if engines[..at].iter().any(|other| other.name == engine.name) {
            return Err(format!("--engine names two engines {}: give each its own name", engine.name));
        }
    }
    Ok(Peers { engines, ..Peers::default() })
}

fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| format!("takes a number from {least} to {most}, not {text:?}"))
}

fn container_pattern(text: &str) -> Result<String, String> {
    if is_container_name(&text.replace('*', "a")) {
        Ok(text.to_owned())
    } else {
        Err(format!("takes a container's name, in which * stands for anything, not {text:?}"))
    }
}

fn locate(text: &str) -> Result<WayWish, String> {
    let service = |name, url: &str| {
        Service::parse(name, url, SERVICE_MILLISECONDS_MAX).map_err(|error| format!("{text}: {error}"))
    };
    match text.split_once('=') {
        None if text == "labels" => Ok(WayWish::Labels),
        None if text == "swarm" => Ok(WayWish::Swarm),
        Some(("lainlet", authority)) if !authority.contains('/') => {
            service("lainlet", &format!("http://{authority}")).map(WayWish::Lainlet)
        }
        Some(("webhook", url)) => service("the locate webhook", url).map(WayWish::Webhook),
        Some(_) | None => Err(format!("takes labels, swarm, lainlet=HOST:PORT or webhook=URL, not {text:?}")),
    }
}

fn labels(text: &str) -> Result<Schemes, String> {
    let names: Vec<&str> = text.split(',').collect();
    match names[..] {
        [app, proc, instance] if !app.is_empty() && !proc.is_empty() => {
            let labels = Labels { app: app.to_owned(), proc: proc.to_owned(), instance: instance.to_owned() };
            Ok(Schemes::new(vec![Scheme::Labels(labels), Scheme::Swarm]))
        }
        _ => Err(format!("takes three names of labels, like my.app,my.proc,my.instance, not {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn parsed(arguments: &[&str]) -> Result<Config, String> {
        let surroundings = Surroundings {
            variable: &|name| (name == "DOCKER_HOST").then(|| "tcp://10.0.0.1:2375".to_owned()),
            file: &|_| Err(io::ErrorKind::NotFound.into()),
        };
        match parse("serve", arguments.iter().map(OsString::from), &surroundings)? {
            Wish::Do(config) => Ok(*config),
            Wish::Help => Err("help".to_owned()),
        }
    }

    fn engine_of(config: &Config) -> String {
        config.settings.peers.engines[0].address.to_string()
    }

    #[test]
    fn defaults_and_flags() {
        let config = parsed(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8022");
        assert_eq!(engine_of(&config), "tcp://10.0.0.1:2375");
        assert!(!config.settings.allow_container.permits_asking());
        let config = parsed(&["--engine", "unix:///x.sock", "--workers=3", "--listen", "[::1]:0"]).unwrap();
        assert_eq!((engine_of(&config).as_str(), config.workers), ("unix:///x.sock", 3));
        assert_eq!(config.settings.locator, Locator::default());
        let config = parsed(&["--locate", "lainlet=lainlet.lain:9001"]).unwrap();
        assert_eq!(config.settings.locator, Locator::new(vec![Way::Lainlet(ServiceId(0))]));
        assert_eq!(config.settings.peers.services[0].to_string(), "http://lainlet.lain:9001");
        let several = [
            "--engine",
            "a=tcp://10.0.0.1",
            "--engine",
            "unix:///b=c.sock",
            "--engine",
            "tcp://{node}:2375",
            "--locate",
            "lainlet=l:1",
            "--locate",
            "webhook=http://h/where",
            "--locate",
            "swarm",
            "--locate",
            "labels",
        ];
        let config = parsed(&several).unwrap();
        let names: Vec<&str> =
            config.settings.peers.engines.iter().map(|engine| engine.name.as_str()).collect();
        assert_eq!(names, ["a", "unix:///b=c.sock"]);
        assert_eq!(config.settings.peers.node_template.unwrap().to_string(), "tcp://{node}:2375");
        let ways = vec![
            Way::Lainlet(ServiceId(0)),
            Way::Webhook(ServiceId(1)),
            Way::Swarm,
            Way::Labels(Schemes::default()),
        ];
        assert_eq!(config.settings.locator, Locator::new(ways));
        let config = parsed(&["--attach-tail", "7", "--paused-timeout", "9"]).unwrap();
        assert_eq!((config.settings.attach_tail_lines, config.settings.paused_milliseconds_max), (7, 9000));
    }

    #[test]
    fn tls() {
        let config = parsed(&["--tls-cert", "c.pem", "--tls-key=k.pem", "--ca", "ca.pem"]).unwrap();
        let own = Some(("c.pem".into(), "k.pem".into()));
        assert_eq!(config.tls, TlsFiles { own, engines: None, authorities: Some("ca.pem".into()) });
        assert_eq!(engine_of(&config), "tcp://10.0.0.1:2375");
        let config = parsed(&["--engine-cert-path", "d", "--engine", "tcp://h:2376"]).unwrap();
        assert_eq!((engine_of(&config).as_str(), config.tls.engines), ("https://h:2376", Some("d".into())));

        let docker = |names: &'static [(&str, &str)]| {
            let variable = |name: &str| {
                names.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            let surroundings =
                Surroundings { variable: &variable, file: &|_| Err(io::ErrorKind::NotFound.into()) };
            match parse("serve", [], &surroundings)? {
                Wish::Do(config) => Ok((engine_of(&config), config.tls.engines)),
                Wish::Help => Err("help".to_owned()),
            }
        };
        const HOST: (&str, &str) = ("DOCKER_HOST", "tcp://h:2376");
        const ON: (&str, &str) = ("DOCKER_TLS_VERIFY", "1");
        const OFF: (&str, &str) = ("DOCKER_TLS_VERIFY", "");
        const PATH: (&str, &str) = ("DOCKER_CERT_PATH", "/d");
        const HOME: (&str, &str) = ("HOME", "/home/me");
        let sealed = |path: &str| Ok(("https://h:2376".to_owned(), Some(path.into())));
        assert_eq!(docker(&[HOST, ON, PATH, HOME]), sealed("/d"));
        assert_eq!(docker(&[HOST, ON, HOME]), sealed("/home/me/.docker"));
        assert!(docker(&[HOST, ON]).is_err_and(|why| why.contains("DOCKER_CERT_PATH")));
        assert_eq!(docker(&[HOST, OFF, PATH]), Ok(("tcp://h:2376".to_owned(), None)));
        assert_eq!(docker(&[ON, PATH]).unwrap().0, "unix:///var/run/docker.sock");
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let table: [(&[&str], &str); 35] = [
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
            (&["--listen", "nonsense"], "--listen takes ADDRESS:PORT"),
            (&["--workers", "0"], "--workers takes a number from 1 to 1024"),
            (&["--engine", "ssh://host"], "--engine is an engine's address"),
            (&["--demo", "--engine", "unix:///x"], "brings its own engine"),
            (&["--labels", "a,b"], "three names"),
            (&["--engine", "=unix:///x"], "the name is a word"),
            (&["--engine", "a=unix:///x", "--engine", "a=unix:///y"], "names two engines a"),
            (&["--engine", "tcp://{node}/x"], "{node} is the host"),
            (&["--engine", "tcp://{node}", "--engine", "tcp://x.{node}"], "only once"),
            (&["--engine", "tcp://{node}"], "needs somebody who knows the node"),
            (&["--locate", "zookeeper"], "takes labels, swarm, lainlet=HOST:PORT or webhook=URL"),
            (&["--locate", "lainlet=http://x/"], "takes labels, swarm, lainlet=HOST:PORT or webhook=URL"),
            (&["--locate", "webhook=ftp://x/"], "starts with http://"),
            (&["--locate", "lainlet=:80"], "host's name"),
            (&["--allow-container", "a b"], "container's name"),
            (&["--tls-cert", "a.pem"], "--tls-cert needs its --tls-key"),
            (&["--tls-key", "a.pem"], "--tls-key needs its --tls-cert"),
            (&["--proxy-protocol", "--tls-cert", "a.pem"], "does not go with --proxy-protocol"),
            (&["--ca", ""], "--ca takes a path"),
            (&["--frob"], "entry serve --help"),
        ];
        for (arguments, words) in table {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(words), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn with_rules_any_address_can_be_listened_on() {
        use crate::access::Spec;
        let table: [&[&str]; 5] = [
            &["--access", "tokens=/t"],
            &["--access", "tokens=/t", "--access", "jwt=secret=/s,audience=entry"],
            &["--allow-anonymous-shells-from-anywhere"],
            &["--access", "webhook=http://hook", "--trusted-proxy", "10.0.0.0/8", "--proxy-protocol"],
            &["--access", "lain=lainlet=http://a,console=http://b,sso=none"],
        ];
        for arguments in table {
            let config = parsed(&[&["--listen", "0.0.0.0:8022"], arguments].concat()).unwrap();
            let open = arguments.contains(&"--allow-anonymous-shells-from-anywhere");
            assert_eq!(config.settings.front.loopback_pages_only, open, "{arguments:?}");
        }
        let config = parsed(&["--base-path", "/a/b/", "--allow-origin", "https://Console.example"]).unwrap();
        assert_eq!(config.settings.front.base_path, "/a/b");
        assert_eq!(config.settings.front.allow_origins, ["https://console.example"]);
        assert_eq!(config.access, [Spec::Anonymous]);
    }

    #[test]
    fn all_sources_lead_to_the_same() {
        let file = "listen = \"127.0.0.1:1\"\nengine = \"unix:///x.sock\"\nworkers = 3\nallow-container = [\"a\", \"b\"]";
        let flags = [
            "--listen",
            "127.0.0.1:1",
            "--engine",
            "unix:///x.sock",
            "--workers",
            "3",
            "--allow-container",
            "a",
            "--allow-container",
            "b",
        ];
        let variable = |name: &str| {
            let value = match name {
                "ENTRY_LISTEN" => "127.0.0.1:1",
                "ENTRY_ENGINE" => "unix:///x.sock",
                "ENTRY_WORKERS" => "3",
                "ENTRY_ALLOW_CONTAINER" => "a b",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let parse_in = |arguments: &[&str], surroundings: &Surroundings<'_>| {
            parse("serve", arguments.iter().map(OsString::from), surroundings).unwrap()
        };
        let no_file = |_: &str| Err(io::ErrorKind::NotFound.into());
        let by_flags = parse_in(&flags, &Surroundings { variable: &|_| None, file: &no_file });
        let by_variables = parse_in(&[], &Surroundings { variable: &variable, file: &no_file });
        let by_file = parse_in(
            &["--config", "entry.toml"],
            &Surroundings { variable: &|_| None, file: &|_| Ok(file.to_owned()) },
        );
        assert_eq!(by_flags, by_variables);
        assert_eq!(by_flags, by_file);
        let wrong = parse(
            "serve",
            ["--config", "entry.toml"].iter().map(OsString::from),
            &Surroundings { variable: &|_| None, file: &|_| Ok("\nworkers = 0".to_owned()) },
        );
        assert_eq!(
            wrong.unwrap_err(),
            "entry.toml, line 2: workers takes a number from 1 to 1024, not \"0\""
        );
    }

    #[test]
    fn lains_environment_is_enough() {
        let in_lain = |arguments: &[&str], missing: &str| {
            let variable = |name: &str| {
                let value = match name {
                    "LAIN_DOMAIN" => "lain.example",
                    "LAINLET_PORT" => "9001",
                    "SWARM_PORT" => "2376",
                    _ => return None,
                };
                (name != missing).then(|| value.to_owned())
            };
            let file = |_: &str| Err(io::ErrorKind::NotFound.into());
            let surroundings = Surroundings { variable: &variable, file: &file };
            match parse("serve", arguments.iter().map(OsString::from), &surroundings)? {
                Wish::Do(config) => Ok(*config),
                Wish::Help => Err("help".to_owned()),
            }
        };
        let config = in_lain(&["--lain", "--access", "lain=sso=none"], "").unwrap();
        assert_eq!(engine_of(&config), "tcp://swarm.lain:2376");
        assert_eq!(config.settings.locator, Locator::new(vec![Way::Lainlet(ServiceId(0))]));
        assert_eq!(config.settings.peers.services[0].to_string(), "http://lainlet.lain:9001");
        assert_eq!(config.listen.to_string(), "0.0.0.0:8022");
        assert!(matches!(&config.access[..], [crate::access::Spec::Lain(_)]), "{:?}", config.access);
        let said =
            ["--lain", "--access", "lain=sso=none", "--listen", "127.0.0.1:1", "--engine", "unix:///x"];
        let config = in_lain(&said, "SWARM_PORT").unwrap();
        assert_eq!(
            (engine_of(&config).as_str(), config.listen.port()),
            ("unix:///x", 1),
            "what is said counts"
        );
        for missing in ["SWARM_PORT", "LAINLET_PORT", "LAIN_DOMAIN"] {
            let error = in_lain(&["--lain"], missing).unwrap_err();
            assert!(error.contains(&format!("${missing}")), "{error}");
        }
    }

    #[test]
    fn variables_that_are_nearly_options() {
        let names = ["PATH", "ENTRY_LISTN", "ENTRY_LISTEN", "ENTRY_TOKEN", "ENTRY_SERVICE_HOST"];
        let odd = odd_variables(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(odd, [("ENTRY_LISTN".to_owned(), "ENTRY_LISTEN".to_owned())]);
    }

    #[test]
    fn the_help_tells_every_option_in_lines_of_a_screen() {
        let help = help("serve");
        for row in ROWS {
            assert!(help.contains(&format!("\n  --{}", row.option.name)), "{}", row.option.name);
            assert!(row.help.lines().all(|line| line.len() + HELP_COLUMN <= 120), "{}", row.option.name);
            assert!(row.option.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        }
    }
}
