//! The embedded engine from outside: raw sockets, a reader of replies of its own, deadlines instead of sleeps.
//!
//! What is expected is what real engines were measured to do (Docker 28 where versions differ).

mod client;
mod containers;
mod execs;
mod requests;
mod streams;
