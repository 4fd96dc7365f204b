//! An independent client of the wire: tungstenite's WebSocket, and the messages of LAIN's wire written down here
//! once more, from its description and not from Entry's codec.

use super::{DEADLINE, shown};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entry::wire::message::{Close, Hello, Opened, RequestMessage, RequestType, ResponseMessage};
use prost::Message as _;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::handshake::client::Response;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

/// How the messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// LAIN's protobuf.
    Protobuf,
    /// LAIN's JSON.
    Json,
    /// entry.v1.
    V1,
}

/// LAIN's RequestMessage.
#[derive(Clone, PartialEq, prost::Message)]
struct LainRequest {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

/// LAIN's ResponseMessage.
#[derive(Clone, PartialEq, prost::Message)]
struct LainResponse {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

/// One message of the gateway, in any codec.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The text, and entry.v1's typed outcome.
    Close(String, Option<Close>),
    Ping(Vec<u8>),
    Opened(Opened),
}

/// The whole of a session's end.
#[derive(Debug)]
pub(crate) struct Goodbye {
    /// Of the CLOSE message.
    pub(crate) text: String,
    /// entry.v1: number of the outcome, and exit status.
    pub(crate) outcome: Option<(i32, u32)>,
    /// Of the close frame behind it.
    pub(crate) code: u16,
    /// What came since the last look.
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// A WebSocket to the gateway.
pub(crate) struct Visitor {
    socket: WebSocket<TcpStream>,
    spoken: Spoken,
    /// What has come and was not looked at.
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) response: Response,
}

impl Visitor {
    /// LAIN's protobuf: who asks for what stands in headers.
    pub(crate) fn protobuf(gateway: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> Visitor {
        Visitor::connect(gateway, path, headers, Spoken::Protobuf)
    }

    /// LAIN's JSON: who asks for what is the first message.
    pub(crate) fn json(gateway: SocketAddr, path: &str, hello: &Value) -> Visitor {
        let mut visitor = Visitor::connect(gateway, &format!("{path}?method=web"), &[], Spoken::Json);
        visitor.socket.send(Message::text(hello.to_string())).unwrap();
        visitor
    }

    /// entry.v1: who asks for what is the first message.
    pub(crate) fn v1(gateway: SocketAddr, path: &str, hello: Hello) -> Visitor {
        let offer = [("sec-websocket-protocol", "entry.v1")];
        let mut visitor = Visitor::connect(gateway, path, &offer, Spoken::V1);
        assert_eq!(visitor.response.headers().get("sec-websocket-protocol").unwrap(), "entry.v1");
        visitor.send_bytes(Visitor::greeting(hello));
        visitor
    }

    fn greeting(hello: Hello) -> Vec<u8> {
        let hello = RequestMessage {
            msg_type: RequestType::Hello.into(),
            hello: Some(Box::new(hello)),
            ..RequestMessage::default()
        };
        hello.encode_to_vec()
    }

    /// The same, unless the gateway refuses the connection, or answers it without an upgrade.
    pub(crate) fn try_v1(gateway: SocketAddr, path: &str, hello: Hello) -> Option<Visitor> {
        let offer = [("sec-websocket-protocol", "entry.v1")];
        let mut visitor = Visitor::try_connect(gateway, path, &offer, Spoken::V1)?;
        // A gateway that goes down may be gone already; that shows when it is heard.
        let _ = visitor.socket.send(Message::binary(Visitor::greeting(hello)));
        Some(visitor)
    }

    fn connect(gateway: SocketAddr, path: &str, headers: &[(&'static str, &str)], spoken: Spoken) -> Visitor {
        Visitor::try_connect(gateway, path, headers, spoken).expect("a WebSocket")
    }

    fn try_connect(
        gateway: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
        spoken: Spoken,
    ) -> Option<Visitor> {
        let stream = TcpStream::connect_timeout(&gateway, DEADLINE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let mut request = format!("ws://{gateway}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let (socket, response) = tungstenite::client(request, stream).ok()?;
        Some(Visitor { socket, spoken, stdout: Vec::new(), stderr: Vec::new(), response })
    }

    fn send_bytes(&mut self, message: Vec<u8>) {
        self.socket.send(Message::binary(message)).unwrap();
    }

    fn send(&mut self, kind: i32, content: &[u8]) {
        match self.spoken {
            Spoken::Json => {
                let message = json!({ "msgType": kind, "content": STANDARD.encode(content) });
                self.socket.send(Message::text(message.to_string())).unwrap();
            }
            Spoken::Protobuf | Spoken::V1 => {
                self.send_bytes(LainRequest { kind, content: content.to_vec() }.encode_to_vec());
            }
        }
    }

    /// Types.
    pub(crate) fn type_in(&mut self, keys: &str) {
        self.send(0, keys.as_bytes());
    }

    /// Tells the window's size.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.send(1, format!("{columns} {rows}").as_bytes());
    }

    /// entry.v1: stdin has ended.
    pub(crate) fn end_stdin(&mut self) {
        self.send(3, b"");
    }

    /// The next message; fails when there is none any more.
    pub(crate) fn hear(&mut self) -> Heard {
        match self.socket.read().unwrap() {
            Message::Binary(bytes) => self.understand(&bytes),
            other @ (Message::Text(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_)) => panic!("{other:?} from the gateway"),
        }
    }

    fn understand(&self, bytes: &[u8]) -> Heard {
        let (kind, content, response) = match self.spoken {
            Spoken::Json => {
                let message: Value = serde_json::from_slice(bytes).unwrap();
                let content = message.get("content").map_or("", |content| content.as_str().unwrap());
                let kind = message.get("msgType").map_or(0, |kind| kind.as_i64().unwrap());
                (kind, STANDARD.decode(content).unwrap(), ResponseMessage::default())
            }
            Spoken::Protobuf => {
                let message = LainResponse::decode(bytes).unwrap();
                // Nothing but the two fields that LAIN's clients know.
                assert_eq!(message.encode_to_vec(), bytes);
                (message.kind.into(), message.content, ResponseMessage::default())
            }
            Spoken::V1 => {
                let message = ResponseMessage::decode(bytes).unwrap();
                (message.msg_type.into(), message.content.clone(), message)
            }
        };
        match (kind, response.opened) {
            (0, None) => Heard::Stdout(content),
            (1, None) => Heard::Stderr(content),
            (2, None) => Heard::Close(String::from_utf8(content).unwrap(), response.close),
            (3, None) => Heard::Ping(content),
            (4, Some(opened)) => Heard::Opened(opened),
            other => panic!("a message that nobody knows: {other:?}"),
        }
    }

    /// entry.v1: the first message, but for a PING, is the word that the process runs.
    pub(crate) fn opened(&mut self) -> Opened {
        loop {
            match self.hear() {
                Heard::Opened(opened) => return opened,
                Heard::Ping(_) => {}
                other @ (Heard::Stdout(_) | Heard::Stderr(_) | Heard::Close(..)) => {
                    panic!("{other:?} instead of OPENED")
                }
            }
        }
    }

    /// entry.v1: whether the process runs, or the session ends before.
    pub(crate) fn is_opened(&mut self) -> bool {
        loop {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => match self.understand(&bytes) {
                    Heard::Opened(_) => return true,
                    Heard::Ping(_) => {}
                    Heard::Stdout(_) | Heard::Stderr(_) | Heard::Close(..) => return false,
                },
                Ok(_) | Err(_) => return false,
            }
        }
    }

    /// Collects output until there is this text on stdout, and drops it with what stands before it.
    pub(crate) fn expect(&mut self, text: &str) {
        let until = Instant::now() + DEADLINE;
        loop {
            let at = self.stdout.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = at {
                self.stdout.drain(..at + text.len());
                return;
            }
            assert!(Instant::now() < until, "waited in vain for {text:?}; there is {}", shown(&self.stdout));
            self.collect_one(&format!("{text:?} on stdout"));
        }
    }

    /// Collects one message of output, or passes over a PING.
    pub(crate) fn collect_one(&mut self, wanted: &str) {
        match self.hear() {
            Heard::Stdout(bytes) => self.stdout.extend(bytes),
            Heard::Stderr(bytes) => self.stderr.extend(bytes),
            Heard::Ping(_) => {}
            other @ (Heard::Close(..) | Heard::Opened(_)) => panic!(
                "{other:?} while waiting for {wanted}; there is {} and {}",
                shown(&self.stdout),
                shown(&self.stderr)
            ),
        }
    }

    /// Collects output up to the CLOSE, then the close frame, and answers it.
    pub(crate) fn goodbye(mut self) -> Goodbye {
        let until = Instant::now() + DEADLINE;
        let (text, close) = loop {
            assert!(Instant::now() < until, "no CLOSE; there is {}", shown(&self.stdout));
            match self.hear() {
                Heard::Stdout(bytes) => self.stdout.extend(bytes),
                Heard::Stderr(bytes) => self.stderr.extend(bytes),
                Heard::Ping(_) | Heard::Opened(_) => {}
                Heard::Close(text, close) => break (text, close),
            }
        };
        assert_eq!(close.is_some(), self.spoken == Spoken::V1, "typed outcomes are entry.v1's");
        let code = match self.socket.read().unwrap() {
            Message::Close(Some(frame)) => frame.code.into(),
            other @ (Message::Close(None)
            | Message::Text(_)
            | Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Frame(_)) => panic!("{other:?} behind CLOSE instead of a close frame with a code"),
        };
        // Reading answers the close frame; then the gateway ends the connection.
        let end = self.socket.read();
        assert!(matches!(end, Err(tungstenite::Error::ConnectionClosed)), "{end:?} behind the close frame");
        let outcome = close.map(|close| (close.outcome, close.exit_status));
        Goodbye { text, outcome, code, stdout: self.stdout, stderr: self.stderr }
    }

    /// Says goodbye with a close frame, and waits for the answer.
    pub(crate) fn leave(mut self) {
        self.socket.close(None).unwrap();
        let until = Instant::now() + DEADLINE;
        let end = loop {
            match self.socket.read() {
                Ok(_) => assert!(Instant::now() < until, "the goodbye is not answered"),
                Err(end) => break end,
            }
        };
        assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end:?} behind the goodbye");
    }

    /// Vanishes: the connection is reset, without a word. `provoke` must make the gateway send something.
    pub(crate) fn vanish(mut self, provoke: &str) {
        self.type_in(provoke);
        self.has_unread();
    }

    /// Waits until somebody on the way ends the connection, without a word of the gateway's.
    pub(crate) fn await_cut_off(mut self) {
        let until = Instant::now() + DEADLINE;
        while let Ok(message) = self.socket.read() {
            assert!(
                message.is_binary() && Instant::now() < until,
                "{message:?} of one that was to be cut off"
            );
        }
    }

    /// Waits until something has come that nobody reads: a socket that is closed then resets its connection (RFC 1122,
    /// 4.2.2.13).
    pub(crate) fn has_unread(&mut self) {
        assert!(self.socket.get_ref().peek(&mut [0]).unwrap() > 0);
    }
}
