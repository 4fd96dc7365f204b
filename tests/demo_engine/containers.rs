//! Containers: pause, kill, remove, start; logs and attach; what must not stay.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::time::{Duration, Instant};

use entry::demo::{DemoContainer, DemoEngine, DemoOptions, SocketPlace};
use serde_json::json;

use crate::client::{
    Client, PATIENCE, UPGRADE, demultiplex, engine, engine_with, eventually, exec, inspect, is_alive,
    is_stopped, shell,
};

#[test]
fn pause_stops_processes_and_kill_ends_them() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = exec(&mut client, "sleep 1000 & echo $!; cat", false);
    let never_started = Client::to(&engine).create("demo", &shell("true", false));
    // The answer of cat says that it has been started: its shell waits in no vfork any more.
    client.send(b"up\n");
    eventually("both lines are there", || {
        client.fill();
        client.ahead.ends_with(b"up\n")
    });
    let child = demultiplex(&std::mem::take(&mut client.ahead)).0.lines().next().unwrap().to_owned();
    let shell_pid = inspect(&engine, &id)["Pid"].to_string();

    assert!(engine.pause("demo") && !engine.pause("demo"));
    assert!(is_stopped(&child) && is_stopped(&shell_pid));
    let state = Client::to(&engine).ask("GET", "/containers/demo/json", None).json()["State"].clone();
    assert_eq!(
        (&state["Status"], &state["Paused"], &state["Running"]),
        (&json!("paused"), &json!(true), &json!(true))
    );
    let start = Client::to(&engine).ask("POST", &format!("/exec/{never_started}/start"), Some(&json!({})));
    assert_eq!(start.status, 409);
    // The stream hangs, and does not end.
    client.send(b"echo\n");
    client.be_patient_for(Duration::from_millis(300));
    assert!(client.try_fill().is_err());
    client.be_patient_for(PATIENCE);
    assert!(engine.unpause("demo") && !engine.unpause("demo"));
    eventually("cat goes on", || {
        client.fill();
        client.ahead.ends_with(b"echo\n")
    });

    assert!(engine.kill_container("demo"));
    client.rest();
    let killed = inspect(&engine, &id);
    assert_eq!((&killed["Running"], &killed["ExitCode"]), (&json!(false), &json!(137)));
    assert!(!is_alive(&child) && !is_alive(&shell_pid));
    let start = Client::to(&engine).ask("POST", &format!("/exec/{never_started}/start"), Some(&json!({})));
    assert_eq!((start.status, start.message()), (404, format!("No such exec instance: {never_started}")));

    engine.start_container("demo").unwrap();
    let mut client = Client::to(&engine);
    exec(&mut client, "echo again", false);
    assert_eq!(demultiplex(&client.rest()).0, "again\n");

    assert!(engine.remove_container("demo") && !engine.remove_container("demo"));
    assert_eq!(Client::to(&engine).ask("GET", "/containers/demo/json", None).status, 404);
    assert_eq!(Client::to(&engine).ask("GET", &format!("/exec/{id}/json"), None).status, 404);
}

fn talker(script: &str) -> DemoContainer {
    DemoContainer::named("main").running(&["sh", "-c", script])
}

fn log(engine: &DemoEngine, query: &str) -> Vec<u8> {
    let answer = Client::to(engine).ask("GET", &format!("/v1.51/containers/main/logs?{query}"), None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.body
}

#[test]
fn logs_by_stream_tail_and_terminal() {
    let script = "echo one; echo two; sleep 0.1; echo wrong >&2; sleep 0.1; printf three";
    let engine = engine_with(vec![talker(script)]);
    eventually("it has ended", || {
        Client::to(&engine).ask("GET", "/containers/main/json", None).json()["State"]["Running"]
            == json!(false)
    });
    eventually("all is logged", || demultiplex(&log(&engine, "stdout=1&tail=1")).0 == "three");
    for (query, out, err) in [
        ("stdout=1&stderr=1", "one\ntwo\nthree", "wrong\n"),
        ("stdout=1", "one\ntwo\nthree", ""),
        ("stderr=1&tail=all", "", "wrong\n"),
        ("stdout=1&stderr=1&tail=2", "three", "wrong\n"),
        ("stdout=1&tail=0", "", ""),
        ("stdout=1&follow=1", "one\ntwo\nthree", ""),
    ] {
        assert_eq!(demultiplex(&log(&engine, query)), (out.to_owned(), err.to_owned()), "{query}");
    }
    let stamped = demultiplex(&log(&engine, "stdout=1&tail=1&timestamps=1")).0;
    assert!(stamped.starts_with("20") && stamped.ends_with("Z three"), "{stamped}");
    let none = Client::to(&engine).ask("GET", "/containers/main/logs", None);
    assert_eq!(
        (none.status, none.message().as_str()),
        (400, "Bad parameters: you must choose at least one stream")
    );
    assert_eq!(Client::to(&engine).ask("GET", "/containers/nosuch/logs?stdout=1", None).status, 404);

    let engine =
        engine_with(vec![DemoContainer { tty: true, ..talker("echo out; echo err >&2; sleep 1000") }]);
    eventually("it has spoken", || log(&engine, "stdout=1") == b"out\r\nerr\r\n");
}

#[test]
fn logs_are_followed_to_the_end() {
    let engine = engine_with(vec![talker("echo first; while :; do echo more; sleep 0.05; done")]);
    let mut client = Client::to(&engine);
    client.request("GET", "/v1.51/containers/main/logs?stdout=1&follow=1", "", None);
    let (status, head) = client.head();
    assert_eq!(status, 200);
    assert!(head.contains("multiplexed-stream") && head.contains("Transfer-Encoding: chunked"));
    assert_eq!(demultiplex(&client.chunk()).0, "first\n");
    for _ in 0..5 {
        assert_eq!(demultiplex(&client.chunk()).0, "more\n");
    }
    engine.kill_container("main");
    while !client.chunk().is_empty() {}
    // The connection lives on.
    assert_eq!(client.ask("GET", "/_ping", None).text(), "OK");
}

#[test]
fn attach_shows_what_comes_and_what_was() {
    let script = "echo early; read line; echo \"got $line\"; echo bad >&2; read line; exit 3";
    let engine = engine_with(vec![
        DemoContainer { open_stdin: true, ..talker(script) },
        DemoContainer::named("still"),
    ]);
    eventually("it has spoken", || demultiplex(&log(&engine, "stdout=1")).0 == "early\n");
    let attach = |query: &str| {
        let mut client = Client::to(&engine);
        client.request("POST", &format!("/v1.51/containers/main/attach?{query}"), UPGRADE, None);
        let (status, head) = client.head();
        assert_eq!(status, 101);
        assert!(head.contains("multiplexed-stream") && !head.contains("Api-Version"), "{head}");
        client
    };
    // The log alone; nothing at all.
    assert_eq!(demultiplex(&attach("logs=1&stdout=1").rest()).0, "early\n");
    assert_eq!(attach("").rest(), b"");
    let mut past = attach("stream=1&logs=1&stdout=1&stderr=1");
    let mut typing = attach("stream=1&stdin=1&stdout=1");
    typing.send(b"it\n");
    typing.until("got it\n");
    // The end of a viewer's input is the end of his stream, not of the process' input.
    typing.end_input();
    typing.rest();
    let mut typing = attach("stream=1&stdin=1");
    typing.send(b"again\n");
    assert_eq!(demultiplex(&past.rest()), ("early\ngot it\n".to_owned(), "bad\n".to_owned()));
    eventually("it has ended", || {
        let state = Client::to(&engine).ask("GET", "/containers/main/json", None).json()["State"].clone();
        state["Running"] == json!(false) && state["ExitCode"] == 3
    });

    // Errors are text that ends with the connection.
    engine.pause("still");
    for (name, status, text) in [
        ("nosuch", "404 Not Found", "No such container: nosuch\r\n"),
        ("still", "409 Conflict", "container still is paused, unpause the container before attach\r\n"),
    ] {
        let mut client = Client::to(&engine);
        client.request("POST", &format!("/containers/{name}/attach?stream=1&stdout=1"), UPGRADE, None);
        let said = String::from_utf8(client.rest()).unwrap();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n");
        assert_eq!(said, format!("{head}{text}"));
    }
    // A stopped container: a stream that says nothing and ends with the next start.
    let mut client = attach("stream=1&stdout=1");
    client.be_patient_for(Duration::from_millis(200));
    assert!(client.try_fill().is_err());
    client.be_patient_for(PATIENCE);
    engine.start_container("main").unwrap();
    client.rest();
}

#[test]
fn a_viewer_that_does_not_read_stalls_the_container() {
    let engine = engine_with(vec![talker("i=0; while :; do i=$((i+1)); printf '%01000d\\n' $i; done")]);
    let mut client = Client::to(&engine);
    client.request("POST", "/containers/main/attach?stream=1&stdout=1", UPGRADE, None);
    client.head();
    let newest = || demultiplex(&log(&engine, "stdout=1&tail=1")).0;
    let mut last = (String::new(), Instant::now());
    eventually("it stands still", || {
        let now = newest();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(500)
    });
    drop(client);
    eventually("it goes on", || newest() != last.0);
}

#[test]
fn nothing_is_left_when_the_engine_ends() {
    let engine =
        engine_with(vec![DemoContainer::default(), talker("trap '' HUP TERM; while :; do sleep 1; done")]);
    let socket = engine.url().strip_prefix("unix://").unwrap().to_owned();
    let id_of = |name: &str| {
        Client::to(&engine).ask("GET", &format!("/containers/{name}/json"), None).json()["Id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let markers = [id_of("demo"), id_of("main")];
    let mut clients = Vec::new();
    for (script, tty) in [
        ("trap '' HUP INT TERM; echo up; while :; do sleep 1; done", true),
        ("setsid sleep 1000 & nohup sleep 1000 >/dev/null 2>&1 & echo up; cat", false),
        ("env -i sleep 1000 & echo up; exec cat", true),
        ("(setsid sh -c 'sleep 1000 & sleep 1000') & echo up; sleep 1000", true),
    ] {
        let mut client = Client::to(&engine);
        exec(&mut client, script, tty);
        client.until("up");
        clients.push(client);
    }
    // A leader that has ended, and a child of it that wears no marker any more.
    let mut client = Client::to(&engine);
    exec(&mut client, "trap '' HUP; env -i sleep 1000 & echo $!", true);
    let orphan = String::from_utf8(client.rest()).unwrap().trim().to_owned();
    assert!(is_alive(&orphan));
    // Connections that wait: for a request, for a start.
    let idle = Client::to(&engine);
    let mut waiting = Client::to(&engine);
    let never = waiting.create("demo", &shell("true", true));
    waiting.request("POST", &format!("/exec/{never}/resize?h=1&w=1"), "", None);

    let asked = Instant::now();
    engine.stop();
    assert!(asked.elapsed() < Duration::from_secs(8), "it waited for somebody: {:?}", asked.elapsed());
    for client in &mut clients {
        client.rest();
    }
    assert_eq!({ idle }.rest(), b"");
    assert!(!is_alive(&orphan));
    let left: Vec<String> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment).into_owned();
            markers.iter().any(|marker| environment.contains(marker.as_str())) && is_alive(pid)
        })
        .collect();
    assert_eq!(left, Vec::<String>::new());
    let socket = std::path::Path::new(&socket);
    assert!(!socket.exists() && !socket.parent().unwrap().exists());
}

#[test]
fn a_given_path_is_private_and_replaces_only_a_dead_socket() {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("entry-demo-given-{}.sock", std::process::id()));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let options = || DemoOptions { socket: SocketPlace::Path(path.clone()), ..DemoOptions::default() };
    let engine = DemoEngine::start(options()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(engine.url(), format!("unix://{}", path.display()));
    assert!(DemoEngine::start(options()).is_err(), "somebody listens there");
    assert_eq!(Client::to(&engine).ask("GET", "/_ping", None).text(), "OK");
    drop(engine);
    assert!(!path.exists());
}
