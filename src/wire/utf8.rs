//! Where a chunk of terminal output may be cut so that no UTF-8 sequence is torn.
//!
//! A read from an engine ends anywhere, also inside a character. What is sent to a client as text must not,
//! so the incomplete end is held back (at most three bytes) until its rest arrives. This room does not judge
//! the bytes: what is not UTF-8 passes. It may not know who reads, who writes, or when.

/// The longest incomplete sequence, in bytes: all but the last byte of a four-byte character.
const INCOMPLETE_BYTES_MAX: usize = 3;

/// How many leading bytes may be sent now, in bytes of `bytes`.
///
/// That is all of them but an incomplete and so far valid sequence at the end, which is at most three bytes
/// long (RFC 3629, section 4). Bytes that are not UTF-8 at all pass: waiting would not make them valid. Only
/// the last three bytes are looked at, whatever the length.
#[inline]
pub fn cut(bytes: &[u8]) -> usize {
    let end = bytes.len();
    for held in 1..=end.min(INCOMPLETE_BYTES_MAX) {
        let start = end - held;
        let lead = bytes[start];
        if is_continuation(lead) {
            continue;
        }
        let is_incomplete = held < sequence_bytes(lead)
            && bytes.get(start + 1).is_none_or(|second| second_is_valid(lead, *second));
        return if is_incomplete { start } else { end };
    }
    end
}

/// The incomplete sequence that [`cut`] held back: at most three bytes, kept inline.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    bytes: [u8; INCOMPLETE_BYTES_MAX],
    len: u8,
}

impl Tail {
    /// The bytes held, in the order they arrived.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Is nothing held?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Holds `bytes` instead of what was held. There is room for three; [`cut`] never leaves more.
    #[inline]
    pub fn set(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= INCOMPLETE_BYTES_MAX, "a tail is at most three bytes");
        self.len = 0;
        for (place, byte) in self.bytes.iter_mut().zip(bytes) {
            *place = *byte;
            self.len += 1;
        }
    }

    /// What was held; afterwards nothing is.
    #[inline]
    pub fn take(&mut self) -> Tail {
        std::mem::take(self)
    }
}

#[inline]
fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// How long the sequence is that `lead` starts; 1 for what starts none (C0, C1 and F5 upwards never do).
#[inline]
fn sequence_bytes(lead: u8) -> usize {
    match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

/// May `second` follow `lead`? Overlong forms, surrogates and what lies above U+10FFFF show here.
#[inline]
fn second_is_valid(lead: u8, second: u8) -> bool {
    match lead {
        0xe0 => (0xa0..=0xbf).contains(&second),
        0xed => (0x80..=0x9f).contains(&second),
        0xf0 => (0x90..=0xbf).contains(&second),
        0xf4 => (0x80..=0x8f).contains(&second),
        _ => is_continuation(second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_holds_back_only_what_may_become_a_character() {
        let table: &[(&[u8], usize)] = &[
            (b"", 0),
            (b"abc", 3),
            ("aé".as_bytes(), 3),
            (b"a\xc3", 1),
            (b"a\xe2", 1),
            (b"a\xe2\x82", 1),
            (b"a\xe2\x82\xac", 4),
            (b"\xf0\x9f\x98", 0),
            (b"a\xf0\x9f\x98\x80", 5),
            (b"a\xf0", 1),
            (b"a\xf0\x9f", 1),
            // What never becomes a character passes.
            (b"a\xc0", 2),
            (b"a\xc1", 2),
            (b"a\xf5", 2),
            (b"a\xff", 2),
            (b"a\xe0\x9f", 3),
            (b"a\xe0\xa0", 1),
            (b"a\xed\xa0", 3),
            (b"a\xed\x9f", 1),
            (b"a\xf0\x8f", 3),
            (b"a\xf0\x90\x80", 1),
            (b"a\xf4\x90", 3),
            (b"a\xf4\x8f\xbf", 1),
            (b"\x80\x80\x80\x80", 4),
            (b"\xc3\x80\x80", 3),
        ];
        for (bytes, expected) in table {
            assert_eq!(cut(bytes), *expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn text_split_at_every_offset_is_never_torn() {
        let text = "a é € 😀 \u{d7ff}\u{e000}\u{10ffff} z";
        for offset in 0..=text.len() {
            let mut tail = Tail::default();
            let mut sent = String::new();
            for piece in [&text.as_bytes()[..offset], &text.as_bytes()[offset..]] {
                let mut chunk = tail.take().as_bytes().to_vec();
                chunk.extend_from_slice(piece);
                let end = cut(&chunk);
                sent.push_str(std::str::from_utf8(&chunk[..end]).unwrap());
                tail.set(&chunk[end..]);
            }
            assert!(tail.is_empty());
            assert_eq!(sent, text);
        }
    }

    #[test]
    fn a_tail_is_four_bytes() {
        assert_eq!(size_of::<Tail>(), 4);
        let mut tail = Tail::default();
        tail.set(b"\xf0\x9f\x98");
        assert_eq!(tail.as_bytes(), b"\xf0\x9f\x98");
        assert_eq!(tail.take().as_bytes(), b"\xf0\x9f\x98");
        assert!(tail.is_empty());
    }
}
