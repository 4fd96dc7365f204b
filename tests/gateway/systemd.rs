//! What systemd does for a service and hears of it: this process stands in its place, gives sockets that are open
//! already, and listens.
#![allow(unsafe_code, reason = "one thread of another process is halted, for which there is only ptrace")]

use crate::client::{Client, hello};
use crate::fake::{Fake, usual};
use crate::support::{Directory, PATIENCE, Serving, await_some, program};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

/// Where nobody but the process itself knows the port.
const FREE: &str = "127.0.0.1:0";

/// `entry serve` with what stands on its stdin and stdout as descriptors 3 and 4, and with these names for them.
fn passing(first: OwnedFd, second: Option<OwnedFd>, names: &str, arguments: &[&str]) -> Command {
    let count = 1 + usize::from(second.is_some());
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=$$; exec \"$0\" serve \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_entry")).args(arguments);
    for name in ["DOCKER_HOST", "ENTRY_GATEWAY", "ENTRY_TOKEN"] {
        command.env_remove(name);
    }
    command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDNAMES", names);
    command
        .stdin(Stdio::from(first))
        .stdout(second.map_or_else(Stdio::null, Stdio::from))
        .stderr(Stdio::piped());
    command
}

fn listener(address: &str) -> (TcpListener, OwnedFd, SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let (passed, address) = (listener.try_clone().unwrap().into(), listener.local_addr().unwrap());
    (listener, passed, address)
}

/// What a path is answered, on a connection that is there already.
fn answered(mut stream: TcpStream, path: &str) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn on_several_sockets_every_loop_accepts_and_nobody_is_lost_between_two_runs() {
    let engine = Fake::unix(usual);
    let (first, _, here) = listener(FREE);
    let (second, _, there) = listener("127.0.0.2:0");
    // Before anybody accepts, and so that no loop alone could have taken all of them by chance.
    let mut early: Vec<TcpStream> = Vec::new();
    for round in 0..2 {
        early.extend([here, there, here, there].map(|address| TcpStream::connect(address).unwrap()));
        let arguments = ["--engine", &engine.url, "--allow-container", "*", "--workers", "2"];
        let passed = |listener: &TcpListener| OwnedFd::from(listener.try_clone().unwrap());
        let mut serving = Serving::of(passing(passed(&first), Some(passed(&second)), "a:b", &arguments));
        assert_eq!(serving.address, here, "round {round}");
        let both = [here, there].map(|address| format!("listening on {address}\n"));
        await_some("both addresses in the log", || {
            both.iter().all(|line| serving.log().contains(line)).then_some(())
        });
        for stream in early.drain(..) {
            let answer = answered(stream, "/readyz");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        for address in [here, there] {
            let mut client = Client::enter(address, hello(&["cat"])).opened();
            client.type_in("echo");
            client.until("echo");
        }
        serving.signal(libc::SIGTERM);
        assert!(serving.wait().success());
        // The socket is systemd's: whoever comes now waits for the next run.
        early.push(TcpStream::connect(here).unwrap());
    }
}

#[test]
fn operators_have_a_socket_by_its_name() {
    let (_clients, clients, address) = listener(FREE);
    let (_operators, operators, admin) = listener(FREE);
    let serving = Serving::of(passing(operators, Some(clients), "admin:entry.socket", &["--demo"]));
    assert_eq!(serving.address, address);
    let answer = answered(TcpStream::connect(admin).unwrap(), "/metrics");
    assert!(answer.contains("\nentry_sessions 0\n"), "{answer}");
    // Their sockets alone leave the clients' to the options.
    let (_operators, operators, admin) = listener(FREE);
    let serving = Serving::of(passing(operators, None, "admin", &["--demo", "--listen", FREE]));
    assert_ne!(serving.address, admin);
    assert!(answered(TcpStream::connect(admin).unwrap(), "/livez").ends_with("alive\n"));
}

#[test]
fn what_cannot_be_listened_on_safely_is_not() {
    let directory = Directory::new();
    let unix = UnixListener::bind(directory.file("socket")).unwrap();
    let (one, listening, address) = listener(FREE);
    let connected = TcpStream::connect(address).unwrap();
    let anywhere = || listener("0.0.0.0:0").1;
    let table = [
        (OwnedFd::from(unix), "x", &["--demo"][..], "it is not a TCP socket that listens"),
        (UdpSocket::bind(FREE).unwrap().into(), "x", &["--demo"], "it is not a TCP socket that listens"),
        (connected.into(), "x", &["--demo"], "Accept= must be no"),
        (fs::File::open("/dev/null").unwrap().into(), "x", &["--demo"], "named \"x\" (descriptor 3)"),
        (listening, "x", &["--demo", "--listen", FREE], "leave one of them away"),
        (listener(FREE).1, "admin", &["--demo", "--admin-listen", "0"], "leave one of them away"),
        (anywhere(), "x", &[], "no rule says who may"),
        (anywhere(), "admin", &["--demo"], "needs --admin-token-file"),
    ];
    for (socket, name, arguments, words) in table {
        let output = passing(socket, None, name, arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains(words), "{arguments:?}: {told}");
    }
    // Two operators' sockets, and what is meant for another process.
    let output =
        passing(listener(FREE).1, Some(listener(FREE).1), "admin:admin", &["--demo"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is another one of this name"));
    let mut other = program(&["serve", "--demo", "--listen", FREE]);
    other.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "x")]);
    assert_ne!(Serving::of(other).address, one.local_addr().unwrap());
}

/// The socket on which systemd hears of a service.
struct Notified {
    socket: UnixDatagram,
    directory: Directory,
}

impl Notified {
    fn new() -> Notified {
        let directory = Directory::new();
        let socket = UnixDatagram::bind(directory.file("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Notified { socket, directory }
    }

    /// A gateway that is asked to tell, and to say every half second that it is well.
    fn serving(&self, arguments: &[&str]) -> Serving {
        let mut command = program(&["serve", "--listen", FREE]);
        command.args(arguments).env("NOTIFY_SOCKET", self.directory.file("notify"));
        command.env("WATCHDOG_USEC", "500000");
        Serving::of(command)
    }

    /// What is told next.
    fn next(&self) -> String {
        let mut bytes = [0; 1024];
        let count = self.socket.recv(&mut bytes).expect("a word to systemd");
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    /// Passes over what is told until there is this in it.
    fn until(&self, words: &str) -> String {
        await_some(words, || Some(self.next()).filter(|told| told.contains(words)))
    }
}

#[test]
fn systemd_hears_how_it_goes() {
    let engine = Fake::unix(usual);
    let notified = Notified::new();
    let mut serving =
        notified.serving(&["--engine", &engine.url, "--allow-container", "*", "--drain-timeout", "100"]);
    assert_eq!(notified.next(), "READY=1\nSTATUS=0 sessions");
    let client = Client::enter(serving.address, hello(&["cat"])).opened();
    notified.until("STATUS=1 session");
    notified.until("WATCHDOG=1");
    serving.signal(libc::SIGHUP);
    let reloading = notified.until("RELOADING=1");
    let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(at.parse::<u64>().unwrap() <= entry::sys::monotonic_microseconds());
    notified.until("READY=1");
    serving.signal(libc::SIGTERM);
    // 100 s for the sessions, 10 for the last words, 5 in reserve.
    notified.until("STOPPING=1\nEXTEND_TIMEOUT_USEC=115000000");
    notified.until("STATUS=1 session; it is going down");
    notified.until("WATCHDOG=1");
    drop(client);
    assert!(serving.wait().success());
}

/// One thread of a process that is halted until this is forgotten.
struct Halted(libc::pid_t);

impl Halted {
    fn thread(process: i32, name: &str) -> Halted {
        let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let found = threads
            .map(|thread| thread.unwrap().path())
            .find(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name));
        let thread: libc::pid_t = found.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
        // SAFETY: neither request uses its pointers, and the wait fills one int.
        unsafe {
            assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, thread, 0, 0), 0, "PTRACE_SEIZE of a child's thread");
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0), 0);
            let mut status = 0;
            assert_eq!(libc::waitpid(thread, &raw mut status, libc::__WALL), thread);
            assert!(libc::WIFSTOPPED(status));
        }
        Halted(thread)
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // SAFETY: the request uses no pointers.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) };
    }
}

#[test]
fn a_loop_that_stands_still_is_not_said_to_be_well() {
    let notified = Notified::new();
    let serving = notified.serving(&["--demo", "--workers", "2"]);
    notified.until("READY=1");
    for _ in 0..3 {
        notified.until("WATCHDOG=1");
    }
    let halted = Halted::thread(serving.pid(), "loop-1");
    notified.until("of its loops did not turn in 125 ms");
    for _ in 0..5 {
        let told = notified.next();
        assert!(told.starts_with("STATUS=") && told.contains("did not turn"), "{told}");
    }
    drop(halted);
    notified.until("WATCHDOG=1");
}
