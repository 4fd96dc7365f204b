//! Every rule that asks services, and every service of it: one that allows, one that refuses, and all the ways in which
//! none of that comes.

use crate::access::{asking, jwt, published, refused, signed_for_an_hour, url, with_token, works};
use crate::client::{Client, hello_tty};
use crate::fake::{Asked as Told, Connection, Fake, Then, usual};
use crate::support::Gateway;
use entry::access::{Asked, Lain, Spec, Webhook};
use entry::wire::message::Hello;
use std::net::TcpListener;
use std::time::Duration;

/// How long a service may take where it is to answer, and where it is not to, in milliseconds.
const LONG: u64 = 60_000;
const SHORT: u64 = 100;

/// A service and the way in which it gives no answer.
struct Failure {
    name: &'static str,
    milliseconds_max: u64,
    script: fn(&mut Connection) -> Then,
}

const FAILURES: [Failure; 12] = [
    Failure { name: "takes too long", milliseconds_max: SHORT, script: |_| Then::Hold },
    Failure {
        name: "takes too long within its answer",
        milliseconds_max: SHORT,
        script: |connection| {
            connection.say("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"allow\":true,");
            Then::Hold
        },
    },
    Failure {
        name: "takes too long, and is never silent",
        milliseconds_max: SHORT,
        script: |connection| {
            connection.say("HTTP/1.1 200 OK\r\n");
            while connection.drip("X-More: to come\r\n", Duration::from_millis(5)) {}
            Then::Close
        },
    },
    Failure {
        name: "counts fewer bytes than it says",
        milliseconds_max: LONG,
        script: |connection| {
            connection.say("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"allow\":true,\"user\":\"ada\"}");
            Then::Answered
        },
    },
    Failure {
        name: "counts its bytes twice",
        milliseconds_max: LONG,
        script: |connection| {
            let lengths = "Content-Length: 27\r\nContent-Length: 28\r\n";
            connection.say(format!("HTTP/1.1 200 OK\r\n{lengths}\r\n{{\"allow\":true,\"user\":\"ada\"}}"));
            Then::Answered
        },
    },
    Failure {
        name: "says chunks of no size",
        milliseconds_max: LONG,
        script: |connection| {
            let body = "many\r\n{\"allow\":true,\"user\":\"ada\"}\r\n0\r\n\r\n";
            connection.say(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
            Then::Answered
        },
    },
    Failure { name: "hangs up", milliseconds_max: LONG, script: |_| Then::Close },
    Failure {
        name: "hangs up within its answer",
        milliseconds_max: LONG,
        script: |connection| {
            connection.say("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"allow\":true}");
            Then::Close
        },
    },
    Failure {
        name: "answers with 500",
        milliseconds_max: LONG,
        script: |connection| {
            connection.answer(500, "", r#"{"allow":true,"user":"ada"}"#);
            Then::Answered
        },
    },
    Failure {
        name: "answers with another language",
        milliseconds_max: LONG,
        script: |connection| {
            connection.answer(200, "", "<html>allow: true</html>");
            Then::Answered
        },
    },
    Failure {
        name: "does not speak HTTP",
        milliseconds_max: LONG,
        script: |connection| {
            connection.say("SSH-2.0-OpenSSH_9.6\r\n\r\n");
            Then::Close
        },
    },
    Failure {
        name: "says more than anybody wants to hear",
        milliseconds_max: LONG,
        script: |connection| {
            connection.say("HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n{");
            Then::Hold
        },
    },
];

/// A rule, the kinds of questions that its services are asked, and the tokens of two people.
struct Row {
    name: &'static str,
    asked: &'static [&'static str],
    rule: fn(Vec<Asked>) -> Spec,
    welcome: String,
    stranger: String,
}

fn rows() -> [Row; 3] {
    [
        Row {
            name: "webhook",
            asked: &["POST access"],
            rule: |mut asked| Spec::Webhook(Webhook::new(asked.remove(0))),
            welcome: "welcome".to_owned(),
            stranger: "stranger".to_owned(),
        },
        Row {
            name: "jwt",
            asked: &["GET jwks.json"],
            rule: |mut asked| jwt(asked.remove(0)),
            welcome: signed_for_an_hour("k1"),
            stranger: signed_for_an_hour("k1") + "A",
        },
        Row {
            name: "lain",
            asked: &["GET configwatcher", "GET roles", "GET me"],
            rule: |mut asked| {
                let mut next = || asked.remove(0);
                let (lainlet, console, sso) = (next(), next(), Some(next()));
                Spec::Lain(Lain { lainlet, console, sso, without_auth_let_everybody_in: false })
            },
            welcome: "welcome".to_owned(),
            stranger: String::new(),
        },
    ]
}

/// What every service says that works.
fn answers(asked: &Told, connection: &mut Connection) -> Then {
    connection.answer(200, "", &body(asked));
    Then::Answered
}

fn body(asked: &Told) -> String {
    match asked.what {
        "POST access" if asked.body.contains("welcome") => r#"{"allow":true,"user":"ada"}"#.to_owned(),
        "POST access" => r#"{"allow":false}"#.to_owned(),
        "GET jwks.json" => published("k1"),
        "GET configwatcher" => {
            r#"{"auth/console":"{\"type\":\"lain-sso\",\"url\":\"https://sso.lain.example\"}"}"#.to_owned()
        }
        "GET roles" => r#"{"role":{"role":"admin"}}"#.to_owned(),
        "GET me" => r#"{"email":"ada@lain.example"}"#.to_owned(),
        other => panic!("{other}"),
    }
}

/// Where the services of a rule are: at one address, but for one of them.
fn urls(row: &Row, all: &str, other: Option<(&str, &str)>) -> Vec<String> {
    let base = |what: &&str| match other {
        Some((failing, there)) if failing == *what => there.to_owned(),
        Some(_) | None => all.to_owned(),
    };
    let path = if row.name == "jwt" { "/jwks.json" } else { "" };
    row.asked.iter().map(|what| base(what) + path).collect()
}

fn enter(gateway: &Gateway, token: &str) -> Client {
    let target =
        Hello { container: String::new(), app: "demo".into(), proc: "shell".into(), ..hello_tty(&["cat"]) };
    Client::enter(gateway.address, with_token(token, target))
}

#[test]
fn whoever_is_let_in_was_let_in_by_an_answer() {
    let engine = Fake::unix(usual);
    let service = Fake::tcp(answers);
    for row in rows() {
        let gateway = asking(&engine, &urls(&row, &url(&service), None), LONG, row.rule);
        let before = engine.asked("POST create").len();
        works(enter(&gateway, &row.welcome));
        refused(&enter(&gateway, &row.stranger).end(), 15, "");
        assert_eq!(engine.asked("POST create").len(), before + 1, "{}", row.name);
    }
}

#[test]
fn a_service_may_say_it_byte_by_byte_and_in_chunks() {
    let engine = Fake::unix(usual);
    let service = Fake::tcp(|asked, connection| {
        let body = body(asked);
        let chunks: String = body.as_bytes().chunks(5).fold(String::new(), |chunks, chunk| {
            format!("{chunks}{:x};odd=yes\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk))
        });
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
        connection.drip(answer, Duration::from_micros(200));
        Then::Answered
    });
    for row in rows() {
        let gateway = asking(&engine, &urls(&row, &url(&service), None), LONG, row.rule);
        works(enter(&gateway, &row.welcome));
        refused(&enter(&gateway, &row.stranger).end(), 15, "");
    }
}

#[test]
fn a_service_that_fails_lets_nobody_in() {
    let engine = Fake::unix(usual);
    let good = Fake::tcp(answers);
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = format!("http://{down}");
    for row in rows() {
        let refuses = |what: &str, milliseconds_max: u64, failing: &str, how: &str| {
            let urls = urls(&row, &url(&good), Some((what, failing)));
            let gateway = asking(&engine, &urls, milliseconds_max, row.rule);
            let end = enter(&gateway, &row.welcome).end();
            assert_eq!((end.outcome, end.code), (18, 1013), "{}: {what} {how}: {end:?}", row.name);
            refused(&end, 18, "Access service unavailable: ");
            assert!(!end.text.contains("welcome"), "a token shows: {end:?}");
            let count = gateway.server().counters().ended_with("access_unavailable");
            assert_eq!(count, 1, "{}: {what} {how}", row.name);
        };
        for what in row.asked {
            for Failure { name, milliseconds_max, script } in FAILURES {
                let failing = Fake::tcp(move |_, connection| script(connection));
                refuses(what, milliseconds_max, &url(&failing), name);
            }
            refuses(what, LONG, &down, "is down");
        }
    }
    let asked: usize =
        ["GET ping", "GET list", "POST create"].map(|what| engine.asked(what).len()).iter().sum();
    // The probes at the starts, and nothing for anybody.
    assert_eq!(asked, engine.asked("GET ping").len());
}
