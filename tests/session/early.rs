//! What a client says while its process is not there yet: keys, sizes, the end of its input.

use crate::driver::{ALL_CLIENTS, ALL_ENGINES, EXEC, Kind, Speaks, Visit, response, upgraded};
use entry::config;
use entry::session::Call;
use entry::wire::message::{Hello, RequestType};
use serde_json::json;

fn terminal(columns: u32, rows: u32) -> Hello {
    Hello { tty: true, columns, rows, ..Hello::default() }
}

#[test]
fn what_is_typed_early_is_bounded_and_in_order() {
    for speaks in ALL_CLIENTS {
        let mut visit = Visit::new(speaks);
        visit.greet("/enter", Hello { tty: true, ..Hello::default() });
        let mut typed = String::new();
        let mut count = 0;
        while visit.session.wants_client(0) {
            let piece = format!("{count:1000}");
            visit.type_in(&piece);
            typed.push_str(&piece);
            count += 1;
            assert!(count < 100, "it has to end somewhere");
        }
        assert!(typed.len() >= 64 * 1024);
        visit.until_start(Kind::Podman);
        visit.asked();
        assert!(visit.to_engine.is_empty());
        visit.engine(upgraded());
        assert!(visit.to_engine == typed.as_bytes());
        assert!(visit.session.wants_client(0));
    }
}

#[test]
fn sizes_that_come_while_it_opens_are_told_once() {
    // The start is under way with the first size; only the last one that came meanwhile counts.
    for kind in ALL_ENGINES {
        let mut visit = Visit::new(Speaks::V1);
        // A shell of ours sets its size itself; a command has to be told.
        visit.greet("/enter", Hello { command: vec!["top".to_owned()], ..terminal(80, 24) });
        visit.until_start(kind);
        visit.asked();
        if kind == Kind::Docker41 {
            visit.expect_call(Call::Resize, &format!("POST /v1.41/exec/{EXEC}/resize?h=24&w=80"));
        }
        for columns in 81..=90 {
            visit.resize(columns, 24);
        }
        assert!(visit.calls.is_empty(), "Docker blocks for 10 s when it is told before its head");
        visit.engine(upgraded());
        if kind == Kind::Docker41 {
            // The resize beside the start has not come back yet.
            assert!(visit.calls.is_empty());
            visit.reply(Call::Resize, 200, &json!(""));
        }
        visit.expect_call(Call::Resize, &format!("POST {}/exec/{EXEC}/resize?h=24&w=90", kind.prefix()));
        visit.reply(Call::Resize, 201, &json!(""));
        assert!(visit.calls.is_empty());
    }
}

/// Who types ahead means the window that he has; but nothing waits for long for an engine that does not answer.
#[test]
fn what_is_typed_ahead_waits_for_the_first_size() {
    for answers in [true, false] {
        let mut visit = Visit::new(Speaks::V1);
        let hello = Hello { tty: true, command: vec!["cat".into()], columns: 9, rows: 9, ..Hello::default() };
        visit.greet("/enter", hello);
        visit.until_start(Kind::Docker41);
        visit.asked();
        visit.type_in("ahead ");
        visit.engine(upgraded());
        visit.type_in("and on");
        assert!(visit.to_engine.is_empty());
        if answers {
            visit.reply(Call::Resize, 200, &json!(""));
        } else {
            visit.wait(config::FIRST_SIZE_MILLISECONDS_MAX);
        }
        assert_eq!(visit.to_engine, b"ahead and on");
        visit.type_in("!");
        assert_eq!(visit.to_engine, b"ahead and on!");
    }
}

/// The script of our own shell was sent with its creation: a size that came later is told in another way.
#[test]
fn a_size_that_comes_between_creation_and_start_is_not_lost() {
    for kind in ALL_ENGINES {
        let mut visit = Visit::new(Speaks::Lain);
        visit.greet("/enter", Hello { tty: true, ..Hello::default() });
        visit.until_located(kind);
        assert!(!visit.asked().body.to_string().contains("stty"));
        visit.resize(99, 33);
        visit.engine(response(201, &json!({ "Id": EXEC }).to_string()));
        let start = visit.asked().body;
        if kind == Kind::Docker41 {
            visit.expect_call(Call::Resize, &format!("POST /v1.41/exec/{EXEC}/resize?h=33&w=99"));
        } else {
            let told = [&start["ConsoleSize"], &json!([start["h"], start["w"]])]
                .map(|size| *size == json!([33, 99]));
            assert!(told.contains(&true), "{start}");
        }
        visit.engine(upgraded());
        assert!(visit.calls.is_empty(), "it is told once");
    }
}

#[test]
fn stdin_that_ended_early_ends_behind_what_was_typed() {
    for tty in [false, true] {
        let mut visit = Visit::new(Speaks::V1);
        visit.greet("/enter", Hello { tty, stdin: true, ..Hello::default() });
        visit.type_in("early");
        visit.say(RequestType::StdinEnd, b"");
        visit.type_in("too late");
        visit.until_start(Kind::Docker51);
        visit.asked();
        visit.engine(upgraded());
        assert_eq!(visit.to_engine, if tty { &b"early\x04"[..] } else { &b"early"[..] });
        assert_eq!(visit.engine_input_finished, !tty);
    }
}
