//! Files of the page go out in pieces, as the client's socket takes them. A build without npm has no page to give.

use crate::driver::{Speaks, Visit};
use entry::config;

/// Asks for a file; gives the answer's head, and what has come of the body.
fn asked(path: &str) -> (Visit, String, Vec<u8>) {
    let mut visit = Visit::new(Speaks::V1);
    visit.client(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    let said = std::mem::take(&mut visit.said);
    let end = said.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    (visit, String::from_utf8(said[..end].to_vec()).unwrap(), said[end..].to_vec())
}

/// The path of the page's script, which is its largest file.
fn script() -> Option<String> {
    let (_, head, body) = asked("/");
    if head.starts_with("HTTP/1.1 404 ") {
        return None;
    }
    let body = String::from_utf8(body).unwrap();
    let name = body.split('"').find(|word| word.ends_with(".js")).unwrap();
    Some(format!("/{name}"))
}

fn length(head: &str) -> usize {
    head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap()
}

#[test]
fn a_file_goes_out_piece_by_piece() {
    let Some(path) = script() else { return };
    let (mut visit, head, mut body) = asked(&path);
    let length = length(&head);
    assert!(length > 2 * config::PAGE_PIECE_BYTES, "it takes several pieces");
    while visit.session.gives_more(0) {
        assert!(!visit.session.gives_more(1), "not before the last piece has gone");
        assert!(!visit.client_output_finished);
        // Time and what the client says meanwhile change nothing.
        visit.wait(1000);
        visit.client(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(visit.said, b"");
        visit.client_took_all();
        assert!(visit.said.len() <= config::PAGE_PIECE_BYTES);
        body.append(&mut visit.said);
    }
    assert_eq!((body.len(), visit.client_output_finished), (length, true));
    visit.wait(config::LINGER_MILLISECONDS_MAX);
    visit.is_over();
}

#[test]
fn who_takes_nothing_is_waited_for_no_longer_than_a_file_may_take() {
    let Some(path) = script() else { return };
    let (mut visit, _, _) = asked(&path);
    visit.backlog = 1;
    visit.wait(config::PAGE_MILLISECONDS_MAX - 1);
    assert!(!visit.client_closed);
    visit.wait(1);
    visit.is_over();
}

#[test]
fn who_leaves_gets_no_more() {
    let Some(path) = script() else { return };
    let (mut visit, _, _) = asked(&path);
    visit.client_vanishes();
    assert!(!visit.session.gives_more(0));
    visit.is_over();
}
