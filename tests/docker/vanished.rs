//! A host that vanishes: nobody says goodbye, nothing is reset, there is only silence. The kernel gives it up, by its
//! probes of an idle connection or by what is never acknowledged, and then all is as at any other end.
//!
//! The host is a network namespace behind a pair of virtual interfaces, and it vanishes by having another address in the
//! cable: what is sent to it is sent and not heard. (A cable that is pulled is noticed by whoever sends.) The gateway's
//! times for that are minutes; here its own sockets are given seconds.
#![allow(unsafe_code)] // the descriptors of another process

use crate::common::engine::{Container, unique};
use crate::common::gateway::Gateway;
use crate::common::program::{Running, entry};
use crate::common::{await_or, await_some};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

/// How long a peer may be silent here, in seconds.
const SILENT_SECONDS: i32 = 2;

/// Another host, with its end of a cable to this one. It goes when it is forgotten.
struct Host {
    name: String,
    /// Its interface, and this side's.
    there: String,
    here: String,
    /// This side's address.
    address: String,
}

/// Runs the ip program, which must succeed.
fn ip(words: &str) {
    let output =
        Command::new("ip").args(words.split(' ')).output().expect("the ip program (of Debian's iproute2)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "this machine does not permit a network namespace: ip {words}: {said}");
}

impl Host {
    fn new() -> Host {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        // Of the range for tests of networks (RFC 2544), a network of four for each.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (process, third) = (std::process::id(), std::process::id() % 250);
        let (low, high) = (number * 4 + 1, number * 4 + 2);
        let host = Host {
            name: unique("entry-host"),
            there: format!("there{process:x}-{number}"),
            here: format!("here{process:x}-{number}"),
            address: format!("198.18.{third}.{low}"),
        };
        let Host { name, there, here, address } = &host;
        ip(&format!("netns add {name}"));
        ip(&format!("link add {here} type veth peer name {there} netns {name}"));
        ip(&format!("address add {address}/30 dev {here}"));
        ip(&format!("-n {name} address add 198.18.{third}.{high}/30 dev {there}"));
        host.there(true);
        host.here(true);
        ip(&format!("link set {here} up"));
        ip(&format!("-n {name} link set {there} up"));
        ip(&format!("-n {name} link set lo up"));
        host
    }

    /// The same command, on that host.
    fn command(&self, command: &Command) -> Command {
        let mut there = Command::new("ip");
        there.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => there.env(name, value),
                None => there.env_remove(name),
            };
        }
        there.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        there
    }

    /// It vanishes from this one, or is there again: nothing that is sent to it is heard, and nobody can ask for it.
    fn there(&self, hears: bool) {
        let address = if hears { "02:00:00:00:00:01 arp on" } else { "02:00:00:00:00:02 arp off" };
        ip(&format!("-n {} link set dev {} address {address}", self.name, self.there));
    }

    /// This one vanishes from it, or is there again.
    fn here(&self, hears: bool) {
        let address = if hears { "02:00:00:00:00:03 arp on" } else { "02:00:00:00:00:04 arp off" };
        ip(&format!("link set dev {} address {address}", self.here));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its interface goes with it, and with that this side's.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// What the kernel knows of the TCP sockets where a process is: local and remote port, and the inode.
fn sockets(process: u32) -> Vec<(u16, u16, String)> {
    let table = std::fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16).unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    // Those that only wait for their time to be over have no inode.
    let rows = rows.filter(|row| row[9] != "0");
    rows.map(|row| (port(row[1]), port(row[2]), format!("socket:[{}]", row[9]))).collect()
}

/// The descriptors of a process that are these sockets, as ours.
fn borrowed(process: u32, wanted: &[String]) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten() {
        let Ok(link) = std::fs::read_link(file.path()) else { continue };
        if wanted.iter().any(|inode| link.as_os_str() == inode.as_str()) {
            let number: i32 = file.file_name().to_str().unwrap().parse().unwrap();
            found.push(take(process, number).unwrap());
        }
    }
    assert!(found.len() >= wanted.len(), "{wanted:?} of process {process}");
    found
}

/// A duplicate of a descriptor of another process (pidfd_getfd).
fn take(process: u32, number: i32) -> io::Result<OwnedFd> {
    let owned = |result: libc::c_long| match i32::try_from(result) {
        // SAFETY: the kernel has just given it to this process, and nobody else knows of it.
        Ok(descriptor @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    };
    // SAFETY: no pointers.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    // SAFETY: no pointers.
    owned(unsafe {
        libc::syscall(libc::SYS_pidfd_getfd, std::os::fd::AsRawFd::as_raw_fd(&process), number, 0)
    })
}

/// Peers of these sockets, and of those that they accept, may be silent for seconds only.
fn impatient(sockets: &[OwnedFd]) {
    for socket in sockets {
        ::entry::sys::notice_vanished_peer(socket.as_fd(), 1).unwrap();
        ::entry::sys::give_up_unacknowledged(socket.as_fd(), SILENT_SECONDS * 1000).unwrap();
    }
}

#[test]
fn clients_whose_host_vanishes_are_given_up_and_leave_nothing() {
    let container = Container::idle("entry-busybox");
    let host = Host::new();
    let listen = format!("{}:0", host.address);
    let gateway = Gateway::on(
        &listen,
        &container.engine.host,
        &["--allow-container", "*", "--workers", "1", "--allow-anonymous-shells-from-anywhere"],
    );
    let listener: Vec<String> = sockets(gateway.id())
        .into_iter()
        .filter(|(local, remote, _)| (*local, *remote) == (gateway.address.port(), 0))
        .map(|(_, _, inode)| inode)
        .collect();
    impatient(&borrowed(gateway.id(), &listener));
    // Nothing is sent to one of them, until its first PING; the other is always told something.
    let idle = "echo here; exec sleep 6101";
    let talks = "echo here; while :; do echo more; sleep 0.1; done; sleep 6102";
    let clients: Vec<Running> = [idle, talks]
        .into_iter()
        .map(|script| {
            let words = ["enter", "--container", &container.name, "--", "sh", "-c", script];
            Running::start(host.command(&gateway.client(&words)))
        })
        .collect();
    container.await_process("sleep 6101");
    container.await_process("echo more");
    host.there(false);
    await_or(
        || format!("not both were given up: {}", gateway.log()),
        || (gateway.log().matches("ended, client_vanished").count() == 2).then_some(()),
    );
    container.await_idle();
    drop(clients);
}

/// Passes bytes on to the engine, since that listens nowhere but on this host's loopback.
fn relay(address: &str, engine: &str) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let relay = listener.local_addr().unwrap();
    let engine = engine.trim_start_matches("tcp://").to_owned();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(&engine).unwrap();
            for (mut from, mut to) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
            {
                thread::spawn(move || {
                    let mut buffer = [0; 16 * 1024];
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        if to.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    relay
}

#[test]
fn sessions_whose_engine_s_host_vanishes_are_told_that_it_is_lost() {
    let container = Container::idle("entry-busybox");
    // Seen from there it is this host that vanishes.
    let host = Host::new();
    let relay = relay(&host.address, &container.engine.tcp);
    let serve =
        ["serve", "--listen", "127.0.0.1:0", "--engine", &format!("tcp://{relay}"), "--allow-container", "*"];
    let gateway = Gateway::of(host.command(&entry(&serve)));
    let words = ["enter", "--container", &container.name, "--", "sleep", "6103"];
    let client = Running::start(host.command(&gateway.client(&words)));
    container.await_process("sleep 6103");
    // The session's leg, whose input has ended, and one for short calls.
    let legs = await_some("legs to the engine", || {
        let legs: Vec<String> = sockets(gateway.id())
            .into_iter()
            .filter(|(_, remote, _)| *remote == relay.port())
            .map(|(_, _, inode)| inode)
            .collect();
        (!legs.is_empty()).then_some(legs)
    });
    impatient(&borrowed(gateway.id(), &legs));
    host.here(false);
    gateway.await_log("ended, engine_lost");
    client.finish().expect_words(125, "The engine was lost");
    // What was left there is ended as soon as somebody can be asked to.
    gateway.await_log("cannot be ended yet");
    host.here(true);
    container.await_idle();
}
