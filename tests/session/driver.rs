//! Runs one session against a scripted client and a scripted engine: no sockets, no clock, no threads.
//!
//! The client is tungstenite's own WebSocket over memory and prost's own encoding, so that our framing is not checked
//! by our framing. Requests to the engine are read by httparse and serde_json.

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

    // ---- The client.

    pub(crate) fn path(&self, path: &str) -> String {
        match self.speaks {
            Speaks::Web => format!("{path}?method=web"),
            Speaks::Lain | Speaks::V1 => path.to_owned(),
        }
    }

    /// The upgrade, with these header lines more.
    pub(crate) fn upgrade(&mut self, path: &str, headers: &str) {
        let protocol =
            if self.speaks == Speaks::V1 { "Sec-WebSocket-Protocol: other, entry.v1\r\n" } else { "" };
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}{headers}\r\n",
            self.path(path)
        );
        self.client(head.as_bytes());
        let end = self.said.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a whole head") + 4;
        let head = String::from_utf8(self.said.drain(..end).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // The example of RFC 6455, 1.3.
        assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        assert_eq!(
            head.contains("\r\nSec-WebSocket-Protocol: entry.v1\r\n"),
            self.speaks == Speaks::V1,
            "{head}"
        );
    }

    /// Upgrade and first message, for app `shop` and proc `web`; `hello` is entry.v1's, with what is not set.
    pub(crate) fn greet(&mut self, path: &str, hello: Hello) {
        let (app, proc) = if hello.container.is_empty() { ("shop", "web") } else { ("", "") };
        let container = &hello.container;
        match self.speaks {
            Speaks::Lain => {
                let target = if container.is_empty() {
                    format!("app-name: {app}\r\nproc-name: {proc}\r\n")
                } else {
                    format!("container: {container}\r\n")
                };
                self.upgrade(path, &format!("access-token: {TOKEN}\r\n{target}term-type: vt100\r\n"));
            }
            Speaks::Web => {
                self.upgrade(path, "");
                let hello = json!({
                    "access_token": TOKEN, "app_name": app, "proc_name": proc, "container": container,
                });
                self.send(Message::text(hello.to_string()));
            }
            Speaks::V1 => {
                self.upgrade(path, "");
                let hello = Hello { access_token: TOKEN.into(), app: app.into(), proc: proc.into(), ..hello };
                let message = RequestMessage {
                    msg_type: RequestType::Hello as i32,
                    content: Vec::new(),
                    hello: Some(Box::new(hello)),
                };
                self.send(Message::binary(message.encode_to_vec()));
            }
        }
    }

    pub(crate) fn send(&mut self, message: Message) {
        // An error means that the socket is not open any more on the client's side.
        self.socket.send(message).unwrap();
        let bytes = std::mem::take(&mut self.socket.get_mut().written);
        self.client(&bytes);
    }

    pub(crate) fn say(&mut self, kind: RequestType, content: &[u8]) {
        let message = match self.speaks {
            Speaks::Web => Message::text(
                json!({ "msgType": kind as i32, "content": STANDARD.encode(content) }).to_string(),
            ),
            Speaks::Lain | Speaks::V1 => {
                let message =
                    RequestMessage { msg_type: kind as i32, content: content.to_vec(), hello: None };
                Message::binary(message.encode_to_vec())
            }
        };
        self.send(message);
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.say(RequestType::Plain, text.as_bytes());
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.say(RequestType::Winch, format!("{columns} {rows}").as_bytes());
    }

    /// The client's close frame.
    pub(crate) fn say_goodbye(&mut self) {
        // tungstenite would answer ours by itself.
        self.client(b"\x88\x82\0\0\0\0\x03\xe8");
    }

    /// Everything that the client has heard since it was asked last.
    pub(crate) fn heard(&mut self) -> Vec<Heard> {
        let said = std::mem::take(&mut self.said);
        self.socket.get_mut().to_read.extend(said);
        let mut heard = Vec::new();
        loop {
            match self.socket.read() {
                Ok(Message::Binary(message)) => heard.push(self.read(&message)),
                Ok(Message::Pong(payload)) => heard.push(Heard::Pong(payload.to_vec())),
                Ok(Message::Close(frame)) => {
                    let frame = frame.expect("a close frame of a server has a code");
                    heard.push(Heard::Bye(frame.code.into(), frame.reason.to_string()));
                }
                Ok(other) => panic!("nobody sends {other:?}"),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(Error::ConnectionClosed) => break,
                Err(error) => panic!("not a WebSocket: {error}"),
            }
        }
        // tungstenite answers pings and closes by itself: the tests say when the client speaks.
        self.socket.get_mut().written.clear();
        assert!(self.socket.get_ref().to_read.is_empty(), "frames are sent whole");
        heard
    }

    fn read(&self, message: &[u8]) -> Heard {
        let message = match self.speaks {
            Speaks::Lain | Speaks::V1 => ResponseMessage::decode(message).unwrap(),
            Speaks::Web => {
                let json: Value = serde_json::from_slice(message).unwrap();
                let content = json.get("content").map_or("", |content| content.as_str().unwrap());
                let kind = json.get("msgType").map_or(0, |kind| kind.as_i64().unwrap());
                ResponseMessage {
                    msg_type: i32::try_from(kind).unwrap(),
                    content: STANDARD.decode(content).unwrap(),
                    ..ResponseMessage::default()
                }
            }
        };
        let ResponseMessage { msg_type, content, close, opened } = message;
        if self.speaks != Speaks::V1 {
            assert!(close.is_none() && opened.is_none() && msg_type <= 3, "old clients see the old protocol");
        }
        match ResponseType::try_from(msg_type).unwrap() {
            ResponseType::Stdout => Heard::Stdout(content),
            ResponseType::Stderr => Heard::Stderr(content),
            ResponseType::Ping => {
                assert_eq!(content, b"ping");
                Heard::Ping
            }
            ResponseType::Close => {
                let text = String::from_utf8(content).unwrap();
                assert_eq!(close.is_some(), self.speaks == Speaks::V1);
                Heard::Close(text, close)
            }
            ResponseType::Opened => Heard::Opened(opened.unwrap()),
            ResponseType::Mark => {
                assert_eq!(content, b"");
                Heard::Mark
            }
            ResponseType::Echo => Heard::Echo(content),
            ResponseType::Size => Heard::Size(String::from_utf8(content).unwrap()),
        }
    }

    /// What has been heard of output, both streams joined; nothing else may have been.
    pub(crate) fn heard_output(&mut self) -> (String, String) {
        let (mut out, mut error) = (Vec::new(), Vec::new());
        for heard in self.heard() {
            match heard {
                Heard::Stdout(bytes) => out.extend(bytes),
                Heard::Stderr(bytes) => error.extend(bytes),
                other => panic!("{other:?}"),
            }
        }
        (String::from_utf8(out).unwrap(), String::from_utf8(error).unwrap())
    }

    /// The last words: CLOSE and the close frame, and nothing else. Gives CLOSE's text.
    pub(crate) fn heard_the_end(&mut self) -> String {
        let outcome = self.outcomes.first().expect("the session has ended").clone();
        let heard = self.heard();
        let [Heard::Close(text, close), Heard::Bye(code, reason)] = &heard[..] else { panic!("{heard:?}") };
        if let Some(close) = close {
            assert_eq!((close.outcome, close.exit_status), (outcome.number(), outcome.exit_status().into()));
        }
        // Everybody reads by which name the log has the session.
        let name = self.session.id().to_string();
        match close {
            Some(close) => assert_eq!(close.session, name),
            None => assert_eq!(text.ends_with(&format!(" (session {name})")), !outcome.is_good(), "{text}"),
        }
        assert_eq!(*code, outcome.close_code());
        assert!(outcome.to_string().starts_with(reason), "{reason}");
        text.clone()
    }

    // ---- The engine.

    /// The only engine of a visit that has no other.
    pub(crate) fn engine_id(&self) -> EngineId {
        self.engines.only().expect("one engine")
    }

    /// What is known of how the only engine speaks.
    pub(crate) fn dialect(&self) -> Option<Dialect> {
        self.engines.dialect(self.engine_id())
    }

    pub(crate) fn forget_dialect(&mut self) {
        self.engines.forget(self.engine_id());
    }

    /// The next request on the session's own connection.
    pub(crate) fn asked(&mut self) -> Asked {
        let (asked, length) = parse_request(&self.to_engine);
        self.to_engine.drain(..length);
        asked
    }

    /// The next short call.
    pub(crate) fn called(&mut self) -> (Call, Asked) {
        let (peer, call, request) = self.calls.pop_front().expect("a short call");
        self.called_peer = Some(peer);
        let (asked, length) = parse_request(&request);
        assert_eq!(length, request.len(), "one request a call");
        (call, asked)
    }

    /// The next short call is this one.
    pub(crate) fn expect_call(&mut self, call: Call, line: &str) -> Asked {
        let (got, asked) = self.called();
        assert_eq!((got, asked.line.as_str()), (call, line));
        asked
    }

    /// The engine is connected and has said what it speaks and which container it is.
    pub(crate) fn until_located(&mut self, kind: Kind) {
        assert_eq!(self.connects, 1);
        self.connected();
        if self.dialect().is_none() {
            assert_eq!(self.asked().line, "GET /_ping");
            self.engine(kind.pong());
        }
        let asked = self.asked();
        assert!(
            asked.line.starts_with(&format!("GET {}/containers/json?filters=", kind.prefix())),
            "{asked:?}"
        );
        self.engine(listed());
    }

    /// Ping, list and create; the exec's start has been asked for and not been answered. Gives create's body.
    pub(crate) fn until_start(&mut self, kind: Kind) -> Value {
        self.until_located(kind);
        let asked = self.asked();
        assert_eq!(asked.line, format!("POST {}/containers/{CONTAINER}/exec", kind.prefix()));
        self.engine(response(201, &json!({ "Id": EXEC }).to_string()));
        asked.body
    }

    /// An open session, of which OPENED has been heard.
    pub(crate) fn open(speaks: Speaks, kind: Kind, hello: Hello) -> Visit {
        let mut visit = Visit::new(speaks);
        visit.greet("/enter", hello);
        visit.until_start(kind);
        assert_eq!(visit.asked().line, format!("POST {}/exec/{EXEC}/start", kind.prefix()));
        visit.engine(upgraded());
        visit.hear_opened();
        visit.calls.clear();
        visit
    }

    pub(crate) fn hear_opened(&mut self) {
        let heard = self.heard();
        if self.speaks == Speaks::V1 {
            let (session, container) = (self.session.id().to_string(), CONTAINER.to_owned());
            let opened = Opened { session, container, ..Opened::default() };
            assert_eq!(heard, [Heard::Opened(opened)]);
        } else {
            assert_eq!(heard, []);
        }
    }

    /// The exec's stream ends, and the engine says this of the exec.
    pub(crate) fn exit(&mut self, code: i64, pid: i64) {
        self.engine_ends();
        let (call, asked) = self.called();
        assert_eq!(call, Call::InspectExec);
        assert!(asked.line.ends_with(&format!("/exec/{EXEC}/json")), "{asked:?}");
        self.reply(call, 200, &json!({ "Running": false, "ExitCode": code, "Pid": pid }));
    }

    /// The client answers the close frame, or goes; nothing is left after it.
    pub(crate) fn is_over(&mut self) {
        if !self.client_closed {
            self.client_vanishes();
        }
        assert!(self.client_closed);
        assert!(self.engine_closed || self.connects == 0);
        assert!(self.session.is_gone(), "{:?}", self.session);
        assert!(self.calls.is_empty(), "{:?}", self.calls);
        assert_eq!(self.guards, 0, "whom a guard knows of is forgotten in the end");
        assert_eq!(self.session.deadline(), Millis::MAX);
    }

    /// What the session left in the container is ended: one process, by the first reaper.
    pub(crate) fn reaps(&mut self) {
        self.looks_at_exec(&json!({ "Running": true, "ExitCode": null, "Pid": 7 }));
        self.reaper_ends(1);
        if self.session.is_gone() || self.reaps.contains(&Reap::Done { processes: 1, unseen: false }) {
            return;
        }
        // Its start was under way: it is looked once more.
        assert!(self.calls.is_empty());
        self.wait(config::REAP_AGAIN_MILLISECONDS);
        self.reaper_ends(0);
        assert_eq!(self.reaps.last(), Some(&Reap::Done { processes: 1, unseen: false }));
    }

    /// The session's own exec is asked about before it is reaped, and the engine says this.
    pub(crate) fn looks_at_exec(&mut self, state: &Value) {
        let (call, asked) = self.called();
        assert_eq!(call, Call::ReapInspect);
        assert!(asked.line.ends_with(&format!("/exec/{EXEC}/json")), "{asked:?}");
        self.reply(call, 200, state);
    }

    /// A reaper is created; gives the body of the request.
    pub(crate) fn reaper_is_created(&mut self) -> Value {
        assert!(!self.session.is_gone());
        let (call, asked) = self.called();
        assert_eq!(call, Call::ReapCreate);
        assert!(asked.line.ends_with(&format!("/containers/{CONTAINER}/exec")), "{asked:?}");
        let command = asked.body["Cmd"].as_array().unwrap();
        assert_eq!(command.last().unwrap().as_str().unwrap(), self.session.id().to_string());
        asked.body
    }

    /// A reaper is created and started, and runs. Gives the body of the creation.
    pub(crate) fn reaper_runs(&mut self) -> Value {
        let created = self.reaper_is_created();
        self.reply(Call::ReapCreate, 201, &json!({ "Id": "f00d" }));
        let (call, asked) = self.called();
        assert_eq!(call, Call::ReapStart);
        assert!(asked.line.ends_with("/exec/f00d/start"), "{asked:?}");
        assert_eq!(asked.body, json!({ "Detach": true, "Tty": false }));
        self.reply(Call::ReapStart, 200, &json!(""));
        created
    }

    /// A reaper runs and says this with its status. Gives the body of the creation.
    pub(crate) fn reaper_ends(&mut self, status: i64) -> Value {
        let created = self.reaper_runs();
        assert!(self.calls.is_empty());
        self.wait(config::REAP_WATCH_MILLISECONDS);
        let (call, asked) = self.called();
        assert_eq!(call, Call::ReapInspect);
        assert!(asked.line.ends_with("/exec/f00d/json"), "{asked:?}");
        self.reply(call, 200, &json!({ "Running": false, "ExitCode": status, "Pid": 8 }));
        created
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let seen = String::from_utf8_lossy(&self.seen);
        if !std::thread::panicking() {
            assert!(!seen.contains(TOKEN), "the token left the session: {seen}");
        }
    }
}

/// An HTTP reply with a body of this length.
pub(crate) fn response(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Docker's way to refuse.
pub(crate) fn refused(status: u16, message: &str) -> Vec<u8> {
    response(status, &format!("{}\n", json!({ "message": message })))
}

/// The answer to the list: the container of shop/web, chunked as lists are.
pub(crate) fn listed() -> Vec<u8> {
    let labels = json!({
        "com.docker.compose.project": "shop", "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "1",
    });
    let body = json!([{ "Id": CONTAINER, "Names": ["/shop-web-1"], "Labels": labels }]).to_string();
    let (first, rest) = body.split_at(20);
    format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
        first.len(),
        rest.len()
    )
    .into_bytes()
}

/// The head behind which a stream begins.
pub(crate) fn upgraded() -> Vec<u8> {
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\n\
      Upgrade: tcp\r\n\r\n"
        .to_vec()
}

/// A frame of Docker's stream: 1 is stdout, 2 stderr.
pub(crate) fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[stream, 0, 0, 0], &length[..], payload].concat()
}

fn parse_request(bytes: &[u8]) -> (Asked, usize) {
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut lines);
    let head_bytes = request.parse(bytes).expect("HTTP").unwrap();
    let headers: Vec<(String, String)> = (request.headers.iter())
        .map(|line| (line.name.to_lowercase(), String::from_utf8(line.value.to_vec()).unwrap()))
        .collect();
    let body_bytes = (headers.iter())
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse::<usize>().unwrap());
    let body = &bytes[head_bytes..head_bytes + body_bytes];
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap() };
    let line = format!("{} {}", request.method.unwrap(), request.path.unwrap());
    (Asked { line, headers, body }, head_bytes + body_bytes)
}
