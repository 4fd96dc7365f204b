//! What engines name things by: nearly always 64 hexadecimal digits, which are held as their 32 bytes, so that an idle
//! session holds the ids of its exec and its container without a heap block of their own.

use super::EXEC_ID_CHARS_MAX;
use std::fmt;
use std::str::FromStr;

/// A text that is most likely an id; it comes back as it was.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CompactText(Form);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    /// 64 lower case hexadecimal digits.
    Hash([u8; 32]),
    Text(Box<str>),
}

impl From<&str> for CompactText {
    fn from(text: &str) -> CompactText {
        CompactText(match hash_from_hex(text.as_bytes()) {
            Some(hash) => Form::Hash(hash),
            None => Form::Text(text.into()),
        })
    }
}

impl fmt::Display for CompactText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Hash(hash) => {
                // In one piece: every request has an id or two, and byte by byte they were 3 % of an opening's CPU.
                let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
                let mut text = [0; 64];
                for (pair, byte) in text.chunks_exact_mut(2).zip(hash) {
                    pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
                }
                formatter.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
            Form::Text(text) => formatter.write_str(text),
        }
    }
}

impl fmt::Debug for CompactText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_string())
    }
}

/// The id of an exec instance, as the engine gave it: safe in a path and bounded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExecId(CompactText);

/// The text is not an [`ExecId`]: 1 to [`EXEC_ID_CHARS_MAX`] characters of `0-9`, `a-z`, `A-Z`, `_` and `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnExecId;

impl FromStr for ExecId {
    type Err = NotAnExecId;

    fn from_str(text: &str) -> Result<ExecId, NotAnExecId> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if text.is_empty() || text.len() > EXEC_ID_CHARS_MAX || !text.bytes().all(safe) {
            return Err(NotAnExecId);
        }
        Ok(ExecId(text.into()))
    }
}

impl fmt::Display for ExecId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

fn hash_from_hex(digits: &[u8]) -> Option<[u8; 32]> {
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(hash)
}

/// Lower case only: upper case would not come back as it was.
fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_ids_come_back_as_they_were() {
        let hex = "0f".repeat(32);
        let upper = "0F".repeat(32);
        let long = "a".repeat(EXEC_ID_CHARS_MAX);
        for text in [hex.as_str(), &upper, &long, "deadbeef", "a_b-C9"] {
            let id: ExecId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(id, text.parse().unwrap());
        }
        assert!(matches!(CompactText::from(hex.as_str()).0, Form::Hash(_)));
        assert_ne!(hex.parse::<ExecId>(), upper.parse::<ExecId>());
        let too_long = "a".repeat(EXEC_ID_CHARS_MAX + 1);
        for text in ["", "a/b", "a b", "a\r\nb", "..", "ä", "%41", &too_long] {
            assert_eq!(text.parse::<ExecId>(), Err(NotAnExecId), "{text:?}");
        }
    }

    #[test]
    fn any_text_comes_back_as_it_was() {
        for text in ["", "web", "ä", &"g".repeat(64), &"0".repeat(63), &"0".repeat(64)] {
            assert_eq!(CompactText::from(text).to_string(), text);
        }
    }
}
