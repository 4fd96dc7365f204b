//! One blocking question to the engine at start, for the log alone: Entry starts whatever the answer is.

use crate::config;
use crate::engine::{Address, Dialect, reply, request};
use crate::tls::{Channel, Connector};
use crate::wire::http::{Expect, ReplyReader};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const TIME_LIMIT: Duration = Duration::from_secs(2);

/// What the engine speaks, or one sentence that says why that is not known.
pub(super) fn ask(address: &Address, connector: Option<&Connector>) -> Result<Dialect, String> {
    match address {
        Address::Unix(path) => UnixStream::connect(path)
            .and_then(|stream| {
                stream.set_read_timeout(Some(TIME_LIMIT))?;
                stream.set_write_timeout(Some(TIME_LIMIT))?;
                Ok(stream)
            })
            .map_err(|error| error.to_string())
            .and_then(ping),
        Address::Tcp { host, port } => connect(host, *port).map_err(|error| error.to_string()).and_then(ping),
        Address::Tls { host, port } => {
            let connector = connector.ok_or("TLS is not prepared")?;
            let stream = connect(host, *port).map_err(|error| error.to_string())?;
            let mut out = Vec::new();
            let session = connector.connect(host, &mut out)?;
            ping(Channel::sealed(stream, session, out))
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

fn ping(mut stream: impl Read + Write) -> Result<Dialect, String> {
    stream.write_all(&request::ping()).map_err(|error| error.to_string())?;
    let mut reader =
        ReplyReader::new("GET", Expect::Whole, config::HEAD_BYTES_MAX, config::REPLY_BODY_BYTES_MAX);
    let mut buffer = [0; 4096];
    loop {
        let count = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(|error| error.to_string())?,
        };
        let reply = if count == 0 {
            Some(reader.finish_at_eof().map_err(|error| error.to_string())?)
        } else {
            reader.feed(&buffer[..count]).map_err(|error| error.to_string())?.1
        };
        if let Some(reply) = reply {
            return reply::read_ping(&reply).map_err(|error| error.text);
        }
    }
}
