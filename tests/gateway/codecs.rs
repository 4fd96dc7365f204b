//! The three codecs, from the first message to the last, and what each end looks like.

use crate::client::{Client, hello, hello_tty};
use crate::fake::{self, BYE, Fake, PROMPT, Then, framed, usual};
use crate::raw::{BINARY, CLOSE, Raw, TEXT, frame, plain, upgrade};
use crate::support::{Gateway, SAFELY, demo};
use entry::demo::{DemoContainer, DemoEngine, DemoOptions};
use entry::wire::message::{Codec, Hello};
use tungstenite::Message;

#[test]
fn entry_v1_runs_a_command_and_tells_how_it_ended() {
    let (_engine, gateway) = demo();
    let command = ["sh", "-c", "read x; echo \"got $x\"; echo oh >&2; exit 7"];
    let mut client = Client::enter(gateway.address, hello(&command)).opened();
    client.type_in("this\n");
    let end = client.end();
    assert_eq!((end.out.as_str(), end.err.as_str()), ("got this\n", "oh\n"));
    assert_eq!((end.outcome, end.exit_status, end.code, end.text.as_str()), (1, 7, 1000, SAFELY));
}

#[test]
fn stdin_ends_when_the_client_says_so() {
    let (_engine, gateway) = demo();
    let mut client = Client::enter(gateway.address, hello(&["cat"])).opened();
    client.type_in("all of it");
    client.end_stdin();
    let end = client.end();
    assert_eq!((end.out.as_str(), end.exit_status, end.outcome), ("all of it", 0, 1));
}

#[test]
fn all_codecs_enter_a_shell_with_a_terminal() {
    let (_engine, gateway) = demo();
    let shells = [
        Client::lain(gateway.address),
        Client::web(gateway.address),
        Client::enter(gateway.address, hello_tty(&[])).opened(),
    ];
    for mut shell in shells {
        shell.resize(77, 33);
        // The size goes another way than what is typed.
        shell.type_in("until stty size | grep '33 77'; do sleep 0.01; done\n");
        shell.type_in("test -t 1 && echo on a ${TERM%%-*}; exit 3\n");
        let end = shell.end();
        assert!(end.out.contains("33 77\r\n"), "{:?}", end.out);
        assert!(end.out.contains("on a vt100\r\n") || end.out.contains("on a xterm\r\n"), "{:?}", end.out);
        assert_eq!((end.code, end.text.as_str(), end.err.as_str()), (1000, SAFELY, ""));
    }
}

const LAIN: &str =
    "access-token: t\r\napp-name: demo\r\nproc-name: shell\r\ninstance-no: 1\r\nterm-type: vt100\r\n";

#[test]
fn the_old_protobuf_byte_for_byte() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let mut raw = Raw::to(gateway.address);
    raw.send(upgrade("/enter", LAIN));
    assert_eq!(
        raw.http_head(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    assert_eq!(raw.frame(), (BINARY, [b"\x12\x02", PROMPT.as_bytes()].concat()));
    raw.send(frame(BINARY, b"\x08\x00\x12\x03a\xc3\xa9"));
    assert_eq!(raw.frame(), (BINARY, b"\x12\x03a\xc3\xa9".to_vec()));
    raw.send(frame(BINARY, b"\x12\x04bye\n"));
    assert_eq!(raw.frame(), (BINARY, b"\x12\x04bye\n".to_vec()));
    let goodbye = [b"\x08\x02\x12\x2b", SAFELY.as_bytes()].concat();
    assert_eq!(goodbye[3], u8::try_from(SAFELY.len()).unwrap());
    assert_eq!(raw.frame(), (BINARY, goodbye));
    assert_eq!(raw.frame(), (CLOSE, b"\x03\xe8Exited with status 7.".to_vec()));
    raw.send(frame(CLOSE, b"\x03\xe8"));
    assert_eq!(raw.rest(), b"");

    let create = &engine.asked("POST create")[0];
    for part in [r#""Tty":true"#, r#""AttachStdin":true"#, r#""TERM=vt100""#, r#""ENTRY_SESSION="#] {
        assert!(create.body.contains(part), "{part} in {}", create.body);
    }
    assert!(create.target.ends_with(&format!("/containers/{}/exec", fake::CONTAINER)), "{}", create.target);
}

#[test]
fn the_old_json_byte_for_byte() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let mut raw = Raw::to(gateway.address);
    raw.send(upgrade("/enter?method=web", ""));
    raw.http_head();
    let hello = br#"{"access_token":"t","app_name":"demo","proc_name":"shell","instance_no":"1"}"#;
    raw.send(frame(TEXT, hello));
    // The server's JSON goes out in binary frames; the client's may come in either.
    assert_eq!(raw.frame(), (BINARY, br#"{"content":"JCA="}"#.to_vec()));
    raw.send(frame(BINARY, br#"{"msgType":0,"content":"YQ=="}"#));
    assert_eq!(raw.frame(), (BINARY, br#"{"content":"YQ=="}"#.to_vec()));
    raw.send(frame(TEXT, br#"{"content":"YnllCg=="}"#));
    assert_eq!(raw.frame(), (BINARY, br#"{"content":"YnllCg=="}"#.to_vec()));
    let goodbye =
        br#"{"msgType":2,"content":"G1szMm0+Pj4gWW91IHF1aXQgdGhlIGNvbnRhaW5lciBzYWZlbHkuG1swbQ=="}"#;
    assert_eq!(raw.frame(), (BINARY, goodbye.to_vec()));
    assert_eq!(raw.close_code(), 1000);
}

#[test]
fn stdout_and_stderr_stay_apart_in_every_codec() {
    let engine = Fake::unix(|asked, connection| match asked.what {
        // Each of the three asks before its log and after it.
        "GET container" => {
            let running = if asked.nth % 2 == 1 { "true" } else { "false" };
            connection.answer(200, "", &fake::container(running, "false"));
            Then::Answered
        }
        "GET logs" => {
            connection.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for (stream, text) in [(1, "out\n"), (2, "err\n"), (1, "é"), (2, "more")] {
                for byte in framed(stream, text.as_bytes()) {
                    connection.say([b"1\r\n", &[byte][..], b"\r\n"].concat());
                }
            }
            connection.say("0\r\n\r\n");
            Then::Close
        }
        _ => Then::Usual,
    });
    let gateway = Gateway::before(&engine.url);
    let lain = || {
        let headers = [("app-name", "demo"), ("proc-name", "shell")];
        Client::connect(gateway.address, "/attach", Codec::Protobuf, &headers)
    };
    let web = || {
        let mut client = Client::connect(gateway.address, "/attach?method=web", Codec::Json, &[]);
        client.socket.send(Message::text(r#"{"app_name":"demo","proc_name":"shell"}"#)).unwrap();
        client
    };
    let v1 = || Client::attach(gateway.address, Hello { tail: Some(5), ..hello(&[]) }).opened();
    let clients: [&dyn Fn() -> Client; 3] = [&lain, &web, &v1];
    for client in clients {
        let end = client().end();
        assert_eq!((end.out.as_str(), end.err.as_str()), ("out\né", "err\nmore"));
    }
    let tails: Vec<bool> =
        engine.asked("GET logs").iter().map(|asked| asked.target.ends_with("tail=5")).collect();
    assert_eq!(tails.iter().filter(|five| **five).count(), 1, "only one asked for five lines");
}

#[test]
fn every_end_has_its_code_and_its_sentence() {
    let paused = DemoContainer::named("paused");
    let bare = DemoContainer { missing: vec!["sh".into(), "bash".into()], ..DemoContainer::named("bare") };
    let stopped = DemoContainer::named("stopped");
    let containers = vec![DemoContainer::default(), paused, bare, stopped];
    let engine = DemoEngine::start(DemoOptions { containers, ..DemoOptions::default() }).unwrap();
    engine.pause("paused");
    engine.kill_container("stopped");
    let gateway = Gateway::before(&engine.url());
    let named = |container: &str, command: &[&str]| Hello { container: container.into(), ..hello(command) };
    let cannot = "\x1b[31m>>> Can't enter your container, try again.\x1b[0m ";
    let table = [
        (hello(&["false"]), 1, 1, 1000, SAFELY),
        (hello(&["sh", "-c", "kill -9 $$"]), 1, 137, 1000, SAFELY),
        (hello(&["nosuchcommand"]), 2, 127, 4126, cannot),
        (hello(&["/etc/passwd"]), 2, 126, 4126, cannot),
        (Hello { workdir: "/nosuch".into(), ..hello(&["true"]) }, 2, 126, 4126, cannot),
        (named("bare", &[]), 2, 127, 4126, cannot),
        (named("nosuch", &["true"]), 3, 125, 4404, "\x1b[31m>>> Container is not found.\x1b[0m "),
        (named("stopped", &["true"]), 4, 125, 4409, cannot),
        (named("paused", &["true"]), 7, 125, 4423, "unpause it"),
        (Hello { app: "demo".into(), ..hello(&["true"]) }, 14, 125, 4400, "not both"),
        (Hello { environment: vec!["x".into()], ..hello(&["true"]) }, 14, 125, 4400, "NAME=value"),
        (named("", &["true"]), 14, 125, 4400, "Name the app and the proc"),
    ];
    for (hello, outcome, exit_status, code, words) in table {
        let what = format!("{hello:?}");
        let end = Client::enter(gateway.address, hello).end();
        assert_eq!((end.outcome, end.exit_status, end.code), (outcome, exit_status, code), "{what} {end:?}");
        assert!(end.text.contains(words), "{what} {end:?}");
    }
}

#[test]
fn a_container_that_goes_takes_its_sessions_with_it() {
    for remove in [false, true] {
        let containers = vec![DemoContainer::named("one")];
        let engine = DemoEngine::start(DemoOptions { containers, ..DemoOptions::default() }).unwrap();
        let gateway = Gateway::before(&engine.url());
        let command = ["sh", "-c", "echo up; sleep 1000"];
        let hello = Hello { container: "one".into(), ..hello(&command) };
        let mut client = Client::enter(gateway.address, hello).opened();
        client.until("up\n");
        assert!(if remove { engine.remove_container("one") } else { engine.kill_container("one") });
        let end = client.end();
        // What is removed is stopped first, and may be asked about in between.
        let told = (end.outcome, end.code);
        assert!(told == (5, 4137) || remove && told == (6, 4410), "{end:?}");
        assert_eq!(end.exit_status, 137);
    }
}

#[test]
fn a_first_message_that_is_none_is_told() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let v1 = "Sec-WebSocket-Protocol: entry.v1\r\n";
    let table = [
        ("/enter", v1, frame(BINARY, &plain(b"too early")), 1007),
        ("/enter", v1, frame(BINARY, b"\xff\xff"), 1007),
        ("/enter?method=web", "", frame(TEXT, b"\"text\""), 1007),
        ("/enter?method=web", "", frame(TEXT, b"{\"app_name\":1}"), 1007),
        ("/enter?method=web", "", frame(TEXT, b"{}"), 4400),
        ("/enter", v1, frame(BINARY, &vec![0; 65537]), 1009),
    ];
    for (path, headers, message, code) in table {
        let mut raw = Raw::to(gateway.address);
        raw.send(upgrade(path, headers));
        raw.http_head();
        raw.send(&message);
        assert_eq!(raw.close_code(), code, "{path} {:?}", &message[..message.len().min(40)]);
    }
    // Nonsense later in a session ends it, too, and what it ran is ended.
    let mut client = Client::enter(gateway.address, hello(&["cat"])).opened();
    client.until(PROMPT);
    client.socket.send(Message::binary(&b"\xff"[..])).unwrap();
    assert_eq!(client.end().code, 1007);
    engine.await_asked("POST detached", 1);
    assert_eq!(engine.typed(), "");
    // What is unknown is skipped.
    let mut client = Client::enter(gateway.address, hello(&["cat"])).opened();
    client.socket.send(Message::binary(&b"\x08\x63\x7a\x01x"[..])).unwrap();
    client.resize(0, 0);
    client.type_in(BYE);
    assert_eq!(client.end().exit_status, 7);
}
