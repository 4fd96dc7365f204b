//! RequestMessage and ResponseMessage, as protobuf and as JSON: one codec for LAIN's wire and entry.v1.
//!
//! `proto/message.proto` is the schema (a test holds the structs here to it). The hot path does not build structs:
//! [`decode_request`] borrows the content from the frame it came in, [`OutputHead`] is written in front of output
//! bytes where they lie. This room knows no sockets, no sessions and no WebSocket.

mod json;

pub use json::{decode_json_hello, json_len, write_json};

use json::decode_json;
use prost::Message as _;
use prost::bytes::BufMut as _;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use std::fmt;

/// The WebSocket subprotocol by which a client asks for what LAIN's wire does not have.
pub const ENTRY_V1: &str = "entry.v1";

/// How a session's messages are written; fixed by its upgrade request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// LAIN's protobuf; the headers of the upgrade say who asks for what.
    Protobuf,
    /// LAIN's JSON (`?method=web`); the first message says who asks for what.
    Json,
    /// Protobuf with the types and fields of entry.v1; the first message is a [`Hello`].
    V1,
}

/// What a client may say; numbers of `RequestMessage.RequestType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum RequestType {
    /// Input.
    Plain = 0,
    /// The window's size.
    Winch = 1,
    /// entry.v1: who asks for what.
    Hello = 2,
    /// entry.v1: the end of stdin.
    StdinEnd = 3,
    /// entry.v1: everything before a MARK has been processed.
    Marked = 4,
    /// entry.v1: to be given back at once.
    Echo = 5,
}

/// What the server may say; numbers of `ResponseMessage.ResponseType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum ResponseType {
    /// Output.
    Stdout = 0,
    /// Error output.
    Stderr = 1,
    /// The last message.
    Close = 2,
    /// Keeps proxies from cutting an idle session.
    Ping = 3,
    /// entry.v1: the process runs.
    Opened = 4,
    /// entry.v1: to be answered with MARKED, where HELLO has a window.
    Mark = 5,
    /// entry.v1: the client's ECHO comes back.
    Echo = 6,
    /// entry.v1, to a watcher: the size of the terminal that is watched.
    Size = 7,
}

/// `RequestMessage`, owned; for clients and tests.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RequestMessage {
    /// A [`RequestType`].
    #[prost(enumeration = "RequestType", tag = "1")]
    pub msg_type: i32,
    /// Input, or a size.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
    /// With [`RequestType::Hello`].
    #[prost(message, optional, boxed, tag = "3")]
    pub hello: Option<Box<Hello>>,
}

/// `ResponseMessage`, owned; for clients and tests.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ResponseMessage {
    /// A [`ResponseType`].
    #[prost(enumeration = "ResponseType", tag = "1")]
    pub msg_type: i32,
    /// Output, or a text.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
    /// With [`ResponseType::Close`], entry.v1 only.
    #[prost(message, optional, tag = "3")]
    pub close: Option<Close>,
    /// With [`ResponseType::Opened`], entry.v1 only.
    #[prost(message, optional, tag = "4")]
    pub opened: Option<Opened>,
}

/// Who asks for what, in all three codecs: decoded from entry.v1's first message, built from LAIN's.
///
/// `Debug` is written by hand: a token never reaches a log.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct Hello {
    /// Proves who asks; a secret.
    #[prost(string, tag = "1")]
    pub access_token: String,
    /// LAIN's app; a Compose project.
    #[prost(string, tag = "2")]
    pub app: String,
    /// LAIN's proc; a Compose service.
    #[prost(string, tag = "3")]
    pub proc: String,
    /// The instance number as decimal text; empty for the only one.
    #[prost(string, tag = "4")]
    pub instance: String,
    /// A container by name or id, in place of app, proc and instance.
    #[prost(string, tag = "5")]
    pub container: String,
    /// The command with its arguments; empty for a shell.
    #[prost(string, repeated, tag = "6")]
    pub command: Vec<String>,
    /// On a terminal.
    #[prost(bool, tag = "7")]
    pub tty: bool,
    /// The client will send input.
    #[prost(bool, tag = "8")]
    pub stdin: bool,
    /// User, empty for the container's.
    #[prost(string, tag = "9")]
    pub user: String,
    /// Working directory, empty for the container's.
    #[prost(string, tag = "10")]
    pub workdir: String,
    /// `NAME=value`.
    #[prost(string, repeated, tag = "11")]
    pub environment: Vec<String>,
    /// `TERM`; empty for [`DEFAULT_TERM`].
    #[prost(string, tag = "12")]
    pub term: String,
    /// Window width in characters; 0 when not known.
    #[prost(uint32, tag = "13")]
    pub columns: u32,
    /// Window height in characters; 0 when not known.
    #[prost(uint32, tag = "14")]
    pub rows: u32,
    /// How many of the last lines `/attach` gives first; none for the gateway's default.
    #[prost(uint32, optional, tag = "15")]
    pub tail: Option<u32>,
    /// How much output may be on its way that the client has not processed, in bytes; 0 for what the connection takes.
    #[prost(uint32, tag = "16")]
    pub window: u32,
    /// `/watch`: which session is watched.
    #[prost(string, tag = "17")]
    pub session: String,
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The command and the environment may hold secrets too.
        f.debug_struct("Hello")
            .field("app", &self.app)
            .field("proc", &self.proc)
            .field("instance", &self.instance)
            .field("container", &self.container)
            .field("tty", &self.tty)
            .finish_non_exhaustive()
    }
}

/// What stands for `term-type` when the client names none (LAIN's default).
pub const DEFAULT_TERM: &str = "xterm-256color";

/// entry.v1's word that the process runs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Opened {
    /// The session's id, as the gateway's log has it.
    #[prost(string, tag = "1")]
    pub session: String,
    /// The container.
    #[prost(string, tag = "2")]
    pub container: String,
    /// To a watcher: who is in the session.
    #[prost(string, tag = "3")]
    pub user: String,
    /// To a watcher: what was asked for there, as rules have it.
    #[prost(string, tag = "4")]
    pub target: String,
    /// To a watcher: it is on a terminal.
    #[prost(bool, tag = "5")]
    pub tty: bool,
}

/// entry.v1's typed outcome.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Close {
    /// [`crate::outcome::Outcome::number`].
    #[prost(int32, tag = "1")]
    pub outcome: i32,
    /// [`crate::outcome::Outcome::exit_status`].
    #[prost(uint32, tag = "2")]
    pub exit_status: u32,
    /// The session's name in the gateway's log.
    #[prost(string, tag = "3")]
    pub session: String,
}

/// A message of the client that cannot be read; the text says what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageError(pub &'static str);

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// One message of the client, its content borrowed from where it was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Input.
    Plain(&'a [u8]),
    /// The window's new size; rubbish has become `None`.
    Winch(Option<(u16, u16)>),
    /// entry.v1: who asks for what.
    Hello(Box<Hello>),
    /// entry.v1: the end of stdin.
    StdinEnd,
    /// entry.v1: everything before a MARK has been processed.
    Marked,
    /// entry.v1: to be given back at once.
    Echo(&'a [u8]),
    /// A type that this server does not know, or that the codec does not have: ignored.
    Unknown,
}

/// Reads one whole message. `scratch` lends room for JSON's base64; its old content is dropped.
///
/// # Errors
/// The message is not of the codec at all.
#[inline]
pub fn decode_request<'a>(
    codec: Codec,
    message: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<Request<'a>, MessageError> {
    match codec {
        Codec::Protobuf | Codec::V1 => decode_protobuf(codec, message),
        Codec::Json => decode_json(message, scratch),
    }
}

#[inline]
fn decode_protobuf(codec: Codec, message: &[u8]) -> Result<Request<'_>, MessageError> {
    const BAD: MessageError = MessageError("the message is not a protobuf RequestMessage");
    let mut rest = message;
    let mut kind = 0;
    let mut content: &[u8] = &[];
    let mut hello: &[u8] = &[];
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest).map_err(|_| BAD)?;
        match (tag, wire_type) {
            (1, WireType::Varint) => kind = decode_varint(&mut rest).map_err(|_| BAD)?,
            (2 | 3, WireType::LengthDelimited) => {
                let length = decode_varint(&mut rest).map_err(|_| BAD)?;
                let length = usize::try_from(length).map_err(|_| BAD)?;
                let (field, behind) = rest.split_at_checked(length).ok_or(BAD)?;
                rest = behind;
                if tag == 2 {
                    content = field;
                } else {
                    hello = field;
                }
            }
            (1..=3, _) => return Err(BAD),
            _ => skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(|_| BAD)?,
        }
    }
    Ok(match (kind, codec) {
        (0, _) => Request::Plain(content),
        (1, _) => Request::Winch(parse_window_size(content)),
        (2, Codec::V1) => Request::Hello(Box::new(
            Hello::decode(hello).map_err(|_| MessageError("the hello field is not a protobuf Hello"))?,
        )),
        (3, Codec::V1) => Request::StdinEnd,
        (4, Codec::V1) => Request::Marked,
        (5, Codec::V1) => Request::Echo(content),
        _ => Request::Unknown,
    })
}

/// ASCII `"<columns> <rows>"`, one space, both 1 to 65535; anything else is nothing.
pub fn parse_window_size(content: &[u8]) -> Option<(u16, u16)> {
    let text = std::str::from_utf8(content).ok()?;
    let (columns, rows) = text.split_once(' ')?;
    let side = |digits: &str| -> Option<u16> {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|side| plain && *side > 0)
    };
    Some((side(columns)?, side(rows)?))
}

/// The two streams of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Terminal output too.
    Stdout,
    /// Error output.
    Stderr,
}

/// The longest [`OutputHead`], in bytes: two of type, one of key, ten of length.
pub const OUTPUT_HEAD_BYTES_MAX: usize = 13;

/// The bytes of a protobuf ResponseMessage in front of its content, for output that stays where it was read.
#[derive(Debug, Clone, Copy)]
pub struct OutputHead {
    bytes: [u8; OUTPUT_HEAD_BYTES_MAX],
    len: u8,
}

impl OutputHead {
    /// The head of `content_bytes` of output. Without content the head is that of a message without the field.
    #[inline]
    pub fn new(output: Output, content_bytes: usize) -> Self {
        let kind = match output {
            Output::Stdout => ResponseType::Stdout,
            Output::Stderr => ResponseType::Stderr,
        };
        OutputHead::of(kind, content_bytes)
    }

    /// The same for a message of any kind that has nothing but content.
    #[inline]
    pub fn of(kind: ResponseType, content_bytes: usize) -> Self {
        let mut bytes = [0; OUTPUT_HEAD_BYTES_MAX];
        let room = bytes.len();
        let mut free = &mut bytes[..];
        if kind != ResponseType::Stdout {
            encode_key(1, WireType::Varint, &mut free);
            free.put_u8(kind as u8);
        }
        if content_bytes > 0 {
            encode_key(2, WireType::LengthDelimited, &mut free);
            encode_varint(content_bytes as u64, &mut free);
        }
        let len = u8::try_from(room - free.len()).unwrap_or(u8::MAX);
        OutputHead { bytes, len }
    }

    /// The bytes to put in front of the content.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A rare message of the server (not output), encoded for `codec`. `close` and `opened` go to entry.v1 only.
pub fn encode_response(codec: Codec, response: ResponseMessage) -> Vec<u8> {
    match codec {
        Codec::V1 => response.encode_to_vec(),
        Codec::Protobuf => {
            ResponseMessage { msg_type: response.msg_type, content: response.content, ..Default::default() }
                .encode_to_vec()
        }
        Codec::Json => {
            let kind = ResponseType::try_from(response.msg_type).unwrap_or(ResponseType::Stdout);
            let mut out = Vec::with_capacity(json_len(kind, response.content.len()));
            write_json(&mut out, kind, &response.content);
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(msg_type: RequestType, content: &[u8]) -> Vec<u8> {
        RequestMessage { msg_type: msg_type as i32, content: content.to_vec(), hello: None }.encode_to_vec()
    }

    #[test]
    fn protobuf_requests_are_borrowed_from_the_frame() {
        let mut scratch = Vec::new();
        let message = owned(RequestType::Plain, b"ls\n");
        assert_eq!(message, b"\x12\x03ls\n", "Go leaves out zero values");
        for codec in [Codec::Protobuf, Codec::V1] {
            assert_eq!(decode_request(codec, &message, &mut scratch), Ok(Request::Plain(b"ls\n")));
        }
        let winch = owned(RequestType::Winch, b"80 24");
        assert_eq!(decode_request(Codec::Protobuf, &winch, &mut scratch), Ok(Request::Winch(Some((80, 24)))));
        assert_eq!(decode_request(Codec::Protobuf, b"", &mut scratch), Ok(Request::Plain(b"")));
    }

    #[test]
    fn a_zero_type_written_out_and_unknown_fields_are_accepted() {
        let mut scratch = Vec::new();
        let message = b"\x08\x00\x12\x01a\x20\x05\x2a\x02zz";
        assert_eq!(decode_request(Codec::Protobuf, message, &mut scratch), Ok(Request::Plain(b"a")));
    }

    #[test]
    fn new_types_belong_to_entry_v1() {
        let mut scratch = Vec::new();
        let hello = Hello { app: "shop".into(), tty: true, ..Hello::default() };
        let message = RequestMessage {
            msg_type: RequestType::Hello as i32,
            content: Vec::new(),
            hello: Some(Box::new(hello.clone())),
        }
        .encode_to_vec();
        assert_eq!(decode_request(Codec::V1, &message, &mut scratch), Ok(Request::Hello(Box::new(hello))));
        assert_eq!(decode_request(Codec::Protobuf, &message, &mut scratch), Ok(Request::Unknown));
        let end = owned(RequestType::StdinEnd, b"");
        assert_eq!(decode_request(Codec::V1, &end, &mut scratch), Ok(Request::StdinEnd));
        assert_eq!(decode_request(Codec::Protobuf, &end, &mut scratch), Ok(Request::Unknown));
    }

    #[test]
    fn a_cut_or_wrong_message_is_an_error_and_never_a_panic() {
        let mut scratch = Vec::new();
        let message = owned(RequestType::Winch, b"80 24");
        for end in 1..message.len() {
            // Cut behind the type field, the rest is a whole (empty) message.
            let cut = decode_request(Codec::Protobuf, &message[..end], &mut scratch);
            assert_eq!(cut.is_ok(), end == 2, "{end}");
        }
        for bad in [&b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..], b"\x0a\x00", b"\xff", b"\x10\x00"] {
            assert!(decode_request(Codec::Protobuf, bad, &mut scratch).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn json_requests_with_and_without_zero_values() {
        let mut scratch = Vec::new();
        let table: [(&str, Request<'_>); 7] = [
            (r#"{"msgType":0,"content":"bHMK"}"#, Request::Plain(b"ls\n")),
            (r#"{"content":"bHMK"}"#, Request::Plain(b"ls\n")),
            (r#"{}"#, Request::Plain(b"")),
            (r#"{"msgType":null,"content":null}"#, Request::Plain(b"")),
            (r#"{"msgType":1,"content":"ODAgMjQ="}"#, Request::Winch(Some((80, 24)))),
            (r#"{"content":"\u0062HMK","more":[1]}"#, Request::Plain(b"ls\n")),
            (r#"{"msgType":2}"#, Request::Unknown),
        ];
        for (text, request) in table {
            assert_eq!(decode_request(Codec::Json, text.as_bytes(), &mut scratch), Ok(request), "{text}");
        }
        for bad in ["", "[]", "{", r#"{"content":"bHM"}"#, r#"{"content":"*"}"#, r#"{"msgType":"x"}"#] {
            assert!(decode_request(Codec::Json, bad.as_bytes(), &mut scratch).is_err(), "{bad}");
        }
    }

    #[test]
    fn window_sizes() {
        let table = [
            (&b"80 24"[..], Some((80, 24))),
            (b"65535 1", Some((65535, 1))),
            (b"65536 1", None),
            (b"0 24", None),
            (b"80  24", None),
            (b"+80 24", None),
            (b"80 24\n", None),
            (b"80", None),
            (b"\xff 1", None),
        ];
        for (content, size) in table {
            assert_eq!(parse_window_size(content), size, "{content:?}");
        }
    }

    #[test]
    fn output_heads_equal_the_struct_s_encoding() {
        for length in [0_usize, 1, 127, 128, 16_383, 16_384, 65_536, 3_000_000] {
            for (output, kind) in
                [(Output::Stdout, ResponseType::Stdout), (Output::Stderr, ResponseType::Stderr)]
            {
                let content = vec![b'x'; length];
                let head = OutputHead::new(output, length);
                let message = ResponseMessage {
                    msg_type: kind as i32,
                    content: content.clone(),
                    ..ResponseMessage::default()
                };
                assert_eq!([head.as_bytes(), &content].concat(), message.encode_to_vec());
            }
            for kind in (0..8).map(|number| ResponseType::try_from(number).unwrap()) {
                let (msg_type, content) = (kind as i32, vec![b'x'; length]);
                let whole = [OutputHead::of(kind, length).as_bytes(), &content].concat();
                assert_eq!(
                    whole,
                    ResponseMessage { msg_type, content, ..Default::default() }.encode_to_vec()
                );
            }
        }
    }

    #[test]
    fn old_codecs_never_see_new_fields() {
        let response = ResponseMessage {
            msg_type: ResponseType::Close as i32,
            content: b"bye".to_vec(),
            close: Some(Close { outcome: 1, exit_status: 7, session: "1:2".to_owned() }),
            opened: None,
        };
        assert_eq!(encode_response(Codec::Protobuf, response.clone()), b"\x08\x02\x12\x03bye");
        assert_eq!(encode_response(Codec::Json, response.clone()), br#"{"msgType":2,"content":"Ynll"}"#);
        assert_eq!(ResponseMessage::decode(&encode_response(Codec::V1, response.clone())[..]), Ok(response));
    }

    #[test]
    fn a_token_never_shows_in_debug() {
        let hello = Hello { access_token: "s3cret".into(), command: vec!["p4ss".into()], ..Hello::default() };
        let text = format!("{hello:?}");
        assert!(!text.contains("s3cret") && !text.contains("p4ss"), "{text}");
    }
}
