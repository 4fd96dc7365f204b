//! HTTP/1.1 heads, in both directions: requests from clients, responses of engines and other upstreams.
//!
//! The heads are parsed by httparse, under limits of ours; what follows from them (RFC 9112) is here. Bodies
//! are in [`body`](BodyDecoder), whole replies in [`reply`](ReplyReader). This room may not know what a
//! request is for, who is connected, or how long anything takes.
//!
//! Three shapes of use: [`parse_request`] lends out of the caller's buffer, since a client's first request is
//! read once and dropped; [`parse_response`] gives owned values, since they outlive the lent buffer; and the
//! `write_` functions append to a buffer of the caller's.

mod body;
mod reply;
mod writing;

pub use body::{BodyDecoder, BodyFraming, BodyStep, response_framing};
pub use reply::{Expect, Reply, ReplyReader};
pub use writing::{percent_encode, write_content, write_request, write_response, write_response_head};

use std::borrow::Cow;
use std::fmt;

/// The most header lines a head may have.
pub const HEADERS_MAX: usize = 64;

/// Why bytes are not a message that is accepted. It is the peer's fault in every case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpError {
    /// The head is not complete within the limit.
    HeadTooLong {
        /// The limit that was passed, in bytes.
        limit_bytes: usize,
    },
    /// The head has more than [`HEADERS_MAX`] lines.
    TooManyHeaders,
    /// The bytes break HTTP's grammar or contradict themselves; it says what does.
    Malformed(&'static str),
    /// The body is longer than the limit, or is announced to be.
    BodyTooLong {
        /// The limit that was passed, in bytes.
        limit_bytes: usize,
    },
    /// The connection ended before the message did.
    Truncated,
}

impl fmt::Display for HttpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::HeadTooLong { limit_bytes } => {
                write!(formatter, "the HTTP head is longer than {limit_bytes} bytes")
            }
            HttpError::TooManyHeaders => {
                write!(formatter, "the HTTP head has more than {HEADERS_MAX} header lines")
            }
            HttpError::Malformed(what) => write!(formatter, "malformed HTTP: {what}"),
            HttpError::BodyTooLong { limit_bytes } => {
                write!(formatter, "the HTTP body is longer than {limit_bytes} bytes")
            }
            HttpError::Truncated => {
                write!(formatter, "the connection ended in the middle of an HTTP message")
            }
        }
    }
}

impl std::error::Error for HttpError {}

impl From<httparse::Error> for HttpError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::HeaderName => HttpError::Malformed("a header's name"),
            httparse::Error::HeaderValue => HttpError::Malformed("a header's value"),
            httparse::Error::NewLine => HttpError::Malformed("the end of a line"),
            httparse::Error::Status => HttpError::Malformed("the status"),
            httparse::Error::Token => HttpError::Malformed("a token in the first line"),
            httparse::Error::TooManyHeaders => HttpError::TooManyHeaders,
            httparse::Error::Version => HttpError::Malformed("the HTTP version"),
        }
    }
}

/// The header lines of a request, as they lie in the buffer. Names are compared without regard to case.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    lines: Vec<httparse::Header<'a>>,
}

impl Headers<'_> {
    /// The value of the first line of this name.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The value of the first line of this name, trimmed; `None` also if it is not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        trimmed_text(self.first(name)?)
    }

    /// The values of all lines of this name, in order.
    pub fn all<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        self.lines.iter().filter(move |line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
    }

    /// Is `token` in the comma-separated list that all lines of this name make together (RFC 9110, 5.6.1)?
    /// Case does not matter.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).any(|value| list_has_token(value, token))
    }
}

/// Whether a Host header, or an origin's authority, names this very machine: `localhost` or a loopback address, with a
/// port or without. Any other name may be one that somebody else has given this machine (DNS rebinding).
pub fn names_loopback(authority: &str) -> bool {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<core::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A request's first line and header lines, lent from the buffer they arrived in (RFC 9112, 3).
#[derive(Debug, Clone)]
pub struct RequestHead<'a> {
    /// The method, in the case it was sent.
    pub method: &'a str,
    /// The request target as it was sent.
    pub target: &'a str,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// The header lines.
    pub headers: Headers<'a>,
}

impl RequestHead<'_> {
    /// The target's path, not decoded, without the query. Of an absolute target (RFC 9112, 3.2.2) the part
    /// behind the authority.
    pub fn path(&self) -> &str {
        self.path_and_query().0
    }

    /// The first value of this name in the query, percent-decoded, `+` being a space. A name without `=` has
    /// an empty value; an escape that is none stays as it is; what is not UTF-8 is replaced by U+FFFD.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        self.path_and_query().1?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key) == name).then(|| percent_decode(value))
        })
    }

    fn path_and_query(&self) -> (&str, Option<&str>) {
        let (before, query) = match self.target.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (self.target, None),
        };
        let path = match before.split_once("://") {
            Some((_, rest)) if !before.starts_with('/') => rest.find('/').map_or("/", |start| &rest[start..]),
            Some(_) | None => before,
        };
        (path, query)
    }
}

/// Parses a request's head at the start of `bytes`: the head and its length in bytes, or `None` while it is
/// incomplete.
///
/// # Errors
/// [`HttpError::HeadTooLong`] when it is not complete within `head_bytes_max` bytes,
/// [`HttpError::TooManyHeaders`], [`HttpError::Malformed`] as soon as the bytes cannot be a head.
pub fn parse_request(
    bytes: &[u8],
    head_bytes_max: usize,
) -> Result<Option<(RequestHead<'_>, usize)>, HttpError> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let parsed = request.parse(within(bytes, head_bytes_max))?;
    let Some(head_bytes) = complete(parsed, bytes, head_bytes_max)? else {
        return Ok(None);
    };
    let (Some(method), Some(target), Some(minor_version)) = (request.method, request.path, request.version)
    else {
        return Err(HttpError::Malformed("the first line"));
    };
    let headers = Headers { lines: request.headers.to_vec() };
    Ok(Some((RequestHead { method, target, minor_version, headers }, head_bytes)))
}

/// A response's status line and header lines, owned (RFC 9112, 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, 100 to 999.
    pub status: u16,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    headers: Vec<(String, Vec<u8>)>,
}

impl ResponseHead {
    /// The value of the first line of this name, trimmed; `None` also if it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        trimmed_text(self.all(name).next()?)
    }

    /// The values of all lines of this name, in order.
    pub fn all<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        self.headers
            .iter()
            .filter(move |(line_name, _)| line_name.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// Is `token` in the comma-separated list that all lines of this name make together? Case does not
    /// matter.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).any(|value| list_has_token(value, token))
    }

    /// Does the sender mean to keep the connection open (RFC 9112, 9.3)? Whether it can be used again also
    /// depends on the body's framing, see [`Reply::leaves_connection_usable`].
    pub fn keeps_alive(&self) -> bool {
        if self.has_token("connection", "close") {
            return false;
        }
        self.minor_version >= 1 || self.has_token("connection", "keep-alive")
    }

    /// Has the connection changed its protocol (101)?
    pub fn is_upgraded(&self) -> bool {
        self.status == 101
    }

    /// Is the status 2xx?
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Parses a response's head at the start of `bytes`: the head and its length in bytes, or `None` while it is
/// incomplete.
///
/// # Errors
/// As for [`parse_request`].
pub fn parse_response(
    bytes: &[u8],
    head_bytes_max: usize,
) -> Result<Option<(ResponseHead, usize)>, HttpError> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut lines);
    let parsed = response.parse(within(bytes, head_bytes_max))?;
    let Some(head_bytes) = complete(parsed, bytes, head_bytes_max)? else {
        return Ok(None);
    };
    let (Some(status @ 100..), Some(minor_version)) = (response.code, response.version) else {
        return Err(HttpError::Malformed("the status"));
    };
    let headers = response.headers.iter().map(|line| (line.name.to_owned(), line.value.to_vec())).collect();
    Ok(Some((ResponseHead { status, minor_version, headers }, head_bytes)))
}

/// The part of `bytes` in which a head must be complete.
fn within(bytes: &[u8], head_bytes_max: usize) -> &[u8] {
    &bytes[..bytes.len().min(head_bytes_max)]
}

fn complete(
    parsed: httparse::Status<usize>,
    bytes: &[u8],
    head_bytes_max: usize,
) -> Result<Option<usize>, HttpError> {
    match parsed {
        httparse::Status::Complete(head_bytes) => Ok(Some(head_bytes)),
        httparse::Status::Partial if bytes.len() < head_bytes_max => Ok(None),
        httparse::Status::Partial => Err(HttpError::HeadTooLong { limit_bytes: head_bytes_max }),
    }
}

fn trimmed_text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.trim_ascii()).ok()
}

fn list_has_token(value: &[u8], token: &str) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(byte) = bytes.get(position) {
        position += 1;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => match (hex_value(bytes.get(position)), hex_value(bytes.get(position + 1))) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    position += 2;
                }
                (_, _) => decoded.push(b'%'),
            },
            other => decoded.push(*other),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// The value of a hexadecimal digit.
fn hex_value(digit: Option<&u8>) -> Option<u8> {
    match digit? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4096;

    fn response(text: &str) -> ResponseHead {
        parse_response(text.as_bytes(), LIMIT).unwrap().unwrap().0
    }

    #[test]
    fn a_request_is_incomplete_at_every_offset_but_its_end() {
        let text = b"GET /enter?app=a%2Fb&x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\nbehind";
        let head_bytes = text.len() - "behind".len();
        for end in 0..head_bytes {
            assert!(parse_request(&text[..end], LIMIT).unwrap().is_none(), "{end}");
        }
        for end in head_bytes..=text.len() {
            let (head, length) = parse_request(&text[..end], LIMIT).unwrap().unwrap();
            assert_eq!(
                (head.method, head.path(), head.minor_version, length),
                ("GET", "/enter", 1, head_bytes)
            );
            assert_eq!(head.query("app").as_deref(), Some("a/b"));
        }
    }

    #[test]
    fn a_response_is_incomplete_at_every_offset_but_its_end() {
        let text = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n$ ";
        let head_bytes = text.len() - 2;
        for end in 0..head_bytes {
            assert!(parse_response(&text[..end], LIMIT).unwrap().is_none(), "{end}");
        }
        let (head, length) = parse_response(text, LIMIT).unwrap().unwrap();
        assert_eq!((head.status, length), (101, head_bytes));
        assert!(head.is_upgraded() && head.has_token("CONNECTION", "upgrade"));
    }

    #[test]
    fn heads_are_limited_in_bytes_and_lines() {
        let text = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
        let limit_bytes = text.len() - 1;
        assert!(parse_request(text, text.len()).unwrap().is_some());
        assert!(parse_request(&text[..limit_bytes - 1], limit_bytes).unwrap().is_none());
        for end in limit_bytes..=text.len() {
            assert_eq!(
                parse_request(&text[..end], limit_bytes).unwrap_err(),
                HttpError::HeadTooLong { limit_bytes }
            );
        }
        for (lines, is_accepted) in [(HEADERS_MAX, true), (HEADERS_MAX + 1, false)] {
            let request = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(lines));
            let reply = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(lines));
            assert_eq!(parse_request(request.as_bytes(), LIMIT).is_ok(), is_accepted);
            assert_eq!(parse_response(reply.as_bytes(), LIMIT).is_ok(), is_accepted);
        }
    }

    #[test]
    fn what_is_not_http_is_malformed() {
        for bytes in
            [&b"\x16\x03\x01\x02\x00"[..], b"GET / HTTP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\nA b\r\n\r\n"]
        {
            assert!(matches!(parse_request(bytes, LIMIT), Err(HttpError::Malformed(_))), "{bytes:?}");
        }
        for bytes in [&b"SSH-2.0-x\r\n"[..], b"HTTP/1.1 099 Low\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n"] {
            assert!(matches!(parse_response(bytes, LIMIT), Err(HttpError::Malformed(_))), "{bytes:?}");
        }
    }

    #[test]
    fn header_lines_are_found_without_regard_to_case_and_joined_as_lists() {
        let text = b"GET / HTTP/1.1\r\nconnection: keep-alive, UPGRADE\r\nX: \xff\r\nx:  two \r\nConnection: a,,b\r\n\r\n";
        let (head, _) = parse_request(text, LIMIT).unwrap().unwrap();
        for token in ["keep-alive", "upgrade", "A", "b"] {
            assert!(head.headers.has_token("Connection", token), "{token}");
        }
        assert!(!head.headers.has_token("Connection", "keep"));
        assert_eq!(head.headers.first("X"), Some(&b"\xff"[..]));
        assert_eq!(head.headers.text("X"), None);
        assert_eq!(head.headers.all("x").last(), Some(&b"two"[..]));
        assert_eq!(head.headers.text("absent"), None);
    }

    #[test]
    fn paths_and_queries() {
        let table = [
            ("/", "/", None),
            ("/a/b?k=v", "/a/b", Some("v")),
            ("/?k=a+b%20c%2B", "/", Some("a b c+")),
            ("/?x=1&k", "/", Some("")),
            ("/?k=1&k=2", "/", Some("1")),
            ("/?%6b=v%", "/", Some("v%")),
            ("/?k=%zz%f", "/", Some("%zz%f")),
            ("/?k=%ff", "/", Some("\u{fffd}")),
            ("/?k=%e2%82%ac", "/", Some("€")),
            ("http://host:1/p?k=v", "/p", Some("v")),
            ("http://host?k=http://x/", "/", Some("http://x/")),
            ("/a://b/c", "/a://b/c", None),
            ("*", "*", None),
        ];
        for (target, path, value) in table {
            let head = RequestHead {
                method: "GET",
                target,
                minor_version: 1,
                headers: Headers { lines: Vec::new() },
            };
            assert_eq!((head.path(), head.query("k").as_deref()), (path, value), "{target}");
        }
    }

    #[test]
    fn keep_alive_follows_version_and_connection() {
        let table = [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n\r\n", false),
        ];
        for (text, expected) in table {
            assert_eq!(response(text).keeps_alive(), expected, "{text}");
        }
    }
}
