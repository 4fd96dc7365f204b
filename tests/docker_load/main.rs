//! Disasters under load, on a real engine: clients reset at once, containers killed, the engine killed, the gateway
//! killed, disks full, descriptors exhausted. Afterwards everything is where it began, and new sessions open.
//!
//! `ENTRY_ENGINE_DISK_MIB=256 scripts/with-dockerd cargo test --test docker_load` runs it with few sessions,
//! `ENTRY_TEST_LOAD=300` with as many. It kills the engine that it runs beside, and fills its disk, so it is a target of
//! its own. (`scripts/loadgen check` resets 2,000 clients at once, before an engine that is none.)
#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests by clippy.toml's exception

#[path = "../common/mod.rs"]
mod common;

use common::engine::{Container, engine};
use common::gateway::Gateway;
use common::visitor::{Goodbye, Visitor};
use common::{await_or, program};
use entry::wire::message::Hello;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::Instant;

/// What the gateway may have grown by when everybody has gone, in KiB: pages of the allocator in which something of the
/// log or of a pool lies.
const GROWTH_KIB_MAX: u64 = 4 * 1024;
/// Connections to the engine that a loop keeps a while for the next short calls.
const KEPT_MAX: u64 = 64;

/// Whoever does something to the engine has it alone.
static ENGINE: RwLock<()> = RwLock::new(());

fn alone() -> RwLockWriteGuard<'static, ()> {
    let guard = ENGINE.write().unwrap_or_else(PoisonError::into_inner);
    there();
    guard
}

fn together() -> RwLockReadGuard<'static, ()> {
    let guard = ENGINE.read().unwrap_or_else(PoisonError::into_inner);
    there();
    guard
}

/// A test before may have failed while the engine was away.
fn there() {
    if !engine().try_ask(&["version"]).status.success() {
        restart("start");
    }
}

/// `stop`, `kill` or `start` the engine.
fn restart(how: &str) {
    let program = std::env::var("ENTRY_TEST_DOCKERD_RESTART").expect("ENTRY_TEST_DOCKERD_RESTART");
    let status = Command::new(program).arg(how).status().unwrap();
    assert!(status.success(), "the engine does not {how}: {status}");
}

/// How many sessions each disaster meets.
fn load() -> usize {
    std::env::var("ENTRY_TEST_LOAD").map_or(15, |text| text.parse().expect("a number of sessions"))
}

/// Containers of three kinds, with a little place that is soon full.
fn places() -> Vec<Container> {
    let place = |image| Container::run(image, &["--shm-size=64k"], &[]);
    ["entry-busybox", "entry-bash", "entry-nonroot"].map(place).into()
}

fn shell(container: &Container) -> Hello {
    Hello { container: container.name.clone(), tty: true, columns: 80, rows: 24, ..Hello::default() }
}

/// A shell that answers, with something that runs behind it.
fn open(gateway: &Gateway, place: &Container) -> Visitor {
    let mut visitor = Visitor::v1(gateway.address, "/enter", shell(place));
    visitor.opened();
    visitor.type_in("sleep 6000 & echo he''re\r");
    visitor.expect("here\r\n");
    visitor
}

/// So many sessions, evenly over the places.
fn open_all(gateway: &Gateway, places: &[Container], count: usize) -> Vec<Visitor> {
    let next = AtomicUsize::new(0);
    let mut visitors = Vec::new();
    thread::scope(|scope| {
        let openers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut opened = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return opened;
                        }
                        opened.push(open(gateway, &places[number % places.len()]));
                    }
                })
            })
            .collect();
        visitors = openers.into_iter().flat_map(|opener| opener.join().unwrap()).collect();
    });
    assert_eq!(visitors.len(), count);
    visitors
}

/// What the gateway has, from the kernel: descriptors, and memory in KiB.
fn census(gateway: &Gateway) -> (u64, u64) {
    (gateway.descriptors(), gateway.status("VmRSS"))
}

/// Nothing of anybody is left in the engine and its containers, the gateway has what it had, and new sessions open.
fn where_it_began(what: &str, gateway: &Gateway, places: &[Container], began: (u64, u64)) {
    let since = Instant::now();
    for place in places {
        place.await_idle();
        let execs = || place.engine.ask(&["inspect", "--format", "{{json .ExecIDs}}", &place.name]);
        await_or(
            || format!("{what}: the engine still has execs: {}", execs()),
            || ["null", "[]"].contains(&execs().as_str()).then_some(()),
        );
    }
    let idle = since.elapsed();
    // Connections for short calls are kept a while: all of them are waited for only in the end.
    await_or(
        || format!("{what}: {:?} after {began:?}: {}", census(gateway), gateway.log()),
        || (gateway.descriptors() <= began.0 + KEPT_MAX).then_some(()),
    );
    say(&format!("{what}: idle after {idle:?}; descriptors and KiB {began:?} → {:?}", census(gateway)));
    for place in places {
        gateway.exec(place, &["sh", "-c", "exit 5"]).expect(5, "", "");
    }
}

/// A figure for who measures; shown with `--nocapture`.
#[allow(clippy::print_stderr, reason = "who runs it by hand wants to see it")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn told(goodbye: &Goodbye, expected: &[(i32, u16)]) {
    let outcome = goodbye.outcome.map_or(0, |(outcome, _)| outcome);
    assert!(expected.contains(&(outcome, goodbye.code)), "{goodbye:?}");
    let status = goodbye.outcome.map_or(0, |(_, status)| status);
    assert!([125, 137].contains(&status), "nobody's shell has ended well: {goodbye:?}");
}

/// Somebody writes into a place that is full: he is told so, and his session goes on.
fn a_full_place(visitors: &mut [Visitor]) {
    for visitor in &mut *visitors {
        visitor.type_in("dd if=/dev/zero of=/dev/shm/$$ bs=4k count=64; echo full=$?\r");
    }
    for visitor in visitors {
        visitor.expect("No space left");
        visitor.expect("full=1");
        visitor.type_in("rm -f /dev/shm/$$; echo still=$?\r");
        visitor.expect("still=0");
    }
}

/// The engine's own disk is full: who is in stays, who comes is let in or told why not, and with room all is as before.
fn a_full_disk(gateway: &Gateway, places: &[Container], visitors: &mut [Visitor]) {
    let disk = std::env::var("ENTRY_TEST_ENGINE_DISK").expect(
        "an engine with a disk that may be filled: run ENTRY_ENGINE_DISK_MIB=256 scripts/with-dockerd …",
    );
    let filler = std::path::Path::new(&disk).join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let full = std::iter::repeat_with(|| file.write_all(&[0; 1 << 20])).find_map(Result::err).unwrap();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    for visitor in visitors {
        visitor.type_in("(echo full >/tmp/full) 2>&1; echo we''nt=$?\r");
        visitor.expect("went=1");
    }
    for place in places {
        let mut visitor = Visitor::v1(gateway.address, "/enter", shell(place));
        match visitor.is_opened() {
            true => visitor.leave(),
            false => say("with a full disk the engine starts nothing"),
        }
    }
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    for place in places {
        gateway.exec(place, &["sh", "-c", "echo again >/tmp/again"]).expect(0, "", "");
    }
}

#[test]
fn after_every_disaster_all_is_where_it_began() {
    let alone = alone();
    let (places, sessions) = (places(), load());
    let gateway = Gateway::start(&places[0].engine, &["--allow-container", "*", "--workers", "2"]);
    let fresh = gateway.descriptors();
    // Once, so that what a first crowd leaves for the next one is there.
    open_all(&gateway, &places, sessions).into_iter().for_each(Visitor::leave);
    where_it_began("they left", &gateway, &places, census(&gateway));
    let began = (fresh, gateway.status("VmRSS"));

    let mut visitors = open_all(&gateway, &places, sessions);
    for visitor in &mut visitors {
        visitor.type_in("x");
        visitor.has_unread();
    }
    drop(visitors);
    where_it_began("clients reset at once", &gateway, &places, began);

    let visitors = open_all(&gateway, &places, sessions);
    for place in &places {
        place.kill();
    }
    for visitor in visitors {
        // The engine says either of the container or of the shell that it has ended.
        told(&visitor.goodbye(), &[(5, 4137), (1, 1000)]);
    }
    for place in &places {
        place.order(&["start"]);
    }
    where_it_began("containers killed", &gateway, &places, began);

    let visitors = open_all(&gateway, &places, sessions);
    restart("kill");
    for visitor in visitors {
        told(&visitor.goodbye(), &[(9, 4502)]);
    }
    restart("start");
    for place in &places {
        place.order(&["start"]);
        place.await_sh("true");
    }
    where_it_began("the engine killed and started again", &gateway, &places, began);

    let mut visitors = open_all(&gateway, &places, sessions.min(60));
    a_full_place(&mut visitors);
    a_full_disk(&gateway, &places, &mut visitors);
    visitors.into_iter().for_each(Visitor::leave);
    where_it_began("disks full", &gateway, &places, began);

    // Connections for short calls are kept a while, in which others may have the engine.
    drop(alone);
    await_or(
        || format!("{:?} after {began:?}", census(&gateway)),
        || (gateway.descriptors() <= began.0).then_some(()),
    );
    let (_, resident) = census(&gateway);
    assert!(resident <= began.1 + GROWTH_KIB_MAX, "{resident} KiB, and {} before", began.1);
    gateway.terminate();
    assert_eq!(gateway.ended(), 0);
}

#[test]
fn a_gateway_killed_under_load_leaves_nothing_and_another_takes_over() {
    let _together = together();
    let places = places();
    let options = ["--allow-container", "*", "--workers", "2"];
    let doomed = Gateway::start(&places[0].engine, &options);
    let visitors = open_all(&doomed, &places, load());
    for place in &places {
        place.await_sh("[ $(ps -o args | grep -c 'entry-[g]uard') -ge 1 ]");
    }
    doomed.kill();
    let next = Gateway::start(&places[0].engine, &options);
    where_it_began("the gateway killed", &next, &places, census(&next));
    drop(visitors);
}

/// Whoever finds no descriptor is refused, whoever is in stays, and when they go there is room again.
#[test]
fn descriptors_exhausted() {
    let _together = together();
    let places = places();
    let engine = &places[0].engine;
    let gateway = Gateway::start(engine, &["--allow-container", "*", "--workers", "1"]);
    // Only now, since it takes no more sessions than it has found descriptors for.
    gateway.limit_descriptors(100);
    let began = census(&gateway);
    let mut visitors = Vec::new();
    for number in 0..80 {
        let hello = shell(&places[number % places.len()]);
        if let Some(mut visitor) = Visitor::try_v1(gateway.address, "/enter", hello)
            && visitor.is_opened()
        {
            visitors.push(visitor);
        }
    }
    let admitted = visitors.len();
    assert!((20..50).contains(&admitted), "{admitted} are in: {}", gateway.log());
    for visitor in &mut visitors {
        visitor.type_in("echo he''re\r");
        visitor.expect("here\r\n");
    }
    visitors.into_iter().for_each(Visitor::leave);
    where_it_began("descriptors exhausted", &gateway, &places, began);
    let again = open_all(&gateway, &places, admitted / 2);
    again.into_iter().for_each(Visitor::leave);
}

/// Lines of the log find no room: they are lost, and nothing else.
#[test]
fn a_log_on_a_full_disk_hinders_nobody() {
    // The others' gateways take ports, too.
    let _alone = alone();
    let place = Container::idle("entry-busybox");
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = address.to_string();
    let options = ["serve", "--allow-container", "*", "--listen", &listen, "--engine", &place.engine.host];
    let mut command = program::entry(&options);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    command.stdout(Stdio::null()).stderr(full);
    let mut gateway = program::Running::start(command);
    await_or(
        || "the gateway does not listen".to_owned(),
        || std::net::TcpStream::connect(address).ok().map(drop),
    );
    for _ in 0..8 {
        let mut visitor = Visitor::v1(address, "/enter", shell(&place));
        visitor.opened();
        visitor.type_in("exit 3\r");
        assert_eq!(visitor.goodbye().outcome, Some((1, 3)));
    }
    gateway.signal(15);
    assert_eq!(gateway.status(), 0);
}
