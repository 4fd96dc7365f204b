//! The embedded engine: the Docker Engine API on a unix socket, whose containers are this machine.
//!
//! It is the engine of `entry demo` and `entry serve --demo`, and the one that tests without Docker use. An exec is a
//! real local process, on a real pseudo-terminal with `Tty` and on pipes without. Statuses, texts, framing, half-close
//! and timing are those of Docker 28 (API 1.51), traps included. What it has not: isolation. A "container" is a name,
//! labels, a state and a marker in the environment of its processes.
//!
//! Threads and blocking calls: one thread a connection, one a process; density is not its business. But nothing
//! outlives it: [`DemoEngine::stop`] ends every process, thread and descriptor it made.
//!
//! | file | what it is |
//! |---|---|
//! | `api` | routes, versions, errors; `view` what containers look like in JSON |
//! | `http` | requests and replies on one connection |
//! | `exec`, `container`, `log` | what there is and how it lives |
//! | `stream` | the bytes of a hijacked connection |
//! | `process`, `census` | starting one process; finding all of a container |

mod api;
mod census;
pub mod command;
mod container;
mod exec;
mod http;
mod log;
mod process;
mod stream;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::sys::{self, Watch};
use container::Container;
use exec::Exec;
use http::{Connection, Refusal, Stream};

/// How long a stop waits for its threads: one that the kernel holds must not hold the program.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// How long no connection is taken after one could not be, for want of descriptors or threads.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where the engine listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SocketPlace {
    /// A unix socket in a fresh directory that only this user may enter (0700); both are removed at the end.
    #[default]
    Private,
    /// A unix socket at this path, for this user only (0600). A socket that nobody listens on any more is replaced.
    Path(PathBuf),
    /// TCP on a loopback address, port 0 for any: whoever may connect runs commands as this user, so it is for tests.
    Tcp(SocketAddr),
}

/// How the engine starts.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Where it listens.
    pub socket: SocketPlace,
    /// What it has; by default one container `demo`.
    pub containers: Vec<DemoContainer>,
}

impl Default for DemoOptions {
    fn default() -> Self {
        DemoOptions { socket: SocketPlace::Private, containers: vec![DemoContainer::default()] }
    }
}

/// One "container" of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoContainer {
    /// Without the leading slash.
    pub name: String,
    /// 64 hexadecimal digits; random if `None`.
    pub id: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its main process has a terminal: what attach and logs show is not framed.
    pub tty: bool,
    /// Its main process' standard input is open (attach can write to it).
    pub open_stdin: bool,
    /// Its main process, whose output attach and logs show and whose end is the container's; `None`: it just runs.
    pub command: Option<Vec<String>>,
    /// Where processes start; `None`: this user's home.
    pub working_directory: Option<String>,
    /// Programs that "do not exist" in it, by their file names (`sh`, `bash`: an image without a shell). Only what an
    /// exec itself names is looked at.
    pub missing: Vec<String>,
}

impl Default for DemoContainer {
    /// `demo`, with the labels of the Compose project `demo`, service `shell`, number 1.
    fn default() -> Self {
        DemoContainer::named("demo").labelled(&[
            ("com.docker.compose.project", "demo"),
            ("com.docker.compose.service", "shell"),
            ("com.docker.compose.container-number", "1"),
        ])
    }
}

impl DemoContainer {
    /// A container without labels and without a main process.
    pub fn named(name: &str) -> DemoContainer {
        DemoContainer {
            name: name.to_owned(),
            id: None,
            labels: BTreeMap::new(),
            tty: false,
            open_stdin: false,
            command: None,
            working_directory: None,
            missing: Vec::new(),
        }
    }

    /// The same with these labels, too.
    #[must_use]
    pub fn labelled(mut self, labels: &[(&str, &str)]) -> DemoContainer {
        self.labels.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self
    }

    /// The same with a main process.
    #[must_use]
    pub fn running(mut self, command: &[&str]) -> DemoContainer {
        self.command = Some(command.iter().map(|word| (*word).to_owned()).collect());
        self
    }
}

/// A running embedded engine. Dropping it stops it.
pub struct DemoEngine {
    engine: Arc<Engine>,
    url: String,
    /// Files to remove at the end, then directories.
    socket: Option<PathBuf>,
    directory: Option<PathBuf>,
    acceptor: Option<(UnixStream, JoinHandle<()>)>,
}

impl DemoEngine {
    /// Starts listening, and starts every container.
    ///
    /// # Errors
    /// The socket cannot be made, is in use, or is not on loopback; a main process cannot be started; the machine has
    /// no threads left.
    pub fn start(options: DemoOptions) -> io::Result<DemoEngine> {
        let engine = Arc::new(Engine::default());
        // From here on, dropping it removes what has been made.
        let mut demo = DemoEngine {
            engine: Arc::clone(&engine),
            url: String::new(),
            socket: None,
            directory: None,
            acceptor: None,
        };
        let listener = demo.listen(&options.socket)?;
        for settings in options.containers {
            let id = match &settings.id {
                Some(id) => id.clone(),
                None => random_id()?,
            };
            let container = Arc::new(Container::new(id, settings));
            held(&engine.containers).push(Arc::clone(&container));
            container.start(&engine)?;
        }
        let (waker, woken) = UnixStream::pair()?;
        let acceptor = thread::Builder::new()
            .name("demo-accept".to_owned())
            .spawn(move || accept(&engine, &listener, &woken))?;
        demo.acceptor = Some((waker, acceptor));
        Ok(demo)
    }

    fn listen(&mut self, place: &SocketPlace) -> io::Result<Listener> {
        let path = match place {
            SocketPlace::Tcp(address) if !address.ip().is_loopback() => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the embedded engine runs commands for whoever connects, so it listens on loopback only",
                ));
            }
            SocketPlace::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                self.url = format!("tcp://{}", listener.local_addr()?);
                return Ok(Listener::Tcp(listener));
            }
            SocketPlace::Path(path) => {
                remove_stale_socket(path);
                std::path::absolute(path)?
            }
            SocketPlace::Private => {
                let directory = std::env::temp_dir().join(format!("entry-demo-{}", &random_id()?[..16]));
                DirBuilder::new().mode(0o700).create(&directory)?;
                self.directory = Some(directory.clone());
                directory.join("engine.sock")
            }
        };
        let listener = UnixListener::bind(&path)?;
        self.socket = Some(path.clone());
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        self.url = format!("unix://{}", path.display());
        Ok(Listener::Unix(listener))
    }

    /// Where it listens, as `DOCKER_HOST` says it: `unix:///…` or `tcp://…`.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Ends every process it started (SIGHUP, then SIGKILL), every connection and thread, and removes its socket.
    pub fn stop(self) {
        drop(self);
    }

    /// Pauses a container: its processes really stop. False if there is none of this name that runs.
    pub fn pause(&self, name: &str) -> bool {
        self.engine.container(name).is_ok_and(|container| container.pause())
    }

    /// Lets a paused container go on. False if there is none of this name that is paused.
    pub fn unpause(&self, name: &str) -> bool {
        self.engine.container(name).is_ok_and(|container| container.unpause())
    }

    /// As `docker kill`: all its processes die with 137, and it does not run. False if there is none of this name.
    pub fn kill_container(&self, name: &str) -> bool {
        let Ok(container) = self.engine.container(name) else { return false };
        container.kill();
        self.engine.forget_execs(|exec| Arc::ptr_eq(&exec.container, &container) && exec.is_only_created());
        true
    }

    /// As `docker rm -f`: killed, and unknown from then on. False if there is none of this name.
    pub fn remove_container(&self, name: &str) -> bool {
        let Ok(container) = self.engine.container(name) else { return false };
        container.kill();
        held(&self.engine.containers).retain(|other| !Arc::ptr_eq(other, &container));
        self.engine.forget_execs(|exec| Arc::ptr_eq(&exec.container, &container));
        true
    }

    /// As `docker start`: a killed container runs again, with its log so far.
    ///
    /// # Errors
    /// No such container, or its main process cannot be started.
    pub fn start_container(&self, name: &str) -> io::Result<()> {
        let container = self
            .engine
            .container(name)
            .map_err(|_| io::Error::new(io::ErrorKind::NotFound, "no such container"))?;
        container.start(&self.engine)
    }
}

impl Drop for DemoEngine {
    fn drop(&mut self) {
        let engine = &self.engine;
        engine.stopping.store(true, Ordering::SeqCst);
        if let Some((waker, acceptor)) = self.acceptor.take() {
            drop(waker);
            // It has no way to panic; if it did, there is nothing more to do for it.
            let _ = acceptor.join();
        }
        let containers = held(&engine.containers).clone();
        for container in &containers {
            container.stop();
        }
        for exec in held(&engine.execs).values() {
            exec.wake();
        }
        let deadline = Instant::now() + STOP_WAIT;
        loop {
            // Streams have had their end; whoever still waits for a client need not.
            for stream in held(&engine.connections).iter().filter_map(Weak::upgrade) {
                stream.shutdown(Shutdown::Both);
            }
            let mut threads = held(&engine.threads);
            threads.retain(|thread| !thread.is_finished());
            if threads.is_empty() || Instant::now() > deadline {
                break;
            }
            drop(threads);
            thread::sleep(Duration::from_millis(2));
        }
        // What is gone already need not be removed.
        if let Some(socket) = &self.socket {
            let _ = fs::remove_file(socket);
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// What all threads of an engine share.
#[derive(Default)]
struct Engine {
    containers: Mutex<Vec<Arc<Container>>>,
    execs: Mutex<HashMap<String, Arc<Exec>>>,
    connections: Mutex<Vec<Weak<Stream>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stopping: AtomicBool,
}

/// Why a name is no container.
enum NoContainer {
    Unknown,
    Ambiguous,
}

impl Engine {
    /// Finds a container by its id, its name, or an unambiguous beginning of its id, in this order.
    fn container(&self, reference: &str) -> Result<Arc<Container>, NoContainer> {
        let containers = held(&self.containers);
        let exact = containers.iter().find(|container| container.id == reference).or_else(|| {
            containers.iter().find(|container| container.settings.name == reference.trim_start_matches('/'))
        });
        if let Some(container) = exact {
            return Ok(Arc::clone(container));
        }
        let mut prefixed = containers.iter().filter(|container| container.id.starts_with(reference));
        match (prefixed.next(), prefixed.next()) {
            (Some(container), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => Err(NoContainer::Ambiguous),
            (None, _) => Err(NoContainer::Unknown),
        }
    }

    fn exec(&self, id: &str) -> Option<Arc<Exec>> {
        held(&self.execs).get(id).cloned()
    }

    fn forget_execs(&self, goes: impl Fn(&Exec) -> bool) {
        held(&self.execs).retain(|_, exec| !goes(exec));
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Runs work in a thread that a stop waits for.
    fn spawn(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = thread::Builder::new().name("demo".to_owned()).spawn(work)?;
        let mut threads = held(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Stream> {
        let stream = match self {
            Listener::Unix(listener) => Stream::Unix(listener.accept()?.0),
            Listener::Tcp(listener) => Stream::Tcp(listener.accept()?.0),
        };
        Ok(stream)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix(listener) => listener.as_fd(),
            Listener::Tcp(listener) => listener.as_fd(),
        }
    }
}

fn accept(engine: &Arc<Engine>, listener: &Listener, stop: &UnixStream) {
    let watch = |descriptor| Watch { descriptor, read: true, write: false, closed: false };
    while !engine.is_stopping() {
        let mut watches = [watch(listener.as_fd()), watch(stop.as_fd())];
        let taken = sys::wait_ready(&mut watches, None).and_then(|()| {
            if !watches[0].read {
                return Ok(());
            }
            let stream = Arc::new(listener.accept()?);
            let mut connections = held(&engine.connections);
            connections.retain(|other| other.strong_count() > 0);
            connections.push(Arc::downgrade(&stream));
            drop(connections);
            let engine_of_it = Arc::clone(engine);
            engine.spawn(move || serve(&engine_of_it, stream))
        });
        if taken.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
            thread::sleep(ACCEPT_PAUSE);
        }
    }
}

fn serve(engine: &Arc<Engine>, stream: Arc<Stream>) {
    let mut connection = Connection::new(stream);
    loop {
        match connection.request() {
            Ok(Some(request)) => match api::answer(engine, connection, &request) {
                Some(same) => connection = same,
                None => return,
            },
            Ok(None) | Err(Refusal::Broken) => return,
            Err(Refusal::Malformed { status, text }) => {
                connection.refuse(status, text);
                stream::linger(&connection.hijack());
                return;
            }
        }
    }
}

fn remove_stale_socket(path: &Path) {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let is_refused = is_socket
        && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_refused {
        // If it cannot be removed, the bind says so.
        let _ = fs::remove_file(path);
    }
}

/// 64 hexadecimal digits.
fn random_id() -> io::Result<String> {
    Ok(sys::random_bytes::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Locks. A thread that panicked meanwhile has left plain data that is still whole.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
