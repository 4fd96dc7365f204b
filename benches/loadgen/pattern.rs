//! The content of everything that is sent: one long text that is known everywhere, so that every byte that comes back
//! can be compared without being kept.
//!
//! A stream is the text from some place on, over and over. Its period is a prime number, so that no buffer's size
//! divides it, and it holds characters of one to four bytes, so that reads end in the middle of them.

use std::sync::LazyLock;

/// Bytes until the text repeats itself.
pub(crate) const PERIOD: usize = 65_521;

/// Twice, so that a slice of up to `PERIOD` bytes is in one piece wherever it begins.
static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let once = text();
    [once.as_slice(), once.as_slice()].concat()
});

fn text() -> Vec<u8> {
    const RARE: [&str; 8] = ["ä", "ß", "é", "→", "漢", "字", "𝄞", "🦀"];
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut text = String::with_capacity(PERIOD + 4);
    let mut column = 0;
    while text.len() < PERIOD - 4 {
        column += 1;
        match random(40) {
            _ if column > 70 => {
                text.push('\n');
                column = 0;
            }
            0 => text.push_str(RARE[usize::try_from(random(8)).unwrap_or(0)]),
            1..=6 => text.push(' '),
            _ => text.push(char::from(b'a' + u8::try_from(random(26)).unwrap_or(0))),
        }
    }
    while text.len() < PERIOD {
        text.push('.');
    }
    text.into_bytes()
}

/// Where the stream of this number begins.
pub(crate) fn start(stream: u64) -> u64 {
    boundary(stream.wrapping_mul(7_919) % PERIOD as u64)
}

fn place(at: u64) -> usize {
    usize::try_from(at % PERIOD as u64).unwrap_or(0)
}

/// Up to `length` bytes from `at` on, at most a period.
pub(crate) fn slice(at: u64, length: usize) -> &'static [u8] {
    let place = place(at);
    &TEXT[place..place + length.min(PERIOD)]
}

/// The first place from `at` on where a character begins.
pub(crate) fn boundary(at: u64) -> u64 {
    let rest = &TEXT[place(at)..];
    at + rest.iter().take_while(|byte| **byte & 0xc0 == 0x80).count() as u64
}

/// How many of these bytes are what stands from `at` on, before the first that is not.
pub(crate) fn matching(at: u64, bytes: &[u8]) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        let expected = slice(at + done as u64, bytes.len() - done);
        let found = &bytes[done..done + expected.len()];
        if expected != found {
            return done + expected.iter().zip(found).take_while(|(a, b)| a == b).count();
        }
        done += expected.len();
    }
    done
}
