//! Plain HTTP at the port: what is no WebSocket is told what to do.

use crate::fake::{Fake, usual};
use crate::raw::{Raw, upgrade};
use crate::support::Gateway;

/// The status, the head and the body of what answers these bytes, up to the end of the connection.
fn ask(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> (u16, String, String) {
    let mut raw = Raw::to(gateway.address);
    raw.send(bytes);
    let head = raw.http_head();
    let body = String::from_utf8(raw.rest()).unwrap();
    (head[9..12].parse().unwrap(), head, body)
}

fn length(head: &str) -> usize {
    head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap()
}

#[test]
fn what_is_no_websocket_is_told_so() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let good = upgrade("/enter", "");
    let without = |line: &str| good.replace(line, "");
    let table = [
        ("GET /api/ping HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(), 200, "pong"),
        ("GET /api/ping HTTP/1.0\r\n\r\n".to_owned(), 200, "pong"),
        ("POST /api/ping HTTP/1.1\r\n\r\n".to_owned(), 405, "GET"),
        ("GET /nothing HTTP/1.1\r\n\r\n".to_owned(), 404, "/enter"),
        ("POST / HTTP/1.1\r\n\r\n".to_owned(), 405, "GET"),
        (good.replace("/enter", "/enter/"), 404, "/enter"),
        (good.replace("GET", "POST"), 405, "GET"),
        (without("Upgrade: websocket\r\n"), 426, "Upgrade: websocket"),
        (without("Connection: Upgrade\r\n"), 426, "Connection: Upgrade"),
        (good.replace("Version: 13", "Version: 8"), 426, "13"),
        (good.replace("HTTP/1.1", "HTTP/1.0"), 505, "HTTP/1.1"),
        (without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400, "Sec-WebSocket-Key"),
        (upgrade("/enter", "Origin: https://elsewhere.example\r\n"), 403, "another origin"),
        ("\x16\x03\x01\x02\x00\x01\x00".to_owned(), 400, "HTTP/1.1"),
        ("GET / HTTP/2.0\r\n\r\n".to_owned(), 400, "HTTP/1.1"),
        ("GET /enter HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400, "HTTP/1.1"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65)), 431, "64 headers"),
        (format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(20_000)), 431, "16 KiB"),
        (format!("GET /{}", "b".repeat(17_000)), 431, "16 KiB"),
    ];
    for (request, status, words) in table {
        let (told, head, body) = ask(&gateway, &request);
        assert_eq!(told, status, "{request}");
        assert!(body.contains(words), "{request}: {body}");
        assert_eq!(length(&head), body.len());
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    }
    assert_eq!(engine.asked("POST create").len(), 0);
}

#[test]
fn an_answer_to_head_has_no_body() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    for (path, status) in [("/api/ping", 200), ("/nothing", 404), ("/enter", 405)] {
        let (told, head, body) = ask(&gateway, format!("HEAD {path} HTTP/1.1\r\nHost: e\r\n\r\n"));
        assert_eq!((told, body.as_str()), (status, ""), "{path}");
        assert!(length(&head) > 0, "what GET would give: {head}");
    }
}

#[test]
fn a_health_check_needs_no_more_than_a_line_and_may_come_with_rubbish() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let request = "GET /api/ping HTTP/1.1\r\nHost: e\r\n\r\n";
    for behind in ["", request, "rubbish", &"x".repeat(100_000)] {
        let (status, _, body) = ask(&gateway, format!("{request}{behind}"));
        assert_eq!((status, body.as_str()), (200, "pong\n"));
    }
    let mut raw = Raw::to(gateway.address);
    raw.send(request);
    raw.end_writing();
    assert!(String::from_utf8(raw.rest()).unwrap().ends_with("\r\n\r\npong\n"));
}

#[test]
fn a_head_may_be_16_kib_long_and_no_longer() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    for (bytes, status) in [(16 * 1024, 200), (16 * 1024 + 1, 431)] {
        let start = "GET /api/ping HTTP/1.1\r\nA: ";
        let request = format!("{start}{}\r\n\r\n", "b".repeat(bytes - start.len() - 4));
        assert_eq!(request.len(), bytes);
        let mut raw = Raw::to(gateway.address);
        // In odd pieces, since a head that is too long must not be waited for.
        for piece in request.as_bytes().chunks(4999) {
            raw.send(piece);
        }
        assert_eq!(raw.http_head()[9..12], status.to_string(), "{bytes}");
    }
}
