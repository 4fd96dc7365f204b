//! Bodies: how long one is (RFC 9112, 6.3) and how its framing is taken off, resumably.
//!
//! The decoder holds no bytes. It says which part of the input is payload, so that a body can be collected,
//! passed on or skipped by whoever reads it; this room may not know which.

use std::ops::Range;

use super::{HttpError, ResponseHead};

/// The longest line with a chunk's size, extensions and line end included, in bytes.
const CHUNK_LINE_BYTES_MAX: u32 = 256;
/// All trailer lines together, line ends included, in bytes.
const TRAILER_BYTES_MAX: u32 = 8 * 1024;
/// Sixteen hexadecimal digits fill 64 bits.
const CHUNK_SIZE_DIGITS_MAX: u8 = 16;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body.
    Empty,
    /// It is so many bytes long.
    Length(u64),
    /// It comes in chunks that carry their length (RFC 9112, 7.1).
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// How the body behind `head` is framed, when it answers a request with this method (RFC 9112, 6.3).
///
/// Statuses 1xx (101 among them), 204 and 304 and the answer to HEAD have no body.
///
/// # Errors
/// [`HttpError::Malformed`] where length and coding contradict each other or are not understood: guessing
/// would take one message's bytes for another's.
pub fn response_framing(head: &ResponseHead, request_method: &str) -> Result<BodyFraming, HttpError> {
    if request_method == "HEAD" || matches!(head.status, 100..=199 | 204 | 304) {
        return Ok(BodyFraming::Empty);
    }
    let mut codings = list_items(head, "transfer-encoding").peekable();
    let length = content_length(head)?;
    if codings.peek().is_none() {
        return Ok(length.map_or(BodyFraming::UntilClose, BodyFraming::Length));
    }
    if length.is_some() {
        return Err(HttpError::Malformed("both Transfer-Encoding and Content-Length"));
    }
    if head.minor_version == 0 {
        return Err(HttpError::Malformed("Transfer-Encoding in HTTP/1.0"));
    }
    match (codings.next(), codings.next()) {
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(BodyFraming::Chunked),
        (_, _) => Err(HttpError::Malformed("a Transfer-Encoding other than chunked")),
    }
}

/// What one call of [`BodyDecoder::next`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyStep {
    /// How many bytes of the input were used, framing and payload together.
    pub consumed: usize,
    /// Where in the input the payload lies; it may be empty.
    pub payload: Range<usize>,
    /// Has the body ended? What is behind `consumed` is not part of it.
    pub done: bool,
}

/// Takes the framing off a body that arrives in pieces.
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    state: State,
}

/// ```text
/// Counted ──► Done            ChunkSize ──► ChunkData ──► ChunkEnd ──► ChunkSize
/// UntilClose                      └──(size 0)──► Trailers ──► Done
/// ```
#[derive(Debug, Clone)]
enum State {
    /// A body of known length; the bytes that are left, never 0.
    Counted(u64),
    ChunkSize(SizeLine),
    /// The bytes that are left of a chunk, never 0.
    ChunkData(u64),
    /// The line end behind a chunk; has its CR arrived?
    ChunkEnd {
        seen_cr: bool,
    },
    Trailers(Trailers),
    UntilClose,
    Done,
}

/// A chunk's size line, as far as it has arrived.
#[derive(Debug, Clone, Default)]
struct SizeLine {
    size: u64,
    digits: u8,
    line_bytes: u32,
    part: SizeLinePart,
}

/// Where in a chunk's size line the next byte belongs.
#[derive(Debug, Clone, Copy, Default)]
enum SizeLinePart {
    #[default]
    Digits,
    /// Blanks that some senders put behind the digits.
    Blanks,
    Extension,
    LineFeed,
}

/// The trailer section, as far as it has arrived. Its lines are skipped.
#[derive(Debug, Clone, Default)]
struct Trailers {
    bytes: u32,
    /// Has the current line any byte but its line end?
    line_has_content: bool,
    seen_cr: bool,
}

impl BodyDecoder {
    /// A decoder at the start of a body.
    pub fn new(framing: BodyFraming) -> Self {
        let state = match framing {
            BodyFraming::Empty | BodyFraming::Length(0) => State::Done,
            BodyFraming::Length(length) => State::Counted(length),
            BodyFraming::Chunked => State::ChunkSize(SizeLine::default()),
            BodyFraming::UntilClose => State::UntilClose,
        };
        BodyDecoder { state }
    }

    /// The next piece of payload within `input`.
    ///
    /// One call gives at most one piece; call again with the input behind `consumed`. That nothing was
    /// consumed and the body is not done means that more input is needed, and happens with empty input only.
    ///
    /// # Errors
    /// [`HttpError::Malformed`] where the chunks are. The body cannot be resumed then.
    pub fn next(&mut self, input: &[u8]) -> Result<BodyStep, HttpError> {
        let mut position = 0;
        while let Some(byte) = input.get(position) {
            let available = input.len() - position;
            match &mut self.state {
                State::Done => break,
                State::UntilClose => return Ok(self.piece(position, available)),
                State::Counted(left) => {
                    let taken = take(left, available);
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    return Ok(self.piece(position, taken));
                }
                State::ChunkData(left) => {
                    let taken = take(left, available);
                    if *left == 0 {
                        self.state = State::ChunkEnd { seen_cr: false };
                    }
                    return Ok(self.piece(position, taken));
                }
                State::ChunkSize(line) => {
                    if let Some(size) = line.read(*byte)? {
                        self.state = match size {
                            0 => State::Trailers(Trailers::default()),
                            size => State::ChunkData(size),
                        };
                    }
                }
                State::ChunkEnd { seen_cr } => match (*seen_cr, byte) {
                    (false, b'\r') => *seen_cr = true,
                    (true, b'\n') => self.state = State::ChunkSize(SizeLine::default()),
                    (_, _) => return Err(HttpError::Malformed("a chunk is longer than its size")),
                },
                State::Trailers(trailers) => {
                    if trailers.read(*byte)? {
                        self.state = State::Done;
                    }
                }
            }
            position += 1;
        }
        Ok(self.piece(position, 0))
    }

    /// Has the body ended? One that ends with the connection never has.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The connection has ended: may the body end here?
    ///
    /// # Errors
    /// [`HttpError::Truncated`] unless it was done or ends with the connection.
    pub fn finish_at_eof(&self) -> Result<(), HttpError> {
        match self.state {
            State::Done | State::UntilClose => Ok(()),
            State::Counted(_)
            | State::ChunkSize(_)
            | State::ChunkData(_)
            | State::ChunkEnd { .. }
            | State::Trailers(_) => Err(HttpError::Truncated),
        }
    }

    fn piece(&self, start: usize, payload_bytes: usize) -> BodyStep {
        let end = start + payload_bytes;
        BodyStep { consumed: end, payload: start..end, done: self.is_done() }
    }
}

impl SizeLine {
    /// Reads one byte; gives the chunk's size at the end of the line (RFC 9112, 7.1). Extensions are skipped.
    fn read(&mut self, byte: u8) -> Result<Option<u64>, HttpError> {
        self.line_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(HttpError::Malformed("the line with a chunk's size is too long"));
        }
        match (self.part, byte) {
            (SizeLinePart::Digits, b'\r' | b';' | b' ' | b'\t') if self.digits == 0 => {
                return Err(HttpError::Malformed("a chunk without a size"));
            }
            (SizeLinePart::LineFeed, b'\n') => return Ok(Some(self.size)),
            (SizeLinePart::LineFeed, _) | (_, b'\n') => {
                return Err(HttpError::Malformed("the end of a chunk's size line"));
            }
            (_, b'\r') => self.part = SizeLinePart::LineFeed,
            (SizeLinePart::Extension, _) => {}
            (_, b';') => self.part = SizeLinePart::Extension,
            (_, b' ' | b'\t') => self.part = SizeLinePart::Blanks,
            (SizeLinePart::Digits, digit) => self.read_digit(digit)?,
            (SizeLinePart::Blanks, _) => return Err(HttpError::Malformed("a chunk's size")),
        }
        Ok(None)
    }

    fn read_digit(&mut self, digit: u8) -> Result<(), HttpError> {
        let value = super::hex_value(Some(&digit)).ok_or(HttpError::Malformed("a chunk's size"))?;
        if self.digits == CHUNK_SIZE_DIGITS_MAX {
            return Err(HttpError::Malformed("a chunk's size is too large"));
        }
        self.digits += 1;
        self.size = self.size << 4 | u64::from(value);
        Ok(())
    }
}

impl Trailers {
    /// Reads one byte; is the section at its end, an empty line?
    fn read(&mut self, byte: u8) -> Result<bool, HttpError> {
        self.bytes += 1;
        if self.bytes > TRAILER_BYTES_MAX {
            return Err(HttpError::Malformed("the trailers are too long"));
        }
        match (self.seen_cr, byte) {
            (true, b'\n') if !self.line_has_content => return Ok(true),
            (true, b'\n') => {
                self.seen_cr = false;
                self.line_has_content = false;
            }
            (true, _) | (false, b'\n') => return Err(HttpError::Malformed("the end of a trailer line")),
            (false, b'\r') => self.seen_cr = true,
            (false, _) => self.line_has_content = true,
        }
        Ok(false)
    }
}

/// Takes as many of `left` bytes as are `available`; gives how many that is.
fn take(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).map_or(available, |left| left.min(available));
    // `taken` is at most `left`, so it fits.
    *left = left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
    taken
}

/// The items of the comma-separated list that all lines of this name make together, without empty ones.
fn list_items<'h>(head: &'h ResponseHead, name: &str) -> impl Iterator<Item = &'h [u8]> {
    head.all(name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

/// The length that is announced. Saying the same one twice is allowed, saying two is not.
fn content_length(head: &ResponseHead) -> Result<Option<u64>, HttpError> {
    let invalid = HttpError::Malformed("the Content-Length");
    let mut announced = None;
    for value in head.all("content-length").flat_map(|value| value.split(|byte| *byte == b',')) {
        let digits = value.trim_ascii();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(invalid);
        }
        let length = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u64>().ok());
        match (length, announced) {
            (None, _) => return Err(invalid),
            (Some(length), Some(before)) if length != before => {
                return Err(HttpError::Malformed("two different Content-Lengths"));
            }
            (Some(length), _) => announced = Some(length),
        }
    }
    Ok(announced)
}

#[cfg(test)]
mod tests {
    use super::super::parse_response;
    use super::*;

    fn framing(lines: &str, method: &str) -> Result<BodyFraming, HttpError> {
        let text = format!("{lines}\r\n\r\n");
        response_framing(&parse_response(text.as_bytes(), 4096)?.unwrap().0, method)
    }

    /// The payload, the bytes behind the body, and whether it ended.
    fn decode(framing: BodyFraming, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), HttpError> {
        let mut decoder = BodyDecoder::new(framing);
        let (mut payload, mut behind) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() && !decoder.is_done() {
                let step = decoder.next(rest)?;
                assert!(step.consumed > 0 && step.payload.end <= step.consumed);
                assert_eq!(step.done, decoder.is_done());
                payload.extend_from_slice(&rest[step.payload]);
                rest = &rest[step.consumed..];
            }
            behind.extend_from_slice(rest);
        }
        Ok((payload, behind, decoder.finish_at_eof().is_ok()))
    }

    #[test]
    fn framing_follows_the_rfc() {
        let table = [
            ("HTTP/1.1 200 OK", "GET", BodyFraming::UntilClose),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5", "GET", BodyFraming::Length(5)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5", "GET", BodyFraming::Length(5)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5", "HEAD", BodyFraming::Empty),
            ("HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp", "POST", BodyFraming::Empty),
            ("HTTP/1.1 204 No Content", "POST", BodyFraming::Empty),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5", "GET", BodyFraming::Empty),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked", "GET", BodyFraming::Chunked),
        ];
        for (lines, method, expected) in table {
            assert_eq!(framing(lines, method), Ok(expected), "{lines}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for lines in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
            "HTTP/1.1 200 OK\r\nContent-Length: +5",
            "HTTP/1.1 200 OK\r\nContent-Length: -1",
            "HTTP/1.1 200 OK\r\nContent-Length:",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ] {
            assert!(matches!(framing(lines, "GET"), Err(HttpError::Malformed(_))), "{lines}");
        }
    }

    #[test]
    fn bodies_split_at_every_offset() {
        // Framing, bytes, payload, what is behind.
        type Row = (BodyFraming, &'static [u8], &'static [u8], &'static [u8]);
        let table: &[Row] = &[
            (BodyFraming::Empty, b"next", b"", b"next"),
            (BodyFraming::Length(0), b"next", b"", b"next"),
            (BodyFraming::Length(5), b"hellonext", b"hello", b"next"),
            (BodyFraming::UntilClose, b"hello", b"hello", b""),
            (BodyFraming::Chunked, b"0\r\n\r\nnext", b"", b"next"),
            (BodyFraming::Chunked, b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nnext", b"hello!", b"next"),
            (BodyFraming::Chunked, b"00A;x=\"y\" z\r\n0123456789\r\n000\r\n\r\n", b"0123456789", b""),
            (
                BodyFraming::Chunked,
                b"b \t\r\n0123\r\n67890\r\n0\r\nA: b\r\nC: d\r\n\r\nn",
                b"0123\r\n67890",
                b"n",
            ),
        ];
        for (framing, bytes, payload, behind) in table {
            let expected = Ok((payload.to_vec(), behind.to_vec(), true));
            for offset in 0..=bytes.len() {
                let pieces = [&bytes[..offset], &bytes[offset..]];
                assert_eq!(decode(*framing, &pieces), expected, "{framing:?} at {offset}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(decode(*framing, &single), expected, "{framing:?} one by one");
        }
    }

    #[test]
    fn a_body_that_is_cut_off_is_truncated() {
        for (framing, bytes) in
            [(BodyFraming::Length(5), &b"hello"[..]), (BodyFraming::Chunked, b"1\r\nx\r\n0\r\nA: b\r\n\r\n")]
        {
            for end in 0..bytes.len() {
                assert!(!decode(framing, &[&bytes[..end]]).unwrap().2, "{framing:?} cut at {end}");
            }
            assert!(decode(framing, &[bytes]).unwrap().2);
        }
    }

    #[test]
    fn malformed_chunks_are_refused_wherever_they_are_split() {
        let long_line = [b"1;".to_vec(), vec![b'x'; 300]].concat();
        let long_trailers = [b"0\r\n".to_vec(), b"A: b\r\n".repeat(2000)].concat();
        for bytes in [
            &b"\r\n"[..],
            b";x\r\n",
            b" 5\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"5 5\r\n",
            b"5\nhello",
            b"5\rx",
            b"2\r\nabc",
            b"2\r\nab\n",
            b"0\r\n\n",
            b"0\r\nA: b\n",
            b"10000000000000000\r\n",
            &long_line,
            &long_trailers,
        ] {
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            for pieces in [vec![bytes], single] {
                let decoded = decode(BodyFraming::Chunked, &pieces);
                assert!(
                    matches!(decoded, Err(HttpError::Malformed(_))),
                    "{:?}",
                    bytes.escape_ascii().to_string()
                );
            }
        }
    }

    #[test]
    fn the_largest_sizes_do_not_overflow() {
        let bytes = b"ffffffffffffffff\r\nabc";
        assert_eq!(decode(BodyFraming::Chunked, &[bytes]), Ok((b"abc".to_vec(), Vec::new(), false)));
        assert_eq!(
            decode(BodyFraming::Length(u64::MAX), &[b"abc"]),
            Ok((b"abc".to_vec(), Vec::new(), false))
        );
    }
}
