//! Heads written: requests to upstreams, short responses to clients.
//!
//! Nothing that is handed in can end a line early or start another one: values that come from tokens and
//! names are made harmless here, whatever the caller checked before.

use std::io::Write;

/// Appends a request. `host` is the `Host` header's value.
///
/// A body is JSON: it gets `Content-Type: application/json` and its `Content-Length`. `Some(b"")` gets
/// `Content-Length: 0` only, which a POST without content should say (RFC 9110, 8.6). A byte in a value that
/// could end the line is written as a space (RFC 9110, 5.5), one in the target as its escape.
pub fn write_request(
    out: &mut Vec<u8>,
    method: &str,
    target: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) {
    debug_assert!(method.bytes().all(|byte| byte.is_ascii_alphabetic()), "a method is a word");
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    write_target(out, target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_header(out, "Host", host);
    for (name, value) in headers {
        write_header(out, name, value);
    }
    if let Some(body) = body {
        if !body.is_empty() {
            write_header(out, "Content-Type", "application/json");
        }
        write_header(out, "Content-Length", &body.len().to_string());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body.unwrap_or_default());
}

/// Appends a whole response of plain text, after which the connection is to be closed. The reason phrase
/// follows from `status`.
pub fn write_response(out: &mut Vec<u8>, status: u16, headers: &[(&str, &str)], body: &str) {
    write_content(out, status, headers, "text/plain; charset=utf-8", body);
}

/// The same with content of another type.
pub fn write_content(
    out: &mut Vec<u8>,
    status: u16,
    headers: &[(&str, &str)],
    content_type: &str,
    body: &str,
) {
    write_response_head(out, status, headers, content_type, body.len());
    out.extend_from_slice(body.as_bytes());
}

/// Appends the head of a response with a body of this type and length, after which the connection is to be closed.
/// An empty type means that there is nothing to describe (304).
pub fn write_response_head(
    out: &mut Vec<u8>,
    status: u16,
    headers: &[(&str, &str)],
    content_type: &str,
    body_bytes: usize,
) {
    // Writing to a Vec cannot fail.
    let written = write!(out, "HTTP/1.1 {status} {}\r\n", reason(status));
    debug_assert!(written.is_ok());
    for (name, value) in headers {
        write_header(out, name, value);
    }
    if !content_type.is_empty() {
        write_header(out, "Content-Type", content_type);
        write_header(out, "Content-Length", &body_bytes.to_string());
    }
    write_header(out, "Connection", "close");
    out.extend_from_slice(b"\r\n");
}

/// Escapes everything but the unreserved characters (RFC 3986, 2.3): for one path segment or one value in a
/// query. A segment that is `.` or `..` stays one; the caller refuses those.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.extend(escape(other).map(char::from)),
        }
    }
    encoded
}

fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    debug_assert!(
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
        "a header's name is a word of ours"
    );
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().map(|byte| if is_control(byte) { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

fn write_target(out: &mut Vec<u8>, target: &str) {
    for byte in target.bytes() {
        if byte == b' ' || is_control(byte) || !byte.is_ascii() {
            out.extend_from_slice(&escape(byte));
        } else {
            out.push(byte);
        }
    }
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// `%` and two upper-case hexadecimal digits, the form that RFC 3986, 2.1 asks for.
fn escape(byte: u8) -> [u8; 3] {
    let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 0x0f)];
    [b'%', digit(byte >> 4), digit(byte)]
}

/// The reason phrase of a status, for people who read the bytes (RFC 9110, 15).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => match status / 100 {
            1 => "Informational",
            2 => "Success",
            3 => "Redirection",
            4 => "Client Error",
            _ => "Server Error",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse_request, parse_response};
    use super::*;

    fn request(headers: &[(&str, &str)], target: &str, body: Option<&[u8]>) -> String {
        let mut out = Vec::new();
        write_request(&mut out, "POST", target, "docker", headers, body);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests() {
        assert_eq!(request(&[], "/a?b=c", None), "POST /a?b=c HTTP/1.1\r\nHost: docker\r\n\r\n");
        assert_eq!(
            request(&[("Upgrade", "tcp")], "/", Some(b"")),
            "POST / HTTP/1.1\r\nHost: docker\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(
            request(&[], "/", Some(b"{}")),
            "POST / HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        );
    }

    #[test]
    fn nothing_handed_in_ends_a_line() {
        let text = request(&[("X", "a\r\nEvil: b\0c\td")], "/a b\r\n\u{e9}", None);
        assert_eq!(text, "POST /a%20b%0D%0A%C3%A9 HTTP/1.1\r\nHost: docker\r\nX: a  Evil: b c\td\r\n\r\n");
        let (head, length) = parse_request(text.as_bytes(), 4096).unwrap().unwrap();
        assert_eq!((head.headers.first("Evil"), length), (None, text.len()));
    }

    #[test]
    fn responses_close_the_connection() {
        let mut out = Vec::new();
        write_response(&mut out, 503, &[("Retry-After", "1")], "too many sessions\n");
        let (head, head_bytes) = parse_response(&out, 4096).unwrap().unwrap();
        assert_eq!(head.status, 503);
        assert!(out.starts_with(b"HTTP/1.1 503 Service Unavailable\r\n"));
        assert_eq!(head.header("content-length"), Some("18"));
        assert_eq!(head.header("retry-after"), Some("1"));
        assert!(!head.keeps_alive());
        assert_eq!(&out[head_bytes..], b"too many sessions\n");
    }

    #[test]
    fn percent_encoding_is_undone_by_the_query() {
        assert_eq!(percent_encode("aZ09-._~"), "aZ09-._~");
        assert_eq!(percent_encode("a/b c+%é"), "a%2Fb%20c%2B%25%C3%A9");
        let text = format!("GET /?k={} HTTP/1.1\r\n\r\n", percent_encode("a/b c+%é&="));
        let (head, _) = parse_request(text.as_bytes(), 4096).unwrap().unwrap();
        assert_eq!(head.query("k").as_deref(), Some("a/b c+%é&="));
    }
}
