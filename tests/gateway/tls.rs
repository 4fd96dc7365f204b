//! TLS in the loop: clients whose side of it is rustls's buffered one, which the gateway does not use.

use crate::certificates::{Authority, Connected, HOST, Valid, pattern};
use crate::client::{Client, hello, hello_tty};
use crate::fake::{Fake, PROMPT, usual};
use crate::raw;
use crate::support::{Directory, Gateway, PATIENCE, Serving, at_rest, eventually};
use entry::config::TlsFiles;
use entry::demo::{DemoEngine, DemoOptions};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

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
