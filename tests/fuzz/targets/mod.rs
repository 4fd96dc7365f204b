//! What is done with bytes that nobody has made well: a function for each parser, and for a session as a list of
//! operations. They are called by `cargo test --test fuzz` with the corpus, and by libFuzzer (`scripts/fuzz`).
//!
//! A target fails by a panic. Beside what Entry asserts of itself, each asserts what holds of every input: a stream that
//! is cut anywhere gives the same, and what is consumed was there.

mod files;
mod session;
mod wire;

/// Whatever the bytes are, it returns.
pub(crate) type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub(crate) const TARGETS: [(&str, Target); 14] = [
    ("config", files::config),
    ("engine_replies", wire::engine_replies),
    ("forwarded", wire::forwarded),
    ("http_body", wire::http_body),
    ("http_reply", wire::http_reply),
    ("http_request", wire::http_request),
    ("jwt", files::jwt),
    ("message", wire::message),
    ("proxy", wire::proxy),
    ("session", session::session),
    ("stdcopy", wire::stdcopy),
    ("tokens", files::tokens),
    ("utf8", wire::utf8),
    ("websocket", wire::websocket),
];

/// Cuts `bytes` in two at a place that the bytes themselves choose.
fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let sum =
        bytes.iter().fold(bytes.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    bytes.split_at(sum % (bytes.len() + 1))
}
