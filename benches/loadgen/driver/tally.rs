//! What the driver counts.

/// Times in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// From when an opening was due until its first byte came back.
    pub(crate) opens: Vec<u64>,
    /// From when a key was due until it came back.
    pub(crate) trips: Vec<u64>,
    /// How late the driver itself was: from when a key was due until it was typed. It is part of the round trip.
    pub(crate) lateness: Vec<u64>,
    pub(crate) ping_gaps: Vec<u64>,
    pub(crate) pings: u64,
    pub(crate) received_bytes: u64,
    /// The first faults in words, and how many there were.
    pub(crate) faults: Vec<String>,
    pub(crate) faults_count: u64,
}

const FAULTS_KEPT: usize = 10;

impl Tally {
    pub(crate) fn fault(&mut self, words: String) {
        self.faults_count += 1;
        if self.faults.len() < FAULTS_KEPT {
            self.faults.push(words);
        }
    }
}

/// The value below which this share of the times lies, in nanoseconds; NaN when there are none.
#[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 ns")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index, rounded from a share of the length"
)]
pub(crate) fn quantile(times: &[u64], share: f64) -> f64 {
    if times.is_empty() {
        return f64::NAN;
    }
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let place = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[place] as f64
}

/// The value in the middle; NaN when there are none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
