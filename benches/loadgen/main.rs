//! Load, and the figures it shows: a stand-in engine, many clients, Entry or a peer between them.
//!
//! `scripts/loadgen` builds and runs this. [`engine`] is a Docker Engine of one thread whose processes' every byte is
//! known; [`driver`] holds the clients on one thread and compares every byte that comes back; [`rig`] starts Entry and
//! its peers; [`scenario`] says what is done and measured; [`catalog`] says what must be reached.

mod catalog;
mod driver;
mod engine;
mod lanes;
mod measure;
mod options;
mod pattern;
mod plot;
mod price;
mod report;
mod rig;
mod run;
mod scenario;
mod sys;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

const HELP: &str = "\
Load for Entry, and the figures it shows.

Usage: loadgen run [OPTIONS] [SCENARIO...]     scenarios, one after another, on sessions that stay open
       loadgen targets [OPTIONS]               every figure that Entry must reach, beside its peers'
       loadgen check [OPTIONS]                 a short load: every byte, and all comes back to where it began
       loadgen engine [OPTIONS]                the stand-in Docker Engine alone (see its --help)
       loadgen plot FILE.json... -o FOLDER     curves over the number of sessions, as SVG
       scripts/loadgen curves -o FOLDER        the runs for them, from 30 sessions to 36,800 in four processes

Exit status: 0 when every byte that came back was right (for check: and all is as it was), 1 otherwise.

Options of run, targets and check:
  --sessions N       sessions that stay open  [run 1000, targets 9000, check 2000]
  --rate R           opens a second  [2000]
  --burst            open them all at once
  --codec CODEC      v1, protobuf, json or mixed  [v1; check: mixed]
  --stdcopy          without a terminal, so that the engine frames its stream
  --vs PEERS         also haproxy, nginx, direct (nobody between), or a command with {port} and {upstream} in it;
                     a peer copies bytes only, and clients speak to it without WebSocket
  --rounds N         rounds of all contenders in turn; medians are told  [3 with peers, else 1]
  --json FILE        the report for programs
  --workers N        loops of Entry, threads of haproxy, workers of nginx  [2]
  --unix             Entry reaches the engine by a unix socket and not over TCP
  --api VERSION      the API version of the stand-in engine  [1.51]
  --entry FILE       the gateway's binary  [static, as scripts/image has it]
  --gateway URL --engine ADDRESS [--pid PID]
                     a gateway that runs already, the TCP address of the loadgen engine behind it, and the
                     process to be watched
  --processes N      so many drivers, gateways and engines, each with its share of the sessions and of --rate, when
                     one process has too few descriptors (a gateway of 20,000 holds 9,280 sessions); a rate in a
                     scenario is that of each process
  --quick            shorter
  --quiet            no progress

Scenarios of run, with their numbers' defaults:
  memory                     memory per session
  idle:SECONDS               CPU and PINGs while nothing is typed
  keys:RATE:SECONDS          keys over all sessions  [1000:10]
  fast:RATE:SECONDS          the same  [8000:5]
  move:MIB                   each session moves so much both ways; memory after it  [1]
  flood:MB:WRITE_BYTES       8 more sessions get so much each  [100:32768]
  neighbours:MB:WRITE_BYTES  the same while 1,000 keys a second are typed  [200:32768]
  burst:COUNT                so many more at once  [2000]
  opens:RATE:COUNT           so many more one after another  [500:2000]
  churn:RATE:SECONDS         sessions come, echo and go in every way  [500:10]
  mix:COUNT:SECONDS          every kind of process and reader  [120:5]
  stall:MB                   one client asks for so much and does not read for a while  [200]
  giant                      a message of 1 GiB is announced
  vanish                     all connections are reset, and opened anew
[none named: memory idle keys flood]
keys, fast and opens: each second stands for itself, and the median of the seconds is told. One in which a hypervisor took
time from this machine is left out and done again, three times as many in all at most.
";

fn main() -> ExitCode {
    // `cargo bench` and `cargo test` call every bench with a word of their own.
    let arguments: Vec<OsString> = std::env::args_os().skip(1).filter(|word| word != "--bench").collect();
    match dispatch(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(mistake) => {
            let _ = writeln!(io::stderr(), "loadgen: {mistake}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(mut arguments: Vec<OsString>) -> Result<bool, String> {
    let help = || io::stdout().write_all(HELP.as_bytes()).map(|()| true).map_err(|error| error.to_string());
    if arguments.is_empty() {
        return help();
    }
    let command = arguments.remove(0);
    let (sessions, act): (u64, fn(&options::Options) -> io::Result<bool>) = match command.to_str() {
        Some("run") => (1_000, run::run),
        Some("targets") => (9_000, run::targets),
        Some("check") => (2_000, run::check),
        Some("engine") => return engine::main(arguments).map(|()| true),
        Some("plot") => return plot::main(arguments).map(|()| true),
        Some("-h" | "--help" | "help") => return help(),
        _ => return Err(format!("there is no command {}; see loadgen --help", command.display())),
    };
    match options::parse(arguments, sessions)? {
        options::Wish::Help => help(),
        options::Wish::Do(options) => act(&options).map_err(|error| error.to_string()),
    }
}
