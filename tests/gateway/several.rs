//! Several engines: which one has the container, and what is said when one of them is away.

use crate::client::{Client, hello_tty};
use crate::fake::{BYE, Fake, Then, list_of, usual};
use crate::locate::{by_lainlet, enter, enter_instance, pods, url, works};
use crate::support::Gateway;
use entry::config::{ContainerRule, Peers, Settings};
use entry::engine::fleet::ENGINES_MAX;
use entry::engine::{Address, NamedEngine, NodeTemplate};
use entry::locate::{Locator, Way};
use entry::service::{Service, ServiceId};
use serde_json::json;

/// An engine with one instance of demo/shell.
fn with(container: &'static str, instance: &'static str) -> Fake {
    Fake::unix(move |asked, connection| {
        if asked.what != "GET list" {
            return Then::Usual;
        }
        connection.answer(200, "", &list_of(container, instance));
        Then::Answered
    })
}

/// A gateway before engines of these names.
fn before(
    engines: &[(&str, &str)],
    template: Option<&str>,
    locator: Locator,
    services: Vec<Service>,
) -> Gateway {
    let named = |(name, url): &(&str, &str)| NamedEngine {
        name: (*name).to_owned(),
        address: Address::parse(url).unwrap(),
    };
    let peers = Peers {
        engines: engines.iter().map(named).collect(),
        node_template: template.map(|text| NodeTemplate::parse(text).unwrap()),
        services,
    };
    let allow_container = ContainerRule::new(vec!["*".to_owned()]);
    Gateway::with(Settings { peers, locator, allow_container, ..Settings::default() })
}

fn by_labels(engines: &[(&str, &str)]) -> Gateway {
    before(engines, None, Locator::default(), Vec::new())
}

#[test]
fn each_instance_is_entered_on_its_own_engine() {
    let (a, b) = (with("a1", "1"), with("b2", "2"));
    let gateway = by_labels(&[("a", &a.url), ("b", &b.url)]);
    works(enter_instance(&gateway, "shell", "1"));
    works(enter_instance(&gateway, "shell", "2"));
    works(enter_instance(&gateway, "shell", "2"));
    assert_eq!((a.asked("POST create").len(), b.asked("POST create").len()), (1, 2));
    assert!(b.asked("POST create").iter().all(|asked| asked.target.contains("/containers/b2/")));
    assert_eq!(
        (a.asked("GET exec").len(), b.asked("GET exec").len()),
        (1, 2),
        "its own engine knows how it ended"
    );
    let end = enter_instance(&gateway, "shell", "").end();
    assert!(end.text.contains("2 instances of demo/shell run: 1, 2; name one"), "{end:?}");
}

#[test]
fn the_same_instance_on_two_engines_is_ambiguous() {
    let (a, b) = (with("a1", "1"), with("b1", "1"));
    let gateway = by_labels(&[("a", &a.url), ("b", &b.url)]);
    let end = enter(&gateway, "shell").end();
    assert_eq!((end.outcome, end.code), (3, 4404), "{end:?}");
    assert!(end.text.contains("2 containers run as demo/shell instance 1: web on"), "{end:?}");
    assert!(end.text.contains("web on a") && end.text.contains("web on b"), "{end:?}");
    assert_eq!(a.asked("POST create").len() + b.asked("POST create").len(), 0);
}

#[test]
fn one_engine_away_hurts_only_its_own_containers() {
    let a = with("a1", "1");
    let silent = Fake::unix(|_, _| Then::Hold);
    for away in ["unix:///nowhere/engine.sock", &silent.url] {
        let gateway = by_labels(&[("a", &a.url), ("b", away)]);
        works(enter(&gateway, "shell"));
        let end = enter_instance(&gateway, "shell", "2").end();
        assert_eq!((end.outcome, end.code), (20, 1013), "{end:?}");
        assert!(end.text.contains("The engine b could not be asked ("), "{end:?}");
        assert!(end.text.contains("no instance 2 of demo/shell runs here; there is 1."), "{end:?}");
    }
}

#[test]
fn a_container_by_name_is_entered_on_the_engine_that_has_it() {
    let a = Fake::unix(|asked, connection| {
        if asked.what != "GET container" {
            return Then::Usual;
        }
        connection.answer(404, "", "{\"message\":\"No such container: demo\"}");
        Then::Answered
    });
    let b = Fake::unix(usual);
    let gateway = by_labels(&[("a", &a.url), ("b", &b.url)]);
    works(Client::enter(gateway.address, hello_tty(&["cat"])));
    assert_eq!((a.asked("POST create").len(), b.asked("POST create").len()), (0, 1));
}

#[test]
fn a_redeployed_container_is_found_anew() {
    // Its engine does not have the container that lainlet knew of; a moment later lainlet knows better.
    let engine = Fake::unix(|asked, connection| {
        if asked.what != "POST create" || !asked.target.contains("/old/") {
            return Then::Usual;
        }
        connection.answer(404, "", "{\"message\":\"No such container: old\"}");
        Then::Answered
    });
    let lainlet = Fake::tcp(|asked, connection| {
        connection.answer(200, "", &pods(if asked.nth == 1 { "old" } else { "new" }, "10.0.0.1"));
        Then::Answered
    });
    works(enter(&by_lainlet(&engine, &url(&lainlet), 60_000), "shell"));
    let entered: Vec<String> = engine.asked("POST create").into_iter().map(|asked| asked.target).collect();
    assert_eq!(entered, ["/v1.51/containers/old/exec", "/v1.51/containers/new/exec"]);

    let stale = Fake::tcp(|_, connection| {
        connection.answer(200, "", &pods("old", "10.0.0.1"));
        Then::Answered
    });
    let end = enter(&by_lainlet(&engine, &url(&stale), 60_000), "shell").end();
    assert_eq!((end.outcome, end.code), (3, 4404), "{end:?}");
    assert!(end.text.contains("No such container: old"), "{end:?}");
    assert_eq!(stale.asked("GET lainlet").len(), 2, "asked once more, and no more");
}

#[test]
fn a_webhook_names_the_engine() {
    let (a, b) = (Fake::unix(usual), Fake::unix(usual));
    let hook = Fake::tcp(|asked, connection| {
        let wanted: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!((&wanted["app"], &wanted["instance"]), (&json!("demo"), &json!("1")));
        let answer = match wanted["proc"].as_str().unwrap() {
            "shell" => json!({ "container": "c7", "engine": "b" }),
            "lost" => json!({ "container": "c7", "engine": "z" }),
            "vague" => json!({ "container": "c7" }),
            _ => json!({}),
        };
        connection.answer(200, "", &answer.to_string());
        Then::Answered
    });
    let service = Service::parse("the locate webhook", &format!("{}/where", url(&hook)), 60_000).unwrap();
    let locator = Locator::new(vec![Way::Webhook(ServiceId(0))]);
    let gateway = before(&[("a", &a.url), ("b", &b.url)], None, locator, vec![service]);
    works(enter(&gateway, "shell"));
    assert_eq!(b.asked("POST create")[0].target, "/v1.51/containers/c7/exec");
    for (proc, outcome, words) in [
        ("lost", 20, "it names the engine z, and none is configured by that name"),
        ("vague", 20, "it names neither engine nor node"),
        ("unknown", 3, "no container of demo/unknown runs here"),
    ] {
        let end = enter(&gateway, proc).end();
        assert!(end.outcome == outcome && end.text.contains(words), "{end:?}");
    }
    assert_eq!((a.asked("POST create").len(), b.asked("POST create").len()), (0, 1));
}

#[test]
fn a_template_makes_engines_of_nodes() {
    let engine = Fake::tcp(usual);
    let port = engine.url.rsplit(':').next().unwrap();
    let lainlet = Fake::tcp(|asked, connection| {
        let node = match asked.target.rsplit('=').next().unwrap() {
            "demo" if asked.nth <= 2 => "127.0.0.1",
            _ => "evil:1/x?",
        };
        connection.answer(200, "", &pods("c1", node));
        Then::Answered
    });
    let service = Service::parse("lainlet", &url(&lainlet), 60_000).unwrap();
    let locator = Locator::new(vec![Way::Lainlet(ServiceId(0))]);
    let gateway = before(&[], Some(&format!("tcp://{{node}}:{port}")), locator, vec![service]);
    works(enter(&gateway, "shell"));
    works(enter(&gateway, "shell"));
    let end = enter(&gateway, "shell").end();
    assert_eq!(end.outcome, 20, "{end:?}");
    assert!(end.text.contains("is no node: neither an IP address nor a host's name"), "{end:?}");
    assert_eq!((engine.asked("GET ping").len(), engine.asked("POST create").len()), (1, 2));
}

#[test]
fn an_engine_that_nobody_needs_makes_room_for_another() {
    // Of three nodes engines answer; the first one's is needed all the time.
    let needed = Fake::tcp(usual);
    let port = needed.url.rsplit(':').next().unwrap().to_owned();
    let at = |host: &str| Fake::tcp_at(&format!("{host}:{port}"), usual);
    let (forgotten, last) = (at("127.0.0.2"), at("127.0.0.3"));
    let lainlet = Fake::tcp(|asked, connection| {
        let node = match asked.nth {
            1 => "127.0.0.1".to_owned(),
            2 => "127.0.0.2".to_owned(),
            nth if nth <= ENGINES_MAX => format!("127.1.{}.{}", nth / 256, nth % 256),
            _ => "127.0.0.3".to_owned(),
        };
        connection.answer(200, "", &pods("c1", &node));
        Then::Answered
    });
    let service = Service::parse("lainlet", &url(&lainlet), 60_000).unwrap();
    let locator = Locator::new(vec![Way::Lainlet(ServiceId(0))]);
    let gateway = before(&[], Some(&format!("tcp://{{node}}:{port}")), locator, vec![service]);
    let mut stays = enter(&gateway, "shell").opened();
    works(enter(&gateway, "shell"));
    // It keeps a connection to the engine for the next question how a process ended.
    assert_eq!(forgotten.asked("GET exec").len(), 1);
    for _ in 2..ENGINES_MAX {
        let end = enter(&gateway, "shell").end();
        assert_eq!(end.outcome, 8, "nobody is there: {end:?}");
    }
    works(enter(&gateway, "shell"));
    let asked = |engine: &Fake| ["GET ping", "POST create", "GET exec"].map(|what| engine.asked(what).len());
    assert_eq!((asked(&forgotten), asked(&last)), ([1, 1, 1], [1, 1, 1]));
    stays.type_in(BYE);
    assert_eq!(stays.end().exit_status, 7);
    assert_eq!((asked(&needed), asked(&last)), ([1, 1, 1], [1, 1, 1]));
}

#[test]
fn a_swarms_task_is_entered_on_its_node() {
    let node = Fake::tcp(usual);
    let port = node.url.rsplit(':').next().unwrap();
    let manager = Fake::unix(|asked, connection| {
        let labels = json!({ "com.docker.stack.namespace": "demo" });
        let container = json!({ "ContainerID": "t3" });
        let answer = match asked.what {
            "GET service" => json!({ "ID": "s1", "Spec": { "Name": "demo_shell", "Labels": labels } }),
            "GET tasks" => json!([{ "ServiceID": "s1", "NodeID": "n1", "Slot": 1,
                "Status": { "State": "running", "ContainerStatus": container } }]),
            "GET node" => json!({ "Description": { "Hostname": "n" }, "Status": { "Addr": "127.0.0.1" } }),
            _ => return Then::Usual,
        };
        connection.answer(200, "", &answer.to_string());
        Then::Answered
    });
    let template = format!("tcp://{{node}}:{port}");
    let locator = Locator::new(vec![Way::Swarm]);
    let gateway = before(&[("manager", &manager.url)], Some(&template), locator, Vec::new());
    works(enter(&gateway, "shell"));
    assert_eq!(manager.asked("GET service")[0].target, "/v1.51/services/demo_shell");
    assert_eq!(node.asked("POST create")[0].target, "/v1.51/containers/t3/exec");
    assert_eq!(manager.asked("POST create").len(), 0);
}
