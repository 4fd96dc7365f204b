//! `wss://`: a gateway that shows who it is, and every way in which it fails to; rustls's buffered connections are the
//! server's side.

use crate::certificates::{Authority, HOST, Valid, pattern};
use crate::harness::{Ended, Running, Speaks, accept, entry, listen, receive, run};
use entry::client::{self, Gateway, Options, Target};
use entry::outcome::Action;
use entry::wire::message::{RequestType, ResponseType};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

fn assert_failed(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.status, 125, "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "no '{word}' in {ended:?}");
    }
    assert!(!ended.stderr.contains("s3cret"), "{ended:?}");
}

/// `ws://…` as `wss://…`.
fn secure(url: &str) -> String {
    url.replace("ws://", "wss://")
}

/// The program with a token, which asks for a container by app and proc: its very first words hold the token.
fn enter(url: &str, authority: &Authority) -> Command {
    let mut command = entry(url, &["enter", "a", "p", "--ca", &authority.file("ca.pem")]);
    command.env("ENTRY_TOKEN", "s3cret");
    command
}

/// Takes one connection, and gives what the script makes of it.
fn serve<T: Send + 'static>(script: impl FnOnce(TcpStream) -> T + Send + 'static) -> (String, JoinHandle<T>) {
    let (listener, url) = listen();
    (secure(&url), thread::spawn(move || script(accept(&listener))))
}

/// Much goes both ways at once, and comes as it went.
fn floods(version: &'static SupportedProtocolVersion) {
    const BYTES: usize = 8 << 20;
    let authority = Authority::new("ours");
    authority.server("gateway", &[HOST], Valid::Now);
    let mut command = enter("", &authority);
    let (url, server) = serve(move |stream| {
        let mut visit = receive(authority.accept_in("gateway", stream, &[version]), Speaks::V1);
        assert_eq!(visit.hello().access_token, "s3cret");
        visit.open();
        let mut got = Vec::new();
        let mut out = pattern(BYTES);
        loop {
            let message = visit.next().expect("input");
            if message.msg_type() == RequestType::StdinEnd {
                break;
            }
            got.extend(message.content);
            // An echo of another length, so that both sides are always behind somewhere.
            let piece = out.split_off(out.len().saturating_sub(100_000));
            visit.say(ResponseType::Stdout, piece);
        }
        assert!(got == pattern(BYTES), "{} bytes came in", got.len());
        while !out.is_empty() {
            let piece = out.split_off(out.len().saturating_sub(100_000));
            visit.say(ResponseType::Stdout, piece);
        }
        visit.close(1, 3, "");
    });
    command.env("ENTRY_GATEWAY", url).args(["--", "x"]).stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.child().stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&pattern(BYTES)));
    let mut stdout = running.child().stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    });
    writer.join().unwrap().unwrap();
    let got = reader.join().unwrap().unwrap();
    assert_eq!(running.finish().status, 3);
    let mut wanted = Vec::new();
    let mut out = pattern(BYTES);
    while !out.is_empty() {
        wanted.extend(out.split_off(out.len().saturating_sub(100_000)));
    }
    assert!(got == wanted, "{} bytes came out", got.len());
    server.join().unwrap();
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
fn a_gateway_that_is_not_the_right_one_never_sees_the_token() {
    let ours = || {
        let authority = Authority::new("ours");
        authority.server("good", &[HOST], Valid::Now);
        authority.server("other-name", &["other.example", "10.9.8.7"], Valid::Now);
        authority.server("no-name", &[], Valid::Now);
        authority.server("expired", &[HOST], Valid::Expired);
        authority.server("early", &[HOST], Valid::NotYet);
        authority
    };
    let theirs = Authority::new("theirs");
    let table: [(&str, Option<&Authority>, &[&str]); 5] = [
        ("good", Some(&theirs), &["signed by no authority that is trusted here", "ca.pem"]),
        ("other-name", None, &["is for other.example, 10.9.8.7 and not for 127.0.0.1"]),
        ("no-name", None, &["is for no name at all and not for 127.0.0.1"]),
        ("expired", None, &["expired on 2001-12-31"]),
        ("early", None, &["begins on 4000-01-01", "clock"]),
    ];
    for (name, trusted, words) in table {
        let authority = ours();
        let mut command = enter("", trusted.unwrap_or(&authority));
        let (url, server) = serve(move |stream| {
            let mut stream = authority.accept(name, stream);
            let mut heard = Vec::new();
            let end = stream.read_to_end(&mut heard);
            assert!(end.is_err() && heard.is_empty(), "{name}: {end:?}, {} bytes", heard.len());
        });
        command.env("ENTRY_GATEWAY", &url);
        let ended = run(command);
        assert_failed(&ended, words);
        assert!(ended.stderr.contains(&url), "{ended:?}");
        server.join().unwrap();
    }
}

#[test]
fn authorities_come_from_the_machine_or_from_a_file() {
    let authority = Authority::new("ours");
    authority.server("gateway", &["localhost"], Valid::Now);
    let ca = authority.file("ca.pem");
    let machine = |arguments: &[&str], bundle: &str| {
        let mut command = entry("", arguments);
        command.env("SSL_CERT_FILE", bundle).env_remove("SSL_CERT_DIR");
        command
    };
    // Without one a machine has nothing to go by; it says so before anybody is asked.
    let (listener, url) = listen();
    let mut command = machine(&["enter", "a", "p"], "/nonexistent/bundle");
    assert_failed(&run(command_at(&mut command, &secure(&url))), &["no list of authorities", "--ca FILE"]);
    let mut command = machine(&["enter", "a", "p", "--ca", "/nonexistent/ca"], &ca);
    assert_failed(&run(command_at(&mut command, &secure(&url))), &["/nonexistent/ca cannot be read"]);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody was to be asked");

    let mut command = machine(&["enter", "a", "p", "--", "x"], &ca);
    let (url, server) = serve(move |stream| {
        let mut visit = receive(authority.accept("gateway", stream), Speaks::V1);
        visit.hello();
        visit.open();
        visit.close(1, 9, "");
    });
    let url = url.replace(HOST, "localhost");
    assert_eq!(run(command_at(&mut command, &url)).status, 9);
    server.join().unwrap();
}

fn command_at(command: &mut Command, url: &str) -> Command {
    command.env("ENTRY_GATEWAY", url);
    std::mem::replace(command, Command::new("true"))
}

#[test]
fn one_side_speaks_tls_and_the_other_does_not() {
    let authority = Authority::new("ours");
    authority.server("gateway", &[HOST], Valid::Now);
    for (answer, words) in [
        ("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "speaks plain HTTP there, not TLS"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "does not speak TLS there"),
        ("", "within the TLS handshake"),
    ] {
        let (url, server) = serve(move |mut stream| {
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        assert_failed(&run(enter(&url, &authority)), &[words]);
        server.join().unwrap();
    }
    let (url, server) = serve(move |stream| {
        let mut stream = authority.accept("gateway", stream);
        assert!(stream.read(&mut [0; 4096]).is_err());
        // What rustls says to that is an alert.
        let _ = stream.conn.complete_io(&mut stream.sock);
    });
    let plain = url.replace("wss://", "ws://");
    assert_failed(&run(entry(&plain, &["enter", "a", "p"])), &["TLS is spoken there; write wss://"]);
    server.join().unwrap();
}

#[test]
fn a_handshake_that_stalls_has_an_end() {
    let authority = Authority::new("ours");
    // It says a little of everything, for ever.
    let (url, server) = serve(move |mut stream| {
        let record = [&[22, 3, 3, 0x3f, 0xff, 2, 0, 0x3f, 0xfb][..], &[0; 10_000]].concat();
        for byte in record {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it waited for all of it");
    });
    let mut options =
        Options::new(Gateway::parse(&url).unwrap(), Action::Attach, Target::Container("c".into()));
    options.ca = Some(authority.file("ca.pem").into());
    options.timeouts.handshake = Duration::from_millis(200);
    assert_eq!(client::run(options), 125);
    server.join().unwrap();
}

#[test]
fn a_link_that_is_cut_is_not_an_end() {
    let authority = Authority::new("ours");
    authority.server("gateway", &[HOST], Valid::Now);
    let mut command = enter("", &authority);
    let (url, server) = serve(move |stream| {
        let cut = stream.try_clone().unwrap();
        let mut visit = receive(authority.accept("gateway", stream), Speaks::V1);
        visit.hello();
        visit.open();
        visit.say(ResponseType::Stdout, "half");
        cut.shutdown(std::net::Shutdown::Write).unwrap();
        while visit.socket.read().is_ok() {}
    });
    command.env("ENTRY_GATEWAY", url).args(["--", "x"]);
    let ended = run(command);
    assert_failed(&ended, &["link to the gateway was lost"]);
    assert_eq!(ended.stdout, "half");
    server.join().unwrap();
}
