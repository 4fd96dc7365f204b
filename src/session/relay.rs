//! Output on its way from the engine to the client: cut at character boundaries, framed for the client.
//!
//! In protobuf the bytes stay where they were read, and their headers are written into the free bytes in front of
//! them; in JSON, and where that room is too small, they are copied. Knows bytes and lanes, no session.

use super::Lane;
use crate::wire::message::{
    Codec, OUTPUT_HEAD_BYTES_MAX, Output, OutputHead, ResponseType, json_len, write_json,
};
use crate::wire::stdcopy::{self, StdcopyError, Stream};
use crate::wire::utf8::{self, Tail};
use crate::wire::websocket::{FRAME_HEAD_BYTES_MAX, Opcode, frame_head};
use std::ops::Range;

/// What headers of a piece take at most.
const HEADERS_BYTES_MAX: usize = FRAME_HEAD_BYTES_MAX + OUTPUT_HEAD_BYTES_MAX;

/// How the engine frames the stream, as decided by the Tty that was asked for, and the held incomplete characters.
#[derive(Debug, Clone)]
pub(super) enum Relay {
    /// A terminal's output.
    Raw(Tail),
    /// stdout and stderr apart.
    Multiplexed { decoder: stdcopy::Decoder, stdout: Tail, stderr: Tail },
}

impl Relay {
    pub(super) fn new(tty: bool) -> Self {
        if tty {
            Relay::Raw(Tail::default())
        } else {
            Relay::Multiplexed {
                decoder: stdcopy::Decoder::new(),
                stdout: Tail::default(),
                stderr: Tail::default(),
            }
        }
    }

    /// Hands each piece of output in `buffer[range]` to `piece`, with the start of the free bytes in front of it.
    ///
    /// # Errors
    /// The stream is not what Docker's stream format allows.
    #[inline]
    pub(super) fn pieces(
        &mut self,
        buffer: &mut [u8],
        free: &mut usize,
        range: Range<usize>,
        piece: &mut impl FnMut(&mut [u8], Piece<'_>),
    ) -> Result<(), StdcopyError> {
        match self {
            Relay::Raw(tail) => piece(buffer, Piece { output: Output::Stdout, tail, free, range }),
            Relay::Multiplexed { decoder, stdout, stderr } => {
                let mut position = range.start;
                while position < range.end {
                    let (consumed, payload) = decoder.next(&buffer[position..range.end])?;
                    if let Some((stream, payload)) = payload {
                        let range = position + payload.start..position + payload.end;
                        let (output, tail) = match stream {
                            Stream::Stdin | Stream::Stdout => (Output::Stdout, &mut *stdout),
                            Stream::Stderr | Stream::SystemError => (Output::Stderr, &mut *stderr),
                        };
                        piece(buffer, Piece { output, tail, free, range });
                    }
                    position += consumed;
                }
            }
        }
        Ok(())
    }

    /// The output in bytes of the stream that may come next, both streams of it joined.
    pub(super) fn text_of(&self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = bytes.to_vec();
        let mut text = Vec::new();
        let range = 0..buffer.len();
        // A frame that is cut or broken gives what it has.
        let _ =
            self.clone().pieces(&mut buffer, &mut 0, range, &mut |buffer: &mut [u8], piece: Piece<'_>| {
                text.extend_from_slice(&buffer[piece.range.clone()]);
            });
        text
    }

    /// What is wrong with a stream that ends behind `held`, which has not been passed on yet: a frame in it that is none,
    /// or one that is cut.
    pub(super) fn fault_at_end(&self, held: &[u8]) -> Option<String> {
        let Relay::Multiplexed { decoder, .. } = self else { return None };
        let mut decoder = decoder.clone();
        let mut rest = held;
        while !rest.is_empty() {
            match decoder.next(rest) {
                Ok((consumed, _)) => rest = &rest[consumed..],
                Err(error) => return Some(error.to_string()),
            }
        }
        (!decoder.is_at_boundary()).then(|| "it ends within a frame".to_owned())
    }

    /// The stream has ended: what was held goes out as it is.
    pub(super) fn flush(&mut self, codec: Codec, lane: &mut Lane) {
        let tails = match self {
            Relay::Raw(tail) => [(Output::Stdout, tail.take()), (Output::Stderr, Tail::default())],
            Relay::Multiplexed { stdout, stderr, .. } => {
                [(Output::Stdout, stdout.take()), (Output::Stderr, stderr.take())]
            }
        };
        for (output, tail) in tails {
            if !tail.is_empty() {
                write_output(codec, &mut lane.bytes, output, tail.as_bytes());
                lane.note_content(tail.as_bytes());
            }
        }
    }
}

/// A piece of output of one stream.
pub(super) struct Piece<'a> {
    pub(super) output: Output,
    tail: &'a mut Tail,
    /// Where the free bytes in front of the piece begin; moved behind the piece when it is sent.
    free: &'a mut usize,
    pub(super) range: Range<usize>,
}

impl Piece<'_> {
    /// Forgets the incomplete character before it, since its rest is not sent.
    pub(super) fn forget_tail(&mut self) {
        self.tail.take();
    }

    /// Sends the piece, but for an incomplete character at its end.
    #[inline]
    pub(super) fn send(self, codec: Codec, buffer: &mut [u8], scratch: &mut Vec<u8>, lane: &mut Lane) {
        let Piece { output, tail, free, range } = self;
        let held = tail.take();
        let held_bytes = held.as_bytes();
        let in_place = codec != Codec::Json
            && lane.bytes.is_empty()
            && has_room(range.start - *free, output, held_bytes.len(), range.len());
        if !in_place {
            let text = if held.is_empty() {
                &buffer[range.clone()]
            } else {
                scratch.clear();
                scratch.extend_from_slice(held_bytes);
                scratch.extend_from_slice(&buffer[range.clone()]);
                scratch
            };
            let cut = utf8::cut(text);
            tail.set(&text[cut..]);
            write_output(codec, &mut lane.bytes, output, &text[..cut]);
            lane.note_content(&text[..cut]);
            *free = range.end;
            return;
        }
        let start = range.start - held_bytes.len();
        buffer[start..range.start].copy_from_slice(held_bytes);
        let end = start + utf8::cut(&buffer[start..range.end]);
        tail.set(&buffer[end..range.end]);
        if start == end {
            return;
        }
        let message_head = OutputHead::new(output, end - start);
        let message_head = message_head.as_bytes();
        let frame = frame_head(Opcode::Binary, message_head.len() + (end - start));
        let frame = frame.as_bytes();
        let head = start - message_head.len() - frame.len();
        buffer[head..head + frame.len()].copy_from_slice(frame);
        buffer[head + frame.len()..start].copy_from_slice(message_head);
        lane.push(buffer, head..end);
        lane.note_content(&buffer[start..end]);
        *free = end;
    }
}

/// Whether the held bytes and the headers of a piece fit into `room` free bytes in front of it. Its cut may make its
/// headers smaller.
#[inline]
fn has_room(room: usize, output: Output, held_bytes: usize, piece_bytes: usize) -> bool {
    // So it is but for pieces that lie close behind one another; then their own headers count.
    if room >= HEADERS_BYTES_MAX + held_bytes {
        return true;
    }
    let bytes = held_bytes + piece_bytes;
    let message_head = OutputHead::new(output, bytes).as_bytes().len();
    room >= held_bytes + message_head + frame_head(Opcode::Binary, message_head + bytes).as_bytes().len()
}

/// Appends one message of output, framed.
#[inline]
pub(super) fn write_output(codec: Codec, out: &mut Vec<u8>, output: Output, content: &[u8]) {
    if !content.is_empty() {
        let kind = match output {
            Output::Stdout => ResponseType::Stdout,
            Output::Stderr => ResponseType::Stderr,
        };
        write_message(codec, out, kind, content);
    }
}

/// Appends one message that has nothing but content, framed.
#[inline]
pub(super) fn write_message(codec: Codec, out: &mut Vec<u8>, kind: ResponseType, content: &[u8]) {
    match codec {
        Codec::Protobuf | Codec::V1 => {
            let head = OutputHead::of(kind, content.len());
            let frame = frame_head(Opcode::Binary, head.as_bytes().len() + content.len());
            out.extend_from_slice(frame.as_bytes());
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(content);
        }
        Codec::Json => {
            let frame = frame_head(Opcode::Binary, json_len(kind, content.len()));
            out.extend_from_slice(frame.as_bytes());
            write_json(out, kind, content);
        }
    }
}
