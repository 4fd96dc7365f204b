//! What is done to a contender, and the figures that come of it. Each scenario leaves behind what it found, or says so.

mod loads;
mod seconds;

pub(crate) use loads::Flood;

use crate::driver::session::{Leave, Returns};
use crate::driver::tally::quantile;
use crate::driver::wire::{Codec, Wish};
use crate::driver::{Driver, SECOND, exact, whole};
use crate::measure::kernel_kib;
use crate::rig::{Contender, Engine};
use mio::Events;
use std::collections::BTreeMap;
use std::io;

/// Figures by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// How sessions speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    One(Codec, bool),
    /// All kinds in turn.
    Mixed,
}

/// How long anything may take before it counts as lost.
const PATIENCE_SECONDS: f64 = 60.0;
/// Sessions before the first measurement, so that what is only paid once is paid.
const WARM_SESSIONS: u64 = 20;
/// How many long inputs are under way at once.
const PUMPS: usize = 64;
const MIB: f64 = 1024.0 * 1024.0;

/// A contender with clients in front of it.
pub(crate) struct Field<'a> {
    pub(crate) driver: Driver,
    pub(crate) contender: Contender,
    pub(crate) engine: &'a Engine,
    pub(crate) speech: Speech,
    pub(crate) figures: Figures,
    /// The sessions that stay.
    pub(crate) echoes: Vec<usize>,
    /// For each second that is measured by itself, so many are done at most until enough were undisturbed.
    pub(crate) patience: usize,
    /// Streams are told apart by their numbers.
    streams: u64,
    /// Memory and descriptors after the warm-up.
    base_rss_kib: f64,
    base_anonymous_kib: f64,
    base_descriptors: f64,
    base_kernel_kib: (f64, f64),
    base_running: u64,
}

impl<'a> Field<'a> {
    /// Warms the contender up and takes note of where it stands.
    pub(crate) fn new(
        contender: Contender,
        engine: &'a Engine,
        speech: Speech,
        quiet: bool,
    ) -> io::Result<Field<'a>> {
        let driver = Driver::new(contender.address, quiet)?;
        let mut field = Field {
            driver,
            contender,
            engine,
            speech,
            figures: Figures::new(),
            echoes: Vec::new(),
            patience: seconds::PATIENCE,
            streams: 0,
            base_rss_kib: 0.0,
            base_anonymous_kib: 0.0,
            base_descriptors: 0.0,
            base_kernel_kib: (0.0, 0.0),
            base_running: 0,
        };
        // Whoever listens is not done with starting.
        field.rest(0.5)?;
        field.note("start_rss_mib", field.contender.watched.rss_kib() / 1024.0);
        field.phase("warm-up");
        field.open_echoes(WARM_SESSIONS, 200.0)?;
        field.leave_all(Leave::Close)?;
        field.rest(0.5)?;
        field.driver.tally.opens.clear();
        field.take_base()?;
        Ok(field)
    }

    fn take_base(&mut self) -> io::Result<()> {
        self.base_rss_kib = self.contender.watched.rss_kib();
        self.base_anonymous_kib = self.contender.watched.memory_kib("Anonymous:");
        self.base_descriptors = self.session_descriptors()?;
        self.base_kernel_kib = kernel_kib();
        self.base_running = self.engine.count("running")?;
        Ok(())
    }

    pub(crate) fn phase(&mut self, words: &str) {
        self.driver.phase = format!("{}: {words}", self.contender.kind.name());
    }

    pub(crate) fn note(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.figures.insert(name.to_owned(), value);
        }
    }

    fn rest(&mut self, seconds: f64) -> io::Result<()> {
        self.driver.turn_until(seconds, |_| false).map(drop)
    }

    fn fault(&mut self, words: &str) {
        self.driver.tally.fault(words.to_owned());
    }

    fn watches(&self) -> bool {
        !self.contender.watched.is_empty()
    }

    fn wish(&self, number: u64, process: &str) -> Wish {
        let process = process.to_owned();
        if self.contender.kind.copies() {
            return Wish { codec: Codec::Raw, tty: true, process, located: false };
        }
        let (codec, tty, located) = match self.speech {
            Speech::One(codec, tty) => (codec, tty, false),
            Speech::Mixed => match number % 8 {
                0 => (Codec::V1, true, false),
                1 => (Codec::V1, false, false),
                2 => (Codec::Protobuf, true, false),
                3 => (Codec::Json, true, false),
                4 => (Codec::V1, true, true),
                5 => (Codec::V1, false, true),
                6 => (Codec::Protobuf, true, true),
                _ => (Codec::Json, true, true),
            },
        };
        Wish { codec, tty, process, located }
    }

    fn next_stream(&mut self) -> u64 {
        self.streams += 1;
        self.streams
    }

    fn open_echo(&mut self, due: u64) -> io::Result<usize> {
        let stream = self.next_stream();
        let wish = self.wish(stream, "echo");
        self.driver.open(&wish, Returns::Echo, stream, due)
    }

    /// Opens sessions that stay, at a rate, and waits for each one's first echo.
    pub(crate) fn open_echoes(&mut self, count: u64, rate: f64) -> io::Result<()> {
        let mut opened = Vec::new();
        let mut streams = self.streams;
        let wishes: Vec<Wish> = (0..8).map(|n| self.wish(n, "echo")).collect();
        self.driver.paced(rate, count, |driver, _, due| {
            streams += 1;
            let wish = &wishes[usize::try_from(streams % 8).unwrap_or(0)];
            opened.push(driver.open(wish, Returns::Echo, streams, due)?);
            Ok(())
        })?;
        self.streams = streams;
        self.await_even(&opened)?;
        self.echoes.extend(opened);
        Ok(())
    }

    /// Waits until all that was sent has come back.
    fn await_even(&mut self, numbers: &[usize]) -> io::Result<()> {
        let mut at = 0;
        let done = self.driver.turn_until(PATIENCE_SECONDS, |driver| {
            while let Some(number) = numbers.get(at) {
                let session = &driver.sessions[*number];
                let is_even = session.has_echoed() && session.is_even();
                if !is_even && !driver.is_over(*number) {
                    return false;
                }
                at += 1;
            }
            true
        })?;
        if !done {
            let words = format!("{} sessions lack something that they sent", numbers.len() - at);
            self.fault(&words);
        }
        Ok(())
    }

    /// Memory of what is open now, ours and the kernel's.
    pub(crate) fn memory(&mut self, name: &str) -> io::Result<()> {
        self.rest(1.0)?;
        let sessions = exact(self.echoes.len() as u64);
        if self.watches() && sessions > 0.0 {
            let watched = &self.contender.watched;
            let rss = (watched.rss_kib() - self.base_rss_kib) / sessions;
            let anonymous = (watched.memory_kib("Anonymous:") - self.base_anonymous_kib) / sessions;
            let (slab, queues) = kernel_kib();
            let kernel = (slab - self.base_kernel_kib.0 + queues - self.base_kernel_kib.1) / sessions;
            // Pages of the program's file come and go, and may go while memory comes: that must not hide any.
            self.note(&format!("{name}_kib"), rss.max(anonymous));
            self.note(&format!("{name}_anonymous_kib"), anonymous);
            self.note(&format!("{name}_machine_kernel_kib"), kernel);
        }
        Ok(())
    }

    /// Nothing is typed: what does it cost to hold them?
    pub(crate) fn idle(&mut self, seconds: f64) -> io::Result<()> {
        self.phase("idle");
        self.driver.tally.ping_gaps.clear();
        let cpu = self.contender.watched.cpu_seconds();
        let begin = self.driver.now();
        self.rest(seconds)?;
        let elapsed = exact(self.driver.now() - begin) / 1e9;
        if self.watches() {
            let busy = self.contender.watched.cpu_seconds() - cpu;
            self.note("idle_cpu_percent", 100.0 * busy / elapsed);
            if !self.contender.kind.copies() {
                let pings = exact(self.echoes.len() as u64) * elapsed / 10.0;
                self.note("ping_cpu_us", 1e6 * busy / pings);
            }
        }
        let gaps = std::mem::take(&mut self.driver.tally.ping_gaps);
        let off: Vec<u64> = gaps.iter().map(|gap| gap.abs_diff(10 * SECOND)).collect();
        self.note("ping_gap_p50_ms", quantile(&gaps, 0.5) / 1e6);
        self.note("ping_gap_max_ms", quantile(&gaps, 1.0) / 1e6);
        self.note("ping_off_p99_ms", quantile(&off, 0.99) / 1e6);
        Ok(())
    }

    /// Round trips, in units of so many nanoseconds.
    fn note_trips(&mut self, name: &str, unit: f64) {
        let trips = std::mem::take(&mut self.driver.tally.trips);
        let lateness = std::mem::take(&mut self.driver.tally.lateness);
        let unit_name = if unit > 1e5 { "ms" } else { "us" };
        self.note(&format!("{name}_p50_{unit_name}"), quantile(&trips, 0.5) / unit);
        self.note(&format!("{name}_p99_{unit_name}"), quantile(&trips, 0.99) / unit);
        self.note(&format!("{name}_max_{unit_name}"), quantile(&trips, 1.0) / unit);
        self.note(&format!("{name}_late_p50_us"), quantile(&lateness, 0.5) / 1e3);
        self.note(&format!("{name}_late_p99_us"), quantile(&lateness, 0.99) / 1e3);
    }

    /// Each session sends so much and has it back.
    pub(crate) fn move_bytes(&mut self, bytes: u64) -> io::Result<()> {
        self.phase(&format!("each session moves {bytes} bytes both ways"));
        let echoes = self.echoes.clone();
        let mut events = Events::with_capacity(1024);
        let (mut next, mut moving) = (0, Vec::new());
        let limit = self.driver.now() + whole(5.0 * PATIENCE_SECONDS) * SECOND;
        while next < echoes.len() || !moving.is_empty() {
            moving.retain(|number: &usize| {
                !self.driver.is_over(*number) && !self.driver.sessions[*number].is_even()
            });
            while moving.len() < PUMPS && next < echoes.len() {
                if !self.driver.is_over(echoes[next]) {
                    self.driver.pump(echoes[next], bytes);
                    moving.push(echoes[next]);
                }
                next += 1;
            }
            let wake_at = self.driver.now() + SECOND / 10;
            self.driver.turn(&mut events, wake_at)?;
            if self.driver.now() > limit {
                self.fault("the bytes did not come back in time");
                return Ok(());
            }
        }
        self.driver.tally.trips.clear();
        Ok(())
    }

    /// Everybody comes at once, and stays.
    pub(crate) fn burst(&mut self, count: u64) -> io::Result<()> {
        self.phase(&format!("a burst of {count}"));
        self.driver.tally.opens.clear();
        let cpu = self.contender.watched.cpu_seconds();
        let begin = self.driver.now();
        let mut opened = Vec::new();
        for _ in 0..count {
            opened.push(self.open_echo(begin)?);
        }
        self.await_even(&opened)?;
        let opens = std::mem::take(&mut self.driver.tally.opens);
        self.note("burst_per_s", exact(count) / (quantile(&opens, 1.0) / 1e9));
        if self.watches() {
            self.note("burst_cpu_us", 1e6 * (self.contender.watched.cpu_seconds() - cpu) / exact(count));
        }
        self.echoes.extend(opened);
        Ok(())
    }

    fn await_over(&mut self, numbers: &[usize]) -> io::Result<()> {
        let done = self
            .driver
            .turn_until(PATIENCE_SECONDS, |driver| numbers.iter().all(|number| driver.is_over(*number)))?;
        if !done {
            let over = numbers.iter().filter(|number| !self.driver.is_over(**number)).count();
            self.fault(&format!("{over} sessions do not end"));
        }
        Ok(())
    }

    /// All that stayed go.
    pub(crate) fn leave_all(&mut self, how: Leave) -> io::Result<()> {
        self.phase("leaving");
        let echoes = std::mem::take(&mut self.echoes);
        // Not all at once: this is no row of the table, and a reaper is started for each.
        self.driver.paced(4_000.0, echoes.len() as u64, |driver, n, _| {
            driver.leave(echoes[usize::try_from(n).unwrap_or(0)], how);
            Ok(())
        })?;
        self.await_over(&echoes)
    }

    /// All connections are reset in the same moment.
    pub(crate) fn vanish_at_once(&mut self) -> io::Result<()> {
        self.phase("vanishing");
        let echoes = std::mem::take(&mut self.echoes);
        for echo in &echoes {
            self.driver.leave(*echo, Leave::Vanish);
        }
        self.await_over(&echoes)
    }

    /// Everybody has gone: what was kept?
    pub(crate) fn after(&mut self, seconds: f64) -> io::Result<()> {
        self.phase("everybody has gone");
        // Clients are gone before what they leave behind is: of many at once, for a while.
        let until = self.driver.now() + whole(PATIENCE_SECONDS) * SECOND;
        while self.driver.now() < until && (self.descriptors_left()? > 0.0 || self.execs_left()? > 0.0) {
            self.rest(0.1)?;
        }
        // Memory is given back a little later.
        self.rest(2.0)?;
        if self.watches() {
            let kept = (self.contender.watched.rss_kib() - self.base_rss_kib) / 1024.0;
            let left = self.descriptors_left()?;
            self.note("kept_mib", kept);
            self.note("descriptors_left", left);
            let cpu = self.contender.watched.cpu_seconds();
            self.rest(seconds)?;
            self.note("empty_cpu_percent", 100.0 * (self.contender.watched.cpu_seconds() - cpu) / seconds);
        }
        if !self.contender.kind.copies() {
            let left = self.execs_left()?;
            self.note("execs_left", left);
        }
        Ok(())
    }

    /// Those of sessions beyond what there was at the beginning; none where they cannot be watched.
    fn descriptors_left(&self) -> io::Result<f64> {
        if !self.watches() {
            return Ok(0.0);
        }
        Ok(self.session_descriptors()? - self.base_descriptors)
    }

    /// Processes in containers beyond those of the beginning; none where a peer's clients speak to them without an exec.
    fn execs_left(&self) -> io::Result<f64> {
        if self.contender.kind.copies() {
            return Ok(0.0);
        }
        Ok(exact(self.engine.count("running")?) - exact(self.base_running))
    }

    /// Descriptors, without those of the connections for short calls that a gateway keeps for a while.
    fn session_descriptors(&self) -> io::Result<f64> {
        let mut count = exact(self.contender.watched.descriptors());
        if !self.contender.kind.copies() {
            // This very question has a connection too.
            count -= exact(self.engine.count("connections")?) - exact(self.engine.count("streams")?) - 1.0;
        }
        Ok(count)
    }
}

/// Which session is typed into next: all in turn, neighbours far apart.
fn spread(key: u64, count: usize) -> usize {
    let count = count as u64;
    let stride = [7_919, 7_907, 7_901].into_iter().find(|prime| !count.is_multiple_of(*prime)).unwrap_or(1);
    usize::try_from(key * stride % count).unwrap_or(0)
}

/// So many MiB in bytes.
pub(crate) fn mebibytes(count: f64) -> u64 {
    whole(count * MIB)
}
