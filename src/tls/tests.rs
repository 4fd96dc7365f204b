//! Both sides against each other, without a socket: however the bytes are cut, and whatever is wrong with them.

use super::session::BARREN_BYTES_MAX;
use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ring::aead;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, Connection, ConnectionTrafficSecrets, RootCertStore, ServerConfig,
    ServerConnection,
};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory with an authority's certificate and a server's, removed in the end.
struct Files(PathBuf);

impl Files {
    fn new() -> Files {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("tls-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let files = Files(std::env::temp_dir().join(name));
        fs::create_dir(&files.0).unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["gateway.example".to_owned(), "127.0.0.1".to_owned()];
        let server = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        files.write("ca.pem", &authority.pem());
        files.write("cert.pem", &server.pem());
        files.write("key.pem", &key.serialize_pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn trust(&self) -> Trust {
        Trust::in_file(&self.path("ca.pem")).unwrap()
    }

    fn connector(&self) -> Connector {
        Connector::new(self.trust(), None).unwrap()
    }

    fn acceptor(&self) -> Acceptor {
        let identity = Identity::in_files(&self.path("cert.pem"), &self.path("key.pem")).unwrap();
        Acceptor::new(identity).unwrap()
    }

    fn pair(&self) -> (End, End) {
        let mut client = End::new(self.acceptor().accept().unwrap());
        let mut out = Vec::new();
        client.session = self.connector().connect("gateway.example", &mut out).unwrap();
        client.out = out;
        (client, End::new(self.acceptor().accept().unwrap()))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One end of a connection: what it has to send, and what it has heard.
struct End {
    session: Session,
    out: Vec<u8>,
    heard: Vec<u8>,
    buffer: Vec<u8>,
}

impl End {
    fn new(session: Session) -> End {
        End { session, out: Vec::new(), heard: Vec::new(), buffer: vec![0; ROOM_BYTES_MIN] }
    }

    /// Takes bytes off the wire, so many at a time.
    fn take(&mut self, mut bytes: &[u8], at_once: usize) {
        while !bytes.is_empty() {
            let room = self.session.room(&mut self.buffer);
            let count = at_once.min(bytes.len()).min(room.len());
            room[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            let opened = self.session.received(&mut self.buffer, count, &mut self.out);
            self.heard.extend_from_slice(&self.buffer[..opened]);
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.session.seal(bytes, &mut self.out);
    }

    fn fault(&self) -> String {
        self.session.fault().unwrap().to_string()
    }
}

/// Carries bytes both ways until none are left; how many went.
fn exchange(a: &mut End, b: &mut End, at_once: usize) -> usize {
    let mut carried = 0;
    while !a.out.is_empty() || !b.out.is_empty() {
        let (from_a, from_b) = (std::mem::take(&mut a.out), std::mem::take(&mut b.out));
        carried += from_a.len() + from_b.len();
        b.take(&from_a, at_once);
        a.take(&from_b, at_once);
    }
    carried
}

fn pattern(count: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).take(count).collect()
}

#[test]
fn bytes_are_exact_however_they_are_cut() {
    let files = Files::new();
    for at_once in [1, 2, 3, 7, 100, 16_384, 16_406, usize::MAX] {
        let (mut client, mut server) = files.pair();
        // It is said before the server is known, and heard by nobody until then.
        client.say(b"first");
        assert_eq!(client.session.early_bytes(), 5);
        exchange(&mut client, &mut server, at_once);
        assert_eq!((&server.heard[..], client.session.early_bytes()), (&b"first"[..], 0));
        for length in [0, 1, 16_383, 16_384, 16_385, 100_000] {
            client.say(&pattern(length));
            server.say(&pattern(length));
            server.heard.clear();
            exchange(&mut client, &mut server, at_once);
            assert!(client.heard == pattern(length) && server.heard == pattern(length), "{at_once} {length}");
            client.heard.clear();
        }
        assert!(!client.session.is_over() && !server.session.is_over());
    }
}

#[test]
fn nothing_is_held_while_nothing_is_under_way() {
    let files = Files::new();
    let (mut client, mut server) = files.pair();
    client.say(&pattern(50_000));
    exchange(&mut client, &mut server, 1000);
    for end in [&client, &server] {
        assert_eq!(end.session.held_bytes(), 0);
    }
}

#[test]
fn an_end_of_one_side_leaves_the_other() {
    let files = Files::new();
    let (mut client, mut server) = files.pair();
    client.say(b"all that I say");
    client.session.finish(&mut client.out);
    client.say(b", and nothing behind the end");
    exchange(&mut client, &mut server, 10);
    assert!(server.session.is_over() && server.session.fault().is_none());
    assert_eq!(server.heard, b"all that I say");
    client.say(b"nor here");
    assert!(client.out.is_empty() && client.session.early_bytes() == 0);
    server.say(b"and an answer");
    exchange(&mut client, &mut server, 10);
    assert_eq!(client.heard, b"and an answer");
    server.session.finish(&mut server.out);
    exchange(&mut client, &mut server, 10);
    assert!(client.session.is_over() && client.session.fault().is_none());
}

#[test]
fn a_record_that_was_tampered_with_ends_it() {
    let files = Files::new();
    let (mut client, mut server) = files.pair();
    exchange(&mut client, &mut server, usize::MAX);
    client.say(b"good");
    let whole = client.out.len();
    client.say(b"bad");
    client.out[whole + 8] ^= 1;
    client.say(b"too late");
    let sent = std::mem::take(&mut client.out);
    server.take(&sent, usize::MAX);
    assert_eq!(server.heard, b"good", "what came before it counts, what comes behind it does not");
    assert!(server.session.is_over());
    server.say(b"never");
    exchange(&mut client, &mut server, usize::MAX);
    assert!(client.heard.is_empty());
    assert!(client.fault().contains("refused TLS (bad_record_mac)"), "{}", client.fault());
}

#[test]
fn an_end_within_the_handshake_is_a_fault_and_behind_it_is_none() {
    let files = Files::new();
    let (mut client, mut server) = files.pair();
    client.session.cut_off();
    assert!(client.fault().contains("within the TLS handshake"));
    let (mut client, _) = files.pair();
    exchange(&mut client, &mut server, usize::MAX);
    client.session.cut_off();
    assert!(client.session.is_over() && client.session.fault().is_none());
}

#[test]
fn other_protocols_are_named() {
    let files = Files::new();
    let (mut client, mut server) = files.pair();
    client.take(b"HTTP/1.1 400 Bad Request\r\n\r\n", usize::MAX);
    assert_eq!(client.fault(), "it speaks plain HTTP there, not TLS");
    server.take(b"GET / HTTP/1.1\r\n\r\n", 1);
    assert_eq!(server.fault(), "it speaks plain HTTP there, not TLS");
    let answer = String::from_utf8(server.out).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 ") && body.as_bytes() == TOLD_TO_PLAIN_HTTP, "{answer}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
    for other in [&b"SSH-2.0-OpenSSH_9.6\r\n"[..], b"H", &[0; 100], &[0x16, 3, 1, 0xff, 0xff, 1]] {
        let (mut client, mut server) = files.pair();
        client.take(other, 1);
        client.take(&[0; 10], 1);
        assert!(client.fault().contains("does not speak TLS"), "{other:?}: {}", client.fault());
        server.take(other, 1);
        server.take(&[0; 10], 1);
        assert!(server.session.is_over());
    }
}

#[test]
fn a_proxy_header_comes_as_it_is_and_tls_begins_behind_it() {
    let files = Files::new();
    let v2 = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &[7; 12][..]].concat();
    for header in [&b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 80\r\n"[..], &v2] {
        for at_once in [1, 2, header.len() - 1, header.len(), header.len() + 1, usize::MAX] {
            let (mut client, server) = files.pair();
            let mut server = End::new(server.session.behind_proxy_header());
            client.out = [header, &client.out].concat();
            client.say(b"first");
            exchange(&mut client, &mut server, at_once);
            assert!(server.heard == [header, b"first"].concat(), "{at_once}");
            server.say(b"answer");
            exchange(&mut client, &mut server, at_once);
            assert_eq!(client.heard, b"answer");
            assert_eq!(server.session.held_bytes(), 0);
        }
    }
    // Whoever reads this closes the connection: TLS has no word for it.
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\0\x05hello", b"PROXY TCP5 1\r\n"] {
        let (_, server) = files.pair();
        let mut server = End::new(server.session.behind_proxy_header());
        server.take(other, usize::MAX);
        assert!(server.heard == other && server.out.is_empty(), "{}", other.escape_ascii());
        assert!(!server.session.is_over() && server.session.held_bytes() == 0);
    }
}

/// Makes records that rustls never sends, with what it has agreed upon with the other end.
struct Sealer {
    key: aead::LessSafeKey,
    initial: [u8; 12],
    number: u64,
}

const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

impl Sealer {
    fn client(files: &Files, server: &mut End) -> Sealer {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(files.path("ca.pem")).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(default_provider().into());
        let config = config.with_protocol_versions(&[&TLS13]).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.enable_secret_extraction = true;
        let name = ServerName::try_from("gateway.example").unwrap();
        Sealer::between(ClientConnection::new(Arc::new(config), name).unwrap().into(), server)
    }

    fn server(files: &Files, client: &mut End) -> Sealer {
        let chain = vec![CertificateDer::from_pem_file(files.path("cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(files.path("key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(default_provider().into());
        let config = config.with_protocol_versions(&[&TLS13]).unwrap();
        let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.enable_secret_extraction = true;
        Sealer::between(ServerConnection::new(Arc::new(config)).unwrap().into(), client)
    }

    fn between(mut rustls: Connection, other: &mut End) -> Sealer {
        while rustls.wants_write() || !other.out.is_empty() {
            rustls.read_tls(&mut &std::mem::take(&mut other.out)[..]).unwrap();
            rustls.process_new_packets().unwrap();
            let mut words = Vec::new();
            while rustls.wants_write() {
                rustls.write_tls(&mut words).unwrap();
            }
            other.take(&words, usize::MAX);
        }
        let (number, secrets) = rustls.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another cipher") };
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, key.as_ref()).unwrap();
        Sealer { key: aead::LessSafeKey::new(key), initial: iv.as_ref().try_into().unwrap(), number }
    }

    /// One record (RFC 8446, 5.2).
    fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut nonce = self.initial;
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number += 1;
        let mut inner = [content, &[kind]].concat();
        let length = u16::try_from(inner.len() + self.key.algorithm().tag_len()).unwrap();
        let mut record = vec![APPLICATION_DATA, 3, 3];
        record.extend(length.to_be_bytes());
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, aead::Aad::from(&record), &mut inner).unwrap();
        record.extend(inner);
        record
    }
}

#[test]
fn empty_records_come_to_an_end() {
    let files = Files::new();
    for at_once in [7, usize::MAX] {
        let (_, mut server) = files.pair();
        let mut client = Sealer::client(&files, &mut server);
        // A few do no harm (RFC 8446, 5.1 permits them), and what is said begins the count anew.
        for _ in 0..100 {
            for content in [&b""[..], b"", b"x"] {
                server.take(&client.seal(APPLICATION_DATA, content), at_once);
            }
        }
        assert_eq!((server.heard.len(), server.session.is_over()), (100, false));
        let mut taken = 0;
        while !server.session.is_over() && taken < BARREN_BYTES_MAX {
            let record = client.seal(APPLICATION_DATA, b"");
            taken += record.len();
            server.take(&record, at_once);
        }
        assert!(server.fault().contains("TLS with it failed"), "after {taken} bytes: {}", server.fault());
        server.take(&client.seal(APPLICATION_DATA, b"too late"), at_once);
        assert_eq!((server.heard.len(), server.session.held_bytes()), (100, 0));
    }
}

#[test]
fn a_peer_that_only_talks_of_tls_comes_to_an_end() {
    let files = Files::new();
    let (mut client, _) = files.pair();
    let mut server = Sealer::server(&files, &mut client);
    // A ticket for a later session (RFC 8446, 4.6.1) of a thousand bytes: lifetime, age, nonce, ticket, no extensions.
    let body = [&[0, 0, 0, 60, 0, 0, 0, 0, 1, 7, 0x03, 0xe8][..], &[9; 1000], &[0, 0]].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let ticket = [&[4], &length[1..], &body].concat();
    let mut flood = |client: &mut End, bytes_max: usize| {
        let mut taken = 0;
        while !client.session.is_over() && taken < bytes_max {
            let record = server.seal(HANDSHAKE, &ticket);
            taken += record.len();
            client.take(&record, usize::MAX);
        }
        client.take(&server.seal(APPLICATION_DATA, b"x"), usize::MAX);
    };
    for _ in 0..3 {
        flood(&mut client, BARREN_BYTES_MAX / 2);
    }
    assert_eq!((&client.heard[..], client.session.fault().map(Fault::to_string)), (&b"xxx"[..], None));
    flood(&mut client, 2 * BARREN_BYTES_MAX);
    assert_eq!(client.heard, b"xxx");
    assert!(client.fault().contains("more at once than TLS allows"), "{}", client.fault());
    assert_eq!(client.session.held_bytes(), 0);
}

#[test]
fn a_message_of_the_handshake_without_an_end_is_refused() {
    let files = Files::new();
    let (_, mut server) = files.pair();
    // A ClientHello that claims 16 MiB, in records of 16 KiB.
    let mut record = vec![0x16, 3, 1, 0x40, 0];
    record.extend([1, 0xff, 0xff, 0xff]);
    record.resize(5 + 0x4000, 0);
    for _ in 0..3 {
        server.take(&record, usize::MAX);
        record[5..9].fill(0);
    }
    assert!(server.session.is_over());
    assert_eq!(server.session.held_bytes(), 0);
}

#[test]
fn files_are_checked_before_anybody_connects() {
    let (files, others) = (Files::new(), Files::new());
    files.write("empty.pem", "");
    files.write("rubbish.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let identity = |certificate: PathBuf, key: PathBuf| match Identity::in_files(&certificate, &key) {
        Ok(identity) => Acceptor::new(identity).map(drop),
        Err(why) => Err(why),
    };
    let (certificate, key) = (files.path("cert.pem"), files.path("key.pem"));
    assert_eq!(identity(certificate.clone(), key.clone()), Ok(()));
    let table = [
        (identity(files.path("none.pem"), key.clone()), "cannot be read"),
        (identity(files.path("empty.pem"), key.clone()), "holds no certificate in PEM"),
        (identity(key.clone(), key.clone()), "holds no certificate in PEM"),
        (identity(files.path("rubbish.pem"), key), "not PEM as it should be"),
        (identity(certificate.clone(), certificate.clone()), "holds no private key in PEM"),
        (identity(certificate, others.path("key.pem")), "do not belong together"),
        (Trust::in_file(&files.path("none.pem")).map(drop), "cannot be read"),
        (Trust::in_file(&files.path("empty.pem")).map(drop), "holds no certificate"),
    ];
    for (result, words) in table {
        let why = result.unwrap_err();
        assert!(why.contains(words), "{words}: {why}");
    }
    let mut out = Vec::new();
    let why = files.connector().connect("fe80::1%eth0", &mut out).unwrap_err();
    assert!(why.contains("fe80::1%eth0") && out.is_empty(), "{why}");
}

#[test]
fn a_server_that_is_not_the_right_one_is_told_nothing() {
    let (files, others) = (Files::new(), Files::new());
    let table = [
        (files.connector(), "127.0.0.1", None),
        (
            files.connector(),
            "other.example",
            Some("is for gateway.example, 127.0.0.1 and not for other.example"),
        ),
        (others.connector(), "gateway.example", Some("signed by no authority that is trusted here; does ")),
    ];
    for (connector, name, fault) in table {
        let mut out = Vec::new();
        let mut client = End::new(connector.connect(name, &mut out).unwrap());
        client.out = out;
        client.say(b"a token");
        let mut server = End::new(files.acceptor().accept().unwrap());
        exchange(&mut client, &mut server, usize::MAX);
        match fault {
            None => assert_eq!(server.heard, b"a token"),
            Some(words) => {
                assert!(client.fault().contains(words), "{}", client.fault());
                assert!(server.heard.is_empty());
                assert!(server.fault().contains("does not accept the certificate"), "{}", server.fault());
            }
        }
    }
}
