//! `/attach`: what a container itself writes, with its last lines first, and never at the container's expense.

use crate::common::engine::Container;
use crate::common::gateway::Gateway;
use crate::common::program::Running;
use crate::common::visitor::{Goodbye, Heard, Visitor};
use crate::common::{DEADLINE, shown};
use entry::wire::message::Hello;
use std::process::Command;
use std::time::Instant;

/// Writes three lines to each stream, then what is written into the file `say`, line by line, until it is `end`.
const TALKER: &str = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; mkfifo /say; exec 3<>/say; \
                      while read -r line <&3; do case $line in end) exit 5;; err*) echo \"$line\" >&2;; \
                      *) echo \"$line\";; esac; done";

/// A container that runs [`TALKER`], which has said its first lines.
fn talker(options: &[&str]) -> Container {
    let container = Container::run("entry-busybox", options, &["sh", "-c", TALKER]);
    container.await_sh("[ -p /say ]");
    container
}

/// Lets a talker say a line, or end.
fn say(container: &Container, line: &str) {
    container.sh_to_the_end(&format!("echo {line} >/say"));
}

fn attach(gateway: &Gateway, container: &Container, words: &[&str]) -> Command {
    let mut all = vec!["attach", "--container", &container.name];
    all.extend(words);
    gateway.client(&all)
}

#[test]
fn streams_stay_apart_and_the_last_lines_come_first() {
    let container = talker(&[]);
    container.await_logged(6);
    let gateway = Gateway::to(&container);
    let all = Running::start(attach(&gateway, &container, &[]));
    let last = Running::start(attach(&gateway, &container, &["--tail", "2"]));
    // Podman 4 answers with the first line: whether a viewer of none is there cannot be seen.
    let none = (container.engine.kind != "podman4")
        .then(|| Running::start(attach(&gateway, &container, &["--tail", "0"])));
    // All of them follow before more is said.
    let viewers = 2 + usize::from(none.is_some());
    crate::common::await_some("the sessions", || {
        (gateway.log().matches(" opened ").count() >= viewers).then_some(())
    });
    for line in ["more", "err more", "end"] {
        say(&container, line);
    }
    let (out, err) = ("out 1\nout 2\nout 3\n", "err 1\nerr 2\nerr 3\n");
    all.finish().expect(5, &format!("{out}more\n"), &format!("{err}err more\n"));
    let last = last.finish();
    assert_eq!(last.status, 5);
    // Which two lines are the last is the engine's to say: it reads both streams side by side.
    let (stdout, stderr) = (last.stdout(), last.stderr());
    assert_eq!(stdout.lines().count() + stderr.lines().count(), 4, "{last}");
    assert!(
        stdout.ends_with("more\n") && stderr.ends_with("err more\n") && !stdout.contains("out 1"),
        "{last}"
    );
    if let Some(none) = none {
        none.finish().expect(5, "more\n", "err more\n");
    }
}

#[test]
fn a_terminal_s_output_comes_as_it_is() {
    let container = talker(&["--tty"]);
    let gateway = Gateway::to(&container);
    container.await_logged(6);
    let running = Running::start(attach(&gateway, &container, &[]));
    gateway.await_log(" opened ");
    for line in ["漢字", "err more", "end"] {
        say(&container, line);
    }
    let ended = running.finish();
    assert_eq!((ended.status, ended.stderr()), (5, String::new()));
    let mut lines: Vec<String> = ended.stdout().split("\r\n").map(str::to_owned).collect();
    assert_eq!(lines.split_off(6), ["漢字", "err more", ""]);
    lines.sort();
    assert_eq!(lines, ["err 1", "err 2", "err 3", "out 1", "out 2", "out 3"]);
}

#[test]
fn the_gateway_s_own_number_of_last_lines() {
    let container = talker(&[]);
    container.await_logged(6);
    let gateway = Gateway::start(&container.engine, &["--allow-container", "*", "--attach-tail", "1"]);
    let running = Running::start(attach(&gateway, &container, &[]));
    gateway.await_log(" opened ");
    say(&container, "end");
    let ended = running.finish();
    assert_eq!(
        (ended.status, ended.stdout().lines().count() + ended.stderr().lines().count()),
        (5, 1),
        "{ended}"
    );
    assert!(["out 3\n", "err 3\n"].contains(&(ended.stdout() + &ended.stderr()).as_str()), "{ended}");
}

/// How the container ended is how attaching to it ends.
#[test]
fn it_ends_as_the_container_does() {
    let container = talker(&[]);
    container.await_logged(6);
    let gateway = Gateway::to(&container);
    let hello = || Hello { container: container.name.clone(), tail: Some(1), ..Hello::default() };
    let attached = || {
        let mut visitor = Visitor::v1(gateway.address, "/attach", hello());
        assert!(!visitor.opened().session.is_empty());
        visitor
    };
    let (first, second) = (attached(), attached());
    container.kill();
    for visitor in [first, second] {
        let goodbye = visitor.goodbye();
        assert_eq!((goodbye.outcome, goodbye.code), (Some((1, 137)), 1000), "{goodbye:?}");
    }
    // Now that it has ended, there is nothing to follow.
    let goodbye = Visitor::v1(gateway.address, "/attach", hello()).goodbye();
    assert_eq!((goodbye.outcome, goodbye.code), (Some((4, 125)), 4409), "{goodbye:?}");
    assert!(goodbye.text.contains("The container is not running."), "{goodbye:?}");
    gateway.run(&["attach", "--container", "nosuch-container"]).expect_words(125, "Container is not found.");
}

/// The keyboard is not connected: what is typed goes nowhere.
#[test]
fn it_is_read_only() {
    let container =
        Container::run("entry-busybox", &["--interactive"], &["sh", "-c", "echo up; cat; echo down"]);
    let gateway = Gateway::to(&container);
    let hello = Hello { container: container.name.clone(), stdin: true, ..Hello::default() };
    let mut visitor = Visitor::v1(gateway.address, "/attach", hello);
    visitor.opened();
    visitor.expect("up\n");
    visitor.type_in("typed\n");
    visitor.end_stdin();
    container.kill();
    let goodbye = visitor.goodbye();
    assert_eq!((goodbye.outcome, goodbye.stdout), (Some((1, 137)), Vec::new()));
}

/// A log that was sent away cannot be read back: the container's own streams are followed then.
#[test]
fn a_container_without_a_readable_log() {
    let container = talker(&["--log-driver=none"]);
    let gateway = Gateway::to(&container);
    let running = Running::start(attach(&gateway, &container, &["--tail", "10"]));
    gateway.await_log(" opened ");
    for line in ["more", "err more", "end"] {
        say(&container, line);
    }
    running.finish().expect(5, "more\n", "err more\n");
}

const LINES: usize = 300_000;

/// Says that it is ready, waits for `/go`, writes many numbered lines of 100 bytes, and says so in a file. It rests now and then, so that the
/// engine's reader of the log keeps up with it: only the viewer is slow.
const FLOOD: &str = "echo ready; while [ ! -e /go ]; do usleep 10000; done; \
    awk 'BEGIN { pad = sprintf(\"%91s\", \"\"); for (i = 1; i <= 300000; i++) { \
    printf \"%08d%s\\n\", i, pad; if (i % 1000 == 0) { fflush(); system(\"usleep 5000\") } } }'; \
    echo >/done; while :; do sleep 1000; done";

/// The viewer that does not read costs the container nothing, and is told what he missed.
fn slow_viewer(options: &[&str], log_is_readable: bool) {
    let container = Container::run("entry-busybox", options, &["sh", "-c", FLOOD]);
    let gateway = Gateway::to(&container);
    let hello = Hello { container: container.name.clone(), ..Hello::default() };
    if log_is_readable {
        container.await_logged(1);
    }
    let mut visitor = Visitor::v1(gateway.address, "/attach", hello);
    visitor.opened();
    if log_is_readable {
        visitor.expect("ready\n");
    }
    container.sh("echo >/go");
    // Not a byte is read, and the container writes on to its last line.
    container.await_sh("[ -e /done ]");

    let until = Instant::now() + DEADLINE;
    let mut account = Account::default();
    while account.seen + account.skipped < LINES {
        match visitor.hear() {
            Heard::Stdout(bytes) => account.output(&bytes),
            Heard::Stderr(bytes) => account.told(&String::from_utf8(bytes).unwrap()),
            Heard::Ping(_) => {}
            other @ (Heard::Close(..) | Heard::Opened(_)) => panic!("{other:?}"),
        }
        assert!(Instant::now() < until, "{} seen, {} skipped", account.seen, account.skipped);
    }
    assert_eq!(account.seen + account.skipped, LINES);
    assert!(account.skipped > 0, "the flood was too small to be lost");
    container.kill();
    let Goodbye { outcome, stdout, stderr, .. } = visitor.goodbye();
    assert_eq!((outcome, shown(&stdout), shown(&stderr)), (Some((1, 137)), String::new(), String::new()));
}

/// What a viewer got, and what he was told that he missed.
#[derive(Default)]
struct Account {
    seen: usize,
    skipped: usize,
    line: Vec<u8>,
    last: usize,
}

impl Account {
    fn output(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            self.seen += 1;
            // A line that was cut off runs into the next one that is shown.
            let line = std::mem::take(&mut self.line);
            let whole = &line[line.len().checked_sub(99).expect("a whole line")..];
            let number = std::str::from_utf8(&whole[..8]).unwrap().parse().unwrap();
            assert!(number > self.last, "{number} behind {}", self.last);
            self.last = number;
        }
    }

    fn told(&mut self, text: &str) {
        let lines = text.split_once(">>> ").and_then(|(_, rest)| rest.split_once(" lines were skipped"));
        self.skipped += lines.unwrap_or_else(|| panic!("{text:?}")).0.parse::<usize>().unwrap();
    }
}

#[test]
fn a_slow_viewer_of_the_log_stalls_nothing_and_is_told_what_he_missed() {
    slow_viewer(&[], true);
}

#[test]
fn a_slow_viewer_of_the_streams_stalls_nothing_and_is_told_what_he_missed() {
    slow_viewer(&["--log-driver=none"], false);
}
