//! Bytes of clients, engines and proxies.

use super::halves;
use core::net::{IpAddr, Ipv4Addr};
use entry::config;
use entry::engine::reply;
use entry::engine::reply::{EngineError, Subject, read_start_failure};
use entry::wire::forwarded::{Network, client_address};
use entry::wire::http::{self, BodyDecoder, BodyFraming, Expect, Reply, ReplyReader};
use entry::wire::message::{Codec, decode_json_hello, decode_request, parse_window_size};
use entry::wire::websocket::{Decoder, Event, check_upgrade};
use entry::wire::{self as rooms};

/// The head of a client's request.
pub(super) fn http_request(data: &[u8]) {
    if let Ok(Some((head, consumed))) = http::parse_request(data, config::HEAD_BYTES_MAX) {
        assert!(consumed <= data.len() && consumed <= config::HEAD_BYTES_MAX);
        let _ = (head.path(), head.query("method"));
        if let Ok(upgrade) = check_upgrade(&head) {
            let _ = upgrade.offers("entry.v1");
        }
        let trusted = [Network::parse("10.0.0.0/8").expect("a network")];
        let _ = client_address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), &head.headers, &trusted);
        // It ends where it ends: no part of it is a whole head.
        let before = http::parse_request(&data[..consumed - 1], config::HEAD_BYTES_MAX);
        assert!(!matches!(before, Ok(Some(_))));
    }
}

/// What a reply is, however it arrives.
fn read_reply(pieces: &[&[u8]], method: &'static str, expect: Expect) -> Option<(u16, Vec<u8>)> {
    let mut reader = ReplyReader::new(method, expect, config::HEAD_BYTES_MAX, 64 * 1024);
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (consumed, reply) = reader.feed(rest).ok()?;
            if let Some(reply) = reply {
                return Some((reply.status(), reply.body));
            }
            if consumed == 0 {
                break;
            }
            rest = &rest[consumed..];
        }
    }
    reader.finish_at_eof().ok().map(|reply| (reply.status(), reply.body))
}

/// A whole reply; its first byte chooses what was asked.
pub(super) fn http_reply(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let method = ["GET", "POST", "HEAD"][usize::from(choice % 3)];
    let expect = || if choice & 4 == 0 { Expect::Whole } else { Expect::Stream };
    let (first, second) = halves(data);
    let whole = read_reply(&[data], method, expect());
    assert_eq!(whole, read_reply(&[first, second], method, expect()));
}

/// A body; its first byte chooses how it is framed.
pub(super) fn http_body(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let framing = match choice % 3 {
        0 => BodyFraming::Chunked,
        1 => BodyFraming::UntilClose,
        _ => BodyFraming::Length(u64::from(*choice)),
    };
    let read = |pieces: &[&[u8]]| {
        let mut decoder = BodyDecoder::new(framing);
        let mut body = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let Ok(step) = decoder.next(rest) else { return (body, None) };
                assert!(step.payload.end <= step.consumed && step.consumed <= rest.len());
                body.extend_from_slice(&rest[step.payload]);
                if step.done {
                    return (body, Some(true));
                }
                if step.consumed == 0 {
                    break;
                }
                rest = &rest[step.consumed..];
            }
        }
        (body, Some(decoder.is_done()))
    };
    let (first, second) = halves(data);
    assert_eq!(read(&[data]), read(&[first, second]));
}

/// The messages of a client's frames, whichever pieces they come in, and its error.
pub(super) fn websocket(data: &[u8]) {
    let read = |pieces: &[&[u8]]| {
        let mut decoder = Decoder::new(config::HELLO_BYTES_MAX);
        let (mut heard, mut message) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut buffer = piece.to_vec();
            let mut position = 0;
            while position < buffer.len() {
                let (consumed, event) = match decoder.next(&mut buffer[position..]) {
                    Ok(next) => next,
                    Err(error) => return (heard, Some(error.close_code)),
                };
                assert!(position + consumed <= buffer.len());
                match event {
                    None if consumed == 0 => break,
                    None => {}
                    Some(Event::Data { text, payload, message_done }) => {
                        assert!(payload.end <= consumed);
                        message.extend_from_slice(&buffer[position + payload.start..position + payload.end]);
                        if message_done {
                            heard.push((u16::from(text), std::mem::take(&mut message)));
                        }
                    }
                    Some(Event::Ping(control)) => heard.push((9, control.bytes().to_vec())),
                    Some(Event::Pong) => heard.push((10, Vec::new())),
                    Some(Event::Close { code }) => {
                        heard.push((8, code.unwrap_or(0).to_be_bytes().to_vec()));
                        return (heard, None);
                    }
                }
                position += consumed;
            }
        }
        (heard, None)
    };
    let (first, second) = halves(data);
    assert_eq!(read(&[data]), read(&[first, second]));
}

/// One message of a client, in each codec.
pub(super) fn message(data: &[u8]) {
    let mut scratch = b"left over".to_vec();
    for codec in [Codec::Protobuf, Codec::Json, Codec::V1] {
        let _ = decode_request(codec, data, &mut scratch);
    }
    let _ = decode_json_hello(data);
    if let Some((columns, rows)) = parse_window_size(data) {
        assert!(columns > 0 && rows > 0);
    }
}

/// Docker's stream.
pub(super) fn stdcopy(data: &[u8]) {
    let read = |pieces: &[&[u8]]| {
        let mut decoder = rooms::stdcopy::Decoder::new();
        let mut streams: Vec<(String, Vec<u8>)> = Vec::new();
        for piece in pieces {
            let mut position = 0;
            while position < piece.len() {
                let Ok((consumed, payload)) = decoder.next(&piece[position..]) else {
                    return (streams, false);
                };
                assert!(consumed > 0 && position + consumed <= piece.len());
                if let Some((stream, range)) = payload {
                    assert!(range.end <= consumed && !range.is_empty());
                    let bytes = &piece[position + range.start..position + range.end];
                    let name = format!("{stream:?}");
                    match streams.last_mut() {
                        Some((last, joined)) if *last == name => joined.extend_from_slice(bytes),
                        _ => streams.push((name, bytes.to_vec())),
                    }
                }
                position += consumed;
            }
        }
        (streams, decoder.is_at_boundary())
    };
    let (first, second) = halves(data);
    assert_eq!(read(&[data]), read(&[first, second]));
}

/// Where a chunk of output is cut.
pub(super) fn utf8(data: &[u8]) {
    let cut = rooms::utf8::cut(data);
    assert!(cut <= data.len() && data.len() - cut <= 3);
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(cut, text.len(), "text that is whole is not cut");
    }
    // What is held is the beginning of a character.
    if let Err(error) = std::str::from_utf8(&data[cut..]) {
        assert!(error.valid_up_to() == 0 && error.error_len().is_none());
    } else {
        assert_eq!(cut, data.len());
    }
}

/// A PROXY header.
pub(super) fn proxy(data: &[u8]) {
    if let Ok(Some((_, consumed))) = rooms::proxy::parse(data) {
        assert!(consumed <= data.len());
        // What stands behind it does not change it.
        assert!(matches!(rooms::proxy::parse(&data[..consumed]), Ok(Some((_, same))) if same == consumed));
        assert!(!matches!(rooms::proxy::parse(&data[..consumed - 1]), Ok(Some(_))));
    }
}

/// Networks, and what trusted proxies say of whom they serve.
pub(super) fn forwarded(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(network) = Network::parse(&text) {
        let _ = network.contains(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let line: String = text.chars().filter(|character| !character.is_control()).collect();
    let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let trusted = [Network::parse("10.0.0.0/8").expect("a network")];
    for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP"] {
        let request = format!("GET / HTTP/1.1\r\n{name}: {line}\r\n\r\n");
        if let Ok(Some((head, _))) = http::parse_request(request.as_bytes(), config::HEAD_BYTES_MAX) {
            let _ = client_address(peer, &head.headers, &trusted);
            assert_eq!(client_address(peer, &head.headers, &[]), peer, "who is not trusted is not believed");
        }
    }
}

/// What an engine answers; the first byte chooses the status, the rest is its body.
pub(super) fn engine_replies(data: &[u8]) {
    const STATUSES: [u16; 8] = [200, 201, 101, 400, 404, 409, 500, 304];
    let Some((choice, body)) = data.split_first() else { return };
    let status = STATUSES[usize::from(choice % 8)];
    let head = format!(
        "HTTP/1.1 {status} Told\r\nApi-Version: 1.{}\r\nContent-Length: {}\r\n\r\n",
        choice / 8 + 20,
        body.len()
    );
    let mut reader = ReplyReader::new("GET", Expect::Whole, 4096, 1 << 20);
    let Ok((consumed, None)) = reader.feed(head.as_bytes()) else { return };
    assert_eq!(consumed, head.len());
    let Ok((_, Some(reply))) = reader.feed(body) else { return };
    let reply: &Reply = &reply;
    let _ = reply::read_ping(reply);
    let _ = reply::read_created(reply);
    let _ = reply::read_exec(reply).map(|exec| (exec.never_ran(true), exec.never_ran(false)));
    let _ = reply::read_container(reply);
    let _ = reply::read_list(reply);
    let _ = reply::read_service(reply);
    let _ = reply::read_tasks(reply);
    let _ = reply::read_node(reply);
    let _ = reply::read_accepted(reply);
    for subject in [Subject::Container, Subject::Exec, Subject::Engine] {
        let error = EngineError::from_reply(reply, subject);
        assert!(!error.text.contains(['\n', '\r', '\x1b']), "{:?}", error.text);
    }
    let _ = read_start_failure(body, 126);
}
