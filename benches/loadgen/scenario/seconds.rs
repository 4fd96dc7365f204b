//! Keys over all that stay, and sessions that come one after another: second by second.
//!
//! Where a hypervisor takes the processor away for some milliseconds, whoever is measured then looks slow: a p99 over all
//! seconds would tell of the hypervisor. So each second stands for itself, those in which time was stolen are done again
//! as long as there is patience, and the median of the others is told. Of all contenders alike.

use super::{Field, spread};
use crate::driver::tally::{median, quantile};
use crate::driver::{exact, whole};
use crate::measure::stolen_ticks;
use std::io;

/// For each second that is wanted, so many are done at most until enough were undisturbed.
pub(crate) const PATIENCE: usize = 3;

/// What one second gave; times in nanoseconds.
#[derive(Debug)]
struct Second {
    /// The hypervisor took a tick (10 ms) of some processor.
    disturbed: bool,
    times: Vec<u64>,
    lateness: Vec<u64>,
    /// CPU of the contender, in seconds for each key or session.
    cpu: f64,
}

impl Field<'_> {
    /// Types over all sessions.
    pub(crate) fn keys(&mut self, name: &str, rate: f64, seconds: f64) -> io::Result<()> {
        self.phase(&format!("{rate} keys a second"));
        if self.echoes.is_empty() {
            return Ok(());
        }
        let (echoes, mut typed) = (self.echoes.clone(), 0);
        let told = self.seconds(name, seconds, |field| {
            field.driver.tally.trips.clear();
            field.driver.tally.lateness.clear();
            let count = whole(rate);
            field.driver.paced(rate, count, |driver, key, due| {
                let number = echoes[spread(typed + key, echoes.len())];
                if !driver.is_over(number) {
                    driver.key(number, due);
                }
                Ok(())
            })?;
            field.await_even(&echoes)?;
            typed += count;
            let times = std::mem::take(&mut field.driver.tally.trips);
            Ok((times, std::mem::take(&mut field.driver.tally.lateness)))
        })?;
        if self.watches() {
            self.note(
                &format!("{name}_cpu_us"),
                1e6 * median(told.iter().map(|second| second.cpu).collect()),
            );
        }
        self.note(&format!("{name}_p50_us"), middle(&told, |second| &second.times, 0.5) / 1e3);
        self.note(&format!("{name}_p99_us"), middle(&told, |second| &second.times, 0.99) / 1e3);
        self.note(&format!("{name}_late_p50_us"), middle(&told, |second| &second.lateness, 0.5) / 1e3);
        self.note(&format!("{name}_late_p99_us"), middle(&told, |second| &second.lateness, 0.99) / 1e3);
        let longest = told.iter().filter_map(|second| second.times.iter().max()).max();
        self.note(&format!("{name}_max_us"), exact(longest.copied().unwrap_or(0)) / 1e3);
        Ok(())
    }

    /// They come one after another, and stay.
    pub(crate) fn opens(&mut self, rate: f64, count: u64) -> io::Result<()> {
        self.phase(&format!("{rate} opens a second"));
        let told = self.seconds("open", exact(count) / rate, |field| {
            field.driver.tally.opens.clear();
            field.open_echoes(whole(rate), rate)?;
            Ok((std::mem::take(&mut field.driver.tally.opens), Vec::new()))
        })?;
        self.note("open_p50_ms", middle(&told, |second| &second.times, 0.5) / 1e6);
        self.note("open_p99_ms", middle(&told, |second| &second.times, 0.99) / 1e6);
        Ok(())
    }

    /// Seconds of what `act` does, which gives its times and how late the driver was: those that were not disturbed, or
    /// all where none was spared.
    fn seconds(
        &mut self,
        name: &str,
        wanted: f64,
        mut act: impl FnMut(&mut Self) -> io::Result<(Vec<u64>, Vec<u64>)>,
    ) -> io::Result<Vec<Second>> {
        let wanted = usize::try_from(whole(wanted.max(1.0))).map_err(io::Error::other)?;
        let most = wanted * self.patience;
        let (mut told, mut spared) = (Vec::new(), 0);
        while spared < wanted && told.len() < most {
            let (stolen, cpu) = (stolen_ticks(), self.contender.watched.cpu_seconds());
            let (times, lateness) = act(self)?;
            let spent = self.contender.watched.cpu_seconds() - cpu;
            let disturbed = stolen_ticks() != stolen;
            spared += usize::from(!disturbed);
            let cpu = spent / exact(times.len() as u64);
            told.push(Second { disturbed, times, lateness, cpu });
        }
        self.note(&format!("{name}_disturbed_s"), exact((told.len() - spared) as u64));
        if spared > 0 {
            told.retain(|second| !second.disturbed);
        }
        Ok(told)
    }
}

/// The median of what lies at this share of each second's times.
fn middle(seconds: &[Second], times: impl Fn(&Second) -> &[u64], share: f64) -> f64 {
    median(seconds.iter().map(|second| quantile(times(second), share)).collect())
}
