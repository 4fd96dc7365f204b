//! Everybody whom one loop calls: for each engine and each service a link, made when it is first needed.
//!
//! Only links that have something to do, or connections to keep, are looked at in a turn.

use super::buffers::Pool;
use super::certificates::Connectors;
use super::endpoint::{Endpoint, Resolver};
use super::slab::Key;
use super::upstream::{Finished, Manners, Upstream};
use crate::config;
use crate::engine::{EngineId, Engines};
use crate::service::{Peer, Service, ServiceId};
use crate::session::{Call, CallError, Millis};
use mio::Registry;
use std::collections::VecDeque;

/// What one loop has of one peer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) endpoint: Endpoint,
    upstream: Upstream,
    /// Sessions that wait for their leg, in the order they came: a unix socket's queue has no room, or the address of
    /// a name is not known yet.
    connecting: VecDeque<Key>,
    /// When the first of them tries again.
    connect_at: Millis,
    /// It was found away, and somebody said so.
    pub(super) trouble: bool,
    /// It is on the list of those that are looked at.
    busy: bool,
}

impl Link {
    fn is_idle(&self) -> bool {
        self.connecting.is_empty() && self.upstream.is_idle()
    }
}

/// All links of a loop.
#[derive(Debug)]
pub(super) struct Peers {
    resolver: Resolver,
    connectors: Connectors,
    engines: Vec<Option<Link>>,
    services: Vec<Option<Link>>,
    busy: Vec<Peer>,
    /// Turns a peer's number and a connection's place into a token.
    token: fn(peer: u32, place: usize) -> mio::Token,
    /// Calls that could not even be queued.
    failed: Vec<Finished>,
}

impl Peers {
    pub(super) fn new(
        resolver: Resolver,
        connectors: Connectors,
        token: fn(u32, usize) -> mio::Token,
    ) -> Self {
        Peers {
            resolver,
            connectors,
            engines: Vec::new(),
            services: Vec::new(),
            busy: Vec::new(),
            token,
            failed: Vec::new(),
        }
    }

    /// Makes the link to a peer if there is none. An address that is in no table has no link.
    fn open(&mut self, peer: Peer, engines: &Engines, services: &[Service]) -> Option<&mut Link> {
        if self.get(peer).is_none() {
            let (address, manners, connector) = match peer {
                Peer::Engine(engine) => {
                    let who = if engines.only().is_some() { "the engine" } else { engines.name(engine) };
                    let connector = self.connectors.of_engine(engines.name(engine));
                    (engines.address(engine)?, Manners::of_engine(who), connector)
                }
                Peer::Service(service) => {
                    let service = services.get(service.index())?;
                    (&service.address, Manners::of_service(service), self.connectors.services.as_ref())
                }
            };
            let endpoint = Endpoint::new(address, &self.resolver, connector);
            let upstream = Upstream::new(endpoint.clone(), manners, number_of(peer), self.token);
            let link = Link {
                endpoint,
                upstream,
                connecting: VecDeque::new(),
                connect_at: 0,
                trouble: false,
                busy: false,
            };
            let (links, index) = self.links(peer);
            if links.len() <= index {
                links.resize_with(index + 1, || None);
            }
            links[index] = Some(link);
        }
        let link = self.get(peer)?;
        if std::mem::replace(&mut link.busy, true) {
            return self.get(peer);
        }
        self.busy.push(peer);
        self.get(peer)
    }

    fn links(&mut self, peer: Peer) -> (&mut Vec<Option<Link>>, usize) {
        match peer {
            Peer::Engine(engine) => (&mut self.engines, engine.index()),
            Peer::Service(service) => (&mut self.services, service.index()),
        }
    }

    fn get(&mut self, peer: Peer) -> Option<&mut Link> {
        let (links, index) = self.links(peer);
        links.get_mut(index)?.as_mut()
    }

    /// The link to an engine, over which a session's leg is to be connected.
    pub(super) fn engine(&mut self, engine: EngineId, engines: &Engines) -> Option<&mut Link> {
        self.open(Peer::Engine(engine), engines, &[])
    }

    /// Whether others wait already for a leg to this engine, whom nobody overtakes. If so, this session waits behind.
    pub(super) fn waits_behind(&mut self, key: Key, engine: EngineId) -> bool {
        let Some(link) = self.get(Peer::Engine(engine)).filter(|link| !link.connecting.is_empty()) else {
            return false;
        };
        link.connecting.push_back(key);
        true
    }

    /// The leg could not be connected for now; this session is the first to try again.
    pub(super) fn wait_first(&mut self, key: Key, engine: EngineId, now: Millis) {
        if let Some(link) = self.get(Peer::Engine(engine)) {
            link.connecting.push_front(key);
            link.connect_at = now + config::CONNECT_RETRY_MILLISECONDS;
        }
    }

    /// A session whose turn it is to try again.
    pub(super) fn next_to_connect(&mut self, now: Millis) -> Option<(Key, EngineId)> {
        for at in 0..self.busy.len() {
            let Peer::Engine(engine) = self.busy[at] else { continue };
            let due = self.get(Peer::Engine(engine)).filter(|link| now >= link.connect_at);
            if let Some(key) = due.and_then(|link| link.connecting.pop_front()) {
                return Some((key, engine));
            }
        }
        None
    }

    /// Queues a call; its end comes with [`Peers::finished`], also when it cannot even be queued.
    pub(super) fn submit(
        &mut self,
        (peer, call, request): (Peer, Call, Vec<u8>),
        caller: Key,
        (engines, services): (&Engines, &[Service]),
        now: Millis,
    ) {
        match self.open(peer, engines, services) {
            Some(link) => link.upstream.submit(caller, call, request, now),
            None => {
                let error = CallError("nobody is configured there".to_owned());
                self.failed.push((caller, call, Err(error)));
            }
        }
    }

    /// Somebody waits for this engine: for a leg, or for the end of a call.
    pub(super) fn is_waited_for(&self, engine: EngineId) -> bool {
        let link = self.engines.get(engine.index()).and_then(Option::as_ref);
        link.is_some_and(|link| !link.connecting.is_empty() || link.upstream.has_calls())
    }

    /// Another engine may be known as this one from now on: nothing of it is kept, its connections least of all.
    pub(super) fn forget(&mut self, engine: EngineId, pool: &mut Pool) {
        if let Some(link) = self.engines.get_mut(engine.index()).and_then(Option::take) {
            link.upstream.close(pool);
        }
        self.busy.retain(|peer| *peer != Peer::Engine(engine));
    }

    /// Gives waiting calls to connections.
    pub(super) fn dispatch(&mut self, registry: &Registry, pool: &mut Pool, now: Millis) {
        for at in 0..self.busy.len() {
            if let Some(link) = self.get(self.busy[at]) {
                link.upstream.dispatch(registry, pool, now);
            }
        }
    }

    /// The calls that are over.
    pub(super) fn finished(&mut self) -> Vec<Finished> {
        let mut finished = std::mem::take(&mut self.failed);
        for at in 0..self.busy.len() {
            if let Some(link) = self.get(self.busy[at]) {
                finished.append(&mut link.upstream.finished);
            }
        }
        finished
    }

    /// Something happened at a connection for calls: the peer's number and the connection's place are its token's.
    pub(super) fn event(
        &mut self,
        (peer, place): (u32, usize),
        event: &mio::event::Event,
        pool: &mut Pool,
        scratch: &mut [u8],
        now: Millis,
    ) {
        let (links, index) = match peer & 1 {
            0 => (&mut self.engines, peer >> 1),
            _ => (&mut self.services, peer >> 1),
        };
        if let Some(Some(link)) = links.get_mut(index as usize) {
            link.upstream.event(place, event, pool, scratch, now);
        }
    }

    /// When [`Peers::timer`], or [`Peers::next_to_connect`], wants to be called.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let busy = self.busy.iter().filter_map(|peer| match peer {
            Peer::Engine(engine) => self.engines.get(engine.index())?.as_ref(),
            Peer::Service(service) => self.services.get(service.index())?.as_ref(),
        });
        busy.filter_map(|link| {
            let retry = (!link.connecting.is_empty()).then_some(link.connect_at);
            link.upstream.deadline().into_iter().chain(retry).min()
        })
        .min()
    }

    /// Ends what took too long and what is idle for too long.
    pub(super) fn timer(&mut self, pool: &mut Pool, now: Millis) {
        let mut at = 0;
        while at < self.busy.len() {
            let peer = self.busy[at];
            let Some(link) = self.get(peer) else { return };
            link.upstream.timer(pool, now);
            if link.is_idle() {
                link.busy = false;
                self.busy.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }
}

/// Engines have even numbers, services odd ones.
fn number_of(peer: Peer) -> u32 {
    let (index, odd) = match peer {
        Peer::Engine(engine) => (engine.index(), 0),
        Peer::Service(ServiceId(index)) => (usize::from(index), 1),
    };
    // Both are numbered in 16 bits.
    u32::try_from(index << 1 | odd).unwrap_or(u32::MAX)
}
