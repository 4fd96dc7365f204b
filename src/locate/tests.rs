//! Whole searches: questions as they go out, answers as engines give them.

use serde_json::{Value, json};

use super::*;
use crate::engine::fixtures::{json as json_reply, refusal};
use crate::engine::{ApiVersion, Fault};

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

/// Plays the engine with these answers, one a question; gives what came of it.
fn search(target: &Target, answers: &[Value]) -> Step {
    let locator = Locator::default();
    let (mut search, mut step) = locator.start(target, &DIALECT);
    let mut answers = answers.iter();
    while let Step::Ask(question) = &step {
        assert!(question.starts_with(b"GET /v1.41/containers/json?filters="), "{step:?}");
        let answer = answers.next().expect("no more questions than answers");
        step = search.answer(&locator, &DIALECT, &json_reply(200, &answer.to_string()));
    }
    assert_eq!(answers.next(), None, "no fewer questions than answers");
    step
}

fn found(container: &str) -> Step {
    Step::Found(Found { container: container.to_owned() })
}

fn ambiguous(detail: &str) -> Step {
    Step::Refused(LocateError::Ambiguous { detail: detail.to_owned() })
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
        not_found("no instance 02 of shop/web runs here; there is 1, 2, 10".to_owned())
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
        not_found("no container of shop/web runs here".to_owned())
    );
}

#[test]
fn the_questions_carry_both_labels() {
    let locator = Locator::default();
    let (mut search, first) = locator.start(&app("shop", "web", "1"), &DIALECT);
    let labels = [("com.docker.compose.project", "shop"), ("com.docker.compose.service", "web")];
    assert_eq!(first, Step::Ask(request::list_containers(&DIALECT, &labels)));
    let second = search.answer(&locator, &DIALECT, &json_reply(200, "[]"));
    let labels = [("com.docker.stack.namespace", "shop"), ("com.docker.swarm.service.name", "shop_web")];
    assert_eq!(second, Step::Ask(request::list_containers(&DIALECT, &labels)));
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
        not_found("no container of shop/db runs here".to_owned())
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
    let Step::Refused(LocateError::Ambiguous { detail }) = search(&app("shop", "web", ""), &[json!(many)])
    else {
        panic!("fifty instances are ambiguous");
    };
    assert!(detail.starts_with("50 instances of shop/web run: 1, 2, 3, "), "{detail}");
    assert!(detail.ends_with(", 20, and 30 more; name one"), "{detail}");
    let hostile = json!([compose("a", "shop", "web", &format!("\r\n{}", "9".repeat(999)))]);
    let Step::Refused(error) = search(&app("shop", "web", "1"), &[hostile]) else {
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
        assert!(matches!(step, Step::Refused(LocateError::NotFound { .. })), "{name:?}: {step:?}");
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
        assert_eq!(search(&target, &[]), not_found(detail.to_owned()));
    }
    let longest = &long[1..];
    let step = search(&app(longest, longest, longest), &[json!([]), json!([])]);
    assert!(matches!(step, Step::Refused(LocateError::NotFound { .. })));
}

#[test]
fn the_engines_refusals_are_told() {
    let locator = Locator::default();
    for (reply, kind) in [
        (refusal(500, "boom"), Fault::Engine),
        (
            refusal(400, "client version 1.41 is too old. Minimum supported API version is 1.44"),
            Fault::VersionRefused,
        ),
        (json_reply(200, "{}"), Fault::Unreadable),
    ] {
        let (mut search, _) = locator.start(&app("shop", "web", ""), &DIALECT);
        let step = search.answer(&locator, &DIALECT, &reply);
        assert!(
            matches!(&step, Step::Refused(LocateError::Engine(error)) if error.kind == kind),
            "{kind:?}: {step:?}"
        );
    }
}

#[test]
fn a_search_that_is_over_finds_nothing_more() {
    let locator = Locator::default();
    let one = json_reply(200, &json!([compose("a", "shop", "web", "1")]).to_string());
    let (mut search, _) = locator.start(&app("shop", "web", ""), &DIALECT);
    assert_eq!(search.answer(&locator, &DIALECT, &one), found("a"));
    assert!(matches!(search.answer(&locator, &DIALECT, &one), Step::Refused(LocateError::NotFound { .. })));
    let (_, step) = Locator::new(Vec::new()).start(&app("shop", "web", ""), &DIALECT);
    assert!(matches!(step, Step::Refused(LocateError::NotFound { .. })));
}
