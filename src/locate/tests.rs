//! Whole searches: questions as they go out, answers as engines give them.

use serde_json::{Value, json};

use super::*;
use crate::engine::fixtures::{json as json_reply, refusal};
use crate::engine::{Address, ApiVersion, Dialect, Engines, Fault, NamedEngine, NodeTemplate, request};
use crate::service::{Peer, Service};
use crate::wire::http::Reply;

const DIALECT: Dialect = Dialect { version: ApiVersion { major: 1, minor: 41 }, podman: false };

fn app(app: &str, proc: &str, instance: &str) -> Target {
    Target::App { app: app.to_owned(), proc: proc.to_owned(), instance: instance.to_owned() }
}

fn compose(id: &str, project: &str, service: &str, number: &str) -> Value {
    json!({"Id": id, "Names": [format!("/{project}-{service}-{number}")], "Labels": {
        "com.docker.compose.project": project,
        "com.docker.compose.service": service,
        "com.docker.compose.container-number": number,
        "com.docker.compose.oneoff": "False",
    }})
}

fn swarm(id: &str, stack: &str, service: &str, slot: &str) -> Value {
    json!({"Id": id, "Names": [format!("/{service}.{slot}.t{id}")], "Labels": {
        "com.docker.stack.namespace": stack,
        "com.docker.swarm.service.name": service,
        "com.docker.swarm.task.name": format!("{service}.{slot}.t{id}"),
    }})
}

fn world<'a>(locator: &'a Locator, services: &'a [Service], engines: &'a mut Engines) -> World<'a> {
    World { locator, services, engines }
}

/// One engine, of the usual name.
fn one_engine() -> Engines {
    let address = Address::parse("unix:///engine.sock").unwrap();
    Engines::new(&[NamedEngine { name: "only".to_owned(), address }], None)
}

/// Plays the engine with these answers, one a question; gives what came of it: the container, or why there is none.
fn search(target: &Target, answers: &[Value]) -> Result<String, LocateError> {
    let (locator, mut engines) = (Locator::default(), one_engine());
    match Search::start(target.clone(), &mut world(&locator, &[], &mut engines), 0).1 {
        Step::Found(Found { container, .. }) => {
            assert_eq!(answers.len(), 0, "nobody is asked");
            return Ok(container);
        }
        Step::Refused(error) => return Err(error),
        Step::Leg(engine) => assert_eq!(Some(engine), engines.only()),
        Step::Ask(questions) => panic!("the leg is asked, and nobody else: {questions:?}"),
    }
    let schemes = locator.schemes().unwrap();
    let (mut search, mut step) = ListSearch::start(schemes, &DIALECT, target);
    let mut answers = answers.iter();
    while let ListStep::Ask(question) = &step {
        assert!(question.starts_with(b"GET /v1.41/containers/json?filters="), "{step:?}");
        let answer = answers.next().expect("no more questions than answers");
        step = search.answer(schemes, &DIALECT, &json_reply(200, &answer.to_string()));
    }
    assert_eq!(answers.next(), None, "no fewer questions than answers");
    match step {
        ListStep::Listed(candidates) => choose(target, &candidates).map(|chosen| chosen.container.clone()),
        ListStep::Refused(error) => Err(LocateError::Engine(error)),
        ListStep::Ask(_) => unreachable!("all were answered"),
    }
}

fn found(container: &str) -> Result<String, LocateError> {
    Ok(container.to_owned())
}

fn ambiguous(detail: &str) -> Result<String, LocateError> {
    Err(LocateError::Ambiguous { detail: detail.to_owned() })
}

fn not_found(detail: &str) -> Result<String, LocateError> {
    Err(LocateError::NotFound { detail: detail.to_owned() })
}

#[test]
fn compose_is_asked_first() {
    let one = json!([compose("a1", "shop", "web", "1")]);
    assert_eq!(search(&app("shop", "web", ""), std::slice::from_ref(&one)), found("a1"));
    assert_eq!(search(&app("shop", "web", "1"), &[one]), found("a1"));
    let three = json!([
        compose("c", "shop", "web", "10"),
        compose("b", "shop", "web", "2"),
        compose("a", "shop", "web", "1")
    ]);
    assert_eq!(search(&app("shop", "web", "2"), std::slice::from_ref(&three)), found("b"));
    assert_eq!(
        search(&app("shop", "web", ""), std::slice::from_ref(&three)),
        ambiguous("3 instances of shop/web run: 1, 2, 10; name one")
    );
    // Instances are text: 02 is not 2.
    assert_eq!(
        search(&app("shop", "web", "02"), &[three]),
        not_found("no instance 02 of shop/web runs here; there is 1, 2, 10")
    );
}

#[test]
fn then_swarm() {
    let two = json!([swarm("a", "shop", "shop_web", "1"), swarm("b", "shop", "shop_web", "2")]);
    assert_eq!(search(&app("shop", "web", "2"), &[json!([]), two.clone()]), found("b"));
    assert_eq!(
        search(&app("shop", "web", ""), &[json!([]), two]),
        ambiguous("2 instances of shop/web run: 1, 2; name one")
    );
    assert_eq!(
        search(&app("shop", "web", ""), &[json!([]), json!([])]),
        not_found("no container of shop/web runs here")
    );
}

#[test]
fn the_questions_carry_both_labels() {
    let schemes = Schemes::default();
    let (mut search, first) = ListSearch::start(&schemes, &DIALECT, &app("shop", "web", "1"));
    let labels = [("com.docker.compose.project", "shop"), ("com.docker.compose.service", "web")];
    assert_eq!(first, ListStep::Ask(request::list_containers(&DIALECT, &labels)));
    let second = search.answer(&schemes, &DIALECT, &json_reply(200, "[]"));
    let labels = [("com.docker.stack.namespace", "shop"), ("com.docker.swarm.service.name", "shop_web")];
    assert_eq!(second, ListStep::Ask(request::list_containers(&DIALECT, &labels)));
}

#[test]
fn the_filter_is_not_trusted() {
    // An engine that gives everything it has.
    let all = json!([
        compose("a", "shop", "web2", "1"),
        compose("b", "shop2", "web", "1"),
        swarm("c", "shop", "shop_web", "1"),
        {"Id": "d", "Names": ["/shop-web-run"], "Labels": {
            "com.docker.compose.project": "shop",
            "com.docker.compose.service": "web",
            "com.docker.compose.container-number": "1",
            "com.docker.compose.oneoff": "True",
        }},
        {"Id": "e", "Names": null, "Labels": null},
    ]);
    assert_eq!(search(&app("shop", "web", ""), &[all.clone(), all.clone()]), found("c"));
    assert_eq!(search(&app("shop", "web2", ""), std::slice::from_ref(&all)), found("a"));
    assert_eq!(
        search(&app("shop", "db", ""), &[all.clone(), all]),
        not_found("no container of shop/db runs here")
    );
}

#[test]
fn two_containers_with_one_instance_are_ambiguous() {
    let mut twin = compose("b", "shop", "web", "1");
    twin["Names"] = json!(["/twin"]);
    let twins = json!([compose("a", "shop", "web", "1"), twin]);
    for instance in ["", "1"] {
        assert_eq!(
            search(&app("shop", "web", instance), std::slice::from_ref(&twins)),
            ambiguous("2 containers run as shop/web instance 1: shop-web-1, twin")
        );
    }
    let bare = |id: &str| {
        let labels = json!({"com.docker.compose.project": "shop", "com.docker.compose.service": "web"});
        json!({"Id": id, "Labels": labels})
    };
    assert_eq!(
        search(&app("shop", "web", ""), &[json!([bare("a"), bare("b")])]),
        ambiguous("2 containers of shop/web run without an instance: one without a name, one without a name")
    );
}

#[test]
fn long_lists_are_cut() {
    let many: Vec<Value> =
        (1..=50).map(|n| compose(&format!("c{n}"), "shop", "web", &n.to_string())).collect();
    let Err(LocateError::Ambiguous { detail }) = search(&app("shop", "web", ""), &[json!(many)]) else {
        panic!("fifty instances are ambiguous");
    };
    assert!(detail.starts_with("50 instances of shop/web run: 1, 2, 3, "), "{detail}");
    assert!(detail.ends_with(", 20, and 30 more; name one"), "{detail}");
    let hostile = json!([compose("a", "shop", "web", &format!("\r\n{}", "9".repeat(999)))]);
    let Err(error) = search(&app("shop", "web", "1"), &[hostile]) else {
        panic!("instance 1 is not there");
    };
    let detail = error.to_string();
    assert!(detail.len() < 200 && !detail.contains(char::is_control), "{detail}");
}

#[test]
fn containers_by_name_need_no_question() {
    for name in ["web", "shop-web-1", "0f0e0d"] {
        assert_eq!(search(&Target::Container(name.to_owned()), &[]), found(name));
    }
    let too_long = "a".repeat(129);
    for name in ["", "/web", "../x", "a b", "a\r\nb", "wéb", &too_long] {
        let step = search(&Target::Container(name.to_owned()), &[]);
        assert!(matches!(step, Err(LocateError::NotFound { .. })), "{name:?}: {step:?}");
    }
}

#[test]
fn impossible_targets_are_refused_unasked() {
    let long = "a".repeat(PART_BYTES_MAX + 1);
    for (target, detail) in [
        (app("", "web", ""), "the target names no app"),
        (app("shop", "", "1"), "the target names no proc"),
        (app("sh\0op", "web", ""), "the target's app holds a control character"),
        (app("shop", "web\r\n", ""), "the target's proc holds a control character"),
        (app("shop", "web", "1\u{85}"), "the target's instance holds a control character"),
        (app(&long, "web", ""), "the target's app is longer than 255 bytes"),
        (app("shop", &long, ""), "the target's proc is longer than 255 bytes"),
        (app("shop", "web", &long), "the target's instance is longer than 255 bytes"),
    ] {
        assert_eq!(search(&target, &[]), not_found(detail));
    }
    let longest = &long[1..];
    let step = search(&app(longest, longest, longest), &[json!([]), json!([])]);
    assert!(matches!(step, Err(LocateError::NotFound { .. })));
}

#[test]
fn the_engines_refusals_are_told() {
    let schemes = Schemes::default();
    for (reply, kind) in [
        (refusal(500, "boom"), Fault::Engine),
        (
            refusal(400, "client version 1.41 is too old. Minimum supported API version is 1.44"),
            Fault::VersionRefused,
        ),
        (json_reply(200, "{}"), Fault::Unreadable),
    ] {
        let (mut search, _) = ListSearch::start(&schemes, &DIALECT, &app("shop", "web", ""));
        let step = search.answer(&schemes, &DIALECT, &reply);
        assert!(matches!(&step, ListStep::Refused(error) if error.kind == kind), "{kind:?}: {step:?}");
    }
}

#[test]
fn a_search_that_is_over_finds_nothing_more() {
    let schemes = Schemes::default();
    let one = json_reply(200, &json!([compose("a", "shop", "web", "1")]).to_string());
    let (mut search, _) = ListSearch::start(&schemes, &DIALECT, &app("shop", "web", ""));
    assert!(matches!(search.answer(&schemes, &DIALECT, &one), ListStep::Listed(found) if found.len() == 1));
    assert_eq!(search.answer(&schemes, &DIALECT, &one), ListStep::Listed(Vec::new()));
    let (_, step) = ListSearch::start(&Schemes::new(Vec::new()), &DIALECT, &app("shop", "web", ""));
    assert_eq!(step, ListStep::Listed(Vec::new()));
}

/// An answer of lainlet's about shop/web: these instances, containers and nodes.
fn pods(pods: &[(u64, &str, &str)]) -> Reply {
    let pods: Vec<Value> = (pods.iter())
        .map(|(instance, container, node)| {
            json!({"InstanceNo": instance, "ContainerInfos": [{"ContainerId": container, "NodeIp": node}]})
        })
        .collect();
    json_reply(200, &json!({ "shop.web.web": { "PodInfos": pods } }).to_string())
}

fn lainlet() -> (Locator, Vec<Service>) {
    let service = Service::parse("lainlet", "http://lainlet.lain:9001", 4000).unwrap();
    (Locator::new(vec![Way::Lainlet(ServiceId(0))]), vec![service])
}

#[test]
fn lainlet_tells_container_and_node() {
    let (locator, services) = lainlet();
    let address = |url| Address::parse(url).unwrap();
    let named = |name: &str, url| NamedEngine { name: name.to_owned(), address: address(url) };
    let two = [named("a", "tcp://10.0.0.1:2375"), named("b", "tcp://10.0.0.2:2375")];
    for (answer, instance, outcome) in [
        (pods(&[(1, "c1", "10.0.0.1"), (2, "c2", "10.0.0.2")]), "2", Ok(("c2", "b"))),
        (pods(&[(1, "c1", "10.0.0.1")]), "", Ok(("c1", "a"))),
        (
            pods(&[(1, "c1", "10.0.0.1"), (2, "c2", "b")]),
            "",
            Err("2 instances of shop/web run: 1, 2; name one"),
        ),
        (
            pods(&[(1, "c1", "a"), (1, "c2", "b")]),
            "1",
            Err("2 containers run as shop/web instance 1: c1, c2"),
        ),
        (pods(&[(1, "c1", "a")]), "2", Err("no instance 2 of shop/web runs here; there is 1")),
        (pods(&[(1, "c1", "a")]), "01", Err("no instance 01 of shop/web runs here; there is 1")),
        (pods(&[]), "1", Err("no container of shop/web runs here")),
        (json_reply(200, "{}"), "1", Err("no container of shop/web runs here")),
        (pods(&[(1, "c1", "10.0.0.9")]), "1", Err("no engine is configured for node 10.0.0.9")),
        (json_reply(503, "{}"), "1", Err("lainlet is not available: it answered 503")),
        (json_reply(200, "[]"), "1", Err("lainlet is not available: its answer is JSON of another shape")),
    ] {
        let mut engines = Engines::new(&two, None);
        let target = app("shop", "web", instance);
        let (mut search, step) = Search::start(target, &mut world(&locator, &services, &mut engines), 0);
        let Step::Ask(questions) = step else { panic!("{step:?}") };
        let [Question { peer: Peer::Service(ServiceId(0)), number, request }] = &questions[..] else {
            panic!("{questions:?}")
        };
        assert!(request.starts_with(b"GET /v2/coreinfowatcher?appname=shop HTTP/1.1\r\n"));
        let early = search.answer(&mut world(&locator, &services, &mut engines), number + 1, Ok(&answer));
        assert_eq!(early, Step::Ask(Vec::new()), "nobody was asked that");
        match (search.answer(&mut world(&locator, &services, &mut engines), *number, Ok(&answer)), outcome) {
            (Step::Found(Found { container, engine }), Ok((wanted, of))) => {
                assert_eq!((container.as_str(), engines.name(engine)), (wanted, of));
            }
            (Step::Refused(error), Err(words)) => {
                assert!(error.to_string().contains(words), "{error}");
            }
            (step, outcome) => panic!("{step:?} and not {outcome:?}"),
        }
    }
}

#[test]
fn a_lainlet_that_does_not_answer_is_told() {
    let (locator, services) = lainlet();
    let mut engines = one_engine();
    let target = app("shop", "web", "1");
    let (mut search, _) = Search::start(target, &mut world(&locator, &services, &mut engines), 0);
    let step =
        search.answer(&mut world(&locator, &services, &mut engines), 1, Err("it did not answer in time"));
    let detail = "lainlet is not available: it did not answer in time.".to_owned();
    assert_eq!(step, Step::Refused(LocateError::Unavailable { detail }));
}

/// Some engines, whose containers have the labels of Compose.
fn several(names: &[&str]) -> Engines {
    let named = |name: &&str| {
        let address = Address::parse(&format!("unix:///{name}.sock")).unwrap();
        NamedEngine { name: (*name).to_owned(), address }
    };
    Engines::new(&names.iter().map(named).collect::<Vec<_>>(), None)
}

/// What an engine of a name answers to a request: Err is silence.
type Says<'a> = &'a dyn Fn(&str, &str) -> Result<Reply, &'static str>;

/// A whole search, in which every engine answers in its turn, the last asked first.
fn play(locator: &Locator, target: &Target, engines: &mut Engines, says: Says<'_>) -> Step {
    let (mut search, mut step) = Search::start(target.clone(), &mut world(locator, &[], engines), 7);
    let mut open = Vec::new();
    loop {
        match step {
            Step::Ask(questions) => open.extend(questions),
            other => return other,
        }
        let Question { peer: Peer::Engine(engine), number, request } = open.pop().expect("somebody is asked")
        else {
            panic!("only engines are asked")
        };
        assert!(number > 7, "numbered from there on");
        let line = String::from_utf8(request).unwrap().split(" HTTP").next().unwrap().to_owned();
        let reply = says(engines.name(engine), &line);
        let reply = reply.as_ref().map_err(|why| *why);
        let late = search.answer(&mut world(locator, &[], engines), 3, reply);
        assert_eq!(late, Step::Ask(Vec::new()), "an answer to another search");
        step = search.answer(&mut world(locator, &[], engines), number, reply);
    }
}

fn pong() -> Reply {
    crate::engine::fixtures::reply(200, &[("Api-Version", "1.41")], "OK")
}

#[test]
fn several_engines_are_asked_at_once() {
    let lists = |name: &str, line: &str| {
        let list = match (name, line) {
            (_, "GET /_ping") => return Ok(pong()),
            ("a", line) if line.contains("compose") => json!([compose("a1", "shop", "web", "1")]),
            ("b", line) if line.contains("compose") => {
                json!([compose("b2", "shop", "web", "2"), compose("b3", "shop", "web", "3")])
            }
            ("c", line) if line.contains("swarm") => json!([swarm("c3", "shop", "shop_web", "3")]),
            ("d", _) => return Err("it closed the connection"),
            _ => json!([]),
        };
        Ok(json_reply(200, &list.to_string()))
    };
    let found = |names: &[&str], instance: &str| {
        let mut engines = several(names);
        match play(&Locator::default(), &app("shop", "web", instance), &mut engines, &lists) {
            Step::Found(Found { container, engine }) => format!("{container} of {}", engines.name(engine)),
            Step::Refused(LocateError::Unavailable { detail }) => format!("unavailable: {detail}"),
            Step::Refused(error) => error.to_string(),
            step => panic!("{step:?}"),
        }
    };
    assert_eq!(found(&["a", "b"], "1"), "a1 of a");
    assert_eq!(found(&["a", "b"], "2"), "b2 of b");
    assert_eq!(found(&["a", "b"], ""), "3 instances of shop/web run: 1, 2, 3; name one");
    assert_eq!(found(&["a", "b"], "4"), "no instance 4 of shop/web runs here; there is 1, 2, 3");
    assert_eq!(
        found(&["b", "c"], "3"),
        "2 containers run as shop/web instance 3: shop-web-3 on b, shop_web.3.tc3 on c"
    );
    assert_eq!(found(&["e", "f"], "1"), "no container of shop/web runs here");
    // One is down: only its containers say so.
    assert_eq!(found(&["a", "d"], "1"), "a1 of a");
    assert_eq!(
        found(&["a", "d"], "2"),
        "unavailable: The engine d could not be asked (it closed the connection); elsewhere, no instance 2 of shop/web \
         runs here; there is 1."
    );
}

#[test]
fn who_is_silent_is_not_waited_for_for_ever() {
    let (locator, mut engines) = (Locator::default(), several(&["a", "b"]));
    let target = app("shop", "web", "1");
    let (mut search, step) = Search::start(target, &mut world(&locator, &[], &mut engines), 0);
    let Step::Ask(pings) = step else { panic!("{step:?}") };
    assert!(search.asks_engines() && pings.len() == 2);
    let step = search.answer(&mut world(&locator, &[], &mut engines), pings[0].number, Ok(&pong()));
    let Step::Ask(lists) = step else { panic!("{step:?}") };
    let one = json_reply(200, &json!([compose("a1", "shop", "web", "1")]).to_string());
    let step = search.answer(&mut world(&locator, &[], &mut engines), lists[0].number, Ok(&one));
    assert_eq!(step, Step::Ask(Vec::new()), "b may have it, too");
    let Step::Found(found) = search.lose_patience(&mut world(&locator, &[], &mut engines)) else {
        panic!("a has it, and b does not say")
    };
    assert_eq!((found.container.as_str(), engines.name(found.engine)), ("a1", "a"));
    let late = search.answer(&mut world(&locator, &[], &mut engines), pings[1].number, Ok(&pong()));
    assert_eq!(late, Step::Ask(Vec::new()));
}

#[test]
fn an_engine_that_came_back_as_another_is_asked_in_its_own_words() {
    let mut engines = several(&["a", "b"]);
    for engine in engines.configured().collect::<Vec<_>>() {
        engines.learn(engine, Dialect { version: ApiVersion { major: 1, minor: 51 }, podman: false });
    }
    let step = play(&Locator::default(), &app("shop", "web", "1"), &mut engines, &|name, line| {
        Ok(match line {
            "GET /_ping" => pong(),
            line if line.starts_with("GET /v1.51/") && name == "b" => {
                refusal(400, "client version 1.51 is too new. Maximum supported API version is 1.41")
            }
            line if line.starts_with("GET /v1.41/") => {
                json_reply(200, &json!([compose("b1", "shop", "web", "1")]).to_string())
            }
            _ => json_reply(200, "[]"),
        })
    });
    assert!(matches!(&step, Step::Found(found) if found.container == "b1"), "{step:?}");
}

#[test]
fn a_container_by_name_is_looked_for_on_all_engines() {
    let inspected = |name: &str, line: &str| {
        Ok(match (name, line) {
            (_, "GET /_ping") => pong(),
            ("b" | "c", "GET /v1.41/containers/db/json") => {
                let id = format!("{name}1");
                let (state, config) = (json!({"Running": true}), json!({"Tty": false}));
                json_reply(
                    200,
                    &json!({"Id": id, "Name": "/db", "State": state, "Config": config}).to_string(),
                )
            }
            _ => refusal(404, "No such container: db"),
        })
    };
    for (names, outcome) in [
        (["a", "b"], "b1 of b"),
        (["a", "d"], "there is no container db"),
        (["b", "c"], "2 containers are db: db on b, db on c"),
    ] {
        let mut engines = several(&names);
        let target = Target::Container("db".to_owned());
        let told = match play(&Locator::default(), &target, &mut engines, &inspected) {
            Step::Found(found) => format!("{} of {}", found.container, engines.name(found.engine)),
            Step::Refused(error) => error.to_string(),
            step => panic!("{step:?}"),
        };
        assert_eq!(told, outcome);
    }
}

#[test]
fn a_swarms_task_is_found_with_its_node() {
    let task = |slot: u64, container: &str, node: &str, state: &str, service: &str| {
        json!({"ServiceID": service, "NodeID": node, "Slot": slot,
            "Status": {"State": state, "ContainerStatus": {"ContainerID": container}}})
    };
    let says = |_: &str, line: &str| {
        let labels = json!({"com.docker.stack.namespace": "shop"});
        let body = match line {
            "GET /_ping" => return Ok(pong()),
            "GET /v1.41/services/shop_web" => {
                json!({"ID": "s1", "Spec": {"Name": "shop_web", "Labels": labels}})
            }
            // A service's id may begin with what was asked for.
            "GET /v1.41/services/shop_x" => {
                json!({"ID": "shop_x1", "Spec": {"Name": "other", "Labels": labels}})
            }
            "GET /v1.41/services/shop_y" => json!({"ID": "s2", "Spec": {"Name": "shop_y", "Labels": null}}),
            line if line.starts_with("GET /v1.41/tasks?filters=") => json!([
                task(1, "c1", "n1", "running", "s1"),
                task(2, "c2", "n2", "running", "s1"),
                task(3, "c3", "n2", "starting", "s1"),
                task(2, "c4", "n2", "running", "s9"),
                {"ServiceID": "s1", "NodeID": "n3", "Slot": 4, "Status": {"State": "running"}},
            ]),
            "GET /v1.41/nodes/n2" => {
                json!({"Description": {"Hostname": "two"}, "Status": {"Addr": "10.0.0.2"}})
            }
            "GET /v1.41/nodes/n1" => json!({"Description": {"Hostname": "m"}, "Status": {"Addr": "0.0.0.0"}}),
            _ => return Ok(refusal(404, "service not found")),
        };
        Ok(json_reply(200, &body.to_string()))
    };
    let locator = Locator::new(vec![Way::Swarm]);
    for (proc, instance, outcome) in [
        ("web", "2", "c2 at tcp://10.0.0.2:2375"),
        ("web", "1", "c1 at unix:///m"),
        ("web", "3", "no instance 3 of shop/web runs here; there is 1, 2"),
        ("web", "", "2 instances of shop/web run: 1, 2; name one"),
        ("x", "1", "no container of shop/x runs here"),
        ("y", "1", "no container of shop/y runs here"),
        ("z", "1", "no container of shop/z runs here"),
    ] {
        let template = NodeTemplate::parse("tcp://{node}:2375").unwrap();
        let manager = NamedEngine { name: "m".to_owned(), address: Address::parse("unix:///m").unwrap() };
        let mut engines = Engines::new(&[manager], Some(template));
        let told = match play(&locator, &app("shop", proc, instance), &mut engines, &says) {
            Step::Found(Found { container, engine }) => {
                format!("{container} at {}", engines.address(engine).unwrap())
            }
            Step::Refused(error) => error.to_string(),
            step => panic!("{step:?}"),
        };
        assert_eq!(told, outcome);
    }
    let no_manager = |_: &str, line: &str| {
        Ok(if line == "GET /_ping" { pong() } else { refusal(503, "This node is not a swarm manager.") })
    };
    let step = play(&locator, &app("shop", "web", "1"), &mut several(&["a"]), &no_manager);
    let Step::Refused(LocateError::Unavailable { detail }) = step else { panic!("{step:?}") };
    assert!(
        detail.contains("The engine a could not be asked") && detail.contains("not a swarm manager"),
        "{detail}"
    );
}

#[test]
fn ways_are_gone_in_their_order() {
    let hook = Service::parse("the locate webhook", "http://hook/", 4000).unwrap();
    let lainlet = Service::parse("lainlet", "http://lainlet", 4000).unwrap();
    let services = [lainlet, hook];
    let locator = Locator::new(vec![
        Way::Lainlet(ServiceId(0)),
        Way::Webhook(ServiceId(1)),
        Way::Labels(Schemes::default()),
    ]);
    let mut engines = one_engine();
    let begin = |engines: &mut Engines| {
        let (mut search, step) =
            Search::start(app("shop", "web", "1"), &mut world(&locator, &services, engines), 0);
        assert!(
            matches!(&step, Step::Ask(asked) if asked[0].peer == Peer::Service(ServiceId(0))),
            "{step:?}"
        );
        let step = search.answer(&mut world(&locator, &services, engines), 1, Ok(&json_reply(200, "{}")));
        assert!(
            matches!(&step, Step::Ask(asked) if asked[0].peer == Peer::Service(ServiceId(1))),
            "{step:?}"
        );
        search
    };
    let only = engines.only().unwrap();
    for (answer, outcome) in [
        (json_reply(404, ""), Step::Leg(only)),
        (
            json_reply(200, r#"{"container":"c1"}"#),
            Step::Found(Found { container: "c1".to_owned(), engine: only }),
        ),
        (
            json_reply(500, ""),
            Step::Refused(LocateError::Unavailable {
                detail: "the locate webhook is not available: it answered 500.".to_owned(),
            }),
        ),
    ] {
        let mut search = begin(&mut engines);
        assert_eq!(search.answer(&mut world(&locator, &services, &mut engines), 2, Ok(&answer)), outcome);
    }
}
