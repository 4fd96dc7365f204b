//! The engine's stream: its frames, and where its text may be cut.

use crate::Harness;
use entry::wire::stdcopy::{Decoder, Stream, frame_header};
use entry::wire::utf8;
use std::hint::black_box;

pub(crate) fn benches(harness: &mut impl Harness) {
    // Whole, and in pieces that end inside of headers and payload.
    for (name, payload_bytes, piece_bytes) in [
        ("stdcopy/16", 16, usize::MAX),
        ("stdcopy/16-in-pieces", 16, 5),
        ("stdcopy/4k", 4096, usize::MAX),
        ("stdcopy/4k-in-pieces", 4096, 1000),
        ("stdcopy/32k", 32 * 1024, usize::MAX),
        ("stdcopy/32k-in-pieces", 32 * 1024, 1460),
    ] {
        harness.bench(name, || {
            let header = frame_header(Stream::Stdout, payload_bytes);
            let frame = [&header[..], &vec![b'x'; payload_bytes as usize]].concat();
            let mut decoder = Decoder::new();
            assert_eq!(take_off(&mut decoder, &frame, piece_bytes), payload_bytes as usize);
            assert!(decoder.is_at_boundary());
            move || {
                black_box(take_off(&mut decoder, black_box(&frame), piece_bytes));
            }
        });
    }
    for (name, end, held) in [("utf8/cut-none", "x", 0), ("utf8/cut-inside", "\u{1f600}", 3)] {
        harness.bench(name, || {
            let text = ["x".repeat(100).as_str(), end].concat();
            let bytes = text.as_bytes()[..text.len() - usize::from(held > 0)].to_vec();
            assert_eq!(utf8::cut(&bytes), bytes.len() - held);
            move || {
                black_box(utf8::cut(black_box(&bytes)));
            }
        });
    }
}

/// Takes the frames off `bytes` as they arrive in pieces; how many bytes of payload that gave.
fn take_off(decoder: &mut Decoder, bytes: &[u8], piece_bytes: usize) -> usize {
    let mut payload_bytes = 0;
    for mut piece in bytes.chunks(piece_bytes) {
        while let Ok((used, Some((_, payload)))) = decoder.next(piece) {
            payload_bytes += payload.len();
            piece = &piece[used..];
        }
    }
    payload_bytes
}
