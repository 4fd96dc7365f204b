//! Docker's multiplexed stream: what an exec or attach without a terminal sends.
//!
//! Engine API, "Attach to a container", stream format: each frame is `[type, 0, 0, 0, length]` with the
//! length as 32 bits, big endian, and then so many bytes of payload. Nothing is framed towards the engine.
//! This room may not know which exec the stream belongs to or whether it is framed at all; that is decided
//! by the `Tty` that was asked for, never by a `Content-Type`.

use std::fmt;
use std::ops::Range;

/// The length of a frame's header, in bytes.
pub const HEADER_BYTES: usize = 8;

/// Which of the process's streams a frame belongs to (the header's first byte).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// 0: the standard input, echoed.
    Stdin,
    /// 1: the standard output.
    Stdout,
    /// 2: the standard error.
    Stderr,
    /// 3: an error of the engine itself, as text.
    SystemError,
}

impl Stream {
    /// The stream that a header's first byte means; types above 3 do not exist.
    #[inline]
    fn from_byte(byte: u8) -> Option<Stream> {
        match byte {
            0 => Some(Stream::Stdin),
            1 => Some(Stream::Stdout),
            2 => Some(Stream::Stderr),
            3 => Some(Stream::SystemError),
            _ => None,
        }
    }

    fn to_byte(self) -> u8 {
        match self {
            Stream::Stdin => 0,
            Stream::Stdout => 1,
            Stream::Stderr => 2,
            Stream::SystemError => 3,
        }
    }
}

/// A piece of a stream's payload: where it lies in the input it was found in.
pub type Piece = (Stream, Range<usize>);

/// The bytes are not this format: the type is above 3 or the padding is not zero.
///
/// It holds the header's first four bytes; those that had not arrived are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StdcopyError(pub [u8; 4]);

impl fmt::Display for StdcopyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, padding @ ..] = self.0;
        write!(
            formatter,
            "the engine's stream is not framed: a frame starts with type {kind} and padding {padding:?}"
        )
    }
}

impl std::error::Error for StdcopyError {}

/// Takes the frames off a stream that arrives in pieces.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// What of the current frame's payload has not arrived, in bytes.
    payload_left: u32,
    /// The current frame's stream, meaningful while payload is left.
    stream: Stream,
    /// The header of the next frame, as far as it has arrived.
    header: [u8; HEADER_BYTES],
    header_len: u8,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub const fn new() -> Self {
        Decoder { payload_left: 0, stream: Stream::Stdout, header: [0; HEADER_BYTES], header_len: 0 }
    }

    /// The next piece of payload: how many bytes of `input` were used, and the stream with the piece's range
    /// within `input`.
    ///
    /// A frame may come in many pieces, frames without payload are skipped. `None` says that more bytes are
    /// needed; all of `input` is used then, a partial header is kept inside. Call again with what is behind
    /// the used bytes until `None` is the answer.
    ///
    /// # Errors
    /// [`StdcopyError`] as soon as the bytes cannot be a header. The stream cannot be resumed then.
    #[inline]
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, Option<Piece>), StdcopyError> {
        let mut position = 0;
        loop {
            let rest = &input[position..];
            if rest.is_empty() {
                return Ok((position, None));
            }
            if self.payload_left > 0 {
                let (piece_bytes, payload_left) = take(self.payload_left, rest.len());
                self.payload_left = payload_left;
                let end = position + piece_bytes;
                return Ok((end, Some((self.stream, position..end))));
            }
            position += self.read_header(rest)?;
        }
    }

    /// Is the stream between two frames? At its end anything else means that it was cut off.
    pub fn is_at_boundary(&self) -> bool {
        self.payload_left == 0 && self.header_len == 0
    }

    /// Reads what `input` holds of a header, and gives how many bytes that was.
    #[inline]
    fn read_header(&mut self, input: &[u8]) -> Result<usize, StdcopyError> {
        let mut used = 0;
        for (place, byte) in self.header[usize::from(self.header_len)..].iter_mut().zip(input) {
            *place = *byte;
            self.header_len += 1;
            used += 1;
        }
        let [kind, padding @ .., a, b, c, d] = self.header;
        // Bytes that are still to come are zero here, and zero is valid in these places.
        let stream = match (Stream::from_byte(kind), padding) {
            (Some(stream), [0, 0, 0]) => stream,
            (_, [x, y, z]) => return Err(StdcopyError([kind, x, y, z])),
        };
        if usize::from(self.header_len) == HEADER_BYTES {
            self.stream = stream;
            self.payload_left = u32::from_be_bytes([a, b, c, d]);
            self.header = [0; HEADER_BYTES];
            self.header_len = 0;
        }
        Ok(used)
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

/// The header of a frame of `payload_bytes` bytes.
pub fn frame_header(stream: Stream, payload_bytes: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = payload_bytes.to_be_bytes();
    [stream.to_byte(), 0, 0, 0, a, b, c, d]
}

/// How many of `wanted` bytes are among `available`, and how many are wanted after that.
#[inline]
fn take(wanted: u32, available: usize) -> (usize, u32) {
    match u32::try_from(available) {
        Ok(available_bytes) if available_bytes < wanted => (available, wanted - available_bytes),
        // All that is wanted is there, so it fits a usize as `available` does.
        Ok(_) | Err(_) => (usize::try_from(wanted).unwrap_or(available), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stream carried, joined per run of one stream.
    type Runs = Vec<(Stream, Vec<u8>)>;

    /// What a stream carries when it arrives in these pieces, and whether it ends at a boundary.
    fn decode(pieces: &[&[u8]]) -> Result<(Runs, bool), StdcopyError> {
        let mut decoder = Decoder::new();
        let mut runs: Runs = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let (used, payload) = decoder.next(rest)?;
                let Some((stream, range)) = payload else {
                    assert_eq!(used, rest.len());
                    break;
                };
                assert!(!range.is_empty());
                match runs.last_mut() {
                    Some((last, bytes)) if *last == stream => bytes.extend_from_slice(&rest[range]),
                    _ => runs.push((stream, rest[range].to_vec())),
                }
                rest = &rest[used..];
            }
        }
        Ok((runs, decoder.is_at_boundary()))
    }

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (stream, payload) in [
            (Stream::Stdout, &b"hello "[..]),
            (Stream::Stdout, b""),
            (Stream::Stderr, b"error\r\n"),
            (Stream::SystemError, b"x"),
            (Stream::Stdin, b"in"),
        ] {
            bytes.extend_from_slice(&frame_header(stream, u32::try_from(payload.len()).unwrap()));
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    #[test]
    fn frames_split_at_every_offset() {
        let bytes = sample();
        let expected = vec![
            (Stream::Stdout, b"hello ".to_vec()),
            (Stream::Stderr, b"error\r\n".to_vec()),
            (Stream::SystemError, b"x".to_vec()),
            (Stream::Stdin, b"in".to_vec()),
        ];
        for offset in 0..=bytes.len() {
            let (runs, is_at_boundary) = decode(&[&bytes[..offset], &bytes[offset..]]).unwrap();
            assert_eq!(runs, expected, "split at {offset}");
            assert!(is_at_boundary);
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&single).unwrap(), (expected, true));
    }

    #[test]
    fn a_stream_that_is_cut_off_is_not_at_a_boundary() {
        let bytes = [&frame_header(Stream::Stdout, 3)[..], b"abc", &frame_header(Stream::Stderr, 0)].concat();
        let boundaries: Vec<usize> =
            (0..=bytes.len()).filter(|end| decode(&[&bytes[..*end]]).unwrap().1).collect();
        assert_eq!(boundaries, [0, 11, 19]);
    }

    #[test]
    fn what_is_not_a_header_is_refused_at_its_first_wrong_byte() {
        let table: &[(&[u8], [u8; 4])] = &[
            (b"\x04", [4, 0, 0, 0]),
            (b"Err", [b'E', b'r', b'r', 0]),
            (b"\x01\x01", [1, 1, 0, 0]),
            (b"\x02\x00\x00\x09\x00", [2, 0, 0, 9]),
        ];
        for (bytes, head) in table {
            assert_eq!(decode(&[bytes]).unwrap_err(), StdcopyError(*head), "{bytes:?}");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert!(decode(&single).is_err(), "{bytes:?} one by one");
        }
    }

    #[test]
    fn a_decoder_is_at_most_16_bytes() {
        assert!(size_of::<Decoder>() <= 16);
    }

    #[test]
    fn the_longest_frame_does_not_overflow() {
        let mut decoder = Decoder::new();
        let (used, payload) = decoder.next(&frame_header(Stream::Stdout, u32::MAX)).unwrap();
        assert_eq!((used, payload), (8, None));
        assert_eq!(decoder.next(b"abc").unwrap(), (3, Some((Stream::Stdout, 0..3))));
        assert!(!decoder.is_at_boundary());
    }
}
