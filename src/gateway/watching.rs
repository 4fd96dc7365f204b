//! Who watches whom. A session that may be watched has a [`Stage`]: what was last seen there, and who looks on.
//!
//! The loop of the session writes what is said onto the stage, and wakes those who wait for more; each watcher's own loop
//! takes from it what that watcher has not seen, when he has taken what came before. So a slow one costs the session
//! nothing: he finds that he has missed something, and gets the screen anew. Where nobody may watch there are no stages.

use super::Gateway;
use super::desk::{Line, Order};
use super::entry::Input;
use super::observer::{Observer, Seen, Wanted};
use super::recent::Recent;
use super::slab::Key;
use crate::config::{self, Watching};
use crate::engine::WindowSize;
use crate::locate::Target;
use crate::session::{Afresh, Millis, NoSeat, SessionId, Sight, Subject};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// All sessions of the process that can be watched, or are about to be open, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Gallery {
    stages: Mutex<HashMap<u64, Arc<Stage>>>,
}

/// What is to be seen of one session.
#[derive(Debug)]
pub(super) struct Stage {
    /// What was asked for.
    target: Target,
    /// Once it is open.
    subject: OnceLock<Subject>,
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
    /// Somebody has said what he wants: what will be said in that session is seen from its beginning.
    fn prepare(&self, number: u64, target: Target, owner: (Line, Key)) -> Arc<Stage> {
        let stage = Arc::new(Stage { target, subject: OnceLock::new(), owner, play: Mutex::default() });
        lock(&self.stages).insert(number, stage.clone());
        stage
    }

    /// The session of this number, if it can be watched.
    fn stage(&self, number: u64) -> Option<Arc<Stage>> {
        let stage = lock(&self.stages).get(&number).cloned();
        stage.filter(|stage| stage.subject.get().is_some())
    }

    /// The same, as a watcher is told of it.
    pub(super) fn subject(&self, number: u64) -> Option<Box<Subject>> {
        self.stage(number)?.subject.get().cloned().map(Box::new)
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
    fn is_on_terminal(&self) -> bool {
        self.subject.get().is_some_and(|subject| subject.tty)
    }

    /// The session is open: it can be watched from now on.
    fn opens(&self, id: SessionId, user: &str, container: &str, name: Option<&str>, tty: bool) {
        let target = match (&self.target, name) {
            // What was asked for may be the beginning of an id.
            (Target::Container(_), Some(name)) => Target::Container(name.to_owned()),
            (Target::Container(_) | Target::App { .. }, _) => self.target.clone(),
        };
        let (user, container) = (user.to_owned(), container.to_owned());
        // It is opened once.
        let _ = self.subject.set(Subject { id, user, target, container, tty });
    }

    /// The session says so much more.
    fn says(&self, bytes: &[u8]) {
        let mut play = lock(&self.play);
        play.recent.push(bytes, config::WATCHED_BYTES_MAX);
        play.wake();
    }

    /// Its terminal has another size.
    fn resized(&self, size: WindowSize) {
        let mut play = lock(&self.play);
        if play.size != Some(size) {
            play.size = Some(size);
            play.wake();
        }
    }

    /// What is to be told to whoever is in it; it is told once.
    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.play).notes)
    }

    /// Somebody sits down to watch; whoever is in there is to be told where `told`.
    fn sit(self: &Arc<Stage>, watcher: (Line, Key), user: String, told: bool) -> Result<View, NoSeat> {
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
    fn look(&mut self) -> Option<Sight> {
        let mut play = lock(&self.stage.play);
        if self.is_over {
            return None;
        }
        let mut sight = Sight::default();
        match self.seen.and_then(|seen| play.recent.since(seen)) {
            Some(bytes) => sight.bytes = bytes,
            None => {
                let (from, bytes) = play.recent.whole();
                let prelude = if self.stage.is_on_terminal() { play.recent.prelude() } else { Vec::new() };
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
    fn rise(self, told: bool) {
        let mut play = lock(&self.stage.play);
        let Some(place) = play.seats.iter().position(|seat| seat.number == self.seat) else { return };
        let Seat { user, .. } = play.seats.swap_remove(place);
        if told && play.ended.is_none() {
            play.note(format!("{user} watches this session no more."));
            self.stage.call_owner();
        }
    }
}

/// Writes what is seen of a session onto its stage.
#[derive(Debug)]
struct Onlooker {
    id: SessionId,
    stage: Arc<Stage>,
}

impl Observer for Onlooker {
    fn see(&mut self, _: Millis, seen: Seen<'_>) -> Wanted {
        match seen {
            Seen::Opened { window, user, tty, container, name, .. } => {
                if let Some(size) = window {
                    self.stage.resized(size);
                }
                self.stage.opens(self.id, user, container, name, tty);
            }
            Seen::Resized(size) => self.stage.resized(size),
            Seen::Output(bytes) => self.stage.says(bytes),
            // What is typed shows where its echo does.
            Seen::Input(_) => {}
            // How is told when it is.
            Seen::Ended { .. } => return Wanted::Nothing,
        }
        Wanted::More
    }
}

impl Gateway {
    /// Somebody has said what he wants; others may watch it once it is open.
    pub(super) fn prepare_stage(&mut self, key: Key, target: &Target) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let (id, Some(dossier)) = (entry.session.id(), &mut entry.dossier) else { return };
        let stage = self.gallery.prepare(id.number, target.clone(), (self.line.clone(), key));
        dossier.observe(Box::new(Onlooker { id, stage }));
    }

    /// A watcher is let in, and sits down.
    pub(super) fn sit(&mut self, key: Key, watched: SessionId, user: String) {
        let told = self.settings.watching == Watching::Told;
        let stage = self.gallery.stage(watched.number).ok_or(NoSeat::Gone);
        match stage.and_then(|stage| stage.sit((self.line.clone(), key), user, told)) {
            Ok(view) => {
                self.views.insert(key, view);
                self.look(key);
            }
            Err(why) => self.step(key, Input::NotSeated(why)),
        }
    }

    /// A watcher has gone.
    pub(super) fn rise(&mut self, key: Key) {
        if let Some(view) = self.views.remove(&key) {
            view.rise(self.settings.watching == Watching::Told);
        }
    }

    /// Shows a watcher what he has not seen, if he has taken what he was shown.
    pub(super) fn look(&mut self, key: Key) {
        for _ in 0..config::LOOKS_PER_TURN {
            let wants = |entry: &mut super::entry::Entry| entry.session.wants_sight(entry.client_backlog());
            if !self.entries.get_mut(key).is_some_and(wants) {
                return;
            }
            let Some(sight) = self.views.get_mut(&key).and_then(View::look) else { return };
            self.step(key, Input::Sight(Box::new(sight)));
        }
        // Others come first; a loop that has ended has no watchers.
        let _ = self.line.ask(Order::Look(key));
    }

    /// Tells whoever is in this session of his watchers, unless he does not read: then with a later PING.
    pub(super) fn tell_watched(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.client_backlog() > config::READ_BYTES {
            return;
        }
        let Some(stage) = self.gallery.stage(entry.session.id().number) else { return };
        let notes = stage.notes();
        if !notes.is_empty() {
            self.step(key, Input::Watched(notes.join(" ")));
        }
    }
}
