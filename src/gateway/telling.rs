//! What sessions tell of themselves: counted, logged, and written down for whoever asks later who was where.
//!
//! A line of the log says everything in its text; what a machine may look for stands beside it (`session`, `outcome`, …).

use super::dossier::{Asked, Dossier};
use super::entry::Input;
use super::slab::Key;
use super::{Counters, Gateway};
use crate::access::Right;
use crate::audit::{Record, Scribe, Whose};
use crate::config::Watching;
use crate::crowd::Full;
use crate::engine::EngineId;
use crate::outcome::Outcome;
use crate::recording::About;
use crate::session::{Event as Told, Reap, Recorded, SessionId, Whereabouts};
use std::fmt::Write as _;
use std::net::IpAddr;

impl Gateway {
    pub(super) fn tell(&mut self, key: Key, told: &Told) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let id = entry.session.id();
        match told {
            Told::Asked(wish) => {
                // Until it is open, at least: who is refused is told with what he asked for.
                entry.dossier = Some(Box::new(Dossier::new(wish)));
                if self.settings.watching != Watching::Off && wish.right != Right::Watch {
                    self.prepare_stage(key, &wish.target);
                }
            }
            // What of it concerns whoever looks on, he has seen.
            Told::Opened { container, engine, stages, window: _, name: _, tty: _ } => {
                if !self.is_watched {
                    entry.dossier = None;
                }
                self.counters.count_opened(stages);
                self.counters.note_back(self.engines.name(*engine));
                if let Some(link) = self.peers.engine(*engine, &self.engines)
                    && std::mem::take(&mut link.trouble)
                {
                    log::info!("the engine at {} is back", link.endpoint.address());
                }
                let name = self.engines.name(*engine);
                let of = if self.engines.only().is_some() { String::new() } else { format!(" of {name}") };
                log::info!(
                    session:% = id, container, engine:% = name;
                    "opened in container {container}{of} after {} ms", stages.total()
                );
                self.record_opening(key, Some((container.as_str(), *engine)), None);
            }
            Told::Admitted { user, address, recorded } => {
                Counters::count(&self.counters.access_allowed);
                if let (Some((recorder, waker)), Some(dossier), Recorded::Wanted | Recorded::Must) =
                    (&self.recorder, &mut entry.dossier, recorded)
                {
                    let asked = dossier.open();
                    let about = About {
                        session: id,
                        title: format!("{user} in {}", asked.target),
                        command: (!asked.command.is_empty()).then(|| asked.command.join(" ")),
                        must: *recorded == Recorded::Must,
                    };
                    dossier.observe(recorder.tape(about, waker.clone()));
                }
                if let (Some(audit), Some(dossier), true) =
                    (&self.audit, &mut entry.dossier, self.audits_commands)
                {
                    let asked = dossier.open();
                    let about = Whose { session: id, user: user.clone(), address: *address, asked };
                    dossier.observe(Box::new(Scribe::new(audit.clone(), self.alerts.clone(), about)));
                }
                log::info!(session:% = id, user, address:%; "{user} from {address} is let in");
            }
            Told::TurnedAway { status, why, address } => {
                log::info!(session:% = id, status, address:%; "turned away with {status}, from {address}: {why}");
                self.record_turning_away(id, *status, why, *address);
            }
            // Whoever looks on has seen it.
            Told::Resized(_) => {}
            Told::Watches { watched, user, address } => {
                Counters::count(&self.counters.access_allowed);
                log::info!(session:% = id, user, address:%; "{user} from {address} watches session {watched}");
                self.record_opening(key, None, Some(*watched));
            }
            Told::BadProxyHeader(why) => {
                Counters::count(&self.counters.proxy_headers_bad);
                log::debug!(session:% = id; "closed, {why}");
            }
            Told::Ended { outcome, was } => {
                self.counters.count_outcome(outcome);
                if self.settings.watching != Watching::Off {
                    self.gallery.closes(id.number, outcome.exit_status(), &outcome.to_string());
                }
                let label = outcome.label();
                let asked = entry.dossier.as_deref().filter(|_| was.since.is_none()).map(Dossier::open);
                let wish = asked.as_ref().map_or(String::new(), |asked| wish_text(asked, was.address));
                log::info!(session:% = id, outcome = label; "ended, {label}: {outcome}{wish}");
                self.record_end(key, outcome, was);
            }
            Told::Unguarded { container, why } => log::warn!(
                "container {container} has no guard ({why}): if this gateway is killed, what sessions run there stays"
            ),
            Told::Reap(reap) => {
                self.counters.count_reap(reap);
                tell_reap(id, reap);
            }
        }
    }

    /// Writes down that somebody is in; where that must be and cannot, he is not.
    fn record_opening(&mut self, key: Key, place: Option<(&str, EngineId)>, watched: Option<SessionId>) {
        let (Some(audit), Some(entry)) = (&self.audit, self.entries.get_mut(key)) else { return };
        let asked = entry.dossier.as_deref().map(Dossier::open);
        let was = entry.session.whereabouts().unwrap_or_default();
        let is_recorded = audit.record(&Record {
            user: was.user.as_deref(),
            container: place.map_or(&was.container[..], |(container, _)| container),
            engine: place.map_or("", |(_, engine)| self.engines.name(engine)),
            address: was.address.map(|address| address.to_string()),
            watches: watched.map(|watched| watched.to_string()),
            ..record("opened", entry.session.id(), asked.as_ref())
        });
        if audit.is_required() && (!is_recorded || audit.is_failing()) {
            let detail = self.crowd.refuse(Full::Unrecorded).to_string();
            self.step(key, Input::End(Outcome::OverLimit { detail }));
        }
    }

    fn record_end(&mut self, key: Key, outcome: &Outcome, was: &Whereabouts) {
        let (Some(audit), Some(entry)) = (&self.audit, self.entries.get_mut(key)) else { return };
        let asked = entry.dossier.as_deref().map(Dossier::open);
        let (input, output) =
            entry.dossier.as_ref().map_or((0, 0), |dossier| (dossier.input_bytes, dossier.output_bytes));
        let opened = was.since.is_some();
        audit.record(&Record {
            user: was.user.as_deref(),
            container: &was.container,
            engine: was.engine.map_or("", |engine| self.engines.name(engine)),
            address: was.address.map(|address| address.to_string()),
            outcome: Some(outcome.label()),
            detail: Some(outcome.to_string()),
            status: if let Outcome::Exited { status } = outcome { Some(*status) } else { None },
            seconds: was.since.map(|since| self.now.saturating_sub(since) / 1000),
            input_bytes: opened.then_some(input),
            output_bytes: opened.then_some(output),
            ..record(if opened { "ended" } else { "refused" }, entry.session.id(), asked.as_ref())
        });
    }

    fn record_turning_away(&self, id: SessionId, status: u16, why: &str, address: IpAddr) {
        let Some(audit) = &self.audit else { return };
        // Who is turned away for want of records would drown those that wait.
        if audit.forbids_entering() {
            return;
        }
        let outcome = match status {
            503 => "over_limit",
            403 => "refused",
            _ => "bad_request",
        };
        audit.record(&Record {
            address: Some(address.to_string()),
            outcome: Some(outcome),
            detail: Some(why.to_owned()),
            ..record("refused", id, None)
        });
    }
}

/// What every record of a session has.
fn record<'a>(event: &'static str, id: SessionId, asked: Option<&'a Asked>) -> Record<'a> {
    let of_session = Record::now(event, id.to_string());
    let Some(Asked { right, token, target, command, is_cut }) = asked else { return of_session };
    Record { token, right: right.name(), target, command, cut: *is_cut, ..of_session }
}

/// What somebody had asked for, behind why he did not get it. A command may hold secrets: it does not stand there.
fn wish_text(asked: &Asked, address: Option<IpAddr>) -> String {
    let mut text = format!(" (asked for: {} {}", asked.right.name(), asked.target);
    if let Some(address) = address {
        let _ = write!(text, ", from {address}");
    }
    if !asked.token.is_empty() {
        let _ = write!(text, ", with token {}", asked.token);
    }
    text + ")"
}

fn tell_reap(id: SessionId, reap: &Reap) {
    match reap {
        Reap::Tried | Reap::Done { processes: 0, unseen: false } => {}
        Reap::Failed(why) => {
            log::info!(session:% = id; "what it left in its container cannot be ended yet: {why}");
        }
        Reap::Done { processes, unseen: false } => {
            log::info!(session:% = id; "{processes} of its processes were left and are ended");
        }
        Reap::Done { processes, unseen: true } => log::info!(
            session:% = id;
            "{processes} of its processes were left and are ended; of other users' that began meanwhile \
             nobody can say whose they are"
        ),
        Reap::GivenUp(why) => {
            log::warn!(session:% = id; "processes of the session may be left in the container: {why}");
        }
    }
}
