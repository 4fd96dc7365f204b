//! The page with the terminal, as browsers get it. A build without npm has none, and says so.

use crate::fake::{Fake, usual};
use crate::raw::Raw;
use crate::support::Gateway;
use entry::config::{Front, Settings};

/// The answer to a GET: its head and its body.
fn get(gateway: &Gateway, path: &str, lines: &str) -> (String, Vec<u8>) {
    let mut raw = Raw::to(gateway.address);
    raw.send(format!("GET {path} HTTP/1.1\r\nHost: e\r\n{lines}\r\n"));
    (raw.http_head(), raw.rest())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The page, and the paths that it names.
fn page(gateway: &Gateway, base: &str) -> Option<(String, Vec<String>)> {
    let (head, body) = get(gateway, &format!("{base}/"), "");
    let body = String::from_utf8(body).unwrap();
    if head.starts_with("HTTP/1.1 404 ") {
        assert!(body.contains("npm") && body.contains("ENTRY_WEB_ASSETS"), "{body}");
        return None;
    }
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(header(&head, "Content-Security-Policy").unwrap().contains("default-src 'none'"), "{head}");
    // A token in a link, or a script in the page itself, would be a fault.
    assert!(!body.contains("<script>") && !body.contains("http://") && !body.contains("https://"), "{body}");
    let names = body.split('"').filter(|word| word.starts_with("assets/")).map(str::to_owned).collect();
    Some((head, names))
}

#[test]
fn the_page_and_all_that_it_names_are_there() {
    let engine = Fake::unix(usual);
    let front = Front { base_path: "/below/here".to_owned(), ..Front::default() };
    for (base, gateway) in [
        ("", Gateway::before(&engine.url)),
        ("/below/here", Gateway::with(Settings { front, ..Gateway::settings(&engine.url) })),
    ] {
        let Some((head, names)) = page(&gateway, base) else { return };
        let etag = header(&head, "ETag").unwrap();
        let (same, nothing) = get(&gateway, &format!("{base}/"), &format!("If-None-Match: {etag}\r\n"));
        assert!(same.starts_with("HTTP/1.1 304 ") && nothing.is_empty(), "{same}");
        assert!(names.len() >= 3, "a script, a style and an icon: {names:?}");
        for name in names {
            let (head, body) = get(&gateway, &format!("{base}/{name}"), "Accept-Encoding: gzip\r\n");
            assert!(head.starts_with("HTTP/1.1 200 "), "{name}: {head}");
            assert_eq!(header(&head, "Content-Length").unwrap(), body.len().to_string());
            assert_eq!(header(&head, "Content-Encoding"), Some("gzip"));
            assert!(header(&head, "Cache-Control").unwrap().contains("immutable"), "{head}");
            assert_eq!(body[..2], [0x1f, 0x8b], "gzip's own mark");
        }
        if !base.is_empty() {
            let (head, _) = get(&gateway, base, "");
            assert!(head.starts_with("HTTP/1.1 308 "), "{head}");
            assert_eq!(header(&head, "Location"), Some("/below/here/"));
            let (head, _) = get(&gateway, "/", "");
            assert!(head.starts_with("HTTP/1.1 404 "), "nothing is outside of the base path: {head}");
        }
    }
}

#[test]
fn who_takes_his_time_gets_all_of_it() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let Some((_, names)) = page(&gateway, "") else { return };
    let script = names.iter().find(|name| name.ends_with(".js")).unwrap();
    let (_, whole) = get(&gateway, &format!("/{script}"), "");
    let mut visitors: Vec<Raw> = (0..20)
        .map(|_| {
            let mut raw = Raw::to(gateway.address);
            raw.send(format!("GET /{script} HTTP/1.1\r\nHost: e\r\n\r\n"));
            raw.http_head();
            raw
        })
        .collect();
    // Nobody reads on, and others are served.
    let (head, _) = get(&gateway, "/api/ping", "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for raw in &mut visitors {
        assert!(raw.rest() == whole, "every byte, in order");
    }
    crate::support::eventually("what was held to be given back", || gateway.held_bytes() == 0);
}
