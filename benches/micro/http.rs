//! HTTP heads, as browsers and engines send them.

use crate::Harness;
use entry::config::HEAD_BYTES_MAX;
use entry::wire::http::{parse_request, parse_response};
use std::hint::black_box;

const UPGRADE: &[u8] =
    b"GET /enter?method=web HTTP/1.1\r\nHost: entry.example.org\r\nConnection: Upgrade\r\n\
    Pragma: no-cache\r\nCache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Upgrade: websocket\r\nOrigin: https://entry.example.org\r\nSec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: entry.v1\r\n\r\n";

const STARTED: &[u8] = b"HTTP/1.1 101 UPGRADED\r\nApi-Version: 1.51\r\nConnection: Upgrade\r\n\
    Content-Type: application/vnd.docker.raw-stream\r\nUpgrade: tcp\r\n\r\n";

pub(crate) fn benches(harness: &mut impl Harness) {
    harness.bench("http/request-head", || {
        let head = parse_request(UPGRADE, HEAD_BYTES_MAX).ok().flatten().map(|(_, bytes)| bytes);
        assert_eq!(head, Some(UPGRADE.len()));
        || {
            let _ = black_box(parse_request(black_box(UPGRADE), HEAD_BYTES_MAX));
        }
    });
    harness.bench("http/reply-head", || {
        let head = parse_response(STARTED, HEAD_BYTES_MAX).ok().flatten().map(|(_, bytes)| bytes);
        assert_eq!(head, Some(STARTED.len()));
        || {
            let _ = black_box(parse_response(black_box(STARTED), HEAD_BYTES_MAX));
        }
    });
}
