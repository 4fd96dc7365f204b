//! The program with a deadline: its client on pipes, and whatever else is started.

use super::{await_some, shown};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

/// A subcommand of the program, not yet started; it sees nothing of this process's environment that could change it.
pub(crate) fn entry(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entry"));
    command.args(arguments).env("TERM", "xterm-256color");
    for name in ["ENTRY_TOKEN", "ENTRY_GATEWAY", "DOCKER_HOST"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A program while it runs; killed when it is forgotten.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

/// How a program ended, and what it said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Ended {
    /// What it said on stdout, as text.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What it said on stderr, as text.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fails unless it ended like this, on stdout and stderr too.
    pub(crate) fn expect(&self, status: i32, stdout: &str, stderr: &str) {
        let got = (self.status, self.stdout(), self.stderr());
        assert_eq!(got, (status, stdout.to_owned(), stderr.to_owned()));
    }

    /// Fails unless it ended with this status and these words on stderr.
    pub(crate) fn expect_words(&self, status: i32, words: &str) {
        assert!(self.status == status && self.stderr().contains(words), "wanted {status}, {words}: {self}");
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (stdout, stderr) = (shown(&self.stdout), shown(&self.stderr));
        write!(f, "status {}, stdout {stdout}, stderr {stderr}", self.status)
    }
}

impl Running {
    /// Starts it in a process group of its own.
    pub(crate) fn start(mut command: Command) -> Running {
        Running { child: command.process_group(0).spawn().unwrap() }
    }

    /// Starts it where its group is decided already.
    pub(crate) fn start_as_is(mut command: Command) -> Running {
        Running { child: command.spawn().unwrap() }
    }

    /// The process itself.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to its group.
    pub(crate) fn signal(&self, signal: i32) {
        entry::sys::signal_group(self.child.id().cast_signed(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn status(&mut self) -> i32 {
        let status = await_some("the program's end", || self.child.try_wait().unwrap());
        status.code().unwrap_or_else(|| panic!("no status but {status}"))
    }

    /// Waits for its end, with what it still writes.
    pub(crate) fn finish(mut self) -> Ended {
        let stdout = drain(self.child.stdout.take());
        let stderr = drain(self.child.stderr.take());
        let status = self.status();
        Ended { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    }

    /// Gives it this on stdin, to the end; then waits as [`Running::finish`] does.
    pub(crate) fn finish_with_stdin(mut self, input: Vec<u8>) -> Ended {
        let mut stdin = self.child.stdin.take().expect("a pipe to its stdin");
        // Whether it reads all of it is its own business.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let ended = self.finish();
        writer.join().unwrap();
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn drain(source: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            let _: io::Result<usize> = source.read_to_end(&mut bytes);
        }
        bytes
    })
}
