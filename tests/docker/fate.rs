//! What becomes of a container while somebody is in it, or before he enters: each has an outcome of its own.

use crate::common::engine::{Container, unique};
use crate::common::gateway::Gateway;
use crate::common::program::Running;
use crate::common::terminal::Terminal;
use crate::common::visitor::{Goodbye, Visitor};
use entry::wire::message::Hello;

/// Three that are in the container: at the client on a terminal, at the client on pipes, and on the wire.
struct Inside {
    terminal: Terminal,
    pipes: Running,
    visitor: Visitor,
}

impl Inside {
    fn enter(gateway: &Gateway, container: &Container) -> Inside {
        let mut terminal = gateway.enter(container, &[], 80, 24);
        terminal.type_in("echo in''side\r");
        terminal.expect("inside\r\n");
        let words = ["enter", "--container", &container.name, "--", "sh", "-c", "sleep 1100; exit 3"];
        let pipes = Running::start(gateway.client(&words));
        container.await_process("sleep 1100");
        let hello = Hello { container: container.name.clone(), tty: true, ..Hello::default() };
        let mut visitor = Visitor::v1(gateway.address, "/enter", hello);
        visitor.opened();
        visitor.type_in("echo in''side\r");
        visitor.expect("inside\r\n");
        Inside { terminal, pipes, visitor }
    }

    /// All three end with this status and these words; gives the third's goodbye.
    fn end(self, status: i32, words: &str) -> Goodbye {
        let goodbye = self.visitor.goodbye();
        assert!(goodbye.text.contains(words), "{goodbye:?}");
        self.pipes.finish().expect_words(status, words);
        let (terminal_status, shown) = self.terminal.finish();
        assert!(terminal_status == status && shown.contains(words), "{terminal_status}: {shown}");
        goodbye
    }
}

#[test]
fn killed() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let inside = Inside::enter(&gateway, &container);
    container.kill();
    let goodbye = inside.end(137, "The container stopped (exit code 137).");
    assert_eq!((goodbye.outcome, goodbye.code), (Some((5, 137)), 4137));
}

#[test]
fn stopped() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let inside = Inside::enter(&gateway, &container);
    container.order(&["stop"]);
    // It ended in order (on Podman 4, which kills what was imported as an image, as it says of itself); the sessions
    // in it did not.
    let code = if container.engine.kind == "podman4" { 137 } else { 0 };
    let goodbye = inside.end(137, &format!("The container stopped (exit code {code})."));
    assert_eq!((goodbye.outcome, goodbye.code), (Some((5, 137)), 4137));
}

#[test]
fn removed() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let inside = Inside::enter(&gateway, &container);
    container.order(&["rm", "--force"]);
    let goodbye = inside.visitor.goodbye();
    // Whoever asks before the removal is done hears that the container stopped: both are the truth. Podman may hold
    // its answer back until the removal is done, and then nobody waits for it any more.
    let podman = container.engine.is_podman();
    let removed = goodbye.outcome == Some((6, 137)) && goodbye.code == 4410;
    let stopped = goodbye.outcome == Some((5, 137)) && goodbye.code == 4137;
    let silent = podman && goodbye.outcome == Some((9, 125)) && goodbye.code == 4502;
    assert!(removed || stopped || silent, "{goodbye:?}");
    let ended = inside.pipes.finish();
    let words = ["The container was removed.", "The container stopped (exit code"];
    let told = ended.status == 137 && words.iter().any(|words| ended.stderr().contains(words));
    let silent = podman && ended.status == 125 && ended.stderr().contains("The engine was lost");
    assert!(told || silent, "{ended}");
    let (status, shown) = inside.terminal.finish();
    assert!(status == 137 || (podman && status == 125), "{status}: {shown}");
}

/// A process that is killed in a container that lives on is no stopped container.
#[test]
fn only_the_process_killed() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let inside = Inside::enter(&gateway, &container);
    container.sh("kill -KILL $(ps -o pid,args | awk '$2 == \"sh\" && !/awk|trap/ { print $1 }')");
    let goodbye = inside.visitor.goodbye();
    assert_eq!((goodbye.outcome, goodbye.code), (Some((1, 137)), 1000), "{goodbye:?}");
    inside.pipes.finish().expect(137, "", "");
    assert_eq!(inside.terminal.finish().0, 137);
}

#[test]
fn paused_under_a_session_and_unpaused() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::without_guards(&container);
    let Inside { mut terminal, pipes, mut visitor } = Inside::enter(&gateway, &container);
    container.order(&["pause"]);
    terminal.type_in("echo a''wake; exit 4\r");
    terminal.expect(
        "The container is paused. What you type waits; the session ends if it stays paused for 60 s.",
    );
    // The others typed nothing, so they need not be told; and nothing has ended.
    container.order(&["unpause"]);
    terminal.expect("awake\r\n");
    assert_eq!(terminal.finish().0, 4);
    visitor.type_in("echo a''wake\r");
    visitor.expect("awake\r\n");
    drop(pipes);
}

#[test]
fn paused_for_too_long() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::start(
        &container.engine,
        &["--allow-container", "*", "--guard", "off", "--paused-timeout", "1"],
    );
    let hello = Hello { container: container.name.clone(), tty: true, ..Hello::default() };
    let mut visitor = Visitor::v1(gateway.address, "/enter", hello);
    visitor.opened();
    visitor.type_in("echo in''side\r");
    visitor.expect("inside\r\n");
    let mut terminal = gateway.enter(&container, &[], 80, 24);
    terminal.type_in("echo in''side\r");
    terminal.expect("inside\r\n");
    container.order(&["pause"]);
    terminal.type_in("ls\r");
    visitor.type_in("ls\r");
    let notice = "The container is paused. What you type waits; the session ends if it stays paused for 1 s.";
    terminal.expect(notice);
    terminal.expect("The container is paused; unpause it and enter again.");
    assert_eq!(terminal.finish().0, 125);
    let goodbye = visitor.goodbye();
    assert_eq!((goodbye.outcome, goodbye.code), (Some((7, 125)), 4423), "{goodbye:?}");
    assert!(String::from_utf8_lossy(&goodbye.stderr).contains(notice), "{goodbye:?}");
}

/// Opening a session in a container that is not there to be entered.
#[test]
fn at_the_door() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let open = |path: &str| {
        let hello = Hello { container: container.name.clone(), tty: true, ..Hello::default() };
        Visitor::v1(gateway.address, path, hello).goodbye()
    };
    let enter = ["enter", "--container", &container.name, "--", "true"];

    container.order(&["pause"]);
    let goodbye = open("/enter");
    assert_eq!((goodbye.outcome, goodbye.code), (Some((7, 125)), 4423), "{goodbye:?}");
    gateway.run(&enter).expect_words(125, "The container is paused; unpause it and enter again.");
    container.order(&["unpause"]);
    gateway.run(&enter).expect(0, "", "");

    container.kill();
    let goodbye = open("/enter");
    assert_eq!((goodbye.outcome, goodbye.code), (Some((4, 125)), 4409), "{goodbye:?}");
    gateway.run(&enter).expect_words(125, "Can't enter your container, try again.");

    container.order(&["rm", "--force"]);
    let goodbye = open("/enter");
    assert_eq!((goodbye.outcome, goodbye.code), (Some((3, 125)), 4404), "{goodbye:?}");
    gateway.run(&enter).expect_words(125, "Container is not found.");

    // Created, and never started.
    let name = unique("entry");
    container.engine.ask(&["create", "--network=none", "--name", &name, "entry-busybox"]);
    let created = Container { engine: container.engine.clone(), id: String::new(), name };
    gateway.exec(&created, &["true"]).expect_words(125, "Can't enter your container, try again.");
}

/// A container that comes back is entered as before.
#[test]
fn restarted() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let inside = Inside::enter(&gateway, &container);
    container.order(&["restart"]);
    let goodbye = inside.visitor.goodbye();
    // It ran again before anybody could ask: then the shell was killed, and nobody can say more.
    let stopped = goodbye.outcome == Some((5, 137));
    let killed = goodbye.outcome == Some((1, 137));
    // Podman has forgotten the exec by then, and does not say why.
    let forgotten = container.engine.is_podman() && goodbye.outcome == Some((9, 125));
    assert!(stopped || killed || forgotten, "{goodbye:?}");
    for status in [inside.pipes.finish().status, inside.terminal.finish().0] {
        assert!(status == 137 || (forgotten && status == 125), "{status}");
    }
    gateway.exec(&container, &["echo", "again"]).expect(0, "again\n", "");
}

/// An attached viewer of a paused container waits, and goes on with it.
#[test]
fn attached_to_a_paused_container() {
    let script = "echo up; while :; do [ -e /go ] && echo gone && exit 6; usleep 10000; done";
    let container = Container::run("entry-busybox", &[], &["sh", "-c", script]);
    let gateway = Gateway::to(&container);
    container.await_logged(1);
    container.order(&["pause"]);
    let hello = Hello { container: container.name.clone(), ..Hello::default() };
    let mut visitor = Visitor::v1(gateway.address, "/attach", hello);
    visitor.opened();
    visitor.expect("up\n");
    container.order(&["unpause"]);
    container.sh_to_the_end("echo >/go");
    let goodbye = visitor.goodbye();
    assert_eq!((goodbye.outcome, goodbye.code), (Some((1, 6)), 1000), "{goodbye:?}");
    // Podman does not go on with the log of a container that was paused when it was asked for.
    if !container.engine.is_podman() {
        assert_eq!(goodbye.stdout, b"gone\n");
    }
}
