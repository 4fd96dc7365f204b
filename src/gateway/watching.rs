//! Who watches whom. A session that may be watched has a [`Stage`]: what was last seen there, and who looks on.
//!
//! The loop of the session writes what is said onto the stage, and wakes those who wait for more; each watcher's own loop
//! takes from it what that watcher has not seen, when he has taken what came before. So a slow one costs the session
//! nothing: he finds that he has missed something, and gets the screen anew. Where nobody may watch there are no stages.

use super::desk::{Line, Order};
use super::recent::Recent;
use super::slab::Key;
use crate::config;
use crate::engine::WindowSize;
use crate::session::{Afresh, NoSeat, Sight, Subject};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All sessions of the process that can be watched, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Gallery {
    stages: Mutex<HashMap<u64, Arc<Stage>>>,
}

/// What is to be seen of one session.
#[derive(Debug)]
pub(super) struct Stage {
    subject: Subject,
    /// The session's own loop and slot.
    owner: (Line, Key),
    play: Mutex<Play>,
}

#[derive(Debug, Default)]
struct Play {
    recent: Recent,
    size: Option<WindowSize>,
    /// The exit status and how, once it has ended.
    ended: Option<(u8, String)>,
    seats: Vec<Seat>,
    /// The next seat's number.
    next_seat: u64,
    /// What is to be told to whoever is in the session.
    notes: Vec<String>,
}

#[derive(Debug)]
struct Seat {
    number: u64,
    watcher: (Line, Key),
    user: String,
    /// He has seen everything, and is to be woken.
    waits: bool,
}

/// A watcher's place: how far he has seen.
#[derive(Debug)]
pub(super) struct View {
    stage: Arc<Stage>,
    seat: u64,
    /// None before he has seen anything.
    seen: Option<u64>,
    size: Option<WindowSize>,
    is_over: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gallery {
    /// A session is open, and can be watched from now on.
    pub(super) fn opens(
        &self,
        subject: Subject,
        size: Option<WindowSize>,
        owner: (Line, Key),
    ) -> Arc<Stage> {
        let number = subject.id.number;
        let play = Mutex::new(Play { size, ..Play::default() });
        let stage = Arc::new(Stage { subject, owner, play });
        lock(&self.stages).insert(number, stage.clone());
        stage
    }

    /// The session of this number, if it can be watched.
    pub(super) fn stage(&self, number: u64) -> Option<Arc<Stage>> {
        lock(&self.stages).get(&number).cloned()
    }

    /// A session has ended so: who watches sees the rest, and then that.
    pub(super) fn closes(&self, number: u64, status: u8, how: &str) {
        if let Some(stage) = lock(&self.stages).remove(&number) {
            let mut play = lock(&stage.play);
            play.ended = Some((status, how.to_owned()));
            play.wake();
        }
    }
}

impl Play {
    fn wake(&mut self) {
        for seat in self.seats.iter_mut().filter(|seat| seat.waits) {
            seat.waits = false;
            let (line, key) = &seat.watcher;
            // A loop that has ended has no watchers.
            let _ = line.ask(Order::Look(*key));
        }
    }

    fn note(&mut self, text: String) {
        match self.notes.len() < config::WATCHED_NOTES_MAX {
            true => self.notes.push(text),
            false => {
                if let Some(last) = self.notes.last_mut() {
                    *last = "others come and go who watch this session.".to_owned();
                }
            }
        }
    }
}

impl Stage {
    /// Who is in it, and where.
    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The session says so much more.
    pub(super) fn says(&self, bytes: &[u8]) {
        let mut play = lock(&self.play);
        play.recent.push(bytes, config::WATCHED_BYTES_MAX);
        play.wake();
    }

    /// Its terminal has another size.
    pub(super) fn resized(&self, size: WindowSize) {
        let mut play = lock(&self.play);
        if play.size != Some(size) {
            play.size = Some(size);
            play.wake();
        }
    }

    /// What is to be told to whoever is in it; it is told once.
    pub(super) fn notes(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.play).notes)
    }

    /// Something is to be told.
    pub(super) fn has_notes(&self) -> bool {
        !lock(&self.play).notes.is_empty()
    }

    /// Somebody sits down to watch; whoever is in there is to be told where `told`.
    pub(super) fn sit(
        self: &Arc<Stage>,
        watcher: (Line, Key),
        user: String,
        told: bool,
    ) -> Result<View, NoSeat> {
        let mut play = lock(&self.play);
        if play.ended.is_some() {
            return Err(NoSeat::Gone);
        }
        if play.seats.len() >= config::WATCHERS_MAX {
            return Err(NoSeat::Full);
        }
        if told {
            play.note(format!("{user} watches this session."));
            self.call_owner();
        }
        let seat = play.next_seat;
        play.next_seat += 1;
        play.seats.push(Seat { number: seat, watcher, user, waits: false });
        Ok(View { stage: self.clone(), seat, seen: None, size: None, is_over: false })
    }

    fn call_owner(&self) {
        let (line, key) = &self.owner;
        // A loop that has ended has no sessions.
        let _ = line.ask(Order::Tell(*key));
    }
}

impl View {
    /// What its watcher has not seen; none where that is nothing, and then he is woken when there is something.
    pub(super) fn look(&mut self) -> Option<Sight> {
        let mut play = lock(&self.stage.play);
        if self.is_over {
            return None;
        }
        let mut sight = Sight::default();
        match self.seen.and_then(|seen| play.recent.since(seen)) {
            Some(bytes) => sight.bytes = bytes,
            None => {
                let (from, bytes) = play.recent.whole();
                let prelude = if self.stage.subject.tty { play.recent.prelude() } else { Vec::new() };
                let missed_bytes = self.seen.map_or(0, |seen| from.saturating_sub(seen));
                sight.afresh = Some(Afresh { prelude, missed_bytes });
                sight.bytes = bytes;
            }
        }
        self.seen = Some(play.recent.end());
        if play.size != self.size {
            self.size = play.size;
            sight.size = play.size;
        }
        self.is_over = play.ended.is_some();
        sight.ended.clone_from(&play.ended);
        if sight != Sight::default() {
            return Some(sight);
        }
        if let Some(seat) = play.seats.iter_mut().find(|seat| seat.number == self.seat) {
            seat.waits = true;
        }
        None
    }

    /// Its watcher gets up; whoever is in there is to be told where `told`.
    pub(super) fn rise(self, told: bool) {
        let mut play = lock(&self.stage.play);
        let Some(place) = play.seats.iter().position(|seat| seat.number == self.seat) else { return };
        let Seat { user, .. } = play.seats.swap_remove(place);
        if told && play.ended.is_none() {
            play.note(format!("{user} watches this session no more."));
            self.stage.call_owner();
        }
    }
}
