//! Authorities and certificates, made anew for each test, and rustls's own idea of both sides of TLS: its buffered
//! connections, which the program does not use.
#![allow(dead_code)] // each test target uses its part
#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests by clippy.toml's exception

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{WantsServerCert, WebPkiClientVerifier};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, ServerConfig, ServerConnection,
    StreamOwned, SupportedProtocolVersion,
};
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where servers of tests listen.
pub(crate) const HOST: &str = "127.0.0.1";

/// So many bytes in which nothing repeats soon.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).take(count).collect()
}

/// A server's side of a connection.
pub(crate) type Accepted = StreamOwned<ServerConnection, TcpStream>;
/// A client's.
pub(crate) type Connected = StreamOwned<ClientConnection, TcpStream>;

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Valid {
    Now,
    /// Until the last day of 2001.
    Expired,
    /// From the first day of 4000 on.
    NotYet,
}

/// An authority with a directory of its own, which is removed in the end. `ca.pem` is its certificate.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("entry-certificates-{}-{number}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(directory.join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, directory }
    }

    /// The path of a file in the authority's directory.
    pub(crate) fn file(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// Writes `NAME-cert.pem` and `NAME-key.pem` for a server of these names and addresses.
    pub(crate) fn server(&self, name: &str, hosts: &[&str], valid: Valid) {
        self.issue(name, hosts, valid, ExtendedKeyUsagePurpose::ServerAuth);
    }

    /// Writes `NAME-cert.pem` and `NAME-key.pem` for a client.
    pub(crate) fn client(&self, name: &str, valid: Valid) {
        self.issue(name, &[], valid, ExtendedKeyUsagePurpose::ClientAuth);
    }

    fn issue(&self, name: &str, hosts: &[&str], valid: Valid, purpose: ExtendedKeyUsagePurpose) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match valid {
            Valid::Now => {}
            Valid::Expired => params.not_after = date_time_ymd(2001, 12, 31),
            Valid::NotYet => params.not_before = date_time_ymd(4000, 1, 1),
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.file(&format!("{name}-cert.pem")), certificate.pem()).unwrap();
        fs::write(self.file(&format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// rustls's side of a server with the certificate of this name.
    pub(crate) fn accept(&self, name: &str, stream: TcpStream) -> Accepted {
        self.accept_in(name, stream, rustls::DEFAULT_VERSIONS)
    }

    /// The same, in these versions of TLS.
    pub(crate) fn accept_in(
        &self,
        name: &str,
        stream: TcpStream,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Accepted {
        let config =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        self.serve(config.with_no_client_auth(), name, stream)
    }

    /// The same, for clients with a certificate of this authority.
    pub(crate) fn accept_known(&self, name: &str, stream: TcpStream) -> Accepted {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider());
        let config =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        self.serve(config.with_client_cert_verifier(verifier.build().unwrap()), name, stream)
    }

    fn serve(
        &self,
        config: ConfigBuilder<ServerConfig, WantsServerCert>,
        name: &str,
        stream: TcpStream,
    ) -> Accepted {
        let chain = CertificateDer::pem_file_iter(self.file(&format!("{name}-cert.pem"))).unwrap();
        let chain = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}-key.pem"))).unwrap();
        let config = config.with_single_cert(chain, key).unwrap();
        StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream)
    }

    /// rustls's side of a client that trusts this authority.
    pub(crate) fn connect(&self, host: &str, stream: TcpStream) -> Connected {
        StreamOwned::new(self.connection(host, rustls::DEFAULT_VERSIONS), stream)
    }

    /// The same without a socket, in these versions of TLS.
    pub(crate) fn connection(
        &self,
        host: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConnection {
        let config =
            ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let config = config.with_root_certificates(self.roots()).with_no_client_auth();
        ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned()).unwrap()).unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
