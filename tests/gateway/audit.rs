//! Who was in which container, written down: what stands there, what never does, and what happens when nothing can be
//! written.

use crate::client::{Client, hello, hello_tty};
use crate::fake::{BYE, CONTAINER, Fake, PROMPT, usual};
use crate::support::{Directory, Serving, await_some, eventually, program};
use entry::access::tokens;
use entry::wire::message::Hello;
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
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
    assert_eq!(enter("entry_secret-of-eve", hello(&["id"])).end().outcome, 15);

    let records = await_records(&audit, 4);
    assert_eq!(records.len(), 4);
    let [opened, ended, not_granted, unknown] = &records[..] else { panic!() };
    for record in [opened, ended] {
        assert_eq!(record["user"], "ada");
        assert_eq!(record["token"], hash[..12]);
        assert_eq!((&record["right"], &record["target"]), (&"exec".into(), &"container:demo".into()));
        assert_eq!(record["command"], serde_json::json!(["cat", "a b"]));
        assert_eq!((&record["container"], &record["engine"]), (&CONTAINER.into(), &"main".into()));
        assert_eq!(record["address"], "127.0.0.1");
        assert_eq!(record["session"], opened["session"]);
        assert!(record["time"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!((&opened["event"], &opened["outcome"]), (&"opened".into(), &Value::Null));
    assert_eq!((&ended["event"], &ended["outcome"]), (&"ended".into(), &"exited".into()));
    assert_eq!((&ended["status"], &ended["input_bytes"]), (&7.into(), &18.into()));
    assert_eq!(ended["output_bytes"], 14 + PROMPT.len());
    assert!(ended["seconds"].as_u64().unwrap() < 60);
    assert_eq!((&not_granted["event"], &not_granted["outcome"]), (&"refused".into(), &"refused".into()));
    assert_eq!((&not_granted["right"], &not_granted["token"]), (&"enter".into(), &hash[..12].into()));
    assert_eq!((&not_granted["user"], &not_granted["status"]), (&Value::Null, &Value::Null));
    assert!(not_granted["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    assert_eq!(unknown["command"], serde_json::json!(["id"]));
    assert_ne!(unknown["token"], not_granted["token"]);

    // The README tells of every field, and of no other.
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let told = readme.split_once("### Audit").unwrap().1.split_once("\n#").unwrap().0;
    for record in &records {
        for name in record.as_object().unwrap().keys() {
            assert!(told.contains(&format!("`{name}`")), "the README does not tell of {name}");
        }
    }

    let text = fs::read_to_string(&audit).unwrap() + &serving.log();
    for secret in ["secret-of", "typed", PROMPT] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    // A person who was refused has the name under which the log has it, line by line.
    let session = not_granted["session"].as_str().unwrap();
    let lines: Vec<Value> = serving.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_session: Vec<&Value> = lines.iter().filter(|line| line["session"] == session).collect();
    assert!(!of_session.is_empty(), "{lines:?}");
    assert!(of_session.iter().all(|line| line["time"].is_string() && line["level"] == "info"));
    assert!(of_session[0]["message"].as_str().unwrap().starts_with("ended, refused: "), "{of_session:?}");
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
}

#[test]
fn a_renamed_file_is_begun_anew_at_a_signal() {
    let engine = Fake::unix(usual);
    let directory = Directory::new();
    let (audit, old) = (directory.file("audit"), directory.file("old"));
    let serving = Serving::start(&["--engine", &engine.url, "--allow-container", "*", "--audit", &audit]);
    let visit = || Client::enter(serving.address, hello(&["cat"])).opened().type_in(BYE);
    visit();
    await_records(&audit, 2);
    fs::rename(&audit, &old).unwrap();
    serving.signal(libc::SIGHUP);
    eventually("a file anew", || {
        visit();
        records(&audit).len() >= 2
    });
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
    // The first one finds out; whoever comes then is told so.
    let first = Client::enter(serving.address, hello(&["cat"])).opened();
    let refused = await_some("a refusal", || {
        let mut raw = crate::raw::Raw::to(serving.address);
        raw.send(crate::raw::upgrade("/enter", ""));
        let head = raw.http_head();
        head.contains(" 503 ").then_some(head)
    });
    assert!(refused.contains("Retry-After"), "{refused}");
    eventually("the log's word", || serving.log().contains("until they can be, nobody new is let in"));
    fs::remove_file(&audit).unwrap();
    eventually("records to be written", || {
        serving.log().contains("audit records are written again; 0 were lost")
    });
    drop(first);
    let mut client = Client::enter(serving.address, hello(&["cat"])).opened();
    client.type_in(BYE);
    client.end();
    let written = await_records(&audit, 4);
    assert_eq!(written[0]["event"], "opened", "what had waited was not lost");
}

#[test]
fn records_may_go_to_standard_output() {
    let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--demo", "--audit", "-"]);
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
    let opened: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let ended: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&opened["event"], &ended["status"]), (&"opened".into(), &3.into()));
    child.kill().unwrap();
    child.wait().unwrap();
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
        let mut all = vec!["serve", "--demo", "--listen", "127.0.0.1:0"];
        all.extend(&arguments);
        let output = program(&all).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(words), "{arguments:?}: {told}");
    }
}
