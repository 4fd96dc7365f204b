//! `entry enter`, `entry attach` and `entry watch`: a person's side of a session.
//!
//! ```text
//! stdin ─▶ thread ─▶ ┌──────┐ ─▶ WebSocket ─▶ gateway
//!                    │ loop │
//! stdout ◀ thread ◀─ └──────┘ ◀─ WebSocket ◀─ gateway
//! ```
//! One mio loop over the socket, the signals and a waker; a thread for each side that may block without telling
//! beforehand. All queues are bounded. This room knows only [`crate::wire`], [`crate::outcome`], [`crate::tls`] and
//! [`crate::sys`].

mod arguments;
mod ending;
mod escape;
mod gateway;
mod handshake;
mod input;
mod link;
mod options;
mod output;
mod session;
mod signals;
pub(crate) mod terminal;
mod text;
mod watching;

pub use arguments::{ATTACH_HELP, ENTER_HELP, Parsed, WATCH_HELP, parse};
pub use gateway::Gateway;
pub use options::{Options, Protocol, Target, Timeouts, TtyChoice};

use crate::outcome::Action;
use ending::Ending;
use std::io::{self, Write as _};

/// `entry enter`, `entry attach` and `entry watch`, from their arguments to the process's exit status.
pub fn main(action: Action, arguments: lexopt::Parser) -> u8 {
    match parse(action, arguments) {
        Ok(Parsed::Run(options)) => run(*options),
        Ok(Parsed::Help(help)) => match io::stdout().write_all(help.as_bytes()) {
            Ok(()) => 0,
            Err(error) => Ending::output_failed(&error).tell(),
        },
        Err(why) => {
            let command = match action {
                Action::Enter => "enter",
                Action::Attach => "attach",
                Action::Watch => "watch",
            };
            Ending::failed(format!("{why}\nTry 'entry {command} --help'.")).tell()
        }
    }
}

/// One stay, from the connection to the end. Gives the process's exit status: that of the process inside; 128 + n
/// when signal n ended either; 125 when Entry failed, which stderr explains.
pub fn run(options: Options) -> u8 {
    session::stay(&options).tell()
}
