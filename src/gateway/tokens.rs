//! Whose readiness an event tells: what is in a token.

use super::slab::Key;
use mio::Token;

/// What a token's low bits say; the high bits are a slot and its generation, or a place and whose it is.
pub(super) const KIND_BITS: u32 = 2;
pub(super) const KIND_CLIENT: usize = 0;
pub(super) const KIND_ENGINE: usize = 1;
pub(super) const KIND_CALL: usize = 2;
pub(super) const KIND_OWN: usize = 3;
pub(super) const WAKER: Token = Token(KIND_OWN);

pub(super) fn token_of(key: Key, kind: usize) -> Token {
    Token((key.generation as usize) << 32 | (key.index as usize) << KIND_BITS | kind)
}

pub(super) fn key_of(token: Token) -> Key {
    let bits = token.0;
    // Slots are numbered in 30 bits, which descriptors never fill; generations in 32.
    Key {
        index: u32::try_from(bits >> KIND_BITS & 0x3fff_ffff).unwrap_or(u32::MAX),
        generation: u32::try_from(bits >> 32).unwrap_or(u32::MAX),
    }
}

/// Of a loop's listening sockets by their places.
pub(super) fn listener_token(place: usize) -> Token {
    Token((place + 1) << KIND_BITS | KIND_OWN)
}

pub(super) fn listener_of(token: Token) -> Option<usize> {
    (token.0 >> KIND_BITS).checked_sub(1)
}

pub(super) fn call_token(peer: u32, place: usize) -> Token {
    Token((peer as usize) << 32 | place << KIND_BITS | KIND_CALL)
}
