//! From files of certificates and keys to what begins and answers connections; every mistake in them is told here, and
//! not at the first connection.

use super::fault::Fault;
use super::session::Session;
use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The one protocol inside TLS here (RFC 7301, 6).
const HTTP: &[u8] = b"http/1.1";

/// Whose word is taken for who a server is.
pub struct Trust {
    roots: RootCertStore,
    /// What to do about a server that none of them has signed.
    advice: Arc<str>,
}

impl Trust {
    /// The authorities that this machine trusts.
    ///
    /// # Errors
    /// There are none, as in an image that holds nothing but this program; the text says what to do.
    pub fn of_this_machine() -> Result<Trust, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // A machine's collection may hold old ones that nobody can use any more.
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(format!(
                "this machine has no list of authorities to trust{why}; name one with --ca FILE or SSL_CERT_FILE, or \
                 install the package ca-certificates"
            ));
        }
        Ok(Trust {
            roots,
            advice: "if it is the right server, name its authority's certificate with --ca FILE".into(),
        })
    }

    /// The authorities of this PEM file, and nobody else.
    ///
    /// # Errors
    /// The file cannot be read, or there is no certificate of an authority in it.
    pub fn in_file(file: &Path) -> Result<Trust, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| format!("a certificate in {} cannot be used: {error}", file.display()))?;
        }
        let advice = format!("does {} hold the certificate of its authority?", file.display());
        Ok(Trust { roots, advice: advice.into() })
    }
}

/// A certificate with its key. Its `Debug` shows neither.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    files: String,
}

impl Identity {
    /// Reads both from PEM files. The certificate comes first in its file, behind it what leads to its authority.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub fn in_files(certificate: &Path, key: &Path) -> Result<Identity, String> {
        let files = format!("the key {} and the certificate {}", key.display(), certificate.display());
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
            if matches!(error, pem::Error::NoItemsFound) {
                format!("{} holds no private key in PEM (a sealed one cannot be used)", key.display())
            } else {
                unreadable(key, &error)
            }
        })?;
        Ok(Identity { chain, key, files })
    }

    fn refused(files: &str, error: &Error) -> String {
        if matches!(error, Error::InconsistentKeys(_)) {
            format!("{files} do not belong together")
        } else {
            format!("{files} cannot be used: {error}")
        }
    }
}

/// Begins connections: knows whom to trust, and who this side is.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    advice: Arc<str>,
}

impl Connector {
    /// For servers that `trust` knows; `identity` is shown to those who ask.
    ///
    /// # Errors
    /// The key does not belong to the certificate, or is of a kind that cannot be used.
    pub fn new(trust: Trust, identity: Option<Identity>) -> Result<Connector, String> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(trust.roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { chain, key, files }) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| Identity::refused(&files, &error))?,
        };
        config.alpn_protocols = vec![HTTP.to_vec()];
        Ok(Connector { config: Arc::new(config), advice: trust.advice })
    }

    /// For the one server that has the key of the certificate in this file, whatever name it is reached by and whoever has
    /// signed it: this machine asks after itself.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn to_server_with(certificate: &Path) -> Result<Connector, String> {
        let provider = provider();
        let verifier = OnlyThis {
            chain: certificates(certificate)?,
            algorithms: provider.signature_verification_algorithms,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Connector { config: Arc::new(config), advice: "is it this gateway?".into() })
    }

    /// Begins TLS with the server of this name or IP address; `out` gets the first words to it.
    ///
    /// # Errors
    /// No certificate can be for such a name.
    pub fn connect(&self, host: &str, out: &mut Vec<u8>) -> Result<Session, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            format!("no certificate can be for the name {host}; use one of the names in the server's")
        })?;
        let connection = UnbufferedClientConnection::new(self.config.clone(), name)
            .map_err(|error| Fault::from(error).to_string())?;
        let mut session = Session::client(connection, self.advice.clone());
        session.begin(out);
        Ok(session)
    }
}

/// Knows one certificate: the first of its chain.
#[derive(Debug)]
struct OnlyThis {
    chain: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OnlyThis {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.first() {
            Some(known) if known == certificate => Ok(ServerCertVerified::assertion()),
            Some(_) | None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Answers connections.
#[derive(Clone)]
pub struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    /// As the server of this certificate; clients show none. Sessions may be resumed by tickets, which cost nothing
    /// here: their key changes by itself and never leaves the process.
    ///
    /// # Errors
    /// The key does not belong to the certificate, or is of a kind that cannot be used.
    pub fn new(Identity { chain, key, files }: Identity) -> Result<Acceptor, String> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| Identity::refused(&files, &error))?;
        config.alpn_protocols = vec![HTTP.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
        config.send_tls13_tickets = 1;
        Ok(Acceptor(Arc::new(config)))
    }

    /// Waits for a client's first words.
    ///
    /// # Errors
    /// rustls refuses its own configuration.
    pub fn accept(&self) -> Result<Session, String> {
        let connection = UnbufferedServerConnection::new(self.0.clone());
        connection.map(Session::server).map_err(|error| Fault::from(error).to_string())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(format!("{} holds no certificate in PEM", file.display())),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn unreadable(file: &Path, error: &pem::Error) -> String {
    if let pem::Error::Io(error) = error {
        format!("{} cannot be read: {error}", file.display())
    } else {
        format!("{} is not PEM as it should be: {error}", file.display())
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}
