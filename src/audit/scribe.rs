//! Writes down the lines that are entered in one session, and alerts where one meets a pattern. It looks on at the session as
//! its recording does; what it reads off the screen, [`crate::commands`] does.

use super::{Alerts, Audit, Record};
use crate::commands::{Commands, Entered, alerts};
use crate::engine::WindowSize;
use crate::gateway::{Asked, Observer, Seen, Wanted};
use crate::session::{Millis, SessionId};
use std::fmt;
use std::net::IpAddr;

/// Whose lines they are, and where.
#[derive(Debug, Clone)]
pub struct Whose {
    /// The session.
    pub session: SessionId,
    /// Who is in it.
    pub user: String,
    /// Where the client is.
    pub address: IpAddr,
    /// What was asked for.
    pub asked: Asked,
}

/// Looks on at one session.
pub struct Scribe {
    audit: Audit,
    alerts: Option<Alerts>,
    about: Whose,
    container: String,
    engine: String,
    commands: Commands,
}

/// What it sees may hold secrets.
impl fmt::Debug for Scribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scribe").field("session", &self.about.session).finish_non_exhaustive()
    }
}

impl Scribe {
    /// For a session that is about to be opened.
    pub fn new(audit: Audit, alerts: Option<Alerts>, about: Whose) -> Scribe {
        let commands = Commands::new(0, 0);
        Scribe { audit, alerts, about, container: String::new(), engine: String::new(), commands }
    }

    fn record(&self, event: &'static str) -> Record<'_> {
        let Whose { session, user, address, asked } = &self.about;
        Record {
            user: Some(user),
            token: &asked.token,
            right: asked.right.name(),
            target: &asked.target,
            container: &self.container,
            engine: &self.engine,
            address: Some(address.to_string()),
            ..Record::now(event, session.to_string())
        }
    }

    fn write(&self, entered: Vec<Entered>) {
        for Entered { line, inferred, is_cut } in entered {
            let patterns = self.alerts.as_ref().map_or(&[][..], Alerts::patterns);
            let alert = alerts::of_line(patterns, &line).map(ToString::to_string);
            let record = Record {
                line: Some(&line),
                inferred,
                cut: is_cut,
                alert: alert.as_deref(),
                ..self.record("command")
            };
            self.tell(&record);
        }
    }

    /// What was asked for is a command as well.
    fn look_at_wish(&self) {
        let patterns = self.alerts.as_ref().map_or(&[][..], Alerts::patterns);
        let Asked { command, is_cut, .. } = &self.about.asked;
        if let Some(pattern) = alerts::of_command(patterns, command) {
            let alert = pattern.to_string();
            self.tell(&Record { command, cut: *is_cut, alert: Some(&alert), ..self.record("command") });
        }
    }

    fn tell(&self, record: &Record<'_>) {
        self.audit.record(record);
        if let (Some(alerts), Some(pattern)) = (&self.alerts, record.alert) {
            log::warn!(session:% = self.about.session; "a command meets the alert pattern {pattern:?}");
            alerts.tell(record);
        }
    }
}

impl Observer for Scribe {
    fn see(&mut self, _: Millis, seen: Seen<'_>) -> Wanted {
        match seen {
            Seen::Opened { window, container, engine, .. } => {
                (self.container, self.engine) = (container.to_owned(), engine.to_owned());
                self.look_at_wish();
                // Without a terminal nobody enters lines: what goes through is data.
                let Some(WindowSize { columns, rows }) = window else { return Wanted::Nothing };
                self.commands.resize(columns, rows);
            }
            Seen::Output(bytes) => self.commands.output(bytes),
            Seen::Input(bytes) => self.commands.input(bytes),
            Seen::Resized(WindowSize { columns, rows }) => self.commands.resize(columns, rows),
            Seen::Ended { .. } => {
                let last = self.commands.finish();
                self.write(last);
                return Wanted::Nothing;
            }
        }
        let entered = self.commands.take();
        if !entered.is_empty() {
            self.write(entered);
        }
        Wanted::More
    }
}
