//! Frames in: the rules of RFC 6455 around the header codec, on a buffer that is lent.
//!
//! Payload is unmasked where it lies and handed on as it arrives; between two calls the decoder keeps what
//! cannot be handed on: a header's beginning, a control frame that came in pieces, the end of a text's piece
//! that is not a whole character. A message is never collected, so its size costs nothing; it is bounded all
//! the same, for whoever does collect it. It may not know what a message means.

use std::fmt;
use std::io::Cursor;
use std::ops::Range;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{self, CloseCode, OpCode};

use super::CONTROL_BYTES_MAX;
use crate::wire::utf8;

/// The longest header of a frame, in bytes: eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;
/// A mask's length, in bytes (RFC 6455, 5.3).
const MASK_BYTES: usize = 4;

/// The client broke the protocol: send a close frame with the code, then close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolError {
    /// 1002 (protocol), 1007 (not UTF-8) or 1009 (too big), RFC 6455, 7.4.1.
    pub close_code: u16,
    /// What was wrong.
    pub text: &'static str,
}

impl ProtocolError {
    const fn protocol(text: &'static str) -> Self {
        ProtocolError { close_code: 1002, text }
    }

    const fn not_utf8(text: &'static str) -> Self {
        ProtocolError { close_code: 1007, text }
    }

    const TOO_BIG: Self = ProtocolError { close_code: 1009, text: "the message is too big" };
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.text, self.close_code)
    }
}

impl std::error::Error for ProtocolError {}

/// The payload of a control frame, at most [`CONTROL_BYTES_MAX`] bytes. An empty one takes no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control(Box<[u8]>);

impl Control {
    /// The payload, to be sent back in a pong.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a frame, or the part of it that has arrived, says.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of a message, which may come in many: frames, and parts of frames.
    Data {
        /// Is the message text? It has been checked to be UTF-8 as far as it has come; a piece may end
        /// inside a character.
        text: bool,
        /// Where the payload lies in the buffer, unmasked; it may be empty.
        payload: Range<usize>,
        /// Is this the message's last piece?
        message_done: bool,
    },
    /// A ping, to be answered by a pong with the same payload (RFC 6455, 5.5.3).
    Ping(Control),
    /// A pong, asked for or not.
    Pong,
    /// The client closes; to be answered by a close frame. Nothing comes after it.
    Close {
        /// The code, if there is one. It is one that may be sent.
        code: Option<u16>,
    },
}

/// Reads the frames of one connection. It holds no payload but that of a control frame in pieces.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    message_bytes_max: u32,
    /// The payload announced so far by the frames of the current message.
    message_bytes: u32,
    message: Message,
    /// The beginning of a character at the end of the last piece of text.
    character: utf8::Tail,
}

/// ```text
///          ┌──────────────► Data ─┐
/// Header ──┼─► ControlInPieces ───┼─► Header
///          └─► (whole control) ───┘      any ──(close, error)──► Closed
/// ```
#[derive(Debug)]
enum State {
    /// Between frames, or inside of a header: its first bytes.
    Header { bytes: [u8; HEADER_BYTES_MAX - 1], len: u8 },
    /// Inside of a data frame's payload, of which so many bytes are left. The mask is turned so that its
    /// first byte belongs to the next one.
    Data { left: u32, mask: [u8; MASK_BYTES], is_final: bool },
    /// Boxed, since it is rare and large.
    ControlInPieces(Box<ControlInPieces>),
    /// After a close or an error all that comes is dropped.
    Closed,
}

const BETWEEN_FRAMES: State = State::Header { bytes: [0; HEADER_BYTES_MAX - 1], len: 0 };

/// The message that data frames are part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    None,
    Text,
    Binary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ControlKind {
    Close,
    Ping,
    Pong,
}

/// A control frame that did not arrive whole.
#[derive(Debug)]
struct ControlInPieces {
    kind: ControlKind,
    mask: [u8; MASK_BYTES],
    bytes: [u8; CONTROL_BYTES_MAX],
    len: usize,
    payload_bytes: usize,
}

/// A header that has passed all checks that can be made without the message it belongs to.
enum Frame {
    Data { opcode: coding::Data, payload_bytes: u32, mask: [u8; MASK_BYTES], is_final: bool },
    Control { kind: ControlKind, payload_bytes: usize, mask: [u8; MASK_BYTES] },
}

impl Decoder {
    /// A decoder for a client's frames, right behind the handshake. A message of more than
    /// `message_bytes_max` bytes is refused at the header that announces it.
    pub fn new(message_bytes_max: u32) -> Self {
        Decoder {
            state: BETWEEN_FRAMES,
            message_bytes_max,
            message_bytes: 0,
            message: Message::None,
            character: utf8::Tail::default(),
        }
    }

    /// From the next message on, allows messages of up to this many bytes.
    pub fn set_message_bytes_max(&mut self, message_bytes_max: u32) {
        self.message_bytes_max = message_bytes_max;
    }

    /// Reads at most one frame, or what is there of it: how many bytes of `buffer` were used and what they
    /// said. Ranges are relative to `buffer`.
    ///
    /// `None` says that more bytes are needed; all of `buffer` is used then. Call again with what is behind
    /// the used bytes until then. After a close all bytes are used and say nothing (RFC 6455, 5.5.1).
    ///
    /// # Errors
    /// The client broke the protocol, see [`ProtocolError`]. It is found at the first byte that shows it,
    /// headers being read whole; after it all bytes are used and say nothing.
    #[inline]
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<(usize, Option<Event>), ProtocolError> {
        let read = self.read(buffer);
        if matches!(read, Err(_) | Ok((_, Some(Event::Close { .. })))) {
            self.state = State::Closed;
        }
        read
    }

    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> Result<(usize, Option<Event>), ProtocolError> {
        match &mut self.state {
            State::Header { bytes, len } => {
                let Some((frame, header_bytes)) = read_header(bytes, len, buffer)? else {
                    return Ok((buffer.len(), None));
                };
                self.state = BETWEEN_FRAMES;
                self.begin(frame, header_bytes, buffer)
            }
            State::Closed => Ok((buffer.len(), None)),
            State::Data { .. } if buffer.is_empty() => Ok((0, None)),
            State::Data { left, mask, is_final } => {
                let (left, mask, is_final) = (*left, *mask, *is_final);
                self.data(0, left, mask, is_final, buffer)
            }
            State::ControlInPieces(control) => {
                let used = control.add(buffer);
                if control.len < control.payload_bytes {
                    return Ok((used, None));
                }
                let event = control_event(control.kind, &control.bytes[..control.len])?;
                self.state = BETWEEN_FRAMES;
                Ok((used, Some(event)))
            }
        }
    }

    /// Goes on behind a header: with the payload that is in `buffer` from `start`.
    #[inline]
    fn begin(
        &mut self,
        frame: Frame,
        start: usize,
        buffer: &mut [u8],
    ) -> Result<(usize, Option<Event>), ProtocolError> {
        match frame {
            Frame::Data { opcode, payload_bytes, mask, is_final } => {
                self.begin_data(opcode, payload_bytes)?;
                if payload_bytes > 0 && start == buffer.len() {
                    self.state = State::Data { left: payload_bytes, mask, is_final };
                    return Ok((start, None));
                }
                self.data(start, payload_bytes, mask, is_final, buffer)
            }
            Frame::Control { kind, payload_bytes, mask } => {
                let rest = &mut buffer[start..];
                if let Some(payload) = rest.get_mut(..payload_bytes) {
                    unmask(payload, mask);
                    return Ok((start + payload_bytes, Some(control_event(kind, payload)?)));
                }
                let mut control = Box::new(ControlInPieces {
                    kind,
                    mask,
                    bytes: [0; CONTROL_BYTES_MAX],
                    len: 0,
                    payload_bytes,
                });
                control.add(rest);
                self.state = State::ControlInPieces(control);
                Ok((buffer.len(), None))
            }
        }
    }

    /// Checks a data frame against the message it belongs to (RFC 6455, 5.4) and against the limit.
    #[inline]
    fn begin_data(&mut self, opcode: coding::Data, payload_bytes: u32) -> Result<(), ProtocolError> {
        self.message = match (opcode, self.message) {
            (coding::Data::Continue, Message::None) => {
                return Err(ProtocolError::protocol("a continuation of no message"));
            }
            (coding::Data::Continue, message) => message,
            (coding::Data::Text, Message::None) => Message::Text,
            (coding::Data::Binary, Message::None) => Message::Binary,
            (coding::Data::Text | coding::Data::Binary, Message::Text | Message::Binary) => {
                return Err(ProtocolError::protocol("a new message inside of another"));
            }
            (coding::Data::Reserved(_), _) => return Err(RESERVED_OPCODE),
        };
        self.message_bytes = self
            .message_bytes
            .checked_add(payload_bytes)
            .filter(|message_bytes| *message_bytes <= self.message_bytes_max)
            .ok_or(ProtocolError::TOO_BIG)?;
        Ok(())
    }

    /// Hands on what `buffer` holds, from `start`, of a data frame of which `left` bytes are to come.
    #[inline]
    fn data(
        &mut self,
        start: usize,
        left: u32,
        mut mask: [u8; MASK_BYTES],
        is_final: bool,
        buffer: &mut [u8],
    ) -> Result<(usize, Option<Event>), ProtocolError> {
        let available = buffer.len() - start;
        let (piece_bytes, left) = match u32::try_from(available) {
            Ok(available_bytes) if available_bytes < left => (available, left - available_bytes),
            // All that is left is there, so it fits a usize as `available` does.
            Ok(_) | Err(_) => (usize::try_from(left).unwrap_or(available), 0),
        };
        let payload = start..start + piece_bytes;
        let piece = &mut buffer[payload.clone()];
        unmask(piece, mask);
        mask.rotate_left(piece_bytes % MASK_BYTES);
        let message_done = is_final && left == 0;
        let text = self.message == Message::Text;
        if text {
            check_text(&mut self.character, piece)?;
            if message_done && !self.character.is_empty() {
                return Err(ProtocolError::not_utf8("a text message ends inside of a character"));
            }
        }
        self.state = if left == 0 { BETWEEN_FRAMES } else { State::Data { left, mask, is_final } };
        if message_done {
            self.message = Message::None;
            self.message_bytes = 0;
        }
        Ok((payload.end, Some(Event::Data { text, payload, message_done })))
    }
}

impl ControlInPieces {
    /// Takes what `input` holds of the payload; gives how many bytes that is.
    fn add(&mut self, input: &mut [u8]) -> usize {
        let missing = &mut self.bytes[self.len..self.payload_bytes];
        let taken = missing.len().min(input.len());
        let piece = &mut input[..taken];
        unmask(piece, self.mask);
        self.mask.rotate_left(taken % MASK_BYTES);
        missing[..taken].copy_from_slice(piece);
        self.len += taken;
        taken
    }
}

const RESERVED_OPCODE: ProtocolError = ProtocolError::protocol("a reserved opcode");

/// Reads a header of which `held` (the first `held_len` bytes) has arrived before: the frame, and how much of
/// `input` its header took. Without a frame all of `input` is part of the header and is held.
#[inline]
fn read_header(
    held: &mut [u8; HEADER_BYTES_MAX - 1],
    held_len: &mut u8,
    input: &[u8],
) -> Result<Option<(Frame, usize)>, ProtocolError> {
    let held_bytes = usize::from(*held_len);
    if held_bytes == 0 {
        if let Some((frame, header_bytes)) = parse_header(input)? {
            return Ok(Some((frame, header_bytes)));
        }
    } else {
        let mut joined = [0; HEADER_BYTES_MAX];
        let taken = input.len().min(HEADER_BYTES_MAX - held_bytes);
        joined[..held_bytes].copy_from_slice(&held[..held_bytes]);
        joined[held_bytes..held_bytes + taken].copy_from_slice(&input[..taken]);
        if let Some((frame, header_bytes)) = parse_header(&joined[..held_bytes + taken])? {
            // What was held was not a whole header, so the header ends within `input`.
            return Ok(Some((frame, header_bytes.saturating_sub(held_bytes))));
        }
    }
    // Fourteen bytes always are a header, so there is room for fewer.
    for (place, byte) in held[held_bytes..].iter_mut().zip(input) {
        *place = *byte;
        *held_len += 1;
    }
    Ok(None)
}

/// Parses a header and checks what can be seen in it alone (RFC 6455, 5.2 and 5.5).
#[inline]
fn parse_header(bytes: &[u8]) -> Result<Option<(Frame, usize)>, ProtocolError> {
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| RESERVED_OPCODE)?;
    let (Some((header, payload_bytes)), Some(length_byte)) = (parsed, bytes.get(1)) else {
        return Ok(None);
    };
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(ProtocolError::protocol("a reserved bit is set, and no extension was negotiated"));
    }
    let mask = header.mask.ok_or(ProtocolError::protocol("a frame of a client has no mask"))?;
    let is_minimal = match length_byte & 0x7f {
        126 => payload_bytes > 125,
        127 => payload_bytes > 0xffff,
        _ => true,
    };
    if !is_minimal {
        return Err(ProtocolError::protocol("a length is not in its shortest form"));
    }
    if payload_bytes >> 63 != 0 {
        return Err(ProtocolError::protocol("a length has its top bit set"));
    }
    let kind = match header.opcode {
        OpCode::Data(opcode) => {
            let payload_bytes = u32::try_from(payload_bytes).map_err(|_| ProtocolError::TOO_BIG)?;
            let frame = Frame::Data { opcode, payload_bytes, mask, is_final: header.is_final };
            return Ok(Some((frame, consumed(&cursor))));
        }
        OpCode::Control(coding::Control::Close) => ControlKind::Close,
        OpCode::Control(coding::Control::Ping) => ControlKind::Ping,
        OpCode::Control(coding::Control::Pong) => ControlKind::Pong,
        OpCode::Control(coding::Control::Reserved(_)) => return Err(RESERVED_OPCODE),
    };
    if !header.is_final {
        return Err(ProtocolError::protocol("a control frame is fragmented"));
    }
    let payload_bytes = usize::try_from(payload_bytes)
        .ok()
        .filter(|payload_bytes| *payload_bytes <= CONTROL_BYTES_MAX)
        .ok_or(ProtocolError::protocol("a control frame is longer than 125 bytes"))?;
    Ok(Some((Frame::Control { kind, payload_bytes, mask }, consumed(&cursor))))
}

#[inline]
fn consumed(cursor: &Cursor<&[u8]>) -> usize {
    let length = cursor.get_ref().len();
    usize::try_from(cursor.position()).map_or(length, |position| position.min(length))
}

fn control_event(kind: ControlKind, payload: &[u8]) -> Result<Event, ProtocolError> {
    match kind {
        ControlKind::Ping => Ok(Event::Ping(Control(payload.into()))),
        ControlKind::Pong => Ok(Event::Pong),
        ControlKind::Close => close_event(payload),
    }
}

/// Reads a close frame's payload (RFC 6455, 5.5.1 and 7.4).
fn close_event(payload: &[u8]) -> Result<Event, ProtocolError> {
    let (high, low, reason) = match payload {
        [] => return Ok(Event::Close { code: None }),
        [_] => return Err(ProtocolError::protocol("a close code is two bytes")),
        [high, low, reason @ ..] => (*high, *low, reason),
    };
    let code = u16::from_be_bytes([high, low]);
    if !CloseCode::from(code).is_allowed() {
        return Err(ProtocolError::protocol("a close code that may not be sent"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(ProtocolError::not_utf8("the reason of a close is not UTF-8"));
    }
    Ok(Event::Close { code: Some(code) })
}

/// Checks a piece of text that goes on from `character`, the beginning of one, and leaves there what the
/// piece ends with. Fails at the first byte that cannot become UTF-8.
fn check_text(character: &mut utf8::Tail, piece: &[u8]) -> Result<(), ProtocolError> {
    const NOT_UTF8: ProtocolError = ProtocolError::not_utf8("a text message is not UTF-8");
    let mut rest = piece;
    while !character.is_empty() {
        let Some((byte, behind)) = rest.split_first() else {
            return Ok(());
        };
        rest = behind;
        let begun = character.take();
        let begun = begun.as_bytes();
        // What is begun has at most three bytes, and is whole with four.
        let mut joined = [0; 4];
        joined[..begun.len()].copy_from_slice(begun);
        joined[begun.len()] = *byte;
        let joined = &joined[..=begun.len()];
        match std::str::from_utf8(joined) {
            Ok(_) => {}
            Err(error) if error.error_len().is_none() => character.set(joined),
            Err(_) => return Err(NOT_UTF8),
        }
    }
    match std::str::from_utf8(rest) {
        Ok(_) => Ok(()),
        Err(error) if error.error_len().is_none() => {
            character.set(&rest[error.valid_up_to()..]);
            Ok(())
        }
        Err(_) => Err(NOT_UTF8),
    }
}

/// Takes the mask off, eight bytes at a time (RFC 6455, 5.3). The mask's first byte belongs to the first one.
#[inline]
fn unmask(bytes: &mut [u8], mask: [u8; MASK_BYTES]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(&wide.to_ne_bytes()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests;
