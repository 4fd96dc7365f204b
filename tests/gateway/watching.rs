//! Somebody watches what others do, over the whole way: rights, the screen, who is told, and that nobody waits for him.

use crate::access::with_token;
use crate::client::{Client, hello, hello_tty};
use crate::fake::{BYE, Fake, PROMPT, usual};
use crate::support::{Directory, Gateway, demo_with, eventually, logged, program};
use entry::access::Spec;
use entry::access::tokens::{hash, hex};
use entry::config::{Settings, WATCHERS_MAX, Watching};
use entry::wire::message::{Hello, RequestType, ResponseMessage, ResponseType};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

const ADA: &str = "entry_ada";
const OPS: &str = "entry_ops";
const EVE: &str = "entry_eve";
const NOT_FOR_HIM: &str = "There is no such session here (any more), or the token is not for watching it.";

/// A gateway in front of an engine whose container is asked for as `demo`, and is called `web`.
struct House {
    engine: Fake,
    gateway: Gateway,
    directory: Directory,
}

impl House {
    fn new(watching: Watching, rights_of_ops: &str) -> House {
        let engine = Fake::unix(usual);
        let directory = Directory::new();
        let file = directory.file("tokens.toml");
        House::write(&directory, rights_of_ops);
        let settings = Settings { watching, ..Gateway::settings(&engine.url) };
        // Sessions and watchers are in one loop or in two.
        let gateway = Gateway::of_loops(settings, vec![Spec::Tokens { file }], 2);
        House { engine, gateway, directory }
    }

    fn write(directory: &Directory, rights_of_ops: &str) {
        let holder = |user: &str, token: &str, rights: &str| {
            format!("[[token]]\nuser = \"{user}\"\nsha256 = \"{}\"\n{rights}\n", hex(&hash(token)))
        };
        let all = "enter = [\"*/*\"]\nattach = [\"*/*\", \"container:*\"]\nexec = [\"*/*\", \"container:*\"]";
        let text = holder("ada", ADA, all) + &holder("ops", OPS, rights_of_ops) + &holder("eve", EVE, all);
        fs::write(directory.file("tokens.toml"), text).unwrap();
    }

    /// Ada, at a prompt, and the name of her session.
    fn ada(&self) -> (Client, String) {
        let (mut ada, session) =
            Client::enter(self.gateway.address, with_token(ADA, hello_tty(&["sh"]))).opened_as();
        ada.until(PROMPT);
        (ada, session)
    }

    fn watch(&self, token: &str, session: &str) -> Client {
        let hello = Hello { session: session.to_owned(), ..Hello::default() };
        Client::watch(self.gateway.address, with_token(token, hello))
    }
}

/// The next SIZE, whatever else comes before it.
fn size(watcher: &mut Client) -> String {
    loop {
        let message = watcher.next().unwrap();
        match message.msg_type() {
            ResponseType::Size => return String::from_utf8(message.content).unwrap(),
            ResponseType::Stdout => watcher.out.extend(message.content),
            other => panic!("{other:?} before a size"),
        }
    }
}

/// Waits until the person is told so.
fn told(person: &mut Client, text: &str) {
    while !String::from_utf8_lossy(&person.err).contains(text) {
        let message = person.next().unwrap();
        match message.msg_type() {
            ResponseType::Stderr => person.err.extend(message.content),
            ResponseType::Stdout => person.out.extend(message.content),
            other => panic!("{other:?} before {text:?}"),
        }
    }
    person.err.clear();
}

#[test]
fn a_watcher_sees_what_is_there_and_what_comes_and_types_in_vain() {
    let house = House::new(Watching::Told, "watch = [\"container:web\"]");
    let (mut ada, session) = house.ada();
    ada.type_in("first\n");
    ada.until("first\n");

    let mut watcher = house.watch(OPS, &session);
    let opened = watcher.next().unwrap().opened.unwrap();
    assert_eq!(
        (opened.session.as_str(), opened.user.as_str(), opened.target.as_str(), opened.tty),
        (session.as_str(), "ada", "container:web", true)
    );
    assert_eq!(size(&mut watcher), "80 24");
    let screen = watcher.until("first\n");
    assert!(screen.starts_with("\x1b[!p") && screen.ends_with("\x1b[H\x1b[2J$ first\n"), "{screen:?}");
    told(&mut ada, "ops watches this session.");

    // What he says goes nowhere, but for his echo.
    watcher.type_in("rm -rf /\n");
    watcher.resize(1, 1);
    watcher.end_stdin();
    watcher.send(entry::wire::message::RequestMessage {
        msg_type: RequestType::Echo.into(),
        content: b"there?".to_vec(),
        ..Default::default()
    });
    assert_eq!(watcher.next().unwrap().msg_type(), ResponseType::Echo);
    ada.type_in("second\n");
    assert_eq!(watcher.until("second\n"), "second\n");
    assert_eq!(ada.until("second\n"), "second\n");
    assert_eq!(house.engine.typed(), "first\nsecond\n");
    ada.resize(100, 30);
    assert_eq!(size(&mut watcher), "100 30");

    // Others watch too, in whichever loop they are; each begins with what is there.
    let mut others: Vec<Client> = (1..WATCHERS_MAX).map(|_| house.watch(OPS, &session).opened()).collect();
    for other in &mut others {
        assert_eq!(size(other), "100 30");
        other.until("$ first\nsecond\n");
    }
    let end = house.watch(OPS, &session).opened().end();
    assert_eq!((end.outcome, end.code), (21, 1013), "{end:?}");
    drop(others.pop());
    told(&mut ada, "ops watches this session no more.");

    // A character that comes in two pieces is one.
    ada.type_in(&"é".as_bytes()[..1]);
    ada.type_in([&"é".as_bytes()[1..], BYE.as_bytes()].concat());
    let end = ada.end();
    assert_eq!(end.exit_status, 7);
    for watcher in others.into_iter().chain([watcher]) {
        let end = watcher.end();
        assert_eq!((end.outcome, end.exit_status, end.code), (27, 7, 1000), "{end:?}");
        assert!(
            end.out.ends_with(&format!("é{BYE}")) && end.text.contains("Exited with status 7."),
            "{end:?}"
        );
    }
    eventually("nobody to be left", || house.gateway.server().crowd().sessions() == 0);
    let line = format!("ops from 127.0.0.1 watches session {session}");
    assert_eq!(logged(&line).len(), WATCHERS_MAX + 1);
    let end = house.watch(OPS, &session).end();
    assert_eq!(
        (end.outcome, end.exit_status, end.code),
        (15, 125, 1008),
        "its name is not known any more: {end:?}"
    );
}

#[test]
fn who_may_not_watch_learns_nothing() {
    let house = House::new(Watching::Told, "watch = [\"*/*\", \"container:demo\"]\nexec = [\"container:*\"]");
    let (mut ada, session) = house.ada();
    let boot = session.split(':').next().unwrap();
    let nobody_s = format!("{boot}:00000000000fffff");
    for session in [&session, &nobody_s] {
        for token in [EVE, ADA] {
            let end = house.watch(token, session).end();
            assert_eq!((end.outcome, end.code), (15, 1008), "each right is granted by itself: {end:?}");
            assert!(end.text.contains(NOT_FOR_HIM), "{end:?}");
        }
        for token in ["", "wrong"] {
            assert_eq!(house.watch(token, session).end().outcome, 15);
        }
    }
    // What was asked for is the beginning of an id to the engine: what counts is how the container is called.
    let end = house.watch(OPS, &session).end();
    assert!(end.outcome == 15 && end.text.contains(NOT_FOR_HIM), "{end:?}");
    // Who may watch some is told that this one is not there.
    let end = house.watch(OPS, &nobody_s).end();
    assert_eq!((end.outcome, end.code), (26, 4404), "{end:?}");
    let end = house.watch(OPS, "0123456789abcdef:0000000000000001").end();
    assert!(
        end.outcome == 26 && end.text.contains("not of this gateway") && end.text.contains(boot),
        "{end:?}"
    );
    for id in
        ["", "1", "0123456789abcdef", "0123456789abcdef:+00000000000001", "0123456789abcdef:000000000000001"]
    {
        assert_eq!(house.watch(OPS, id).end().outcome, 14, "{id}");
    }
    ada.type_in(BYE);
    let end = ada.end();
    assert!(!end.err.contains("watches"), "nobody did: {end:?}");

    // Without the subprotocol nobody is asked.
    let mut stream = TcpStream::connect(house.gateway.address).unwrap();
    let head = "GET /watch HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("entry.v1"), "{answer}");
}

#[test]
fn nobody_is_watched_unless_the_operator_says_so() {
    let house = House::new(Watching::Off, "watch = [\"container:*\"]");
    let (mut ada, session) = house.ada();
    let end = house.watch(OPS, &session).end();
    assert!(end.outcome == 15 && end.text.contains("--watch"), "{end:?}");
    ada.type_in(BYE);
    assert_eq!(ada.end().exit_status, 7);
}

#[test]
fn with_silence_the_person_is_not_told_and_rights_end_under_a_watcher() {
    let house = House::new(Watching::Silent, "watch = [\"container:*\"]");
    let (mut ada, session) = house.ada();
    let mut watcher = house.watch(OPS, &session).opened();
    watcher.until(PROMPT);
    House::write(&house.directory, "enter = [\"*/*\"]");
    house.gateway.server().reload().unwrap();
    let end = watcher.end();
    assert_eq!((end.outcome, end.code), (19, 4403), "{end:?}");
    ada.type_in(BYE);
    let end = ada.end();
    assert_eq!((end.exit_status, end.err.as_str()), (7, ""), "{end:?}");
}

#[test]
fn a_watcher_who_does_not_read_holds_nobody_up_and_gets_the_screen_anew() {
    let (_engine, gateway) = demo_with(|settings| settings.watching = Watching::Told);
    const FLOOD: usize = 20 << 20;
    let script = format!("read go; yes | head -c {FLOOD}; echo; echo the last line; read go");
    let (mut person, session) = Client::enter(gateway.address, hello_tty(&["sh", "-c", &script])).opened_as();
    let mut watcher = Client::watch(gateway.address, Hello { session, ..Hello::default() }).opened();
    told(&mut person, "anonymous watches this session.");
    person.type_in("\n");
    // The watcher reads nothing, and the person has all of it. The terminal writes a carriage return before each line end.
    person.take(FLOOD + FLOOD / 2);
    person.until("the last line");
    let shown = watcher.until("the last line");
    assert!(shown.len() < FLOOD / 4, "{} bytes were shown", shown.len());
    let screens: Vec<&str> = shown.split("\x1b[!p").collect();
    assert!(screens.len() >= 3, "the screen came {} times", screens.len() - 1);
    let last = screens.last().unwrap();
    assert!(last.len() <= entry::config::WATCHED_BYTES_MAX + 100, "{}", last.len());
    told(&mut watcher, " bytes were missed: this watcher reads too slowly.");
    person.type_in("\n");
    assert_eq!(person.end().exit_status, 0);
    assert_eq!(watcher.end().outcome, 27);
}

#[test]
fn without_a_terminal_there_are_plain_lines() {
    let house = House::new(Watching::Told, "watch = [\"*/*\"]");
    let named = |hello: Hello| {
        let [app, proc] = ["demo", "shell"].map(str::to_owned);
        with_token(ADA, Hello { container: String::new(), app, proc, ..hello })
    };
    let (mut ada, session) = Client::enter(house.gateway.address, named(hello(&["cat"]))).opened_as();
    ada.until(PROMPT);
    let mut watcher = house.watch(OPS, &session);
    let opened = watcher.next().unwrap().opened.unwrap();
    assert_eq!((opened.target.as_str(), opened.tty), ("demo/shell", false));
    assert_eq!(watcher.until(PROMPT), PROMPT);
    told(&mut ada, ">>> ops watches this session.\n");
    ada.type_in(BYE);
    assert_eq!(ada.end().exit_status, 7);
    assert_eq!(watcher.end().out, BYE);
}

#[test]
fn entry_watch_shows_it_and_exits_as_the_session_does() {
    let house = House::new(Watching::Told, "watch = [\"container:web\"]");
    let (mut ada, session) = house.ada();
    let mut watching = program(&["watch", &session]);
    watching.env("ENTRY_GATEWAY", format!("ws://{}", house.gateway.address)).env("ENTRY_TOKEN", OPS);
    let watching = watching.spawn().unwrap();
    told(&mut ada, "ops watches this session.");
    ada.type_in(BYE);
    assert_eq!(ada.end().exit_status, 7);
    let output = watching.wait_with_output().unwrap();
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(shown.ends_with(&format!("{PROMPT}{BYE}")), "{shown:?}");
    assert!(said.contains(">>> You watch ada in container:web.") && said.contains("has ended"), "{said:?}");
    assert_eq!(output.status.code(), Some(7));

    let output = program(&["watch", "1:2"])
        .env("ENTRY_GATEWAY", format!("ws://{}", house.gateway.address))
        .env("ENTRY_TOKEN", OPS)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn who_hears_that_a_session_is_open_can_have_it_watched_at_once() {
    let house = House::new(Watching::Silent, "watch = [\"container:web\"]");
    for _ in 0..100 {
        let (_ada, session) =
            Client::enter(house.gateway.address, with_token(ADA, hello_tty(&["sh"]))).opened_as();
        house.watch(OPS, &session).opened();
    }
}

#[test]
fn a_page_that_watches_is_given_no_more_than_it_has_drawn() {
    let house = House::new(Watching::Told, "watch = [\"container:web\"]");
    let (mut ada, session) = house.ada();
    let hello = Hello { session, window: 2000, ..Hello::default() };
    let mut watcher = Client::watch(house.gateway.address, with_token(OPS, hello)).opened();
    // As much as half a window.
    let text = "x".repeat(999) + "\n";
    let is_mark = |message: &ResponseMessage| message.msg_type() == ResponseType::Mark;
    watcher.until(PROMPT);
    for _ in 0..2 {
        ada.type_in(&text);
        while !is_mark(&watcher.next().unwrap()) {}
    }
    ada.type_in("the end of it\n");
    ada.until("the end of it\n");
    // Nothing more comes: the echo is the next thing.
    watcher.send(entry::wire::message::RequestMessage {
        msg_type: RequestType::Echo.into(),
        ..Default::default()
    });
    assert_eq!(watcher.next().unwrap().msg_type(), ResponseType::Echo);
    for _ in 0..2 {
        watcher.send(entry::wire::message::RequestMessage {
            msg_type: RequestType::Marked.into(),
            ..Default::default()
        });
    }
    loop {
        let message = watcher.next().unwrap();
        if String::from_utf8_lossy(&message.content).contains("the end of it\n") {
            break;
        }
    }
    ada.type_in(BYE);
    ada.end();
    assert_eq!(watcher.end().outcome, 27);
}
