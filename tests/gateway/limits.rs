//! Limits: who is over one is told so at once and may come again, and nobody else notices.

use crate::client::{Client, hello};
use crate::fake::{Fake, usual};
use crate::raw::{BINARY, Raw, frame, hello_message, plain, upgrade_v1};
use crate::support::{Directory, Gateway, Serving, at_rest, eventually, program};
use entry::config::WantedLimits;
use entry::demo::{DemoEngine, DemoOptions};
use entry::wire::message::Hello;
use std::io::Read as _;
use std::process::Stdio;

/// What answers an upgrade request that is not granted.
fn refusal(serving: &Serving) -> String {
    let mut raw = Raw::to(serving.address);
    raw.send(upgrade_v1());
    let head = raw.http_head();
    head + &String::from_utf8(raw.rest()).unwrap()
}

/// An open session that gives back what is typed.
fn echoing(serving: &Serving) -> Client {
    Client::enter(serving.address, hello(&["cat"])).opened()
}

fn echoes(client: &mut Client, text: &str) {
    client.type_in(text);
    assert_eq!(client.take(text.len()), text.as_bytes());
}

#[test]
fn more_sessions_than_permitted_are_answered_with_503() {
    let serving = Serving::start(&["--demo", "--workers", "2", "--max-sessions", "2"]);
    let (mut first, mut second) = (echoing(&serving), echoing(&serving));
    let told = refusal(&serving);
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    assert!(told.contains("\r\nRetry-After: "), "{told}");
    assert!(told.contains("as many sessions as it may (2); try again later"), "{told}");
    echoes(&mut first, "still here\n");
    echoes(&mut second, "so am I\n");
    drop(first);
    eventually("room for one more", || {
        let mut raw = Raw::to(serving.address);
        raw.send(upgrade_v1());
        raw.http_head().starts_with("HTTP/1.1 101 ")
    });
    echoes(&mut second, "to the end\n");
}

#[test]
fn one_address_has_so_many_sessions_and_another_has_its_own() {
    let serving = Serving::start(&[
        "--demo",
        "--max-sessions-per-address",
        "1",
        "--trusted-proxy",
        "127.0.0.0/8",
        "--allow-anonymous-shells-from-anywhere",
        "--workers",
        "2",
    ]);
    let from = |address: &str| {
        let mut raw = Raw::to(serving.address);
        raw.send(upgrade_v1().replace("\r\n\r\n", &format!("\r\nX-Forwarded-For: {address}\r\n\r\n")));
        let head = raw.http_head();
        (raw, head)
    };
    let (mut held, head) = from("10.0.0.1");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (mut refused, head) = from("10.0.0.1");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(String::from_utf8(refused.rest()).unwrap().contains("Your address has as many sessions"));
    let (_other, head) = from("10.0.0.2");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    held.send(frame(BINARY, &hello_message(hello(&["cat"]))));
    assert_eq!(held.frame().1[..2], [8, 4], "OPENED");
    held.reset();
    eventually("room for its next one", || from("10.0.0.1").1.starts_with("HTTP/1.1 101 "));
}

#[test]
fn when_descriptors_end_those_who_wait_are_told_and_the_others_go_on() {
    let engine = Fake::unix(usual);
    // In the shell, since what this process may have must not change.
    let mut command = std::process::Command::new("sh");
    let entry = program(&[]);
    let start = format!("ulimit -n 160; exec {} \"$@\"", entry.get_program().to_str().unwrap());
    command.args(["-c", &start, "sh", "serve", "--listen", "127.0.0.1:0", "--workers", "1"]);
    command.args(["--engine", &engine.url, "--allow-container", "*"]);
    command.env_remove("DOCKER_HOST").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let serving = Serving::of(command);
    // The fake engine's process gives back what is typed.
    let says = |client: &mut Client, text: &str| {
        client.type_in(text);
        client.until(text);
    };
    let mut client = echoing(&serving);
    let mut silent: Vec<Raw> = (0..200).map(|_| Raw::to(serving.address)).collect();
    let mut told = String::new();
    let mut last = silent.pop().unwrap();
    last.stream.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("no descriptors left"), "{told}");
    says(&mut client, "still here\n");
    let ticks = serving.ticks();
    eventually("the log's word", || serving.log().contains("were sent away"));
    drop(silent);
    eventually("room for one more", || {
        let mut raw = Raw::to(serving.address);
        raw.send(upgrade_v1());
        let mut head = [0; 12];
        raw.stream.read_exact(&mut head).is_ok() && head == *b"HTTP/1.1 101"
    });
    says(&mut client, "to the end\n");
    assert!(serving.ticks() - ticks < 300, "it does not spin");
}

#[test]
fn one_user_has_so_many_sessions_and_another_has_his_own() {
    let directory = Directory::new();
    let file = directory.file("tokens.toml");
    let token = |user: &str| {
        let mut new =
            program(&["token", "new", "--user", user, "--enter", "*/*", "--exec", "*/*", "--append", &file]);
        let made = new.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    };
    let (ann, bob) = (token("ann"), token("bob"));
    let access = format!("tokens={file}");
    let serving = Serving::start(&["--demo", "--access", &access, "--max-sessions-per-user", "1"]);
    let enter = |token: &str| {
        let target = Hello {
            app: "demo".to_owned(),
            proc: "shell".to_owned(),
            container: String::new(),
            ..hello(&["cat"])
        };
        Client::enter(serving.address, Hello { access_token: token.to_owned(), ..target })
    };
    let mut first = enter(&ann).opened();
    let refused = enter(&ann).end();
    assert_eq!((refused.code, refused.exit_status), (1013, 125), "{refused:?}");
    assert!(refused.text.contains("as many sessions here as you may (1); try again later"), "{refused:?}");
    let _other = enter(&bob).opened();
    echoes(&mut first, "still here\n");
}

#[test]
fn all_that_is_held_is_bounded_and_nobody_stands_still() {
    const SILENT: usize = 40;
    let engine = DemoEngine::start(DemoOptions::default()).unwrap();
    let limits = WantedLimits { sessions: Some(100), buffer_mib: Some(1), ..WantedLimits::default() };
    let gateway = Gateway::limited(&engine.url(), limits);
    let mut typing = Client::enter(gateway.address, hello(&["cat"])).opened();
    // Much output for those who do not read it, and much input for those who do not read that.
    let silent: Vec<Client> = (0..SILENT)
        .map(|number| {
            let command: &[&str] = if number % 2 == 0 { &["cat", "/dev/zero"] } else { &["sleep", "1000"] };
            let client = Client::enter(gateway.address, hello(command)).opened();
            client.socket.get_ref().set_nonblocking(true).unwrap();
            let piece = frame(BINARY, &plain(&[b'x'; 16 * 1024]));
            // Until nobody takes more of it.
            while number % 2 == 1 && std::io::Write::write_all(&mut client.socket.get_ref(), &piece).is_ok() {
            }
            client
        })
        .collect();
    let held = at_rest("what is held", || gateway.held_bytes());
    // Each of them would hold 64 KiB if there were no cap.
    assert!((256 * 1024..=1024 * 1024).contains(&held), "{held} bytes for {SILENT}");
    for round in 0..50 {
        echoes(&mut typing, &format!("round {round}\n"));
    }
    drop(silent);
    eventually("nothing to be held", || gateway.held_bytes() == 0);
    echoes(&mut typing, "to the end\n");
}

#[test]
fn limits_that_cannot_be_are_refused_at_start() {
    let output =
        program(&["serve", "--demo", "--listen", "127.0.0.1:0", "--buffer-memory", "1"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(told.contains("--buffer-memory 1 is too little"), "{told}");
}
