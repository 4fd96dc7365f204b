//! The reaper in a container of its own, from an image that the operator names: for images without a sh, and where no
//! exec may end what is left.
//!
//! ```text
//! Creating ──▶ Starting ──▶ Listening ──▶ Removing ──▶ what it found
//!     └────────────┴─ trouble ─┴──────────▶ Removing ──▶ a rest, and an exec again
//! ```
//! It has the session's name, so that there is never more than one, and one that is left from a trouble is found. The
//! engine removes it when it ends, and it ends by itself: also where the gateway does not live to see it.

use super::super::SessionId;
use super::way::{self, Found};
use super::{Next, Reaping, Stage, Way};
use crate::config;
use crate::engine::helper::{self, HelperSpec};
use crate::engine::reply::Fault;
use crate::session::{Call, Context, Millis};
use crate::wire::http::Reply;

/// By this label its containers are found, should one ever stay.
const LABEL: &str = "entry.reaper";
/// Before the reaper's status, in what it says.
const SAID: &str = "reaped ";

/// Where the helper is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Helping {
    Creating,
    Starting,
    Listening,
    /// It has said so much, or met this trouble.
    Removing(Result<Found, String>),
}

impl Reaping {
    /// What the helper is asked for next.
    pub(super) fn help(&self, cx: &Context<'_>, id: SessionId, helping: &Helping) -> (Call, Vec<u8>) {
        let name = format!("entry-reap-{:016x}-{:016x}", id.boot, id.number);
        match helping {
            Helping::Creating => {
                let boot = format!("{:016x}", id.boot);
                let spec = HelperSpec {
                    name: &name,
                    image: cx.settings.reap_helper.as_deref().unwrap_or_default(),
                    beside: &self.post.container.to_string(),
                    arguments: &way::helper_arguments(cx.settings.reap, self.age(cx.now), id),
                    label: (LABEL, &boot),
                };
                (Call::ReapCreate, helper::create(&self.dialect, &spec))
            }
            Helping::Starting => (Call::ReapStart, helper::start(&self.dialect, &name)),
            Helping::Listening => (Call::ReapInspect, helper::said(&self.dialect, &name)),
            Helping::Removing(_) => (Call::ReapRemove, helper::remove(&self.dialect, &name)),
        }
    }

    /// The engine's answer to that.
    pub(super) fn helped(&mut self, helping: Helping, reply: &Reply, now: Millis) -> Next {
        let done = helper::read_done(reply);
        match (helping, done) {
            (Helping::Creating, Ok(())) => self.helps(Helping::Starting),
            // There is one of an earlier try.
            (Helping::Creating, Err(error)) if error.status == 409 => self.no_help(error.text),
            (Helping::Creating, Err(error)) => self.anew(error.text),
            (Helping::Starting, Ok(())) => {
                self.patience = config::REAP_WATCH_MILLISECONDS;
                self.watch_until = now + config::REAPER_MILLISECONDS_MAX;
                self.stage = Stage::Helping(Helping::Listening);
                Next::Wait
            }
            (Helping::Listening, Ok(())) => match helper::read_said(reply, SAID) {
                Ok(Some(status)) => match Found::read(status) {
                    Some(found) => self.helps(Helping::Removing(Ok(found))),
                    None => self.no_help(format!("the reaper ended with status {status}")),
                },
                Ok(None) if now < self.watch_until => Next::Wait,
                Ok(None) => self.no_help("the reaper does not end".to_owned()),
                Err(error) => self.no_help(error.text),
            },
            (Helping::Starting | Helping::Listening, Err(error)) => self.no_help(error.text),
            (Helping::Removing(said), Err(error)) if !is_gone(error.kind) => {
                self.stage = Stage::Helping(Helping::Removing(said));
                Next::Rest(error.text)
            }
            (Helping::Removing(Ok(found)), _) => Next::Ended(found),
            (Helping::Removing(Err(trouble)), _) => self.anew(trouble),
        }
    }

    fn helps(&mut self, helping: Helping) -> Next {
        self.stage = Stage::Helping(helping);
        Next::Ask
    }

    /// It is of no use as it is, and may be there.
    pub(super) fn no_help(&mut self, trouble: String) -> Next {
        self.helps(Helping::Removing(Err(trouble)))
    }

    /// After a rest an exec is tried, which also tells how the container is.
    fn anew(&mut self, trouble: String) -> Next {
        self.way = Way::AsUser;
        self.stage = Stage::Creating;
        Next::Rest(trouble)
    }
}

/// It is not there any more, or is being removed.
fn is_gone(kind: Fault) -> bool {
    matches!(kind, Fault::ContainerNotFound | Fault::NotRunning)
}
