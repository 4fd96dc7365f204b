//! Two real engines with the same app: each container is entered on its own engine, and one engine that goes away takes
//! only its own containers with it.
//!
//! `scripts/with-dockerd scripts/with-dockerd cargo test --test docker_several` runs it: within itself, with-dockerd
//! starts a second engine.
#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests by clippy.toml's exception

#[path = "../common/mod.rs"]
mod common;

use common::engine::{Container, Engine, engine, unique};
use common::gateway::Gateway;
use std::process::Command;

/// The engine of the outer with-dockerd.
fn second() -> Engine {
    let host = std::env::var("DOCKER_HOST_2").expect(
        "no second engine (DOCKER_HOST_2 is not set): scripts/with-dockerd scripts/with-dockerd cargo test --test \
         docker_several",
    );
    Engine { tcp: host.clone(), host, kind: engine().kind }
}

/// An instance of an app's proc web, on this engine.
fn instance(engine: &Engine, app: &str, number: &str) -> Container {
    let name = unique("entry");
    let labels = [
        format!("--label=com.docker.compose.project={app}"),
        "--label=com.docker.compose.service=web".to_owned(),
        format!("--label=com.docker.compose.container-number={number}"),
    ];
    let mut words = vec!["run", "--detach", "--network=none", "--name", &name];
    words.extend(labels.iter().map(String::as_str));
    words.push("entry-busybox");
    let id = engine.ask(&words);
    Container { engine: engine.clone(), name, id }
}

fn restart(how: &str) {
    let program = std::env::var("ENTRY_TEST_DOCKERD_RESTART").expect("ENTRY_TEST_DOCKERD_RESTART");
    assert!(Command::new(program).arg(how).status().unwrap().success(), "the engine does not {how}");
}

#[test]
fn the_same_app_on_two_engines() {
    let (first, second, app) = (engine(), second(), unique("shop"));
    let one = instance(&first, &app, "1");
    let two = instance(&second, &app, "2");
    let also = format!("b={}", second.host);
    let gateway = Gateway::at(&format!("a={}", first.host), &["--engine", &also, "--allow-container", "*"]);

    // Each in its own: a container's host name is the beginning of its id.
    for (number, container) in [("1", &one), ("2", &two)] {
        let ended = gateway.run(&["enter", &app, "web", number, "--", "hostname"]);
        assert_eq!(ended.stdout().trim(), &container.id[..12], "instance {number}");
        let by_name = gateway.run(&["enter", "--container", &container.name, "--", "hostname"]);
        assert_eq!(by_name.stdout().trim(), &container.id[..12], "{}", container.name);
        container.await_idle();
    }
    gateway.run(&["enter", &app, "web", "--", "true"]).expect_words(125, "2 instances of");
    gateway.run(&["enter", &app, "web", "3", "--", "true"]).expect_words(125, "there is 1, 2");

    // Redeployed: another container is instance 2 now.
    drop(two);
    let two = instance(&second, &app, "2");
    let ended = gateway.run(&["enter", &app, "web", "2", "--", "hostname"]);
    assert_eq!(ended.stdout().trim(), &two.id[..12]);

    // On both, it is ambiguous.
    let twin = instance(&first, &app, "2");
    let ended = gateway.run(&["enter", &app, "web", "2", "--", "true"]);
    ended.expect_words(125, &format!("{} on a", twin.name));
    ended.expect_words(125, &format!("{} on b", two.name));
    drop(twin);

    // One engine down: only its containers say so.
    restart("stop");
    let ended = gateway.run(&["enter", &app, "web", "2", "--", "hostname"]);
    assert_eq!(ended.stdout().trim(), &two.id[..12]);
    gateway
        .run(&["enter", &app, "web", "1", "--", "true"])
        .expect_words(125, "The engine a could not be asked");
    restart("start");
    one.order(&["start"]);
    one.await_sh("true");
    let ended = gateway.run(&["enter", &app, "web", "1", "--", "hostname"]);
    assert_eq!(ended.stdout().trim(), &one.id[..12]);
}
