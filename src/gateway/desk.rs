//! What others than the loops ask of the sessions: who is there, and that one be ended. A loop is told by a message and
//! its waker, answers over a channel, and looks through no more than a few sessions in a turn, so that nobody who types
//! waits for it.

use super::dossier::Asked;
use super::slab::Key;
use mio::Waker;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

/// How long the loops may take to answer.
pub(super) const ANSWER_TIME_LIMIT: Duration = Duration::from_secs(5);

/// A session, as operators see it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its number in this gateway.
    pub number: u64,
    /// Its name in logs.
    pub id: String,
    /// What it does: one of a fixed set of words.
    pub state: &'static str,
    /// What was asked for; none before that is said.
    pub asked: Option<Asked>,
    /// Who is in it, once that is known.
    pub user: Option<String>,
    /// Where the client is.
    pub address: Option<IpAddr>,
    /// The container, once it is found.
    pub container: String,
    /// Its engine's name.
    pub engine: String,
    /// Since when it is open.
    pub since: Option<SystemTime>,
    /// What its process was sent to read, in bytes.
    pub input_bytes: u64,
    /// What its process has said, in bytes.
    pub output_bytes: u64,
    /// What waits for somebody who does not take it, in bytes.
    pub held_bytes: u64,
}

/// Which sessions are meant: all that a person can be in, or fewer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this user.
    pub user: Option<String>,
    /// With a target that begins so.
    pub target: Option<String>,
    /// In a container whose name or id begins so.
    pub container: Option<String>,
    /// On the engine of this name.
    pub engine: Option<String>,
    /// From this address.
    pub address: Option<IpAddr>,
    /// In this state.
    pub state: Option<String>,
}

impl Filter {
    /// Whether a session is meant.
    pub fn admits(&self, row: &Row) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted == text);
        let begins = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| text.starts_with(wanted.as_str()))
        };
        is(&self.user, row.user.as_deref().unwrap_or_default())
            && begins(&self.target, row.asked.as_ref().map_or("", |asked| &asked.target))
            && begins(&self.container, &row.container)
            && is(&self.engine, &row.engine)
            && self.address.is_none_or(|address| row.address == Some(address))
            && is(&self.state, row.state)
    }
}

/// What a loop is asked.
#[derive(Debug)]
pub(super) enum Order {
    /// Who is there?
    List(Listing),
    /// End this session, with a word to the person; whether there was one is told back.
    End { number: u64, reason: String, tell: Sender<bool> },
    /// There is something to be seen for this watcher.
    Look(Key),
    /// There is something to be told to whoever is in this session, which is watched.
    Tell(Key),
}

/// A loop's way through its sessions.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) filter: Arc<Filter>,
    /// Rows by handfuls; it is closed when all have been told.
    pub(super) rows: Sender<Vec<Row>>,
    /// The slot that is next.
    pub(super) slot: u32,
}

/// The way to one loop.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) orders: Sender<Order>,
    pub(super) waker: Arc<Waker>,
}

/// The ways to all loops, for whoever may ask them.
#[derive(Debug)]
pub struct Desk {
    boot: u64,
    lines: Vec<Line>,
}

impl Desk {
    pub(super) fn new(boot: u64, lines: Vec<Line>) -> Desk {
        Desk { boot, lines }
    }

    /// The sessions that are meant, by their numbers.
    ///
    /// # Errors
    /// A loop does not answer.
    pub fn list(&self, filter: Filter) -> io::Result<Vec<Row>> {
        let filter = Arc::new(filter);
        let until = Instant::now() + ANSWER_TIME_LIMIT;
        let (rows, told) = channel();
        for line in &self.lines {
            let listing = Listing { filter: filter.clone(), rows: rows.clone(), slot: 0 };
            line.ask(Order::List(listing))?;
        }
        drop(rows);
        let mut all = Vec::new();
        loop {
            match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(mut some) => all.append(&mut some),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Err(silence()),
            }
        }
        all.sort_unstable_by_key(|row| row.number);
        Ok(all)
    }

    /// Ends the session of this name; whether there was one.
    ///
    /// # Errors
    /// Its loop does not answer.
    pub fn end(&self, id: &str, reason: &str) -> io::Result<bool> {
        let Some(number) = self.number(id) else { return Ok(false) };
        let place = usize::try_from((number - 1) % self.lines.len() as u64).unwrap_or(0);
        let Some(line) = self.lines.get(place) else { return Ok(false) };
        let (tell, told): (_, Receiver<bool>) = channel();
        line.ask(Order::End { number, reason: reason.to_owned(), tell })?;
        told.recv_timeout(ANSWER_TIME_LIMIT).map_err(|_| silence())
    }

    /// Wakes all loops. One that cannot be woken stands still, as if it had not been.
    pub(super) fn wake(&self) {
        for line in &self.lines {
            let _ = line.waker.wake();
        }
    }

    /// The number in a session's name, where it is one of this gateway's.
    pub fn number(&self, id: &str) -> Option<u64> {
        let (boot, number) = id.split_once(':')?;
        let read = |text: &str| u64::from_str_radix(text, 16).ok();
        (read(boot)? == self.boot).then_some(())?;
        read(number).filter(|number| *number > 0)
    }
}

impl Line {
    pub(super) fn ask(&self, order: Order) -> io::Result<()> {
        self.orders.send(order).map_err(|_| silence())?;
        self.waker.wake()
    }
}

fn silence() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "a loop of this gateway does not answer")
}
