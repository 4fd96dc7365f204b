//! From the first byte to the running process.

use crate::driver::{
    ALL_CLIENTS, ALL_ENGINES, CONTAINER, EXEC, Heard, Kind, PACES, Pace, Speaks, Visit, frame, listed,
    refused, response, upgraded,
};
use entry::config::ContainerRule;
use entry::outcome::{Outcome, StartFault};
use entry::wire::message::{Hello, Opened};
use serde_json::{Value, json};
use tungstenite::Message;

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The plain HTTP answer: status and text.
fn answer(visit: &mut Visit) -> (u16, String) {
    let said = String::from_utf8(std::mem::take(&mut visit.said)).unwrap();
    let (head, text) = said.split_once("\r\n\r\n").expect("a whole answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length =
        head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
    // HEAD is told the length of what GET would be given (RFC 9110, 9.3.2).
    assert!(text.is_empty() || length == Some(text.len().to_string()), "{said}");
    assert!(head.to_lowercase().contains("connection: close") || status == 426, "{head}");
    (status, text.to_owned())
}

#[test]
fn what_is_no_upgrade_gets_an_answer_in_plain_http() {
    let long = format!("GET /enter HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(16 * 1024));
    let many = format!("GET /enter HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
    let no_key = format!("GET /enter HTTP/1.1\r\n{}\r\n", UPGRADE.replace("Sec-WebSocket-Key", "X"));
    let other_page =
        format!("GET /enter HTTP/1.1\r\nHost: h\r\nOrigin: https://evil.example\r\n{UPGRADE}\r\n");
    let table: [(&str, u16, &str); 16] = [
        ("GET /api/ping HTTP/1.1\r\nHost: h\r\n\r\n", 200, "pong"),
        ("HEAD /api/ping HTTP/1.1\r\n\r\n", 200, ""),
        ("GET /livez HTTP/1.1\r\n\r\n", 200, "alive"),
        ("GET /readyz HTTP/1.1\r\n\r\n", 200, "ready"),
        ("HEAD /readyz HTTP/1.1\r\n\r\n", 200, ""),
        ("POST /readyz HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405, "GET"),
        ("POST /api/ping HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405, "GET"),
        ("GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", 404, "/enter"),
        ("GET /enter HTTP/1.1\r\nHost: h\r\n\r\n", 426, "Upgrade: websocket"),
        ("POST /enter HTTP/1.1\r\nHost: h\r\n\r\n", 405, "GET"),
        (&other_page, 403, "another origin"),
        (&no_key, 400, "Sec-WebSocket-Key"),
        ("GET /enter HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 505, "HTTP/1.1"),
        ("\x16\x03\x01\x02\x00", 400, "HTTP/1.1"),
        (&long, 431, "16 KiB"),
        (&many, 431, "64 headers"),
    ];
    for (request, status, words) in table {
        for pace in PACES {
            let mut visit = Visit::new(Speaks::Lain);
            visit.pace = pace;
            visit.client(request.as_bytes());
            let (told, text) = answer(&mut visit);
            assert_eq!(told, status, "{request:.60}");
            assert!(text.contains(words), "{request:.60}: {text}");
            assert!(visit.client_output_finished && !visit.client_closed && visit.connects == 0);
            // It waits a little until the client has read the answer.
            if pace == Pace::Whole {
                visit.client_vanishes();
            } else {
                visit.wait(999);
                assert!(!visit.client_closed);
                visit.wait(1);
            }
            visit.is_over();
        }
    }
}

#[test]
fn a_head_that_does_not_come_is_told_so() {
    let mut visit = Visit::new(Speaks::Lain);
    visit.client(b"GET /enter HT");
    visit.wait(9_999);
    assert!(visit.said.is_empty());
    visit.wait(1);
    assert_eq!(answer(&mut visit).0, 408);
    visit.client_vanishes();
    visit.is_over();
}

/// A terminal of this size; only entry.v1 can say so in its hello.
fn terminal(columns: u32, rows: u32) -> Hello {
    Hello { tty: true, term: "vt100".to_owned(), columns, rows, ..Hello::default() }
}

#[test]
fn every_client_enters_on_every_engine_however_the_bytes_come() {
    for (speaks, kind, pace) in ALL_CLIENTS
        .into_iter()
        .flat_map(|speaks| ALL_ENGINES.map(|kind| (speaks, kind)))
        .flat_map(|(speaks, kind)| PACES.map(|pace| (speaks, kind, pace)))
    {
        let mut visit = Visit::new(speaks);
        visit.pace = pace;
        visit.greet("/enter", terminal(99, 31));
        if speaks != Speaks::V1 {
            visit.resize(99, 31);
        }
        visit.type_in("ls\n");
        let created = visit.until_start(kind);

        let mut script = "command -v bash >/dev/null 2>&1 && exec bash\nexec sh".to_owned();
        if kind == Kind::Docker41 {
            script = format!(
                "case $(stty size 2>/dev/null) in ''|'0 0') stty cols 99 rows 31 2>/dev/null;; esac\n{script}"
            );
        }
        let term = if speaks == Speaks::Web { "xterm-256color" } else { "vt100" };
        assert_eq!(created["Cmd"], json!(["sh", "-c", script]));
        assert_eq!(
            created["Env"],
            json!([format!("ENTRY_SESSION={}", visit.session.id()), format!("TERM={term}")])
        );
        for flag in ["Tty", "AttachStdin", "AttachStdout", "AttachStderr"] {
            assert_eq!(created[flag], true, "{flag}");
        }
        assert!(created["DetachKeys"].as_str().unwrap().len() > 10, "^P must not be held back");

        let start = visit.asked();
        assert_eq!(start.line, format!("POST {}/exec/{EXEC}/start", kind.prefix()));
        // Podman upgrades only for exactly this.
        assert!(start.headers.contains(&("connection".to_owned(), "Upgrade".to_owned())), "{start:?}");
        let mut expected = json!({ "Detach": false, "Tty": true });
        match kind {
            Kind::Docker41 => {}
            Kind::Docker51 => expected["ConsoleSize"] = json!([31, 99]),
            Kind::Podman => (expected["h"], expected["w"]) = (json!(31), json!(99)),
        }
        assert_eq!(start.body, expected);
        assert!(visit.calls.is_empty());
        assert!(visit.to_engine.is_empty(), "Docker loses what is typed before its head has come");

        visit.engine([&upgraded()[..], "$ é".as_bytes()].concat());
        assert_eq!(visit.to_engine, b"ls\n");
        let mut heard = visit.heard();
        if speaks == Speaks::V1 {
            let (session, container) = (visit.session.id().to_string(), CONTAINER.to_owned());
            let opened = Opened { session, container, ..Opened::default() };
            assert_eq!(heard.remove(0), Heard::Opened(opened));
        }
        let output: Vec<u8> = (heard.into_iter())
            .flat_map(|heard| match heard {
                Heard::Stdout(bytes) => {
                    assert!(std::str::from_utf8(&bytes).is_ok());
                    bytes
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(output, "$ é".as_bytes());
        // The size is known to the process already.
        visit.resize(99, 31);
        assert!(visit.calls.is_empty());
        visit.exit(0, 7);
        assert_eq!(visit.heard_the_end(), crate::driver::SAFELY);
        visit.is_over();
    }
}

#[test]
fn a_command_is_run_as_it_was_asked_for() {
    let hello = Hello {
        command: vec!["printf".to_owned(), "%s".to_owned(), String::new()],
        stdin: true,
        user: "1000:1000".to_owned(),
        workdir: "/work".to_owned(),
        environment: vec!["A=1=2".to_owned(), "B=".to_owned()],
        columns: 80,
        rows: 24,
        ..Hello::default()
    };
    let mut visit = Visit::new(Speaks::V1);
    visit.greet("/enter", hello);
    let created = visit.until_start(Kind::Docker51);
    let session = format!("ENTRY_SESSION={}", visit.session.id());
    assert_eq!(
        created,
        json!({
            "AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Tty": false,
            "Cmd": ["printf", "%s", ""], "Env": [session, "A=1=2", "B="], "User": "1000:1000", "WorkingDir": "/work",
        })
    );
    assert_eq!(visit.asked().body, json!({ "Detach": false, "Tty": false }));
    visit.engine([upgraded(), frame(2, b"oops"), frame(1, b"out")].concat());
    let heard = visit.heard();
    assert_eq!(heard[1..], [Heard::Stderr(b"oops".to_vec()), Heard::Stdout(b"out".to_vec())]);
}

#[test]
fn a_200_is_a_stream_as_well_as_a_101() {
    let mut visit = Visit::new(Speaks::Lain);
    visit.greet("/enter", Hello::default());
    visit.until_start(Kind::Docker51);
    visit.asked();
    visit.engine("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n$ ");
    assert_eq!(visit.heard_output().0, "$ ");
}

#[test]
fn what_the_engine_speaks_is_asked_once() {
    let first = Visit::open(Speaks::Lain, Kind::Docker41, Hello::default());
    let mut second = Visit::new(Speaks::Lain);
    second.engines = first.engines.clone();
    assert!(second.dialect().is_some());
    second.greet("/enter", Hello::default());
    // No ping in between.
    second.until_start(Kind::Docker41);
}

#[test]
fn a_refused_version_is_asked_about_once_more() {
    let too_new = || refused(400, "client version 1.51 is too new. Maximum supported API version is 1.41");
    let mut visit = Visit::new(Speaks::V1);
    let old = Visit::open(Speaks::Lain, Kind::Docker51, Hello::default());
    visit.engines = old.engines.clone();
    visit.greet("/enter", Hello::default());
    visit.connected();
    assert!(visit.asked().line.starts_with("GET /v1.51/containers/json"));
    visit.engine(too_new());
    assert_eq!(visit.asked().line, "GET /_ping");
    visit.engine(Kind::Docker41.pong());
    assert!(visit.asked().line.starts_with("GET /v1.41/containers/json"));
    visit.engine(too_new());
    assert!(
        matches!(&visit.outcomes[..], [Outcome::EngineUnavailable { detail }] if detail.contains("too new"))
    );
    assert!(visit.to_engine.is_empty() && visit.engine_closed);
    visit.heard_the_end();
    visit.is_over();
}

#[test]
fn a_dialect_that_another_session_forgot_does_not_harm_a_start() {
    // Another session found the engine gone for a moment, while ours waits for its stream.
    let mut visit = Visit::new(Speaks::Lain);
    visit.greet("/enter", Hello::default());
    visit.until_start(Kind::Docker51);
    visit.asked();
    visit.forget_dialect();
    visit.engine([&upgraded()[..], b"$ "].concat());
    assert_eq!(String::from_utf8_lossy(&visit.to_engine), "", "nobody typed this into the shell");
    assert_eq!(visit.heard_output().0, "$ ");
    visit.client_vanishes();
    visit.reaps();
    visit.is_over();
}

#[test]
fn a_start_that_is_given_up_is_reaped_whatever_is_known_of_the_engine() {
    let mut visit = Visit::new(Speaks::Lain);
    visit.greet("/enter", Hello::default());
    visit.until_start(Kind::Docker51);
    visit.forget_dialect();
    visit.client_vanishes();
    assert!(visit.engine_closed);
    visit.reaps();
    visit.is_over();
}

/// The container was located and not there: on another connection it is located anew.
fn found_anew(visit: &mut Visit) {
    assert_eq!((visit.connects, visit.engine_closed), (2, false));
    visit.connected();
    assert!(visit.asked().line.starts_with("GET /v1.51/containers/json?filters="));
    visit.engine(listed());
}

#[test]
fn refusals_of_the_engine_are_outcomes() {
    type Check = fn(&Outcome) -> bool;
    let table: [(Vec<u8>, Check); 6] = [
        (refused(404, "No such container: x"), |outcome| {
            matches!(outcome, Outcome::ContainerNotFound { .. })
        }),
        (refused(409, "container x is not running"), |outcome| {
            matches!(outcome, Outcome::ContainerNotRunning { .. })
        }),
        (refused(409, "Container web is paused, unpause the container before exec"), |outcome| {
            matches!(outcome, Outcome::ContainerPaused)
        }),
        (refused(400, "unable to find user nosuch: no matching entries in passwd file"), |outcome| {
            matches!(outcome, Outcome::CouldNotStart { fault: StartFault::User, .. })
        }),
        (refused(500, "oh no"), |outcome| matches!(outcome, Outcome::EngineUnavailable { .. })),
        (response(201, "{}"), |outcome| matches!(outcome, Outcome::EngineUnavailable { .. })),
    ];
    for (reply, check) in table {
        for speaks in ALL_CLIENTS {
            let mut visit = Visit::new(speaks);
            visit.greet("/enter", Hello::default());
            visit.until_located(Kind::Docker51);
            visit.asked();
            visit.engine(&reply);
            if visit.outcomes.is_empty() {
                // It may have been replaced since: it is looked for once more, and then no more.
                found_anew(&mut visit);
                visit.asked();
                visit.engine(&reply);
            }
            assert!(check(&visit.outcomes[0]), "{:?}", visit.outcomes);
            visit.heard_the_end();
            assert!(visit.engine_closed);
            visit.is_over();
        }
    }
}

#[test]
fn no_container_is_said_with_what_was_looked_for() {
    for speaks in ALL_CLIENTS {
        let mut visit = Visit::new(speaks);
        visit.greet("/enter", Hello::default());
        visit.connected();
        visit.asked();
        visit.engine(Kind::Docker51.pong());
        // Compose, then Swarm.
        for _ in 0..2 {
            assert!(visit.asked().line.contains("/containers/json?"));
            visit.engine(response(200, "[]\n"));
        }
        let text = visit.heard_the_end();
        assert!(
            text.starts_with("\x1b[31m>>> Container is not found.\x1b[0m ") && text.contains("shop/web"),
            "{text}"
        );
        visit.is_over();
    }
}

#[test]
fn an_engine_that_is_away_or_strange_is_told() {
    let mut away = Visit::new(Speaks::V1);
    away.greet("/enter", Hello::default());
    away.connect_failed("unix:///x.sock cannot be reached: refused.");
    assert!(away.heard_the_end().contains("unix:///x.sock"));
    assert_eq!(away.dialect(), None);
    away.is_over();

    let mut mute = Visit::new(Speaks::V1);
    mute.greet("/enter", Hello::default());
    mute.connected();
    mute.engine_ends();
    assert!(mute.heard_the_end().contains("closed the connection"));
    mute.is_over();

    let mut strange = Visit::new(Speaks::V1);
    strange.greet("/enter", Hello::default());
    strange.connected();
    strange.engine("SSH-2.0-OpenSSH_9.2\r\n");
    assert!(strange.heard_the_end().contains("not what an engine says"));
    strange.is_over();

    let mut slow = Visit::new(Speaks::V1);
    slow.greet("/enter", Hello::default());
    slow.connected();
    slow.wait(29_999);
    assert!(slow.outcomes.is_empty());
    slow.heard();
    slow.wait(1);
    assert!(matches!(slow.outcomes[..], [Outcome::TimedOut { .. }]));
    slow.heard_the_end();
    slow.is_over();
}

#[test]
fn a_start_without_an_answer_is_reaped() {
    let mut visit = Visit::new(Speaks::Lain);
    visit.greet("/enter", Hello::default());
    visit.until_start(Kind::Docker51);
    visit.wait(30_000);
    assert!(matches!(visit.outcomes[..], [Outcome::TimedOut { .. }]));
    assert!(visit.engine_closed);
    visit.reaps();
    visit.client_vanishes();
    visit.is_over();
}

#[test]
fn a_start_whose_connection_breaks_is_reaped() {
    let mut visit = Visit::new(Speaks::Lain);
    visit.greet("/enter", Hello::default());
    visit.until_start(Kind::Docker51);
    visit.engine("HTTP/1.1 10");
    visit.engine_ends();
    assert!(matches!(visit.outcomes[..], [Outcome::EngineUnavailable { .. }]));
    assert_eq!(visit.dialect(), None, "the engine may come back as another");
    visit.reaps();
    visit.client_vanishes();
    visit.is_over();
}

#[test]
fn a_refusal_that_ends_with_the_connection_is_read() {
    let mut visit = Visit::new(Speaks::V1);
    visit.greet("/attach", Hello::default());
    visit.until_located(Kind::Docker51);
    visit.asked();
    visit.engine(response(200, &inspected(true, false).to_string()));
    visit.asked();
    visit.engine(refused(501, "configured logging driver does not support reading"));
    visit.asked();
    visit.engine("HTTP/1.1 404 Not Found\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nNo such container: x\r\n");
    visit.engine_ends();
    found_anew(&mut visit);
    visit.asked();
    visit.engine(refused(404, "No such container: x"));
    assert!(matches!(visit.outcomes[..], [Outcome::ContainerNotFound { .. }]), "{:?}", visit.outcomes);
    visit.heard_the_end();
    visit.is_over();
}

#[test]
fn an_engine_that_answers_and_hangs_up_is_not_waited_for() {
    let mut visit = Visit::new(Speaks::V1);
    visit.greet("/enter", Hello::default());
    visit.connected();
    visit.asked();
    visit.engine("HTTP/1.0 200 OK\r\nApi-Version: 1.51\r\n\r\nOK");
    visit.engine_ends();
    // It is asked on, on a connection of its own.
    visit.connected();
    assert!(visit.asked().line.starts_with("GET /v1.51/containers/json"));
    visit.engine_ends();
    assert!(visit.heard_the_end().contains("closed the connection"));
    visit.is_over();
}

#[test]
fn the_first_message_has_ten_seconds() {
    for speaks in [Speaks::Web, Speaks::V1] {
        let mut visit = Visit::new(speaks);
        visit.upgrade("/enter", "");
        visit.wait(9_999);
        assert!(visit.outcomes.is_empty());
        visit.heard();
        visit.wait(1);
        assert!(visit.heard_the_end().contains("first message"));
        visit.is_over();
    }
}

#[test]
fn a_first_message_that_is_none_is_refused() {
    let table: [(Speaks, Message, u16); 8] = [
        (Speaks::Web, Message::text("hello"), 1007),
        (Speaks::Web, Message::text(r#"{"app_name":1}"#), 1007),
        (Speaks::Web, Message::text("{}"), 4400),
        (Speaks::Web, Message::text(" ".repeat(64 * 1024 + 1)), 1009),
        (Speaks::V1, Message::binary(b"\x12\x03ls\n".to_vec()), 1007),
        (Speaks::V1, Message::binary(b"\x08\x02\x1a\x05".to_vec()), 1007),
        (Speaks::V1, Message::binary(b"\x08\x02".to_vec()), 4400),
        (Speaks::V1, Message::binary(vec![0; 64 * 1024 + 1]), 1009),
    ];
    for (speaks, message, code) in table {
        let mut visit = Visit::new(speaks);
        visit.upgrade("/enter", "");
        visit.send(message.clone());
        assert_eq!(visit.outcomes.first().map(Outcome::close_code), Some(code), "{speaks:?} {message:.40}");
        visit.heard_the_end();
        assert_eq!(visit.connects, 0);
        visit.is_over();
    }
}

#[test]
fn who_asks_for_what_has_to_make_sense() {
    let table: [(Hello, &str); 5] = [
        (Hello { environment: vec!["A".to_owned()], ..Hello::default() }, "NAME=value"),
        (Hello { environment: vec!["=1".to_owned()], ..Hello::default() }, "NAME=value"),
        (Hello { command: vec!["a\0b".to_owned()], ..Hello::default() }, "NUL"),
        (Hello { user: "\0".to_owned(), ..Hello::default() }, "NUL"),
        (Hello { workdir: "/\0".to_owned(), ..Hello::default() }, "NUL"),
    ];
    for (hello, words) in table {
        let mut visit = Visit::new(Speaks::V1);
        visit.greet("/enter", hello);
        assert!(matches!(visit.outcomes[..], [Outcome::BadRequest { .. }]), "{:?}", visit.outcomes);
        assert!(visit.heard_the_end().contains(words));
        visit.is_over();
    }
}

fn inspected(running: bool, tty: bool) -> Value {
    json!({
        "Id": CONTAINER, "Name": "/shop-web-1", "State": { "Running": running, "ExitCode": 3 }, "Config": { "Tty": tty },
    })
}

#[test]
fn a_container_by_name_needs_permission() {
    let hello = || Hello { container: "shop-web-1".to_owned(), tty: true, ..Hello::default() };
    for speaks in ALL_CLIENTS {
        let mut nobody = Visit::new(speaks);
        nobody.settings.allow_container = ContainerRule::default();
        nobody.greet("/enter", hello());
        assert_eq!(nobody.connects, 0);
        assert!(nobody.heard_the_end().contains("--allow-container"));
        assert!(matches!(nobody.outcomes[..], [Outcome::Refused { .. }]));
        nobody.is_over();

        for (pattern, permitted) in [("shop-*", true), ("web-*", false)] {
            let mut some = Visit::new(speaks);
            some.settings.allow_container = ContainerRule::new(vec![pattern.to_owned()]);
            some.greet("/enter", hello());
            some.connected();
            some.asked();
            some.engine(Kind::Docker51.pong());
            assert_eq!(some.asked().line, "GET /v1.51/containers/shop-web-1/json");
            some.engine(response(200, &inspected(true, false).to_string()));
            if permitted {
                assert_eq!(some.asked().line, format!("POST /v1.51/containers/{CONTAINER}/exec"));
            } else {
                some.heard_the_end();
                assert!(matches!(some.outcomes[..], [Outcome::Refused { .. }]));
                some.is_over();
            }
        }
    }
}

#[test]
fn attach_follows_the_log_or_else_the_streams() {
    for (speaks, tty) in ALL_CLIENTS.into_iter().flat_map(|speaks| [false, true].map(|tty| (speaks, tty))) {
        for pace in PACES {
            let mut visit = Visit::new(speaks);
            visit.pace = pace;
            visit.greet("/attach", Hello { tail: Some(5), ..Hello::default() });
            visit.until_located(Kind::Docker51);
            assert_eq!(visit.asked().line, format!("GET /v1.51/containers/{CONTAINER}/json"));
            visit.engine(response(200, &inspected(true, tty).to_string()));
            let tail = if speaks == Speaks::V1 { 5 } else { 100 };
            let line =
                format!("GET /v1.51/containers/{CONTAINER}/logs?follow=1&stdout=1&stderr=1&tail={tail}");
            assert_eq!(visit.asked().line, line);
            visit.engine(refused(501, "configured logging driver does not support reading"));
            let line = format!("POST /v1.51/containers/{CONTAINER}/attach?stream=1&stdout=1&stderr=1&logs=0");
            assert_eq!(visit.asked().line, line);
            let output = if tty { b"both".to_vec() } else { [frame(1, b"out"), frame(2, b"error")].concat() };
            visit.engine([upgraded(), output].concat());
            let mut heard = visit.heard();
            if speaks == Speaks::V1 {
                assert!(matches!(heard.remove(0), Heard::Opened(_)));
            }
            let join = |pick: fn(&Heard) -> &[u8]| heard.iter().flat_map(pick).copied().collect::<Vec<u8>>();
            let out = join(|heard| if let Heard::Stdout(bytes) = heard { bytes } else { b"" });
            let error = join(|heard| if let Heard::Stderr(bytes) = heard { bytes } else { b"" });
            assert_eq!(
                (&out[..], &error[..]),
                if tty { (&b"both"[..], &b""[..]) } else { (&b"out"[..], &b"error"[..]) }
            );
            // Nothing that is typed reaches it.
            visit.type_in("x");
            assert!(visit.to_engine.is_empty());
        }
    }
}

#[test]
fn attaching_to_a_stopped_container_does_not_hang() {
    let mut visit = Visit::new(Speaks::Lain);
    visit.greet("/attach", Hello::default());
    visit.until_located(Kind::Docker51);
    visit.asked();
    visit.engine(response(200, &inspected(false, false).to_string()));
    let text = visit.heard_the_end();
    assert!(text.starts_with("\x1b[31m>>> Can't attach your container, try again.\x1b[0m"), "{text}");
    visit.is_over();
}
