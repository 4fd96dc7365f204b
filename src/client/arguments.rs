//! The arguments of `entry enter`, `entry attach` and `entry watch`.

use super::gateway::Gateway;
use super::options::{Options, Protocol, Target, TtyChoice};
use crate::outcome::Action;
use lexopt::ValueExt as _;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;

/// `entry enter --help`.
pub const ENTER_HELP: &str = "\
Enter a container: a shell, or one command.

Usage: entry enter [OPTIONS] APP PROC [INSTANCE] [-- COMMAND [ARGUMENT...]]
       entry enter [OPTIONS] --container NAME    [-- COMMAND [ARGUMENT...]]

Options:
      --gateway URL      ws://HOST:PORT[/BASE], over TLS wss://HOST[:PORT][/BASE]
                         [default: $ENTRY_GATEWAY, else ws://127.0.0.1:8022]
      --ca FILE          trust the authorities in FILE (PEM) to know the gateway [default: those of this machine]
      --container NAME   a container by name or id, where the gateway permits it
      --token-file FILE  read the access token from FILE [default: $ENTRY_TOKEN]
  -t, --tty              give the command a terminal; a shell has one when stdin and stdout are terminals
  -T, --no-tty           give it none
  -u, --user USER        run as this user (name or id, with :GROUP if wanted)
  -w, --workdir DIR      run in this directory
  -e, --env NAME=VALUE   set an environment variable (again for more); -e NAME takes its value from here
      --escape CHAR      CHAR at the start of a line, then '.', leaves; 'none' for no such thing [default: ~]
      --protocol WHICH   auto, v1 (entry.v1 or nothing) or lain (as old servers speak it) [default: auto]
  -h, --help             this text

Exit status: that of the process, 128+n when signal n ended it; 125 when Entry failed, 126 when the command
could not be executed, 127 when it was not found.
";

/// `entry attach --help`.
pub const ATTACH_HELP: &str = "\
Follow what a container itself writes to stdout and stderr; Ctrl-C ends it.

Usage: entry attach [OPTIONS] APP PROC [INSTANCE]
       entry attach [OPTIONS] --container NAME

Options:
      --gateway URL      ws://HOST:PORT[/BASE], over TLS wss://HOST[:PORT][/BASE]
                         [default: $ENTRY_GATEWAY, else ws://127.0.0.1:8022]
      --ca FILE          trust the authorities in FILE (PEM) to know the gateway [default: those of this machine]
      --container NAME   a container by name or id, where the gateway permits it
      --token-file FILE  read the access token from FILE [default: $ENTRY_TOKEN]
      --tail N           begin with the last N lines
      --protocol WHICH   auto, v1 (entry.v1 or nothing) or lain (as old servers speak it) [default: auto]
  -h, --help             this text
";

/// `entry watch --help`.
pub const WATCH_HELP: &str = "\
Watch an open session, read only, where the gateway permits it (--watch) and your token may.

Usage: entry watch [OPTIONS] SESSION

SESSION is its id, as the gateway's log, its /api/sessions and 'entry top' tell it. q or Ctrl-C leaves.

Options:
      --gateway URL      ws://HOST:PORT[/BASE], over TLS wss://HOST[:PORT][/BASE]
                         [default: $ENTRY_GATEWAY, else ws://127.0.0.1:8022]
      --ca FILE          trust the authorities in FILE (PEM) to know the gateway [default: those of this machine]
      --token-file FILE  read the access token from FILE [default: $ENTRY_TOKEN]
  -h, --help             this text

Exit status: that of the session, once it has ended; 0 when you leave; 125 when Entry failed.
";

/// What the arguments ask for.
#[derive(Debug)]
pub enum Parsed {
    /// A stay.
    Run(Box<Options>),
    /// The help text.
    Help(&'static str),
}

/// The environment, as a function so that tests have their own.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Reads the arguments behind `enter`, `attach` or `watch`.
///
/// # Errors
/// A text for the person, without `entry:` in front.
pub fn parse(action: Action, arguments: lexopt::Parser) -> Result<Parsed, String> {
    parse_with(action, arguments, &|name| std::env::var_os(name))
}

fn parse_with(
    action: Action,
    mut arguments: lexopt::Parser,
    environment: Environment<'_>,
) -> Result<Parsed, String> {
    use lexopt::Arg::{Long, Short, Value};
    let mut given = Given::default();
    let (entering, attaching, watching) =
        (action == Action::Enter, action == Action::Attach, action == Action::Watch);
    let plain = |error: lexopt::Error| error.to_string();
    loop {
        // lexopt does not tell whether `--` was there, and behind it begins the command.
        if let Some(mut raw) = arguments.try_raw_args()
            && raw.next_if(|word| word == "--").is_some()
        {
            given.command = raw.map(text).collect::<Result<_, _>>()?;
            given.command_asked = true;
            break;
        }
        let Some(argument) = arguments.next().map_err(plain)? else { break };
        match argument {
            Short('h') | Long("help") => {
                return Ok(Parsed::Help(match action {
                    Action::Enter => ENTER_HELP,
                    Action::Attach => ATTACH_HELP,
                    Action::Watch => WATCH_HELP,
                }));
            }
            Long("gateway") => given.gateway = Some(text(arguments.value().map_err(plain)?)?),
            Long("ca") => given.ca = Some(arguments.value().map_err(plain)?.into()),
            Long("container") if !watching => {
                given.container = Some(text(arguments.value().map_err(plain)?)?)
            }
            Long("token-file") => given.token_file = Some(arguments.value().map_err(plain)?),
            Long("protocol") if !watching => {
                given.protocol = Some(protocol(&arguments.value().map_err(plain)?)?)
            }
            Long("token") => {
                return Err("a token on the command line is seen by everybody on this machine; \
                            put it into ENTRY_TOKEN or a --token-file"
                    .to_owned());
            }
            Short('t') | Long("tty") if entering => given.tty = Some(TtyChoice::Always),
            Short('T') | Long("no-tty") if entering => given.tty = Some(TtyChoice::Never),
            // As in `docker exec -it`; input always goes along.
            Short('i') | Long("interactive") if entering => {}
            Short('u') | Long("user") if entering => given.user = text(arguments.value().map_err(plain)?)?,
            Short('w') | Long("workdir") if entering => {
                given.workdir = text(arguments.value().map_err(plain)?)?;
            }
            Short('e') | Long("env") if entering => {
                let variable = text(arguments.value().map_err(plain)?)?;
                given.environment.extend(variable_or_own(variable, environment)?);
            }
            Long("escape") if entering => given.escape = Some(escape(&arguments.value().map_err(plain)?)?),
            Long("tail") if attaching => {
                let lines = arguments.value().map_err(plain)?;
                given.tail = Some(lines.parse().map_err(|_| "--tail wants a number of lines".to_owned())?);
            }
            Value(word) => given.words.push(text(word)?),
            Short(_) | Long(_) => return Err(argument.unexpected().to_string()),
        }
    }
    if given.command_asked && !entering {
        return Err("no command is run here; `entry enter … -- COMMAND` does".to_owned());
    }
    if given.command_asked && given.command.is_empty() {
        return Err("no command behind '--'".to_owned());
    }
    given.options(action, environment).map(|options| Parsed::Run(Box::new(options)))
}

/// The arguments as they stand.
#[derive(Default)]
struct Given {
    gateway: Option<String>,
    ca: Option<PathBuf>,
    container: Option<String>,
    token_file: Option<OsString>,
    protocol: Option<Protocol>,
    tty: Option<TtyChoice>,
    user: String,
    workdir: String,
    environment: Vec<String>,
    escape: Option<Option<u8>>,
    tail: Option<u32>,
    words: Vec<String>,
    command: Vec<String>,
    command_asked: bool,
}

impl Given {
    fn options(self, action: Action, environment: Environment<'_>) -> Result<Options, String> {
        let target = match action {
            Action::Enter | Action::Attach => target(self.container, self.words)?,
            Action::Watch => session(self.words)?,
        };
        let url = match self.gateway {
            Some(url) => url,
            None => match environment("ENTRY_GATEWAY").filter(|url| !url.is_empty()) {
                Some(url) => text(url)?,
                None => Gateway::DEFAULT.to_owned(),
            },
        };
        let mut options = Options::new(Gateway::parse(&url)?, action, target);
        if self.ca.is_some() && !options.gateway.is_secure() {
            return Err(format!("--ca is for wss://, and the gateway is {}", options.gateway));
        }
        options.ca = self.ca;
        options.token = token(self.token_file.as_deref(), environment)?;
        options.term = environment("TERM").and_then(|term| term.into_string().ok()).unwrap_or_default();
        options.command = self.command;
        options.user = self.user;
        options.workdir = self.workdir;
        options.environment = self.environment;
        options.tail = self.tail;
        if let Some(tty) = self.tty {
            options.tty = tty;
        }
        if let Some(escape) = self.escape {
            options.escape = escape;
        }
        if let Some(protocol) = self.protocol {
            options.protocol = protocol;
        }
        Ok(options)
    }
}

fn text(value: OsString) -> Result<String, String> {
    value.into_string().map_err(|value| format!("{value:?} is not UTF-8"))
}

fn target(container: Option<String>, words: Vec<String>) -> Result<Target, String> {
    if words.iter().chain(&container).any(String::is_empty) {
        return Err("an empty name names nothing".to_owned());
    }
    let mut words = words.into_iter();
    match (container, words.next(), words.next(), words.next(), words.next()) {
        (Some(name), None, ..) => Ok(Target::Container(name)),
        (Some(_), Some(word), ..) => Err(format!("'{word}' beside --container; a command comes behind '--'")),
        (None, Some(app), Some(proc), instance, None) => {
            Ok(Target::Instance { app, proc, instance: instance.unwrap_or_default() })
        }
        (None, Some(_), Some(_), _, Some(word)) => {
            Err(format!("'{word}' is too much; a command comes behind '--'"))
        }
        (None, ..) => Err("which container? APP PROC [INSTANCE] or --container NAME".to_owned()),
    }
}

/// The session to watch.
fn session(words: Vec<String>) -> Result<Target, String> {
    match &words[..] {
        [id] if !id.is_empty() => Ok(Target::Session(id.clone())),
        _ => Err("which session? Its id, as `entry top` and the gateway's log tell it".to_owned()),
    }
}

/// The token, from the file if one is named, else from the environment.
fn token(file: Option<&OsStr>, environment: Environment<'_>) -> Result<Option<String>, String> {
    let (token, place) = match file {
        Some(file) => {
            let place = format!("the token file {}", file.display());
            let token = fs::read(file).map_err(|error| format!("{place} cannot be read: {error}"))?;
            (token, place)
        }
        None => match environment("ENTRY_TOKEN") {
            Some(token) => (token.into_encoded_bytes(), "ENTRY_TOKEN".to_owned()),
            None => return Ok(None),
        },
    };
    let token = String::from_utf8(token).map_err(|_| format!("{place} is not UTF-8"))?;
    let token = token.trim();
    if token.chars().any(char::is_control) {
        return Err(format!("{place} holds more than one line, or control characters"));
    }
    if token.is_empty() && file.is_some() {
        return Err(format!("{place} is empty"));
    }
    Ok((!token.is_empty()).then(|| token.to_owned()))
}

/// `NAME=value` as it is; `NAME` with the value it has here, or nothing when it has none.
fn variable_or_own(variable: String, environment: Environment<'_>) -> Result<Option<String>, String> {
    if variable.is_empty() || variable.starts_with('=') {
        return Err(format!("--env wants NAME=VALUE or NAME, not '{variable}'"));
    }
    if variable.contains('=') {
        return Ok(Some(variable));
    }
    match environment(&variable) {
        Some(value) => Ok(Some(format!("{variable}={}", text(value)?))),
        None => Ok(None),
    }
}

fn protocol(value: &OsStr) -> Result<Protocol, String> {
    match value.to_str() {
        Some("auto") => Ok(Protocol::Auto),
        Some("v1" | "entry.v1") => Ok(Protocol::V1),
        Some("lain") => Ok(Protocol::Lain),
        _ => Err("--protocol wants auto, v1 or lain".to_owned()),
    }
}

fn escape(value: &OsStr) -> Result<Option<u8>, String> {
    match value.as_encoded_bytes() {
        b"none" => Ok(None),
        [character @ 0x21..=0x7e] if !matches!(character, b'.' | b'?') => Ok(Some(*character)),
        _ => Err("--escape wants one ASCII character (not '.' or '?'), or none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(action: Action, words: &[&str], own: &[(&str, &str)]) -> Result<Options, String> {
        let environment =
            |name: &str| own.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value));
        match parse_with(action, lexopt::Parser::from_args(words), &environment)? {
            Parsed::Run(options) => Ok(*options),
            Parsed::Help(_) => Err("help".to_owned()),
        }
    }

    fn instance(app: &str, proc: &str, instance: &str) -> Target {
        Target::Instance { app: app.into(), proc: proc.into(), instance: instance.into() }
    }

    #[test]
    fn everything_that_enter_takes() {
        let words = [
            "--gateway=ws://g:1",
            "-tu",
            "root",
            "-w/tmp",
            "-e",
            "A=1=2",
            "--env",
            "B",
            "-eC",
            "--escape",
            "^",
            "--protocol",
            "v1",
            "hello",
            "web",
            "2",
            "--",
            "ls",
            "-l",
            "--",
            "-t",
        ];
        let own = [("B", "own"), ("TERM", "vt100"), ("ENTRY_TOKEN", "t\n"), ("ENTRY_GATEWAY", "ws://other")];
        let options = run_with(Action::Enter, &words, &own).unwrap();
        assert_eq!(options.gateway.to_string(), "ws://g:1");
        assert_eq!(options.target, instance("hello", "web", "2"));
        assert_eq!(options.command, ["ls", "-l", "--", "-t"]);
        assert_eq!(options.environment, ["A=1=2", "B=own"]);
        assert_eq!((options.user.as_str(), options.workdir.as_str()), ("root", "/tmp"));
        assert_eq!((options.tty, options.escape), (TtyChoice::Always, Some(b'^')));
        assert_eq!(options.protocol, Protocol::V1);
        assert_eq!((options.token.as_deref(), options.term.as_str()), (Some("t"), "vt100"));
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let options = run_with(Action::Enter, &["a", "p"], &[("ENTRY_TOKEN", "")]).unwrap();
        assert_eq!(options.gateway.to_string(), Gateway::DEFAULT);
        assert_eq!(options.target, instance("a", "p", ""));
        assert_eq!((options.token, options.tail, options.escape), (None, None, Some(b'~')));
        assert_eq!((options.tty, options.protocol), (TtyChoice::Auto, Protocol::Auto));
        let own = [("ENTRY_GATEWAY", "ws://own/x")];
        let options = run_with(Action::Attach, &["--container", "c", "--tail", "7"], &own).unwrap();
        assert_eq!(options.gateway.to_string(), "ws://own:80/x");
        assert_eq!((options.target, options.tail), (Target::Container("c".into()), Some(7)));
        let sealed = ["--gateway=wss://g", "--ca", "ca.pem", "a", "p"];
        let options = run_with(Action::Attach, &sealed, &[]).unwrap();
        assert_eq!((options.gateway.is_secure(), options.ca), (true, Some("ca.pem".into())));
        let options = run_with(Action::Watch, &["1:2"], &own).unwrap();
        assert_eq!(options.target, Target::Session("1:2".into()));
        assert_eq!(run_with(Action::Enter, &["--escape=none", "a", "p"], &[]).unwrap().escape, None);
    }

    #[test]
    fn mistakes_are_named() {
        use Action::{Attach, Enter, Watch};
        let table: [(Action, &[&str], &str); 24] = [
            (Enter, &[], "which container?"),
            (Enter, &["a"], "which container?"),
            (Enter, &["a", ""], "empty"),
            (Enter, &["a", "p", "1", "ls"], "behind '--'"),
            (Enter, &["--container", "c", "ls"], "behind '--'"),
            (Enter, &["a", "p", "--"], "no command"),
            (Enter, &["a", "p", "--token", "x"], "ENTRY_TOKEN"),
            (Enter, &["a", "p", "--gateway", "ws://g", "--ca", "f"], "--ca is for wss://"),
            (Enter, &["a", "p", "--gateway"], "missing argument"),
            (Enter, &["a", "p", "--escape", "ab"], "--escape wants"),
            (Enter, &["a", "p", "--escape", "."], "--escape wants"),
            (Enter, &["a", "p", "--protocol", "v2"], "--protocol wants"),
            (Enter, &["a", "p", "-e", "=x"], "--env wants"),
            (Enter, &["a", "p", "--tail", "1"], "--tail"),
            (Enter, &["a", "p", "--token-file", "/nonexistent/token"], "cannot be read"),
            (Enter, &["a", "p", "--token-file", "/dev/null"], "is empty"),
            (Enter, &["a", "p", "-x"], "-x"),
            (Attach, &["a", "p", "--tail", "-1"], "--tail wants"),
            (Attach, &["a", "p", "-t"], "-t"),
            (Attach, &["a", "p", "--", "ls"], "no command is run here"),
            (Watch, &[], "which session?"),
            (Watch, &["a", "p"], "which session?"),
            (Watch, &["--container", "c"], "--container"),
            (Watch, &["--tail", "1", "x"], "--tail"),
        ];
        for (action, words, what) in table {
            let error = run_with(action, words, &[]).map(drop).unwrap_err();
            assert!(error.contains(what), "{words:?}: {error}");
        }
        for bad in ["a\nb", "a\x1bb"] {
            assert!(run_with(Enter, &["a", "p"], &[("ENTRY_TOKEN", bad)]).is_err());
        }
    }

    #[test]
    fn help_is_help() {
        for (action, start) in
            [(Action::Enter, "Enter"), (Action::Attach, "Follow"), (Action::Watch, "Watch")]
        {
            let parsed = parse_with(action, lexopt::Parser::from_args(["a", "-h"]), &|_| None).unwrap();
            assert!(matches!(parsed, Parsed::Help(help) if help.starts_with(start)));
        }
    }
}
