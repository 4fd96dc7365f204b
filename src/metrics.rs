//! Figures: histograms that are only added to, and the text in which they are told to Prometheus (text format 0.0.4).
//!
//! Knows no gateway and no socket. What is counted where stands in [`crate::gateway::Counters`]; which figures are told,
//! and by what names, in [`crate::admin`].

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bounds a histogram has at most.
pub const BOUNDS_MAX: usize = 12;

/// How long things took: how many of them up to each bound, and all of it together.
#[derive(Debug)]
pub struct Histogram {
    /// In microseconds, rising.
    bounds: &'static [u64],
    /// Up to each bound and beyond the one before it; the last is beyond all.
    counts: [AtomicU64; BOUNDS_MAX + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    /// Nothing yet. There are [`BOUNDS_MAX`] bounds at most.
    pub const fn new(bounds: &'static [u64]) -> Histogram {
        assert!(bounds.len() <= BOUNDS_MAX, "there is room for so many");
        Histogram {
            bounds,
            counts: [const { AtomicU64::new(0) }; BOUNDS_MAX + 1],
            microseconds: AtomicU64::new(0),
        }
    }

    /// Something took so long; from any thread.
    pub fn add(&self, microseconds: u64) {
        self.counts[self.place(microseconds)].fetch_add(1, Ordering::Relaxed);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// The same, where only one thread ever adds: it costs no more than a plain number would.
    pub fn add_alone(&self, microseconds: u64) {
        add_alone(&self.counts[self.place(microseconds)], 1);
        add_alone(&self.microseconds, microseconds);
    }

    /// How many things there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn place(&self, microseconds: u64) -> usize {
        self.bounds.iter().position(|bound| microseconds <= *bound).unwrap_or(self.bounds.len())
    }
}

/// Adds to a figure that only one thread ever writes.
pub fn add_alone(figure: &AtomicU64, more: u64) {
    figure.store(figure.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// What a family of figures is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; its name ends with `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Of a [`Histogram`].
    Histogram,
}

/// The text, family after family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family. Its samples follow.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        debug_assert!(!help.contains(['\\', '\n']), "it would have to be escaped");
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {word}\n"));
        Family { exposition: self, name }
    }

    /// The whole of it.
    pub fn finish(self) -> String {
        self.text
    }

    fn write(&mut self, arguments: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(arguments);
    }
}

/// One family of figures.
#[derive(Debug)]
pub struct Family<'a> {
    exposition: &'a mut Exposition,
    name: &'static str,
}

/// Names and values that tell samples of a family apart: few, and from a fixed set.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

impl Family<'_> {
    /// One sample.
    pub fn is(self, labels: Labels<'_>, value: impl fmt::Display) -> Self {
        let name = self.name;
        self.exposition.write(format_args!("{name}{} {value}\n", Braces(labels, None)));
        self
    }

    /// All samples of a histogram, of which there may be several (one a loop): they are told as one.
    pub fn sums(self, labels: Labels<'_>, histograms: &[&Histogram]) -> Self {
        let name = self.name;
        let sum = |figure: &dyn Fn(&Histogram) -> u64| histograms.iter().map(|one| figure(one)).sum::<u64>();
        let bounds = histograms.first().map_or(&[][..], |first| first.bounds);
        let mut count = 0;
        for (place, bound) in bounds.iter().enumerate() {
            count += sum(&|one| one.counts[place].load(Ordering::Relaxed));
            let bound = Seconds(*bound).to_string();
            self.exposition.write(format_args!("{name}_bucket{} {count}\n", Braces(labels, Some(&bound))));
        }
        count += sum(&|one| one.counts[bounds.len()].load(Ordering::Relaxed));
        self.exposition.write(format_args!("{name}_bucket{} {count}\n", Braces(labels, Some("+Inf"))));
        let seconds = Seconds(sum(&|one| one.microseconds.load(Ordering::Relaxed)));
        self.exposition.write(format_args!("{name}_sum{} {seconds}\n", Braces(labels, None)));
        self.exposition.write(format_args!("{name}_count{} {count}\n", Braces(labels, None)));
        self
    }
}

/// Microseconds, written as seconds.
#[derive(Debug, Clone, Copy)]
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        f.write_str(format!("{whole}.{rest:06}").trim_end_matches('0'))
    }
}

/// Labels in braces, and behind them the bound of a bucket.
struct Braces<'a>(Labels<'a>, Option<&'a str>);

impl fmt::Display for Braces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = self.1.map(|bound| ("le", bound));
        let mut opener = '{';
        for (name, value) in self.0.iter().copied().chain(bound) {
            write!(f, "{opener}{name}=\"")?;
            for character in value.chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    other => f.write_char(other)?,
                }
            }
            f.write_char('"')?;
            opener = ',';
        }
        if opener == ',' { f.write_char('}') } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told() {
        static BOUNDS: &[u64] = &[1_000, 2_500_000];
        let (one, other) = (Histogram::new(BOUNDS), Histogram::new(BOUNDS));
        [0, 1_000, 1_001, 2_500_000, 2_500_001].iter().for_each(|microseconds| one.add(*microseconds));
        other.add_alone(7);
        let mut told = Exposition::default();
        told.family("entry_x_total", Kind::Counter, "Things.")
            .is(&[], 3)
            .is(&[("a", "b\"\\\n"), ("c", "d")], 4);
        told.family("entry_y_seconds", Kind::Histogram, "Times.").sums(&[("a", "b")], &[&one, &other]);
        let expected = "\
# HELP entry_x_total Things.
# TYPE entry_x_total counter
entry_x_total 3
entry_x_total{a=\"b\\\"\\\\\\n\",c=\"d\"} 4
# HELP entry_y_seconds Times.
# TYPE entry_y_seconds histogram
entry_y_seconds_bucket{a=\"b\",le=\"0.001\"} 3
entry_y_seconds_bucket{a=\"b\",le=\"2.5\"} 5
entry_y_seconds_bucket{a=\"b\",le=\"+Inf\"} 6
entry_y_seconds_sum{a=\"b\"} 5.002009
entry_y_seconds_count{a=\"b\"} 6
";
        assert_eq!(told.finish(), expected);
    }

    #[test]
    fn seconds() {
        let table = [(0, "0"), (1, "0.000001"), (1_500_000, "1.5"), (60_000_000, "60")];
        for (microseconds, text) in table {
            assert_eq!(Seconds(microseconds).to_string(), text);
        }
    }
}
