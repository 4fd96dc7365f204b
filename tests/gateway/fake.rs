//! An engine with a script: it answers what an engine answers, but where a test wants it otherwise. With a script that
//! answers everything it is any service.

use crate::certificates::Accepted;
use crate::support::{Directory, PATIENCE, eventually};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The id of the one container.
pub(crate) const CONTAINER: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
/// What a default stream says when it begins.
pub(crate) const PROMPT: &str = "$ ";
/// What ends a default stream, with the process's status 7.
pub(crate) const BYE: &str = "bye\n";

/// One request of the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `GET ping`, `GET list`, `GET container`, `POST create`, `POST reaper`, `POST start`, `POST detached`,
    /// `POST guard`, `POST guarding`, `POST resize`, `GET exec`, `GET logs`, `POST attach`, `GET lainlet`, `POST where`, `GET service`,
    /// `GET tasks`, `GET node`, and what access services are asked.
    pub(crate) what: &'static str,
    pub(crate) target: String,
    pub(crate) body: String,
    /// The how manieth of its kind this is, from 1.
    pub(crate) nth: usize,
}

/// What a script leaves to be done.
pub(crate) enum Then {
    /// What an engine would do.
    Usual,
    /// The answer has been given; the connection goes on.
    Answered,
    /// The connection ends.
    Close,
    /// It stays, and nothing is read or said on it any more.
    Hold,
    /// The head of the stream has been said: a prompt and an echo follow.
    Stream,
}

type Script = dyn Fn(&Asked, &mut Connection) -> Then + Send + Sync;

struct Shared {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    /// What came for a process, over all streams.
    typed: Mutex<Vec<u8>>,
    /// What guards were told.
    guarded: Mutex<String>,
    /// Streams whose gateway has gone.
    left: Mutex<usize>,
    held: Mutex<Vec<Connection>>,
    over: AtomicBool,
}

/// The engine. Forgotten it listens no more; its other threads end with their connections.
pub(crate) struct Fake {
    pub(crate) url: String,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    directory: Directory,
}

pub(crate) enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<Accepted>),
}

impl Connection {
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        // A gateway that is gone is not this side's concern.
        let _ = self.write_all(bytes.as_ref());
    }

    /// The same, a byte and a rest at a time; whether somebody has heard it to the end.
    pub(crate) fn drip(&mut self, bytes: impl AsRef<[u8]>, rest: Duration) -> bool {
        bytes.as_ref().iter().all(|byte| {
            thread::sleep(rest);
            self.write_all(&[*byte]).is_ok()
        })
    }

    /// An answer with a body of known length.
    pub(crate) fn answer(&mut self, status: u16, headers: &str, body: &str) {
        self.say(format!("HTTP/1.1 {status} Told\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()));
    }

    fn set_patience(&self) {
        match self {
            Connection::Unix(stream) => stream.set_read_timeout(Some(PATIENCE)).unwrap(),
            Connection::Tcp(stream) => set_patience(stream),
            Connection::Tls(stream) => set_patience(&stream.sock),
        }
    }

    /// The next request's head, and what has come behind it.
    fn head(&mut self, ahead: &mut Vec<u8>) -> Option<String> {
        loop {
            if let Some(end) = ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                return String::from_utf8(ahead.drain(..end + 4).collect()).ok();
            }
            self.more(ahead)?;
        }
    }

    fn more(&mut self, ahead: &mut Vec<u8>) -> Option<()> {
        let mut bytes = [0; 65536];
        let count = self.read(&mut bytes).ok().filter(|count| *count > 0)?;
        ahead.extend_from_slice(&bytes[..count]);
        Some(())
    }
}

fn set_patience(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Unix(stream) => stream.read(bytes),
            Connection::Tcp(stream) => stream.read(bytes),
            Connection::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Unix(stream) => stream.write(bytes),
            Connection::Tcp(stream) => stream.write(bytes),
            Connection::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Fake {
    /// On a unix socket.
    pub(crate) fn unix(script: impl Fn(&Asked, &mut Connection) -> Then + Send + Sync + 'static) -> Fake {
        let directory = Directory::new();
        let listener = UnixListener::bind(directory.path().join("sock")).unwrap();
        Fake::on_unix(directory, listener, script)
    }

    pub(crate) fn on_unix(
        directory: Directory,
        listener: UnixListener,
        script: impl Fn(&Asked, &mut Connection) -> Then + Send + Sync + 'static,
    ) -> Fake {
        let url = format!("unix://{}", directory.file("sock"));
        let accept = move || listener.accept().ok().map(|(stream, _)| Connection::Unix(stream));
        Fake::start(url, directory, Box::new(script), accept)
    }

    /// Over TCP.
    pub(crate) fn tcp(script: impl Fn(&Asked, &mut Connection) -> Then + Send + Sync + 'static) -> Fake {
        Fake::tcp_at("127.0.0.1:0", script)
    }

    /// The same at an address.
    pub(crate) fn tcp_at(
        address: &str,
        script: impl Fn(&Asked, &mut Connection) -> Then + Send + Sync + 'static,
    ) -> Fake {
        let listener = TcpListener::bind(address).unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let accept = move || listener.accept().ok().map(|(stream, _)| Connection::Tcp(stream));
        Fake::start(url, Directory::new(), Box::new(script), accept)
    }

    /// Over TLS, whose side of a connection `tls` makes; the URL has this host.
    pub(crate) fn tls(
        host: &str,
        tls: impl Fn(TcpStream) -> Accepted + Send + 'static,
        script: impl Fn(&Asked, &mut Connection) -> Then + Send + Sync + 'static,
    ) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{host}:{}", listener.local_addr().unwrap().port());
        let accept = move || listener.accept().ok().map(|(stream, _)| Connection::Tls(Box::new(tls(stream))));
        Fake::start(url, Directory::new(), Box::new(script), accept)
    }

    fn start(
        url: String,
        directory: Directory,
        script: Box<Script>,
        accept: impl Fn() -> Option<Connection> + Send + 'static,
    ) -> Fake {
        let shared = Arc::new(Shared {
            script,
            asked: Mutex::default(),
            typed: Mutex::default(),
            guarded: Mutex::default(),
            left: Mutex::default(),
            held: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let of_threads = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            while let Some(connection) = accept() {
                if of_threads.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&of_threads);
                thread::spawn(move || serve(&shared, connection));
            }
        });
        Fake { url, shared, acceptor: Some(acceptor), directory }
    }

    /// What was asked so far, of this kind.
    pub(crate) fn asked(&self, what: &str) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().iter().filter(|asked| asked.what == what).cloned().collect()
    }

    pub(crate) fn typed(&self) -> String {
        String::from_utf8_lossy(&self.shared.typed.lock().unwrap()).into_owned()
    }

    /// What guards were told so far.
    pub(crate) fn guarded(&self) -> String {
        self.shared.guarded.lock().unwrap().clone()
    }

    /// Waits until so many default streams have seen their gateway go.
    pub(crate) fn await_left(&self, count: usize) {
        eventually("the gateway to close its stream", || *self.shared.left.lock().unwrap() >= count);
    }

    pub(crate) fn await_asked(&self, what: &str, count: usize) {
        eventually(what, || self.asked(what).len() >= count);
    }
}

impl Drop for Fake {
    /// Its listener, and the authority whose certificate it shows, go with the thread that has them.
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        let woken = match self.url.rsplit_once(':') {
            _ if self.url.starts_with("unix://") => {
                UnixStream::connect(self.directory.path().join("sock")).is_ok()
            }
            Some((start, port)) => {
                let host = start.rsplit('/').next().unwrap();
                TcpStream::connect((host, port.parse().unwrap())).is_ok()
            }
            None => false,
        };
        if let Some(acceptor) = self.acceptor.take().filter(|_| woken) {
            let _ = acceptor.join();
        }
    }
}

/// One that does everything as usual.
pub(crate) fn usual(_: &Asked, _: &mut Connection) -> Then {
    Then::Usual
}

fn serve(shared: &Shared, mut connection: Connection) {
    connection.set_patience();
    let mut ahead = Vec::new();
    while let Some(head) = connection.head(&mut ahead) {
        let length = head
            .split("Content-Length: ")
            .nth(1)
            .map_or(0, |behind| behind.split("\r\n").next().unwrap().parse().unwrap());
        while ahead.len() < length {
            if connection.more(&mut ahead).is_none() {
                return;
            }
        }
        let body = String::from_utf8(ahead.drain(..length).collect()).unwrap();
        let asked = note(shared, &head, body);
        match (shared.script)(&asked, &mut connection) {
            Then::Usual => match asked.what {
                "POST start" => {
                    connection.say(UPGRADED);
                    return echo(shared, &mut connection, asked.body.contains(r#""Tty":true"#));
                }
                "POST guarding" => {
                    connection.say(UPGRADED);
                    connection.say(framed(1, b"ready\n"));
                    return stand(shared, &mut connection);
                }
                what => answer(what, &mut connection),
            },
            Then::Answered => {}
            Then::Close => return,
            Then::Stream => return echo(shared, &mut connection, asked.body.contains(r#""Tty":true"#)),
            Then::Hold => return shared.held.lock().unwrap().push(connection),
        }
    }
}

fn note(shared: &Shared, head: &str, body: String) -> Asked {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let path = target.split('?').next().unwrap();
    let upgrade = head.contains("\r\nUpgrade: tcp\r\n");
    let what = match (method, path.rsplit('/').next().unwrap()) {
        ("GET", "_ping") => "GET ping",
        ("GET", "json") if path.ends_with("/containers/json") => "GET list",
        ("GET", "json") if path.contains("/containers/") => "GET container",
        ("GET", "json") => "GET exec",
        ("GET", "logs") => "GET logs",
        ("POST", "attach") => "POST attach",
        ("POST", "exec") if body.contains("entry-reap") => "POST reaper",
        ("POST", "exec") if body.contains("entry-guard") => "POST guard",
        ("POST", "exec") => "POST create",
        ("POST", "start") if path.contains(GUARD) => "POST guarding",
        ("POST", "start") if upgrade => "POST start",
        ("POST", "start") => "POST detached",
        ("POST", "resize") => "POST resize",
        ("GET", "coreinfowatcher") => "GET lainlet",
        ("GET", "configwatcher") => "GET configwatcher",
        ("GET", _) if path.ends_with("/roles/") => "GET roles",
        ("GET", "me") => "GET me",
        ("GET", "jwks.json") => "GET jwks.json",
        ("POST", "") => "POST access",
        ("POST", "where") => "POST where",
        ("GET", _) if path.contains("/services/") => "GET service",
        ("GET", "tasks") => "GET tasks",
        ("GET", _) if path.contains("/nodes/") => "GET node",
        _ => panic!("the gateway asked {head}"),
    };
    let mut all = shared.asked.lock().unwrap();
    let nth = all.iter().filter(|asked| asked.what == what).count() + 1;
    let asked = Asked { what, target: target.to_owned(), body, nth };
    all.push(asked.clone());
    asked
}

/// The id of every guard's exec.
const GUARD: &str = "9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a";

/// The id of the container's n-th exec.
pub(crate) fn exec_id(number: usize) -> String {
    format!("{number:064x}")
}

fn answer(what: &str, connection: &mut Connection) {
    let json = "Content-Type: application/json\r\n";
    match what {
        "GET ping" => connection.answer(200, "Api-Version: 1.51\r\nOstype: linux\r\n", "OK"),
        "GET list" => connection.answer(200, json, &list()),
        "GET container" => connection.answer(200, json, &container("true", "true")),
        "POST create" | "POST reaper" => {
            connection.answer(201, json, &format!("{{\"Id\":\"{}\"}}\n", exec_id(1)));
        }
        "POST guard" => connection.answer(201, json, &format!("{{\"Id\":\"{GUARD}\"}}\n")),
        "POST resize" => connection.answer(200, "", ""),
        "POST detached" => connection.answer(200, "", ""),
        "GET exec" => connection.answer(200, json, EXITED_7),
        other => panic!("no usual answer to {other}"),
    }
}

pub(crate) const EXITED_7: &str = "{\"Running\":false,\"ExitCode\":7,\"Pid\":42,\"ContainerID\":\"\"}\n";

/// The list of the one container.
pub(crate) fn list() -> String {
    list_of(CONTAINER, "1")
}

/// A list of one container, of app demo and proc shell.
pub(crate) fn list_of(container: &str, instance: &str) -> String {
    let labels: HashMap<&str, &str> = HashMap::from([
        ("com.docker.compose.project", "demo"),
        ("com.docker.compose.service", "shell"),
        ("com.docker.compose.container-number", instance),
    ]);
    serde_json::json!([{"Id": container, "Names": ["/web"], "Labels": labels}]).to_string() + "\n"
}

pub(crate) fn container(running: &str, tty: &str) -> String {
    format!(
        "{{\"Id\":\"{CONTAINER}\",\"Name\":\"/web\",\"State\":{{\"Running\":{running},\"ExitCode\":0}},\
         \"Config\":{{\"Tty\":{tty}}}}}\n"
    )
}

/// The head that begins a stream.
pub(crate) const UPGRADED: &str = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
                                   Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// One frame of Docker's stream format.
pub(crate) fn framed(stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[stream, 0, 0, 0], &length[..], payload].concat()
}

/// Listens to the end of its input, as a guard does.
fn stand(shared: &Shared, connection: &mut Connection) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = connection.read(&mut bytes) {
        let words = String::from_utf8_lossy(&bytes[..count]);
        shared.guarded.lock().unwrap().push_str(&words);
    }
}

/// A prompt, then an echo until [`BYE`].
fn echo(shared: &Shared, connection: &mut Connection, tty: bool) {
    let wrap = |bytes: &[u8]| if tty { bytes.to_vec() } else { framed(1, bytes) };
    connection.say(wrap(PROMPT.as_bytes()));
    let mut bytes = [0; 65536];
    loop {
        match connection.read(&mut bytes) {
            Ok(count @ 1..) => {
                let typed = &bytes[..count];
                shared.typed.lock().unwrap().extend_from_slice(typed);
                connection.say(wrap(typed));
                if typed.ends_with(BYE.as_bytes()) {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                *shared.left.lock().unwrap() += 1;
                return;
            }
        }
    }
}
