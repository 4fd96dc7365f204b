//! What the kernel knows of this process, under the names that Prometheus's own clients give it.

use crate::metrics::{Exposition, Kind};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// In what /proc counts processor time, as Linux shows it to every program.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds what can be read; what cannot is left out.
pub(super) fn tell(told: &mut Exposition, started: SystemTime) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(ticks) = processor_ticks(&stat) {
        told.family("process_cpu_seconds_total", Kind::Counter, "Processor time, of user and system.")
            .is(&[], format!("{:.2}", ticks / TICKS_PER_SECOND));
    }
    let sizes = [
        ("VmRSS:", "process_resident_memory_bytes", "Memory that is resident."),
        ("VmSize:", "process_virtual_memory_bytes", "Memory that is mapped."),
    ];
    for (line, name, help) in sizes {
        if let Some(kibibytes) = number_behind(&status, line) {
            told.family(name, Kind::Gauge, help).is(&[], kibibytes * 1024);
        }
    }
    if let Some(threads) = number_behind(&status, "Threads:") {
        told.family("process_threads", Kind::Gauge, "Threads.").is(&[], threads);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // Reading the directory takes one.
        let open = open.count().saturating_sub(1);
        told.family("process_open_fds", Kind::Gauge, "Descriptors that are open.").is(&[], open);
    }
    if let Some(most) = number_behind(&limits, "Max open files") {
        told.family("process_max_fds", Kind::Gauge, "Descriptors that may be open.").is(&[], most);
    }
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    told.family("process_start_time_seconds", Kind::Gauge, "When it was started, since 1970.")
        .is(&[], format!("{:.3}", since.as_secs_f64()));
}

/// Of user and system; the name before them may hold spaces and parentheses.
fn processor_ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    Some(fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?)
}

fn number_behind(text: &str, beginning: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 4 0 100 1000 10";
        assert_eq!(processor_ticks(stat), Some(175.0));
        assert_eq!(processor_ticks(""), None);
        let text = "Name:\tx\nVmRSS:\t    1234 kB\nMax open files            1024                 4096                 files\n";
        assert_eq!(number_behind(text, "VmRSS:"), Some(1234));
        assert_eq!(number_behind(text, "Max open files"), Some(1024));
        assert_eq!(number_behind(text, "VmSwap:"), None);
    }
}
