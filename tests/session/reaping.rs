//! What a session left in its container is ended, whatever the engine does meanwhile.

use crate::driver::{CONTAINER, Kind, Speaks, Visit, upgraded};
use entry::config::{self, ReapMode};
use entry::session::{Call, Reap};
use entry::wire::message::Hello;
use serde_json::{Value, json};

fn shell() -> Hello {
    Hello { tty: true, columns: 80, rows: 24, ..Hello::default() }
}

/// A session whose client has vanished; its exec has been asked about, and runs.
fn vanished(hello: Hello) -> Visit {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, hello);
    visit.client_vanishes();
    visit.looks_at_exec(&running());
    visit
}

fn running() -> Value {
    json!({ "Running": true, "ExitCode": null, "Pid": 7 })
}

fn message(text: &str) -> Value {
    json!({ "message": text })
}

fn done(processes: u32) -> Reap {
    Reap::Done { processes, unseen: false }
}

#[test]
fn the_reaper_is_asked_for_its_status_until_it_has_one() {
    let mut visit = vanished(Hello { user: "app".to_owned(), ..shell() });
    let created = visit.reaper_runs();
    assert_eq!((&created["User"], &created["WorkingDir"]), (&json!("app"), &json!("/")));
    assert_eq!((&created["Privileged"], &created["AttachStdin"]), (&Value::Null, &json!(false)));
    let mut pause = config::REAP_WATCH_MILLISECONDS;
    for _ in 0..4 {
        visit.wait(pause - 1);
        assert!(visit.calls.is_empty());
        visit.wait(1);
        assert_eq!(visit.called().0, Call::ReapInspect);
        visit.reply(Call::ReapInspect, 200, &running());
        pause *= 2;
    }
    visit.wait(pause);
    visit.called();
    visit.reply(Call::ReapInspect, 200, &json!({ "Running": false, "ExitCode": 5, "Pid": 8 }));
    assert_eq!(visit.reaps, [Reap::Tried, done(5)]);
    visit.is_over();
}

/// Some engines hang a terminal up when its stream closes; then its shell is gone before it tells whose children are whose.
#[test]
fn a_terminal_stays_open_until_its_processes_have_been_looked_for() {
    type Then = fn(&mut Visit);
    let looks: [Then; 5] = [
        |visit| visit.engine_ends(),
        |visit| {
            visit.wait(config::REAP_STREAM_MILLISECONDS_MAX - 1);
            assert!(!visit.engine_closed, "the engine takes its time");
            visit.wait(1);
        },
        |visit| {
            visit.reaper_runs();
            visit.wait(config::REAP_WATCH_MILLISECONDS);
            visit.called();
            assert!(!visit.engine_closed, "the reaper runs");
            // It leaves somebody: what is looked at next is not the first time.
            visit.reply(Call::ReapInspect, 200, &json!({ "Running": false, "ExitCode": 80, "Pid": 8 }));
        },
        |visit| {
            visit.reaper_is_created();
            visit.call_fails(Call::ReapCreate, "connection refused");
        },
        |visit| {
            visit.reaper_is_created();
            visit.reply(Call::ReapCreate, 409, &message("Container x is not running"));
        },
    ];
    for look in looks {
        let mut visit = vanished(shell());
        assert!(!visit.engine_closed);
        visit.engine("$ ");
        assert!(visit.session.wants_engine(0), "what it still says is no concern of the engine's");
        look(&mut visit);
        assert!(visit.engine_closed);
    }
    // Without a terminal the end of its input is a word that it knows.
    let visit = vanished(Hello { stdin: true, command: vec!["cat".to_owned()], ..Hello::default() });
    assert!(visit.engine_closed);
}

#[test]
fn how_much_is_ended_is_said_to_the_reaper() {
    for (mode, word) in [(ReapMode::Tree, "tree"), (ReapMode::Session, "session")] {
        let mut visit = Visit::open(Speaks::V1, Kind::Docker51, shell());
        visit.settings.reap = mode;
        visit.wait(61_000);
        visit.calls.clear();
        visit.client_vanishes();
        visit.looks_at_exec(&running());
        let command = visit.reaper_is_created()["Cmd"].clone();
        assert_eq!((&command[4], &command[5]), (&json!(word), &json!("61")), "and how old the session is");
    }
    let mut visit = Visit::new(Speaks::V1);
    visit.settings.reap = ReapMode::Off;
    visit.greet("/enter", shell());
    visit.until_start(Kind::Docker51);
    visit.asked();
    visit.engine(upgraded());
    visit.client_vanishes();
    visit.is_over();
    assert_eq!(visit.reaps, []);
}

/// Whatever may pass is tried again: after a second, then after twice as long, up to a limit, and for so long.
#[test]
fn what_may_pass_is_tried_again_and_not_for_ever() {
    type Fail = fn(&mut Visit);
    let failures: [(&str, Fail); 5] = [
        ("refused", |visit| visit.call_fails(Call::ReapCreate, "connection refused")),
        ("paused", |visit| visit.reply(Call::ReapCreate, 409, &message("Container x is paused, unpause it"))),
        ("oh no", |visit| visit.reply(Call::ReapCreate, 500, &message("oh no"))),
        ("id is not one", |visit| visit.reply(Call::ReapCreate, 201, &json!({ "Id": "../x" }))),
        ("away", |visit| {
            visit.reply(Call::ReapCreate, 201, &json!({ "Id": "f00d" }));
            assert_eq!(visit.called().0, Call::ReapStart);
            visit.reply(Call::ReapStart, 404, &message("No such exec instance: f00d, it went away"));
        }),
    ];
    for (words, fail) in failures {
        let mut visit = vanished(shell());
        let (began, mut rest, mut tried) = (visit.now, config::REAP_RETRY_MILLISECONDS, 0);
        loop {
            visit.reaper_is_created();
            tried += 1;
            fail(&mut visit);
            assert!(visit.calls.is_empty(), "{words}: it rests");
            assert!(matches!(visit.reaps.last(), Some(Reap::Failed(why)) if why.contains(words)), "{words}");
            let before = visit.now;
            while visit.calls.is_empty() && !visit.session.is_gone() {
                visit.wait(visit.session.deadline() - visit.now);
            }
            if visit.session.is_gone() {
                break;
            }
            assert_eq!(visit.now - before, rest, "{words}");
            rest = (rest * 2).min(config::REAP_RETRY_MILLISECONDS_MAX);
        }
        assert_eq!(visit.now - began, config::REAP_MILLISECONDS_MAX);
        assert!(matches!(visit.reaps.last(), Some(Reap::GivenUp(why)) if why.contains(words)), "{words}");
        assert!((15..30).contains(&tried), "{tried}");
        visit.is_over();
    }
}

#[test]
fn once_the_engine_is_back_nothing_is_left() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, shell());
    visit.client_vanishes();
    // At every step it is away once.
    visit.called();
    visit.call_fails(Call::ReapInspect, "away");
    visit.wait(1_000);
    visit.looks_at_exec(&running());
    visit.reaper_is_created();
    visit.call_fails(Call::ReapCreate, "away");
    visit.wait(2_000);
    visit.reaper_is_created();
    visit.reply(Call::ReapCreate, 201, &json!({ "Id": "f00d" }));
    visit.called();
    visit.call_fails(Call::ReapStart, "away");
    visit.wait(4_000);
    // Perhaps it was started: there is another.
    visit.reaper_runs();
    visit.wait(config::REAP_WATCH_MILLISECONDS);
    visit.called();
    visit.call_fails(Call::ReapInspect, "away");
    visit.wait(8_000);
    visit.called();
    visit.reply(Call::ReapInspect, 200, &json!({ "Running": false, "ExitCode": 2, "Pid": 8 }));
    assert_eq!(visit.reaps.last(), Some(&done(2)));
    visit.is_over();
}

#[test]
fn an_engine_that_never_answers_is_not_waited_for_for_ever() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, shell());
    visit.client_vanishes();
    visit.called();
    visit.wait(config::REAP_MILLISECONDS_MAX);
    assert!(
        matches!(&visit.reaps[..], [Reap::GivenUp(why)] if why.contains("does not answer")),
        "{:?}",
        visit.reaps
    );
    visit.is_over();
    // And its late word changes nothing.
    visit.reply(Call::ReapInspect, 200, &running());
    visit.is_over();
}

#[test]
fn a_reaper_that_does_not_end_is_followed_by_another() {
    let mut visit = vanished(shell());
    visit.reaper_runs();
    let began = visit.now;
    while !matches!(visit.reaps.last(), Some(Reap::Failed(_))) {
        visit.wait(100);
        if let Some((_, call, _)) = visit.calls.pop_front() {
            visit.reply(call, 200, &running());
        }
        assert!(
            visit.now - began < config::REAPER_MILLISECONDS_MAX + config::REAP_WATCH_MILLISECONDS_MAX + 200
        );
    }
    visit.wait(1_000);
    visit.reaper_ends(0);
    assert_eq!(visit.reaps.last(), Some(&done(0)));
    // One that was killed has said nothing.
    let mut visit = vanished(shell());
    visit.reaper_ends(137);
    visit.wait(1_000);
    visit.reaper_ends(0);
    visit.is_over();
}

#[test]
fn with_its_container_everything_has_ended() {
    for (status, words) in [
        (404, format!("No such container: {CONTAINER}")),
        (409, format!("Container {CONTAINER} is not running")),
        (500, "container state improper".to_owned()),
    ] {
        let mut visit = vanished(shell());
        visit.reaper_is_created();
        visit.reply(Call::ReapCreate, status, &message(&words));
        assert_eq!(visit.reaps.last(), Some(&done(0)), "{words}");
        visit.is_over();
    }
    // The engine does not know the exec any more: that alone is no proof.
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, shell());
    visit.client_vanishes();
    visit.called();
    visit.reply(Call::ReapInspect, 404, &message("No such exec instance: x"));
    visit.reaper_ends(3);
    assert_eq!(visit.reaps.last(), Some(&done(3)));
    visit.is_over();
}

#[test]
fn that_the_engine_counts_it_as_ended_is_no_proof() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, shell());
    visit.client_vanishes();
    visit.looks_at_exec(&json!({ "Running": false, "ExitCode": 126, "Pid": 7 }));
    visit.reaper_ends(1);
    visit.is_over();
}

#[test]
fn a_start_that_is_under_way_is_waited_for() {
    let created = json!({ "Running": false, "ExitCode": null, "Pid": 0 });
    // It comes.
    let mut visit = Visit::new(Speaks::V1);
    visit.greet("/enter", shell());
    visit.until_start(Kind::Docker51);
    visit.client_vanishes();
    for pause in [100, 200, 400] {
        visit.looks_at_exec(&created);
        visit.wait(pause - 1);
        assert!(visit.calls.is_empty());
        visit.wait(1);
    }
    visit.looks_at_exec(&running());
    visit.reaper_ends(1);
    // And its container is looked at once more.
    assert!(visit.calls.is_empty() && !visit.session.is_gone());
    visit.wait(config::REAP_AGAIN_MILLISECONDS - 1);
    assert!(visit.calls.is_empty());
    visit.wait(1);
    visit.reaper_ends(1);
    assert_eq!(visit.reaps, [Reap::Tried, Reap::Tried, done(2)]);
    visit.is_over();

    // It never comes.
    let mut visit = Visit::new(Speaks::V1);
    visit.greet("/enter", shell());
    visit.until_start(Kind::Docker51);
    visit.client_vanishes();
    let began = visit.now;
    while visit.reaps.is_empty() {
        visit.looks_at_exec(&created);
        if visit.calls.is_empty() {
            visit.wait(visit.session.deadline() - visit.now);
        }
    }
    assert!((3_000..6_400).contains(&(visit.now - began)), "{}", visit.now - began);
    visit.reaper_ends(0);
    visit.wait(config::REAP_AGAIN_MILLISECONDS);
    visit.reaper_ends(0);
    visit.is_over();

    // It came to nothing.
    let mut visit = Visit::new(Speaks::V1);
    visit.greet("/enter", shell());
    visit.until_start(Kind::Docker51);
    visit.client_vanishes();
    visit.looks_at_exec(&json!({ "Running": false, "ExitCode": 127, "Pid": 0 }));
    assert_eq!(visit.reaps, [done(0)]);
    visit.is_over();
}

#[test]
fn what_its_user_cannot_end_or_see_root_tries() {
    for first in [41, 82] {
        let mut visit = vanished(Hello { user: "app".to_owned(), ..shell() });
        visit.reaper_ends(first);
        let created = visit.reaper_ends(1);
        assert_eq!((&created["User"], &created["Privileged"]), (&json!("0"), &json!(true)));
        assert_eq!(visit.reaps.last(), Some(&done(u32::try_from(first % 40).unwrap() + 1)));
        visit.is_over();
    }
}

#[test]
fn an_engine_that_gives_no_privileges_is_asked_without() {
    type Refuse = fn(&mut Visit);
    let refusals: [Refuse; 3] = [
        |visit| visit.reply(Call::ReapCreate, 500, &message("unable to apply caps")),
        |visit| {
            visit.reply(Call::ReapCreate, 201, &json!({ "Id": "bad" }));
            visit.called();
            visit.reply(Call::ReapStart, 400, &message("unable to apply caps: operation not permitted"));
        },
        |visit| {
            visit.reply(Call::ReapCreate, 201, &json!({ "Id": "bad" }));
            visit.called();
            visit.reply(Call::ReapStart, 200, &json!(""));
            visit.wait(config::REAP_WATCH_MILLISECONDS);
            visit.called();
            visit.reply(Call::ReapInspect, 200, &json!({ "Running": false, "ExitCode": 126, "Pid": 0 }));
        },
    ];
    for refuse in refusals {
        // Seen and not ended, then ended; or nobody was ever seen; or somebody stays.
        for (first, last, expected) in [
            (81, 1, done(2)),
            (41, 40, Reap::Done { processes: 1, unseen: true }),
            (81, 81, Reap::GivenUp("some could not be ended".to_owned())),
            (81, 40, Reap::GivenUp("some could not be ended".to_owned())),
        ] {
            let mut visit = vanished(shell());
            visit.reaper_ends(first);
            assert_eq!(visit.reaper_is_created()["Privileged"], true);
            refuse(&mut visit);
            let created = visit.reaper_ends(last);
            assert_eq!((&created["User"], &created["Privileged"]), (&json!("0"), &Value::Null));
            assert_eq!(visit.reaps.last(), Some(&expected));
            visit.is_over();
        }
    }
}

#[test]
fn without_a_shell_nothing_can_be_done() {
    type Refuse = fn(&mut Visit);
    let refusals: [Refuse; 2] = [
        |visit| {
            let words = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"sh\": \
                         executable file not found in $PATH: unknown";
            visit.reply(Call::ReapStart, 500, &message(words));
        },
        |visit| {
            visit.reply(Call::ReapStart, 200, &json!(""));
            visit.wait(config::REAP_WATCH_MILLISECONDS);
            visit.called();
            visit.reply(Call::ReapInspect, 200, &json!({ "Running": false, "ExitCode": 127, "Pid": 0 }));
        },
    ];
    for refuse in refusals {
        let mut visit = vanished(shell());
        visit.reaper_is_created();
        visit.reply(Call::ReapCreate, 201, &json!({ "Id": "f00d" }));
        visit.called();
        refuse(&mut visit);
        assert!(
            matches!(visit.reaps.last(), Some(Reap::GivenUp(why)) if why.contains("no sh")),
            "{:?}",
            visit.reaps
        );
        visit.is_over();
    }
}

#[test]
fn a_gateway_that_stops_waits_no_minute() {
    let mut visit = vanished(shell());
    for _ in 0..6 {
        visit.reaper_is_created();
        visit.reply(Call::ReapCreate, 409, &message("Container x is paused"));
        visit.wait(visit.session.deadline() - visit.now);
    }
    visit.reaper_is_created();
    visit.reply(Call::ReapCreate, 409, &message("Container x is paused"));
    assert!(visit.session.deadline() > visit.now + 30_000);
    visit.shut_down();
    visit.wait(0);
    for _ in 0..3 {
        visit.reaper_is_created();
        visit.reply(Call::ReapCreate, 409, &message("Container x is paused"));
        visit.wait(config::REAP_RETRY_MILLISECONDS);
    }
    visit.reaper_ends(1);
    visit.is_over();
}

#[test]
fn the_client_waits_for_none_of_it() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, shell());
    visit.shut_down();
    assert!(
        visit.heard_the_end().contains("goes down"),
        "its CLOSE comes before the engine has said anything"
    );
    visit.client_vanishes();
    assert!(visit.client_closed && !visit.session.is_gone());
    assert_eq!(visit.session.held_bytes(), 0);
    visit.reaps();
    visit.is_over();
}
