//! Limits: who is over one is told so at once and may come again, and nobody else notices.

use crate::client::{Client, hello};
use crate::raw::{BINARY, Raw, frame, hello_message, plain, upgrade_v1};
use crate::support::{Serving, eventually, program};
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
    // In the shell, since what this process may have must not change.
    let mut command = std::process::Command::new("sh");
    let entry = program(&[]);
    let start = format!("ulimit -n 160; exec {} \"$@\"", entry.get_program().to_str().unwrap());
    command.args(["-c", &start, "sh", "serve", "--listen", "127.0.0.1:0", "--demo", "--workers", "1"]);
    command.env_remove("DOCKER_HOST").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let serving = Serving::of(command);
    let mut client = echoing(&serving);
    let mut silent: Vec<Raw> = (0..200).map(|_| Raw::to(serving.address)).collect();
    let mut told = String::new();
    let mut last = silent.pop().unwrap();
    last.stream.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("no descriptors left"), "{told}");
    echoes(&mut client, "still here\n");
    let ticks = serving.ticks();
    eventually("the log's word", || serving.log().contains("were sent away"));
    drop(silent);
    eventually("room for one more", || {
        let mut raw = Raw::to(serving.address);
        raw.send(upgrade_v1());
        let mut head = [0; 12];
        raw.stream.read_exact(&mut head).is_ok() && head == *b"HTTP/1.1 101"
    });
    echoes(&mut client, "to the end\n");
    assert!(serving.ticks() - ticks < 300, "it does not spin");
}

#[test]
fn all_that_is_held_is_bounded_and_nobody_stands_still() {
    const SILENT: usize = 40;
    let serving =
        Serving::start(&["--demo", "--workers", "1", "--max-sessions", "100", "--buffer-memory", "1"]);
    let mut typing = echoing(&serving);
    let before = serving.status("VmRSS");
    // Much output for those who do not read it, and much input for those who do not read that.
    let silent: Vec<Client> = (0..SILENT)
        .map(|number| {
            let command: &[&str] = if number % 2 == 0 { &["cat", "/dev/zero"] } else { &["sleep", "1000"] };
            let client = Client::enter(serving.address, hello(command)).opened();
            client.socket.get_ref().set_nonblocking(true).unwrap();
            let piece = frame(BINARY, &plain(&[b'x'; 16 * 1024]));
            // Until nobody takes more of it.
            while number % 2 == 1 && std::io::Write::write_all(&mut client.socket.get_ref(), &piece).is_ok() {
            }
            client
        })
        .collect();
    for round in 0..50 {
        echoes(&mut typing, &format!("round {round}\n"));
    }
    // A mebibyte by its own count; the rest is what the allocator and the engine in the same process need.
    let grown = serving.status("VmHWM") - before;
    assert!(grown < 1024 + 4096, "{grown} KiB for {SILENT}");
    drop(silent);
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
