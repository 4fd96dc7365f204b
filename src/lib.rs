//! Entry: enter your own containers from a terminal or a browser.
//!
//! The layers, in reading order. Arrows run down only; what a layer may not know stands beside it.
//!
//! | layer | what it is | may not know |
//! |---|---|---|
//! | [`admin`] | what operators see of it, and may do | – |
//! | [`gateway`] | the loop: sockets, the clock, buffers | – |
//! | [`session`] | one session's life, a state machine | I/O, clocks, randomness, logs |
//! | [`access`] | who may enter? | the same, and sessions |
//! | [`locate`] | which container is the target? | the same, and sessions |
//! | [`commands`] | which lines somebody has entered | the same, and sessions |
//! | [`web`] | the page with the terminal: its files | the same, and sessions |
//! | [`service`] | how services beside the engines are asked | the same, and sessions |
//! | [`engine`] | what is said to a Docker Engine | the same, and sessions |
//! | [`wire`] | bytes ⇄ values | anything above |
//!
//! Side rooms: [`client`] (`entry enter`, `entry attach`, `entry watch`), [`check`] (`entry check`), [`token`] (`entry token`),
//! [`top`] (`entry top`), [`recording`], [`play`] (`entry play`), [`audit`] (who was where, line by line), [`writer`] (threads
//! that write), [`demo`] (the embedded engine), [`tls`] (bytes ⇄ sealed bytes), [`systemd`] (sockets from it, words to it),
//! [`config`], [`metrics`], [`outcome`], [`sys`] (the only unsafe code).

pub mod access;
pub mod admin;
pub mod audit;
pub mod check;
pub mod client;
pub mod commands;
pub mod config;
pub mod crowd;
pub mod demo;
pub mod engine;
pub mod gateway;
pub mod locate;
pub mod logging;
pub mod metrics;
pub mod outcome;
pub mod play;
pub mod recording;
pub mod serve;
pub mod service;
pub mod session;
pub mod sys;
pub mod systemd;
pub mod tls;
pub mod token;
pub mod top;
pub mod web;
pub mod wire;
pub mod writer;
