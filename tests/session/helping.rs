//! Where no exec can end what a session left, a container beside it may: it is created, asked and removed, whatever the
//! engine does meanwhile.

use crate::driver::{CONTAINER, Kind, Speaks, Visit};
use entry::config;
use entry::session::{Call, Reap};
use entry::wire::message::Hello;
use serde_json::{Value, json};

const NO_SHELL: &str = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"sh\": \
                        executable file not found in $PATH: unknown";

fn message(text: &str) -> Value {
    json!({ "message": text })
}

/// A session in an image without sh whose client has vanished; where there is a helper, its container is asked for next.
fn vanished(helper: Option<&str>) -> Visit {
    let hello = Hello { command: vec!["/pause".to_owned()], ..Hello::default() };
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, hello);
    visit.settings.reap_helper = helper.map(str::to_owned);
    visit.wait(61_000);
    visit.calls.clear();
    visit.client_vanishes();
    visit.looks_at_exec(&json!({ "Running": true, "ExitCode": null, "Pid": 7 }));
    finds_no_shell(&mut visit);
    visit
}

fn finds_no_shell(visit: &mut Visit) {
    visit.reaper_is_created();
    visit.reply(Call::ReapCreate, 201, &json!({ "Id": "f00d" }));
    assert_eq!(visit.called().0, Call::ReapStart);
    visit.reply(Call::ReapStart, 500, &message(NO_SHELL));
}

fn name(visit: &Visit) -> String {
    format!("entry-reap-{}", visit.session.id().to_string().replace(':', "-"))
}

/// The helper is asked for; gives the body of the request.
fn is_created(visit: &mut Visit) -> Value {
    let (call, asked) = visit.called();
    assert_eq!(call, Call::ReapCreate);
    assert_eq!(asked.line, format!("POST /v1.51/containers/create?name={}", name(visit)));
    asked.body
}

fn is_asked(visit: &mut Visit, expected: Call, method: &str, rest: &str) {
    let (call, asked) = visit.called();
    assert_eq!((call, asked.line), (expected, format!("{method} /v1.51/containers/{}{rest}", name(visit))));
}

fn is_started(visit: &mut Visit) {
    is_created(visit);
    visit.reply(Call::ReapCreate, 201, &json!({ "Id": "be51de" }));
    is_asked(visit, Call::ReapStart, "POST", "/start");
    visit.reply(Call::ReapStart, 204, &json!(""));
}

fn says(visit: &mut Visit, words: &str) {
    is_asked(visit, Call::ReapInspect, "GET", "/logs?stdout=1");
    visit.reply(Call::ReapInspect, 200, &json!(words));
}

fn is_removed(visit: &mut Visit) {
    is_asked(visit, Call::ReapRemove, "DELETE", "?force=1&v=1");
}

#[test]
fn without_a_shell_a_container_beside_it_ends_what_is_left() {
    let mut visit = vanished(Some("busybox:1.36"));
    let created = is_created(&mut visit);
    assert_eq!((&created["Image"], &created["User"]), (&json!("busybox:1.36"), &json!("0")));
    let host = &created["HostConfig"];
    assert_eq!(host["PidMode"], format!("container:{CONTAINER}"));
    assert_eq!((&host["NetworkMode"], &host["AutoRemove"]), (&json!("none"), &json!(true)));
    assert_eq!(host["CapAdd"], json!(["SYS_PTRACE", "KILL"]));
    let id = visit.session.id().to_string();
    let words = created["Cmd"].as_array().unwrap();
    assert_eq!(words[5..], ["tree", "61", &id], "the mode, the session's age and its mark");
    assert_eq!(created["Labels"]["entry.reaper"], id.split(':').next().unwrap());

    visit.reply(Call::ReapCreate, 201, &json!({ "Id": "be51de" }));
    is_asked(&mut visit, Call::ReapStart, "POST", "/start");
    visit.reply(Call::ReapStart, 204, &json!(""));
    // It is asked what it has said until it has said it.
    let mut pause = config::REAP_WATCH_MILLISECONDS;
    for words in ["", "reaped"] {
        visit.wait(pause - 1);
        assert!(visit.calls.is_empty());
        visit.wait(1);
        says(&mut visit, words);
        pause *= 2;
    }
    visit.wait(pause);
    // The reply's JSON escapes the line's end; the log has it.
    is_asked(&mut visit, Call::ReapInspect, "GET", "/logs?stdout=1");
    visit.reply_bytes(Call::ReapInspect, 200, b"\x01\0\0\0\0\0\0\x09reaped 3\n");
    assert!(!visit.session.is_gone(), "it is removed first");
    is_removed(&mut visit);
    visit.reply(Call::ReapRemove, 204, &json!(""));
    assert_eq!(visit.reaps.last(), Some(&Reap::Done { processes: 3, unseen: false }));
    visit.is_over();
}

#[test]
fn without_a_helper_the_log_says_what_stays() {
    let mut visit = vanished(None);
    assert!(
        matches!(visit.reaps.last(), Some(Reap::GivenUp(why)) if why.contains("no sh") && why.contains("--reap-helper")),
        "{:?}",
        visit.reaps
    );
    visit.is_over();
}

/// Whatever goes wrong with it: it is removed, and after a rest the container is tried anew.
#[test]
fn a_helper_in_trouble_is_removed_and_another_tried() {
    type Fail = fn(&mut Visit);
    let failures: [(&str, bool, Fail); 8] = [
        ("No such image", false, |visit| {
            is_created(visit);
            visit.reply(Call::ReapCreate, 404, &message("No such image: busybox:1.36"));
        }),
        ("already in use", true, |visit| {
            is_created(visit);
            visit.reply(Call::ReapCreate, 409, &message("Conflict. The container name is already in use"));
        }),
        ("cannot join", true, |visit| {
            is_created(visit);
            visit.reply(Call::ReapCreate, 201, &json!({ "Id": "be51de" }));
            is_asked(visit, Call::ReapStart, "POST", "/start");
            visit.reply(Call::ReapStart, 409, &message("cannot join PID of a non running container"));
        }),
        ("No such container", true, |visit| {
            is_started(visit);
            visit.wait(config::REAP_WATCH_MILLISECONDS);
            is_asked(visit, Call::ReapInspect, "GET", "/logs?stdout=1");
            visit.reply(Call::ReapInspect, 404, &message("No such container: x"));
        }),
        ("status 137", true, |visit| {
            is_started(visit);
            visit.wait(config::REAP_WATCH_MILLISECONDS);
            is_asked(visit, Call::ReapInspect, "GET", "/logs?stdout=1");
            visit.reply_bytes(Call::ReapInspect, 200, b"reaped 137\n");
        }),
        ("does not end", true, |visit| {
            is_started(visit);
            let began = visit.now;
            while visit.now - began <= config::REAPER_MILLISECONDS_MAX {
                visit.wait(visit.session.deadline() - visit.now);
                says(visit, "");
            }
        }),
        ("away", true, |visit| {
            is_created(visit);
            visit.call_fails(Call::ReapCreate, "away");
            rests(visit);
        }),
        ("away", true, |visit| {
            is_started(visit);
            visit.wait(config::REAP_WATCH_MILLISECONDS);
            is_asked(visit, Call::ReapInspect, "GET", "/logs?stdout=1");
            visit.call_fails(Call::ReapInspect, "away");
            rests(visit);
        }),
    ];
    for (words, there, fail) in failures {
        let mut visit = vanished(Some("busybox:1.36"));
        fail(&mut visit);
        if there {
            is_removed(&mut visit);
            visit.reply(Call::ReapRemove, 404, &message("No such container: x"));
        }
        assert!(matches!(visit.reaps.last(), Some(Reap::Failed(why)) if why.contains(words)), "{words}");
        rests(&mut visit);
        finds_no_shell(&mut visit);
        is_started(&mut visit);
        visit.wait(config::REAP_WATCH_MILLISECONDS);
        is_asked(&mut visit, Call::ReapInspect, "GET", "/logs?stdout=1");
        visit.reply_bytes(Call::ReapInspect, 200, b"reaped 1\n");
        is_removed(&mut visit);
        // That it cannot be removed is no end.
        visit.reply(Call::ReapRemove, 500, &message("oh no"));
        rests(&mut visit);
        is_removed(&mut visit);
        visit.call_fails(Call::ReapRemove, "away");
        rests(&mut visit);
        is_removed(&mut visit);
        visit.reply(Call::ReapRemove, 409, &message("removal of container x is already in progress"));
        assert_eq!(visit.reaps.last(), Some(&Reap::Done { processes: 1, unseen: false }), "{words}");
        visit.is_over();
    }
}

/// Waits for what comes next.
fn rests(visit: &mut Visit) {
    assert!(visit.calls.is_empty());
    visit.wait(visit.session.deadline() - visit.now);
}

#[test]
fn when_the_container_has_ended_meanwhile_nothing_is_left() {
    let mut visit = vanished(Some("busybox:1.36"));
    is_created(&mut visit);
    visit.reply(Call::ReapCreate, 500, &message("cannot join PID namespace of container"));
    rests(&mut visit);
    visit.reaper_is_created();
    visit.reply(Call::ReapCreate, 409, &message(&format!("Container {CONTAINER} is not running")));
    assert_eq!(visit.reaps.last(), Some(&Reap::Done { processes: 0, unseen: false }));
    visit.is_over();
}

/// Where there is a shell, but no exec has the right to end what is left, it is the last to try.
#[test]
fn what_no_exec_can_end_a_helper_may() {
    for (last, expected) in [
        ("reaped 1\n", Reap::Done { processes: 4, unseen: false }),
        ("reaped 40\n", Reap::GivenUp("some could not be ended".to_owned())),
        ("reaped 81\n", Reap::GivenUp("some could not be ended".to_owned())),
    ] {
        let mut visit = Visit::open(Speaks::V1, Kind::Docker51, Hello { tty: true, ..Hello::default() });
        visit.settings.reap_helper = Some("busybox:1.36".to_owned());
        visit.client_vanishes();
        visit.looks_at_exec(&json!({ "Running": true, "ExitCode": null, "Pid": 7 }));
        for _ in 0..3 {
            visit.reaper_ends(81);
        }
        is_started(&mut visit);
        visit.wait(config::REAP_WATCH_MILLISECONDS);
        is_asked(&mut visit, Call::ReapInspect, "GET", "/logs?stdout=1");
        visit.reply_bytes(Call::ReapInspect, 200, last.as_bytes());
        is_removed(&mut visit);
        visit.reply(Call::ReapRemove, 204, &json!(""));
        assert_eq!(visit.reaps.last(), Some(&expected), "{last}");
        visit.is_over();
    }
}
