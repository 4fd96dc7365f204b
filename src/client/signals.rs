//! Signals as readiness: each arrives as a byte on a socket of the loop, nothing happens in a handler.

use crate::sys;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::io;

/// What a signal asks of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// The window has a new size.
    WindowChanged,
    /// The process runs again after it was stopped; the shell may have changed the terminal meanwhile.
    Continued,
    /// End; the number makes the exit status.
    End(u8),
}

/// The signals that this process takes from now until this is dropped.
pub(super) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Takes the signals, except those that the parent had us ignore (nohup, a background job of a script).
    pub(super) fn take(registry: &Registry, token: Token) -> io::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        let ending =
            [SIGINT, SIGTERM, SIGHUP, SIGQUIT].into_iter().filter(|&signal| !sys::is_signal_ignored(signal));
        let taken = ending.chain([SIGWINCH, SIGCONT]).collect::<Vec<_>>();
        let mut delivery = SignalDelivery::with_pipe(read, write, SignalOnly, taken)?;
        registry.register(delivery.get_read_mut(), token, Interest::READABLE)?;
        Ok(Signals(delivery))
    }

    /// What has arrived since the last call.
    pub(super) fn pending(&mut self) -> impl Iterator<Item = Signal> + use<> {
        self.0.pending().map(|number| match number {
            SIGWINCH => Signal::WindowChanged,
            SIGCONT => Signal::Continued,
            _ => Signal::End(u8::try_from(number).unwrap_or(0)),
        })
    }
}
