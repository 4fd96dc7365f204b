//! Everything that `/metrics` tells: names, what they mean, and where they are counted. The README has the same list, and
//! a test holds it to this one.

use super::process;
use crate::audit::{self, Alerts, Audit};
use crate::gateway::Insight;
use crate::metrics::{Exposition, Histogram, Kind, Seconds};
use crate::recording::{self, Recorder};
use std::sync::atomic::{AtomicU64, Ordering};

use Kind::{Counter, Gauge};

fn of(figure: &AtomicU64) -> u64 {
    figure.load(Ordering::Relaxed)
}

/// The text that Prometheus reads.
pub(super) fn told(insight: &Insight) -> String {
    let mut told = Exposition::default();
    tell_sessions(&mut told, insight);
    tell_loops(&mut told, insight);
    tell_engines(&mut told, insight);
    tell_audit(&mut told, insight);
    tell_recordings(&mut told, insight);
    process::tell(&mut told, insight.started);
    told.family("entry_build_info", Gauge, "Always 1; the label says which build this is.")
        .is(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let ready = u8::from(insight.hindrances().is_empty());
    told.family("entry_ready", Gauge, "1 while new sessions are wanted here, as /readyz says.")
        .is(&[], ready);
    told.finish()
}

fn tell_audit(told: &mut Exposition, insight: &Insight) {
    let audit = insight.audit.as_ref();
    let figure = |figure: &dyn Fn(&Audit) -> u64| audit.map_or(0, figure);
    told.family("entry_audit_records_total", Counter, "Audit records, by what came of them.")
        .is(&[("result", "written")], figure(&Audit::written))
        .is(&[("result", "lost")], figure(&|audit| audit.figures().lost()));
    told.family("entry_audit_waiting", Gauge, "Audit records that wait for being written.")
        .is(&[], figure(&|audit| audit.figures().waiting() as u64));
    told.family("entry_audit_waiting_max", Gauge, "Audit records that may wait.").is(&[], audit::ROOM.items);
    let [sent, failed, lost] = insight.alerts.as_ref().map_or([0; 3], Alerts::counts);
    told.family("entry_alerts_total", Counter, "Alerts to the webhook, by what came of them.")
        .is(&[("result", "ok")], sent)
        .is(&[("result", "failed")], failed)
        .is(&[("result", "lost")], lost);
    told.family("entry_audit_failing", Gauge, "1 while audit records cannot be written.")
        .is(&[], figure(&|audit| audit.is_failing().into()));
}

fn tell_sessions(told: &mut Exposition, insight: &Insight) {
    let (crowd, counters) = (&insight.crowd, &insight.counters);
    let (limits, refusals) = (crowd.limits(), crowd.refusals());
    told.family("entry_sessions", Gauge, "Sessions that somebody is in.").is(&[], crowd.sessions());
    told.family("entry_sessions_max", Gauge, "Sessions that there may be.").is(&[], limits.sessions);
    let most = [
        ("entry_sessions_per_address", "entry_sessions_per_address_max", "address", crowd.most_per_address()),
        ("entry_sessions_per_user", "entry_sessions_per_user_max", "user", crowd.most_per_user()),
    ];
    for (name, name_max, whose, figures) in most {
        if let Some((most, limit)) = figures {
            told.family(name, Gauge, &format!("Sessions of the {whose} that has most.")).is(&[], most);
            told.family(name_max, Gauge, &format!("Sessions that one {whose} may have.")).is(&[], limit);
        }
    }
    told.family("entry_connections_total", Counter, "Connections of clients that were accepted.")
        .is(&[], of(&counters.connections));
    told.family("entry_access_allowed_total", Counter, "Sessions that the access rules let in.")
        .is(&[], of(&counters.access_allowed));
    told.family("entry_sessions_opened_total", Counter, "Sessions whose process ran.")
        .is(&[], of(&counters.opened));
    let mut ended = told.family("entry_sessions_ended_total", Counter, "Sessions that ended, by how.");
    for (label, count) in counters.ended() {
        ended = ended.is(&[("outcome", label)], count);
    }
    told.family("entry_refused_total", Counter, "Who was not let in for want of room, by the limit.")
        .is(&[("limit", "sessions")], of(&refusals.sessions))
        .is(&[("limit", "address")], of(&refusals.address))
        .is(&[("limit", "user")], of(&refusals.user))
        .is(&[("limit", "memory")], of(&refusals.memory))
        .is(&[("limit", "unrecorded")], of(&refusals.unrecorded))
        .is(&[("limit", "going_down")], of(&refusals.going_down))
        .is(&[("limit", "descriptors")], of(&refusals.descriptors));
    told.family(
        "entry_proxy_headers_bad_total",
        Counter,
        "Connections closed for want of a good PROXY header.",
    )
    .is(&[], of(&counters.proxy_headers_bad));
    told.family("entry_opening_seconds", Kind::Histogram, "From the client's wish until its process ran.")
        .sums(&[], &[&counters.opening]);
    told.family("entry_opening_stage_seconds", Kind::Histogram, "The same by stage.")
        .sums(&[("stage", "access")], &[&counters.opening_access])
        .sums(&[("stage", "locate")], &[&counters.opening_locate])
        .sums(&[("stage", "start")], &[&counters.opening_start]);
    told.family("entry_buffer_bytes", Gauge, "Memory that holds what somebody does not take.")
        .is(&[], crowd.held_bytes());
    told.family("entry_buffer_max_bytes", Gauge, "Memory that may do so.").is(&[], limits.buffer_bytes);
}

fn tell_loops(told: &mut Exposition, insight: &Insight) {
    let pulses = &insight.pulses;
    let sum = |figure: &dyn Fn(&crate::gateway::Pulse) -> &AtomicU64| {
        pulses.iter().map(|pulse| of(figure(pulse))).sum::<u64>()
    };
    told.family(
        "entry_bytes_total",
        Counter,
        "What processes were sent to read (input) and have said (output).",
    )
    .is(&[("direction", "input")], sum(&|pulse| &pulse.input_bytes))
    .is(&[("direction", "output")], sum(&|pulse| &pulse.output_bytes));
    told.family("entry_stalls_total", Counter, "How often a side did not take at once what was sent.")
        .is(&[("side", "client")], sum(&|pulse| &pulse.client_stalls))
        .is(&[("side", "engine")], sum(&|pulse| &pulse.engine_stalls));
    told.family("entry_guards", Gauge, "Guards in containers with open sessions.")
        .is(&[], sum(&|pulse| &pulse.guards));
    told.family("entry_guards_max", Gauge, "Guards that there may be.").is(&[], insight.guards_max);
    told.family("entry_loops", Gauge, "Event loops.").is(&[], pulses.len());
    let turns: Vec<&Histogram> = pulses.iter().map(|pulse| &pulse.turns).collect();
    told.family(
        "entry_loop_turn_seconds",
        Kind::Histogram,
        "Turns of the loops: so long somebody waits at most.",
    )
    .sums(&[], &turns);
    let age = insight.age();
    let longest = pulses.iter().map(|pulse| pulse.turning_for(age).as_micros()).max().unwrap_or(0);
    told.family(
        "entry_loop_stuck_seconds",
        Gauge,
        "How long the longest turn that goes on has taken so far.",
    )
    .is(&[], Seconds(u64::try_from(longest).unwrap_or(u64::MAX)));
}

/// Nothing where nothing is recorded.
fn tell_recordings(told: &mut Exposition, insight: &Insight) {
    let none = recording::Figures::default();
    let figures = insight.recorder.as_ref().map_or(&none, Recorder::figures);
    told.family("entry_recordings", Gauge, "Sessions that are being recorded.").is(&[], of(&figures.active));
    told.family("entry_recorded_bytes_total", Counter, "Bytes that were written into recordings.")
        .is(&[], of(&figures.written_bytes));
    told.family(
        "entry_recordings_lost_bytes_total",
        Counter,
        "Bytes that should have been recorded, and could not be.",
    )
    .is(&[], of(&figures.lost_bytes));
}

fn tell_engines(told: &mut Exposition, insight: &Insight) {
    let counters = &insight.counters;
    told.family("entry_engines_away", Gauge, "Engines that could not be reached when they were last tried.")
        .is(&[], counters.engines_away().len());
    told.family("entry_engine_connects_total", Counter, "Connections to engines for sessions, by result.")
        .is(&[("result", "ok")], of(&counters.connects))
        .is(&[("result", "failed")], of(&counters.connects_failed));
    let help = "Short calls to engines and services, by what for and what came of it.";
    let mut calls = told.family("entry_upstream_calls_total", Counter, help);
    for (call, result, count) in counters.calls() {
        calls = calls.is(&[("call", call), ("result", result)], count);
    }
    told.family("entry_reapers_total", Counter, "Endings of what sessions left, by how they went on.")
        .is(&[("result", "tried")], of(&counters.reaps_tried))
        .is(&[("result", "failed")], of(&counters.reaps_failed))
        .is(&[("result", "given_up")], of(&counters.reaps_given_up));
    told.family(
        "entry_reaped_processes_total",
        Counter,
        "Processes that sessions had left, and that were ended.",
    )
    .is(&[], of(&counters.processes_reaped));
}
