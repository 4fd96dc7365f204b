//! What the client of a visit says and hears.

use super::*;

impl Visit {
    pub(crate) fn path(&self, path: &str) -> String {
        match self.speaks {
            Speaks::Web => format!("{path}?method=web"),
            Speaks::Lain | Speaks::V1 => path.to_owned(),
        }
    }

    /// The upgrade, with these header lines more.
    pub(crate) fn upgrade(&mut self, path: &str, headers: &str) {
        let protocol =
            if self.speaks == Speaks::V1 { "Sec-WebSocket-Protocol: other, entry.v1\r\n" } else { "" };
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}{headers}\r\n",
            self.path(path)
        );
        self.client(head.as_bytes());
        let end = self.said.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a whole head") + 4;
        let head = String::from_utf8(self.said.drain(..end).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // The example of RFC 6455, 1.3.
        assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        assert_eq!(
            head.contains("\r\nSec-WebSocket-Protocol: entry.v1\r\n"),
            self.speaks == Speaks::V1,
            "{head}"
        );
    }

    /// Upgrade and first message, for app `shop` and proc `web`; `hello` is entry.v1's, with what is not set.
    pub(crate) fn greet(&mut self, path: &str, hello: Hello) {
        let (app, proc) = if hello.container.is_empty() { ("shop", "web") } else { ("", "") };
        let container = &hello.container;
        match self.speaks {
            Speaks::Lain => {
                let target = if container.is_empty() {
                    format!("app-name: {app}\r\nproc-name: {proc}\r\n")
                } else {
                    format!("container: {container}\r\n")
                };
                self.upgrade(path, &format!("access-token: {TOKEN}\r\n{target}term-type: vt100\r\n"));
            }
            Speaks::Web => {
                self.upgrade(path, "");
                let hello = json!({
                    "access_token": TOKEN, "app_name": app, "proc_name": proc, "container": container,
                });
                self.send(Message::text(hello.to_string()));
            }
            Speaks::V1 => {
                self.upgrade(path, "");
                let hello = Hello { access_token: TOKEN.into(), app: app.into(), proc: proc.into(), ..hello };
                let message = RequestMessage {
                    msg_type: RequestType::Hello as i32,
                    content: Vec::new(),
                    hello: Some(Box::new(hello)),
                };
                self.send(Message::binary(message.encode_to_vec()));
            }
        }
    }

    pub(crate) fn send(&mut self, message: Message) {
        // An error means that the socket is not open any more on the client's side.
        self.socket.send(message).unwrap();
        let bytes = std::mem::take(&mut self.socket.get_mut().written);
        self.client(&bytes);
    }

    pub(crate) fn say(&mut self, kind: RequestType, content: &[u8]) {
        let message = match self.speaks {
            Speaks::Web => Message::text(
                json!({ "msgType": kind as i32, "content": STANDARD.encode(content) }).to_string(),
            ),
            Speaks::Lain | Speaks::V1 => {
                let message =
                    RequestMessage { msg_type: kind as i32, content: content.to_vec(), hello: None };
                Message::binary(message.encode_to_vec())
            }
        };
        self.send(message);
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.say(RequestType::Plain, text.as_bytes());
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.say(RequestType::Winch, format!("{columns} {rows}").as_bytes());
    }

    /// The client's close frame.
    pub(crate) fn say_goodbye(&mut self) {
        // tungstenite would answer ours by itself.
        self.client(b"\x88\x82\0\0\0\0\x03\xe8");
    }

    /// Everything that the client has heard since it was asked last.
    pub(crate) fn heard(&mut self) -> Vec<Heard> {
        let said = std::mem::take(&mut self.said);
        self.socket.get_mut().to_read.extend(said);
        let mut heard = Vec::new();
        loop {
            match self.socket.read() {
                Ok(Message::Binary(message)) => heard.push(self.read(&message)),
                Ok(Message::Pong(payload)) => heard.push(Heard::Pong(payload.to_vec())),
                Ok(Message::Close(frame)) => {
                    let frame = frame.expect("a close frame of a server has a code");
                    heard.push(Heard::Bye(frame.code.into(), frame.reason.to_string()));
                }
                Ok(other) => panic!("nobody sends {other:?}"),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(Error::ConnectionClosed) => break,
                Err(error) => panic!("not a WebSocket: {error}"),
            }
        }
        // tungstenite answers pings and closes by itself: the tests say when the client speaks.
        self.socket.get_mut().written.clear();
        assert!(self.socket.get_ref().to_read.is_empty(), "frames are sent whole");
        heard
    }

    fn read(&self, message: &[u8]) -> Heard {
        let message = match self.speaks {
            Speaks::Lain | Speaks::V1 => ResponseMessage::decode(message).unwrap(),
            Speaks::Web => {
                let json: Value = serde_json::from_slice(message).unwrap();
                let content = json.get("content").map_or("", |content| content.as_str().unwrap());
                let kind = json.get("msgType").map_or(0, |kind| kind.as_i64().unwrap());
                ResponseMessage {
                    msg_type: i32::try_from(kind).unwrap(),
                    content: STANDARD.decode(content).unwrap(),
                    ..ResponseMessage::default()
                }
            }
        };
        let ResponseMessage { msg_type, content, close, opened } = message;
        if self.speaks != Speaks::V1 {
            assert!(close.is_none() && opened.is_none() && msg_type <= 3, "old clients see the old protocol");
        }
        match ResponseType::try_from(msg_type).unwrap() {
            ResponseType::Stdout => Heard::Stdout(content),
            ResponseType::Stderr => Heard::Stderr(content),
            ResponseType::Ping => {
                assert_eq!(content, b"ping");
                Heard::Ping
            }
            ResponseType::Close => {
                let text = String::from_utf8(content).unwrap();
                assert_eq!(close.is_some(), self.speaks == Speaks::V1);
                Heard::Close(text, close)
            }
            ResponseType::Opened => Heard::Opened(opened.unwrap()),
            ResponseType::Mark => {
                assert_eq!(content, b"");
                Heard::Mark
            }
            ResponseType::Echo => Heard::Echo(content),
            ResponseType::Size => Heard::Size(String::from_utf8(content).unwrap()),
        }
    }

    /// What has been heard of output, both streams joined; nothing else may have been.
    pub(crate) fn heard_output(&mut self) -> (String, String) {
        let (mut out, mut error) = (Vec::new(), Vec::new());
        for heard in self.heard() {
            match heard {
                Heard::Stdout(bytes) => out.extend(bytes),
                Heard::Stderr(bytes) => error.extend(bytes),
                other => panic!("{other:?}"),
            }
        }
        (String::from_utf8(out).unwrap(), String::from_utf8(error).unwrap())
    }

    /// The last words: CLOSE and the close frame, and nothing else. Gives CLOSE's text.
    pub(crate) fn heard_the_end(&mut self) -> String {
        let outcome = self.outcomes.first().expect("the session has ended").clone();
        let heard = self.heard();
        let [Heard::Close(text, close), Heard::Bye(code, reason)] = &heard[..] else { panic!("{heard:?}") };
        if let Some(close) = close {
            assert_eq!((close.outcome, close.exit_status), (outcome.number(), outcome.exit_status().into()));
        }
        // Everybody reads by which name the log has the session.
        let name = self.session.id().to_string();
        match close {
            Some(close) => assert_eq!(close.session, name),
            None => assert_eq!(text.ends_with(&format!(" (session {name})")), !outcome.is_good(), "{text}"),
        }
        assert_eq!(*code, outcome.close_code());
        assert!(outcome.to_string().starts_with(reason), "{reason}");
        text.clone()
    }
}
