//! However many sessions end abruptly, whatever they have begun, and if the gateway itself is killed: nothing of them is
//! left, and nobody else is touched.
//!
//! `ENTRY_TEST_DISCONNECTS` and `ENTRY_TEST_KILLED` say with how many sessions; where they do, all must be clean within
//! 10 s after every hundredth and the last.

use crate::common::await_or;
use crate::common::engine::Container;
use crate::common::gateway::Gateway;
use crate::common::visitor::Visitor;
use entry::wire::message::Hello;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// What is typed into a shell, and whether that can be in this container.
type Scenario = (&'static str, fn(&Place) -> bool);

const SCENARIOS: [Scenario; 15] = [
    ("", |_| true),
    ("sleep 5001", |_| true),
    ("sleep 5002 & sleep 5003 &", |_| true),
    ("(trap '' HUP; exec sleep 5004) & nohup sleep 5004 &", |_| true),
    ("setsid sleep 5005 &", |_| true),
    ("setsid sh -c '(setsid sleep 5006 &); sleep 5007; :' &", |_| true),
    ("trap '' HUP INT TERM; (trap '' HUP INT TERM; sleep 5008; sleep 5008)", |_| true),
    ("sleep 5009\x1a", |_| true),
    ("env -i sleep 5010 &", |_| true),
    ("stty raw -echo; cat", |_| true),
    ("sh -c 'sh -c \"sleep 5011; :\"; :'", |_| true),
    ("(trap '' HUP; exec sleep 5012) & exec sleep 5013", |_| true),
    ("su app -c 'sleep 5014; :'", |place| place.is_root),
    ("vi notes", |_| true),
    ("yes", |_| true),
];

/// A container, and as whom it is entered.
struct Place {
    container: Container,
    shell: &'static str,
    is_root: bool,
}

impl Place {
    fn innocents(&self) -> Vec<&'static str> {
        [&INNOCENTS[..], &[self.shell]].concat()
    }
}

/// What must be alive in it after all, beside the shell of a session that is open: one that is nobody's, one of a session
/// that ended in order, one of that open session.
const INNOCENTS: [&str; 3] = ["sleep 7001", "sleep 7002", "sleep 7003"];

fn places() -> Vec<Place> {
    let place =
        |image, shell| Place { container: Container::idle(image), shell, is_root: image != "entry-nonroot" };
    vec![place("entry-bash", "bash"), place("entry-busybox", "sh"), place("entry-nonroot", "sh")]
}

/// Puts the innocents there; gives the open session.
fn settle(place: &Place, gateway: &Gateway) -> Visitor {
    let container = &place.container;
    container.engine.ask(&["exec", "--detach", &container.name, "sleep", "7001"]);
    let ended =
        gateway.exec(container, &["sh", "-c", "setsid sleep 7002 >/dev/null 2>&1 </dev/null & sleep 1.5"]);
    assert_eq!(ended.status, 0, "{ended}");
    let mut neighbour = Visitor::v1(gateway.address, "/enter", shell(container));
    neighbour.opened();
    neighbour.type_in("sleep 7003\r");
    for innocent in INNOCENTS {
        container.await_process(innocent);
    }
    neighbour
}

fn shell(container: &Container) -> Hello {
    Hello { container: container.name.clone(), tty: true, columns: 80, rows: 24, ..Hello::default() }
}

/// Opens a session and has it begin something.
fn begin(gateway: &Gateway, place: &Place, scenario: &str) -> Visitor {
    let mut visitor = Visitor::v1(gateway.address, "/enter", shell(&place.container));
    visitor.opened();
    // Typed apart, so that its echo is not taken for it.
    visitor.type_in("echo all''right\r");
    visitor.expect("allright");
    visitor.type_in(&format!("{scenario}\r"));
    visitor
}

fn count(variable: &str, default: usize) -> (usize, bool) {
    match std::env::var(variable) {
        Ok(text) => (text.parse().expect("a number of sessions"), true),
        Err(_) => (default, false),
    }
}

/// The innocents, and nobody else; within 10 s where it is measured.
fn only_innocents(places: &[Place], more: &[&str], began: Instant, measured: bool) {
    for (at, place) in places.iter().enumerate() {
        let more = if at == 0 { more } else { &[] };
        place.container.await_only(&[&place.innocents()[..], more].concat());
    }
    if measured {
        say(&format!("clean after {:?}", began.elapsed()));
        assert!(began.elapsed() < Duration::from_secs(10), "clean after {:?}", began.elapsed());
    }
}

/// A figure for who measures; shown with `--nocapture`.
#[allow(clippy::print_stderr, reason = "who runs it by hand wants to see it")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn still_there(places: &[Place], neighbours: Vec<Visitor>) {
    for (place, mut neighbour) in places.iter().zip(neighbours) {
        neighbour.type_in("\x03echo stat''us=$?\r");
        neighbour.expect("status=130");
        neighbour.leave();
        place.container.await_only(&INNOCENTS[..2]);
    }
}

#[test]
fn abrupt_disconnects_leave_nothing_and_touch_nobody() {
    const AT_ONCE: usize = 4;
    // They come faster than an engine begins the execs that end what they leave, so that is looked at after so many.
    const BETWEEN_LOOKS: usize = 100;
    let (sessions, measured) = count("ENTRY_TEST_DISCONNECTS", 100);
    let places = places();
    let gateway = Gateway::to(&places[0].container);
    let neighbours: Vec<Visitor> = places.iter().map(|place| settle(place, &gateway)).collect();
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    for end in (BETWEEN_LOOKS..sessions).step_by(BETWEEN_LOOKS).chain([sessions]) {
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Ok(number) =
                        next.fetch_update(Relaxed, Relaxed, |next| (next < end).then_some(next + 1))
                    {
                        disconnect(&gateway, &places, number);
                    }
                });
            }
        });
        if measured {
            say(&format!("{end} after {:?}", began.elapsed()));
        }
        only_innocents(&places, &[], Instant::now(), measured);
    }
    assert!(!gateway.log().contains("may be left"), "{}", gateway.log());
    still_there(&places, neighbours);
}

/// Somebody comes, in one of all ways and places, and is gone without a word.
fn disconnect(gateway: &Gateway, places: &[Place], number: usize) {
    let place = &places[number % places.len()];
    let (scenario, fits) = SCENARIOS[number / places.len() % SCENARIOS.len()];
    if number % 4 == 3 || !fits(place) {
        // In the middle of being opened, at one moment or another.
        let visitor = Visitor::v1(gateway.address, "/enter", shell(&place.container));
        thread::sleep(Duration::from_millis((number as u64 * 7) % 90));
        drop(visitor);
    } else {
        drop(begin(gateway, place, scenario));
    }
}

#[test]
fn a_gateway_that_is_killed_leaves_nothing_and_touches_nobody() {
    let (sessions, measured) = count("ENTRY_TEST_KILLED", 28);
    let places = places();
    // Another replica beside it, in the same containers.
    let replica = Gateway::to(&places[0].container);
    let neighbours: Vec<Visitor> = places.iter().map(|place| settle(place, &replica)).collect();
    let doomed = Gateway::start(&places[0].container.engine, &["--allow-container", "*", "--workers", "2"]);
    // What the doomed one's sessions leave on purpose is not theirs any more.
    let left = doomed.exec(
        &places[0].container,
        &["sh", "-c", "setsid sleep 7004 >/dev/null 2>&1 </dev/null & sleep 1.5"],
    );
    assert_eq!(left.status, 0, "{left}");
    let mut visitors = Vec::new();
    for number in 0..sessions {
        let place = &places[number % places.len()];
        let (scenario, fits) = SCENARIOS[number / places.len() % SCENARIOS.len()];
        // One that floods is not read here, which says nothing of guards.
        if fits(place) && scenario != "yes" {
            visitors.push(begin(&doomed, place, scenario));
        }
    }
    for place in &places {
        place.container.await_sh("[ $(ps -o args | grep -c 'entry-[g]uard') -ge 2 ]");
    }
    places[0].container.await_process("sleep 7004");
    doomed.kill();
    only_innocents(&places, &["sleep 7004"], Instant::now(), measured);
    places[0].container.sh("kill $(ps -o pid,args | awk '$3 == 7004 {print $1}')");
    still_there(&places, neighbours);
}

/// In a paused container nothing can be ended: it is as soon as it goes on.
#[test]
fn what_a_paused_container_holds_is_ended_when_it_goes_on() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::without_guards(&container);
    let mut visitor = Visitor::v1(gateway.address, "/enter", shell(&container));
    visitor.opened();
    visitor.type_in("sleep 5020\r");
    container.await_process("sleep 5020");
    container.order(&["pause"]);
    drop(visitor);
    gateway.await_log("cannot be ended yet");
    container.order(&["unpause"]);
    container.await_idle();
    gateway.await_log("of its processes were left and are ended");
}

#[test]
fn the_milder_mode_spares_what_was_begun_on_purpose() {
    let container = Container::idle("entry-bash");
    let gateway = Gateway::start(&container.engine, &["--allow-container", "*", "--reap", "session"]);
    let mut visitor = Visitor::v1(gateway.address, "/enter", shell(&container));
    visitor.opened();
    visitor.type_in(
        "(trap '' HUP; exec sleep 5031) & setsid sleep 5032 & sleep 5033 & (sleep 5034; :) & sleep 5035\r",
    );
    for process in ["sleep 5031", "sleep 5032", "sleep 5033", "sleep 5034", "sleep 5035"] {
        container.await_process(process);
    }
    drop(visitor);
    container.await_only(&["sleep 5031", "sleep 5032"]);
    gateway.await_log("of its processes were left and are ended");
    container.await_only(&["sleep 5031", "sleep 5032"]);

    let container = Container::idle("entry-bash");
    let gateway = Gateway::start(&container.engine, &["--allow-container", "*", "--reap", "off"]);
    let mut visitor = Visitor::v1(gateway.address, "/enter", shell(&container));
    visitor.opened();
    visitor.type_in("sleep 5036\r");
    container.await_process("sleep 5036");
    drop(visitor);
    gateway.await_log("ended, ");
    container.await_process("sleep 5036");
}

/// A command in an image without a shell, whose client vanishes.
fn vanished_without_a_shell(container: &Container, gateway: &Gateway) {
    let hello = Hello { command: vec!["/pause".to_owned()], tty: false, ..shell(container) };
    let mut visitor = Visitor::v1(gateway.address, "/enter", hello);
    visitor.opened();
    visitor.expect("pause: waiting");
    drop(visitor);
}

/// How many processes run in it, as the engine's host sees them: they share a pid namespace.
fn processes(container: &Container) -> usize {
    let first = container.engine.ask(&["inspect", "--format", "{{.State.Pid}}", &container.name]);
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(first.trim());
    assert!(own.is_some(), "{} has no process {first}", container.name);
    let all = fs::read_dir("/proc").expect("/proc");
    all.flatten().filter(|entry| namespace(&entry.file_name().to_string_lossy()) == own).count()
}

#[test]
fn in_an_image_without_a_shell_the_log_says_what_stays() {
    let container = Container::idle("entry-noshell");
    let gateway = Gateway::to(&container);
    vanished_without_a_shell(&container, &gateway);
    gateway.await_log("may be left in the container: there is no sh in the container, and no --reap-helper");
    assert_eq!(processes(&container), 2);
}

#[test]
fn a_container_beside_an_image_without_a_shell_ends_what_is_left_there() {
    let container = Container::idle("entry-noshell");
    let neighbour = Container::idle("entry-noshell");
    let options = ["--allow-container", "*", "--reap-helper", "entry-busybox"];
    let gateway = Gateway::start(&container.engine, &options);
    // Somebody who stays, in the same container.
    let hello = Hello { command: vec!["/pause".to_owned(), "cat".to_owned()], ..shell(&container) };
    let mut stays = Visitor::v1(gateway.address, "/enter", Hello { tty: false, stdin: true, ..hello });
    stays.opened();
    for _ in 0..3 {
        vanished_without_a_shell(&container, &gateway);
    }
    await_or(
        || format!("there are {} processes: {}", processes(&container), gateway.log()),
        || (gateway.log().matches("1 of its processes were left and are ended").count() == 3).then_some(()),
    );
    assert_eq!((processes(&container), processes(&neighbour)), (2, 1), "{}", gateway.log());
    let helpers = container.engine.ask(&["ps", "--all", "--quiet", "--filter", "label=entry.reaper"]);
    assert_eq!(helpers, "", "they are removed");
    stays.type_in("still here\n");
    stays.expect("still here\n");
    stays.leave();

    // An image that the engine does not have: it is tried again, and the log says what is in the way.
    let gateway =
        Gateway::start(&container.engine, &["--allow-container", "*", "--reap-helper", "entry-nosuch"]);
    vanished_without_a_shell(&neighbour, &gateway);
    gateway.await_log("cannot be ended yet");
    assert!(gateway.log().to_lowercase().contains("no such image"), "{}", gateway.log());
}
