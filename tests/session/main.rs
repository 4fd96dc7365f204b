//! One session's whole life, pure: three kinds of clients, three kinds of engines, every split of the bytes.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]
#![allow(clippy::wildcard_enum_match_arm, reason = "in a test what is not expected fails it")]

mod access;
mod deadlines;
mod driver;
mod early;
mod ending;
mod guarding;
mod helping;
mod lasting;
mod opening;
mod pace;
mod page;
mod pings;
mod reaping;
mod streaming;
mod watching;
