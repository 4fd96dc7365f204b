//! Who is in, and what is held for them, counted over all loops of the process; and the limits on both.
//!
//! Knows no session: it is told who comes and goes. What is counted is shared by all loops, so a number may be a moment
//! old; no limit is passed by more than one for each loop.

use core::net::IpAddr;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The most that is let in and held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of the process.
    pub sessions: usize,
    /// Sessions of one address; none for no limit.
    pub per_address: Option<u32>,
    /// Sessions of one user, as the access rules name him; none for no limit.
    pub per_user: Option<u32>,
    /// Bytes that wait for somebody who does not take them: one cap over all of them.
    pub buffer_bytes: usize,
}

/// What every session may hold in any case, so that nobody stands still because others do.
pub const SHARE_BYTES_MIN: usize = 1024;
/// What [`SHARE_BYTES_MIN`] may take in memory: base64 and heads around it.
const SHARE_BYTES_RESERVED: usize = 2 * SHARE_BYTES_MIN;
/// One session may take so big a part of what is free, at once.
const SHARES: usize = 16;

impl Limits {
    /// The least that `buffer_bytes` may be for so many sessions.
    pub const fn buffer_bytes_min(sessions: usize) -> usize {
        2 * SHARE_BYTES_RESERVED * sessions
    }
}

impl Default for Limits {
    fn default() -> Self {
        let (sessions, buffer_bytes) = (usize::MAX / (4 * SHARE_BYTES_RESERVED), usize::MAX);
        Limits { sessions, per_address: None, per_user: None, buffer_bytes }
    }
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The process holds all sessions that it may.
    Sessions(usize),
    /// Too many come from one address.
    Address(u32),
    /// One user has too many.
    User(u32),
    /// Too much is held for those who do not take it.
    Memory,
    /// Nobody new is let in, since the gateway goes down.
    GoingDown,
    /// Nobody is let in for now, since it could not be recorded who.
    Unrecorded,
}

/// What a person is told; it says what to do.
impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Full::Sessions(limit) => write!(f, "This gateway holds as many sessions as it may ({limit})"),
            Full::Address(limit) => write!(f, "Your address has as many sessions here as it may ({limit})"),
            Full::User(limit) => write!(f, "You have as many sessions here as you may ({limit})"),
            Full::Memory => f.write_str("This gateway has no memory left for what comes in pieces"),
            Full::GoingDown => f.write_str("This gateway goes down and takes no new sessions"),
            Full::Unrecorded => {
                f.write_str("This gateway cannot record who enters, and lets nobody in without")
            }
        }?;
        f.write_str("; try again later.")
    }
}

/// One who has been let in. Whoever drives the session gives it back with [`Crowd::leave`].
#[derive(Debug, Default)]
pub struct Place {
    counted: bool,
    /// Only where a limit needs it.
    named: Option<Box<Named>>,
}

#[derive(Debug, Default)]
struct Named {
    address: Option<IpAddr>,
    user: Option<Box<str>>,
}

/// How often somebody was not let in, by the limit.
#[derive(Debug, Default)]
pub struct Refusals {
    /// [`Full::Sessions`].
    pub sessions: AtomicU64,
    /// [`Full::Address`].
    pub address: AtomicU64,
    /// [`Full::User`].
    pub user: AtomicU64,
    /// [`Full::Memory`].
    pub memory: AtomicU64,
    /// [`Full::GoingDown`].
    pub going_down: AtomicU64,
    /// [`Full::Unrecorded`].
    pub unrecorded: AtomicU64,
    /// Connections that were closed at once, since the process had no descriptor left for them.
    pub descriptors: AtomicU64,
}

/// Everybody.
#[derive(Debug, Default)]
pub struct Crowd {
    limits: Limits,
    sessions: AtomicUsize,
    held_bytes: AtomicUsize,
    /// Nobody new is let in any more.
    draining: AtomicBool,
    /// Nobody is let in for now.
    closed: AtomicBool,
    /// What is to be recorded cannot be written.
    unrecordable: AtomicBool,
    addresses: Mutex<HashMap<IpAddr, u32>>,
    users: Mutex<HashMap<Box<str>, u32>>,
    refusals: Refusals,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(limits: Limits) -> Self {
        Crowd { limits, ..Crowd::default() }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many are in.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// How much is held for all of them, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// From now on nobody new is let in: the gateway goes down. Who is in may stay for a while.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Nobody new is let in any more.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Recordings can be written, as far as that is known.
    pub fn can_record(&self) -> bool {
        !self.unrecordable.load(Ordering::Relaxed)
    }

    /// Whether recordings can be written.
    pub fn note_recording(&self, works: bool) {
        self.unrecordable.store(!works, Ordering::Relaxed);
    }

    /// Who was not let in.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// How many sessions that address has that has most, and how many it may have; none where that is not limited, and so
    /// not counted.
    pub fn most_per_address(&self) -> Option<(u32, u32)> {
        self.limits.per_address.map(|limit| (most(&self.addresses), limit))
    }

    /// The same of users.
    pub fn most_per_user(&self) -> Option<(u32, u32)> {
        self.limits.per_user.map(|limit| (most(&self.users), limit))
    }

    /// Somebody comes from this address.
    ///
    /// # Errors
    /// There is no room.
    pub fn enter(&self, address: IpAddr) -> Result<Place, Full> {
        if self.is_closed() {
            return Err(self.refuse(Full::Unrecorded));
        }
        if self.is_draining() {
            return Err(self.refuse(Full::GoingDown));
        }
        let limit = self.limits.sessions;
        if self.sessions.fetch_add(1, Ordering::Relaxed) >= limit {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            return Err(self.refuse(Full::Sessions(limit)));
        }
        let mut place = Place { counted: true, named: None };
        if let Some(limit) = self.limits.per_address {
            if !add(&self.addresses, address, limit) {
                self.leave(&mut place);
                return Err(self.refuse(Full::Address(limit)));
            }
            place.named.get_or_insert_default().address = Some(address);
        }
        Ok(place)
    }

    /// From now on nobody is let in, since it cannot be recorded who.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// It can be recorded again.
    pub fn open(&self) {
        self.closed.store(false, Ordering::Relaxed);
    }

    /// Nobody is let in.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// It is known now who has come.
    ///
    /// # Errors
    /// He has come too often; the place is still to be left.
    pub fn name(&self, place: &mut Place, user: &str) -> Result<(), Full> {
        let Some(limit) = self.limits.per_user else { return Ok(()) };
        if !add(&self.users, Box::from(user), limit) {
            return Err(self.refuse(Full::User(limit)));
        }
        place.named.get_or_insert_default().user = Some(user.into());
        Ok(())
    }

    /// Somebody has gone; to say it twice does no harm.
    pub fn leave(&self, place: &mut Place) {
        let Place { counted, named } = std::mem::take(place);
        if counted {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
        }
        let Named { address, user } = named.map_or_else(Named::default, |named| *named);
        if let Some(address) = address {
            take(&self.addresses, &address);
        }
        if let Some(user) = user {
            take(&self.users, &user);
        }
    }

    /// One session holds so many bytes instead of so many before.
    pub fn hold(&self, before: usize, now: usize) {
        if now > before {
            self.held_bytes.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.held_bytes.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// How much one session may take on at once: a part of what is free, so that who comes late finds room too, and
    /// never less than [`SHARE_BYTES_MIN`], which is reserved for each.
    pub fn share_bytes(&self) -> usize {
        let reserved = self.limits.sessions.saturating_mul(SHARE_BYTES_RESERVED);
        let free = self.limits.buffer_bytes.saturating_sub(reserved).saturating_sub(self.held_bytes());
        (free / SHARES).max(SHARE_BYTES_MIN)
    }

    /// Nothing is free beyond what is reserved for each session.
    pub fn is_short_of_memory(&self) -> bool {
        self.share_bytes() == SHARE_BYTES_MIN
    }

    /// Counts somebody who is not let in.
    pub fn refuse(&self, full: Full) -> Full {
        let counter = match full {
            Full::Sessions(_) => &self.refusals.sessions,
            Full::Address(_) => &self.refusals.address,
            Full::User(_) => &self.refusals.user,
            Full::Memory => &self.refusals.memory,
            Full::GoingDown => &self.refusals.going_down,
            Full::Unrecorded => &self.refusals.unrecorded,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        full
    }
}

fn add<K: Eq + Hash>(counts: &Mutex<HashMap<K, u32>>, key: K, limit: u32) -> bool {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    match counts.entry(key) {
        Entry::Occupied(mut entry) if *entry.get() < limit => *entry.get_mut() += 1,
        Entry::Vacant(entry) if limit > 0 => {
            entry.insert(1);
        }
        Entry::Occupied(_) | Entry::Vacant(_) => return false,
    }
    true
}

fn most<K>(counts: &Mutex<HashMap<K, u32>>) -> u32 {
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    counts.values().copied().max().unwrap_or(0)
}

fn take<K: Eq + Hash>(counts: &Mutex<HashMap<K, u32>>, key: &K) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn crowd(sessions: usize, per_address: Option<u32>, per_user: Option<u32>) -> Crowd {
        Crowd::new(Limits { sessions, per_address, per_user, ..Limits::default() })
    }

    #[test]
    fn who_goes_makes_room() {
        let crowd = crowd(2, None, None);
        let mut first = crowd.enter(address(1)).unwrap();
        let mut second = crowd.enter(address(1)).unwrap();
        assert_eq!(crowd.enter(address(2)).unwrap_err(), Full::Sessions(2));
        crowd.leave(&mut first);
        crowd.leave(&mut first);
        assert_eq!(crowd.sessions(), 1);
        let mut third = crowd.enter(address(2)).unwrap();
        crowd.leave(&mut second);
        crowd.leave(&mut third);
        assert_eq!(crowd.sessions(), 0);
        assert_eq!(crowd.refusals().sessions.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn who_drains_lets_nobody_in_and_nobody_out() {
        let crowd = crowd(2, None, None);
        assert_eq!((crowd.most_per_address(), crowd.most_per_user()), (None, None));
        let mut first = crowd.enter(address(1)).unwrap();
        crowd.drain();
        assert_eq!(crowd.enter(address(1)).unwrap_err(), Full::GoingDown);
        assert_eq!((crowd.sessions(), crowd.refusals().going_down.load(Ordering::Relaxed)), (1, 1));
        crowd.leave(&mut first);
        assert_eq!(crowd.sessions(), 0);
    }

    #[test]
    fn addresses_and_users_are_counted_apart() {
        let crowd = crowd(9, Some(2), Some(1));
        let mut first = crowd.enter(address(1)).unwrap();
        crowd.name(&mut first, "ann").unwrap();
        let mut second = crowd.enter(address(1)).unwrap();
        assert_eq!(crowd.name(&mut second, "ann").unwrap_err(), Full::User(1));
        crowd.name(&mut second, "bob").unwrap();
        assert_eq!(crowd.enter(address(1)).unwrap_err(), Full::Address(2));
        assert_eq!(crowd.sessions(), 2, "who is refused takes no place");
        assert_eq!((crowd.most_per_address(), crowd.most_per_user()), (Some((2, 2)), Some((1, 1))));
        let mut other = crowd.enter(address(2)).unwrap();
        crowd.leave(&mut first);
        crowd.name(&mut other, "ann").unwrap();
        for place in [&mut second, &mut other] {
            crowd.leave(place);
        }
        assert_eq!(crowd.sessions(), 0);
        assert!(crowd.addresses.lock().unwrap().is_empty() && crowd.users.lock().unwrap().is_empty());
    }

    #[test]
    fn shares_shrink_and_never_end() {
        let sessions = 100;
        let buffer_bytes = Limits::buffer_bytes_min(sessions) + (1 << 20);
        let crowd = Crowd::new(Limits { sessions, buffer_bytes, ..Limits::default() });
        let (mut shares, mut held) = (Vec::new(), 0);
        for _ in 0..sessions {
            let share = crowd.share_bytes();
            crowd.hold(0, share);
            held += share;
            shares.push(share);
        }
        assert!(shares.is_sorted_by(|a, b| a >= b), "{shares:?}");
        assert!(shares.iter().all(|share| *share >= SHARE_BYTES_MIN));
        assert!(held <= buffer_bytes, "{held} of {buffer_bytes}");
        assert_eq!(crowd.held_bytes(), held);
        crowd.hold(held, 0);
        assert_eq!(crowd.share_bytes(), shares[0]);
    }
}
