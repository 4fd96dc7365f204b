//! Who was in which container, written down: what stands there, what never does, and what happens when nothing can be
//! written.

use crate::client::{Client, hello, hello_tty};
use crate::fake::{BYE, CONTAINER, Fake, PROMPT, usual};
use crate::raw::{Raw, upgrade};
use crate::support::{Directory, PATIENCE, Serving, await_some, eventually, program, starts_not};
use entry::access::tokens;
use entry::audit::{EVENTS, Record};
use entry::wire::message::{Codec, Hello};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;

/// The records that stand there so far.
fn records(path: impl AsRef<Path>) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

fn await_records(path: &str, count: usize) -> Vec<Value> {
    await_some("the records", || Some(records(path)).filter(|records| records.len() >= count))
}

#[test]
fn who_was_where_is_written_down_and_no_secret_is() {
    let engine = Fake::unix(usual);
    let directory = Directory::new();
    let (file, audit) = (directory.file("tokens.toml"), directory.file("audit"));
    let hash = tokens::hex(&tokens::hash("entry_secret-of-ada"));
    fs::write(&file, format!("[[token]]\nuser = \"ada\"\nsha256 = \"{hash}\"\nexec = [\"container:*\"]\n"))
        .unwrap();
    let access = format!("tokens={file}");
    let serving = Serving::start(&[
        "--engine",
        &format!("main={}", engine.url),
        "--allow-container",
        "*",
        "--access",
        &access,
        "--audit",
        &audit,
        "--log-format",
        "json",
    ]);
    let with_token = |token: &str, hello: Hello| Hello { access_token: token.to_owned(), ..hello };
    let enter = |token: &str, hello: Hello| Client::enter(serving.address, with_token(token, hello));
    let mut client = enter("entry_secret-of-ada", hello(&["cat", "a b"])).opened();
    client.type_in("a typed secret");
    client.until("a typed secret");
    client.type_in(BYE);
    assert_eq!(client.end().exit_status, 7);
    let refused = enter("entry_secret-of-ada", hello_tty(&[])).end();
    assert_eq!(refused.outcome, 15);
    let stranger = enter("entry_secret-of-eve", hello(&["id"])).end();
    assert_eq!(stranger.outcome, 15);

    let records = await_records(&audit, 5);
    let [started, opened, ended, not_granted, unknown] = &records[..] else { panic!("{records:?}") };
    assert_eq!(
        (&started["event"], &started["version"]),
        (&"started".into(), &env!("CARGO_PKG_VERSION").into())
    );
    let boot = started["session"].as_str().unwrap();
    for record in [opened, ended] {
        assert_eq!(record["user"], "ada");
        assert_eq!(record["token"], hash[..12]);
        assert_eq!((&record["right"], &record["target"]), (&"exec".into(), &"container:demo".into()));
        assert_eq!(record["command"], serde_json::json!(["cat", "a b"]));
        assert_eq!((&record["container"], &record["engine"]), (&opened["container"], &"main".into()));
        // As its engine was asked for it: by its name, or by its id.
        assert!(["demo", CONTAINER].contains(&record["container"].as_str().unwrap()), "{record}");
        assert_eq!(record["address"], "127.0.0.1");
        assert_eq!(record["session"], opened["session"]);
        assert!(record["session"].as_str().unwrap().starts_with(boot), "{record}");
        assert!(record["time"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!((&opened["event"], &opened["outcome"]), (&"opened".into(), &Value::Null));
    assert_eq!((&ended["event"], &ended["outcome"]), (&"ended".into(), &"exited".into()));
    assert_eq!((&ended["status"], &ended["input_bytes"]), (&7.into(), &18.into()));
    assert_eq!(ended["output_bytes"], 18 + PROMPT.len());
    assert!(ended["seconds"].as_u64().unwrap() < 60);
    assert_eq!((&not_granted["event"], &not_granted["outcome"]), (&"refused".into(), &"refused".into()));
    assert_eq!((&not_granted["right"], &not_granted["token"]), (&"enter".into(), &hash[..12].into()));
    assert_eq!((&not_granted["user"], &not_granted["status"]), (&Value::Null, &Value::Null));
    assert!(not_granted["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    assert_eq!(unknown["command"], serde_json::json!(["id"]));
    assert_ne!(unknown["token"], not_granted["token"]);

    let text = fs::read_to_string(&audit).unwrap() + &serving.log();
    for secret in ["secret-of", "typed", PROMPT] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    // A person who was refused has the name under which the log has everything about it.
    for (end, record, token) in
        [(&refused, not_granted, &hash[..12]), (&stranger, unknown, unknown["token"].as_str().unwrap())]
    {
        assert_eq!(record["session"], end.session);
        let line = await_some("the line of the session", || {
            let of_session = |line: &Value| line["session"] == end.session;
            serving.log().lines().map(|line| serde_json::from_str(line).unwrap()).find(of_session)
        });
        assert_eq!((&line["level"], &line["outcome"]), (&"info".into(), &"refused".into()), "{line}");
        let message = line["message"].as_str().unwrap();
        assert!(message.starts_with("ended, refused: ") && line["time"].is_string(), "{line}");
        for words in ["container:demo", "from 127.0.0.1", token, record["right"].as_str().unwrap()] {
            assert!(message.contains(words), "{words}: {message}");
        }
    }
}

/// What the README says of records: each field in a row of its own, each event, and nothing else.
#[test]
fn the_readme_tells_of_every_field_and_event() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let told = readme.split_once("### Audit").unwrap().1.split_once("\n#").unwrap().0;
    let rows: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    let mut names: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.split_once(" |").unwrap().0.split(", "))
        .map(|name| name.trim_matches('`'))
        .collect();
    names.sort_unstable();
    let some = Some("x");
    let whole = Record {
        time: "x".into(),
        event: "opened",
        session: "x".into(),
        user: some,
        token: "x",
        right: "x",
        target: "x",
        command: &["x".to_owned()],
        cut: true,
        container: "x",
        engine: "x",
        address: Some("x".into()),
        watches: Some("x".into()),
        line: some,
        inferred: true,
        alert: some,
        outcome: some,
        detail: Some("x".into()),
        status: Some(1),
        seconds: Some(1),
        input_bytes: Some(1),
        output_bytes: Some(1),
        lost: Some(1),
        version: some,
    };
    let Value::Object(whole) = serde_json::to_value(&whole).unwrap() else { panic!() };
    let mut fields: Vec<&str> = whole.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(names, fields);
    let events = rows.iter().find(|row| row.starts_with("event`")).unwrap();
    for event in EVENTS {
        assert!(events.contains(&format!("`{event}`")), "the README does not tell of {event}");
    }
    assert_eq!(events.matches('`').count(), 2 * EVENTS.len() + 1);
}

#[test]
fn names_are_of_one_run_of_one_gateway() {
    let engine = Fake::unix(usual);
    let directory = Directory::new();
    let audit = directory.file("audit");
    for _ in 0..2 {
        let mut serving =
            Serving::start(&["--engine", &engine.url, "--allow-container", "*", "--audit", &audit]);
        for _ in 0..2 {
            Client::enter(serving.address, hello(&["cat"])).opened().type_in(BYE);
        }
        serving.signal(libc::SIGTERM);
        assert!(serving.wait().success());
    }
    let records = records(&audit);
    let told = |event: &str| -> Vec<&str> {
        let of_event = records.iter().filter(|record| record["event"] == event);
        of_event.map(|record| record["session"].as_str().unwrap()).collect()
    };
    let runs = told("started");
    assert_eq!(told("stopped"), runs, "what ends in order says so");
    assert_ne!(runs[0], runs[1]);
    let mut sessions = told("opened");
    let mut ended = told("ended");
    assert!(sessions[..2].iter().all(|name| name.starts_with(runs[0])), "{sessions:?}");
    assert!(sessions[2..].iter().all(|name| name.starts_with(runs[1])), "{sessions:?}");
    sessions.sort_unstable();
    sessions.dedup();
    ended.sort_unstable();
    assert_eq!((sessions.len(), &sessions), (4, &ended));
}

#[test]
fn whoever_is_refused_reads_the_session_s_name() {
    let engine = Fake::unix(usual);
    let serving = Serving::start(&["--engine", &engine.url]);
    let mut command = program(&["enter", "--container", "demo", "--", "id"]);
    let output = command.env("ENTRY_GATEWAY", format!("ws://{}", serving.address)).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let (_, behind) = told.split_once("(session ").unwrap_or_else(|| panic!("no name: {told}"));
    let name = behind.split_once(')').unwrap().0;
    eventually("the line of the session", || {
        serving.log().contains(&format!("session {name}: ended, refused: "))
    });
    // Clients that know of no field for it have it in the text, and nobody at a good end.
    let lain = |headers: &[(&'static str, &str)]| {
        Client::connect(serving.address, "/enter", Codec::Protobuf, headers)
    };
    let told = lain(&[("container", "demo")]).end().text;
    let name = told
        .split_once("(session ")
        .unwrap_or_else(|| panic!("no name: {told}"))
        .1
        .trim_end_matches(')')
        .to_owned();
    eventually("the line of the session", || {
        serving.log().contains(&format!("session {name}: ended, refused: "))
    });
    // Who is turned away before there is a WebSocket reads it too.
    let mut raw = Raw::to(serving.address);
    raw.send(upgrade("/enter?token=secret", ""));
    let told = String::from_utf8(raw.rest()).unwrap();
    let name = told.rsplit_once("session ").unwrap_or_else(|| panic!("no name: {told}")).1.trim_end();
    eventually("the line of the session", || {
        serving
            .log()
            .contains(&format!("session {name}: turned away with 400, from 127.0.0.1: A token must not"))
    });
    assert!(!serving.log().contains("secret"));
}

#[test]
fn a_renamed_file_is_begun_anew_at_a_signal() {
    let engine = Fake::unix(usual);
    let directory = Directory::new();
    let (audit, old) = (directory.file("audit"), directory.file("old"));
    let serving = Serving::start(&["--engine", &engine.url, "--allow-container", "*", "--audit", &audit]);
    let visit = || {
        let (mut client, session) = Client::enter(serving.address, hello(&["cat"])).opened_as();
        client.type_in(BYE);
        client.end();
        session
    };
    let mut sessions = vec![visit()];
    await_records(&audit, 3);
    fs::rename(&audit, &old).unwrap();
    serving.signal(libc::SIGHUP);
    eventually("a file anew", || {
        sessions.push(visit());
        records(&audit).len() >= 2
    });
    let written = || -> Vec<Value> { [records(&old), records(&audit)].concat() };
    eventually("all of them", || written().len() == 1 + 2 * sessions.len());
    for (pair, session) in written()[1..].chunks(2).zip(&sessions) {
        assert_eq!((&pair[0]["event"], &pair[1]["event"]), (&"opened".into(), &"ended".into()));
        assert!(pair.iter().all(|record| record["session"] == *session), "none is lost, none is torn");
    }
}

#[test]
fn where_records_are_required_nobody_is_in_without() {
    let engine = Fake::unix(usual);
    let directory = Directory::new();
    let audit = directory.file("audit");
    std::os::unix::fs::symlink("/dev/full", &audit).unwrap();
    let arguments =
        ["--engine", &engine.url, "--allow-container", "*", "--audit", &audit, "--audit-required"];
    let serving = Serving::start(&arguments);
    // That it starts could not be written: nobody has to find out.
    eventually("the log's word", || serving.log().contains("until they can be, nobody new is let in"));
    let refused = await_some("a refusal", || {
        let mut raw = Raw::to(serving.address);
        raw.send(upgrade("/enter", ""));
        let head = raw.http_head();
        head.contains(" 503 ").then_some(head)
    });
    assert!(refused.contains("Retry-After"), "{refused}");
    fs::remove_file(&audit).unwrap();
    eventually("records to be written", || {
        serving.log().contains("audit records are written again; 0 were lost")
    });
    let mut client = Client::enter(serving.address, hello(&["cat"])).opened();
    client.type_in(BYE);
    client.end();
    let written = await_records(&audit, 3);
    assert_eq!(written[0]["event"], "started", "what had waited was not lost");
}

#[test]
fn where_records_are_not_required_sessions_go_on_and_what_is_lost_is_counted() {
    let engine = Fake::unix(usual);
    let directory = Directory::new();
    let audit = directory.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&audit).status().unwrap().success());
    let serving = Serving::start(&[
        "--engine",
        &engine.url,
        "--allow-container",
        "*",
        "--audit",
        &audit,
        "--admin-listen",
        "0",
    ]);
    let admin: SocketAddr = await_some("the operators' address", || {
        serving.log().split_once("operators are answered at ")?.1.lines().next()?.parse().ok()
    });
    // A pipe that nobody reads holds no loop: whoever comes is served at once, many of them.
    let echo = |address| {
        let mut client = Client::enter(address, hello(&["cat"])).opened();
        client.type_in("x");
        client.until("x");
    };
    (0..20).for_each(|_| echo(serving.address));
    let metric = |name: &str| -> u64 {
        let mut raw = Raw::to(admin);
        raw.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let text = String::from_utf8(raw.rest()).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
    };
    assert_eq!((metric("entry_audit_failing"), metric("entry_ready")), (1, 1));
    assert!(metric("entry_audit_waiting") >= 21, "the start, and who came");
    // Somebody reads at last: everything that waited is there.
    let mut lines = BufReader::new(fs::File::open(&audit).unwrap()).lines();
    let next: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next["event"], "started");
    for _ in 0..20 {
        lines.next().unwrap().unwrap();
    }
    eventually("the recovery", || metric("entry_audit_failing") == 0);
    assert!(metric("entry_audit_records_total{result=\"written\"}") >= 21);
    assert_eq!(metric("entry_audit_records_total{result=\"lost\"}"), 0);
}

#[test]
fn records_may_go_to_standard_output() {
    let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--demo", "--audit", "stdout"]);
    command.stdout(Stdio::piped());
    let directory = Directory::new();
    let mut child = command.envs(directory.environment()).spawn().unwrap();
    let address = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("listening on ")?.1.parse().ok())
        .unwrap();
    assert_eq!(Client::enter(address, hello(&["sh", "-c", "exit 3"])).end().exit_status, 3);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut record = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let [started, opened, ended] = [record(), record(), record()];
    assert_eq!((&started["event"], &opened["event"]), (&"started".into(), &"opened".into()));
    assert_eq!((&ended["event"], &ended["status"]), (&"ended".into(), &3.into()));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn records_may_go_to_syslog() {
    let directory = Directory::new();
    let path = directory.file("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let engine = Fake::unix(usual);
    let to = format!("syslog={path}");
    let serving = Serving::start(&["--engine", &engine.url, "--audit", &to]);
    let mut buffer = vec![0; 64 * 1024];
    let mut next = || {
        let count = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        let (head, record) = text.split_once(": ").unwrap();
        assert_eq!(head, format!("<86>entry[{}]", serving.pid()));
        serde_json::from_str::<Value>(record).unwrap()
    };
    assert_eq!(next()["event"], "started");
    assert_eq!(Client::enter(serving.address, hello(&["id"])).end().outcome, 15);
    assert_eq!(next()["event"], "refused");
}

#[test]
fn audit_options_that_cannot_hold_are_refused() {
    let directory = Directory::new();
    let missing = directory.file("no/audit");
    let table = [
        (vec!["--audit-required"], "goes with --audit"),
        (vec!["--audit", &missing], "no/audit: No such file"),
        (vec!["--log-format", "xml"], "takes text or json"),
    ];
    for (arguments, words) in table {
        starts_not(&arguments, words);
    }
}
