//! How sessions end, and what is left behind: nothing.

use crate::driver::{
    ALL_CLIENTS, ALL_ENGINES, CONTAINER, EXEC, Heard, Kind, PACES, SAFELY, Speaks, Visit, frame, terminal,
    upgraded,
};
use entry::crowd::{Crowd, Limits};
use entry::outcome::{Outcome, StartFault};
use entry::session::Call;
use entry::wire::message::Hello;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

fn command() -> Hello {
    Hello { stdin: true, command: vec!["cat".to_owned()], ..Hello::default() }
}

fn container(running: bool, exit_code: i64, oom_killed: bool) -> Value {
    json!({
        "Id": CONTAINER, "Name": "/shop-web-1", "Config": { "Tty": false },
        "State": { "Running": running, "ExitCode": exit_code, "OOMKilled": oom_killed },
    })
}

fn inspect_exec(kind: Kind) -> String {
    format!("GET {}/exec/{EXEC}/json", kind.prefix())
}

fn inspect_container() -> String {
    format!("GET /v1.51/containers/{CONTAINER}/json")
}

#[test]
fn the_status_of_the_process_is_the_status_of_the_session() {
    for (speaks, kind) in ALL_CLIENTS.into_iter().flat_map(|speaks| ALL_ENGINES.map(|kind| (speaks, kind))) {
        for status in [0_u8, 1, 7, 126, 127, 130, 255] {
            let mut visit = Visit::open(speaks, kind, terminal());
            visit.engine("bye");
            let pid = if kind == Kind::Podman { 0 } else { 7 };
            visit.exit(status.into(), pid);
            assert!(visit.engine_closed);
            // Of Podman this may mean that it does not know; then the container is asked.
            while kind == Kind::Podman && status == 255 && visit.outcomes.is_empty() {
                visit.reply(Call::InspectContainer, 200, &container(true, 0, false));
                visit.calls.clear();
                visit.wait(160);
            }
            assert_eq!(visit.outcomes, [Outcome::Exited { status }]);
            let heard = visit.heard();
            assert_eq!(heard[0], Heard::Stdout(b"bye".to_vec()), "all output comes before CLOSE");
            assert!(matches!(&heard[1], Heard::Close(text, _) if text == SAFELY), "{heard:?}");
            assert_eq!(heard[2], Heard::Bye(1000, format!("Exited with status {status}.")));
            // The client answers, then the connection may go.
            visit.say_goodbye();
            assert!(visit.client_closed);
            visit.is_over();
        }
    }
}

#[test]
fn a_client_that_does_not_answer_the_close_frame_is_not_waited_for() {
    let mut visit = Visit::open(Speaks::Lain, Kind::Docker51, terminal());
    visit.exit(0, 7);
    visit.wait(4_999);
    assert!(!visit.client_closed);
    visit.wait(1);
    assert!(visit.client_closed);
    visit.is_over();
}

#[test]
fn a_client_that_still_reads_gets_everything() {
    let mut visit = Visit::open(Speaks::Lain, Kind::Docker51, terminal());
    visit.backlog = 1_000_000;
    visit.exit(0, 7);
    for left in [900_000, 500_000, 1] {
        visit.backlog = left;
        visit.wait(5_000);
        assert!(!visit.client_closed, "{left}");
    }
    visit.wait(5_000);
    assert!(visit.client_closed, "it has stopped reading");
    visit.is_over();
}

#[test]
fn an_exec_that_still_runs_is_asked_about_again() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, terminal());
    visit.engine_ends();
    for pause in [20, 40, 80] {
        visit.expect_call(Call::InspectExec, &inspect_exec(Kind::Docker51));
        visit.reply(Call::InspectExec, 200, &json!({ "Running": true, "ExitCode": null, "Pid": 7 }));
        visit.wait(pause - 1);
        assert!(visit.calls.is_empty());
        visit.wait(1);
    }
    visit.expect_call(Call::InspectExec, &inspect_exec(Kind::Docker51));
    visit.reply(Call::InspectExec, 200, &json!({ "Running": false, "ExitCode": 5, "Pid": 7 }));
    assert_eq!(visit.outcomes, [Outcome::Exited { status: 5 }]);
    visit.heard_the_end();
    visit.is_over();
}

#[test]
fn an_engine_that_cannot_be_asked_is_lost() {
    for (speaks, answers) in
        ALL_CLIENTS.into_iter().flat_map(|speaks| [true, false].map(|answers| (speaks, answers)))
    {
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        visit.engine_ends();
        let began = visit.now;
        let mut asked = 0;
        while visit.outcomes.is_empty() {
            if let Some((_, call, _)) = visit.calls.pop_front() {
                asked += 1;
                if answers {
                    visit.call_fails(call, "connection refused");
                }
            }
            visit.wait(10);
            assert!(visit.now - began <= 3_010);
        }
        assert!(visit.now - began >= 3_000);
        assert!(if answers { (4..10).contains(&asked) } else { asked == 1 }, "{asked}");
        assert!(matches!(visit.outcomes[..], [Outcome::EngineLost { .. }]), "{:?}", visit.outcomes);
        let text = visit.heard_the_end();
        assert!(!answers || text.contains("connection refused"), "{text}");
        // Nobody saw the process end.
        visit.calls.retain(|(_, call, _)| *call == Call::ReapInspect);
        visit.reaps();
        visit.is_over();
    }
}

#[test]
fn a_killed_exec_may_mean_a_stopped_container() {
    for (speaks, oom_killed) in
        ALL_CLIENTS.into_iter().flat_map(|speaks| [true, false].map(|oom| (speaks, oom)))
    {
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        visit.exit(137, 7);
        // The engine notices it a little later than its streams do.
        for pause in [20, 40] {
            visit.expect_call(Call::InspectContainer, &inspect_container());
            visit.reply(Call::InspectContainer, 200, &container(true, 0, false));
            assert!(visit.outcomes.is_empty());
            visit.wait(pause);
        }
        visit.expect_call(Call::InspectContainer, &inspect_container());
        visit.reply(Call::InspectContainer, 200, &container(false, 137, oom_killed));
        let expected = Outcome::ContainerStopped { exit_code: Some(137), out_of_memory: oom_killed };
        assert_eq!(visit.outcomes, [expected]);
        assert!(visit.heard_the_end().contains("The container stopped"));
        visit.is_over();
    }
}

#[test]
fn podman_not_knowing_a_status_is_no_status() {
    for code in [-1, 255] {
        let mut visit = Visit::open(Speaks::V1, Kind::Podman, terminal());
        visit.exit(code, 0);
        assert_eq!(visit.called().0, Call::InspectContainer);
        visit.reply(Call::InspectContainer, 200, &container(false, 137, false));
        let stopped = Outcome::ContainerStopped { exit_code: Some(137), out_of_memory: false };
        assert_eq!(visit.outcomes, [stopped]);
        visit.heard_the_end();
        visit.is_over();
    }
}

#[test]
fn a_killed_exec_in_a_running_container_was_killed() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, terminal());
    visit.exit(137, 7);
    let began = visit.now;
    while visit.outcomes.is_empty() {
        if let Some((_, call, _)) = visit.calls.pop_front() {
            visit.reply(call, 200, &container(true, 0, false));
        }
        visit.wait(10);
        assert!(visit.now - began < 1_000, "it is not waited for long");
    }
    assert_eq!(visit.outcomes, [Outcome::Exited { status: 137 }]);
    visit.heard_the_end();
    visit.is_over();
}

#[test]
fn a_container_that_cannot_be_asked_about_does_not_hide_a_status_that_is_known() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, terminal());
    visit.exit(137, 7);
    visit.wait(3_000);
    assert_eq!(visit.outcomes, [Outcome::Exited { status: 137 }]);
    visit.calls.clear();
    visit.heard_the_end();
    visit.is_over();
}

#[test]
fn an_exec_that_is_not_known_any_more_means_an_ended_container() {
    for (removed, code) in [(true, 4410), (false, 4137)] {
        let mut visit = Visit::open(Speaks::V1, Kind::Docker51, terminal());
        visit.engine_ends();
        visit.expect_call(Call::InspectExec, &inspect_exec(Kind::Docker51));
        visit.reply(Call::InspectExec, 404, &json!({ "message": format!("No such exec instance: {EXEC}") }));
        visit.expect_call(Call::InspectContainer, &inspect_container());
        if removed {
            visit.reply(Call::InspectContainer, 404, &json!({ "message": "No such container: x" }));
            assert_eq!(visit.outcomes, [Outcome::ContainerRemoved]);
        } else {
            visit.reply(Call::InspectContainer, 200, &container(false, 0, false));
        }
        assert_eq!(visit.outcomes[0].close_code(), code);
        assert_eq!(visit.outcomes[0].exit_status(), 137);
        visit.heard_the_end();
        visit.is_over();
    }
}

#[test]
fn a_late_answer_to_another_question_decides_nothing() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, terminal());
    visit.resize(100, 30);
    visit.type_in("x");
    visit.wait(10_000);
    visit.calls.clear();
    visit.heard();
    visit.engine_ends();
    visit.expect_call(Call::InspectExec, &inspect_exec(Kind::Docker51));
    visit.call_fails(Call::Resize, "no connection");
    visit.reply(Call::ProbePaused, 200, &container(false, 0, false));
    visit.wait(100);
    assert!(visit.calls.is_empty(), "the question is under way, and is not put twice");
    visit.reply(Call::InspectExec, 200, &json!({ "Running": false, "ExitCode": 0, "Pid": 7 }));
    assert_eq!(visit.outcomes, [Outcome::Exited { status: 0 }]);
    visit.heard_the_end();
    visit.is_over();
}

const NOT_FOUND: &str = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nosuch\": \
    executable file not found in $PATH: unknown\r\n";

#[test]
fn a_start_that_failed_is_no_output() {
    for (speaks, pace) in ALL_CLIENTS.into_iter().flat_map(|speaks| PACES.map(|pace| (speaks, pace))) {
        // A shell of ours, and the client's own command; raw, framed, and behind the head at once.
        let own = Hello { command: vec!["nosuch".to_owned()], ..Hello::default() };
        let own_tty = Hello { tty: true, ..own.clone() };
        for (hello, fault) in [
            (terminal(), StartFault::NoShell),
            (own, StartFault::CommandNotFound),
            (own_tty, StartFault::CommandNotFound),
        ] {
            if speaks != Speaks::V1 && !hello.command.is_empty() {
                continue;
            }
            let text = if hello.tty { NOT_FOUND.as_bytes().to_vec() } else { frame(1, NOT_FOUND.as_bytes()) };
            for at_once in [false, true] {
                let mut visit = Visit::new(speaks);
                visit.pace = pace;
                visit.greet("/enter", hello.clone());
                visit.until_start(Kind::Docker51);
                visit.asked();
                if at_once {
                    visit.engine([upgraded(), text.clone()].concat());
                    visit.hear_opened();
                } else {
                    visit.engine(upgraded());
                    visit.hear_opened();
                    visit.engine(&text);
                }
                visit.exit(126, 0);
                assert!(
                    matches!(&visit.outcomes[..], [Outcome::CouldNotStart { fault: told, .. }] if *told == fault),
                    "{speaks:?} {pace:?} {:?}",
                    visit.outcomes
                );
                assert_eq!(visit.outcomes[0].exit_status(), 127);
                let told = visit.heard_the_end();
                assert!(
                    told.contains(if fault == StartFault::NoShell {
                        "no sh, so Entry finds no shell"
                    } else {
                        "nosuch"
                    }),
                    "{told}"
                );
                visit.is_over();
            }
        }
    }
}

#[test]
fn words_of_a_process_that_ran_are_output_even_if_they_look_like_a_failure() {
    for (hello, text) in [(terminal(), b"Error: mine".to_vec()), (command(), frame(2, b"Error: mine"))] {
        let mut visit = Visit::open(Speaks::V1, Kind::Docker51, hello);
        visit.engine(&text);
        visit.exit(126, 7);
        assert_eq!(visit.outcomes, [Outcome::Exited { status: 126 }]);
        let heard = visit.heard();
        assert!(
            matches!(&heard[0], Heard::Stdout(bytes) | Heard::Stderr(bytes) if bytes == b"Error: mine"),
            "{heard:?}"
        );
        let is_error_output = matches!(heard[0], Heard::Stderr(_));
        assert_eq!(is_error_output, text[0] == 2, "stderr stays stderr: {heard:?}");
    }
}

#[test]
fn podmans_failed_start_is_told_by_its_words() {
    let words = "Error: runc: exec failed: unable to start container process: exec: \"nosuch\": executable file not \
                 found in $PATH: OCI runtime attempted to invoke a command that was not found\n";
    let mut visit = Visit::open(Speaks::V1, Kind::Podman, command());
    visit.engine(frame(2, words.as_bytes()));
    visit.exit(127, 0);
    assert!(matches!(
        visit.outcomes[..],
        [Outcome::CouldNotStart { fault: StartFault::CommandNotFound, .. }]
    ));
    // A shell whose last command was not found looks the same to inspect.
    let mut visit = Visit::open(Speaks::V1, Kind::Podman, terminal());
    visit.engine("$ sh: nosuch: not found\r\n");
    visit.exit(127, 0);
    assert_eq!(visit.outcomes, [Outcome::Exited { status: 127 }]);
}

#[test]
fn a_client_that_leaves_is_answered_and_its_process_reaped() {
    for speaks in ALL_CLIENTS {
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        visit.say_goodbye();
        assert_eq!(visit.outcomes, [Outcome::ClientLeft]);
        assert!(visit.client_output_finished);
        assert!(
            visit.said.starts_with(&[0x88]),
            "a close frame answers, and nothing before it: {:?}",
            visit.said
        );
        visit.reaps();
        visit.client_vanishes();
        visit.is_over();
    }
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    for speaks in ALL_CLIENTS {
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        visit.client_vanishes();
        assert_eq!(visit.outcomes, [Outcome::ClientVanished]);
        assert!(visit.client_closed && visit.said.is_empty());
        visit.reaps();
        visit.is_over();
    }
    // In the middle of asking how it ended.
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, terminal());
    visit.engine_ends();
    visit.called();
    visit.client_vanishes();
    visit.reply(Call::InspectExec, 200, &json!({ "Running": false, "ExitCode": 0, "Pid": 7 }));
    assert_eq!(visit.outcomes, [Outcome::ClientVanished]);
    visit.reaps();
    visit.is_over();
}

#[test]
fn a_client_that_goes_early_leaves_nothing_to_reap() {
    for speaks in ALL_CLIENTS {
        let mut head = Visit::new(speaks);
        head.client(b"GET ");
        head.client_vanishes();
        head.is_over();
        let mut greeting = Visit::new(speaks);
        greeting.upgrade("/enter", "app-name: a\r\nproc-name: b\r\n");
        greeting.client_vanishes();
        greeting.is_over();
        let mut creating = Visit::new(speaks);
        creating.greet("/enter", terminal());
        creating.connected();
        creating.asked();
        creating.engine(Kind::Docker51.pong());
        creating.client_vanishes();
        assert!(creating.engine_closed);
        creating.is_over();
    }
}

#[test]
fn attach_leaves_nothing_to_reap() {
    let mut visit = Visit::new(Speaks::Lain);
    visit.greet("/attach", Hello::default());
    visit.connected();
    visit.asked();
    visit.engine(Kind::Docker51.pong());
    visit.asked();
    visit.engine(crate::driver::listed());
    visit.asked();
    visit.engine(crate::driver::response(200, &container(true, 0, false).to_string()));
    visit.asked();
    visit.engine("HTTP/1.1 200 OK\r\n\r\n");
    visit.client_vanishes();
    assert!(visit.engine_closed);
    visit.is_over();
}

#[test]
fn a_shutdown_is_told_to_everybody() {
    for speaks in ALL_CLIENTS {
        let mut head = Visit::new(speaks);
        head.client(b"GET ");
        head.shut_down();
        assert!(head.client_closed);
        head.is_over();

        let mut open = Visit::open(speaks, Kind::Docker51, terminal());
        open.shut_down();
        assert_eq!(open.outcomes, [Outcome::Drained]);
        assert!(open.heard_the_end().contains("goes down"));
        open.reaps();
        open.say_goodbye();
        open.is_over();

        let mut starting = Visit::new(speaks);
        starting.greet("/enter", terminal());
        starting.until_start(Kind::Docker51);
        starting.calls.clear();
        starting.shut_down();
        starting.heard_the_end();
        starting.reaps();
        starting.is_over();

        // Who has been told already is not told again.
        let mut closing = Visit::open(speaks, Kind::Docker51, terminal());
        closing.exit(0, 7);
        closing.shut_down();
        closing.heard_the_end();
        closing.is_over();
    }
}

#[test]
fn a_bug_is_told_and_leaves_nothing_behind() {
    for speaks in ALL_CLIENTS {
        let mut open = Visit::open(speaks, Kind::Docker51, terminal());
        open.fail();
        assert_eq!(open.outcomes, [Outcome::Bug]);
        assert!(open.engine_closed);
        assert!(open.heard_the_end().contains("bug"));
        open.reaps();
        open.say_goodbye();
        open.is_over();

        let mut head = Visit::new(speaks);
        head.client(b"GET ");
        head.fail();
        assert!(head.client_closed);
        head.is_over();
    }
}

#[test]
fn a_bug_met_while_closing_is_no_second_outcome() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, terminal());
    visit.shut_down();
    visit.heard_the_end();
    visit.calls.clear();
    visit.fail();
    assert_eq!((visit.outcomes.as_slice(), visit.reaps.len()), (&[Outcome::Drained][..], 1));
    assert_eq!(visit.said, b"");
    visit.is_over();
}

#[test]
fn messages_in_pieces_end_where_memory_does() {
    // A fragment that is not the last one (RFC 6455, 5.4), with a mask of zeros.
    let fragment = |bytes: usize| {
        let length = u16::try_from(bytes).unwrap().to_be_bytes();
        [&[0x02, 0x80 | 126][..], &length, &[0; 4], &vec![b'x'; bytes]].concat()
    };
    for short in [false, true] {
        let mut visit = Visit::open(Speaks::V1, Kind::Docker51, command());
        let limits = Limits { sessions: 1, buffer_bytes: Limits::buffer_bytes_min(1), ..Limits::default() };
        visit.crowd = if short { Crowd::new(limits) } else { Crowd::default() };
        // What is reserved for each session holds a small one in any case.
        visit.client(&fragment(1000));
        assert_eq!(visit.outcomes, []);
        assert!(visit.session.held_bytes() >= 1000);
        visit.client(&[&[0x00][..], &fragment(1000)[1..]].concat());
        if short {
            assert!(
                matches!(&visit.outcomes[..], [Outcome::OverLimit { detail }] if detail.contains("try again later"))
            );
            assert_eq!(visit.crowd.refusals().memory.load(Ordering::Relaxed), 1);
            visit.reaps();
            visit.heard_the_end();
            // It goes on talking, and nothing may follow our close frame.
            for _ in 0..3 {
                visit.client(&[&[0x00][..], &fragment(1000)[1..]].concat());
            }
            assert_eq!((visit.outcomes.len(), visit.said.as_slice()), (1, &b""[..]));
        } else {
            assert_eq!(visit.outcomes, []);
        }
    }
}
