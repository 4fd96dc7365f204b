//! Every figure there is: what it is called, in which unit, and what Entry must reach.

/// What makes a figure good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// Told, not judged.
    Told,
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
    /// No more than haproxy's on the same work in the same run.
    AtMostPeer,
    /// No less than haproxy's.
    AtLeastPeer,
    /// No more than so many times what the kernel takes for a send in the same run ([`PRICE`]).
    AtMostPrice(f64),
}

/// Whose figures ours are held to.
pub(crate) const PEER: &str = "haproxy";

/// The figure that says what the kernel takes for a send.
pub(crate) const PRICE: &str = "ping_price_us";

/// The idle CPU's goal is 0.6 % of a core for 900 PINGs a second, which is 6.67 µs each, where the kernel takes 4 of them.
/// How much it takes differs from machine to machine, so this is the goal's other half.
const PING_GOAL: f64 = 6.67 / 4.0;

/// A figure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
}

const fn row(key: &'static str, title: &'static str, unit: &'static str, goal: Goal) -> Row {
    Row { key, title, unit, goal }
}

use Goal::{AtLeast, AtLeastPeer, AtMost, AtMostPeer, AtMostPrice, Exactly, Told};

/// In the order of the table.
pub(crate) const ROWS: &[Row] = &[
    row("idle_kib", "memory per idle session, RSS growth", "KiB", AtMost(0.5)),
    row("idle_anonymous_kib", "  of it anonymous", "KiB", Told),
    row("moved_kib", "memory per session after each moved its bytes both ways", "KiB", AtMost(0.5)),
    row("moved_anonymous_kib", "  of it anonymous", "KiB", Told),
    row("kept_mib", "RSS kept after all have gone", "MiB", AtMost(4.0)),
    row("idle_machine_kernel_kib", "kernel memory per idle session, all ends on this machine", "KiB", Told),
    row("moved_machine_kernel_kib", "  after each moved its bytes", "KiB", Told),
    row("idle_cpu_percent", "idle CPU with all PINGs", "% of a core", AtMost(0.6)),
    row("ping_cpu_us", "  CPU per PING", "µs", AtMostPrice(PING_GOAL)),
    row(PRICE, "  what a bare loop of sends pays the kernel for one", "µs", Told),
    row("empty_cpu_percent", "CPU after all have gone", "% of a core", AtMost(0.05)),
    row("ping_gap_p50_ms", "PING gap p50", "ms", Told),
    row("ping_off_p99_ms", "PING gap, p99 of its distance from 10 s", "ms", AtMost(50.0)),
    row("ping_gap_max_ms", "PING gap, longest", "ms", Told),
    row("keys_p50_us", "round trip p50, 1,000 keys/s over all sessions", "µs", AtMostPeer),
    row("keys_p99_us", "round trip p99", "µs", AtMostPeer),
    row("keys_max_us", "round trip, longest", "µs", Told),
    row("keys_late_p50_us", "  of it the driver was late p50", "µs", Told),
    row("keys_late_p99_us", "  of it the driver was late p99", "µs", Told),
    row("keys_disturbed_s", "  seconds left out, since the hypervisor took a tick", "s", Told),
    row("keys_cpu_us", "CPU per key, 1,000/s over all sessions", "µs", AtMostPeer),
    row("fast_cpu_us", "CPU per key, 8,000/s", "µs", AtMostPeer),
    row("fast_p50_us", "round trip p50, 8,000 keys/s", "µs", Told),
    row("fast_p99_us", "round trip p99, 8,000 keys/s", "µs", Told),
    row("fast_max_us", "round trip, longest, 8,000 keys/s", "µs", Told),
    row("fast_late_p99_us", "  of it the driver was late p99", "µs", Told),
    row("fast_disturbed_s", "  seconds left out, since the hypervisor took a tick", "s", Told),
    row("tty32_mb_s", "flood, raw tty, 32 KiB writes", "MB/s", AtLeastPeer),
    row("tty32_cpu_s_gb", "  CPU per GB", "s", AtMostPeer),
    row("tty4_mb_s", "flood, raw tty, 4 KiB writes", "MB/s", AtLeastPeer),
    row("tty4_cpu_s_gb", "  CPU per GB", "s", AtMostPeer),
    row("std32_mb_s", "flood, stdcopy, 32 KiB writes", "MB/s", AtLeastPeer),
    row("std32_cpu_s_gb", "  CPU per GB", "s", AtMostPeer),
    row("std4_mb_s", "flood, stdcopy, 4 KiB writes", "MB/s", AtLeastPeer),
    row("std4_cpu_s_gb", "  CPU per GB", "s", AtMostPeer),
    row("near_p50_ms", "neighbours' round trip during a flood p50", "ms", AtMostPeer),
    row("near_p99_ms", "neighbours' round trip during a flood p99", "ms", AtMostPeer),
    row("near_max_ms", "neighbours' round trip during a flood, longest", "ms", Told),
    row("near_late_p99_us", "  of it the driver was late p99", "µs", Told),
    row("near_mb_s", "  the flood's rate beside them", "MB/s", Told),
    row("near_cpu_s_gb", "  CPU per GB, keys and all", "s", Told),
    row("burst_per_s", "burst of 2,000 opens, sessions to the first echo", "1/s", AtLeast(5_000.0)),
    row("burst_cpu_us", "  CPU per open", "µs", AtMost(150.0)),
    row("open_p50_ms", "opens at 500/s, to the first echo p50", "ms", AtMost(0.8)),
    row("open_p99_ms", "opens at 500/s, to the first echo p99", "ms", AtMost(3.0)),
    row("open_disturbed_s", "  seconds left out, since the hypervisor took a tick", "s", Told),
    row("stall_rss_mib", "a client that does not read: RSS growth", "MiB", AtMost(0.1)),
    row("stall_kernel_mb", "a client that does not read: bytes in the gateway's sockets", "MB", AtMost(0.5)),
    row("stall_to_send_mb", "  of it towards the client", "MB", Told),
    row("stall_path_mb", "  bytes on the whole path, client's and engine's kernel too", "MB", Told),
    row("giant_close_code", "a message announced as 1 GiB is refused with", "close code", Exactly(1009.0)),
    row("giant_rss_mib", "  RSS growth by it", "MiB", AtMost(0.1)),
    row("start_rss_mib", "RSS at start", "MiB", AtMost(3.0)),
    row("binary_mb", "size of the binary", "MB", AtMost(5.0)),
    row("descriptors_left", "descriptors left over", "", Exactly(0.0)),
    row("execs_left", "processes left in containers", "", Exactly(0.0)),
    row("churn_p50_us", "round trip p50 while sessions come and go", "µs", Told),
    row("churn_p99_us", "round trip p99 while sessions come and go", "µs", Told),
    row("churn_max_us", "round trip, longest, while sessions come and go", "µs", Told),
    row("churn_cpu_us", "CPU per session that comes and goes, a key beside it", "µs", Told),
    row("flood_mb_s", "flood", "MB/s", Told),
    row("flood_cpu_s_gb", "  CPU per GB", "s", Told),
    row("memory_kib", "memory per session, RSS growth", "KiB", Told),
    row("memory_anonymous_kib", "  of it anonymous", "KiB", Told),
    row("memory_machine_kernel_kib", "kernel memory per session, all ends on this machine", "KiB", Told),
    row("open_seconds", "opening all sessions took", "s", Told),
    row("sessions", "sessions held", "", Told),
    row("faults", "faults", "", Exactly(0.0)),
];

impl Goal {
    /// In words.
    pub(crate) fn words(self) -> String {
        match self {
            Told => String::new(),
            AtMost(limit) => format!("≤ {limit}"),
            AtLeast(limit) => format!("≥ {limit}"),
            Exactly(value) => format!("{value}"),
            AtMostPeer => format!("≤ {PEER}"),
            AtLeastPeer => format!("≥ {PEER}"),
            AtMostPrice(times) => format!("≤ {times:.2} of the next row"),
        }
    }

    /// Whether a value reaches it, and by which share of the goal it stands (more than one misses, for an upper
    /// limit); None where nothing can be said.
    pub(crate) fn judge(
        self,
        value: Option<f64>,
        peer: Option<f64>,
        price: Option<f64>,
    ) -> Option<(bool, f64)> {
        let value = value?;
        match self {
            Told => None,
            AtMost(limit) => Some((value <= limit, value / limit)),
            AtLeast(limit) => Some((value >= limit, value / limit)),
            #[expect(clippy::float_cmp, reason = "counts and codes are whole")]
            Exactly(wanted) => Some((value == wanted, f64::NAN)),
            AtMostPeer => peer.map(|peer| (value <= peer, value / peer)),
            AtLeastPeer => peer.map(|peer| (value >= peer, value / peer)),
            AtMostPrice(times) => price.map(|price| (value <= price * times, value / (price * times))),
        }
    }
}
