//! Loads beside those that stay: floods, readers that rest, sessions that come and go, a mix of everything.

use super::{Field, PATIENCE_SECONDS, spread};
use crate::driver::session::{Leave, Returns};
use crate::driver::wire::{Codec, Wish, write_announcement, write_input, write_size};
use crate::driver::{Driver, SECOND, exact, whole};
use mio::Events;
use std::collections::VecDeque;
use std::io;

const LEAVES: [Leave; 3] = [Leave::Close, Leave::Exit, Leave::Vanish];

/// A flood, and what its figures are called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flood<'a> {
    pub(crate) name: &'a str,
    pub(crate) sessions: u64,
    pub(crate) bytes: u64,
    pub(crate) write_bytes: u64,
    pub(crate) tty: bool,
    /// Keys a second.
    pub(crate) typing: Option<f64>,
}

impl Field<'_> {
    /// Some sessions are flooded; with `typing`, keys are typed meanwhile into those that stay.
    pub(crate) fn flood(&mut self, flood: &Flood<'_>) -> io::Result<()> {
        self.phase(&format!("{} floods of {} bytes", flood.sessions, flood.bytes));
        let mut floods = Vec::new();
        for _ in 0..flood.sessions {
            floods.push(self.open_flood(flood)?);
        }
        self.driver.turn_until(PATIENCE_SECONDS, |driver| {
            floods.iter().all(|number| driver.is_over(*number) || driver.sessions[*number].opened)
        })?;
        self.driver.tally.trips.clear();
        self.driver.tally.lateness.clear();
        let cpu = self.contender.watched.cpu_seconds();
        let begin = self.driver.now();
        for number in &floods {
            self.driver.say(*number, |out, codec| write_input(out, codec, b"g"));
        }
        let is_done = |driver: &Driver| {
            floods
                .iter()
                .all(|number| driver.is_over(*number) || driver.sessions[*number].received == flood.bytes)
        };
        let mut events = Events::with_capacity(1024);
        let mut typed = 0;
        let typing = flood.typing.filter(|_| !self.echoes.is_empty());
        while !is_done(&self.driver) {
            let now = self.driver.now();
            if exact(now - begin) > 2.0 * PATIENCE_SECONDS * 1e9 {
                self.fault("the floods did not end in time");
                break;
            }
            let mut wake_at = now + SECOND / 10;
            if let Some(rate) = typing {
                let due = |typed: u64| begin + whole(exact(typed) * 1e9 / rate);
                while due(typed) <= now {
                    let number = self.echoes[spread(typed, self.echoes.len())];
                    if !self.driver.is_over(number) {
                        self.driver.key(number, due(typed));
                    }
                    typed += 1;
                }
                wake_at = due(typed);
            }
            self.driver.turn(&mut events, wake_at)?;
        }
        let seconds = exact(self.driver.now() - begin) / 1e9;
        let moved = exact(floods.iter().map(|number| self.driver.sessions[*number].received).sum());
        if self.watches() {
            let spent = self.contender.watched.cpu_seconds() - cpu;
            self.note(&format!("{}_cpu_s_gb", flood.name), spent / (moved / 1e9));
        }
        self.note(&format!("{}_mb_s", flood.name), moved / 1e6 / seconds);
        if typing.is_some() {
            let echoes = self.echoes.clone();
            self.await_even(&echoes)?;
            self.note_trips(flood.name, 1e6);
        }
        self.await_over(&floods)
    }

    fn open_flood(&mut self, flood: &Flood<'_>) -> io::Result<usize> {
        let stream = self.next_stream();
        let process = format!("flood.{}.{}.{stream}", flood.bytes, flood.write_bytes);
        let mut wish = self.wish(0, &process);
        wish.tty = flood.tty;
        if wish.codec != Codec::Raw {
            wish.codec = Codec::V1;
        }
        let now = self.driver.now();
        self.driver.open(&wish, Returns::Flood(flood.bytes), stream, now)
    }

    /// One client asks for much and does not read; then it does.
    pub(crate) fn stall(&mut self, bytes: u64) -> io::Result<()> {
        self.phase("one client does not read");
        let flood = Flood { name: "stall", sessions: 1, bytes, write_bytes: 32_768, tty: true, typing: None };
        let number = self.open_flood(&flood)?;
        self.driver.turn_until(PATIENCE_SECONDS, |driver| {
            driver.is_over(number) || driver.sessions[number].opened
        })?;
        let rss = self.contender.watched.rss_kib();
        let flooded = self.engine.count("flooded")?;
        self.driver.set_reads(number, false);
        self.driver.say(number, |out, codec| write_input(out, codec, b"g"));
        self.rest(3.0)?;
        let taken = self.engine.count("flooded")? - flooded;
        self.note("stall_path_mb", exact(taken) / 1e6);
        if self.watches() {
            let (sending, reading) = self.contender.watched.queued_bytes();
            self.note("stall_rss_mib", (self.contender.watched.rss_kib() - rss) / 1024.0);
            self.note("stall_kernel_mb", exact(sending + reading) / 1e6);
            self.note("stall_to_send_mb", exact(sending) / 1e6);
        }
        self.driver.set_reads(number, true);
        self.await_over(&[number])
    }

    /// A message is announced that is larger than any may be.
    pub(crate) fn giant(&mut self) -> io::Result<()> {
        if self.contender.kind.copies() {
            return Ok(());
        }
        self.phase("a message of 1 GiB is announced");
        let now = self.driver.now();
        let number = self.open_echo(now)?;
        self.await_even(&[number])?;
        let rss = self.contender.watched.rss_kib();
        self.driver.sessions[number].wanted_code = Some(1009);
        self.driver.say(number, |out, _| write_announcement(out, 1 << 30));
        self.await_over(&[number])?;
        self.note("giant_close_code", self.driver.sessions[number].close_code.map_or(0.0, f64::from));
        if self.watches() {
            self.note("giant_rss_mib", (self.contender.watched.rss_kib() - rss) / 1024.0);
        }
        Ok(())
    }

    /// Sessions come and go at a rate, in every way of going; those that stay are typed into.
    pub(crate) fn churn(&mut self, rate: f64, seconds: f64) -> io::Result<()> {
        self.phase(&format!("{rate} sessions a second come and go"));
        let cpu = self.contender.watched.cpu_seconds();
        let count = whole(rate * seconds);
        let wishes: Vec<Wish> = (0..8).map(|n| self.wish(n, "echo")).collect();
        let (mut streams, mut open) = (self.streams, VecDeque::new());
        let echoes = self.echoes.clone();
        self.driver.paced(rate, count, |driver, n, due| {
            streams += 1;
            let wish = &wishes[usize::try_from(streams % 8).unwrap_or(0)];
            open.push_back((driver.open(wish, Returns::Echo, streams, due)?, n));
            if !echoes.is_empty() {
                let number = echoes[spread(n, echoes.len())];
                if !driver.is_over(number) {
                    driver.key(number, due);
                }
            }
            // The oldest that has had its echo goes.
            while let Some((number, n)) = open.front().copied() {
                if !driver.is_over(number) && !driver.sessions[number].has_echoed() {
                    break;
                }
                open.pop_front();
                driver.leave(number, LEAVES[usize::try_from(n / 8 % 3).unwrap_or(0)]);
            }
            Ok(())
        })?;
        self.streams = streams;
        let rest: Vec<usize> = open.iter().map(|(number, _)| *number).collect();
        self.await_even(&rest)?;
        for number in &rest {
            self.driver.leave(*number, Leave::Close);
        }
        self.await_over(&rest)?;
        self.await_even(&echoes)?;
        if self.watches() {
            self.note("churn_cpu_us", 1e6 * (self.contender.watched.cpu_seconds() - cpu) / exact(count));
        }
        self.note_trips("churn", 1e3);
        Ok(())
    }

    /// Every kind of session at once: chatting, slow on either side, silent, resized, ended by its process.
    pub(crate) fn mix(&mut self, sessions: u64, seconds: f64) -> io::Result<()> {
        self.phase("a mix");
        let mut opened = Vec::new();
        for n in 0..sessions {
            let stream = self.next_stream();
            let (process, returns) = match n % 6 {
                0 => (format!("chat.200.{stream}"), Returns::Chat),
                1 => ("slow.200000".to_owned(), Returns::Echo),
                2 => ("silent".to_owned(), Returns::Nothing),
                3 => (format!("flood.3000000.5000.{stream}"), Returns::Flood(3_000_000)),
                4 => ("exit.7".to_owned(), Returns::Nothing),
                _ => ("echo".to_owned(), Returns::Echo),
            };
            // Three codecs, so that six processes meet all of them.
            let wish = self.wish(n / 6, &process);
            let now = self.driver.now();
            let number = self.driver.open(&wish, returns, stream, now)?;
            if n % 6 == 4 {
                self.driver.sessions[number].wanted_status = Some(7);
            }
            opened.push((number, n % 6));
        }
        self.rest(1.0)?;
        for (number, kind) in &opened {
            if self.driver.is_over(*number) {
                continue;
            }
            match kind {
                1 => self.driver.pump(*number, 300_000),
                // One that reads slowly what the engine gives fast.
                3 => {
                    self.driver.set_drip(*number, 8_000);
                    self.driver.say(*number, |out, codec| write_input(out, codec, b"g"));
                }
                5 => {
                    for size in 1..=50 {
                        self.driver.say(*number, |out, codec| write_size(out, codec, 80 + size, 24));
                    }
                    self.driver.pump(*number, 100_000);
                }
                _ => {}
            }
        }
        self.rest(seconds)?;
        for (number, kind) in &opened {
            if *kind == 3 {
                self.driver.set_reads(*number, true);
            }
        }
        let of_kind = |wanted: &[u64]| -> Vec<usize> {
            opened.iter().filter(|(_, kind)| wanted.contains(kind)).map(|(number, _)| *number).collect()
        };
        self.await_even(&of_kind(&[1, 5]))?;
        self.await_over(&of_kind(&[3, 4]))?;
        for (n, number) in of_kind(&[1, 2, 5]).into_iter().enumerate() {
            self.driver.leave(number, LEAVES[n % 3]);
        }
        // A chatting process reads no end: its clients close.
        for number in of_kind(&[0]) {
            self.driver.leave(number, Leave::Close);
        }
        let all: Vec<usize> = opened.iter().map(|(number, _)| *number).collect();
        self.await_over(&all)?;
        self.driver.tally.trips.clear();
        Ok(())
    }
}
