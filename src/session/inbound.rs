//! The client's bytes as whole messages: frames are unmasked where they lie; only a message that does not arrive in
//! one piece is collected. Knows no session.

use crate::config;
use crate::crowd::{Crowd, SHARE_BYTES_MIN};
use crate::wire::websocket::{Control, Decoder, Event, ProtocolError};
use std::ops::Range;

/// What arrived.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A whole message, a range of the buffer that was given.
    Message(Range<usize>),
    /// A whole message that came in pieces.
    Collected(Vec<u8>),
    Ping(Control),
    /// A message in pieces, for which there is no room.
    Refused,
    /// The client closes; with the code it gave.
    Close(Option<u16>),
}

/// Idle, it owns no buffer.
#[derive(Debug)]
pub(super) struct Inbound {
    decoder: Decoder,
    /// The pieces so far of a message that is not whole.
    #[allow(clippy::box_collection, reason = "rare, and an idle session counts every byte")]
    pieces: Option<Box<Vec<u8>>>,
}

impl Inbound {
    pub(super) fn new(message_bytes_max: u32) -> Self {
        Inbound { decoder: Decoder::new(message_bytes_max), pieces: None }
    }

    /// From now on messages may be as large as a stream's.
    pub(super) fn allow_stream_messages(&mut self) {
        self.decoder.set_message_bytes_max(config::MESSAGE_BYTES_MAX);
    }

    /// What is held of a message that is not whole, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.pieces.as_ref().map_or(0, |pieces| pieces.capacity())
    }

    /// The next arrival in `buffer[*position..]`, which moves `position` behind it; `None` when all is consumed.
    /// Messages in pieces are collected where `crowd` has room for them.
    #[inline]
    pub(super) fn next(
        &mut self,
        crowd: &Crowd,
        buffer: &mut [u8],
        position: &mut usize,
    ) -> Result<Option<Arrival>, ProtocolError> {
        while *position < buffer.len() {
            let start = *position;
            let (consumed, event) = self.decoder.next(&mut buffer[start..])?;
            *position += consumed;
            match event {
                None if consumed == 0 => return Ok(None),
                None | Some(Event::Pong) => {}
                Some(Event::Ping(payload)) => return Ok(Some(Arrival::Ping(payload))),
                Some(Event::Close { code }) => return Ok(Some(Arrival::Close(code))),
                Some(Event::Data { payload, message_done, .. }) => {
                    let piece = start + payload.start..start + payload.end;
                    match (self.pieces.take(), message_done) {
                        (None, true) => return Ok(Some(Arrival::Message(piece))),
                        (Some(mut pieces), true) => {
                            pieces.extend_from_slice(&buffer[piece]);
                            return Ok(Some(Arrival::Collected(*pieces)));
                        }
                        (pieces, false) => {
                            let mut pieces = pieces.unwrap_or_default();
                            if pieces.len() + piece.len() > SHARE_BYTES_MIN && crowd.is_short_of_memory() {
                                return Ok(Some(Arrival::Refused));
                            }
                            pieces.extend_from_slice(&buffer[piece]);
                            self.pieces = Some(pieces);
                        }
                    }
                }
            }
        }
        Ok(None)
    }
}
