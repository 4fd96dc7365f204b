//! What goes wrong before and on the way: always a word on stderr, never status 0.

use crate::harness::{Ended, Running, Server, Speaks, accept, entry, listen, run};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entry::client::{self, Gateway, Options, Target};
use entry::outcome::Action;
use entry::wire::message::{Close, ResponseMessage, ResponseType};
use prost::Message as _;
use sha1::{Digest as _, Sha1};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Message, WebSocket};

fn assert_failed(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.status, 125, "{ended:?}");
    assert!(ended.stderr.starts_with("entry: "), "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "no '{word}' in {ended:?}");
    }
}

#[test]
fn arguments_and_tokens() {
    let (_listener, url) = listen();
    assert_failed(&run(entry(&url, &["enter", "a"])), &["which container?", "entry enter --help"]);
    let words = ["enter", "a", "p", "--ca", "ca.pem"];
    assert_failed(&run(entry(&url, &words)), &["--ca is for wss://", &url]);
    let words = ["enter", "a", "p", "--token-file", "/nonexistent/token"];
    assert_failed(&run(entry(&url, &words)), &["/nonexistent/token", "cannot be read"]);
    assert_failed(&run(entry(&url, &["enter", "-t", "a", "p"])), &["-t needs a terminal"]);
    let help = run(entry(&url, &["enter", "--help"]));
    assert!(help.status == 0 && help.stdout.contains("Usage: entry enter"), "{help:?}");
    let version = run(entry(&url, &["--version"]));
    assert_eq!(
        (version.status, version.stdout.trim_end()),
        (0, concat!("entry ", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn nobody_listens() {
    let (listener, url) = listen();
    drop(listener);
    assert_failed(&run(entry(&url, &["enter", "a", "p"])), &[&url, "cannot connect"]);
    let nowhere = "ws://gateway.invalid:1";
    assert_failed(&run(entry(nowhere, &["enter", "a", "p"])), &["address is not found"]);
}

/// A server that answers the head of the request with `answer` of it, and hangs up.
fn answers(answer: impl FnOnce(&str, &mut TcpStream) + Send + 'static) -> (String, thread::JoinHandle<()>) {
    let (listener, url) = listen();
    let thread = thread::spawn(move || {
        let mut stream = accept(&listener);
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        answer(&String::from_utf8(request).unwrap(), &mut stream);
    });
    (url, thread)
}

#[test]
fn answers_that_are_no_upgrade_are_shown() {
    let table: [(&str, &[&str]); 5] = [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 18\r\n\r\nno \x1b[31msuch thing, not shown",
            &["404 Not Found\n  no such thing\n"],
        ),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\nfull\n\ntry again\n", &["503", "\n  full\n  try again\n"]),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", &["not that of a WebSocket server"]),
        ("SSH-2.0-OpenSSH_9.6\r\n", &["not HTTP"]),
        ("", &["ended before an answer"]),
    ];
    for (answer, words) in table {
        let (url, thread) = answers(|_, stream| stream.write_all(answer.as_bytes()).unwrap());
        assert_failed(&run(entry(&url, &["enter", "a", "p"])), words);
        thread.join().unwrap();
    }
}

#[test]
fn frames_right_behind_the_head_are_seen() {
    let (url, thread) = answers(|request, stream| {
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let mut hash = Sha1::new();
        hash.update(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-protocol: entry.v1\r\nsec-websocket-accept: {}\r\n\r\n",
            STANDARD.encode(hash.finalize())
        )
        .into_bytes();
        let close = ResponseMessage {
            msg_type: ResponseType::Close.into(),
            close: Some(Close { outcome: 1, exit_status: 9, ..Default::default() }),
            ..Default::default()
        };
        let mut frames = WebSocket::from_raw_socket(std::io::Cursor::new(Vec::new()), Role::Server, None);
        frames.send(Message::Binary(close.encode_to_vec().into())).unwrap();
        answer.extend(frames.into_inner().into_inner());
        stream.write_all(&answer).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let got = run(entry(&url, &["enter", "a", "p"]));
    assert_eq!(got, Ended { status: 9, stdout: String::new(), stderr: String::new() });
    thread.join().unwrap();
}

#[test]
fn a_link_lost_midway() {
    for reset in [false, true] {
        let server = Server::start(Speaks::V1, move |mut visit| {
            visit.hello();
            visit.open();
            visit.say(ResponseType::Stdout, "half");
            if !reset {
                // Read what has been sent, else the kernel resets the connection.
                assert_eq!(visit.next().unwrap().msg_type, 3);
            }
        });
        let got = run(entry(&server.url, &["enter", "a", "p", "--", "x"]));
        assert_failed(&got, &["link to the gateway was lost", "not known"]);
        assert_eq!(got.stdout, "half");
        server.finish();
    }
}

#[test]
fn a_goodbye_without_a_close_message() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        let frame = CloseFrame { code: CloseCode::Restart, reason: "going down".into() };
        visit.socket.close(Some(frame)).unwrap();
        while visit.socket.read().is_ok() {}
    });
    let got = run(entry(&server.url, &["enter", "a", "p", "--", "x"]));
    assert_failed(&got, &["without a word", "1012", "going down"]);
    server.finish();
}

#[test]
fn what_is_not_a_message() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.socket.send(Message::Binary(vec![0xff; 20].into())).unwrap();
        visit.end();
    });
    let got = run(entry(&server.url, &["enter", "a", "p", "--", "x"]));
    assert_failed(&got, &["not a message of this protocol"]);
    server.finish();
}

#[test]
fn a_close_behind_which_stdin_still_flows_is_heard() {
    // The server closes its socket with input unread, so writing fails before reading comes to the end.
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        visit.next();
        // Its pong cannot be written any more either.
        visit.socket.send(Message::Ping("?".into())).unwrap();
        visit.send(&ResponseMessage {
            msg_type: ResponseType::Close.into(),
            close: Some(Close { outcome: 1, exit_status: 4, ..Default::default() }),
            ..Default::default()
        });
    });
    let mut command = entry(&server.url, &["enter", "a", "p", "--", "head", "-1"]);
    command.stdin(std::process::Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.child().stdin.take().unwrap();
    let writer = thread::spawn(move || while stdin.write_all(&[b'x'; 10_000]).is_ok() {});
    assert_eq!(running.finish().status, 4);
    writer.join().unwrap();
    server.finish();
}

fn attaching(url: &str) -> Options {
    Options::new(Gateway::parse(url).unwrap(), Action::Attach, Target::Container("c".into()))
}

#[test]
fn silence_is_a_lost_link_and_pings_break_it() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        for _ in 0..15 {
            visit.say(ResponseType::Ping, "ping");
            thread::sleep(Duration::from_millis(100));
        }
        // From now on nothing is said.
        visit.socket.get_mut().read_to_end(&mut Vec::new()).unwrap();
    });
    let mut options = attaching(&server.url);
    options.timeouts.silence = Duration::from_secs(1);
    let began = Instant::now();
    assert_eq!(client::run(options), 125);
    assert!(began.elapsed() > Duration::from_millis(2400), "{:?}", began.elapsed());
    server.finish();
}

#[test]
fn a_server_that_does_not_answer_the_upgrade() {
    let (listener, url) = listen();
    let mut options = attaching(&url);
    options.timeouts.handshake = Duration::from_millis(200);
    assert_eq!(client::run(options), 125);
    drop(listener);
}
