//! The PROXY protocol, versions 1 and 2: what a balancer says about a connection before its first byte (haproxy's
//! `doc/proxy-protocol.txt`). Bytes ⇄ values; incomplete is not an error, and nothing is kept between pieces.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

/// The longest header of version 1, in bytes, with its line end.
pub const V1_BYTES_MAX: usize = 107;
/// The longest header of version 2 that is taken, in bytes; addresses need 52 at most, the rest is for extensions.
pub const V2_BYTES_MAX: usize = 16 + 2048;

const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD_BYTES: usize = 16;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client, who has this address.
    Client(IpAddr),
    /// The balancer itself (a health check), or somebody it cannot name: the connection's own address stands.
    Own,
}

/// The bytes are not a header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyError(pub &'static str);

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Reads the header at the beginning of `bytes`: who it names, and its length; `None` while more must come.
///
/// # Errors
/// The connection does not begin with a header, or with one that is too long or contradicts itself.
pub fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, ProxyError> {
    if bytes.starts_with(V2_START) {
        return parse_v2(bytes);
    }
    if bytes.starts_with(V1_START) {
        return parse_v1(bytes);
    }
    if V1_START.starts_with(bytes) || V2_START.starts_with(bytes) {
        return Ok(None);
    }
    Err(ProxyError("the connection does not begin with a PROXY header"))
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Source, usize)>, ProxyError> {
    const BAD: ProxyError = ProxyError("the PROXY header is malformed");
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(length) = within.iter().position(|byte| *byte == b'\n').map(|at| at + 1) else {
        return if within.len() == V1_BYTES_MAX {
            Err(ProxyError("the PROXY header is too long"))
        } else {
            Ok(None)
        };
    };
    let line =
        bytes[..length].strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok()).ok_or(BAD)?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words[1..] {
        ["UNKNOWN", ..] => Source::Own,
        ["TCP4", source, destination, from, to] => {
            let (source, _) = (source.parse::<Ipv4Addr>(), destination.parse::<Ipv4Addr>().map_err(|_| BAD)?);
            ports(from, to).ok_or(BAD)?;
            Source::Client(IpAddr::V4(source.map_err(|_| BAD)?))
        }
        ["TCP6", source, destination, from, to] => {
            let (source, _) = (source.parse::<Ipv6Addr>(), destination.parse::<Ipv6Addr>().map_err(|_| BAD)?);
            ports(from, to).ok_or(BAD)?;
            Source::Client(IpAddr::V6(source.map_err(|_| BAD)?))
        }
        _ => return Err(BAD),
    };
    Ok(Some((source, length)))
}

/// Two plain decimal numbers of 16 bits.
fn ports(from: &str, to: &str) -> Option<()> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok();
    (plain(from) && plain(to)).then_some(())
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Source, usize)>, ProxyError> {
    let Some(head) = bytes.first_chunk::<V2_HEAD_BYTES>() else { return Ok(None) };
    let (version_command, family, length) = (head[12], head[13], u16::from_be_bytes([head[14], head[15]]));
    let total = V2_HEAD_BYTES + usize::from(length);
    if total > V2_BYTES_MAX {
        return Err(ProxyError("the PROXY header is too long"));
    }
    let is_local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError("the PROXY header is of a version or command that does not exist")),
    };
    let Some(body) = bytes.get(V2_HEAD_BYTES..total) else { return Ok(None) };
    let client = |address: Option<IpAddr>| {
        let text = "the PROXY header has no room for its addresses";
        address.map(Source::Client).ok_or(ProxyError(text))
    };
    // Both addresses and both ports, of which the first address counts; behind them come extensions, which are skipped.
    let source = match family {
        _ if is_local => Source::Own,
        0x11 => client(body.get(..12).and_then(<[u8]>::first_chunk::<4>).map(|four| IpAddr::from(*four)))?,
        0x21 => client(body.get(..36).and_then(<[u8]>::first_chunk::<16>).map(|six| IpAddr::from(*six)))?,
        // Unspecified: the receiver takes the connection's own address.
        0x00 => Source::Own,
        _ => return Err(ProxyError("the PROXY header is not of a TCP connection")),
    };
    Ok(Some((source, total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_START, &[version_command, family], &length, body].concat()
    }

    fn client(address: &str) -> Source {
        Source::Client(address.parse().unwrap())
    }

    /// Both versions, with and without an address, with an extension behind it.
    fn good() -> Vec<(Vec<u8>, Source)> {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];
        let mut six = vec![0; 36];
        six[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        let extended = [&four[..], &[0x04, 0x00, 0x03, 0, 0, 0]].concat();
        let text = |line: &str| line.as_bytes().to_vec();
        vec![
            (text("PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n"), client("192.0.2.1")),
            (text("PROXY TCP6 2001:db8::7 ::1 65535 1\r\n"), client("2001:db8::7")),
            (text("PROXY UNKNOWN\r\n"), Source::Own),
            (text("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), Source::Own),
            (v2(0x21, 0x11, &four), client("192.0.2.1")),
            (v2(0x21, 0x11, &extended), client("192.0.2.1")),
            (v2(0x21, 0x21, &six), client("2001:db8::7")),
            (v2(0x21, 0x00, &[]), Source::Own),
            (v2(0x20, 0x00, &[]), Source::Own),
            (v2(0x20, 0x11, &four), Source::Own),
            (v2(0x21, 0x11, &[&four[..], &[0; 2036]].concat()), client("192.0.2.1")),
        ]
    }

    #[test]
    fn a_header_is_read_once_it_is_whole() {
        for (header, source) in good() {
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Ok(None), "{header:?} {cut}");
            }
            for behind in [&b""[..], b"GET / HTTP/1.1\r\n"] {
                let bytes = [&header[..], behind].concat();
                assert_eq!(parse(&bytes), Ok(Some((source, header.len()))));
            }
        }
    }

    #[test]
    fn anything_else_is_refused_as_soon_as_it_shows() {
        let bad: [&[u8]; 21] = [
            b"GET /enter HTTP/1.1\r\n",
            b"P ",
            b"PROXYX",
            b"PROXY \r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443 \r\n",
            b"PROXY TCP4  192.0.2.1 10.0.0.1 12345 443\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 +12345 443\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n",
            b"PROXY TCP4 192.0.2.256 10.0.0.1 1 443\r\n",
            b"PROXY TCP4 ::1 10.0.0.1 1 443\r\n",
            b"PROXY TCP6 192.0.2.1 10.0.0.1 1 443\r\n",
            b"PROXY UDP4 192.0.2.1 10.0.0.1 1 443\r\n",
            b"PROXY \xff\r\n",
            b"\r\n\r\n\0\r\nQUIT\r",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0",
            b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\0",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04abcd",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\0",
        ];
        for bytes in bad {
            assert!(parse(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        let long = [b"PROXY UNKNOWN ", &[b'x'; V1_BYTES_MAX][..]].concat();
        assert!(parse(&long[..V1_BYTES_MAX - 1]) == Ok(None) && parse(&long[..V1_BYTES_MAX]).is_err());
        // Told by the length alone.
        assert!(parse(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>, v2: bool) {
            let start = if v2 { V2_START } else { V1_START };
            for bytes in [bytes.clone(), [start, &bytes].concat()] {
                if let Ok(Some((_, length))) = parse(&bytes) {
                    proptest::prop_assert!(length <= bytes.len());
                }
            }
        }
    }
}
