//! One step of an open session, as the gateway does it: a key in, output out, a PING. A scripted engine opens it.

use crate::Harness;
use crate::frames::client_frame;
use crate::messages;
use entry::access::{Rule, Rules, jwt};
use entry::config::{self, Peers, Settings};
use entry::crowd::{Crowd, Place};
use entry::engine::{Address, Engines};
use entry::locate::census::Census;
use entry::session::{Context, Effect, Lane, Millis, Session, SessionId};
use entry::wire::message::{Codec, Hello, RequestMessage, RequestType};
use entry::wire::stdcopy::{Stream, frame_header};
use prost::Message as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

const UPGRADE: &str = "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const CONTAINER: &str = r#"[{"Id":"c0ffee","Names":["/shop-web-1"],"Labels":{"com.docker.compose.project":"shop",
    "com.docker.compose.service":"web","com.docker.compose.container-number":"1"}}]"#;

pub(crate) fn benches(harness: &mut impl Harness) {
    for (name, codec, tty) in [
        ("protobuf", Codec::Protobuf, true),
        ("json", Codec::Json, true),
        ("v1", Codec::V1, true),
        ("v1-stdcopy", Codec::V1, false),
    ] {
        harness.bench(&format!("session/{name}/key"), || key(codec, tty));
        harness.bench(&format!("session/{name}/output-16"), || output(codec, tty, 16));
        harness.bench(&format!("session/{name}/output-32k"), || output(codec, tty, 32 * 1024));
        harness.bench(&format!("session/{name}/ping"), || ping(codec, tty));
    }
}

fn key(codec: Codec, tty: bool) -> impl FnMut() {
    let mut visit = Visit::open(codec, tty);
    let opcode = if codec == Codec::Json { 1 } else { 2 };
    let range = visit.arrives(&client_frame(opcode, &messages::key(codec)));
    visit.step(|session, cx, buffer| session.client_bytes(cx, buffer, range.clone()));
    assert_eq!(visit.said_to_engine(), b"a");
    move || visit.step(|session, cx, buffer| session.client_bytes(cx, buffer, range.clone()))
}

fn output(codec: Codec, tty: bool, bytes: u32) -> impl FnMut() {
    let mut visit = Visit::open(codec, tty);
    let head = if tty { Vec::new() } else { frame_header(Stream::Stdout, bytes).to_vec() };
    let range = visit.arrives(&[&head[..], &vec![b'x'; bytes as usize]].concat());
    let mut step = move || {
        // What went out last had its own headers written there.
        visit.buffer[range.start..][..head.len()].copy_from_slice(&head);
        visit.step(|session, cx, buffer| session.engine_bytes(cx, buffer, range.clone()));
        visit.to_client.ranges.first().map_or(0, Range::len) + visit.to_client.bytes.len()
    };
    assert!(step() > bytes as usize);
    move || {
        black_box(step());
    }
}

fn ping(codec: Codec, tty: bool) -> impl FnMut() {
    let mut visit = Visit::open(codec, tty);
    let mut wait_and_ping = move || {
        visit.now += config::PING_INTERVAL_MILLISECONDS;
        visit.step(|session, cx, _| session.timer(cx));
        visit.to_client.bytes.len()
    };
    assert!(wait_and_ping() > "ping".len());
    move || {
        black_box(wait_and_ping());
    }
}

/// An open session and what the gateway has around it.
struct Visit {
    session: Session,
    settings: Settings,
    engines: Engines,
    crowd: Crowd,
    place: Place,
    rules: Rules,
    keys: jwt::Fetched,
    census: Census,
    now: Millis,
    buffer: Vec<u8>,
    to_client: Lane,
    to_engine: Lane,
    scratch: Vec<u8>,
    effects: Vec<Effect>,
}

impl Visit {
    fn open(codec: Codec, tty: bool) -> Self {
        let engine = Address::parse("unix:///engine.sock").expect("an address");
        let settings = Settings { peers: Peers::one(engine), ..Settings::default() };
        let mut visit = Visit {
            session: Session::new(SessionId { boot: 1, number: 1 }, 0, IpAddr::V4(Ipv4Addr::LOCALHOST)),
            engines: settings.peers.table(),
            crowd: Crowd::default(),
            place: Place::default(),
            settings,
            rules: Rules::new(vec![Rule::Anonymous]),
            keys: jwt::Fetched::default(),
            census: Census::default(),
            now: 0,
            buffer: vec![0; config::HEADROOM_BYTES + config::READ_BYTES],
            to_client: Lane::default(),
            to_engine: Lane::default(),
            scratch: Vec::new(),
            effects: Vec::new(),
        };
        let (path, headers) = match codec {
            Codec::Protobuf => ("/enter", "app-name: shop\r\nproc-name: web\r\n"),
            Codec::Json => ("/enter?method=web", ""),
            Codec::V1 => ("/enter", "Sec-WebSocket-Protocol: entry.v1\r\n"),
        };
        visit.client(format!("GET {path} HTTP/1.1\r\n{UPGRADE}{headers}\r\n").as_bytes());
        assert!(visit.said_to_client().starts_with(b"HTTP/1.1 101 "), "the upgrade is accepted");
        match codec {
            Codec::Protobuf => {}
            Codec::Json => visit.client(&client_frame(1, br#"{"app_name":"shop","proc_name":"web"}"#)),
            Codec::V1 => {
                let hello =
                    Hello { app: "shop".into(), proc: "web".into(), tty, stdin: true, ..Hello::default() };
                let message = RequestMessage {
                    msg_type: RequestType::Hello as i32,
                    content: Vec::new(),
                    hello: Some(Box::new(hello)),
                };
                visit.client(&client_frame(2, &message.encode_to_vec()));
            }
        }
        assert!(matches!(visit.effects[..], [.., Effect::ConnectEngine(_)]), "{:?}", visit.effects);
        visit.step(|session, cx, _| session.engine_connected(cx));
        while !visit.to_engine.is_empty() {
            let asked = String::from_utf8(visit.said_to_engine()).expect("a request");
            let reply = answer(asked.lines().next().unwrap_or_default());
            visit.engine(reply.as_bytes());
        }
        assert!(visit.session.wants_engine(0) && visit.session.wants_client(0), "{:?}", visit.session);
        visit.engine(if tty { b"$ " } else { b"\x01\0\0\0\0\0\0\x02$ " });
        assert!(visit.said_to_client().ends_with(if codec == Codec::Json { b"JCA=\"}" } else { b"$ " }));
        visit
    }

    /// Puts bytes where reads put them; gives where that is.
    fn arrives(&mut self, bytes: &[u8]) -> Range<usize> {
        let range = config::HEADROOM_BYTES..config::HEADROOM_BYTES + bytes.len();
        self.buffer[range.clone()].copy_from_slice(bytes);
        range
    }

    fn client(&mut self, bytes: &[u8]) {
        let range = self.arrives(bytes);
        self.step(|session, cx, buffer| session.client_bytes(cx, buffer, range));
    }

    fn engine(&mut self, bytes: &[u8]) {
        let range = self.arrives(bytes);
        self.step(|session, cx, buffer| session.engine_bytes(cx, buffer, range));
    }

    /// One input. What the session says stays until the next one.
    fn step(&mut self, input: impl FnOnce(&mut Session, &mut Context<'_>, &mut [u8])) {
        self.to_client.clear();
        self.to_engine.clear();
        self.effects.clear();
        let mut cx = Context {
            now: self.now,
            crowd: &self.crowd,
            place: &mut self.place,
            wall: 0,
            rules: &self.rules,
            keys: &mut self.keys,
            settings: &self.settings,
            engines: &mut self.engines,
            census: &mut self.census,
            client_backlog: 0,
            to_client: &mut self.to_client,
            to_engine: &mut self.to_engine,
            scratch: &mut self.scratch,
            effects: &mut self.effects,
        };
        input(black_box(&mut self.session), &mut cx, black_box(&mut self.buffer));
        black_box((&self.to_client, &self.to_engine, &self.effects));
    }

    fn said_to_client(&self) -> Vec<u8> {
        gather(&self.to_client, &self.buffer)
    }

    fn said_to_engine(&self) -> Vec<u8> {
        gather(&self.to_engine, &self.buffer)
    }
}

fn gather(lane: &Lane, buffer: &[u8]) -> Vec<u8> {
    let ranges = lane.ranges.iter().flat_map(|range| &buffer[range.clone()]);
    ranges.chain(&lane.bytes).copied().collect()
}

/// What an engine of Docker 28 answers to what is asked on the way to an open session.
fn answer(asked: &str) -> String {
    let whole = |status: &str, headers: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let path = asked.split(' ').nth(1).unwrap_or_default();
    let (before_query, _) = path.split_once('?').unwrap_or((path, ""));
    match before_query.rsplit('/').next() {
        Some("_ping") => whole("200 OK", "Api-Version: 1.51\r\n", "OK"),
        Some("json") => whole("200 OK", "Content-Type: application/json\r\n", CONTAINER),
        Some("exec") => whole("201 Created", "Content-Type: application/json\r\n", r#"{"Id":"e0ec"}"#),
        Some("start") => "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
                          Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            .to_owned(),
        _ => panic!("the session asks {asked:?}"),
    }
}
