//! Execs: create, start, inspect, windows.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::time::{Duration, Instant};

use entry::demo::{DemoContainer, DemoEngine};
use serde_json::{Value, json};

use crate::client::{
    Answer, Client, UPGRADE, demultiplex, engine, engine_with, eventually, exec, inspect, is_alive, shell,
};

#[test]
fn create_refuses_what_the_engine_refuses() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = client.ask("GET", "/containers/demo/json", None).json()["Id"].as_str().unwrap().to_owned();
    let mut create = |name: &str, kind: &str, body: &str| {
        client.send(
            format!(
                "POST /v1.51/containers/{name}/exec HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
        let answer = client.answer();
        (answer.status, answer.json()["message"].as_str().unwrap_or_default().to_owned())
    };
    const JSON: &str = "Content-Type: application/json\r\n";
    for (name, kind, body, status, text) in [
        ("nosuch", JSON, r#"{"Cmd":["true"]}"#, 404, "No such container: nosuch"),
        ("demo", JSON, r#"{"Cmd":["#, 400, "invalid JSON: "),
        ("demo", JSON, r#"{"Cmd":"true"}"#, 400, "invalid JSON: "),
        ("demo", JSON, "", 400, "No exec command specified"),
        ("demo", JSON, "{}", 400, "No exec command specified"),
        ("demo", JSON, r#"{"Cmd":[]}"#, 400, "No exec command specified"),
        ("demo", JSON, r#"{"Cmd":["true"]} more"#, 400, "unexpected content after JSON"),
        ("demo", "", r#"{"Cmd":["true"]}"#, 400, "malformed Content-Type header"),
        (
            "demo",
            "Content-Type: text/plain\r\n",
            r#"{"Cmd":["true"]}"#,
            400,
            "unsupported Content-Type header",
        ),
        (
            "demo",
            JSON,
            r#"{"Cmd":["true"],"User":"nosuch"}"#,
            400,
            "unable to find user nosuch: no matching entries in passwd file",
        ),
        (
            "demo",
            JSON,
            r#"{"Cmd":["true"],"DetachKeys":"ctrl-^,ctrl-_","Privileged":true,"Later":[1]}"#,
            201,
            "",
        ),
        (
            "demo",
            "Content-Type: application/json; charset=utf-8\r\n",
            r#"{"Cmd":["true"],"Env":null}"#,
            201,
            "",
        ),
    ] {
        let (is, message) = create(name, kind, body);
        assert_eq!(is, status, "{body}: {message}");
        assert!(message.starts_with(text), "{body}: {message}");
    }
    engine.pause("demo");
    let (status, message) = create("demo", JSON, r#"{"Cmd":["true"]}"#);
    assert_eq!(
        (status, message),
        (409, "container demo is paused, unpause the container before exec".to_owned())
    );
    engine.kill_container("demo");
    let (status, message) = create("demo", JSON, r#"{"Cmd":["true"]}"#);
    assert_eq!((status, message), (409, format!("container {id} is not running")));
}

#[test]
fn framing_follows_the_start_and_the_terminal_the_create() {
    let engine = engine();
    let script = "test -t 1 && echo terminal || echo pipe; echo wrong >&2";
    for (create, start, expected) in [
        (true, true, ("raw", "terminal\r\nwrong\r\n", "")),
        (true, false, ("framed", "terminal\r\nwrong\r\n", "")),
        (false, true, ("raw", "pipe\n", "")),
        (false, false, ("framed", "pipe\n", "wrong\n")),
    ] {
        for upgrade in [UPGRADE, "", "Upgrade: websocket\r\n"] {
            let mut client = Client::to(&engine);
            let id = client.create("demo", &shell(script, create));
            client.request("POST", &format!("/v1.51/exec/{id}/start"), upgrade, Some(&json!({"Tty": start})));
            let (status, head) = client.head();
            assert_eq!(status, if upgrade.is_empty() { 200 } else { 101 });
            let multiplexed = head.contains("application/vnd.docker.multiplexed-stream");
            assert_eq!(multiplexed, !start && !upgrade.is_empty(), "{head}");
            assert!(!head.contains("Content-Length") && !head.contains("chunked"));
            let bytes = client.rest();
            let (out, err) = match expected.0 {
                "raw" => (String::from_utf8(bytes).unwrap(), String::new()),
                _ => demultiplex(&bytes),
            };
            assert_eq!(
                (out.as_str(), err.as_str()),
                (expected.1, expected.2),
                "{create} {start} {upgrade:?}"
            );
            let inspect = inspect(&engine, &id);
            assert_eq!((&inspect["Running"], &inspect["ExitCode"]), (&json!(false), &json!(0)));
        }
    }
    // Old versions have no name for framed streams; an empty body means no terminal.
    let mut client = Client::to(&engine);
    let id = client.create("demo", &shell("echo out", false));
    client.request("POST", &format!("/v1.41/exec/{id}/start"), UPGRADE, None);
    assert!(client.head().1.contains("application/vnd.docker.raw-stream"));
    assert_eq!(demultiplex(&client.rest()), ("out\n".to_owned(), String::new()));
}

#[test]
fn exit_statuses_are_in_inspect_when_the_stream_ends() {
    let engine = engine();
    for tty in [true, false] {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
            let mut client = Client::to(&engine);
            let id = exec(&mut client, script, tty);
            client.rest();
            let inspect = inspect(&engine, &id);
            assert_eq!(
                (&inspect["Running"], &inspect["ExitCode"]),
                (&json!(false), &json!(code)),
                "{script} {tty}"
            );
            assert_ne!(inspect["Pid"], 0);
        }
    }
}

#[test]
fn inspect_tells_what_was_asked_for() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let mut body = shell("read line", false);
    body["User"] = json!(inspect_user());
    body["AttachStderr"] = json!(false);
    let id = client.create("demo", &body);
    let before = inspect(&engine, &id);
    assert_eq!(
        (&before["Running"], &before["ExitCode"], &before["Pid"]),
        (&json!(false), &Value::Null, &json!(0))
    );
    client.start(&id, &json!({"Tty": false}));
    eventually("it runs", || inspect(&engine, &id)["Running"] == json!(true));
    let during = inspect(&engine, &id);
    assert_eq!(during["ExitCode"], Value::Null);
    assert!(is_alive(&during["Pid"].to_string()));
    assert_eq!(during["ID"], json!(id));
    assert_eq!(
        during["ProcessConfig"],
        json!({"tty": false, "entrypoint": "sh", "arguments": ["-c", "read line"], "privileged": false,
            "user": inspect_user()})
    );
    assert_eq!((&during["OpenStdin"], &during["OpenStdout"]), (&json!(true), &json!(true)));
    assert_eq!(during["OpenStderr"], json!(false));
    assert_eq!(during["ContainerID"].as_str().unwrap().len(), 64);
    client.send(b"\n");
    client.rest();
    assert_eq!(inspect(&engine, &id)["Pid"], during["Pid"]);
    let unknown = Client::to(&engine).ask("GET", "/exec/deadbeef/json", None);
    assert_eq!((unknown.status, unknown.message().as_str()), (404, "No such exec instance: deadbeef"));
}

fn inspect_user() -> String {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid().to_string()
}

#[test]
fn start_failures_are_stream_text() {
    let engine =
        engine_with(vec![DemoContainer { missing: vec!["bash".to_owned()], ..DemoContainer::default() }]);
    let start = "OCI runtime exec failed: exec failed: unable to start container process: ";
    // A program that the kernel refuses.
    let script = std::env::temp_dir().join(format!("entry-demo-script-{}", std::process::id()));
    std::fs::write(&script, "#!/nosuch\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    for (command, directory, code, text) in [
        ("nosuchcmd", None, 127, "exec: \"nosuchcmd\": executable file not found in $PATH\r\n"),
        ("/nosuchcmd", None, 127, "exec: \"/nosuchcmd\": stat /nosuchcmd: no such file or directory\r\n"),
        ("bash", None, 127, "exec: \"bash\": executable file not found in $PATH\r\n"),
        ("/bin/bash", None, 127, "exec: \"/bin/bash\": stat /bin/bash: no such file or directory\r\n"),
        ("/etc/passwd", None, 126, "exec: \"/etc/passwd\": permission denied\r\n"),
        ("/etc", None, 126, "exec: \"/etc\": is a directory\r\n"),
        (
            "true",
            Some("/nosuch"),
            127,
            "chdir to cwd (\"/nosuch\") set in config.json failed: no such file or directory\r\n",
        ),
        ("true", Some("etc"), 128, "OCI runtime exec failed: exec failed: Cwd must be an absolute path\r\n"),
        (script, None, 255, &format!("exec {script}: no such file or directory\r\n")),
    ] {
        for tty in [true, false] {
            let mut client = Client::to(&engine);
            let body = json!({"Cmd": [command], "Tty": tty, "AttachStdout": true, "AttachStdin": true,
                "WorkingDir": directory});
            let id = client.create("demo", &body);
            client.start(&id, &json!({"Tty": tty}));
            let bytes = client.rest();
            let said = if tty { String::from_utf8(bytes).unwrap() } else { demultiplex(&bytes).0 };
            let is_whole = text.contains("exec failed") || code == 255;
            assert_eq!(said, format!("{}{text}", if is_whole { "" } else { start }));
            let inspect = inspect(&engine, &id);
            let is = (&inspect["Running"], &inspect["ExitCode"], &inspect["Pid"]);
            assert_eq!(is, (&json!(false), &json!(code), &json!(0)), "{command}");
        }
    }
    std::fs::remove_file(script).unwrap();
}

#[test]
fn an_exec_starts_once() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = exec(&mut client, "echo up; read line", true);
    // The head comes before the start, as it does at the engine: until the process speaks, the second could be the first.
    client.until("up");
    let mut second = Client::to(&engine);
    second.start(&id, &json!({"Tty": true}));
    assert_eq!(
        String::from_utf8(second.rest()).unwrap(),
        format!("exec command {id} is already running\r\n")
    );
    client.send(b"\r");
    client.rest();
    let mut third = Client::to(&engine);
    third.start(&id, &json!({"Tty": false}));
    assert_eq!(demultiplex(&third.rest()).0, format!("exec command {id} has already run\r\n"));
    let answer = third_request(&engine, "/exec/deadbeef/start");
    assert_eq!((answer.status, answer.message().as_str()), (404, "No such exec instance: deadbeef"));
}

fn third_request(engine: &DemoEngine, path: &str) -> Answer {
    Client::to(engine).ask("POST", path, Some(&json!({})))
}

#[test]
fn bytes_before_the_head_are_lost() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = client.create("demo", &shell("read line; echo \"<$line>\"", false));
    let body = json!({"Tty": false}).to_string();
    client.send(
        format!(
            "POST /exec/{id}/start HTTP/1.1\r\nHost: x\r\n{UPGRADE}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}early\n",
            body.len()
        )
        .as_bytes(),
    );
    client.head();
    client.send(b"late\n");
    assert_eq!(demultiplex(&client.rest()).0, "<late>\n");
}

#[test]
fn detached_starts_and_starts_without_streams() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = client.create("demo", &shell("exit 3", false));
    let answer = client.ask("POST", &format!("/exec/{id}/start"), Some(&json!({"Detach": true})));
    assert_eq!((answer.status, answer.has("Content-Length: 0")), (200, true));
    eventually("it has run", || inspect(&engine, &id)["ExitCode"] == json!(3));
    let id = client.create("demo", &json!({"Cmd": ["nosuchcmd"]}));
    let answer = client.ask("POST", &format!("/exec/{id}/start"), Some(&json!({"Detach": true})));
    assert_eq!(answer.status, 400);
    // Without any Attach the stream ends at once, and the process stays.
    let id = client.create("demo", &json!({"Cmd": ["sleep", "1000"]}));
    client.start(&id, &json!({}));
    assert_eq!(client.rest(), b"");
    eventually("it runs", || inspect(&engine, &id)["Running"] == json!(true));
}

#[test]
fn environment_user_and_directory() {
    let engine = engine();
    let ask = |script: &str, tty: bool, more: Value| {
        let mut body = shell(script, tty);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut client = Client::to(&engine);
        let id = client.create("demo", &body);
        client.start(&id, &json!({"Tty": tty}));
        let bytes = client.rest();
        if tty { String::from_utf8(bytes).unwrap() } else { demultiplex(&bytes).0 }
    };
    assert_eq!(ask("echo $TERM", true, json!({})), "xterm\r\n");
    assert_eq!(ask("echo $TERM", true, json!({"Env": ["TERM=vt100"]})), "vt100\r\n");
    assert_eq!(ask("env | grep -c ^TERM=", false, json!({})), "0\n");
    assert_eq!(
        ask("echo $A-$B-$LANG", false, json!({"Env": ["A=1", "B=grüße=", "A=2", "LANG"]})),
        "2-grüße=-\n"
    );
    assert_eq!(ask("env | grep -c CARGO", false, json!({})), "0\n", "our own environment is not theirs");
    assert_eq!(ask("pwd", false, json!({"WorkingDir": "/usr"})), "/usr\n");
    assert_eq!(ask("id -u", false, json!({"User": inspect_user()})), format!("{}\n", inspect_user()));
    assert_eq!(
        ask("tty >/dev/null && ps -o tpgid= -p $$ | tr -d ' ' | grep -cx $$", true, json!({})),
        "1\r\n"
    );
    if inspect_user() == "0" {
        assert_eq!(
            ask(
                "id -un; id -gn; id -G; echo $USER; tty -s && : </dev/tty",
                true,
                json!({"User": "nobody", "WorkingDir": "/"})
            ),
            "nobody\r\nnogroup\r\n65534\r\nnobody\r\n"
        );
        assert_eq!(
            ask("id -u; id -g", false, json!({"User": "4711:daemon", "WorkingDir": "/"})),
            "4711\n1\n"
        );
    }
}

#[test]
fn windows() {
    let engine = engine();
    for (version, create, start, tty, expected) in [
        ("1.51", json!([31, 99]), Value::Null, true, "31 99\r\n"),
        ("1.51", json!([1, 2]), json!([31, 99]), true, "31 99\r\n"),
        ("1.51", Value::Null, Value::Null, true, "0 0\r\n"),
        ("1.41", json!([31, 99]), json!([31, 99]), true, "0 0\r\n"),
        ("1.51", json!([31, 99]), Value::Null, false, "0 0\r\n"),
        ("1.51", json!([70000, 99]), Value::Null, true, "4464 99\r\n"),
        ("1.51", json!([70]), Value::Null, true, "0 0\r\n"),
    ] {
        let mut client = Client::to(&engine);
        let mut body = shell("stty size", true);
        body["ConsoleSize"] = create.clone();
        let id = client.ask("POST", &format!("/v{version}/containers/demo/exec"), Some(&body)).json()["Id"]
            .clone();
        let path = format!("/v{version}/exec/{}/start", id.as_str().unwrap());
        client.request("POST", &path, UPGRADE, Some(&json!({"Tty": tty, "ConsoleSize": start})));
        client.head();
        let bytes = client.rest();
        let said = if tty { String::from_utf8(bytes).unwrap() } else { demultiplex(&bytes).0 };
        assert_eq!(said, expected, "{version} {create} {start} {tty}");
    }
}

#[test]
fn resizes() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let id = client.create(
        "demo",
        &shell("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done", true),
    );
    let resize = |id: &str, query: &str| {
        let answer = Client::to(&engine).ask("POST", &format!("/v1.51/exec/{id}/resize?{query}"), None);
        (answer.status, if answer.status == 200 { String::new() } else { answer.message() })
    };
    for (query, text) in [
        ("", "height \"\": invalid syntax"),
        ("h=10", "width \"\": invalid syntax"),
        ("h=x&w=3", "height \"x\": invalid syntax"),
        ("h=-1&w=3", "height \"-1\": value out of range"),
        ("h=3&w=4294967296", "width \"4294967296\": value out of range"),
    ] {
        assert_eq!(resize(&id, query), (400, format!("invalid resize {text}")));
    }
    assert_eq!(resize("deadbeef", "h=1&w=1").0, 404);
    client.start(&id, &json!({"Tty": true}));
    client.until("ready");
    assert_eq!(resize(&id, "h=40&w=123"), (200, String::new()));
    client.until("40 123");
    client.rest();
    assert_eq!(resize(&id, "h=40&w=123").0, 404, "after the end");

    // Sent before the start, it waits for it.
    let mut client = Client::to(&engine);
    let id = client.create("demo", &shell("sleep 0.2; stty size", true));
    let mut resizing = Client::to(&engine);
    resizing.request("POST", &format!("/v1.51/exec/{id}/resize?h=50&w=60"), "", None);
    client.start(&id, &json!({"Tty": true}));
    assert_eq!(resizing.answer().status, 200);
    assert_eq!(client.rest(), b"50 60\r\n");

    // Without a terminal it is no error.
    let mut client = Client::to(&engine);
    let id = exec(&mut client, "cat", false);
    assert_eq!(resize(&id, "h=50&w=60").0, 200);

    // Nobody starts it: ten seconds, then an error.
    let id = Client::to(&engine).create("demo", &shell("true", true));
    let asked = Instant::now();
    let (status, message) = resize(&id, "h=50&w=60");
    assert_eq!((status, message.as_str()), (500, "timeout waiting for exec session ready"));
    assert!(asked.elapsed() >= Duration::from_secs(9));
}
