//! WebSocket, the server's side (RFC 6455): the upgrade, frames in, frames out.
//!
//! The header codec is tungstenite's; the rules around it are in [`decoder`](Decoder), the handshake in
//! [`upgrade`](check_upgrade), and frames are written here. All of it works on buffers of the caller's, so
//! that an idle connection costs no more than a [`Decoder`]. No extension is ever negotiated. This room may
//! not know what messages mean, when a ping is due, or who is connected.

mod decoder;
mod upgrade;

pub use decoder::{Control, Decoder, Event, ProtocolError};
pub use upgrade::{Upgrade, UpgradeError, accept_key, check_upgrade, write_upgrade_response};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{self, CloseCode, OpCode};

/// The longest payload of a control frame, in bytes (RFC 6455, 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The longest header of a frame that is sent, in bytes: no mask goes this way.
pub const FRAME_HEAD_BYTES_MAX: usize = 10;

/// What a close frame's code takes from its payload, in bytes.
const CLOSE_CODE_BYTES: usize = 2;

/// What a frame that is sent carries (RFC 6455, 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A whole text message; its payload is UTF-8.
    Text,
    /// A whole binary message.
    Binary,
    /// The end of the connection.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl From<Opcode> for OpCode {
    #[inline]
    fn from(opcode: Opcode) -> Self {
        match opcode {
            Opcode::Text => OpCode::Data(coding::Data::Text),
            Opcode::Binary => OpCode::Data(coding::Data::Binary),
            Opcode::Close => OpCode::Control(coding::Control::Close),
            Opcode::Ping => OpCode::Control(coding::Control::Ping),
            Opcode::Pong => OpCode::Control(coding::Control::Pong),
        }
    }
}

/// A frame's header, inline, to be written in front of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    bytes: [u8; FRAME_HEAD_BYTES_MAX],
    len: u8,
}

impl FrameHead {
    /// The header as it is sent: 2, 4 or 10 bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The header of a whole, unmasked frame, with its length in the shortest form (RFC 6455, 5.2).
#[inline]
pub fn frame_head(opcode: Opcode, payload_bytes: usize) -> FrameHead {
    debug_assert!(
        payload_bytes <= CONTROL_BYTES_MAX || matches!(opcode, Opcode::Text | Opcode::Binary),
        "a control frame is short"
    );
    let header = FrameHeader { opcode: opcode.into(), ..FrameHeader::default() };
    let length = u64::try_from(payload_bytes).unwrap_or(u64::MAX);
    let mut bytes = [0; FRAME_HEAD_BYTES_MAX];
    // It fits: only a mask would make a header longer.
    let written = header.format(length, &mut bytes.as_mut_slice());
    debug_assert!(written.is_ok());
    let len = match payload_bytes {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    };
    debug_assert_eq!(header.len(length), usize::from(len));
    FrameHead { bytes, len }
}

/// Appends a whole frame. The payload of a control frame is at most [`CONTROL_BYTES_MAX`] bytes.
#[inline]
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let head = frame_head(opcode, payload.len());
    out.reserve(head.as_bytes().len() + payload.len());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(payload);
}

/// Appends a close frame (RFC 6455, 5.5.1 and 7.4). A reason over 123 bytes is cut at a character's boundary.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    debug_assert!(CloseCode::from(code).is_allowed(), "a close code that may not be sent");
    let mut end = reason.len().min(CONTROL_BYTES_MAX - CLOSE_CODE_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason.as_bytes()[..end];
    out.extend_from_slice(frame_head(Opcode::Close, CLOSE_CODE_BYTES + reason.len()).as_bytes());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_have_the_shortest_length() {
        let table: &[(Opcode, usize, &[u8])] = &[
            (Opcode::Text, 0, &[0x81, 0]),
            (Opcode::Binary, 125, &[0x82, 125]),
            (Opcode::Binary, 126, &[0x82, 126, 0, 126]),
            (Opcode::Binary, 65_535, &[0x82, 126, 0xff, 0xff]),
            (Opcode::Binary, 65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (Opcode::Close, 2, &[0x88, 2]),
            (Opcode::Ping, 0, &[0x89, 0]),
            (Opcode::Pong, 5, &[0x8a, 5]),
        ];
        for (opcode, payload_bytes, expected) in table {
            assert_eq!(frame_head(*opcode, *payload_bytes).as_bytes(), *expected);
        }
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        write_close(&mut out, 1000, "bye");
        assert_eq!(out, [&[0x88, 5, 0x03, 0xe8][..], b"bye"].concat());
        for (reason, reason_bytes) in
            [("x".repeat(123), 123), ("x".repeat(200), 123), (format!("{}é", "x".repeat(122)), 122)]
        {
            out.clear();
            write_close(&mut out, 4000, &reason);
            assert_eq!(usize::from(out[1]), 2 + reason_bytes);
            assert_eq!(&out[4..], &reason.as_bytes()[..reason_bytes]);
        }
    }

    #[test]
    fn a_frame_is_its_head_and_its_payload() {
        let mut out = b"before".to_vec();
        write_frame(&mut out, Opcode::Text, b"hi");
        assert_eq!(out, b"before\x81\x02hi");
    }
}
