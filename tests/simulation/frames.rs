//! WebSocket frames and messages as clients know them: written and read without Entry's own code for either.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entry::wire::message::{Hello, RequestMessage, ResponseMessage};
use prost::Message as _;
use serde_json::{Value, json};

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Lain,
    Web,
    V1,
}

pub(crate) const ALL_SPEAK: [Speaks; 3] = [Speaks::Lain, Speaks::Web, Speaks::V1];

pub(crate) const PLAIN: i32 = 0;
pub(crate) const WINCH: i32 = 1;
pub(crate) const STDIN_END: i32 = 3;

/// One frame of a server.
#[derive(Debug)]
pub(crate) enum Frame {
    Message(Vec<u8>),
    Pong,
    /// With its code and reason, if it has them.
    Close(Option<(u16, String)>),
}

/// Appends a masked frame; `first` is its first byte.
pub(crate) fn write_frame(out: &mut Vec<u8>, first: u8, payload: &[u8], mask: u32) {
    out.push(first);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    let mask = mask.to_be_bytes();
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Takes one frame of a server off the beginning of `bytes`, from `*at` on.
pub(crate) fn read_frame(bytes: &[u8], at: &mut usize) -> Option<Frame> {
    let rest = &bytes[*at..];
    let [first, second, ..] = *rest else { return None };
    assert_eq!(second & 0x80, 0, "a server masks nothing");
    let (head, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().unwrap()))),
        127 => (10, u64::from_be_bytes(rest.get(2..10)?.try_into().unwrap()) as usize),
        length => (2, usize::from(length)),
    };
    let payload = rest.get(head..head + length)?;
    *at += head + length;
    Some(match first {
        0x82 => Frame::Message(payload.to_vec()),
        0x8a => Frame::Pong,
        0x88 => Frame::Close(payload.split_first_chunk().map(|(code, reason)| {
            (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("UTF-8"))
        })),
        other => panic!("no frame of a server begins with {other:02x}"),
    })
}

/// A message of the client, and the first byte of its frame.
pub(crate) fn message(speaks: Speaks, kind: i32, content: &[u8]) -> (u8, Vec<u8>) {
    match speaks {
        Speaks::Web => {
            let text = json!({ "msgType": kind, "content": STANDARD.encode(content) }).to_string();
            (0x81, text.into_bytes())
        }
        Speaks::Lain | Speaks::V1 => {
            let message = RequestMessage { msg_type: kind, content: content.to_vec(), hello: None };
            (0x82, message.encode_to_vec())
        }
    }
}

/// The first message, where there is one.
pub(crate) fn hello(speaks: Speaks, hello: Hello) -> (u8, Vec<u8>) {
    if speaks == Speaks::Web {
        let text = json!({
            "access_token": hello.access_token, "app_name": hello.app, "proc_name": hello.proc,
            "container": hello.container,
        });
        return (0x81, text.to_string().into_bytes());
    }
    let message = RequestMessage { msg_type: 2, content: Vec::new(), hello: Some(Box::new(hello)) };
    (0x82, message.encode_to_vec())
}

pub(crate) fn read_message(speaks: Speaks, message: &[u8]) -> ResponseMessage {
    match speaks {
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
    }
}
