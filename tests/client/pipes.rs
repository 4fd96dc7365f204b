//! Without a terminal: statuses, streams, flow, signals.

use crate::harness::{Ended, Running, Server, Speaks, Visit, await_some, entry, run};
use entry::wire::message::{RequestType, ResponseMessage, ResponseType};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use tungstenite::Message;

const EXITED: i32 = 1;
const COULD_NOT_START: i32 = 2;

fn ended(status: i32, stdout: &str, stderr: &str) -> Ended {
    Ended { status, stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

#[test]
fn the_status_is_that_of_the_process_and_nothing_is_said() {
    for status in [0, 7, 137, 255] {
        let server = Server::start(Speaks::V1, move |mut visit| {
            visit.hello();
            visit.open();
            visit.close(EXITED, status, "\x1b[32m>>> You quit the container safely.\x1b[0m");
        });
        let got = run(entry(&server.url, &["enter", "a", "p", "--", "true"]));
        assert_eq!(got, ended(status.cast_signed(), "", ""));
        server.finish();
    }
}

#[test]
fn other_ends_are_told_without_colours() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.close(COULD_NOT_START, 127, "\x1b[31m>>> No.\x1b[0m The command was not found.");
    });
    let got = run(entry(&server.url, &["enter", "a", "p", "--", "nope"]));
    assert_eq!(got, ended(127, "", ">>> No. The command was not found.\n"));
    server.finish();
}

#[test]
fn all_that_is_asked_for_stands_in_the_hello() {
    let server = Server::start(Speaks::V1, |mut visit| {
        let hello = visit.hello();
        visit.close(EXITED, 0, "");
        (visit, hello)
    });
    let words =
        ["enter", "-u", "root:0", "-w", "/tmp", "-e", "A=1", "-eOWN", "hello", "web", "2", "--", "ls", "-l"];
    let mut command = entry(&server.url, &words);
    command.env("ENTRY_TOKEN", "s3cret").env("OWN", "own");
    assert_eq!(run(command), ended(0, "", ""));
    let (visit, hello) = server.finish();
    assert_eq!(visit.request[0], "/enter");
    assert_eq!(visit.header("sec-websocket-protocol"), Some("entry.v1"));
    assert_eq!(visit.header("access-token"), None, "the old server could do none of this");
    assert_eq!((hello.app.as_str(), hello.proc.as_str(), hello.instance.as_str()), ("hello", "web", "2"));
    assert_eq!((hello.user.as_str(), hello.workdir.as_str()), ("root:0", "/tmp"));
    assert_eq!(hello.environment, ["A=1", "OWN=own"]);
    assert_eq!(hello.command, ["ls", "-l"]);
    assert_eq!((hello.access_token.as_str(), hello.term.as_str()), ("s3cret", "vt100"));
    assert_eq!((hello.tty, hello.stdin, hello.columns, hello.rows), (false, true, 0, 0));
    assert_eq!((hello.container.as_str(), hello.tail), ("", None));
}

#[test]
fn stdout_and_stderr_stay_apart_and_the_unknown_is_ignored() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        visit.say(ResponseType::Stdout, "out 1\n");
        visit.say(ResponseType::Stderr, "err 1\n");
        visit.send(&ResponseMessage { msg_type: 99, content: b"future".to_vec(), ..Default::default() });
        visit.say(ResponseType::Ping, "ping");
        visit.socket.send(Message::Ping("?".into())).unwrap();
        visit.say(ResponseType::Stdout, "out 2\n");
        visit.say(ResponseType::Stderr, "err 2\n");
        visit.send(&ResponseMessage {
            msg_type: ResponseType::Close.into(),
            close: Some(entry::wire::message::Close {
                outcome: EXITED,
                exit_status: 3,
                ..Default::default()
            }),
            ..Default::default()
        });
        visit.socket.close(None).unwrap();
        let mut ponged = false;
        while let Ok(message) = visit.socket.read() {
            ponged |= matches!(message, Message::Pong(_));
        }
        ponged
    });
    let got = run(entry(&server.url, &["enter", "a", "p", "--", "x"]));
    assert_eq!(got, ended(3, "out 1\nout 2\n", "err 1\nerr 2\n"));
    assert!(server.finish(), "a WebSocket ping wants its pong");
}

/// Megabytes that are nowhere the same and not UTF-8.
fn megabytes(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut bytes = vec![0; count << 20];
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Everything until the end of stdin.
fn read_stdin(visit: &mut Visit) -> Vec<u8> {
    let mut got = Vec::new();
    loop {
        let message = visit.next().expect("stdin has not ended yet");
        match message.msg_type() {
            RequestType::Plain => got.extend(message.content),
            RequestType::StdinEnd => return got,
            RequestType::Winch | RequestType::Hello | RequestType::Marked | RequestType::Echo => {
                panic!("{message:?}")
            }
        }
    }
}

/// Less than a tenth of what goes through.
const PEAK_KIB: u64 = 20 * 1024;

#[test]
fn piped_stdin_arrives_whole_in_bounded_memory() {
    let (all_read, server_has_all) = channel();
    let (measured, may_close) = channel();
    let server = Server::start(Speaks::V1, move |mut visit| {
        visit.hello();
        visit.open();
        // Whoever does not wait for a slow reader takes it all into memory now.
        thread::sleep(Duration::from_millis(300));
        let got = read_stdin(&mut visit);
        all_read.send(()).unwrap();
        may_close.recv().unwrap();
        visit.close(EXITED, 0, "");
        got
    });
    let mut command = entry(&server.url, &["enter", "a", "p", "--", "cat"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.child().stdin.take().unwrap();
    let writer = thread::spawn(move || {
        let bytes = megabytes(64);
        stdin.write_all(&bytes).unwrap();
        bytes
    });
    server_has_all.recv().unwrap();
    let peak_kib = running.peak_memory_kib();
    measured.send(()).unwrap();
    assert_eq!(running.finish(), ended(0, "", ""));
    assert!(writer.join().unwrap() == server.finish(), "what came is not what was piped in");
    assert!(peak_kib < PEAK_KIB, "{peak_kib} KiB");
}

#[test]
fn output_waits_for_a_slow_reader_in_bounded_memory_and_before_the_status() {
    let server = Server::start(Speaks::V1, move |mut visit| {
        visit.hello();
        visit.open();
        let bytes = megabytes(64);
        for piece in bytes.chunks(100_000) {
            visit.say(ResponseType::Stdout, piece);
        }
        visit.close(EXITED, 7, "");
        bytes
    });
    let mut running = Running::start(entry(&server.url, &["enter", "a", "p", "--", "x"]));
    thread::sleep(Duration::from_millis(300)); // the reader takes its time
    let mut stdout = running.child().stdout.take().unwrap();
    let mut got = vec![0; 64 << 20];
    stdout.read_exact(&mut got[..63 << 20]).unwrap();
    let peak_kib = running.peak_memory_kib();
    stdout.read_exact(&mut got[63 << 20..]).unwrap();
    assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
    assert_eq!(running.finish(), ended(7, "", ""));
    assert!(got == server.finish(), "what came is not what was sent");
    assert!(peak_kib < PEAK_KIB, "{peak_kib} KiB");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        // A flood until the client is gone.
        while visit.socket.can_write() {
            let flood = ResponseMessage { content: vec![b'y'; 10_000], ..Default::default() };
            let bytes = prost::Message::encode_to_vec(&flood);
            if visit.socket.send(Message::Binary(bytes.into())).is_err() {
                break;
            }
        }
    });
    let mut running = Running::start(entry(&server.url, &["enter", "a", "p", "--", "yes"]));
    let mut stdout = running.child().stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100]).unwrap();
    drop(stdout);
    assert_eq!(running.finish(), ended(141, "", ""));
    server.finish();
}

#[test]
fn a_refused_session_eats_no_stdin() {
    let path = std::env::temp_dir().join(format!("entry-client-test-{}", std::process::id()));
    fs::write(&path, "for the next command").unwrap();
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.close(3, 125, "Container is not found.");
    });
    let mut file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let mut command = entry(&server.url, &["enter", "a", "p"]);
    command.stdin(file.try_clone().unwrap());
    assert_eq!(run(command), ended(125, "", "Container is not found.\n"));
    assert_eq!(file.stream_position().unwrap(), 0);
    server.finish();
}

#[test]
fn a_regular_file_as_stdin_ends() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        let got = read_stdin(&mut visit);
        visit.close(EXITED, 0, "");
        got
    });
    let this_file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client/pipes.rs");
    let mut command = entry(&server.url, &["enter", "a", "p"]);
    command.stdin(File::open(this_file).unwrap());
    assert_eq!(run(command), ended(0, "", ""));
    assert!(server.finish() == fs::read(this_file).unwrap());
}

#[test]
fn signals_end_it_with_a_goodbye() {
    for (signal, status) in [(2, 130), (15, 143), (1, 129), (3, 131)] {
        let server = Server::start(Speaks::V1, |mut visit| {
            visit.hello();
            visit.open();
            visit.say(ResponseType::Stdout, "here");
            visit.await_goodbye();
        });
        let mut command = entry(&server.url, &["enter", "a", "p", "--", "sleep"]);
        command.stdin(Stdio::piped());
        let mut running = Running::start(command);
        let mut stdout = running.child().stdout.take().unwrap();
        stdout.read_exact(&mut [0; 4]).unwrap();
        running.signal(signal);
        assert_eq!(running.finish(), ended(status, "", ""));
        server.finish();
    }
}

#[test]
fn a_signal_does_not_wait_for_a_reader_who_does_not_read() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        visit.say(ResponseType::Stdout, vec![b'x'; 1 << 20]); // more than a pipe holds
        visit.await_goodbye();
    });
    let mut running = Running::start(entry(&server.url, &["attach", "a", "p"]));
    let mut stdout = running.child().stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1]).unwrap();
    running.signal(15);
    let status = await_some("its end", || running.child().try_wait().unwrap());
    assert_eq!(status.code(), Some(143));
    server.finish();
}

#[test]
fn a_goodbye_that_is_not_answered_is_not_waited_for() {
    let (over, client_is_gone) = channel::<()>();
    let server = Server::start(Speaks::V1, move |mut visit| {
        visit.hello();
        visit.open();
        visit.say(ResponseType::Stdout, "here");
        let _ = client_is_gone.recv(); // hears nothing meanwhile
    });
    let mut running = Running::start(entry(&server.url, &["attach", "a", "p"]));
    running.child().stdout.take().unwrap().read_exact(&mut [0; 4]).unwrap();
    running.signal(15);
    assert_eq!(running.finish(), ended(143, "", ""));
    drop(over);
    server.finish();
}

#[test]
fn attach_reads_no_stdin_and_asks_for_its_tail() {
    let server = Server::start(Speaks::V1, |mut visit| {
        let hello = visit.hello();
        visit.open();
        visit.say(ResponseType::Stdout, "out\n");
        visit.say(ResponseType::Stderr, "err\n");
        visit.await_goodbye();
        (visit, hello)
    });
    let mut command = entry(&server.url, &["attach", "--container", "c", "--tail", "7"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    running.child().stdin.take().unwrap().write_all(b"typed").unwrap();
    running.child().stdout.take().unwrap().read_exact(&mut [0; 4]).unwrap();
    running.child().stderr.take().unwrap().read_exact(&mut [0; 4]).unwrap();
    running.signal(2);
    assert_eq!(running.finish(), ended(130, "", ""));
    let (visit, hello) = server.finish();
    assert_eq!(visit.request[0], "/attach");
    assert_eq!((hello.container.as_str(), hello.tail, hello.stdin), ("c", Some(7), false));
}
