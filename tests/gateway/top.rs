//! `entry top` as a person has it: a terminal, keys, and a gateway whose figures are known.

use crate::common::screen::Screen;
use crate::common::terminal::Terminal;
use crate::support::{Directory, PATIENCE, program};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The line above the sessions, word by word.
const HEADS: [&str; 10] =
    ["USER", "TARGET", "STATE", "AGE", "IN", "OUT", "OUT/s", "CONTAINER", "ADDRESS", "COMMAND"];

/// Answers operators with three sessions, of which every one is first by another column.
fn stand_in(token: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = asked.clone();
            thread::spawn(move || answer(stream, token, &asked));
        }
    });
    address
}

fn answer(mut stream: TcpStream, token: &str, asked: &AtomicU64) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let (status, body) = if !head.contains(&format!("\r\nAuthorization: Bearer {token}\r\n")) {
        (401, "Bring the token.".to_owned())
    } else if head.starts_with("GET /metrics ") {
        let figures = "entry_sessions 3\nentry_sessions_max 9300\nentry_ready 1\nentry_build_info{version=\"7.8.9\"} 1\n";
        (200, figures.to_owned())
    } else {
        // The first one says more each time.
        let said = 1_000_000 * asked.fetch_add(1, Ordering::Relaxed);
        let row = |user: &str, target: &str, seconds: u64, input: u64, output: u64| {
            format!(
                "{{\"id\":\"1:{seconds}\",\"state\":\"open\",\"user\":\"{user}\",\"target\":\"{target}\",\"seconds\":{seconds},\
                 \"input_bytes\":{input},\"output_bytes\":{output},\"command\":[\"tail\",\"-f\",\"log\"],\
                 \"container\":\"c0ffee\",\"address\":\"192.0.2.7\"}}"
            )
        };
        let rows = [
            row("cleo", "shop/web", 10, 20, 2048 + said),
            row("bob", "api/web", 20, 30, 1024),
            row("ada", "shop/zoo", 30, 10, 512),
        ];
        (200, format!("{{\"sessions\":[{}],\"total\":3}}", rows.join(",")))
    };
    let length = body.len();
    let _ = stream
        .write_all(format!("HTTP/1.1 {status} Told\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes());
}

/// Who stands in the list, from above.
fn users(screen: &Screen) -> Vec<String> {
    let first = |number| screen.row(number).split(' ').next().unwrap_or_default().to_owned();
    (6..=8).map(first).collect()
}

#[test]
fn keys_sort_and_end_it() {
    const TOKEN: &str = "a-token-of-operators";
    let admin = stand_in(TOKEN).to_string();
    let directory = Directory::new();
    fs::write(directory.file("token"), TOKEN).unwrap();
    let command = || {
        let mut command = program(&["top", "--admin", &admin, "--token-file", &directory.file("token")]);
        command.env("TERM", "xterm");
        command
    };
    let mut terminal = Terminal::start(command(), 120, 24);
    terminal.expect("\x1b[?1049h");
    let shown = terminal.await_screen("sessions", |screen| screen.last_row() == 8);
    assert!(shown.row(1).starts_with(&format!("entry 7.8.9 at {admin}, ready, up ")), "{shown}");
    assert!(shown.row(2).starts_with("sessions 3 of 9300, "), "{shown}");
    let heads: Vec<String> = shown.row(5).split_whitespace().map(str::to_owned).collect();
    assert_eq!(heads, HEADS);
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let in_readme = |line: &str| line.split_whitespace().eq(HEADS);
    assert!(readme.lines().any(in_readme), "the README shows another picture");
    // Of what is said in a second there is no figure before the second picture.
    terminal.await_screen("a rate", |screen| {
        screen.row(6).starts_with("cleo ")
            && screen.row(6).split_whitespace().nth(6).is_some_and(|rate| rate.ends_with('K'))
    });
    let table = [
        ("u", ["ada", "bob", "cleo"]),
        ("o", ["cleo", "bob", "ada"]),
        ("i", ["bob", "cleo", "ada"]),
        ("a", ["ada", "bob", "cleo"]),
        ("t", ["bob", "cleo", "ada"]),
        // A key that means nothing changes nothing, and of several the last counts.
        ("xou", ["ada", "bob", "cleo"]),
    ];
    for (keys, expected) in table {
        terminal.type_in(keys);
        terminal.await_screen(keys, |screen| users(screen) == expected);
    }
    // In another window it is drawn anew, and no wider.
    terminal.resize(40, 7);
    terminal.await_screen("what fits", |screen| {
        screen.row(7).trim_end() == "… and 2 more" && screen.last_row() == 7
    });
    terminal.type_in("q");
    let (status, rest) = terminal.finish();
    assert_eq!(status, 0);
    assert!(rest.ends_with("\x1b[?25h\x1b[?1049l"), "what stood there before comes back: {rest:?}");

    for end in ["\x03", "\x04"] {
        let mut terminal = Terminal::start(command(), 80, 24);
        terminal.expect("USER");
        terminal.type_in(end);
        assert_eq!(terminal.finish().0, 0);
    }
    let terminal = Terminal::start(command(), 80, 24);
    terminal.await_screen("sessions", |screen| screen.last_row() == 8);
    terminal.running.signal(libc::SIGTERM);
    assert_eq!(terminal.finish().0, 0);
    // Who is not let in reads why, on the screen that was there before.
    let mut command = program(&["top", "--admin", &admin]);
    command.env("TERM", "xterm");
    let (status, told) = Terminal::start(command, 80, 24).finish();
    assert_eq!(status, 1);
    assert!(told.contains("answers 401: Bring the token."), "{told}");
}
