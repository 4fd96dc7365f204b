//! Who may enter, and who may stay: verdicts, rights, their end under an open session; and who it is that connects.

use crate::driver::{
    ALL_CLIENTS, CONTAINER, EXEC, Heard, Kind, PACES, PEER, Speaks, TOKEN, Visit, WALL, response, upgraded,
};
use entry::access::tokens::{hash, hex};
use entry::access::{Asked, Rule, Rules, Tokens, Webhook};
use entry::config::PING_INTERVAL_MILLISECONDS;
use entry::outcome::Outcome;
use entry::service::{Service, ServiceId};
use entry::session::Call;
use entry::wire::forwarded::Network;
use entry::wire::message::Hello;
use serde_json::{Value, json};
use std::sync::Arc;

/// By a file in which the visit's token has these lines.
fn tokens(lines: &str) -> Rules {
    let text = format!("[[token]]\nuser = \"ada\"\nsha256 = \"{}\"\n{lines}", hex(&hash(TOKEN)));
    Rules::new(vec![Rule::Tokens(Arc::new(Tokens::parse(&text).unwrap()))])
}

fn webhook() -> Rules {
    let service = Service::parse("the access webhook", "http://hook.example/may", 4000).unwrap();
    Rules::new(vec![Rule::Webhook(Webhook::new(Asked { id: ServiceId(0), service }))])
}

fn visit(speaks: Speaks, rules: Rules) -> Visit {
    let mut visit = Visit::new(speaks);
    visit.rules = rules;
    visit
}

/// Asked for a shell, and the webhook's question is there; gives its body.
fn asked(visit: &mut Visit, path: &str, hello: Hello) -> Value {
    visit.greet(path, hello);
    visit.expect_call(Call::Access, "POST /may").body
}

fn v1_command(words: &[&str]) -> Hello {
    Hello { command: words.iter().map(|word| (*word).to_owned()).collect(), ..Hello::default() }
}

/// From a located container to a running shell.
fn open(visit: &mut Visit) {
    visit.until_start(Kind::Docker51);
    assert_eq!(visit.asked().line, format!("POST /v1.51/exec/{EXEC}/start"));
    visit.engine(upgraded());
    visit.hear_opened();
}

#[test]
fn nothing_is_done_for_anybody_before_the_verdict() {
    for speaks in ALL_CLIENTS {
        let mut one = visit(speaks, webhook());
        let question = asked(&mut one, "/enter", Hello::default());
        assert_eq!(question["token"], TOKEN);
        assert_eq!(
            (&question["action"], &question["app"], &question["proc"]),
            (&json!("enter"), &json!("shop"), &json!("web"))
        );
        assert_eq!(question["address"], PEER.to_string());
        assert_eq!(one.connects, 0);
        one.reply(Call::Access, 200, &json!({"allow": true, "user": "ada"}));
        assert_eq!(one.admitted, ["ada"]);
        assert_eq!((one.session.user(), one.session.client_address()), ("ada", Some(PEER)));
        open(&mut one);
        assert_eq!(one.session.user(), "ada");
    }
}

#[test]
fn every_way_to_say_no_ends_the_session_and_touches_no_engine() {
    let no = |visit: &mut Visit| {
        visit.reply(Call::Access, 200, &json!({"allow": false, "reason": "Not on Sundays."}))
    };
    let failing = |visit: &mut Visit| visit.reply(Call::Access, 503, &json!({"allow": true, "user": "ada"}));
    let rubbish = |visit: &mut Visit| visit.reply(Call::Access, 200, &json!(["allow"]));
    let down = |visit: &mut Visit| visit.call_fails(Call::Access, "connection refused");
    let silent = |visit: &mut Visit| visit.wait(31_000);
    type Answer<'a> = &'a dyn Fn(&mut Visit);
    let table: [(Answer<'_>, &str, &str); 5] = [
        (&no, "refused", "Not on Sundays."),
        (&failing, "access_unavailable", "Access service unavailable: It answers with status 503."),
        (&rubbish, "access_unavailable", "Access service unavailable: Its answer cannot be read."),
        (&down, "access_unavailable", "Access service unavailable: It does not answer: connection refused."),
        (&silent, "access_unavailable", "Access service unavailable: It does not answer in time."),
    ];
    for (answer, label, words) in table {
        for speaks in ALL_CLIENTS {
            let mut one = visit(speaks, webhook());
            asked(&mut one, "/enter", Hello::default());
            answer(&mut one);
            assert_eq!(one.outcomes[0].label(), label);
            let heard = one.heard();
            let texts: Vec<&String> = heard
                .iter()
                .filter_map(|heard| match heard {
                    Heard::Close(text, _) => Some(text),
                    _ => None,
                })
                .collect();
            assert!(
                texts[0].starts_with(&format!("\x1b[31m>>> Authorization failed.\x1b[0m {words}")),
                "{texts:?}"
            );
            assert!(one.connects == 0 && one.admitted.is_empty() && one.calls.is_empty());
            one.is_over();
        }
    }
}

#[test]
fn entering_attaching_and_running_a_command_are_separate_rights() {
    let wishes = [
        ("enter", "/enter", v1_command(&[])),
        ("attach", "/attach", v1_command(&[])),
        ("exec", "/enter", v1_command(&["ls"])),
    ];
    for right in ["enter", "attach", "exec"] {
        for (wish, path, hello) in &wishes {
            let mut one = visit(Speaks::V1, tokens(&format!("{right} = [\"shop/*\"]\n")));
            one.greet(path, hello.clone());
            assert_eq!(one.connects, usize::from(right == *wish), "{right} {wish}");
            if right != *wish {
                assert!(
                    matches!(&one.outcomes[0], Outcome::Refused { detail } if detail.contains("shop/web"))
                );
            }
        }
    }
}

#[test]
fn a_container_by_name_is_judged_by_its_own_name() {
    let hello = || Hello { container: "c0ffee".to_owned(), ..Hello::default() };
    for (granted, name, allowed) in [("web-*", "web-1", true), ("web-*", "db", false), ("*", "db", true)] {
        let mut one = visit(Speaks::V1, tokens(&format!("enter = [\"container:{granted}\"]\n")));
        one.greet("/enter", hello());
        one.connected();
        assert_eq!(one.asked().line, "GET /_ping");
        one.engine(Kind::Docker51.pong());
        assert_eq!(one.asked().line, "GET /v1.51/containers/c0ffee/json");
        let body = json!({"Id": CONTAINER, "Name": format!("/{name}"), "State": {"Running": true, "ExitCode": 0}, "Config": {"Tty": true}});
        one.engine(response(200, &body.to_string()));
        assert_eq!(one.outcomes.is_empty(), allowed, "{granted} {name}: {:?}", one.outcomes);
    }
    let mut one = visit(Speaks::V1, tokens("enter = [\"*/*\"]\n"));
    one.greet("/enter", hello());
    assert!(one.connects == 0 && matches!(one.outcomes[..], [Outcome::Refused { .. }]));
}

#[test]
fn the_webhook_narrows_what_is_entered() {
    let mut one = visit(Speaks::V1, webhook());
    asked(
        &mut one,
        "/enter",
        Hello { user: "root".to_owned(), workdir: "/root".to_owned(), ..v1_command(&["id"]) },
    );
    let answer = json!({
        "allow": true, "user": "ada", "container": CONTAINER, "run_as": "nobody", "workdir": "/srv",
        "commands": [["id"]],
    });
    one.reply(Call::Access, 200, &answer);
    one.connected();
    assert_eq!(one.asked().line, "GET /_ping");
    one.engine(Kind::Docker51.pong());
    let asked_for = one.asked();
    assert_eq!(asked_for.line, format!("POST /v1.51/containers/{CONTAINER}/exec"));
    let said = |name: &str| asked_for.body[name].clone();
    assert_eq!(
        (said("User"), said("WorkingDir"), said("Cmd")),
        (json!("nobody"), json!("/srv"), json!(["id"]))
    );

    let mut other = visit(Speaks::V1, webhook());
    asked(&mut other, "/enter", v1_command(&[]));
    let answer = json!({"allow": true, "user": "ada", "container": CONTAINER, "engine": "nowhere"});
    other.reply(Call::Access, 200, &answer);
    assert!(matches!(&other.outcomes[0], Outcome::AccessUnavailable { detail } if detail.contains("engine")));
    assert_eq!(other.connects, 0);
}

#[test]
fn an_open_session_ends_when_its_rights_expire() {
    let expires = "expires = 2027-01-15T08:01:00Z\nenter = [\"*/*\"]\n";
    for speaks in ALL_CLIENTS {
        let mut one = visit(speaks, tokens(expires));
        assert_eq!(one.wall, WALL, "January 15, 2027, 8:00:00");
        one.greet("/enter", Hello::default());
        open(&mut one);
        one.wait(59_000);
        assert!(one.outcomes.is_empty());
        one.wait(1_000 + PING_INTERVAL_MILLISECONDS);
        assert!(matches!(&one.outcomes[..], [Outcome::AccessEnded { .. }]), "{:?}", one.outcomes);
        let heard = one.heard();
        assert!(
            heard.iter().any(|heard| matches!(heard, Heard::Close(text, _) if text.contains(">>> Access has ended: its time is over."))),
            "{heard:?}"
        );
        // What ran is not left behind.
        one.reaps();
        one.is_over();
    }
    let mut late = visit(Speaks::V1, tokens(expires));
    late.wall += 60;
    late.greet("/enter", Hello::default());
    assert!(matches!(&late.outcomes[..], [Outcome::Refused { .. }]) && late.connects == 0);
}

#[test]
fn a_token_that_is_dropped_from_the_file_ends_its_session() {
    for (after, ends) in [
        ("enter = [\"shop/*\"]\n", false),
        ("enter = [\"other/*\"]\n", true),
        ("exec = [\"shop/*\"]\n", true),
        ("enter = [\"shop/*\"]\nexpires = 2000-01-01\n", true),
    ] {
        let mut one = visit(Speaks::Lain, tokens("enter = [\"*/*\"]\n"));
        one.greet("/enter", Hello::default());
        open(&mut one);
        one.rules = tokens(after);
        one.rules_changed();
        assert_eq!(!one.outcomes.is_empty(), ends, "{after}: {:?}", one.outcomes);
        if ends {
            assert!(matches!(&one.outcomes[..], [Outcome::AccessEnded { .. }]));
            one.heard();
            one.reaps();
            one.is_over();
        }
    }
    let mut one = visit(Speaks::Web, tokens("enter = [\"*/*\"]\n"));
    one.greet("/enter", Hello::default());
    open(&mut one);
    one.rules = Rules::new(vec![Rule::Tokens(Arc::new(Tokens::parse("").unwrap()))]);
    one.rules_changed();
    assert!(
        matches!(&one.outcomes[..], [Outcome::AccessEnded { detail }] if detail.contains("not known here any more"))
    );
}

/// A session that the webhook has let in, and is asked about again every five minutes.
fn rechecked() -> Visit {
    let mut one = visit(Speaks::V1, webhook());
    one.settings.recheck_milliseconds = Some(300_000);
    asked(&mut one, "/enter", Hello::default());
    one.reply(Call::Access, 200, &json!({"allow": true, "user": "ada"}));
    open(&mut one);
    one
}

#[test]
fn the_webhook_is_asked_again_and_its_no_ends_the_session() {
    let mut one = rechecked();
    for _ in 0..3 {
        one.wait(299_000);
        assert!(one.calls.is_empty());
        one.wait(1_000 + PING_INTERVAL_MILLISECONDS);
        assert_eq!(one.expect_call(Call::Access, "POST /may").body["token"], TOKEN);
        one.reply(Call::Access, 200, &json!({"allow": true, "user": "ada"}));
        assert!(one.outcomes.is_empty());
    }
    one.wait(320_000);
    one.expect_call(Call::Access, "POST /may");
    one.reply(Call::Access, 200, &json!({"allow": false, "reason": "You have left."}));
    assert_eq!(one.outcomes, [Outcome::AccessEnded { detail: "You have left.".to_owned() }]);
    one.heard();
    one.reaps();
    one.is_over();

    let mut other = rechecked();
    other.wait(320_000);
    other.expect_call(Call::Access, "POST /may");
    other.reply(Call::Access, 200, &json!({"allow": true, "user": "bob"}));
    assert!(
        matches!(&other.outcomes[..], [Outcome::AccessEnded { detail }] if detail.contains("somebody else's"))
    );
}

#[test]
fn a_webhook_that_is_away_at_a_recheck_is_asked_again_for_one_interval() {
    let mut one = rechecked();
    one.wait(320_000);
    for _ in 0..5 {
        one.expect_call(Call::Access, "POST /may");
        one.call_fails(Call::Access, "connection refused");
        assert!(one.outcomes.is_empty());
        one.wait(PING_INTERVAL_MILLISECONDS);
    }
    one.expect_call(Call::Access, "POST /may");
    one.reply(Call::Access, 200, &json!({"allow": true, "user": "ada"}));
    one.wait(320_000);
    while one.outcomes.is_empty() {
        one.expect_call(Call::Access, "POST /may");
        one.call_fails(Call::Access, "connection refused");
        one.wait(PING_INTERVAL_MILLISECONDS);
    }
    assert!(
        matches!(&one.outcomes[..], [Outcome::AccessEnded { detail }] if detail.contains("nobody could say"))
    );
}

#[test]
fn a_limit_in_time_is_not_prolonged_by_rechecks() {
    let mut one = visit(Speaks::V1, webhook());
    one.settings.recheck_milliseconds = Some(60_000);
    asked(&mut one, "/enter", Hello::default());
    let answer = json!({"allow": true, "user": "ada", "limits": {"seconds": 150}});
    one.reply(Call::Access, 200, &answer);
    open(&mut one);
    for _ in 0..2 {
        one.wait(60_000 + PING_INTERVAL_MILLISECONDS);
        one.expect_call(Call::Access, "POST /may");
        one.reply(Call::Access, 200, &answer);
        assert!(one.outcomes.is_empty());
    }
    one.wait(20_000 + PING_INTERVAL_MILLISECONDS);
    assert_eq!(one.outcomes, [Outcome::TimeOver { seconds: 150 }]);
}

/// The plain HTTP answer's status, and everything of it.
fn answered(visit: &mut Visit) -> (u16, String) {
    let said = String::from_utf8_lossy(&std::mem::take(&mut visit.said)).into_owned();
    (said.split(' ').nth(1).unwrap_or("0").parse().unwrap(), said)
}

const UPGRADE: &str = "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn a_token_in_a_url_is_refused_and_not_repeated() {
    for query in ["access_token=SECRET", "method=web&token=SECRET", "jwt=SECRET", "x=1&access%5ftoken=SECRET"]
    {
        let mut one = Visit::new(Speaks::Lain);
        one.client(format!("GET /enter?{query} HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes());
        let (status, text) = answered(&mut one);
        assert!(
            status == 400 && text.contains("must not stand in a URL") && !text.contains("SECRET"),
            "{text}"
        );
    }
}

#[test]
fn the_cookie_that_is_named_brings_the_token() {
    for (named, line, expected) in [
        (Some("sso"), "Cookie: a=b; sso=from-cookie\r\n", "from-cookie"),
        (Some("other"), "Cookie: a=b; sso=from-cookie\r\n", ""),
        (None, "Cookie: a=b; sso=from-cookie\r\n", ""),
        (Some("sso"), "access-token: from-header\r\nCookie: sso=from-cookie\r\n", "from-header"),
    ] {
        let mut one = visit(Speaks::Lain, webhook());
        one.settings.front.token_cookie = named.map(str::to_owned);
        one.upgrade("/enter", &format!("app-name: shop\r\nproc-name: web\r\n{line}"));
        assert_eq!(one.expect_call(Call::Access, "POST /may").body["token"], expected, "{named:?} {line}");
    }
}

#[test]
fn everything_lies_under_the_base_path() {
    for (path, status) in [
        ("/entry/api/ping", 200),
        ("/api/ping", 404),
        ("/entry/enter", 101),
        ("/enter", 404),
        ("/entry", 308),
        ("/", 404),
        ("/entryenter", 404),
        ("/entry/entry/enter", 404),
    ] {
        let mut one = Visit::new(Speaks::Lain);
        one.settings.front.base_path = "/entry".to_owned();
        one.client(format!("GET {path} HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes());
        assert_eq!(answered(&mut one).0, status, "{path}");
    }
}

/// The address that the webhook is asked about.
fn address_of(front: impl Fn(&mut Visit), before: &[u8], headers: &str) -> String {
    let mut addresses = PACES.map(|pace| {
        let mut one = visit(Speaks::Lain, webhook());
        one.pace = pace;
        front(&mut one);
        let head =
            format!("GET /enter HTTP/1.1\r\n{UPGRADE}app-name: shop\r\nproc-name: web\r\n{headers}\r\n");
        one.client(&[before, head.as_bytes()].concat());
        one.expect_call(Call::Access, "POST /may").body["address"].as_str().unwrap().to_owned()
    });
    addresses.sort();
    assert_eq!(addresses[0], addresses[1], "at either pace");
    addresses[0].clone()
}

#[test]
fn only_a_trusted_proxy_is_believed_whom_it_serves() {
    let trusting = |network: &'static str| {
        move |visit: &mut Visit| visit.settings.front.trusted_proxies = vec![Network::parse(network).unwrap()]
    };
    let peer = PEER.to_string();
    let forged =
        "X-Real-IP: 198.51.100.9\r\nX-Forwarded-For: 198.51.100.9\r\nForwarded: for=198.51.100.9\r\n";
    assert_eq!(address_of(|_| {}, b"", forged), peer);
    assert_eq!(address_of(trusting("10.0.0.0/8"), b"", forged), peer);
    assert_eq!(address_of(trusting("192.0.2.0/24"), b"", forged), "198.51.100.9");
    assert_eq!(address_of(trusting("192.0.2.0/24"), b"", "X-Real-IP: 203.0.113.5\r\n"), "203.0.113.5");
    let appended = "X-Forwarded-For: 198.51.100.9, 203.0.113.5\r\n";
    assert_eq!(address_of(trusting("192.0.2.0/24"), b"", appended), "203.0.113.5");
}

const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";

#[test]
fn a_proxy_header_names_the_client_and_is_mandatory_once_it_is_on() {
    let proxied = |visit: &mut Visit| {
        visit.settings.front.proxy_protocol = true;
        visit.settings.front.trusted_proxies = vec![Network::parse("192.0.2.0/24").unwrap()];
    };
    let peer = PEER.to_string();
    assert_eq!(address_of(proxied, b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 80\r\n", ""), "203.0.113.5");
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x05\xc0\0\x02\x01\x12\x67\0\x50";
    assert_eq!(address_of(proxied, v2, ""), "203.0.113.5");
    assert_eq!(address_of(proxied, V2_LOCAL, ""), peer);
    assert_eq!(address_of(proxied, b"PROXY UNKNOWN\r\n", ""), peer);
    // The client behind the balancer is not trusted, whatever it writes.
    let forged = "X-Real-IP: 198.51.100.9\r\nX-Forwarded-For: 198.51.100.9\r\n";
    assert_eq!(address_of(proxied, b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 80\r\n", forged), "203.0.113.5");

    let closed = |front: &dyn Fn(&mut Visit), bytes: &[u8]| {
        for pace in PACES {
            let mut one = visit(Speaks::Lain, webhook());
            one.pace = pace;
            front(&mut one);
            one.client(bytes);
            assert!(
                one.client_closed && one.said.is_empty() && one.session.is_gone(),
                "{}",
                bytes.escape_ascii()
            );
            assert_eq!(one.bad_proxy_headers, 1);
        }
    };
    closed(&proxied, b"GET /api/ping HTTP/1.1\r\n\r\n");
    closed(&proxied, b"PROXY TCP4 203.0.113.5\r\nGET /api/ping HTTP/1.1\r\n\r\n");
    closed(&proxied, b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c");
    let elsewhere = |visit: &mut Visit| {
        proxied(visit);
        visit.settings.front.trusted_proxies = vec![Network::parse("10.0.0.0/8").unwrap()];
    };
    closed(&elsewhere, b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 80\r\nGET /api/ping HTTP/1.1\r\n\r\n");

    let mut one = Visit::new(Speaks::Lain);
    one.client(b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 80\r\nGET /api/ping HTTP/1.1\r\n\r\n");
    assert_eq!(answered(&mut one).0, 400, "where it is off, it is no HTTP");
    let mut silent = Visit::new(Speaks::Lain);
    proxied(&mut silent);
    silent.client(b"PROXY TCP4 203.0");
    silent.wait(20_000);
    assert!(silent.session.is_gone() || silent.client_output_finished, "it is not waited for for ever");
    let mut checked = Visit::new(Speaks::Lain);
    proxied(&mut checked);
    checked.client(&[V2_LOCAL, b"GET /api/ping HTTP/1.1\r\n\r\n"].concat());
    assert_eq!(answered(&mut checked).0, 200, "a balancer's health check");
}
