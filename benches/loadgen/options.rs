//! The command line of `run`, `targets` and `check`.

use crate::driver::wire::Codec;
use crate::rig::{Kind, Setup};
use crate::scenario::Speech;
use lexopt::prelude::{Long, Short, Value, ValueExt};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) sessions: u64,
    /// Opens a second; none for all at once.
    pub(crate) rate: Option<f64>,
    pub(crate) scenarios: Vec<String>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) rounds: usize,
    pub(crate) speech: Speech,
    pub(crate) json: Option<PathBuf>,
    pub(crate) setup: Setup,
    pub(crate) api: String,
    /// The engine of a gateway that runs already.
    pub(crate) engine: Option<SocketAddr>,
    pub(crate) processes: u64,
    /// One of several processes: waits for the word before each scenario.
    pub(crate) lane: bool,
    pub(crate) quick: bool,
    pub(crate) quiet: bool,
}

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum Wish {
    Do(Box<Options>),
    Help,
}

/// `sessions` is the command's own default.
pub(crate) fn parse(arguments: Vec<OsString>, sessions: u64) -> Result<Wish, String> {
    let mut options = Options {
        sessions,
        rate: Some(2_000.0),
        scenarios: Vec::new(),
        kinds: vec![Kind::Entry],
        rounds: 0,
        speech: Speech::One(Codec::V1, true),
        json: None,
        setup: Setup::new().map_err(|error| error.to_string())?,
        api: "1.51".to_owned(),
        engine: None,
        processes: 1,
        lane: false,
        quick: false,
        quiet: false,
    };
    let (mut codec, mut tty, mut gateway, mut process) = (Some(Codec::V1), true, None, None);
    let mut parser = lexopt::Parser::from_args(arguments);
    let text = |error: lexopt::Error| error.to_string();
    while let Some(argument) = parser.next().map_err(text)? {
        match argument {
            Long("sessions") => options.sessions = number("--sessions", &value(&mut parser)?)?,
            Long("rate") => options.rate = Some(number("--rate", &value(&mut parser)?)?),
            Long("burst") => options.rate = None,
            Long("vs") => options.kinds.extend(value(&mut parser)?.split(',').map(Kind::parse)),
            Long("rounds") => options.rounds = number("--rounds", &value(&mut parser)?)?,
            Long("codec") => {
                codec = match value(&mut parser)?.as_str() {
                    "v1" => Some(Codec::V1),
                    "protobuf" => Some(Codec::Protobuf),
                    "json" => Some(Codec::Json),
                    "mixed" => None,
                    other => return Err(format!("--codec takes v1, protobuf, json or mixed, not {other}")),
                };
            }
            Long("stdcopy") => tty = false,
            Long("json") => options.json = Some(value(&mut parser)?.into()),
            Long("entry") => options.setup.entry = value(&mut parser)?.into(),
            Long("workers") => options.setup.workers = number("--workers", &value(&mut parser)?)?,
            Long("unix") => options.setup.over_unix = true,
            Long("api") => options.api = value(&mut parser)?,
            Long("gateway") => {
                let url = value(&mut parser)?;
                let address = url.strip_prefix("ws://").unwrap_or(&url).trim_end_matches('/');
                gateway = Some(number("--gateway", address)?);
            }
            Long("engine") => options.engine = Some(number("--engine", &value(&mut parser)?)?),
            Long("pid") => process = Some(number("--pid", &value(&mut parser)?)?),
            Long("processes") => options.processes = number("--processes", &value(&mut parser)?)?,
            Long("lane") => options.lane = true,
            Long("quick") => options.quick = true,
            Long("quiet") => options.quiet = true,
            Short('h') | Long("help") => return Ok(Wish::Help),
            Value(word) => options.scenarios.push(word.string().map_err(text)?),
            other @ (Short(_) | Long(_)) => return Err(other.unexpected().to_string()),
        }
    }
    options.speech = match codec {
        None => Speech::Mixed,
        Some(codec @ (Codec::Protobuf | Codec::Json)) if !tty => {
            return Err(format!("{codec:?} always has a terminal; --stdcopy needs --codec v1"));
        }
        Some(codec) => Speech::One(codec, tty),
    };
    if let Some(address) = gateway {
        if options.engine.is_none() {
            return Err(
                "--gateway needs --engine: the TCP address of the loadgen engine behind it".to_owned()
            );
        }
        options.kinds[0] = Kind::Running(address, process);
    }
    if options.processes > 1 && (options.kinds.len() > 1 || gateway.is_some()) {
        return Err("--processes starts its own gateways, and no peers".to_owned());
    }
    Ok(Wish::Do(Box::new(options)))
}

fn value(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(ValueExt::string).map_err(|error| error.to_string())
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag} does not take {text:?}"))
}
