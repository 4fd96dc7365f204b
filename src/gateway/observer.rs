//! Who looks on at a session: its recording, those who watch it. They are shown copies of what goes through it; where nobody
//! looks on, nothing is copied.

use super::Gateway;
use super::dossier::Dossier;
use super::entry::Entry;
use super::slab::Key;
use crate::engine::{Engines, WindowSize};
use crate::outcome::Outcome;
use crate::session::{Effect, Event as Told, Lane, Millis};
use std::fmt;

/// What is to be seen of a session, in its order.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// Its process runs.
    Opened {
        /// The size of its terminal; none where it has none.
        window: Option<WindowSize>,
        /// Who is in it.
        user: &'a str,
        /// It is on a terminal.
        tty: bool,
        /// The container, as its engine is asked for it.
        container: &'a str,
        /// The container's own name, where the engine told it.
        name: Option<&'a str>,
        /// Its engine's name.
        engine: &'a str,
    },
    /// What the process has said: both streams as they came, cut where no character is torn.
    Output(&'a [u8]),
    /// What it was sent to read.
    Input(&'a [u8]),
    /// Its window has this size now.
    Resized(WindowSize),
    /// It is over; nothing follows.
    Ended {
        /// The status of its process, if that ended by itself.
        status: Option<u8>,
        /// How, as a sentence.
        text: &'a str,
    },
}

/// What an observer wants to see then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What follows.
    More,
    /// Nothing: it is forgotten.
    Nothing,
    /// The end of the session, for a reason that the person is told; and nothing more itself.
    TheEnd(&'static str),
}

/// Looks on. It belongs to the session's loop, and must not keep it waiting.
pub trait Observer: fmt::Debug + Send {
    /// Something is to be seen, at this moment of the loop's clock.
    fn see(&mut self, at: Millis, seen: Seen<'_>) -> Wanted;

    /// The session's engine is not to be read until this one has come further; whoever says so wakes the loop then.
    fn is_behind(&self) -> bool {
        false
    }
}

/// Shows all who look on at this session of `user`'s what one step of it has brought: `input` and `output` kept copies for
/// that. Why it is to end, where one of them wants that.
pub(super) fn show(
    dossier: &mut Dossier,
    user: &str,
    now: Millis,
    input: &Lane,
    output: &Lane,
    effects: &[Effect],
    engines: &Engines,
) -> Option<&'static str> {
    let told = || {
        effects.iter().filter_map(|effect| if let Effect::Tell(told) = effect { Some(told) } else { None })
    };
    let mut end = None;
    let mut see = |seen: Seen<'_>| end = dossier.show(now, seen).or(end);
    // What has opened it may have brought its first output.
    for told in told() {
        if let Told::Opened { window, container, engine, name, tty, stages: _ } = told {
            let (window, tty, engine) = (*window, *tty, engines.name(*engine));
            see(Seen::Opened { window, user, tty, container, name: name.as_deref(), engine });
        }
        if let Told::Resized(window) = told {
            see(Seen::Resized(*window));
        }
    }
    if !input.content.is_empty() {
        see(Seen::Input(&input.content));
    }
    if !output.content.is_empty() {
        see(Seen::Output(&output.content));
    }
    for told in told() {
        if let Told::Ended { outcome, .. } = told {
            let status = if let Outcome::Exited { status } = outcome { Some(*status) } else { None };
            see(Seen::Ended { status, text: &outcome.to_string() });
        }
    }
    end
}

impl Gateway {
    /// Nobody reads its engine until whoever is behind has come further, and wakes this loop.
    pub(super) fn hold_back(&mut self, key: Key) {
        let dossier = self.entries.get_mut(key).and_then(|entry: &mut Entry| entry.dossier.as_mut());
        if let Some(dossier) = dossier
            && !std::mem::replace(&mut dossier.is_held_back, true)
        {
            self.held_back.push(key);
        }
    }

    /// Somebody has come further.
    pub(super) fn go_on(&mut self) {
        for key in std::mem::take(&mut self.held_back) {
            if let Some(dossier) = self.entries.get_mut(key).and_then(|entry| entry.dossier.as_mut()) {
                dossier.is_held_back = false;
            }
            self.requeue(key);
        }
    }
}
