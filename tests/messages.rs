//! Properties of both codecs: whatever the content, and whatever the bytes.
//!
//! The judges are prost's own encoding, serde_json and base64.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entry::wire::message::{
    Close, Codec, Hello, Opened, Output, OutputHead, Request, RequestMessage, RequestType, ResponseMessage,
    ResponseType, decode_json_hello, decode_request, encode_response, json_len, parse_window_size,
    write_json,
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

const CODECS: [Codec; 3] = [Codec::Protobuf, Codec::Json, Codec::V1];

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200),
        1 => prop::collection::vec(any::<u8>(), 16_000..20_000),
    ]
}

/// Bytes that look like a message here and there.
fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..6),
        3 => prop::sample::select(vec![
            &b"\x08\x01"[..], b"\x12\x03", b"\x1a\x02", b"\x20\x05", b"\x0b\x0c", b"\x12\xff\xff\xff\xff\x0f", b"80 24",
            b"{\"msgType\":1", b"\"content\":\"", b"bHM=", b"\"}", b"{", b"}", b"\\u0062", b",", b"null", b"[", b"1e999",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn hello() -> impl Strategy<Value = Hello> {
    let texts = || prop::collection::vec(any::<String>(), 0..4);
    (
        (any::<String>(), any::<String>(), any::<String>(), any::<String>(), any::<String>()),
        (texts(), any::<bool>(), any::<bool>(), any::<String>(), any::<String>(), texts()),
        (any::<String>(), any::<u32>(), any::<u32>(), any::<Option<u32>>(), any::<u32>(), any::<String>()),
    )
        .prop_map(|(who, what, terminal)| {
            let (access_token, app, proc, instance, container) = who;
            let (command, tty, stdin, user, workdir, environment) = what;
            let (term, columns, rows, tail, window, session) = terminal;
            Hello {
                access_token,
                app,
                proc,
                instance,
                container,
                command,
                tty,
                stdin,
                user,
                workdir,
                environment,
                term,
                columns,
                rows,
                tail,
                window,
                session,
            }
        })
}

fn response() -> impl Strategy<Value = ResponseMessage> {
    let kind = prop::sample::select(vec![
        ResponseType::Stdout,
        ResponseType::Stderr,
        ResponseType::Close,
        ResponseType::Ping,
        ResponseType::Opened,
        ResponseType::Mark,
        ResponseType::Echo,
        ResponseType::Size,
    ]);
    let close = (any::<i32>(), any::<u32>(), any::<String>())
        .prop_map(|(outcome, exit_status, session)| Close { outcome, exit_status, session });
    let opened = (any::<String>(), any::<String>(), any::<String>(), any::<String>(), any::<bool>())
        .prop_map(|(session, container, user, target, tty)| Opened { session, container, user, target, tty });
    (kind, content(), prop::option::of(close), prop::option::of(opened)).prop_map(
        |(kind, content, close, opened)| ResponseMessage { msg_type: kind as i32, content, close, opened },
    )
}

/// What the request with this content is, in every codec and with zero values written out or not.
fn written(kind: RequestType, content: &[u8]) -> Vec<(Codec, Vec<u8>)> {
    let message =
        RequestMessage { msg_type: kind as i32, content: content.to_vec(), hello: None }.encode_to_vec();
    let text = STANDARD.encode(content);
    let mut all = vec![
        (Codec::Protobuf, message.clone()),
        (Codec::V1, message.clone()),
        // Fields in another order, a zero written out, a field nobody knows.
        (Codec::Protobuf, [&message[..], b"\x7a\x01x", &[0x08, kind as u8]].concat()),
        (
            Codec::Json,
            json!({ "msgType": kind as i32, "content": text, "more": { "a": [1] } }).to_string().into(),
        ),
    ];
    if kind == RequestType::Plain {
        all.push((Codec::Json, json!({ "content": text }).to_string().into()));
    }
    all
}

proptest! {
    #[test]
    fn every_content_arrives(content in content()) {
        let mut scratch = b"left over".to_vec();
        for (codec, message) in written(RequestType::Plain, &content) {
            prop_assert_eq!(decode_request(codec, &message, &mut scratch), Ok(Request::Plain(&content)));
        }
    }

    #[test]
    fn every_size_arrives(columns in 1_u16.., rows in 1_u16..) {
        let mut scratch = Vec::new();
        let text = format!("{columns} {rows}");
        for (codec, message) in written(RequestType::Winch, text.as_bytes()) {
            prop_assert_eq!(decode_request(codec, &message, &mut scratch), Ok(Request::Winch(Some((columns, rows)))));
        }
    }

    #[test]
    fn a_size_is_two_numbers_and_one_space(text in "[0-9 +x\n]{0,12}") {
        let by_definition = || -> Option<(u16, u16)> {
            let numbers: Vec<&str> = text.split(' ').collect();
            let [columns, rows] = numbers[..] else { return None };
            let side = |digits: &str| {
                let only_digits = digits.chars().all(|c| c.is_ascii_digit());
                digits.parse::<u64>().ok().filter(|_| only_digits).and_then(|side| u16::try_from(side).ok())
            };
            Some((side(columns)?, side(rows)?)).filter(|(columns, rows)| *columns > 0 && *rows > 0)
        };
        prop_assert_eq!(parse_window_size(text.as_bytes()), by_definition());
    }

    #[test]
    fn every_hello_arrives_in_entry_v1_only(hello in hello()) {
        let message = RequestMessage {
            msg_type: RequestType::Hello as i32,
            content: Vec::new(),
            hello: Some(Box::new(hello.clone())),
        }
        .encode_to_vec();
        let mut scratch = Vec::new();
        prop_assert_eq!(decode_request(Codec::Protobuf, &message, &mut scratch), Ok(Request::Unknown));
        prop_assert_eq!(decode_request(Codec::V1, &message, &mut scratch), Ok(Request::Hello(Box::new(hello))));
    }

    #[test]
    fn every_hello_in_json_arrives(
        access_token: String, app: String, proc: String, instance: String, container: String, term: String,
    ) {
        let message = json!({
            "access_token": access_token, "app_name": app, "proc_name": proc, "instance_no": instance,
            "container": container, "term_type": term, "more": [null],
        });
        let expected = Hello { access_token, app, proc, instance, container, term, ..Hello::default() };
        prop_assert_eq!(decode_json_hello(message.to_string().as_bytes()), Ok(expected));
    }

    #[test]
    fn the_borrowing_decoder_reads_what_prost_reads(message in rubbish()) {
        let mut scratch = Vec::new();
        // Ours may refuse less inside of a field it does not need, never more.
        if let Ok(whole) = RequestMessage::decode(&message[..]) {
            let request = decode_request(Codec::V1, &message, &mut scratch);
            let expected = match RequestType::try_from(whole.msg_type) {
                Ok(RequestType::Plain) => Request::Plain(&whole.content),
                Ok(RequestType::Winch) => Request::Winch(parse_window_size(&whole.content)),
                Ok(RequestType::Hello) => Request::Hello(whole.hello.clone().unwrap_or_default()),
                Ok(RequestType::StdinEnd) => Request::StdinEnd,
                Ok(RequestType::Marked) => Request::Marked,
                Ok(RequestType::Echo) => Request::Echo(&whole.content),
                Err(_) => Request::Unknown,
            };
            // prost merges a hello that comes twice, ours takes the last one; nobody sends that.
            prop_assume!(!matches!(expected, Request::Hello(_)) || whole.encode_to_vec().len() == message.len());
            prop_assert_eq!(request, Ok(expected));
        }
    }

    #[test]
    fn no_bytes_panic(message in rubbish(), more in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut scratch = Vec::new();
        for message in [&message, &more] {
            for codec in CODECS {
                let _ = decode_request(codec, message, &mut scratch);
            }
            let _ = decode_json_hello(message);
        }
    }

    #[test]
    fn a_message_cut_anywhere_never_gives_more(content in prop::collection::vec(any::<u8>(), 1..60)) {
        let mut scratch = Vec::new();
        for (codec, message) in written(RequestType::Plain, &content) {
            for end in 0..message.len() {
                match decode_request(codec, &message[..end], &mut scratch) {
                    Ok(Request::Plain(part)) => prop_assert!(part.is_empty() || part == content),
                    Ok(other) => prop_assert!(false, "{other:?}"),
                    Err(_) => {}
                }
            }
        }
    }

    #[test]
    fn an_output_head_and_its_content_are_the_struct_s_encoding(content in content()) {
        for (output, kind) in [(Output::Stdout, ResponseType::Stdout), (Output::Stderr, ResponseType::Stderr)] {
            let head = OutputHead::new(output, content.len());
            let message = ResponseMessage { msg_type: kind as i32, content: content.clone(), ..Default::default() };
            prop_assert_eq!([head.as_bytes(), &content].concat(), message.encode_to_vec());
        }
    }

    #[test]
    fn an_output_head_of_any_length_can_be_read_back(content_bytes in any::<usize>()) {
        for (output, kind) in [(Output::Stdout, 0), (Output::Stderr, 1)] {
            let head = OutputHead::new(output, content_bytes);
            let mut rest = head.as_bytes();
            if kind == 1 {
                prop_assert_eq!(&rest[..2], b"\x08\x01");
                rest = &rest[2..];
            }
            if content_bytes == 0 {
                prop_assert!(rest.is_empty());
                continue;
            }
            prop_assert_eq!(rest[0], 0x12);
            let length = prost::encoding::decode_varint(&mut &rest[1..]).unwrap();
            prop_assert_eq!(length, content_bytes as u64);
        }
    }

    #[test]
    fn json_is_json_and_its_length_is_known_before(response in response()) {
        let kind = ResponseType::try_from(response.msg_type).unwrap();
        let mut out = b"before".to_vec();
        write_json(&mut out, kind, &response.content);
        let text = &out["before".len()..];
        prop_assert_eq!(text.len(), json_len(kind, response.content.len()));
        let mut expected = serde_json::Map::new();
        if response.msg_type != 0 {
            expected.insert("msgType".to_owned(), response.msg_type.into());
        }
        if !response.content.is_empty() {
            expected.insert("content".to_owned(), STANDARD.encode(&response.content).into());
        }
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(text).unwrap(), serde_json::Value::Object(expected));
    }

    #[test]
    fn only_entry_v1_hears_what_is_new(response in response()) {
        let old = ResponseMessage { close: None, opened: None, ..response.clone() };
        prop_assert_eq!(encode_response(Codec::V1, response.clone()), response.encode_to_vec());
        prop_assert_eq!(encode_response(Codec::Protobuf, response.clone()), old.encode_to_vec());
        let mut json = Vec::new();
        write_json(&mut json, ResponseType::try_from(response.msg_type).unwrap(), &response.content);
        prop_assert_eq!(encode_response(Codec::Json, response), json);
    }
}
