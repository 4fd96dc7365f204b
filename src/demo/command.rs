//! `entry demo`: an embedded engine, a gateway in front of it, and a person (or a command) put in through the whole
//! chain. Nothing is needed but this binary.

use super::{DemoEngine, DemoOptions};
use crate::access::Spec;
use crate::client::{self, Gateway, Options, Target};
use crate::config::{Config, ContainerRule, Peers, Settings, TlsFiles, WantedLimits, Watch};
use crate::engine::Address;
use crate::gateway::Server;
use crate::outcome::Action;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};

const HELP: &str = "\
Try Entry on this machine; no Docker needed.

Usage: entry demo [-- COMMAND…]

Starts an embedded engine whose one container, demo, IS THIS MACHINE, a gateway in front of it on a loopback address, and
enters it: a shell, or COMMAND, whose status becomes this program's. When you leave, everything ends.

  -h, --help   this text
";

/// Our own failures, as `docker exec` and `entry enter` say it.
const FAILED: u8 = 125;
/// Where the gateway listens when nobody else does.
const USUAL_PORT: u16 = 8022;

/// Runs `entry demo`; gives the process's exit status.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let mut stderr = io::stderr();
    let command = match parse(arguments) {
        Ok(Some(command)) => command,
        Ok(None) => {
            let _ = io::stdout().write_all(HELP.as_bytes());
            return 0;
        }
        Err(mistake) => {
            let _ = writeln!(stderr, "entry demo: {mistake}; see entry demo --help");
            return FAILED;
        }
    };
    match run(command) {
        Ok(status) => status,
        Err(error) => {
            let _ = writeln!(stderr, "entry demo: {error}");
            FAILED
        }
    }
}

/// The command, empty for a shell; `None` asks for help.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Vec<String>>, String> {
    let mut arguments = arguments.into_iter();
    match arguments.next() {
        None => Ok(Some(Vec::new())),
        Some(first) if first == "--" => arguments
            .map(|word| word.into_string().map_err(|word| format!("{} is not UTF-8", word.display())))
            .collect::<Result<Vec<_>, _>>()
            .map(Some),
        Some(first) if first == "-h" || first == "--help" => Ok(None),
        Some(first) => Err(format!("{} is not known; a command comes behind --", first.display())),
    }
}

fn run(command: Vec<String>) -> io::Result<u8> {
    let engine = DemoEngine::start(DemoOptions::default())?;
    let server = serve(&engine)?;
    let address = server.address();
    if command.is_empty() {
        let _ = writeln!(
            io::stderr(),
            "Entry's demo: the \"container\" demo is this machine, and you are entering it as yourself.\n\
             From another terminal: entry enter --gateway ws://{address} demo shell\n\
             Leave with exit; then the demo ends."
        );
    }
    let gateway = Gateway::parse(&format!("ws://{address}")).map_err(io::Error::other)?;
    let target =
        Target::Instance { app: "demo".to_owned(), proc: "shell".to_owned(), instance: "1".to_owned() };
    let mut options = Options::new(gateway, Action::Enter, target);
    options.command = command;
    options.term = std::env::var("TERM").unwrap_or_default();
    let status = client::run(options);
    server.stop()?;
    engine.stop();
    Ok(status)
}

/// A gateway in front of the engine, on the usual port or, where that is taken, on a free one.
fn serve(engine: &DemoEngine) -> io::Result<Server> {
    let mut config = Config {
        limits: WantedLimits::default(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, USUAL_PORT)),
        workers: 1,
        demo: true,
        tls: TlsFiles::default(),
        watch: Watch::default(),
        access: vec![Spec::Anonymous],
        settings: Settings {
            peers: Peers::one(Address::parse(&engine.url()).map_err(io::Error::other)?),
            allow_container: ContainerRule::new(vec!["demo".to_owned()]),
            ..Settings::default()
        },
    };
    Server::start(&config).or_else(|_| {
        config.listen.set_port(0);
        Server::start(&config)
    })
}
