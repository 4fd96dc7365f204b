//! Clients that keep the rules: tungstenite's WebSocket, and the messages of the three codecs.

use crate::support::PATIENCE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entry::wire::message::{
    Close, Codec, ENTRY_V1, Hello, RequestMessage, RequestType, ResponseMessage, ResponseType,
};
use prost::Message as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

/// One connection after its upgrade.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) socket: WebSocket<S>,
    codec: Codec,
    /// stdout that has come and was not asked for yet.
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
}

/// How a session ended, as its client was told.
#[derive(Debug, Default)]
pub(crate) struct End {
    pub(crate) out: String,
    pub(crate) err: String,
    /// The content of the CLOSE message.
    pub(crate) text: String,
    /// entry.v1's typed outcome.
    pub(crate) outcome: i32,
    pub(crate) exit_status: u32,
    /// entry.v1's name of the session.
    pub(crate) session: String,
    /// The code of the close frame.
    pub(crate) code: u16,
}

/// What is said of a command without a terminal in the container web.
pub(crate) fn hello(command: &[&str]) -> Hello {
    Hello {
        container: "demo".to_owned(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        stdin: true,
        ..Hello::default()
    }
}

/// The same on a terminal.
pub(crate) fn hello_tty(command: &[&str]) -> Hello {
    Hello { tty: true, columns: 80, rows: 24, ..hello(command) }
}

impl Client {
    pub(crate) fn connect(
        address: SocketAddr,
        path: &str,
        codec: Codec,
        headers: &[(&'static str, &str)],
    ) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::connect_over(stream, path, codec, headers)
    }

    /// entry.v1, and its first message.
    pub(crate) fn enter(address: SocketAddr, hello: Hello) -> Client {
        Client::v1(address, "/enter", hello)
    }

    pub(crate) fn attach(address: SocketAddr, hello: Hello) -> Client {
        Client::v1(address, "/attach", hello)
    }

    pub(crate) fn watch(address: SocketAddr, hello: Hello) -> Client {
        Client::v1(address, "/watch", hello)
    }

    fn v1(address: SocketAddr, path: &str, hello: Hello) -> Client {
        let headers = [("sec-websocket-protocol", ENTRY_V1)];
        Client::connect(address, path, Codec::V1, &headers).introduced(hello)
    }

    /// LAIN's protobuf: the headers say who asks for what.
    pub(crate) fn lain(address: SocketAddr) -> Client {
        let headers = [
            ("access-token", "t"),
            ("app-name", "demo"),
            ("proc-name", "shell"),
            ("instance-no", "1"),
            ("term-type", "vt100"),
        ];
        Client::connect(address, "/enter", Codec::Protobuf, &headers)
    }

    /// LAIN's JSON: the first message does.
    pub(crate) fn web(address: SocketAddr) -> Client {
        let mut client = Client::connect(address, "/enter?method=web", Codec::Json, &[]);
        let hello = r#"{"access_token":"t","app_name":"demo","proc_name":"shell","instance_no":"1"}"#;
        client.socket.send(Message::text(hello)).unwrap();
        client
    }
}

impl<S: Read + Write> Client<S> {
    fn connect_over(stream: S, path: &str, codec: Codec, headers: &[(&'static str, &str)]) -> Client<S> {
        let mut request = format!("ws://entry{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, response) =
            tungstenite::client(request, stream).unwrap_or_else(|error| panic!("no upgrade: {error}"));
        let protocol = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
        assert_eq!(protocol, (codec == Codec::V1).then_some(ENTRY_V1));
        Client { socket, codec, out: Vec::new(), err: Vec::new() }
    }

    /// entry.v1 over whatever there is.
    pub(crate) fn enter_over(stream: S, hello: Hello) -> Client<S> {
        let headers = [("sec-websocket-protocol", ENTRY_V1)];
        Client::connect_over(stream, "/enter", Codec::V1, &headers).introduced(hello)
    }

    fn introduced(mut self, hello: Hello) -> Client<S> {
        self.send(RequestMessage {
            msg_type: RequestType::Hello.into(),
            hello: Some(Box::new(hello)),
            ..RequestMessage::default()
        });
        self
    }

    pub(crate) fn send(&mut self, message: RequestMessage) {
        self.socket.send(self.encode(message)).unwrap();
    }

    fn encode(&self, message: RequestMessage) -> Message {
        match self.codec {
            Codec::Protobuf | Codec::V1 => Message::binary(message.encode_to_vec()),
            Codec::Json => {
                let content = STANDARD.encode(&message.content);
                let kind = message.msg_type;
                Message::text(serde_json::json!({"msgType": kind, "content": content}).to_string())
            }
        }
    }

    fn say(&mut self, kind: RequestType, content: &[u8]) {
        let content = content.to_vec();
        self.send(RequestMessage { msg_type: kind.into(), content, hello: None });
    }

    pub(crate) fn type_in(&mut self, bytes: impl AsRef<[u8]>) {
        self.say(RequestType::Plain, bytes.as_ref());
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.say(RequestType::Winch, format!("{columns} {rows}").as_bytes());
    }

    pub(crate) fn end_stdin(&mut self) {
        self.say(RequestType::StdinEnd, b"");
    }

    /// The next message, PINGs left out, or the close frame.
    pub(crate) fn next(&mut self) -> Result<ResponseMessage, Option<CloseFrame>> {
        // PINGs alone would keep the socket's own deadline from ever being reached.
        let until = Instant::now() + 2 * PATIENCE;
        loop {
            assert!(Instant::now() < until, "nothing but PINGs from the gateway");
            let message = match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.decode(&bytes),
                Ok(Message::Close(frame)) => return Err(frame),
                // A socket with a deadline is woken also by a signal that nobody handles, as when a process is continued.
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => continue,
                other => panic!("{other:?} from the gateway"),
            };
            if message.msg_type() != ResponseType::Ping {
                return Ok(message);
            }
        }
    }

    fn decode(&self, bytes: &[u8]) -> ResponseMessage {
        match self.codec {
            Codec::Protobuf | Codec::V1 => ResponseMessage::decode(bytes).unwrap(),
            Codec::Json => {
                let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
                let kind = value["msgType"].as_i64().unwrap_or_default();
                let content = value["content"].as_str().unwrap_or_default();
                ResponseMessage {
                    msg_type: i32::try_from(kind).unwrap(),
                    content: STANDARD.decode(content).unwrap(),
                    ..ResponseMessage::default()
                }
            }
        }
    }

    /// Reads output and OPENED; gives anything else.
    fn read_output(&mut self) -> Result<Option<ResponseMessage>, Option<CloseFrame>> {
        let mut message = self.next()?;
        match message.msg_type() {
            ResponseType::Stdout => self.out.append(&mut message.content),
            ResponseType::Stderr => self.err.append(&mut message.content),
            ResponseType::Opened | ResponseType::Size => {}
            _ => return Ok(Some(message)),
        }
        Ok(None)
    }

    /// Waits for OPENED, and gives the session's name in it.
    pub(crate) fn opened_as(mut self) -> (Client<S>, String) {
        let message = self.next().unwrap();
        assert_eq!(message.msg_type(), ResponseType::Opened, "{message:?}");
        (self, message.opened.unwrap().session)
    }

    /// Waits for OPENED.
    pub(crate) fn opened(mut self) -> Client<S> {
        let message = self.next().unwrap();
        assert_eq!(message.msg_type(), ResponseType::Opened, "{message:?}");
        self
    }

    /// Takes stdout up to and with `needle`.
    pub(crate) fn until(&mut self, needle: &str) -> String {
        loop {
            let place = self.out.windows(needle.len()).position(|window| window == needle.as_bytes());
            if let Some(at) = place {
                let taken = self.out.drain(..at + needle.len()).collect();
                return String::from_utf8(taken).unwrap();
            }
            let end = self.read_output();
            let so_far = String::from_utf8_lossy(&self.out).into_owned();
            assert!(matches!(end, Ok(None)), "{end:?} before {needle:?} in {so_far:?}");
        }
    }

    /// Takes so many bytes of stdout.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        while self.out.len() < count {
            let end = self.read_output();
            assert!(matches!(end, Ok(None)), "{end:?} after {} of {count} bytes", self.out.len());
        }
        self.out.drain(..count).collect()
    }

    /// Reads to the end: output, CLOSE, close frame, and the end of the connection.
    pub(crate) fn end(mut self) -> End {
        let mut end = End::default();
        let frame = loop {
            match self.read_output() {
                Ok(None) => {}
                Ok(Some(message)) => {
                    assert_eq!(message.msg_type(), ResponseType::Close, "{message:?}");
                    assert_eq!(end.text, "", "a second CLOSE");
                    let Close { outcome, exit_status, session } = message.close.unwrap_or_default();
                    end.text = String::from_utf8(message.content).unwrap();
                    (end.outcome, end.exit_status, end.session) = (outcome, exit_status, session);
                }
                Err(frame) => break frame,
            }
        };
        assert_ne!(end.text, "", "a close frame without CLOSE: {frame:?}");
        end.code = frame.expect("a close code").code.into();
        // tungstenite has queued the answer, and sends it with the next read; then the gateway ends the connection.
        let last = self.socket.read();
        assert!(matches!(last, Err(tungstenite::Error::ConnectionClosed)), "{last:?}");
        end.out = String::from_utf8_lossy(&self.out).into_owned();
        end.err = String::from_utf8_lossy(&self.err).into_owned();
        end
    }
}
