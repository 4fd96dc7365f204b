//! A session as a list of operations: what a client, an engine, a service and the clock do, in any order at all.

use core::net::{IpAddr, Ipv4Addr};
use entry::access::{Rule, Rules, jwt};
use entry::config::{self, ContainerRule, Peers, Settings};
use entry::crowd::{Crowd, Place};
use entry::engine::Address;
use entry::locate::census::Census;
use entry::session::{Call, CallError, Context, Effect, Event, Lane, Session, SessionId};
use entry::wire::http::{Expect, ReplyReader};
use std::collections::VecDeque;

const TOKEN: &str = "s3cret-token";

/// What is often right, so that chance gets far. An operation names one by its number.
const CLIENT_SAYS: [&[u8]; 9] = [
    b"GET /enter HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\naccess-token: s3cret-token\r\ncontainer: box\r\n\r\n",
    b"GET /attach?method=web HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    b"GET /enter HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: entry.v1\r\n\r\n",
    b"\x81\xb8\0\0\0\0{\"access_token\": \"s3cret-token\",     \"container\": \"box\"}",
    b"\x82\x8d\0\0\0\0\x08\x02\x1a\x09\x2a\x03box\x38\x01\x40\x01",
    b"\x82\x84\0\0\0\0\x12\x02hi",
    b"\x82\x89\0\0\0\0\x08\x01\x12\x0580 24",
    b"\x89\x82\0\0\0\0hi",
    b"\x88\x82\0\0\0\0\x03\xe8",
];

const ENGINE_SAYS: [&[u8]; 8] = [
    b"HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nContent-Length: 2\r\n\r\nOK",
    b"HTTP/1.1 201 Created\r\nContent-Length: 16\r\n\r\n{\"Id\":\"deadbeef\"}",
    b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 136\r\n\r\n{\"Id\":\"c0ffee\",\"Name\":\"/box\",\"State\":{\"Running\":true,\"Paused\":false,\"Restarting\":false,\"OOMKilled\":false,\"ExitCode\":0},\"Config\":{\"Tty\":true}}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n{\"Running\":false,\"ExitCode\":0,\"Pid\":7}",
    b"HTTP/1.1 409 Conflict\r\nContent-Length: 28\r\n\r\n{\"message\":\"it is paused now\"}",
    b"\x01\0\0\0\0\0\0\x03abc",
];

const BUFFER_BYTES: usize = config::HEADROOM_BYTES + 4096;

struct Stage {
    session: Session,
    settings: Settings,
    rules: Rules,
    keys: jwt::Fetched,
    census: Census,
    engines: entry::engine::Engines,
    crowd: Crowd,
    place: Place,
    now: u64,
    backlog: usize,
    buffer: Vec<u8>,
    text: Vec<u8>,
    calls: VecDeque<Call>,
    outcomes: usize,
    said_last: bool,
}

impl Stage {
    fn new() -> Stage {
        let settings = Settings {
            peers: Peers::one(Address::parse("unix:///engine.sock").expect("an address")),
            allow_container: ContainerRule::new(vec!["*".to_owned()]),
            idle_seconds_max: Some(60),
            lasts_seconds_max: Some(3600),
            ..Settings::default()
        };
        let id = SessionId { boot: 1, number: 2 };
        Stage {
            session: Session::new(id, 1_000, IpAddr::V4(Ipv4Addr::LOCALHOST)),
            engines: settings.peers.table(),
            settings,
            rules: Rules::new(vec![Rule::Anonymous]),
            keys: jwt::Fetched::default(),
            census: Census::default(),
            crowd: Crowd::default(),
            place: Place::default(),
            now: 1_000,
            backlog: 0,
            buffer: vec![0; BUFFER_BYTES],
            text: Vec::new(),
            calls: VecDeque::new(),
            outcomes: 0,
            said_last: false,
        }
    }

    fn step(&mut self, input: impl FnOnce(&mut Session, &mut Context<'_>, &mut [u8])) {
        let (mut to_client, mut to_engine, mut effects) = (Lane::default(), Lane::default(), Vec::new());
        let mut cx = Context {
            now: self.now,
            crowd: &self.crowd,
            place: &mut self.place,
            wall: 1_800_000_000,
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
        assert!(!self.said_last || to_client.is_empty(), "something is sent behind the last word");
        for effect in effects {
            assert!(!format!("{effect:?}").contains(TOKEN));
            match effect {
                Effect::Tell(Event::Ended { .. }) => {
                    self.outcomes += 1;
                    self.said_last = true;
                }
                Effect::Call { call, .. } => self.calls.push_back(call),
                Effect::Tell(_) | Effect::ConnectEngine(_) | Effect::FinishEngineInput => {}
                Effect::CloseEngine | Effect::FinishClientOutput | Effect::CloseClient => {}
                Effect::Seek(_) | Effect::Sit { .. } | Effect::Rise => {}
                Effect::Guard(..) | Effect::Unguard(_) | Effect::Relieved(_) => {}
            }
        }
        assert!(self.outcomes <= 1, "a session ends once");
        assert!(self.session.held_bytes() <= 4 * 1024 * 1024);
    }

    /// Bytes arrive as the driver lends them.
    fn arrive(&mut self, bytes: &[u8], is_client: bool) {
        for piece in bytes.chunks(BUFFER_BYTES - config::HEADROOM_BYTES) {
            let wanted = match is_client {
                true => self.session.wants_client(0),
                false => self.session.wants_engine(self.backlog),
            };
            if !wanted {
                return;
            }
            self.step(|session, cx, buffer| {
                let range = config::HEADROOM_BYTES..config::HEADROOM_BYTES + piece.len();
                buffer[range.clone()].copy_from_slice(piece);
                match is_client {
                    true => session.client_bytes(cx, buffer, range),
                    false => session.engine_bytes(cx, buffer, range),
                }
            });
        }
    }

    fn reply(&mut self, bytes: &[u8]) {
        let Some(call) = self.calls.pop_front() else { return };
        let mut reader = ReplyReader::new("GET", Expect::Whole, config::HEAD_BYTES_MAX, 65536);
        let reply = match reader.feed(bytes) {
            Ok((_, Some(reply))) => Ok(reply),
            Ok((_, None)) => Err(CallError("the engine closed the connection".to_owned())),
            Err(error) => Err(CallError(error.to_string())),
        };
        self.step(|session, cx, _| session.reply(cx, call, reply));
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        if self.session.deadline() <= self.now {
            self.step(|session, cx, _| session.timer(cx));
            assert!(self.session.deadline() > self.now, "what was due is done, or the loop would spin");
        }
    }
}

/// Each operation is a byte, and perhaps a byte that says which or how much, and bytes of its own.
pub(super) fn session(data: &[u8]) {
    let mut stage = Stage::new();
    let mut rest = data.iter().copied();
    while let Some(operation) = rest.next() {
        if stage.session.is_gone() {
            break;
        }
        let number = usize::from(rest.next().unwrap_or(0));
        match operation % 16 {
            0..=3 => stage.arrive(CLIENT_SAYS[number % CLIENT_SAYS.len()], true),
            4..=6 => stage.arrive(ENGINE_SAYS[number % ENGINE_SAYS.len()], false),
            7 => {
                let bytes: Vec<u8> = rest.by_ref().take(number % 64).collect();
                stage.arrive(&bytes, true);
            }
            8 => {
                let bytes: Vec<u8> = rest.by_ref().take(number % 64).collect();
                stage.arrive(&bytes, false);
            }
            9 => stage.reply(ENGINE_SAYS[number % ENGINE_SAYS.len()]),
            10 => stage.step(|session, cx, _| session.engine_connected(cx)),
            11 => stage.wait(match number % 4 {
                0 => 600,
                1 => 11_000,
                2 => 61_000,
                _ => number as u64,
            }),
            12 => stage.step(|session, cx, _| session.engine_closed(cx)),
            13 => stage.backlog = number * 100,
            14 => match number % 5 {
                0 => stage.step(|session, cx, _| session.client_closed(cx)),
                1 => stage.step(|session, cx, _| session.engine_failed(cx, "refused".to_owned())),
                2 => stage.step(|session, cx, _| session.rules_changed(cx)),
                3 => stage.step(|session, cx, _| session.shut_down(cx)),
                _ => stage.step(|session, cx, _| session.fail(cx)),
            },
            _ => {}
        }
    }
    // Whatever has happened, it comes to an end: the client goes, calls fail, time passes.
    stage.backlog = 0;
    stage.step(|session, cx, _| session.shut_down(cx));
    stage.step(|session, cx, _| session.client_closed(cx));
    for _ in 0..40 {
        while !stage.calls.is_empty() {
            stage.reply(b"");
        }
        stage.wait(config::REAP_MILLISECONDS_MAX);
    }
    assert!(stage.session.is_gone(), "it never ends: {:?}", stage.session);
    stage.crowd.leave(&mut stage.place);
    assert_eq!(stage.crowd.sessions(), 0);
}
