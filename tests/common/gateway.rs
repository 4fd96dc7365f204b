//! `entry serve` as a process of its own.

use super::await_or;
use super::engine::{Container, Engine};
use super::program::{Ended, Running, entry};
use super::terminal::Terminal;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// A gateway in front of an engine; killed when it is forgotten.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
    running: Running,
}

impl Gateway {
    /// In front of the engine, with these options more, on a free port of loopback.
    pub(crate) fn start(engine: &Engine, options: &[&str]) -> Gateway {
        Gateway::at(&engine.host, options)
    }

    /// One that lets everybody enter this container by its name.
    pub(crate) fn to(container: &Container) -> Gateway {
        Gateway::start(&container.engine, &["--allow-container", "*"])
    }

    /// The same, without guards, for who is going to pause it: an exec whose start is met by a pause hangs, and holds up
    /// the engine's unpause with it (runc 1.1).
    pub(crate) fn without_guards(container: &Container) -> Gateway {
        Gateway::start(&container.engine, &["--allow-container", "*", "--guard", "off"])
    }

    /// In front of whatever is at this address.
    pub(crate) fn at(engine_address: &str, options: &[&str]) -> Gateway {
        Gateway::on("127.0.0.1:0", engine_address, options)
    }

    /// The same, listening there.
    pub(crate) fn on(listen: &str, engine_address: &str, options: &[&str]) -> Gateway {
        let mut command = entry(&["serve", "--listen", listen, "--engine", engine_address]);
        command.args(options);
        Gateway::of(command)
    }

    /// The one that this command starts.
    pub(crate) fn of(mut command: Command) -> Gateway {
        command.stdout(Stdio::null());
        let mut running = Running::start(command);
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, log_of_thread) = (running.child().stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = log_of_thread.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let text = || log.lock().unwrap().clone();
        let address = await_or(
            || format!("the gateway does not listen: {}", text()),
            || text().split_once("listening on ")?.1.split_once('\n')?.0.parse().ok(),
        );
        Gateway { address, log, running }
    }

    fn of_kernel(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.running.id())).unwrap()
    }

    /// A number of its `/proc/PID/status`: `VmRSS` in KiB, …
    pub(crate) fn status(&self, name: &str) -> u64 {
        let status = self.of_kernel("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// From now on it may have only so many descriptors.
    pub(crate) fn limit_descriptors(&self, most: u32) {
        let process = format!("--pid={}", self.running.id());
        let done = Command::new("prlimit").args([&process, &format!("--nofile={most}:{most}")]).status();
        assert!(done.unwrap().success(), "prlimit of util-linux");
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.running.id()
    }

    /// Descriptors that it has.
    pub(crate) fn descriptors(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.running.id())).unwrap().count() as u64
    }

    /// Bytes that it has read so far, from whatever.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.of_kernel("io").lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until its log says this.
    pub(crate) fn await_log(&self, words: &str) {
        await_or(
            || format!("the gateway never says {words:?}: {}", self.log()),
            || self.log().contains(words).then_some(()),
        );
    }

    /// The client, not yet started, at this gateway.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        let mut command = entry(arguments);
        command.env("ENTRY_GATEWAY", format!("ws://{}", self.address));
        command
    }

    /// Runs the client without input and waits for its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Running::start(self.client(arguments)).finish()
    }

    /// Runs the client with this on its stdin.
    pub(crate) fn run_with(&self, input: impl Into<Vec<u8>>, arguments: &[&str]) -> Ended {
        let mut command = self.client(arguments);
        command.stdin(Stdio::piped());
        Running::start(command).finish_with_stdin(input.into())
    }

    /// `entry enter --container NAME -- COMMAND`, without input.
    pub(crate) fn exec(&self, container: &Container, command: &[&str]) -> Ended {
        let mut words = vec!["enter", "--container", &container.name, "--"];
        words.extend(command);
        self.run(&words)
    }

    /// `entry enter --container NAME` with these words more, on a terminal of its own.
    pub(crate) fn enter(&self, container: &Container, words: &[&str], columns: u16, rows: u16) -> Terminal {
        let mut arguments = vec!["enter", "--container", &container.name];
        arguments.extend(words);
        Terminal::start(self.client(&arguments), columns, rows)
    }

    /// Asks it to end; what it does then is told by [`Gateway::ended`].
    pub(crate) fn terminate(&self) {
        self.running.signal(SIGTERM);
    }

    /// Kills it, as a node's end does: it does nothing more.
    pub(crate) fn kill(&self) {
        self.running.signal(SIGKILL);
    }

    /// Its exit status.
    pub(crate) fn ended(mut self) -> i32 {
        self.running.status()
    }
}
