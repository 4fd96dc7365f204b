//! `entry check`: tries out a configuration before it serves anybody, and says in plain words what is wrong.
//!
//! Everything is asked one after another and with a limit of its own, as a person would: no loop is started.

use crate::access::{self, Now, Rules, Spec, Verdict, jwt};
use crate::config::{Config, Surroundings, Wish, help, odd_variables, parse};
use crate::engine::reply::{read_list, read_ping};
use crate::engine::{Address, Dialect, Engines, request};
use crate::gateway::certificates::{Connectors, Own};
use crate::gateway::probe;
use crate::gateway::rules::load_rule;
use crate::locate::{LocateError, Locator, Search, Step, Target, Way, World};
use crate::service::{Peer, Service};
use crate::tls::{self, Connector};
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::TcpListener;

/// Runs `entry check`; gives the process's exit status: 0 only where everything works.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let config = match parse("check", arguments, &Surroundings::of_process()) {
        Ok(Wish::Do(config)) => *config,
        Ok(Wish::Help) => {
            let _ = io::stdout().write_all(help("check").as_bytes());
            return 0;
        }
        Err(mistake) => {
            let _ = writeln!(io::stderr(), "entry check: {mistake}");
            return 2;
        }
    };
    let mut report = Report { wrong: 0 };
    for (odd, meant) in odd_variables(std::env::vars().map(|(name, _)| name)) {
        report.note(&odd, &format!("is not an option; if {meant} is meant, it says nothing so"));
    }
    check(&config, &mut report);
    report.end()
}

/// What is said, line by line.
struct Report {
    wrong: usize,
}

impl Report {
    fn tell(&mut self, what: &str, found: Result<String, String>) {
        match found {
            Ok(found) => self.line("good ", what, &found),
            Err(trouble) => {
                self.wrong += 1;
                self.line("WRONG", what, &trouble);
            }
        }
    }

    fn note(&mut self, what: &str, text: &str) {
        self.line("note ", what, text);
    }

    fn line(&mut self, mark: &str, what: &str, text: &str) {
        // Who does not read it has the exit status.
        let _ = writeln!(io::stdout(), "{mark} {what}: {text}");
    }

    fn end(self) -> u8 {
        let text = match self.wrong {
            0 => "Everything works.".to_owned(),
            1 => "One thing is wrong.".to_owned(),
            several => format!("{several} things are wrong."),
        };
        let _ = writeln!(io::stdout(), "{text}");
        u8::from(self.wrong > 0)
    }
}

fn check(config: &Config, report: &mut Report) {
    let own = Own::read(&config.tls);
    let listening = listening(config, own.as_ref().ok().and_then(Option::as_ref));
    report.tell(&format!("listening on {}", config.listen), listening);
    if let Some(own) = own.transpose() {
        report.tell("TLS for clients", own.map(|_| "the certificate and its key belong together".to_owned()));
    }
    let connectors = match Connectors::read(&config.tls, &config.settings.peers) {
        Ok(connectors) => connectors,
        Err(why) => {
            report.tell("the files for TLS", Err(why));
            Connectors::default()
        }
    };
    for spec in &config.access {
        match spec {
            Spec::Anonymous => report.note("access", "everybody who can connect may enter"),
            Spec::Tokens { .. } | Spec::Jwt { .. } | Spec::Webhook(_) | Spec::Lain(_) => {
                report.tell(
                    &format!("access by {spec}"),
                    lets_no_stranger_in(spec, &config.settings.peers.services, &connectors),
                );
            }
        }
    }
    if config.demo {
        return report.note("the engine", "is embedded, and starts with the gateway");
    }
    let peers = &config.settings.peers;
    let mut engines = peers.table();
    for (id, engine) in engines.configured().zip(&peers.engines).collect::<Vec<_>>() {
        let what = match engine.name == engine.address.to_string() {
            true => format!("the engine {}", engine.address),
            false => format!("the engine {} ({})", engine.name, engine.address),
        };
        let connector = connectors.of_engine(&engine.name);
        let found = speaks(&engine.address, connector);
        if let Ok(dialect) = found {
            engines.learn(id, dialect);
        }
        report.tell(&what, found.and_then(|dialect| lists(&engine.address, connector, dialect)));
    }
    if let Some(template) = &peers.node_template {
        report.note(&format!("the engines {template}"), "are tried when a container is on their node");
    }
    for way in config.settings.locator.ways() {
        let what = match way {
            // The engines were asked for their lists already.
            Way::Labels(_) => continue,
            Way::Swarm => "the swarm of the first engine".to_owned(),
            Way::Lainlet(service) | Way::Webhook(service) => match peers.services.get(service.index()) {
                Some(service) => format!("{} ({service})", service.name),
                None => continue,
            },
        };
        report.tell(&what, finds_nothing(way, &peers.services, &mut engines, &connectors));
    }
}

/// Whether a gateway could listen, or does.
fn listening(config: &Config, own: Option<&Own>) -> Result<String, String> {
    let address = config.listen;
    let error = match TcpListener::bind(address) {
        Ok(_) => return Ok("nobody does so far".to_owned()),
        Err(error) => error,
    };
    let is = |kind: io::ErrorKind| error.kind() == kind;
    if is(io::ErrorKind::AddrInUse) {
        who_listens(config, own)
    } else if is(io::ErrorKind::PermissionDenied) {
        Err(format!("{error}: ports below 1024 need a right of their own; take another one"))
    } else if is(io::ErrorKind::AddrNotAvailable) {
        Err(format!("{error}: this machine has no such address"))
    } else {
        Err(error.to_string())
    }
}

/// Somebody listens already: it may be a gateway with this configuration, which is asked as its clients would.
fn who_listens(config: &Config, own: Option<&Own>) -> Result<String, String> {
    let (host, port) = (config.listen.ip().to_string(), config.listen.port());
    let connector = own.map(Own::connector).transpose()?;
    let peer = match connector {
        Some(_) => Address::Tls { host, port },
        None => Address::Tcp { host, port },
    };
    let front = &config.settings.front;
    let header: &[u8] = if front.proxy_protocol { b"PROXY UNKNOWN\r\n" } else { b"" };
    let ping = format!("GET {}/api/ping HTTP/1.1\r\nHost: localhost\r\n\r\n", front.base_path);
    let doubt = match probe::call_behind(header, &peer, connector.as_ref(), "GET", ping.as_bytes()) {
        Ok(reply) if reply.body == b"pong\n" => return Ok("a gateway does so already".to_owned()),
        Ok(reply) if reply.body == tls::TOLD_TO_PLAIN_HTTP => {
            let why = "a gateway does so already, over TLS: say --tls-cert and --tls-key here too, or take another port";
            return Err(why.to_owned());
        }
        // A gateway is not silent.
        Err(error) if is_late(&error) => String::new(),
        Err(error) if connector.is_some() => format!(", or a gateway unlike this one ({error})"),
        Err(_) if front.proxy_protocol => ", or a gateway, which hears trusted proxies only".to_owned(),
        Ok(_) | Err(_) => String::new(),
    };
    Err(format!("another program does so already{doubt}: end it, or take another port"))
}

fn speaks(engine: &Address, connector: Option<&Connector>) -> Result<Dialect, String> {
    let reply = probe::call(engine, connector, "GET", &request::ping())
        .map_err(|error| with_advice(engine, &error))?;
    read_ping(&reply).map_err(|error| error.to_string())
}

/// Proxies before an engine's socket may answer a ping and nothing else.
fn lists(engine: &Address, connector: Option<&Connector>, dialect: Dialect) -> Result<String, String> {
    let question = request::list_containers(&dialect, &[("entry.check", "")]);
    let reply =
        probe::call(engine, connector, "GET", &question).map_err(|error| with_advice(engine, &error))?;
    read_list(&reply).map_err(|error| format!("it does not list its containers: {error}"))?;
    let kind = if dialect.podman { "Podman" } else { "Docker" };
    Ok(format!("{kind}, API {}", dialect.version))
}

/// Asks as somebody does whom nobody knows: that he is refused is the right answer.
fn lets_no_stranger_in(spec: &Spec, services: &[Service], connectors: &Connectors) -> Result<String, String> {
    let rules = Rules::new(vec![load_rule(spec)?]);
    let question = spec.stranger();
    let wall = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let mut keys = jwt::Fetched::default();
    let mut now = Now { wall, keys: &mut keys };
    let (mut inquiry, mut step) = rules.begin(&question, &mut now);
    loop {
        let (service, request) = match step {
            access::Step::Decided(Verdict::Refused(_)) => {
                return Ok("works, and lets no stranger in".to_owned());
            }
            access::Step::Decided(Verdict::Unavailable(trouble)) => return Err(trouble),
            access::Step::Decided(Verdict::Allowed(_)) => {
                return Err("it lets in a token that nobody has; only anonymous should do so".to_owned());
            }
            access::Step::Ask { service, request } => (service, request),
        };
        let Some(service) = services.get(service.index()) else {
            return Err("nobody is configured there".to_owned());
        };
        let method = if request.starts_with(b"GET ") { "GET" } else { "POST" };
        let reply = probe::call(&service.address, connectors.services.as_ref(), method, &request);
        let reply = reply.map_err(|error| with_advice(&service.address, &error));
        step = inquiry.answer(&rules, &question, &reply, &mut now);
    }
}

/// Looks for a container that nobody has: that it is not found is the right answer.
fn finds_nothing(
    way: &Way,
    services: &[Service],
    engines: &mut Engines,
    connectors: &Connectors,
) -> Result<String, String> {
    let name = || "entry-check".to_owned();
    let target = Target::App { app: name(), proc: name(), instance: "1".to_owned() };
    let locator = Locator::new(vec![way.clone()]);
    let mut world = World { locator: &locator, services, engines };
    let (mut search, mut step) = Search::start(target, &mut world, 0);
    loop {
        let question = match step {
            Step::Ask(mut questions) => match questions.pop() {
                Some(question) => question,
                None => return Err("it was asked, and nothing came of it".to_owned()),
            },
            Step::Refused(LocateError::Unavailable { detail }) => return Err(detail),
            Step::Refused(LocateError::Engine(error)) => return Err(error.to_string()),
            Step::Leg(_)
            | Step::Found(_)
            | Step::Refused(LocateError::NotFound { .. } | LocateError::Ambiguous { .. }) => {
                return Ok("answers".to_owned());
            }
        };
        let address = match question.peer {
            Peer::Engine(engine) => world.engines.address(engine),
            Peer::Service(service) => services.get(service.index()).map(|service| &service.address),
        };
        let Some(address) = address.cloned() else { return Err("nobody is configured there".to_owned()) };
        let method = if question.request.starts_with(b"GET ") { "GET" } else { "POST" };
        let connector = match question.peer {
            Peer::Engine(engine) => connectors.of_engine(world.engines.name(engine)),
            Peer::Service(_) => connectors.services.as_ref(),
        };
        let reply = probe::call(&address, connector, method, &question.request);
        let reply = reply.as_ref().map_err(|error| with_advice(&address, error));
        step = search.answer(
            &mut world,
            question.number,
            reply.as_ref().map(|reply| *reply).map_err(String::as_str),
        );
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// The error, and what to do about it.
fn with_advice(peer: &Address, error: &io::Error) -> String {
    use io::ErrorKind;
    let is_local = matches!(peer, Address::Unix(_));
    let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
    let advice = if is_local && is(&[ErrorKind::NotFound]) {
        "is the engine running on this machine, and its socket at this path? In a container it must be mounted there"
    } else if is_local && is(&[ErrorKind::PermissionDenied]) {
        "this user may not open the socket: run Entry as a member of its group (mostly docker)"
    } else if is(&[ErrorKind::ConnectionRefused]) {
        "nobody listens there: is it running, and is this its port?"
    } else if is_late(error) {
        "nothing is answered in time: is the address right, and is no firewall in between?"
    } else if is(&[ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset]) {
        "it closed the connection: does it speak plain HTTP there?"
    } else if error.to_string().contains("lookup address") {
        "is the name right, and known to the resolver of this machine?"
    } else {
        return error.to_string();
    };
    format!("{error}: {advice}")
}
