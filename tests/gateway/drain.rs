//! A gateway that is asked to go down: the process itself, and signals.

use crate::client::{Client, hello, hello_tty};
use crate::raw::{Raw, upgrade_v1};
use crate::support::{Serving, eventually, program};
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};

/// The status with which a path is answered, over a connection of its own.
fn status(serving: &Serving, path: &str) -> String {
    let mut raw = Raw::to(serving.address);
    raw.send(format!("GET {path} HTTP/1.1\r\nHost: entry\r\n\r\n"));
    raw.http_head().split(' ').nth(1).unwrap().to_owned()
}

/// `entry enter` with a command, its stdin a pipe that stays open.
fn entering(serving: &Serving, command: &[&str]) -> Child {
    let mut entering = program(&[&["enter", "--container", "demo", "--"], command].concat());
    entering.env("ENTRY_GATEWAY", format!("ws://{}", serving.address)).stdin(Stdio::piped());
    entering.spawn().unwrap()
}

#[test]
fn sessions_go_on_while_nobody_new_is_let_in_and_with_the_last_one_it_ends() {
    let mut serving = Serving::start(&["--demo", "--workers", "2", "--drain-timeout", "600"]);
    assert_eq!(status(&serving, "/readyz"), "200");
    let mut typing = Client::enter(serving.address, hello(&["cat"])).opened();
    let mut terminal = Client::enter(serving.address, hello_tty(&["cat"])).opened();
    let mut greeting = Raw::upgraded(serving.address);
    serving.signal(libc::SIGTERM);
    eventually("not to be ready", || status(&serving, "/readyz") == "503");
    assert_eq!((status(&serving, "/livez").as_str(), status(&serving, "/api/ping").as_str()), ("200", "200"));
    // Every loop says no, on connections that came later.
    for _ in 0..8 {
        let mut late = Raw::to(serving.address);
        late.send(upgrade_v1());
        let head = late.http_head();
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nRetry-After: "), "{head}");
        let words = String::from_utf8(late.rest()).unwrap();
        assert!(words.contains("goes down and takes no new sessions"), "{words}");
    }
    assert_eq!(greeting.close_code(), 1012, "who has not said yet what he wants is sent elsewhere");
    // Files are read again all the while.
    serving.signal(libc::SIGHUP);
    for round in 0..3 {
        typing.type_in(format!("{round}\n"));
        assert_eq!(typing.until("\n"), format!("{round}\n"));
    }
    terminal.type_in("still here\r");
    terminal.until("still here");
    assert_eq!(typing.err, b">>> This gateway goes down in 10 min: finish by then, and enter again.\n");
    let note = String::from_utf8(std::mem::take(&mut terminal.err)).unwrap();
    assert!(note.contains("goes down in 10 min") && note.starts_with("\x1b7"), "{note:?}");
    typing.end_stdin();
    assert_eq!(typing.end().exit_status, 0);
    assert_eq!(status(&serving, "/livez"), "200", "one is still in");
    terminal.type_in("\x04");
    assert_eq!(terminal.end().exit_status, 0);
    drop(greeting);
    assert_eq!(serving.wait().code(), Some(0), "{}", serving.log());
    eventually("its last line", || serving.log().contains("all sessions have ended"));
    assert!(serving.log().contains("no new sessions; 3 may go on for 600 s"), "{}", serving.log());
}

#[test]
fn at_the_end_of_the_drain_who_is_left_is_told_and_reaped() {
    let mut serving = Serving::start(&["--demo", "--workers", "2", "--drain-timeout", "1"]);
    let inside = Client::enter(serving.address, hello(&["sh", "-c", "sleep 1000 & cat"])).opened();
    let mut entering = entering(&serving, &["cat"]);
    let mut keyboard = entering.stdin.take().unwrap();
    keyboard.write_all(b"in\n").unwrap();
    let mut seen = [0; 3];
    entering.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    serving.signal(libc::SIGTERM);
    let end = inside.end();
    assert_eq!((end.outcome, end.exit_status, end.code), (16, 125, 1012), "{end:?}");
    assert!(end.err.contains("goes down in 1 s") && end.text.contains("is drained"), "{end:?}");
    let told = entering.wait_with_output().unwrap();
    let words = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(125), "{words}");
    assert!(
        words.contains(">>> This gateway goes down in 1 s: finish by then, and enter again.\n"),
        "{words}"
    );
    assert!(words.contains("The gateway is drained and goes down; enter again."), "{words}");
    drop(keyboard);
    assert_eq!(serving.wait().code(), Some(0), "{}", serving.log());
    eventually("processes to be gone", || serving.descendants().is_empty());
}

#[test]
fn a_second_signal_does_not_wait() {
    for second in [libc::SIGTERM, libc::SIGINT] {
        let mut serving = Serving::start(&["--demo", "--workers", "1", "--drain-timeout", "600"]);
        let mut inside = Client::enter(serving.address, hello(&["cat"])).opened();
        serving.signal(libc::SIGTERM);
        eventually("not to be ready", || status(&serving, "/readyz") == "503");
        inside.type_in("x\n");
        inside.until("x\n");
        serving.signal(second);
        assert_eq!(inside.end().code, 1012);
        assert_eq!(serving.wait().code(), Some(0), "{}", serving.log());
    }
}

#[test]
fn a_gateway_without_sessions_ends_at_once() {
    let mut serving = Serving::start(&["--demo", "--workers", "2", "--drain-timeout", "600"]);
    serving.signal(libc::SIGTERM);
    assert_eq!(serving.wait().code(), Some(0), "{}", serving.log());
}
