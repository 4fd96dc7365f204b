//! What stands on the bench: a stand-in engine, and in front of it Entry, a peer that copies bytes, or nothing.

use crate::measure::Watched;
use crate::sys;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take until it listens.
const START_SECONDS: u64 = 15;
/// How long a program may take to end; the gateway itself waits ten seconds for last words.
const END_SECONDS: u64 = 15;

/// A folder that is removed with everything in it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("loadgen-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the folder for temporary files is nobody's loss.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child that is ended and waited for, so that its time counts as ours.
#[derive(Debug)]
pub(crate) struct Program(Child);

impl Program {
    fn start(mut command: Command) -> io::Result<Program> {
        sys::dies_with_us(&mut command);
        let name = command.get_program().to_string_lossy().into_owned();
        command
            .stdin(Stdio::null())
            .spawn()
            .map(Program)
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        sys::terminate(self.0.id());
        let limit = Instant::now() + Duration::from_secs(END_SECONDS);
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > limit {
                let _ = self.0.kill();
                let _ = self.0.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The stand-in engine in a process of its own.
#[derive(Debug)]
pub(crate) struct Engine {
    _program: Option<Program>,
    unix: PathBuf,
    tcp: SocketAddr,
    raw: SocketAddr,
}

impl Engine {
    pub(crate) fn start(folder: &Folder, version: &str) -> io::Result<Engine> {
        let unix = folder.path("engine.sock");
        let _ = fs::remove_file(&unix);
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("engine").arg("--unix").arg(&unix);
        command.args(["--tcp", "127.0.0.1:0", "--raw", "127.0.0.1:0", "--api", version]);
        command.stdout(Stdio::piped());
        let mut program = Program::start(command)?;
        let out = program.0.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let (mut tcp, mut raw) = (None, None);
        for line in BufReader::new(out).lines() {
            match line?.split_once(' ') {
                Some(("tcp", address)) => tcp = address.parse().ok(),
                Some(("raw", address)) => raw = address.parse().ok(),
                Some(_) => {}
                None => break,
            }
        }
        let (Some(tcp), Some(raw)) = (tcp, raw) else {
            return Err(io::Error::other("the engine did not say where it listens"));
        };
        Ok(Engine { _program: Some(program), unix, tcp, raw })
    }

    /// One that somebody else has started.
    pub(crate) fn elsewhere(tcp: SocketAddr) -> Engine {
        Engine { _program: None, unix: PathBuf::new(), tcp, raw: tcp }
    }

    /// One of what `/loadgen/counts` tells.
    pub(crate) fn count(&self, name: &str) -> io::Result<u64> {
        let mut stream = TcpStream::connect(self.tcp)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /loadgen/counts HTTP/1.1\r\nHost: docker\r\n\r\n")?;
        let mut reply = Vec::new();
        let mut buffer = [0; 4096];
        while !reply.ends_with(b"}\n") {
            match stream.read(&mut buffer)? {
                0 => break,
                count => reply.extend_from_slice(&buffer[..count]),
            }
        }
        let text = String::from_utf8_lossy(&reply);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let counts: serde_json::Value = serde_json::from_str(body).map_err(io::Error::other)?;
        counts[name].as_u64().ok_or_else(|| io::Error::other(format!("the engine does not count {name}")))
    }
}

/// Who is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Entry,
    /// Nobody: the driver speaks to the processes itself.
    Direct,
    Haproxy,
    Nginx,
    /// A command with {port} and {upstream} in it.
    Other(String),
    /// A gateway that somebody else has started, perhaps with its process.
    Running(SocketAddr, Option<u32>),
}

impl Kind {
    pub(crate) fn parse(text: &str) -> Kind {
        match text {
            "entry" => Kind::Entry,
            "direct" => Kind::Direct,
            "haproxy" => Kind::Haproxy,
            "nginx" => Kind::Nginx,
            other => Kind::Other(other.to_owned()),
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Kind::Entry | Kind::Running(..) => "entry".to_owned(),
            Kind::Direct => "direct".to_owned(),
            Kind::Haproxy => "haproxy".to_owned(),
            Kind::Nginx => "nginx".to_owned(),
            Kind::Other(command) => command.split_whitespace().next().unwrap_or("other").to_owned(),
        }
    }

    /// It copies bytes and knows no messages.
    pub(crate) fn copies(&self) -> bool {
        !matches!(self, Kind::Entry | Kind::Running(..))
    }
}

/// How contenders are started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) entry: PathBuf,
    pub(crate) workers: usize,
    /// Entry reaches the engine by its unix socket and not over TCP.
    pub(crate) over_unix: bool,
}

impl Setup {
    pub(crate) fn new() -> io::Result<Setup> {
        // target/release/deps/loadgen-… → target/release/entry
        let own = std::env::current_exe()?;
        let beside = own.parent().and_then(Path::parent).map(|folder| folder.join("entry"));
        let entry = beside.ok_or_else(|| io::Error::other("there is no folder above this program's"))?;
        Ok(Setup { entry, workers: 2, over_unix: false })
    }
}

/// A contender that runs.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) watched: Watched,
    _program: Option<Program>,
}

impl Contender {
    pub(crate) fn start(
        kind: &Kind,
        setup: &Setup,
        engine: &Engine,
        folder: &Folder,
    ) -> io::Result<Contender> {
        let upstream = engine.raw;
        let log = folder.path(&format!("{}.log", kind.name()));
        match kind {
            Kind::Direct => {
                return Ok(Contender {
                    kind: kind.clone(),
                    address: engine.raw,
                    watched: Watched::default(),
                    _program: None,
                });
            }
            Kind::Running(address, process) => {
                let watched = process.map(Watched::new).unwrap_or_default();
                return Ok(Contender { kind: kind.clone(), address: *address, watched, _program: None });
            }
            Kind::Entry => return start_entry(setup, engine, &log),
            Kind::Haproxy | Kind::Nginx | Kind::Other(_) => {}
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let command = match kind {
            Kind::Haproxy => {
                let file = folder.path("haproxy.cfg");
                fs::write(&file, haproxy_configuration(port, upstream, setup.workers))?;
                let mut command = Command::new("haproxy");
                command.arg("-f").arg(file);
                command
            }
            Kind::Nginx => {
                let file = folder.path("nginx.conf");
                fs::write(&file, nginx_configuration(port, upstream, setup.workers, folder))?;
                let mut command = Command::new("nginx");
                command.arg("-c").arg(file).arg("-e").arg(folder.path("nginx.error"));
                command
            }
            Kind::Other(template) => {
                let text = template
                    .replace("{port}", &port.to_string())
                    .replace("{upstream}", &upstream.to_string());
                let mut command = Command::new("sh");
                command.args(["-c", &format!("exec {text}")]);
                command
            }
            Kind::Entry | Kind::Direct | Kind::Running(..) => {
                return Err(io::Error::other("it has no command"));
            }
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let program = start_logged(command, &log)?;
        // nginx listens before it has its workers.
        let processes = if *kind == Kind::Nginx { 1 + setup.workers } else { 1 };
        let watched = wait_for_start(&log, || {
            let watched = Watched::new(program.id());
            let started = TcpStream::connect(address).is_ok() && watched.count() >= processes;
            Ok(started.then_some(watched))
        })?;
        Ok(Contender { kind: kind.clone(), address, watched, _program: Some(program) })
    }
}

fn start_entry(setup: &Setup, engine: &Engine, log: &Path) -> io::Result<Contender> {
    let engine = if setup.over_unix {
        format!("unix://{}", engine.unix.display())
    } else {
        format!("tcp://{}", engine.tcp)
    };
    let mut command = Command::new(&setup.entry);
    command.args(["serve", "--listen", "127.0.0.1:0", "--allow-container", "*"]);
    command.args(["--engine", &engine, "--workers", &setup.workers.to_string()]);
    let program = start_logged(command, log)?;
    let address = wait_for_start(log, || {
        let said = fs::read_to_string(log)?;
        let behind = said.split_once("listening on ").map(|(_, rest)| rest);
        Ok(behind
            .filter(|rest| rest.contains('\n'))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok()))
    })?;
    let watched = Watched::new(program.id());
    Ok(Contender { kind: Kind::Entry, address, watched, _program: Some(program) })
}

fn start_logged(mut command: Command, log: &Path) -> io::Result<Program> {
    let file = File::create(log)?;
    command.stdout(file.try_clone()?).stderr(file);
    Program::start(command)
}

fn wait_for_start<T>(log: &Path, mut started: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    let limit = Instant::now() + Duration::from_secs(START_SECONDS);
    loop {
        if let Some(value) = started()? {
            return Ok(value);
        }
        if Instant::now() > limit {
            let said = fs::read_to_string(log).unwrap_or_default();
            return Err(io::Error::other(format!("it does not listen; it said: {said}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn haproxy_configuration(port: u16, upstream: SocketAddr, threads: usize) -> String {
    format!(
        "global\n  nbthread {threads}\n  maxconn 9900\ndefaults\n  mode tcp\n  timeout connect 10s\n  \
         timeout client 1h\n  timeout server 1h\nfrontend in\n  bind 127.0.0.1:{port} backlog 4096\n  \
         default_backend out\nbackend out\n  server engine {upstream}\n"
    )
}

fn nginx_configuration(port: u16, upstream: SocketAddr, workers: usize, folder: &Folder) -> String {
    format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\nuser root;\ndaemon off;\n\
         worker_processes {workers};\nworker_rlimit_nofile 20000;\npid {};\nerror_log {} error;\n\
         events {{ worker_connections 19900; multi_accept on; }}\n\
         stream {{ server {{ listen 127.0.0.1:{port} backlog=4096; proxy_pass {upstream}; proxy_timeout 1h; \
         tcp_nodelay on; }} }}\n",
        folder.path("nginx.pid").display(),
        folder.path("nginx.error").display(),
    )
}
