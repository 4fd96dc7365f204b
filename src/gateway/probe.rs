//! Blocking questions, one connection each: to engines at the start, for the log alone, since Entry starts whatever the
//! answer is; and to everybody by `entry check`.

use crate::config;
use crate::engine::{Address, Dialect, reply, request};
use crate::tls::{Channel, Connector};
use crate::wire::http::{Expect, Reply, ReplyReader};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// For connecting, and for each wait for more.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// For a whole reply.
const REPLY_TIME_LIMIT: Duration = Duration::from_secs(5);

/// What the engine speaks, or one sentence that says why that is not known.
pub(super) fn ask(address: &Address, connector: Option<&Connector>) -> Result<Dialect, String> {
    let reply = call(address, connector, "GET", &request::ping()).map_err(|error| error.to_string())?;
    reply::read_ping(&reply).map_err(|error| error.text)
}

/// Makes one call.
///
/// # Errors
/// The peer cannot be reached, or its answer is none within some seconds.
pub fn call(
    address: &Address,
    connector: Option<&Connector>,
    method: &'static str,
    request: &[u8],
) -> io::Result<Reply> {
    call_behind(b"", address, connector, method, request)
}

/// The same, behind what a balancer says in front of everything else.
///
/// # Errors
/// As [`call`].
pub fn call_behind(
    header: &[u8],
    address: &Address,
    connector: Option<&Connector>,
    method: &'static str,
    request: &[u8],
) -> io::Result<Reply> {
    match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(TIME_LIMIT))?;
            stream.set_write_timeout(Some(TIME_LIMIT))?;
            exchange(stream, method, request)
        }
        Address::Tcp { host, port } => exchange(connect(host, *port)?, method, &[header, request].concat()),
        Address::Tls { host, port } => {
            let connector = connector.ok_or_else(|| io::Error::other("TLS is not prepared"))?;
            let stream = connect(host, *port)?;
            let mut out = header.to_vec();
            let session = connector.connect(host, &mut out).map_err(io::Error::other)?;
            exchange(Channel::sealed(stream, session, out), method, request)
        }
    }
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIME_LIMIT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIME_LIMIT))?;
                stream.set_write_timeout(Some(TIME_LIMIT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: impl Read + Write, method: &'static str, request: &[u8]) -> io::Result<Reply> {
    stream.write_all(request)?;
    let until = Instant::now() + REPLY_TIME_LIMIT;
    let mut reader =
        ReplyReader::new(method, Expect::Whole, config::HEAD_BYTES_MAX, config::REPLY_BODY_BYTES_MAX);
    let mut buffer = [0; 4096];
    let mut heard = false;
    while Instant::now() < until {
        let count = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if count == 0 && !heard {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        heard = true;
        let reply = match count {
            0 => Some(reader.finish_at_eof().map_err(io::Error::other)?),
            _ => reader.feed(&buffer[..count]).map_err(io::Error::other)?.1,
        };
        if let Some(reply) = reply {
            return Ok(reply);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}
