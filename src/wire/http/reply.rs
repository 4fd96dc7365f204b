//! One reply to a short call, collected whole and bounded; or only its head, where a stream follows.
//!
//! It may not know the call's meaning nor its deadline.

use super::{BodyDecoder, BodyFraming, HttpError, ResponseHead, parse_response, response_framing};

/// How many 1xx heads may come before the reply. No upstream sends more than one or two.
const INTERIM_HEADS_MAX: u8 = 8;
/// What is reserved for a body whose length is announced, at most, in bytes; the rest as it arrives.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

/// How much of a reply is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Head and body.
    Whole,
    /// A hijacked connection or a stream that is followed: on 101 and 2xx the reply is done right behind the
    /// head, and the body belongs to the caller. Other statuses are errors and are read whole.
    Stream,
}

/// A reply: its head, and its body where that was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status and header lines.
    pub head: ResponseHead,
    /// How the body is framed. For a stream this is how the bytes behind the head are to be read: a 101 is
    /// followed by bytes until the connection ends, and so it is `UntilClose` there.
    pub framing: BodyFraming,
    /// The body without its framing; empty where it belongs to the caller.
    pub body: Vec<u8>,
}

impl Reply {
    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// After a reply that was read whole: may the connection carry another request?
    pub fn leaves_connection_usable(&self) -> bool {
        self.head.keeps_alive() && !self.head.is_upgraded() && self.framing != BodyFraming::UntilClose
    }
}

/// Collects one reply, bounded, from bytes that arrive in pieces.
#[derive(Debug)]
pub struct ReplyReader {
    request_method: &'static str,
    expect: Expect,
    head_bytes_max: usize,
    body_bytes_max: usize,
    interim_heads: u8,
    state: State,
}

/// `Head ──► Body ──► Done`; 1xx heads stay in `Head`. An error ends in `Done` too.
#[derive(Debug)]
enum State {
    /// The head as far as it has arrived in earlier pieces.
    Head(Vec<u8>),
    Body {
        reply: Reply,
        decoder: BodyDecoder,
    },
    Done,
}

impl ReplyReader {
    /// A reader for the reply to a request with this method.
    pub fn new(
        request_method: &'static str,
        expect: Expect,
        head_bytes_max: usize,
        body_bytes_max: usize,
    ) -> Self {
        ReplyReader {
            request_method,
            expect,
            head_bytes_max,
            body_bytes_max,
            interim_heads: 0,
            state: State::Head(Vec::new()),
        }
    }

    /// Takes what has arrived: how many bytes of it belong to the reply, and the reply once it is there.
    ///
    /// Without a reply all bytes are used. With one, what is behind the used bytes is the next reply or the
    /// stream. Heads with status 1xx other than 101 are skipped. After the reply nothing is used any more.
    ///
    /// # Errors
    /// All of [`HttpError`] but `Truncated`; nothing more can be read then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Reply>), HttpError> {
        let mut position = 0;
        loop {
            let rest = &bytes[position..];
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return Ok((position, None)),
                State::Head(held) => {
                    position += self.read_head(held, rest)?;
                    if matches!(self.state, State::Head(_)) && position == bytes.len() {
                        return Ok((position, None));
                    }
                }
                State::Body { mut reply, mut decoder } => {
                    let (used, done) = read_body(&mut reply.body, &mut decoder, rest, self.body_bytes_max)?;
                    position += used;
                    if done {
                        return Ok((position, Some(reply)));
                    }
                    self.state = State::Body { reply, decoder };
                    return Ok((position, None));
                }
            }
        }
    }

    /// The connection has ended: the reply, if it ends with the connection.
    ///
    /// # Errors
    /// [`HttpError::Truncated`] if it does not, also if nothing at all has arrived.
    pub fn finish_at_eof(&mut self) -> Result<Reply, HttpError> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Body { reply, decoder } => decoder.finish_at_eof().map(|()| reply),
            State::Head(_) | State::Done => Err(HttpError::Truncated),
        }
    }

    /// Reads on in a head of which `held` has arrived before; gives how much of `input` it used and sets the
    /// state that follows.
    fn read_head(&mut self, mut held: Vec<u8>, input: &[u8]) -> Result<usize, HttpError> {
        let held_bytes = held.len();
        let parsed = if held.is_empty() {
            parse_response(input, self.head_bytes_max)?
        } else {
            // More than the limit is never kept: a head that is longer is refused in `parse_response`.
            held.extend_from_slice(&input[..input.len().min(self.head_bytes_max.saturating_sub(held_bytes))]);
            parse_response(&held, self.head_bytes_max)?
        };
        let Some((head, head_bytes)) = parsed else {
            if held_bytes == 0 {
                held.extend_from_slice(input);
            }
            self.state = State::Head(held);
            return Ok(input.len());
        };
        self.state = self.behind_head(head)?;
        // What was held was not a whole head, so the head ends within `input`.
        Ok(head_bytes.saturating_sub(held_bytes))
    }

    fn behind_head(&mut self, head: ResponseHead) -> Result<State, HttpError> {
        if head.status < 200 && !head.is_upgraded() {
            self.interim_heads += 1;
            if self.interim_heads > INTERIM_HEADS_MAX {
                return Err(HttpError::Malformed("too many interim responses"));
            }
            return Ok(State::Head(Vec::new()));
        }
        let framing = match self.expect {
            Expect::Stream if head.is_upgraded() => BodyFraming::UntilClose,
            Expect::Stream | Expect::Whole => response_framing(&head, self.request_method)?,
        };
        let body_is_callers = self.expect == Expect::Stream && (head.is_upgraded() || head.is_success());
        let body_bytes = match framing {
            BodyFraming::Length(length) if !body_is_callers => usize::try_from(length)
                .ok()
                .filter(|length| *length <= self.body_bytes_max)
                .ok_or(HttpError::BodyTooLong { limit_bytes: self.body_bytes_max })?,
            BodyFraming::Length(_) | BodyFraming::Empty | BodyFraming::Chunked | BodyFraming::UntilClose => 0,
        };
        let decoder = BodyDecoder::new(if body_is_callers { BodyFraming::Empty } else { framing });
        let body = Vec::with_capacity(body_bytes.min(RESERVED_BYTES_MAX));
        Ok(State::Body { reply: Reply { head, framing, body }, decoder })
    }
}

/// Collects what `input` holds of a body: how much of it was used, and whether the body is done.
fn read_body(
    body: &mut Vec<u8>,
    decoder: &mut BodyDecoder,
    input: &[u8],
    body_bytes_max: usize,
) -> Result<(usize, bool), HttpError> {
    let mut position = 0;
    loop {
        let rest = &input[position..];
        let step = decoder.next(rest)?;
        let payload = &rest[step.payload];
        if payload.len() > body_bytes_max.saturating_sub(body.len()) {
            return Err(HttpError::BodyTooLong { limit_bytes: body_bytes_max });
        }
        body.extend_from_slice(payload);
        position += step.consumed;
        if step.done || step.consumed == 0 {
            return Ok((position, step.done));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_MAX: usize = 512;
    const BODY_MAX: usize = 32;

    /// The reply and what is behind it, the connection ending after the last piece.
    fn read(expect: Expect, pieces: &[&[u8]]) -> Result<(Reply, Vec<u8>), HttpError> {
        let mut reader = ReplyReader::new("POST", expect, HEAD_MAX, BODY_MAX);
        let mut found = None;
        let mut behind = Vec::new();
        for piece in pieces {
            let (used, reply) = reader.feed(piece)?;
            assert!(found.is_none() || (used, &reply) == (0, &None));
            assert!(used == piece.len() || reply.is_some() || found.is_some());
            behind.extend_from_slice(&piece[used..]);
            found = found.or(reply);
        }
        match found {
            Some(reply) => Ok((reply, behind)),
            None => Ok((reader.finish_at_eof()?, behind)),
        }
    }

    fn at_every_split(expect: Expect, bytes: &[u8], check: impl Fn(Result<(Reply, Vec<u8>), HttpError>)) {
        for offset in 0..=bytes.len() {
            check(read(expect, &[&bytes[..offset], &bytes[offset..]]));
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        check(read(expect, &single));
    }

    #[test]
    fn replies_split_at_every_offset() {
        use Expect::{Stream, Whole};
        // What is expected, bytes, status, body, what is behind.
        type Row = (Expect, &'static [u8], u16, &'static [u8], &'static [u8]);
        let table: &[Row] = &[
            (Whole, b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\n{}\nHTTP", 201, b"{}\n", b"HTTP"),
            (Whole, b"HTTP/1.1 204 No Content\r\n\r\nnext", 204, b"", b"next"),
            (Whole, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nn", 200, b"{}", b"n"),
            (Whole, b"HTTP/1.1 404 Not Found\r\n\r\nNo such container", 404, b"No such container", b""),
            (Whole, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", b""),
            (Stream, b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n$ ", 101, b"", b"$ "),
            (Stream, b"HTTP/1.1 200 OK\r\n\r\n$ ", 200, b"", b"$ "),
            (Stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n", 200, b"", b"2\r\n"),
            (Stream, b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}behind", 409, b"{}", b"behind"),
            (Stream, b"HTTP/1.1 404 Not Found\r\n\r\nNo such container", 404, b"No such container", b""),
        ];
        for (expect, bytes, status, body, behind) in table {
            at_every_split(*expect, bytes, |read| {
                let (reply, rest) = read.unwrap();
                assert_eq!((reply.status(), &reply.body[..], &rest[..]), (*status, *body, *behind));
            });
        }
    }

    #[test]
    fn a_stream_says_how_to_read_on() {
        let framing = |bytes: &[u8]| read(Expect::Stream, &[bytes]).unwrap().0.framing;
        assert_eq!(framing(b"HTTP/1.1 101 X\r\n\r\n"), BodyFraming::UntilClose);
        assert_eq!(framing(b"HTTP/1.1 200 X\r\n\r\n"), BodyFraming::UntilClose);
        assert_eq!(framing(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"), BodyFraming::Chunked);
    }

    #[test]
    fn limits_hold_wherever_the_bytes_are_split() {
        let too_long = |what: &str| match what {
            "head" => HttpError::HeadTooLong { limit_bytes: HEAD_MAX },
            _ => HttpError::BodyTooLong { limit_bytes: BODY_MAX },
        };
        let x33 = "x".repeat(BODY_MAX + 1);
        let table = [
            (format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(HEAD_MAX)), "head"),
            (format!("HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{x33}"), "body"),
            (format!("HTTP/1.1 200 OK\r\n\r\n{x33}"), "body"),
            (
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n21\r\n{x33}\r\n0\r\n\r\n"),
                "body",
            ),
        ];
        for (text, what) in &table {
            at_every_split(Expect::Whole, text.as_bytes(), |read| {
                assert_eq!(read.unwrap_err(), too_long(what))
            });
        }
        // An announced length is refused before any of it has come.
        let announced = b"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n";
        assert_eq!(read(Expect::Whole, &[announced]).unwrap_err(), too_long("body"));
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(9);
        at_every_split(Expect::Whole, interim.as_bytes(), |read| {
            assert!(matches!(read, Err(HttpError::Malformed(_))));
        });
    }

    #[test]
    fn a_reply_that_is_cut_off_is_truncated() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n";
        for end in 0..bytes.len() {
            assert_eq!(read(Expect::Whole, &[&bytes[..end]]).unwrap_err(), HttpError::Truncated, "{end}");
        }
    }

    #[test]
    fn a_connection_is_usable_after_a_whole_reply() {
        let usable = |bytes: &[u8]| read(Expect::Whole, &[bytes]).unwrap().0.leaves_connection_usable();
        assert!(usable(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
        assert!(usable(b"HTTP/1.1 204 No Content\r\n\r\n"));
        assert!(!usable(b"HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!usable(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
        assert!(!usable(b"HTTP/1.1 101 X\r\n\r\n"));
    }
}
