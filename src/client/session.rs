//! One stay: the loop over the gateway's socket, stdin, the signals and the clock.
//!
//! ```text
//! upgrade ─▶ Opening ──OPENED──▶ Open ──CLOSE, ~., a signal, a lost link──▶ Closing ─▶ Ending
//! ```
//! In Opening the terminal is still the person's own and Ctrl-C is a signal; stdin is not touched, so that a refused
//! session eats none of it. LAIN's server tells no OPENED: with it Opening is over at once.

use super::ending::Ending;
use super::escape::{Command, Escape, WholeCharacters};
use super::handshake::{self, Spoken};
use super::input::{Input, Stdin};
use super::link::{Link, Received};
use super::options::{Options, Target};
use super::output::Output;
use super::signals::{Signal, Signals};
use super::terminal::{self, RawTerminal};
use super::watching::{self, Watched};
use crate::outcome::Action;
use crate::wire::message::{Hello, Output as OutputStream, ResponseMessage, ResponseType};
use mio::{Events, Poll, Token, Waker};
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SOCKET: Token = Token(0);
const SIGNALS: Token = Token(1);
const WAKE: Token = Token(2);

/// So many pieces go each way before the loop looks at everything else.
const PIECES_PER_TURN: usize = 32;
/// What ends input on a terminal: Ctrl-D.
const END_OF_TRANSMISSION: u8 = 4;
/// The signal of a terminal that has gone.
const SIGHUP: u8 = 1;

/// Enters, stays, leaves. When it gives the ending, the terminal is as it was.
pub(super) fn stay(options: &Options) -> Ending {
    let (mut session, poll) = match begin(options) {
        Ok(begun) => begun,
        Err(ending) => return ending,
    };
    let ending = session.introduce().and_then(|()| session.turn_until_the_end(poll));
    let was_raw = session.tty && session.opened;
    drop(session); // puts the terminal back
    let ending = ending.unwrap_or_else(|ending| ending);
    if was_raw { ending.on_its_own_line() } else { ending }
}

fn begin(options: &Options) -> Result<(Session<'_>, Poll), Ending> {
    let stdin_is_terminal = io::stdin().is_terminal();
    let tty = options.wants_tty(stdin_is_terminal, io::stdout().is_terminal()).map_err(Ending::failed)?;
    let upgraded = handshake::upgrade(options).map_err(Ending::failed)?;
    let ours = |error: io::Error| Ending::failed(format!("this machine refused something: {error}"));
    let poll = Poll::new().map_err(ours)?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).map_err(ours)?);
    let signals = Signals::take(poll.registry(), SIGNALS).map_err(ours)?;
    let link = Link::new(upgraded, poll.registry(), SOCKET).map_err(ours)?;
    let output = Output::start(Arc::clone(&waker)).map_err(ours)?;
    let session = Session {
        options,
        tty,
        link,
        signals,
        waker,
        output,
        terminal: None,
        stdin: None,
        opened: false,
        escape: options.escape.filter(|_| tty).map(Escape::new),
        characters: WholeCharacters::default(),
        line_open: false,
        window: None,
        deaf: false,
        closing: None,
        watched: Watched::default(),
    };
    Ok((session, poll))
}

/// The end is known; what remains.
struct Closing {
    ending: Ending,
    /// Until when the close handshake may take; `None` when it is over.
    link_until: Option<Instant>,
    /// What has come is still written.
    writes_out: bool,
}

struct Session<'a> {
    options: &'a Options,
    tty: bool,
    link: Link,
    signals: Signals,
    waker: Arc<Waker>,
    output: Output,
    /// Raw while inside.
    terminal: Option<RawTerminal>,
    /// While it is read.
    stdin: Option<Stdin>,
    opened: bool,
    escape: Option<Escape>,
    characters: WholeCharacters,
    /// The last byte of input was not the end of a line.
    line_open: bool,
    /// The size that was told last.
    window: Option<(u16, u16)>,
    /// The socket was not read in the last turn, because the output is behind.
    deaf: bool,
    closing: Option<Closing>,
    /// Of the terminal that is watched.
    watched: Watched,
}

/// Whether a side has more to do without waiting.
type More = bool;

impl Session<'_> {
    /// The first words of this side.
    fn introduce(&mut self) -> Result<(), Ending> {
        self.window = self.tty.then(terminal::window_size).flatten();
        match self.link.spoken() {
            Spoken::V1 => self.link.send_hello(self.hello()),
            Spoken::Lain => {
                if let Some(asked) = self.options.beyond_lain() {
                    self.link.close();
                    return Err(Ending::failed(format!(
                        "{}: this server speaks LAIN's old protocol, which does not know {asked}",
                        self.options.gateway
                    )));
                }
                if let Some(window) = self.window {
                    self.link.send_window(window);
                }
                self.open()?;
            }
        }
        Ok(())
    }

    fn hello(&self) -> Hello {
        let options = self.options;
        let (columns, rows) = self.window.unwrap_or_default();
        let mut hello = Hello {
            access_token: options.token.clone().unwrap_or_default(),
            command: options.command.clone(),
            tty: self.tty,
            stdin: options.action == Action::Enter,
            user: options.user.clone(),
            workdir: options.workdir.clone(),
            environment: options.environment.clone(),
            term: options.term.clone(),
            columns: columns.into(),
            rows: rows.into(),
            tail: options.tail,
            ..Hello::default()
        };
        match options.target.clone() {
            Target::Instance { app, proc, instance } => {
                (hello.app, hello.proc, hello.instance) = (app, proc, instance);
            }
            Target::Container(name) => hello.container = name,
            Target::Session(id) => hello.session = id,
        }
        hello
    }

    /// The process runs: from now on the terminal and stdin are its.
    fn open(&mut self) -> Result<(), Ending> {
        if self.opened {
            return Ok(());
        }
        self.opened = true;
        if self.tty {
            let raw = RawTerminal::enter();
            self.terminal =
                Some(raw.map_err(|error| Ending::failed(format!("the terminal refused raw mode: {error}")))?);
            self.tell_window();
        }
        if self.options.action == Action::Enter || self.tty {
            let stdin = Stdin::start(Arc::clone(&self.waker));
            self.stdin =
                Some(stdin.map_err(|error| Ending::failed(format!("stdin cannot be read: {error}")))?);
        }
        Ok(())
    }

    /// Tells the window's size where it has changed.
    fn tell_window(&mut self) {
        let window = terminal::window_size();
        if self.opened && self.tty && window.is_some() && window != self.window {
            self.window = window;
            if self.options.action == Action::Watch {
                return;
            }
            window.into_iter().for_each(|window| self.link.send_window(window));
        }
    }

    fn turn_until_the_end(&mut self, mut poll: Poll) -> Result<Ending, Ending> {
        let mut events = Events::with_capacity(8);
        let mut more = true;
        loop {
            let timeout = if more { Some(Duration::ZERO) } else { self.time_left(Instant::now()) };
            match poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Ending::failed(format!("this machine refused to wait: {error}")));
                }
                // Readiness is only told on its edge, so every turn tries everything.
                Ok(()) | Err(_) => {}
            }
            self.heed_signals()?;
            more = self.send();
            more |= self.receive();
            self.notice_failures(Instant::now());
            if let Some(closing) = self.closing.take_if(|closing| {
                closing.link_until.is_none() && !(closing.writes_out && self.output.is_waiting())
            }) {
                return Ok(closing.ending);
            }
        }
    }

    /// How long nothing will have to be done, unless something comes.
    fn time_left(&self, now: Instant) -> Option<Duration> {
        let deadline = match &self.closing {
            Some(closing) => closing.link_until,
            None if self.deaf => None,
            None => Some(self.link.heard_at() + self.options.timeouts.silence),
        };
        // One millisecond more, as the poll rounds down.
        deadline.map(|deadline| deadline.saturating_duration_since(now) + Duration::from_millis(1))
    }

    fn heed_signals(&mut self) -> Result<(), Ending> {
        for signal in self.signals.pending() {
            match signal {
                Signal::WindowChanged => self.tell_window(),
                Signal::Continued => {
                    if let Some(terminal) = &self.terminal {
                        let _ = terminal.enter_again(); // where it is gone, reading it tells
                    }
                    self.tell_window();
                }
                // Whoever asks a second time does not want to wait for a goodbye.
                Signal::End(number) if self.closing.is_some() => return Err(Ending::signal(number)),
                Signal::End(number) => self.leave(Ending::signal(number)),
            }
        }
        Ok(())
    }

    /// Ends the stay from this side: says goodbye, and writes nothing more.
    fn leave(&mut self, ending: Ending) {
        self.close(ending, false);
    }

    fn close(&mut self, ending: Ending, writes_out: bool) {
        let is_on_screen = self.options.action == Action::Watch && self.tty && self.opened;
        if is_on_screen && self.closing.is_none() {
            self.output.write(OutputStream::Stdout, watching::AS_BEFORE.to_vec());
        }
        self.stdin = None;
        if !writes_out {
            self.terminal = None;
        }
        self.link.close();
        let link_until = Some(Instant::now() + self.options.timeouts.closing);
        self.closing = Some(Closing { ending, link_until, writes_out });
    }

    /// The connection is of no use any more.
    fn link_is_over(&mut self, ending: impl FnOnce() -> Ending) {
        if self.closing.is_none() {
            self.close(ending(), true);
        }
        if let Some(closing) = &mut self.closing {
            closing.link_until = None;
        }
    }

    /// stdin to the gateway.
    fn send(&mut self) -> More {
        for _ in 0..PIECES_PER_TURN {
            if !self.link.flush() {
                return false; // the socket tells when it takes more
            }
            let Some(stdin) = &self.stdin else { return false };
            match stdin.next() {
                Input::Bytes(bytes) => self.send_bytes(bytes),
                Input::NotYet => return false,
                Input::End => self.end_stdin(),
                // A terminal that is gone says so by an error.
                Input::Failed(_) if self.tty => self.leave(Ending::signal(SIGHUP)),
                Input::Failed(error) => {
                    self.leave(Ending::failed(format!("stdin cannot be read: {error}")));
                }
            }
        }
        true
    }

    fn send_bytes(&mut self, bytes: Vec<u8>) {
        if self.options.action == Action::Watch {
            if let Some(ending) = watching::leaves(&bytes) {
                // What has come is still written: the screen is put back behind it.
                self.close(ending, true);
            }
            return;
        }
        let Some(mut escape) = self.escape.take() else {
            return self.send_filtered(bytes);
        };
        let mut rest = bytes.as_slice();
        loop {
            let mut filtered = Vec::with_capacity(rest.len() + 1);
            let command = escape.filter(rest, &mut filtered);
            self.send_filtered(filtered);
            match command {
                None => break,
                Some((Command::Help, behind)) => {
                    self.output.write(OutputStream::Stderr, help(self.options.escape));
                    rest = behind;
                }
                Some((Command::Leave, _)) => {
                    let character = self.options.escape.unwrap_or_default();
                    return self.leave(Ending::left(character));
                }
            }
        }
        self.escape = Some(escape);
    }

    fn send_filtered(&mut self, bytes: Vec<u8>) {
        let bytes = if self.tty { self.characters.cut(bytes) } else { bytes };
        if let Some(last) = bytes.last() {
            self.line_open = *last != b'\n';
        }
        self.link.send_input(bytes);
    }

    fn end_stdin(&mut self) {
        self.stdin = None;
        if self.tty {
            // A raw terminal has no end of file but that of its window.
            let held = self.characters.finish();
            self.link.send_input(held);
            return self.leave(Ending::signal(SIGHUP));
        }
        match self.link.spoken() {
            Spoken::V1 => self.link.send_stdin_end(),
            // LAIN's server always gives a terminal, where input ends by a key; on an open line it takes two.
            Spoken::Lain => self.link.send_input(vec![END_OF_TRANSMISSION; 1 + usize::from(self.line_open)]),
        }
    }

    /// The gateway to stdout and stderr.
    fn receive(&mut self) -> More {
        for _ in 0..PIECES_PER_TURN {
            if self.closing.as_ref().is_some_and(|closing| closing.link_until.is_none()) {
                return false;
            }
            if self.closing.is_none() {
                let deaf = self.output.is_full();
                if self.deaf && !deaf {
                    self.link.forgive_silence(Instant::now());
                }
                self.deaf = deaf;
                if deaf {
                    return false; // the output's thread wakes us
                }
            }
            match self.link.receive() {
                Received::Message(message) if self.closing.is_none() => self.obey(message),
                Received::Message(_) | Received::Other => {}
                Received::NotYet => return false,
                Received::Close(why) => self.link_is_over(|| {
                    Ending::failed(format!("the gateway ended the session without a word ({why})"))
                }),
                Received::Lost(how) => self.link_is_over(|| Ending::lost(&how)),
            }
        }
        true
    }

    fn obey(&mut self, message: ResponseMessage) {
        let stream = match ResponseType::try_from(message.msg_type) {
            Ok(ResponseType::Stdout) => OutputStream::Stdout,
            Ok(ResponseType::Stderr) => OutputStream::Stderr,
            Ok(ResponseType::Close) => {
                let ending = match self.link.spoken() {
                    Spoken::V1 => Ending::told(message),
                    Spoken::Lain => Ending::told_by_lain(&message),
                };
                return self.close(ending, true);
            }
            Ok(ResponseType::Opened) => {
                if let (Some(opened), Action::Watch) = (&message.opened, self.options.action) {
                    self.output.write(OutputStream::Stderr, watching::title(opened, self.tty));
                }
                return self.open().unwrap_or_else(|ending| self.leave(ending));
            }
            Ok(ResponseType::Size) => return self.watched.sized(&message.content),
            // Marks and echoes come to who asks for them; a type that only newer gateways have is none of ours.
            Ok(ResponseType::Ping | ResponseType::Mark | ResponseType::Echo) | Err(_) => return,
        };
        if !message.content.is_empty() {
            self.output.write(stream, message.content);
        }
        if let Some(note) = self.watched.note(self.window.filter(|_| self.tty)) {
            self.output.write(OutputStream::Stderr, note);
        }
    }

    /// What no message tells: a silent gateway, a goodbye without an answer, an output that takes nothing.
    fn notice_failures(&mut self, now: Instant) {
        if let Some((_, error)) = self.output.take_failure() {
            // The close handshake of an ending that was under way goes on.
            match &mut self.closing {
                Some(closing) => {
                    closing.writes_out = false;
                    closing.ending = Ending::output_failed(&error);
                }
                None => self.leave(Ending::output_failed(&error)),
            }
        }
        match &mut self.closing {
            Some(closing) => {
                closing.link_until = closing.link_until.filter(|until| *until > now);
            }
            None if !self.deaf && now >= self.link.heard_at() + self.options.timeouts.silence => {
                let silence = self.options.timeouts.silence;
                self.link_is_over(|| Ending::lost(&format!("nothing came for {silence:?}")));
            }
            None => {}
        }
    }
}

/// What `~?` shows, for a raw terminal.
fn help(escape: Option<u8>) -> Vec<u8> {
    let c = char::from(escape.unwrap_or_default());
    format!("\r\nAt the start of a line:\r\n  {c}.  leave\r\n  {c}?  this help\r\n  {c}{c}  send {c}\r\n")
        .into_bytes()
}
