//! One container of the embedded engine: a name, a state, the processes that belong to it, and the main process with
//! its log and its viewers. Nothing here knows HTTP.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::census::{self, Member, Roots};
use super::log::Log;
use super::process::{self, Ends, Launch, StartFailure, User};
use super::stream::{Channel, push_framed};
use super::{DemoContainer, Engine, held};
use crate::sys::{self, Watch};

/// How long a viewer that does not read is waited for, before looking whether the container still runs.
const VIEWER_WAIT: Duration = Duration::from_millis(100);
/// How long the output of an ended main process may be held open by others.
const HELD_OUTPUT: Duration = Duration::from_secs(2);
/// The exit code of what SIGKILL ended.
const KILLED: i32 = 137;

/// A container and what is going on in it.
pub(super) struct Container {
    pub(super) id: String,
    pub(super) settings: DemoContainer,
    pub(super) created: SystemTime,
    pub(super) log: Log,
    state: Mutex<State>,
    /// Who watches the main process (attach). Held while a viewer is written to: one that does not read stalls the
    /// process and the next viewer, as it does at the engine.
    viewers: Mutex<Vec<Viewer>>,
}

/// What inspect tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) running: bool,
    pub(super) paused: bool,
    pub(super) exit_code: i32,
    /// 0 when it does not run.
    pub(super) pid: i32,
    pub(super) started: Option<SystemTime>,
    pub(super) finished: Option<SystemTime>,
}

#[derive(Default)]
struct State {
    status: Status,
    roots: Roots,
    frozen: Vec<Member>,
    /// The main process' standard input; its terminal, if it has one.
    input: Option<Arc<File>>,
    /// Counts starts, so that the end of an earlier main process is not taken for that of this one.
    life: u64,
}

struct Viewer {
    pipe: UnixStream,
    stdout: bool,
    stderr: bool,
}

/// Why a process cannot be started in a container.
pub(super) enum Unready {
    NotRunning,
    Paused,
    Failed(StartFailure),
}

impl Container {
    pub(super) fn new(id: String, settings: DemoContainer) -> Container {
        let roots = Roots { container: id.clone(), ..Roots::default() };
        Container {
            id,
            settings,
            created: SystemTime::now(),
            log: Log::default(),
            state: Mutex::new(State { roots, ..State::default() }),
            viewers: Mutex::default(),
        }
    }

    pub(super) fn status(&self) -> Status {
        held(&self.state).status
    }

    /// Where processes start when nobody says where.
    pub(super) fn working_directory(&self) -> String {
        self.settings.working_directory.clone().unwrap_or_else(|| {
            let home = User::own().home;
            if std::path::Path::new(&home).is_dir() { home } else { "/".to_owned() }
        })
    }

    /// Starts a process in this container and makes it known as its own.
    pub(super) fn launch(&self, launch: &Launch<'_>) -> Result<(Child, Ends), Unready> {
        let mut state = held(&self.state);
        if !state.status.running {
            return Err(Unready::NotRunning);
        }
        if state.status.paused {
            return Err(Unready::Paused);
        }
        let (child, ends) = process::launch(launch).map_err(Unready::Failed)?;
        state.roots.sessions.insert(child.id().cast_signed());
        Ok((child, ends))
    }

    /// Waits for a process of this container, tells its exit code, and only then reaps it: until here its number is
    /// its own, so that a kill meets nobody else.
    pub(super) fn wait_for(&self, mut child: Child, ended: impl FnOnce(i32)) {
        let leader = child.id().cast_signed();
        ended(sys::wait_for_end(leader).unwrap_or(255));
        let left = census::in_session(leader);
        let mut state = held(&self.state);
        state.roots.strays.extend(left);
        // Ended, so it does not block; an error would mean that somebody else reaped it.
        let _ = child.wait();
        state.roots.sessions.remove(&leader);
    }

    /// Starts the container, and its main process if it has one.
    ///
    /// # Errors
    /// The main process could not be started.
    pub(super) fn start(self: &Arc<Self>, engine: &Arc<Engine>) -> io::Result<()> {
        held(&self.viewers).clear();
        let life = {
            let mut state = held(&self.state);
            if state.status.running {
                return Ok(());
            }
            state.life += 1;
            state.status = Status {
                running: true,
                pid: std::process::id().cast_signed(),
                started: Some(SystemTime::now()),
                finished: state.status.finished,
                ..Status::default()
            };
            self.log.begin();
            state.life
        };
        let Some(command) = &self.settings.command else { return Ok(()) };
        let launched = self.launch(&Launch {
            command,
            environment: &[],
            working_directory: &self.working_directory(),
            user: &User::own(),
            tty: self.settings.tty,
            window: None,
            stdin: self.settings.open_stdin,
            container: &self.id,
            missing: &self.settings.missing,
        });
        let (child, ends) = launched.map_err(|unready| {
            self.end(127, Some(life));
            self.log.end();
            io::Error::other(match unready {
                Unready::Failed(failure) => failure.text,
                Unready::NotRunning | Unready::Paused => "the container was stopped".to_owned(),
            })
        })?;
        {
            let mut state = held(&self.state);
            state.status.pid = child.id().cast_signed();
            state.input = ends.stdin.clone().filter(|_| self.settings.open_stdin);
        }
        let (alive, exit) = UnixStream::pair()?;
        let (waiting, watching) = (Arc::clone(self), Arc::clone(self));
        engine.spawn(move || {
            waiting.wait_for(child, |code| {
                waiting.end(code, Some(life));
                drop(alive);
            });
        })?;
        engine.spawn(move || watching.watch_output(&ends, &exit))
    }

    /// The container's end: no process more, those there are die with 137, viewers see the end.
    pub(super) fn kill(&self) {
        self.end(KILLED, None);
    }

    /// As [`Container::kill`], but processes get SIGHUP first and a moment to leave.
    pub(super) fn stop(&self) {
        self.close(KILLED, None);
        census::end_all(&mut || self.roots(), true);
        held(&self.viewers).clear();
    }

    fn end(&self, exit_code: i32, life: Option<u64>) {
        if self.close(exit_code, life) {
            census::end_all(&mut || self.roots(), false);
            if self.settings.command.is_none() {
                held(&self.viewers).clear();
                self.log.end();
            }
        }
    }

    /// Says that it does not run any more; false when it did not run, or another life of it does.
    fn close(&self, exit_code: i32, life: Option<u64>) -> bool {
        let mut state = held(&self.state);
        if !state.status.running || life.is_some_and(|life| life != state.life) {
            return false;
        }
        state.status = Status {
            exit_code,
            started: state.status.started,
            finished: Some(SystemTime::now()),
            ..Status::default()
        };
        state.frozen.clear();
        state.input = None;
        true
    }

    fn roots(&self) -> Roots {
        held(&self.state).roots.clone()
    }

    /// Stops all processes where they are; false when it is not running or paused already.
    pub(super) fn pause(&self) -> bool {
        let mut state = held(&self.state);
        if !state.status.running || state.status.paused {
            return false;
        }
        // With the state held, nothing new is started meanwhile.
        state.status.paused = true;
        state.frozen = census::stop_all(&state.roots);
        true
    }

    /// Lets go on what [`Container::pause`] stopped; false when it is not paused.
    pub(super) fn unpause(&self) -> bool {
        let mut state = held(&self.state);
        let was_paused = std::mem::take(&mut state.status.paused);
        census::go_on(&std::mem::take(&mut state.frozen));
        was_paused
    }

    /// Sets the main process' window, if it has a terminal.
    pub(super) fn resize(&self, columns: u16, rows: u16) {
        if let Some(terminal) = self.input().filter(|_| self.settings.tty) {
            // It has a terminal, so it has a window.
            let _ = sys::set_window_size(terminal.as_fd(), columns, rows);
        }
    }

    /// The main process' standard input, if it is open.
    pub(super) fn input(&self) -> Option<Arc<File>> {
        held(&self.state).input.clone()
    }

    /// What the main process has said, if `past` is wanted, and a tap on what it will say, both framed as the
    /// container's `Tty` says. The tap's end is the container's; without `future` it is at its end.
    pub(super) fn view(
        &self,
        stdout: bool,
        stderr: bool,
        past: bool,
        future: bool,
    ) -> io::Result<(Vec<u8>, UnixStream)> {
        let (pipe, tap) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        tap.set_nonblocking(true)?;
        let mut viewers = held(&self.viewers);
        let mut shown = Vec::new();
        if past {
            for line in self.log.from(0).0 {
                if (line.channel == Channel::Stdout && stdout) || (line.channel == Channel::Stderr && stderr)
                {
                    push_framed(&mut shown, line.channel, &line.bytes, !self.settings.tty);
                }
            }
        }
        if future {
            viewers.push(Viewer { pipe, stdout, stderr });
        }
        Ok((shown, tap))
    }

    /// Lets go of viewers that have left; while one stalls, the next output does it.
    pub(super) fn forget_viewers(&self) {
        if let Ok(mut viewers) = self.viewers.try_lock() {
            viewers.retain(|viewer| !has_left(&viewer.pipe));
        }
        self.log.forget_followers();
    }

    /// Reads the main process' output into the log and to the viewers until it ends.
    fn watch_output(&self, ends: &Ends, exit: &UnixStream) {
        let mut outputs = vec![(&ends.stdout, Channel::Stdout)];
        outputs.extend(ends.stderr.as_ref().map(|stderr| (stderr, Channel::Stderr)));
        let mut exited_at: Option<Instant> = None;
        let mut bytes = [0; 32 * 1024];
        while !outputs.is_empty() && exited_at.is_none_or(|at| at.elapsed() < HELD_OUTPUT) {
            let mut watches: Vec<Watch<'_>> =
                outputs.iter().map(|(file, _)| watch_read(file.as_fd())).collect();
            if exited_at.is_none() {
                watches.push(watch_read(exit.as_fd()));
            }
            if sys::wait_ready(&mut watches, exited_at.map(|_| VIEWER_WAIT)).is_err() {
                break;
            }
            if exited_at.is_none() && watches.last().is_some_and(|watch| watch.read) {
                exited_at = Some(Instant::now());
            }
            let mut ready = watches.iter().map(|watch| watch.read).collect::<Vec<_>>().into_iter();
            outputs.retain(|(file, channel)| {
                if !ready.next().unwrap_or_default() {
                    return true;
                }
                match (&***file).read(&mut bytes) {
                    Ok(count) if count > 0 => {
                        self.publish(*channel, &bytes[..count]);
                        true
                    }
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                    Ok(_) => false,
                }
            });
        }
        self.log.end();
        held(&self.viewers).clear();
    }

    fn publish(&self, channel: Channel, bytes: &[u8]) {
        let mut viewers = held(&self.viewers);
        self.log.append(channel, bytes);
        let mut framed = Vec::new();
        push_framed(&mut framed, channel, bytes, !self.settings.tty);
        viewers.retain(|viewer| {
            let wanted = if channel == Channel::Stdout { viewer.stdout } else { viewer.stderr };
            !wanted || self.show(&viewer.pipe, &framed)
        });
    }

    /// Writes all of it, however long the viewer takes; false when it has left or the container has ended.
    fn show(&self, mut pipe: &UnixStream, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match pipe.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut watches = [Watch { write: true, read: false, ..watch_read(pipe.as_fd()) }];
                    if sys::wait_ready(&mut watches, Some(VIEWER_WAIT)).is_err()
                        || (!watches[0].write && !self.status().running)
                    {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }
}

/// The other end of a pipe is closed.
pub(super) fn has_left(pipe: &UnixStream) -> bool {
    let mut watches = [Watch { read: false, ..watch_read(pipe.as_fd()) }];
    sys::wait_ready(&mut watches, Some(Duration::ZERO)).is_err() || watches[0].closed
}

fn watch_read(descriptor: std::os::fd::BorrowedFd<'_>) -> Watch<'_> {
    Watch { descriptor, read: true, write: false, closed: false }
}
