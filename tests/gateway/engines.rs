//! Engines as they are on bad days: heads in pieces, odd chunks, wrong words, no words, gone.

use crate::client::{Client, hello, hello_tty};
use crate::fake::{self, Asked, BYE, Connection, EXITED_7, Fake, PROMPT, Then, UPGRADED, exec_id, usual};
use crate::raw::shrink_backlog;
use crate::support::{Directory, Gateway, await_some, eventually};
use entry::wire::message::Hello;
use std::io::Read as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Enters by app and proc, so that every question is asked: ping, list, create, start.
fn enter_app(gateway: &Gateway) -> Client {
    let hello =
        Hello { container: String::new(), app: "demo".into(), proc: "shell".into(), ..hello_tty(&["cat"]) };
    Client::enter(gateway.address, hello)
}

/// The session works, and its end is told.
fn works(client: Client) {
    let mut client = client.opened();
    client.until(PROMPT);
    client.type_in("hi");
    client.until("hi");
    client.type_in(BYE);
    let end = client.end();
    assert_eq!((end.outcome, end.exit_status, end.code), (1, 7, 1000), "{end:?}");
}

#[test]
fn heads_come_in_pieces_and_streams_close_behind_them() {
    let whole: fn(&str) -> Vec<Vec<u8>> = |head| vec![[head.as_bytes(), b"early "].concat()];
    let bytes: fn(&str) -> Vec<Vec<u8>> = |head| head.bytes().map(|byte| vec![byte]).collect();
    let raw_200 = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
    let continued = format!("HTTP/1.1 100 Continue\r\n\r\n{UPGRADED}");
    for head in [UPGRADED, raw_200, &continued] {
        for pieces in [whole(head), bytes(head)] {
            let engine = Fake::tcp(move |asked, connection| {
                if asked.what != "POST start" {
                    return Then::Usual;
                }
                pieces.iter().for_each(|piece| connection.say(piece));
                Then::Stream
            });
            works(enter_app(&Gateway::before(&engine.url)));
        }
    }
}

/// What an engine would answer, but as these bytes are made into pieces.
fn reframed(asked: &Asked, connection: &mut Connection, reframe: impl Fn(&str) -> Vec<Vec<u8>>) -> Then {
    let body = match asked.what {
        "GET ping" => "OK".to_owned(),
        "GET list" => fake::list(),
        "POST create" => format!("{{\"Id\":\"{}\"}}\n", exec_id(1)),
        "GET exec" => EXITED_7.to_owned(),
        _ => return Then::Usual,
    };
    reframe(&body).iter().for_each(|piece| connection.say(piece));
    Then::Answered
}

#[test]
fn replies_come_in_odd_chunks_and_pieces() {
    let engine = Fake::unix(|asked, connection| {
        reframed(asked, connection, |body| {
            let mut wire =
                b"HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            let mut rest = body.as_bytes();
            for size in (1..=7).cycle() {
                let (chunk, behind) = rest.split_at(rest.len().min(size));
                wire.extend(format!("{:x};odd=yes\r\n", chunk.len()).bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
                rest = behind;
                if chunk.is_empty() {
                    break;
                }
            }
            wire.chunks(3).map(<[u8]>::to_vec).collect()
        })
    });
    let gateway = Gateway::before(&engine.url);
    works(enter_app(&gateway));
    works(enter_app(&gateway));
}

#[test]
fn an_engine_may_close_after_every_reply() {
    // Once it says so, once it does so, as HTTP/1.0 did.
    for head in [
        "HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nConnection: close\r\nContent-Length: ",
        "HTTP/1.0 200 OK\r\nApi-Version: 1.51\r\nX-Length: ",
    ] {
        let engine = Fake::unix(move |asked, connection| {
            let then = reframed(asked, connection, |body| {
                vec![format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()]
            });
            match then {
                Then::Answered => Then::Close,
                other => other,
            }
        });
        let gateway = Gateway::before(&engine.url);
        works(enter_app(&gateway));
        works(enter_app(&gateway));
        assert_eq!(engine.asked("POST create").len(), 2, "each was asked once");
    }
}

#[test]
fn refusals_as_bare_text_are_understood() {
    let engine = Fake::unix(|asked, connection| {
        if asked.what != "POST create" {
            return Then::Usual;
        }
        connection.say("HTTP/1.1 404 Not Found\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n");
        connection.say("No such container: nosuch\r\n");
        Then::Close
    });
    let end = enter_app(&Gateway::before(&engine.url)).end();
    assert_eq!((end.outcome, end.code), (3, 4404), "{end:?}");
    assert!(end.text.contains("No such container: nosuch"), "{end:?}");
}

/// Where an engine goes wrong: at the n-th question of a kind, after it has said this.
fn breaks_at(what: &'static str, said: impl AsRef<[u8]> + Send + Sync + 'static) -> (Fake, Gateway) {
    let engine = Fake::unix(move |asked, connection| {
        if asked.what != what {
            return Then::Usual;
        }
        connection.say(&said);
        Then::Close
    });
    let gateway = Gateway::before(&engine.url);
    (engine, gateway)
}

#[test]
fn an_engine_that_goes_while_a_session_is_opened_is_told() {
    let stages = ["GET ping", "GET list", "POST create", "POST start"];
    for (stage, said) in stages.into_iter().flat_map(|stage| {
        let whole = "HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nContent-Length: 100\r\n\r\n[";
        let head = "HTTP/1.1 404 No\r\nContent-Length: 100\r\n\r\n{";
        [(stage, ""), (stage, &whole[..30]), (stage, if stage == "POST start" { head } else { whole })]
    }) {
        let (engine, gateway) = breaks_at(stage, said);
        let end = enter_app(&gateway).end();
        assert_eq!((end.outcome, end.exit_status, end.code), (8, 125, 1013), "{stage} {said:?} {end:?}");
        assert!(end.text.contains("closed the connection while Entry waited for"), "{end:?}");
        // Nobody knows whether it was started: if it was, it is ended.
        if stage == "POST start" {
            engine.await_asked("POST detached", 1);
        }
    }
}

#[test]
fn answers_that_are_none_are_told_and_bounded() {
    let json = |length: usize, body: &str| {
        format!("HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let endless_head = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(4000));
    let huge = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
        + &format!("100000\r\n{}\r\n", "x".repeat(0x10_0000)).repeat(17);
    let table: Vec<(&'static str, String)> = vec![
        ("GET ping", "SSH-2.0-OpenSSH\r\n".into()),
        ("GET ping", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK".into()),
        ("GET ping", "HTTP/1.1 200 OK\r\nApi-Version: 1.9\r\nContent-Length: 0\r\n\r\n".into()),
        ("GET list", "\0".repeat(100)),
        ("GET list", endless_head),
        ("GET list", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".into()),
        ("GET list", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]".into()),
        ("GET list", huge),
        ("GET list", json(2, "{}")),
        ("GET list", json(4, "null")),
        ("GET list", json(2, "[]]]]]")),
        ("POST create", json(2, "{}")),
        ("POST create", json(18, "{\"Id\":\"../../etc\"}")),
        ("POST create", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".into()),
        ("POST start", "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".into()),
        ("POST start", "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops".into()),
    ];
    for (stage, said) in table {
        let shown: String = said.chars().take(60).collect();
        let (_engine, gateway) = breaks_at(stage, said);
        let end = enter_app(&gateway).end();
        let known = matches!((end.outcome, end.code), (8, 1013) | (3, 4404));
        assert!(known && end.exit_status == 125, "{stage} {shown:?} {end:?}");
        assert!(end.text.len() < 1000 && end.text.contains("\x1b[31m>>> "), "{stage} {shown:?} {end:?}");
    }
}

#[test]
fn a_stream_that_breaks_its_own_rules_ends_the_session() {
    let engine = Fake::unix(|asked, connection| {
        if asked.what != "POST start" {
            return Then::Usual;
        }
        connection.say(UPGRADED);
        connection.say(fake::framed(1, b"good"));
        connection.say(b"\x09\0\0\0\0\0\0\x01x");
        Then::Hold
    });
    let gateway = Gateway::before(&engine.url);
    let end = Client::enter(gateway.address, hello(&["cat"])).opened().end();
    assert_eq!((end.out.as_str(), end.outcome, end.code), ("good", 9, 4502), "{end:?}");
    engine.await_asked("POST detached", 1);
}

#[test]
fn a_version_that_is_refused_is_negotiated_again() {
    // The engine was replaced by an older one since it was asked; it may close the connection over it.
    for closes in ["", "Connection: close\r\n"] {
        let replaced = Arc::new(AtomicBool::new(false));
        let is_replaced = Arc::clone(&replaced);
        let engine = Fake::unix(move |asked, connection| {
            if !is_replaced.load(Ordering::SeqCst) {
                return Then::Usual;
            }
            if asked.what == "GET ping" {
                connection.answer(200, "Api-Version: 1.41\r\n", "OK");
                return Then::Answered;
            }
            if asked.target.starts_with("/v1.51/") && asked.what != "GET exec" {
                let words = "client version 1.51 is too new. Maximum supported API version is 1.41";
                connection.answer(400, closes, &format!("{{\"message\":\"{words}\"}}\n"));
                return if closes.is_empty() { Then::Answered } else { Then::Close };
            }
            Then::Usual
        });
        let gateway = Gateway::before(&engine.url);
        works(enter_app(&gateway));
        replaced.store(true, Ordering::SeqCst);
        works(enter_app(&gateway));
        let started = engine.asked("POST start");
        assert!(started[0].target.starts_with("/v1.51/") && started[1].target.starts_with("/v1.41/"));
        // The old engine takes no size with the start, so it is told beside it.
        engine.await_asked("POST resize", 1);
        assert!(engine.asked("POST resize")[0].target.ends_with("/resize?h=24&w=80"));
    }
}

#[test]
fn an_engine_that_always_refuses_the_version_is_not_asked_for_ever() {
    let engine = Fake::unix(|asked, connection| {
        if asked.what != "GET list" {
            return Then::Usual;
        }
        connection.answer(400, "", "{\"message\":\"client version 1.51 is too new. Maximum …\"}\n");
        Then::Answered
    });
    let end = enter_app(&Gateway::before(&engine.url)).end();
    assert_eq!((end.outcome, end.code), (8, 1013), "{end:?}");
    assert_eq!(engine.asked("GET list").len(), 2);
}

#[test]
fn an_engine_may_come_later_go_and_come_back() {
    let directory = Directory::new();
    let path = directory.path().join("sock");
    let gateway = Gateway::before(&format!("unix://{}", path.display()));
    let away = |client: Client| {
        let end = client.end();
        assert_eq!((end.outcome, end.code), (8, 1013), "{end:?}");
        assert!(end.text.contains("cannot be reached"), "{end:?}");
    };
    away(enter_app(&gateway));
    // A socket without an engine behind it.
    drop(UnixListener::bind(&path).unwrap());
    away(enter_app(&gateway));
    std::fs::remove_file(&path).unwrap();
    let _engine = Fake::on_unix(directory, UnixListener::bind(&path).unwrap(), usual);
    works(enter_app(&gateway));
}

#[test]
fn sessions_wait_for_room_in_the_queue_of_an_engine_s_socket() {
    let directory = Directory::new();
    let path = directory.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    shrink_backlog(&listener, 0);
    // It holds one, and nobody accepts it.
    let _first = UnixStream::connect(&path).unwrap();
    let gateway = Gateway::before(&format!("unix://{}", path.display()));
    let clients: Vec<Client> = (0..40).map(|_| enter_app(&gateway)).collect();
    // Some leave while they wait.
    let clients: Vec<Client> =
        clients.into_iter().enumerate().filter(|(at, _)| at % 4 > 0).map(|(_, client)| client).collect();
    thread::sleep(Duration::from_millis(100));
    let _engine = Fake::on_unix(directory, listener, usual);
    clients.into_iter().for_each(works);
}

#[test]
fn connections_for_short_calls_may_be_closed_at_any_moment() {
    // Between calls, and with a call on the way: that one is made again.
    let engine = Fake::unix(|asked, connection| match (asked.what, asked.nth) {
        ("POST resize", 1 | 4) => {
            connection.answer(200, "", "");
            Then::Close
        }
        ("POST resize", 3) => Then::Close,
        _ => Then::Usual,
    });
    let gateway = Gateway::before(&engine.url);
    let mut client = enter_app(&gateway).opened();
    client.until(PROMPT);
    for (number, asked) in [(1, 1), (2, 2), (3, 4), (4, 5)] {
        client.resize(100 + number, 50);
        engine.await_asked("POST resize", asked);
    }
    let widths: Vec<String> = engine
        .asked("POST resize")
        .iter()
        .map(|asked| asked.target.rsplit('=').next().unwrap().into())
        .collect();
    assert_eq!(widths, ["101", "102", "103", "103", "104"]);
    client.type_in(BYE);
    assert_eq!(client.end().exit_status, 7);
}

#[test]
fn only_the_last_of_many_sizes_matters() {
    let released = Arc::new(AtomicBool::new(false));
    let go = Arc::clone(&released);
    let engine = Fake::unix(move |asked, _| {
        if asked.what == "POST resize" {
            eventually("the test", || go.load(Ordering::SeqCst));
        }
        Then::Usual
    });
    let gateway = Gateway::before(&engine.url);
    let mut client = enter_app(&gateway).opened();
    client.until(PROMPT);
    for columns in 1..=500 {
        client.resize(columns, 9);
    }
    // A resize that is not answered does not stall what is typed.
    client.type_in("still here");
    client.until("still here");
    released.store(true, Ordering::SeqCst);
    engine.await_asked("POST resize", 2);
    client.type_in(BYE);
    assert_eq!(client.end().exit_status, 7);
    let targets: Vec<String> = engine.asked("POST resize").iter().map(|asked| asked.target.clone()).collect();
    assert_eq!(targets.len(), 2, "{targets:?}");
    assert!(targets[0].ends_with("h=9&w=1") && targets[1].ends_with("h=9&w=500"), "{targets:?}");
}

#[test]
fn nobody_s_end_waits_for_another_s_resize_or_reaper() {
    let engine = Fake::unix(|asked, _| match asked.what {
        "POST resize" | "POST reaper" => Then::Hold,
        _ => Then::Usual,
    });
    let gateway = Gateway::before(&engine.url);
    let mut stuck: Vec<Client> = (0..12).map(|_| enter_app(&gateway).opened()).collect();
    for client in &mut stuck {
        client.resize(100, 50);
    }
    let leaving: Vec<Client> = (0..12).map(|_| enter_app(&gateway).opened()).collect();
    engine.await_asked("POST resize", 1);
    drop(leaving);
    (0..12).for_each(|_| works(enter_app(&gateway)));
    engine.await_asked("POST reaper", 1);
}

#[test]
fn the_question_how_it_ended_is_asked_until_there_is_an_answer() {
    let engine = Fake::unix(|asked, connection| match (asked.what, asked.nth) {
        ("GET exec", 1) => {
            connection.answer(200, "", "{\"Running\":true,\"ExitCode\":null,\"Pid\":42}");
            Then::Answered
        }
        ("GET exec", 2) => Then::Close,
        ("GET exec", 3) => {
            thread::sleep(Duration::from_millis(300));
            connection.answer(500, "", "{\"message\":\"busy\"}");
            Then::Answered
        }
        _ => Then::Usual,
    });
    let gateway = Gateway::before(&engine.url);
    works(enter_app(&gateway));
    assert!(engine.asked("GET exec").len() >= 4);
}

#[test]
fn a_container_that_is_not_there_any_more_was_removed() {
    let engine = Fake::unix(|asked, connection| {
        let words = match asked.what {
            "GET exec" => "No such exec instance: 1",
            "GET container" => "No such container: demo",
            _ => return Then::Usual,
        };
        connection.answer(404, "", &format!("{{\"message\":\"{words}\"}}\n"));
        Then::Answered
    });
    let gateway = Gateway::before(&engine.url);
    let mut client = enter_app(&gateway).opened();
    client.type_in(BYE);
    let end = client.end();
    assert_eq!((end.outcome, end.exit_status, end.code), (6, 137, 4410), "{end:?}");
}

#[test]
fn nothing_is_typed_before_the_head_of_the_stream() {
    let early = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&early);
    let engine = Fake::tcp(move |asked, connection| {
        if asked.what != "POST start" {
            return Then::Usual;
        }
        let mut reader = match connection {
            Connection::Tcp(stream) => stream.try_clone().unwrap(),
            Connection::Unix(_) | Connection::Tls(_) => unreachable!("it listens on TCP"),
        };
        reader.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
        let mut bytes = [0; 100];
        if let Ok(count) = reader.read(&mut bytes) {
            seen.lock().unwrap().extend_from_slice(&bytes[..count]);
        }
        reader.set_read_timeout(None).unwrap();
        connection.say(UPGRADED);
        Then::Stream
    });
    let gateway = Gateway::before(&engine.url);
    let mut client = enter_app(&gateway);
    client.type_in("ahead ");
    let mut client = client.opened();
    client.type_in("and behind ");
    client.until("ahead and behind ");
    client.type_in(BYE);
    assert_eq!(client.end().exit_status, 7);
    assert_eq!(*early.lock().unwrap(), b"");
    assert_eq!(engine.typed(), format!("ahead and behind {BYE}"));
}

#[test]
fn what_another_session_learns_of_the_engine_disturbs_none() {
    // While one waits for its stream, another finds the connection closed, and what the engine speaks is forgotten.
    let released = Arc::new(AtomicBool::new(false));
    let go = Arc::clone(&released);
    let engine = Fake::unix(move |asked, _| match asked.what {
        "POST start" if asked.nth == 1 => {
            eventually("the test", || go.load(Ordering::SeqCst));
            Then::Usual
        }
        "POST create" if asked.body.contains("unlucky") => Then::Close,
        _ => Then::Usual,
    });
    let gateway = Gateway::before(&engine.url);
    let waiting = Client::enter(gateway.address, hello_tty(&["first"]));
    engine.await_asked("POST start", 1);
    assert_eq!(Client::enter(gateway.address, hello(&["unlucky"])).end().code, 1013);
    released.store(true, Ordering::SeqCst);
    let mut client = waiting.opened();
    client.type_in(BYE);
    assert_eq!(client.end().exit_status, 7);
    assert_eq!(engine.typed(), BYE, "and nothing else came to the process");
}

#[test]
fn a_session_that_is_left_while_it_starts_is_ended_in_its_container() {
    let engine = Fake::unix(|asked, _| if asked.what == "POST start" { Then::Hold } else { Then::Usual });
    let gateway = Gateway::before(&engine.url);
    let client = Client::enter(gateway.address, hello(&["cat"]));
    engine.await_asked("POST start", 1);
    drop(client);
    engine.await_asked("POST detached", 1);
    let session = |body: &str| body.split("ENTRY_SESSION=").nth(1).unwrap()[..33].to_owned();
    let marked = session(&engine.asked("POST create")[0].body);
    assert!(engine.asked("POST reaper")[0].body.contains(&marked), "the reaper looks for its mark");
}

#[test]
fn an_engine_that_vanishes_without_a_word_is_noticed() {
    let engine = Fake::tcp(usual);
    let gateway = Gateway::before(&engine.url);
    let mut client = enter_app(&gateway).opened();
    client.until(PROMPT);
    let port: u16 = engine.url.rsplit(':').next().unwrap().parse().unwrap();
    // The kernel's table: the connections to the engine's port, and their timers; 2 is keepalive.
    let timers = || -> Vec<String> {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row[2].ends_with(&format!(":{port:04X}")) && row[3] == "01")
            .map(|row| row[5].split(':').next().unwrap().to_owned())
            .collect()
    };
    let timer = await_some("a timer of the stream", || timers().into_iter().find(|timer| timer == "02"));
    assert_eq!(timer, "02");
}
