//! Many small worlds, each out of one number: clients, a gateway and engines, with all that goes wrong between them.
//!
//! The gateway of a world is Entry's own sessions, slab, wheel, buffers and crowd, driven as `gateway::Gateway` drives
//! them, over lines in memory and a clock that is told. After each step the invariants are looked at; what was done to a
//! session is written down by the world, and what is said of its end must be that.
//!
//! | file | what it holds |
//! |---|---|
//! | `world` | who comes, what goes wrong and when; time |
//! | `plans` | what is in store for each |
//! | `outside` | what is around the gateway: engines, the access service, who is awake |
//! | `shell` | the gateway's driver, with its guards and the invariants |
//! | `client`, `frames` | one client; its WebSocket and its messages |
//! | `engine`, `server` | what is true in the engines; one connection at one |
//! | `network` | lines that take a byte, stall, reset |
//! | `fate` | what happened to a visit, and which outcome that makes true |
//!
//! `ENTRY_SEEDS=100000 cargo test --test simulation` runs more worlds, `ENTRY_SEED=7 …` one of them.
//! `scripts/mutations` breaks Entry on purpose, and expects to be noticed.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]
#![allow(clippy::wildcard_enum_match_arm, reason = "in a test what is not expected fails it")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of worlds are small")]

mod chance;
mod client;
mod engine;
mod fate;
mod frames;
mod network;
mod outside;
mod plans;
mod server;
mod shell;
mod trace;
mod world;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use world::World;

/// Worlds of a plain `cargo test`.
const SEEDS: u64 = 10_000;

/// What a whole world was.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    hash: u64,
    notes: u64,
    outcomes: BTreeMap<&'static str, u64>,
    guards: Guards,
}

/// How many guards stood, how many of them lost their gateway, and how many of those ended what was left.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Guards {
    stood: u64,
    forsaken: u64,
    acted: u64,
}

/// Runs one world; whatever fails in it says how to see it again.
fn run(seed: u64) -> Result<Report, String> {
    let mut world = World::new(seed);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let trace = &world.outside.trace;
    if let Err(panic) = ended {
        return Err(format!(
            "{}\nthe last of it:\n{}\nseed {seed} failed: {}\nENTRY_SEED={seed} cargo test --test simulation",
            said(panic.as_ref()),
            trace.shown(),
            said(panic.as_ref()),
        ));
    }
    let mut outcomes = BTreeMap::new();
    for outcome in world.outside.fates.iter().filter_map(|fate| fate.outcome.as_ref()) {
        *outcomes.entry(outcome.label()).or_default() += 1;
    }
    let mut guards = Guards::default();
    for server in &world.outside.servers {
        guards.stood += u64::from(server.stands);
        guards.forsaken += u64::from(server.forsaken_at.is_some());
        guards.acted += u64::from(server.has_acted);
    }
    Ok(Report { hash: trace.hash, notes: trace.notes, outcomes, guards })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn every_world_keeps_its_promises() {
    if let Some(seed) = number("ENTRY_SEED") {
        let report = run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        panic_free_print(&format!("seed {seed}: {report:?}"));
        return;
    }
    let seeds = number("ENTRY_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let failure = Mutex::new(None);
    let all = Mutex::new((BTreeMap::<&str, u64>::new(), Guards::default()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    match run(seed) {
                        Ok(report) => {
                            let (outcomes, guards) = &mut *all.lock().unwrap();
                            for (label, count) in report.outcomes {
                                *outcomes.entry(label).or_default() += count;
                            }
                            guards.stood += report.guards.stood;
                            guards.forsaken += report.guards.forsaken;
                            guards.acted += report.guards.acted;
                        }
                        Err(text) => {
                            failed.store(true, Ordering::Relaxed);
                            failure.lock().unwrap().get_or_insert(text);
                        }
                    }
                }
            });
        }
    });
    if let Some(text) = failure.into_inner().unwrap() {
        panic!("{text}");
    }
    // A simulation that does not reach an outcome says nothing of it.
    let (outcomes, guards) = all.into_inner().unwrap();
    panic_free_print(&format!("{seeds} worlds: {outcomes:?}, {guards:?}"));
    if seeds >= SEEDS {
        for label in REACHED {
            assert!(outcomes.contains_key(label), "no world ends a session as {label}: {outcomes:?}");
        }
        let rare = guards.stood.min(guards.forsaken).min(guards.acted);
        assert!(rare > 0, "no world shows all that guards do: {guards:?}");
    }
}

/// The outcomes that many worlds together must show: all there are.
const REACHED: [&str; 23] = [
    "exited",
    "could_not_start",
    "container_not_found",
    "container_not_running",
    "container_stopped",
    "container_removed",
    "container_paused",
    "engine_unavailable",
    "engine_lost",
    "client_left",
    "client_vanished",
    "timed_out",
    "protocol_error",
    "bad_request",
    "refused",
    "drained",
    "bug",
    "access_unavailable",
    "access_ended",
    "locate_unavailable",
    "over_limit",
    "idle",
    "time_over",
];

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [1, 2, 3, 900_001] {
        let first = run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        let second = run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(first, second);
        assert!(first.notes > 3, "{first:?}");
    }
    assert_ne!(run(1).unwrap().hash, run(2).unwrap().hash);
}

/// What a test that passes has to say; shown with `--nocapture`.
#[allow(clippy::print_stderr, reason = "who runs it by hand wants to see it")]
fn panic_free_print(text: &str) {
    eprintln!("{text}");
}
