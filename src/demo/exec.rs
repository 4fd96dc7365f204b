//! Execs: created, started once, inspected, resized; the life of each as the engine tells it.
//!
//! ```text
//! Created ── start ──▶ Starting ──▶ Running ──▶ Ended
//!                         └── start failure ──────▲
//! ```

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::container::{Container, Unready};
use super::http::Stream;
use super::process::{Ends, Launch, User};
use super::stream::{AtInputEnd, Channel, Output, Pump, linger, push_framed};
use super::{Engine, held};
use crate::sys;

/// How long a resize waits for the start, in the engine as here.
const RESIZE_WAIT: Duration = Duration::from_secs(10);
/// How long an ended exec can be inspected.
const ENDED_KEPT: Duration = Duration::from_secs(350);
/// What inspect says of an exec whose client was gone when there was output for it.
const DISOWNED: i32 = 126;

/// The body of a create.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Create {
    pub(super) cmd: Option<Vec<String>>,
    tty: Option<bool>,
    attach_stdin: Option<bool>,
    attach_stdout: Option<bool>,
    attach_stderr: Option<bool>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    pub(super) user: Option<String>,
    privileged: Option<bool>,
    /// Rows and columns.
    pub(super) console_size: Option<Vec<u32>>,
    /// Accepted; there are no detach keys here.
    #[allow(dead_code)] // read for its type only
    detach_keys: Option<String>,
}

/// The body of a start.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Start {
    detach: Option<bool>,
    tty: Option<bool>,
    pub(super) console_size: Option<Vec<u32>>,
}

impl Start {
    pub(super) fn detach(&self) -> bool {
        self.detach.unwrap_or_default()
    }

    pub(super) fn tty(&self) -> bool {
        self.tty.unwrap_or_default()
    }
}

/// One exec.
pub(super) struct Exec {
    pub(super) id: String,
    pub(super) container: Arc<Container>,
    create: Create,
    user: User,
    life: Mutex<Life>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    Starting,
    Running,
    Ended,
}

struct Life {
    phase: Phase,
    pid: i32,
    exit_code: Option<i32>,
    ended: Option<Instant>,
    terminal: Option<Arc<File>>,
    /// Its client was gone when there was output: inspect takes it for ended, though it lives.
    disowned: bool,
}

impl Exec {
    pub(super) fn new(id: String, container: Arc<Container>, create: Create, user: User) -> Exec {
        let life = Life {
            phase: Phase::Created,
            pid: 0,
            exit_code: None,
            ended: None,
            terminal: None,
            disowned: false,
        };
        Exec { id, container, create, user, life: Mutex::new(life), changed: Condvar::new() }
    }

    /// Nothing was started yet: such an exec ends with its container.
    pub(super) fn is_only_created(&self) -> bool {
        held(&self.life).phase == Phase::Created
    }

    /// It may be inspected no more.
    pub(super) fn is_forgotten(&self) -> bool {
        held(&self.life).ended.is_some_and(|at| at.elapsed() > ENDED_KEPT)
    }

    /// Starts the process and serves its stream until both are over (in the thread of the connection). The head
    /// is out already: what goes wrong is said on the stream.
    pub(super) fn serve(self: &Arc<Exec>, engine: &Arc<Engine>, start: &Start, client: Arc<Stream>) {
        let framed = !start.tty();
        match self.start(engine, start) {
            Ok((ends, exit)) => {
                let is_attached =
                    [self.create.attach_stdin, self.create.attach_stdout, self.create.attach_stderr]
                        .contains(&Some(true));
                if is_attached {
                    self.pump(ends, exit, start).run(Some(client), &mut || self.disown());
                } else {
                    client.shutdown(std::net::Shutdown::Both);
                    drop(client);
                    self.pump(ends, exit, start).run(None, &mut || {});
                }
            }
            Err((_, text)) => {
                let mut bytes = Vec::new();
                push_framed(&mut bytes, Channel::Stdout, format!("{text}\r\n").as_bytes(), framed);
                // A client that is gone needs no reason.
                let _ = io::Write::write_all(&mut &*client, &bytes);
                linger(&client);
            }
        }
    }

    /// Starts the process without a stream. The error is a status and a text.
    pub(super) fn serve_detached(
        self: &Arc<Exec>,
        engine: &Arc<Engine>,
        start: &Start,
    ) -> Result<(), (u16, String)> {
        let (ends, exit) = self.start(engine, start)?;
        let pump = self.pump(ends, exit, start);
        engine.spawn(move || pump.run(None, &mut || {})).map_err(|error| (500, error.to_string()))
    }

    /// The process and what closes when it has ended; or a status for the detached, and the engine's text.
    fn start(
        self: &Arc<Exec>,
        engine: &Arc<Engine>,
        start: &Start,
    ) -> Result<(Ends, UnixStream), (u16, String)> {
        {
            let mut life = held(&self.life);
            match life.phase {
                Phase::Created => life.phase = Phase::Starting,
                Phase::Starting | Phase::Running => {
                    return Err((409, format!("exec command {} is already running", self.id)));
                }
                Phase::Ended => return Err((409, format!("exec command {} has already run", self.id))),
            }
        }
        self.spawn(engine, start).inspect_err(|_| {
            let mut life = held(&self.life);
            life.phase = Phase::Ended;
            life.ended = Some(Instant::now());
            life.exit_code.get_or_insert(DISOWNED);
            self.changed.notify_all();
        })
    }

    fn spawn(
        self: &Arc<Exec>,
        engine: &Arc<Engine>,
        start: &Start,
    ) -> Result<(Ends, UnixStream), (u16, String)> {
        let internal = |error: io::Error| (500, error.to_string());
        let (alive, exit) = UnixStream::pair().map_err(internal)?;
        let tty = self.create.tty.unwrap_or_default();
        let size = start.console_size.as_ref().or(self.create.console_size.as_ref());
        let launched = self.container.launch(&Launch {
            command: self.create.cmd.as_deref().unwrap_or_default(),
            environment: self.create.env.as_deref().unwrap_or_default(),
            working_directory: &match self.create.working_dir.as_deref() {
                None | Some("") => self.container.working_directory(),
                Some(directory) => directory.to_owned(),
            },
            user: &self.user,
            tty,
            window: size.filter(|_| tty && start.tty()).and_then(|size| window(size)),
            stdin: self.create.attach_stdin.unwrap_or_default(),
            container: &self.container.id,
            missing: &self.container.settings.missing,
        });
        let (child, ends) = launched.map_err(|unready| match unready {
            Unready::NotRunning => (409, format!("container {} is not running", self.container.id)),
            Unready::Paused => (409, format!("container {} is paused", self.container.id)),
            Unready::Failed(failure) => {
                held(&self.life).exit_code = Some(failure.exit_code);
                (if failure.exit_code == 128 { 500 } else { 400 }, failure.text)
            }
        })?;
        {
            let mut life = held(&self.life);
            life.phase = Phase::Running;
            life.pid = child.id().cast_signed();
            life.terminal = tty.then(|| Arc::clone(&ends.stdout));
            self.changed.notify_all();
        }
        let exec = Arc::clone(self);
        let waits = engine.spawn(move || {
            exec.container.wait_for(child, |code| {
                exec.end(code);
                drop(alive);
            });
        });
        if let Err(error) = waits {
            // Without a thread to wait for it the process must not go on; nobody will reap it.
            let _ = sys::signal_group(held(&self.life).pid, libc::SIGKILL);
            return Err(internal(error));
        }
        Ok((ends, exit))
    }

    fn end(&self, code: i32) {
        let mut life = held(&self.life);
        life.phase = Phase::Ended;
        life.ended = Some(Instant::now());
        life.terminal = None;
        if !life.disowned {
            life.exit_code = Some(code);
        }
        self.changed.notify_all();
    }

    fn disown(&self) {
        let mut life = held(&self.life);
        if life.phase == Phase::Running {
            life.disowned = true;
            life.exit_code = Some(DISOWNED);
        }
    }

    /// How the bytes go: framed as the *start* said, with a terminal as the *create* said; if only the start
    /// believes in a terminal, stderr is lost.
    fn pump(&self, ends: Ends, exit: UnixStream, start: &Start) -> Pump {
        let tty = self.create.tty.unwrap_or_default();
        let attached = |flag: Option<bool>| flag.unwrap_or_default();
        let mut outputs = vec![Output {
            file: ends.stdout,
            channel: Channel::Stdout,
            delivered: attached(self.create.attach_stdout),
        }];
        outputs.extend(ends.stderr.map(|file| Output {
            file,
            channel: Channel::Stderr,
            delivered: attached(self.create.attach_stderr) && !start.tty(),
        }));
        Pump {
            input: ends.stdin.filter(|_| attached(self.create.attach_stdin)),
            at_input_end: if tty { AtInputEnd::EndStream } else { AtInputEnd::CloseInput },
            outputs,
            framed: !start.tty(),
            tty,
            exit: Some(exit),
        }
    }

    /// Sets the window, after waiting for the start. The error is a status and the engine's text.
    pub(super) fn resize(&self, engine: &Engine, columns: u16, rows: u16) -> Result<(), (u16, String)> {
        let deadline = Instant::now() + RESIZE_WAIT;
        let mut life = held(&self.life);
        loop {
            match life.phase {
                Phase::Created | Phase::Starting => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() || engine.is_stopping() {
                        return Err((500, "timeout waiting for exec session ready".to_owned()));
                    }
                    life = match self.changed.wait_timeout(life, left) {
                        Ok((life, _)) => life,
                        Err(poisoned) => poisoned.into_inner().0,
                    };
                }
                Phase::Running => {
                    if let Some(terminal) = &life.terminal {
                        sys::set_window_size(terminal.as_fd(), columns, rows)
                            .map_err(|error| (500, error.to_string()))?;
                    }
                    return Ok(());
                }
                Phase::Ended => {
                    return Err((404, format!("process does not exist {}: not found", self.id)));
                }
            }
        }
    }

    /// Wakes who waits for the start; the engine is stopping.
    pub(super) fn wake(&self) {
        // With the lock, so that nobody is between looking and waiting.
        let _life = held(&self.life);
        self.changed.notify_all();
    }

    /// What `GET /exec/{id}/json` shows.
    pub(super) fn inspect(&self) -> Value {
        let life = held(&self.life);
        let command = self.create.cmd.as_deref().unwrap_or_default();
        let mut process = json!({
            "tty": self.create.tty.unwrap_or_default(),
            "entrypoint": command.first(),
            "arguments": command.get(1..).unwrap_or_default(),
            "privileged": self.create.privileged.unwrap_or_default(),
        });
        if let Some(user) = self.create.user.as_ref().filter(|user| !user.is_empty()) {
            process["user"] = json!(user);
        }
        json!({
            "ID": self.id,
            "Running": life.phase == Phase::Running && !life.disowned,
            "ExitCode": life.exit_code,
            "ProcessConfig": process,
            "OpenStdin": self.create.attach_stdin.unwrap_or_default(),
            "OpenStderr": self.create.attach_stderr.unwrap_or_default(),
            "OpenStdout": self.create.attach_stdout.unwrap_or_default(),
            "CanRemove": false,
            "ContainerID": self.container.id,
            "DetachKeys": "",
            "Pid": life.pid,
        })
    }
}

/// Columns and rows of a `ConsoleSize` (rows first), cut to what a terminal has room for, as the engine cuts.
fn window(size: &[u32]) -> Option<(u16, u16)> {
    match size {
        [rows, columns, ..] => Some((cut(*columns), cut(*rows))),
        _ => None,
    }
}

/// The lower 16 bits.
#[allow(clippy::cast_possible_truncation)] // the engine cuts, too
pub(super) fn cut(size: u32) -> u16 {
    size as u16
}
