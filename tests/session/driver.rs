//! Runs one session against a scripted client and a scripted engine: no sockets, no clock, no threads.
//!
//! The client is tungstenite's own WebSocket over memory and prost's own encoding, so that our framing is not checked
//! by our framing. Requests to the engine are read by httparse and serde_json.

mod client;
mod engine;

pub(crate) use engine::{frame, listed, refused, response, upgraded};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entry::access::{Rule, Rules, UnixSeconds, jwt};
use entry::config::{self, Peers, Settings};
use entry::crowd::{Crowd, Place};
use entry::engine::{Address, Dialect, EngineId, Engines};
use entry::locate::census::Census;
use entry::outcome::Outcome;
use entry::service::Peer;
use entry::session::{
    Call, CallError, Context, Effect, Event, Lane, Millis, NoSeat, Post, Reap, Session, SessionId, Sight,
    Subject,
};
use entry::wire::http::{Expect, Reply, ReplyReader};
use entry::wire::message::{
    Close, Hello, Opened, RequestMessage, RequestType, ResponseMessage, ResponseType,
};
use prost::Message as _;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Error, Message};

/// Stands in every visit's hello; it must never be seen again.
pub(crate) const TOKEN: &str = "s3cret-token";
/// Where its client is.
pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// The wall clock at a visit's begin.
pub(crate) const WALL: UnixSeconds = 1_800_000_000;
pub(crate) const CONTAINER: &str = "c0ffee0000000000000000000000000000000000000000000000000000000000";
pub(crate) const EXEC: &str = "e0ec000000000000000000000000000000000000000000000000000000000000";
pub(crate) const SAFELY: &str = "\x1b[32m>>> You quit the container safely.\x1b[0m";

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Lain,
    Web,
    V1,
}

pub(crate) const ALL_CLIENTS: [Speaks; 3] = [Speaks::Lain, Speaks::Web, Speaks::V1];

/// What an engine is, by its ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker41,
    Docker51,
    Podman,
}

pub(crate) const ALL_ENGINES: [Kind; 3] = [Kind::Docker41, Kind::Docker51, Kind::Podman];

impl Kind {
    pub(crate) fn pong(self) -> String {
        let headers = match self {
            Kind::Docker41 => "Api-Version: 1.41\r\nServer: Docker/20.10.24 (linux)\r\n",
            Kind::Docker51 => "Api-Version: 1.51\r\nSwarm: inactive\r\n",
            Kind::Podman => "Api-Version: 1.44\r\nBuildkit-Version: \r\nLibpod-Api-Version: 5.8.6\r\n",
        };
        format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\nOK")
    }

    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Kind::Docker41 => "/v1.41",
            Kind::Docker51 => "/v1.51",
            Kind::Podman => "/v1.44",
        }
    }
}

/// How bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Whole,
    ByteByByte,
}

pub(crate) const PACES: [Pace; 2] = [Pace::Whole, Pace::ByteByByte];

/// What the client hears.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Ping,
    Opened(Opened),
    Close(String, Option<Close>),
    Pong(Vec<u8>),
    Mark,
    Echo(Vec<u8>),
    Size(String),
    /// The close frame.
    Bye(u16, String),
}

/// A request to the engine.
#[derive(Debug)]
pub(crate) struct Asked {
    /// `GET /path`.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

/// The client's end of the line.
#[derive(Debug, Default)]
struct Pipe {
    to_read: VecDeque<u8>,
    written: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.to_read.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.to_read.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) struct Visit {
    pub(crate) session: Session,
    pub(crate) settings: Settings,
    pub(crate) rules: Rules,
    pub(crate) keys: jwt::Fetched,
    pub(crate) census: Census,
    /// Which sessions were asked for, to watch one, and which is watched.
    pub(crate) sought: Vec<SessionId>,
    pub(crate) seat: Option<SessionId>,
    pub(crate) wall: UnixSeconds,
    /// Whom the rules let in.
    pub(crate) admitted: Vec<String>,
    pub(crate) bad_proxy_headers: usize,
    pub(crate) engines: Engines,
    pub(crate) crowd: Crowd,
    pub(crate) place: Place,
    pub(crate) now: Millis,
    pub(crate) speaks: Speaks,
    pub(crate) pace: Pace,
    /// What the client's socket has not taken, as the session is told.
    pub(crate) backlog: usize,
    /// Bytes for the client that nobody has looked at.
    pub(crate) said: Vec<u8>,
    socket: WebSocket<Pipe>,
    /// Bytes for the engine that nobody has looked at.
    pub(crate) to_engine: Vec<u8>,
    pub(crate) calls: VecDeque<(Peer, Call, Vec<u8>)>,
    /// Whom the last short call that was looked at was for.
    pub(crate) called_peer: Option<Peer>,
    pub(crate) connects: usize,
    pub(crate) engine_input_finished: bool,
    pub(crate) engine_closed: bool,
    pub(crate) client_output_finished: bool,
    pub(crate) client_closed: bool,
    pub(crate) outcomes: Vec<Outcome>,
    /// How many guards know of it.
    pub(crate) guards: i32,
    /// Of a guard: why there is none, and whether it has left.
    pub(crate) unguarded: Vec<String>,
    pub(crate) relieved: bool,
    /// What was told of the ending of what it left.
    pub(crate) reaps: Vec<Reap>,
    buffer: Vec<u8>,
    text: Vec<u8>,
    /// Everything that left the session but for the client's bytes; searched for the token at the end.
    seen: Vec<u8>,
}

impl Visit {
    pub(crate) fn new(speaks: Speaks) -> Self {
        let settings = Settings {
            peers: Peers::one(Address::parse("unix:///engine.sock").unwrap()),
            allow_container: config::ContainerRule::new(vec!["*".to_owned()]),
            ..Settings::default()
        };
        let id = SessionId { boot: 0xb007, number: 7 };
        Visit {
            session: Session::new(id, 1_000_000, PEER),
            engines: settings.peers.table(),
            crowd: Crowd::default(),
            place: Place::default(),
            settings,
            rules: Rules::new(vec![Rule::Anonymous]),
            keys: jwt::Fetched::default(),
            census: Census::default(),
            sought: Vec::new(),
            seat: None,
            wall: WALL,
            admitted: Vec::new(),
            bad_proxy_headers: 0,
            now: 1_000_000,
            speaks,
            pace: Pace::Whole,
            backlog: 0,
            said: Vec::new(),
            socket: WebSocket::from_raw_socket(Pipe::default(), Role::Client, None),
            to_engine: Vec::new(),
            calls: VecDeque::new(),
            called_peer: None,
            connects: 0,
            engine_input_finished: false,
            engine_closed: false,
            client_output_finished: false,
            client_closed: false,
            outcomes: Vec::new(),
            guards: 0,
            unguarded: Vec::new(),
            relieved: false,
            reaps: Vec::new(),
            buffer: vec![0; config::HEADROOM_BYTES + config::READ_BYTES],
            text: b"left over".to_vec(),
            seen: Vec::new(),
        }
    }

    /// A guard on its way to the container, in place of a session.
    pub(crate) fn guard(after: Millis) -> Visit {
        let mut visit = Visit::new(Speaks::V1);
        let post = Post {
            engine: visit.engine_id(),
            container: CONTAINER.into(),
            user: Some(Box::new("app".to_owned())),
        };
        visit.engines.learn(visit.engine_id(), Dialect { version: "1.51".parse().unwrap(), podman: false });
        visit.session = Session::guard(visit.session.id(), visit.now, post, after);
        visit
    }

    pub(crate) fn guards(&mut self, number: u64) {
        self.step(|session, cx, _| session.guards(cx, number));
    }

    pub(crate) fn guards_no_more(&mut self, number: u64) {
        self.step(|session, cx, _| session.guards_no_more(cx, number));
    }

    // ---- Inputs.

    fn step(&mut self, input: impl FnOnce(&mut Session, &mut Context<'_>, &mut [u8])) {
        let (mut to_client, mut to_engine, mut effects) = (Lane::default(), Lane::default(), Vec::new());
        let mut cx = Context {
            now: self.now,
            crowd: &self.crowd,
            place: &mut self.place,
            wall: self.wall,
            rules: &self.rules,
            keys: &mut self.keys,
            settings: &self.settings,
            engines: &mut self.engines,
            census: &mut self.census,
            client_backlog: self.backlog,
            to_client: &mut to_client,
            to_engine: &mut to_engine,
            scratch: &mut self.text,
            effects: &mut effects,
        };
        input(&mut self.session, &mut cx, &mut self.buffer);
        let gather = |lane: &Lane, buffer: &[u8]| -> Vec<u8> {
            let ranges = lane.ranges.iter().flat_map(|range| &buffer[range.clone()]);
            ranges.chain(&lane.bytes).copied().collect()
        };
        if !self.client_closed {
            self.said.extend(gather(&to_client, &self.buffer));
        }
        let to_engine = gather(&to_engine, &self.buffer);
        self.seen.extend(&to_engine);
        if !self.engine_closed {
            self.to_engine.extend(to_engine);
        }
        for effect in effects {
            self.seen.extend(format!("{effect:?}").bytes());
            match effect {
                Effect::ConnectEngine(engine) => {
                    assert_eq!(self.session.wants_engine_leg(), Some(engine));
                    self.connects += 1;
                    self.engine_closed = false;
                }
                Effect::FinishEngineInput => self.engine_input_finished = true,
                Effect::CloseEngine => self.engine_closed = true,
                Effect::Call { peer, call, request } => {
                    // Only who decides on the token is shown it.
                    if call != Call::Access {
                        self.seen.extend(&request);
                    }
                    self.calls.push_back((peer, call, request));
                }
                Effect::FinishClientOutput => self.client_output_finished = true,
                Effect::CloseClient => self.client_closed = true,
                Effect::Tell(Event::Admitted { user, .. }) => self.admitted.push(user),
                Effect::Tell(Event::BadProxyHeader(_)) => self.bad_proxy_headers += 1,
                Effect::Tell(Event::TurnedAway { .. }) => {}
                Effect::Tell(Event::Ended { outcome, .. }) => self.outcomes.push(outcome),
                Effect::Guard(post, after) => {
                    assert_eq!(post.container.to_string(), CONTAINER);
                    assert!((100..=1_000).contains(&after), "not beside the opening");
                    self.guards += 1;
                }
                Effect::Unguard(post) => {
                    assert_eq!(post.container.to_string(), CONTAINER);
                    self.guards -= 1;
                }
                Effect::Relieved(_) => self.relieved = true,
                Effect::Tell(Event::Unguarded { why, .. }) => self.unguarded.push(why),
                Effect::Tell(Event::Reap(reap)) => self.reaps.push(reap),
                Effect::Seek(id) => self.sought.push(id),
                Effect::Sit { watched, .. } => self.seat = Some(watched),
                Effect::Rise => self.seat = None,
                Effect::Tell(
                    Event::Opened { .. } | Event::Asked(_) | Event::Resized(_) | Event::Watches { .. },
                ) => {}
            }
        }
        assert!(self.outcomes.len() <= 1, "a session ends once: {:?}", self.outcomes);
    }

    /// Bytes arrive: all at once, or one at a time.
    fn arrive(&mut self, bytes: &[u8], mut input: impl FnMut(&mut Self, &[u8])) {
        let size = match self.pace {
            Pace::Whole => config::READ_BYTES,
            Pace::ByteByByte => 1,
        };
        for piece in bytes.chunks(size) {
            input(self, piece);
        }
    }

    /// Bytes of the client.
    pub(crate) fn client(&mut self, bytes: &[u8]) {
        self.arrive(bytes, |visit, piece| {
            visit.step(|session, cx, buffer| {
                let range = config::HEADROOM_BYTES..config::HEADROOM_BYTES + piece.len();
                buffer[range.clone()].copy_from_slice(piece);
                session.client_bytes(cx, buffer, range);
            });
        });
    }

    /// Bytes of the engine.
    pub(crate) fn engine(&mut self, bytes: impl AsRef<[u8]>) {
        self.arrive(bytes.as_ref(), |visit, piece| {
            visit.step(|session, cx, buffer| {
                let range = config::HEADROOM_BYTES..config::HEADROOM_BYTES + piece.len();
                buffer[range.clone()].copy_from_slice(piece);
                session.engine_bytes(cx, buffer, range);
            });
        });
    }

    pub(crate) fn connected(&mut self) {
        self.step(|session, cx, _| session.engine_connected(cx));
    }

    pub(crate) fn connect_failed(&mut self, why: &str) {
        self.step(|session, cx, _| session.engine_failed(cx, why.to_owned()));
    }

    /// The engine's stream has ended.
    pub(crate) fn engine_ends(&mut self) {
        self.step(|session, cx, _| session.engine_closed(cx));
    }

    pub(crate) fn client_vanishes(&mut self) {
        self.step(|session, cx, _| session.client_closed(cx));
    }

    pub(crate) fn is_sought(&mut self, subject: Option<Subject>) {
        self.step(|session, cx, _| session.sought(cx, subject.map(Box::new)));
    }

    pub(crate) fn sight(&mut self, sight: Sight) {
        self.step(|session, cx, _| session.sight(cx, sight));
    }

    pub(crate) fn not_seated(&mut self, why: NoSeat) {
        self.step(|session, cx, _| session.not_seated(cx, why));
    }

    pub(crate) fn rules_changed(&mut self) {
        self.step(|session, cx, _| session.rules_changed(cx));
    }

    pub(crate) fn drain(&mut self, seconds: u32) {
        self.step(|session, cx, _| session.drain(cx, seconds));
    }

    /// The client's socket has taken everything.
    pub(crate) fn client_took_all(&mut self) {
        self.step(|session, cx, _| session.client_took_all(cx));
    }

    pub(crate) fn shut_down(&mut self) {
        self.step(|session, cx, _| session.shut_down(cx));
    }

    pub(crate) fn fail(&mut self) {
        self.step(|session, cx, _| session.fail(cx));
    }

    /// Time passes; the timer fires whenever it is due.
    pub(crate) fn wait(&mut self, milliseconds: Millis) {
        let until = self.now + milliseconds;
        let (began, wall) = (self.now, self.wall);
        while self.session.deadline() <= until {
            self.now = self.now.max(self.session.deadline());
            self.wall = wall + (self.now - began) / 1000;
            self.step(|session, cx, _| session.timer(cx));
            assert!(self.session.deadline() > self.now, "what was due is done, or the loop would spin");
        }
        self.now = until;
        self.wall = wall + milliseconds / 1000;
    }

    /// The loop has time for it, whether anything is due or not.
    pub(crate) fn timer(&mut self) {
        self.step(|session, cx, _| session.timer(cx));
    }

    pub(crate) fn reply(&mut self, call: Call, status: u16, body: &Value) {
        self.reply_bytes(call, status, format!("{body}\n").as_bytes());
    }

    pub(crate) fn reply_bytes(&mut self, call: Call, status: u16, body: &[u8]) {
        let bytes = response(status, std::str::from_utf8(body).unwrap());
        let mut reader = ReplyReader::new("GET", Expect::Whole, 4096, 65536);
        let reply: Reply = reader.feed(&bytes).unwrap().1.unwrap();
        self.step(|session, cx, _| session.reply(cx, call, Ok(reply)));
    }

    pub(crate) fn reply_whole(&mut self, call: Call, reply: Reply) {
        self.step(|session, cx, _| session.reply(cx, call, Ok(reply)));
    }

    pub(crate) fn call_fails(&mut self, call: Call, why: &str) {
        let why = CallError(why.to_owned());
        self.step(|session, cx, _| session.reply(cx, call, Err(why)));
    }
}

/// The hello of who wants a shell on a terminal.
pub(crate) fn terminal() -> Hello {
    Hello { tty: true, columns: 80, rows: 24, ..Hello::default() }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let seen = String::from_utf8_lossy(&self.seen);
        if !std::thread::panicking() {
            assert!(!seen.contains(TOKEN), "the token left the session: {seen}");
        }
    }
}
