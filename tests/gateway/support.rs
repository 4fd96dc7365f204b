//! The gateway under test, within this process or as a child of it, and patience.

use entry::access::Spec;
use entry::config::{Config, ContainerRule, Peers, Settings, TlsFiles, WantedLimits, Watch};
use entry::demo::{DemoEngine, DemoOptions};
use entry::engine::Address;
use entry::gateway::Server;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing here takes that long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// LAIN's sentence for every good end.
pub(crate) const SAFELY: &str = "\x1b[32m>>> You quit the container safely.\x1b[0m";

/// Asks again and again until there is an answer; fails when that takes too long.
pub(crate) fn await_some<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// As [`await_some`], for what only has to become true.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    await_some(what, || holds().then_some(()));
}

/// Waits until a number has stopped growing, and gives it.
pub(crate) fn at_rest(what: &str, mut number: impl FnMut() -> u64) -> u64 {
    let (mut last, mut unchanged) = (number(), 0);
    await_some(what, || {
        thread::sleep(Duration::from_millis(10));
        let now = number();
        unchanged = if now == last && now > 0 { unchanged + 1 } else { 0 };
        last = now;
        (unchanged >= 20).then_some(now)
    })
}

/// What gateways within this process write to the log.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Notebook;

impl log::Log for Notebook {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("entry")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let session = record.key_values().get("session".into());
            let of = session.map(|id| format!("session {id}: ")).unwrap_or_default();
            LINES.lock().unwrap().push(format!("{of}{}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// What gateways within this process have logged with this in it.
pub(crate) fn logged(part: &str) -> Vec<String> {
    LINES.lock().unwrap().iter().filter(|line| line.contains(part)).cloned().collect()
}

/// A gateway within this process, of one loop. It is stopped when forgotten.
pub(crate) struct Gateway {
    server: Option<Server>,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    /// In front of an engine; every container may be entered by name.
    pub(crate) fn before(engine: &str) -> Gateway {
        Gateway::over_tls(engine, TlsFiles::default())
    }

    /// The same, with these files where TLS is spoken.
    pub(crate) fn over_tls(engine: &str, tls: TlsFiles) -> Gateway {
        Gateway::start(Gateway::settings(engine), tls).unwrap()
    }

    pub(crate) fn with(settings: Settings) -> Gateway {
        Gateway::guarded(settings, vec![Spec::Anonymous])
    }

    /// Which only those enter whom the rules let in.
    pub(crate) fn guarded(settings: Settings, access: Vec<Spec>) -> Gateway {
        Gateway::of(settings, access, WantedLimits::default(), TlsFiles::default()).unwrap()
    }

    /// In front of an engine, with limits.
    pub(crate) fn limited(engine: &str, limits: WantedLimits) -> Gateway {
        let (settings, access) = (Gateway::settings(engine), vec![Spec::Anonymous]);
        Gateway::of(settings, access, limits, TlsFiles::default()).unwrap()
    }

    pub(crate) fn start(settings: Settings, tls: TlsFiles) -> io::Result<Gateway> {
        Gateway::of(settings, vec![Spec::Anonymous], WantedLimits::default(), tls)
    }

    /// The same, of several loops.
    pub(crate) fn of_loops(settings: Settings, access: Vec<Spec>, workers: usize) -> Gateway {
        Gateway::of_all(settings, access, WantedLimits::default(), TlsFiles::default(), workers).unwrap()
    }

    pub(crate) fn of(
        settings: Settings,
        access: Vec<Spec>,
        limits: WantedLimits,
        tls: TlsFiles,
    ) -> io::Result<Gateway> {
        Gateway::of_all(settings, access, limits, tls, 1)
    }

    fn of_all(
        settings: Settings,
        access: Vec<Spec>,
        limits: WantedLimits,
        tls: TlsFiles,
        workers: usize,
    ) -> io::Result<Gateway> {
        if log::set_logger(&Notebook).is_ok() {
            log::set_max_level(log::LevelFilter::Info);
        }
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let watch = Watch::default();
        let config = Config { listen, workers, demo: false, limits, tls, watch, access, settings };
        let server = Server::start(&config)?;
        Ok(Gateway { address: server.address(), server: Some(server) })
    }

    /// Those of a gateway in front of this engine, with every container open.
    pub(crate) fn settings(engine: &str) -> Settings {
        Settings {
            peers: Peers::one(Address::parse(engine).unwrap()),
            allow_container: ContainerRule::new(vec!["*".to_owned()]),
            ..Settings::default()
        }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// What it holds for those who do not take it.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.server().crowd().held_bytes() as u64
    }

    /// Ends it as SIGTERM would, and waits for the end.
    pub(crate) fn stop(mut self) {
        self.server.take().unwrap().stop().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // Its last words to clients and engines that do not answer are nobody's concern.
            thread::spawn(move || server.stop());
        }
    }
}

/// A gateway in front of an embedded engine of its own.
pub(crate) fn demo() -> (DemoEngine, Gateway) {
    demo_with(|_| {})
}

/// The same, with other settings.
pub(crate) fn demo_with(change: impl FnOnce(&mut Settings)) -> (DemoEngine, Gateway) {
    let engine = DemoEngine::start(DemoOptions::default()).unwrap();
    let mut settings = Gateway::settings(&engine.url());
    change(&mut settings);
    (engine, Gateway::with(settings))
}

/// A directory of a test's own, removed at its end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("gateway-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What makes a program leave its files here, and marks all that it starts: the embedded engine gives its
    /// processes little of its own environment, but it gives them its PATH.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        let path = std::env::var("PATH").unwrap();
        [("TMPDIR", self.0.display().to_string()), ("PATH", format!("{path}:{}", self.0.display()))]
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program, not yet started: without anything of this process's environment that could change what it does.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entry"));
    command.args(arguments).env_remove("DOCKER_HOST").env_remove("ENTRY_GATEWAY").env_remove("ENTRY_TOKEN");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `entry serve` with these options ends, and says why.
pub(crate) fn starts_not(options: &[&str], words: &str) {
    let mut child =
        program(&[&["serve", "--demo", "--listen", "127.0.0.1:0"], options].concat()).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= until {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code != 0), "{options:?}: {:?}, {told}", output.status);
    assert!(told.contains(words), "{options:?}: {told}");
}

/// `entry serve` as a child, whose memory, descriptors and processor time can be looked at.
pub(crate) struct Serving {
    child: Child,
    log: Arc<Mutex<String>>,
    pub(crate) address: SocketAddr,
    /// Its TMPDIR, which also marks every process that its sessions run.
    directory: Directory,
}

impl Serving {
    /// On a free port, and with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Serving {
        let mut command = program(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(arguments);
        Serving::of(command)
    }

    /// Of a command that comes to the same, and whose standard error is a pipe.
    pub(crate) fn of(mut command: Command) -> Serving {
        let directory = Directory::new();
        let mut child = command.envs(directory.environment()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, written) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                written.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let address = await_some("the gateway's address in its log", || {
            let log = log.lock().unwrap();
            let (_, behind) = log.split_once("listening on ")?;
            // A line of JSON goes on behind it.
            behind.split(['\n', '"']).next()?.parse().ok()
        });
        Serving { child, log, address, directory }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// While this is held, nobody reads the log.
    pub(crate) fn hold_log(&self) -> MutexGuard<'_, String> {
        self.log.lock().unwrap()
    }

    pub(crate) fn signal(&self, signal: i32) {
        entry::sys::signal_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        await_some("the gateway's end", || self.child.try_wait().unwrap())
    }

    /// A line of /proc/PID/status, in KiB or as a count.
    pub(crate) fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn descriptors(&self) -> u64 {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count() as u64
    }

    /// Bytes that it has read so far, from whatever.
    pub(crate) fn bytes_read(&self) -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid())).unwrap();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    /// Processor time so far, in the kernel's ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// What its sessions run, and what runs for them.
    pub(crate) fn descendants(&self) -> Vec<String> {
        marked(self.directory.path(), self.pid())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for line in marked(self.directory.path(), 0) {
            let pid = line.split(' ').next().unwrap().parse().unwrap();
            let _ = entry::sys::signal_process(pid, libc::SIGKILL);
        }
    }
}

/// The processes that are marked by this directory, but `except`: "pid (name) state …".
pub(crate) fn marked(directory: &Path, except: i32) -> Vec<String> {
    let mark = directory.display().to_string();
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    all.filter(|pid| pid.parse::<i32>().is_ok_and(|pid| pid != except))
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(mark.len()).any(|window| window == mark.as_bytes())
        })
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .collect()
}
