//! How long a session may last, and how long nobody may type in it: told in its terminal a while before, then its end.
//!
//! Both are looked at with each PING, as rights are, so they act within 10 s after they should; no
//! other clock runs for them, and a keystroke only leaves a mark. Output, sizes of the window and PINGs are no
//! keystrokes. Where nobody can type (an attached session, a command whose input has ended) nobody is idle.

use super::opening::seconds;
use super::{Context, Millis, Session, State};
use crate::config;
use crate::outcome::{Outcome, Seconds};

/// Marks that input leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing since the last PING.
    Nothing,
    /// Something, and output has come since.
    Answered,
    /// Something, and nothing has come since.
    Unanswered,
}

/// An end that comes unless something is done.
struct End {
    at: u32,
    /// How long before it is told.
    notice: u32,
}

/// When the last PING was due before this one, and this one, in seconds.
struct Look {
    before: u32,
    now: u32,
}

impl End {
    fn new(from: u32, lasts: u32) -> End {
        End { at: from.saturating_add(lasts), notice: config::NOTICE_SECONDS_MAX.min(lasts / 2) }
    }

    /// In how many seconds it comes, if this is the moment to tell: with the PING that is the first behind it.
    fn told_now(&self, look: &Look) -> Option<u32> {
        let tell_at = self.at - self.notice;
        let is_now = look.before < tell_at && tell_at <= look.now;
        is_now.then(|| {
            self.at.saturating_sub(look.now).next_multiple_of(seconds(config::PING_INTERVAL_MILLISECONDS))
        })
    }
}

impl Session {
    /// Whether it has lasted long enough, or nobody has typed for too long. `before` is when the PING before this one
    /// was due, in milliseconds, and `due` when this one was.
    #[inline]
    pub(super) fn check_time(&mut self, cx: &mut Context<'_>, typed: Typed, before: Millis, due: Millis) {
        let look = Look { before: seconds(before), now: seconds(due) };
        let codec = self.codec;
        let granted = self.granted_seconds().unwrap_or(u32::MAX);
        let lasts = granted.min(cx.settings.lasts_seconds_max.unwrap_or(u32::MAX));
        let began = match &self.state {
            State::Opening(state) => seconds(state.began),
            State::Streaming(state) => state.stay.opened_seconds,
            State::Watching(state) => state.began_seconds(),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Listing(_)
            | State::Guarding(_)
            | State::Gone => return,
        };
        let over = End::new(began, lasts);
        if look.now >= over.at {
            return self.end(cx, Outcome::TimeOver { seconds: lasts });
        }
        let State::Streaming(state) = &mut self.state else { return };
        if typed != Typed::Nothing {
            state.quiet_since = look.now;
        }
        if let Some(left) = over.told_now(&look) {
            let (lasts, left) = (Seconds(lasts), Seconds(left));
            state.note(codec, cx, &format!("This session may last {lasts}: it ends in {left}."));
        }
        let Some(idle) = cx.settings.idle_seconds_max.filter(|_| state.can_be_typed_in()) else { return };
        let quiet = End::new(state.quiet_since, idle);
        if look.now >= quiet.at {
            return self.end(cx, Outcome::Idle { seconds: idle });
        }
        if let Some(left) = quiet.told_now(&look) {
            let text =
                format!("Nothing is typed: this session ends in {}. Press a key to stay.", Seconds(left));
            state.note(codec, cx, &text);
        }
    }

    /// Somebody else begins to watch, or has gone: the person is told.
    pub fn watched(&mut self, cx: &mut Context<'_>, text: &str) {
        if let State::Streaming(state) = &self.state {
            state.note(self.codec, cx, text);
        }
    }

    /// The gateway goes down: who is in may stay for so many seconds, and who is not is sent elsewhere.
    pub fn drain(&mut self, cx: &mut Context<'_>, seconds: u32) {
        match &mut self.state {
            State::Greeting(_) | State::Opening(_) => self.end(cx, Outcome::Drained),
            State::Streaming(state) => {
                let left = Seconds(seconds);
                let text = format!("This gateway goes down in {left}: finish by then, and enter again.");
                state.note(self.codec, cx, &text);
            }
            // Whose request is still arriving is answered when it is there; a watcher stays as long as whom he watches.
            State::Upgrading(_)
            | State::Watching(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Listing(_)
            | State::Guarding(_)
            | State::Gone => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_once_by_the_ping_that_comes_first() {
        for (lasts, notice) in [(60, 30), (120, 60), (3600, 60)] {
            let end = End::new(1_003, lasts);
            assert_eq!(end.notice, notice);
            let told: Vec<(u32, u32)> = (0..500_u32)
                .map(|ping| Look { before: 995 + 10 * ping, now: 1_005 + 10 * ping })
                .filter_map(|look| end.told_now(&look).map(|left| (look.now, left)))
                .collect();
            let [(at, left)] = told[..] else { panic!("{told:?}") };
            assert!((end.at - notice..end.at - notice + 10).contains(&at), "{at}");
            // It comes with the first PING that is not before it.
            assert!((end.at..end.at + 10).contains(&(at + left)), "{at} {left}");
        }
    }

    #[test]
    fn without_a_limit_there_is_no_end() {
        let end = End::new(7, u32::MAX);
        assert_eq!(end.at, u32::MAX);
        assert!(end.told_now(&Look { before: u32::MAX - 20, now: u32::MAX - 10 }).is_none());
    }
}
