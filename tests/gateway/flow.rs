//! Flow control, both ways and with much data: what one side does not take is held back at the other, and nothing is
//! lost, doubled or kept in the gateway.

use crate::client::{Client, hello, hello_tty};
use crate::support::{Directory, Serving, at_rest, eventually};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

/// What a stalled stream of whatever size may cost the gateway, in KiB.
const GROWTH_KIB_MAX: u64 = 4096;
/// The size of a message of input.
const PIECE: usize = 32 * 1024;

fn serving() -> Serving {
    Serving::start(&["--demo", "--workers", "1"])
}

/// Bytes that are different wherever one looks.
fn pattern(count: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| (number.wrapping_mul(2_654_435_761)).to_le_bytes()).take(count).collect()
}

/// Sends all of it from a thread of its own, and counts what has gone.
fn type_all(client: &Client, bytes: Vec<u8>) -> (Arc<AtomicU64>, JoinHandle<()>) {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let stream = client.socket.get_ref().try_clone().unwrap();
    let thread = thread::spawn(move || {
        for piece in bytes.chunks(PIECE) {
            let frame = crate::raw::frame(crate::raw::BINARY, &crate::raw::plain(piece));
            std::io::Write::write_all(&mut &stream, &frame).unwrap();
            count.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
    });
    (sent, thread)
}

#[test]
fn a_client_that_does_not_read_costs_nothing_and_loses_nothing() {
    let serving = serving();
    let command = "echo ready; read go; seq 1 6500000; exit 5";
    let mut client = Client::enter(serving.address, hello(&["sh", "-c", command])).opened();
    client.until("ready\n");
    let before = serving.status("VmRSS");
    client.type_in("go\n");
    at_rest("what the gateway reads", || serving.bytes_read());
    assert!(serving.status("VmHWM") < before + GROWTH_KIB_MAX, "{before} {}", serving.status("VmHWM"));

    for number in (1..=6_500_000).step_by(500_000) {
        let lines: String = (number..number + 500_000).map(|line| format!("{line}\n")).collect();
        assert!(client.take(lines.len()) == lines.as_bytes(), "the lines from {number} on");
    }
    let end = client.end();
    assert_eq!((end.out.as_str(), end.exit_status), ("", 5));
    assert!(serving.status("VmHWM") < before + GROWTH_KIB_MAX, "{before} {}", serving.status("VmHWM"));
}

#[test]
fn a_process_that_does_not_read_holds_its_client_back() {
    const BYTES: usize = 20 << 20;
    let serving = serving();
    let directory = Directory::new();
    let go = directory.file("go");
    let command = format!("echo ready; until [ -e {go} ]; do sleep 0.05; done; exec cat");
    let mut client = Client::enter(serving.address, hello(&["sh", "-c", &command])).opened();
    client.until("ready\n");
    let before = serving.status("VmRSS");
    let (sent, thread) = type_all(&client, pattern(BYTES));
    let held = at_rest("what the client sends", || sent.load(Ordering::SeqCst));
    assert!(held < BYTES as u64, "{held} bytes were taken for a process that reads nothing");
    assert!(serving.status("VmHWM") < before + GROWTH_KIB_MAX, "{before} {}", serving.status("VmHWM"));

    // Now it reads and writes back, and it is the client that does not read: both ways stand still.
    fs::write(go, "").unwrap();
    eventually("the process to read", || sent.load(Ordering::SeqCst) > held);
    at_rest("what the client sends", || sent.load(Ordering::SeqCst));
    assert!(serving.status("VmHWM") < before + GROWTH_KIB_MAX, "{before} {}", serving.status("VmHWM"));

    assert!(client.take(BYTES) == pattern(BYTES), "every byte comes back, in order");
    thread.join().unwrap();
    client.end_stdin();
    let end = client.end();
    assert_eq!((end.out.as_str(), end.exit_status), ("", 0));
}

#[test]
fn an_interrupt_reaches_a_process_whose_output_is_stuck() {
    let serving = serving();
    let directory = Directory::new();
    let file = directory.file("interrupted");
    let script = format!("trap 'touch {file}; exit 9' INT; echo ready; while :; do echo much to say; done");
    let mut client = Client::enter(serving.address, hello_tty(&["sh", "-c", &script])).opened();
    client.until("ready\r\n");
    at_rest("what the gateway reads", || serving.bytes_read());
    client.type_in("\x03");
    eventually("the process to be interrupted", || fs::exists(&file).unwrap());
    assert_eq!(client.end().exit_status, 9);
}

#[test]
fn pings_and_sizes_of_a_client_that_does_not_read_make_no_pile() {
    use crate::raw::{BINARY, PING, Raw, frame};
    let serving = serving();
    let command = "echo ready; read go; exec cat /dev/zero";
    let mut raw = Raw::open(serving.address, hello_tty(&["sh", "-c", command]));
    while !raw.frame().1.ends_with(b"ready\r\n") {}
    let before = serving.status("VmRSS");
    raw.send(frame(BINARY, &crate::raw::plain(b"go\n")));
    at_rest("what the gateway reads", || serving.bytes_read());
    let message =
        |columns: u32| frame(BINARY, &[b"\x08\x01\x12\x06", format!("{columns} 1").as_bytes()].concat());
    let flood = [frame(PING, &[1; 125]), message(1000), frame(PING, b""), message(2000)].concat();
    // 13 MB: all are read, none is answered.
    for _ in 0..2000 {
        raw.send(flood.repeat(40));
    }
    assert!(serving.status("VmHWM") < before + GROWTH_KIB_MAX, "{before} {}", serving.status("VmHWM"));
}
