//! What sessions tell of themselves, counted and logged.

use super::dossier::Dossier;
use super::slab::Key;
use super::{Counters, Gateway};
use crate::session::{Event as Told, Reap, SessionId};

impl Gateway {
    pub(super) fn tell(&mut self, key: Key, told: &Told) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let id = entry.session.id();
        match told {
            Told::Asked(wish) => {
                if self.is_watched {
                    entry.dossier = Some(Box::new(Dossier::new(wish)));
                }
            }
            Told::Opened { container, engine, stages } => {
                self.counters.count_opened(stages);
                self.counters.note_back(self.engines.name(*engine));
                if let Some(link) = self.peers.engine(*engine, &self.engines)
                    && std::mem::take(&mut link.trouble)
                {
                    log::info!("the engine at {} is back", link.endpoint.address());
                }
                let name = self.engines.name(*engine);
                let of = if self.engines.only().is_some() { String::new() } else { format!(" of {name}") };
                log::info!("session {id}: opened in container {container}{of} after {} ms", stages.total());
            }
            Told::Admitted { user, address } => {
                Counters::count(&self.counters.access_allowed);
                log::info!("session {id}: {user} from {address} is let in");
            }
            Told::BadProxyHeader(why) => {
                Counters::count(&self.counters.proxy_headers_bad);
                log::debug!("session {id}: closed, {why}");
            }
            Told::Ended { outcome, was: _ } => {
                self.counters.count_outcome(outcome);
                log::info!("session {id}: ended, {}: {outcome}", outcome.label());
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
}

fn tell_reap(id: SessionId, reap: &Reap) {
    match reap {
        Reap::Tried | Reap::Done { processes: 0, unseen: false } => {}
        Reap::Failed(why) => {
            log::info!("session {id}: what it left in its container cannot be ended yet: {why}");
        }
        Reap::Done { processes, unseen: false } => {
            log::info!("session {id}: {processes} of its processes were left and are ended");
        }
        Reap::Done { processes, unseen: true } => log::info!(
            "session {id}: {processes} of its processes were left and are ended; of other users' that began meanwhile \
             nobody can say whose they are"
        ),
        Reap::GivenUp(why) => {
            log::warn!("session {id}: processes of the session may be left in the container: {why}");
        }
    }
}
