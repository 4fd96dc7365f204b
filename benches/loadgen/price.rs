//! What the kernel takes for sending a PING: many connections, a few bytes to each in turn, and no program around it.
//!
//! Nobody who sends PINGs over these sockets on this machine can do it for less, so an idle gateway's CPU is read beside it.

use crate::driver::exact;
use crate::sys;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Connections; with both ends in this process more would need more descriptors.
const CONNECTIONS: usize = 4_500;
/// As Entry does it: every 80 ms to those whose ten seconds are over.
const SLOT: Duration = Duration::from_millis(80);
const INTERVAL: Duration = Duration::from_secs(10);
/// A PING of the old wire in its frame.
const BYTES: [u8; 10] = *b"\x82\x08\x08\x03\x12\x04ping";

/// Microseconds of CPU for one such send, over so many seconds.
pub(crate) fn of_a_send(seconds: f64) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    sys::take_bursts(&listener)?;
    let address = listener.local_addr()?;
    let ended = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&ended);
    let reader = thread::spawn(move || read_all(address, &stop));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let (connection, _) = listener.accept()?;
        connection.set_nodelay(true)?;
        connection.set_nonblocking(true)?;
        connections.push(connection);
    }
    let slots = INTERVAL.as_millis() / SLOT.as_millis();
    let begin = Instant::now();
    let cpu = sys::thread_cpu_seconds()?;
    let (mut sent, mut due) = (0_usize, 0.0);
    let mut next = begin;
    while begin.elapsed().as_secs_f64() < seconds {
        next += SLOT;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        due += exact(CONNECTIONS as u64) / slots as f64;
        while exact(sent as u64) < due {
            connections[sent % CONNECTIONS].write_all(&BYTES)?;
            sent += 1;
        }
    }
    let cpu = sys::thread_cpu_seconds()? - cpu;
    ended.store(true, Ordering::Relaxed);
    drop(connections);
    reader.join().map_err(|_| io::Error::other("the reader panicked"))??;
    Ok(1e6 * cpu / exact(sent as u64))
}

/// The clients: read what comes until told to end.
fn read_all(address: SocketAddr, ended: &AtomicBool) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        let mut connection = mio::net::TcpStream::from_std(std::net::TcpStream::connect(address)?);
        poll.registry().register(&mut connection, Token(number), Interest::READABLE)?;
        connections.push(connection);
    }
    let mut events = Events::with_capacity(256);
    let mut buffer = [0; 4096];
    while !ended.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(SLOT))?;
        for event in &events {
            // A short read has emptied it; an end shows by the flag.
            let _ = connections[event.token().0].read(&mut buffer);
        }
    }
    Ok(())
}
