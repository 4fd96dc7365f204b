//! What the desk passes on, done by a loop: nobody who types waits for it.

use super::Gateway;
use super::desk::{Order, Row};
use super::dossier::Dossier;
use super::entry::Input;
use super::slab::Key;
use crate::config;
use crate::outcome::Outcome;
use crate::session::{Millis, Whereabouts};
use std::time::{Duration, SystemTime};

impl Gateway {
    /// Somebody who is no session asks for something.
    pub(super) fn take_orders(&mut self) {
        self.called = false;
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::List(listing) => self.listings.push(listing),
                Order::Look(key) => self.look(key),
                Order::Tell(key) => self.tell_watched(key),
                Order::End { number, reason, tell } => {
                    let found = self
                        .entries
                        .key_of(|entry| entry.session.id().number == number && entry.session.goes_on());
                    if let Some(key) = found {
                        self.step(key, Input::End(Outcome::EndedByOperator { reason }));
                    }
                    // Whoever asked may have stopped waiting.
                    let _ = tell.send(found.is_some());
                }
            }
        }
    }

    /// Goes on with what was asked, for a handful of sessions.
    pub(super) fn list_some(&mut self) {
        let Some(mut listing) = self.listings.pop() else { return };
        let end = listing.slot.saturating_add(config::LISTED_PER_TURN);
        let mut rows = Vec::new();
        while listing.slot < end && (listing.slot as usize) < self.entries.slots() {
            let row = self.entries.key_at(listing.slot).and_then(|key| self.row(key));
            rows.extend(row.filter(|row| listing.filter.admits(row)));
            listing.slot += 1;
        }
        let is_over = (listing.slot as usize) >= self.entries.slots();
        let is_awaited = rows.is_empty() || listing.rows.send(rows).is_ok();
        if !is_over && is_awaited {
            self.listings.push(listing);
        }
    }

    /// A session as operators see it, if it is one that a person can be in, or has left something.
    fn row(&mut self, key: Key) -> Option<Row> {
        let entry = self.entries.get_mut(key)?;
        let Whereabouts { state, user, address, container, engine, since } = entry.session.whereabouts()?;
        let ago = |since: Millis| Duration::from_millis(self.now.saturating_sub(since));
        let id = entry.session.id();
        Some(Row {
            number: id.number,
            id: id.to_string(),
            state,
            asked: entry.dossier.as_deref().map(Dossier::open),
            user,
            address,
            container,
            engine: engine.map(|engine| self.engines.name(engine).to_string()).unwrap_or_default(),
            since: since.and_then(|since| SystemTime::now().checked_sub(ago(since))),
            input_bytes: entry.dossier.as_ref().map_or(0, |dossier| dossier.input_bytes),
            output_bytes: entry.dossier.as_ref().map_or(0, |dossier| dossier.output_bytes),
            held_bytes: u64::from(entry.held_bytes),
        })
    }
}
