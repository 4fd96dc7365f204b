//! How a session ended is told alike: in CLOSE, by the close frame, by what `entry enter` exits with and says, and in the
//! log. Every way to end that an open session has, each brought about on the real gateway.

use crate::client::{Client, End, hello};
use crate::fake::{self, Asked, BYE, Connection, Fake, PROMPT, Then, UPGRADED, framed};
use crate::raw::BINARY;
use crate::support::{Directory, Gateway, eventually, logged, program};
use entry::access::Spec;
use entry::access::tokens::{hash, hex};
use entry::config::{Settings, TlsFiles, WantedLimits};
use entry::outcome::{Action, Outcome, StartFault};
use entry::wire::message::Hello;
use std::io::{Read as _, Write as _};
use std::process::{Output, Stdio};
use std::{fs, thread};

const TOKEN: &str = "s3cret-token";

/// Says this to a question, and it is answered.
fn says(connection: &mut Connection, status: u16, body: &str) -> Then {
    connection.answer(status, "", body);
    Then::Answered
}

/// An engine that says this of the exec, and this of the container.
fn says_of_the_end(exec: &'static str, container: (u16, &'static str)) -> Fake {
    Fake::unix(move |asked, connection| match asked.what {
        "GET exec" => says(connection, if exec.contains("No such") { 404 } else { 200 }, exec),
        "GET container" => says(connection, container.0, container.1),
        _ => Then::Usual,
    })
}

const KILLED: &str = r#"{"Running":false,"ExitCode":137,"Pid":42,"ContainerID":""}"#;

/// A way to end.
struct Row {
    outcome: Outcome,
    engine: Fake,
    settings: fn(&mut Settings),
    /// What is typed once it is open.
    typed: &'static str,
    /// What is done to the gateway then.
    done: fn(&Gateway),
}

impl Row {
    fn new(outcome: Outcome, engine: Fake) -> Row {
        Row { outcome, engine, settings: |_| {}, typed: BYE, done: |_| {} }
    }
}

fn rows() -> Vec<Row> {
    let usual = || Fake::unix(fake::usual);
    let exited = |exec| {
        says_of_the_end(
            exec,
            (
                200,
                r#"{"Id":"c0ffee","Name":"/web","State":{"Running":true,"ExitCode":0},"Config":{"Tty":false}}"#,
            ),
        )
    };
    let never_ran = |asked: &Asked, connection: &mut Connection| match asked.what {
        "POST start" => {
            connection.say(UPGRADED);
            let words = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"cat\": \
                         executable file not found in $PATH: unknown\r\n";
            connection.say(framed(1, words.as_bytes()));
            Then::Close
        }
        "GET exec" => says(connection, 200, r#"{"Running":false,"ExitCode":127,"Pid":0,"ContainerID":""}"#),
        _ => Then::Usual,
    };
    let could_not = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"cat\": executable \
                     file not found in $PATH: unknown";
    let stopped =
        r#"{"Id":"c0ffee","Name":"/web","State":{"Running":false,"ExitCode":137},"Config":{"Tty":false}}"#;
    let out_of_memory = r#"{"Id":"c0ffee","Name":"/web","State":{"Running":false,"ExitCode":137,"OOMKilled":true},"Config":{"Tty":false}}"#;
    let paused = r#"{"Id":"c0ffee","Name":"/web","State":{"Running":true,"Paused":true,"ExitCode":0},"Config":{"Tty":false}}"#;
    let no_container = r#"{"message":"No such container: demo"}"#;
    let lost = |detail: &str| Outcome::EngineLost { detail: detail.to_owned() };
    vec![
        Row::new(
            Outcome::Exited { status: 0 },
            exited(r#"{"Running":false,"ExitCode":0,"Pid":42,"ContainerID":""}"#),
        ),
        Row::new(Outcome::Exited { status: 7 }, usual()),
        Row::new(
            Outcome::Exited { status: 143 },
            exited(r#"{"Running":false,"ExitCode":143,"Pid":42,"ContainerID":""}"#),
        ),
        // By a signal that only looks as if its container had been stopped.
        Row::new(Outcome::Exited { status: 137 }, exited(KILLED)),
        Row {
            typed: "",
            ..Row::new(
                Outcome::CouldNotStart { fault: StartFault::CommandNotFound, detail: could_not.to_owned() },
                Fake::unix(never_ran),
            )
        },
        Row::new(
            Outcome::ContainerStopped { exit_code: Some(137), out_of_memory: false },
            says_of_the_end(KILLED, (200, stopped)),
        ),
        Row::new(
            Outcome::ContainerStopped { exit_code: Some(137), out_of_memory: true },
            says_of_the_end(KILLED, (200, out_of_memory)),
        ),
        Row::new(
            Outcome::ContainerRemoved,
            says_of_the_end(r#"{"message":"No such exec instance: 1"}"#, (404, no_container)),
        ),
        // Nothing answers what is typed, and the engine says why.
        Row {
            typed: "anybody?",
            settings: |settings| settings.paused_milliseconds_max = 1_000,
            ..Row::new(
                Outcome::ContainerPaused,
                Fake::unix(move |asked, connection| match asked.what {
                    "POST start" => {
                        connection.say(UPGRADED);
                        connection.say(framed(1, PROMPT.as_bytes()));
                        Then::Hold
                    }
                    "GET container" => says(connection, 200, paused),
                    _ => Then::Usual,
                }),
            )
        },
        // Every way in which nobody knows how it ended.
        Row::new(
            lost("it closed the stream while the process still runs"),
            says_of_the_end(r#"{"Running":true,"ExitCode":0,"Pid":42,"ContainerID":""}"#, (200, stopped)),
        ),
        Row {
            typed: "",
            ..Row::new(
                lost("its stream cannot be read: it ends within a frame"),
                Fake::unix(|asked, connection| match asked.what {
                    "POST start" => {
                        connection.say(UPGRADED);
                        connection.say(framed(1, PROMPT.as_bytes()));
                        connection.say(&framed(1, b"some more")[..12]);
                        Then::Close
                    }
                    _ => Then::Usual,
                }),
            )
        },
        Row {
            typed: "",
            settings: |settings| settings.idle_seconds_max = Some(21),
            ..Row::new(Outcome::Idle { seconds: 21 }, usual())
        },
        Row {
            typed: "x",
            settings: |settings| settings.lasts_seconds_max = Some(21),
            ..Row::new(Outcome::TimeOver { seconds: 21 }, usual())
        },
        Row {
            typed: "x",
            settings: |settings| settings.drain_seconds = 0,
            done: |gateway| gateway.server().drain().unwrap(),
            ..Row::new(Outcome::Drained, usual())
        },
        Row {
            typed: "x",
            // Its token is struck off the list.
            done: |gateway| gateway.server().reload().unwrap(),
            ..Row::new(
                Outcome::AccessEnded { detail: "The token is not known here any more.".to_owned() },
                usual(),
            )
        },
    ]
}

/// `entry enter`, with somebody who types this when he sees the prompt and then waits; his stdin stays open.
fn entered(gateway: &Gateway, typed: &str, is_in: impl FnOnce()) -> Output {
    let mut entering = program(&["enter", "--container", "demo", "--", "cat"]);
    entering
        .env("ENTRY_GATEWAY", format!("ws://{}", gateway.address))
        .env("ENTRY_TOKEN", TOKEN)
        .stdin(Stdio::piped());
    let mut entering = entering.spawn().unwrap();
    let mut keyboard = entering.stdin.take().unwrap();
    let mut prompt = [0; PROMPT.len()];
    // Where nothing is started there is none.
    if entering.stdout.as_mut().unwrap().read_exact(&mut prompt).is_ok() {
        keyboard.write_all(typed.as_bytes()).unwrap();
    }
    is_in();
    let output = entering.wait_with_output().unwrap();
    drop(keyboard);
    output
}

/// All that was said of the end says the same.
fn told_alike(outcome: &Outcome, session: &str, end: &End, output: &Output) {
    let text = outcome.close_text(Action::Enter);
    assert_eq!(
        (end.outcome, end.exit_status),
        (outcome.number(), outcome.exit_status().into()),
        "{outcome:?}: {end:?}"
    );
    assert_eq!((&end.text, end.code), (&text, outcome.close_code()), "{outcome:?}");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(outcome.exit_status().into()), "{outcome:?}: {words}");
    let is_shown = !matches!(outcome, Outcome::Exited { .. });
    assert_eq!(words.contains(&outcome.to_string()), is_shown, "{outcome:?}: {words}");
    let line = format!("session {session}: ended, {}: {outcome}", outcome.label());
    eventually(&line, || logged(session).contains(&line));
    let ends = logged(session).iter().filter(|line| line.contains(": ended, ")).count();
    assert_eq!(ends, 1, "{outcome:?} is told once");
}

#[test]
fn every_end_of_an_open_session_is_told_alike() {
    thread::scope(|scope| {
        for row in rows() {
            scope.spawn(move || {
                let Row { outcome, engine, settings: set, typed, done } = row;
                let directory = Directory::new();
                let file = directory.file("tokens.toml");
                let holder = format!(
                    "[[token]]\nuser = \"ada\"\nsha256 = \"{}\"\nexec = [\"container:*\"]\n",
                    hex(&hash(TOKEN))
                );
                fs::write(&file, holder).unwrap();
                let mut settings = Gateway::settings(&engine.url);
                set(&mut settings);
                let rule = match outcome {
                    Outcome::AccessEnded { .. } => Spec::Tokens { file: file.clone() },
                    _ => Spec::Anonymous,
                };
                let gateway = Gateway::guarded(settings, vec![rule]);
                let with_token = Hello { access_token: TOKEN.to_owned(), ..hello(&["cat"]) };
                let (mut client, session) = Client::enter(gateway.address, with_token).opened_as();
                if !matches!(outcome, Outcome::CouldNotStart { .. }) {
                    client.until(PROMPT);
                }
                if !typed.is_empty() {
                    client.type_in(typed);
                }
                let output = entered(&gateway, typed, || {
                    fs::write(&file, "").unwrap();
                    done(&gateway);
                });
                told_alike(&outcome, &session, &client.end(), &output);
                if outcome.exit_status() == 125 {
                    // Nobody saw its process end.
                    engine.await_asked("POST reaper", 1);
                }
            });
        }
    });
}

#[test]
fn who_goes_and_who_breaks_the_rules_is_told_of_in_the_log() {
    let engine = Fake::unix(fake::usual);
    let gateway = Gateway::before(&engine.url);
    let told = |session: &str, outcome: &Outcome| {
        let line = format!("session {session}: ended, {}: {outcome}", outcome.label());
        eventually(&line, || logged(session).contains(&line));
    };
    let (mut leaving, session) = Client::enter(gateway.address, hello(&["cat"])).opened_as();
    leaving.socket.close(None).unwrap();
    while leaving.socket.read().is_ok() {}
    told(&session, &Outcome::ClientLeft);
    let (vanishing, session) = Client::enter(gateway.address, hello(&["cat"])).opened_as();
    drop(vanishing);
    told(&session, &Outcome::ClientVanished);
    // Who has ended only his own side is as good as gone: nobody can ask him to say goodbye.
    let (half, session) = Client::enter(gateway.address, hello(&["cat"])).opened_as();
    half.socket.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    told(&session, &Outcome::ClientVanished);
    let (mut rude, session) = Client::enter(gateway.address, hello(&["cat"])).opened_as();
    rude.until(PROMPT);
    // Without a mask (RFC 6455, 5.1).
    rude.socket.get_mut().write_all(&[BINARY, 1, b'x']).unwrap();
    let end = rude.end();
    assert_eq!((end.outcome, end.exit_status, end.code), (13, 125, 1002), "{end:?}");
    eventually("its line", || {
        logged(&session).iter().any(|line| line.contains("ended, protocol_error: Protocol error: "))
    });
    engine.await_asked("POST reaper", 4);
}

#[test]
fn who_is_over_a_limit_is_told_so_by_everything() {
    let engine = Fake::unix(fake::usual);
    let limits = WantedLimits { per_user: Some(1), ..WantedLimits::default() };
    let settings = Gateway::settings(&engine.url);
    let gateway = Gateway::of(settings, vec![Spec::Anonymous], limits, TlsFiles::default()).unwrap();
    let _inside = Client::enter(gateway.address, hello(&["cat"])).opened();
    let end = Client::enter(gateway.address, hello(&["cat"])).end();
    assert_eq!((end.outcome, end.exit_status, end.code), (21, 125, 1013), "{end:?}");
    let output = entered(&gateway, "", || {});
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{words}");
    assert!(words.contains("You have as many sessions here as you may (1); try again later."), "{words}");
}

/// A setting that no option makes: a time that the clock never reaches makes the sum overflow, in whoever has rights that
/// are looked at again.
#[test]
fn a_bug_ends_the_session_that_it_meets_and_is_told_with_its_back_trace() {
    let engine = Fake::unix(fake::usual);
    let directory = Directory::new();
    let file = directory.file("tokens.toml");
    let holder =
        format!("[[token]]\nuser = \"ada\"\nsha256 = \"{}\"\nexec = [\"container:*\"]\n", hex(&hash(TOKEN)));
    fs::write(&file, holder).unwrap();
    let settings = Settings { recheck_milliseconds: Some(u64::MAX), ..Gateway::settings(&engine.url) };
    let gateway = Gateway::guarded(settings, vec![Spec::Tokens { file }, Spec::Anonymous]);
    let mut neighbour = Client::enter(gateway.address, hello(&["cat"])).opened();
    neighbour.until(PROMPT);
    for _ in 0..3 {
        let with_token = Hello { access_token: TOKEN.to_owned(), ..hello(&["cat"]) };
        let end = Client::enter(gateway.address, with_token).end();
        assert_eq!((end.outcome, end.exit_status, end.code), (17, 125, 1011), "{end:?}");
        assert_eq!(end.text, Outcome::Bug.close_text(Action::Enter));
        neighbour.type_in("still here;");
        neighbour.until("still here;");
    }
    let output = entered(&gateway, "", || {});
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Entry has a bug; its log says more."));
    let told = "a bug of Entry; the session is ended: a panic at src/session/rights.rs:";
    let bugs = logged(told);
    assert_eq!(bugs.len(), 4, "{bugs:?}");
    for bug in &bugs {
        assert!(
            bug.starts_with("session ") && bug.contains("overflow") && bug.contains("back-trace: "),
            "{bug}"
        );
        assert!(bug.contains("entry::gateway::") && !bug.contains(TOKEN), "{bug}");
        let session = bug["session ".len()..].split(": ").next().unwrap();
        eventually("its end", || {
            logged(session)
                .iter()
                .any(|line| line.contains("ended, bug: Entry has a bug; its log says more."))
        });
    }
    neighbour.type_in(BYE);
    assert_eq!(neighbour.end().exit_status, 7);
}
