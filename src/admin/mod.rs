//! What operators see of a gateway, and may do: figures, health, who is in, and ending a session.
//!
//! | file | what it holds |
//! |---|---|
//! | this one | the listener and its connections |
//! | `routes` | a request → an answer, and who may ask at all |
//! | `figures` | everything that `/metrics` tells |
//! | `process` | what the kernel knows of this process |
//! | `sessions` | rows of sessions as JSON, and which are meant |
//! | `settings` | what the gateway goes by, as JSON |
//!
//! A side room with threads of its own, that wait in blocking calls: the loops pay nothing for it. Each connection has
//! one request, a deadline, and a thread for so long; there are few of them.

mod figures;
mod process;
mod routes;
mod sessions;
mod settings;

use crate::access::tokens::{self, TokenHash};
use crate::config::{self, Config, Watch};
use crate::gateway::Insight;
use crate::wire::http::{HttpError, parse_request, write_response};
use routes::Office;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A token that can be guessed is none.
const TOKEN_CHARS_MIN: usize = 16;

/// The listener, before anybody is answered: so that an address that is taken shows before anything is served.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    office: Office,
    watch: Watch,
}

/// The listener at work. It ends when it is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    token: Arc<RwLock<Option<TokenHash>>>,
    watch: Watch,
    thread: Option<JoinHandle<()>>,
}

/// Takes the address, where the configuration names one; or the socket that listens there already.
///
/// # Errors
/// It cannot be had, or the file with the token cannot be used.
pub fn bind(config: &Config, socket: Option<TcpListener>) -> io::Result<Option<Bound>> {
    let Some(address) = config.watch.admin else { return Ok(None) };
    let token = Arc::new(RwLock::new(read_token(&config.watch)?));
    let listener = socket.map_or_else(|| TcpListener::bind(address), Ok);
    let listener = listener
        .map_err(|error| io::Error::new(error.kind(), format!("--admin-listen {address}: {error}")))?;
    let office = Office { token, settings: settings::told(config) };
    Ok(Some(Bound { listener, office, watch: config.watch.clone() }))
}

impl Bound {
    /// Answers from now on.
    ///
    /// # Errors
    /// The machine gives no thread.
    pub fn answer(self, insight: Arc<Insight>) -> io::Result<Admin> {
        let Bound { listener, office, watch } = self;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let (token, over) = (office.token.clone(), stopping.clone());
        let office = Arc::new(office);
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || accept(&listener, &office, &insight, &over))?;
        log::info!("operators are answered at {address}");
        Ok(Admin { address, stopping, token, watch, thread: Some(thread) })
    }
}

impl Admin {
    /// Where it listens; the port is the true one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the token's file anew; one that is broken leaves in use what was, and the log says so.
    pub fn reload(&self) {
        match read_token(&self.watch) {
            Ok(hash) => {
                if let Ok(mut token) = self.token.write() {
                    *token = hash;
                }
            }
            Err(error) => log::error!("{error}; the operators' token that was stays in use"),
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // It wakes the thread that accepts; where it fails, the thread ends with the process.
        if TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn read_token(watch: &Watch) -> io::Result<Option<TokenHash>> {
    let Some(path) = &watch.admin_token else { return Ok(None) };
    let wrong = |what: &dyn std::fmt::Display| {
        io::Error::other(format!("--admin-token-file {}: {what}", Path::display(path)))
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let token = text.trim();
    if token.len() < TOKEN_CHARS_MIN || token.contains(char::is_whitespace) {
        return Err(wrong(&format!(
            "it must hold one word of at least {TOKEN_CHARS_MIN} characters, the token"
        )));
    }
    Ok(Some(tokens::hash(token)))
}

fn accept(listener: &TcpListener, office: &Arc<Office>, insight: &Arc<Insight>, stopping: &AtomicBool) {
    let busy = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = listener.accept();
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            // Descriptors have run out, most likely: sessions hold them.
            std::thread::sleep(config::ADMIN_REST);
            continue;
        };
        if busy.fetch_add(1, Ordering::Relaxed) >= config::ADMIN_CONNECTIONS_MAX {
            busy.fetch_sub(1, Ordering::Relaxed);
            refuse(stream);
            continue;
        }
        let (office, insight, leaves) = (office.clone(), insight.clone(), busy.clone());
        let begun = std::thread::Builder::new().name("admin-answer".to_owned()).spawn(move || {
            // A connection that breaks concerns nobody else.
            let _ = converse(stream, &office, &insight);
            leaves.fetch_sub(1, Ordering::Relaxed);
        });
        if begun.is_err() {
            busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn refuse(mut stream: TcpStream) {
    let mut out = Vec::new();
    write_response(&mut out, 503, &[("Retry-After", "1")], "Too many ask at once; ask again.\n");
    // It fits into any socket; whoever is gone misses nothing.
    let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(&out));
}

/// One request, one answer, one connection.
fn converse(mut stream: TcpStream, office: &Office, insight: &Insight) -> io::Result<()> {
    let until = Instant::now() + config::ADMIN_TIME_LIMIT;
    let mut head = Vec::new();
    let mut out = Vec::new();
    loop {
        match parse_request(&head, config::HEAD_BYTES_MAX) {
            Ok(Some((request, _))) => {
                office.answer(&request, insight, &mut out);
                break;
            }
            Ok(None) => {}
            Err(error) => {
                let status = if matches!(error, HttpError::HeadTooLong { .. }) { 431 } else { 400 };
                write_response(&mut out, status, &[], &format!("{error}\n"));
                break;
            }
        }
        let mut buffer = [0; 2048];
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => head.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let until = Instant::now() + config::ADMIN_TIME_LIMIT;
    let mut rest = &out[..];
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.shutdown(Shutdown::Write)?;
    // What was said and not read would make the kernel reset the connection before the answer is read.
    stream.set_read_timeout(Some(config::ADMIN_LINGER))?;
    while Instant::now() < until && stream.read(&mut [0; 2048])? > 0 {}
    Ok(())
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
