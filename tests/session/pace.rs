//! Clients that cannot leave their connection unread: marks between the output, and echoes.

use crate::driver::{CONTAINER, Heard, Kind, Speaks, Visit, response};
use entry::config;
use entry::wire::message::{Hello, RequestType};
use serde_json::json;

/// The window of these clients, in bytes.
const WINDOW: u32 = 1000;

fn paced(window: u32) -> Visit {
    Visit::open(Speaks::V1, Kind::Docker51, Hello { tty: true, window, ..Hello::default() })
}

fn marks(heard: &[Heard]) -> usize {
    heard.iter().filter(|heard| **heard == Heard::Mark).count()
}

#[test]
fn a_client_that_lags_holds_its_process_back() {
    let mut visit = paced(WINDOW);
    visit.engine([b'a'; 499]);
    assert_eq!(visit.heard(), [Heard::Stdout(vec![b'a'; 499])]);
    visit.engine(b"b");
    assert_eq!(visit.heard(), [Heard::Stdout(b"b".to_vec()), Heard::Mark], "behind what it is about");
    assert!(visit.session.wants_engine(0));
    visit.engine([b'c'; 500]);
    assert_eq!(marks(&visit.heard()), 1);
    assert!(!visit.session.wants_engine(0), "two marks are out");

    // What comes all the same is passed on.
    visit.engine([b'd'; 5000]);
    assert_eq!(marks(&visit.heard()), 0);
    visit.say(RequestType::Marked, b"");
    assert!(visit.session.wants_engine(0) && !visit.session.wants_engine(1));
    visit.engine(b"e");
    assert_eq!(visit.heard(), [Heard::Stdout(b"e".to_vec()), Heard::Mark]);
    assert!(!visit.session.wants_engine(0));

    // Typing goes on.
    visit.type_in("\x03");
    assert_eq!(visit.to_engine.split_off(0), b"\x03");
    visit.say(RequestType::Marked, b"");
    visit.say(RequestType::Marked, b"");
    assert!(visit.session.wants_engine(0));
    // More answers than marks count for nothing.
    visit.say(RequestType::Marked, b"");
    visit.engine([b'f'; 500]);
    visit.engine([b'f'; 500]);
    assert_eq!(marks(&visit.heard()), 2);
    assert!(!visit.session.wants_engine(0));
    visit.exit(0, 7);
    visit.heard_the_end();
}

#[test]
fn the_smallest_window_moves_too() {
    let mut visit = paced(1);
    for _ in 0..3 {
        visit.engine(b"x");
        assert_eq!(visit.heard(), [Heard::Stdout(b"x".to_vec()), Heard::Mark]);
        assert!(visit.session.wants_engine(0));
        visit.say(RequestType::Marked, b"");
    }
    visit.exit(0, 7);
    visit.heard();
}

#[test]
fn who_names_no_window_hears_of_no_mark() {
    let mut visit = paced(0);
    visit.engine([b'a'; 60_000]);
    visit.say(RequestType::Marked, b"");
    visit.engine([b'a'; 60_000]);
    assert_eq!(marks(&visit.heard()), 0);
    assert!(visit.session.wants_engine(0));
    visit.exit(0, 7);
    visit.heard();
}

#[test]
fn an_attached_viewer_that_lags_loses_lines_and_is_told() {
    let mut visit = Visit::new(Speaks::V1);
    visit.greet("/attach", Hello { window: WINDOW, ..Hello::default() });
    visit.until_located(Kind::Docker51);
    visit.asked();
    let state = json!({ "Id": CONTAINER, "State": { "Running": true }, "Config": { "Tty": true } });
    visit.engine(response(200, &state.to_string()));
    visit.asked();
    visit.engine("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n");
    visit.hear_opened();
    let line = [&[b'-'; 499][..], b"\n"].concat();
    for _ in 0..2 {
        visit.engine(&line);
    }
    assert_eq!(marks(&visit.heard()), 2);
    assert!(visit.session.wants_engine(0), "a container never waits for a viewer");
    for _ in 0..3 {
        visit.engine(&line);
    }
    visit.wait(config::PING_INTERVAL_MILLISECONDS);
    assert!(
        visit.heard().iter().all(|heard| *heard == Heard::Ping),
        "nothing more until it has come further"
    );
    visit.say(RequestType::Marked, b"");
    visit.engine(b"skipped\nseen\n");
    let (out, error) = match &visit.heard()[..] {
        [Heard::Stderr(error), Heard::Stdout(out)]
        | [Heard::Stderr(error), Heard::Stdout(out), Heard::Mark] => {
            (out.clone(), String::from_utf8(error.clone()).unwrap())
        }
        other => panic!("{other:?}"),
    };
    assert!(error.contains(">>> 4 lines were skipped"), "{error}");
    assert_eq!(out, b"seen\n");
    visit.client_vanishes();
}

#[test]
fn an_echo_comes_back_unless_output_waits() {
    let mut visit = paced(0);
    visit.say(RequestType::Echo, b"1");
    assert_eq!(visit.heard(), [Heard::Echo(b"1".to_vec())]);
    visit.say(RequestType::Echo, &[b'2'; config::ECHO_BYTES_MAX]);
    visit.say(RequestType::Echo, &[b'3'; config::ECHO_BYTES_MAX + 1]);
    assert_eq!(visit.heard(), [Heard::Echo(vec![b'2'; config::ECHO_BYTES_MAX])]);
    visit.backlog = 1;
    visit.say(RequestType::Echo, b"4");
    assert_eq!(visit.heard(), []);
    assert_eq!(visit.to_engine.split_off(0), b"", "nothing of it is typed");
    visit.backlog = 0;
    visit.exit(0, 7);
    visit.heard();
}

#[test]
fn old_clients_have_neither() {
    for speaks in [Speaks::Lain, Speaks::Web] {
        let mut visit = Visit::open(speaks, Kind::Docker51, Hello { tty: true, ..Hello::default() });
        visit.say(RequestType::Echo, b"1");
        visit.say(RequestType::Marked, b"");
        assert_eq!(visit.heard(), []);
        visit.exit(0, 7);
        visit.heard();
    }
}
