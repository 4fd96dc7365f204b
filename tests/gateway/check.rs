//! `entry check`: exit status 0 only where everything works, and plain words where it does not.

use crate::fake::{Fake, Then, usual};
use crate::locate::{pods, url};
use crate::support::{Directory, Gateway, program};
use std::fs;

/// Status and what is said, of which mistakes stand on stderr.
fn check(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let mut command = program(&["check"]);
    command.args(arguments).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn what_works_is_said_to_work() {
    let (engine, other) = (Fake::unix(usual), Fake::tcp(usual));
    let lainlet = Fake::tcp(|_, connection| {
        connection.answer(200, "", &pods("c1", "10.0.0.1"));
        Then::Answered
    });
    let directory = Directory::new();
    let file = directory.file("entry.toml");
    let text = format!("listen = \"127.0.0.1:0\"\nlocate = [\"lainlet={}\"]\n", &url(&lainlet)[7..]);
    fs::write(&file, text).unwrap();
    let (a, b) = (format!("a={}", engine.url), format!("b={}", other.url));
    let (status, text) = check(&["--config", &file, "--engine", &a, "--engine", &b], &[]);
    assert_eq!(status, 0, "{text}");
    for line in [
        "good  listening on 127.0.0.1:0: nobody does so far",
        &format!("good  the engine a ({}): Docker, API 1.51", engine.url),
        &format!("good  the engine b ({}): Docker, API 1.51", other.url),
        &format!("good  lainlet ({}): answers", url(&lainlet)),
        "Everything works.",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert_eq!(engine.asked("POST create").len(), 0, "nothing is entered");
    let gateway = Gateway::before(&engine.url);
    let address = gateway.address.to_string();
    let (status, text) = check(&["--listen", &address, "--engine", &engine.url], &[]);
    assert!(status == 0 && text.contains("a gateway does so already"), "{text}");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let engine = Fake::unix(usual);
    // Nobody has this port: it takes a right of its own.
    let gone = "127.0.0.1:1";
    let busy = Fake::tcp(|_, _| Then::Close);
    let rubbish = Fake::tcp(|_, connection| {
        connection.answer(200, "", "<html>");
        Then::Answered
    });
    let only_pings = Fake::unix(|asked, connection| {
        if asked.what == "GET ping" {
            return Then::Usual;
        }
        connection.answer(403, "", "");
        Then::Answered
    });
    let on = |address: &str| format!("tcp://{address}");
    let hook = format!("webhook={}/where", url(&rubbish));
    let lainlet = format!("lainlet={gone}");
    let table: [(&[&str], &str); 10] = [
        (&["--engine", "unix:///nowhere/docker.sock"], "is the engine running on this machine"),
        (&["--engine", &on(gone)], "nobody listens there: is it running, and is this its port?"),
        (&["--engine", "tcp://no-such-host.invalid"], "is the name right, and known to the resolver"),
        (&["--engine", &rubbish.url], "is this a Docker Engine?"),
        (&["--engine", &busy.url], "it closed the connection"),
        (&["--engine", &only_pings.url], "it does not list its containers: the engine answered 403"),
        (&["--engine", &engine.url, "--locate", &lainlet], "nobody listens there"),
        (&["--engine", &engine.url, "--locate", &hook], "its answer is no JSON"),
        (&["--engine", &only_pings.url, "--locate", "swarm"], "could not be asked"),
        (&["--engine", &engine.url, "--listen", &busy.url[6..]], "another program does so"),
    ];
    for (arguments, words) in table {
        let (status, text) = check(&[&["--listen", "127.0.0.1:0"], arguments].concat(), &[]);
        assert_eq!(status, 1, "{arguments:?}: {text}");
        let is_told = |line: &str| line.starts_with("WRONG ") && line.contains(words);
        assert!(text.lines().any(is_told), "{arguments:?}: {text}");
        assert!(text.ends_with(" wrong.\n"), "{text}");
    }
}

#[test]
fn mistakes_are_told_before_anything_is_tried() {
    let directory = Directory::new();
    let file = directory.file("entry.toml");
    fs::write(&file, "# ours\nengin = \"unix:///x\"\n").unwrap();
    let (status, text) = check(&["--config", &file], &[]);
    let told = format!("entry check: {file}, line 2: there is no option engin; did you mean engine?\n");
    assert_eq!((status, text), (2, told));
    let (status, text) = check(&[], &[("ENTRY_WORKERS", "none")]);
    assert_eq!(status, 2);
    assert_eq!(text, "entry check: ENTRY_WORKERS takes a number from 1 to 1024, not \"none\"\n");
    let engine = Fake::unix(usual);
    let engine =
        [("ENTRY_ENGINE", engine.url.as_str()), ("ENTRY_LISTEN", "127.0.0.1:0"), ("ENTRY_LISTN", "x")];
    let (status, text) = check(&[], &engine);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("note  ENTRY_LISTN: is not an option; if ENTRY_LISTEN is meant"), "{text}");
}

#[test]
fn access_is_tried_as_a_stranger_would() {
    let engine = Fake::unix(usual);
    let answering = |body: &'static str| {
        Fake::tcp(move |_, connection| {
            connection.answer(200, "", body);
            Then::Answered
        })
    };
    let no = answering(r#"{"allow":false}"#);
    let yes = answering(r#"{"allow":true,"user":"anybody"}"#);
    let keys = answering(r#"{"keys":[]}"#);
    let rubbish = answering("<html>");
    let directory = Directory::new();
    let (good, bad) = (directory.file("good.toml"), directory.file("bad.toml"));
    fs::write(&good, "").unwrap();
    fs::write(&bad, "\n[[token]]\nuser = 7\n").unwrap();
    let table = [
        (format!("tokens={good}"), 0, "works, and lets no stranger in"),
        (format!("tokens={bad}"), 1, "line 3: write a text in quotes"),
        ("tokens=/nowhere/tokens.toml".to_owned(), 1, "cannot be read"),
        (format!("webhook={}", url(&no)), 0, "works, and lets no stranger in"),
        (format!("webhook={}", url(&yes)), 1, "lets in a token that nobody has"),
        (format!("webhook={}", url(&rubbish)), 1, "Its answer cannot be read."),
        ("webhook=http://127.0.0.1:1".to_owned(), 1, "nobody listens there"),
        (format!("jwt=keys={}/jwks.json,audience=entry,issuer=me", url(&keys)), 0, "works, and lets"),
        (format!("jwt=keys={}/jwks.json,audience=entry", url(&rubbish)), 1, "no JSON Web Key Set"),
        ("anonymous".to_owned(), 0, "everybody who can connect may enter"),
    ];
    for (rule, expected, words) in table {
        let arguments = ["--listen", "127.0.0.1:0", "--engine", &engine.url, "--access", &rule];
        let (status, text) = check(&arguments, &[]);
        assert!(status == expected && text.contains(words), "{rule}: {text}");
    }
}
