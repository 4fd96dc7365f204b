//! TLS over sockets that others own: bytes in, bytes out.
//!
//! ```text
//!              ┌───────── Session ─────────┐
//! socket ──▶ room ──▶ received ──▶ what the peer said
//! socket ◀── out ◀──── seal ◀───── what is said to it
//!              └───────────────────────────┘
//! ```
//! A [`Session`] owns no socket and never waits; who owns the socket reads and writes it as without TLS. It holds no
//! buffer while nothing is under way: a record is opened in the reader's own buffer, and sealed into what waits for
//! the socket anyway.
//!
//! Both sides of a connection are here: a [`Connector`] begins connections (to gateways, engines, services) and checks
//! who answers, an [`Acceptor`] answers them. What goes wrong is told as a [`Fault`].

mod channel;
mod fault;
mod files;
mod session;
#[cfg(test)]
mod tests;

pub use channel::Channel;
pub use fault::Fault;
pub use files::{Acceptor, Connector, Identity, Trust};
pub use session::{ROOM_BYTES_MIN, Session, TOLD_TO_PLAIN_HTTP};
