//! Whoever does not take what comes is waited for, at a bounded cost and without loss; nobody else waits.

use crate::common::await_or;
use crate::common::engine::Container;
use crate::common::gateway::Gateway;
use crate::common::visitor::Visitor;
use entry::wire::message::Hello;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What a stalled stream of whatever size may cost the gateway, in KiB.
const GROWTH_KIB_MAX: u64 = 512;
/// A paste, in bytes.
const PASTE_BYTES: usize = 10 << 20;

fn terminal(container: &Container) -> Hello {
    Hello { container: container.name.clone(), tty: true, columns: 80, rows: 24, ..Hello::default() }
}

fn pipes(container: &Container, script: &str) -> Hello {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    Hello { container: container.name.clone(), command, stdin: true, ..Hello::default() }
}

/// Waits until a number stays as it is for a while.
fn at_rest(what: &str, number: impl Fn() -> u64) -> u64 {
    let (mut last, mut unchanged) = (number(), 0);
    await_or(
        || format!("{what} does not come to rest: {}", number()),
        || {
            thread::sleep(Duration::from_millis(20));
            let now = number();
            unchanged = if now == last && now > 0 { unchanged + 1 } else { 0 };
            last = now;
            (unchanged >= 20).then_some(now)
        },
    )
}

/// Text without any order, the same in each run.
fn paste() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"abcdefghijklmnopqrstuvwxyz012345"[(state % 32) as usize]
    };
    std::iter::repeat_with(next).take(PASTE_BYTES).collect()
}

/// Types all of it from a thread of its own; counts what the gateway has taken.
fn type_all(
    mut visitor: Visitor,
    text: Vec<u8>,
    ends: bool,
) -> (Arc<AtomicUsize>, thread::JoinHandle<Visitor>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let thread = thread::spawn(move || {
        for piece in text.chunks(64 * 1024) {
            visitor.type_in(std::str::from_utf8(piece).unwrap());
            counter.fetch_add(piece.len(), Ordering::SeqCst);
        }
        if ends {
            visitor.end_stdin();
        }
        visitor
    });
    (taken, thread)
}

#[test]
fn a_client_that_does_not_read_slows_nobody_else_and_costs_little() {
    let (container, other) = (Container::idle("entry-busybox"), Container::idle("entry-bash"));
    let gateway = Gateway::start(&container.engine, &["--allow-container", "*", "--workers", "1"]);
    let hello = pipes(&container, "echo ready; read go; seq 1 5000000; exit 5");
    let mut stalled = Visitor::v1(gateway.address, "/enter", hello);
    stalled.opened();
    stalled.expect("ready\n");
    let before = gateway.status("VmRSS");
    stalled.type_in("go\n");
    at_rest("what the gateway reads", || gateway.bytes_read());
    let grown = gateway.status("VmRSS");
    assert!(grown <= before + GROWTH_KIB_MAX, "{before} KiB, then {grown}");
    container.await_process("seq 1 5000000");

    // In its own container and in another one, others do not wait.
    for place in [&container, &other] {
        let lines: String = (1..=100_000).map(|line| format!("{line}\n")).collect();
        gateway.exec(place, &["seq", "1", "100000"]).expect(0, &lines, "");
    }
    container.await_process("seq 1 5000000");

    // Nothing of it is lost.
    let goodbye = stalled.goodbye();
    assert_eq!((goodbye.outcome, goodbye.code), (Some((1, 5)), 1000));
    let mut lines = goodbye.stdout.split(|byte| *byte == b'\n');
    for number in 1..=5_000_000_u32 {
        assert_eq!(lines.next(), Some(number.to_string().as_bytes()));
    }
    assert_eq!((lines.next(), lines.next()), (Some(&b""[..]), None));
}

#[test]
fn an_interrupt_acts_at_once_however_slowly_the_flood_is_read() {
    let container = Container::idle("entry-bash");
    let gateway = Gateway::to(&container);
    let mut visitor = Visitor::v1(gateway.address, "/enter", terminal(&container));
    visitor.opened();
    visitor.type_in("yes\r");
    container.await_process("yes");
    // It reads a little, again and again, and never all.
    for _ in 0..20 {
        visitor.collect_one("the flood");
        thread::sleep(Duration::from_millis(10));
    }
    visitor.type_in("\x03");
    // Before anything more is read, the process has ended.
    container.await_sh("! pidof yes");
    visitor.type_in("echo status=$?\r");
    visitor.expect("status=130\r\n");
    visitor.leave();
    container.await_idle();
}

#[test]
fn a_process_that_does_not_read_stops_its_client_and_loses_nothing() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::start(&container.engine, &["--allow-container", "*", "--workers", "1"]);
    let script = "echo ready; until [ -e /tmp/go ]; do sleep 0.1; done; exec md5sum";
    let mut visitor = Visitor::v1(gateway.address, "/enter", pipes(&container, script));
    visitor.opened();
    visitor.expect("ready\n");
    let before = gateway.status("VmRSS");
    let (taken, thread) = type_all(visitor, paste(), true);
    let held = at_rest("what the client types", || taken.load(Ordering::SeqCst) as u64);
    assert!(held < PASTE_BYTES as u64, "{held} bytes were taken for a process that reads nothing");
    let grown = gateway.status("VmRSS");
    assert!(grown <= before + GROWTH_KIB_MAX, "{before} KiB, then {grown}");
    container.sh("touch /tmp/go");
    let goodbye = thread.join().unwrap().goodbye();
    assert_eq!((goodbye.outcome, goodbye.code), (Some((1, 0)), 1000));
    assert_eq!(String::from_utf8(goodbye.stdout).unwrap(), sum(&container, PASTE_BYTES));
}

#[test]
fn a_paste_into_a_terminal_arrives_whole() {
    let container = Container::idle("entry-bash");
    let gateway = Gateway::to(&container);
    let mut visitor = Visitor::v1(gateway.address, "/enter", terminal(&container));
    visitor.opened();
    visitor.type_in(&format!("stty raw -echo; echo re''ady; head -c {PASTE_BYTES} | md5sum; stty sane\r"));
    visitor.expect("ready");
    let (_, thread) = type_all(visitor, paste(), false);
    let mut visitor = thread.join().unwrap();
    visitor.expect(sum(&container, PASTE_BYTES).trim_end());
    visitor.leave();
}

/// What the container itself makes of the paste, given to it past the gateway.
fn sum(container: &Container, bytes: usize) -> String {
    let text = paste();
    assert_eq!(text.len(), bytes);
    let mut command = container.engine.docker(&["exec", "--interactive", &container.name, "md5sum"]);
    let child = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || std::io::Write::write_all(&mut stdin, &text).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
