//! A server with a script, and the program with a deadline.

use entry::wire::message::{Close, Hello, RequestMessage, RequestType, ResponseMessage, ResponseType};
use prost::Message as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

/// Nothing here takes that long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// How LAIN's server says goodbye.
pub(crate) const SAFELY: &str = "\x1b[32m>>> You quit the container safely.\x1b[0m";

/// Asks again and again until there is an answer; fails at the deadline.
pub(crate) fn await_some<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A listener on a free port, and the URL to reach it.
pub(crate) fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// The next connection, with a limit on all waits.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let stream = await_some("a connection", || listener.accept().ok()).0;
    stream.set_nonblocking(false).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// What a script has at hand: one connection after its upgrade.
pub(crate) struct Visit<S = TcpStream> {
    pub(crate) socket: WebSocket<S>,
    /// The request: its path, then `name: value` in lower case.
    pub(crate) request: Vec<String>,
}

impl<S: Read + Write> Visit<S> {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let start = format!("{name}: ");
        self.request.iter().find_map(|line| line.strip_prefix(&start))
    }

    /// The next message; `None` when the client says goodbye.
    pub(crate) fn next(&mut self) -> Option<RequestMessage> {
        match self.socket.read().unwrap() {
            Message::Binary(bytes) => Some(RequestMessage::decode(bytes).unwrap()),
            Message::Close(_) => None,
            other @ (Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {
                panic!("{other:?} from the client")
            }
        }
    }

    pub(crate) fn hello(&mut self) -> Hello {
        let message = self.next().expect("a hello");
        assert_eq!(message.msg_type(), RequestType::Hello);
        *message.hello.expect("a hello")
    }

    /// Reads input until there is `wanted`; what else comes is given back.
    pub(crate) fn await_input(&mut self, wanted: &[u8]) {
        let mut got = Vec::new();
        while got.len() < wanted.len() {
            let message = self.next().expect("input");
            assert_eq!(message.msg_type(), RequestType::Plain);
            got.extend(message.content);
        }
        assert_eq!(got, wanted, "{:?}", String::from_utf8_lossy(&got));
    }

    /// Nothing but a goodbye may come.
    pub(crate) fn await_goodbye(&mut self) {
        assert_eq!(self.next(), None);
    }

    pub(crate) fn say(&mut self, kind: ResponseType, content: impl AsRef<[u8]>) {
        let content = content.as_ref().to_vec();
        let message = ResponseMessage { msg_type: kind.into(), content, ..Default::default() };
        self.send(&message);
    }

    pub(crate) fn send(&mut self, message: &ResponseMessage) {
        self.socket.send(Message::Binary(message.encode_to_vec().into())).unwrap();
    }

    pub(crate) fn open(&mut self) {
        self.say(ResponseType::Opened, "");
    }

    /// The end as entry.v1 tells it, and the close handshake.
    pub(crate) fn close(&mut self, outcome: i32, exit_status: u32, text: &str) {
        self.send(&ResponseMessage {
            msg_type: ResponseType::Close.into(),
            content: text.into(),
            close: Some(Close { outcome, exit_status, ..Default::default() }),
            opened: None,
        });
        self.end();
    }

    /// The end as LAIN's server tells it.
    pub(crate) fn close_as_lain(&mut self, text: &str) {
        self.say(ResponseType::Close, text);
        self.end();
    }

    /// The close handshake.
    pub(crate) fn end(&mut self) {
        let _ = self.socket.close(None);
        while self.socket.read().is_ok() {}
    }
}

/// What the server knows of protocols.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Speaks {
    V1,
    Lain,
}

/// A server for one visit.
pub(crate) struct Server<T> {
    pub(crate) url: String,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Server<T> {
    pub(crate) fn start(speaks: Speaks, script: impl FnOnce(Visit) -> T + Send + 'static) -> Self {
        let (listener, url) = listen();
        let thread = thread::spawn(move || script(receive(accept(&listener), speaks)));
        Server { url, thread }
    }

    /// What the script gives; fails when the script failed.
    pub(crate) fn finish(self) -> T {
        await_some("the server", || self.thread.is_finished().then_some(()));
        self.thread.join().expect("the script")
    }
}

#[allow(clippy::result_large_err)] // the type of tungstenite's callback
pub(crate) fn receive<S: Read + Write>(stream: S, speaks: Speaks) -> Visit<S> {
    let mut lines = Vec::new();
    let socket = tungstenite::accept_hdr(stream, |request: &Request, mut response: Response| {
        lines.push(request.uri().to_string());
        for (name, value) in request.headers() {
            lines.push(format!("{}: {}", name.as_str(), value.to_str().unwrap()));
        }
        if speaks == Speaks::V1 && request.headers().contains_key("sec-websocket-protocol") {
            response.headers_mut().insert("sec-websocket-protocol", "entry.v1".parse().unwrap());
        }
        Ok(response)
    });
    Visit { socket: socket.expect("an upgrade"), request: lines }
}

/// The program, not yet started; it sees nothing of this process's environment that could change it.
pub(crate) fn entry(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entry"));
    command.args(arguments).env("ENTRY_GATEWAY", url).env("TERM", "vt100").env_remove("ENTRY_TOKEN");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The program while it runs; killed when forgotten.
pub(crate) struct Running {
    child: Child,
}

/// How it ended.
#[derive(Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
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

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn signal(&self, signal: i32) {
        entry::sys::signal_group(self.child.id().cast_signed(), signal).unwrap();
    }

    /// The most memory it ever had, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits for its end, with what it still writes.
    pub(crate) fn finish(mut self) -> Ended {
        let stdout = drain(self.child.stdout.take());
        let stderr = drain(self.child.stderr.take());
        let status = await_some("the program's end", || self.child.try_wait().unwrap());
        let text = |thread: JoinHandle<Vec<u8>>| String::from_utf8(thread.join().unwrap()).unwrap();
        Ended { status: status.code().expect("a status"), stdout: text(stdout), stderr: text(stderr) }
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

/// Starts it and waits for its end.
pub(crate) fn run(command: Command) -> Ended {
    Running::start(command).finish()
}
