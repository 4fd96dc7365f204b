//! Services that know where containers are: asked before an engine is, and never waited for by anybody else.

use crate::client::{Client, hello_tty};
use crate::fake::{Asked, BYE, CONTAINER, Connection, Fake, PROMPT, Then, usual};
use crate::support::Gateway;
use entry::config::{Peers, Settings};
use entry::engine::Address;
use entry::locate::{Locator, Way};
use entry::service::{Service, ServiceId};
use entry::wire::message::Hello;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A gateway that finds containers by a lainlet, which may take so long.
pub(crate) fn by_lainlet(engine: &Fake, lainlet: &str, milliseconds_max: u64) -> Gateway {
    let service = Service::parse("lainlet", lainlet, milliseconds_max).unwrap();
    let engine = Peers::one(Address::parse(&engine.url).unwrap());
    Gateway::with(Settings {
        peers: Peers { services: vec![service], ..engine },
        locator: Locator::new(vec![Way::Lainlet(ServiceId(0))]),
        ..Settings::default()
    })
}

pub(crate) fn url(service: &Fake) -> String {
    service.url.replace("tcp://", "http://")
}

pub(crate) fn pods(container: &str, node: &str) -> String {
    let node = json!({ "ContainerId": container, "NodeIp": node, "NodeName": "n1" });
    json!({ "demo.web.shell": { "PodInfos": [{ "InstanceNo": 1, "ContainerInfos": [node] }] } }).to_string()
}

pub(crate) fn enter(gateway: &Gateway, proc: &str) -> Client {
    enter_instance(gateway, proc, "1")
}

pub(crate) fn enter_instance(gateway: &Gateway, proc: &str, instance: &str) -> Client {
    let hello = Hello {
        container: String::new(),
        app: "demo".into(),
        proc: proc.into(),
        instance: instance.into(),
        ..hello_tty(&["cat"])
    };
    Client::enter(gateway.address, hello)
}

pub(crate) fn works(client: Client) {
    let mut client = client.opened();
    client.until(PROMPT);
    client.type_in(BYE);
    assert_eq!(client.end().exit_status, 7);
}

#[test]
fn lainlets_container_is_entered() {
    let engine = Fake::unix(usual);
    let lainlet = Fake::tcp(|_, connection| {
        connection.answer(200, "", &pods(CONTAINER, "10.0.0.1"));
        Then::Answered
    });
    let gateway = by_lainlet(&engine, &url(&lainlet), 60_000);
    works(enter(&gateway, "shell"));
    works(enter(&gateway, "shell"));
    let targets: Vec<String> = lainlet.asked("GET lainlet").into_iter().map(|asked| asked.target).collect();
    assert_eq!(targets, ["/v2/coreinfowatcher?appname=demo"; 2], "each session asks anew");
    assert_eq!(engine.asked("GET list").len(), 0, "the engine is not asked what lainlet knows");
    assert!(engine.asked("POST create")[0].target.contains(CONTAINER));
    let end = enter(&gateway, "other").end();
    assert_eq!((end.outcome, end.code), (3, 4404), "{end:?}");
    assert!(end.text.contains("no container of demo/other runs here"), "{end:?}");
    assert_eq!(engine.asked("POST create").len(), 2, "no engine is asked for what nobody knows");
}

#[test]
fn a_lainlet_that_gives_no_answer_is_told() {
    type Script = fn(&Asked, &mut Connection) -> Then;
    let scripts: [(Script, u64, &str); 9] = [
        (
            |_, connection| {
                connection.answer(500, "", "{}");
                Then::Answered
            },
            60_000,
            "lainlet is not available: it answered 500",
        ),
        (
            |_, connection| {
                connection.answer(200, "", "<html>");
                Then::Answered
            },
            60_000,
            "its answer is no JSON",
        ),
        (
            |_, connection| {
                connection.say("HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n");
                Then::Hold
            },
            60_000,
            "longer than 4194304 bytes",
        ),
        (|_, _| Then::Close, 60_000, "lainlet closed the connection"),
        (|_, _| Then::Hold, 100, "lainlet did not answer in time"),
        (
            |_, connection| {
                connection.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{");
                Then::Hold
            },
            100,
            "lainlet did not answer in time",
        ),
        (
            |_, connection| {
                connection.say("HTTP/1.1 200 OK\r\n");
                while connection.drip("X-More: to come\r\n", Duration::from_millis(5)) {}
                Then::Close
            },
            100,
            "lainlet did not answer in time",
        ),
        (
            |_, connection| {
                let pods = pods(CONTAINER, "10.0.0.1");
                connection.say(format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{pods}"));
                Then::Answered
            },
            60_000,
            "its answer is JSON that is cut short",
        ),
        (
            |_, connection| {
                let pods = pods(CONTAINER, "10.0.0.1");
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                connection.say(format!("{head}-1\r\n{pods}\r\n0\r\n\r\n"));
                Then::Answered
            },
            60_000,
            "lainlet is not available",
        ),
    ];
    let engine = Fake::unix(usual);
    for (script, milliseconds_max, words) in scripts {
        let lainlet = Fake::tcp(script);
        let end = enter(&by_lainlet(&engine, &url(&lainlet), milliseconds_max), "shell").end();
        assert_eq!((end.outcome, end.exit_status, end.code), (20, 125, 1013), "{end:?}");
        assert!(end.text.contains("Can't enter your container, try again."), "{end:?}");
        assert!(end.text.contains(words), "{words}: {end:?}");
    }
    // Nobody has this port: it takes a right of its own.
    let gone = "127.0.0.1:1";
    let end = enter(&by_lainlet(&engine, &format!("http://{gone}"), 60_000), "shell").end();
    assert!(end.text.contains(&format!("tcp://{gone} cannot be reached")), "{end:?}");
    let end = enter(&by_lainlet(&engine, "http://no-such-host.invalid:1", 60_000), "shell").end();
    assert!(end.text.contains("no-such-host.invalid is not resolved"), "{end:?}");
    assert_eq!(engine.asked("POST create").len(), 0, "nobody was let in anywhere");
}

#[test]
fn a_silent_lainlet_holds_up_nobody_else() {
    let engine = Fake::unix(usual);
    let silent = Arc::new(AtomicBool::new(false));
    let held: Arc<Mutex<Vec<()>>> = Arc::default();
    let (is_silent, holds) = (Arc::clone(&silent), Arc::clone(&held));
    let lainlet = Fake::tcp(move |_, connection| {
        if is_silent.load(Ordering::SeqCst) {
            holds.lock().unwrap().push(());
            return Then::Hold;
        }
        connection.answer(200, "", &pods(CONTAINER, "10.0.0.1"));
        Then::Answered
    });
    let gateway = by_lainlet(&engine, &url(&lainlet), 60_000);
    let mut early = enter(&gateway, "shell").opened();
    early.until(PROMPT);
    silent.store(true, Ordering::SeqCst);
    let waiting: Vec<Client> = (0..8).map(|_| enter(&gateway, "shell")).collect();
    crate::support::eventually("all of them to wait", || held.lock().unwrap().len() == waiting.len());
    early.type_in("still here");
    early.until("still here");
    early.type_in(BYE);
    assert_eq!(early.end().exit_status, 7, "how it ended is asked beside those who wait");
}
