//! From a gateway's address to an upgraded connection (RFC 6455, 4.1), with a limit on every wait.
//!
//! The head is written and read here, by hand; tungstenite takes over behind it.

use super::gateway::Gateway;
use super::options::{Options, Protocol, Target, Timeouts};
use super::text;
use crate::outcome::Action;
use crate::sys;
use crate::tls::{Channel, Connector, Fault, Trust};
use crate::wire::message::ENTRY_V1;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// A response head may be this long, and so may the part of a refusal's body that is shown.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// How a server of TLS begins its answer to somebody who does not speak it (RFC 8446, 5.1).
const TLS_ALERT: &[u8] = &[21, 3];
/// How much of a refusal's body is shown.
const REFUSAL_LINES: usize = 5;

/// Which messages are spoken after the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// entry.v1.
    V1,
    /// The protocol of LAIN's server.
    Lain,
}

/// An upgraded connection.
pub(super) struct Upgraded {
    pub(super) channel: Channel<TcpStream>,
    /// What came right behind the head: the first bytes of the WebSocket stream.
    pub(super) behind: Vec<u8>,
    pub(super) spoken: Spoken,
}

/// Connects and upgrades.
///
/// # Errors
/// A text for the person: what was tried, what came back, what to do.
pub(super) fn upgrade(options: &Options) -> Result<Upgraded, String> {
    let gateway = &options.gateway;
    let nonce = sys::random_bytes::<16>().map_err(|error| format!("no random bytes: {error}"))?;
    let key = STANDARD.encode(nonce);
    let request = request(options, &key)?;
    // What is wrong on this side is told before anybody is bothered.
    let connector = options.gateway.is_secure().then(|| connector(options)).transpose()?;
    let stream = connect(gateway, options.timeouts.connect)?;
    let failed = |error: io::Error| format!("{gateway}: {}", explain(&error, &options.timeouts));
    stream.set_nodelay(true).map_err(failed)?;
    let mut channel = match connector {
        None => Channel::plain(stream),
        Some(connector) => {
            let mut out = Vec::new();
            let session = connector.connect(gateway.host(), &mut out)?;
            Channel::sealed(stream, session, out)
        }
    };
    let mut timed = Timed { channel: &mut channel, until: Instant::now() + options.timeouts.handshake };
    // Over TLS it waits in there until the gateway has shown who it is.
    timed.write_all(request.as_bytes()).map_err(failed)?;
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = Answer::parse(&bytes).map_err(|error| format!("{gateway}: {error}"))? {
            let behind = bytes.split_off(answer.head_bytes);
            let spoken = match answer.accepted(&key, options.protocol) {
                Ok(spoken) => spoken,
                Err(Refusal::NotAGateway(why)) => return Err(format!("{gateway}: {why}")),
                Err(Refusal::Status) => return Err(refusal(gateway, &answer, behind, timed)),
            };
            // From here on the loop waits, not the socket.
            let stream = channel.socket();
            stream.set_read_timeout(None).and_then(|()| stream.set_write_timeout(None)).map_err(failed)?;
            return Ok(Upgraded { channel, behind, spoken });
        }
        if bytes.len() > HEAD_BYTES {
            return Err(format!("{gateway}: the answer's head is longer than {HEAD_BYTES} bytes"));
        }
        if timed.read_some(&mut bytes).map_err(failed)? == 0 {
            return Err(format!("{gateway}: the connection ended before an answer; is it a gateway?"));
        }
    }
}

fn connector(options: &Options) -> Result<Connector, String> {
    let trust = match &options.ca {
        Some(file) => Trust::in_file(file)?,
        None => Trust::of_this_machine()?,
    };
    Connector::new(trust, None)
}

fn connect(gateway: &Gateway, limit: Duration) -> Result<TcpStream, String> {
    let addresses = (gateway.host(), gateway.port())
        .to_socket_addrs()
        .map_err(|error| format!("{gateway}: the host's address is not found: {error}"))?
        .collect::<Vec<SocketAddr>>();
    let until = Instant::now() + limit;
    let mut last = None;
    for (at, address) in addresses.iter().enumerate() {
        // An address that swallows packets must leave time for the others.
        let left = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / left;
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some((address, error)),
        }
    }
    Err(match last {
        Some((address, error)) => {
            format!("{gateway}: cannot connect to {address}: {error}; is a gateway running there?")
        }
        None => format!("{gateway}: the host has no address"),
    })
}

fn explain(error: &io::Error, timeouts: &Timeouts) -> String {
    if let Some(fault) = error.get_ref().and_then(|error| error.downcast_ref::<Fault>()) {
        fault.to_string()
    } else if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
        format!("no answer within {:?}; is it a gateway?", timeouts.handshake)
    } else {
        format!("the connection was lost: {error}")
    }
}

/// The upgrade request. Headers of the old protocol go along only where the old server could do what is asked.
fn request(options: &Options, key: &str) -> Result<String, String> {
    let endpoint = match options.action {
        Action::Enter => "enter",
        Action::Attach => "attach",
        Action::Watch => "watch",
    };
    let mut head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nUser-Agent: entry/{}\r\n",
        options.gateway.path(endpoint),
        options.gateway.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    if options.protocol != Protocol::Lain {
        let _ = write!(head, "Sec-WebSocket-Protocol: {ENTRY_V1}\r\n");
    }
    let old = match &options.target {
        Target::Instance { app, proc, instance } if options.beyond_lain().is_none() => {
            Some((app, proc, instance))
        }
        Target::Instance { .. } | Target::Container(_) | Target::Session(_) => None,
    };
    if let Some((app, proc, instance)) = old.filter(|_| options.protocol != Protocol::V1) {
        let headers = [
            ("access-token", options.token.as_deref().unwrap_or_default()),
            ("app-name", app),
            ("proc-name", proc),
            ("instance-no", instance),
            ("term-type", &options.term),
        ];
        for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
            if value.chars().any(char::is_control) {
                return Err(format!("{name} has a control character in it"));
            }
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    head.push_str("\r\n");
    Ok(head)
}

/// The parts of the answer's head that count.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    head_bytes: usize,
    status: u16,
    reason: String,
    upgrade: String,
    connection: String,
    accept: String,
    protocol: Option<String>,
    extensions: bool,
    content_length: Option<usize>,
}

/// Why an answer is not an upgrade.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// A plain HTTP answer, whose status and body say more.
    Status,
    /// It says 101, but not as a WebSocket server does.
    NotAGateway(&'static str),
}

impl Answer {
    /// `None` while the head is incomplete.
    fn parse(bytes: &[u8]) -> Result<Option<Answer>, String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let head_bytes = match response.parse(bytes) {
            Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) if bytes.starts_with(TLS_ALERT) => {
                return Err("TLS is spoken there; write wss:// in place of ws://".to_owned());
            }
            Err(error) => return Err(format!("the answer is not HTTP ({error}); is it a gateway?")),
        };
        let mut answer = Answer {
            head_bytes,
            status: response.code.unwrap_or_default(),
            reason: response.reason.unwrap_or_default().to_owned(),
            ..Answer::default()
        };
        for header in response.headers.iter() {
            let value = String::from_utf8_lossy(header.value).trim().to_owned();
            match header.name.to_ascii_lowercase().as_str() {
                "upgrade" => answer.upgrade = value,
                "connection" => answer.connection = value,
                "sec-websocket-accept" => answer.accept = value,
                "sec-websocket-protocol" => answer.protocol = Some(value),
                "sec-websocket-extensions" => answer.extensions = true,
                "content-length" => answer.content_length = value.parse().ok(),
                _ => {}
            }
        }
        Ok(Some(answer))
    }

    fn accepted(&self, key: &str, wanted: Protocol) -> Result<Spoken, Refusal> {
        if self.status != 101 {
            return Err(Refusal::Status);
        }
        let upgraded = self.upgrade.eq_ignore_ascii_case("websocket")
            && self.connection.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
        if !upgraded || self.accept != accept_for(key) {
            return Err(Refusal::NotAGateway("the answer is not that of a WebSocket server"));
        }
        if self.extensions {
            return Err(Refusal::NotAGateway("the answer names WebSocket extensions that were not offered"));
        }
        match (self.protocol.as_deref(), wanted) {
            (Some(ENTRY_V1), Protocol::Auto | Protocol::V1) => Ok(Spoken::V1),
            (None, Protocol::Auto | Protocol::Lain) => Ok(Spoken::Lain),
            (None, Protocol::V1) => {
                Err(Refusal::NotAGateway("the gateway does not speak entry.v1; try --protocol auto"))
            }
            (Some(_), _) => {
                Err(Refusal::NotAGateway("the answer names a WebSocket subprotocol that was not offered"))
            }
        }
    }
}

/// What a server answers to a key (RFC 6455, 4.2.2).
fn accept_for(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// The text for a plain HTTP answer: its status and the first lines of its body, as far as they come in time.
fn refusal(gateway: &Gateway, answer: &Answer, behind: Vec<u8>, mut timed: Timed<'_>) -> String {
    let wanted = answer.content_length.unwrap_or(HEAD_BYTES).min(HEAD_BYTES);
    timed.until = timed.until.min(Instant::now() + Duration::from_secs(2));
    let mut body = behind;
    while body.len() < wanted && matches!(timed.read_some(&mut body), Ok(1..)) {}
    body.truncate(wanted);
    let reason = text::clean(&answer.reason, false);
    let mut message = format!("{gateway} answered {} {reason}", answer.status);
    let body = text::clean(&String::from_utf8_lossy(&body), false);
    for line in body.lines().map(str::trim_end).filter(|line| !line.is_empty()).take(REFUSAL_LINES) {
        let _ = write!(message, "\n  {line}");
    }
    message
}

/// A blocking stream with one deadline for all of its calls.
struct Timed<'a> {
    channel: &'a mut Channel<TcpStream>,
    until: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.channel.socket().set_write_timeout(self.left()?)?;
        self.channel.write_all(bytes)
    }

    /// Appends what one read gives; 0 at the end.
    fn read_some(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        loop {
            self.channel.socket().set_read_timeout(self.left()?)?;
            match self.channel.read(&mut buffer) {
                Ok(count) => {
                    bytes.extend_from_slice(&buffer[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    #[test]
    fn answers() {
        use Protocol::{Auto, Lain, V1};
        let not_a_gateway = |result: Result<Spoken, Refusal>| matches!(result, Err(Refusal::NotAGateway(_)));
        let table = [
            ("", Auto, Some(Spoken::Lain)),
            ("", Lain, Some(Spoken::Lain)),
            ("", V1, None),
            ("sec-websocket-protocol: entry.v1\r\n", Auto, Some(Spoken::V1)),
            ("sec-websocket-protocol: entry.v1\r\n", V1, Some(Spoken::V1)),
            ("sec-websocket-protocol: entry.v1\r\n", Lain, None),
            ("sec-websocket-protocol: chat\r\n", Auto, None),
            ("sec-websocket-extensions: permessage-deflate\r\n", Auto, None),
        ];
        for (more, wanted, spoken) in table {
            let head = format!("{UPGRADED}{more}\r\nbehind");
            for end in 0..head.len() - "behind".len() {
                assert_eq!(Answer::parse(&head.as_bytes()[..end]), Ok(None), "{end}");
            }
            let answer = Answer::parse(head.as_bytes()).unwrap().unwrap();
            assert_eq!(&head[answer.head_bytes..], "behind");
            let got = answer.accepted(KEY, wanted);
            match spoken {
                Some(spoken) => assert_eq!(got, Ok(spoken), "{more}"),
                None => assert!(not_a_gateway(got), "{more}"),
            }
            assert!(not_a_gateway(answer.accepted("another", wanted)));
        }
        let answer = Answer::parse(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap().unwrap();
        assert_eq!(answer.accepted(KEY, Auto), Err(Refusal::Status));
        assert!(Answer::parse(b"SSH-2.0-OpenSSH_9.6\r\n").is_err());
        assert!(Answer::parse(&[21, 3, 3, 0, 2, 2, 10]).is_err_and(|why| why.contains("write wss://")));
    }

    fn options(protocol: Protocol, instance: &str, command: &[&str]) -> Options {
        let target =
            Target::Instance { app: "hello".into(), proc: "web".into(), instance: instance.to_owned() };
        let mut options = Options::new(Gateway::parse("ws://g/base").unwrap(), Action::Enter, target);
        options.protocol = protocol;
        options.token = Some("secret".into());
        options.term = "vt100".into();
        options.command = command.iter().map(|word| (*word).to_owned()).collect();
        options
    }

    #[test]
    fn the_old_headers_go_to_a_server_that_may_need_them() {
        let auto = request(&options(Protocol::Auto, "1", &[]), KEY).unwrap();
        assert!(auto.starts_with("GET /base/enter HTTP/1.1\r\nHost: g:80\r\n"), "{auto}");
        assert!(auto.contains("Sec-WebSocket-Protocol: entry.v1\r\n"), "{auto}");
        let old = "access-token: secret\r\napp-name: hello\r\nproc-name: web\r\ninstance-no: 1\r\nterm-type: vt100\r\n";
        assert!(auto.contains(old), "{auto}");
        // The old server would open a shell for these, and leave it behind.
        let command = request(&options(Protocol::Auto, "1", &["ls"]), KEY).unwrap();
        assert!(!command.contains("secret") && !command.contains("hello"), "{command}");
        let v1 = request(&options(Protocol::V1, "1", &[]), KEY).unwrap();
        assert!(!v1.contains("secret") && !v1.contains("hello"), "{v1}");
        let lain = request(&options(Protocol::Lain, "1", &[]), KEY).unwrap();
        assert!(lain.contains(old) && !lain.contains("entry.v1"), "{lain}");
        assert!(request(&options(Protocol::Auto, "1\r\nx: y", &[]), KEY).is_err());
    }
}
