//! Small benches of the hot paths, each of one operation: `cargo bench --bench micro` tells their time.
//!
//! `micro --count NAME N` does one of them N times and nothing else, for an instruction counter: what two such runs
//! differ by is the operations' own, without start and preparation (`scripts/instructions`). `micro --names` lists them.

mod frames;
mod gateway;
mod http;
mod messages;
mod session;
mod streams;

use criterion::Criterion;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// What is done with a bench.
trait Harness {
    /// `prepare` gives the operation; its own cost does not count.
    fn bench<S: FnMut()>(&mut self, name: &str, prepare: impl Fn() -> S);
}

/// Every bench. Each one's preparation asserts that the operation does what it is named for.
fn benches(harness: &mut impl Harness) {
    frames::benches(harness);
    messages::benches(harness);
    streams::benches(harness);
    http::benches(harness);
    gateway::benches(harness);
    session::benches(harness);
}

impl Harness for Criterion {
    fn bench<S: FnMut()>(&mut self, name: &str, prepare: impl Fn() -> S) {
        self.bench_function(name, |bencher| {
            let mut operation = prepare();
            bencher.iter(&mut operation);
        });
    }
}

/// Does one bench's operation so many times.
struct Count {
    name: String,
    times: u32,
    found: bool,
}

impl Harness for Count {
    fn bench<S: FnMut()>(&mut self, name: &str, prepare: impl Fn() -> S) {
        if name == self.name {
            self.found = true;
            let mut operation = prepare();
            for _ in 0..self.times {
                operation();
            }
        }
    }
}

/// The names alone.
struct Names(Vec<String>);

impl Harness for Names {
    fn bench<S: FnMut()>(&mut self, name: &str, _: impl Fn() -> S) {
        self.0.push(name.to_owned());
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--names", ..] => {
            let mut names = Names(Vec::new());
            benches(&mut names);
            let told = writeln!(io::stdout(), "{}", names.0.join("\n"));
            if told.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        ["--count", name, times] => match times.parse() {
            Ok(times) => {
                let mut count = Count { name: name.to_owned(), times, found: false };
                benches(&mut count);
                if count.found { ExitCode::SUCCESS } else { fail(&format!("there is no bench {name}")) }
            }
            Err(_) => fail("--count wants a name and a number of operations"),
        },
        _ => {
            let mut criterion = Criterion::default()
                .warm_up_time(Duration::from_millis(200))
                .measurement_time(Duration::from_secs(1))
                .nresamples(2_000)
                .configure_from_args();
            benches(&mut criterion);
            criterion.final_summary();
            ExitCode::SUCCESS
        }
    }
}

fn fail(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "micro: {why}");
    ExitCode::from(2)
}
