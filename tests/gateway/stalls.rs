//! What waits must wait without burning processor time, and must be noticed when it goes.

use crate::client::{Client, hello, hello_tty};
use crate::fake::{Fake, PROMPT, Then, UPGRADED};
use crate::raw::{BINARY, Raw, frame, hello_message, plain, shrink_backlog};
use crate::support::{Directory, Serving, at_rest, eventually};
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

fn serving(engine: &str) -> Serving {
    Serving::start(&["--engine", engine, "--allow-container", "*", "--workers", "1"])
}

/// Processor time is at most a tenth of the time that passes.
fn assert_rests(serving: &Serving, what: &str) {
    let (ticks, began) = (serving.ticks(), Instant::now());
    thread::sleep(Duration::from_millis(700));
    let (spent, passed) = (serving.ticks() - ticks, began.elapsed());
    assert!(u128::from(spent) * 100 < passed.as_millis(), "{what}: {spent} ticks in {passed:?}");
}

/// Writes until the socket takes no more.
fn stuff(raw: &mut Raw) {
    let message = frame(BINARY, &plain(&[b'x'; 16 * 1024]));
    raw.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while raw.stream.write_all(&message).is_ok() {}
}

#[test]
fn sessions_that_wait_for_whatever_burn_no_time() {
    let engine = Fake::unix(|asked, connection| match asked.what {
        "POST create" if asked.body.contains("never created") => Then::Hold,
        "POST create" if asked.body.contains("never read") => {
            connection.answer(201, "", "{\"Id\":\"dead\"}");
            Then::Answered
        }
        "POST start" if asked.target.contains("dead") => {
            connection.say(UPGRADED);
            Then::Hold
        }
        "POST resize" => Then::Hold,
        _ => Then::Usual,
    });
    let serving = serving(&engine.url);
    let mut idle = Client::enter(serving.address, hello_tty(&["cat"])).opened();
    idle.until(PROMPT);
    idle.resize(9, 9);
    let mut in_head = Raw::to(serving.address);
    in_head.send("GET /enter HTTP/1.1\r\n");
    let _greeting = Raw::upgraded(serving.address);
    let mut opening = Raw::upgraded(serving.address);
    opening.send(frame(BINARY, &hello_message(hello(&["never created"]))));
    stuff(&mut opening);
    let mut stuck = Raw::open(serving.address, hello(&["never read"]));
    stuff(&mut stuck);
    let mut half_closed = Raw::open(serving.address, hello(&["never read"]));
    stuff(&mut half_closed);
    half_closed.end_writing();
    // An echo whose client does not read it.
    let mut unread = Raw::open(serving.address, hello_tty(&["cat"]));
    stuff(&mut unread);
    at_rest("everything", || serving.bytes_read());
    assert_rests(&serving, "sessions that wait");
}

#[test]
fn a_client_that_goes_while_its_process_reads_nothing_is_noticed() {
    let engine = Fake::unix(|asked, connection| match asked.what {
        "POST start" => {
            connection.say(UPGRADED);
            Then::Hold
        }
        _ => Then::Usual,
    });
    let serving = serving(&engine.url);
    let began = Instant::now();
    let mut raw = Raw::open(serving.address, hello(&["never read"]));
    stuff(&mut raw);
    raw.reset();
    engine.await_asked("POST reaper", 1);
    // Before its first PING is due, which would show it, too.
    let first_ping = Duration::from_millis(entry::config::PING_INTERVAL_MILLISECONDS / 2);
    assert!(began.elapsed() < first_ping, "{:?}", began.elapsed());
}

#[test]
fn many_that_wait_for_an_engine_s_queue_burn_no_time() {
    let directory = Directory::new();
    let path = directory.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    shrink_backlog(&listener, 0);
    let _first = UnixStream::connect(&path).unwrap();
    let serving = serving(&format!("unix://{}", path.display()));
    let waiting: Vec<Client> = (0..400).map(|_| Client::enter(serving.address, hello(&["cat"]))).collect();
    at_rest("the sessions to wait", || serving.bytes_read());
    assert_rests(&serving, "400 sessions that wait for room");
    drop(waiting);
    drop(listener);
    eventually("sessions to be gone", || serving.descriptors() < 50);
}

#[test]
fn a_reader_of_the_log_that_stands_still_stops_no_session() {
    let serving = Serving::start(&["--engine", "unix:///nonexistent.sock", "--workers", "1"]);
    let held = serving.hold_log();
    // Each is refused at once, which is a line: more than a pipe and the gateway keep for a reader.
    for _ in 0..2_000 {
        assert_eq!(Client::enter(serving.address, hello(&[])).end().code, 1008);
    }
    drop(held);
    eventually("the word on what was left out", || {
        Client::enter(serving.address, hello(&[])).end();
        serving.log().contains("lines were left out")
    });
}
