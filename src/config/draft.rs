//! What the rows of options have taken note of → a valid configuration: single values, what holds where nothing was said,
//! and what does not go together.

use super::front::Access;
use super::recording::Wanted;
use super::sources::Surroundings;
use super::{
    Config, ContainerRule, Front, Handed, LogFormat, Peers, ReapMode, SERVICE_MILLISECONDS_MAX, Settings,
    TlsFiles, WantedLimits, Watch, Watching,
};
use crate::commands::alerts::Pattern;
use crate::engine::fleet::ENGINES_MAX;
use crate::engine::{Address, NamedEngine, NodeTemplate, is_container_name};
use crate::locate::{Labels, Locator, Scheme, Schemes, Way};
use crate::service::{Service, ServiceId};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// What the rows have taken note of.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) listen: Option<SocketAddr>,
    /// Further addresses: of sockets that are open already.
    pub(super) listen_too: Vec<SocketAddr>,
    pub(super) lain: bool,
    pub(super) engines: Vec<NamedEngine>,
    pub(super) node_template: Option<NodeTemplate>,
    pub(super) workers: Option<u32>,
    pub(super) demo: bool,
    pub(super) patterns: Vec<String>,
    pub(super) ways: Vec<WayWish>,
    pub(super) schemes: Schemes,
    pub(super) access: Access,
    pub(super) front: Front,
    pub(super) attach_tail_lines: Option<u32>,
    pub(super) paused_seconds: Option<u32>,
    pub(super) idle_minutes: Option<u32>,
    pub(super) lasts_minutes: Option<u32>,
    pub(super) drain_seconds: Option<u32>,
    pub(super) watching: Watching,
    pub(super) reap: ReapMode,
    pub(super) unguarded: bool,
    pub(super) reap_helper: Option<String>,
    pub(super) tls: TlsFiles,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) limits: WantedLimits,
    pub(super) watch: Watch,
    pub(super) alert_webhook: Option<Service>,
    pub(super) alert_patterns: Option<PathBuf>,
    pub(super) record: Wanted,
}

/// An engine, or the engines of nodes.
pub(super) enum EngineWish {
    Named(NamedEngine),
    OfNodes(NodeTemplate),
}

/// A way to find targets, before its service has a number.
pub(super) enum WayWish {
    Labels,
    Swarm,
    Lainlet(Service),
    Webhook(Service),
}

/// The longest name of an image, in bytes: a registry, a path, a tag and a digest.
const IMAGE_BYTES_MAX: usize = 512;
/// Where a Docker Engine listens when nobody says otherwise.
const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";
/// Where clients connect when nobody says otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8022);

/// Where LAIN's router connects when nobody says otherwise.
const LAIN_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 8022);

impl Draft {
    /// Sockets that were opened already are listened on, and nothing beside them.
    pub(super) fn listen_where_handed(&mut self, handed: &Handed) -> Result<(), String> {
        let twice = |option, named, given| {
            Err(format!(
                "{option} {named}, and a socket that systemd has opened at {given}: leave one of them away"
            ))
        };
        if let Some((first, others)) = handed.clients.split_first() {
            if let Some(listen) = self.listen.replace(*first) {
                return twice("--listen", listen, first);
            }
            self.listen_too = others.to_vec();
        }
        if let Some(operators) = &handed.operators
            && let Some(admin) = self.watch.admin.replace(*operators)
        {
            return twice("--admin-listen", admin, operators);
        }
        Ok(())
    }

    /// What LAIN's environment says, where no option says otherwise.
    pub(super) fn stand_in_for_lain(
        &mut self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
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
    pub(super) fn finish(self, surroundings: &Surroundings<'_>) -> Result<Config, String> {
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
        let mut watch = watch(self.watch)?;
        watch.alert_webhook = self.alert_webhook.map(&mut service);
        watch.alert_patterns = alert_patterns(&watch, self.alert_patterns.as_deref(), surroundings)?;
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
        settings.idle_seconds_max = self.idle_minutes.map(|minutes| minutes * 60);
        settings.lasts_seconds_max = self.lasts_minutes.map(|minutes| minutes * 60);
        settings.drain_seconds = self.drain_seconds.unwrap_or(settings.drain_seconds);
        settings.watching = self.watching;
        settings.reap = self.reap;
        // What the demo runs ends with it.
        settings.guard = !self.unguarded && !self.demo;
        if self.reap_helper.is_some() && self.reap == ReapMode::Off {
            return Err("--reap-helper has nothing to do with --reap off: leave one of them away".to_owned());
        }
        settings.reap_helper = self.reap_helper;
        settings.record = self.record.finish()?;
        settings.front = self.front;
        let listen = self.listen.unwrap_or(DEFAULT_LISTEN);
        let access = self.access.specs(&mut settings, surroundings.variable)?;
        for address in self.listen_too.iter().chain([&listen]) {
            self.access.check_openness(*address, self.demo, &access, &settings.front)?;
        }
        Ok(Config {
            listen,
            workers: match self.workers {
                Some(workers) => usize::try_from(workers).unwrap_or(1),
                None => std::thread::available_parallelism().map_or(1, usize::from),
            },
            demo: self.demo,
            limits: self.limits,
            watch,
            access,
            tls,
            settings,
        })
    }
}

/// Figures and sessions are told to whoever has the token; without one, to whoever is on this machine.
fn watch(watch: Watch) -> Result<Watch, String> {
    if watch.audit_required && watch.audit.is_none() {
        return Err("--audit-required goes with --audit".to_owned());
    }
    if watch.audit_commands && watch.audit.is_none() {
        return Err("--audit-commands goes with --audit".to_owned());
    }
    match (watch.admin, &watch.admin_token) {
        (Some(address), None) if !address.ip().is_loopback() => Err(format!(
            "--admin-listen {address} needs --admin-token-file FILE: whoever reaches it could see who is in which container, \
             and end sessions"
        )),
        (None, Some(_)) => Err("--admin-token-file goes with --admin-listen".to_owned()),
        (Some(_), _) | (None, None) => Ok(watch),
    }
}

/// The usual patterns, or those of a file: one a line, in which `usual` stands for the usual ones.
fn alert_patterns(
    watch: &Watch,
    file: Option<&Path>,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<Pattern>, String> {
    match (watch.alert_webhook, file) {
        (Some(_), _) if !watch.audit_commands => Err("--alert-webhook goes with --audit-commands".to_owned()),
        (None, Some(_)) => Err("--alert-patterns goes with --alert-webhook".to_owned()),
        (None, None) => Ok(Vec::new()),
        (Some(_), None) => Ok(Pattern::usual()),
        (Some(_), Some(file)) => {
            let name = file.display().to_string();
            let text = (surroundings.file)(&name)
                .map_err(|error| format!("--alert-patterns: {name} cannot be read: {error}"))?;
            let mut patterns = Vec::new();
            for (number, line) in text.lines().enumerate() {
                match line.trim() {
                    "" => {}
                    comment if comment.starts_with('#') => {}
                    "usual" => patterns.extend(Pattern::usual()),
                    text => patterns.push(
                        Pattern::parse(text)
                            .map_err(|error| format!("{name}, line {}: {error}", number + 1))?,
                    ),
                }
            }
            Ok(patterns)
        }
    }
}

/// Who hears of alerts.
pub(super) fn alert_webhook(url: &str) -> Result<Service, String> {
    Service::parse("the alert webhook", url, SERVICE_MILLISECONDS_MAX)
        .map_err(|error| format!("{url}: {error}"))
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

pub(super) fn watching(text: &str) -> Result<Watching, String> {
    match text {
        "off" => Ok(Watching::Off),
        "told" => Ok(Watching::Told),
        "silent" => Ok(Watching::Silent),
        _ => Err(format!("takes off, told or silent, not {text:?}")),
    }
}

pub(super) fn reap(text: &str) -> Result<ReapMode, String> {
    match text {
        "tree" => Ok(ReapMode::Tree),
        "session" => Ok(ReapMode::Session),
        "off" => Ok(ReapMode::Off),
        _ => Err(format!("takes tree, session or off, not {text:?}")),
    }
}

/// An image as engines know it: `NAME`, `REGISTRY/NAME:TAG`, `NAME@sha256:…`.
pub(super) fn image(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    let begins = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    match begins && text.len() <= IMAGE_BYTES_MAX && text.bytes().all(inner) {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("takes the name of an image that the engine has, like busybox:1.36, not {text:?}"))
        }
    }
}

pub(super) fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("takes on or off, not {text:?}")),
    }
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("takes a path".to_owned()) } else { Ok(text.into()) }
}

fn address(url: &str) -> Result<Address, String> {
    Address::parse(url).map_err(|error| format!("is an engine's address, and {url} is none: {error}"))
}

/// Where operators are answered: on this machine, unless an address says otherwise.
pub(super) fn admin_listen(text: &str) -> Result<SocketAddr, String> {
    let on_loopback = text.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let address = text.replace("localhost:", "127.0.0.1:");
    on_loopback.or_else(|_| address.parse()).map_err(|_| {
        format!("takes a PORT of this machine, or ADDRESS:PORT like 127.0.0.1:8023, not {text:?}")
    })
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("takes text or json, not {text:?}")),
    }
}

/// `URL` or `NAME=URL`; a path may hold a =, a name is a word.
pub(super) fn engine(text: &str) -> Result<EngineWish, String> {
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

pub(super) fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| format!("takes a number from {least} to {most}, not {text:?}"))
}

pub(super) fn container_pattern(text: &str) -> Result<String, String> {
    if is_container_name(&text.replace('*', "a")) {
        Ok(text.to_owned())
    } else {
        Err(format!("takes a container's name, in which * stands for anything, not {text:?}"))
    }
}

pub(super) fn locate(text: &str) -> Result<WayWish, String> {
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

pub(super) fn labels(text: &str) -> Result<Schemes, String> {
    let names: Vec<&str> = text.split(',').collect();
    match names[..] {
        [app, proc, instance] if !app.is_empty() && !proc.is_empty() => {
            let labels = Labels { app: app.to_owned(), proc: proc.to_owned(), instance: instance.to_owned() };
            Ok(Schemes::new(vec![Scheme::Labels(labels), Scheme::Swarm]))
        }
        _ => Err(format!("takes three names of labels, like my.app,my.proc,my.instance, not {text:?}")),
    }
}
