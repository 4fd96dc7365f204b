//! Where a peer is reached, and what address its name has. This is the one place where Entry connects to anybody, over
//! TLS where the address says so.
//!
//! Asking for a name's address blocks, so one thread beside all loops does it: it answers new names first, and asks
//! again for the others from time to time, since a name may mean another address tomorrow. Loops take what is known.

use super::socket::{Leg, Socket};
use crate::config;
use crate::engine::Address;
use crate::sys;
use crate::tls::Connector;
use mio::{Registry, Token};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Where an engine or a service is reached.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    address: Address,
    /// Only where the host is a name.
    name: Option<Arc<Name>>,
    /// Only where TLS is spoken.
    connector: Option<Connector>,
}

impl Endpoint {
    /// `connector` is for peers that speak TLS.
    pub(super) fn new(address: &Address, resolver: &Resolver, connector: Option<&Connector>) -> Self {
        let name = match address {
            Address::Tcp { host, port } | Address::Tls { host, port } if host.parse::<IpAddr>().is_err() => {
                Some(resolver.name(host, *port))
            }
            Address::Tcp { .. } | Address::Tls { .. } | Address::Unix(_) => None,
        };
        let connector = connector.filter(|_| matches!(address, Address::Tls { .. })).cloned();
        Endpoint { address: address.clone(), name, connector }
    }

    /// As it was configured.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Begins to connect.
    ///
    /// # Errors
    /// `WouldBlock`: a unix socket's queue is full, or the name's address is still being asked for; try again a little
    /// later. Others are final.
    pub(super) fn connect(&self, registry: &Registry, token: Token) -> io::Result<Leg> {
        let (socket, connecting) = self.open()?;
        let Address::Tls { host, .. } = &self.address else {
            return Leg::new(registry, socket, token, connecting);
        };
        let mut out = Vec::new();
        let connector = self.connector.as_ref().ok_or_else(|| io::Error::other("TLS is not prepared"))?;
        let tls = connector.connect(host, &mut out).map_err(io::Error::other)?;
        Ok(Leg::new(registry, socket, token, connecting)?.over_tls(tls, out))
    }

    /// Whether it is still connecting comes with the socket.
    fn open(&self) -> io::Result<(Socket, bool)> {
        let address = match (&self.address, &self.name) {
            (Address::Unix(path), _) => {
                return Ok((Socket::Unix(mio::net::UnixStream::connect(path)?), false));
            }
            (Address::Tcp { .. } | Address::Tls { .. }, Some(name)) => name.address()?,
            (Address::Tcp { host, port } | Address::Tls { host, port }, None) => {
                SocketAddr::new(host.parse().map_err(io::Error::other)?, *port)
            }
        };
        let stream = mio::net::TcpStream::connect(address)?;
        sys::bound_unread(stream.as_fd(), config::ENGINE_UNREAD_BYTES_MAX)?;
        sys::send_at_once(stream.as_fd())?;
        sys::notice_vanished_peer(stream.as_fd(), config::KEEPALIVE_IDLE_SECONDS)?;
        sys::give_up_unacknowledged(stream.as_fd(), config::UNACKNOWLEDGED_MILLISECONDS_MAX)?;
        Ok((Socket::Tcp(stream), true))
    }
}

/// A host's name and what is known of its address.
#[derive(Debug)]
struct Name {
    host: String,
    port: u16,
    known: Mutex<Known>,
}

#[derive(Debug)]
enum Known {
    /// Nobody has answered yet.
    Nothing,
    Address(SocketAddr),
    /// It has none, or nobody knows it.
    Trouble(String),
}

impl Name {
    fn address(&self) -> io::Result<SocketAddr> {
        match &*lock(&self.known) {
            Known::Nothing => Err(io::ErrorKind::WouldBlock.into()),
            Known::Address(address) => Ok(*address),
            Known::Trouble(why) => Err(io::Error::other(format!("{} is not resolved: {why}", self.host))),
        }
    }

    /// Asks; this may take as long as it likes.
    fn resolve(&self) {
        let found = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| error.to_string())
            .and_then(|all| that_answers(all).ok_or_else(|| "the name has no address".to_owned()));
        let mut known = lock(&self.known);
        match (found, &*known) {
            (Ok(address), _) => *known = Known::Address(address),
            // An address that worked is better than none.
            (Err(_), Known::Address(_)) => {}
            (Err(why), Known::Nothing | Known::Trouble(_)) => *known = Known::Trouble(why),
        }
    }

    fn is_resolved(&self) -> bool {
        matches!(&*lock(&self.known), Known::Address(_))
    }
}

/// Asks for the addresses of names, on a thread of its own that begins with the first name and ends with the last.
#[derive(Debug, Clone, Default)]
pub(super) struct Resolver(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    names: Mutex<Names>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct Names {
    runs: bool,
    known: Vec<Weak<Name>>,
    /// Nobody has asked for these yet.
    fresh: VecDeque<Weak<Name>>,
}

impl Resolver {
    /// The name, one for all who want it. Its address comes when it comes.
    fn name(&self, host: &str, port: u16) -> Arc<Name> {
        let mut names = lock(&self.0.names);
        names.known.retain(|name| name.strong_count() > 0);
        let mut known = names.known.iter().filter_map(Weak::upgrade);
        if let Some(name) = known.find(|name| name.host == host && name.port == port) {
            return name;
        }
        let name = Arc::new(Name { host: host.to_owned(), port, known: Mutex::new(Known::Nothing) });
        names.known.push(Arc::downgrade(&name));
        names.fresh.push_back(Arc::downgrade(&name));
        if !names.runs {
            let shared = Arc::downgrade(&self.0);
            match std::thread::Builder::new().name("resolver".to_owned()).spawn(move || keep_asking(&shared))
            {
                Ok(_) => names.runs = true,
                // The next name tries again.
                Err(error) => *lock(&name.known) = Known::Trouble(error.to_string()),
            }
        }
        self.0.asked.notify_one();
        name
    }
}

/// Until nobody is left who could want to know.
fn keep_asking(shared: &Weak<Shared>) {
    let every = Duration::from_secs(config::RESOLVE_SECONDS);
    let retry = Duration::from_secs(config::RESOLVE_RETRY_SECONDS);
    let (mut all_at, mut failed_at) = (Instant::now() + every, Instant::now() + retry);
    while let Some(shared) = shared.upgrade() {
        let fresh = lock(&shared.names).fresh.pop_front();
        if let Some(fresh) = fresh {
            if let Some(name) = fresh.upgrade() {
                name.resolve();
            }
            continue;
        }
        let now = Instant::now();
        if now >= failed_at {
            let all = now >= all_at;
            let mut names = lock(&shared.names);
            let again: Vec<Weak<Name>> = (names.known.iter())
                .filter(|name| name.upgrade().is_some_and(|name| all || !name.is_resolved()))
                .cloned()
                .collect();
            names.fresh.extend(again);
            failed_at = now + retry;
            if all {
                all_at = now + every;
            }
            continue;
        }
        let names = lock(&shared.names);
        if names.fresh.is_empty() {
            let patience = failed_at.saturating_duration_since(now);
            drop(shared.asked.wait_timeout(names, patience).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// What is held is whole whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of several addresses (`localhost` is ::1 and 127.0.0.1) the first that takes a connection; if none does, the first.
fn that_answers(addresses: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    const TIME_LIMIT: Duration = Duration::from_secs(2);
    let addresses: Vec<SocketAddr> = addresses.collect();
    let first = addresses.first().copied();
    if addresses.len() < 2 {
        return first;
    }
    addresses.into_iter().find(|address| TcpStream::connect_timeout(address, TIME_LIMIT).is_ok()).or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn of_several_addresses_one_that_answers_is_taken() {
        let there = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = there.local_addr().map(|address| (there, address)).unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(that_answers([gone, there.1].into_iter()), Some(there.1));
        assert_eq!(that_answers([gone, gone].into_iter()), Some(gone));
        assert_eq!(that_answers([].into_iter()), None);
    }

    /// Waits for the resolver as a loop does: it tries again.
    fn connected(endpoint: &Endpoint) -> io::Result<(Socket, bool)> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match endpoint.open() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                other => return other,
            }
        }
    }

    #[test]
    fn a_host_that_vanishes_is_given_up_whether_something_is_on_its_way_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address =
            Address::Tcp { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let (socket, _) = Endpoint::new(&address, &Resolver::default(), None).open().unwrap();
        let Socket::Tcp(stream) = socket else { panic!("it is reached over TCP") };
        let option = |name| sys::tcp_option(stream.as_fd(), name).unwrap();
        assert_eq!(option(libc::TCP_NODELAY), 1);
        assert_eq!(option(libc::TCP_KEEPIDLE), config::KEEPALIVE_IDLE_SECONDS);
        assert_eq!(option(libc::TCP_USER_TIMEOUT), config::UNACKNOWLEDGED_MILLISECONDS_MAX);
    }

    #[test]
    fn names_are_resolved_beside_the_loop() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let resolver = Resolver::default();
        let tcp = |host: &str| Address::Tcp { host: host.to_owned(), port };
        let (first, second) = (
            Endpoint::new(&tcp("localhost"), &resolver, None),
            Endpoint::new(&tcp("localhost"), &resolver, None),
        );
        assert!(Arc::ptr_eq(first.name.as_ref().unwrap(), second.name.as_ref().unwrap()), "asked for once");
        connected(&first).unwrap();
        let unknown = Endpoint::new(&tcp("no-such-host.invalid"), &resolver, None);
        let error = connected(&unknown).unwrap_err().to_string();
        assert!(error.contains("no-such-host.invalid is not resolved"), "{error}");
        assert!(Endpoint::new(&tcp("127.0.0.1"), &resolver, None).name.is_none(), "an address is none");
        assert_eq!(unknown.address().to_string(), format!("tcp://no-such-host.invalid:{port}"));
    }
}
