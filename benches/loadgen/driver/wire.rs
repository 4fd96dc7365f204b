//! A client's WebSocket and messages, written for load and for nothing else: frames are masked, content is handed on
//! where it was read, and an idle session owns no buffer. Shares no line with the gateway's own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// How a session speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Codec {
    /// `entry.v1`.
    V1,
    /// LAIN's protobuf.
    Protobuf,
    /// LAIN's JSON.
    Json,
    /// No WebSocket, no messages: the process's own bytes, through a peer that only copies.
    Raw,
}

/// What a session asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) codec: Codec,
    /// With a terminal; only entry.v1 can do without.
    pub(crate) tty: bool,
    /// The process, by its name in the stand-in engine.
    pub(crate) process: String,
    /// Ask for it as an app's proc, which must be located, and not as a container.
    pub(crate) located: bool,
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The first bytes of a session.
pub(crate) fn greeting(wish: &Wish, host: &str) -> Vec<u8> {
    let process = &wish.process;
    let extra = match wish.codec {
        Codec::Raw => return format!("{process}\n").into_bytes(),
        Codec::V1 => "Sec-WebSocket-Protocol: entry.v1\r\n".to_owned(),
        Codec::Json => String::new(),
        Codec::Protobuf if wish.located => {
            format!("access-token: t\r\napp-name: load\r\nproc-name: {process}\r\ninstance-no: 1\r\n")
        }
        Codec::Protobuf => format!("access-token: t\r\ncontainer: {process}\r\nterm-type: xterm\r\n"),
    };
    let query = if wish.codec == Codec::Json { "?method=web" } else { "" };
    format!(
        "GET /enter{query} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
    )
    .into_bytes()
}

/// What is said first once the upgrade is answered; nothing in LAIN's protobuf.
pub(crate) fn write_hello(out: &mut Vec<u8>, wish: &Wish) {
    let (app, proc, container) =
        if wish.located { ("load", wish.process.as_str(), "") } else { ("", "", wish.process.as_str()) };
    match wish.codec {
        Codec::Raw | Codec::Protobuf => {}
        Codec::Json => {
            let target = if wish.located {
                format!(r#""app_name":"{app}","proc_name":"{proc}","instance_no":"1""#)
            } else {
                format!(r#""container":"{container}""#)
            };
            write_frame(out, TEXT, format!(r#"{{"access_token":"t",{target}}}"#).as_bytes());
        }
        Codec::V1 => {
            let mut hello = Vec::new();
            for (tag, text) in [(2, app), (3, proc), (5, container)] {
                if !text.is_empty() {
                    write_bytes_field(&mut hello, tag, text.as_bytes());
                }
            }
            if wish.tty {
                hello.extend_from_slice(&[7 << 3, 1]);
            }
            hello.extend_from_slice(&[8 << 3, 1]);
            let mut message = vec![1 << 3, 2];
            write_bytes_field(&mut message, 3, &hello);
            write_frame(out, BINARY, &message);
        }
    }
}

/// Input.
pub(crate) fn write_input(out: &mut Vec<u8>, codec: Codec, content: &[u8]) {
    match codec {
        Codec::Raw => out.extend_from_slice(content),
        Codec::V1 | Codec::Protobuf => {
            let mut message = Vec::with_capacity(content.len() + 8);
            write_bytes_field(&mut message, 2, content);
            write_frame(out, BINARY, &message);
        }
        Codec::Json => {
            let message = format!(r#"{{"content":"{}"}}"#, STANDARD.encode(content));
            write_frame(out, TEXT, message.as_bytes());
        }
    }
}

/// A size of the window.
pub(crate) fn write_size(out: &mut Vec<u8>, codec: Codec, columns: u16, rows: u16) {
    let size = format!("{columns} {rows}");
    match codec {
        Codec::Raw => {}
        Codec::V1 | Codec::Protobuf => {
            let mut message = vec![1 << 3, 1];
            write_bytes_field(&mut message, 2, size.as_bytes());
            write_frame(out, BINARY, &message);
        }
        Codec::Json => {
            let message = format!(r#"{{"msgType":1,"content":"{}"}}"#, STANDARD.encode(size));
            write_frame(out, TEXT, message.as_bytes());
        }
    }
}

/// Good-bye.
pub(crate) fn write_close(out: &mut Vec<u8>, codec: Codec) {
    if codec != Codec::Raw {
        write_frame(out, CLOSE, &1000_u16.to_be_bytes());
    }
}

/// The head of a message that is announced to be this long, and never sent.
pub(crate) fn write_announcement(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(&[0x80 | BINARY, 0x80 | 127]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&MASK);
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn write_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    let length = payload.len() as u64;
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.push(0x80 | short),
        (_, Ok(medium)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    for chunk in out[start..].chunks_mut(4) {
        for (byte, mask) in chunk.iter_mut().zip(MASK) {
            *byte ^= mask;
        }
    }
}

fn write_bytes_field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag << 3 | 2);
    let mut length = bytes.len();
    while length >= 128 {
        out.push(u8::try_from(length & 127).unwrap_or(0) | 128);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap_or(0));
    out.extend_from_slice(bytes);
}

/// What arrives.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Upgraded,
    Opened,
    Output(&'a [u8]),
    ErrorOutput(&'a [u8]),
    Ping,
    /// CLOSE: the outcome and the exit status; none in LAIN's messages.
    Close {
        told: Option<(u32, u32)>,
    },
    CloseFrame(u16),
    /// It is not what a server says.
    Nonsense(String),
}

/// Bytes → items.
#[derive(Debug)]
pub(crate) struct Reader {
    codec: Codec,
    stage: Stage,
    /// The beginning of what is not whole yet.
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Frame,
    /// Inside of a long message's content.
    Content {
        left: usize,
        error_output: bool,
    },
    Broken,
}

/// What a piece of input gave.
enum Step {
    /// It takes so many bytes to go on.
    Needs(usize),
    /// So many were consumed.
    Done(usize),
}

/// Longer messages are not collected.
const COLLECTED_BYTES_MAX: usize = 1024;
/// The most a message's head can take.
const MESSAGE_HEAD_BYTES: usize = 16;

impl Reader {
    pub(crate) fn new(codec: Codec) -> Reader {
        Reader { codec, stage: Stage::Head, held: Vec::new() }
    }

    /// Takes all of `bytes` and hands out what they complete.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], take: &mut impl FnMut(Item<'_>)) {
        if self.codec == Codec::Raw {
            return take(Item::Output(bytes));
        }
        while !bytes.is_empty() {
            match self.stage {
                Stage::Broken => return,
                Stage::Content { left, error_output } => {
                    let (content, rest) = bytes.split_at(left.min(bytes.len()));
                    take(if error_output { Item::ErrorOutput(content) } else { Item::Output(content) });
                    let left = left - content.len();
                    self.stage = if left == 0 { Stage::Frame } else { Stage::Content { left, error_output } };
                    bytes = rest;
                }
                Stage::Head | Stage::Frame if self.held.is_empty() => match self.step(bytes, take) {
                    Ok(Step::Done(count)) => bytes = &bytes[count..],
                    Ok(Step::Needs(_)) => {
                        self.held = bytes.to_vec();
                        return;
                    }
                    Err(what) => return self.broken(what, take),
                },
                Stage::Head | Stage::Frame => {
                    let held = std::mem::take(&mut self.held);
                    match self.step(&held, take) {
                        Ok(Step::Done(_)) => {}
                        Ok(Step::Needs(whole)) => {
                            let missing = whole.saturating_sub(held.len()).min(bytes.len());
                            self.held = held;
                            self.held.extend_from_slice(&bytes[..missing]);
                            bytes = &bytes[missing..];
                            if bytes.is_empty() {
                                // It may be whole now.
                                let held = std::mem::take(&mut self.held);
                                match self.step(&held, take) {
                                    Ok(Step::Done(_)) => {}
                                    Ok(Step::Needs(_)) => self.held = held,
                                    Err(what) => self.broken(what, take),
                                }
                            }
                        }
                        Err(what) => return self.broken(what, take),
                    }
                }
            }
        }
    }

    fn broken(&mut self, what: String, take: &mut impl FnMut(Item<'_>)) {
        self.stage = Stage::Broken;
        take(Item::Nonsense(what));
    }

    /// One head, frame, or beginning of a long frame. What it needs is never more than it will consume.
    fn step(&mut self, bytes: &[u8], take: &mut impl FnMut(Item<'_>)) -> Result<Step, String> {
        if self.stage == Stage::Head {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                return Ok(Step::Needs(bytes.len() + 1));
            };
            let head = String::from_utf8_lossy(&bytes[..end]);
            if !head.starts_with("HTTP/1.1 101 ") || !head.contains(ACCEPT) {
                return Err(format!("no upgrade: {}", head.lines().next().unwrap_or_default()));
            }
            if self.codec == Codec::V1 && !head.contains("entry.v1") {
                return Err("the upgrade does not speak entry.v1".to_owned());
            }
            self.stage = Stage::Frame;
            take(Item::Upgraded);
            return Ok(Step::Done(end + 4));
        }
        let [first, second, ..] = *bytes else { return Ok(Step::Needs(2)) };
        if first & 0xf0 != 0x80 || second & 0x80 != 0 {
            return Err(format!("a frame that begins with {first:02x} {second:02x}"));
        }
        let (head, length) = match second {
            126 => match bytes.get(2..4) {
                Some(&[a, b]) => (4, usize::from(u16::from_be_bytes([a, b]))),
                Some(_) | None => return Ok(Step::Needs(4)),
            },
            127 => match bytes.get(2..10).and_then(|eight| <[u8; 8]>::try_from(eight).ok()) {
                Some(eight) => (10, usize::try_from(u64::from_be_bytes(eight)).map_err(|e| e.to_string())?),
                None => return Ok(Step::Needs(10)),
            },
            short => (2, usize::from(short)),
        };
        let opcode = first & 0x0f;
        if opcode == BINARY && length > COLLECTED_BYTES_MAX && self.codec != Codec::Json {
            let Some(beginning) = bytes.get(head..head + MESSAGE_HEAD_BYTES) else {
                return Ok(Step::Needs(head + MESSAGE_HEAD_BYTES));
            };
            let (message_head, error_output) = long_output(beginning, length)?;
            // What was taken of the content to read its head is handed out now.
            let extra = &beginning[message_head..];
            take(if error_output { Item::ErrorOutput(extra) } else { Item::Output(extra) });
            self.stage = Stage::Content { left: length - MESSAGE_HEAD_BYTES, error_output };
            return Ok(Step::Done(head + MESSAGE_HEAD_BYTES));
        }
        let Some(payload) = bytes.get(head..head + length) else {
            return Ok(Step::Needs(head + length));
        };
        match opcode {
            BINARY if self.codec == Codec::Json => json_message(payload, take)?,
            BINARY => message(payload, take)?,
            CLOSE => {
                let code = match payload {
                    [a, b, ..] => u16::from_be_bytes([*a, *b]),
                    _ => 1005,
                };
                take(Item::CloseFrame(code));
            }
            PING | PONG => {}
            other => return Err(format!("a frame with opcode {other}")),
        }
        Ok(Step::Done(head + length))
    }
}

/// The head of a long message: its length, and whether it is error output. Nothing else is ever long.
fn long_output(beginning: &[u8], length: usize) -> Result<(usize, bool), String> {
    let mut at = 0;
    let mut error_output = false;
    if beginning[0] == 1 << 3 {
        error_output = beginning[1] == 1;
        if !error_output {
            return Err(format!("a message of {length} bytes of type {}", beginning[1]));
        }
        at = 2;
    }
    if beginning[at] != 2 << 3 | 2 {
        return Err(format!("a message of {length} bytes without content"));
    }
    let (content, after) = varint(beginning, at + 1).ok_or("a length without an end")?;
    if after + usize::try_from(content).unwrap_or(usize::MAX) != length {
        return Err(format!("a message of {length} bytes that holds {content}"));
    }
    Ok((after, error_output))
}

fn varint(bytes: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some((value, at));
        }
    }
    None
}

/// Calls with each field's tag and its number or bytes.
fn fields<'a>(bytes: &'a [u8], mut take: impl FnMut(u64, u64, &'a [u8])) -> Option<()> {
    let mut at = 0;
    while at < bytes.len() {
        let (key, after) = varint(bytes, at)?;
        let (number, after) = varint(bytes, after)?;
        at = after;
        match key & 7 {
            0 => take(key >> 3, number, b""),
            2 => {
                let end = at.checked_add(usize::try_from(number).ok()?)?;
                take(key >> 3, 0, bytes.get(at..end)?);
                at = end;
            }
            _ => return None,
        }
    }
    Some(())
}

fn message(payload: &[u8], take: &mut impl FnMut(Item<'_>)) -> Result<(), String> {
    let (mut kind, mut content, mut close) = (0, &b""[..], None);
    fields(payload, |tag, number, bytes| match tag {
        1 => kind = number,
        2 => content = bytes,
        3 => close = Some(bytes),
        _ => {}
    })
    .ok_or("a message that is no protobuf")?;
    let told = close.map(|close| {
        let (mut outcome, mut status) = (0, 0);
        let _ = fields(close, |tag, number, _| match tag {
            1 => outcome = number,
            2 => status = number,
            _ => {}
        });
        (u32::try_from(outcome).unwrap_or(0), u32::try_from(status).unwrap_or(u32::MAX))
    });
    hand_on(kind, content, told, take)
}

#[derive(Deserialize)]
struct JsonMessage<'a> {
    #[serde(rename = "msgType", default)]
    kind: u64,
    #[serde(default)]
    content: &'a str,
}

fn json_message(payload: &[u8], take: &mut impl FnMut(Item<'_>)) -> Result<(), String> {
    let message: JsonMessage<'_> = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let content = STANDARD.decode(message.content).map_err(|error| error.to_string())?;
    hand_on(message.kind, &content, None, take)
}

fn hand_on(
    kind: u64,
    content: &[u8],
    told: Option<(u32, u32)>,
    take: &mut impl FnMut(Item<'_>),
) -> Result<(), String> {
    take(match kind {
        0 => Item::Output(content),
        1 => Item::ErrorOutput(content),
        2 => Item::Close { told },
        3 => Item::Ping,
        4 => Item::Opened,
        other => return Err(format!("a message of type {other}")),
    });
    Ok(())
}
