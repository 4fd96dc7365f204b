//! What the kernel tells of processes and of the machine. Everything is read from /proc.

use crate::driver::exact;
use std::collections::HashSet;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

/// The processes of one contender: the one that was started, and its children.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    processes: Vec<u32>,
}

impl Watched {
    /// The process and those it has started by now.
    pub(crate) fn new(root: u32) -> Watched {
        let mut processes = vec![root];
        let mut at = 0;
        while at < processes.len() {
            let path = format!("/proc/{0}/task/{0}/children", processes[at]);
            let children = fs::read_to_string(path).unwrap_or_default();
            processes.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            at += 1;
        }
        Watched { processes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.processes.len()
    }

    /// Processor time in seconds, by the scheduler's own clock.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let mut nanoseconds = 0;
        for process in &self.processes {
            for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
                let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
                nanoseconds +=
                    text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        exact(nanoseconds) / 1e9
    }

    /// A line of smaps_rollup, like `Rss:`, summed up, in KiB.
    pub(crate) fn memory_kib(&self, line: &str) -> f64 {
        let of_one = |process: &u32| {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
            field(&text, line)
        };
        exact(self.processes.iter().map(of_one).sum())
    }

    pub(crate) fn rss_kib(&self) -> f64 {
        self.memory_kib("Rss:")
    }

    pub(crate) fn descriptors(&self) -> u64 {
        let of_one = |process: &u32| fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
        self.processes.iter().map(of_one).sum::<usize>() as u64
    }

    /// Bytes in the kernel's queues of the processes' TCP sockets: to be sent, and to be read.
    pub(crate) fn queued_bytes(&self) -> (u64, u64) {
        let mut sockets = HashSet::new();
        for process in &self.processes {
            for entry in fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten() {
                let Ok(link) = fs::read_link(entry.path()) else { continue };
                let link = link.to_string_lossy().into_owned();
                if let Some(inode) = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
                    sockets.insert(inode.to_owned());
                }
            }
        }
        let (mut sending, mut reading) = (0, 0);
        for line in fs::read_to_string("/proc/net/tcp").unwrap_or_default().lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (Some(state), Some(queues), Some(inode)) = (words.get(3), words.get(4), words.get(9)) else {
                continue;
            };
            // A listener's queues count connections, not bytes.
            if *state != "0A"
                && sockets.contains(*inode)
                && let Some((send, receive)) = queues.split_once(':')
            {
                sending += u64::from_str_radix(send, 16).unwrap_or(0);
                reading += u64::from_str_radix(receive, 16).unwrap_or(0);
            }
        }
        (sending, reading)
    }
}

/// The number behind `name` in a text of lines.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Kernel memory of the whole machine, in KiB: what slabs hold, and the pages of TCP's queues.
pub(crate) fn kernel_kib() -> (f64, f64) {
    let slab = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "Slab:");
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let pages = tcp.split_whitespace().last().and_then(|word| word.parse().ok()).unwrap_or(0_u64);
    (exact(slab), exact(pages * 4))
}

/// How the machine was while something was measured.
#[derive(Debug)]
pub(crate) struct Noise {
    began: Instant,
    /// Busy, stolen and all ticks of all processors.
    ticks: [u64; 3],
    /// Ticks of this process and those of its children that have ended.
    own: u64,
    calibration: f64,
}

/// The verdict on a measurement.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Verdict {
    /// Share of the machine that hypervisors gave to others, in percent.
    pub(crate) steal_percent: f64,
    /// Share of the machine that processes other than ours took, in percent.
    pub(crate) foreign_percent: f64,
    /// How much longer the same work took afterwards or before, in percent.
    pub(crate) drift_percent: f64,
    pub(crate) load_average: f64,
    pub(crate) seconds: f64,
    /// Why the figures do not count; empty when they do.
    pub(crate) objections: Vec<String>,
}

const STEAL_PERCENT_MAX: f64 = 3.0;
const FOREIGN_PERCENT_MAX: f64 = 8.0;
const DRIFT_PERCENT_MAX: f64 = 15.0;

impl Noise {
    pub(crate) fn begin() -> Noise {
        let calibration = calibrate();
        Noise { began: Instant::now(), ticks: machine_ticks(), own: own_ticks(), calibration }
    }

    /// To be asked once all children have ended and were waited for.
    pub(crate) fn end(&self) -> Verdict {
        let [busy, stolen, all] = machine_ticks();
        let own = own_ticks().saturating_sub(self.own);
        let seconds = self.began.elapsed().as_secs_f64();
        let elapsed = exact(all.saturating_sub(self.ticks[2])).max(1.0);
        let busy = busy.saturating_sub(self.ticks[0]);
        let after = calibrate();
        let ratio = after / self.calibration;
        let mut verdict = Verdict {
            steal_percent: 100.0 * exact(stolen.saturating_sub(self.ticks[1])) / elapsed,
            foreign_percent: 100.0 * exact(busy.saturating_sub(own)) / elapsed,
            drift_percent: 100.0 * (ratio.max(1.0 / ratio) - 1.0),
            load_average: load_average(),
            seconds,
            objections: Vec::new(),
        };
        for (value, limit, words) in [
            (verdict.steal_percent, STEAL_PERCENT_MAX, "of the machine was stolen by its hypervisor"),
            (verdict.foreign_percent, FOREIGN_PERCENT_MAX, "of the machine went to other processes"),
            (verdict.drift_percent, DRIFT_PERCENT_MAX, "more time for the same work before and after"),
        ] {
            if value > limit {
                verdict.objections.push(format!("{value:.1} % {words} (limit {limit} %)"));
            }
        }
        verdict
    }
}

/// Milliseconds for a fixed piece of work; the best of some, since noise only adds.
fn calibrate() -> f64 {
    let once = || {
        let begin = Instant::now();
        let mut state = 1_u64;
        for round in 0..8_000_000_u64 {
            state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round));
        }
        begin.elapsed().as_secs_f64() * 1e3
    };
    (0..9).map(|_| once()).fold(f64::MAX, f64::min)
}

fn machine_ticks() -> [u64; 3] {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let at = |place: usize| ticks.get(place).copied().unwrap_or(0);
    let busy = at(0) + at(1) + at(2) + at(5) + at(6);
    [busy, at(7), busy + at(3) + at(4) + at(7)]
}

/// Ticks that hypervisors have taken from the machine so far.
pub(crate) fn stolen_ticks() -> u64 {
    machine_ticks()[1]
}

fn own_ticks() -> u64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    // utime, stime, cutime, cstime are fields 14 to 17; the state is the third.
    behind.split_whitespace().skip(11).take(4).filter_map(|word| word.parse::<u64>().ok()).sum()
}

pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}
