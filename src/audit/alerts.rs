//! Tells a service of the operator's when somebody enters a command that meets a pattern: from a thread of its own, with an end
//! to each call and to how many wait.

use super::Record;
use crate::commands::alerts::Pattern;
use crate::gateway::probe;
use crate::service::Service;
use crate::tls::Connector;
use crate::writer::{Figures, Queue, Room, Work};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Alerts that may wait for the service.
const ROOM: Room = Room { items: 256, bytes: 2 << 20 };
/// How long the service rests before it is called once more about the same.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end of the gateway waits for the last alerts.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// What came of alerts.
#[derive(Debug, Default)]
struct Counts {
    told: AtomicU64,
    failed: AtomicU64,
}

/// The patterns, and the way to the service.
#[derive(Debug, Clone)]
pub struct Alerts {
    patterns: Arc<[Pattern]>,
    queue: Queue<Vec<u8>>,
    counts: Arc<Counts>,
}

impl Alerts {
    /// From now on, what meets one of the patterns is told to the service.
    ///
    /// # Errors
    /// The machine gives no thread.
    pub fn start(
        service: Service,
        connector: Option<Connector>,
        patterns: Vec<Pattern>,
    ) -> io::Result<Alerts> {
        let counts: Arc<Counts> = Arc::default();
        let caller = Caller { service, connector, counts: counts.clone(), is_away: false };
        Ok(Alerts { patterns: patterns.into(), queue: Queue::start("alert", ROOM, caller)?, counts })
    }

    /// What alerts.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Tells the service of this record. Waits for nobody.
    pub fn tell(&self, record: &Record<'_>) {
        let request = serde_json::to_vec(record).unwrap_or_default();
        let bytes = request.len();
        self.queue.offer(request, bytes);
    }

    /// How many the service has taken, how many it has not, and how many never reached it since too many waited.
    pub fn counts(&self) -> [u64; 3] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [of(&self.counts.told), of(&self.counts.failed), self.queue.figures().lost()]
    }

    /// Waits for what is still to be told, but not for long.
    pub fn finish(&self) {
        self.queue.finish(FINISH_LIMIT);
    }
}

struct Caller {
    service: Service,
    connector: Option<Connector>,
    counts: Arc<Counts>,
    /// The log has said so.
    is_away: bool,
}

impl Caller {
    fn call(&self, body: &[u8]) -> Result<(), String> {
        let request = self.service.post("", &[("Content-Type", "application/json")], body);
        let reply = probe::call(&self.service.address, self.connector.as_ref(), "POST", &request);
        match reply {
            Ok(reply) if (200..300).contains(&reply.status()) => Ok(()),
            Ok(reply) => Err(format!("it answers {}", reply.status())),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Work<Vec<u8>> for Caller {
    fn take(&mut self, body: Vec<u8>, figures: &Figures) {
        let mut called = self.call(&body);
        if called.is_err() && !figures.has_ended() {
            std::thread::sleep(RETRY_INTERVAL);
            called = self.call(&body);
        }
        match called {
            Ok(()) => {
                self.counts.told.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut self.is_away) {
                    log::info!("the alert webhook is back");
                }
            }
            Err(why) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_away, true) {
                    log::error!(
                        "the alert webhook could not be told ({why}); what it misses stands in the audit records"
                    );
                }
            }
        }
    }
}
