//! TLS in the loop: clients, engines and services whose side of it is rustls's buffered one, which the gateway does not
//! use.

use crate::certificates::{Authority, Connected, Valid};
use crate::client::{Client, End, hello, hello_tty};
use crate::fake::{Asked, BYE, CONTAINER, Connection, Fake, PROMPT, Then, UPGRADED, framed, usual};
use crate::raw;
use crate::support::{Directory, Gateway, PATIENCE, Serving, at_rest, eventually};
use entry::config::{Peers, TlsFiles};
use entry::demo::{DemoEngine, DemoOptions};
use entry::engine::Address;
use entry::locate::{Locator, Way};
use entry::service::{Service, ServiceId};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

const HOST: &str = "127.0.0.1";
/// entry.v1's number for an engine that is not there.
const ENGINE_UNAVAILABLE: i32 = 8;

/// An embedded engine and, in front of it, a gateway with a certificate of this authority.
fn secure_demo(authority: &Authority) -> (DemoEngine, Gateway) {
    authority.server("gateway", &[HOST], Valid::Now);
    let engine = DemoEngine::start(DemoOptions::default()).unwrap();
    let gateway = Gateway::over_tls(&engine.url(), own(authority));
    (engine, gateway)
}

pub(crate) fn own(authority: &Authority) -> TlsFiles {
    let files = (authority.file("gateway-cert.pem").into(), authority.file("gateway-key.pem").into());
    TlsFiles { own: Some(files), ..TlsFiles::default() }
}

pub(crate) fn socket(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn connect(authority: &Authority, gateway: &Gateway) -> Connected {
    authority.connect(HOST, socket(gateway.address))
}

fn pattern(count: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).take(count).collect()
}

fn floods(version: &'static SupportedProtocolVersion) {
    const BYTES: usize = 16 << 20;
    let authority = Authority::new("ours");
    let (_engine, gateway) = secure_demo(&authority);
    let enter = |command: &[&str]| {
        let stream =
            rustls::StreamOwned::new(authority.connection(HOST, &[version]), socket(gateway.address));
        Client::enter_over(stream, hello(command)).opened()
    };

    let mut out = enter(&["seq", "1", "3000000"]);
    for number in (1..=3_000_000).step_by(500_000) {
        let lines: String = (number..number + 500_000).map(|line| format!("{line}\n")).collect();
        assert!(out.take(lines.len()) == lines.as_bytes(), "the lines from {number} on");
    }
    assert_eq!(out.end().exit_status, 0);

    let directory = Directory::new();
    let file = directory.file("typed");
    let mut typed = enter(&["sh", "-c", &format!("cat > {file}; echo all")]);
    for piece in pattern(BYTES).chunks(50_000) {
        typed.type_in(piece);
    }
    typed.end_stdin();
    assert_eq!(typed.end().out, "all\n");
    assert!(fs::read(&file).unwrap() == pattern(BYTES));

    let mut both = enter(&["cat"]);
    for length in [1, 2, 16_384, 60_000, 100_000, 1] {
        // Of one byte each: the beginning of a longer character would be held for its rest.
        let typed: Vec<u8> = pattern(length).iter().map(|byte| byte & 0x7f).collect();
        both.type_in(&typed);
        assert!(both.take(length) == typed, "{length}");
    }
    both.end_stdin();
    assert_eq!(both.end().exit_status, 0);
}

#[test]
fn every_byte_comes_as_it_went_over_tls_1_3() {
    floods(&TLS13);
}

#[test]
fn every_byte_comes_as_it_went_over_tls_1_2() {
    floods(&TLS12);
}

#[test]
fn a_client_that_does_not_read_holds_its_process_back() {
    let authority = Authority::new("ours");
    let (_engine, gateway) = secure_demo(&authority);
    let directory = Directory::new();
    let file = directory.file("written");
    let script =
        format!("i=0; while [ $i -lt 400 ]; do head -c 100000 /dev/zero; i=$((i+1)); echo $i > {file}; done");
    let mut client =
        Client::enter_over(connect(&authority, &gateway), hello(&["sh", "-c", &script])).opened();
    let written = || fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let held = at_rest("what the process writes", written);
    assert!(held < 400, "all 40 MB were taken for a client that reads nothing");
    assert!(client.take(40_000_000).iter().all(|byte| *byte == 0));
    assert_eq!(client.end().exit_status, 0);
}

#[test]
fn a_handshake_in_single_bytes() {
    let authority = Authority::new("ours");
    let (_engine, gateway) = secure_demo(&authority);
    let mut stream = connect(&authority, &gateway);
    while stream.conn.is_handshaking() {
        let mut words = Vec::new();
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut words).unwrap();
        }
        for byte in words {
            stream.sock.write_all(&[byte]).unwrap();
        }
        if stream.conn.is_handshaking() {
            assert!(stream.conn.read_tls(&mut stream.sock).unwrap() > 0, "the gateway has hung up");
            stream.conn.process_new_packets().unwrap();
        }
    }
    let end = Client::enter_over(stream, hello(&["echo", "whole"])).opened().end();
    assert_eq!((end.out.as_str(), end.exit_status), ("whole\n", 0));
}

#[test]
fn clients_that_fail_disturb_nobody() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    let (_engine, gateway) = secure_demo(&authority);
    let mut live = Client::enter_over(connect(&authority, &gateway), hello(&["cat"])).opened();

    // One that says half of its first words, and one that says nothing, are ended as slow requests are.
    let mut words = Vec::new();
    authority.connection(HOST, &[&TLS13]).write_tls(&mut words).unwrap();
    let (mut half, mut silent) = (socket(gateway.address), socket(gateway.address));
    half.write_all(&words[..words.len() / 2]).unwrap();

    let mut distrustful = other.connect(HOST, socket(gateway.address));
    assert!(distrustful.write_all(b"GET / HTTP/1.1\r\n\r\n").is_err());
    drop(distrustful);
    let mut rubbish = socket(gateway.address);
    rubbish.write_all(&[0x16, 3, 1, 0x7f, 0xff, 0, 0]).unwrap();
    let answer = read_all(&mut rubbish);
    assert!(answer.is_empty() || answer.starts_with(&[21, 3]), "an alert or nothing: {answer:?}");
    let mut plain = socket(gateway.address);
    plain.write_all(raw::upgrade_v1().as_bytes()).unwrap();
    let answer = String::from_utf8(read_all(&mut plain)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("wss://"), "{answer}");

    live.type_in("alive\n");
    assert_eq!(live.until("alive\n"), "alive\n");
    assert_eq!(read_all(&mut half), b"");
    assert_eq!(read_all(&mut silent), b"");
    live.type_in("still\n");
    assert_eq!(live.until("still\n"), "still\n");
    live.end_stdin();
    assert_eq!(live.end().exit_status, 0);
}

/// Everything up to the end, however that comes.
pub(crate) fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
        Ok(_) | Err(_) => bytes,
    }
}

#[test]
fn a_new_certificate_is_for_new_clients() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    let (_engine, gateway) = secure_demo(&authority);
    other.server("gateway", &[HOST], Valid::Now);
    let mut live = Client::enter_over(connect(&authority, &gateway), hello(&["cat"])).opened();
    let trusted = |authority: &Authority| {
        let mut stream = connect(authority, &gateway);
        stream.write_all(b"GET /api/ping HTTP/1.1\r\nHost: entry\r\nConnection: close\r\n\r\n").is_ok()
    };
    let copy = |name: &str| fs::copy(other.file(name), authority.file(name)).unwrap();
    assert!(trusted(&authority) && !trusted(&other));

    // Only one of two files has been changed: they do not belong together.
    copy("gateway-cert.pem");
    gateway.server().reload().unwrap();
    assert!(trusted(&authority) && !trusted(&other));
    fs::write(authority.file("gateway-key.pem"), "rubbish").unwrap();
    gateway.server().reload().unwrap();
    assert!(trusted(&authority) && !trusted(&other));
    copy("gateway-key.pem");
    gateway.server().reload().unwrap();
    assert!(!trusted(&authority) && trusted(&other));

    live.type_in("alive\n");
    assert_eq!(live.until("alive\n"), "alive\n");
    live.end_stdin();
    assert_eq!(live.end().exit_status, 0);
}

#[test]
fn a_signal_makes_the_program_read_its_certificate_again() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    authority.server("gateway", &[HOST], Valid::Now);
    other.server("gateway", &[HOST], Valid::Now);
    let (certificate, key) = (authority.file("gateway-cert.pem"), authority.file("gateway-key.pem"));
    let serving =
        Serving::start(&["--demo", "--workers", "2", "--tls-cert", &certificate, "--tls-key", &key]);
    let enter = |authority: &Authority| {
        let stream = authority.connect(HOST, socket(serving.address));
        Client::enter_over(stream, hello(&["cat"])).opened()
    };
    let mut live = enter(&authority);
    fs::copy(other.file("gateway-cert.pem"), &certificate).unwrap();
    serving.signal(libc::SIGHUP);
    eventually("a word in the log", || serving.log().contains("do not belong together"));
    assert!(serving.log().contains("the certificate that was stays in use"), "{}", serving.log());
    enter(&authority);
    fs::copy(other.file("gateway-key.pem"), &key).unwrap();
    serving.signal(libc::SIGHUP);
    eventually("a word in the log", || serving.log().contains("its key are read again"));
    enter(&other);
    live.type_in("alive\n");
    assert_eq!(live.until("alive\n"), "alive\n");
}

#[test]
fn an_idle_session_over_tls_costs_little() {
    const SESSIONS: u64 = 200;
    let authority = Authority::new("ours");
    authority.server("gateway", &[HOST], Valid::Now);
    let (certificate, key) = (authority.file("gateway-cert.pem"), authority.file("gateway-key.pem"));
    let engine = Fake::unix(usual);
    let arguments = [
        "--engine",
        &engine.url,
        "--allow-container",
        "*",
        "--workers",
        "1",
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
    ];
    let serving = Serving::start(&arguments);
    let enter = || {
        let stream = authority.connect(HOST, socket(serving.address));
        let mut client = Client::enter_over(stream, hello_tty(&["cat"])).opened();
        client.until(PROMPT);
        // Its buffers have been in use, but none that is large enough to be kept for others.
        let typed = "x".repeat(6_000);
        client.type_in(&typed);
        client.until(&typed);
        client
    };
    let _first: Vec<_> = (0..10).map(|_| enter()).collect();
    let before = serving.status("VmRSS");
    let _more: Vec<_> = (0..SESSIONS).map(|_| enter()).collect();
    let each = (serving.status("VmRSS") - before) * 1024 / SESSIONS;
    assert!(each < 10 * 1024, "{each} bytes a session");
}

#[test]
fn files_that_cannot_be_used_are_told_at_the_start() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    authority.server("gateway", &[HOST], Valid::Now);
    other.server("gateway", &[HOST], Valid::Now);
    let mut mixed = own(&authority);
    mixed.own = mixed.own.map(|(certificate, _)| (certificate, other.file("gateway-key.pem").into()));
    let nowhere = TlsFiles { engines: Some("/nonexistent".into()), ..TlsFiles::default() };
    for (tls, words) in [(mixed, "do not belong together"), (nowhere, "/nonexistent/ca.pem cannot be read")] {
        let error = Gateway::start(Gateway::settings("https://127.0.0.1:1"), tls).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_client_that_is_cut_off_leaves_nothing() {
    let authority = Authority::new("ours");
    let (_engine, gateway) = secure_demo(&authority);
    let directory = Directory::new();
    let file = directory.file("hung-up");
    for cut in [Shutdown::Write, Shutdown::Both] {
        let script = format!("trap 'touch {file}; exit' HUP; echo ready; while :; do sleep 0.05; done");
        let stream = connect(&authority, &gateway);
        let socket = stream.sock.try_clone().unwrap();
        let mut client = Client::enter_over(stream, hello_tty(&["sh", "-c", &script])).opened();
        client.until("ready\r\n");
        // No close_notify, no close frame.
        socket.shutdown(cut).unwrap();
        eventually("the process to be hung up", || fs::exists(&file).unwrap());
        fs::remove_file(&file).unwrap();
    }
}

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
fn cert_path(authority: &Authority, client: Option<(&Authority, &str)>) -> (Directory, TlsFiles) {
    let directory = Directory::new();
    fs::copy(authority.file("ca.pem"), directory.path().join("ca.pem")).unwrap();
    if let Some((authority, client)) = client {
        for part in ["cert.pem", "key.pem"] {
            fs::copy(authority.file(&format!("{client}-{part}")), directory.path().join(part)).unwrap();
        }
    }
    let tls = TlsFiles { engines: Some(directory.path().to_owned()), ..TlsFiles::default() };
    (directory, tls)
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
