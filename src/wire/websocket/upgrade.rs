//! The opening handshake, the server's side (RFC 6455, 4.2).
//!
//! It may not know which paths exist nor who may enter; it looks at nothing but the upgrade.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::wire::http::{self, RequestHead};

/// What RFC 6455, 1.3 puts behind every key.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// What a key is once decoded, in bytes.
const KEY_BYTES: usize = 16;
/// The one version there is.
const VERSION: &str = "13";

/// Why a request is not upgraded. It is the client's fault, or that of a proxy in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeError {
    /// The method is not GET.
    Method,
    /// The request is HTTP/1.0, which cannot be upgraded.
    HttpVersion,
    /// The request does not ask for an upgrade to WebSocket.
    NotUpgrade,
    /// The version asked for is not 13.
    Version,
    /// The key is missing, comes twice, or is not 16 bytes in base64.
    Key,
}

impl UpgradeError {
    /// The HTTP status that says so.
    pub fn status(&self) -> u16 {
        match self {
            UpgradeError::Method => 405,
            UpgradeError::HttpVersion => 505,
            UpgradeError::NotUpgrade | UpgradeError::Version => 426,
            UpgradeError::Key => 400,
        }
    }

    /// What is wrong and what to do about it, one line.
    pub fn text(&self) -> &'static str {
        match self {
            UpgradeError::Method => "Open a WebSocket here: the method has to be GET.",
            UpgradeError::HttpVersion => {
                "Open a WebSocket here with HTTP/1.1; a proxy in front has to speak HTTP/1.1 to Entry too."
            }
            UpgradeError::NotUpgrade => {
                "Open a WebSocket here: send 'Connection: Upgrade' and 'Upgrade: websocket'; a proxy in front has \
                 to pass both on."
            }
            UpgradeError::Version => "Open a WebSocket here with version 13 (RFC 6455).",
            UpgradeError::Key => "Send one Sec-WebSocket-Key: 16 random bytes in base64.",
        }
    }

    /// Appends the whole response, after which the connection is to be closed.
    pub fn write_response(&self, out: &mut Vec<u8>) {
        let headers: &[(&str, &str)] = match self {
            UpgradeError::Method => &[("Allow", "GET")],
            UpgradeError::HttpVersion | UpgradeError::Key => &[],
            UpgradeError::NotUpgrade => &[("Upgrade", "websocket"), ("Connection", "Upgrade")],
            UpgradeError::Version => {
                &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", VERSION)]
            }
        };
        http::write_response(out, self.status(), headers, &format!("{}\n", self.text()));
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

impl std::error::Error for UpgradeError {}

/// A request that may be upgraded.
#[derive(Debug, Clone)]
pub struct Upgrade<'a> {
    /// The client's key, to be answered by [`write_upgrade_response`].
    pub key: &'a str,
    /// The subprotocols that are offered, the client's favourite first.
    pub protocols: Vec<&'a str>,
}

impl Upgrade<'_> {
    /// Does the client offer this subprotocol? Case matters (RFC 6455, 11.3.4).
    pub fn offers(&self, protocol: &str) -> bool {
        self.protocols.contains(&protocol)
    }
}

/// May this request be upgraded?
///
/// # Errors
/// The first thing that is wrong, see [`UpgradeError`].
pub fn check_upgrade<'a>(head: &'a RequestHead<'a>) -> Result<Upgrade<'a>, UpgradeError> {
    let headers = &head.headers;
    if head.method != "GET" {
        return Err(UpgradeError::Method);
    }
    if !headers.has_token("Upgrade", "websocket") || !headers.has_token("Connection", "upgrade") {
        return Err(UpgradeError::NotUpgrade);
    }
    if head.minor_version == 0 {
        return Err(UpgradeError::HttpVersion);
    }
    if headers.text("Sec-WebSocket-Version") != Some(VERSION) {
        return Err(UpgradeError::Version);
    }
    let key = headers.text("Sec-WebSocket-Key").ok_or(UpgradeError::Key)?;
    if headers.all("Sec-WebSocket-Key").count() != 1 || !is_key(key) {
        return Err(UpgradeError::Key);
    }
    let protocols = headers
        .all("Sec-WebSocket-Protocol")
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(','))
        .map(str::trim_ascii)
        .filter(|protocol| !protocol.is_empty())
        .collect();
    Ok(Upgrade { key, protocols })
}

/// What answers a key: SHA-1 of the key and a fixed suffix, in base64 (RFC 6455, 4.2.2).
pub fn accept_key(key: &str) -> String {
    let digest = Sha1::new().chain_update(key.trim_ascii()).chain_update(KEY_SUFFIX).finalize();
    STANDARD.encode(digest)
}

/// Appends the 101 that ends the handshake. `protocol` is one that the client offered; without an offer there
/// is none.
pub fn write_upgrade_response(out: &mut Vec<u8>, key: &str, protocol: Option<&str>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept_key(key).as_bytes());
    if let Some(protocol) = protocol {
        debug_assert!(
            protocol.bytes().all(|byte| byte.is_ascii_graphic()),
            "a subprotocol is a token of ours"
        );
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(protocol.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// Is this 16 bytes in base64?
fn is_key(key: &str) -> bool {
    // One byte of room more shows a key that is too long.
    let mut decoded = [0; KEY_BYTES + 2];
    STANDARD.decode_slice(key, &mut decoded) == Ok(KEY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{parse_request, parse_response};

    const GOOD: &str = "GET /enter HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: entry.v1, other\r\nSec-WebSocket-Protocol: third\r\n\r\n";

    fn check(text: &str) -> Result<(String, Vec<String>), UpgradeError> {
        let (head, _) = parse_request(text.as_bytes(), 4096).unwrap().unwrap();
        let upgrade = check_upgrade(&head)?;
        Ok((upgrade.key.to_owned(), upgrade.protocols.iter().map(|name| (*name).to_owned()).collect()))
    }

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_good_request_is_upgraded() {
        let (key, protocols) = check(GOOD).unwrap();
        assert_eq!(key, "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(protocols, ["entry.v1", "other", "third"]);
        let (head, _) = parse_request(GOOD.as_bytes(), 4096).unwrap().unwrap();
        let upgrade = check_upgrade(&head).unwrap();
        assert!(upgrade.offers("third") && !upgrade.offers("Third") && !upgrade.offers("entry"));
    }

    #[test]
    fn a_bad_request_is_told_what_to_do() {
        let table = [
            ("GET /", "POST /", UpgradeError::Method),
            ("HTTP/1.1", "HTTP/1.0", UpgradeError::HttpVersion),
            ("WebSocket\r\n", "h2c\r\n", UpgradeError::NotUpgrade),
            (", Upgrade", "", UpgradeError::NotUpgrade),
            ("Version: 13", "Version: 8", UpgradeError::Version),
            ("Sec-WebSocket-Version: 13\r\n", "", UpgradeError::Version),
            ("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: dGhlIHNhbXBsZSBub25jZ", UpgradeError::Key),
            ("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: AAAAAAAAAAAAAAAAAAAAAAA=", UpgradeError::Key),
            ("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", UpgradeError::Key),
            ("Sec-WebSocket-Key:", "X:", UpgradeError::Key),
            ("Host: h", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", UpgradeError::Key),
        ];
        for (from, to, expected) in table {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            assert_eq!(check(&text), Err(expected), "{from} -> {to}");
            let mut out = Vec::new();
            expected.write_response(&mut out);
            let (head, head_bytes) = parse_response(&out, 4096).unwrap().unwrap();
            assert_eq!(head.status, expected.status());
            assert!(!head.keeps_alive());
            assert_eq!(out[head_bytes..], *format!("{}\n", expected.text()).as_bytes());
            assert_eq!(head.header("sec-websocket-version").is_some(), expected == UpgradeError::Version);
            assert_eq!(head.has_token("connection", "upgrade"), head.status == 426);
        }
    }

    #[test]
    fn the_answer_is_a_101() {
        let mut out = Vec::new();
        write_upgrade_response(&mut out, "dGhlIHNhbXBsZSBub25jZQ==", Some("entry.v1"));
        let (head, head_bytes) = parse_response(&out, 4096).unwrap().unwrap();
        assert_eq!(head_bytes, out.len());
        assert!(head.is_upgraded());
        assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(head.header("sec-websocket-protocol"), Some("entry.v1"));
        out.clear();
        write_upgrade_response(&mut out, "dGhlIHNhbXBsZSBub25jZQ==", None);
        assert_eq!(parse_response(&out, 4096).unwrap().unwrap().0.header("sec-websocket-protocol"), None);
    }
}
