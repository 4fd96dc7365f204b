//! Where a client is, when proxies stand in front: networks, and the headers in which a proxy tells whom it serves.
//!
//! Whoever connects can write any header. So a header counts only as far as those who wrote it are trusted: each proxy
//! adds the address it saw at the right end, and, read from the right, the first address that is no trusted proxy's is
//! the client's. What stands left of it, the client wrote itself.

use super::http::Headers;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::fmt;

/// Addresses with the same beginning, written `ADDRESS/BITS`, or one address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// IPv4 stands here as IPv6, in `::ffff:0:0/96`.
    address: u128,
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or one address.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Network, &'static str> {
        const MEANT: &str = "a network is written like 10.0.0.0/8, fd00::/8 or 192.0.2.7";
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| MEANT)?;
        let (bits_max, outer) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let bits = match bits {
            None => bits_max,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= bits_max).ok_or(MEANT)?,
        };
        let network = Network { address: number(address), bits: outer + bits };
        if network.address & !network.mask() != 0 {
            return Err("the address has bits behind those of the network: write 10.0.0.0/8, not 10.1.2.3/8");
        }
        Ok(network)
    }

    /// The address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        number(address) & self.mask() == self.address
    }

    fn mask(&self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0)
    }
}

/// As [`Network::parse`] reads it.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = IpAddr::V6(self.address.into()).to_canonical();
        let outer = if address.is_ipv4() && self.bits >= 96 { 96 } else { 0 };
        write!(f, "{address}/{}", self.bits - outer)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Where the client is, by what the connection's peer says. The first of `X-Forwarded-For`, `Forwarded` (RFC 7239) and
/// `X-Real-IP` that is there counts; none of them does where the peer is no trusted proxy.
pub fn client_address(peer: IpAddr, headers: &Headers<'_>, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return peer;
    }
    // Each may come as several lines, which stand for one list (RFC 9110, 5.3).
    let entries = |name: &str| -> Vec<String> {
        let lines: Vec<String> =
            headers.all(name).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        if lines.is_empty() { Vec::new() } else { split_list(&lines.join(",")) }
    };
    let mut chain: Vec<Option<IpAddr>> =
        entries("x-forwarded-for").iter().map(|entry| node_address(entry)).collect();
    if chain.is_empty() {
        chain = entries("forwarded").iter().map(|entry| forwarded_for(entry)).collect();
    }
    if chain.is_empty() {
        chain = entries("x-real-ip").iter().map(|entry| node_address(entry)).collect();
    }
    let mut nearest = peer;
    for address in chain.into_iter().rev() {
        // An entry that names nobody (`unknown`, a hidden name, rubbish): the proxy that wrote it is the last one known.
        let Some(address) = address else { return nearest };
        nearest = address;
        if !is_trusted(address) {
            return address;
        }
    }
    nearest
}

/// The elements of a list; a comma within quotes is no end of one.
fn split_list(text: &str) -> Vec<String> {
    let mut elements = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for character in text.chars() {
        match character {
            ',' if !quoted => {
                elements.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = character == '\\' && quoted && !escaped;
        if let Some(last) = elements.last_mut() {
            last.push(character);
        }
    }
    elements
}

/// The `for=` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| node_address(value))?
    })
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`, perhaps in quotes.
fn node_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || {
        let inside = text.strip_prefix('[')?.strip_suffix(']')?;
        inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    bare().or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::super::http::parse_request;
    use super::*;

    #[test]
    fn networks() {
        let table = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "1.2.3.4", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
        ];
        for (network, address, inside) in table {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{network:?} {address}");
        }
        for text in
            ["", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.1.2.3/8", "localhost", "10.0.0.0/", "10/8"]
        {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }

    fn client(peer: &str, headers: &str) -> String {
        let trusted = ["10.0.0.0/8", "::1"].map(|text| Network::parse(text).unwrap());
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let (head, _) = parse_request(request.as_bytes(), 4096).unwrap().unwrap();
        client_address(peer.parse().unwrap(), &head.headers, &trusted).to_string()
    }

    #[test]
    fn the_first_from_the_right_that_is_no_trusted_proxy() {
        let table = [
            ("", "10.0.0.1"),
            ("X-Real-IP: 192.0.2.1\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1, 10.0.0.9\r\n", "192.0.2.1"),
            // What the client wrote itself stands on the left.
            ("X-Forwarded-For: 198.51.100.1, 192.0.2.1\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.1, 10.1.1.1\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 10.0.0.2, 10.0.0.9\r\n", "10.0.0.2"),
            ("X-Forwarded-For: 192.0.2.1:4711\r\n", "192.0.2.1"),
            ("X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1"),
            ("X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"),
            ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1, unknown\r\n", "10.0.0.1"),
            ("X-Forwarded-For: 192.0.2.1, unknown, 10.0.0.9\r\n", "10.0.0.9"),
            ("X-Forwarded-For: \r\nX-Real-IP: 192.0.2.1\r\n", "10.0.0.1"),
            ("X-Forwarded-For: \u{fc}, 192.0.2.1\r\n", "192.0.2.1"),
            ("Forwarded: for=192.0.2.1;proto=https;by=10.0.0.1\r\n", "192.0.2.1"),
            ("Forwarded: proto=http; FOR=\"[2001:db8::1]:4711\", for=10.0.0.9\r\n", "2001:db8::1"),
            ("Forwarded: for=\"a,b\", for=\"192.0.2.1:80\"\r\n", "192.0.2.1"),
            ("Forwarded: for=\"a\\\",for=198.51.100.1\", for=192.0.2.1\r\n", "192.0.2.1"),
            ("Forwarded: for=_hidden\r\n", "10.0.0.1"),
            ("Forwarded: host=h\r\n", "10.0.0.1"),
            (
                "X-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 198.51.100.1\r\nForwarded: for=198.51.100.1\r\n",
                "192.0.2.1",
            ),
            ("X-Real-IP: rubbish\r\n", "10.0.0.1"),
        ];
        for (headers, expected) in table {
            assert_eq!(client("10.0.0.1", headers), expected, "{headers}");
            assert_eq!(client("::ffff:10.0.0.1", headers), expected, "{headers}");
        }
    }

    #[test]
    fn anybody_else_s_headers_are_ignored() {
        let headers = "X-Real-IP: 10.0.0.5\r\nX-Forwarded-For: 10.0.0.5\r\nForwarded: for=10.0.0.5\r\n";
        for peer in ["192.0.2.1", "127.0.0.1", "2001:db8::1"] {
            assert_eq!(client(peer, headers), peer);
        }
        assert_eq!(client("::1", headers), "10.0.0.5");
    }
}
