//! Engines and services that hang up inside their answers: each question that Entry asks, cut behind every byte of a good
//! answer. It is always told what is missing, nobody waits in vain, and the next session finds everything in order.

use crate::access::{asking, jwt, published, signed_for_an_hour, url, with_token};
use crate::client::{Client, hello_tty};
use crate::fake::{
    self, Asked, BYE, CONTAINER, Connection, EXITED_7, Fake, PROMPT, Then, UPGRADED, exec_id, usual,
};
use crate::locate::{by_lainlet, enter, pods, works};
use crate::support::Gateway;
use entry::access::{Asked as AskedService, Lain, Spec, Webhook};
use entry::config::{ContainerRule, Peers, Settings};
use entry::engine::{Address, NamedEngine};
use entry::locate::{Locator, Way};
use entry::service::{Service, ServiceId};
use entry::wire::message::Hello;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Outcomes by their number.
const ENGINE_UNAVAILABLE: i32 = 8;
const ACCESS_UNAVAILABLE: i32 = 18;
const LOCATE_UNAVAILABLE: i32 = 20;

/// Longer than any answer: nothing is cut.
const WHOLE: usize = usize::MAX;

/// Behind how many bytes the next answers are cut.
#[derive(Clone)]
struct Cut(Arc<AtomicUsize>);

impl Cut {
    fn new() -> Cut {
        Cut(Arc::new(AtomicUsize::new(WHOLE)))
    }

    fn behind(&self, bytes: usize) {
        self.0.store(bytes, Ordering::SeqCst);
    }

    /// Says an answer, as far as it goes; `once` for the others to be whole again.
    fn say(&self, connection: &mut Connection, answer: &[u8], once: bool) -> Then {
        let at = if once { self.0.swap(WHOLE, Ordering::SeqCst) } else { self.0.load(Ordering::SeqCst) };
        connection.say(&answer[..at.min(answer.len())]);
        if at < answer.len() { Then::Close } else { Then::Answered }
    }
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Told\r\nApi-Version: 1.51\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into()
}

/// One that says this to questions of a kind, cut, and is asked others as usual.
fn cutting(cut: &Cut, what: &'static str, answer: Vec<u8>, once: bool) -> Fake {
    let cut = cut.clone();
    Fake::unix(move |asked, connection| match asked.what == what {
        true => cut.say(connection, &answer, once),
        false => Then::Usual,
    })
}

/// The session ended before it was open, as it should.
fn ends(client: Client, outcome: i32, what: &str, at: usize) {
    let end = client.end();
    assert_eq!((end.outcome, end.exit_status, end.code), (outcome, 125, 1013), "{what} behind {at}: {end:?}");
    assert!(end.text.contains("\x1b[31m>>> ") && end.text.len() < 1000, "{what} behind {at}: {end:?}");
}

#[test]
fn an_engine_that_hangs_up_inside_an_answer_before_the_session_is_open() {
    let questions = [
        ("GET ping", answer(200, "OK")),
        ("GET list", answer(200, &fake::list())),
        ("GET container", answer(200, &fake::container("true", "true"))),
        ("POST create", answer(201, &format!("{{\"Id\":\"{}\"}}\n", exec_id(1)))),
        ("POST start", UPGRADED.into()),
    ];
    for (what, whole) in questions {
        let cut = Cut::new();
        let engine = cutting(&cut, what, whole.clone(), false);
        let gateway = Gateway::with(Settings {
            allow_container: ContainerRule::new(vec!["web".to_owned()]),
            ..Gateway::settings(&engine.url)
        });
        let enter = || match what {
            "GET container" => Client::enter(gateway.address, hello_tty(&["cat"])),
            _ => enter(&gateway, "shell"),
        };
        for at in 0..whole.len() {
            cut.behind(at);
            ends(enter(), ENGINE_UNAVAILABLE, what, at);
        }
        if what != "POST start" {
            cut.behind(WHOLE);
            works(enter());
        }
    }
}

#[test]
fn an_engine_that_hangs_up_inside_its_word_on_the_end_is_asked_again() {
    let whole = answer(200, EXITED_7);
    let cut = Cut::new();
    let engine = cutting(&cut, "GET exec", whole.clone(), true);
    let gateway = Gateway::before(&engine.url);
    for at in 0..whole.len() {
        cut.behind(at);
        works(enter(&gateway, "shell"));
    }
    assert!(engine.asked("GET exec").len() >= 2 * whole.len(), "each was asked about twice");
}

#[test]
fn an_engine_that_hangs_up_inside_its_word_on_a_size_disturbs_nobody() {
    let whole = answer(200, "");
    let cut = Cut::new();
    let engine = cutting(&cut, "POST resize", whole.clone(), true);
    let gateway = Gateway::before(&engine.url);
    let mut client = enter(&gateway, "shell").opened();
    client.until(PROMPT);
    for at in 0..whole.len() {
        let before = engine.asked("POST resize").len();
        cut.behind(at);
        client.resize(100 + u16::try_from(at).unwrap(), 50);
        engine.await_asked("POST resize", before + 1);
        let text = format!("still here {at};");
        client.type_in(&text);
        client.until(&text);
    }
    client.type_in(BYE);
    assert_eq!(client.end().exit_status, 7);
}

#[test]
fn an_access_service_that_hangs_up_inside_its_answer_lets_nobody_in() {
    let engine = Fake::unix(usual);
    let body = |what: &str| match what {
        "POST access" => r#"{"allow":true,"user":"ada"}"#.to_owned(),
        "GET configwatcher" => {
            r#"{"auth/console":"{\"type\":\"lain-sso\",\"url\":\"https://s\"}"}"#.to_owned()
        }
        "GET roles" => r#"{"role":{"role":"admin"}}"#.to_owned(),
        "GET me" => r#"{"email":"ada@lain.example"}"#.to_owned(),
        _ => published("k1"),
    };
    type Rule = fn(Vec<AskedService>) -> Spec;
    let webhook: Rule = |mut asked| Spec::Webhook(Webhook::new(asked.remove(0)));
    let lain: Rule = |mut asked| {
        let mut next = || asked.remove(0);
        let (lainlet, console, sso) = (next(), next(), Some(next()));
        Spec::Lain(Lain { lainlet, console, sso, without_auth_let_everybody_in: false })
    };
    let rows = [
        ("POST access", webhook, 1),
        ("GET configwatcher", lain, 3),
        ("GET roles", lain, 3),
        ("GET me", lain, 3),
    ];
    for (what, rule, services) in rows {
        let cut = Cut::new();
        let (cutting, whole) = (cut.clone(), answer(200, &body(what)));
        let service = Fake::tcp(move |asked: &Asked, connection| match asked.what == what {
            true => cutting.say(connection, &answer(200, &body(what)), false),
            false => {
                connection.say(answer(200, &body(asked.what)));
                Then::Answered
            }
        });
        let gateway = asking(&engine, &vec![url(&service); services], 60_000, rule);
        let target = || Hello {
            container: String::new(),
            app: "demo".to_owned(),
            proc: "shell".to_owned(),
            ..hello_tty(&["cat"])
        };
        let enter = || Client::enter(gateway.address, with_token("welcome", target()));
        for at in 0..whole.len() {
            cut.behind(at);
            ends(enter(), ACCESS_UNAVAILABLE, what, at);
        }
        cut.behind(WHOLE);
        works(enter());
    }
}

#[test]
fn keys_that_are_cut_are_no_keys() {
    let engine = Fake::unix(usual);
    let whole = answer(200, &published("k1"));
    let token = signed_for_an_hour("k1");
    for at in 0..=whole.len() {
        let cut = Cut::new();
        cut.behind(at);
        let keys = whole.clone();
        let issuer = Fake::tcp(move |_, connection| cut.say(connection, &keys, false));
        let urls = [format!("{}/jwks.json", url(&issuer))];
        // Keys are not fetched again at once, so each try has a gateway of its own.
        let gateway = asking(&engine, &urls, 60_000, |mut asked| jwt(asked.remove(0)));
        let client = Client::enter(gateway.address, with_token(&token, hello_tty(&["cat"])));
        match at == whole.len() {
            true => works(client),
            false => ends(client, ACCESS_UNAVAILABLE, "GET jwks.json", at),
        }
    }
}

#[test]
fn who_knows_where_containers_are_and_hangs_up_inside_the_answer_is_told() {
    let engine = Fake::unix(usual);
    let whole = answer(200, &pods(CONTAINER, "10.0.0.1"));
    let cut = Cut::new();
    let (cutting_it, pods) = (cut.clone(), whole.clone());
    let lainlet = Fake::tcp(move |_, connection| cutting_it.say(connection, &pods, false));
    let gateway = by_lainlet(&engine, &url(&lainlet), 60_000);
    for at in 0..whole.len() {
        cut.behind(at);
        ends(enter(&gateway, "shell"), LOCATE_UNAVAILABLE, "GET lainlet", at);
    }
    cut.behind(WHOLE);
    works(enter(&gateway, "shell"));

    let whole = answer(200, &json!({ "container": CONTAINER }).to_string());
    let (cutting_it, place) = (cut.clone(), whole.clone());
    let hook = Fake::tcp(move |_, connection| cutting_it.say(connection, &place, false));
    let service = Service::parse("the locate webhook", &format!("{}/where", url(&hook)), 60_000).unwrap();
    let gateway = located(&engine.url, Locator::new(vec![Way::Webhook(ServiceId(0))]), vec![service]);
    for at in 0..whole.len() {
        cut.behind(at);
        ends(enter(&gateway, "shell"), LOCATE_UNAVAILABLE, "POST where", at);
    }
    cut.behind(WHOLE);
    works(enter(&gateway, "shell"));
}

#[test]
fn a_swarms_manager_that_hangs_up_inside_its_answers_is_told() {
    let labels = json!({ "com.docker.stack.namespace": "demo" });
    let container = json!({ "ContainerID": "t3" });
    let bodies = [
        ("GET service", json!({ "ID": "s1", "Spec": { "Name": "demo_shell", "Labels": labels } })),
        (
            "GET tasks",
            json!([{ "ServiceID": "s1", "NodeID": "n1", "Slot": 1,
                     "Status": { "State": "running", "ContainerStatus": container } }]),
        ),
        ("GET node", json!({ "Description": { "Hostname": "n" }, "Status": { "Addr": "127.0.0.1" } })),
    ];
    for (what, body) in &bodies {
        let (what, whole) = (*what, answer(200, &body.to_string()));
        let cut = Cut::new();
        let (cutting_it, all) = (cut.clone(), bodies.clone());
        let manager = Fake::tcp(move |asked, connection| {
            let Some((_, body)) = all.iter().find(|(what, _)| asked.what == *what) else {
                return Then::Usual;
            };
            let whole = answer(200, &body.to_string());
            match asked.what == what {
                true => cutting_it.say(connection, &whole, false),
                false => {
                    connection.say(&whole);
                    Then::Answered
                }
            }
        });
        let gateway = located(&manager.url, Locator::new(vec![Way::Swarm]), Vec::new());
        for at in 0..whole.len() {
            cut.behind(at);
            let end = enter(&gateway, "shell").end();
            let known = [ENGINE_UNAVAILABLE, LOCATE_UNAVAILABLE].contains(&end.outcome);
            assert!(known && (end.exit_status, end.code) == (125, 1013), "{what} behind {at}: {end:?}");
        }
    }
}

/// A gateway before one engine, of the name and host of its node, that finds containers like this.
fn located(engine: &str, locator: Locator, services: Vec<Service>) -> Gateway {
    let engines =
        vec![NamedEngine { name: "127.0.0.1".to_owned(), address: Address::parse(engine).unwrap() }];
    let allow_container = ContainerRule::new(vec!["*".to_owned()]);
    let peers = Peers { engines, services, ..Peers::default() };
    Gateway::with(Settings { peers, locator, allow_container, ..Settings::default() })
}
