//! Engines and services over TLS, whose side of it is rustls's buffered one, which the gateway does not use.

use crate::certificates::{Authority, HOST, Valid, pattern};
use crate::client::{Client, End, hello, hello_tty};
use crate::fake::{Asked, BYE, CONTAINER, Connection, Fake, PROMPT, Then, UPGRADED, framed, usual};
use crate::support::{Directory, Gateway};
use entry::config::{Peers, TlsFiles};
use entry::engine::{Address, NamedEngine};
use entry::locate::{Locator, Way};
use entry::service::{Service, ServiceId};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

/// entry.v1's number for an engine that is not there.
const ENGINE_UNAVAILABLE: i32 = 8;

/// Through a gateway without TLS to an engine with it: how a session ends in which nothing but `bye` is typed.
fn visit(gateway: &Gateway) -> End {
    let mut client = Client::enter(gateway.address, hello_tty(&["cat"])).opened();
    client.until(PROMPT);
    client.type_in(BYE);
    client.end()
}

/// The same where no session comes about.
fn refused(gateway: &Gateway) -> End {
    Client::enter(gateway.address, hello_tty(&["cat"])).end()
}

/// A directory as `DOCKER_CERT_PATH` names it.
pub(crate) fn cert_path(authority: &Authority, client: Option<(&Authority, &str)>) -> (Directory, TlsFiles) {
    let directory = Directory::new();
    fill_cert_path(directory.path(), authority, client);
    let tls = TlsFiles { engines: Some(directory.path().to_owned()), ..TlsFiles::default() };
    (directory, tls)
}

fn fill_cert_path(directory: &Path, authority: &Authority, client: Option<(&Authority, &str)>) {
    fs::create_dir_all(directory).unwrap();
    fs::copy(authority.file("ca.pem"), directory.join("ca.pem")).unwrap();
    if let Some((authority, client)) = client {
        for part in ["cert.pem", "key.pem"] {
            fs::copy(authority.file(&format!("{client}-{part}")), directory.join(part)).unwrap();
        }
    }
}

#[test]
fn engines_are_known_by_their_certificates() {
    for host in [HOST, "localhost"] {
        let authority = Authority::new("ours");
        authority.server("engine", &[host], Valid::Now);
        let (_directory, tls) = cert_path(&authority, None);
        let engine = Fake::tls(host, move |stream| authority.accept("engine", stream), usual);
        let end = visit(&Gateway::over_tls(&engine.url, tls));
        assert_eq!(end.exit_status, 7, "{host}: {end:?}");
    }
}

#[test]
fn an_engine_that_is_not_the_right_one_is_told_nothing() {
    let theirs = Authority::new("theirs");
    for (name, words) in [
        ("theirs", "signed by no authority that is trusted here; does "),
        ("other-name", "its certificate is for other.example and not for 127.0.0.1"),
        ("expired", "its certificate expired on 2001-12-31"),
    ] {
        let authority = Authority::new("ours");
        authority.server("theirs", &[HOST], Valid::Now);
        authority.server("other-name", &["other.example"], Valid::Now);
        authority.server("expired", &[HOST], Valid::Expired);
        let (_directory, tls) = cert_path(if name == "theirs" { &theirs } else { &authority }, None);
        let engine = Fake::tls(HOST, move |stream| authority.accept(name, stream), usual);
        let end = refused(&Gateway::over_tls(&engine.url, tls));
        assert!(end.outcome == ENGINE_UNAVAILABLE && end.text.contains(words), "{end:?}");
        assert!(end.text.contains(&engine.url), "{end:?}");
        assert!(engine.asked("GET ping").is_empty());
    }
}

#[test]
fn engines_that_want_a_certificate() {
    let authority = || {
        let authority = Authority::new("ours");
        authority.server("engine", &[HOST], Valid::Now);
        authority.client("good", Valid::Now);
        authority.client("expired", Valid::Expired);
        authority
    };
    let theirs = Authority::new("theirs");
    theirs.client("stranger", Valid::Now);
    for (client, words) in [
        (Some("good"), None),
        (None, Some("it demands a client certificate, and was given none")),
        (Some("expired"), Some("it says that the client certificate has expired")),
        (Some("stranger"), Some("it does not accept the certificate that it was given")),
    ] {
        let ours = authority();
        let issuer = if client == Some("stranger") { &theirs } else { &ours };
        let (_directory, tls) = cert_path(&ours, client.map(|client| (issuer, client)));
        let engine = Fake::tls(HOST, move |stream| ours.accept_known("engine", stream), usual);
        let gateway = Gateway::over_tls(&engine.url, tls);
        match words {
            None => assert_eq!(visit(&gateway).exit_status, 7),
            Some(words) => {
                let end = refused(&gateway);
                assert!(end.outcome == ENGINE_UNAVAILABLE && end.text.contains(words), "{client:?}: {end:?}");
                assert!(engine.asked("GET ping").is_empty());
            }
        }
    }
}

#[test]
fn each_engine_may_have_certificates_of_its_own() {
    let authority = |name: &str| {
        let authority = Authority::new(name);
        authority.server("engine", &[HOST], Valid::Now);
        authority.client("gateway", Valid::Now);
        authority
    };
    let (a, b) = (authority("a"), authority("b"));
    // Each engine knows those of its own authority; what is not b's is everybody else's.
    let (directory, tls) = cert_path(&a, Some((&a, "gateway")));
    fill_cert_path(&directory.path().join("b"), &b, Some((&b, "gateway")));
    let serve =
        |authority: Authority| Fake::tls(HOST, move |stream| authority.accept_known("engine", stream), usual);
    let (at_a, at_b) = (serve(a), serve(b));
    let visit_as = |name: &str, engine: &Fake| {
        let mut settings = Gateway::settings(&engine.url);
        let address = Address::parse(&engine.url).unwrap();
        settings.peers =
            Peers { engines: vec![NamedEngine { name: name.to_owned(), address }], ..Peers::default() };
        let gateway = Gateway::start(settings, tls.clone()).unwrap();
        let mut client = Client::enter(gateway.address, hello_tty(&["cat"]));
        client.type_in(BYE);
        client.end()
    };
    assert_eq!(visit_as("a", &at_a).exit_status, 7);
    assert_eq!(visit_as("b", &at_b).exit_status, 7);
    for (name, engine) in [("a", &at_b), ("b", &at_a)] {
        let end = visit_as(name, engine);
        assert!(
            end.outcome == ENGINE_UNAVAILABLE && end.text.contains("no authority that is trusted"),
            "{end:?}"
        );
    }
    // One that is there and holds nothing is a mistake.
    fs::remove_file(directory.path().join("b/ca.pem")).unwrap();
    let mut settings = Gateway::settings(&at_b.url);
    settings.peers.engines[0].name = "b".to_owned();
    let error = Gateway::start(settings, tls).err().unwrap().to_string();
    assert!(error.contains("b/ca.pem cannot be read"), "{error}");
}

#[test]
fn one_side_speaks_tls_and_the_other_does_not() {
    let authority = Authority::new("ours");
    authority.server("engine", &[HOST], Valid::Now);
    let (_directory, tls) = cert_path(&authority, None);
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let engine = format!("https://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        // Two come: the probe at the start, and the session.
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request")
                .unwrap();
        }
    });
    let end = refused(&Gateway::over_tls(&engine, tls));
    let words = "it speaks plain HTTP there, not TLS";
    assert!(end.outcome == ENGINE_UNAVAILABLE && end.text.contains(words), "{end:?}");
    server.join().unwrap();

    // What Go's server says to plain HTTP at the port of TLS.
    let go = Fake::tcp(|_: &Asked, connection: &mut Connection| {
        connection.say("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
        Then::Close
    });
    let end = refused(&Gateway::before(&go.url));
    assert!(end.text.contains("speaks TLS") && end.text.contains("--engine-cert-path"), "{end:?}");
}

#[test]
fn an_engine_s_stream_ends_each_way_for_itself() {
    let authority = Authority::new("ours");
    authority.server("engine", &[HOST], Valid::Now);
    let (_directory, tls) = cert_path(&authority, None);
    let script = |asked: &Asked, connection: &mut Connection| {
        if asked.what != "POST start" {
            return Then::Usual;
        }
        connection.say(UPGRADED);
        let Connection::Tls(stream) = connection else { panic!("TLS") };
        // The end of input comes as TLS's own end, and output goes on.
        let mut typed = Vec::new();
        stream.read_to_end(&mut typed).unwrap();
        let answer = format!("{} bytes were typed\n", typed.len());
        connection.say(framed(1, answer.as_bytes()));
        let Connection::Tls(stream) = connection else { panic!("TLS") };
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock).unwrap();
        // The connection itself stays.
        Then::Hold
    };
    let engine = Fake::tls(HOST, move |stream| authority.accept("engine", stream), script);
    let gateway = Gateway::over_tls(&engine.url, tls);
    let mut client = Client::enter(gateway.address, hello(&["wc"])).opened();
    client.type_in(pattern(100_000));
    client.type_in(pattern(100_000));
    client.end_stdin();
    let end = client.end();
    assert_eq!((end.out.as_str(), end.exit_status), ("200000 bytes were typed\n", 7));
}

#[test]
fn a_service_over_tls() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    authority.server("lainlet", &["localhost"], Valid::Now);
    // The authority itself goes with the service.
    let (directory, _) = cert_path(&authority, None);
    let engine = Fake::unix(usual);
    let script = |_: &Asked, connection: &mut Connection| {
        connection.answer(200, "", &crate::locate::pods(CONTAINER, "10.0.0.1"));
        Then::Answered
    };
    let lainlet = Fake::tls("localhost", move |stream| authority.accept("lainlet", stream), script);
    let enter = |tls: TlsFiles| {
        let mut settings = Gateway::settings(&engine.url);
        settings.peers = Peers {
            services: vec![Service::parse("lainlet", &lainlet.url, 20_000).unwrap()],
            ..Peers::one(Address::parse(&engine.url).unwrap())
        };
        settings.locator = Locator::new(vec![Way::Lainlet(ServiceId(0))]);
        let gateway = Gateway::start(settings, tls).unwrap();
        let mut hello = hello_tty(&[]);
        (hello.container, hello.app, hello.proc, hello.instance) =
            (String::new(), "demo".to_owned(), "shell".to_owned(), "1".to_owned());
        let mut client = Client::enter(gateway.address, hello);
        client.type_in(BYE);
        client.end()
    };
    let authorities = Some(directory.path().join("ca.pem"));
    let end = enter(TlsFiles { authorities, ..TlsFiles::default() });
    assert_eq!(end.exit_status, 7, "{end:?}");
    assert_eq!(lainlet.asked("GET lainlet").len(), 1);
    let end = enter(TlsFiles { authorities: Some(other.file("ca.pem").into()), ..TlsFiles::default() });
    assert!(end.text.contains("no authority that is trusted here"), "{end:?}");
    assert_eq!(lainlet.asked("GET lainlet").len(), 1, "it is asked nothing");
}
