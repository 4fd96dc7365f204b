//! An HTTP client of its own, and what all tests of the embedded engine need.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use entry::demo::{DemoContainer, DemoEngine, DemoOptions};
use serde_json::{Value, json};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) enum Wire {
    Unix(UnixStream),
    Tcp(TcpStream),
}

pub(crate) struct Client {
    pub(crate) wire: Wire,
    pub(crate) ahead: Vec<u8>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        assert!(self.body.ends_with(b"\n"), "JSON bodies end in a newline: {}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }

    pub(crate) fn has(&self, header: &str) -> bool {
        self.head.contains(&format!("\r\n{header}\r\n"))
    }
}

impl Client {
    pub(crate) fn to(engine: &DemoEngine) -> Client {
        let url = engine.url();
        let wire = match url.strip_prefix("unix://") {
            Some(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Wire::Unix(stream)
            }
            None => {
                let stream = TcpStream::connect(url.strip_prefix("tcp://").unwrap()).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Wire::Tcp(stream)
            }
        };
        Client { wire, ahead: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Unix(stream) => stream.write_all(bytes).unwrap(),
            Wire::Tcp(stream) => stream.write_all(bytes).unwrap(),
        }
    }

    pub(crate) fn end_input(&self) {
        match &self.wire {
            Wire::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Wire::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    pub(crate) fn be_patient_for(&self, time: Duration) {
        match &self.wire {
            Wire::Unix(stream) => stream.set_read_timeout(Some(time)).unwrap(),
            Wire::Tcp(stream) => stream.set_read_timeout(Some(time)).unwrap(),
        }
    }

    pub(crate) fn try_fill(&mut self) -> std::io::Result<usize> {
        let mut bytes = [0; 65536];
        let count = match &mut self.wire {
            Wire::Unix(stream) => stream.read(&mut bytes)?,
            Wire::Tcp(stream) => stream.read(&mut bytes)?,
        };
        self.ahead.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    pub(crate) fn fill(&mut self) -> usize {
        self.try_fill().unwrap()
    }

    pub(crate) fn head(&mut self) -> (u16, String) {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.ahead.drain(..end + 4).collect()).unwrap();
                return (head[9..12].parse().unwrap(), head);
            }
            assert!(self.fill() > 0, "end within a head: {:?}", String::from_utf8_lossy(&self.ahead));
        }
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            assert!(self.fill() > 0, "end within {count} bytes");
        }
        self.ahead.drain(..count).collect()
    }

    pub(crate) fn until(&mut self, needle: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.ahead).into_owned();
            if let Some(at) = text.find(needle) {
                self.ahead.drain(..at + needle.len());
                return text[..at + needle.len()].to_owned();
            }
            assert!(self.fill() > 0, "end before {needle:?}: {text:?}");
        }
    }

    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.ahead)
    }

    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let size = usize::from_str_radix(self.until("\r\n").trim_end(), 16).unwrap();
        let chunk = self.exactly(size);
        assert_eq!(self.exactly(2), b"\r\n");
        chunk
    }

    pub(crate) fn answer(&mut self) -> Answer {
        let (status, head) = self.head();
        let body = if head.contains("\r\nTransfer-Encoding: chunked\r\n") {
            let mut body = Vec::new();
            loop {
                let chunk = self.chunk();
                if chunk.is_empty() {
                    break body;
                }
                body.extend(chunk);
            }
        } else {
            let length = head.split("\r\nContent-Length: ").nth(1).expect("a length");
            self.exactly(length.split("\r\n").next().unwrap().parse().unwrap())
        };
        Answer { status, head, body }
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.request(method, path, "", body);
        self.answer()
    }

    pub(crate) fn request(&mut self, method: &str, path: &str, headers: &str, body: Option<&Value>) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        self.send(
            format!("{method} {path} HTTP/1.1\r\nHost: docker\r\n{headers}{kind}Content-Length: {length}\r\n\r\n{body}")
                .as_bytes(),
        );
    }

    /// Creates an exec and gives its id.
    pub(crate) fn create(&mut self, container: &str, body: &Value) -> String {
        let answer = self.ask("POST", &format!("/v1.51/containers/{container}/exec"), Some(body));
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert!(answer.has("Content-Length: 74"));
        answer.json()["Id"].as_str().unwrap().to_owned()
    }

    /// Starts an exec with an upgrade; this connection is its stream from then on.
    pub(crate) fn start(&mut self, id: &str, body: &Value) -> String {
        self.request("POST", &format!("/v1.51/exec/{id}/start"), UPGRADE, Some(body));
        let (status, head) = self.head();
        assert_eq!(status, 101, "{head}");
        head
    }
}

pub(crate) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: tcp\r\n";

pub(crate) fn engine() -> DemoEngine {
    DemoEngine::start(DemoOptions::default()).unwrap()
}

pub(crate) fn engine_with(containers: Vec<DemoContainer>) -> DemoEngine {
    DemoEngine::start(DemoOptions { containers, ..DemoOptions::default() }).unwrap()
}

pub(crate) fn shell(script: &str, tty: bool) -> Value {
    json!({"Cmd": ["sh", "-c", script], "Tty": tty, "AttachStdin": true, "AttachStdout": true, "AttachStderr": true})
}

/// Creates and starts in one connection; the exec's id.
pub(crate) fn exec(client: &mut Client, script: &str, tty: bool) -> String {
    let id = client.create("demo", &shell(script, tty));
    client.start(&id, &json!({"Tty": tty}));
    id
}

pub(crate) fn inspect(engine: &DemoEngine, id: &str) -> Value {
    let answer = Client::to(engine).ask("GET", &format!("/v1.51/exec/{id}/json"), None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Takes frames apart: what came as stdout, and as stderr.
pub(crate) fn demultiplex(mut bytes: &[u8]) -> (String, String) {
    let mut streams = [Vec::new(), Vec::new()];
    while !bytes.is_empty() {
        assert_eq!(bytes[1..4], [0; 3], "{:?}", String::from_utf8_lossy(bytes));
        let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        streams[usize::from(bytes[0]) - 1].extend_from_slice(&bytes[8..8 + length]);
        bytes = &bytes[8 + length..];
    }
    let [out, err] = streams.map(|stream| String::from_utf8(stream).unwrap());
    (out, err)
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with(['Z', 'X']))
}

pub(crate) fn is_stopped(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('T'))
}
