//! What somebody may enter is listed for the page: as far as access can say that without asking for each, and no more.

use crate::fake::{CONTAINER, Fake, Then, usual};
use crate::raw::Raw;
use crate::support::{Directory, Gateway, eventually};
use entry::access::tokens::{hash, hex};
use entry::access::{Asked, Spec, Webhook};
use entry::config::{Front, Settings};
use entry::service::{Service, ServiceId};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;

const TOKEN: &str = "entry_ada";

/// The status, the head, and what is answered.
fn ask(address: SocketAddr, headers: &str) -> (u16, String, String) {
    let mut raw = Raw::to(address);
    raw.send(format!("GET /api/targets HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n"));
    let head = raw.http_head();
    let body = String::from_utf8(raw.rest()).unwrap();
    (head[9..12].parse().unwrap(), head, body)
}

/// An engine with containers of two apps, and one that belongs to none.
fn engine() -> Fake {
    Fake::unix(|asked, connection| match asked.what {
        "GET list" => {
            let compose = |app: &str, proc: &str| {
                json!({"com.docker.compose.project": app, "com.docker.compose.service": proc,
                       "com.docker.compose.container-number": "1"})
            };
            let row = |name: &str, labels: Value| json!({"Id": CONTAINER, "Names": [name], "Labels": labels});
            let list = json!([
                row("/shop-web-1", compose("shop", "web")),
                row("/blog-web-1", compose("blog", "web")),
                row("/db", json!({})),
            ]);
            connection.answer(200, "Content-Type: application/json\r\n", &list.to_string());
            Then::Answered
        }
        _ => Then::Usual,
    })
}

fn by_tokens(engine: &Fake, directory: &Directory, rights: &str, front: Front) -> Gateway {
    let file = directory.file("tokens.toml");
    let text = format!("[[token]]\nuser = \"ada\"\nsha256 = \"{}\"\n{rights}\n", hex(&hash(TOKEN)));
    fs::write(&file, text).unwrap();
    let settings = Settings { front, ..Gateway::settings(&engine.url) };
    Gateway::guarded(settings, vec![Spec::Tokens { file }])
}

#[test]
fn everybody_is_told_of_what_he_may_enter_and_of_nothing_else() {
    let (engine, directory) = (engine(), Directory::new());
    let front = Front { token_cookie: Some("sso".to_owned()), ..Front::default() };
    let rights = "enter = [\"shop/*\"]\nexec = [\"container:db\"]\nwatch = [\"*/*\"]";
    let gateway = by_tokens(&engine, &directory, rights, front);
    let (status, head, body) = ask(gateway.address, &format!("access-token: {TOKEN}\r\n"));
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("\r\nCache-Control: no-store\r\n") && head.contains("application/json"), "{head}");
    let expected = json!({
        "targets": [
            {"container": "db", "rights": ["exec"]},
            {"app": "shop", "proc": "web", "instance": "1", "rights": ["enter"]},
        ],
        "cut": false,
    });
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    assert_eq!(ask(gateway.address, &format!("Cookie: sso={TOKEN}\r\n")).2, body);
    for headers in ["", "access-token: wrong\r\n", "access-token: entry_wrong\r\n"] {
        let (status, _, body) = ask(gateway.address, headers);
        assert!(
            status == 200 && body.contains("\"why\"") && !body.contains("shop"),
            "{headers}: {status} {body}"
        );
    }
    // However often it is asked for, an engine makes such a list once in some seconds.
    assert_eq!(engine.asked("GET list").len(), 1);
    eventually("nobody to be counted", || gateway.server().crowd().sessions() == 0);
}

#[test]
fn a_page_of_another_origin_is_told_nothing() {
    let engine = engine();
    let gateway = Gateway::before(&engine.url);
    let (status, _, body) = ask(gateway.address, "Sec-Fetch-Site: same-origin\r\n");
    assert!(status == 200 && body.contains("blog") && body.contains("\"db\""), "{status} {body}");
    for headers in [
        "Origin: https://elsewhere.example\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ] {
        assert_eq!(ask(gateway.address, headers).0, 403, "{headers}");
    }
    // As a page asks that has given itself this machine's address.
    let mut raw = Raw::to(gateway.address);
    raw.send("GET /api/targets HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n");
    assert!(raw.http_head().starts_with("HTTP/1.1 403 "));
}

#[test]
fn where_a_service_decides_one_by_one_there_is_no_list() {
    let engine = engine();
    let service = Fake::tcp(usual);
    let asked = Asked {
        id: ServiceId(0),
        service: Service::parse("it", &service.url.replace("tcp://", "http://"), 4000).unwrap(),
    };
    let mut settings = Gateway::settings(&engine.url);
    settings.peers.services = vec![asked.service.clone()];
    let gateway = Gateway::guarded(settings, vec![Spec::Webhook(Webhook::new(asked))]);
    let (status, _, body) = ask(gateway.address, "access-token: any\r\n");
    assert!(status == 200 && body.contains("type what you want"), "{status} {body}");
    assert!(!body.contains("shop"), "{body}");
    assert_eq!(engine.asked("GET list").len(), 0);
}

#[test]
fn an_engine_that_is_away_leaves_a_list_that_says_so() {
    let engine = Fake::unix(|asked, _| if asked.what == "GET list" { Then::Close } else { Then::Usual });
    let gateway = Gateway::before(&engine.url);
    let (status, _, body) = ask(gateway.address, "");
    assert_eq!((status, body.as_str()), (200, "{\"targets\":[],\"cut\":true}"));
}
