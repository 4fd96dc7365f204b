//! A guard knows which sessions are open where it stands, and outlives the gateway that sent it.

use crate::driver::{CONTAINER, EXEC, Kind, PACES, Speaks, Visit, frame, refused, response, upgraded};
use entry::config::{self, ReapMode};
use entry::session::Millis;
use entry::wire::message::Hello;
use serde_json::json;

const AFTER: Millis = 200;

/// It is on its way, and its connection is there.
fn connected() -> Visit {
    let mut visit = Visit::guard(AFTER);
    visit.guards(7);
    visit.wait(AFTER - 1);
    assert_eq!(visit.connects, 0);
    visit.wait(1);
    assert_eq!(visit.connects, 1);
    visit.connected();
    visit
}

/// Its exec has been created, and its start asked for.
fn starting() -> Visit {
    let mut visit = connected();
    visit.asked();
    visit.engine(response(201, &json!({ "Id": EXEC }).to_string()));
    visit.asked();
    visit
}

fn standing() -> Visit {
    let mut visit = starting();
    visit.engine(upgraded());
    visit.engine(frame(1, b"ready\n"));
    assert_eq!(said(&mut visit), "+ 0000000000000007\n");
    visit
}

fn said(visit: &mut Visit) -> String {
    String::from_utf8(std::mem::take(&mut visit.to_engine)).unwrap()
}

fn has_left(visit: &Visit) {
    assert!(visit.relieved && visit.engine_closed && visit.session.is_gone());
    assert_eq!(visit.session.deadline(), Millis::MAX);
}

#[test]
fn it_is_one_exec_without_a_terminal_as_the_sessions_user() {
    for pace in PACES {
        let mut visit = connected();
        visit.pace = pace;
        let asked = visit.asked();
        assert_eq!(asked.line, format!("POST /v1.51/containers/{CONTAINER}/exec"));
        assert_eq!((&asked.body["Tty"], &asked.body["AttachStdin"]), (&json!(false), &json!(true)));
        assert_eq!((&asked.body["User"], &asked.body["WorkingDir"]), (&json!("app"), &json!("/")));
        // What sessions are found by is not on it.
        assert_eq!(asked.body["Env"], json!(["ENTRY_GUARD=000000000000b007"]));
        assert_eq!(asked.body["Cmd"][3], "entry-guard");
        visit.engine(response(201, &json!({ "Id": EXEC }).to_string()));
        assert_eq!(visit.asked().line, format!("POST /v1.51/exec/{EXEC}/start"));
        visit.guards(8);
        visit.engine([upgraded(), frame(1, b"ready\n")].concat());
        assert_eq!(said(&mut visit), "+ 0000000000000007\n+ 0000000000000008\n");
        visit.guards(9);
        // One of whom it has never heard.
        visit.guards_no_more(6);
        visit.guards_no_more(7);
        assert_eq!(said(&mut visit), "+ 0000000000000009\n- 0000000000000007\n");
        visit.guards_no_more(8);
        said(&mut visit);
        visit.guards_no_more(9);
        assert_eq!(said(&mut visit), "bye\n");
        has_left(&visit);
    }
}

#[test]
fn what_stands_between_sees_it_used() {
    let mut visit = standing();
    for _ in 0..3 {
        visit.wait(config::GUARD_BEAT_MILLISECONDS - 1);
        assert_eq!(said(&mut visit), "");
        visit.wait(1);
        assert_eq!(said(&mut visit), "\n");
    }
}

#[test]
fn nobody_is_sent_where_all_have_left_already() {
    let mut visit = Visit::guard(AFTER);
    visit.guards(7);
    visit.guards_no_more(7);
    has_left(&visit);
    assert_eq!(visit.connects, 0);
    let mut visit = connected();
    visit.guards_no_more(7);
    has_left(&visit);
}

/// Without a farewell it would take its gateway for dead.
#[test]
fn who_is_being_started_is_dismissed_once_he_can_hear_it() {
    let mut visit = starting();
    visit.guards_no_more(7);
    assert!(!visit.session.is_gone() && !visit.engine_closed);
    visit.engine(upgraded());
    assert_eq!(said(&mut visit), "bye\n");
    has_left(&visit);
    // Unless somebody has come meanwhile.
    let mut visit = starting();
    visit.guards_no_more(7);
    visit.guards(8);
    visit.engine([upgraded(), frame(1, b"ready\n")].concat());
    assert_eq!(said(&mut visit), "+ 0000000000000008\n");
}

#[test]
fn a_lost_one_is_replaced_at_once() {
    let mut visit = standing();
    visit.engine_ends();
    assert!(visit.engine_closed);
    visit.wait(config::GUARD_RETRY_MILLISECONDS);
    assert_eq!(visit.connects, 2);
    visit.connected();
    visit.asked();
    visit.engine(response(201, &json!({ "Id": EXEC }).to_string()));
    visit.asked();
    visit.engine([upgraded(), frame(1, b"ready\n")].concat());
    assert_eq!(said(&mut visit), "+ 0000000000000007\n", "and knows whom he guards");
}

#[test]
fn one_that_cannot_be_had_is_not_asked_for_for_ever() {
    type Fail = fn(&mut Visit);
    let failures: [(&str, Fail); 7] = [
        ("refused", |visit| visit.connect_failed("connection refused")),
        ("closed its connection", |visit| {
            visit.connected();
            visit.engine_ends();
        }),
        ("oh no", |visit| {
            visit.connected();
            visit.engine(refused(500, "oh no"));
        }),
        ("paused", |visit| {
            visit.connected();
            visit.engine(refused(409, "Container x is paused"));
        }),
        ("does not answer", |visit| visit.wait(config::OPEN_MILLISECONDS_MAX)),
        ("not found in $PATH", |visit| {
            visit.connected();
            visit.engine(response(201, &json!({ "Id": EXEC }).to_string()));
            visit.engine(upgraded());
            visit.engine(frame(
                1,
                b"OCI runtime exec failed: exec: \"sh\": executable file not found in $PATH",
            ));
            visit.engine_ends();
        }),
        ("HTTP", |visit| {
            visit.connected();
            visit.engine("SSH-2.0-x\r\n");
        }),
    ];
    for (words, fail) in failures {
        let mut visit = Visit::guard(AFTER);
        visit.guards(7);
        visit.wait(AFTER);
        let mut rest = config::GUARD_RETRY_MILLISECONDS;
        for tried in 1..=config::GUARD_TRIES_MAX {
            assert_eq!(visit.connects, tried as usize, "{words}");
            fail(&mut visit);
            visit.to_engine.clear();
            assert!(visit.engine_closed, "{words}");
            if tried < config::GUARD_TRIES_MAX {
                assert!(visit.unguarded.is_empty());
                visit.wait(rest);
                rest *= 2;
            }
        }
        assert!(
            matches!(&visit.unguarded[..], [why] if why.contains(words)),
            "{words}: {:?}",
            visit.unguarded
        );
        assert_eq!(visit.session.deadline(), Millis::MAX);
        visit.guards(8);
        visit.guards_no_more(7);
        assert!(!visit.session.is_gone());
        visit.guards_no_more(8);
        has_left(&visit);
    }
}

#[test]
fn with_its_container_it_has_nothing_to_guard() {
    for refusal in [refused(404, "No such container: x"), refused(409, "Container x is not running")] {
        let mut visit = connected();
        visit.engine(refusal);
        assert!(visit.engine_closed && visit.unguarded.is_empty() && !visit.session.is_gone());
        visit.guards_no_more(7);
        has_left(&visit);
    }
}

#[test]
fn it_outlasts_everybody_whom_it_guards() {
    let mut visit = standing();
    visit.shut_down();
    visit.client_vanishes();
    assert!(!visit.session.is_gone() && !visit.engine_closed);
    visit.guards_no_more(7);
    has_left(&visit);
}

fn shell() -> Hello {
    Hello { tty: true, columns: 80, rows: 24, ..Hello::default() }
}

#[test]
fn a_session_is_guarded_until_nothing_is_left_of_it() {
    // It ends by itself.
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, shell());
    assert_eq!(visit.guards, 1);
    visit.exit(0, 7);
    assert_eq!(visit.guards, 0);
    // It is reaped.
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, shell());
    visit.client_vanishes();
    visit.looks_at_exec(&json!({ "Running": true, "ExitCode": null, "Pid": 7 }));
    visit.reaper_runs();
    assert_eq!(visit.guards, 1);
    visit.wait(config::REAP_WATCH_MILLISECONDS);
    visit.calls.clear();
    visit.reply(
        entry::session::Call::ReapInspect,
        200,
        &json!({ "Running": false, "ExitCode": 1, "Pid": 8 }),
    );
    assert_eq!(visit.guards, 0);
    visit.is_over();
    // Nobody is wanted.
    for (reap, guard) in [(ReapMode::Off, true), (ReapMode::Tree, false)] {
        let mut visit = Visit::new(Speaks::V1);
        (visit.settings.reap, visit.settings.guard) = (reap, guard);
        visit.greet("/enter", shell());
        visit.until_start(Kind::Docker51);
        visit.asked();
        visit.engine(upgraded());
        assert_eq!(visit.guards, 0);
        visit.exit(0, 7);
        assert_eq!(visit.guards, 0);
    }
}
