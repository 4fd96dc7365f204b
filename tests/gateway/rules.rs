//! What RFC 6455 asks of a server, on a real socket, from clients that keep to it and clients that do not.

use crate::client::{hello, hello_tty};
use crate::fake::{BYE, Fake, PROMPT, Then, UPGRADED, usual};
use crate::raw::{BINARY, CLOSE, PING, PONG, Raw, TEXT, frame, head, hello_message, plain, upgrade_v1};
use crate::support::{Gateway, SAFELY, Serving, eventually};

/// An echo's message of output.
fn output(text: &str) -> (u8, Vec<u8>) {
    (BINARY, plain(text.as_bytes()))
}

/// A session with an echo, its prompt read.
fn open(gateway: &Gateway) -> Raw {
    let mut raw = Raw::open(gateway.address, hello_tty(&["echo"]));
    assert_eq!(raw.frame(), output(PROMPT));
    raw
}

#[test]
fn messages_come_in_fragments_with_pings_between() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let mut raw = open(&gateway);
    let message = plain(b"in three pieces");
    raw.send(frame(0x02, &message[..1]));
    raw.send(frame(PING, b"are you there"));
    assert_eq!(raw.frame(), (PONG, b"are you there".to_vec()));
    raw.send(frame(0x00, &message[1..6]));
    raw.send(frame(0x00, b""));
    raw.send(frame(PONG, b"nobody asked"));
    raw.send(frame(0x80, &message[6..]));
    assert_eq!(raw.frame(), output("in three pieces"));
    raw.send(frame(PING, b""));
    assert_eq!(raw.frame(), (PONG, Vec::new()));
    raw.send(frame(PING, &[7; 125]));
    assert_eq!(raw.frame(), (PONG, vec![7; 125]));
}

#[test]
fn everything_may_come_byte_by_byte() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let mut raw = Raw::to(gateway.address);
    for byte in upgrade_v1().bytes() {
        raw.send([byte]);
    }
    assert!(raw.http_head().starts_with("HTTP/1.1 101 "));
    let frames = [
        frame(BINARY, &hello_message(hello_tty(&["echo"]))),
        frame(PING, b"x"),
        frame(BINARY, &plain(b"slowly")),
    ];
    for byte in frames.concat() {
        raw.send([byte]);
    }
    // The engine answers while the bytes still come: where the pong stands is open, all else is not.
    let (mut pongs, mut opened, mut shown) = (0, false, Vec::new());
    while pongs == 0 || !shown.ends_with(b"slowly") {
        let (first, message) = raw.frame();
        if first == PONG {
            assert_eq!(message, b"x");
            pongs += 1;
        } else if opened {
            assert_eq!((first, message[0]), (BINARY, 0x12));
            shown.extend_from_slice(&message[2..]);
        } else {
            assert_eq!((first, &message[..2]), (BINARY, &[8, 4][..]), "OPENED");
            opened = true;
        }
    }
    assert_eq!(pongs, 1);
    assert_eq!(shown, [PROMPT, "slowly"].concat().as_bytes());
}

#[test]
fn everything_may_come_at_once() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let mut raw = Raw::to(gateway.address);
    let all = [
        upgrade_v1().into_bytes(),
        frame(BINARY, &hello_message(hello_tty(&["echo"]))),
        frame(BINARY, &plain(b"typed ")),
        frame(BINARY, &plain(BYE.as_bytes())),
    ];
    raw.send(all.concat());
    assert!(raw.http_head().starts_with("HTTP/1.1 101 "));
    assert_eq!(raw.frame().1[..2], [8, 4], "OPENED");
    let mut shown = Vec::new();
    loop {
        let (first, message) = raw.frame();
        if message.starts_with(&[8, 2]) {
            break;
        }
        assert_eq!((first, message[0]), (BINARY, 0x12));
        shown.extend_from_slice(&message[2..]);
    }
    assert_eq!(shown, [PROMPT, "typed ", BYE].concat().as_bytes());
    assert_eq!(raw.close_code(), 1000);
}

#[test]
fn a_client_that_says_goodbye_hears_the_same_code() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let table: [&[u8]; 4] = [b"\x03\xe8", b"\x03\xe9going away", b"\x10\xe1", b""];
    for (number, payload) in table.into_iter().enumerate() {
        let mut raw = open(&gateway);
        // Sent in one write with what is typed: that still counts.
        raw.send([frame(BINARY, &plain(b"last")), frame(CLOSE, payload)].concat());
        engine.await_left(number + 1);
        let code = payload.get(..2).unwrap_or_default();
        assert_eq!(raw.frame(), (CLOSE, code.to_vec()));
        assert_eq!(raw.rest(), b"", "nothing follows a close frame");
        engine.await_asked("POST reaper", number + 1);
    }
    assert_eq!(engine.typed(), "last".repeat(table.len()));
}

#[test]
fn a_gateway_that_says_goodbye_waits_for_the_answer() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let mut raw = open(&gateway);
    raw.send(frame(BINARY, &plain(BYE.as_bytes())));
    assert_eq!(raw.frame(), output(BYE));
    let told = raw.frame().1;
    // The text, then the outcome: exited, 7; the session's name is the last of it.
    let at = told.windows(SAFELY.len()).position(|window| window == SAFELY.as_bytes()).unwrap();
    let [0x1a, length, outcome @ ..] = &told[at + SAFELY.len()..] else { panic!("{told:x?}") };
    assert!(
        usize::from(*length) == outcome.len() && outcome.starts_with(b"\x08\x01\x10\x07\x1a"),
        "{told:x?}"
    );
    assert_eq!(raw.frame(), (CLOSE, b"\x03\xe8Exited with status 7.".to_vec()));
    // Data that crosses the close frame is dropped, a ping is not answered any more (5.5.1).
    raw.send([frame(BINARY, &plain(b"late")), frame(PING, b"late"), frame(CLOSE, b"\x03\xe8")].concat());
    assert_eq!(raw.rest(), b"");
    assert_eq!(engine.typed(), BYE);
}

#[test]
fn after_its_close_frame_the_gateway_says_no_more() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    for rubbish in [&b"\x81\x01x"[..], &[0xff; 20], &frame(CLOSE, b"x")] {
        let mut raw = open(&gateway);
        raw.send(frame(BINARY, &plain(BYE.as_bytes())));
        assert_eq!(raw.close_code(), 1000);
        raw.send(rubbish);
        assert_eq!(raw.rest(), b"", "after {rubbish:?}");
    }
}

#[test]
fn a_client_that_breaks_the_rules_is_told_which() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let gigabyte = [&head(BINARY, 1 << 30)[..], b"mask"].concat();
    let megabyte = frame(0x02, &vec![b'x'; 1024 * 1024]);
    let one_more = frame(0x80, b"x");
    let long_ping = frame(PING, &[0; 126]);
    let table: Vec<(&str, u16, Vec<u8>)> = vec![
        ("no mask", 1002, b"\x82\x01x".to_vec()),
        ("a reserved bit", 1002, frame(0xc2, b"x")),
        ("another", 1002, frame(0x92, b"x")),
        ("a reserved data opcode", 1002, frame(0x83, b"x")),
        ("a reserved control opcode", 1002, frame(0x8b, b"x")),
        ("a ping in fragments", 1002, frame(0x09, b"x")),
        ("a ping that is too long", 1002, long_ping),
        ("a length that is not minimal", 1002, b"\x82\xfe\x00\x01maskx".to_vec()),
        ("a length with its top bit", 1002, b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01maskx".to_vec()),
        ("a continuation of nothing", 1002, frame(0x80, b"x")),
        ("a message within a message", 1002, [frame(0x02, b"x"), frame(BINARY, b"x")].concat()),
        ("half a close code", 1002, frame(CLOSE, b"x")),
        ("a close code that may not be sent", 1002, frame(CLOSE, b"\x03\xed")),
        ("a close reason that is not UTF-8", 1007, frame(CLOSE, b"\x03\xe8\xff")),
        ("text that is not UTF-8", 1007, frame(TEXT, b"\xc3\x28")),
        ("text that ends within a character", 1007, frame(TEXT, b"\xc3")),
        ("a message of 1 GiB, announced", 1009, gigabyte),
        ("fragments of more than 1 MiB", 1009, [megabyte, one_more].concat()),
    ];
    for (number, (what, code, bytes)) in table.into_iter().enumerate() {
        let mut raw = open(&gateway);
        raw.send(bytes);
        assert_eq!(raw.close_code(), code, "{what}");
        assert_eq!(raw.rest(), b"", "{what}");
        engine.await_left(number + 1);
        engine.await_asked("POST detached", number + 1);
    }
    assert_eq!(engine.typed(), "");
}

#[test]
fn a_client_may_vanish_at_any_moment() {
    // The engine takes its time where the path says so.
    let engine = Fake::unix(|asked, connection| match asked.what {
        "POST create" if asked.body.contains("never created") => Then::Hold,
        "POST start" if asked.nth % 5 == 0 => {
            connection.say(&UPGRADED[..20]);
            Then::Hold
        }
        _ => Then::Usual,
    });
    let serving = Serving::start(&["--engine", &engine.url, "--allow-container", "*", "--workers", "1"]);
    let head = upgrade_v1().into_bytes();
    let message = |command: &str| frame(BINARY, &hello_message(hello(&[command])));
    let typed = frame(BINARY, &plain(b"typed"));
    let stages: Vec<Vec<u8>> = vec![
        Vec::new(),
        head[..10].to_vec(),
        head[..head.len() - 1].to_vec(),
        head.clone(),
        [&head[..], &message("cat")[..1]].concat(),
        [&head[..], &message("cat")[..9]].concat(),
        [head.clone(), message("cat")].concat(),
        [head.clone(), message("never created")].concat(),
        [head.clone(), message("never created"), typed.clone()].concat(),
        [head.clone(), message("cat"), typed.clone()].concat(),
        [head.clone(), message("cat"), frame(0x02, b"half")].concat(),
        [head.clone(), message("cat"), typed[..3].to_vec()].concat(),
        [head, message("cat"), frame(BINARY, &plain(BYE.as_bytes()))].concat(),
        b"GET /api/ping HTTP/1.1\r\n\r\n".to_vec(),
    ];
    // Whatever is made once, calls' connections among it, is made by now.
    let rest = serving.descriptors() + entry::config::CALL_CONNECTIONS_MAX as u64;
    for stage in &stages {
        for way in 0..4 {
            let mut raw = Raw::to(serving.address);
            raw.send(stage);
            if way % 2 == 1 && stage.len() > 200 {
                raw.http_head();
            }
            match way {
                0 | 1 => drop(raw),
                2 => raw.end_writing(),
                _ => raw.reset(),
            }
        }
    }
    eventually("all sessions to be gone", || serving.descriptors() <= rest);
    assert!(!serving.log().contains("a bug of Entry"), "{}", serving.log());
    let mut raw = Raw::open(serving.address, hello_tty(&["echo"]));
    raw.send(frame(BINARY, &plain(BYE.as_bytes())));
    assert_eq!(raw.close_code(), 1000);
}
