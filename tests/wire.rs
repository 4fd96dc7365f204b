//! Properties of the pure rooms under `wire`: whatever the bytes and wherever they are split.
//!
//! The judges are independent where there is one: std for UTF-8, tungstenite's own WebSocket for frames.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::io::Cursor;

use entry::wire::http::{self, BodyDecoder, BodyFraming, Expect, HttpError, ReplyReader};
use entry::wire::stdcopy::{self, Stream};
use entry::wire::utf8;
use entry::wire::websocket::{self, Event, Opcode};
use proptest::prelude::*;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::{Role, WebSocket};

/// Cuts `bytes` into pieces of these lengths, again and again; never an endless run of empty ones.
fn pieces<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// Lengths of pieces, of which one at least is not 0.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    (prop::collection::vec(0_usize..40, 0..6), 1_usize..100).prop_map(|(mut lengths, last)| {
        lengths.push(last);
        lengths
    })
}

/// Bytes that are nearly UTF-8: characters of every length with a wrong byte now and then.
fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop_oneof![
            6 => any::<char>().prop_map(|character| character.to_string().into_bytes()),
            3 => prop::sample::select(vec!["a", "é", "€", "😀"]).prop_map(|text| text.as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
            1 => (0xc0_u8..).prop_map(|byte| vec![byte]),
            1 => (0x80_u8..0xc0).prop_map(|byte| vec![byte]),
        ],
        0..12,
    )
    .prop_map(|parts| parts.concat())
}

// ---- utf8

/// The definition, by std: the end is held if it is the beginning of a character and nothing else.
fn cut_by_definition(bytes: &[u8]) -> usize {
    let is_begun = |tail: &[u8]| {
        std::str::from_utf8(tail).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=bytes.len().min(3))
        .map(|held| bytes.len() - held)
        .find(|start| is_begun(&bytes[*start..]))
        .unwrap_or(bytes.len())
}

proptest! {
    #[test]
    fn cut_is_what_std_says(bytes in nearly_text()) {
        for end in 0..=bytes.len() {
            prop_assert_eq!(utf8::cut(&bytes[..end]), cut_by_definition(&bytes[..end]));
        }
    }

    #[test]
    fn valid_text_is_valid_in_every_chunk_and_nothing_is_lost(text in any::<String>(), lengths in lengths()) {
        let mut tail = utf8::Tail::default();
        let mut sent = String::new();
        for piece in pieces(text.as_bytes(), &lengths) {
            let chunk = [tail.take().as_bytes(), piece].concat();
            let end = utf8::cut(&chunk);
            sent.push_str(std::str::from_utf8(&chunk[..end]).unwrap());
            tail.set(&chunk[end..]);
        }
        prop_assert!(tail.is_empty());
        prop_assert_eq!(sent, text);
    }
}

// ---- stdcopy

fn stream() -> impl Strategy<Value = Stream> {
    prop::sample::select(vec![Stream::Stdin, Stream::Stdout, Stream::Stderr, Stream::SystemError])
}

proptest! {
    #[test]
    fn stdcopy_frames_come_out_as_they_went_in(
        frames in prop::collection::vec((stream(), prop::collection::vec(any::<u8>(), 0..60)), 0..10),
        lengths in lengths(),
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (stream, payload) in &frames {
            bytes.extend_from_slice(&stdcopy::frame_header(*stream, u32::try_from(payload.len()).unwrap()));
            bytes.extend_from_slice(payload);
            expected.extend(payload.iter().map(|byte| (*stream, *byte)));
        }
        let mut decoder = stdcopy::Decoder::new();
        let mut found = Vec::new();
        for piece in pieces(&bytes, &lengths) {
            let mut rest = piece;
            loop {
                let (used, payload) = decoder.next(rest).unwrap();
                let Some((stream, range)) = payload else {
                    prop_assert_eq!(used, rest.len());
                    break;
                };
                prop_assert!(!range.is_empty() && range.end == used);
                found.extend(rest[range].iter().map(|byte| (stream, *byte)));
                rest = &rest[used..];
            }
        }
        prop_assert!(decoder.is_at_boundary());
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn stdcopy_reads_any_bytes(bytes in prop::collection::vec(prop_oneof![4 => 0_u8..5, 1 => any::<u8>()], 0..80)) {
        let mut decoder = stdcopy::Decoder::new();
        let mut rest = &bytes[..];
        while let Ok((used, Some(_))) = decoder.next(rest) {
            prop_assert!(used > 0);
            rest = &rest[used..];
        }
    }
}

// ---- websocket

/// What the frames of a client said, without the splits.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Message { text: bool, payload: Vec<u8> },
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Error(u16),
}

fn told(message_bytes_max: u32, pieces: &[&[u8]]) -> Vec<Told> {
    let mut decoder = websocket::Decoder::new(message_bytes_max);
    let mut told = Vec::new();
    let mut message = Vec::new();
    for piece in pieces {
        let mut buffer = piece.to_vec();
        let mut start = 0;
        loop {
            let rest = &mut buffer[start..];
            let (used, event) = match decoder.next(rest) {
                Ok(read) => read,
                Err(error) => {
                    assert!(matches!(error.close_code, 1002 | 1007 | 1009));
                    told.push(Told::Error(error.close_code));
                    return told;
                }
            };
            match event {
                None => {
                    assert_eq!(used, rest.len());
                    break;
                }
                Some(Event::Data { text, payload, message_done }) => {
                    message.extend_from_slice(&rest[payload]);
                    assert!(message.len() <= usize::try_from(message_bytes_max).unwrap());
                    if message_done {
                        told.push(Told::Message { text, payload: std::mem::take(&mut message) });
                    }
                }
                Some(Event::Ping(control)) => told.push(Told::Ping(control.bytes().to_vec())),
                Some(Event::Pong) => told.push(Told::Pong),
                Some(Event::Close { code }) => told.push(Told::Close(code)),
            }
            start += used;
        }
    }
    told
}

/// A masked frame, its header by tungstenite, its mask by the letter of RFC 6455, 5.3.
fn client_frame(opcode: OpCode, is_final: bool, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    header.format(u64::try_from(payload.len()).unwrap(), &mut bytes).unwrap();
    bytes.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
    bytes
}

/// A client's message: what it says, in fragments cut at these lengths, a ping before each further one.
#[derive(Debug, Clone)]
struct ClientMessage {
    text: bool,
    payload: Vec<u8>,
    fragments: Option<Vec<usize>>,
    mask: [u8; 4],
}

fn client_message() -> impl Strategy<Value = ClientMessage> {
    let payload = prop_oneof![
        any::<String>().prop_map(|text| (true, text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..400).prop_map(|bytes| (false, bytes)),
    ];
    (payload, prop::option::of(lengths()), any::<[u8; 4]>())
        .prop_map(|((text, payload), fragments, mask)| ClientMessage { text, payload, fragments, mask })
}

impl ClientMessage {
    fn write(&self, out: &mut Vec<u8>, expected: &mut Vec<Told>) {
        let first = OpCode::Data(if self.text { Data::Text } else { Data::Binary });
        let parts = match &self.fragments {
            Some(lengths) => pieces(&self.payload, lengths),
            None => vec![&self.payload[..]],
        };
        let parts = if parts.is_empty() { vec![&[][..]] } else { parts };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                out.extend(client_frame(OpCode::Control(Control::Ping), true, self.mask, b"between"));
                expected.push(Told::Ping(b"between".to_vec()));
            }
            let opcode = if index == 0 { first } else { OpCode::Data(Data::Continue) };
            out.extend(client_frame(opcode, index + 1 == parts.len(), self.mask, part));
        }
        expected.push(Told::Message { text: self.text, payload: self.payload.clone() });
    }
}

/// Bytes that often are headers: few payload bytes, masks, all opcodes.
fn nearly_frames() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop::sample::select(vec![0x00_u8, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a]);
    let plausible =
        (opcode, 0_u8..20, any::<[u8; 4]>(), nearly_text()).prop_map(|(first, length, mask, text)| {
            let mut bytes = vec![first, 0x80 | length];
            bytes.extend_from_slice(&mask);
            bytes.extend(
                (0..usize::from(length)).map(|index| text.get(index).unwrap_or(&b'x') ^ mask[index % 4]),
            );
            bytes
        });
    let wild = prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::vec(prop_oneof![8 => plausible, 1 => wild], 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in(
        messages in prop::collection::vec(client_message(), 0..5),
        lengths in lengths(),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for message in &messages {
            message.write(&mut bytes, &mut expected);
        }
        prop_assert_eq!(told(1 << 20, &pieces(&bytes, &lengths)), expected);
    }

    #[test]
    fn any_bytes_say_the_same_however_they_are_split(bytes in nearly_frames(), lengths in lengths()) {
        let whole = told(64, &[&bytes]);
        prop_assert_eq!(told(64, &pieces(&bytes, &lengths)), whole);
    }

    #[test]
    fn text_is_accepted_as_std_accepts_it(payload in nearly_text(), lengths in lengths()) {
        let bytes = client_frame(OpCode::Data(Data::Text), true, [1, 2, 3, 4], &payload);
        let expected = match std::str::from_utf8(&payload) {
            Ok(_) => Told::Message { text: true, payload },
            Err(_) => Told::Error(1007),
        };
        prop_assert_eq!(told(1 << 20, &pieces(&bytes, &lengths)), vec![expected]);
    }

    #[test]
    fn another_implementation_reads_our_frames(
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            (65_530_usize..65_545).prop_map(|length| vec![7; length]),
        ],
        text in any::<String>(),
        code in prop::sample::select(vec![1000_u16, 1001, 1011, 3000, 4999]),
        reason in "\\PC{0,80}",
    ) {
        let mut bytes = Vec::new();
        websocket::write_frame(&mut bytes, Opcode::Binary, &payload);
        websocket::write_frame(&mut bytes, Opcode::Text, text.as_bytes());
        websocket::write_frame(&mut bytes, Opcode::Ping, b"");
        websocket::write_close(&mut bytes, code, &reason);
        let mut client = WebSocket::from_raw_socket(Cursor::new(bytes), Role::Client, None);
        prop_assert_eq!(client.read().unwrap(), tungstenite::Message::binary(payload));
        prop_assert_eq!(client.read().unwrap(), tungstenite::Message::text(text));
        prop_assert_eq!(client.read().unwrap(), tungstenite::Message::Ping(Vec::new().into()));
        let last = client.read().unwrap();
        let tungstenite::Message::Close(Some(close)) = last else {
            return Err(TestCaseError::fail(format!("{last:?}")));
        };
        prop_assert_eq!(u16::from(close.code), code);
        prop_assert!(reason.starts_with(close.reason.as_str()));
        prop_assert!(close.reason.len() == reason.len() || (120..=123).contains(&close.reason.len()));
    }
}

#[test]
fn another_implementation_shakes_hands_with_us() {
    let key = tungstenite::handshake::client::generate_key();
    assert_eq!(websocket::accept_key(&key), tungstenite::handshake::derive_accept_key(key.as_bytes()));
    let request = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\n\r\n"
    );
    let (head, _) = http::parse_request(request.as_bytes(), 4096).unwrap().unwrap();
    assert_eq!(websocket::check_upgrade(&head).unwrap().key, key);
}

// ---- http

/// A body in chunks of these lengths, with extensions and trailers as some senders have them.
fn chunked(body: &[u8], lengths: &[usize], extension: &str, trailers: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in pieces(body, lengths).into_iter().filter(|chunk| !chunk.is_empty()) {
        bytes.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    bytes
}

/// Status and body of a reply and what is behind it, the connection ending after the last piece.
fn reply(expect: Expect, pieces: &[&[u8]]) -> Result<(u16, Vec<u8>, Vec<u8>), HttpError> {
    let mut reader = ReplyReader::new("GET", expect, 300, 500);
    let mut found = None;
    let mut behind = Vec::new();
    for piece in pieces {
        let (used, reply) = reader.feed(piece)?;
        found = found.or(reply);
        behind.extend_from_slice(&piece[used..]);
    }
    let reply = match found {
        Some(reply) => reply,
        None => reader.finish_at_eof()?,
    };
    Ok((reply.status(), reply.body, behind))
}

/// Bytes that often are a reply.
fn nearly_replies() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        "HTTP/1.1 ",
        "HTTP/1.0 ",
        "200",
        "101",
        "100",
        "204",
        "404",
        " OK",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        "Content-Length: ",
        "Transfer-Encoding: ",
        "chunked",
        "Connection: close",
        "0",
        "5",
        "ff",
        ";x=y",
        "hello",
        ": ",
        ",",
        " ",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 404 X\r\nContent-Length: 5\r\n\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    let wild = prop::collection::vec(any::<u8>(), 0..4);
    prop::collection::vec(prop_oneof![12 => part, 1 => wild], 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn a_reply_comes_out_as_it_went_in(
        body in prop::collection::vec(any::<u8>(), 0..200),
        chunk_lengths in lengths(),
        extension in prop::sample::select(vec!["", ";x=1", " ;x=\"y\"", " "]),
        trailers in prop::sample::select(vec!["", "A: b\r\n", "A: b\r\nC: d\r\n"]),
        is_chunked in any::<bool>(),
        lengths in lengths(),
    ) {
        let mut bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n".to_vec();
        if is_chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            bytes.extend_from_slice(&chunked(&body, &chunk_lengths, extension, trailers));
        } else {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
        }
        bytes.extend_from_slice(b"behind");
        prop_assert_eq!(reply(Expect::Whole, &pieces(&bytes, &lengths)), Ok((200, body, b"behind".to_vec())));
    }

    #[test]
    fn any_reply_is_the_same_however_it_is_split(bytes in nearly_replies(), lengths in lengths()) {
        for expect in [Expect::Whole, Expect::Stream] {
            prop_assert_eq!(reply(expect, &pieces(&bytes, &lengths)), reply(expect, &[&bytes]));
        }
    }

    #[test]
    fn any_bytes_are_a_body_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60), length in 0_u64..80) {
        for framing in [BodyFraming::Chunked, BodyFraming::Length(length), BodyFraming::UntilClose, BodyFraming::Empty] {
            let mut decoder = BodyDecoder::new(framing);
            let mut rest = &bytes[..];
            while let Ok(step) = decoder.next(rest) {
                if step.consumed == 0 {
                    prop_assert!(step.done || rest.is_empty());
                    break;
                }
                rest = &rest[step.consumed..];
            }
        }
    }

    #[test]
    fn any_bytes_are_a_request_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80), limit in 0_usize..100) {
        let _ = http::parse_request(&bytes, limit);
        let request = [b"GET /?", &bytes[..], b" HTTP/1.1\r\n\r\n"].concat();
        if let Ok(Some((head, length))) = http::parse_request(&request, 4096) {
            prop_assert!(length <= request.len());
            let _ = (head.path(), head.query("a"));
            prop_assert!(websocket::check_upgrade(&head).is_err());
        }
    }

    #[test]
    fn what_is_percent_encoded_is_read_back(text in any::<String>()) {
        let mut bytes = Vec::new();
        let target = format!("/?a=b&key={}&c", http::percent_encode(&text));
        http::write_request(&mut bytes, "GET", &target, "host", &[("X", &text)], None);
        let (head, length) = http::parse_request(&bytes, 1 << 20).unwrap().unwrap();
        prop_assert_eq!(length, bytes.len());
        prop_assert_eq!(head.target, &target);
        prop_assert_eq!(head.query("key").unwrap(), text);
    }
}
