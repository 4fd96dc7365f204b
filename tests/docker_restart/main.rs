//! The engine goes away and comes back: before a session, between two, and under one.
//!
//! `scripts/with-dockerd cargo test --test docker_restart` runs it. These tests stop the engine that they run beside,
//! so they are a target of their own, and one runs at a time.
#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests by clippy.toml's exception

#[path = "../common/mod.rs"]
mod common;

use common::engine::{Container, engine};
use common::gateway::Gateway;
use common::program::Running;
use common::visitor::Visitor;
use entry::wire::message::Hello;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time has the engine.
fn alone() -> MutexGuard<'static, ()> {
    static ENGINE: Mutex<()> = Mutex::new(());
    let guard = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    // The one before may have failed while the engine was away.
    if !engine().try_ask(&["version"]).status.success() {
        restart("start");
    }
    guard
}

/// `stop`, `kill` or `start` the engine.
fn restart(how: &str) {
    let program = std::env::var("ENTRY_TEST_DOCKERD_RESTART").expect("ENTRY_TEST_DOCKERD_RESTART");
    let status = Command::new(program).arg(how).status().unwrap();
    assert!(status.success(), "the engine does not {how}: {status}");
}

fn shell(container: &Container) -> Hello {
    Hello { container: container.name.clone(), tty: true, ..Hello::default() }
}

/// The container runs after its engine came back, whatever became of it meanwhile.
fn running_again(container: &Container) {
    container.order(&["start"]);
    container.await_sh("true");
}

#[test]
fn a_gateway_that_starts_before_its_engine() {
    let _alone = alone();
    let container = Container::idle("entry-busybox");
    restart("stop");
    for address in [container.engine.host.clone(), container.engine.tcp.clone()] {
        let gateway = Gateway::at(&address, &["--allow-container", "*"]);
        gateway.await_log(&format!("the engine at {address} is away"));
        for path in ["/enter", "/attach"] {
            let goodbye = Visitor::v1(gateway.address, path, shell(&container)).goodbye();
            assert_eq!((goodbye.outcome, goodbye.code), (Some((8, 125)), 1013), "{goodbye:?}");
        }
        gateway.exec(&container, &["true"]).expect_words(125, "The engine is not available");
        let old =
            Visitor::protobuf(gateway.address, "/enter", &[("app-name", "a"), ("proc-name", "p")]).goodbye();
        assert!(old.text.starts_with("\x1b[31m>>> Can't enter your container, try again.\x1b[0m"), "{old:?}");

        restart("start");
        running_again(&container);
        gateway.exec(&container, &["sh", "-c", "echo back; exit 6"]).expect(6, "back\n", "");
        let ended = gateway.run(&["enter", "nosuch", "app", "--", "true"]);
        ended.expect_words(125, "Container is not found.");
        restart("stop");
    }
    restart("start");
}

#[test]
fn an_engine_that_comes_back_between_two_sessions() {
    let _alone = alone();
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    for how in ["stop", "kill"] {
        gateway.exec(&container, &["sh", "-c", "exit 5"]).expect(5, "", "");
        restart(how);
        gateway.exec(&container, &["true"]).expect_words(125, "The engine is not available");
        restart("start");
        running_again(&container);
    }
    // Connections that the gateway had kept to the old engine hinder nobody, on any of its loops.
    for _ in 0..10 {
        gateway.exec(&container, &["sh", "-c", "exit 5"]).expect(5, "", "");
    }
}

/// Nobody can know how a process ended whose engine is gone; it is not said to have ended well.
#[test]
fn an_engine_that_goes_under_a_session() {
    let _alone = alone();
    // It says something: Podman 4 answers whoever follows its log with the first line.
    let script = "echo up; trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done";
    for how in ["stop", "kill"] {
        let container = Container::run("entry-busybox", &[], &["sh", "-c", script]);
        container.await_logged(1);
        let gateway = Gateway::to(&container);
        let mut terminal = gateway.enter(&container, &[], 80, 24);
        terminal.type_in("echo in''side\r");
        terminal.expect("inside\r\n");
        let words = ["enter", "--container", &container.name, "--", "sleep", "1200"];
        let pipes = Running::start(gateway.client(&words));
        container.await_process("sleep 1200");
        let mut visitor = Visitor::v1(gateway.address, "/enter", shell(&container));
        visitor.opened();
        visitor.type_in("echo in''side\r");
        visitor.expect("inside\r\n");
        let mut attached = Visitor::v1(gateway.address, "/attach", shell(&container));
        attached.opened();

        restart(how);
        // In order, the engine ends its containers first, and may be heard to say so before it goes.
        let is_truth = |outcome: Option<(i32, u32)>, code: u16| match outcome {
            Some((9, 125)) => code == 4502,
            Some((5, 137)) => code == 4137 && how == "stop",
            Some((1, 137)) => code == 1000 && how == "stop",
            _ => false,
        };
        let goodbye = visitor.goodbye();
        assert!(is_truth(goodbye.outcome, goodbye.code), "{how}: {goodbye:?}");
        let goodbye = attached.goodbye();
        let ended_in_order = how == "stop" && goodbye.outcome == Some((1, 0));
        assert!(is_truth(goodbye.outcome, goodbye.code) || ended_in_order, "{how}: {goodbye:?}");
        let ended = pipes.finish();
        assert!([125, 137].contains(&ended.status), "{how}: {ended}");
        let (status, shown) = terminal.finish();
        assert!([125, 137].contains(&status), "{how}: {status} {shown}");

        restart("start");
        running_again(&container);
        gateway.exec(&container, &["sh", "-c", "exit 5"]).expect(5, "", "");
    }
}
