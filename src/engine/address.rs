//! Where an engine listens: the URL of `DOCKER_HOST`, as a value.
//!
//! May not know: sockets, name resolution, the environment. A host is text here; whether it exists is found
//! out by the one who connects.

use std::fmt;
use std::path::PathBuf;

/// The port of a plain engine when a `tcp://` or `http://` address names none.
pub const PLAIN_PORT: u16 = 2375;

/// The port where engines speak TLS by convention.
pub const TLS_PORT: u16 = 2376;

/// The longest path a unix socket can have, in bytes: Linux's `sun_path` holds 108 with the closing NUL.
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// The longest name of a host, in bytes (RFC 1035, 2.3.4).
pub const HOST_BYTES_MAX: usize = 255;

/// Where an engine listens. Its `Display` is the URL again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An absolute path of a unix socket.
    Unix(PathBuf),
    /// A host in plain TCP.
    Tcp {
        /// A name or an IP address; IPv6 stands here without its brackets.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// A host over TLS, whose certificate is for this name.
    Tls {
        /// As with [`Address::Tcp`].
        host: String,
        /// Never 0.
        port: u16,
    },
}

/// Why a text is no [`Address`]. Its `Display` says what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// There is no `scheme://`.
    NoScheme,
    /// A scheme that Docker's own client knows and Entry does not speak (`ssh://`, `npipe://`, `fd://`…).
    Scheme,
    /// A unix socket without an absolute path of 1 to [`UNIX_PATH_BYTES_MAX`] bytes.
    UnixPath,
    /// No host, or one that is neither a name nor an IP address.
    Host,
    /// An IPv6 address without brackets.
    Brackets,
    /// The port is not a number of 1 to 65535.
    Port,
    /// Something stands behind the port: a path, a query.
    Rest,
}

impl Address {
    /// Reads `unix:///path`, `tcp://host[:port]` (or `http://`) and `https://host[:port]`; the port is [`PLAIN_PORT`]
    /// unless told, and [`TLS_PORT`] over TLS; IPv6 stands in brackets, the scheme's case does not matter.
    ///
    /// # Errors
    /// [`AddressError`], whose text says what to do.
    pub fn parse(url: &str) -> Result<Address, AddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::NoScheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "unix" => unix(rest),
            "tcp" | "http" => authority(rest, PLAIN_PORT).map(|(host, port)| Address::Tcp { host, port }),
            "https" => authority(rest, TLS_PORT).map(|(host, port)| Address::Tls { host, port }),
            _ => Err(AddressError::Scheme),
        }
    }

    /// The same host over TLS. A unix socket stays what it is.
    pub fn over_tls(self) -> Address {
        match self {
            Address::Tcp { host, port } => Address::Tls { host, port },
            other @ (Address::Unix(_) | Address::Tls { .. }) => other,
        }
    }

    /// The host's name or IP address, where there is one.
    pub fn host(&self) -> Option<&str> {
        match self {
            Address::Unix(_) => None,
            Address::Tcp { host, .. } | Address::Tls { host, .. } => Some(host),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Address::Unix(path) => return write!(formatter, "unix://{}", path.display()),
            Address::Tcp { host, port } => ("tcp", host, port),
            Address::Tls { host, port } => ("https", host, port),
        };
        if host.contains(':') {
            write!(formatter, "{scheme}://[{host}]:{port}")
        } else {
            write!(formatter, "{scheme}://{host}:{port}")
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            AddressError::NoScheme => {
                "an engine's address starts with unix:// or tcp://, as in unix:///var/run/docker.sock"
            }
            AddressError::Scheme => "ssh://, npipe:// and the like are not supported; use unix:// or tcp://",
            AddressError::UnixPath => {
                "unix:// needs an absolute path of at most 107 bytes, as in unix:///var/run/docker.sock"
            }
            AddressError::Host => "tcp:// needs the name or the IP address of a host, as in tcp://node:2375",
            AddressError::Brackets => "an IPv6 address stands in brackets, as in tcp://[::1]:2375",
            AddressError::Port => "the port of the engine is a number from 1 to 65535, as in tcp://node:2375",
            AddressError::Rest => "nothing may follow the port in an engine's address, as in tcp://node:2375",
        })
    }
}

impl std::error::Error for AddressError {}

fn unix(path: &str) -> Result<Address, AddressError> {
    let clean = !path.chars().any(char::is_control);
    if path.starts_with('/') && path.len() > 1 && path.len() <= UNIX_PATH_BYTES_MAX && clean {
        Ok(Address::Unix(PathBuf::from(path)))
    } else {
        Err(AddressError::UnixPath)
    }
}

fn authority(rest: &str, default_port: u16) -> Result<(String, u16), AddressError> {
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(AddressError::Rest);
    }
    let (host, port) = split_authority(authority)?;
    Ok((host.to_owned(), port.unwrap_or(default_port)))
}

/// `host`, `host:port` or `[ipv6]:port`, as in URLs; IPv6 comes without its brackets.
///
/// # Errors
/// [`AddressError::Host`], [`AddressError::Brackets`] or [`AddressError::Port`].
pub fn split_authority(authority: &str) -> Result<(&str, Option<u16>), AddressError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, behind) = bracketed.split_once(']').ok_or(AddressError::Host)?;
            if !is_ipv6(host) {
                return Err(AddressError::Host);
            }
            let port = match behind {
                "" => None,
                _ => Some(behind.strip_prefix(':').ok_or(AddressError::Port)?),
            };
            (host, port)
        }
        None => {
            let (host, port) = match authority.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(AddressError::Brackets),
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            if !is_host(host) {
                return Err(AddressError::Host);
            }
            (host, port)
        }
    };
    Ok((host, port.map(port_number).transpose()?))
}

fn port_number(text: &str) -> Result<u16, AddressError> {
    // `parse` would take a sign too.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::Port);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(AddressError::Port),
        Ok(port) => Ok(port),
    }
}

/// A name or an IPv4 address. Underscores are no host names by the book, but container networks use them.
pub(super) fn is_host(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.bytes().all(inner)
}

/// Close enough to tell an address from a slip of the hand; the one who connects reads it properly.
pub(super) fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    address.contains(':')
        && text.len() <= HOST_BYTES_MAX
        && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.')
        && is_host(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_the_urls_they_give_back() {
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        let tls = |host: &str, port| Address::Tls { host: host.to_owned(), port };
        let unix = |path: &str| Address::Unix(PathBuf::from(path));
        for (url, address, back) in [
            ("unix:///var/run/docker.sock", unix("/var/run/docker.sock"), "unix:///var/run/docker.sock"),
            ("UNIX:///a b/ü.sock", unix("/a b/ü.sock"), "unix:///a b/ü.sock"),
            ("tcp://10.0.0.7:1234", tcp("10.0.0.7", 1234), "tcp://10.0.0.7:1234"),
            ("tcp://docker", tcp("docker", 2375), "tcp://docker:2375"),
            ("tcp://docker/", tcp("docker", 2375), "tcp://docker:2375"),
            ("http://dock_er.lan:80/", tcp("dock_er.lan", 80), "tcp://dock_er.lan:80"),
            ("https://docker", tls("docker", 2376), "https://docker:2376"),
            ("https://[::1]:443/", tls("::1", 443), "https://[::1]:443"),
            ("tcp://[::1]:2375", tcp("::1", 2375), "tcp://[::1]:2375"),
            ("tcp://[fe80::1%eth0]", tcp("fe80::1%eth0", 2375), "tcp://[fe80::1%eth0]:2375"),
            ("tcp://[::ffff:10.0.0.7]:65535", tcp("::ffff:10.0.0.7", 65535), "tcp://[::ffff:10.0.0.7]:65535"),
        ] {
            assert_eq!(Address::parse(url), Ok(address.clone()), "{url}");
            assert_eq!(address.to_string(), back);
            assert_eq!(Address::parse(back), Ok(address.clone()), "{back}");
            assert_eq!(address.over_tls().to_string(), back.replace("tcp://", "https://"));
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let too_long = format!("unix:///{}", "a".repeat(UNIX_PATH_BYTES_MAX));
        for (url, error) in [
            ("", AddressError::NoScheme),
            ("/var/run/docker.sock", AddressError::NoScheme),
            ("localhost:2375", AddressError::NoScheme),
            ("ssh://root@host", AddressError::Scheme),
            ("npipe:////./pipe/docker_engine", AddressError::Scheme),
            ("fd://", AddressError::Scheme),
            ("https://host:2376/v1.41", AddressError::Rest),
            ("unix://", AddressError::UnixPath),
            ("unix:///", AddressError::UnixPath),
            ("unix://run/docker.sock", AddressError::UnixPath),
            ("unix:///a\0b", AddressError::UnixPath),
            (too_long.as_str(), AddressError::UnixPath),
            ("tcp://", AddressError::Host),
            ("tcp://:2375", AddressError::Host),
            ("tcp://user@host", AddressError::Host),
            ("tcp://a b", AddressError::Host),
            ("tcp://[]:1", AddressError::Host),
            ("tcp://[host]:1", AddressError::Host),
            ("tcp://[::1", AddressError::Host),
            ("tcp://::1", AddressError::Brackets),
            ("tcp://fe80::1:2375", AddressError::Brackets),
            ("tcp://host:", AddressError::Port),
            ("tcp://host:0", AddressError::Port),
            ("tcp://host:+1", AddressError::Port),
            ("tcp://host:65536", AddressError::Port),
            ("tcp://[::1]2375", AddressError::Port),
            ("tcp://host:2375/v1.41", AddressError::Rest),
            ("tcp://host?x", AddressError::Rest),
        ] {
            assert_eq!(Address::parse(url), Err(error), "{url}");
        }
        assert!(AddressError::Scheme.to_string().contains("use unix:// or tcp://"));
        assert!(AddressError::UnixPath.to_string().contains(&UNIX_PATH_BYTES_MAX.to_string()));
    }
}
