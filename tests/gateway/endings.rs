//! How `entry serve` begins, refuses to begin, and ends.

use crate::client::{Client, hello, hello_tty};
use crate::fake::{Fake, Then};
use crate::raw::{Raw, upgrade};
use crate::support::{Gateway, Serving, await_some, eventually, program};
use std::io::Read as _;
use std::net::TcpStream;

#[test]
fn a_signal_ends_every_session_with_a_word_and_then_the_program() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut serving = Serving::start(&["--demo", "--workers", "2", "--drain-timeout", "0"]);
        let mut sessions: Vec<Client> =
            (0..6).map(|_| Client::enter(serving.address, hello(&["cat"])).opened()).collect();
        sessions.push(Client::enter(serving.address, hello_tty(&["sleep", "1000"])).opened());
        // Those that have not said yet what they want are ended, too.
        let mut in_head = Raw::to(serving.address);
        in_head.send("GET /enter HTTP/1.1\r\n");
        let mut greeting = Raw::to(serving.address);
        greeting.send(upgrade("/enter?method=web", ""));
        greeting.http_head();
        serving.signal(signal);
        for session in sessions {
            let end = session.end();
            assert_eq!((end.outcome, end.exit_status, end.code), (16, 125, 1012), "{end:?}");
            assert!(end.text.contains("goes down"), "{end:?}");
        }
        assert_eq!(greeting.close_code(), 1012);
        drop(greeting);
        assert_eq!(in_head.rest(), b"");
        assert_eq!(serving.wait().code(), Some(0), "{}", serving.log());
        assert!(TcpStream::connect(serving.address).is_err());
        eventually("processes to be gone", || serving.descendants().is_empty());
        eventually("its last line", || serving.log().contains("all sessions have ended"));
    }
}

#[test]
fn a_stop_tells_sessions_that_are_still_being_opened() {
    let engine = Fake::unix(|asked, _| if asked.what == "POST create" { Then::Hold } else { Then::Usual });
    let gateway = Gateway::before(&engine.url);
    let client = Client::enter(gateway.address, hello(&["cat"]));
    engine.await_asked("POST create", 1);
    let stopping = std::thread::spawn(move || gateway.stop());
    let end = client.end();
    assert_eq!((end.outcome, end.code), (16, 1012), "{end:?}");
    stopping.join().unwrap();
}

/// The status and the words of `entry serve` with arguments that it cannot serve.
fn refused(arguments: &[&str]) -> (i32, String) {
    let mut child = program(&[&["serve"], arguments].concat()).spawn().unwrap();
    let status = await_some("its end", || child.try_wait().unwrap()).code().unwrap();
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    (status, words)
}

#[test]
fn an_address_that_cannot_be_served_is_refused_with_the_reason() {
    let serving = Serving::start(&["--demo", "--workers", "1"]);
    let taken = serving.address.to_string();
    let (status, words) = refused(&["--listen", &taken, "--engine", "unix:///nowhere"]);
    assert_eq!(status, 1, "{words}");
    assert!(words.contains(&format!("{taken} cannot be served")) && words.contains("in use"), "{words}");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8022"] {
        let (status, words) = refused(&["--listen", address]);
        assert_eq!(status, 2, "{words}");
        assert!(words.contains("no rule says who may"), "{words}");
    }
    // The first one has not been disturbed.
    let mut client = Client::enter(serving.address, hello(&["true"])).opened();
    client.end_stdin();
    assert_eq!(client.end().exit_status, 0);
}

#[test]
fn an_engine_that_hangs_does_not_keep_a_gateway_from_ending() {
    use crate::raw::shrink_backlog;
    use std::os::unix::net::{UnixListener, UnixStream};
    let directory = crate::support::Directory::new();
    let path = directory.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    shrink_backlog(&listener, 0);
    let _first = UnixStream::connect(&path).unwrap();
    let mut serving = Serving::start(&["--engine", &format!("unix://{}", path.display())]);
    serving.signal(libc::SIGTERM);
    assert_eq!(serving.wait().code(), Some(0), "{}", serving.log());
}
