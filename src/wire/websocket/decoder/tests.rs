//! Tables of frames, each fed whole, split at every byte offset, and byte by byte.

use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const MAX: u32 = 1 << 20;

/// What is left of events when the splits are taken out of them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Message { text: bool, payload: Vec<u8> },
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Error(u16),
}

/// A client's frame with any first byte, its length in the shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

fn frames(parts: &[(u8, &[u8])]) -> Vec<u8> {
    parts.iter().flat_map(|(first, payload)| frame(*first, payload)).collect()
}

fn told(message_bytes_max: u32, pieces: &[&[u8]]) -> Vec<Told> {
    let mut decoder = Decoder::new(message_bytes_max);
    let mut told = Vec::new();
    let mut message = Vec::new();
    for piece in pieces {
        let mut buffer = piece.to_vec();
        let mut start = 0;
        loop {
            let rest = &mut buffer[start..];
            let (used, event) = match decoder.next(rest) {
                Ok(read) => read,
                Err(error) => {
                    assert_eq!(decoder.next(&mut [0x81, 0x80, 0, 0, 0, 0]).unwrap(), (6, None));
                    told.push(Told::Error(error.close_code));
                    return told;
                }
            };
            match event {
                None => {
                    assert_eq!(used, rest.len());
                    break;
                }
                Some(Event::Data { text, payload, message_done }) => {
                    assert!(payload.end == used);
                    message.extend_from_slice(&rest[payload]);
                    if message_done {
                        told.push(Told::Message { text, payload: std::mem::take(&mut message) });
                    }
                }
                Some(Event::Ping(control)) => told.push(Told::Ping(control.bytes().to_vec())),
                Some(Event::Pong) => told.push(Told::Pong),
                Some(Event::Close { code }) => told.push(Told::Close(code)),
            }
            start += used;
        }
    }
    told
}

fn check(message_bytes_max: u32, bytes: &[u8], expected: &[Told]) {
    for offset in 0..=bytes.len() {
        let pieces = [&bytes[..offset], &bytes[offset..]];
        assert_eq!(told(message_bytes_max, &pieces), expected, "{bytes:02x?} split at {offset}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(told(message_bytes_max, &single), expected, "{bytes:02x?} one by one");
}

fn text(payload: &str) -> Told {
    Told::Message { text: true, payload: payload.as_bytes().to_vec() }
}

fn binary(payload: &[u8]) -> Told {
    Told::Message { text: false, payload: payload.to_vec() }
}

#[test]
fn messages_and_control_frames() {
    let long = vec![7; 300];
    let table: &[(Vec<u8>, Vec<Told>)] = &[
        // RFC 6455, 5.7: "Hello", masked.
        (vec![0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58], vec![text("Hello")]),
        (frame(0x81, b""), vec![text("")]),
        (frame(0x82, b""), vec![binary(b"")]),
        (frame(0x82, &long), vec![binary(&long)]),
        (frames(&[(0x01, b"a"), (0x00, b""), (0x80, b"b"), (0x82, b"c")]), vec![text("ab"), binary(b"c")]),
        (frames(&[(0x02, b"a"), (0x80, b"")]), vec![binary(b"a")]),
        (
            frames(&[(0x02, b"a"), (0x89, b"ping"), (0x8a, b"pong"), (0x80, b"b")]),
            vec![Told::Ping(b"ping".to_vec()), Told::Pong, binary(b"ab")],
        ),
        (frame(0x89, b""), vec![Told::Ping(Vec::new())]),
        (frame(0x89, &long[..125]), vec![Told::Ping(long[..125].to_vec())]),
        (frame(0x88, b""), vec![Told::Close(None)]),
        (frame(0x88, b"\x03\xe8bye \xe2\x82\xac"), vec![Told::Close(Some(1000))]),
        (frames(&[(0x88, b"\x0f\xa0"), (0x89, b"late"), (0xff, b"bad")]), vec![Told::Close(Some(4000))]),
        (frames(&[(0x02, b"a"), (0x88, b"\x03\xe9")]), vec![Told::Close(Some(1001))]),
    ];
    for (bytes, expected) in table {
        check(MAX, bytes, expected);
    }
}

#[test]
fn a_frame_with_a_64_bit_length() {
    let payload: Vec<u8> = (0..70_000_u32).map(|value| value.to_le_bytes()[0]).collect();
    let bytes = frame(0x82, &payload);
    for offset in (0..20).chain([1000, 1001, 1002, 1003, 69_999, bytes.len()]) {
        assert_eq!(told(MAX, &[&bytes[..offset], &bytes[offset..]]), [binary(&payload)], "{offset}");
    }
}

#[test]
fn broken_frames_are_refused() {
    let protocol = &[Told::Error(1002)][..];
    let table: &[&[u8]] = &[
        &frame(0xc1, b"a"),
        &frame(0xa1, b"a"),
        &frame(0x91, b"a"),
        &frame(0x83, b"a"),
        &frame(0x87, b""),
        &frame(0x8b, b""),
        &frame(0x8f, b"a"),
        // No mask.
        b"\x81\x00",
        b"\x81\x01a",
        // Longer forms than needed.
        &[&[0x82, 0x80 | 126, 0, 125][..], &MASK, &[0; 125]].concat(),
        &[&[0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff][..], &MASK].concat(),
        &[&[0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0][..], &MASK].concat(),
        // Control frames: too long, or fragmented.
        &frame(0x89, &[0; 126]),
        &frame(0x88, &[0; 126]),
        &frame(0x8a, &[0; 126]),
        &frame(0x09, b""),
        &frame(0x08, b""),
        // Continuations.
        &frame(0x80, b"a"),
        &frame(0x00, b"a"),
        &frames(&[(0x01, b"a"), (0x81, b"b")]),
        &frames(&[(0x02, b"a"), (0x01, b"b")]),
        // Close payloads.
        &frame(0x88, b"\x03"),
        &frame(0x88, b"\x00\x00"),
        &frame(0x88, b"\x03\xe7"),
        &frame(0x88, b"\x03\xec"),
        &frame(0x88, b"\x03\xed"),
        &frame(0x88, b"\x03\xee"),
        &frame(0x88, b"\x03\xf7"),
        &frame(0x88, b"\x07\xd0"),
        &frame(0x88, b"\x13\x88"),
    ];
    for bytes in table {
        check(MAX, bytes, protocol);
    }
    check(MAX, &frames(&[(0x81, b"a"), (0x80, b"b")]), &[text("a"), Told::Error(1002)]);
}

#[test]
fn close_codes_that_may_be_sent() {
    for code in (1000..=1003).chain(1007..=1013).chain([3000, 3999, 4000, 4999]) {
        check(MAX, &frame(0x88, &u16::to_be_bytes(code)), &[Told::Close(Some(code))]);
    }
}

#[test]
fn text_is_checked_as_it_arrives() {
    let good = "aé€😀\u{d7ff}\u{10ffff}";
    check(MAX, &frame(0x81, good.as_bytes()), &[text(good)]);
    for offset in 0..=good.len() {
        let (first, second) = good.as_bytes().split_at(offset);
        check(
            MAX,
            &frames(&[(0x01, first), (0x89, b""), (0x80, second)]),
            &[Told::Ping(Vec::new()), text(good)],
        );
        check(MAX, &frames(&[(0x01, first), (0x00, b""), (0x80, second)]), &[text(good)]);
    }
    for bad in [
        &b"a\xff"[..],
        b"\x80",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xe2\x82a",
    ] {
        check(MAX, &frame(0x81, bad), &[Told::Error(1007)]);
        for offset in 0..=bad.len() {
            check(MAX, &frames(&[(0x01, &bad[..offset]), (0x80, &bad[offset..])]), &[Told::Error(1007)]);
        }
        check(MAX, &frame(0x82, bad), &[binary(bad)]);
    }
    check(MAX, &frame(0x88, b"\x03\xe8\xff"), &[Told::Error(1007)]);
}

#[test]
fn text_fails_at_its_first_wrong_byte() {
    let bytes = frame(0x81, b"ab\xed\xa0 and so on");
    let wrong = 6 + 4;
    assert_eq!(told(MAX, &[&bytes[..wrong - 1]]), []);
    assert_eq!(told(MAX, &[&bytes[..wrong]]), [Told::Error(1007)]);
}

#[test]
fn a_message_that_is_too_big_is_refused_at_its_header() {
    let announced =
        |first: u8, length: u64| [&[first, 0x80 | 127][..], &length.to_be_bytes(), &MASK].concat();
    for length in [0x1_0000, 0x4000_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX >> 1] {
        check(0xffff, &announced(0x82, length), &[Told::Error(1009)]);
    }
    check(u32::MAX, &announced(0x82, 0x1_0000_0000), &[Told::Error(1009)]);
    check(u32::MAX, &[frame(0x02, b"a"), announced(0x80, 0xffff_ffff)].concat(), &[Told::Error(1009)]);
    check(4, &frame(0x82, b"abcd"), &[binary(b"abcd")]);
    check(4, &frame(0x82, b"abcde")[..6], &[Told::Error(1009)]);
    check(4, &frames(&[(0x02, b"abc"), (0x00, b"d"), (0x80, b"")]), &[binary(b"abcd")]);
    check(
        4,
        &frames(&[(0x02, b"abc"), (0x89, b"12345"), (0x80, b"de")]),
        &[Told::Ping(b"12345".to_vec()), Told::Error(1009)],
    );
    // The limit is one message's, not the connection's.
    check(4, &frames(&[(0x82, b"abcd"), (0x82, b"efgh")]), &[binary(b"abcd"), binary(b"efgh")]);
}

#[test]
fn sizes() {
    assert!(size_of::<Decoder>() <= 40, "{}", size_of::<Decoder>());
    assert!(size_of::<Event>() <= 32, "{}", size_of::<Event>());
}

#[test]
fn unmasking_keeps_its_phase() {
    let plain: Vec<u8> = (0..100).collect();
    for start in 0..8 {
        let mut bytes: Vec<u8> =
            plain.iter().zip(MASK.iter().cycle().skip(start)).map(|(byte, key)| byte ^ key).collect();
        let mut mask = MASK;
        mask.rotate_left(start % 4);
        unmask(&mut bytes, mask);
        assert_eq!(bytes, plain, "{start}");
    }
}
