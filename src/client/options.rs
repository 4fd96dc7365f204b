//! What one stay needs to know: who asks for what, at which gateway, and how.

use super::gateway::Gateway;
use crate::outcome::Action;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Everything about one stay. [`Options::new`] has the defaults; the fields may be changed.
#[derive(Clone)]
pub struct Options {
    /// Where to connect to.
    pub gateway: Gateway,
    /// The authorities that are trusted to know the gateway, in PEM; this machine's where there is none.
    pub ca: Option<PathBuf>,
    /// `enter`, `attach` or `watch`.
    pub action: Action,
    /// What to enter, or whom to watch.
    pub target: Target,
    /// The command with its arguments; empty for a shell.
    pub command: Vec<String>,
    /// On a terminal?
    pub tty: TtyChoice,
    /// User, empty for the container's.
    pub user: String,
    /// Working directory, empty for the container's.
    pub workdir: String,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// How many of the last lines `attach` gives first.
    pub tail: Option<u32>,
    /// Proves who asks; never shown.
    pub token: Option<String>,
    /// `TERM`; empty when not known.
    pub term: String,
    /// The escape character, none to have none.
    pub escape: Option<u8>,
    /// Which protocol to speak.
    pub protocol: Protocol,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

/// A container, named in one of two ways, or a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By app, proc and instance.
    Instance {
        /// LAIN's app; a Compose project.
        app: String,
        /// LAIN's proc; a Compose service.
        proc: String,
        /// Its number; empty for the only one.
        instance: String,
    },
    /// By name or id, where the gateway permits it.
    Container(String),
    /// An open session, by its id; to watch.
    Session(String),
}

/// Whether the process gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtyChoice {
    /// A shell does when stdin and stdout are terminals; a command does not.
    Auto,
    /// `-t`; stdin must be a terminal.
    Always,
    /// `-T`.
    Never,
}

/// Which protocol to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// entry.v1 where the server has it, else LAIN's.
    Auto,
    /// entry.v1 or nothing.
    V1,
    /// LAIN's, even where the server has more.
    Lain,
}

/// The limit of each wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a TCP connection, over all addresses of the host.
    pub connect: Duration,
    /// For the answer to the upgrade request, and TLS before it.
    pub handshake: Duration,
    /// Without a byte from a server that sends a PING every 10 s, the link is lost.
    pub silence: Duration,
    /// For the close handshake at the end.
    pub closing: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            silence: Duration::from_secs(35),
            closing: Duration::from_secs(1),
        }
    }
}

impl Options {
    /// A shell (or, to attach, the container's output) with all defaults.
    pub fn new(gateway: Gateway, action: Action, target: Target) -> Self {
        Options {
            gateway,
            ca: None,
            action,
            target,
            command: Vec::new(),
            tty: TtyChoice::Auto,
            user: String::new(),
            workdir: String::new(),
            environment: Vec::new(),
            tail: None,
            token: None,
            term: String::new(),
            escape: Some(b'~'),
            protocol: Protocol::Auto,
            timeouts: Timeouts::default(),
        }
    }

    /// Whether the process gets a terminal, given what stdin and stdout are.
    ///
    /// # Errors
    /// `-t` without a terminal on stdin.
    pub(super) fn wants_tty(
        &self,
        stdin_is_terminal: bool,
        stdout_is_terminal: bool,
    ) -> Result<bool, String> {
        match (self.action, self.tty) {
            (Action::Attach, _) | (Action::Enter, TtyChoice::Never) => Ok(false),
            // So that what is typed does not stand in what is watched.
            (Action::Watch, _) => Ok(stdin_is_terminal && stdout_is_terminal),
            (Action::Enter, TtyChoice::Auto) => {
                Ok(self.command.is_empty() && stdin_is_terminal && stdout_is_terminal)
            }
            (Action::Enter, TtyChoice::Always) if stdin_is_terminal => Ok(true),
            (Action::Enter, TtyChoice::Always) => {
                Err("-t needs a terminal on stdin; leave it out, or do not redirect stdin".to_owned())
            }
        }
    }

    /// What LAIN's protocol has no words for, if anything of that is asked for.
    pub(super) fn beyond_lain(&self) -> Option<&'static str> {
        let asked = [
            (matches!(self.target, Target::Session(_)), "watching"),
            (matches!(self.target, Target::Container(_)), "--container"),
            (!self.command.is_empty(), "a command"),
            (!self.user.is_empty(), "--user"),
            (!self.workdir.is_empty(), "--workdir"),
            (!self.environment.is_empty(), "--env"),
            (self.tail.is_some(), "--tail"),
        ];
        asked.into_iter().find_map(|(asked, name)| asked.then_some(name))
    }
}

impl fmt::Debug for Options {
    /// Neither the token nor what may hold other secrets: the command and the environment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("gateway", &self.gateway)
            .field("ca", &self.ca)
            .field("action", &self.action)
            .field("target", &self.target)
            .field("tty", &self.tty)
            .field("user", &self.user)
            .field("workdir", &self.workdir)
            .field("tail", &self.tail)
            .field("term", &self.term)
            .field("escape", &self.escape)
            .field("protocol", &self.protocol)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(action: Action, tty: TtyChoice, command: &[&str]) -> Options {
        let gateway = Gateway::parse(Gateway::DEFAULT).unwrap();
        let mut options = Options::new(gateway, action, Target::Container("c".into()));
        options.tty = tty;
        options.command = command.iter().map(|word| (*word).to_owned()).collect();
        options
    }

    #[test]
    fn a_terminal_only_for_a_terminal() {
        use Action::{Attach, Enter, Watch};
        use TtyChoice::{Always, Auto, Never};
        const SHELL: &[&str] = &[];
        const LS: &[&str] = &["ls"];
        let table = [
            (Enter, Auto, SHELL, true, true, Ok(true)),
            (Enter, Auto, SHELL, true, false, Ok(false)),
            (Enter, Auto, SHELL, false, true, Ok(false)),
            (Enter, Auto, LS, true, true, Ok(false)),
            (Enter, Always, LS, true, true, Ok(true)),
            (Enter, Always, LS, true, false, Ok(true)),
            (Enter, Always, SHELL, false, true, Err(())),
            (Enter, Never, SHELL, true, true, Ok(false)),
            (Attach, Auto, SHELL, true, true, Ok(false)),
            (Attach, Always, SHELL, true, true, Ok(false)),
            (Attach, Never, SHELL, true, true, Ok(false)),
            (Watch, Auto, SHELL, true, true, Ok(true)),
            (Watch, Auto, SHELL, false, true, Ok(false)),
            (Watch, Auto, SHELL, true, false, Ok(false)),
        ];
        for (action, tty, command, stdin, stdout, wanted) in table {
            let got = options(action, tty, command).wants_tty(stdin, stdout).map_err(drop);
            assert_eq!(got, wanted, "{action:?} {tty:?} {command:?} {stdin} {stdout}");
        }
    }

    #[test]
    fn debug_shows_no_secrets() {
        let mut options = options(Action::Enter, TtyChoice::Auto, &["s3cret-command"]);
        options.token = Some("s3cret-token".into());
        options.environment = vec!["A=s3cret-value".into()];
        assert!(!format!("{options:?}").contains("s3cret"));
    }
}
