//! Later.
#[path = "../common/mod.rs"]
mod common;
