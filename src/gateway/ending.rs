//! How a loop goes down: it takes no new sessions and lets those that are go on for a while; then all get their CLOSE.

use super::Gateway;
use super::entry::Input;
use crate::config;
use std::sync::atomic::Ordering;

impl Gateway {
    /// Begins to drain, and to stop, when it is time for it.
    pub(super) fn mind_the_end(&mut self) {
        if self.crowd.is_draining() && self.drain_until.is_none() {
            self.begin_draining();
        }
        let drained = self.drain_until.is_some_and(|until| self.now >= until || self.crowd.sessions() == 0);
        if (drained || self.stopping.load(Ordering::Relaxed)) && self.stop_at.is_none() {
            self.begin_stopping();
        }
    }

    /// No new sessions; those that are may go on for a while. Who asks how the gateway does is still answered.
    fn begin_draining(&mut self) {
        let seconds = self.settings.drain_seconds;
        self.drain_until = Some(self.now + u64::from(seconds) * 1000);
        if seconds > 0 {
            self.step_all(|| Input::Drain(seconds));
        }
    }

    /// All sessions that are still there get their CLOSE.
    fn begin_stopping(&mut self) {
        self.stop_at = Some(self.now + config::SHUTDOWN_MILLISECONDS_MAX);
        self.listeners.close(self.poll.registry());
        self.step_all(|| Input::ShutDown);
    }
}
