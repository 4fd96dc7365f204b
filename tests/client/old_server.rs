//! Against a server that knows LAIN's protocol only.

use crate::harness::{Ended, Running, SAFELY, Server, Speaks, entry, run};
use entry::wire::message::ResponseType;
use std::io::Write as _;
use std::process::Stdio;

#[test]
fn the_old_protocol_from_headers_to_goodbye() {
    let server = Server::start(Speaks::Lain, |mut visit| {
        visit.say(ResponseType::Ping, "ping");
        visit.say(ResponseType::Stdout, "$ ");
        let input = [b"\xff\x00binary \xe2\x82\n".as_slice(), &[4]].concat();
        visit.await_input(&input);
        visit.close_as_lain(SAFELY);
        visit
    });
    let mut command = entry(&server.url, &["enter", "hello", "web", "2"]);
    command.env("ENTRY_TOKEN", "s3cret").stdin(Stdio::piped());
    let mut running = Running::start(command);
    running.child().stdin.take().unwrap().write_all(b"\xff\x00binary \xe2\x82\n").unwrap();
    let got = running.finish();
    assert_eq!(got, Ended { status: 0, stdout: "$ ".to_owned(), stderr: String::new() });
    let visit = server.finish();
    let headers = [
        ("access-token", "s3cret"),
        ("app-name", "hello"),
        ("proc-name", "web"),
        ("instance-no", "2"),
        ("term-type", "vt100"),
        ("sec-websocket-protocol", "entry.v1"),
    ];
    for (name, value) in headers {
        assert_eq!(visit.header(name), Some(value), "{name}");
    }
}

#[test]
fn an_open_line_takes_two_ends() {
    let server = Server::start(Speaks::Lain, |mut visit| {
        visit.await_input(b"exit\x04\x04");
        visit.close_as_lain(SAFELY);
    });
    let mut command = entry(&server.url, &["enter", "--protocol=lain", "hello", "web"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    running.child().stdin.take().unwrap().write_all(b"exit").unwrap();
    assert_eq!(running.finish().status, 0);
    server.finish();
}

#[test]
fn a_red_end_is_a_failure() {
    let server = Server::start(Speaks::Lain, |mut visit| {
        visit.close_as_lain("\x1b[31m>>> Authorization failed.\x1b[0m");
    });
    let got = run(entry(&server.url, &["attach", "hello", "web"]));
    let stderr = ">>> Authorization failed.\n".to_owned();
    assert_eq!(got, Ended { status: 125, stdout: String::new(), stderr });
    server.finish();
}

#[test]
fn what_it_cannot_carry_is_refused_before_it_opens_a_shell() {
    let table: [&[&str]; 4] = [
        &["enter", "hello", "web", "--", "ls"],
        &["enter", "hello", "web", "-u", "root"],
        &["enter", "--container", "c"],
        &["attach", "hello", "web", "--tail", "3"],
    ];
    for words in table {
        let server = Server::start(Speaks::Lain, |mut visit| {
            assert_eq!((visit.header("app-name"), visit.header("access-token")), (None, None));
            visit.await_goodbye();
        });
        let mut command = entry(&server.url, words);
        command.env("ENTRY_TOKEN", "s3cret");
        let got = run(command);
        assert_eq!(got.status, 125, "{got:?}");
        assert!(got.stderr.contains("does not know"), "{got:?}");
        server.finish();
    }
}
