//! Services beside the engines that Entry asks short questions over HTTP: where a container is, who may enter.
//!
//! | file | what it holds |
//! |---|---|
//! | this one | which service, where it listens, requests to it |
//! | [`answer`] | its replies → values, or one sentence that says why there is none |
//!
//! May not know: sockets, clocks, sessions, what is asked.

pub mod answer;

use crate::engine::EngineId;
use crate::engine::address::{Address, split_authority};
use crate::wire::http::write_request;
use std::fmt;

/// The port of `http://` when none is named.
pub const HTTP_PORT: u16 = 80;
/// The port of `https://` when none is named.
pub const HTTPS_PORT: u16 = 443;

/// Somebody a session can make a short call to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An engine.
    Engine(EngineId),
    /// A service.
    Service(ServiceId),
}

/// One service of the settings: its place in their list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u16);

impl ServiceId {
    /// Its place in the list.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A service: what it is called, where it listens, how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What it is to people: "lainlet", "the webhook".
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// What stands before the path of every request, with a leading slash and no trailing one; may be empty. Where the
    /// service is one resource (a webhook), it is that resource, perhaps with a query.
    pub path: String,
    /// For a whole call, in milliseconds: the wait for a connection, the connecting, and the reply.
    pub milliseconds_max: u64,
}

/// Why a text is no service's URL; `Display` says what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlError {
    /// It does not start with `http://` or `https://`.
    Scheme,
    /// Behind the scheme stands no `HOST[:PORT]`.
    Authority,
    /// The path holds spaces, control characters or a fragment, or is no ASCII.
    Path,
}

impl fmt::Display for UrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            UrlError::Scheme => {
                "a service's URL starts with http:// or https://, as in https://host:8080/path"
            }
            UrlError::Authority => {
                "behind http:// stands a host's name or IP address, perhaps a port, and no user, as in \
                 http://host:8080/path"
            }
            UrlError::Path => "the path of a URL holds no spaces, no # and nothing but ASCII",
        })
    }
}

impl std::error::Error for UrlError {}

impl Service {
    /// Reads `http://host[:port][/path]` and `https://host[:port][/path]`.
    ///
    /// # Errors
    /// [`UrlError`], whose text says what to do.
    pub fn parse(name: &str, url: &str, milliseconds_max: u64) -> Result<Service, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme),
        };
        let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let (host, port) = split_authority(authority).map_err(|_| UrlError::Authority)?;
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !path.bytes().all(plain) || path.starts_with('?') {
            return Err(UrlError::Path);
        }
        let host = host.to_owned();
        Ok(Service {
            name: name.to_owned(),
            address: match secure {
                false => Address::Tcp { host, port: port.unwrap_or(HTTP_PORT) },
                true => Address::Tls { host, port: port.unwrap_or(HTTPS_PORT) },
            },
            path: path.trim_end_matches('/').to_owned(),
            milliseconds_max,
        })
    }

    /// `GET` of a path below the service's own, with these header lines more.
    pub fn get(&self, below: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        self.request("GET", below, headers, None)
    }

    /// `POST` of a JSON body to a path below the service's own.
    pub fn post(&self, below: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        self.request("POST", below, headers, Some(body))
    }

    fn request(&self, method: &str, below: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
        let mut target = format!("{}{below}", self.path);
        if target.is_empty() {
            target.push('/');
        }
        let headers: Vec<(&str, &str)> =
            [("Accept", "application/json")].into_iter().chain(headers.iter().copied()).collect();
        let mut out = Vec::with_capacity(256);
        write_request(&mut out, method, &target, &self.host(), &headers, body);
        out
    }

    /// The `Host` header's value.
    fn host(&self) -> String {
        let (host, port, default_port) = match &self.address {
            Address::Unix(_) => return "localhost".to_owned(),
            Address::Tcp { host, port } => (host, *port, HTTP_PORT),
            Address::Tls { host, port } => (host, *port, HTTPS_PORT),
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if port == default_port { host } else { format!("{host}:{port}") }
    }
}

/// The service's URL again.
impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if matches!(self.address, Address::Tls { .. }) { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.host(), self.path.split('?').next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_the_requests_they_lead_to() {
        for (url, host, target) in [
            ("http://lainlet.lain:9001", "lainlet.lain:9001", "/v2/x?a=b"),
            ("HTTP://lainlet.lain/", "lainlet.lain", "/v2/x?a=b"),
            ("http://10.0.0.1:80/base/", "10.0.0.1", "/base/v2/x?a=b"),
            ("http://[::1]:7", "[::1]:7", "/v2/x?a=b"),
            ("https://lainlet.lain", "lainlet.lain", "/v2/x?a=b"),
            ("HTTPS://lainlet.lain:80/", "lainlet.lain:80", "/v2/x?a=b"),
        ] {
            let service = Service::parse("lainlet", url, 4000).unwrap();
            let request = String::from_utf8(service.get("/v2/x?a=b", &[("access-token", "t")])).unwrap();
            assert_eq!(
                request,
                format!(
                    "GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\naccess-token: t\r\n\r\n"
                ),
                "{url}"
            );
        }
        let hook = Service::parse("the webhook", "http://h/hook?key=1", 4000).unwrap();
        let request = String::from_utf8(hook.post("", &[], b"{}")).unwrap();
        assert!(request.starts_with("POST /hook?key=1 HTTP/1.1\r\nHost: h\r\n"), "{request}");
        assert!(request.ends_with("Content-Length: 2\r\n\r\n{}"), "{request}");
        assert_eq!(hook.to_string(), "http://h/hook", "a key in the query is not shown");
        let sealed = Service::parse("the webhook", "https://h/hook", 4000).unwrap();
        assert_eq!(sealed.address, Address::Tls { host: "h".to_owned(), port: 443 });
        assert_eq!(sealed.to_string(), "https://h/hook");
        let bare = Service::parse("the webhook", "http://h", 4000).unwrap();
        assert!(bare.post("", &[], b"{}").starts_with(b"POST / HTTP/1.1\r\n"));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (url, error) in [
            ("", UrlError::Scheme),
            ("host:80", UrlError::Scheme),
            ("ftp://host", UrlError::Scheme),
            ("https://", UrlError::Authority),
            ("http://", UrlError::Authority),
            ("http:///path", UrlError::Authority),
            ("http://user:secret@host/", UrlError::Authority),
            ("http://host:0", UrlError::Authority),
            ("http://host:99999/", UrlError::Authority),
            ("http://host/a b", UrlError::Path),
            ("http://host/a#b", UrlError::Path),
            ("http://host/\u{fc}", UrlError::Path),
            ("http://host?x=y", UrlError::Path),
        ] {
            assert_eq!(Service::parse("x", url, 1), Err(error), "{url}");
        }
    }
}
