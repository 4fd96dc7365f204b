//! Keys over all that stay, second by second.
//!
//! Where a hypervisor takes the processor away for some milliseconds, whoever is measured then looks slow: a p99 over all
//! seconds would tell of the hypervisor. So each second stands for itself, those in which time was stolen are done again
//! as long as there is patience, and the median of the others is told. Of all contenders alike.

use super::{Field, spread};
use crate::driver::tally::{median, quantile};
use crate::driver::{exact, whole};
use crate::measure::stolen_ticks;
use std::io;

/// For each second that is wanted, so many are typed at most until enough were undisturbed.
const PATIENCE: f64 = 3.0;

/// One second of typing.
#[derive(Debug)]
struct Second {
    /// The hypervisor took no tick (10 ms) of any processor.
    undisturbed: bool,
    p50: f64,
    p99: f64,
    longest: f64,
    late_p50: f64,
    late_p99: f64,
    /// CPU of the contender, in seconds a key.
    cpu: f64,
}

impl Field<'_> {
    /// Types over all sessions. Where several drivers run side by side none goes on alone: as many seconds as are wanted,
    /// and no more.
    pub(crate) fn keys(&mut self, name: &str, rate: f64, seconds: f64, alone: bool) -> io::Result<()> {
        self.phase(&format!("{rate} keys a second"));
        if self.echoes.is_empty() {
            return Ok(());
        }
        let wanted = usize::try_from(whole(seconds.max(1.0))).map_err(io::Error::other)?;
        let most = if alone {
            usize::try_from(whole(seconds.max(1.0) * PATIENCE)).map_err(io::Error::other)?
        } else {
            wanted
        };
        let (mut told, mut undisturbed) = (Vec::new(), 0);
        let mut typed = 0;
        while undisturbed < wanted && told.len() < most {
            let second = self.second_of_keys(rate, &mut typed)?;
            undisturbed += usize::from(second.undisturbed);
            told.push(second);
        }
        self.note(&format!("{name}_disturbed_s"), exact((told.len() - undisturbed) as u64));
        if undisturbed > 0 {
            told.retain(|second| second.undisturbed);
        }
        let of = |figure: fn(&Second) -> f64| median(told.iter().map(figure).collect());
        let cpu = of(|second| second.cpu);
        if self.watches() {
            self.note(&format!("{name}_cpu_us"), 1e6 * cpu);
        }
        self.note(&format!("{name}_p50_us"), of(|second| second.p50) / 1e3);
        self.note(&format!("{name}_p99_us"), of(|second| second.p99) / 1e3);
        self.note(&format!("{name}_late_p50_us"), of(|second| second.late_p50) / 1e3);
        self.note(&format!("{name}_late_p99_us"), of(|second| second.late_p99) / 1e3);
        let longest = told.iter().map(|second| second.longest).fold(f64::MIN, f64::max);
        self.note(&format!("{name}_max_us"), longest / 1e3);
        Ok(())
    }

    /// Types for a second, and waits for what comes back. `typed` are the keys before it.
    fn second_of_keys(&mut self, rate: f64, typed: &mut u64) -> io::Result<Second> {
        let echoes = self.echoes.clone();
        self.driver.tally.trips.clear();
        self.driver.tally.lateness.clear();
        let (stolen, cpu) = (stolen_ticks(), self.contender.watched.cpu_seconds());
        let (before, count) = (*typed, whole(rate));
        self.driver.paced(rate, count, |driver, key, due| {
            let number = echoes[spread(before + key, echoes.len())];
            if !driver.is_over(number) {
                driver.key(number, due);
            }
            Ok(())
        })?;
        self.await_even(&echoes)?;
        *typed += count;
        let spent = self.contender.watched.cpu_seconds() - cpu;
        let trips = std::mem::take(&mut self.driver.tally.trips);
        let lateness = std::mem::take(&mut self.driver.tally.lateness);
        Ok(Second {
            undisturbed: stolen_ticks() == stolen,
            p50: quantile(&trips, 0.5),
            p99: quantile(&trips, 0.99),
            longest: quantile(&trips, 1.0),
            late_p50: quantile(&lateness, 0.5),
            late_p99: quantile(&lateness, 0.99),
            cpu: spent / exact(count),
        })
    }
}
