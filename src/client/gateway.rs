//! Where the gateway is: `ws://host[:port][/base]` or `wss://…`, checked once, then only read.

use std::fmt;

/// A gateway's address, parsed from a `ws://` or `wss://` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Over TLS.
    secure: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// What stands before `/enter`; empty or `/…` without a slash at its end.
    base: String,
}

impl Gateway {
    /// Where a gateway listens when nobody says otherwise.
    pub const DEFAULT: &'static str = "ws://127.0.0.1:8022";

    /// Reads `ws://host[:port][/base]` and `wss://host[:port][/base]`.
    ///
    /// # Errors
    /// It is not such a URL; the text says what to write instead.
    pub fn parse(url: &str) -> Result<Gateway, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(format!("'{url}' is not a gateway's URL; write ws://HOST:PORT or wss://HOST"));
        };
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            "https" => return Err(format!("'{url}': write wss:// in place of {scheme}://")),
            _ => return Err(format!("'{url}': write ws:// in place of {scheme}://")),
        };
        if rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("a gateway's URL has no spaces or control characters".to_owned());
        }
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err("no user and no token in the URL; the token goes into ENTRY_TOKEN".to_owned());
        }
        if path.contains(['?', '#']) {
            return Err(format!("'{url}': a gateway's URL ends with its path, without '?' and '#'"));
        }
        let (host, port) =
            split_port(authority).ok_or_else(|| format!("'{url}': the port is not a number"))?;
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        if host.is_empty() {
            return Err(format!("'{url}' has no host; write ws://HOST:PORT"));
        }
        Ok(Gateway { secure, host: host.to_owned(), port, base: path.trim_end_matches('/').to_owned() })
    }

    /// TLS is spoken with it.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host, as the resolver takes it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 80 when the URL has none, 443 over TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of an endpoint under the gateway's base, `/enter` say.
    pub fn path(&self, endpoint: &str) -> String {
        format!("{}/{endpoint}", self.base)
    }

    /// `host:port`, with brackets where the host is an IPv6 address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.base)
    }
}

/// Host without brackets, and port if there is one; `None` when what should be a port is none.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, behind) = bracketed.split_once(']')?;
        (host, if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) })
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_are_read() {
        let table = [
            ("ws://127.0.0.1:8022", "127.0.0.1", 8022, "/enter", "ws://127.0.0.1:8022"),
            ("WS://gateway", "gateway", 80, "/enter", "ws://gateway:80"),
            ("ws://gateway:1/", "gateway", 1, "/enter", "ws://gateway:1"),
            ("ws://gateway:1/a/b/", "gateway", 1, "/a/b/enter", "ws://gateway:1/a/b"),
            ("ws://[::1]:8022/x", "::1", 8022, "/x/enter", "ws://[::1]:8022/x"),
            ("ws://[::1]", "::1", 80, "/enter", "ws://[::1]:80"),
            ("wss://gateway", "gateway", 443, "/enter", "wss://gateway:443"),
            ("WSS://gateway:8022/a", "gateway", 8022, "/a/enter", "wss://gateway:8022/a"),
        ];
        for (url, host, port, path, text) in table {
            let gateway = Gateway::parse(url).unwrap();
            assert_eq!((gateway.host(), gateway.port()), (host, port), "{url}");
            assert_eq!(gateway.path("enter"), path, "{url}");
            assert_eq!(gateway.to_string(), text, "{url}");
            assert_eq!(gateway.is_secure(), text.starts_with("wss"), "{url}");
        }
    }

    #[test]
    fn urls_that_are_refused_say_what_to_write() {
        let table = [
            ("gateway:8022", "write ws://HOST:PORT"),
            ("https://gateway", "write wss:// in place of https://"),
            ("http://gateway", "write ws:// in place of http://"),
            ("ws://", "no host"),
            ("ws://:80", "no host"),
            ("ws://gateway:", "port"),
            ("ws://gateway:+1", "port"),
            ("ws://gateway:65536", "port"),
            ("ws://[::1]8022", "port"),
            ("ws://[::1", "port"),
            ("ws://::1:80", "port"),
            ("ws://token@gateway", "ENTRY_TOKEN"),
            ("ws://gateway/?token=x", "without '?'"),
            ("ws://gateway?token=x", "without '?'"),
            ("ws://gate way", "spaces"),
            ("ws://gateway/\r\nx: y", "spaces"),
        ];
        for (url, what) in table {
            let error = Gateway::parse(url).unwrap_err();
            assert!(error.contains(what), "{url}: {error}");
        }
    }
}
