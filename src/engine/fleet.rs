//! The engines of a gateway: which there are, how each is reached, and what is known of how it speaks.
//!
//! Some are named in the configuration. Others are met on the way: a service says on which node a container runs, and a
//! template turns the node into an address. What a service says is checked here; their number is bounded, and when there
//! is no room for one more, those that nobody needs are forgotten.
//!
//! May not know: sockets, sessions, who is asked for a node.

use super::address::{is_host, is_ipv6};
use super::{Address, AddressError, Dialect};
use std::fmt;

/// The most engines that are known at a time, configured ones among them.
pub const ENGINES_MAX: usize = 1024;

/// What a template's node is written as.
const NODE: &str = "{node}";

/// One engine of [`Engines`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineId(u16);

impl EngineId {
    /// Its place in the table, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// An engine of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedEngine {
    /// What people call it, and what services may name it by.
    pub name: String,
    /// Where it listens.
    pub address: Address,
}

/// Addresses of the engines of nodes: an engine's address in which the host is `{node}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTemplate(String);

impl NodeTemplate {
    /// Whether the text means to be one.
    pub fn is_one(text: &str) -> bool {
        text.contains(NODE)
    }

    /// Reads `tcp://{node}:2375`.
    ///
    /// # Errors
    /// It gives no address once a node stands in it, or only a path.
    pub fn parse(text: &str) -> Result<NodeTemplate, AddressError> {
        let template = NodeTemplate(text.to_owned());
        match Address::parse(&text.replace(NODE, "node"))? {
            Address::Unix(_) => Err(AddressError::Host),
            Address::Tcp { .. } | Address::Tls { .. } => Ok(template),
        }
    }

    /// The same over TLS.
    pub fn over_tls(self) -> NodeTemplate {
        match self.0.split_once("://") {
            Some((scheme, rest)) if !scheme.eq_ignore_ascii_case("https") => {
                NodeTemplate(format!("https://{rest}"))
            }
            Some(_) | None => self,
        }
    }

    /// The address of a node's engine; None where the node is neither a host's name nor an IP address.
    pub fn fill(&self, node: &str) -> Option<Address> {
        let node = match node.contains(':') {
            true if is_ipv6(node) => format!("[{node}]"),
            false if is_host(node) => node.to_owned(),
            true | false => return None,
        };
        Address::parse(&self.0.replace(NODE, &node)).ok()
    }
}

impl fmt::Display for NodeTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The engines that one loop knows.
#[derive(Debug, Clone)]
pub struct Engines {
    /// First the configured ones, which stay; behind them those of nodes, or nothing where one was forgotten.
    known: Vec<Option<Known>>,
    configured: usize,
    template: Option<NodeTemplate>,
    /// The last place is taken, or somebody found none.
    wants_room: bool,
}

#[derive(Debug, Clone)]
struct Known {
    name: String,
    address: Address,
    dialect: Option<Dialect>,
}

impl Engines {
    /// The configured ones, at most [`ENGINES_MAX`] of them, and the template for those of nodes.
    pub fn new(configured: &[NamedEngine], template: Option<NodeTemplate>) -> Engines {
        let known = |engine: &NamedEngine| {
            Some(Known { name: engine.name.clone(), address: engine.address.clone(), dialect: None })
        };
        let known: Vec<Option<Known>> = configured.iter().take(ENGINES_MAX).map(known).collect();
        Engines { configured: known.len(), known, template, wants_room: false }
    }

    /// Those of the configuration.
    pub fn configured(&self) -> impl Iterator<Item = EngineId> + use<> {
        (0..self.configured).map(id_of)
    }

    /// The only engine there can be; None where there are several, or a template for more.
    pub fn only(&self) -> Option<EngineId> {
        (self.configured == 1 && self.template.is_none()).then(|| id_of(0))
    }

    /// The configured engine of this name.
    pub fn named(&self, name: &str) -> Option<EngineId> {
        self.configured_where(|known| known.name == name)
    }

    fn configured_where(&self, is_meant: impl Fn(&Known) -> bool) -> Option<EngineId> {
        let configured = self.known[..self.configured].iter();
        configured.flatten().position(is_meant).map(id_of)
    }

    /// The engine of a node. The only engine speaks for all nodes, as a swarm does. Of several, it is the one that the
    /// template makes of the node, or that has the node as its name or as its address's host.
    ///
    /// # Errors
    /// One sentence for the operator: no engine is the node's, or too many are known at once.
    pub fn of_node(&mut self, node: &str) -> Result<EngineId, String> {
        if let Some(only) = self.only() {
            return Ok(only);
        }
        let shown = || node.chars().take(64).collect::<String>().escape_debug().to_string();
        let of_this_node = |known: &Known| known.name == node || known.address.host() == Some(node);
        if let Some(configured) = self.configured_where(of_this_node) {
            return Ok(configured);
        }
        let Some(template) = &self.template else {
            return Err(format!(
                "no engine is configured for node {}: give it one (--engine {0}=tcp://…), or all of them \
                 (--engine tcp://{{node}}:2375)",
                shown()
            ));
        };
        let Some(address) = template.fill(node) else {
            return Err(format!("{} is no node: neither an IP address nor a host's name", shown()));
        };
        let met = |known: &Option<Known>| known.as_ref().is_some_and(|known| known.address == address);
        if let Some(index) = self.known.iter().position(met) {
            return Ok(id_of(index));
        }
        let vacant = self.known.iter().position(Option::is_none).unwrap_or(self.known.len());
        self.wants_room |= vacant + 1 >= ENGINES_MAX;
        if vacant >= ENGINES_MAX {
            return Err(format!("{ENGINES_MAX} engines are in use at once, which is the most"));
        }
        if vacant == self.known.len() {
            self.known.push(None);
        }
        self.known[vacant] = Some(Known { name: node.to_owned(), address, dialect: None });
        Ok(id_of(vacant))
    }

    /// Whether somebody should look now for engines that nobody needs; asked once, it is answered once.
    pub fn wants_room(&mut self) -> bool {
        std::mem::take(&mut self.wants_room)
    }

    /// Forgets the engines of nodes that nobody needs, and gives what they were known as: other engines may be known as
    /// that from now on, so whoever has anything under one of these has to forget it too.
    pub fn make_room(&mut self, is_needed: impl Fn(EngineId) -> bool) -> Vec<EngineId> {
        let met = self.configured..self.known.len();
        let forgotten: Vec<EngineId> =
            met.map(id_of).filter(|id| self.known(*id).is_some() && !is_needed(*id)).collect();
        for id in &forgotten {
            self.known[id.index()] = None;
        }
        forgotten
    }

    fn known(&self, engine: EngineId) -> Option<&Known> {
        self.known.get(engine.index())?.as_ref()
    }

    fn known_mut(&mut self, engine: EngineId) -> Option<&mut Known> {
        self.known.get_mut(engine.index())?.as_mut()
    }

    /// What people call it.
    pub fn name(&self, engine: EngineId) -> &str {
        self.known(engine).map_or("", |known| &known.name)
    }

    /// Where it listens; None for an engine of another table.
    pub fn address(&self, engine: EngineId) -> Option<&Address> {
        self.known(engine).map(|known| &known.address)
    }

    /// What it speaks, once somebody has learned that.
    pub fn dialect(&self, engine: EngineId) -> Option<Dialect> {
        self.known(engine)?.dialect
    }

    /// It speaks this.
    pub fn learn(&mut self, engine: EngineId, dialect: Dialect) {
        if let Some(known) = self.known_mut(engine) {
            known.dialect = Some(dialect);
        }
    }

    /// It went away, and may come back as another.
    pub fn forget(&mut self, engine: EngineId) {
        if let Some(known) = self.known_mut(engine) {
            known.dialect = None;
        }
    }
}

fn id_of(index: usize) -> EngineId {
    // The table is bounded.
    EngineId(u16::try_from(index).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(name: &str, url: &str) -> NamedEngine {
        NamedEngine { name: name.to_owned(), address: Address::parse(url).unwrap() }
    }

    #[test]
    fn the_only_engine_speaks_for_all_nodes() {
        let mut engines = Engines::new(&[engine("swarm", "tcp://swarm.lain:2375")], None);
        let only = engines.only().unwrap();
        assert_eq!(engines.of_node("10.0.0.1"), Ok(only));
        assert_eq!(engines.of_node("no node at all"), Ok(only));
        assert_eq!(engines.address(only).unwrap().to_string(), "tcp://swarm.lain:2375");
    }

    #[test]
    fn of_several_it_is_the_nodes_own() {
        let mut engines = Engines::new(&[engine("a", "tcp://10.0.0.1:2375"), engine("b", "unix:///b")], None);
        assert_eq!(engines.only(), None);
        let ids: Vec<EngineId> = engines.configured().collect();
        assert_eq!(engines.of_node("10.0.0.1"), Ok(ids[0]));
        assert_eq!(engines.of_node("b"), Ok(ids[1]));
        assert!(engines.of_node("10.0.0.2").unwrap_err().contains("--engine 10.0.0.2=tcp://…"));
        assert_eq!((engines.named("b"), engines.named("10.0.0.1")), (Some(ids[1]), None));
    }

    #[test]
    fn a_template_makes_engines_of_nodes() {
        let template = NodeTemplate::parse("tcp://{node}:2375").unwrap();
        let mut engines = Engines::new(&[engine("m", "tcp://10.0.0.1:9")], Some(template));
        assert_eq!(engines.only(), None, "there may be more");
        let configured = engines.of_node("10.0.0.1").unwrap();
        assert_eq!(engines.address(configured).unwrap().to_string(), "tcp://10.0.0.1:9");
        for (node, url) in [
            ("10.0.0.2", "tcp://10.0.0.2:2375"),
            ("node-3.lan", "tcp://node-3.lan:2375"),
            ("fe80::1", "tcp://[fe80::1]:2375"),
        ] {
            let id = engines.of_node(node).unwrap();
            assert_eq!(engines.address(id).unwrap().to_string(), url);
            assert_eq!(engines.of_node(node), Ok(id), "met once");
            assert_eq!(engines.named(node), None, "nobody configured it");
        }
        for node in ["", "a b", "host:1", "user@host", "a/b", "host\r\n", "[::1]", "{node}", "::1]:1/x"] {
            let error = engines.of_node(node).unwrap_err();
            assert!(error.contains("is no node"), "{node:?}: {error}");
        }
    }

    #[test]
    fn their_number_is_bounded_and_those_that_nobody_needs_make_room() {
        let template = NodeTemplate::parse("tcp://{node}:2375").unwrap();
        let mut engines = Engines::new(&[engine("m", "tcp://10.0.0.1:9")], Some(template));
        let manager = engines.configured().next().unwrap();
        let dialect = Dialect { version: crate::engine::ApiVersion { major: 1, minor: 41 }, podman: false };
        let ids: Vec<EngineId> = (1..ENGINES_MAX)
            .map(|number| {
                assert!(!engines.wants_room(), "{number}");
                engines.of_node(&format!("node{number}")).unwrap()
            })
            .collect();
        assert!(engines.wants_room() && !engines.wants_room());
        ids.iter().for_each(|id| engines.learn(*id, dialect));
        // All of them are needed: nobody is taken his engine from.
        assert_eq!(engines.make_room(|_| true), []);
        assert!(engines.of_node("one-more").unwrap_err().contains("1024 engines are in use"));
        assert!(engines.wants_room(), "somebody found none");
        assert_eq!(engines.of_node("node7"), Ok(ids[6]));

        let needed = [ids[6], ids[900]];
        let forgotten = engines.make_room(|id| needed.contains(&id));
        assert_eq!(forgotten.len(), ENGINES_MAX - 1 - needed.len());
        assert!(!forgotten.contains(&manager) && engines.name(manager) == "m");
        for id in &forgotten {
            assert_eq!((engines.address(*id), engines.dialect(*id), engines.name(*id)), (None, None, ""));
        }
        assert_eq!((engines.of_node("node7"), engines.of_node("node901")), (Ok(ids[6]), Ok(ids[900])));
        assert_eq!(engines.dialect(ids[6]), Some(dialect));
        let anew = engines.of_node("one-more").unwrap();
        assert!(forgotten.contains(&anew));
        assert_eq!(engines.address(anew).unwrap().to_string(), "tcp://one-more:2375");
        assert_eq!(engines.dialect(anew), None, "nothing is known of it from the one before");
        assert!(!engines.wants_room());
    }

    #[test]
    fn templates_are_addresses() {
        for (text, error) in [
            ("{node}", AddressError::NoScheme),
            ("unix:///{node}", AddressError::Host),
            ("tcp://{node}:x", AddressError::Port),
            ("tcp://{node}/x", AddressError::Rest),
        ] {
            assert_eq!(NodeTemplate::parse(text), Err(error), "{text}");
        }
        assert!(NodeTemplate::is_one("tcp://{node}:1") && !NodeTemplate::is_one("tcp://node:1"));
        assert_eq!(
            NodeTemplate::parse("tcp://docker.{node}.lan:1").unwrap().fill("n1").unwrap().to_string(),
            "tcp://docker.n1.lan:1"
        );
    }

    #[test]
    fn what_an_engine_speaks_is_its_own() {
        use crate::engine::ApiVersion;
        let mut engines = Engines::new(&[engine("a", "unix:///a"), engine("b", "unix:///b")], None);
        let ids: Vec<EngineId> = engines.configured().collect();
        let dialect = Dialect { version: ApiVersion { major: 1, minor: 41 }, podman: false };
        engines.learn(ids[1], dialect);
        assert_eq!((engines.dialect(ids[0]), engines.dialect(ids[1])), (None, Some(dialect)));
        engines.forget(ids[1]);
        assert_eq!(engines.dialect(ids[1]), None);
    }
}
