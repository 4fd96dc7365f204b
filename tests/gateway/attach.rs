//! Viewers: a slow one must not stall the container's output; he loses lines, and is told how many.

use crate::client::{Client, hello};
use crate::fake::{self, Connection, Fake, Then};
use crate::support::{Gateway, eventually};
use entry::wire::message::Hello;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const LINES: usize = 2_000_000;

/// An engine whose container has a terminal and says numbered lines as fast as they are taken; how many were.
fn chatty() -> (Fake, Arc<AtomicUsize>) {
    let said = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&said);
    let engine = Fake::unix(move |asked, connection| {
        if asked.what != "GET logs" {
            return Then::Usual;
        }
        connection.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for start in (0..LINES).step_by(1000) {
            say_lines(connection, start..start + 1000);
            count.store(start + 1000, Ordering::SeqCst);
        }
        connection.say("0\r\n\r\n");
        Then::Close
    });
    (engine, said)
}

fn say_lines(connection: &mut Connection, lines: std::ops::Range<usize>) {
    let text: String = lines.map(|line| format!("line {line:08}\r\n")).collect();
    connection.say(format!("{:x}\r\n{text}\r\n", text.len()));
}

#[test]
fn a_slow_viewer_is_told_how_many_lines_he_lost() {
    let (engine, said) = chatty();
    let gateway = Gateway::before(&engine.url);
    let client = Client::attach(gateway.address, hello(&[])).opened();
    // He reads nothing, and the container says all it has to say: more than any socket holds.
    eventually("the container's last line", || said.load(Ordering::SeqCst) == LINES);
    let end = client.end();
    let seen = end.out.matches("\r\n").count();
    let lost: usize = end
        .err
        .split("\x1b[31m>>> ")
        .skip(1)
        .map(|told| told.split(" lines were skipped").next().unwrap().parse::<usize>().unwrap())
        .sum();
    assert!(lost > 0 && seen > 0, "{seen} seen, {lost} lost");
    assert_eq!(seen + lost, LINES, "{seen} seen, {lost} lost");
    for line in end.out.split_inclusive("\r\n") {
        let whole = line.len() == "line 00000000\r\n".len() && line.starts_with("line ");
        assert!(whole || end.out.starts_with(line) || !line.ends_with("\r\n") || line.len() > 15, "{line:?}");
    }
}

#[test]
fn a_viewer_who_keeps_up_loses_nothing() {
    let engine = Fake::unix(|asked, connection| {
        if asked.what != "GET logs" {
            return Then::Usual;
        }
        connection.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        (0..10_000).step_by(100).for_each(|start| say_lines(connection, start..start + 100));
        Then::Close
    });
    let gateway = Gateway::before(&engine.url);
    let mut client = Client::attach(gateway.address, hello(&[])).opened();
    for line in 0..10_000 {
        assert_eq!(client.until("\r\n"), format!("line {line:08}\r\n"));
    }
}

#[test]
fn a_stopped_container_is_not_attached_and_typing_does_nothing() {
    let stopped = Arc::new(AtomicBool::new(true));
    let is_stopped = Arc::clone(&stopped);
    let engine = Fake::unix(move |asked, connection| match asked.what {
        "GET container" => {
            let running = if is_stopped.load(Ordering::SeqCst) { "false" } else { "true" };
            connection.answer(200, "", &fake::container(running, "true"));
            Then::Answered
        }
        "GET logs" => {
            // No length and no chunks: it ends with the connection.
            connection.say("HTTP/1.1 200 OK\r\n\r\nhello\r\n");
            Then::Stream
        }
        _ => Then::Usual,
    });
    let gateway = Gateway::before(&engine.url);
    let end = Client::attach(gateway.address, hello(&[])).end();
    assert_eq!((end.outcome, end.code), (4, 4409), "{end:?}");
    assert!(end.text.starts_with("\x1b[31m>>> Can't attach your container, try again."), "{end:?}");

    stopped.store(false, Ordering::SeqCst);
    let mut client = Client::attach(gateway.address, Hello { tail: Some(0), ..hello(&[]) }).opened();
    client.until("hello\r\n");
    client.type_in("not for the container");
    client.end_stdin();
    client.socket.close(None).unwrap();
    engine.await_left(1);
    assert_eq!(engine.typed(), "");
    assert!(engine.asked("POST reaper").is_empty(), "nothing was run");
}

#[test]
fn a_log_that_cannot_be_read_is_followed_by_attaching() {
    let engine = Fake::unix(|asked, connection| match asked.what {
        "GET logs" => {
            let words = "{\"message\":\"configured logging driver does not support reading\"}\n";
            connection.answer(501, "Connection: close\r\n", words);
            Then::Close
        }
        "POST attach" => {
            connection.say("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfrom now on");
            Then::Close
        }
        _ => Then::Usual,
    });
    let gateway = Gateway::before(&engine.url);
    let mut client = Client::attach(gateway.address, hello(&[])).opened();
    client.until("from now on");
}
