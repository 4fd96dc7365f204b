//! One HTTP connection of the embedded engine: requests in, replies out, as the Docker Engine does both.
//!
//! Blocking: a thread a connection. Knows nothing of containers. Keep-alive, pipelining, chunked request bodies and
//! `Expect: 100-continue`; replies over [`CHUNKED_ABOVE_BYTES`] are chunked, others carry their length.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// The most a request's head may have, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most headers a request may have.
const HEADERS_MAX: usize = 100;
/// The most a request's body may have, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest line of a chunked body that is not data, in bytes.
const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// Replies with more bytes than this are chunked, as Go's server does it.
const CHUNKED_ABOVE_BYTES: usize = 2048;
/// What one read takes, in bytes; Go's server reads as much ahead.
const READ_BYTES: usize = 4096;

/// A client's connection.
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub(super) fn shutdown(&self, how: Shutdown) {
        // An error means that the peer was faster.
        let _ = match self {
            Stream::Unix(stream) => stream.shutdown(how),
            Stream::Tcp(stream) => stream.shutdown(how),
        };
    }

    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.set_nonblocking(true),
            Stream::Tcp(stream) => stream.set_nonblocking(true),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&*stream).read(into),
            Stream::Tcp(stream) => (&*stream).read(into),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&*stream).write(bytes),
            Stream::Tcp(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One request, read whole.
pub(super) struct Request {
    pub(super) method: String,
    /// Without the query, percent-decoded by segment.
    pub(super) path: Vec<String>,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// The connection may carry another request afterwards.
    pub(super) keep_alive: bool,
}

impl Request {
    /// A header's value, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter's first value, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A boolean query parameter as the engine reads it: present and not one of its words for no.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| {
            !matches!(value.to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
        })
    }
}

/// A reply with a body of known length.
pub(super) struct Reply {
    pub(super) status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
}

impl Reply {
    pub(super) fn json(status: u16, value: &serde_json::Value) -> Reply {
        let mut body = value.to_string().into_bytes();
        body.push(b'\n');
        Reply { status, content_type: "application/json", body, headers: Vec::new() }
    }

    /// An error as the engine tells it.
    pub(super) fn error(status: u16, message: &str) -> Reply {
        Reply::json(status, &serde_json::json!({ "message": message }))
    }

    pub(super) fn text(status: u16, text: &str) -> Reply {
        Reply {
            status,
            content_type: "text/plain; charset=utf-8",
            body: text.as_bytes().to_vec(),
            headers: Vec::new(),
        }
    }

    /// No content type, `Content-Length: 0`.
    pub(super) fn empty(status: u16) -> Reply {
        Reply { status, content_type: "", body: Vec::new(), headers: Vec::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

/// Why no request could be read.
pub(super) enum Refusal {
    /// The peer broke HTTP; what it is told before the connection closes.
    Malformed { status: u16, text: &'static str },
    /// The connection is broken, or the engine is stopping.
    Broken,
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Refusal {
        Refusal::Broken
    }
}

fn malformed(text: &'static str) -> Refusal {
    Refusal::Malformed { status: 400, text }
}

/// A connection and what was read ahead on it.
pub(super) struct Connection {
    stream: Arc<Stream>,
    ahead: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: Arc<Stream>) -> Connection {
        if let Stream::Tcp(tcp) = &*stream {
            // As Go does; small writes are meant to leave as such.
            let _ = tcp.set_nodelay(true);
        }
        Connection { stream, ahead: Vec::new() }
    }

    /// The next request, or `None` when the peer is done.
    pub(super) fn request(&mut self) -> Result<Option<Request>, Refusal> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut parsed = httparse::Request::new(&mut headers);
            match parsed.parse(&self.ahead) {
                Err(httparse::Error::TooManyHeaders) => {
                    return Err(Refusal::Malformed { status: 431, text: "too many headers" });
                }
                Err(_) => return Err(malformed("")),
                Ok(httparse::Status::Complete(length)) => {
                    let (mut request, framing) = read_head(&parsed)?;
                    self.ahead.drain(..length);
                    self.read_body(&mut request, &framing)?;
                    return Ok(Some(request));
                }
                Ok(httparse::Status::Partial) if self.ahead.len() > HEAD_BYTES_MAX => {
                    return Err(Refusal::Malformed { status: 431, text: "head too large" });
                }
                Ok(httparse::Status::Partial) => {}
            }
            if self.read_more()? == 0 {
                return Ok(None);
            }
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut bytes = [0; READ_BYTES];
        loop {
            match (&*self.stream).read(&mut bytes) {
                Ok(count) => {
                    self.ahead.extend_from_slice(&bytes[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn read_body(&mut self, request: &mut Request, framing: &Framing) -> Result<(), Refusal> {
        let expects =
            request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        if expects && self.ahead.is_empty() && !matches!(framing, Framing::Length(0)) {
            (&*self.stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        match *framing {
            Framing::Length(length) if length > BODY_BYTES_MAX => {
                return Err(Refusal::Malformed { status: 413, text: "body too large" });
            }
            Framing::Length(length) => {
                self.read_until(length)?;
                request.body = self.ahead.drain(..length).collect();
            }
            Framing::Chunked => loop {
                let line = self.read_line()?;
                let digits = line.split(';').next().unwrap_or_default().trim();
                let size =
                    usize::from_str_radix(digits, 16).map_err(|_| malformed("malformed chunked encoding"))?;
                if size == 0 {
                    // Trailers end with an empty line, too.
                    while !self.read_line()?.is_empty() {}
                    return Ok(());
                }
                if size > BODY_BYTES_MAX || request.body.len() + size > BODY_BYTES_MAX {
                    return Err(Refusal::Malformed { status: 413, text: "body too large" });
                }
                self.read_until(size)?;
                request.body.extend(self.ahead.drain(..size));
                if !self.read_line()?.is_empty() {
                    return Err(malformed("malformed chunked encoding"));
                }
            },
        }
        Ok(())
    }

    fn read_until(&mut self, length: usize) -> Result<(), Refusal> {
        while self.ahead.len() < length {
            if self.read_more()? == 0 {
                return Err(Refusal::Broken);
            }
        }
        Ok(())
    }

    fn read_line(&mut self) -> Result<String, Refusal> {
        loop {
            if let Some(end) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.ahead.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return String::from_utf8(line).map_err(|_| malformed("malformed chunked encoding"));
            }
            if self.ahead.len() > CHUNK_LINE_BYTES_MAX {
                return Err(malformed("malformed chunked encoding"));
            }
            if self.read_more()? == 0 {
                return Err(Refusal::Broken);
            }
        }
    }

    /// Writes a whole reply; a reply to HEAD has the head only.
    pub(super) fn reply(&mut self, reply: &Reply, keep_alive: bool, head_only: bool) -> io::Result<()> {
        let chunked = reply.body.len() > CHUNKED_ABOVE_BYTES;
        let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
        head += &engine_headers();
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !reply.content_type.is_empty() {
            head += &format!("Content-Type: {}\r\n", reply.content_type);
        }
        if !keep_alive {
            head += "Connection: close\r\n";
        }
        if chunked {
            head += "Transfer-Encoding: chunked\r\n\r\n";
        } else {
            let length = if head_only { 0 } else { reply.body.len() };
            head += &format!("Content-Length: {length}\r\n\r\n");
        }
        let mut bytes = head.into_bytes();
        if !head_only && chunked {
            for piece in reply.body.chunks(READ_BYTES) {
                push_chunk(&mut bytes, piece);
            }
            push_chunk(&mut bytes, b"");
        } else if !head_only {
            bytes.extend_from_slice(&reply.body);
        }
        (&*self.stream).write_all(&bytes)
    }

    /// What a peer that broke HTTP is told; the connection is to be closed afterwards.
    pub(super) fn refuse(&mut self, status: u16, text: &str) {
        let status_line = format!("{status} {}", reason(status));
        let colon = if text.is_empty() { "" } else { ": " };
        // The peer may be gone, and there is nobody else to tell.
        let _ = (&*self.stream).write_all(
            format!(
                "HTTP/1.1 {status_line}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
                 {status_line}{colon}{text}"
            )
            .as_bytes(),
        );
    }

    /// Writes a head line by line, each with its own write, as the engine's heads come.
    pub(super) fn head_in_pieces(&mut self, head: &str) -> io::Result<()> {
        for line in head.split_inclusive("\r\n") {
            (&*self.stream).write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// Writes bytes of a body that the caller frames.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&*self.stream).write_all(bytes)
    }

    /// The connection as a stream. What was read ahead is lost, as it is in the engine, which throws away its
    /// buffered reader here: a client must not send before it has the head.
    pub(super) fn hijack(self) -> Arc<Stream> {
        self.stream
    }

    /// The stream, to watch it.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }
}

/// Appends one chunk of a chunked body; an empty one ends it.
pub(super) fn push_chunk(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
    into.extend_from_slice(bytes);
    into.extend_from_slice(b"\r\n");
}

/// The headers that every reply of the engine has.
pub(super) fn engine_headers() -> String {
    format!(
        "Api-Version: {}\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: Entry-Demo/{} (linux)\r\n",
        super::api::API_VERSION,
        env!("CARGO_PKG_VERSION")
    )
}

/// How a body's end is found.
enum Framing {
    Length(usize),
    Chunked,
}

fn read_head(parsed: &httparse::Request<'_, '_>) -> Result<(Request, Framing), Refusal> {
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value).trim().to_owned();
            (header.name.to_ascii_lowercase(), value)
        })
        .collect();
    let target = parsed.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| decode(segment, false))
            .collect(),
        query: query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name, true), decode(value, true)))
            .collect(),
        headers,
        body: Vec::new(),
        keep_alive: true,
    };
    // Go's server: HTTP/1.1 needs a Host, which may be empty but not a path.
    let http_1_1 = parsed.version == Some(1);
    let host_is_fine = match request.header("host") {
        Some(host) => !host.contains('/'),
        None => !http_1_1,
    };
    if !host_is_fine {
        return Err(malformed("malformed Host header"));
    }
    let connection = request.header("connection").unwrap_or_default().to_ascii_lowercase();
    request.keep_alive = http_1_1 && !connection.split(',').any(|word| word.trim() == "close");
    let framing = match (request.header("transfer-encoding"), request.header("content-length")) {
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        (Some(_), _) => {
            return Err(Refusal::Malformed { status: 501, text: "unsupported transfer encoding" });
        }
        (None, Some(length)) => Framing::Length(length.parse().map_err(|_| malformed("bad Content-Length"))?),
        (None, None) => Framing::Length(0),
    };
    Ok((request, framing))
}

/// Percent-decoding; `plus` stands for a space in queries only. A stray percent sign stays as it is.
fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = hex {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(if plus && bytes[at] == b'+' { b' ' } else { bytes[at] });
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        404 => "Not Found",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        _ => "Internal Server Error",
    }
}
