//! Messages: what a client types, what it is sent.

use crate::Harness;
use entry::wire::message::{
    Codec, Output, OutputHead, Request, RequestMessage, RequestType, ResponseMessage, ResponseType,
    decode_request, encode_response, json_len, write_json,
};
use prost::Message as _;
use std::hint::black_box;

/// One typed `a`, as clients of this codec say it.
pub(crate) fn key(codec: Codec) -> Vec<u8> {
    match codec {
        Codec::Json => br#"{"msgType":0,"content":"YQ=="}"#.to_vec(),
        // A client that writes the type though it is 0, as JavaScript's encoders do, costs a little more.
        Codec::Protobuf | Codec::V1 => {
            let plain = RequestMessage {
                msg_type: RequestType::Plain as i32,
                content: b"a".to_vec(),
                ..RequestMessage::default()
            };
            [&[0x08, 0x00], &plain.encode_to_vec()[..]].concat()
        }
    }
}

pub(crate) fn benches(harness: &mut impl Harness) {
    for (name, codec) in [("message/key-protobuf", Codec::Protobuf), ("message/key-json", Codec::Json)] {
        harness.bench(name, || {
            let message = key(codec);
            let mut scratch = Vec::new();
            assert_eq!(decode_request(codec, &message, &mut scratch), Ok(Request::Plain(b"a")));
            move || {
                let _ = black_box(decode_request(black_box(codec), black_box(&message), &mut scratch));
            }
        });
    }
    for (name, bytes) in [("message/output-head-16", 16), ("message/output-head-32k", 32 * 1024)] {
        harness.bench(name, || {
            let whole = ResponseMessage { content: vec![b'x'; bytes], ..ResponseMessage::default() };
            let head = OutputHead::new(Output::Stdout, bytes);
            assert!(whole.encode_to_vec().starts_with(head.as_bytes()));
            move || {
                black_box(OutputHead::new(black_box(Output::Stdout), black_box(bytes)));
            }
        });
    }
    for (name, bytes) in [("message/output-json-16", 16), ("message/output-json-32k", 32 * 1024)] {
        harness.bench(name, || {
            let content = vec![b'x'; bytes];
            let mut out = Vec::new();
            write_json(&mut out, ResponseType::Stdout, &content);
            assert_eq!(out.len(), json_len(ResponseType::Stdout, bytes));
            move || {
                out.clear();
                write_json(&mut out, ResponseType::Stdout, black_box(&content));
                black_box(&out);
            }
        });
    }
    for (name, codec) in [
        ("message/ping-protobuf", Codec::Protobuf),
        ("message/ping-json", Codec::Json),
        ("message/ping-v1", Codec::V1),
    ] {
        harness.bench(name, || {
            let ping = ResponseMessage {
                msg_type: ResponseType::Ping as i32,
                content: b"ping".to_vec(),
                ..ResponseMessage::default()
            };
            move || {
                black_box(encode_response(black_box(codec), black_box(ping.clone())));
            }
        });
    }
}
