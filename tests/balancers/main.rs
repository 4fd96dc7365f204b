//! Two replicas behind nginx and behind HAProxy, as scripts/deploy sets them up: those files, with other addresses in them.
//! The engine is the embedded one, so that nothing is needed but the two balancers (Debian's nginx-light and haproxy).
#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests by clippy.toml's exception

mod balancer;
#[path = "../common/mod.rs"]
mod common;

use balancer::{Balancer, Kind};
use common::await_or;
use common::gateway::Gateway;
use common::visitor::Visitor;
use entry::demo::{DemoEngine, DemoOptions};
use entry::wire::message::Hello;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// An address of loopback that nobody listens on. It is none of those that outgoing connections are given, since a replica
/// must find it free when it comes back.
fn free_address() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    loop {
        let number = std::process::id() as usize * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + number % 10_000).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Two replicas on one engine, and who stands before them.
struct Site {
    kind: Kind,
    engine: DemoEngine,
    places: [SocketAddr; 2],
    replicas: [Gateway; 2],
}

impl Site {
    fn new(kind: Kind) -> Site {
        let engine = DemoEngine::start(DemoOptions::default()).unwrap();
        let places = [free_address(), free_address()];
        let replicas = places.map(|place| Site::replica(kind, &engine, place));
        Site { kind, engine, places, replicas }
    }

    fn replica(kind: Kind, engine: &DemoEngine, place: SocketAddr) -> Gateway {
        let mut options = vec!["--allow-container", "demo", "--guard", "off", "--drain-timeout", "60"];
        // The balancer calls from an address of its own, so that its word on the client's shows.
        options.extend(["--trusted-proxy", balancer::SOURCE, "--allow-anonymous-shells-from-anywhere"]);
        if kind == Kind::Haproxy {
            options.push("--proxy-protocol");
        }
        Gateway::on(&place.to_string(), &engine.url(), &options)
    }

    /// The balancer, with this time-out for open sessions.
    fn balancer(&self, idle_time_out: &str) -> Balancer {
        Balancer::start(self.kind, free_address(), self.places, idle_time_out)
    }

    fn logs(&self) -> String {
        self.replicas.iter().map(Gateway::log).collect()
    }
}

/// A process that says again what it is told.
fn echo() -> Hello {
    Hello { container: "demo".to_owned(), command: vec!["cat".to_owned()], stdin: true, ..Hello::default() }
}

/// Types a piece and waits for all of it.
fn echoes(visitor: &mut Visitor, piece: &str) {
    visitor.type_in(piece);
    while visitor.stdout.len() < piece.len() {
        visitor.collect_one("the echo");
    }
    assert_eq!(String::from_utf8_lossy(&visitor.stdout), piece, "every byte, and no other");
    visitor.stdout.clear();
}

/// Ends what a process reads, and so the process: it has said nothing that was not awaited, and all went well.
fn ends_well(mut visitor: Visitor) {
    visitor.end_stdin();
    let goodbye = visitor.goodbye();
    assert_eq!((goodbye.outcome, goodbye.stdout.len()), (Some((1, 0)), 0), "{goodbye:?}");
}

/// The answer to an upgrade that a page of this origin asks for.
fn status_for_page(balancer: SocketAddr, origin: &str) -> String {
    let mut stream = TcpStream::connect(balancer).unwrap();
    stream.set_read_timeout(Some(common::DEADLINE)).unwrap();
    let request = format!(
        "GET /enter?method=web HTTP/1.1\r\nHost: {balancer}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    String::from_utf8_lossy(&status[9..]).into_owned()
}

fn sessions_come_through(kind: Kind) {
    let site = Site::new(kind);
    let balancer = site.balancer("60s");
    let mut visitor = Visitor::v1(balancer.address, "/enter", echo());
    visitor.opened();
    echoes(&mut visitor, &"0123456789abcdef".repeat(20_000));
    ends_well(visitor);
    let log = site.logs();
    assert!(
        log.contains("anonymous from 127.0.0.1 is let in"),
        "the client's address and not the balancer's: {log}"
    );
    // Entry is told which host the page means, so its own may enter, and no other.
    assert_eq!(status_for_page(balancer.address, &format!("http://{}", balancer.address)), "101");
    assert_eq!(status_for_page(balancer.address, "http://127.0.0.1:1"), "403");
}

#[test]
fn sessions_come_through_nginx() {
    sessions_come_through(Kind::Nginx);
}

#[test]
fn sessions_come_through_haproxy() {
    sessions_come_through(Kind::Haproxy);
}

/// Nobody says anything for longer than the balancer waits: Entry's PINGs, one every 10 s, keep the session. Without any
/// it would end, as one does before a balancer that waits for less.
fn idle_sessions_stay(kind: Kind) {
    let site = Site::new(kind);
    let (patient, hasty) = (site.balancer("11s"), site.balancer("2s"));
    let mut open = [&patient, &hasty].map(|balancer| Visitor::v1(balancer.address, "/enter", echo()));
    for visitor in &mut open {
        visitor.opened();
        echoes(visitor, "before");
    }
    let [mut stays, goes] = open;
    let since = Instant::now();
    goes.await_cut_off();
    assert!(since.elapsed() < Duration::from_secs(11), "it was the hasty one's time-out");
    thread::sleep(Duration::from_millis(12_000).saturating_sub(since.elapsed()));
    echoes(&mut stays, "after");
    ends_well(stays);
}

#[test]
fn idle_sessions_stay_behind_nginx() {
    idle_sessions_stay(Kind::Nginx);
}

#[test]
fn idle_sessions_stay_behind_haproxy() {
    idle_sessions_stay(Kind::Haproxy);
}

/// People who come, type, read and go, one session after another.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    whole: AtomicUsize,
    /// Came while a replica went down, and had not even begun.
    sent_elsewhere: AtomicUsize,
    /// Were told by the balancer that there is nobody, and came again.
    refused: AtomicUsize,
}

impl Load {
    fn person(&self, balancer: SocketAddr, number: usize) {
        for visit in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let Some(mut visitor) = Visitor::try_v1(balancer, "/enter", echo()) else {
                self.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if !visitor.is_opened() {
                self.sent_elsewhere.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            for round in 0..4 + (number + visit) % 12 {
                let piece = format!("{number} {visit} {round} ").repeat(300);
                echoes(&mut visitor, &piece);
                // As long as a person rests between two lines, or nearly.
                thread::sleep(Duration::from_millis(40));
            }
            ends_well(visitor);
            self.whole.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Each replica in turn is asked to go down, ends, and comes back, while people are in both.
fn a_rolling_restart_loses_nobody(kind: Kind) {
    const PEOPLE: usize = 6;
    let mut site = Site::new(kind);
    let balancer = site.balancer("60s");
    let (load, mut drained) = (Load::default(), 0);
    thread::scope(|scope| {
        for number in 0..PEOPLE {
            let (load, address) = (&load, balancer.address);
            scope.spawn(move || {
                // Whoever fails must not leave the others running.
                let _over = OverAtPanic(&load.over);
                load.person(address, number);
            });
        }
        let _over = OverAtPanic(&load.over);
        for place in 0..2 {
            for replica in &site.replicas {
                replica.await_log(" is let in");
            }
            let replica = &site.replicas[place];
            let is_in =
                || replica.log().matches(" is let in").count() > replica.log().matches(": ended, ").count();
            await_or(|| format!("nobody is in: {}", replica.log()), || is_in().then_some(()));
            replica.terminate();
            replica.await_log("all sessions have ended");
            let log = replica.log();
            assert!(log.contains(" may go on for 60 s"), "{log}");
            drained += log.matches(": ended, drained").count();
            let next = Site::replica(kind, &site.engine, site.places[place]);
            assert_eq!(std::mem::replace(&mut site.replicas[place], next).ended(), 0);
        }
        for replica in &site.replicas {
            replica.await_log(" is let in");
        }
        let whole = || load.whole.load(Ordering::Relaxed) >= 2 * PEOPLE;
        await_or(|| "people do not come to an end".to_owned(), || whole().then_some(()));
        load.over.store(true, Ordering::Relaxed);
    });
    let (refused, elsewhere) = (load.refused.into_inner(), load.sent_elsewhere.into_inner());
    assert!(drained <= elsewhere, "{drained} were ended, of whom {elsewhere} had not begun");
    // On a busy machine a balancer may believe for a moment that both are away; it is no rule.
    assert!(refused <= PEOPLE, "{refused} found nobody who took them");
}

struct OverAtPanic<'a>(&'a AtomicBool);

impl Drop for OverAtPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_rolling_restart_behind_nginx_loses_nobody() {
    a_rolling_restart_loses_nobody(Kind::Nginx);
}

#[test]
fn a_rolling_restart_behind_haproxy_loses_nobody() {
    a_rolling_restart_loses_nobody(Kind::Haproxy);
}
