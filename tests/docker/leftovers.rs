//! What a session leaves behind: nothing, however it ended; and what it does not wait for.

use crate::common::engine::Container;
use crate::common::gateway::Gateway;
use crate::common::program::Running;
use crate::common::visitor::Visitor;
use entry::wire::message::Hello;

const SIGKILL: i32 = 9;

/// entry.v1's request for a shell on a terminal.
fn shell(container: &Container) -> Hello {
    Hello { container: container.name.clone(), tty: true, columns: 80, rows: 24, ..Hello::default() }
}

#[test]
fn a_background_child_that_holds_the_terminal_does_not_hold_the_session() {
    for image in ["entry-bash", "entry-busybox"] {
        let container = Container::idle(image);
        let gateway = Gateway::to(&container);
        for (background, status) in [
            ("sleep 1003 &", 3),
            // As nohup does it.
            ("(trap '' HUP; exec sleep 1003) &", 4),
            ("setsid sleep 1003 &", 5),
        ] {
            let mut terminal = gateway.enter(&container, &[], 80, 24);
            terminal.type_in(format!("{background}\r"));
            container.await_process("sleep 1003");
            // bash warns of jobs only where they are stopped.
            terminal.type_in(format!("exit {status}\r"));
            assert_eq!(terminal.finish().0, status, "{image}: {background}");
            // It stays, as with any shell: the person asked for it. (It is hung up where it did not ask.)
            container.sh("killall sleep 2>/dev/null; true");
            container.await_sh("! ps -o args | grep -q '^sleep 100[3]'");
        }
    }
}

#[test]
fn a_background_child_that_holds_the_pipes_does_not_hold_the_session() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    for start in ["sleep 1004", "(trap '' HUP; exec sleep 1004)", "setsid sleep 1004"] {
        let script = format!("{start} & echo said; exit 4");
        let script = script.as_str();
        let ended = gateway.exec(&container, &["sh", "-c", script]);
        assert_eq!((ended.status, ended.stdout()), (4, "said\n".to_owned()), "{script}: {ended}");
        container.await_process("sleep 1004");
        container.sh("killall sleep");
    }
}

#[test]
fn a_client_that_vanishes_takes_its_processes_with_it() {
    let container = Container::idle("entry-bash");
    let gateway = Gateway::to(&container);
    for start in [
        "sleep 1005",
        "sleep 1005 & sleep 1006",
        "(trap '' HUP; exec sleep 1005) & setsid sleep 1006 & wait",
        "trap '' HUP INT TERM; (trap '' HUP INT TERM; sleep 1005; sleep 1007)",
        "bash -c 'sh -c \"sleep 1005; :\"; :'",
    ] {
        let mut visitor = Visitor::v1(gateway.address, "/enter", shell(&container));
        visitor.opened();
        visitor.type_in(&format!("{start}\r"));
        container.await_process("sleep 1005");
        visitor.vanish("x");
        container.await_idle();
    }
    gateway.await_log("The client's connection was lost.");
}

#[test]
fn a_client_that_is_killed_takes_its_processes_with_it() {
    let container = Container::idle("entry-bash");
    let gateway = Gateway::to(&container);
    let mut terminal = gateway.enter(&container, &[], 80, 24);
    terminal.type_in("sleep 1008\r");
    container.await_process("sleep 1008");
    terminal.running.signal(SIGKILL);
    container.await_idle();

    // Without a terminal nothing hangs a process up: it is ended all the same.
    let running =
        Running::start(gateway.client(&["enter", "--container", &container.name, "--", "sleep", "1009"]));
    container.await_process("sleep 1009");
    running.signal(SIGKILL);
    container.await_idle();
}

#[test]
fn a_polite_goodbye_ends_the_processes_too() {
    let container = Container::idle("entry-nonroot");
    let gateway = Gateway::to(&container);
    // The reaper runs as who the session was: the container's own user, or the one who was asked for.
    for user in ["", "root", "1000"] {
        let hello = Hello { user: user.to_owned(), ..shell(&container) };
        let mut visitor = Visitor::v1(gateway.address, "/enter", hello);
        visitor.opened();
        visitor.type_in("sleep 1010\r");
        container.await_process("sleep 1010");
        visitor.leave();
        container.await_idle();
    }
    gateway.await_log("The client left.");
    assert!(!gateway.log().contains("may be left"), "{}", gateway.log());
}

/// Only the session's own processes: a neighbour in the same container goes on.
#[test]
fn the_neighbour_is_left_alone() {
    let container = Container::idle("entry-bash");
    let gateway = Gateway::to(&container);
    let mut neighbour = gateway.enter(&container, &[], 80, 24);
    neighbour.type_in("sleep 1011\r");
    container.await_process("sleep 1011");
    let mut visitor = Visitor::v1(gateway.address, "/enter", shell(&container));
    visitor.opened();
    visitor.type_in("sleep 1012\r");
    container.await_process("sleep 1012");
    visitor.vanish("x");
    container.await_sh("! ps -o args | grep -q '^sleep 101[2]'");
    neighbour.type_in("\x03echo status=$?; exit 8\r");
    neighbour.expect("status=130\r\n");
    assert_eq!(neighbour.finish().0, 8);
    container.await_idle();
}

#[test]
fn sigterm_gives_every_session_its_close_and_leaves_nothing() {
    let container = Container::idle("entry-bash");
    let gateway = Gateway::to(&container);
    let mut visitors = Vec::new();
    for number in 0..4 {
        let mut visitor = Visitor::v1(gateway.address, "/enter", shell(&container));
        visitor.opened();
        visitor.type_in(&format!("(trap '' HUP; exec sleep 202{number}) & sleep 203{number}\r"));
        container.await_process(&format!("sleep 202{number}"));
        container.await_process(&format!("sleep 203{number}"));
        visitors.push(visitor);
    }
    let hello = Hello { container: container.name.clone(), ..Hello::default() };
    let mut attached = Visitor::v1(gateway.address, "/attach", hello);
    // Podman 4 answers with the container's first line, and this one is silent.
    if container.engine.kind != "podman4" {
        attached.opened();
    }
    visitors.push(attached);
    let mut terminal = gateway.enter(&container, &[], 80, 24);
    terminal.type_in("sleep 2040\r");
    container.await_process("sleep 2040");

    gateway.terminate();
    for visitor in visitors {
        let goodbye = visitor.goodbye();
        assert_eq!((goodbye.outcome, goodbye.code), (Some((16, 125)), 1012), "{goodbye:?}");
        assert_eq!(goodbye.text, "\x1b[31m>>> The gateway is drained and goes down; enter again.\x1b[0m");
    }
    let (status, shown) = terminal.finish();
    assert_eq!(status, 125);
    assert!(shown.contains("The gateway is drained and goes down; enter again."), "{shown}");
    assert_eq!(gateway.ended(), 0);
    container.await_idle();
}

/// A gateway without sessions ends at once, and so does one whose clients are silent.
#[test]
fn sigterm_ends_a_gateway_that_nobody_uses() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    gateway.terminate();
    gateway.await_log("all sessions have ended");
    assert_eq!(gateway.ended(), 0);
}
