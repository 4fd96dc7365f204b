//! The request head, the answer to it, and the first message: from a connection to a client that says what it wants.

use super::{Context, Millis, Session, State};
use crate::config;
use crate::outcome::{Action, Outcome};
use crate::wire::http::{self, HttpError, RequestHead, write_response};
use crate::wire::message::{
    Codec, ENTRY_V1, Hello, MessageError, Request, decode_json_hello, decode_request,
};
use crate::wire::websocket::{UpgradeError, check_upgrade, write_upgrade_response};

/// The request head is arriving.
#[derive(Debug)]
pub(super) struct Upgrading {
    head: Vec<u8>,
    pub(super) deadline: Millis,
}

impl Upgrading {
    pub(super) fn new(now: Millis) -> Self {
        Upgrading { head: Vec::new(), deadline: now + config::HEAD_MILLISECONDS_MAX }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.head.capacity()
    }
}

/// The upgrade is answered; the client's first message says who asks for what.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) deadline: Millis,
}

impl Session {
    pub(super) fn upgrade_bytes(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        let State::Upgrading(state) = &mut self.state else { return };
        let first = state.head.is_empty();
        // From where the end of the head may have come with these bytes.
        let from = state.head.len().saturating_sub(3);
        state.head.extend_from_slice(bytes);
        // A head that comes byte by byte is not parsed byte by byte; but what is no HTTP at all is told at once.
        let whole = ends_head(&state.head[from..]) || state.head.len() > config::HEAD_BYTES_MAX;
        if !first && !whole {
            return;
        }
        let mut head = std::mem::take(&mut state.head);
        let (parsed, consumed) = match http::parse_request(&head, config::HEAD_BYTES_MAX) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => {
                state.head = head;
                return;
            }
            Err(error) => {
                let (status, text) = refusal(&error);
                return self.answer_http(cx, status, &[], text);
            }
        };
        let head_only = parsed.method == "HEAD";
        match route(&parsed) {
            Route::Answer { status, headers, text } => {
                self.answer_http(cx, status, headers, text);
                if head_only {
                    cut_body(&mut cx.to_client.bytes);
                }
            }
            Route::Refuse(error) => {
                error.write_response(&mut cx.to_client.bytes);
                if head_only {
                    cut_body(&mut cx.to_client.bytes);
                }
                self.linger(cx);
            }
            Route::Upgrade { action, codec, key, hello } => {
                let protocol = (codec == Codec::V1).then_some(ENTRY_V1);
                write_upgrade_response(&mut cx.to_client.bytes, key, protocol);
                self.action = action;
                self.codec = codec;
                self.next_ping = config::first_ping_at(cx.now, self.id.number);
                match hello {
                    Some(hello) => self.begin_opening(cx, *hello),
                    None => {
                        self.state =
                            State::Greeting(Greeting { deadline: cx.now + config::HELLO_MILLISECONDS_MAX });
                    }
                }
                // What came in one segment behind the head belongs to the WebSocket.
                let mut rest = head.split_off(consumed);
                let length = rest.len();
                self.client_bytes(cx, &mut rest, 0..length);
            }
        }
    }

    pub(super) fn upgrade_timed_out(&mut self, cx: &mut Context<'_>) {
        self.answer_http(cx, 408, &[], "The request head did not arrive in time.\n");
    }

    fn answer_http(&mut self, cx: &mut Context<'_>, status: u16, headers: &[(&str, &str)], text: &str) {
        write_response(&mut cx.to_client.bytes, status, headers, text);
        self.linger(cx);
    }

    pub(super) fn hello_message(&mut self, cx: &mut Context<'_>, message: &[u8]) {
        let hello = match self.codec {
            Codec::Json => decode_json_hello(message),
            Codec::Protobuf | Codec::V1 => match decode_request(self.codec, message, cx.scratch) {
                Ok(Request::Hello(hello)) => Ok(*hello),
                Ok(_) => Err(MessageError("the first message must be a HELLO")),
                Err(error) => Err(error),
            },
        };
        match hello {
            Ok(mut hello) => {
                if self.codec == Codec::Json {
                    hello.tty = true;
                }
                self.begin_opening(cx, hello);
            }
            Err(error) => self.end(cx, Outcome::ProtocolError { close_code: 1007, detail: error.0 }),
        }
    }
}

/// Leaves of a response what answers HEAD (RFC 9110, 9.3.2).
fn cut_body(response: &mut Vec<u8>) {
    if let Some(head_end) = response.windows(4).position(|four| four == b"\r\n\r\n") {
        response.truncate(head_end + 4);
    }
}

/// Whether an empty line, with which a head ends, is among these bytes.
fn ends_head(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

fn refusal(error: &HttpError) -> (u16, &'static str) {
    match error {
        HttpError::HeadTooLong { .. } | HttpError::TooManyHeaders => {
            (431, "The request head is too long: at most 16 KiB and 64 headers.\n")
        }
        HttpError::Malformed(_) | HttpError::BodyTooLong { .. } | HttpError::Truncated => {
            (400, "This is not an HTTP/1.1 request.\n")
        }
    }
}

enum Route<'a> {
    Answer { status: u16, headers: &'static [(&'static str, &'static str)], text: &'static str },
    Refuse(UpgradeError),
    Upgrade { action: Action, codec: Codec, key: &'a str, hello: Option<Box<Hello>> },
}

fn route<'a>(head: &'a RequestHead<'a>) -> Route<'a> {
    let action = match head.path() {
        "/enter" => Action::Enter,
        "/attach" => Action::Attach,
        "/api/ping" if matches!(head.method, "GET" | "HEAD") => {
            return Route::Answer { status: 200, headers: &[], text: "pong\n" };
        }
        "/api/ping" => {
            let headers: &[_] = &[("Allow", "GET, HEAD")];
            return Route::Answer { status: 405, headers, text: "Use GET.\n" };
        }
        _ => {
            let text = "Nothing is here. There are /enter, /attach and /api/ping.\n";
            return Route::Answer { status: 404, headers: &[], text };
        }
    };
    let upgrade = match check_upgrade(head) {
        Ok(upgrade) => upgrade,
        Err(error) => return Route::Refuse(error),
    };
    if !comes_from_here(head) {
        let text = "A page of another origin may not enter containers. Without access control, Entry takes browsers \
                    only from a page of its own on a loopback address.\n";
        return Route::Answer { status: 403, headers: &[], text };
    }
    let (codec, hello) = if upgrade.offers(ENTRY_V1) {
        (Codec::V1, None)
    } else if head.query("method").as_deref() == Some("web") {
        (Codec::Json, None)
    } else {
        let text = |name| head.headers.text(name).unwrap_or_default().to_owned();
        let hello = Hello {
            access_token: text("access-token"),
            app: text("app-name"),
            proc: text("proc-name"),
            instance: text("instance-no"),
            container: text("container"),
            term: text("term-type"),
            tty: true,
            ..Hello::default()
        };
        (Codec::Protobuf, Some(Box::new(hello)))
    };
    Route::Upgrade { action, codec, key: upgrade.key, hello }
}

/// Browsers say which page asks (RFC 6454). Any page that a person visits can open a WebSocket to this machine, so the
/// page must be of this very host; and that must be a loopback name, or a page could rename itself to this machine's
/// address (DNS rebinding). Who sends no Origin is no browser.
fn comes_from_here(head: &RequestHead<'_>) -> bool {
    if head.headers.first("origin").is_none() {
        return true;
    }
    let (Some(origin), Some(host)) = (head.headers.text("origin"), head.headers.text("host")) else {
        return false;
    };
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = name.eq_ignore_ascii_case("localhost")
        || name.parse::<core::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback && authority.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_machine_may_enter() {
        let table = [
            (None, "127.0.0.1:8022", true),
            (Some("http://127.0.0.1:8022"), "127.0.0.1:8022", true),
            (Some("http://localhost:8022"), "LOCALHOST:8022", true),
            (Some("http://[::1]:8022"), "[::1]:8022", true),
            (Some("http://localhost"), "localhost", true),
            (Some("http://localhost:3000"), "localhost:8022", false),
            (Some("https://evil.example"), "127.0.0.1:8022", false),
            (Some("http://evil.example:8022"), "evil.example:8022", false),
            (Some("http://127.0.0.1.evil.example:8022"), "127.0.0.1.evil.example:8022", false),
            (Some("null"), "127.0.0.1:8022", false),
        ];
        for (origin, host, allowed) in table {
            let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
            let request = format!("GET /enter HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n");
            let (head, _) = http::parse_request(request.as_bytes(), config::HEAD_BYTES_MAX).unwrap().unwrap();
            assert_eq!(comes_from_here(&head), allowed, "{request}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_seen_wherever_it_is_cut() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
        for cut in head.len() - 3..head.len() {
            // As the room above looks: from three bytes before what has just come.
            assert!(ends_head(&head[cut - 3..]), "{cut}");
        }
        assert!(!ends_head(&head[..head.len() - 1]) && ends_head(head) && ends_head(b"a\n\n"));
    }
}
