//! The lines that are entered in a session, written down; and who hears of some of them. Real shells, of this machine.

use crate::client::{Client, hello, hello_tty};
use crate::support::{Directory, PATIENCE, Serving, await_some};
use entry::wire::message::Hello;
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// A service that takes all that it is told.
fn webhook() -> (SocketAddr, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            lines.read_exact(&mut body).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            if tell.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (address, told)
}

/// Asks for something that the terminal does not show.
const ASKS: &str = "stty -echo; printf 'Sec%s' 'ret: '; read -r x; stty echo; printf 'th%s' anks";
/// Gives bash shell integration, in short.
const MARKS: &str = r"PS0='\e]133;C\a'; PS1='\[\e]133;A\a\]to''ld> \[\e]133;B\a\]'";

fn commands(audit: &str) -> Vec<Value> {
    let text = fs::read_to_string(audit).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["event"] == "command").collect()
}

#[test]
fn lines_are_written_down_and_some_alert() {
    let directory = Directory::new();
    let audit = directory.file("audit");
    let (service, told) = webhook();
    let url = format!("http://{service}/alerts");
    let arguments = ["--demo", "--audit", &audit, "--audit-commands", "--alert-webhook", &url];
    let serving = Serving::start(&arguments);
    let shell = Hello {
        environment: ["PS1=ready> ", "HISTFILE="].map(str::to_owned).to_vec(),
        ..hello_tty(&["bash", "--norc", "--noprofile"])
    };
    let (mut client, session) = Client::enter(serving.address, shell).opened_as();
    client.until("ready> ");
    let mut run = |typed: &str, untils: &[&str]| {
        client.type_in(typed);
        untils.iter().for_each(|until| drop(client.until(until)));
    };
    run("echo $((6 * 7))\r", &["42\r\n", "ready> "]);
    // The same again, out of the history, and a correction.
    run("\x1b[A\r", &["42\r\n", "ready> "]);
    run("echx\x7fo $((7 * 7))\r", &["49\r\n", "ready> "]);
    // A password: the terminal does not show it. The line is longer than the window is wide.
    run(&format!("{ASKS}\r"), &["Secret: "]);
    run("hunter2\r", &["thanks", "ready> "]);
    // From here on the shell tells what is entered.
    run(&format!("{MARKS}\r"), &["told> "]);
    run("echo $((8 * 8))\r", &["64\r\n", "told> "]);
    run("history -c\r", &["told> "]);
    client.type_in("exit 3\r");
    assert_eq!(client.end().exit_status, 3);

    let records = await_some("the last line", || {
        let commands = commands(&audit);
        commands.last().is_some_and(|last| last["line"] == "exit 3").then_some(commands)
    });
    let lines: Vec<(&str, bool)> =
        records.iter().map(|record| (record["line"].as_str().unwrap(), record["inferred"] == true)).collect();
    assert_eq!(
        lines,
        [
            ("echo $((6 * 7))", true),
            ("echo $((6 * 7))", true),
            ("echo $((7 * 7))", true),
            (ASKS, true),
            (MARKS, true),
            ("echo $((8 * 8))", false),
            ("history -c", false),
            ("exit 3", false),
        ]
    );
    for record in &records {
        assert_eq!(record["session"], session);
        assert_eq!(
            (&record["user"], &record["target"]),
            (&"anonymous".into(), &"container:demo".into()),
            "{record}"
        );
    }
    let alert = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((&alert["line"], &alert["alert"]), (&"history -c".into(), &"history -c".into()));
    assert_eq!((&alert["session"], &alert["address"]), (&session.as_str().into(), &"127.0.0.1".into()));
    assert_eq!(records.iter().filter(|record| !record["alert"].is_null()).collect::<Vec<_>>(), [&alert]);
    let log = serving.log();
    assert!(log.contains(&format!("session {session}: a command meets the alert pattern")), "{log}");
    let whole = fs::read_to_string(&audit).unwrap() + &log;
    assert!(!whole.contains("hunter2"), "{whole}");
    assert!(!log.contains("6 * 7"), "what is typed is no matter of the log: {log}");

    // A command that is asked for has no terminal, and alerts too.
    let asked = hello(&["sh", "-c", "true || history -c"]);
    assert_eq!(Client::enter(serving.address, asked).end().exit_status, 0);
    let alert = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((&alert["alert"], &alert["line"]), (&"history -c".into(), &Value::Null), "{alert}");
    assert_eq!(alert["command"][2], "true || history -c");
}

#[test]
fn a_webhook_that_hangs_holds_nobody() {
    let directory = Directory::new();
    let (audit, patterns) = (directory.file("audit"), directory.file("patterns"));
    fs::write(&patterns, "# of our own\n\necho alarm\n").unwrap();
    // It is connected to, and never answers.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", hangs.local_addr().unwrap());
    let serving = Serving::start(&[
        "--demo",
        "--audit",
        &audit,
        "--audit-commands",
        "--alert-webhook",
        &url,
        "--alert-patterns",
        &patterns,
    ]);
    let mut client = Client::enter(serving.address, hello_tty(&["sh"])).opened();
    for number in 0..20 {
        client.type_in(format!("echo alarm $(({number} + 1000))\r"));
        client.until(&format!("alarm {}\r\n", number + 1000));
    }
    client.type_in("history -c; exit\r");
    client.end();
    let records = await_some("all lines", || Some(commands(&audit)).filter(|commands| commands.len() == 21));
    let alerts: Vec<&Value> = records.iter().map(|record| &record["alert"]).collect();
    assert!(alerts[..20].iter().all(|alert| **alert == "echo alarm"), "{alerts:?}");
    assert!(alerts[20].is_null(), "the file's patterns are all: {alerts:?}");
}

#[test]
fn a_client_that_does_not_tell_its_window_is_no_exception() {
    let directory = Directory::new();
    let audit = directory.file("audit");
    let serving = Serving::start(&["--demo", "--audit", &audit, "--audit-commands"]);
    let mut client = Client::lain(serving.address);
    client.type_in("echo $((6 * 7))\r");
    client.until("42\r\n");
    client.type_in("exit\r");
    client.end();
    let records = await_some("the lines", || Some(commands(&audit)).filter(|commands| commands.len() == 2));
    assert_eq!(records[0]["line"], "echo $((6 * 7))");
    // Without a terminal nobody enters lines: what goes through is data.
    let mut client = Client::enter(serving.address, hello(&["cat"])).opened();
    client.type_in("echo data\n");
    client.until("data\n");
    client.end_stdin();
    client.end();
    assert_eq!(commands(&audit).len(), 2);
}
