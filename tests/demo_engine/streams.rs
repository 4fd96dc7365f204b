//! The bytes of an exec and their ends.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Client, demultiplex, engine, eventually, exec, inspect, is_alive};

#[test]
fn megabytes_of_stdin_and_its_end() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = exec(&mut client, "wc -c; exit 5", false);
    let data = vec![b'x'; 4 * 1024 * 1024];
    client.send(&data);
    client.end_input();
    assert_eq!(demultiplex(&client.rest()).0.trim(), data.len().to_string());
    assert_eq!(inspect(&engine, &id)["ExitCode"], 5);
    // Without AttachStdin the process sees the end at once.
    let mut client = Client::to(&engine);
    let id = client.create("demo", &json!({"Cmd": ["wc", "-c"], "AttachStdout": true}));
    client.start(&id, &json!({}));
    assert_eq!(demultiplex(&client.rest()).0.trim(), "0");
}

#[test]
fn megabytes_of_output_come_whole() {
    let engine = engine();
    for tty in [true, false] {
        let mut client = Client::to(&engine);
        exec(&mut client, "head -c 5000000 /dev/zero | tr '\\0' x", tty);
        let bytes = client.rest();
        let length = if tty { bytes.len() } else { demultiplex(&bytes).0.len() };
        assert_eq!(length, 5_000_000);
    }
}

#[test]
fn half_close_of_a_terminal_ends_the_stream_and_not_the_process() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = exec(&mut client, "echo up; cat; echo never", true);
    client.until("up");
    client.end_input();
    client.rest();
    let inspect = inspect(&engine, &id);
    assert_eq!(inspect["Running"], json!(true));
    assert!(is_alive(&inspect["Pid"].to_string()));
}

#[test]
fn a_closed_connection_leaves_the_process() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = exec(&mut client, "echo up; sleep 1000", true);
    client.until("up");
    drop(client);
    let inspect = inspect(&engine, &id);
    assert!(is_alive(&inspect["Pid"].to_string()));
}

#[test]
fn running_lies_when_output_found_no_client() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = exec(&mut client, "echo up; while :; do echo more; sleep 0.01; done", false);
    client.until("up");
    drop(client);
    eventually("inspect takes it for ended", || inspect(&engine, &id)["Running"] == json!(false));
    let inspect = inspect(&engine, &id);
    assert_eq!(inspect["ExitCode"], 126);
    assert!(is_alive(&inspect["Pid"].to_string()));
}

#[test]
fn background_children_do_not_hold_a_terminal() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = exec(&mut client, "trap '' HUP; sleep 1000 & echo last; exit 4", true);
    let asked = Instant::now();
    assert_eq!(client.rest(), b"last\r\n");
    assert!(asked.elapsed() < Duration::from_secs(10), "it did not wait for the child");
    assert_eq!(inspect(&engine, &id)["ExitCode"], 4);
}

#[test]
fn background_children_hold_pipes_for_two_seconds() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = exec(&mut client, "sleep 1000 & echo last; exit 4", false);
    let asked = Instant::now();
    assert_eq!(demultiplex(&client.rest()).0, "last\n");
    assert!(asked.elapsed() > Duration::from_millis(1500), "{:?}", asked.elapsed());
    assert_eq!(inspect(&engine, &id)["ExitCode"], 4);
}

#[test]
fn a_client_that_does_not_read_stalls_the_process() {
    let engine = engine();
    let counter = std::env::temp_dir().join(format!("entry-demo-test-{}", std::process::id()));
    for tty in [true, false] {
        let mut client = Client::to(&engine);
        let script = format!(
            "i=0; while [ $i -lt 400 ]; do head -c 10000 /dev/zero | tr '\\0' x; i=$((i+1)); echo $i >{}; done",
            counter.display()
        );
        exec(&mut client, &script, tty);
        let read =
            || std::fs::read_to_string(&counter).ok().and_then(|text| text.trim().parse::<usize>().ok());
        let mut last = (None, Instant::now());
        eventually("it stands still", || {
            if read() != last.0 {
                last = (read(), Instant::now());
            }
            last.0.is_some() && last.1.elapsed() > Duration::from_millis(500)
        });
        assert!(last.0.unwrap() < 400, "it ran on without its reader");
        let bytes = client.rest();
        let length = if tty { bytes.len() } else { demultiplex(&bytes).0.len() };
        assert_eq!(length, 4_000_000, "and nothing is lost");
        std::fs::remove_file(&counter).unwrap();
    }
}

#[test]
fn an_interactive_shell_on_a_terminal() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = client.create(
        "demo",
        &json!({"Cmd": ["sh", "-i"], "Tty": true, "AttachStdin": true, "AttachStdout": true, "Env": ["PS1=> "]}),
    );
    client.start(&id, &json!({"Tty": true, "ConsoleSize": [24, 80]}));
    client.until("> ");
    client.send(b"cat\r");
    client.send(b"hello\r");
    client.until("hello\r\nhello\r\n");
    client.send(b"\x03");
    client.until("> ");
    client.send(b"exit 9\r");
    client.rest();
    assert_eq!(inspect(&engine, &id)["ExitCode"], 9);
}
