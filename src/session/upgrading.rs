//! The request head, the answer to it, and the first message: from a connection to a client that says what it wants.

use super::{Context, Effect, Event, Millis, Session, State};
use crate::config::{self, Front};
use crate::crowd::{Full, SHARE_BYTES_MIN};
use crate::outcome::{Action, Outcome};
use crate::web;
use crate::wire::forwarded::client_address;
use crate::wire::http::{self, HttpError, RequestHead, write_response};
use crate::wire::message::{
    Codec, ENTRY_V1, Hello, MessageError, Request, decode_json_hello, decode_request,
};
use crate::wire::proxy::{self, Source};
use crate::wire::websocket::{UpgradeError, check_upgrade, write_upgrade_response};
use core::net::IpAddr;

/// The request head is arriving.
#[derive(Debug)]
pub(super) struct Upgrading {
    head: Vec<u8>,
    pub(super) deadline: Millis,
    /// Who is at the other end: the connection's own peer, or whom the PROXY header names.
    peer: IpAddr,
    /// The PROXY header has been read.
    is_proxied: bool,
}

impl Upgrading {
    pub(super) fn new(now: Millis, peer: IpAddr) -> Self {
        let deadline = now + config::HEAD_MILLISECONDS_MAX;
        Upgrading { head: Vec::new(), deadline, peer: peer.to_canonical(), is_proxied: false }
    }

    /// Reads the PROXY header in front of the request; whether it is there as a whole.
    fn read_proxy_header(&mut self, front: &Front) -> Result<bool, &'static str> {
        if !front.trusts(self.peer) {
            return Err("the connection is not from a trusted proxy");
        }
        let Some((source, length)) = proxy::parse(&self.head).map_err(|error| error.0)? else {
            return Ok(false);
        };
        if let Source::Client(address) = source {
            self.peer = address.to_canonical();
        }
        self.head.drain(..length);
        self.is_proxied = true;
        Ok(true)
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.head.capacity()
    }
}

/// The upgrade is answered; the client's first message says who asks for what.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) deadline: Millis,
    visitor: Box<Visitor>,
}

impl Greeting {
    /// Where the client is.
    pub(super) fn address(&self) -> IpAddr {
        self.visitor.address
    }
}

/// What the upgrade request told of who comes.
#[derive(Debug)]
struct Visitor {
    address: IpAddr,
    token: Option<CookieToken>,
}

/// A token out of a cookie; its `Debug` does not show it.
struct CookieToken(String);

impl std::fmt::Debug for CookieToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieToken")
    }
}

impl Session {
    pub(super) fn upgrade_bytes(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        let State::Upgrading(state) = &mut self.state else { return };
        let first = state.head.is_empty();
        // From where the end of the head may have come with these bytes.
        let from = state.head.len().saturating_sub(3);
        state.head.extend_from_slice(bytes);
        let mut first = first;
        if cx.settings.front.proxy_protocol && !state.is_proxied {
            match state.read_proxy_header(&cx.settings.front) {
                Ok(true) if state.head.is_empty() => return,
                // What stands behind it is looked at for the first time.
                Ok(true) => first = true,
                Ok(false) => return,
                Err(why) => return self.close_unproxied(cx, why),
            }
        }
        let from = if first { 0 } else { from };
        // A head that comes byte by byte is not parsed byte by byte; but what is no HTTP at all is told at once.
        let whole = ends_head(&state.head[from..]) || state.head.len() > config::HEAD_BYTES_MAX;
        if !whole && state.head.len() > SHARE_BYTES_MIN && cx.crowd.is_short_of_memory() {
            let (full, peer) = (cx.crowd.refuse(Full::Memory), state.peer);
            return self.turn_away(cx, peer, 503, &full.to_string());
        }
        if !first && !whole {
            return;
        }
        let peer = state.peer;
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
        match route(&parsed, &cx.settings.front, cx.crowd.is_draining()) {
            Route::Page(file) => {
                file.write_head(&mut cx.to_client.bytes);
                self.give(cx, if head_only { &[] } else { file.body });
            }
            Route::Answer { status, headers, text } => {
                self.answer_http(cx, status, headers, text);
                if head_only {
                    cut_body(&mut cx.to_client.bytes);
                }
            }
            Route::TurnAway { status, text } => {
                let address = client_address(peer, &parsed.headers, &cx.settings.front.trusted_proxies);
                self.turn_away(cx, address, status, text);
            }
            Route::Refuse(error) => {
                error.write_response(&mut cx.to_client.bytes);
                if head_only {
                    cut_body(&mut cx.to_client.bytes);
                }
                self.linger(cx);
            }
            Route::Targets { token } => {
                let address = client_address(peer, &parsed.headers, &cx.settings.front.trusted_proxies);
                match cx.crowd.enter(address) {
                    Ok(place) => *cx.place = place,
                    Err(full) => return self.turn_away(cx, address, 503, &full.to_string()),
                }
                let cookie = cx.settings.front.token_cookie.as_deref();
                let in_cookie = cookie.and_then(|name| cookie_value(&parsed, name)).unwrap_or_default();
                let token = if token.is_empty() { in_cookie } else { token.to_owned() };
                self.begin_listing(cx, token, address);
            }
            Route::Upgrade { action, codec, key, hello } => {
                let address = client_address(peer, &parsed.headers, &cx.settings.front.trusted_proxies);
                match cx.crowd.enter(address) {
                    Ok(place) => *cx.place = place,
                    Err(full) => return self.turn_away(cx, address, 503, &full.to_string()),
                }
                let protocol = (codec == Codec::V1).then_some(ENTRY_V1);
                write_upgrade_response(&mut cx.to_client.bytes, key, protocol);
                self.action = action;
                self.codec = codec;
                self.next_ping = config::first_ping_at(cx.now, self.id.number);
                let cookie = cx.settings.front.token_cookie.as_deref();
                let token = cookie.and_then(|name| cookie_value(&parsed, name)).map(CookieToken);
                let visitor = Visitor { address, token };
                match hello {
                    Some(hello) => self.greeted(cx, *hello, visitor),
                    None => {
                        self.state = State::Greeting(Greeting {
                            deadline: cx.now + config::HELLO_MILLISECONDS_MAX,
                            visitor: Box::new(visitor),
                        });
                    }
                }
                // What came in one segment behind the head belongs to the WebSocket.
                let mut rest = head.split_off(consumed);
                let length = rest.len();
                self.client_bytes(cx, &mut rest, 0..length);
            }
        }
    }

    /// Somebody who came for a container is not let in: for want of room, which somebody else makes before long, or for
    /// how he comes. By the session's name the operator finds the line in the log.
    fn turn_away(&mut self, cx: &mut Context<'_>, address: IpAddr, status: u16, why: &str) {
        let headers: &[(&str, &str)] = if status == 503 { &[("Retry-After", "5")] } else { &[] };
        self.answer_http(cx, status, headers, &format!("{why}\nsession {}\n", self.id));
        cx.effects.push(Effect::Tell(Event::TurnedAway { status, why: why.to_owned(), address }));
    }

    /// Who should have been named first was not: nothing is answered, since nobody knows to whom.
    fn close_unproxied(&mut self, cx: &mut Context<'_>, why: &'static str) {
        self.state = State::Gone;
        cx.effects.push(Effect::Tell(Event::BadProxyHeader(why)));
        cx.effects.push(Effect::CloseClient);
    }

    /// The client has said what it wants.
    fn greeted(&mut self, cx: &mut Context<'_>, mut hello: Hello, visitor: Visitor) {
        if let (true, Some(CookieToken(token))) = (hello.access_token.is_empty(), visitor.token) {
            hello.access_token = token;
        }
        match self.action {
            Action::Enter | Action::Attach => self.begin_opening(cx, hello, visitor.address),
            Action::Watch => self.begin_watching(cx, hello, visitor.address),
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
                let State::Greeting(state) = std::mem::replace(&mut self.state, State::Gone) else { return };
                self.greeted(cx, hello, *state.visitor);
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
    /// What may be entered, by the token in this header.
    Targets {
        token: &'a str,
    },
    Answer {
        status: u16,
        headers: &'static [(&'static str, &'static str)],
        text: &'static str,
    },
    Page(web::Answer),
    Refuse(UpgradeError),
    TurnAway {
        status: u16,
        text: &'static str,
    },
    Upgrade {
        action: Action,
        codec: Codec,
        key: &'a str,
        hello: Option<Box<Hello>>,
    },
}

/// Names under which somebody might put a token into a URL, where it ends up in logs.
const TOKEN_IN_QUERY: [&str; 6] =
    ["access_token", "access-token", "token", "jwt", "id_token", "authorization"];

const NOTHING: Route<'static> = Route::Answer {
    status: 404,
    headers: &[],
    text: "Nothing is here. There are / (a page with a terminal), /enter, /attach, /watch, /api/ping, /livez and /readyz.\n",
};

fn route<'a>(head: &'a RequestHead<'a>, front: &Front, is_draining: bool) -> Route<'a> {
    let base = front.base_path.as_str();
    let action = match head.path().strip_prefix(base).unwrap_or("nowhere") {
        "/enter" => Action::Enter,
        "/attach" => Action::Attach,
        "/watch" => Action::Watch,
        "/api/targets" => return targets(head, front),
        path @ ("/api/ping" | "/livez" | "/readyz") => return health(path, head.method, is_draining),
        path => return web::answer(head, base, path).map_or(NOTHING, Route::Page),
    };
    let upgrade = match check_upgrade(head) {
        Ok(upgrade) => upgrade,
        Err(error) => return Route::Refuse(error),
    };
    if !comes_from_here(head, front) {
        let text = if front.loopback_pages_only {
            "A page of another origin may not enter containers. Without access control, Entry takes browsers only from \
             a page of its own on a loopback address, or of an origin that --allow-origin names."
        } else {
            "A page of another origin may not enter containers; the operator may permit it with --allow-origin."
        };
        return Route::TurnAway { status: 403, text };
    }
    if TOKEN_IN_QUERY.iter().any(|name| head.query(name).is_some()) {
        let text = "A token must not stand in a URL, since URLs end up in logs. Put it into the first message, or \
                    into the header access-token; and replace this one, which has been seen.";
        return Route::TurnAway { status: 400, text };
    }
    let (codec, hello) = if upgrade.offers(ENTRY_V1) {
        (Codec::V1, None)
    } else if action == Action::Watch {
        let text = "Watching is asked for in entry.v1 alone: offer it as the subprotocol.\n";
        return Route::Answer { status: 400, headers: &[], text };
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

/// What somebody may enter is told to the gateway's own page, and to who is no browser. A browser says where a request
/// comes from: with its Origin where that is another's, and newer ones in any case.
fn targets<'a>(head: &'a RequestHead<'a>, front: &Front) -> Route<'a> {
    if head.method != "GET" {
        return Route::Answer { status: 405, headers: &[("Allow", "GET")], text: "Use GET.\n" };
    }
    let host = head.headers.text("host").unwrap_or_default();
    let comes_from_elsewhere =
        head.headers.text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let is_renamed = front.loopback_pages_only && !http::names_loopback(host);
    if comes_from_elsewhere || is_renamed || !comes_from_here(head, front) {
        let text = "What may be entered is told to the gateway's own page only.\n";
        return Route::Answer { status: 403, headers: &[], text };
    }
    Route::Targets { token: head.headers.text("access-token").unwrap_or_default() }
}

/// What balancers and whoever looks after the process ask: whether it lives, and whether it takes new sessions.
fn health(path: &str, method: &str, is_draining: bool) -> Route<'static> {
    if !matches!(method, "GET" | "HEAD") {
        return Route::Answer { status: 405, headers: &[("Allow", "GET, HEAD")], text: "Use GET.\n" };
    }
    let (status, text) = match path {
        "/readyz" if is_draining => (503, "draining\n"),
        "/readyz" => (200, "ready\n"),
        "/livez" => (200, "alive\n"),
        _ => (200, "pong\n"),
    };
    Route::Answer { status, headers: &[], text }
}

/// The value of a cookie (RFC 6265, 5.4), if it has one.
fn cookie_value(head: &RequestHead<'_>, name: &str) -> Option<String> {
    let lines = head.headers.all("cookie").filter_map(|line| std::str::from_utf8(line).ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(of, _)| of.trim() == name)?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    (!value.is_empty()).then(|| value.to_owned())
}

/// Browsers say which page asks (RFC 6454). Any page that a person visits can open a WebSocket to this machine, so the
/// page must be of this very host, or of an origin that the operator names. Where nobody has to prove who he is, this
/// host must have a loopback name, or a page could rename itself to this machine's address (DNS rebinding). Who sends no
/// Origin is no browser.
fn comes_from_here(head: &RequestHead<'_>, front: &Front) -> bool {
    if head.headers.first("origin").is_none() {
        return true;
    }
    let (Some(origin), Some(host)) = (head.headers.text("origin"), head.headers.text("host")) else {
        return false;
    };
    if front.allow_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
        return true;
    }
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    // A browser leaves its scheme's own port out of both; a proxy may write it into the Host header.
    let own_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let is_this_host = authority.eq_ignore_ascii_case(host.strip_suffix(own_port).unwrap_or(host));
    if !front.loopback_pages_only {
        return is_this_host;
    }
    http::names_loopback(authority) && is_this_host
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
            let front = Front { loopback_pages_only: true, ..Front::default() };
            assert_eq!(comes_from_here(&head, &front), allowed, "{request}");
        }
    }

    #[test]
    fn with_access_control_pages_of_the_same_host_may_enter_and_those_that_are_named() {
        let table = [
            (None, "gateway.example", true),
            (Some("https://gateway.example"), "gateway.example", true),
            (Some("https://gateway.example"), "GATEWAY.example:443", true),
            (Some("http://gateway.example"), "gateway.example:443", false),
            (Some("https://gateway.example:8443"), "gateway.example:8443", true),
            (Some("https://gateway.example"), "gateway.example:8443", false),
            (Some("https://evil.example"), "gateway.example", false),
            (Some("https://gateway.example.evil.example"), "gateway.example", false),
            (Some("https://console.example"), "gateway.example", true),
            (Some("https://CONSOLE.example"), "gateway.example", true),
            (Some("http://console.example"), "gateway.example", false),
            (Some("https://console.example:8443"), "gateway.example", false),
            (Some("https://console.example.evil.example"), "gateway.example", false),
            (Some("null"), "gateway.example", false),
            (Some(""), "gateway.example", false),
        ];
        let front = Front { allow_origins: vec!["https://console.example".to_owned()], ..Front::default() };
        for (origin, host, allowed) in table {
            let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
            let request = format!("GET /enter HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n");
            let (head, _) = http::parse_request(request.as_bytes(), config::HEAD_BYTES_MAX).unwrap().unwrap();
            assert_eq!(comes_from_here(&head, &front), allowed, "{request}");
        }
    }

    #[test]
    fn cookies() {
        let table = [
            ("", None),
            ("Cookie: sso=abc\r\n", Some("abc")),
            ("Cookie: a=1; sso=abc; b=2\r\n", Some("abc")),
            ("Cookie: a=1\r\nCookie: sso=abc\r\n", Some("abc")),
            ("Cookie: sso=\"a=b\"\r\n", Some("a=b")),
            ("Cookie: SSO=abc; xsso=abc; ssox=abc; sso\r\n", None),
            ("Cookie: sso=\r\n", None),
        ];
        for (line, value) in table {
            let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{line}\r\n");
            let (head, _) = http::parse_request(request.as_bytes(), 4096).unwrap().unwrap();
            assert_eq!(cookie_value(&head, "sso").as_deref(), value, "{line}");
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
