//! How long a session may last, how long nobody may type in it, and what is said before; and a gateway that drains.

use crate::driver::{ALL_CLIENTS, Heard, Kind, PEER, Speaks, Visit, frame, terminal, upgraded};
use entry::config::{PING_INTERVAL_MILLISECONDS, READ_BYTES};
use entry::outcome::Outcome;
use entry::session::{Session, SessionId};
use entry::wire::message::{Hello, RequestType};
use serde_json::json;

const MINUTE: u64 = 60_000;

/// A command without a terminal that reads its input.
fn command() -> Hello {
    Hello { stdin: true, command: vec!["cat".to_owned()], ..Hello::default() }
}

fn open(speaks: Speaks, hello: Hello, idle: Option<u32>, lasts: Option<u32>) -> Visit {
    let mut visit = Visit::new(speaks);
    visit.settings.idle_seconds_max = idle;
    visit.settings.lasts_seconds_max = lasts;
    visit.greet("/enter", hello);
    visit.until_start(Kind::Docker51);
    visit.asked();
    visit.engine(upgraded());
    visit.hear_opened();
    visit
}

/// What has been said on stderr; whatever else was heard is forgotten.
fn notes(visit: &mut Visit) -> Vec<String> {
    let heard = visit.heard().into_iter();
    heard
        .filter_map(|heard| match heard {
            Heard::Stderr(bytes) => Some(String::from_utf8(bytes).unwrap()),
            _ => None,
        })
        .collect()
}

#[test]
fn who_types_nothing_is_told_and_then_sent_away() {
    for speaks in ALL_CLIENTS {
        let mut visit = open(speaks, terminal(), Some(600), None);
        visit.wait(9 * MINUTE - 1);
        assert_eq!(notes(&mut visit), [""; 0]);
        visit.wait(PING_INTERVAL_MILLISECONDS);
        let told = notes(&mut visit);
        let [text] = &told[..] else { panic!("{told:?}") };
        // Over the first line, with everything else where it was: a full-screen program may be there.
        assert!(text.starts_with("\x1b7\x1b[H\x1b[2K") && text.ends_with("\x1b8\x07"), "{text:?}");
        assert!(
            text.contains(">>> Nothing is typed: this session ends in 60 s. Press a key to stay."),
            "{text:?}"
        );
        assert!(text.chars().filter(|c| !c.is_control()).count() < 100, "on one line: {text}");
        visit.wait(MINUTE - PING_INTERVAL_MILLISECONDS);
        assert!(visit.outcomes.is_empty(), "not before its time");
        visit.wait(PING_INTERVAL_MILLISECONDS);
        assert_eq!(visit.outcomes, [Outcome::Idle { seconds: 600 }]);
        assert_eq!(visit.outcomes[0].to_string(), "Nothing was typed for 10 min.");
        visit.heard();
        visit.reaps();
        visit.is_over();
    }
}

#[test]
fn a_key_after_the_warning_is_enough_to_stay() {
    let mut visit = open(Speaks::V1, terminal(), Some(60), None);
    for _ in 0..5 {
        visit.wait(50_000);
        assert_eq!(notes(&mut visit).len(), 1, "told once");
        assert!(visit.outcomes.is_empty());
        visit.type_in("x");
        visit.calls.clear();
    }
    visit.wait(60_000);
    assert!(
        visit.outcomes.is_empty(),
        "it is a minute since the last key, and a little less since it was seen"
    );
    visit.wait(PING_INTERVAL_MILLISECONDS);
    assert_eq!(visit.outcomes, [Outcome::Idle { seconds: 60 }]);
}

#[test]
fn only_keys_count() {
    let mut visit = open(Speaks::V1, terminal(), Some(60), None);
    for round in 0..8_u16 {
        visit.engine("output\r\n");
        visit.resize(80 + round, 24);
        // An empty message is no key either.
        visit.say(RequestType::Plain, b"");
        visit.calls.clear();
        visit.wait(9_000);
    }
    assert_eq!(visit.outcomes, [Outcome::Idle { seconds: 60 }]);

    // What is typed counts whether something answers or not.
    let mut answered = open(Speaks::V1, terminal(), Some(60), None);
    for round in 0..20 {
        answered.type_in("x");
        if round % 2 == 0 {
            answered.engine("x");
        }
        answered.wait(9_000);
        answered.calls.clear();
    }
    assert!(answered.outcomes.is_empty() && notes(&mut answered).is_empty());
}

#[test]
fn without_a_terminal_it_is_told_on_stderr_in_plain_words() {
    let mut visit = open(Speaks::V1, command(), Some(60), None);
    visit.engine(frame(1, b"out"));
    visit.wait(40_000);
    let heard = visit.heard();
    assert!(heard.contains(&Heard::Stdout(b"out".to_vec())));
    let said: Vec<&[u8]> = heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Stderr(bytes) => Some(&bytes[..]),
            _ => None,
        })
        .collect();
    assert_eq!(said, [b">>> Nothing is typed: this session ends in 30 s. Press a key to stay.\n"]);
    visit.wait(40_000);
    assert_eq!(visit.outcomes, [Outcome::Idle { seconds: 60 }]);
}

#[test]
fn where_nobody_can_type_nobody_is_idle() {
    let mut ended = open(Speaks::V1, command(), Some(60), Some(3600));
    ended.say(RequestType::StdinEnd, b"");
    ended.wait(50 * MINUTE);
    assert!(ended.outcomes.is_empty() && notes(&mut ended).is_empty());
    ended.wait(11 * MINUTE);
    assert_eq!(ended.outcomes, [Outcome::TimeOver { seconds: 3600 }]);

    let mut attached = attached(Some(60), Some(3600));
    attached.wait(50 * MINUTE);
    assert!(attached.outcomes.is_empty() && notes(&mut attached).is_empty());
    attached.wait(10 * MINUTE);
    let told = notes(&mut attached);
    assert_eq!(told, [">>> This session may last 60 min: it ends in 60 s.\n"]);
    attached.wait(MINUTE);
    assert_eq!(attached.outcomes, [Outcome::TimeOver { seconds: 3600 }]);
}

/// Follows the log of a container with a terminal.
fn attached(idle: Option<u32>, lasts: Option<u32>) -> Visit {
    let mut visit = Visit::new(Speaks::V1);
    visit.settings.idle_seconds_max = idle;
    visit.settings.lasts_seconds_max = lasts;
    visit.greet("/attach", Hello::default());
    visit.until_located(Kind::Docker51);
    assert!(visit.asked().line.contains("/json"));
    let body = json!({"Id": crate::driver::CONTAINER, "Name": "/web", "State": {"Running": true, "ExitCode": 0}, "Config": {"Tty": true}});
    visit.engine(crate::driver::response(200, &body.to_string()));
    assert!(visit.asked().line.contains("/logs?"));
    visit.engine("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n");
    visit.hear_opened();
    visit
}

#[test]
fn a_session_lasts_as_long_as_it_may_whoever_types() {
    for speaks in ALL_CLIENTS {
        let mut visit = open(speaks, terminal(), Some(600), Some(1800));
        let mut told = Vec::new();
        while visit.outcomes.is_empty() {
            assert!(visit.now < 1_000_000 + 31 * MINUTE);
            visit.type_in("x");
            visit.engine("x");
            visit.wait(5_000);
            visit.calls.clear();
            told.extend(notes(&mut visit));
        }
        assert!(visit.now >= 1_000_000 + 30 * MINUTE, "not before its time");
        assert_eq!(visit.outcomes, [Outcome::TimeOver { seconds: 1800 }]);
        let [text] = &told[..] else { panic!("{told:?}") };
        assert!(text.contains(">>> This session may last 30 min: it ends in 60 s."), "{text:?}");
    }
}

#[test]
fn who_reads_nothing_is_told_nothing_and_sent_away_all_the_same() {
    let mut visit = open(Speaks::V1, terminal(), Some(60), None);
    visit.backlog = READ_BYTES + 1;
    visit.wait(50_000);
    assert_eq!(visit.heard(), []);
    visit.wait(30_000);
    assert_eq!(visit.outcomes, [Outcome::Idle { seconds: 60 }]);
}

#[test]
fn a_gateway_that_has_just_begun_has_no_time_before_it() {
    let mut visit = Visit::new(Speaks::V1);
    visit.now = 0;
    visit.session = Session::new(SessionId { boot: 1, number: 1 }, 0, PEER);
    visit.settings.idle_seconds_max = Some(60);
    visit.settings.lasts_seconds_max = Some(60);
    visit.greet("/enter", terminal());
    visit.until_start(Kind::Docker51);
    visit.asked();
    visit.engine(upgraded());
    visit.wait(59_999);
    assert!(visit.outcomes.is_empty(), "{:?}", visit.outcomes);
    visit.wait(PING_INTERVAL_MILLISECONDS);
    assert_eq!(visit.outcomes, [Outcome::TimeOver { seconds: 60 }]);
}

#[test]
fn who_is_in_is_told_of_the_drain_and_who_is_not_is_sent_elsewhere() {
    let mut inside = open(Speaks::Lain, terminal(), None, None);
    inside.drain(300);
    let told = notes(&mut inside);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains(">>> This gateway goes down in 5 min: finish by then, and enter again."),
        "{told:?}"
    );
    inside.type_in("x");
    assert_eq!(inside.to_engine, b"x", "it goes on");
    inside.shut_down();
    assert_eq!(inside.outcomes, [Outcome::Drained]);

    let mut greeting = Visit::new(Speaks::V1);
    greeting.upgrade("/enter", "");
    greeting.drain(300);
    assert_eq!(greeting.outcomes, [Outcome::Drained]);
    greeting.heard_the_end();
    greeting.is_over();

    let mut opening = Visit::new(Speaks::V1);
    opening.greet("/enter", terminal());
    opening.until_start(Kind::Docker51);
    opening.drain(300);
    assert_eq!(opening.outcomes, [Outcome::Drained]);
    opening.heard_the_end();
    opening.reaps();
    opening.is_over();

    // Who comes now is told so before the upgrade.
    let mut late = Visit::new(Speaks::V1);
    late.crowd.drain();
    late.drain(300);
    late.client(
        b"GET /enter HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let said = String::from_utf8(std::mem::take(&mut late.said)).unwrap();
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("\r\nRetry-After: "), "{said}");
    assert!(said.contains("This gateway goes down and takes no new sessions; try again later."), "{said}");
}
