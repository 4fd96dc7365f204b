//! The files of certificates and keys that a gateway goes by: read when it starts, its own again at SIGHUP.

use crate::config::{Peers, TlsFiles};
use crate::engine::Address;
use crate::tls::{Acceptor, Connector, Identity, Session, Trust};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// How the peers that speak TLS are called.
#[derive(Debug, Clone, Default)]
pub struct Connectors {
    /// Of configured engines that have certificates of their own, by their names.
    own: HashMap<String, Connector>,
    /// Of all other engines.
    engines: Option<Connector>,
    /// Of services.
    pub services: Option<Connector>,
}

impl Connectors {
    /// Reads what these peers need, and nothing where nobody speaks TLS.
    ///
    /// # Errors
    /// A file cannot be used; the text says which, and why.
    pub fn read(files: &TlsFiles, peers: &Peers) -> Result<Connectors, String> {
        let is_tls = |address: &Address| matches!(address, Address::Tls { .. });
        let mut own = HashMap::new();
        let template = peers.node_template.as_ref().and_then(|template| template.fill("node"));
        let mut others = template.as_ref().is_some_and(is_tls);
        for engine in peers.engines.iter().filter(|engine| is_tls(&engine.address)) {
            match files.engines.as_ref().map(|directory| directory.join(&engine.name)) {
                Some(directory) if directory.is_dir() => {
                    own.insert(engine.name.clone(), of_directory(&directory)?);
                }
                Some(_) | None => others = true,
            }
        }
        let services = peers.services.iter().any(|service| is_tls(&service.address));
        let trust = || match &files.authorities {
            Some(file) => Trust::in_file(file),
            None => Trust::of_this_machine(),
        };
        Ok(Connectors {
            own,
            engines: match (&files.engines, others) {
                (_, false) => None,
                (Some(directory), true) => Some(of_directory(directory)?),
                (None, true) => Some(Connector::new(trust()?, None)?),
            },
            services: if services { Some(Connector::new(trust()?, None)?) } else { None },
        })
    }

    /// Of the engine of this name.
    pub fn of_engine(&self, name: &str) -> Option<&Connector> {
        self.own.get(name).or(self.engines.as_ref())
    }
}

/// The three files of `DOCKER_CERT_PATH`. An engine that asks nobody for a certificate needs only the first.
fn of_directory(directory: &Path) -> Result<Connector, String> {
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let identity = (certificate.exists() || key.exists()).then(|| Identity::in_files(&certificate, &key));
    Connector::new(Trust::in_file(&directory.join("ca.pem"))?, identity.transpose()?)
}

/// The gateway's own certificate, one for all loops. New connections go by the newest; those that are, by their own.
#[derive(Debug, Clone)]
pub struct Own {
    certificate: PathBuf,
    key: PathBuf,
    acceptor: Arc<RwLock<Acceptor>>,
}

impl Own {
    /// Reads both files, where there is to be TLS.
    ///
    /// # Errors
    /// They cannot be used, or do not belong together.
    pub fn read(files: &TlsFiles) -> Result<Option<Own>, String> {
        let Some((certificate, key)) = &files.own else { return Ok(None) };
        let acceptor = Acceptor::new(Identity::in_files(certificate, key)?)?;
        let acceptor = Arc::new(RwLock::new(acceptor));
        Ok(Some(Own { certificate: certificate.clone(), key: key.clone(), acceptor }))
    }

    /// Reads both files again; where they cannot be used, what was stays.
    pub(super) fn read_again(&self) -> Result<(), String> {
        let acceptor = Acceptor::new(Identity::in_files(&self.certificate, &self.key)?)?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    /// How a gateway with this very certificate is called, whatever name or address it is reached by.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn connector(&self) -> Result<Connector, String> {
        Connector::to_server_with(&self.certificate)
    }

    /// TLS for a client that has just come.
    pub(super) fn accept(&self) -> io::Result<Session> {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner);
        acceptor.accept().map_err(io::Error::other)
    }
}
