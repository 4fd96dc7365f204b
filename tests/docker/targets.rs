//! Which container is meant: by labels exactly, by name only where that is permitted.

use crate::common::engine::{Container, engine, unique};
use crate::common::gateway::Gateway;
use crate::common::program::Ended;

/// A container with these labels, that says who it is.
fn labelled(labels: &[(&str, &str)]) -> Container {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("--label={name}={value}")).collect();
    let mut options: Vec<&str> = labels.iter().map(String::as_str).collect();
    let name = unique("entry");
    let variable = format!("WHO={name}");
    options.extend(["--env", &variable]);
    Container::named(&name, "entry-busybox", &options, &[])
}

fn compose(app: &str, proc: &str, number: &str, more: &[(&str, &str)]) -> Container {
    let mut labels = vec![
        ("com.docker.compose.project", app),
        ("com.docker.compose.service", proc),
        ("com.docker.compose.container-number", number),
    ];
    labels.extend(more);
    labelled(&labels)
}

/// Asks whoever is there for its name.
fn ask(gateway: &Gateway, target: &[&str]) -> Ended {
    let mut words = vec!["enter"];
    words.extend(target);
    words.extend(["--", "sh", "-c", "echo $WHO"]);
    gateway.run(&words)
}

fn is(ended: &Ended, container: &Container) {
    ended.expect(0, &format!("{}\n", container.name), "");
}

#[test]
fn compose_labels_exactly() {
    let app = unique("shop");
    let longer = format!("{app}s");
    let web1 = compose(&app, "web", "1", &[("com.docker.compose.oneoff", "False")]);
    let web2 = compose(&app, "web", "2", &[]);
    let web10 = compose(&app, "web", "10", &[]);
    let db = compose(&app, "db", "1", &[]);
    let _other = [
        compose(&longer, "web", "1", &[]),
        compose(&app, "webs", "1", &[]),
        compose(&app.to_uppercase(), "web", "1", &[]),
        // `docker compose run`: the service's labels, and nobody's instance.
        compose(&app, "web", "1", &[("com.docker.compose.oneoff", "True")]),
    ];
    let gateway = Gateway::start(&engine(), &[]);
    is(&ask(&gateway, &[&app, "web", "1"]), &web1);
    is(&ask(&gateway, &[&app, "web", "2"]), &web2);
    is(&ask(&gateway, &[&app, "web", "10"]), &web10);
    is(&ask(&gateway, &[&app, "db", "1"]), &db);
    // The only one needs no number.
    is(&ask(&gateway, &[&app, "db"]), &db);
    let several = format!("3 instances of {app}/web run: 1, 2, 10; name one");
    ask(&gateway, &[&app, "web"]).expect_words(125, &several);
    for instance in ["3", "01", "1 ", "+1", "0"] {
        let missing = format!("no instance {instance} of {app}/web runs here; there is 1, 2, 10");
        ask(&gateway, &[&app, "web", instance]).expect_words(125, &missing);
    }
    for (app, proc) in [
        (app.as_str(), "we"),
        (app.as_str(), "Web"),
        (app.as_str(), "web "),
        (&app[..app.len() - 1], "web"),
        (app.as_str(), ".*"),
        ("", "web"),
        ("*", "*"),
    ] {
        let ended = ask(&gateway, &[app, proc]);
        assert_eq!((ended.status, ended.stdout()), (125, String::new()), "{app}/{proc}: {ended}");
    }
    // Stopped, it is not there.
    db.kill();
    ask(&gateway, &[&app, "db"]).expect_words(125, &format!("no container of {app}/db runs here"));
}

#[test]
fn one_instance_twice_is_ambiguous() {
    let app = unique("twice");
    let (first, second) = (compose(&app, "web", "1", &[]), compose(&app, "web", "1", &[]));
    let gateway = Gateway::start(&engine(), &[]);
    for target in [&[app.as_str(), "web", "1"][..], &[app.as_str(), "web"]] {
        let ended = ask(&gateway, target);
        ended.expect_words(125, &format!("2 containers run as {app}/web instance 1: "));
        assert!(ended.stderr().contains(&first.name) && ended.stderr().contains(&second.name), "{ended}");
    }
}

#[test]
fn swarm_labels_exactly() {
    let app = unique("stack");
    let service = format!("{app}_web");
    let task = |service: &str, slot: &str| {
        let task = format!("{service}.{slot}.k2j4h5g6f7d8s9a0");
        labelled(&[
            ("com.docker.stack.namespace", &app),
            ("com.docker.swarm.service.name", service),
            ("com.docker.swarm.task.name", &task),
        ])
    };
    let (first, second) = (task(&service, "1"), task(&service, "2"));
    let dotted = task(&format!("{app}_a.b"), "7");
    let _other = task(&format!("{app}_web2"), "1");
    let gateway = Gateway::start(&engine(), &[]);
    is(&ask(&gateway, &[&app, "web", "1"]), &first);
    is(&ask(&gateway, &[&app, "web", "2"]), &second);
    is(&ask(&gateway, &[&app, "a.b", "7"]), &dotted);
    is(&ask(&gateway, &[&app, "a.b"]), &dotted);
    ask(&gateway, &[&app, "web"]).expect_words(125, "2 instances");
    ask(&gateway, &[&app, "we"]).expect_words(125, "Container is not found.");
    ask(&gateway, &[&service, "web"]).expect_words(125, "Container is not found.");
}

#[test]
fn labels_of_one_s_own() {
    let app = unique("own");
    let mine = labelled(&[("org.example/app", &app), ("org.example/role", "api"), ("org.example/n", "blue")]);
    let composed = compose(&app, "web", "1", &[]);
    let gateway = Gateway::start(&engine(), &["--labels", "org.example/app,org.example/role,org.example/n"]);
    is(&ask(&gateway, &[&app, "api", "blue"]), &mine);
    is(&ask(&gateway, &[&app, "api"]), &mine);
    ask(&gateway, &[&app, "api", "green"]).expect_words(125, "there is blue");
    // Compose's stand no longer.
    ask(&gateway, &[&app, "web", "1"]).expect_words(125, "Container is not found.");
    let gateway = Gateway::start(&engine(), &[]);
    ask(&gateway, &[&app, "api", "blue"]).expect_words(125, "Container is not found.");
    is(&ask(&gateway, &[&app, "web", "1"]), &composed);
}

#[test]
fn by_name_only_where_permitted() {
    let allowed = unique("entry-allowed");
    let container = Container::named(&allowed, "entry-busybox", &[], &[]);
    let other = Container::idle("entry-busybox");
    let by = |gateway: &Gateway, name: &str| {
        let words = ["enter", "--container", name, "--", "hostname"];
        gateway.run(&words)
    };
    let hostname = |container: &Container| container.sh("hostname") + "\n";

    let gateway = Gateway::start(&engine(), &[]);
    for name in [&container.name, &container.id, &"nosuch".to_owned()] {
        let ended = by(&gateway, name);
        ended.expect_words(125, "Authorization failed.");
        ended.expect_words(125, "--allow-container");
    }

    let pattern = format!("{}*", &allowed[..allowed.len() - 1]);
    for pattern in [&pattern, &container.name] {
        let gateway =
            Gateway::start(&engine(), &["--allow-container", "nothing", "--allow-container", pattern]);
        // By name, by id, by the beginning of its id: what counts is the name.
        for name in [&container.name, &container.id, &container.id[..12].to_owned()] {
            by(&gateway, name).expect(0, &hostname(&container), "");
        }
        for name in [&other.name, &other.id, &other.id[..12].to_owned()] {
            by(&gateway, name).expect_words(125, "Authorization failed.");
            let ended = gateway.run(&["attach", "--container", name]);
            ended.expect_words(125, "Authorization failed.");
        }
    }

    // A pattern that an id would match permits no id.
    let id_pattern = format!("{}*", &other.id[..4]);
    let gateway = Gateway::start(&engine(), &["--allow-container", &id_pattern]);
    by(&gateway, &other.id).expect_words(125, "Authorization failed.");

    let gateway = Gateway::start(&engine(), &["--allow-container", "*"]);
    by(&gateway, &other.id[..12]).expect(0, &hostname(&other), "");
    by(&gateway, "nosuch-container").expect_words(125, "Container is not found.");
    for name in ["../json", "a b", "a/../b", "ü"] {
        by(&gateway, name).expect_words(125, "Container is not found.");
    }
}
