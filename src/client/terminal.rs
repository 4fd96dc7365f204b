//! The person's terminal: raw while inside, and put back whatever happens.
//!
//! Normal ends and signals drop the [`RawTerminal`]; a panic anywhere in the process finds the settings in a static
//! and puts them back before its message is printed.

use crate::sys::{self, TerminalSettings};
use std::io;
use std::os::fd::AsFd;
use std::panic;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// The settings to put back; there is one terminal on stdin, so there is one of these.
static BEFORE: Mutex<Option<TerminalSettings>> = Mutex::new(None);

fn before() -> MutexGuard<'static, Option<TerminalSettings>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the terminal back if it is raw. An error means that the terminal is gone, and there is nobody to tell.
fn restore() {
    if let Some(settings) = before().take() {
        let _ = settings.apply(io::stdin().as_fd());
    }
}

/// The terminal on stdin, raw for as long as this lives.
#[derive(Debug)]
pub(crate) struct RawTerminal(());

impl RawTerminal {
    /// Makes the terminal raw.
    pub(crate) fn enter() -> io::Result<RawTerminal> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let report = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                restore();
                report(info);
            }));
        });
        let stdin = io::stdin();
        let settings = sys::terminal_settings(stdin.as_fd())?;
        let raw = settings.raw();
        // First remember, then change: a panic between the two must find what to put back.
        *before() = Some(settings);
        let terminal = RawTerminal(());
        raw.apply(stdin.as_fd())?;
        Ok(terminal)
    }

    /// Makes it raw again, after a stop in which the shell took the terminal back.
    pub(super) fn enter_again(&self) -> io::Result<()> {
        let raw = before().as_ref().map(TerminalSettings::raw);
        raw.map_or(Ok(()), |raw| raw.apply(io::stdin().as_fd()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// The window's size, from the first of stdin, stdout and stderr that is a terminal with one.
pub(super) fn window_size() -> Option<(u16, u16)> {
    sys::window_size(io::stdin().as_fd())
        .or_else(|| sys::window_size(io::stdout().as_fd()))
        .or_else(|| sys::window_size(io::stderr().as_fd()))
}
