//! WebSocket frames, in and out.

use crate::Harness;
use entry::wire::websocket::{Decoder, Event, Opcode, frame_head};
use std::hint::black_box;

/// A client's whole message of binary (2) or text (1). Its mask is zero, so that a decoder, which unmasks where the
/// bytes lie and as ever, leaves them as they were for the next turn.
pub(crate) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).expect("small")),
        length @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).expect("small").to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

pub(crate) fn benches(harness: &mut impl Harness) {
    for (name, payload_bytes, head_bytes) in
        [("frame/head-out-16", 16, 2), ("frame/head-out-4k", 4096, 4), ("frame/head-out-64k", 65_536, 10)]
    {
        harness.bench(name, || {
            assert_eq!(frame_head(Opcode::Binary, payload_bytes).as_bytes().len(), head_bytes);
            move || {
                black_box(frame_head(black_box(Opcode::Binary), black_box(payload_bytes)));
            }
        });
    }
    // Without payload it is the header alone; a key is five bytes of protobuf; 64 KiB are unmasking.
    for (name, payload_bytes) in [("frame/in-empty", 0), ("frame/in-key", 5), ("frame/in-64k", 65_536)] {
        harness.bench(name, || decode(payload_bytes));
    }
}

fn decode(payload_bytes: usize) -> impl FnMut() {
    let mut frame = client_frame(2, &vec![b'x'; payload_bytes]);
    let mut decoder = Decoder::new(1024 * 1024);
    let start = frame.len() - payload_bytes;
    let whole = Event::Data { text: false, payload: start..frame.len(), message_done: true };
    assert_eq!(decoder.next(&mut frame), Ok((frame.len(), Some(whole))));
    move || {
        let _ = black_box(decoder.next(black_box(&mut frame)));
    }
}
