//! Behind a balancer that says in front of each connection whom it is for (the PROXY protocol), with TLS behind that or
//! without.

use crate::access::url;
use crate::certificates::{Authority, Connected, HOST, Valid};
use crate::client::{Client, hello_tty};
use crate::fake::{BYE, Fake, PROMPT, Then, usual};
use crate::raw::{BINARY, Raw, frame, hello_message, upgrade_v1};
use crate::support::Gateway;
use crate::tls::{own, read_all, socket};
use entry::access::{Asked, Spec, Webhook};
use entry::config::{Peers, TlsFiles, WantedLimits};
use entry::engine::Address;
use entry::service::{Service, ServiceId};
use entry::wire::forwarded::Network;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::sync::atomic::Ordering;

const V1: &[u8] = b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 80\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x05\xc0\0\x02\x01\x12\x67\0\x50";

/// Lets everybody in, and hears where they say they are.
pub(crate) fn doorkeeper() -> Fake {
    Fake::tcp(|_, connection| {
        connection.answer(200, "", r#"{"allow":true,"user":"ada"}"#);
        Then::Answered
    })
}

/// The address in its last question.
fn told_last(doorkeeper: &Fake) -> String {
    let asked = doorkeeper.asked("POST access");
    let question: Value = serde_json::from_str(&asked.last().unwrap().body).unwrap();
    question["address"].as_str().unwrap().to_owned()
}

/// A gateway at which connections begin with a PROXY header of somebody in that network.
pub(crate) fn behind(network: &str, engine: &Fake, doorkeeper: &Fake, tls: TlsFiles) -> Gateway {
    let service = Service::parse("it", &url(doorkeeper), 60_000).unwrap();
    let mut settings = Gateway::settings(&engine.url);
    settings.peers =
        Peers { services: vec![service.clone()], ..Peers::one(Address::parse(&engine.url).unwrap()) };
    settings.front.proxy_protocol = true;
    settings.front.trusted_proxies = vec![Network::parse(network).unwrap()];
    let access = vec![Spec::Webhook(Webhook::new(Asked { id: ServiceId(0), service }))];
    Gateway::of(settings, access, WantedLimits::default(), tls).unwrap()
}

fn bad_headers(gateway: &Gateway) -> u64 {
    gateway.server().counters().proxy_headers_bad.load(Ordering::Relaxed)
}

#[test]
fn a_connection_says_first_whom_it_is_for() {
    let (engine, doorkeeper) = (Fake::unix(usual), doorkeeper());
    let gateway = behind("127.0.0.0/8", &engine, &doorkeeper, TlsFiles::default());
    for (count, header) in [V1, V2].into_iter().enumerate() {
        let mut raw = Raw::to(gateway.address);
        raw.send(header);
        raw.send(upgrade_v1().replace("\r\n\r\n", "\r\nX-Real-IP: 198.51.100.9\r\n\r\n"));
        assert!(raw.http_head().starts_with("HTTP/1.1 101 "));
        raw.send(frame(BINARY, &hello_message(hello_tty(&["cat"]))));
        engine.await_asked("POST create", count + 1);
        assert_eq!(told_last(&doorkeeper), "203.0.113.5");
    }
    for bytes in ["GET /api/ping HTTP/1.1\r\n\r\n", "PROXY TCP5 1 2 3 4\r\n"] {
        let mut raw = Raw::to(gateway.address);
        raw.send(bytes);
        assert_eq!(raw.rest(), b"", "{bytes}");
    }
    assert_eq!(bad_headers(&gateway), 2);
}

/// Sends a header in two pieces, and the first words of TLS in one with the second, or later.
fn connect(authority: &Authority, gateway: &Gateway, header: &[u8], cut: usize, at_once: bool) -> Connected {
    let mut stream = authority.connect(HOST, socket(gateway.address));
    stream.sock.write_all(&header[..cut]).unwrap();
    let mut rest = header[cut..].to_vec();
    if at_once {
        stream.conn.write_tls(&mut rest).unwrap();
    }
    stream.sock.write_all(&rest).unwrap();
    stream
}

#[test]
fn a_header_stands_in_plain_in_front_of_tls() {
    let authority = Authority::new("ours");
    authority.server("gateway", &[HOST], Valid::Now);
    let (engine, doorkeeper) = (Fake::unix(usual), doorkeeper());
    let gateway = behind("127.0.0.0/8", &engine, &doorkeeper, own(&authority));
    for (header, address) in [(V1, "203.0.113.5"), (V2, "203.0.113.5"), (b"PROXY UNKNOWN\r\n", HOST)] {
        let stream = connect(&authority, &gateway, header, header.len() / 2, true);
        let mut client = Client::enter_over(stream, hello_tty(&["cat"])).opened();
        assert_eq!(client.until(PROMPT), PROMPT);
        client.type_in(BYE);
        assert_eq!(client.end().exit_status, 7);
        assert_eq!(told_last(&doorkeeper), address);
    }
    for header in [V1, V2] {
        for (cut, at_once) in (0..=header.len()).flat_map(|cut| [(cut, true), (cut, false)]) {
            let mut stream = connect(&authority, &gateway, header, cut, at_once);
            stream.write_all(b"GET /api/ping HTTP/1.1\r\nHost: entry\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200", "{cut} {at_once}");
        }
    }
    assert_eq!(bad_headers(&gateway), 0);
}

#[test]
fn without_a_header_no_tls_is_spoken() {
    let authority = Authority::new("ours");
    authority.server("gateway", &[HOST], Valid::Now);
    let (engine, doorkeeper) = (Fake::unix(usual), doorkeeper());
    let gateway = behind("127.0.0.0/8", &engine, &doorkeeper, own(&authority));
    let elsewhere = behind("10.0.0.0/8", &engine, &doorkeeper, own(&authority));
    let mut words = Vec::new();
    authority.connection(HOST, rustls::DEFAULT_VERSIONS).write_tls(&mut words).unwrap();
    let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    let sealed_first = [&words[..], V1].concat();
    let forged = [V1, &words].concat();
    let table: [(&Gateway, &[u8]); 7] = [
        (&gateway, &words),
        (&gateway, &sealed_first),
        (&gateway, b"GET /api/ping HTTP/1.1\r\nHost: entry\r\n\r\n"),
        (&gateway, b"PROXY TCP5 1 2 3 4\r\n"),
        (&gateway, &long),
        // Who is not trusted is not believed, and is answered as little.
        (&elsewhere, &forged),
        (&elsewhere, &words),
    ];
    for (gateway, bytes) in table {
        let mut stream = socket(gateway.address);
        stream.write_all(bytes).unwrap();
        assert_eq!(read_all(&mut stream), b"", "{}", bytes.escape_ascii());
    }
    assert_eq!((bad_headers(&gateway), bad_headers(&elsewhere)), (5, 2));

    // Behind the header TLS counts, and what is said without it is answered as it is without a balancer.
    let mut plain = socket(gateway.address);
    plain.write_all(&[V1, b"GET /api/ping HTTP/1.1\r\nHost: entry\r\n\r\n"].concat()).unwrap();
    let answer = String::from_utf8(read_all(&mut plain)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");

    // A header whose end does not come is waited for as a request is.
    let mut halves: Vec<_> = [&V1[..20], &V2[..20], V1].map(|half| (half, socket(gateway.address))).into();
    for (half, stream) in &mut halves {
        stream.write_all(half).unwrap();
    }
    for (half, mut stream) in halves {
        assert_eq!(read_all(&mut stream), b"", "{}", half.escape_ascii());
    }
}
