//! What a peer can stretch has a time, and what it can pile up has an end: bytes that keep coming prolong nothing, and
//! JSON that nests for ever is read by nobody.

use crate::driver::{CONTAINER, Kind, Speaks, Visit, frame, response, upgraded};
use entry::access::{Asked, Rule, Rules, Webhook};
use entry::config::{self, ContainerRule};
use entry::outcome::Outcome;
use entry::service::{Service, ServiceId};
use entry::session::Call;
use entry::wire::http::{Expect, ReplyReader};
use entry::wire::message::Hello;
use serde_json::json;
use tungstenite::Message;

const UPGRADE: &str = "GET /enter HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: entry.v1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn a_head_that_comes_byte_by_byte_has_its_time_once() {
    let mut visit = Visit::new(Speaks::V1);
    let began = visit.now;
    let mut bytes = UPGRADE.bytes().cycle().filter(|byte| *byte != b'\n');
    while visit.said.is_empty() {
        assert!(visit.now - began <= config::HEAD_MILLISECONDS_MAX);
        visit.client(&[bytes.next().unwrap()]);
        visit.wait(99);
    }
    assert!(visit.now - began >= config::HEAD_MILLISECONDS_MAX);
    assert!(visit.said.starts_with(b"HTTP/1.1 408 "), "{:?}", String::from_utf8_lossy(&visit.said));
    visit.wait(config::LINGER_MILLISECONDS_MAX);
    assert!(visit.client_closed);
    visit.is_over();
}

#[test]
fn a_first_message_that_comes_byte_by_byte_has_its_time_once() {
    let mut visit = Visit::new(Speaks::V1);
    visit.upgrade("/enter", "");
    let began = visit.now;
    // A frame of 1000 bytes, a byte at a time.
    visit.client(&[0x82, 0xfe, 0x03, 0xe8, 0, 0, 0, 0]);
    while visit.outcomes.is_empty() {
        assert!(visit.now - began <= config::HELLO_MILLISECONDS_MAX);
        visit.client(b"x");
        visit.wait(99);
    }
    assert!(visit.now - began >= config::HELLO_MILLISECONDS_MAX);
    assert_eq!(visit.outcomes, [Outcome::TimedOut { waited_for: "the first message" }]);
}

/// Where an opening is held up, how it gets there, and what its end is.
type Stage = (&'static str, fn(&mut Visit), Outcome);

fn timed_out(waited_for: &'static str) -> Outcome {
    Outcome::TimedOut { waited_for }
}

fn stages() -> Vec<Stage> {
    vec![
        ("connecting", |_| {}, timed_out("the connection to the engine")),
        (
            "ping",
            |visit| {
                visit.connected();
                visit.asked();
            },
            timed_out("the engine's ping"),
        ),
        (
            "list",
            |visit| {
                visit.connected();
                visit.asked();
                visit.engine(Kind::Docker51.pong());
                visit.asked();
            },
            timed_out("the engine's list of containers"),
        ),
        (
            "create",
            |visit| {
                visit.until_located(Kind::Docker51);
                visit.asked();
            },
            timed_out("the engine to create the exec"),
        ),
        (
            "start",
            |visit| {
                visit.until_start(Kind::Docker51);
                visit.asked();
            },
            timed_out("the engine to start the exec"),
        ),
    ]
}

#[test]
fn however_slowly_an_engine_answers_an_opening_has_its_time_once() {
    // Silent, or a byte now and then of an answer that never is whole.
    let slow = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nApi-Version: 1.51\r\n\r\n"
        .iter()
        .chain(std::iter::repeat(&b' '));
    for (name, goes, outcome) in stages() {
        for speaks in [true, false] {
            if speaks && name == "connecting" {
                continue;
            }
            let mut visit = Visit::new(Speaks::V1);
            visit.greet("/enter", Hello { tty: true, ..Hello::default() });
            let began = visit.now;
            goes(&mut visit);
            let mut bytes = slow.clone();
            while visit.outcomes.is_empty() {
                assert!(visit.now - began <= config::OPEN_MILLISECONDS_MAX, "{name}");
                // An answer to the start with a length is no stream, and is read to its end.
                if speaks && name != "start" {
                    visit.engine([*bytes.next().unwrap()]);
                }
                visit.wait(490);
                assert!(visit.said.len() < 100_000);
            }
            assert!(visit.now - began >= config::OPEN_MILLISECONDS_MAX, "{name}: {:?}", visit.outcomes);
            assert_eq!(visit.outcomes.first(), Some(&outcome), "{name}");
            assert!(visit.engine_closed, "{name}");
        }
    }
}

#[test]
fn a_head_of_a_stream_that_comes_byte_by_byte_has_its_time_once() {
    let mut visit = Visit::new(Speaks::V1);
    visit.greet("/enter", Hello { tty: true, ..Hello::default() });
    visit.until_start(Kind::Docker51);
    let endless = b"HTTP/1.1 101 UPGRADED\r\nX: ".iter().chain(std::iter::repeat_n(&b'y', 10_000));
    for byte in endless {
        visit.engine([*byte]);
        visit.wait(490);
        if !visit.outcomes.is_empty() {
            break;
        }
    }
    assert_eq!(visit.outcomes, [timed_out("the engine to start the exec")]);
}

/// An object in an object, and so on: no reader follows it down.
fn nested(levels: usize) -> String {
    format!("{}1{}", "{\"Id\":[".repeat(levels), "]}".repeat(levels))
}

#[test]
fn what_nests_for_ever_is_read_by_nobody() {
    // From an engine, at each answer that is JSON.
    let bodies = [nested(50_000), "[".repeat(200_000), format!("[{}", "{\"a\":".repeat(100_000))];
    for body in &bodies {
        let mut listed = Visit::new(Speaks::V1);
        listed.greet("/enter", Hello { tty: true, ..Hello::default() });
        listed.connected();
        listed.asked();
        listed.engine(Kind::Docker51.pong());
        listed.asked();
        listed.engine(response(200, body));
        assert!(matches!(listed.outcomes[..], [Outcome::EngineUnavailable { .. }]), "{:?}", listed.outcomes);

        let mut created = Visit::new(Speaks::V1);
        created.greet("/enter", Hello { tty: true, ..Hello::default() });
        created.until_located(Kind::Docker51);
        created.engine(response(201, body));
        assert!(
            matches!(created.outcomes[..], [Outcome::EngineUnavailable { .. }]),
            "{:?}",
            created.outcomes
        );

        let mut ended = Visit::open(Speaks::V1, Kind::Docker51, Hello { tty: true, ..Hello::default() });
        ended.engine_ends();
        while ended.outcomes.is_empty() {
            if let Some((_, call, _)) = ended.calls.pop_front() {
                reply_text(&mut ended, call, body);
            }
            ended.wait(10);
        }
        assert!(matches!(ended.outcomes[..], [Outcome::EngineLost { .. }]), "{:?}", ended.outcomes);

        // From a service.
        let mut asked = Visit::new(Speaks::V1);
        let service = Service::parse("the access webhook", "http://hook.example/may", 4000).unwrap();
        asked.rules = Rules::new(vec![Rule::Webhook(Webhook::new(Asked { id: ServiceId(0), service }))]);
        asked.greet("/enter", Hello::default());
        let (_, call, _) = asked.calls.pop_front().unwrap();
        reply_text(&mut asked, call, body);
        assert!(matches!(asked.outcomes[..], [Outcome::AccessUnavailable { .. }]), "{:?}", asked.outcomes);
    }
    // From a client; its first message is short.
    for text in [nested(3_000), "[".repeat(60_000), format!("{{\"access_token\":{}", "[".repeat(60_000))] {
        let mut visit = Visit::new(Speaks::Web);
        visit.upgrade("/enter", "");
        visit.send(Message::text(text));
        // What is known under no name is skipped, however deep it is.
        let ended = matches!(
            visit.outcomes[..],
            [Outcome::ProtocolError { close_code: 1007, .. } | Outcome::BadRequest { .. }]
        );
        assert!(ended, "{:?}", visit.outcomes);
    }
    let mut typing = Visit::open(Speaks::Web, Kind::Docker51, Hello::default());
    typing.send(Message::text("[".repeat(500_000)));
    assert!(
        matches!(typing.outcomes[..], [Outcome::ProtocolError { close_code: 1007, .. }]),
        "{:?}",
        typing.outcomes
    );
}

/// A short call is answered with this body.
fn reply_text(visit: &mut Visit, call: Call, body: &str) {
    let mut reader = ReplyReader::new("GET", Expect::Whole, 4096, 4 * 1024 * 1024);
    let reply = reader.feed(&response(200, body)).unwrap().1.unwrap();
    visit.reply_whole(call, reply);
}

#[test]
fn a_name_that_is_inspected_in_vain_has_its_time_too() {
    let mut visit = Visit::new(Speaks::V1);
    visit.settings.allow_container = ContainerRule::new(vec!["web".to_owned()]);
    visit.greet("/enter", Hello { container: "web".to_owned(), ..Hello::default() });
    visit.connected();
    visit.asked();
    visit.engine(Kind::Docker51.pong());
    visit.asked();
    visit.wait(config::OPEN_MILLISECONDS_MAX);
    assert_eq!(visit.outcomes, [timed_out("the engine's word on the container")]);
    // And so has the log of one that is attached to.
    let mut attached = Visit::new(Speaks::V1);
    attached.greet("/attach", Hello::default());
    attached.until_located(Kind::Docker51);
    attached.asked();
    let body = json!({"Id": CONTAINER, "Name": "/web", "State": {"Running": true, "ExitCode": 0}, "Config": {"Tty": true}});
    attached.engine(response(200, &body.to_string()));
    attached.wait(config::OPEN_MILLISECONDS_MAX);
    assert_eq!(attached.outcomes, [timed_out("the container's log")]);
}

#[test]
fn what_an_engine_still_says_to_a_session_that_is_over_goes_nowhere() {
    let mut visit = Visit::open(
        Speaks::V1,
        Kind::Docker51,
        Hello { stdin: true, command: vec!["x".to_owned()], ..Hello::default() },
    );
    visit.client_vanishes();
    let before = visit.said.len();
    visit.engine(frame(1, b"late"));
    visit.engine(upgraded());
    visit.engine_ends();
    assert_eq!(visit.said.len(), before);
    assert_eq!(visit.outcomes, [Outcome::ClientVanished]);
}
